//! Syntax of paths and mailboxes (RFC 5321 §4.1.2, with RFC 6531 §3.3 for non-ASCII ones), borrowed.
//!
//! Only what the grammar allows is accepted. Which mailboxes mean the same is not decided here.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use protocol_core::SendBuf;

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
    pub fn reverse(input: &'b str) -> Result<(Path<'b>, &'b str), AddressError> {
        if let Some(rest) = input.strip_prefix("<>") {
            return Ok((Path::Null, rest));
        }
        let (mailbox, rest) = bracketed(input)?;
        Ok((Path::Mailbox(mailbox), rest))
    }

    /// Reads a forward-path from the front of `input`; the rest is returned beside it.
    pub fn forward(input: &'b str) -> Result<(Path<'b>, &'b str), AddressError> {
        const POSTMASTER: &str = "<postmaster>";
        match bracketed(input) {
            Ok((mailbox, rest)) => Ok((Path::Mailbox(mailbox), rest)),
            Err(error) => match input.split_at_checked(POSTMASTER.len()) {
                Some((front, rest)) if front.eq_ignore_ascii_case(POSTMASTER) => Ok((Path::Postmaster, rest)),
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
        let (mailbox, rest) = mailbox(text)?;
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
const QTEXT: u8 = 4;
const NON_ASCII: u8 = 8;
/// What a label holds: LET_DIG and the hyphen.
const LABEL: u8 = 16;
const CLIENT_NAME: u8 = 32;

/// What each octet may be, so that scanning costs one look-up for each.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut class = [0; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        if b.is_ascii_alphanumeric() {
            class[i] |= ATEXT | LET_DIG | LABEL | CLIENT_NAME;
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
        // RFC 5321 §4.1.2, qtextSMTP.
        if matches!(b, 32..=33 | 35..=91 | 93..=126) {
            class[i] |= QTEXT;
        }
        if b == b'-' {
            class[i] |= LABEL;
        }
        if matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']') {
            class[i] |= CLIENT_NAME;
        }
        // RFC 6531 §3.3 adds UTF-8 to local parts and labels.
        if b >= 0x80 {
            class[i] |= ATEXT | LET_DIG | LABEL | QTEXT | NON_ASCII;
        }
        i += 1;
    }
    class
}

#[inline]
fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

#[inline]
fn is(b: u8, wanted: u8) -> bool {
    class(b) & wanted != 0
}

#[inline]
fn bracketed(input: &str) -> Result<(Mailbox<'_>, &str), AddressError> {
    let inner = input.strip_prefix('<').ok_or(AddressError::Syntax)?;
    let inner = if inner.starts_with('@') { skip_route(inner)? } else { inner };
    let (mailbox, rest) = mailbox(inner)?;
    let rest = rest.strip_prefix('>').ok_or(AddressError::Syntax)?;
    if mailbox.text.len() + 2 > PATH_MAX {
        return Err(AddressError::TooLong);
    }
    Ok((mailbox, rest))
}

/// RFC 5321 §4.1.2 `A-d-l ":"`, which must be accepted and ignored (§4.1.1.3, appendix C).
fn skip_route(mut input: &str) -> Result<&str, AddressError> {
    while let Some(rest) = input.strip_prefix('@') {
        let (len, _) = domain_len(rest.as_bytes())?;
        let rest = rest.get(len..).ok_or(AddressError::Syntax)?;
        if let Some(rest) = rest.strip_prefix(':') {
            return Ok(rest);
        }
        input = rest.strip_prefix(',').filter(|r| r.starts_with('@')).ok_or(AddressError::Syntax)?;
    }
    Ok(input)
}

