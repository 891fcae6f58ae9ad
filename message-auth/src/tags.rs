//! Tag lists of DKIM and ARC fields (RFC 6376 §3.2), read strictly before any library sees them: what a tag
//! says here is what is asked in DNS and what is shown.

/// Octets of one field that is looked at; real ones hold less than 2 KiB.
pub const FIELD_MAX: usize = 16 * 1024;
/// Names in one `h=`; what is signed is searched for each of them.
pub const SIGNED_FIELDS_MAX: usize = 256;

/// A tag list: names in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags<'a>(Vec<(&'a str, String)>);

impl<'a> Tags<'a> {
    /// Reads a field's value. White space is removed from values, for none of those read here may hold any.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &'a [u8]) -> Result<Tags<'a>, &'static str> {
        if value.len() > FIELD_MAX {
            return Err("field is too long");
        }
        let text = std::str::from_utf8(value).map_err(|_| "field is not UTF-8")?;
        if text.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')) {
            return Err("control character");
        }
        let mut tags: Vec<(&str, String)> = Vec::new();
        let mut parts = text.split(';').peekable();
        while let Some(part) = parts.next() {
            if part.trim().is_empty() && parts.peek().is_none() {
                break;
            }
            let (name, value) = part.split_once('=').ok_or("tag without a value")?;
            let name = name.trim();
            let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
            if !begins || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err("bad tag name");
            }
            if tags.iter().any(|(known, _)| *known == name) {
                return Err("tag given twice");
            }
            tags.push((name, value.chars().filter(|c| !c.is_ascii_whitespace()).collect()));
        }
        Ok(Tags(tags))
    }

    /// The value of a tag.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a tag, empty when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The tag as a domain name in lower case: labels of letters, digits, dashes and underscores, two at least
    /// (`labels`), so that no look-up goes where the tag does not say.
    pub fn name(&self, tag: &str, labels: usize) -> Option<String> {
        let name = self.text(tag).to_ascii_lowercase();
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let label = |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(fine);
        (name.len() <= 253 && name.split('.').all(label) && name.split('.').count() >= labels).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_once_and_strictly() {
        let tags = Tags::read(b" v=1; d=Example.COM;\r\n\ts=sel;b=ab\r\n cd==; ").unwrap();
        assert_eq!((tags.text("v"), tags.text("b"), tags.find("x")), ("1", "abcd==", None));
        assert_eq!(tags.name("d", 2).as_deref(), Some("example.com"));
        assert_eq!(tags.name("s", 1).as_deref(), Some("sel"));
        assert_eq!(tags.name("s", 2), None);
        for bad in [&b"d=a;d=b"[..], b"v=1;;d=a", b"x", b"1=2", b"d=a\0b", b"d=\xff", b"=x"] {
            assert!(Tags::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_field_has_a_longest_size() {
        let field = |len: usize| format!("b={}", "x".repeat(len - 2));
        assert!(Tags::read(field(FIELD_MAX).as_bytes()).is_ok());
        assert!(Tags::read(field(FIELD_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn si23_what_is_no_name_in_dns() {
        let name = |text: &str| Tags::read(format!("d={text}").as_bytes()).unwrap().name("d", 2);
        for bad in
            ["legit.com'a.attack.com", "a..b", "", "com", "a.b.", "a.b/c", &format!("{}.com", "x".repeat(64))]
        {
            assert_eq!(name(bad), None, "{bad}");
        }
        assert!(name("_x.a-b.com").is_some());
    }
}
