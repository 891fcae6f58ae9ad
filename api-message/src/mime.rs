//! Parts of a message: what they are, and the fields that say so (RFC 2045, RFC 2183, RFC 2231).

use alloc::format;
use alloc::string::{String, ToString};

use crate::fault::{Fault, Reason};
use crate::limits::{CONTENT_ID_MAX, MEDIA_TYPE_MAX};
use crate::text::check_filled;

/// A media type and its parameters, written anew from what was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType(String);

impl MediaType {
    /// What nothing is known of.
    pub fn octets() -> MediaType {
        MediaType("application/octet-stream".to_string())
    }

    /// Reads `type/subtype` with parameters. Those that would have parts of their own are refused: their content
    /// must not be in base64 (RFC 2045 §6.4).
    pub fn parse(argument: &str, text: &str) -> Result<MediaType, Fault> {
        check_filled(argument, text, MEDIA_TYPE_MAX)?;
        let bad = || Fault::new(argument, Reason::Syntax, "write it as type/subtype; name=value");
        let mut pieces = text.split(';');
        let (kind, subtype) = pieces.next().and_then(|t| t.trim().split_once('/')).ok_or_else(bad)?;
        if !is_token(kind) || !is_token(subtype) {
            return Err(bad());
        }
        let (kind, subtype) = (kind.to_ascii_lowercase(), subtype.to_ascii_lowercase());
        if matches!(kind.as_str(), "multipart" | "message") {
            return Err(Fault::new(
                argument,
                Reason::Syntax,
                "an attachment is not multipart/ and not message/",
            ));
        }
        let mut out = format!("{kind}/{subtype}");
        for piece in pieces {
            let (name, value) = piece.trim().split_once('=').ok_or_else(bad)?;
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
            let plain = |b: u8| b.is_ascii_graphic() && !b"\"\\".contains(&b) || b == b' ';
            if !is_token(name) || value.is_empty() || !value.bytes().all(plain) {
                return Err(bad());
            }
            out.push_str(&format!("; {}=\"{value}\"", name.to_ascii_lowercase()));
        }
        Ok(MediaType(out))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 2045 §5.1.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

/// Checks the part of a Content-ID between its brackets: one or two dot-atoms.
pub(crate) fn check_content_id(argument: &str, id: &str) -> Result<(), Fault> {
    check_filled(argument, id, CONTENT_ID_MAX)?;
    let atom = |text: &str| {
        text.split('.')
            .all(|a| !a.is_empty() && a.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+=".contains(&b)))
    };
    let (left, right) = id.split_once('@').unwrap_or((id, "x"));
    if !atom(left) || !atom(right) {
        return Err(Fault::new(
            argument,
            Reason::Syntax,
            "letters, digits, `.`, `_`, `-`, `+`, `=` and one `@`",
        ));
    }
    Ok(())
}

/// The Content-Disposition field of a part. A name that is not ASCII is written twice, as RFC 6266 appendix D
/// advises: for readers of RFC 2231, and for those that know only the plain form.
pub(crate) fn disposition(inline: bool, filename: Option<&str>) -> String {
    let mut out = String::from("Content-Disposition: ");
    out.push_str(if inline { "inline" } else { "attachment" });
    if let Some(name) = filename {
        let plain: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
        out.push_str(";\r\n filename=\"");
        for c in plain.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
        // A reader may take an encoded word for what it encodes, though none has a place here (RFC 2047 §5).
        if !name.is_ascii() || name.contains("=?") {
            out.push_str(";\r\n filename*=utf-8''");
            for b in name.bytes() {
                match b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                    true => out.push(char::from(b)),
                    false => out.push_str(&format!("%{b:02X}")),
                }
            }
        }
    }
    out.push_str("\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_written_anew() {
        for (text, want) in [
            (
                "Text/Calendar; METHOD=REQUEST;charset=\"utf-8\"",
                "text/calendar; method=\"REQUEST\"; charset=\"utf-8\"",
            ),
            ("image/svg+xml", "image/svg+xml"),
        ] {
            assert_eq!(MediaType::parse("t", text).unwrap().as_str(), want);
        }
        for bad in [
            "",
            "text",
            "text/",
            "/x",
            "a b/c",
            "text/plain;x",
            "text/plain;x=",
            "text/plain; x=\"a\"b\"",
            "multipart/mixed",
            "message/rfc822",
            "text/plain;\r\n x=y",
            "text/plain; ü=x",
            "text/plain; x=ü",
        ] {
            assert!(MediaType::parse("t", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn content_ids() {
        for good in ["logo", "logo.1@example.com", "a-b_c+d"] {
            assert!(check_content_id("c", good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "<a>", "a@b@c", "a..b", "@b", "a@", "a\r\nb", "ü"] {
            assert!(check_content_id("c", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_files_in_both_forms() {
        assert_eq!(
            disposition(false, Some("a \"b\".pdf")),
            "Content-Disposition: attachment;\r\n filename=\"a \\\"b\\\".pdf\"\r\n"
        );
        assert_eq!(
            disposition(true, Some("é=.png")),
            "Content-Disposition: inline;\r\n filename=\"_=.png\";\r\n filename*=utf-8''%C3%A9%3D.png\r\n"
        );
        assert_eq!(disposition(true, None), "Content-Disposition: inline\r\n");
    }
}
