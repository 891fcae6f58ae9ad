//! The reader under every parser: a cursor over one whole, framed message.

use core::fmt;

use super::text::Text;

/// Why a message could not be read. The peer's fault, always; the text goes into a BAD response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something else was expected here.
    Expected(&'static str),
    /// No command has this name.
    UnknownCommand,
    /// A named limit was passed.
    Limit(&'static str),
    /// The syntax is right and the value cannot be (the 31st of February, number 0 where one is counted).
    Value(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Expected(what) => write!(f, "Expected {what}"),
            Fault::UnknownCommand => f.write_str("Unknown command"),
            Fault::Limit(what) => write!(f, "Too many or too large: {what}"),
            Fault::Value(what) => write!(f, "Not a possible value: {what}"),
        }
    }
}

/// Classes of octets (RFC 9051 §9): one bit each.
mod class {
    pub const ATOM: u8 = 1;
    pub const ASTRING: u8 = 2;
    pub const LIST: u8 = 4;
    pub const TAG: u8 = 8;
    /// May stand unescaped in a quoted string of 7-bit text.
    pub const QUOTED: u8 = 16;
    pub const DIGIT: u8 = 32;
    /// Digits and the signs of sequence sets.
    pub const SET: u8 = 64;
    /// Letters, digits, dots and hyphens: names of items.
    pub const NAME: u8 = 128;
}

const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut c = 1;
    while c < 128 {
        let octet = c as u8;
        let mut bits = class::QUOTED;
        if octet > b' ' && octet < 127 {
            bits |= class::ATOM | class::ASTRING | class::LIST | class::TAG;
            match octet {
                b'(' | b')' | b'{' | b'"' | b'\\' => bits = class::QUOTED,
                b'%' | b'*' => bits = class::QUOTED | class::LIST,
                b']' => bits &= !class::ATOM,
                b'+' => bits &= !class::TAG,
                _ => {}
            }
        }
        match octet {
            b'0'..=b'9' => bits |= class::DIGIT | class::SET,
            b':' | b',' | b'*' => bits |= class::SET,
            b'"' | b'\\' | b'\r' | b'\n' => bits &= !class::QUOTED,
            _ => {}
        }
        if octet.is_ascii_alphanumeric() || octet == b'.' || octet == b'-' {
            bits |= class::NAME;
        }
        table[c] = bits;
        c += 1;
    }
    table
};

fn is(octet: u8, class: u8) -> bool {
    CLASSES[usize::from(octet)] & class != 0
}

/// Whether every octet may stand in an astring's atom form, and there is one.
pub(super) fn is_astring_atom(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is(b, class::ASTRING))
}

/// Whether every octet may stand in a tag, and there is one.
pub(super) fn is_tag(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is(b, class::TAG))
}

/// Whether every octet may stand in a list pattern's atom form, and there is one.
pub(super) fn is_list_atom(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is(b, class::LIST))
}

/// A word in capitals, for `match`. Words longer than any known one come back empty.
pub(super) struct Upper([u8; 24], usize);

impl Upper {
    #[inline(always)]
    pub(super) fn of(word: &[u8]) -> Upper {
        let mut buffer = [0; 24];
        if word.len() > buffer.len() {
            return Upper(buffer, 0);
        }
        buffer.iter_mut().zip(word).for_each(|(room, b)| *room = b.to_ascii_uppercase());
        Upper(buffer, word.len())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.get(..self.1).unwrap_or_default()
    }
}

/// A position in one framed message. Reading never goes back further than one element.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'b> {
    rest: &'b [u8],
    /// Whether quoted strings may hold UTF-8 (RFC 6855 §3, RFC 9051 §4.3).
    utf8: bool,
    /// How many nested structures are open.
    depth: u8,
}

/// Deepest nesting of body structures in a response that is read.
pub const NESTING_MAX: u8 = 100;

