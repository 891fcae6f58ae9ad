//! Header fields: folding, quoting and encoded words (RFC 5322 §2.2, §3.2, RFC 2047).

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::address::Address;

/// Where a line is folded when it can be (RFC 5322 §2.1.1).
const LINE: usize = 78;
/// Characters of a line that holds an encoded word (RFC 2047 §2).
const WORD_LINE: usize = 76;
/// Characters of an encoded word besides its text.
const WORD_FRAME: usize = 12;
/// Octets of text in one encoded word at most: with them it has 72 characters, and 75 are allowed (RFC 2047 §2).
const WORD_OCTETS: usize = 45;

/// Whether a text cannot stand in a field as it is: it is not ASCII, would be read as an encoded word, or has white
/// space that readers take away.
fn needs_words(text: &str) -> bool {
    !text.is_ascii() || text.contains("=?") || text.starts_with(' ') || text.ends_with(' ')
}

/// A text as encoded words, one on a line. The first one begins behind `column` characters.
fn push_words(text: &str, column: usize, out: &mut String) {
    let mut rest = text;
    let mut first = true;
    let mut room = (WORD_LINE.saturating_sub(column + WORD_FRAME) / 4 * 3).clamp(6, WORD_OCTETS);
    while !rest.is_empty() {
        let mut end = rest.len().min(room);
        room = WORD_OCTETS;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (now, later) = rest.split_at(end);
        if !core::mem::take(&mut first) {
            out.push_str("\r\n ");
        }
        out.push_str("=?utf-8?B?");
        STANDARD.encode_string(now, out);
        out.push_str("?=");
        rest = later;
    }
}

/// A field of text for people.
pub(crate) fn unstructured(name: &str, value: &str, out: &mut String) {
    if needs_words(value) {
        out.push_str(name);
        out.push_str(": ");
        push_words(value, name.len() + 2, out);
        out.push_str("\r\n");
        return;
    }
    structured(name, value, out);
}

/// A field of ASCII, folded in front of words where a line would become long. No line is left with white space
/// alone: it is folded only where one space stands between two words.
pub(crate) fn structured(name: &str, value: &str, out: &mut String) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    let mut gap = 1;
    for (n, word) in value.trim_matches(' ').split(' ').enumerate() {
        if word.is_empty() {
            gap += 1;
            continue;
        }
        if n > 0 && gap == 1 && column + 1 + word.len() > LINE {
            out.push_str("\r\n ");
            column = 1;
        } else {
            (0..gap).for_each(|_| out.push(' '));
            column += gap;
        }
        out.push_str(word);
        column += word.len();
        gap = 1;
    }
    out.push_str("\r\n");
}

/// A field of addresses, one on a line; nothing when there are none.
pub(crate) fn addresses<'a>(name: &str, list: impl Iterator<Item = &'a Address>, out: &mut String) {
    let mut any = false;
    for address in list {
        if any {
            out.push_str(",\r\n ");
        } else {
            out.push_str(name);
            out.push_str(": ");
        }
        mailbox(address, if any { 1 } else { name.len() + 2 }, out);
        any = true;
    }
    if any {
        out.push_str("\r\n");
    }
}

/// One address with its name (RFC 5322 §3.4).
fn mailbox(address: &Address, column: usize, out: &mut String) {
    let Some(name) = &address.name else { return out.push_str(&address.wire) };
    if needs_words(name) {
        push_words(name, column, out);
    } else {
        out.push('"');
        for c in name.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push_str("\r\n <");
    out.push_str(&address.wire);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use protocol_core::message::encoded_word;
    use protocol_core::message::header::{Fields, unfold};

    fn written(value: &str) -> String {
        let mut out = String::new();
        unstructured("X-Test", value, &mut out);
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = "word ".repeat(100);
        let mixed = "Grüße aus Köln — ".repeat(20);
        for value in [
            "a",
            "a  b   c",
            "Grüße",
            "=?utf-8?q?x?=",
            " led",
            long.trim(),
            &mixed,
            &"é".repeat(400),
            &"x".repeat(900),
            "a =?",
        ] {
            let text = written(value);
            let fields: alloc::vec::Vec<_> = Fields::new(text.as_bytes()).collect();
            assert_eq!(fields.len(), 1, "{text}");
            assert_eq!(encoded_word::decode(&unfold(fields[0].value)), value, "{text}");
            assert!(
                text.split("\r\n")
                    .all(|line| line.len() <= 998 && (line.is_empty() || !line.trim().is_empty()))
            );
        }
    }

    #[test]
    fn lines_are_folded_at_78() {
        let text = written("word ".repeat(40).trim());
        assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
        assert!(written(&"ü".repeat(200)).split("\r\n").all(|line| line.len() <= 76));
    }

    #[test]
    fn names_are_quoted_or_encoded() {
        let with = |text: &str| {
            let mut out = String::new();
            addresses("To", core::iter::once(&Address::parse("to", text).unwrap()), &mut out);
            out.to_string()
        };
        assert_eq!(with("a@b.example"), "To: a@b.example\r\n");
        assert_eq!(with("Lee, \"Ann\" <a@b.example>"), "To: \"Lee, \\\"Ann\\\"\"\r\n <a@b.example>\r\n");
        assert_eq!(
            with("Jörg <a@b.example>"),
            format!("To: =?utf-8?B?{}?=\r\n <a@b.example>\r\n", STANDARD.encode("Jörg"))
        );
    }
}
