//! What a node of a tree says, and how storage keeps it.

use std::sync::Arc;

use protocol_core::Timestamp;
use protocol_dav::ical::Index;
use protocol_dav::lock::ActiveLock;
use protocol_dav::name::{Name, Namespace};
use protocol_dav::path::{Area, Path};
use protocol_dav::resource::{
    Access, Components, DeadProperty, Kind, Quota, Resource, Sharee, Sharing, SyncToken,
};
use serde::{Deserialize, Serialize};
use storage::{DavMembers, DavNode, DavTable, Mailbox};

use super::fault::Fault;

/// What a node says; sealed in its row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// What it is called.
    pub name: String,
    kind: String,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Its schedule tag; it is an object of scheduling then.
    pub schedule_tag: Option<String>,
    /// Octets of its content.
    pub length: u64,
    /// The media type of a file.
    pub content_type: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    /// Milliseconds since the epoch.
    pub modified: i64,
    components: u8,
    /// The UID of an object.
    pub uid: String,
    first: Option<i64>,
    last: Option<i64>,
    recurring: bool,
    /// Of a calendar that anybody may read who knows its address: the number that the address was made with.
    pub public: Option<u64>,
    /// Of a collection: with whom it is shared.
    pub shares: Vec<ShareRow>,
    /// Of a place for a collection of somebody else: which.
    pub mount: Option<Mount>,
    dead: Vec<Dead>,
}

/// Somebody with whom a collection is shared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShareRow {
    /// The ID of their mailbox.
    pub mailbox: String,
    /// Its address.
    pub address: String,
    name: String,
    write: bool,
}

impl ShareRow {
    /// Somebody, and what they may do.
    pub fn of(mailbox: &Mailbox, access: Access) -> ShareRow {
        ShareRow {
            mailbox: mailbox.id.to_string(),
            address: mailbox.address.clone(),
            name: mailbox.name.clone(),
            write: access == Access::ReadWrite,
        }
    }

    /// What they may do.
    pub fn access(&self) -> Access {
        if self.write { Access::ReadWrite } else { Access::Read }
    }
}

/// Which collection of somebody else is shown at a place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// The ID of their mailbox.
    pub mailbox: String,
    /// The number of the collection.
    pub collection: u64,
    /// What it was called when it was shared.
    pub name: String,
}

impl Mount {
    /// Whether both are of one collection.
    pub fn is_of(&self, other: &Mount) -> bool {
        self.mailbox == other.mailbox && self.collection == other.collection
    }
}

/// Whose collection somebody sees with whom it is shared, and what they may do in it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The owner's canonical address.
    pub owner: String,
    /// What they may do.
    pub access: Access,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Dead {
    namespace: String,
    name: String,
    fragment: String,
}

const KINDS: [(Kind, &str); 9] = [
    (Kind::Principal, "principal"),
    (Kind::Home, "home"),
    (Kind::Calendar, "calendar"),
    (Kind::Book, "book"),
    (Kind::ScheduleInbox, "inbox"),
    (Kind::Folder, "folder"),
    (Kind::File, "file"),
    (Kind::CalendarObject, "event"),
    (Kind::Card, "card"),
];

impl Meta {
    /// Of what is made now.
    pub fn made(now: Timestamp) -> Meta {
        Meta { created: now.0, modified: now.0, ..Meta::default() }
    }
}

/// A node at its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is.
    pub path: Path,
    /// What it is.
    pub kind: Kind,
    /// As storage has it; its meta is in `meta`.
    pub row: DavNode,
    /// What it says.
    pub meta: Meta,
    /// What clients have set.
    pub dead: Vec<DeadProperty>,
    /// Whether it may only be read.
    pub read_only: bool,
    /// With whom its owner, who sees it, shares it or what it is in.
    pub sharees: Arc<[Sharee]>,
    /// When it is shared with who sees it: whose it is.
    pub seen: Option<Arc<Seen>>,
}

impl Node {
    /// From its row.
    pub fn read(path: Path, row: DavNode) -> Result<Node, Fault> {
        let damaged = || storage::Error::Corrupt(format!("a resource of {}", row.key.mailbox));
        let meta: Meta = serde_json::from_slice(&row.meta).map_err(|_| damaged())?;
        let kind = KINDS.iter().find(|(_, name)| *name == meta.kind).map(|(kind, _)| *kind);
        let property = |dead: &Dead| DeadProperty {
            name: Name::new(Namespace::of(&dead.namespace), &dead.name),
            fragment: dead.fragment.as_str().into(),
        };
        let dead = meta.dead.iter().map(property).collect();
        let sharees = meta.shares.iter().map(|row| Sharee {
            address: row.address.as_str().into(),
            name: row.name.as_str().into(),
            access: row.access(),
        });
        let sharees = sharees.collect();
        Ok(Node { dead, sharees, ..Node::new(path, kind.ok_or_else(damaged)?, row, meta) })
    }

