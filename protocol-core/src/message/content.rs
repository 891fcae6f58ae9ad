//! Content-Type, Content-Disposition and Content-Transfer-Encoding (RFC 2045, RFC 2183, RFC 2231).

use alloc::string::String;
use alloc::vec::Vec;

use super::header::unfold;
use super::limits::{CONTENT_FIELD_MAX, PARAM_PIECES_MAX, PARAM_VALUE_MAX, PARAMS_MAX};

/// One parameter. A name that ends in `*` has an extended value, `charset'language'percent-encoded` in ASCII,
/// as BODYSTRUCTURE shows it; pieces (`name*0`, `name*1*`) are joined into one (RFC 2231 §3, §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// In lower case; with a final `*` when the value is extended.
    pub name: String,
    /// Quotes removed; not decoded.
    pub value: Vec<u8>,
}

/// Content-Disposition (RFC 2183).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// In lower case: `inline`, `attachment`, or another token.
    pub kind: String,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// Content-Transfer-Encoding (RFC 2045 §6).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Encoding {
    #[default]
    SevenBit,
    EightBit,
    Binary,
    QuotedPrintable,
    Base64,
    /// Another token, in lower case. The content cannot be decoded (RFC 2045 §6.4: treat as opaque octets).
    Other(String),
}

impl Encoding {
    /// The token in lower case, as BODYSTRUCTURE shows it.
    pub fn name(&self) -> &str {
        match self {
            Encoding::SevenBit => "7bit",
            Encoding::EightBit => "8bit",
            Encoding::Binary => "binary",
            Encoding::QuotedPrintable => "quoted-printable",
            Encoding::Base64 => "base64",
            Encoding::Other(token) => token,
        }
    }

    /// Whether the content stands as it is.
    pub fn is_identity(&self) -> bool {
        matches!(self, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
    }

    /// From a field's value; `None` when it holds no token.
    pub fn parse(value: &[u8]) -> Option<Encoding> {
        let mut cursor = Cursor::new(value);
        let token = lower(cursor.token()?);
        Some(match token.as_str() {
            "7bit" => Encoding::SevenBit,
            "8bit" => Encoding::EightBit,
            "binary" => Encoding::Binary,
            "quoted-printable" => Encoding::QuotedPrintable,
            "base64" => Encoding::Base64,
            _ => Encoding::Other(token),
        })
    }
}

/// A field with parameters, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub first: String,
    /// Subtype of a media type; empty for a disposition.
    pub second: String,
    pub params: Vec<Param>,
    /// A parameter stands there twice; the first counts.
    pub duplicate: bool,
    /// Something could not be read, or was over a limit.
    pub faulty: bool,
}

/// Content-Type; `None` when it has no `type/subtype`.
pub(super) fn media_type(value: &[u8]) -> Option<Parsed> {
    let mut cursor = Cursor::new(value);
    let first = lower(cursor.token()?);
    cursor.expect(b'/')?;
    let second = lower(cursor.token()?);
    Some(parameters(cursor, Parsed { first, second, ..Parsed::default() }))
}

/// Content-Disposition; `None` when it has no token.
pub(super) fn disposition(value: &[u8]) -> Option<Parsed> {
    let mut cursor = Cursor::new(value);
    let first = lower(cursor.token()?);
    Some(parameters(cursor, Parsed { first, ..Parsed::default() }))
}

/// One piece as written: `filename*1*=...` is name `filename`, section 1, extended.
struct Piece {
    name: String,
    section: Option<u32>,
    extended: bool,
    value: Vec<u8>,
}

fn parameters(mut cursor: Cursor<'_>, mut parsed: Parsed) -> Parsed {
    parsed.faulty |= cursor.cut;
    let mut pieces: Vec<Piece> = Vec::new();
    loop {
        cursor.skip_cfws();
        match cursor.peek() {
            None => break,
            Some(b';') => {
                cursor.at += 1;
                continue;
            }
            Some(_) => {}
        }
        if pieces.len() >= PARAM_PIECES_MAX {
            parsed.faulty = true;
            break;
        }
        match piece(&mut cursor) {
            Some(mut piece) => {
                parsed.faulty |= piece.value.len() > PARAM_VALUE_MAX;
                piece.value.truncate(PARAM_VALUE_MAX);
                pieces.push(piece);
            }
            None => {
                parsed.faulty = true;
                cursor.skip_past_semicolon();
            }
        }
    }
    join(pieces, &mut parsed);
    parsed
}

