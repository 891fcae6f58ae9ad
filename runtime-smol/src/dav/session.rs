//! One owner's tree as one request sees it.

use async_lock::OnceCell;
use protocol_core::Timestamp;
use protocol_dav::ical::Zone;
use protocol_dav::lock::ActiveLock;
use protocol_dav::name::{Name, Namespace};
use protocol_dav::path::{Area, Path};
use protocol_dav::precondition::{Current, Preconditions, State};
use protocol_dav::refusal::{Condition, Refusal};
use protocol_dav::report;
use protocol_dav::resource::{Components, Kind, Quota};
use serde::{Deserialize, Serialize};
use storage::{DavDraft, DavKey, DavMembers, DavNode, DavTable, DavTree, Id, Mailbox, Storage};

use super::directory::{self, Directory, is_directory};
use super::fault::Fault;
use super::node::{Meta, Node, table};
use crate::wire::wall_now;

/// Members of a collection that are read at a time.
pub const PAGE: usize = 256;
/// The number under which an owner's locks are kept.
const LOCKS: u64 = 0;
/// How often a tree is begun anew when others begin it too.
const BEGINS_MAX: u32 = 5;

/// The calendar into which invitations are put, and the address book that everybody has.
pub const DEFAULT: &str = "default";

/// A tree, and what every decision about it needs.
pub struct Session {
    /// As it was when the request began to be decided.
    pub tree: DavTree,
    /// Whose.
    pub mailbox: Mailbox,
    /// Locks that have not expired.
    pub locks: Vec<ActiveLock>,
    /// When.
    pub now: Timestamp,
    storage: Storage,
    directory: OnceCell<Directory>,
}

#[derive(Serialize, Deserialize)]
struct KeptLock {
    token: String,
    root: String,
    infinite: bool,
    exclusive: bool,
    principal: String,
    owner: Option<String>,
    expires: i64,
}

impl Session {
    /// Opens a mailbox's tree; what a new one has is made when it is opened for the first time.
    pub async fn open(storage: &Storage, mailbox: &Mailbox) -> Result<Session, Fault> {
        for _ in 0..BEGINS_MAX {
            let tree = storage.dav(mailbox).await?;
            let now = wall_now();
            if !tree.is_new() {
                let locks = locks(&tree, now).await?;
                let (mailbox, storage) = (mailbox.clone(), storage.clone());
                return Ok(Session { tree, mailbox, locks, now, storage, directory: OnceCell::new() });
            }
            // Somebody else may be first; then theirs is read.
            storage.dav_commit(vec![first(&tree, &mailbox.address, now)?], None).await?;
        }
        Err(storage::Error::Unavailable("too many begin the same tree".into()).into())
    }

    /// The canonical address of the owner.
    pub fn principal(&self) -> &str {
        &self.mailbox.address
    }

    /// The node at a place.
    pub async fn find(&self, path: &Path) -> Result<Option<Node>, Fault> {
        let (Some(area), Some(owner)) = (path.area(), path.owner()) else { return Ok(None) };
        if owner != self.principal() {
            return Ok(None);
        }
        if is_directory(path) {
            let directory = self.directory().await?;
            return Ok(match path.names() {
                [_] => Some(directory.book.clone()),
                _ => directory.cards.iter().map(|(node, _)| node).find(|node| node.path == *path).cloned(),
            });
        }
        let mut row = self.tree.node(DavTable::Home, 0, area.name()).await?;
        for (depth, name) in path.names().iter().enumerate() {
            let parent = row.filter(|row| row.members.is_some());
            let (Some(parent), Some(table)) = (parent, table(area, depth + 1)) else { return Ok(None) };
            row = self.tree.node(table, parent.id, name).await?;
        }
        row.map(|row| Node::read(path.clone(), row)).transpose()
    }

    /// The node at a place that must be there.
    pub async fn must_find(&self, path: &Path) -> Result<Node, Fault> {
        self.find(path).await?.ok_or_else(|| Refusal::not_found().into())
    }

