//! Raw header fields: walking over them, unfolding, and leaving some out.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

/// One field of a header, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What stands before the colon, as it stands; empty for a line without a colon.
    pub name: &'a [u8],
    /// What follows the colon, folding included, without the final line end.
    pub value: &'a [u8],
    /// The whole field in the header block, final line end included.
    pub range: Range<usize>,
    /// Whether the name is one by RFC 5322 §3.6.8: printable ASCII, and nothing between it and the colon. A
    /// field that is not well formed is no field for any purpose but From verdicts.
    pub well_formed: bool,
}

impl Field<'_> {
    /// Whether this is a well-formed field of that name, in any letter case.
    pub fn is(&self, name: &str) -> bool {
        self.well_formed && self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Walks over the fields of a header block and stops at its blank line. Lines may end in CRLF or LF.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Over the header that `block` begins with; a body behind it is not looked at.
    pub fn new(block: &'a [u8]) -> Self {
        Fields { block, at: 0 }
    }

    /// Offset of the first octet not yet walked over; at the end, that of the blank line (or of the end).
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The first field of that name.
    pub fn find(block: &'a [u8], name: &str) -> Option<Field<'a>> {
        Fields::new(block).find(|f| f.is(name))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.block.get(self.at..)?;
        if rest.is_empty() || is_blank_line(rest) {
            return None;
        }
        let mut len = line_len(rest);
        while matches!(rest.get(len), Some(b' ' | b'\t')) {
            len += line_len(&rest[len..]);
        }
        let start = self.at;
        self.at += len;
        Some(split_field(&rest[..len], start))
    }
}

/// Splits one whole field, continuation lines and final line end included.
pub(super) fn split_field(raw: &[u8], start: usize) -> Field<'_> {
    let text = without_line_end(raw);
    let range = start..start + raw.len();
    match memchr::memchr(b':', text) {
        Some(colon) => {
            let name = &text[..colon];
            let well_formed = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b));
            Field { name, value: &text[colon + 1..], range, well_formed }
        }
        None => Field { name: &[], value: text, range, well_formed: false },
    }
}

fn line_len(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

fn is_blank_line(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\n") || bytes.starts_with(b"\r\n")
}

fn without_line_end(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    raw.strip_suffix(b"\r").unwrap_or(raw)
}

/// Octets of the header that `message` begins with, its blank line included; all of it when there is none.
pub fn header_len(message: &[u8]) -> usize {
    let mut fields = Fields::new(message);
    while fields.next().is_some() {}
    let at = fields.offset();
    at + if message[at..].starts_with(b"\r\n") { 2 } else { usize::from(message[at..].starts_with(b"\n")) }
}

/// A value on one line: line ends are removed, white space around it too (RFC 5322 §2.2.3).
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = trim(value);
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Without white space and line ends at either end.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = value {
        value = rest;
    }
    value
}

/// The message identifiers in a Message-ID, In-Reply-To or References value, with their angle brackets
/// (RFC 5322 §3.6.4). Whatever stands between them is passed over.
pub fn message_ids(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    core::iter::from_fn(move || {
        loop {
            let open = memchr::memchr(b'<', rest)?;
            rest = &rest[open..];
            let close = memchr::memchr(b'>', rest)?;
            // `<a <b@c>`: the innermost bracket opens the identifier.
            let open = memchr::memrchr(b'<', &rest[..close]).unwrap_or(0);
            let id = &rest[open..=close];
            rest = &rest[close + 1..];
            if id.len() > 2 && !id.iter().any(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
                return Some(id);
            }
        }
    })
}

/// An edit of a message's own header: octets put on top, and ranges of the original left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Whole fields, each with its CRLF.
    pub prefix: Vec<u8>,
    /// Ranges of the original message, in ascending order, without overlap.
    pub skip: Vec<Range<u64>>,
    /// Whether the skipped ranges are (also) all the Bcc fields.
    pub removes_bcc: bool,
}

impl Edit {
    /// Whether the message stays as it is.
    pub fn is_empty(&self) -> bool {
        self.prefix.is_empty() && self.skip.is_empty()
    }

    /// Adds the ranges of `block`'s fields for which `which` says yes, in order.
    pub fn skip_fields(&mut self, block: &[u8], which: impl Fn(&Field<'_>) -> bool) {
        for field in Fields::new(block).filter(|f| which(f)) {
            self.skip.push(field.range.start as u64..field.range.end as u64);
        }
        self.skip.sort_by_key(|r| r.start);
        self.skip.dedup();
    }

    /// Where the octet at `old` of the original stands in the edited message.
    pub fn new_offset(&self, old: u64) -> u64 {
        let skipped: u64 = self
            .skip
            .iter()
            .filter(|r| r.start < old)
            .map(|r| r.end.min(old).saturating_sub(r.start))
            .fold(0, u64::saturating_add);
        old.saturating_add(self.prefix.len() as u64).saturating_sub(skipped)
    }

    /// Octets of the edited message, for an original of `old` octets.
    pub fn new_len(&self, old: u64) -> u64 {
        self.new_offset(old)
    }

    /// What stays of `chunk`, which stands at `offset` of the original: sub-slices in order.
    pub fn kept<'c>(&self, offset: u64, chunk: &'c [u8]) -> impl Iterator<Item = &'c [u8]> {
        let end = offset.saturating_add(chunk.len() as u64);
        let mut at = offset;
        let mut skip = self.skip.iter().filter(move |r| r.end > offset && r.start < end);
        let mut done = false;
        core::iter::from_fn(move || {
            while !done {
                let (until, next) = match skip.next() {
                    Some(range) => (range.start.max(at), range.end.min(end)),
                    None => {
                        done = true;
                        (end, end)
                    }
                };
                let from = at;
                at = next.max(at);
                if until > from {
                    return Some(&chunk[(from - offset) as usize..(until - offset) as usize]);
                }
            }
            None
        })
    }
}

