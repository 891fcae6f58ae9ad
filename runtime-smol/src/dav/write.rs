//! Requests that change something. Each is decided by what the tree is at one moment and written under the revision
//! of that moment; when the tree has changed meanwhile, it is decided again.

use std::sync::Arc;

use protocol_dav::ical;
use protocol_dav::lock;
use protocol_dav::path::Path;
use protocol_dav::plan::{self, Delete, Lock, Make, NewCollection, ObjectType, Proppatch, Put, Relocate};
use protocol_dav::refusal::{Condition, Refusal};
use protocol_dav::resource::{Components, Kind};
use protocol_dav::vcard;
use storage::{DavDraft, DavFile, DavNode, DavTable};

use super::Answer;
use super::fault::Fault;
use super::mail::Unreachable;
use super::node::Node;
use super::publish;
use super::schedule::{self, Scheduled};
use super::session::{Session, members_table};
use super::share;
use crate::app::App;

/// What is removed in the transaction of a removal; the database takes about a millisecond for each.
const REMOVED_AT_ONCE_MAX: usize = 200;
/// Octets of calendar objects or vCards that are copied at once: they are in memory until they are written.
const COPIED_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// What was sent along.
pub enum Content {
    /// Nothing that is kept.
    None,
    /// An object.
    Object(Arc<[u8]>),
    /// A file, whose octets are written already.
    File(DavFile),
}

impl Content {
    /// The file.
    pub fn file(&self) -> Option<&DavFile> {
        match self {
            Content::File(file) => Some(file),
            _ => None,
        }
    }
}

/// A change that was decided: what is answered when it is written, and what is written.
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// The changes, the owner's own first.
    pub drafts: Vec<DavDraft>,
}

impl Decision {
    fn of(answer: impl Into<Answer>, draft: DavDraft) -> Decision {
        Decision { answer: answer.into(), drafts: vec![draft] }
    }

    /// An answer to which nothing is written.
    fn nothing(answer: impl Into<Answer>) -> Decision {
        Decision { answer: answer.into(), drafts: Vec::new() }
    }
}

/// An object as it is to be kept.
struct Checked {
    text: String,
    altered: bool,
    kind: Kind,
    uid: String,
    index: Option<ical::Index>,
}

/// Notes that what is in a collection changes.
fn touch(draft: &mut DavDraft, parent: &Node) {
    if parent.kind.is_synchronised() {
        draft.touch(parent.row.key);
    }
}

/// Decides a PUT.
pub async fn put(app: &App, session: &Session, put: &Put, content: &Content) -> Result<Decision, Fault> {
    let existing = session.find(&put.path).await?;
    let parent = session.parent(&put.path).await?;
    put.check(existing.as_ref().map(|node| node.kind), parent.as_ref().map(|node| node.kind))?;
    session.check(&put.preconditions).await?;
    let parent = parent.ok_or_else(Refusal::not_found)?;
    let mut draft = session.tree.draft();
    let mut node = match &existing {
        Some(node) => node.clone(),
        None => session.new_node(&put.path, &parent, kind_of(put.object), &mut draft)?,
    };
    let etag = format!("{:x}", draft.number());
    node.meta.etag = Some(etag.clone());
    node.meta.modified = session.now.0;
    let octets = match content {
        Content::File(file) => {
            node.row.object = Some(file.message);
            node.row.size = file.size;
            node.meta.length = file.size;
            node.meta.content_type = put.content_type.to_string();
            draft.put(node.write()?)?;
            touch(&mut draft, &parent);
            return Ok(Decision::of(plan::made(existing.is_none(), Some(&etag), None), draft));
        }
        Content::Object(octets) => octets.clone(),
        Content::None => Arc::from(Vec::new()),
    };
    let checked = check_object(put.object, octets, parent.components()).await?;
    if let Some(other) = same_uid(session, &checked.uid, &put.path, &parent).await? {
        return Err(plan::uid_conflict(put.object, true, &other).into());
    }
    let Checked { mut text, mut altered, kind, uid, index } = checked;
    node.kind = kind;
    node.meta.uid = uid.clone();
    let mut more = Vec::new();
    if session.is_lent() {
        check_unscheduled(existing.as_ref(), Some(&text))?;
    }
    if let Some(index) = &index {
        node.set_index(index);
        let old = match &existing {
            Some(node) => Some(session.text(node).await?),
            None => None,
        };
        let change = schedule::Change { old, new: Some(text.clone()), reply: true, except: Some(&put.path) };
        if let Some(scheduled) = schedule::on_change(app, session, &mut draft, &uid, change).await? {
            let Scheduled { text: kept, drafts } = scheduled;
            altered |= kept != text;
            text = kept;
            node.meta.schedule_tag = Some(etag.clone());
            more = drafts;
        } else {
            node.meta.schedule_tag = None;
        }
    }
    keep_text(session, &mut node, &uid, &text, &mut draft)?;
    touch(&mut draft, &parent);
    let shown = Some(&*etag).filter(|_| !altered);
    let made = plan::made(existing.is_none(), shown, node.meta.schedule_tag.as_deref());
    let mut drafts = vec![draft];
    drafts.extend(more);
    Ok(Decision { answer: made.into(), drafts })
}

