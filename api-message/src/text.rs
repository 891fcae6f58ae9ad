//! What strings may hold. Nothing is ever taken out of a string: what must not be in it is refused.

use alloc::string::String;

use protocol_core::message::encoded_word;

use crate::fault::{Fault, Reason};

/// Characters that end a line for some reader, or are seen by none: C0 and C1 controls (CR, LF, NUL, NEL), and
/// the line and paragraph separators.
pub(crate) fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Checks a string that becomes part of a header field, or stands in a row: one line of at most `max` octets.
/// An encoded word (RFC 2047) that hides a forbidden character is refused as the character is; any other text
/// that looks like one is sent as the text it is.
///
/// # Errors
/// A fault of `argument`.
pub fn check_line(argument: &str, text: &str, max: usize) -> Result<(), Fault> {
    if text.len() > max {
        return Err(Fault::too_large(argument, max));
    }
    let hidden = || text.contains("=?") && encoded_word::decode(text.as_bytes()).chars().any(is_forbidden);
    if text.chars().any(is_forbidden) || hidden() {
        let message = "holds a line end or another control character";
        return Err(Fault::new(argument, Reason::ForbiddenCharacter, message));
    }
    Ok(())
}

/// The same for a string that must say something.
pub(crate) fn check_filled(argument: &str, text: &str, max: usize) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new(argument, Reason::Missing, "must not be empty"));
    }
    check_line(argument, text, max)
}

/// Checks a name that programs compare: letters, digits, `_`, `-`, `.` and `:`.
pub(crate) fn check_name(argument: &str, text: &str, max: usize) -> Result<(), Fault> {
    check_filled(argument, text, max)?;
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b)) {
        return Err(Fault::new(
            argument,
            Reason::Syntax,
            "holds letters, digits, `_`, `-`, `.` and `:` only",
        ));
    }
    Ok(())
}

/// A body with CRLF at each line's end, whatever ended it before. A NUL is refused (RFC 5322 §4).
pub(crate) fn body(argument: &str, text: &str, max: usize) -> Result<String, Fault> {
    if text.len() > max {
        return Err(Fault::too_large(argument, max));
    }
    if text.contains('\0') {
        return Err(Fault::new(argument, Reason::ForbiddenCharacter, "holds a NUL"));
    }
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push_str("\r\n");
            }
            '\n' => out.push_str("\r\n"),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn hg7_what_ends_a_line_for_anybody_is_refused() {
        for c in ['\r', '\n', '\0', '\t', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{1b}'] {
            let fault = check_line("subject", &format!("a{c}b"), 10).unwrap_err();
            assert_eq!(fault.reason, Reason::ForbiddenCharacter, "{c:?}");
        }
        for hidden in ["=?utf-8?q?a=0d=0aBcc:_x?=", "=?utf-8?b?DQo=?=", "=?UTF-8?Q?=C2=85?="] {
            assert!(check_line("subject", hidden, 100).is_err(), "{hidden}");
        }
        assert!(check_line("subject", "=?utf-8?q?plain?= Grüße", 100).is_ok());
    }

    #[test]
    fn a_line_at_its_limit_and_one_past() {
        assert!(check_line("a", "éé", 4).is_ok());
        assert_eq!(check_line("a", "ééa", 4).unwrap_err().reason, Reason::TooLarge);
        assert_eq!(body("a", "1234", 3).unwrap_err().reason, Reason::TooLarge);
    }

    #[test]
    fn every_line_of_a_body_ends_in_crlf() {
        assert_eq!(body("a", "1\n2\r\n3\r4\r\r\n", 99).unwrap(), "1\r\n2\r\n3\r\n4\r\n\r\n");
        assert_eq!(body("a", "a\0", 99).unwrap_err().reason, Reason::ForbiddenCharacter);
    }
}