impl<'b> Cursor<'b> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'b [u8], utf8: bool) -> Self {
        Cursor { rest: bytes, utf8, depth: 0 }
    }

    /// What is not yet read.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next octet, unread.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// What was read between the earlier position `from` and here.
    pub(super) fn since(&self, from: Cursor<'b>) -> &'b [u8] {
        let read = from.rest.len().saturating_sub(self.rest.len());
        from.rest.get(..read).unwrap_or_default()
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }

    /// Reads `octet` if it is next.
    pub fn eat(&mut self, octet: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == octet => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads `octet` or fails.
    pub fn expect(&mut self, octet: u8, what: &'static str) -> Result<(), Fault> {
        if self.eat(octet) { Ok(()) } else { Err(Fault::Expected(what)) }
    }

    /// Reads exactly one space (RFC 9051 §9: "In all cases, SP refers to exactly one space").
    pub fn sp(&mut self) -> Result<(), Fault> {
        self.expect(b' ', "a space")
    }

    /// Fails unless everything was read.
    pub fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Expected("the end of the line")) }
    }

    /// Reads `text` in any letter case if it is next, whatever follows it.
    pub fn eat_text(&mut self, text: &[u8]) -> bool {
        match self.rest.split_at_checked(text.len()) {
            Some((head, rest)) if head.eq_ignore_ascii_case(text) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads the atom `word` in any letter case if it is next.
    pub fn eat_word(&mut self, word: &[u8]) -> bool {
        match self.rest.split_at_checked(word.len()) {
            Some((head, rest))
                if head.eq_ignore_ascii_case(word) && !rest.first().is_some_and(|&b| is(b, class::ATOM)) =>
            {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn run(&mut self, class: u8) -> &'b [u8] {
        let n = self.rest.iter().position(|&b| !is(b, class)).unwrap_or(self.rest.len());
        let (head, rest) = self.rest.split_at(n);
        self.rest = rest;
        head
    }

    fn word(&mut self, class: u8, what: &'static str) -> Result<&'b str, Fault> {
        match core::str::from_utf8(self.run(class)) {
            Ok(word) if !word.is_empty() => Ok(word),
            _ => Err(Fault::Expected(what)),
        }
    }

    /// `atom`.
    pub fn atom(&mut self) -> Result<&'b str, Fault> {
        self.word(class::ATOM, "an atom")
    }

    /// `tag`: an astring's atom without `+`.
    pub fn tag(&mut self) -> Result<&'b str, Fault> {
        self.word(class::TAG, "a tag")
    }

    /// A run of letters, digits, dots and hyphens, possibly none.
    pub(super) fn name(&mut self) -> &'b [u8] {
        self.run(class::NAME)
    }

    /// Enters a nested structure; [`Cursor::leave`] follows.
    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        if self.depth == NESTING_MAX {
            return Err(Fault::Limit("nested structures"));
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The octets of a sequence set, unchecked.
    pub(crate) fn set_octets(&mut self) -> &'b [u8] {
        self.run(class::SET)
    }

    /// `astring`.
    pub fn astring(&mut self) -> Result<Text<'b>, Fault> {
        self.atom_or_string(class::ASTRING)
    }

    /// `list-mailbox`: like astring, and its atom may hold `%` and `*`.
    pub fn list_mailbox(&mut self) -> Result<Text<'b>, Fault> {
        self.atom_or_string(class::LIST)
    }

    fn atom_or_string(&mut self, class: u8) -> Result<Text<'b>, Fault> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.run(class) {
                [] => Err(Fault::Expected("an atom, a quoted string or a literal")),
                atom => Ok(Text::new(atom)),
            },
        }
    }

    /// `string`: quoted or a literal.
    pub fn string(&mut self) -> Result<Text<'b>, Fault> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => {
                let octets = self.literal()?;
                if octets.contains(&0) {
                    return Err(Fault::Value("a literal with a NUL"));
                }
                Ok(Text::new(octets))
            }
            _ => Err(Fault::Expected("a quoted string or a literal")),
        }
    }

    /// `nstring`.
    pub fn nstring(&mut self) -> Result<Option<Text<'b>>, Fault> {
        if self.eat_word(b"NIL") { Ok(None) } else { self.string().map(Some) }
    }

    /// `nstring / literal8`: the only place where NUL may come (RFC 3516 §4.2).
    pub fn nstring8(&mut self) -> Result<Option<Text<'b>>, Fault> {
        if self.peek() == Some(b'~') { self.literal8().map(|o| Some(Text::new(o))) } else { self.nstring() }
    }

    /// `quoted`.
    pub fn quoted(&mut self) -> Result<Text<'b>, Fault> {
        self.expect(b'"', "a quoted string")?;
        let start = self.rest;
        let mut at = 0;
        let (mut escaped, mut eight_bit) = (false, false);
        loop {
            match start.get(at) {
                Some(&b) if is(b, class::QUOTED) => at += 1,
                Some(b'"') => break,
                Some(b'\\') if matches!(start.get(at + 1), Some(b'"' | b'\\')) => {
                    escaped = true;
                    at += 2;
                }
                Some(&b) if b >= 128 && self.utf8 => {
                    eight_bit = true;
                    at += 1;
                }
                _ => return Err(Fault::Expected("the end of a quoted string")),
            }
        }
        let (inside, rest) = start.split_at(at);
        if eight_bit && core::str::from_utf8(inside).is_err() {
            return Err(Fault::Value("a quoted string that is not UTF-8"));
        }
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(if escaped { Text::from_escaped(inside) } else { Text::new(inside) })
    }

    /// The octets of `literal` with its announcement `{n}`, `{n+}`.
    pub fn literal(&mut self) -> Result<&'b [u8], Fault> {
        self.expect(b'{', "a literal")?;
        let len = self.number64()?;
        self.eat(b'+');
        self.expect(b'}', "the end of a literal's length")?;
        self.expect(b'\r', "a line end behind a literal's length")?;
        self.expect(b'\n', "a line end behind a literal's length")?;
        usize::try_from(len).ok().and_then(|n| self.take(n)).ok_or(Fault::Expected("the whole literal"))
    }

    /// The octets of `literal8`: `~{n}`.
    pub fn literal8(&mut self) -> Result<&'b [u8], Fault> {
        self.expect(b'~', "a literal8")?;
        self.literal()
    }

    /// `number64`: decimal, at most 2^63-1 (RFC 9051 §9).
    pub fn number64(&mut self) -> Result<u64, Fault> {
        let digits = self.run(class::DIGIT);
        if digits.is_empty() {
            return Err(Fault::Expected("a number"));
        }
        let mut n: u64 = 0;
        for digit in digits {
            n = n
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(digit - b'0')))
                .filter(|&n| n <= i64::MAX as u64)
                .ok_or(Fault::Value("a number above 2^63-1"))?;
        }
        Ok(n)
    }

    /// `number`: decimal, at most 2^32-1.
    pub fn number(&mut self) -> Result<u32, Fault> {
        u32::try_from(self.number64()?).map_err(|_| Fault::Value("a number above 2^32-1"))
    }

    /// `nz-number`.
    pub fn nz_number(&mut self) -> Result<u32, Fault> {
        match self.number()? {
            0 => Err(Fault::Value("the number 0")),
            n => Ok(n),
        }
    }

    /// Any value: a string, an atom, a number or a list of values, however deep.
    pub(super) fn skip_value(&mut self) -> Result<&'b [u8], Fault> {
        let start = *self;
        let mut open: usize = 0;
        loop {
            match self.peek() {
                Some(b'(') => {
                    self.eat(b'(');
                    open += 1;
                }
                Some(b')') if open > 0 => {
                    self.eat(b')');
                    open -= 1;
                }
                Some(b' ') if open > 0 => {
                    self.eat(b' ');
                }
                Some(b'"' | b'{') => {
                    self.string()?;
                }
                Some(b'~') => {
                    self.literal8()?;
                }
                _ if self.run(class::LIST).is_empty() && !self.eat(b'\\') => {
                    return Err(Fault::Expected("a value"));
                }
                _ => {}
            }
            // A backslash belongs to the flag behind it.
            if open == 0 && self.peek().is_none_or(|b| b == b' ' || b == b')') {
                return Ok(self.since(start));
            }
        }
    }

    /// Exactly `n` digits.
    pub(super) fn digits(&mut self, n: usize) -> Result<u16, Fault> {
        match self.take(n) {
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                Ok(digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
            }
            _ => Err(Fault::Expected("digits")),
        }
    }
}