/// Refuses what would send something in the name of somebody else (RFC 6638 §3.2): an object of scheduling in a calendar
/// that is shared with who asks, as it is or as it would be.
fn check_unscheduled(existing: Option<&Node>, text: Option<&String>) -> Result<(), Fault> {
    let scheduled = existing.is_some_and(|node| node.meta.schedule_tag.is_some());
    if scheduled || schedule::may_be_scheduled(text) {
        return Err(plan::not_the_owners().into());
    }
    Ok(())
}

fn kind_of(object: ObjectType) -> Kind {
    match object {
        ObjectType::File => Kind::File,
        ObjectType::Calendar => Kind::CalendarObject,
        ObjectType::Card => Kind::Card,
    }
}

/// Puts the content of an object and its node into a change.
pub fn keep_text(
    session: &Session,
    node: &mut Node,
    uid: &str,
    text: &str,
    draft: &mut DavDraft,
) -> Result<(), Fault> {
    node.meta.length = text.len() as u64;
    node.row.size = text.len() as u64;
    node.row.uid = Some(session.tree.uid(uid));
    draft.text(node.row.id, text.as_bytes())?;
    Ok(draft.put(node.write()?)?)
}

/// Checks an object where a hostile one holds nobody else up.
async fn check_object(object: ObjectType, octets: Arc<[u8]>, takes: Components) -> Result<Checked, Fault> {
    let checked: Result<Checked, Refusal> = blocking::unblock(move || {
        Ok(if object == ObjectType::Card {
            let card = vcard::check(&octets)?;
            let uid = card.uid.to_string();
            Checked { text: card.text, altered: card.altered, kind: Kind::Card, uid, index: None }
        } else {
            let stored = ical::check(&octets, takes)?;
            let uid = stored.index.uid.to_string();
            let kind = Kind::CalendarObject;
            Checked { text: stored.text, altered: stored.altered, kind, uid, index: Some(stored.index) }
        })
    })
    .await;
    Ok(checked?)
}

/// Where in a collection another object of the same UID is.
async fn same_uid(session: &Session, uid: &str, path: &Path, parent: &Node) -> Result<Option<Path>, Fault> {
    for row in session.tree.with_uid(uid).await? {
        if row.key.parent != parent.row.id {
            continue;
        }
        let other = Node::member(&parent.path, row)?;
        if other.path != *path {
            return Ok(Some(other.path));
        }
    }
    Ok(None)
}

