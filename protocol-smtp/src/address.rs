//! Syntax of paths and mailboxes (RFC 5321 §4.1.2, with RFC 6531 §3.3 for non-ASCII ones), borrowed.
//!
//! Only what the grammar allows is accepted. Which mailboxes mean the same is not decided here.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use protocol_core::SendBuf;

use crate::limits::{DOMAIN_MAX, LABEL_MAX, LOCAL_PART_MAX, PATH_MAX};
use crate::word::{self, Others};

mod class;

pub use class::is_client_name;
use class::{ATEXT, LET_DIG, is};

/// Why an address was refused. Always the fault of who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Not what the grammar allows.
    Syntax,
    /// A part is longer than RFC 5321 §4.5.3.1 allows.
    TooLong,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Syntax => "address has bad syntax",
            AddressError::TooLong => "address is too long",
        })
    }
}

impl core::error::Error for AddressError {}

/// A reverse-path or forward-path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path<'b> {
    /// `<>`: the sender of notifications (RFC 5321 §4.5.5). Never a recipient.
    Null,
    /// `<postmaster>` without a domain (RFC 5321 §4.1.1.3). Never a sender.
    Postmaster,
    /// `<local@domain>`; a source route before it was dropped (RFC 5321 appendix C).
    Mailbox(Mailbox<'b>),
}

impl<'b> Path<'b> {
    /// Reads a reverse-path from the front of `input`; the rest is returned beside it.
    pub fn reverse(input: &'b str) -> Result<(Path<'b>, &'b str), AddressError> {
        let (path, end) = Path::reverse_at(input, 0)?;
        Ok((path, input.get(end..).unwrap_or("")))
    }

    /// Reads a forward-path from the front of `input`; the rest is returned beside it.
    pub fn forward(input: &'b str) -> Result<(Path<'b>, &'b str), AddressError> {
        let (path, end) = Path::forward_at(input, 0)?;
        Ok((path, input.get(end..).unwrap_or("")))
    }

    /// Reads a reverse-path that begins at `at`; where it ends is returned beside it.
    #[inline(always)]
    pub(crate) fn reverse_at(line: &'b str, at: usize) -> Result<(Path<'b>, usize), AddressError> {
        match bracketed(line, at) {
            Ok((mailbox, end)) => Ok((Path::Mailbox(mailbox), end)),
            Err(_) if word::stands_at(line.as_bytes(), at, b"<>") => Ok((Path::Null, at + 2)),
            Err(error) => Err(error),
        }
    }

    /// Reads a forward-path that begins at `at`; where it ends is returned beside it.
    #[inline(always)]
    pub(crate) fn forward_at(line: &'b str, at: usize) -> Result<(Path<'b>, usize), AddressError> {
        match bracketed(line, at) {
            Ok((mailbox, end)) => Ok((Path::Mailbox(mailbox), end)),
            Err(_) if word::stands_at(line.as_bytes(), at, b"<POSTMASTER>") => {
                Ok((Path::Postmaster, at + 12))
            }
            Err(error) => Err(error),
        }
    }

    /// The mailbox, when the path holds one.
    pub fn mailbox(&self) -> Option<Mailbox<'b>> {
        match self {
            Path::Mailbox(mailbox) => Some(*mailbox),
            Path::Null | Path::Postmaster => None,
        }
    }

    /// Whether this is `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, Path::Null)
    }

    /// Whether it goes over a connection without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.mailbox().is_none_or(|m| m.ascii)
    }

    /// Appends the path with its angle brackets.
    pub fn write(&self, out: &mut SendBuf) {
        out.push_u8(b'<');
        match self {
            Path::Null => {}
            Path::Postmaster => out.push(b"postmaster"),
            Path::Mailbox(mailbox) => out.push(mailbox.as_str().as_bytes()),
        }
        out.push_u8(b'>');
    }
}

impl fmt::Display for Path<'_> {
    /// With angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Null => f.write_str("<>"),
            Path::Postmaster => f.write_str("<postmaster>"),
            Path::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// `local@domain` as written, known to be well-formed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'b> {
    text: &'b str,
    /// Where the `@` stands that ends the local part; not over [`LOCAL_PART_MAX`].
    at: u8,
    ascii: bool,
}

impl<'b> Mailbox<'b> {
    /// Reads a whole mailbox, without angle brackets.
    pub fn parse(text: &'b str) -> Result<Mailbox<'b>, AddressError> {
        let (mailbox, end) = mailbox(text, 0)?;
        if end == text.len() { Ok(mailbox) } else { Err(AddressError::Syntax) }
    }

    /// As written.
    pub fn as_str(&self) -> &'b str {
        self.text
    }

