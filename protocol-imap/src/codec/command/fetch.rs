//! FETCH and UID FETCH: items, sections and partial ranges.

use core::fmt;

use super::super::list::{Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::Text;
use super::super::write::Emit;
use crate::set::SequenceSet;

/// FETCH or UID FETCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch<'b> {
    /// UID FETCH: `set` holds UIDs, and every response carries UID.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet<'b>,
    /// What of them. The macros ALL, FAST and FULL come as the items they stand for.
    pub items: List<'b, FetchItem<'b>>,
    /// Only messages changed after this modification sequence (RFC 7162 §3.1.4.1).
    pub changed_since: Option<u64>,
    /// With `changed_since` and UID FETCH: also tell which UIDs went (RFC 7162 §3.2.6).
    pub vanished: bool,
}

/// One thing to fetch (RFC 9051 §6.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FetchItem<'b> {
    Uid,
    Flags,
    InternalDate,
    Envelope,
    /// The structure without extension data.
    Body,
    BodyStructure,
    Rfc822Size,
    /// RFC 3501: equivalent to `BODY[]`.
    Rfc822,
    /// RFC 3501: equivalent to `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// RFC 3501: equivalent to `BODY[TEXT]`.
    Rfc822Text,
    /// RFC 7162 §3.1.5.
    ModSeq,
    /// `BODY[...]` and `BODY.PEEK[...]`.
    Section {
        peek: bool,
        section: Section<'b>,
        partial: Option<Partial>,
    },
    /// `BINARY[...]` and `BINARY.PEEK[...]`: decoded (RFC 3516).
    Binary {
        peek: bool,
        part: PartPath<'b>,
        partial: Option<Partial>,
    },
    /// `BINARY.SIZE[...]`.
    BinarySize(PartPath<'b>),
}

/// `<offset.count>`: a range of octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// First octet, from 0.
    pub offset: u64,
    /// At most so many octets; never 0.
    pub count: u64,
}

/// What stands between the brackets of `BODY[...]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section<'b> {
    /// The part; empty for the message itself.
    pub part: PartPath<'b>,
    /// What of it.
    pub text: SectionText<'b>,
}

/// What of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SectionText<'b> {
    /// All of it.
    #[default]
    All,
    Header,
    HeaderFields(List<'b, Text<'b>>),
    HeaderFieldsNot(List<'b, Text<'b>>),
    Text,
    /// The MIME header of a part; never without a part number.
    Mime,
}

/// A part number such as `1.2.3`; empty for the message itself.
#[derive(Clone, Copy)]
pub struct PartPath<'b>(PathRepr<'b>);