/// Decides a DELETE.
pub async fn delete(app: &App, session: &Session, delete: &Delete) -> Result<Decision, Fault> {
    let node = session.find(&delete.path).await?;
    delete.check(node.as_ref().map(|node| node.kind))?;
    session.check(&delete.preconditions).await?;
    let node = node.ok_or_else(Refusal::not_found)?;
    if node.meta.mount.is_some() {
        return share::leave(app, session, &node).await;
    }
    if session.is_lent() {
        check_unscheduled(Some(&node), None)?;
    }
    let mut draft = session.tree.draft();
    let mut drafts = Vec::new();
    let in_calendar = node.row.key.table == DavTable::Event && node.meta.schedule_tag.is_some();
    if in_calendar {
        let old = Some(session.text(&node).await?);
        let change = schedule::Change { old, new: None, reply: delete.schedule_reply, except: None };
        if let Some(scheduled) = schedule::on_change(app, session, &mut draft, &node.meta.uid, change).await?
        {
            drafts = scheduled.drafts;
        }
    }
    remove(session, &node, &mut draft).await?;
    session.drop_locks(&[&node.path], &mut draft)?;
    drafts.insert(0, draft);
    Ok(Decision { answer: plan::made(false, None, None).into(), drafts })
}

/// Removes a node and all that is in it.
async fn remove(session: &Session, node: &Node, draft: &mut DavDraft) -> Result<(), Fault> {
    let parent = session.parent(&node.path).await?.ok_or_else(Refusal::not_found)?;
    empty(session, node, draft).await?;
    let remembered = node.path.name().filter(|_| parent.kind.is_synchronised());
    draft.remove(node.row.key, remembered)?;
    touch(draft, &parent);
    Ok(())
}

/// Removes what is in a node that is removed or replaced. Where that is much, nobody gets there any more at once, and it
/// is removed afterwards: a collection's number is never used again.
async fn empty(session: &Session, node: &Node, draft: &mut DavDraft) -> Result<(), Fault> {
    match session.subtree(node, REMOVED_AT_ONCE_MAX).await? {
        Some(all) => {
            for inner in all.iter().skip(1) {
                draft.remove(inner.row.key, None)?;
            }
            Ok(())
        }
        None => {
            let table = members_table(&node.path).ok_or(storage::Error::NotFound)?;
            Unreachable::new(table, node.row.id).keep(draft)
        }
    }
}

/// Decides MKCOL and MKCALENDAR.
pub async fn make(session: &Session, make: &Make) -> Result<Decision, Fault> {
    let parent = session.parent(&make.path).await?;
    make.check(session.kind(&make.path).await?, parent.as_ref().map(|node| node.kind))?;
    session.check(&make.preconditions).await?;
    let parent = parent.ok_or_else(Refusal::not_found)?;
    let (kind, components) = match make.collection {
        NewCollection::Folder => (Kind::Folder, Components::default()),
        NewCollection::Calendar(components) => (Kind::Calendar, components),
        NewCollection::Book => (Kind::Book, Components::default()),
    };
    let mut draft = session.tree.draft();
    let mut node = session.new_node(&make.path, &parent, kind, &mut draft)?;
    node.set_components(components);
    node.dead.clone_from(&make.properties);
    draft.put(node.write()?)?;
    touch(&mut draft, &parent);
    Ok(Decision::of(make.response(), draft))
}

/// Decides a PROPPATCH.
pub async fn proppatch(session: &Session, patch: &Proppatch) -> Result<Decision, Fault> {
    let mut node = session.must_find(&patch.path).await?;
    let response = patch.response(&patch.path.href(node.kind.is_collection()));
    session.check(&patch.preconditions).await?;
    if !patch.refused.is_empty() {
        return Ok(Decision::nothing(response));
    }
    node.dead = plan::apply(&node.dead, &patch.updates)?;
    let mut draft = session.tree.draft();
    draft.put(node.write()?)?;
    if let Some(parent) = session.parent(&patch.path).await? {
        touch(&mut draft, &parent);
    }
    Ok(Decision::of(response, draft))
}

