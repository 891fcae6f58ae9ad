//! Commands: what a client asks.

pub mod append;
mod arguments;
pub mod fetch;
pub mod mailbox;
pub mod search;
pub mod store;

use core::fmt;

use super::flag::Attribute;
use super::list::{Atom, Element, List};
use super::read::{Cursor, Fault, Upper, is_tag};
use super::table::Name;
use super::text::{MailboxName, Secret, Text};
use super::write::Emit;
use crate::set::SequenceSet;
use append::Append;
use fetch::Fetch;
use mailbox::{ListCommand, SelectParams, StatusItem};
use search::Search;
use store::Store;

/// A command with its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'b> {
    /// Chosen by the client; comes back in the completion.
    pub tag: &'b str,
    /// What is asked.
    pub body: CommandBody<'b>,
}

/// What a command asks. Names and arguments as in RFC 9051 §6 unless another RFC is cited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CommandBody<'b> {
    Capability,
    Noop,
    Logout,
    /// RFC 2971: pairs of name and value; `None` for `NIL`.
    Id(Option<List<'b, IdField<'b>>>),
    StartTls,
    Authenticate {
        mechanism: Atom<'b>,
        /// RFC 4959.
        initial: Option<Initial<'b>>,
    },
    Login {
        user: Text<'b>,
        password: Secret<'b>,
    },
    Enable(List<'b, Atom<'b>>),
    Select {
        mailbox: MailboxName<'b>,
        params: SelectParams<'b>,
    },
    Examine {
        mailbox: MailboxName<'b>,
        params: SelectParams<'b>,
    },
    Create {
        mailbox: MailboxName<'b>,
        /// RFC 6154 §3: `USE (...)`.
        uses: List<'b, Attribute<'b>>,
    },
    Delete(MailboxName<'b>),
    Rename {
        from: MailboxName<'b>,
        to: MailboxName<'b>,
    },
    Subscribe(MailboxName<'b>),
    Unsubscribe(MailboxName<'b>),
    List(ListCommand<'b>),
    /// RFC 3501 §6.3.9.
    Lsub {
        reference: MailboxName<'b>,
        pattern: Text<'b>,
    },
    Namespace,
    Status {
        mailbox: MailboxName<'b>,
        items: List<'b, StatusItem>,
    },
    Append(Append<'b>),
    /// RFC 2177; the server reads `DONE` as a line of its own.
    Idle,
    /// RFC 3501 §6.4.1.
    Check,
    Close,
    Unselect,
    Expunge,
    /// RFC 4315 §2.1.
    UidExpunge(SequenceSet<'b>),
    Search(Search<'b>),
    Fetch(Fetch<'b>),
    Store(Store<'b>),
    Copy {
        uid: bool,
        set: SequenceSet<'b>,
        mailbox: MailboxName<'b>,
    },
    Move {
        uid: bool,
        set: SequenceSet<'b>,
        mailbox: MailboxName<'b>,
    },
    /// RFC 4978: the algorithm.
    Compress(Atom<'b>),
}

/// An initial response of AUTHENTICATE. It holds secrets: `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Initial<'b> {
    /// `=`: present and of no octets (RFC 4959 §3).
    Empty,
    /// Base64, not decoded and not checked.
    Base64(&'b [u8]),
}

/// One field of ID (RFC 2971 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdField<'b> {
    /// Its name.
    pub name: Text<'b>,
    /// Its value, `None` for `NIL`.
    pub value: Option<Text<'b>>,
}

/// Longest tag, in octets.
pub const TAG_MAX: usize = 64;

/// A copy of a tag, without allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    octets: [u8; TAG_MAX],
    len: u8,
}

impl Tag {
    /// A copy; `None` for what is no tag or is longer than [`TAG_MAX`].
    pub fn new(tag: &str) -> Option<Tag> {
        let mut octets = [0; TAG_MAX];
        octets.get_mut(..tag.len())?.copy_from_slice(tag.as_bytes());
        is_tag(tag.as_bytes()).then_some(Tag { octets, len: tag.len() as u8 })
    }

    /// The tag with which a command begins, if it does.
    pub(super) fn at_start_of(octets: &[u8]) -> Option<Tag> {
        let mut c = Cursor::new(octets, false);
        let tag = c.tag().ok()?;
        c.sp().ok()?;
        Tag::new(tag)
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        let octets = self.octets.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A command that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCommand<'b> {
    /// Its tag, when that much could be read: the BAD is tagged with it, else untagged.
    pub tag: Option<&'b str>,
    /// Its name, when that much could be read.
    pub name: Option<Name>,
    /// Why.
    pub fault: Fault,
}

/// Most names in one ENABLE.
pub const ENABLE_MAX: usize = 64;
/// Most fields in one ID (RFC 2971 §3.3).
pub const ID_FIELDS_MAX: usize = 30;
/// Most attributes in one CREATE.
pub const USES_MAX: usize = 16;

impl<'b> Command<'b> {
    /// Reads a whole command, with or without its final CRLF: for APPEND, all up to the announcement of its
    /// message. `utf8`: IMAP4rev2 or UTF8=ACCEPT was enabled, so quoted strings may hold UTF-8.
    ///
    /// Allocates nothing and does not recurse.
    pub fn parse(octets: &'b [u8], utf8: bool) -> Result<Self, BadCommand<'b>> {
        let line = octets.strip_suffix(b"\r\n").unwrap_or(octets);
        let mut c = Cursor::new(line, utf8);
        let tag = match c.tag() {
            Ok(tag) => tag,
            Err(fault) => return Err(BadCommand { tag: None, name: None, fault }),
        };
        if tag.len() > TAG_MAX {
            return Err(BadCommand { tag: None, name: None, fault: Fault::Limit("octets of a tag") });
        }
        let bad = |name, fault| BadCommand { tag: Some(tag), name, fault };
        let name = read_name(&mut c).map_err(|fault| bad(None, fault))?;
        let body = CommandBody::read(name, &mut c).map_err(|fault| bad(Some(name), fault))?;
        c.end().map_err(|fault| bad(Some(name), fault))?;
        Ok(Command { tag, body })
    }

    /// Writes the command with its final CRLF; APPEND up to the announcement of its message.
    ///
    /// A client that must wait for continuations writes part 0, 1, 2... of [`Emit::client`] in turn, each
    /// after a continuation, until [`Emit::is_cut`] is false.
    pub fn write(&self, e: &mut Emit<'_>) {
        e.push(self.tag.as_bytes());
        e.push(b" ");
        e.push(self.body.name().as_str().as_bytes());
        self.body.emit_arguments(e);
        if !matches!(self.body, CommandBody::Append(_)) {
            e.push(b"\r\n");
        }
    }
}

/// A space and the command's name; `UID` and the name behind it are one.
fn read_name(c: &mut Cursor<'_>) -> Result<Name, Fault> {
    c.sp()?;
    let word = c.name();
    if !word.eq_ignore_ascii_case(b"UID") {
        return Name::from_word(word).ok_or(Fault::UnknownCommand);
    }
    c.sp()?;
    match Upper::of(c.name()).as_bytes() {
        b"COPY" => Ok(Name::UidCopy),
        b"EXPUNGE" => Ok(Name::UidExpunge),
        b"FETCH" => Ok(Name::UidFetch),
        b"MOVE" => Ok(Name::UidMove),
        b"SEARCH" => Ok(Name::UidSearch),
        b"STORE" => Ok(Name::UidStore),
        _ => Err(Fault::UnknownCommand),
    }
}

impl<'b> CommandBody<'b> {
    /// Its name.
    pub const fn name(&self) -> Name {
        match self {
            CommandBody::Capability => Name::Capability,
            CommandBody::Noop => Name::Noop,
            CommandBody::Logout => Name::Logout,
            CommandBody::Id(_) => Name::Id,
            CommandBody::StartTls => Name::StartTls,
            CommandBody::Authenticate { .. } => Name::Authenticate,
            CommandBody::Login { .. } => Name::Login,
            CommandBody::Enable(_) => Name::Enable,
            CommandBody::Select { .. } => Name::Select,
            CommandBody::Examine { .. } => Name::Examine,
            CommandBody::Create { .. } => Name::Create,
            CommandBody::Delete(_) => Name::Delete,
            CommandBody::Rename { .. } => Name::Rename,
            CommandBody::Subscribe(_) => Name::Subscribe,
            CommandBody::Unsubscribe(_) => Name::Unsubscribe,
            CommandBody::List(_) => Name::List,
            CommandBody::Lsub { .. } => Name::Lsub,
            CommandBody::Namespace => Name::Namespace,
            CommandBody::Status { .. } => Name::Status,
            CommandBody::Append(_) => Name::Append,
            CommandBody::Idle => Name::Idle,
            CommandBody::Check => Name::Check,
            CommandBody::Close => Name::Close,
            CommandBody::Unselect => Name::Unselect,
            CommandBody::Expunge => Name::Expunge,
            CommandBody::UidExpunge(_) => Name::UidExpunge,
            CommandBody::Search(search) => pick(search.uid, Name::Search, Name::UidSearch),
            CommandBody::Fetch(fetch) => pick(fetch.uid, Name::Fetch, Name::UidFetch),
            CommandBody::Store(store) => pick(store.uid, Name::Store, Name::UidStore),
            CommandBody::Copy { uid, .. } => pick(*uid, Name::Copy, Name::UidCopy),
            CommandBody::Move { uid, .. } => pick(*uid, Name::Move, Name::UidMove),
            CommandBody::Compress(_) => Name::Compress,
        }
    }
}

const fn pick(uid: bool, plain: Name, with_uid: Name) -> Name {
    if uid { with_uid } else { plain }
}

/// `NIL` or pairs of strings (RFC 2971 §3.1).
pub(in crate::codec) fn read_id<'b>(c: &mut Cursor<'b>) -> Result<Option<List<'b, IdField<'b>>>, Fault> {
    if c.eat_word(b"NIL") { Ok(None) } else { List::read(c, ID_FIELDS_MAX).map(Some) }
}

impl fmt::Debug for Initial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initial(..)")
    }
}

impl<'b> Element<'b> for IdField<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let name = c.string()?;
        c.sp()?;
        Ok(IdField { name, value: c.nstring()? })
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.string(self.name);
        e.push(b" ");
        e.nstring(self.value);
    }
}