    /// Local part as written, quotes and backslashes included.
    pub fn local(&self) -> &'b str {
        self.text.split_at_checked(usize::from(self.at)).map_or("", |(local, _)| local)
    }

    /// Local part without quotes and backslashes.
    pub fn local_unquoted(&self) -> impl Iterator<Item = char> + use<'b> {
        let local = self.local();
        let inner = local.strip_prefix('"').and_then(|l| l.strip_suffix('"'));
        let quoted = inner.is_some();
        let mut chars = inner.unwrap_or(local).chars();
        core::iter::from_fn(move || match chars.next() {
            Some('\\') if quoted => chars.next(),
            other => other,
        })
    }

    /// Domain as written; an address literal keeps its square brackets.
    pub fn domain(&self) -> &'b str {
        self.text.get(usize::from(self.at) + 1..).unwrap_or("")
    }

    /// The address literal that stands for the domain, if one does.
    pub fn literal(&self) -> Option<Literal<'b>> {
        let inner = self.domain().strip_prefix('[')?.strip_suffix(']')?;
        Literal::parse(inner)
    }
}

impl fmt::Display for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl fmt::Debug for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text, f)
    }
}

/// What stands between square brackets (RFC 5321 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal<'b> {
    /// `[192.0.2.1]`
    V4(Ipv4Addr),
    /// `[IPv6:2001:db8::1]`
    V6(Ipv6Addr),
    /// `[tag:content]`
    General {
        /// Registered name of the form.
        tag: &'b str,
        /// What the form says it is.
        content: &'b str,
    },
}

impl<'b> Literal<'b> {
    /// Reads a literal without its square brackets.
    pub fn parse(inner: &'b str) -> Option<Literal<'b>> {
        let Some((tag, content)) = inner.split_once(':') else {
            return inner.parse().ok().map(Literal::V4);
        };
        if tag.eq_ignore_ascii_case("IPv6") {
            return content.parse().ok().map(Literal::V6);
        }
        let tag_fits = tag.bytes().all(|b| is(b, LET_DIG) || b == b'-')
            && tag.bytes().last().is_some_and(|b| is(b, LET_DIG));
        let content_fits = !content.is_empty() && content.bytes().all(|b| matches!(b, 33..=90 | 94..=126));
        (tag_fits && content_fits).then_some(Literal::General { tag, content })
    }
}

#[inline(always)]
fn bracketed(line: &str, at: usize) -> Result<(Mailbox<'_>, usize), AddressError> {
    let octets = line.as_bytes();
    if octets.get(at) != Some(&b'<') {
        return Err(AddressError::Syntax);
    }
    let mut begin = at + 1;
    // No local part begins with what begins a route.
    let (mailbox, end) = match mailbox(line, begin) {
        Err(_) if octets.get(begin) == Some(&b'@') => {
            begin = skip_route(octets, begin)?;
            routed(line, begin)?
        }
        found => found?,
    };
    if octets.get(end) != Some(&b'>') {
        return Err(AddressError::Syntax);
    }
    if end - begin + 2 > PATH_MAX {
        return Err(AddressError::TooLong);
    }
    Ok((mailbox, end + 1))
}

/// The mailbox behind a route.
#[cold]
fn routed(line: &str, begin: usize) -> Result<(Mailbox<'_>, usize), AddressError> {
    mailbox(line, begin)
}

/// RFC 5321 §4.1.2 `A-d-l ":"`, which must be accepted and ignored (§4.1.1.3, appendix C): where it ends.
#[cold]
fn skip_route(octets: &[u8], mut at: usize) -> Result<usize, AddressError> {
    while octets.get(at) == Some(&b'@') {
        let end = domain(octets, at + 1, &mut Others::new(octets, at + 1))?.end;
        match octets.get(end) {
            Some(b':') => return Ok(end + 1),
            Some(b',') => at = end + 1,
            _ => break,
        }
    }
    Err(AddressError::Syntax)
}

/// Reads a mailbox that begins at `begin`; it ends at the first octet that can't belong to it.
#[inline(always)]
fn mailbox(line: &str, begin: usize) -> Result<(Mailbox<'_>, usize), AddressError> {
    let octets = line.as_bytes();
    let mut others = Others::new(octets, begin);
    let local = match local_part(octets, begin, &mut others) {
        // No other local part begins with a quote.
        Err(_) if octets.get(begin) == Some(&b'"') => {
            let local = quoted_string(octets, begin)?;
            others = Others::new(octets, local.end + 1);
            local
        }
        found => found?,
    };
    let at = local.end - begin;
    if at > LOCAL_PART_MAX {
        return Err(AddressError::TooLong);
    }
    if octets.get(local.end) != Some(&b'@') {
        return Err(AddressError::Syntax);
    }
    let domain = match domain(octets, local.end + 1, &mut others) {
        // No domain does.
        Err(_) if octets.get(local.end + 1) == Some(&b'[') => literal(line, local.end + 1)?,
        found => found?,
    };
    let text = line.get(begin..domain.end).ok_or(AddressError::Syntax)?;
    let ascii = local.ascii && domain.ascii;
    if !ascii && text.chars().any(is_deceptive) {
        return Err(AddressError::Syntax);
    }
    Ok((Mailbox { text, at: at as u8, ascii }, domain.end))
}

/// Controls, separators that end a line in some displays, marks that reorder text, and code points that are
/// no characters: never part of an address, and dangerous in logs.
pub(crate) fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{a0}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}')
        || (c as u32) & 0xfffe == 0xfffe
}