/// Decides COPY and MOVE.
pub async fn relocate(session: &Session, relocate: &Relocate, is_move: bool) -> Result<Decision, Fault> {
    let (from, to) = (&relocate.from, &relocate.to);
    share::check_stays(session, from, to).await?;
    let source = session.find(from).await?;
    let destination = session.find(to).await?;
    let parent = session.parent(to).await?;
    let kind = |node: &Option<Node>| node.as_ref().map(|node| node.kind);
    let created = relocate.check(kind(&source), kind(&destination), kind(&parent))?;
    session.check(&relocate.preconditions).await?;
    let (source, parent) = (source.ok_or_else(Refusal::not_found)?, parent.ok_or_else(Refusal::not_found)?);
    if session.is_lent() {
        check_unscheduled(Some(&source), None)?;
        check_unscheduled(destination.as_ref(), None)?;
    }
    if source.meta.mount.is_some() && !is_move
        || destination.as_ref().is_some_and(|node| node.meta.mount.is_some())
    {
        return Err(plan::not_allowed().into());
    }
    if source.read_only {
        let condition = Condition::NeedPrivileges;
        return Err(Refusal::condition(condition, "the directory is read where it is").into());
    }
    check_fits(session, &source, &parent, to, is_move).await?;
    let mut draft = session.tree.draft();
    if let Some(destination) = &destination {
        empty(session, destination, &mut draft).await?;
    }
    if is_move {
        let from_parent = session.parent(from).await?.ok_or_else(Refusal::not_found)?;
        let remembered = from.name().filter(|_| from_parent.kind.is_synchronised());
        draft.remove(source.row.key, remembered)?;
        touch(&mut draft, &from_parent);
        session.drop_locks(&[from, to], &mut draft)?;
        // Its number stays, and so what is in it is in it still.
        let mut node = Node { path: to.clone(), ..source };
        let place = session.new_node(to, &parent, node.kind, &mut draft)?;
        node.row = DavNode { key: place.row.key, ..node.row };
        draft.put(node.write()?)?;
    } else {
        session.drop_locks(&[to], &mut draft)?;
        copy(session, relocate, &source, &parent, &mut draft).await?;
    }
    touch(&mut draft, &parent);
    Ok(Decision::of(plan::made(created, None, None), draft))
}

/// Copies a node, and what is in it when that is wanted, each copy under a number of its own.
async fn copy(
    session: &Session,
    relocate: &Relocate,
    source: &Node,
    parent: &Node,
    draft: &mut DavDraft,
) -> Result<(), Fault> {
    let too_many = |what: &str| storage::Error::Refused(storage::Refusal::TooMany(what.into()));
    let all = match relocate.with_members {
        true => session.subtree(source, storage::DAV_NODES_AT_ONCE_MAX).await?,
        false => Some(vec![source.clone()]),
    };
    let all = all.ok_or_else(|| too_many("resources"))?;
    let in_rows = all.iter().filter(|node| node.row.object.is_none());
    if in_rows.map(|node| node.meta.length).sum::<u64>() > COPIED_OCTETS_MAX {
        return Err(too_many("octets").into());
    }
    let mut copies: std::collections::HashMap<Path, Node> = std::collections::HashMap::new();
    copies.insert(parent.path.clone(), parent.clone());
    for page in all.chunks(super::session::PAGE) {
        let ids: Vec<u64> = page.iter().filter(|n| n.row.members.is_none()).map(|n| n.row.id).collect();
        let texts = session.tree.texts(&ids).await?;
        for node in page {
            let path = node.path.rebase(&relocate.from, &relocate.to).ok_or(storage::Error::NotFound)?;
            let parent = path.parent().and_then(|parent| copies.get(&parent));
            let parent = parent.ok_or(storage::Error::NotFound)?;
            let place = session.new_node(&path, parent, node.kind, draft)?;
            let DavNode { size, object, uid, .. } = node.row;
            let row = DavNode { size, object, uid, ..place.row };
            let mut meta = node.meta.clone();
            meta.created = session.now.0;
            // Whoever knows where the one is published, or sees it, knows nothing of the other.
            (meta.public, meta.shares) = (None, Vec::new());
            let dead =
                node.dead.iter().filter(|property| property.name != publish::name()).cloned().collect();
            let copy = Node { dead, ..Node::new(path.clone(), node.kind, row, meta) };
            draft.put(copy.write()?)?;
            if let Some(text) = texts.get(&node.row.id) {
                draft.text(copy.row.id, text)?;
            }
            if copy.row.members.is_some() {
                copies.insert(path, copy);
            }
        }
    }
    Ok(())
}

