//! Syntax of paths and mailboxes (RFC 5321 §4.1.2, with RFC 6531 §3.3 for non-ASCII ones), borrowed.
//!
//! Only what the grammar allows is accepted. Which mailboxes mean the same is not decided here.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str;

use protocol_core::SendBuf;

use crate::keyword::is_keyword;
use crate::limits::{DOMAIN_MAX, LABEL_MAX, LOCAL_PART_MAX, PATH_MAX};

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
    #[inline(always)]
    pub fn reverse(input: &'b [u8]) -> Result<(Path<'b>, &'b [u8]), AddressError> {
        if let Some(rest) = input.strip_prefix(b"<>") {
            return Ok((Path::Null, rest));
        }
        let (mailbox, rest) = bracketed(input)?;
        Ok((Path::Mailbox(mailbox), rest))
    }

    /// Reads a forward-path from the front of `input`; the rest is returned beside it.
    #[inline(always)]
    pub fn forward(input: &'b [u8]) -> Result<(Path<'b>, &'b [u8]), AddressError> {
        match bracketed(input) {
            Ok((mailbox, rest)) => Ok((Path::Mailbox(mailbox), rest)),
            Err(error) => match input.split_first_chunk() {
                Some((front, rest)) if is_keyword(front, b"<POSTMASTER>") => Ok((Path::Postmaster, rest)),
                _ => Err(error),
            },
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
        let (mailbox, rest) = mailbox(text.as_bytes())?;
        if rest.is_empty() { Ok(mailbox) } else { Err(AddressError::Syntax) }
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

/// Whether `name` may stand in EHLO, HELO or LHLO.
///
/// Names without dots and with underscores are common there and harmless, so more is allowed than a domain;
/// what is allowed can stand in a trace field and in a log line without quoting.
pub fn is_client_name(name: &[u8]) -> bool {
    (1..=DOMAIN_MAX).contains(&name.len())
        && name.iter().fold(CLIENT_NAME, |all, &b| all & class(b)) == CLIENT_NAME
}

const ATEXT: u8 = 1;
const LET_DIG: u8 = 2;
const CLIENT_NAME: u8 = 4;

/// What each octet may be, so that scanning costs one look-up for each.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut class = [0; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        if b.is_ascii_alphanumeric() {
            class[i] |= ATEXT | LET_DIG | CLIENT_NAME;
        }
        // RFC 5322 §3.2.3.
        if matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
        ) || matches!(b, b'{' | b'|' | b'}' | b'~')
        {
            class[i] |= ATEXT;
        }
        if matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']') {
            class[i] |= CLIENT_NAME;
        }
        i += 1;
    }
    class
}

#[inline(always)]
fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

#[inline(always)]
fn is(b: u8, wanted: u8) -> bool {
    class(b) & wanted != 0
}

#[inline(always)]
fn bracketed(input: &[u8]) -> Result<(Mailbox<'_>, &[u8]), AddressError> {
    let inner = match input {
        [b'<', b'@', ..] => skip_route(&input[1..])?,
        [b'<', inner @ ..] => inner,
        _ => return Err(AddressError::Syntax),
    };
    let (mailbox, rest) = mailbox(inner)?;
    let Some((b'>', rest)) = rest.split_first() else { return Err(AddressError::Syntax) };
    if mailbox.text.len() + 2 > PATH_MAX {
        return Err(AddressError::TooLong);
    }
    Ok((mailbox, rest))
}

/// RFC 5321 §4.1.2 `A-d-l ":"`, which must be accepted and ignored (§4.1.1.3, appendix C).
#[cold]
fn skip_route(route: &[u8]) -> Result<&[u8], AddressError> {
    let mut input = route;
    while let [b'@', rest @ ..] = input {
        let len = domain(rest)?.len;
        match rest.split_at(len) {
            (host, [b':', rest @ ..]) if str::from_utf8(host).is_ok() => return Ok(rest),
            (host, [b',', rest @ ..]) if str::from_utf8(host).is_ok() => input = rest,
            _ => break,
        }
    }
    Err(AddressError::Syntax)
}