/// Where a part of a mailbox ends, and whether it is ASCII.
#[derive(Clone, Copy)]
struct Span {
    end: usize,
    ascii: bool,
}

/// The local part that begins at `begin` and ends at an `@`. `others` are those of its octets that are neither
/// letters nor digits, and those behind it are left.
#[inline(always)]
fn local_part(octets: &[u8], begin: usize, others: &mut Others<'_>) -> Result<Span, AddressError> {
    let (mut atom, mut ascii) = (begin, true);
    loop {
        let at = others.next();
        match octets.get(at) {
            // RFC 5321 §4.1.2, Dot-string: no dot at an end, none beside another.
            Some(b'.') if at != atom => atom = at + 1,
            Some(b'@') if at != atom => return Ok(Span { end: at, ascii }),
            // RFC 6531 §3.3.
            Some(0x80..) => ascii = false,
            Some(&b) if is(b, ATEXT) => {}
            _ => return Err(AddressError::Syntax),
        }
    }
}

/// A quoted string with its quotes (RFC 5321 §4.1.2, Quoted-string).
#[cold]
fn quoted_string(line: &[u8], begin: usize) -> Result<Span, AddressError> {
    let mut ascii = true;
    let mut octets = line.iter().enumerate().skip(begin + 1);
    while let Some((i, &b)) = octets.next() {
        match b {
            b'"' => return Ok(Span { end: i + 1, ascii }),
            b'\\' => match octets.next() {
                Some((_, 32..=126)) => {}
                _ => return Err(AddressError::Syntax),
            },
            // qtextSMTP.
            b' '..=b'~' => {}
            0x80.. => ascii = false,
            _ => return Err(AddressError::Syntax),
        }
    }
    Err(AddressError::Syntax)
}

/// The domain that begins at `begin`, which ends at the first octet that no domain holds. `others` are those of
/// the octets from there on that are neither letters nor digits.
#[inline(always)]
fn domain(octets: &[u8], begin: usize, others: &mut Others<'_>) -> Result<Span, AddressError> {
    // Where the label begins, and where it or what is behind its last hyphen begins: neither a dot nor the end may
    // stand there.
    let (mut label, mut barred, mut ascii) = (begin, begin, true);
    loop {
        let at = others.next();
        let b = octets.get(at).copied().unwrap_or(0);
        match b {
            b'-' if at != label => barred = at + 1,
            // RFC 6531 §3.3.
            0x80.. => ascii = false,
            _ => {
                if at == barred {
                    return Err(AddressError::Syntax);
                }
                // The limit of a U-label is that of its A-label, which is computed with the canonical form.
                if at - label > LABEL_MAX && (ascii || octets[label..at].is_ascii()) {
                    return Err(AddressError::TooLong);
                }
                if b != b'.' {
                    let fits = at - begin <= DOMAIN_MAX;
                    return if fits { Ok(Span { end: at, ascii }) } else { Err(AddressError::TooLong) };
                }
                label = at + 1;
                barred = label;
            }
        }
    }
}

/// The address literal that begins at `begin`, with its square brackets.
#[cold]
fn literal(line: &str, begin: usize) -> Result<Span, AddressError> {
    let rest = line.as_bytes().get(begin..).unwrap_or_default();
    let end = memchr::memchr(b']', rest.get(..DOMAIN_MAX + 1).unwrap_or(rest)).ok_or(AddressError::Syntax)?;
    let inner = line.get(begin + 1..begin + end).ok_or(AddressError::Syntax)?;
    if end + 1 > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    let span = Span { end: begin + end + 1, ascii: true };
    Literal::parse(inner).map(|_| span).ok_or(AddressError::Syntax)
}

#[cfg(test)]
mod tests;