/// Whether a field is an Authentication-Results that bears `authserv_id` (RFC 8601 §2.2, §5), in any letter
/// case. One whose identifier cannot be read counts as bearing it: it must not pass for ours.
pub fn is_authentication_results_by(field: &Field<'_>, authserv_id: &str) -> bool {
    // A space before the colon does not make it harmless: some readers accept that.
    if !trim(field.name).eq_ignore_ascii_case(b"Authentication-Results") {
        return false;
    }
    let mut value = field.value;
    loop {
        value = trim(value);
        if !value.starts_with(b"(") {
            break;
        }
        match super::address_list::skip_comment(value) {
            Some(rest) => value = rest,
            None => return true,
        }
    }
    let quoted = value.starts_with(b"\"");
    let mut id = Vec::new();
    let mut bytes = value.iter().skip(usize::from(quoted));
    while let Some(&b) = bytes.next() {
        match b {
            b'"' if quoted => break,
            b'\\' if quoted => id.extend(bytes.next()),
            b';' | b' ' | b'\t' | b'\r' | b'\n' | b'(' if !quoted => break,
            _ => id.push(b),
        }
    }
    let id = id.strip_suffix(b".").unwrap_or(&id);
    id.is_empty() || id.eq_ignore_ascii_case(authserv_id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const BLOCK: &[u8] =
        b"From: a@b\r\nSubject: one\r\n two\r\nBcc: x@y\r\nX :y\r\n junk\r\nnocolon\r\n\r\nTo: body\r\n";

    #[test]
    fn fields_are_walked_to_the_blank_line() {
        let got: Vec<_> = Fields::new(BLOCK).map(|f| (f.name, f.value, f.well_formed)).collect();
        assert_eq!(
            got,
            [
                (&b"From"[..], &b" a@b"[..], true),
                (b"Subject", b" one\r\n two", true),
                (b"Bcc", b" x@y", true),
                (b"X ", b"y\r\n junk", false),
                (b"", b"nocolon", false),
            ]
        );
        assert_eq!(header_len(BLOCK), BLOCK.len() - 10);
        assert_eq!(header_len(b"A: b\n\nbody"), 6);
        assert_eq!(header_len(b"A: b"), 4);
        assert_eq!(
            Fields::find(BLOCK, "SUBJECT").map(|f| unfold(f.value).into_owned()),
            Some(b"one two".to_vec())
        );
        assert_eq!(Fields::find(BLOCK, "to"), None);
    }

    #[test]
    fn an_edit_leaves_ranges_out_for_every_chunking() {
        let mut edit = Edit { prefix: b"Received: x\r\n".to_vec(), ..Edit::default() };
        edit.skip_fields(BLOCK, |f| f.is("bcc"));
        edit.skip_fields(BLOCK, |f| f.is("from"));
        let want = b"Subject: one\r\n two\r\nX :y\r\n junk\r\nnocolon\r\n\r\nTo: body\r\n";
        for size in 1..=BLOCK.len() {
            let mut got = Vec::new();
            for (i, chunk) in BLOCK.chunks(size).enumerate() {
                for piece in edit.kept((i * size) as u64, chunk) {
                    got.extend_from_slice(piece);
                }
            }
            assert_eq!(got, want);
        }
        assert_eq!(edit.new_len(BLOCK.len() as u64), (want.len() + 13) as u64);
    }

    #[test]
    fn message_ids_are_found_between_anything() {
        let got: Vec<_> = message_ids(b"<a@b> (c) <c@d>,junk <e <f@g> <> <h i> <open").collect();
        assert_eq!(got, vec![&b"<a@b>"[..], b"<c@d>", b"<f@g>"]);
    }

    #[test]
    fn si28_authentication_results_with_our_id_are_recognised() {
        for (raw, ours) in [
            ("Authentication-Results: mx.test; dkim=pass", true),
            ("authentication-results: MX.test 1; spf=pass", true),
            ("Authentication-Results:\r\n (c (d)) \"mx.te\\st\" 1 ; none", true),
            ("Authentication-Results : mx.test; dkim=pass", true),
            ("Authentication-Results: mx.test.; dkim=pass", true),
            ("Authentication-Results: (open mx.other; dkim=pass", true),
            ("Authentication-Results: mx.test.evil; dkim=pass", false),
            ("Authentication-Results: other; x=mx.test", false),
            ("X-Authentication-Results: mx.test; dkim=pass", false),
        ] {
            assert_eq!(
                is_authentication_results_by(&split_field(raw.as_bytes(), 0), "mx.test"),
                ours,
                "{raw}"
            );
        }
    }
}