    /// What is at a place.
    pub async fn kind(&self, path: &Path) -> Result<Option<Kind>, Fault> {
        let found = self.find(path).await?.map(|node| node.kind);
        Ok(found.or(report::fixed(path).map(|fixed| fixed.kind)))
    }

    /// What a place is in.
    pub async fn parent(&self, path: &Path) -> Result<Option<Node>, Fault> {
        match path.parent() {
            Some(parent) => self.find(&parent).await,
            None => Ok(None),
        }
    }

    /// The organisation's people.
    async fn directory(&self) -> Result<&Directory, Fault> {
        self.directory.get_or_try_init(|| directory::read(&self.storage, self)).await
    }

    /// A page of the members of a collection, behind a key.
    pub async fn members(&self, of: &Node, after: Option<Id>) -> Result<Vec<Node>, Fault> {
        if is_directory(&of.path) {
            let cards = self.directory().await?.cards.iter().map(|(node, _)| node);
            let behind = cards.filter(|node| after.is_none_or(|after| node.row.key.name > after));
            return Ok(behind.take(PAGE).cloned().collect());
        }
        let Some(table) = members_table(&of.path) else { return Ok(Vec::new()) };
        let mut page = Vec::new();
        if after.is_none() && of.path == Path::home(Area::Books, self.principal()) {
            page.push(self.directory().await?.book.clone());
        }
        for row in self.tree.members(table, of.row.id, after, PAGE).await? {
            page.push(Node::member(&of.path, row)?);
        }
        Ok(page)
    }

    /// Those members of a collection that are there still.
    pub async fn members_by_key(&self, of: &Node, keys: &[DavKey]) -> Result<Vec<Node>, Fault> {
        if is_directory(&of.path) {
            let cards = self.directory().await?.cards.iter().map(|(node, _)| node);
            return Ok(cards.filter(|node| keys.contains(&node.row.key)).cloned().collect());
        }
        self.tree.nodes(keys).await?.into_iter().map(|row| Node::member(&of.path, row)).collect()
    }

    /// The numbers and keys of the members of a collection that changed after a number, in order.
    pub async fn changes(&self, of: &Node, since: u64) -> Result<Vec<(u64, DavKey)>, Fault> {
        if is_directory(&of.path) {
            let cards = self.directory().await?.cards.iter().map(|(node, _)| &node.row);
            return Ok(cards.filter(|row| row.changed > since).map(|row| (row.changed, row.key)).collect());
        }
        match members_table(&of.path) {
            Some(table) => Ok(self.tree.changes(table, of.row.id, since).await?),
            None => Ok(Vec::new()),
        }
    }

