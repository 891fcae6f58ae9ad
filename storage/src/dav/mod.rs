//! Collections, calendar objects, vCards and files: what their rows hold. Plain data.
//!
//! Each mailbox has a tree of nodes, the owner's. A node's key is the number of the collection it is in and a keyed
//! hash of its name; what it is called and all that it says is sealed with the organisation's key. One row guards the
//! whole tree: every change raises its revision, so that whoever decides by what they read and writes under the
//! revision that they read first, decides within the transaction. Numbers of an owner rise and are never used again,
//! for nodes and for changes alike.

pub(crate) mod memory;
mod tree;

pub use tree::{DavDraft, DavEffect, DavFile, DavTree};

use crate::types::{Id, MailboxId, MessageId};

/// Nodes that one change writes or removes at most: the database removes some hundred in a second on a busy machine, and
/// a transaction that is not answered within a minute ends the process.
pub const DAV_NODES_AT_ONCE_MAX: usize = 10_000;
/// Removals that a collection remembers at least; twice as many are kept at most. A client that saw an older state
/// reads all of the collection again.
pub const DAV_HISTORY_MAX: u64 = 5_000;

/// Where nodes are kept, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DavTable {
    /// The tops of an owner's tree.
    Home,
    /// Calendars.
    Calendar,
    /// Calendar objects.
    Event,
    /// Address books.
    AddressBook,
    /// vCards.
    Contact,
    /// Folders and files.
    File,
}

impl DavTable {
    /// All of them.
    pub const ALL: [DavTable; 6] = [
        DavTable::Home,
        DavTable::Calendar,
        DavTable::Event,
        DavTable::AddressBook,
        DavTable::Contact,
        DavTable::File,
    ];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            DavTable::Home => "dav_home",
            DavTable::Calendar => "calendar",
            DavTable::Event => "event",
            DavTable::AddressBook => "address_book",
            DavTable::Contact => "contact",
            DavTable::File => "file",
        }
    }

    /// From its name.
    pub fn of(name: &str) -> Option<DavTable> {
        DavTable::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DavKey {
    /// Where it is kept.
    pub table: DavTable,
    /// Whose.
    pub mailbox: MailboxId,
    /// The number of the collection it is in; 0 is the top.
    pub parent: u64,
    /// A keyed hash of its name.
    pub name: Id,
}

/// What guards an owner's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DavOwner {
    /// Whose tree.
    pub mailbox: MailboxId,
    /// As it was read; 0: the tree was not made yet.
    pub rev: u64,
    /// The number given last.
    pub last: u64,
}

/// The state of a collection's members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DavMembers {
    /// The number of the last change among them.
    pub changed: u64,
    /// Removals that are remembered.
    pub removed: u64,
    /// Removals up to this number are forgotten.
    pub forgotten: u64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavNode {
    /// Which.
    pub key: DavKey,
    /// Its number, by which its members and its content are kept.
    pub id: u64,
    /// The number of its last change.
    pub changed: u64,
    /// Of a collection: the state of its members.
    pub members: Option<DavMembers>,
    /// Octets that count for the quota.
    pub size: u64,
    /// The object that holds its content, when that is not in a row.
    pub object: Option<MessageId>,
    /// A keyed hash of its UID.
    pub uid: Option<Id>,
    /// What it says; opaque, and sealed in a row.
    pub meta: Vec<u8>,
}

/// A member that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavGone {
    /// Whose.
    pub mailbox: MailboxId,
    /// The collection it was in.
    pub parent: u64,
    /// The number of its removal.
    pub change: u64,
    /// Its name, sealed.
    pub name: Vec<u8>,
}

/// Content that is kept in a row: of the node of this number, or what the owner keeps under number 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavText {
    /// Whose.
    pub mailbox: MailboxId,
    /// Of which node.
    pub id: u64,
    /// Sealed.
    pub text: Vec<u8>,
}

/// A mail that a change gives rise to, kept until it is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavMail {
    /// Whose change.
    pub mailbox: MailboxId,
    /// Its number.
    pub number: u64,
    /// Opaque, and sealed in a row.
    pub mail: Vec<u8>,
}

/// A change of one owner's tree: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavChange {
    /// As it was read, but with the number given last.
    pub owner: DavOwner,
    /// Whether the mailbox's quota is checked.
    pub check_quota: bool,
    /// New nodes, and such as take the place of what has their key.
    pub put: Vec<DavNode>,
    /// Nodes to be removed with their content; of collections the members are named too.
    pub gone: Vec<DavKey>,
    /// Collections whose members change.
    pub touched: Vec<DavKey>,
    /// Removals that their collections remember.
    pub history: Vec<DavGone>,
    /// Content.
    pub texts: Vec<DavText>,
    /// Mails to be sent.
    pub mails: Vec<DavMail>,
    /// Mails that are on their way.
    pub mails_gone: Vec<u64>,
}

impl DavChange {
    /// Nothing yet, of a tree as it was read.
    pub fn of(owner: DavOwner) -> DavChange {
        DavChange {
            owner,
            check_quota: true,
            put: Vec::new(),
            gone: Vec::new(),
            touched: Vec::new(),
            history: Vec::new(),
            texts: Vec::new(),
            mails: Vec::new(),
            mails_gone: Vec::new(),
        }
    }
}

/// What a transaction writes of trees.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // columns, named as the values they hold
pub struct DavWrites {
    /// Guarded by their revisions, also while they are not there.
    pub owners: Vec<DavOwner>,
    pub nodes: Vec<DavNode>,
    pub nodes_gone: Vec<DavKey>,
    pub texts: Vec<DavText>,
    pub texts_gone: Vec<(MailboxId, u64)>,
    pub history: Vec<DavGone>,
    /// Removals of a collection, from the first to that number.
    pub history_gone: Vec<(MailboxId, u64, u64)>,
    /// The UID, and the node that has it.
    pub uids: Vec<(Id, DavKey)>,
    pub uids_gone: Vec<(Id, DavKey)>,
    pub mails: Vec<DavMail>,
    pub mails_gone: Vec<(MailboxId, u64)>,
}
