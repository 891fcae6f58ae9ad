//! The writer under every `write`: octets into a send buffer, strings in the form that suits them.

use protocol_core::SendBuf;

use super::read::{is_astring_atom, is_list_atom};
use super::text::Text;

/// A quoted string is at most this long; longer ones go as literals, which no peer's line limit counts.
pub const QUOTED_MAX: usize = 1000;
/// Longest non-synchronising literal under LITERAL- (RFC 7888 §5), in octets.
pub const LITERAL_MINUS_MAX: usize = 4096;

/// How a literal is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralMode {
    /// A server's: `{n}`, the octets follow at once.
    Server,
    /// A client's: `{n}`, the octets wait for the server's continuation.
    Synchronising,
    /// A client's under LITERAL+: `{n+}`, the octets follow at once.
    Plus,
    /// A client's under LITERAL- (IMAP4rev2): `{n+}` up to [`LITERAL_MINUS_MAX`], else synchronising.
    Minus,
}

/// Where writers put octets. Part 0 is what stands before the first synchronising literal's octets, part 1
/// what follows up to the second, and so on; only one part reaches the buffer.
pub struct Emit<'o> {
    out: &'o mut SendBuf,
    mode: LiteralMode,
    utf8: bool,
    wanted: usize,
    at: usize,
}

impl<'o> Emit<'o> {
    /// Writes everything, as a server does. `utf8`: 8-bit strings may go quoted (RFC 6855 §3, RFC 9051).
    pub fn server(out: &'o mut SendBuf, utf8: bool) -> Self {
        Emit { out, mode: LiteralMode::Server, utf8, wanted: 0, at: 0 }
    }

    /// Writes part `part` of a client's command.
    pub fn client(out: &'o mut SendBuf, mode: LiteralMode, utf8: bool, part: usize) -> Self {
        Emit { out, mode, utf8, wanted: part, at: 0 }
    }

    /// Whether octets remain behind the part that was wanted.
    pub fn is_cut(&self) -> bool {
        self.at > self.wanted
    }

    /// Whether 8-bit strings may go quoted.
    pub fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// Octets as they are.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.wanted {
            self.out.push(bytes);
        }
    }

    /// A number in decimal.
    pub fn number(&mut self, n: u64) {
        if self.at == self.wanted {
            self.out.push_decimal(n);
        }
    }

    /// Text for people, up to the end of the line: what would end the line becomes a space.
    pub fn text(&mut self, text: Text<'_>) {
        let (mut rest, _) = text.raw();
        while let Some(at) = rest.iter().position(|b| matches!(b, 0 | b'\r' | b'\n')) {
            let (plain, behind) = rest.split_at(at);
            self.push(plain);
            self.push(b" ");
            rest = behind.get(1..).unwrap_or_default();
        }
        self.push(rest);
    }

    /// An astring: an atom when it can be one.
    pub fn astring(&mut self, text: Text<'_>) {
        match text.raw() {
            (raw, false) if is_astring_atom(raw) => self.push(raw),
            _ => self.string(text),
        }
    }

    /// A list-mailbox: wildcards may stand in its atom.
    pub fn list_mailbox(&mut self, text: Text<'_>) {
        match text.raw() {
            (raw, false) if is_list_atom(raw) => self.push(raw),
            _ => self.string(text),
        }
    }

    /// `NIL` or a string.
    pub fn nstring(&mut self, text: Option<Text<'_>>) {
        match text {
            None => self.push(b"NIL"),
            Some(text) => self.string(text),
        }
    }

    /// A quoted string when it is short and has neither CR, LF, NUL nor 8-bit octets that the peer has not
    /// asked for; a literal otherwise.
    pub fn string(&mut self, text: Text<'_>) {
        let (raw, escaped) = text.raw();
        if text.len() > QUOTED_MAX || !self.fits_quoted(raw) {
            return self.literal(&text.bytes());
        }
        self.push(b"\"");
        if escaped {
            self.push(raw);
        } else {
            let mut rest = raw;
            while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
                let (plain, behind) = rest.split_at(at);
                self.push(plain);
                self.push(b"\\");
                let (special, behind) = behind.split_at(1);
                self.push(special);
                rest = behind;
            }
            self.push(rest);
        }
        self.push(b"\"");
    }

    fn fits_quoted(&self, raw: &[u8]) -> bool {
        !raw.iter().any(|&b| matches!(b, 0 | b'\r' | b'\n'))
            && (raw.is_ascii() || self.utf8 && core::str::from_utf8(raw).is_ok())
    }

    /// A literal.
    pub fn literal(&mut self, bytes: &[u8]) {
        self.announce(bytes.len());
        self.push(bytes);
    }

    /// `nstring / literal8`: NUL makes it a literal8.
    pub fn nstring8(&mut self, text: Option<Text<'_>>) {
        match text {
            Some(text) if text.octets().any(|b| b == 0) => {
                self.push(b"~");
                self.literal(&text.bytes());
            }
            _ => self.nstring(text),
        }
    }

    fn announce(&mut self, len: usize) {
        self.push(b"{");
        self.number(len as u64);
        let waits = match self.mode {
            LiteralMode::Server | LiteralMode::Plus => false,
            LiteralMode::Synchronising => true,
            LiteralMode::Minus => len > LITERAL_MINUS_MAX,
        };
        let plus = self.mode != LiteralMode::Server && !waits;
        self.push(if plus { b"+}\r\n" } else { b"}\r\n" });
        if waits {
            self.at += 1;
        }
    }
}
