//! Transparency of DATA (RFC 5321 §4.5.2): taking stuffed dots out, putting them in, and the strict rule for
//! line endings. Nothing is copied in either direction.

use core::fmt;

/// An octet that no message may hold (RFC 5321 §2.3.8 and §4.1.1.4; NUL by our own rule).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareOctet {
    /// CR without LF behind it.
    Cr,
    /// LF without CR before it.
    Lf,
    /// NUL.
    Nul,
}

impl fmt::Display for BareOctet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BareOctet::Cr => "CR without LF",
            BareOctet::Lf => "LF without CR",
            BareOctet::Nul => "NUL",
        })
    }
}

impl core::error::Error for BareOctet {}

/// What stands at the front of the octets given to [`Unstuff::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Drop `skip` octets (0, or 1 for a stuffed dot); the `len` octets behind them are message text.
    Text {
        /// Octets that are not part of the message.
        skip: usize,
        /// Octets that are, at least one.
        len: usize,
    },
    /// The first `len` octets end the message and are not part of it.
    End {
        /// Octets to consume.
        len: usize,
    },
    /// The message breaks the rule for line endings.
    Bare(BareOctet),
    /// What is here (at most two octets) can't be judged yet.
    NeedInput,
}

/// Takes dot-stuffing out of the octets that follow `354`.
///
/// The only state is whether a line begins here, so any split of the input gives the same message and the same
/// verdict. A CR is never handed on before its LF was seen. Only CRLF.CRLF ends a message.
#[derive(Clone, Copy, Debug)]
pub struct Unstuff {
    line_start: bool,
}

impl Default for Unstuff {
    fn default() -> Self {
        Self::new()
    }
}

impl Unstuff {
    /// At the start of a message, which is the start of a line.
    pub fn new() -> Self {
        Unstuff { line_start: true }
    }

    /// Judges the front of `input`. The caller consumes what the answer names and comes back with the rest; on
    /// [`Scan::NeedInput`] it comes back with the same octets and more.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        let mut skip = 0;
        if self.line_start && input.first() == Some(&b'.') {
            match input.get(1..3).unwrap_or(&input[1..]) {
                b"\r\n" => {
                    self.line_start = false;
                    return Scan::End { len: 3 };
                }
                b"" | b"\r" => return Scan::NeedInput,
                [b'\r', _] => return Scan::Bare(BareOctet::Cr),
                // RFC 5321 §4.5.2: the dot was put there by the sender.
                _ => skip = 1,
            }
        }
        let text = &input[skip..];
        let mut at = plain_front::<true>(text);
        let (len, line_start) = loop {
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &text[at..]) else {
                break (text.len(), text.is_empty() && self.line_start);
            };
            let i = at + found;
            match (text[i], text.get(i + 1)) {
                (b'\r', Some(b'\n')) => {}
                // The text before a fault is not handed on first: the message is lost anyway.
                (b'\r', Some(_)) => return Scan::Bare(BareOctet::Cr),
                (b'\r', None) => break (i, i == 0 && skip == 0 && self.line_start),
                (b'\n', _) => return Scan::Bare(BareOctet::Lf),
                _ => return Scan::Bare(BareOctet::Nul),
            }
            at = i + 2;
            if matches!(text.get(at), None | Some(b'.')) {
                break (at, true);
            }
        };
        if len == 0 {
            // A lone CR, perhaps behind a stuffed dot, which then stays too: it is not yet known not to end the message.
            return Scan::NeedInput;
        }
        self.line_start = line_start;
        Scan::Text { skip, len }
    }
}

/// Octets that are looked at in one step, and how many of them at once.
const BLOCK: usize = 128;
const LANES: usize = 16;

/// Without the optimiser, which makes vectors, looking for the next octet that matters is faster.
const IN_BLOCKS: bool = cfg!(any(test, not(debug_assertions)));

/// How much at the front of `text` breaks no rule for line endings and, where `DOTS` matter, has no line that
/// begins with a dot. What follows is to be looked at octet by octet; it does not begin with the LF of a CRLF.
///
/// There is no branch for each octet, and it does not matter how short the lines are.
fn plain_front<const DOTS: bool>(text: &[u8]) -> usize {
    // An LF at the front has no CR.
    if !IN_BLOCKS || text.first() == Some(&b'\n') {
        return 0;
    }
    let mut at = 0;
    while let Some(block) = text.get(at..at + BLOCK + 2) {
        if !is_plain::<DOTS>(block) {
            break;
        }
        at += BLOCK;
    }
    if at > 0 && text.get(at) == Some(&b'\n') { at - 1 } else { at }
}