#[derive(Clone, Copy)]
enum PathRepr<'b> {
    /// Numbers with dots between them, read once before without a fault.
    Wire(&'b [u8]),
    Numbers(&'b [u32]),
}

/// Most numbers in a part number: the MIME depth that is kept of a message.
pub const PART_DEPTH_MAX: usize = 100;
/// Most items in one FETCH.
pub const FETCH_ITEMS_MAX: usize = 256;
/// Most field names in one HEADER.FIELDS.
pub const HEADER_NAMES_MAX: usize = 256;

/// What the macros stand for (RFC 9051 §6.4.5).
const FAST: &[FetchItem<'static>] = &[FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
const ALL: &[FetchItem<'static>] =
    &[FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size, FetchItem::Envelope];
const FULL: &[FetchItem<'static>] =
    &[FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size, FetchItem::Envelope, FetchItem::Body];

impl<'b> Fetch<'b> {
    /// Behind the command's name and a space.
    pub(super) fn read(uid: bool, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let set = SequenceSet::read(c)?;
        c.sp()?;
        let items = if c.peek() == Some(b'(') {
            List::read_some(c, FETCH_ITEMS_MAX)?
        } else if c.eat_word(b"ALL") {
            List::of(ALL)
        } else if c.eat_word(b"FAST") {
            List::of(FAST)
        } else if c.eat_word(b"FULL") {
            List::of(FULL)
        } else {
            List::read_bare(c, 1)?
        };
        let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
        if c.eat(b' ') {
            fetch.read_modifiers(c)?;
        }
        Ok(fetch)
    }

    fn read_modifiers(&mut self, c: &mut Cursor<'b>) -> Result<(), Fault> {
        c.expect(b'(', "fetch modifiers in parentheses")?;
        loop {
            if c.eat_word(b"CHANGEDSINCE") && self.changed_since.is_none() {
                c.sp()?;
                self.changed_since = Some(c.number64()?);
            } else if c.eat_word(b"VANISHED") && !self.vanished {
                self.vanished = true;
            } else {
                return Err(Fault::Expected("a fetch modifier that is known here"));
            }
            if !c.eat(b' ') {
                break;
            }
        }
        c.expect(b')', "the end of the fetch modifiers")?;
        // RFC 7162 §3.2.6: VANISHED is for UID FETCH with CHANGEDSINCE only.
        if self.vanished && !(self.uid && self.changed_since.is_some()) {
            return Err(Fault::Value("VANISHED without UID FETCH and CHANGEDSINCE"));
        }
        Ok(())
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        self.set.emit(e);
        e.push(b" ");
        self.items.emit(e);
        if let Some(modseq) = self.changed_since {
            e.push(b" (CHANGEDSINCE ");
            e.number(modseq);
            e.push(if self.vanished { b" VANISHED)" } else { b")" });
        }
    }
}

impl<'b> Element<'b> for FetchItem<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let name = Upper::of(c.name());
        let bracket = c.peek() == Some(b'[');
        Ok(match (name.as_bytes(), bracket) {
            (b"UID", false) => FetchItem::Uid,
            (b"FLAGS", false) => FetchItem::Flags,
            (b"INTERNALDATE", false) => FetchItem::InternalDate,
            (b"ENVELOPE", false) => FetchItem::Envelope,
            (b"BODY", false) => FetchItem::Body,
            (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
            (b"RFC822", false) => FetchItem::Rfc822,
            (b"RFC822.SIZE", false) => FetchItem::Rfc822Size,
            (b"RFC822.HEADER", false) => FetchItem::Rfc822Header,
            (b"RFC822.TEXT", false) => FetchItem::Rfc822Text,
            (b"MODSEQ", false) => FetchItem::ModSeq,
            (b"BODY", true) => read_section(false, c)?,
            (b"BODY.PEEK", true) => read_section(true, c)?,
            (b"BINARY", true) => read_binary(false, c)?,
            (b"BINARY.PEEK", true) => read_binary(true, c)?,
            (b"BINARY.SIZE", true) => FetchItem::BinarySize(PartPath::read_in_brackets(c)?),
            _ => return Err(Fault::Expected("an item to fetch that is known here")),
        })
    }

    fn emit(&self, e: &mut Emit<'_>) {
        match self {
            FetchItem::Uid => e.push(b"UID"),
            FetchItem::Flags => e.push(b"FLAGS"),
            FetchItem::InternalDate => e.push(b"INTERNALDATE"),
            FetchItem::Envelope => e.push(b"ENVELOPE"),
            FetchItem::Body => e.push(b"BODY"),
            FetchItem::BodyStructure => e.push(b"BODYSTRUCTURE"),
            FetchItem::Rfc822 => e.push(b"RFC822"),
            FetchItem::Rfc822Size => e.push(b"RFC822.SIZE"),
            FetchItem::Rfc822Header => e.push(b"RFC822.HEADER"),
            FetchItem::Rfc822Text => e.push(b"RFC822.TEXT"),
            FetchItem::ModSeq => e.push(b"MODSEQ"),
            FetchItem::Section { peek, section, partial } => {
                e.push(if *peek { b"BODY.PEEK" } else { b"BODY" });
                section.emit(e);
                emit_partial(*partial, e);
            }
            FetchItem::Binary { peek, part, partial } => {
                e.push(if *peek { b"BINARY.PEEK" } else { b"BINARY" });
                part.emit_in_brackets(e);
                emit_partial(*partial, e);
            }
            FetchItem::BinarySize(part) => {
                e.push(b"BINARY.SIZE");
                part.emit_in_brackets(e);
            }
        }
    }
}

fn read_section<'b>(peek: bool, c: &mut Cursor<'b>) -> Result<FetchItem<'b>, Fault> {
    let section = Section::read(c)?;
    Ok(FetchItem::Section { peek, section, partial: read_partial(c)? })
}

fn read_binary<'b>(peek: bool, c: &mut Cursor<'b>) -> Result<FetchItem<'b>, Fault> {
    let part = PartPath::read_in_brackets(c)?;
    Ok(FetchItem::Binary { peek, part, partial: read_partial(c)? })
}

fn read_partial(c: &mut Cursor<'_>) -> Result<Option<Partial>, Fault> {
    if !c.eat(b'<') {
        return Ok(None);
    }
    let offset = c.number64()?;
    c.expect(b'.', "a dot and a count of octets")?;
    let count = c.number64()?;
    c.expect(b'>', "the end of a partial range")?;
    if count == 0 { Err(Fault::Value("a count of 0 octets")) } else { Ok(Some(Partial { offset, count })) }
}

fn emit_partial(partial: Option<Partial>, e: &mut Emit<'_>) {
    if let Some(Partial { offset, count }) = partial {
        e.push(b"<");
        e.number(offset);
        e.push(b".");
        e.number(count);
        e.push(b">");
    }
}