/// Reads a mailbox from the front; the rest begins at the first octet that can't belong to it.
#[inline(always)]
fn mailbox(input: &[u8]) -> Result<(Mailbox<'_>, &[u8]), AddressError> {
    let local = local_part(input)?;
    if local.len > LOCAL_PART_MAX {
        return Err(AddressError::TooLong);
    }
    let behind = match input.get(local.len..) {
        Some([b'@', behind @ ..]) => behind,
        _ => return Err(AddressError::Syntax),
    };
    let domain = if behind.first() == Some(&b'[') { literal(behind)? } else { domain(behind)? };
    let (text, rest) = input.split_at(local.len + 1 + domain.len);
    let text = str::from_utf8(text).map_err(|_| AddressError::Syntax)?;
    let ascii = local.ascii && domain.ascii;
    if !ascii && text.chars().any(is_deceptive) {
        return Err(AddressError::Syntax);
    }
    Ok((Mailbox { text, at: local.len as u8, ascii }, rest))
}

/// Controls, separators that end a line in some displays, marks that reorder text, and code points that are
/// no characters: never part of an address, and dangerous in logs.
pub(crate) fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{a0}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}')
        || (c as u32) & 0xfffe == 0xfffe
}

/// How far a part of a mailbox goes, and whether it is ASCII.
#[derive(Clone, Copy)]
struct Span {
    len: usize,
    ascii: bool,
}

/// The local part at the front of `input`, which ends at an `@` or with a quote.
#[inline]
fn local_part(input: &[u8]) -> Result<Span, AddressError> {
    if input.first() == Some(&b'"') {
        return quoted_string(input);
    }
    let (mut len, mut atom, mut ascii) = (0, 0, true);
    while let Some(&b) = input.get(len) {
        if !is(b, ATEXT) {
            match b {
                // RFC 6531 §3.3.
                0x80.. => ascii = false,
                // RFC 5321 §4.1.2, Dot-string: no dot at an end, none beside another.
                b'.' if len != atom => atom = len + 1,
                b'@' if len != atom => return Ok(Span { len, ascii }),
                _ => return Err(AddressError::Syntax),
            }
        }
        len += 1;
    }
    Err(AddressError::Syntax)
}

/// A quoted string with its quotes (RFC 5321 §4.1.2, Quoted-string).
#[cold]
fn quoted_string(input: &[u8]) -> Result<Span, AddressError> {
    let mut ascii = true;
    let mut octets = input.iter().enumerate().skip(1);
    while let Some((i, &b)) = octets.next() {
        match b {
            b'"' => return Ok(Span { len: i + 1, ascii }),
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

/// The domain at the front of `input`, which ends at the first octet that no domain holds.
#[inline]
fn domain(input: &[u8]) -> Result<Span, AddressError> {
    // Where the label begins, and where its last hyphen ends: neither a dot nor the end may stand there.
    let (mut len, mut label, mut hyphen, mut ascii) = (0, 0, 0, true);
    loop {
        let b = input.get(len).copied().unwrap_or(0);
        if !is(b, LET_DIG) {
            match b {
                // RFC 6531 §3.3.
                0x80.. => ascii = false,
                b'-' if len != label => hyphen = len + 1,
                _ => {
                    if len == label || len == hyphen {
                        return Err(AddressError::Syntax);
                    }
                    // The limit of a U-label is that of its A-label, which is computed with the canonical form.
                    if len - label > LABEL_MAX && (ascii || input[label..len].is_ascii()) {
                        return Err(AddressError::TooLong);
                    }
                    if b != b'.' {
                        break;
                    }
                    label = len + 1;
                }
            }
        }
        len += 1;
    }
    if len > DOMAIN_MAX { Err(AddressError::TooLong) } else { Ok(Span { len, ascii }) }
}

/// The address literal at the front of `input`, with its square brackets.
#[cold]
fn literal(input: &[u8]) -> Result<Span, AddressError> {
    let end = memchr::memchr(b']', input.get(..input.len().min(DOMAIN_MAX + 1)).unwrap_or(input))
        .ok_or(AddressError::Syntax)?;
    let inner = str::from_utf8(&input[1..end]).map_err(|_| AddressError::Syntax)?;
    if end + 1 > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    Literal::parse(inner).map(|_| Span { len: end + 1, ascii: true }).ok_or(AddressError::Syntax)
}

#[cfg(test)]
mod tests;