/// Whether no octet of the block is NUL, each CR and nothing else has an LF behind it, and no LF behind one of them
/// has a dot behind it. The two octets behind the block are looked at too.
#[inline(always)]
fn is_plain<const DOTS: bool>(block: &[u8]) -> bool {
    let (mut least, mut wrong) = ([u8::MAX; LANES], [0; LANES]);
    let lanes = |from: usize| block[from..from + BLOCK].as_chunks::<LANES>().0;
    for ((first, second), third) in lanes(0).iter().zip(lanes(1)).zip(lanes(2)) {
        for i in 0..LANES {
            let cr = u8::from(first[i] == b'\r');
            let lf = u8::from(second[i] == b'\n');
            let dot = u8::from(DOTS && third[i] == b'.');
            least[i] = least[i].min(first[i]);
            wrong[i] |= (cr ^ lf) | (lf & dot);
        }
    }
    least.iter().zip(&wrong).fold(true, |all, (&least, &wrong)| all & (least != 0) & (wrong == 0))
}

/// The rule for line endings without dot-stuffing: BDAT of a message that is not BINARYMIME.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineCheck {
    after_cr: bool,
}

impl LineCheck {
    /// At the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the next octets of the message. A CRLF may be split between two chunks (RFC 3030 §2).
    pub fn check(&mut self, text: &[u8]) -> Result<(), BareOctet> {
        let Some(&last) = text.last() else { return Ok(()) };
        let mut at = 0;
        if self.after_cr {
            if text[0] != b'\n' {
                return Err(BareOctet::Cr);
            }
            at = 1;
        }
        at += plain_front::<false>(&text[at..]);
        while let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &text[at..]) {
            let i = at + found;
            match (text[i], text.get(i + 1)) {
                (b'\r', Some(b'\n')) => at = i + 2,
                (b'\r', Some(_)) => return Err(BareOctet::Cr),
                (b'\r', None) => break,
                (b'\n', _) => return Err(BareOctet::Lf),
                _ => return Err(BareOctet::Nul),
            }
        }
        self.after_cr = last == b'\r';
        Ok(())
    }

    /// At the end of the message: its last octet must not be a CR.
    pub fn finish(&self) -> Result<(), BareOctet> {
        if self.after_cr { Err(BareOctet::Cr) } else { Ok(()) }
    }
}

/// Puts dot-stuffing into a message for DATA.
///
/// The message holds no bare CR and no bare LF, which everything that stores one makes sure of, so only CRLF
/// begins a line here.
#[derive(Clone, Copy, Debug)]
pub struct Stuff {
    /// How much of CRLF stands at the end of what was encoded: 2 is the start of a line.
    matched: u8,
}

impl Default for Stuff {
    fn default() -> Self {
        Self::new()
    }
}

impl Stuff {
    /// At the start of a message.
    pub fn new() -> Self {
        Stuff { matched: 2 }
    }

    /// The pieces to write for the next octets of the message: slices of `chunk`, and a dot where one belongs.
    pub fn encode<'c>(&mut self, chunk: &'c [u8]) -> Pieces<'c> {
        let dot_first = match (self.matched, chunk) {
            (2, [b'.', ..]) => DotAt::Front,
            (1, [b'\n', b'.', ..]) => DotAt::Second,
            _ => DotAt::None,
        };
        self.matched = match (self.matched, chunk) {
            (before, []) => before,
            (1, [b'\n']) => 2,
            (_, [.., b'\r', b'\n']) => 2,
            (_, [.., b'\r']) => 1,
            _ => 0,
        };
        Pieces { rest: chunk, dot: dot_first == DotAt::Front, second: dot_first == DotAt::Second }
    }

    /// What ends the message: `.` CRLF, behind a CRLF when the message does not end with one.
    pub fn finish(self) -> &'static [u8] {
        if self.matched == 2 { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DotAt {
    None,
    Front,
    Second,
}

/// Iterator of [`Stuff::encode`].
#[derive(Clone, Debug)]
pub struct Pieces<'c> {
    rest: &'c [u8],
    /// A dot is due before `rest`.
    dot: bool,
    /// A dot is due behind the first octet of `rest`.
    second: bool,
}

impl<'c> Iterator for Pieces<'c> {
    type Item = &'c [u8];

    fn next(&mut self) -> Option<&'c [u8]> {
        if self.dot {
            self.dot = false;
            return Some(b".");
        }
        if self.rest.is_empty() {
            return None;
        }
        let cut = if self.second {
            self.second = false;
            Some(1)
        } else {
            memchr::memmem::find(self.rest, b"\r\n.").map(|i| i + 2)
        };
        let (piece, rest) = self.rest.split_at(cut.unwrap_or(self.rest.len()));
        self.dot = cut.is_some();
        self.rest = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests;