impl<'b> Section<'b> {
    /// The whole message: `BODY[]`.
    pub const MESSAGE: Section<'static> = Section { part: PartPath::MESSAGE, text: SectionText::All };

    /// `section`, with its brackets.
    pub(crate) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.expect(b'[', "a section in brackets")?;
        let part = PartPath::read(c)?;
        let mut section = Section { part, text: SectionText::All };
        if c.eat(b']') {
            return Ok(section);
        }
        if !part.is_message() {
            c.expect(b'.', "a dot or the end of a section")?;
        }
        let name = Upper::of(c.name());
        section.text = match name.as_bytes() {
            b"HEADER" => SectionText::Header,
            b"TEXT" => SectionText::Text,
            b"MIME" if !part.is_message() => SectionText::Mime,
            b"HEADER.FIELDS" => {
                c.sp()?;
                SectionText::HeaderFields(List::read_some(c, HEADER_NAMES_MAX)?)
            }
            b"HEADER.FIELDS.NOT" => {
                c.sp()?;
                SectionText::HeaderFieldsNot(List::read_some(c, HEADER_NAMES_MAX)?)
            }
            _ => return Err(Fault::Expected("a section that is known here")),
        };
        c.expect(b']', "the end of a section")?;
        Ok(section)
    }

    /// With its brackets.
    pub(crate) fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"[");
        self.part.emit(e);
        if !self.part.is_message() && self.text != SectionText::All {
            e.push(b".");
        }
        let names = match &self.text {
            SectionText::All => None,
            SectionText::Header => return e.push(b"HEADER]"),
            SectionText::Text => return e.push(b"TEXT]"),
            SectionText::Mime => return e.push(b"MIME]"),
            SectionText::HeaderFields(names) => Some((&b"HEADER.FIELDS "[..], names)),
            SectionText::HeaderFieldsNot(names) => Some((&b"HEADER.FIELDS.NOT "[..], names)),
        };
        if let Some((word, names)) = names {
            e.push(word);
            names.emit(e);
        }
        e.push(b"]");
    }
}

impl<'b> PartPath<'b> {
    /// The message itself.
    pub const MESSAGE: PartPath<'static> = PartPath(PathRepr::Numbers(&[]));

    /// These numbers, from the outermost part inwards; none of them 0.
    pub const fn of(numbers: &'b [u32]) -> Self {
        PartPath(PathRepr::Numbers(numbers))
    }

    /// Whether this is the message itself.
    pub fn is_message(&self) -> bool {
        match self.0 {
            PathRepr::Wire(wire) => wire.is_empty(),
            PathRepr::Numbers(numbers) => numbers.is_empty(),
        }
    }

    /// The numbers, from the outermost part inwards.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + Clone + use<'b> {
        let (mut wire, numbers) = match self.0 {
            PathRepr::Wire(wire) => (Cursor::new(wire, false), &[][..]),
            PathRepr::Numbers(numbers) => (Cursor::new(&[], false), numbers),
        };
        let from_wire = core::iter::from_fn(move || {
            let n = wire.nz_number().ok()?;
            wire.eat(b'.');
            Some(n)
        });
        numbers.iter().copied().chain(from_wire)
    }

    /// Numbers with dots between them, possibly none. A dot behind the last number is left.
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let start = *c;
        let mut count = 0;
        while c.peek().is_some_and(|b| b.is_ascii_digit()) {
            if count == PART_DEPTH_MAX {
                return Err(Fault::Limit("numbers of a part"));
            }
            c.nz_number()?;
            count += 1;
            if c.peek() == Some(b'.') && c.rest().get(1).is_some_and(u8::is_ascii_digit) {
                c.eat(b'.');
            } else {
                break;
            }
        }
        Ok(PartPath(PathRepr::Wire(c.since(start))))
    }

    pub(crate) fn read_in_brackets(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.expect(b'[', "a part in brackets")?;
        let part = PartPath::read(c)?;
        c.expect(b']', "the end of a part")?;
        Ok(part)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        for (i, n) in self.numbers().enumerate() {
            if i > 0 {
                e.push(b".");
            }
            e.number(u64::from(n));
        }
    }

    pub(crate) fn emit_in_brackets(&self, e: &mut Emit<'_>) {
        e.push(b"[");
        self.emit(e);
        e.push(b"]");
    }
}

impl Default for PartPath<'_> {
    fn default() -> Self {
        PartPath::MESSAGE
    }
}

impl PartialEq for PartPath<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.numbers().eq(other.numbers())
    }
}

impl Eq for PartPath<'_> {}

impl fmt::Debug for PartPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}
