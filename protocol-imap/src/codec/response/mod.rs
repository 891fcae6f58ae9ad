//! Responses: what a server says.

pub mod code;
pub mod fetch;
pub mod message;
pub mod stream;
pub mod structure;
pub mod untagged;

pub use code::Code;
pub use fetch::{FetchAttr, FetchWriter};
pub use stream::{FetchPiece, Streamed};
pub use structure::{Address, Body, BodyFields, Disposition, Envelope, Extension, Param, Single};
pub use untagged::{Esearch, EsearchItem, ListInfo, Namespace, NamespaceItem, StatusValue, Untagged};

use super::read::{Cursor, Fault, Upper};
use super::text::Text;
use super::write::Emit;

/// One response (RFC 9051 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'b> {
    /// `+ ...`: the text, which is base64 during AUTHENTICATE.
    Continue(Text<'b>),
    /// The completion of a command.
    Tagged {
        /// The command's tag.
        tag: &'b str,
        /// How it went: `Ok`, `No` or `Bad`.
        status: Status<'b>,
    },
    /// `* ...`.
    Untagged(Untagged<'b>),
}

/// A status response (RFC 9051 §7.1), tagged or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'b> {
    /// Which.
    pub kind: StatusKind,
    /// In brackets, for programs.
    pub code: Option<Code<'b>>,
    /// For people; on one line.
    pub text: Text<'b>,
}

/// The kinds of status responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StatusKind {
    Ok,
    No,
    Bad,
    /// Untagged only.
    PreAuth,
    /// Untagged only.
    Bye,
}

impl<'b> Status<'b> {
    /// `OK` with a text.
    pub fn ok(text: &'b str) -> Self {
        Status { kind: StatusKind::Ok, code: None, text: text.into() }
    }

    /// `NO` with a text.
    pub fn no(text: &'b str) -> Self {
        Status { kind: StatusKind::No, code: None, text: text.into() }
    }

    /// `BAD` with a text.
    pub fn bad(text: &'b str) -> Self {
        Status { kind: StatusKind::Bad, code: None, text: text.into() }
    }

    /// `BYE` with a text.
    pub fn bye(text: &'b str) -> Self {
        Status { kind: StatusKind::Bye, code: None, text: text.into() }
    }

    /// The same with a response code.
    pub fn with(self, code: Code<'b>) -> Self {
        Status { code: Some(code), ..self }
    }
}

impl StatusKind {
    /// Its name in capitals.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatusKind::Ok => "OK",
            StatusKind::No => "NO",
            StatusKind::Bad => "BAD",
            StatusKind::PreAuth => "PREAUTH",
            StatusKind::Bye => "BYE",
        }
    }

    fn from_upper(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"OK" => StatusKind::Ok,
            b"NO" => StatusKind::No,
            b"BAD" => StatusKind::Bad,
            b"PREAUTH" => StatusKind::PreAuth,
            b"BYE" => StatusKind::Bye,
            _ => return None,
        })
    }
}

impl<'b> Response<'b> {
    /// Reads a whole response, with or without its final CRLF; literals stand inside it. Allocates nothing.
    pub fn parse(octets: &'b [u8]) -> Result<Self, Fault> {
        let line = octets.strip_suffix(b"\r\n").unwrap_or(octets);
        let mut c = Cursor::new(line, true);
        if c.eat(b'+') {
            // Some servers send a bare "+"; RFC 9051 §7.6 has a space behind it.
            c.eat(b' ');
            return Ok(Response::Continue(Text::new(c.rest())));
        }
        if c.eat_text(b"* ") {
            return Untagged::read(&mut c).map(Response::Untagged);
        }
        let tag = c.tag()?;
        c.sp()?;
        let kind = StatusKind::from_upper(Upper::of(c.name()).as_bytes());
        match kind.ok_or(Fault::Expected("OK, NO or BAD"))? {
            kind @ (StatusKind::Ok | StatusKind::No | StatusKind::Bad) => {
                Ok(Response::Tagged { tag, status: Status::read(kind, &mut c)? })
            }
            _ => Err(Fault::Expected("OK, NO or BAD")),
        }
    }

    /// Writes the response with its final CRLF.
    pub fn write(&self, e: &mut Emit<'_>) {
        match self {
            Response::Continue(text) => {
                e.push(b"+ ");
                e.text(*text);
            }
            Response::Tagged { tag, status } => {
                e.push(tag.as_bytes());
                e.push(b" ");
                status.emit(e);
            }
            Response::Untagged(untagged) => {
                e.push(b"* ");
                untagged.emit(e);
            }
        }
        e.push(b"\r\n");
    }
}

impl<'b> Status<'b> {
    /// Behind the kind: a space, a code in brackets if there is one, the text.
    fn read(kind: StatusKind, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        if !c.eat(b' ') {
            c.end()?;
            return Ok(Status { kind, code: None, text: Text::default() });
        }
        let mut code = None;
        if c.eat(b'[') {
            code = Some(Code::read(c)?);
            c.eat(b' ');
        }
        let code_text = match code {
            Some(Code::Other { text, .. }) => text.unwrap_or_default(),
            _ => Text::default(),
        };
        let text = Text::new(c.rest());
        if text.octets().chain(code_text.octets()).any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return Err(Fault::Value("a status text that is not on one line"));
        }
        Ok(Status { kind, code, text })
    }

    fn emit(&self, e: &mut Emit<'_>) {
        e.push(self.kind.as_str().as_bytes());
        e.push(b" ");
        if let Some(code) = &self.code {
            e.push(b"[");
            code.emit(e);
            e.push(b"] ");
        }
        e.text(self.text);
    }
}