/// Reads a mailbox from the front; the rest begins at the first character that can't belong to it.
#[inline]
fn mailbox(input: &str) -> Result<(Mailbox<'_>, &str), AddressError> {
    let bytes = input.as_bytes();
    let (at, local_seen) = local_len(bytes)?;
    if at > LOCAL_PART_MAX {
        return Err(AddressError::TooLong);
    }
    let Some((b'@', domain)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
        return Err(AddressError::Syntax);
    };
    let (len, seen) =
        if domain.first() == Some(&b'[') { (literal_len(domain)?, 0) } else { domain_len(domain)? };
    let (text, rest) = input.split_at_checked(at + 1 + len).ok_or(AddressError::Syntax)?;
    let ascii = (local_seen | seen) & NON_ASCII == 0;
    if !ascii && text.chars().any(is_deceptive) {
        return Err(AddressError::Syntax);
    }
    Ok((Mailbox { text, at: at as u8, ascii }, rest))
}

/// Controls, separators that end a line in some displays, marks that reorder text, and code points that are
/// no characters: never part of an address, and dangerous in logs.
pub(crate) fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{a0}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fdd0}'..='\u{fdef}')
        || (c as u32) & 0xfffe == 0xfffe
}

/// Length of the local part, and the classes of the octets it holds.
#[inline]
fn local_len(input: &[u8]) -> Result<(usize, u8), AddressError> {
    if input.first() == Some(&b'"') {
        return quoted_len(input);
    }
    let (mut seen, mut atom) = (0, 0);
    for (i, &b) in input.iter().enumerate() {
        let class = class(b);
        seen |= class;
        if class & ATEXT != 0 {
            continue;
        }
        // RFC 5321 §4.1.2, Dot-string: no dot at an end, none beside another.
        if i == atom || !matches!(b, b'.' | b'@') {
            return Err(AddressError::Syntax);
        }
        if b == b'@' {
            return Ok((i, seen));
        }
        atom = i + 1;
    }
    Err(AddressError::Syntax)
}

/// Length of a quoted string with its quotes (RFC 5321 §4.1.2, Quoted-string).
fn quoted_len(input: &[u8]) -> Result<(usize, u8), AddressError> {
    let mut seen = 0;
    let mut octets = input.iter().enumerate().skip(1);
    while let Some((i, &b)) = octets.next() {
        seen |= class(b);
        match b {
            b'"' => return Ok((i + 1, seen)),
            b'\\' => match octets.next() {
                Some((_, 32..=126)) => {}
                _ => return Err(AddressError::Syntax),
            },
            _ if is(b, QTEXT) => {}
            _ => return Err(AddressError::Syntax),
        }
    }
    Err(AddressError::Syntax)
}

/// Length of the domain at the front of `input`, which ends at the first octet that no domain holds, and the
/// classes of the octets it holds.
#[inline]
fn domain_len(input: &[u8]) -> Result<(usize, u8), AddressError> {
    let (mut seen, mut label, mut len) = (0, 0, input.len());
    for (i, &b) in input.iter().enumerate() {
        let class = class(b);
        if class & LABEL != 0 {
            seen |= class;
            continue;
        }
        check_label(input.get(label..i).unwrap_or_default())?;
        if b != b'.' {
            len = i;
            break;
        }
        label = i + 1;
    }
    if len == input.len() {
        check_label(input.get(label..).unwrap_or_default())?;
    }
    if len > DOMAIN_MAX { Err(AddressError::TooLong) } else { Ok((len, seen)) }
}

#[inline]
fn check_label(label: &[u8]) -> Result<(), AddressError> {
    match label {
        [] | [b'-', ..] | [.., b'-'] => Err(AddressError::Syntax),
        // The limit of a U-label is that of its A-label, which is computed with the canonical form.
        label if label.len() > LABEL_MAX && label.is_ascii() => Err(AddressError::TooLong),
        _ => Ok(()),
    }
}

fn literal_len(input: &[u8]) -> Result<usize, AddressError> {
    let end = memchr::memchr(b']', input.get(..input.len().min(DOMAIN_MAX + 1)).unwrap_or(input))
        .ok_or(AddressError::Syntax)?;
    let inner = core::str::from_utf8(&input[1..end]).map_err(|_| AddressError::Syntax)?;
    if end + 1 > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    Literal::parse(inner).map(|_| end + 1).ok_or(AddressError::Syntax)
}

#[cfg(test)]
mod tests;
