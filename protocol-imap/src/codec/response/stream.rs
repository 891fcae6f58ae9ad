//! FETCH responses whose literals are streamed, piece by piece.

use super::super::command::fetch::{PartPath, Section};
use super::super::list::{Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::fetch::{FetchAttr, read_origin};

/// A piece of a FETCH response: up to a literal that is streamed, between two of them, or behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPiece<'b> {
    /// The message number, in the first piece.
    pub number: Option<u32>,
    /// Items that are whole in this piece.
    pub attrs: List<'b, FetchAttr<'b>>,
    /// What the literal behind this piece is; `None` when the response ends here.
    pub streamed: Option<Streamed<'b>>,
}

/// What a streamed literal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Streamed<'b> {
    Section { section: Section<'b>, origin: Option<u64> },
    Binary { part: PartPath<'b>, origin: Option<u64> },
    Rfc822,
    Rfc822Header,
    Rfc822Text,
}

impl<'b> FetchPiece<'b> {
    /// Reads the first piece, `* n FETCH (...`, which [`super::super::frame::ResponseFrame::Stream`]
    /// delimited.
    pub fn parse_first(octets: &'b [u8]) -> Result<Self, Fault> {
        let mut c = Cursor::new(octets, true);
        if !c.eat_text(b"* ") {
            return Err(Fault::Expected("an untagged response"));
        }
        let number = c.nz_number()?;
        if !c.eat_text(b" FETCH (") {
            return Err(Fault::Expected("FETCH data"));
        }
        Self::read(Some(number), c)
    }

    /// Reads what stands behind a streamed literal.
    pub fn parse_next(octets: &'b [u8]) -> Result<Self, Fault> {
        let mut c = Cursor::new(octets, true);
        // Items behind the literal begin with a space; the end of the response does not.
        c.eat(b' ');
        Self::read(None, c)
    }

    fn read(number: Option<u32>, mut c: Cursor<'b>) -> Result<Self, Fault> {
        let start = c;
        let mut end = c;
        loop {
            if c.eat(b')') {
                c.eat_text(b"\r\n");
                c.end()?;
                break;
            }
            let mut ahead = c;
            if let Some(streamed) = Streamed::read(&mut ahead) {
                let attrs = List::from_checked(end.since(start));
                return Ok(FetchPiece { number, attrs, streamed: Some(streamed) });
            }
            FetchAttr::read(&mut c)?;
            end = c;
            if c.peek() != Some(b')') {
                c.sp()?;
            }
        }
        Ok(FetchPiece { number, attrs: List::from_checked(end.since(start)), streamed: None })
    }
}

impl<'b> Streamed<'b> {
    /// An item whose value is the announcement of a literal with nothing behind it.
    fn read(c: &mut Cursor<'b>) -> Option<Self> {
        let name = Upper::of(c.name());
        let streamed = match (name.as_bytes(), c.peek() == Some(b'[')) {
            (b"BODY", true) => {
                let section = Section::read(c).ok()?;
                Streamed::Section { section, origin: read_origin(c).ok()? }
            }
            (b"BINARY", true) => {
                let part = PartPath::read_in_brackets(c).ok()?;
                Streamed::Binary { part, origin: read_origin(c).ok()? }
            }
            (b"RFC822", false) => Streamed::Rfc822,
            (b"RFC822.HEADER", false) => Streamed::Rfc822Header,
            (b"RFC822.TEXT", false) => Streamed::Rfc822Text,
            _ => return None,
        };
        c.sp().ok()?;
        c.eat(b'~');
        let announced = c.eat(b'{') && c.number64().is_ok() && c.eat_text(b"}\r\n") && c.is_empty();
        announced.then_some(streamed)
    }
}
