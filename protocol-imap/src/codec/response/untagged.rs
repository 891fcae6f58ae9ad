//! Untagged responses other than FETCH data.

use super::super::command::mailbox::StatusItem;
use super::super::command::{IdField, read_id};
use super::super::flag::{Attribute, Flag};
use super::super::list::{Atom, Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::{MailboxName, Str, Text};
use super::super::write::Emit;
use super::fetch::FetchAttr;
use super::{Status, StatusKind};
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

impl<'b> Untagged<'b> {
    /// Behind `* `. A response unknown here comes as [`Untagged::Other`].
    pub(super) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        if c.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Self::read_numbered(c);
        }
        let line = c.rest();
        let name = Upper::of(c.name());
        if let Some(kind) = StatusKind::from_upper(name.as_bytes()) {
            return Status::read(kind, c).map(Untagged::Status);
        }
        // An empty SEARCH or LIST-like response may end without a space.
        let spaced = c.eat(b' ');
        let untagged = match name.as_bytes() {
            b"CAPABILITY" => Untagged::Capability(List::read_bare(c, RESPONSE_LIST_MAX)?),
            b"ENABLED" if c.is_empty() => Untagged::Enabled(List::empty()),
            b"ENABLED" => Untagged::Enabled(List::read_bare(c, RESPONSE_LIST_MAX)?),
            b"ID" => Untagged::Id(read_id(c)?),
            b"NAMESPACE" => Untagged::Namespace(Namespace::read(c)?),
            b"LIST" => Untagged::List(ListInfo::read(c)?),
            b"LSUB" => Untagged::Lsub(ListInfo::read(c)?),
            b"STATUS" => {
                let mailbox = MailboxName(c.astring()?);
                c.sp()?;
                Untagged::StatusOf { mailbox, items: List::read(c, RESPONSE_LIST_MAX)? }
            }
            b"SEARCH" => read_search(c)?,
            b"ESEARCH" => Untagged::Esearch(Esearch::read(spaced, c)?),
            b"FLAGS" => Untagged::Flags(List::read(c, RESPONSE_LIST_MAX)?),
            b"VANISHED" => {
                let earlier = c.eat_text(b"(EARLIER) ");
                Untagged::Vanished { earlier, uids: SequenceSet::read(c)? }
            }
            _ => return Ok(Untagged::Other(Text::new(line))),
        };
        // Some servers leave a space behind the last element.
        c.eat(b' ');
        c.end()?;
        Ok(untagged)
    }

    /// `n EXISTS` and its like.
    fn read_numbered(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let line = c.rest();
        let number = c.number()?;
        c.sp()?;
        let untagged = match Upper::of(c.name()).as_bytes() {
            b"EXISTS" => Untagged::Exists(number),
            b"RECENT" => Untagged::Recent(number),
            b"EXPUNGE" => Untagged::Expunge(number),
            b"FETCH" => {
                c.sp()?;
                Untagged::Fetch { number, attrs: List::read(c, RESPONSE_LIST_MAX)? }
            }
            _ => return Ok(Untagged::Other(Text::new(line))),
        };
        if number == 0 && matches!(untagged, Untagged::Expunge(_) | Untagged::Fetch { .. }) {
            return Err(Fault::Value("message number 0"));
        }
        c.end()?;
        Ok(untagged)
    }

    /// Without `* ` and the line end.
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        match self {
            Untagged::Status(status) => status.emit(e),
            Untagged::Capability(names) => {
                e.push(b"CAPABILITY ");
                names.emit_bare(e);
            }
            Untagged::Enabled(names) => {
                e.push(if names.is_empty() { b"ENABLED" } else { b"ENABLED " });
                names.emit_bare(e);
            }
            Untagged::Id(fields) => {
                e.push(b"ID ");
                match fields {
                    Some(fields) => fields.emit(e),
                    None => e.push(b"NIL"),
                }
            }
            Untagged::Namespace(namespace) => namespace.emit(e),
            Untagged::List(info) => {
                e.push(b"LIST ");
                info.emit(e);
            }
            Untagged::Lsub(info) => {
                e.push(b"LSUB ");
                info.emit(e);
            }
            Untagged::StatusOf { mailbox, items } => {
                e.push(b"STATUS ");
                e.astring(mailbox.0);
                e.push(b" ");
                items.emit(e);
            }
            Untagged::Search { numbers, modseq } => emit_search(numbers, *modseq, e),
            Untagged::Esearch(esearch) => esearch.emit(e),
            Untagged::Flags(flags) => {
                e.push(b"FLAGS ");
                flags.emit(e);
            }
            Untagged::Vanished { earlier, uids } => {
                e.push(if *earlier { b"VANISHED (EARLIER) " } else { b"VANISHED " });
                uids.emit(e);
            }
            Untagged::Other(line) => e.text(*line),
            Untagged::Exists(_) | Untagged::Recent(_) | Untagged::Expunge(_) | Untagged::Fetch { .. } => {
                self.emit_numbered(e);
            }
        }
    }

    fn emit_numbered(&self, e: &mut Emit<'_>) {
        let (number, name) = match self {
            Untagged::Exists(n) => (n, " EXISTS"),
            Untagged::Recent(n) => (n, " RECENT"),
            Untagged::Expunge(n) => (n, " EXPUNGE"),
            Untagged::Fetch { number, .. } => (number, " FETCH "),
            _ => return,
        };
        e.number(u64::from(*number));
        e.push(name.as_bytes());
        if let Untagged::Fetch { attrs, .. } = self {
            attrs.emit(e);
        }
    }
}