/// Whether an object may be where it would come to be (RFC 4791 §5.3.2.1, RFC 6638 §3.2.4.1).
async fn check_fits(
    session: &Session,
    source: &Node,
    parent: &Node,
    to: &Path,
    is_move: bool,
) -> Result<(), Fault> {
    let object = match source.kind {
        Kind::CalendarObject => ObjectType::Calendar,
        Kind::Card => ObjectType::Card,
        _ => return Ok(()),
    };
    if object == ObjectType::Calendar && !parent.components().contains(source.components()) {
        let condition = Condition::SupportedCalendarComponent;
        return Err(Refusal::condition(condition, "this calendar does not take this component").into());
    }
    let other = same_uid(session, &source.meta.uid, to, parent).await?;
    // What is moved within a collection leaves its old place.
    if let Some(other) = other.filter(|other| !is_move || *other != source.path) {
        return Err(plan::uid_conflict(object, true, &other).into());
    }
    if source.meta.schedule_tag.is_some() && !is_move {
        return Err(plan::uid_conflict(object, false, &source.path).into());
    }
    Ok(())
}

/// Decides a LOCK that asks for a new lock.
pub async fn lock(session: &Session, lock: &Lock) -> Result<Decision, Fault> {
    let path = &lock.request.path;
    let is_mount = session.find(path).await?.is_some_and(|node| node.meta.mount.is_some());
    if session.is_lent() || is_mount {
        return Err(Refusal::status(403, "what is shared is locked by its owner only").into());
    }
    let parent = session.parent(path).await?;
    let created = lock.check(session.kind(path).await?, parent.as_ref().map(|node| node.kind))?;
    session.check(&lock.preconditions).await?;
    let token = format!("urn:uuid:{}", uuid()?);
    let granted = lock.request.grant(&token, &session.locks, session.locks.len(), session.now)?;
    let mut draft = session.tree.draft();
    if let Some(parent) = parent.filter(|_| created) {
        let mut node = session.new_node(path, &parent, Kind::File, &mut draft)?;
        node.meta.etag = Some(format!("{:x}", draft.number()));
        node.meta.content_type = "application/octet-stream".into();
        draft.put(node.write()?)?;
        touch(&mut draft, &parent);
    }
    let mut locks = session.locks.clone();
    locks.push(granted.clone());
    session.keep_locks(&locks, &mut draft)?;
    Ok(Decision::of(lock::granted(&granted, created, session.now), draft))
}

/// Decides a LOCK that lets one last longer.
pub fn refresh(session: &Session, refresh: &lock::Refresh) -> Result<Decision, Fault> {
    let longer = refresh.grant(&session.locks, session.now)?;
    let mut locks = session.locks.clone();
    locks.retain(|lock| lock.token != longer.token);
    locks.push(longer.clone());
    let mut draft = session.tree.draft();
    session.keep_locks(&locks, &mut draft)?;
    Ok(Decision::of(lock::granted(&longer, false, session.now), draft))
}

/// Decides an UNLOCK.
pub fn unlock(session: &Session, unlock: &lock::Unlock) -> Result<Decision, Fault> {
    let token = unlock.find(&session.locks)?.token.clone();
    let locks: Vec<_> = session.locks.iter().filter(|lock| lock.token != token).cloned().collect();
    let mut draft = session.tree.draft();
    session.keep_locks(&locks, &mut draft)?;
    Ok(Decision::of(plan::made(false, None, None), draft))
}

/// A random UUID (RFC 9562 §5.4).
pub fn uuid() -> Result<String, Fault> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|e| storage::Error::Unavailable(e.to_string()))?;
    octets[6] = octets[6] & 0x0F | 0x40;
    octets[8] = octets[8] & 0x3F | 0x80;
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
