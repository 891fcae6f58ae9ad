//! Content lines and components: what iCalendar (RFC 5545 §3.1) and vCard (RFC 6350 §3.2) are written in.
//!
//! An object is read without being understood: each line is kept as it came, and is written back octet for octet
//! unless it was changed. So what this server does not know is never lost, and parameters, their quotes and the
//! letter case of names stay as their maker wrote them.

mod component;
mod line;
mod value;

#[cfg(test)]
mod tests;

pub use component::Component;
pub use line::{Parameter, Property};
pub use value::{escape_text, split_list, split_structured, unescape_text};

use std::borrow::Cow;

/// Why something is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFault {
    /// It has more lines, components or parameters than the limits allow, or deeper ones.
    TooLarge,
    /// It is not written as content lines in components.
    Malformed,
}

impl std::fmt::Display for ObjectFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectFault::TooLarge => "the object has too many parts",
            ObjectFault::Malformed => "the object is not well-formed",
        })
    }
}

impl std::error::Error for ObjectFault {}

/// The text of an object that was sent. Lines are folded by octets, so a fold may stand within a character
/// (RFC 5545 §3.1): such a fold is taken out, and only then the text is not what was sent.
pub fn decode(octets: &[u8]) -> Option<Cow<'_, str>> {
    if let Ok(text) = std::str::from_utf8(octets) {
        return Some(Cow::Borrowed(text.strip_prefix('\u{FEFF}').unwrap_or(text)));
    }
    let mut joined = Vec::with_capacity(octets.len());
    let mut at = 0;
    while at < octets.len() {
        let fold = match &octets[at..] {
            [b'\r', b'\n', b' ' | b'\t', next, ..] if is_continuation(*next) => 3,
            [b'\n', b' ' | b'\t', next, ..] if is_continuation(*next) => 2,
            _ => 0,
        };
        if fold == 0 {
            joined.push(octets[at]);
            at += 1;
        }
        at += fold;
    }
    String::from_utf8(joined).ok().map(Cow::Owned)
}

/// An octet that cannot begin a character of UTF-8.
fn is_continuation(octet: u8) -> bool {
    octet & 0xC0 == 0x80
}
