//! A writer of JSON (RFC 8259) for the few shapes that reports have.

use alloc::string::String;
use core::fmt::Write as _;

/// Writes values one after the other; commas come by themselves.
#[derive(Default)]
pub(super) struct Json {
    text: String,
    comma: bool,
}

impl Json {
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// `{` or `[`.
    pub(super) fn open(&mut self, bracket: char) {
        self.separate();
        self.text.push(bracket);
        self.comma = false;
    }

    /// `}` or `]`.
    pub(super) fn close(&mut self, bracket: char) {
        self.text.push(bracket);
        self.comma = true;
    }

    /// The name of the member that comes next.
    pub(super) fn key(&mut self, name: &str) {
        self.string(name);
        self.text.push(':');
        self.comma = false;
    }

    pub(super) fn number(&mut self, number: u64) {
        self.separate();
        let _ = write!(self.text, "{number}");
        self.comma = true;
    }

    pub(super) fn string(&mut self, value: &str) {
        self.separate();
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                // DEL and the separators of lines are allowed, but some readers take them for line ends.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
        self.comma = true;
    }

    pub(super) fn member(&mut self, name: &str, value: &str) {
        self.key(name);
        self.string(value);
    }

    pub(super) fn strings<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a String>) {
        self.key(name);
        self.open('[');
        for value in values {
            self.string(value);
        }
        self.close(']');
    }

    fn separate(&mut self) {
        if self.comma {
            self.text.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn values_and_commas() {
        let mut json = Json::default();
        json.open('{');
        json.member("a\"\\", "\r\n\t\u{0}\u{7f}\u{2028}é\u{1f4e7}");
        json.strings("list", &["x".to_string(), "y".to_string()]);
        json.strings("none", &[]);
        json.key("n");
        json.number(7);
        json.close('}');
        assert_eq!(
            json.finish(),
            "{\"a\\\"\\\\\":\"\\u000d\\u000a\\u0009\\u0000\\u007f\\u2028é\u{1f4e7}\",\
             \"list\":[\"x\",\"y\"],\"none\":[],\"n\":7}"
        );
    }
}