/// Numbers with spaces between them, and `(MODSEQ n)` behind them (RFC 7162 §3.1.6).
fn read_search<'b>(c: &mut Cursor<'b>) -> Result<Untagged<'b>, Fault> {
    let line = c.rest();
    let len = memchr::memchr(b'(', line).unwrap_or(line.len());
    let digits = c.take(len).unwrap_or_default().trim_ascii_end();
    let mut numbers = List::empty();
    if !digits.is_empty() {
        let mut inside = Cursor::new(digits, false);
        numbers = List::read_bare(&mut inside, RESPONSE_LIST_MAX)?;
        inside.end()?;
    }
    let mut modseq = None;
    if c.eat_text(b"(MODSEQ ") {
        modseq = Some(c.number64()?);
        c.expect(b')', "the end of a modification sequence")?;
    }
    Ok(Untagged::Search { numbers, modseq })
}

fn emit_search(numbers: &List<'_, u32>, modseq: Option<u64>, e: &mut Emit<'_>) {
    e.push(b"SEARCH");
    if !numbers.is_empty() {
        e.push(b" ");
        numbers.emit_bare(e);
    }
    if let Some(modseq) = modseq {
        e.push(b" (MODSEQ ");
        e.number(modseq);
        e.push(b")");
    }
}

impl<'b> Namespace<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let personal = List::read_or_nil(c, RESPONSE_LIST_MAX)?;
        c.sp()?;
        let other_users = List::read_or_nil(c, RESPONSE_LIST_MAX)?;
        c.sp()?;
        Ok(Namespace { personal, other_users, shared: List::read_or_nil(c, RESPONSE_LIST_MAX)? })
    }

    fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"NAMESPACE");
        for list in [&self.personal, &self.other_users, &self.shared] {
            e.push(b" ");
            list.emit_or_nil(e);
        }
    }
}

impl<'b> ListInfo<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let attributes = List::read(c, RESPONSE_LIST_MAX)?;
        c.sp()?;
        let delimiter = read_delimiter(c)?;
        c.sp()?;
        let mailbox = MailboxName(c.astring()?);
        let mut info = ListInfo { attributes, delimiter, mailbox, child_info: List::empty(), old_name: None };
        if c.eat(b' ') {
            info.read_extended(c)?;
        }
        Ok(info)
    }

    /// `"(" [item *(SP item)] ")"`, each a name, a space and a value; unknown ones are skipped.
    fn read_extended(&mut self, c: &mut Cursor<'b>) -> Result<(), Fault> {
        c.expect(b'(', "extended data in parentheses")?;
        if c.eat(b')') {
            return Ok(());
        }
        loop {
            let name = c.astring()?;
            c.sp()?;
            if name.eq_ignore_ascii_case(b"CHILDINFO") {
                self.child_info = List::read(c, RESPONSE_LIST_MAX)?;
            } else if name.eq_ignore_ascii_case(b"OLDNAME") {
                c.expect(b'(', "a name in parentheses")?;
                self.old_name = Some(MailboxName(c.astring()?));
                c.expect(b')', "the end of a name")?;
            } else {
                c.skip_value()?;
            }
            if c.eat(b')') {
                return Ok(());
            }
            c.sp()?;
        }
    }

    fn emit(&self, e: &mut Emit<'_>) {
        self.attributes.emit(e);
        e.push(b" ");
        emit_delimiter(self.delimiter, e);
        e.push(b" ");
        e.astring(self.mailbox.0);
        if self.child_info.is_empty() && self.old_name.is_none() {
            return;
        }
        e.push(b" (");
        if !self.child_info.is_empty() {
            e.push(b"\"CHILDINFO\" ");
            self.child_info.emit(e);
        }
        if let Some(name) = self.old_name {
            e.push(if self.child_info.is_empty() { b"\"OLDNAME\" (" } else { b" \"OLDNAME\" (" });
            e.astring(name.0);
            e.push(b")");
        }
        e.push(b")");
    }
}

impl<'b> Esearch<'b> {
    /// Behind the name and, when `more`, a space.
    fn read(mut more: bool, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut esearch = Esearch { tag: None, uid: false, items: List::empty() };
        if more && c.eat_text(b"(TAG ") {
            esearch.tag = Some(c.string()?);
            c.expect(b')', "the end of a tag")?;
            more = c.eat(b' ');
        }
        if more && c.eat_word(b"UID") {
            esearch.uid = true;
            more = c.eat(b' ');
        }
        if more && !c.is_empty() {
            esearch.items = List::read_bare(c, RESPONSE_LIST_MAX)?;
        }
        Ok(esearch)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"ESEARCH");
        if let Some(tag) = self.tag {
            e.push(b" (TAG ");
            e.string(tag);
            e.push(b")");
        }
        if self.uid {
            e.push(b" UID");
        }
        if !self.items.is_empty() {
            e.push(b" ");
            self.items.emit_bare(e);
        }
    }
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
