//! Untagged responses other than FETCH data.

use super::super::command::IdField;
use super::super::command::mailbox::StatusItem;
use super::super::flag::{Attribute, Flag};
use super::super::list::{Atom, Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::{MailboxName, Str, Text};
use super::super::write::Emit;
use super::Status;
use super::fetch::FetchAttr;
use crate::set::SequenceSet;

/// Most elements of one list in a response that is read.
pub const RESPONSE_LIST_MAX: usize = 1 << 20;

/// An untagged response (RFC 9051 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Untagged<'b> {
    /// `* OK`, `NO`, `BAD`, `PREAUTH` or `BYE`; the greeting too.
    Status(Status<'b>),
    Capability(List<'b, Atom<'b>>),
    Enabled(List<'b, Atom<'b>>),
    /// RFC 2971.
    Id(Option<List<'b, IdField<'b>>>),
    Namespace(Namespace<'b>),
    List(ListInfo<'b>),
    /// RFC 3501 §7.2.3.
    Lsub(ListInfo<'b>),
    StatusOf {
        mailbox: MailboxName<'b>,
        items: List<'b, StatusValue>,
    },
    /// RFC 3501 §7.2.5; with the highest modification sequence among them (RFC 7162 §3.1.6).
    Search {
        numbers: List<'b, u32>,
        modseq: Option<u64>,
    },
    Esearch(Esearch<'b>),
    Flags(List<'b, Flag<'b>>),
    Exists(u32),
    /// RFC 3501 §7.3.2.
    Recent(u32),
    Expunge(u32),
    /// RFC 7162 §3.2.10: UIDs that are gone; `earlier` in answer to SELECT and FETCH.
    Vanished {
        earlier: bool,
        uids: SequenceSet<'b>,
    },
    Fetch {
        number: u32,
        attrs: List<'b, FetchAttr<'b>>,
    },
    /// A response unknown here: its whole line without `* `.
    Other(Text<'b>),
}

/// LIST and LSUB data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListInfo<'b> {
    /// Mailbox attributes.
    pub attributes: List<'b, Attribute<'b>>,
    /// The hierarchy delimiter; `None` for a flat name.
    pub delimiter: Option<u8>,
    /// The name.
    pub mailbox: MailboxName<'b>,
    /// CHILDINFO: the selection criteria that children meet (RFC 5258 §3.5).
    pub child_info: List<'b, Str<'b>>,
    /// OLDNAME: what it was called before a rename or in another form (RFC 9051 §6.3.9.7).
    pub old_name: Option<MailboxName<'b>>,
}

/// One item of STATUS data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusValue {
    /// Which.
    pub item: StatusItem,
    /// Its value; `None` for `NIL`, which only APPENDLIMIT can have.
    pub value: Option<u64>,
}

/// ESEARCH data (RFC 9051 §7.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esearch<'b> {
    /// The tag of the command it answers.
    pub tag: Option<Text<'b>>,
    /// The numbers are UIDs.
    pub uid: bool,
    /// The result.
    pub items: List<'b, EsearchItem<'b>>,
}

/// One item of ESEARCH data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EsearchItem<'b> {
    Min(u32),
    Max(u32),
    All(SequenceSet<'b>),
    Count(u32),
    /// RFC 7162 §3.1.10.
    ModSeq(u64),
}

/// NAMESPACE data (RFC 2342 §5): empty lists are `NIL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Namespace<'b> {
    pub personal: List<'b, NamespaceItem<'b>>,
    pub other_users: List<'b, NamespaceItem<'b>>,
    pub shared: List<'b, NamespaceItem<'b>>,
}

/// One namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceItem<'b> {
    /// What its names begin with.
    pub prefix: Text<'b>,
    /// Its hierarchy delimiter.
    pub delimiter: Option<u8>,
}

impl<'b> Element<'b> for StatusValue {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let item = StatusItem::read(c)?;
        c.sp()?;
        let value = if c.eat_word(b"NIL") { None } else { Some(c.number64()?) };
        Ok(StatusValue { item, value })
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.push(self.item.as_str().as_bytes());
        e.push(b" ");
        match self.value {
            Some(n) => e.number(n),
            None => e.push(b"NIL"),
        }
    }
}

impl<'b> Element<'b> for EsearchItem<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let name = Upper::of(c.name());
        c.sp()?;
        Ok(match name.as_bytes() {
            b"MIN" => EsearchItem::Min(c.nz_number()?),
            b"MAX" => EsearchItem::Max(c.nz_number()?),
            b"ALL" => EsearchItem::All(SequenceSet::read(c)?),
            b"COUNT" => EsearchItem::Count(c.number()?),
            b"MODSEQ" => EsearchItem::ModSeq(c.number64()?),
            _ => return Err(Fault::Expected("a search result that is known here")),
        })
    }
    fn emit(&self, e: &mut Emit<'_>) {
        let (name, n) = match self {
            EsearchItem::Min(n) => ("MIN ", u64::from(*n)),
            EsearchItem::Max(n) => ("MAX ", u64::from(*n)),
            EsearchItem::Count(n) => ("COUNT ", u64::from(*n)),
            EsearchItem::ModSeq(n) => ("MODSEQ ", *n),
            EsearchItem::All(set) => {
                e.push(b"ALL ");
                return set.emit(e);
            }
        };
        e.push(name.as_bytes());
        e.number(n);
    }
}

/// `DQUOTE QUOTED-CHAR DQUOTE / nil`.
fn read_delimiter(c: &mut Cursor<'_>) -> Result<Option<u8>, Fault> {
    let Some(text) = c.nstring()? else { return Ok(None) };
    let mut octets = text.octets();
    match (octets.next(), octets.next()) {
        (first, None) => Ok(first),
        _ => Err(Fault::Value("a delimiter of several octets")),
    }
}

fn emit_delimiter(delimiter: Option<u8>, e: &mut Emit<'_>) {
    match delimiter {
        None => e.push(b"NIL"),
        Some(b) => e.string(Text::new(&[b])),
    }
}

impl<'b> Element<'b> for NamespaceItem<'b> {
    const ADJACENT: bool = true;

    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.expect(b'(', "a namespace")?;
        let prefix = c.string()?;
        c.sp()?;
        let delimiter = read_delimiter(c)?;
        // RFC 2342 §5 lets extensions follow; none is known here.
        while c.eat(b' ') {
            c.skip_value()?;
        }
        c.expect(b')', "the end of a namespace")?;
        Ok(NamespaceItem { prefix, delimiter })
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"(");
        e.string(self.prefix);
        e.push(b" ");
        emit_delimiter(self.delimiter, e);
        e.push(b")");
    }
}