fn piece(cursor: &mut Cursor<'_>) -> Option<Piece> {
    let attribute = lower(cursor.token()?);
    cursor.expect(b'=')?;
    let value = cursor.value()?;
    let (attribute, extended) = match attribute.strip_suffix('*') {
        Some(name) => (name, true),
        None => (attribute.as_str(), false),
    };
    let (name, section) = match attribute.split_once('*') {
        Some((name, number)) => (name, Some(section_number(number)?)),
        None => (attribute, None),
    };
    (!name.is_empty()).then(|| Piece { name: name.into(), section, extended, value })
}

/// RFC 2231 §7 `section`: decimal without leading zeros.
fn section_number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok().filter(|&n| (n as usize) < PARAM_PIECES_MAX) } else { None }
}

/// Makes parameters of pieces: whole ones as they are, continued ones joined in the order of their numbers up
/// to the first gap.
fn join(mut pieces: Vec<Piece>, parsed: &mut Parsed) {
    // A stable sort by name and section keeps the first of equal ones first, and costs n log n however
    // many there are.
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|&a, &b| (&pieces[a].name, pieces[a].section).cmp(&(&pieces[b].name, pieces[b].section)));
    let mut joined: Vec<(usize, Param)> = Vec::new();
    let mut at = 0;
    while at < order.len() {
        let first = order[at];
        let group_end = order[at..].iter().position(|&i| pieces[i].name != pieces[first].name);
        let group = &order[at..group_end.map_or(order.len(), |n| at + n)];
        at += group.len();
        whole(group, &mut pieces, parsed, &mut joined);
        continued(group, &pieces, parsed, &mut joined);
    }
    joined.sort_by_key(|(place, _)| *place);
    if joined.len() > PARAMS_MAX {
        parsed.faulty = true;
        joined.truncate(PARAMS_MAX);
    }
    parsed.params = joined.into_iter().map(|(_, param)| param).collect();
}

/// The first plain and the first extended value of one name.
fn whole(group: &[usize], pieces: &mut [Piece], parsed: &mut Parsed, joined: &mut Vec<(usize, Param)>) {
    let mut seen = [false; 2];
    for &index in group {
        let piece = &mut pieces[index];
        if piece.section.is_some() {
            continue;
        }
        if core::mem::replace(&mut seen[usize::from(piece.extended)], true) {
            parsed.duplicate = true;
            continue;
        }
        let value = core::mem::take(&mut piece.value);
        joined.push((index, Param { name: param_name(&piece.name, piece.extended), value }));
    }
}

/// The sections 0, 1, 2… of one name. When one of them is extended the whole is, and plain sections are
/// percent-encoded to fit in.
fn continued(group: &[usize], pieces: &[Piece], parsed: &mut Parsed, joined: &mut Vec<(usize, Param)>) {
    let sections = || group.iter().filter(|&&i| pieces[i].section.is_some());
    let Some(&place) = sections().min() else { return };
    let extended = sections().any(|&i| pieces[i].extended);
    let mut value = Vec::new();
    let mut next = 0;
    for &index in sections() {
        let piece = &pieces[index];
        match piece.section.unwrap_or(0) {
            n if n == next => next += 1,
            n if n < next => {
                parsed.duplicate = true;
                continue;
            }
            _ => {
                parsed.faulty = true;
                break;
            }
        }
        if extended && !piece.extended {
            if next == 1 {
                value.extend_from_slice(b"''");
            }
            percent_encode(&piece.value, &mut value);
        } else {
            value.extend_from_slice(&piece.value);
        }
        if value.len() > PARAM_VALUE_MAX {
            value.truncate(PARAM_VALUE_MAX);
            parsed.faulty = true;
            break;
        }
    }
    let name = param_name(&pieces[place].name, extended);
    if next == 0 {
        return;
    }
    // A value in one piece of the same form counts before a continued one.
    if joined.iter().any(|(_, p)| p.name == name) {
        parsed.duplicate = true;
    } else {
        joined.push((place, Param { name, value }));
    }
}