    /// Without properties that clients have set, and not shared.
    pub fn new(path: Path, kind: Kind, row: DavNode, meta: Meta) -> Node {
        Node { path, kind, row, meta, dead: Vec::new(), read_only: false, sharees: Arc::from([]), seen: None }
    }

    /// As [`Node::share_with`], but what is in a home is shared by itself.
    pub fn share_with_members(&self, member: Node) -> Node {
        if self.kind == Kind::Home { member } else { self.share_with(member) }
    }

    /// What is in this collection is shared as it is.
    pub fn share_with(&self, member: Node) -> Node {
        Node { sharees: self.sharees.clone(), seen: self.seen.clone(), ..member }
    }

    /// A member of a collection, from its row.
    pub fn member(parent: &Path, row: DavNode) -> Result<Node, Fault> {
        let node = Node::read(parent.clone(), row)?;
        let path = parent.join(&node.meta.name);
        Ok(Node { path, ..node })
    }

    /// Its row.
    pub fn write(&self) -> Result<DavNode, Fault> {
        let mut meta = self.meta.clone();
        meta.kind = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name).to_owned();
        meta.name = match self.path.name() {
            Some(name) => name.to_owned(),
            None => self.path.area().map_or("", Area::name).to_owned(),
        };
        let dead = |property: &DeadProperty| Dead {
            namespace: property.name.namespace.uri().to_owned(),
            name: property.name.local.to_string(),
            fragment: property.fragment.to_string(),
        };
        meta.dead = self.dead.iter().map(dead).collect();
        let meta = serde_json::to_vec(&meta).map_err(|e| storage::Error::Unavailable(e.to_string()))?;
        Ok(DavNode { meta, ..self.row.clone() })
    }

    /// What a calendar takes, or what a calendar object is.
    pub fn components(&self) -> Components {
        Components(self.meta.components)
    }

    /// Sets what a calendar takes.
    pub fn set_components(&mut self, components: Components) {
        self.meta.components = components.0;
    }

    /// What an index knows of a calendar object.
    pub fn index(&self) -> Index {
        Index {
            uid: self.meta.uid.as_str().into(),
            component: self.components(),
            first: self.meta.first,
            last: self.meta.last,
            recurring: self.meta.recurring,
        }
    }

    /// Keeps what an index must know.
    pub fn set_index(&mut self, index: &Index) {
        self.meta.uid = index.uid.to_string();
        self.meta.components = index.component.0;
        (self.meta.first, self.meta.last) = (index.first, index.last);
        self.meta.recurring = index.recurring;
    }

    /// The state of its members.
    pub fn members(&self) -> DavMembers {
        self.row.members.unwrap_or_default()
    }

    /// The state that clients synchronise to.
    pub fn sync(&self) -> Option<SyncToken> {
        let token = SyncToken { collection: self.row.id, change: self.members().changed };
        self.kind.is_synchronised().then_some(token)
    }

    /// As answers are written from it.
    pub fn resource<'a>(
        &'a self,
        data: Option<&'a str>,
        locks: &'a [ActiveLock],
        quota: Option<Quota>,
    ) -> Resource<'a> {
        Resource {
            etag: self.meta.etag.as_deref(),
            schedule_tag: self.meta.schedule_tag.as_deref(),
            length: self.meta.length,
            content_type: &self.meta.content_type,
            created: Timestamp(self.meta.created),
            modified: Timestamp(self.meta.modified),
            components: self.components(),
            sync: self.sync(),
            quota: quota.filter(|_| self.kind.is_collection() && self.seen.is_none()),
            locks,
            dead: &self.dead,
            read_only: self.read_only,
            sharing: match &self.seen {
                Some(seen) => Sharing::Sharee { owner: &seen.owner, access: seen.access },
                None if self.sharees.is_empty() => Sharing::None,
                None => Sharing::Owner(&self.sharees),
            },
            data,
            ..Resource::new(&self.path, self.kind)
        }
    }
}

/// The table of what is so many names below the top of an area.
pub fn table(area: Area, depth: usize) -> Option<DavTable> {
    match (area, depth) {
        (_, 0) => Some(DavTable::Home),
        (Area::Calendars, 1) => Some(DavTable::Calendar),
        (Area::Calendars, 2) => Some(DavTable::Event),
        (Area::Books, 1) => Some(DavTable::AddressBook),
        (Area::Books, 2) => Some(DavTable::Contact),
        (Area::Files, _) => Some(DavTable::File),
        _ => None,
    }
}