    /// A node and all that is in it.
    pub async fn subtree(&self, top: &Node) -> Result<Vec<Node>, Fault> {
        let mut all = vec![top.clone()];
        let mut at = 0;
        while at < all.len() {
            let node = all[at].clone();
            at += 1;
            if node.row.members.is_none() {
                continue;
            }
            let mut after = None;
            loop {
                let page = self.members(&node, after).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.row.key.name);
                all.extend(page);
                if all.len() > storage::DAV_NODES_AT_ONCE_MAX {
                    return Err(storage::Error::Refused(storage::Refusal::TooMany("resources".into())).into());
                }
            }
        }
        Ok(all)
    }

    /// The content of an object that is kept in a row.
    pub async fn text(&self, node: &Node) -> Result<String, Fault> {
        if node.read_only {
            let cards = &self.directory().await?.cards;
            let found = cards.iter().find(|(card, _)| card.row.id == node.row.id);
            return Ok(found.map(|(_, text)| text.clone()).unwrap_or_default());
        }
        let mut texts = self.tree.texts(&[node.row.id]).await?;
        Ok(String::from_utf8(texts.remove(&node.row.id).unwrap_or_default()).unwrap_or_default())
    }

    /// The content of several objects, in their order.
    pub async fn texts(&self, nodes: Vec<Node>) -> Result<Vec<(Node, Option<String>)>, Fault> {
        if nodes.iter().any(|node| node.read_only) {
            let mut with = Vec::with_capacity(nodes.len());
            for node in nodes {
                let text = self.text(&node).await?;
                with.push((node, Some(text)));
            }
            return Ok(with);
        }
        let ids: Vec<u64> = nodes.iter().filter(|n| n.row.members.is_none()).map(|n| n.row.id).collect();
        let mut texts = self.tree.texts(&ids).await?;
        let with = |node: Node| {
            let text = texts.remove(&node.row.id).and_then(|text| String::from_utf8(text).ok());
            (node, text)
        };
        Ok(nodes.into_iter().map(with).collect())
    }

    /// What must hold before a change, by what is there now.
    pub async fn check(&self, preconditions: &Preconditions) -> Result<(), Fault> {
        if preconditions.changes().iter().any(|(path, _)| is_directory(path)) {
            let why = "the directory is changed by the administrators of the organisation";
            return Err(Refusal::condition(Condition::NeedPrivileges, why).into());
        }
        let mut nodes = Vec::new();
        for path in preconditions.paths() {
            let node = self.find(path).await?;
            let fixed = node.is_none() && report::fixed(path).is_some();
            nodes.push((node, fixed));
        }
        let state = |(node, fixed): &'_ (Option<Node>, bool)| match node {
            Some(node) => Some((node.meta.etag.clone(), node.meta.schedule_tag.clone())),
            None => fixed.then_some((None, None)),
        };
        let owned: Vec<_> = nodes.iter().map(state).collect();
        let states: Vec<Option<State<'_>>> = owned
            .iter()
            .map(|state| {
                let (etag, schedule_tag) = state.as_ref()?;
                Some(State { etag: etag.as_deref(), schedule_tag: schedule_tag.as_deref() })
            })
            .collect();
        Ok(preconditions.check(&Current { states: &states, locks: &self.locks })?)
    }

    /// The quota of the mailbox, which mail counts in too; none without a limit.
    pub async fn quota(&self, storage: &Storage) -> Result<Option<Quota>, Fault> {
        let used = self.mailbox.used_bytes;
        let limit = match (self.mailbox.quota_bytes, self.principal().rsplit_once('@')) {
            (Some(limit), _) => Some(limit),
            (None, Some((_, domain))) => storage.store().domain(domain).await?.settings.quota_mailbox_bytes,
            (None, None) => None,
        };
        Ok(limit.map(|limit| Quota { used, available: limit.saturating_sub(used) }))
    }

    /// Keeps these locks in the place of those there are.
    pub fn keep_locks(&self, locks: &[ActiveLock], draft: &mut DavDraft) -> Result<(), Fault> {
        let kept = |lock: &ActiveLock| KeptLock {
            token: lock.token.to_string(),
            root: lock.root.href(false),
            infinite: lock.infinite,
            exclusive: lock.exclusive,
            principal: lock.principal.to_string(),
            owner: lock.owner.as_ref().map(|owner| owner.to_string()),
            expires: lock.expires.0,
        };
        let kept: Vec<KeptLock> = locks.iter().map(kept).collect();
        let json = serde_json::to_vec(&kept).map_err(|e| storage::Error::Unavailable(e.to_string()))?;
        Ok(draft.text(LOCKS, &json)?)
    }

    /// Forgets the locks that were taken at a place or in it, when there are any.
    pub fn drop_locks(&self, below: &[&Path], draft: &mut DavDraft) -> Result<(), Fault> {
        let inside = |lock: &ActiveLock| below.iter().any(|path| path.contains(&lock.root));
        if !self.locks.iter().any(inside) {
            return Ok(());
        }
        let left: Vec<ActiveLock> = self.locks.iter().filter(|lock| !inside(lock)).cloned().collect();
        self.keep_locks(&left, draft)
    }

    /// A node that is made at a place.
    pub fn new_node(
        &self,
        path: &Path,
        parent: &Node,
        kind: Kind,
        draft: &mut DavDraft,
    ) -> Result<Node, Fault> {
        let table = members_table(&parent.path).ok_or(storage::Error::NotFound)?;
        let key = self.tree.key(table, parent.row.id, path.name().unwrap_or(""));
        let id = draft.number();
        let members = kind.is_collection().then_some(DavMembers { changed: id, ..DavMembers::default() });
        let row =
            DavNode { key, id, changed: id, members, size: 0, object: None, uid: None, meta: Vec::new() };
        let meta = Meta::made(self.now);
        Ok(Node { path: path.clone(), kind, row, meta, dead: Vec::new(), read_only: false })
    }

    /// The zone of floating times in a calendar (RFC 4791 §5.2.2).
    pub fn zone_of(calendar: &Node) -> Zone {
        let name = Name::new(Namespace::CalDav, "calendar-timezone");
        let property = calendar.dead.iter().find(|property| property.name == name);
        let element = property.and_then(|p| protocol_dav::xml::parse(p.fragment.as_bytes()).ok());
        element.and_then(|element| Zone::of_object(&element.raw_text())).unwrap_or(Zone::Utc)
    }
}