fn param_name(name: &str, extended: bool) -> String {
    let mut out = String::from(name);
    if extended {
        out.push('*');
    }
    out
}

fn percent_encode(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &b in value {
        if b.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(&b) {
            out.push(b);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}

/// The text of the parameter `name` (lower case, no `*`): the extended form first.
pub(super) fn param_text(params: &[Param], name: &str) -> Option<String> {
    let extended = params.iter().find(|p| p.name.strip_suffix('*') == Some(name));
    if let Some(text) = extended.and_then(|p| extended_text(&p.value)) {
        return Some(text);
    }
    let plain = params.iter().find(|p| p.name == name)?;
    Some(super::encoded_word::decode(&plain.value))
}

/// `charset'language'percent-encoded` to UTF-8 (RFC 2231 §4); `None` without the two quotes.
fn extended_text(value: &[u8]) -> Option<String> {
    let mut pieces = value.splitn(3, |&b| b == b'\'');
    let (charset, _language, encoded) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let mut octets = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [b, tail @ ..] = rest {
        rest = tail;
        if *b == b'%'
            && let [high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            octets.push(high << 4 | low);
            rest = tail;
        } else {
            octets.push(*b);
        }
    }
    Some(super::decode::to_utf8(charset, &octets))
}

pub(super) fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|d| d as u8)
}

fn lower(token: &[u8]) -> String {
    token.iter().map(|b| char::from(b.to_ascii_lowercase())).collect()
}

/// A cursor over one unfolded value.
struct Cursor<'a> {
    bytes: alloc::borrow::Cow<'a, [u8]>,
    at: usize,
    /// The value is longer than what is read.
    cut: bool,
}

impl<'a> Cursor<'a> {
    fn new(value: &'a [u8]) -> Self {
        let cut = value.len() > CONTENT_FIELD_MAX;
        Cursor { bytes: unfold(&value[..value.len().min(CONTENT_FIELD_MAX)]), at: 0, cut }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// White space and comments; a comment without end takes the rest.
    fn skip_cfws(&mut self) {
        while let Some(b) = self.peek() {
            match b {
                b' ' | b'\t' => self.at += 1,
                b'(' => {
                    let rest = super::address_list::skip_comment(&self.bytes[self.at..]);
                    self.at = self.bytes.len() - rest.map_or(0, <[u8]>::len);
                }
                _ => return,
            }
        }
    }

    /// RFC 2045 §5.1 `token`.
    fn token(&mut self) -> Option<&[u8]> {
        self.skip_cfws();
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| !is_token(b)).unwrap_or(rest.len());
        self.at += len;
        (len > 0).then_some(&rest[..len])
    }

    fn expect(&mut self, want: u8) -> Option<()> {
        self.skip_cfws();
        (self.peek() == Some(want)).then(|| self.at += 1)
    }

    /// A quoted string, or whatever stands up to `;` or white space: unquoted values with characters outside
    /// `token` are common.
    fn value(&mut self) -> Option<Vec<u8>> {
        self.skip_cfws();
        if self.peek() != Some(b'"') {
            let rest = &self.bytes[self.at..];
            let end = |b: &u8| matches!(b, b';' | b' ' | b'\t' | b'"');
            let len = rest.iter().position(end).unwrap_or(rest.len());
            self.at += len;
            return (len > 0).then(|| rest[..len].to_vec());
        }
        self.at += 1;
        let mut value = Vec::new();
        while let Some(b) = self.peek() {
            self.at += 1;
            match b {
                b'"' => return Some(value),
                b'\\' => {
                    value.extend(self.peek());
                    self.at = (self.at + 1).min(self.bytes.len());
                }
                _ => value.push(b),
            }
        }
        // A quote that never closes: what stands there is the value.
        Some(value)
    }

    fn skip_past_semicolon(&mut self) {
        while let Some(b) = self.peek() {
            self.at += 1;
            if b == b';' {
                return;
            }
        }
    }
}

/// RFC 2045 §5.1: printable ASCII without the tspecials.
fn is_token(b: u8) -> bool {
    b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b)
}
