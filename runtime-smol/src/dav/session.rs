//! One owner's tree as one request sees it.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::IntoIter;

use async_lock::OnceCell;
use protocol_core::Timestamp;
use protocol_dav::ical::Zone;
use protocol_dav::lock::ActiveLock;
use protocol_dav::name::{Name, Namespace};
use protocol_dav::path::{Area, Path};
use protocol_dav::plan;
use protocol_dav::precondition::{Current, Preconditions, State};
use protocol_dav::refusal::{Condition, Refusal};
use protocol_dav::report;
use protocol_dav::resource::{Access, Components, Kind, Quota};
use serde::{Deserialize, Serialize};
use storage::{DavDraft, DavKey, DavMembers, DavNode, DavTable, DavTree, Id, Mailbox, Storage};

use super::directory::{self, Directory, is_directory};
use super::fault::Fault;
use super::node::{Meta, Node, table};
use super::share::Lending;
use super::views::{Gathering, Views};
use crate::wire::wall_now;

/// Rows that are read at a time, where they are small.
pub const PAGE: usize = 256;
/// Rows of members that are read at first, before it is known how large they are, and where they are large.
const PAGE_FIRST: usize = 32;
const PAGE_LEAST: usize = 8;
/// Octets of rows that are read at a time, about: each is in memory several times while it is opened and written.
const PAGE_OCTETS: usize = 512 * 1024;
/// Octets of contents that are read at a time, but for one that is larger alone.
const CONTENT_OCTETS: u64 = 1024 * 1024;
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
    /// The collection that is seen of it, by somebody who has it not.
    pub lending: Option<Lending>,
    storage: Storage,
    directory: OnceCell<Directory>,
    /// What is known of collections already.
    pub views: Option<Arc<Views>>,
    gathering: Mutex<Option<Gathering>>,
    /// Members that are read at a time next.
    page: AtomicUsize,
    /// Rows that were looked for already: what is decided is decided by what is there at one moment.
    rows: Mutex<HashMap<DavKey, Option<DavNode>>>,
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
                return Ok(Session {
                    tree,
                    mailbox,
                    locks,
                    now,
                    lending: None,
                    storage,
                    directory: OnceCell::new(),
                    views: None,
                    gathering: Mutex::default(),
                    page: AtomicUsize::new(PAGE_FIRST),
                    rows: Mutex::default(),
                });
            }
            // Somebody else may be first; then theirs is read.
            storage.dav_commit(vec![first(&tree, &mailbox.address, now)?], None).await?;
        }
        Err(storage::Error::Unavailable("too many begin the same tree".into()).into())
    }

    /// The canonical address of who asks, at whose place all is seen.
    pub fn principal(&self) -> &str {
        self.lending.as_ref().map_or(&self.mailbox.address, |lending| &lending.viewer)
    }

    /// The node at a place.
    pub async fn find(&self, path: &Path) -> Result<Option<Node>, Fault> {
        let (Some(area), Some(owner)) = (path.area(), path.owner()) else { return Ok(None) };
        if owner != self.principal() {
            return Ok(None);
        }
        if let Some(lending) = &self.lending {
            return self.find_lent(lending, path).await;
        }
        if is_directory(path) {
            let directory = self.directory().await?;
            return Ok(match path.names() {
                [_] => Some(directory.book.clone()),
                _ => directory.cards.iter().map(|(node, _)| node).find(|node| node.path == *path).cloned(),
            });
        }
        if let (Area::Calendars | Area::Books, [collection, name]) = (area, path.names()) {
            let place = Path::home(area, owner).join(collection);
            let Some(row) = self.row_at(area, &path.names()[..1]).await? else { return Ok(None) };
            let collection = Node::read(place, row)?;
            // What is shown at the place of another's collection is in that one's tree.
            return match collection.meta.mount {
                None => self.member_of(&collection, path, name).await,
                Some(_) => Ok(None),
            };
        }
        let row = self.row_at(area, path.names()).await?;
        row.map(|row| Node::read(path.clone(), row)).transpose()
    }

    async fn row_at(&self, area: Area, names: &[Box<str>]) -> Result<Option<DavNode>, Fault> {
        let mut row = self.row(DavTable::Home, 0, area.name()).await?;
        for (depth, name) in names.iter().enumerate() {
            let parent = row.filter(|row| row.members.is_some());
            let (Some(parent), Some(table)) = (parent, table(area, depth + 1)) else { return Ok(None) };
            row = self.row(table, parent.id, name).await?;
        }
        Ok(row)
    }

    /// The object of a name in a collection.
    pub async fn member_of(&self, collection: &Node, path: &Path, name: &str) -> Result<Option<Node>, Fault> {
        let (Some(table), Some(_)) = (members_table(&collection.path), collection.row.members) else {
            return Ok(None);
        };
        let row = self.row(table, collection.row.id, name).await?;
        row.map(|row| Ok(collection.share_with(Node::read(path.clone(), row)?))).transpose()
    }

    /// A row, which is read once.
    async fn row(&self, table: DavTable, parent: u64, name: &str) -> Result<Option<DavNode>, Fault> {
        let key = self.tree.key(table, parent, name);
        let seen = self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(row) = seen {
            return Ok(row);
        }
        let row = self.tree.nodes(&[key]).await?.pop();
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(key, row.clone());
        Ok(row)
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
        if let Some(page) = self.viewed(of, |views| views.members(of, self.tree.rev(), after, PAGE)) {
            return Ok(page);
        }
        let first = after.is_none();
        let mut page = Vec::new();
        if after.is_none() && of.path == Path::home(Area::Books, self.principal()) {
            page.push(self.directory().await?.book.clone());
        }
        let mut after = after;
        loop {
            let rows = self.rows_behind(table, of.row.id, after).await?;
            let Some(last) = rows.last() else {
                self.gathered(of).await?;
                return Ok(page);
            };
            after = Some(last.key.name);
            for row in rows {
                let node = of.share_with_members(Node::member(&of.path, row)?);
                page.extend(Some(node).filter(|node| node.meta.mount.is_none()));
            }
            // What others share is not among what is in a home: of some pages nothing may be left.
            if !page.is_empty() {
                self.gather(of, first, &page);
                return Ok(page);
            }
        }
    }

    /// What a view says of a collection.
    fn viewed<T>(&self, of: &Node, look: impl FnOnce(&Views) -> Option<T>) -> Option<T> {
        self.views.as_ref().filter(|_| of.kind.is_synchronised()).and_then(|views| look(views))
    }

    /// Keeps a page of members until all were read.
    fn gather(&self, of: &Node, first: bool, page: &[Node]) {
        if self.views.is_none() || !of.kind.is_synchronised() {
            return;
        }
        let mut gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        if first {
            *gathering = Some(Gathering::of(of));
        }
        if !gathering.as_mut().is_some_and(|gathering| gathering.add(of, page)) {
            *gathering = None;
        }
    }

    /// All members were read: they are those of one moment when the tree is what it was before.
    async fn gathered(&self, of: &Node) -> Result<(), Fault> {
        let gathered = self.gathering.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(views), Some(gathered)) = (&self.views, gathered)
            && self.tree.is_current().await?
        {
            views.keep(of, self.tree.rev(), gathered);
        }
        Ok(())
    }

    /// A page of rows, fewer of them where they are large.
    async fn rows_behind(
        &self,
        table: DavTable,
        parent: u64,
        after: Option<Id>,
    ) -> Result<Vec<DavNode>, Fault> {
        let limit = self.page.load(Ordering::Relaxed);
        let rows = self.tree.members(table, parent, after, limit).await?;
        let octets: usize = rows.iter().map(|row| row.meta.len()).sum();
        let next = PAGE_OCTETS / (octets / rows.len().max(1)).max(1);
        self.page.store(next.clamp(PAGE_LEAST, PAGE), Ordering::Relaxed);
        Ok(rows)
    }

    /// The places in a home for collections of others, whether or not anything is there.
    pub async fn mounts(&self, home: &Node) -> Result<Vec<Node>, Fault> {
        let Some(table) = members_table(&home.path) else { return Ok(Vec::new()) };
        let (mut mounts, mut after) = (Vec::new(), None);
        loop {
            let page = self.rows_behind(table, home.row.id, after).await?;
            let Some(last) = page.last() else { return Ok(mounts) };
            after = Some(last.key.name);
            for row in page {
                let node = Node::member(&home.path, row)?;
                mounts.extend(Some(node).filter(|node| node.meta.mount.is_some()));
            }
        }
    }

    /// Those members of a collection that are there still.
    pub async fn members_by_key(&self, of: &Node, keys: &[DavKey]) -> Result<Vec<Node>, Fault> {
        if is_directory(&of.path) {
            let cards = self.directory().await?.cards.iter().map(|(node, _)| node);
            return Ok(cards.filter(|node| keys.contains(&node.row.key)).cloned().collect());
        }
        let member = |row| Ok(of.share_with_members(Node::member(&of.path, row)?));
        self.tree.nodes(keys).await?.into_iter().map(member).collect()
    }

    /// The numbers and keys of the members of a collection that changed after a number, in order.
    pub async fn changes(&self, of: &Node, since: u64) -> Result<Vec<(u64, DavKey)>, Fault> {
        if is_directory(&of.path) {
            let cards = self.directory().await?.cards.iter().map(|(node, _)| &node.row);
            return Ok(cards.filter(|row| row.changed > since).map(|row| (row.changed, row.key)).collect());
        }
        if let Some(changes) = self.viewed(of, |views| views.changes(of, self.tree.rev(), since)) {
            return Ok(changes);
        }
        if self.views.is_some() && of.kind.is_synchronised() {
            return self.changes_of_all(of, since).await;
        }
        match members_table(&of.path) {
            Some(table) => Ok(self.tree.changes(table, of.row.id, since).await?),
            None => Ok(Vec::new()),
        }
    }

    /// As [`Session::changes`], by reading all members, which are known then for the next time.
    async fn changes_of_all(&self, of: &Node, since: u64) -> Result<Vec<(u64, DavKey)>, Fault> {
        let (mut changes, mut after) = (Vec::new(), None);
        loop {
            let page = self.members(of, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.row.key.name);
            let changed = page.iter().filter(|node| node.row.changed > since);
            changes.extend(changed.map(|node| (node.row.changed, node.row.key)));
        }
        changes.sort_unstable();
        Ok(changes)
    }

    /// A node and all that is in it, the node first; none when that is more than so many.
    pub async fn subtree(&self, top: &Node, most: usize) -> Result<Option<Vec<Node>>, Fault> {
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
                if all.len() > most {
                    return Ok(None);
                }
            }
        }
        Ok(Some(all))
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

    /// Takes the next of these nodes whose contents are read at a time; none when none are left.
    pub fn part<T>(all: &mut Peekable<IntoIter<T>>, octets: impl Fn(&T) -> u64) -> Option<Vec<T>> {
        let first = all.next()?;
        let mut sum = octets(&first);
        let mut part = vec![first];
        let mut fits = |next: &T| {
            sum = sum.saturating_add(octets(next));
            sum <= CONTENT_OCTETS
        };
        while let Some(next) = all.next_if(&mut fits) {
            part.push(next);
        }
        Some(part)
    }

    /// What must hold before a change, by what is there now.
    pub async fn check(&self, preconditions: &Preconditions) -> Result<(), Fault> {
        if preconditions.changes().iter().any(|(path, _)| is_directory(path)) {
            let why = "the directory is changed by the administrators of the organisation";
            return Err(Refusal::condition(Condition::NeedPrivileges, why).into());
        }
        if self.lending.as_ref().is_some_and(|lending| lending.access == Access::Read) {
            return Err(plan::not_allowed().into());
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

    /// The quota of the mailbox, which mail counts in too; none without a limit, and none that is somebody else's.
    pub async fn quota(&self, storage: &Storage) -> Result<Option<Quota>, Fault> {
        if self.is_lent() {
            return Ok(None);
        }
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
        // A lock of the owner's kept whoever else asks from getting here.
        if self.is_lent() || !self.locks.iter().any(inside) {
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
        Ok(Node::new(path.clone(), kind, row, meta))
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
pub fn members_table(path: &Path) -> Option<DavTable> {
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
    Ok(Node::new(path, kind, row, meta))
}