/// The table of what is directly in a place.
fn members_table(path: &Path) -> Option<DavTable> {
    table(path.area()?, path.names().len() + 1)
}

async fn locks(tree: &DavTree, now: Timestamp) -> Result<Vec<ActiveLock>, Fault> {
    let Some(json) = tree.texts(&[LOCKS]).await?.remove(&LOCKS) else { return Ok(Vec::new()) };
    let kept: Vec<KeptLock> =
        serde_json::from_slice(&json).map_err(|_| storage::Error::Corrupt("locks of a tree".into()))?;
    let lock = |kept: KeptLock| {
        Some(ActiveLock {
            token: kept.token.into(),
            root: Path::parse(&kept.root, "").ok()?,
            infinite: kept.infinite,
            exclusive: kept.exclusive,
            principal: kept.principal.into(),
            owner: kept.owner.map(Into::into),
            expires: Timestamp(kept.expires),
        })
    };
    Ok(kept.into_iter().filter_map(lock).filter(|lock| lock.expires > now).collect())
}

/// What a new mailbox has (SPEC section 10).
fn first(tree: &DavTree, owner: &str, now: Timestamp) -> Result<DavDraft, Fault> {
    let mut draft = tree.draft();
    draft.without_quota();
    let mut homes = Vec::new();
    for (area, kind) in [
        (Area::Principals, Kind::Principal),
        (Area::Calendars, Kind::Home),
        (Area::Books, Kind::Home),
        (Area::Files, Kind::Folder),
    ] {
        let path = Path::home(area, owner);
        homes.push(begin(tree, path, (DavTable::Home, 0, area.name()), kind, now, &mut draft)?);
    }
    let events = Components::EVENT.with(Components::JOURNAL).with(Components::FREEBUSY);
    let inbox = Path::schedule_inbox(owner);
    for (home, name, table, kind, components) in [
        (1, DEFAULT, DavTable::Calendar, Kind::Calendar, events),
        (1, "tasks", DavTable::Calendar, Kind::Calendar, Components::TODO),
        (1, inbox.name().unwrap_or(""), DavTable::Calendar, Kind::ScheduleInbox, Components::ALL),
        (2, DEFAULT, DavTable::AddressBook, Kind::Book, Components::default()),
    ] {
        let home: &Node = &homes[home];
        let path = home.path.join(name);
        let mut node = begin(tree, path, (table, home.row.id, name), kind, now, &mut draft)?;
        node.set_components(components);
        homes.push(node);
    }
    for node in &homes {
        draft.put(node.write()?)?;
    }
    Ok(draft)
}

fn begin(
    tree: &DavTree,
    path: Path,
    key: (DavTable, u64, &str),
    kind: Kind,
    now: Timestamp,
    draft: &mut DavDraft,
) -> Result<Node, Fault> {
    let id = draft.number();
    let members = Some(DavMembers { changed: id, ..DavMembers::default() });
    let key = tree.key(key.0, key.1, key.2);
    let row = DavNode { key, id, changed: id, members, size: 0, object: None, uid: None, meta: Vec::new() };
    let meta = Meta::made(now);
    Ok(Node { path, kind, row, meta, dead: Vec::new(), read_only: false })
}
