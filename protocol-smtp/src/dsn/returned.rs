//! The part that returns the message or its header (RFC 3461 §4.3, RFC 3462 §2).

use alloc::vec::Vec;

use super::Action;
use crate::stuffing::LineCheck;

/// Octets of the message that go back with a notification.
pub const RETURNED_MAX: usize = 50 * 1024;

/// What of the message goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Returned {
    /// All of it, when it has at most [`RETURNED_MAX`] octets; else its header.
    Message(Vec<u8>),
    /// Its header, cut at [`RETURNED_MAX`]. Empty: nothing goes back.
    Header(Vec<u8>),
}

/// What a message is, as far as its return depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Returnable<'a> {
    /// RET as the sender gave it.
    pub ret: Option<&'a str>,
    /// Its octets.
    pub size: u64,
    /// It has octets that are no lines (BODY=BINARYMIME), which have no place in a notification.
    pub binary: bool,
    /// It demanded REQUIRETLS.
    pub require_tls: bool,
}

/// Whether all of a message goes back with a notification whose worst news is `action`: only when it failed and its
/// sender asked for it (RFC 3461 §4.3), and never when it demanded REQUIRETLS (RFC 8689 §5).
pub fn returns_whole(message: Returnable<'_>, action: Action) -> bool {
    let wanted = message.ret.is_some_and(|ret| ret.eq_ignore_ascii_case("FULL"));
    let fits = message.size <= RETURNED_MAX as u64 && !message.binary;
    action == Action::Failed && wanted && fits && !message.require_tls
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Message,
    Header,
}

impl Kind {
    /// RFC 6533 §4 names types for headers that are not ASCII; in a body they change nothing.
    pub fn media_type(self, eight_bit: bool) -> &'static str {
        match (self, eight_bit) {
            (Kind::Message, _) => "message/rfc822",
            (Kind::Header, false) => "text/rfc822-headers",
            (Kind::Header, true) => "message/global-headers",
        }
    }
}

/// The returned octets as they can stand in a part: whole lines, none of them with a lone CR, LF or NUL.
pub(super) fn returned_part(returned: &Returned) -> (Kind, Vec<u8>) {
    let (kind, bytes) = match returned {
        Returned::Message(bytes) if bytes.len() <= RETURNED_MAX && is_text(bytes) => {
            (Kind::Message, &bytes[..])
        }
        Returned::Message(bytes) | Returned::Header(bytes) => (Kind::Header, header_of(bytes)),
    };
    let mut bytes = Vec::from(if is_text(bytes) { bytes } else { b"" });
    if !bytes.is_empty() && !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    (kind, bytes)
}

pub(super) fn is_text(bytes: &[u8]) -> bool {
    let mut check = LineCheck::new();
    check.check(bytes).is_ok() && check.finish().is_ok()
}

/// Everything before the first empty line, cut at a line end when it is too long.
fn header_of(bytes: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 2);
    let header = bytes.get(..end.min(RETURNED_MAX)).unwrap_or(bytes);
    if header.ends_with(b"\r\n") || end <= RETURNED_MAX && !header.ends_with(b"\r") {
        return header;
    }
    let whole = memchr::memmem::rfind(header, b"\r\n").map_or(0, |at| at + 2);
    header.get(..whole).unwrap_or(b"")
}
