//! FETCH data, and the writer that a server uses item by item.

use protocol_core::{SendBuf, message};

use super::super::command::fetch::{PartPath, Section};
use super::super::date::DateTime;
use super::super::flag::Flag;
use super::super::list::{Atom, Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::Text;
use super::super::write::Emit;
use super::message::{emit_envelope, emit_structure};
use super::structure::{Body, Envelope};
use super::untagged::RESPONSE_LIST_MAX;

/// One item of FETCH data (RFC 9051 §7.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FetchAttr<'b> {
    Uid(u32),
    Flags(List<'b, Flag<'b>>),
    InternalDate(DateTime),
    Envelope(Envelope<'b>),
    /// Without extension data.
    Body(Body<'b>),
    BodyStructure(Body<'b>),
    Rfc822Size(u64),
    Rfc822(Option<Text<'b>>),
    Rfc822Header(Option<Text<'b>>),
    Rfc822Text(Option<Text<'b>>),
    /// RFC 7162 §3.1.5.
    ModSeq(u64),
    /// `BODY[...]<origin>`.
    Section {
        section: Section<'b>,
        origin: Option<u64>,
        data: Option<Text<'b>>,
    },
    /// `BINARY[...]<origin>` (RFC 3516 §4.3).
    Binary {
        part: PartPath<'b>,
        origin: Option<u64>,
        data: Option<Text<'b>>,
    },
    BinarySize {
        part: PartPath<'b>,
        size: u64,
    },
    /// An item unknown here, its value as it stands on the wire.
    Other {
        name: Atom<'b>,
        value: &'b [u8],
    },
}

impl<'b> Element<'b> for FetchAttr<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let start = *c;
        let name = Upper::of(c.name());
        if c.peek() == Some(b'[') {
            return read_bracketed(name.as_bytes(), c);
        }
        let word = c.since(start);
        c.sp()?;
        Ok(match name.as_bytes() {
            b"UID" => FetchAttr::Uid(c.nz_number()?),
            b"FLAGS" => FetchAttr::Flags(List::read(c, RESPONSE_LIST_MAX)?),
            b"INTERNALDATE" => FetchAttr::InternalDate(DateTime::read(c)?),
            b"ENVELOPE" => FetchAttr::Envelope(Envelope::read(c)?),
            b"BODY" => FetchAttr::Body(Body::read(c)?),
            b"BODYSTRUCTURE" => FetchAttr::BodyStructure(Body::read(c)?),
            b"RFC822.SIZE" => FetchAttr::Rfc822Size(c.number64()?),
            b"RFC822" => FetchAttr::Rfc822(c.nstring()?),
            b"RFC822.HEADER" => FetchAttr::Rfc822Header(c.nstring()?),
            b"RFC822.TEXT" => FetchAttr::Rfc822Text(c.nstring()?),
            b"MODSEQ" => {
                c.expect(b'(', "a modification sequence in parentheses")?;
                let modseq = c.number64()?;
                c.expect(b')', "the end of a modification sequence")?;
                FetchAttr::ModSeq(modseq)
            }
            _ => match core::str::from_utf8(word) {
                Ok(name) if !name.is_empty() => FetchAttr::Other { name: Atom(name), value: c.skip_value()? },
                _ => return Err(Fault::Expected("an item of FETCH data")),
            },
        })
    }

    fn emit(&self, e: &mut Emit<'_>) {
        match self {
            FetchAttr::Section { section, origin, data } => {
                e.push(b"BODY");
                section.emit(e);
                emit_origin(*origin, e);
                e.push(b" ");
                return e.nstring(*data);
            }
            FetchAttr::Binary { part, origin, data } => {
                e.push(b"BINARY");
                part.emit_in_brackets(e);
                emit_origin(*origin, e);
                e.push(b" ");
                return e.nstring8(*data);
            }
            FetchAttr::BinarySize { part, size } => {
                e.push(b"BINARY.SIZE");
                part.emit_in_brackets(e);
                e.push(b" ");
                return e.number(*size);
            }
            _ => {}
        }
        e.push(self.name().as_bytes());
        e.push(b" ");
        match self {
            FetchAttr::Uid(uid) => e.number(u64::from(*uid)),
            FetchAttr::Flags(flags) => flags.emit(e),
            FetchAttr::InternalDate(date) => date.emit(e),
            FetchAttr::Envelope(envelope) => envelope.emit(e),
            FetchAttr::Body(body) => body.emit_as(false, e),
            FetchAttr::BodyStructure(body) => body.emit_as(true, e),
            FetchAttr::Rfc822Size(size) => e.number(*size),
            FetchAttr::Rfc822(text) | FetchAttr::Rfc822Header(text) | FetchAttr::Rfc822Text(text) => {
                e.nstring(*text);
            }
            FetchAttr::ModSeq(modseq) => {
                e.push(b"(");
                e.number(*modseq);
                e.push(b")");
            }
            FetchAttr::Other { value, .. } => e.push(value),
            FetchAttr::Section { .. } | FetchAttr::Binary { .. } | FetchAttr::BinarySize { .. } => {}
        }
    }
}

impl<'b> FetchAttr<'b> {
    /// Its name in capitals, without a section.
    pub const fn name(&self) -> &'b str {
        match self {
            FetchAttr::Uid(_) => "UID",
            FetchAttr::Flags(_) => "FLAGS",
            FetchAttr::InternalDate(_) => "INTERNALDATE",
            FetchAttr::Envelope(_) => "ENVELOPE",
            FetchAttr::Body(_) | FetchAttr::Section { .. } => "BODY",
            FetchAttr::BodyStructure(_) => "BODYSTRUCTURE",
            FetchAttr::Rfc822Size(_) => "RFC822.SIZE",
            FetchAttr::Rfc822(_) => "RFC822",
            FetchAttr::Rfc822Header(_) => "RFC822.HEADER",
            FetchAttr::Rfc822Text(_) => "RFC822.TEXT",
            FetchAttr::ModSeq(_) => "MODSEQ",
            FetchAttr::Binary { .. } => "BINARY",
            FetchAttr::BinarySize { .. } => "BINARY.SIZE",
            FetchAttr::Other { name, .. } => name.0,
        }
    }
}

fn read_bracketed<'b>(name: &[u8], c: &mut Cursor<'b>) -> Result<FetchAttr<'b>, Fault> {
    match name {
        b"BODY" => {
            let section = Section::read(c)?;
            let origin = read_origin(c)?;
            c.sp()?;
            Ok(FetchAttr::Section { section, origin, data: c.nstring()? })
        }
        b"BINARY" => {
            let part = PartPath::read_in_brackets(c)?;
            let origin = read_origin(c)?;
            c.sp()?;
            Ok(FetchAttr::Binary { part, origin, data: c.nstring8()? })
        }
        b"BINARY.SIZE" => {
            let part = PartPath::read_in_brackets(c)?;
            c.sp()?;
            Ok(FetchAttr::BinarySize { part, size: c.number64()? })
        }
        _ => Err(Fault::Expected("BODY or BINARY before a section")),
    }
}

pub(super) fn read_origin(c: &mut Cursor<'_>) -> Result<Option<u64>, Fault> {
    if !c.eat(b'<') {
        return Ok(None);
    }
    let origin = c.number64()?;
    c.expect(b'>', "the end of an origin")?;
    Ok(Some(origin))
}

fn emit_origin(origin: Option<u64>, e: &mut Emit<'_>) {
    if let Some(origin) = origin {
        e.push(b"<");
        e.number(origin);
        e.push(b">");
    }
}

/// Writes one FETCH response item by item, straight into the send buffer.
///
/// [`FetchWriter::literal`] writes the announcement only: flush, copy exactly so many octets from storage to
/// the transport, go on with the next item.
#[must_use = "a FETCH response that is not ended breaks the session"]
#[derive(Debug)]
pub struct FetchWriter {
    first: bool,
    utf8: bool,
}

impl FetchWriter {
    /// Begins `* n FETCH (`. `utf8`: IMAP4rev2 or UTF8=ACCEPT was enabled, 8-bit strings may go quoted.
    pub fn begin(number: u32, utf8: bool, out: &mut SendBuf) -> Self {
        out.push(b"* ");
        out.push_decimal(u64::from(number));
        out.push(b" FETCH (");
        FetchWriter { first: true, utf8 }
    }

    fn space(&mut self, out: &mut SendBuf) {
        if !self.first {
            out.push_u8(b' ');
        }
        self.first = false;
    }

    /// Any item that is whole in memory.
    pub fn attr(&mut self, attr: &FetchAttr<'_>, out: &mut SendBuf) {
        self.space(out);
        attr.emit(&mut Emit::server(out, self.utf8));
    }

    /// FLAGS, without a list of them at hand.
    pub fn flags<'f>(&mut self, flags: impl IntoIterator<Item = Flag<'f>>, out: &mut SendBuf) {
        self.space(out);
        out.push(b"FLAGS (");
        for (i, flag) in flags.into_iter().enumerate() {
            if i > 0 {
                out.push_u8(b' ');
            }
            flag.emit(&mut Emit::server(out, self.utf8));
        }
        out.push_u8(b')');
    }

    /// ENVELOPE, from what is kept of a message.
    pub fn envelope(&mut self, envelope: &message::Envelope, out: &mut SendBuf) {
        self.space(out);
        let mut e = Emit::server(out, self.utf8);
        e.push(b"ENVELOPE ");
        emit_envelope(envelope, &mut e);
    }

    /// BODY, or BODYSTRUCTURE when `extended`, from what is kept of a message.
    pub fn structure(&mut self, structure: &message::Structure, extended: bool, out: &mut SendBuf) {
        self.space(out);
        let mut e = Emit::server(out, self.utf8);
        e.push(if extended { b"BODYSTRUCTURE " } else { b"BODY " });
        emit_structure(structure, extended, &mut e);
    }

    /// Announces `BODY[section]<origin>` of `len` octets, which the caller copies to the transport next.
    pub fn literal(&mut self, section: &Section<'_>, origin: Option<u64>, len: u64, out: &mut SendBuf) {
        self.announce(b"BODY", |e| section.emit(e), origin, b" {", len, out);
    }

    /// Announces RFC822, RFC822.HEADER or RFC822.TEXT (`name`) of `len` octets, which the caller copies next.
    pub fn named_literal(&mut self, name: &str, len: u64, out: &mut SendBuf) {
        self.announce(name.as_bytes(), |_| {}, None, b" {", len, out);
    }

    /// Announces `BINARY[part]<origin>` of `len` octets; `nul`: they hold NUL, so it is a literal8
    /// (RFC 3516 §4.2).
    pub fn binary(
        &mut self,
        part: &PartPath<'_>,
        origin: Option<u64>,
        len: u64,
        nul: bool,
        out: &mut SendBuf,
    ) {
        let opening: &[u8] = if nul { b" ~{" } else { b" {" };
        self.announce(b"BINARY", |e| part.emit_in_brackets(e), origin, opening, len, out);
    }

    fn announce(
        &mut self,
        name: &[u8],
        brackets: impl FnOnce(&mut Emit<'_>),
        origin: Option<u64>,
        opening: &[u8],
        len: u64,
        out: &mut SendBuf,
    ) {
        self.space(out);
        let mut e = Emit::server(out, self.utf8);
        e.push(name);
        brackets(&mut e);
        emit_origin(origin, &mut e);
        e.push(opening);
        e.number(len);
        e.push(b"}\r\n");
    }

    /// Ends the response.
    pub fn end(self, out: &mut SendBuf) {
        out.push(b")\r\n");
    }
}
