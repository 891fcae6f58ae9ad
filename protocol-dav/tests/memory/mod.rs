//! A store in memory that carries plans out: what a server around this crate has to do, and no more. One request at
//! a time, so each is a transaction by itself.

mod http;
mod query;

use std::collections::BTreeMap;

use protocol_core::Timestamp;
use protocol_dav::headers::{Depth, Head};
use protocol_dav::ical::{self, Index};
use protocol_dav::lock::{self, ActiveLock};
use protocol_dav::multistatus::Multistatus;
use protocol_dav::path::{Area, Path};
use protocol_dav::plan::{self, BodyKind, Make, NewCollection, ObjectType, Plan, Propfind, Put, Relocate};
use protocol_dav::precondition::{Current, Preconditions, State};
use protocol_dav::props::Viewer;
use protocol_dav::refusal::{Refusal, Response, Status, XML_TYPE};
use protocol_dav::resource::{Components, DeadProperty, Kind, Resource, SyncToken};
use protocol_dav::{limits, report, vcard};

pub use http::serve;

/// A resource as it is kept.
#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    content: Vec<u8>,
    content_type: String,
    etag: Option<String>,
    dead: Vec<DeadProperty>,
    components: Components,
    uid: String,
    index: Option<Index>,
    changed: u64,
    collection: u64,
}

impl Node {
    fn collection(kind: Kind, components: Components, number: u64) -> Node {
        Node {
            kind,
            content: Vec::new(),
            content_type: String::new(),
            etag: None,
            dead: Vec::new(),
            components,
            uid: String::new(),
            index: None,
            changed: number,
            collection: number,
        }
    }
}

/// Everything of one owner.
#[derive(Debug)]
pub struct Store {
    owner: String,
    nodes: BTreeMap<Path, Node>,
    locks: Vec<ActiveLock>,
    /// Members that were removed: when, and which.
    gone: Vec<(u64, Path)>,
    changes: u64,
}

impl Store {
    /// With what a new mailbox has.
    pub fn new(owner: &str) -> Store {
        let mut store = Store {
            owner: owner.to_owned(),
            nodes: BTreeMap::new(),
            locks: Vec::new(),
            gone: Vec::new(),
            changes: 0,
        };
        let calendars = Path::home(Area::Calendars, owner);
        let books = Path::home(Area::Books, owner);
        for (path, kind, components) in [
            (calendars.join("default"), Kind::Calendar, Components::EVENT),
            (calendars.join("tasks"), Kind::Calendar, Components::TODO),
            (Path::schedule_inbox(owner), Kind::ScheduleInbox, Components::ALL),
            (books.join("default"), Kind::Book, Components::default()),
            (Path::home(Area::Files, owner), Kind::Folder, Components::default()),
        ] {
            store.changes += 1;
            let number = store.changes;
            store.nodes.insert(path, Node::collection(kind, components, number));
        }
        store
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_767_225_600 + self.changes as i64)
    }

    /// Carries a request out.
    pub fn handle(&mut self, head: &Head<'_>, body: &[u8]) -> Response {
        self.try_handle(head, body).unwrap_or_else(|refusal| refusal.response())
    }

    fn try_handle(&mut self, head: &Head<'_>, body: &[u8]) -> Result<Response, Refusal> {
        let mut planner = plan::plan(head)?;
        match planner.body() {
            BodyKind::Xml | BodyKind::None => planner.feed(body)?,
            BodyKind::Object(_) | BodyKind::Stream => {}
        }
        match planner.finish()? {
            Plan::Options(path) => Ok(plan::options(&path)),
            Plan::Propfind(propfind) => self.propfind(&propfind),
            Plan::Proppatch(patch) => {
                let node = self.nodes.get(&patch.path).ok_or_else(Refusal::not_found)?;
                let href = patch.path.href(node.kind.is_collection());
                self.check(&patch.preconditions)?;
                if patch.refused.is_empty() {
                    let node = self.nodes.get_mut(&patch.path).ok_or_else(Refusal::not_found)?;
                    node.dead = plan::apply(&node.dead, &patch.updates)?;
                }
                Ok(patch.response(&href))
            }
            Plan::Make(make) => self.make(&make),
            Plan::Get(get) => {
                let resource = self.resource(&get.path, true);
                let answer = get.answer(resource.as_ref())?;
                let content = self.nodes.get(&get.path).map_or(&[][..], |node| &node.content);
                let (from, length) = answer.part.unwrap_or((0, 0));
                let body = content[from as usize..(from + length) as usize].to_vec();
                Ok(Response { status: answer.status, headers: answer.headers, body })
            }
            Plan::Put(put) => self.put(&put, body),
            Plan::Delete(delete) => {
                delete.check(self.kind(&delete.path))?;
                self.check(&delete.preconditions)?;
                self.remove(&delete.path);
                Ok(plan::made(false, None, None))
            }
            Plan::Copy(relocate) => self.relocate(&relocate, false),
            Plan::Move(relocate) => self.relocate(&relocate, true),
            Plan::Lock(lock) => {
                let path = lock.request.path.clone();
                let created = lock.check(self.kind(&path), self.parent_kind(&path))?;
                self.check(&lock.preconditions)?;
                self.changes += 1;
                let token = format!("urn:uuid:00000000-0000-4000-8000-{:012}", self.changes);
                let granted = lock.request.grant(&token, &self.locks, self.locks.len(), self.now())?;
                if created {
                    self.store(path, Kind::File, Vec::new(), "application/octet-stream", None);
                }
                self.locks.push(granted.clone());
                Ok(lock::granted(&granted, created, self.now()))
            }
            Plan::Refresh(refresh) => {
                let longer = refresh.grant(&self.locks, self.now())?;
                self.locks.retain(|lock| lock.token != longer.token);
                self.locks.push(longer.clone());
                Ok(lock::granted(&longer, false, self.now()))
            }
            Plan::Unlock(unlock) => {
                let token = unlock.find(&self.locks)?.token.clone();
                self.locks.retain(|lock| lock.token != token);
                Ok(plan::made(false, None, None))
            }
            Plan::Report(report) => self.report(&report),
            Plan::ScheduleOutbox(_) | Plan::Publish(_) | Plan::Share(_) => {
                Err(Refusal::status(501, "this store schedules and publishes nothing"))
            }
        }
    }

    fn check(&self, preconditions: &Preconditions) -> Result<(), Refusal> {
        let state = |path: &&Path| {
            let node = self.nodes.get(*path)?;
            Some(State { etag: node.etag.as_deref(), schedule_tag: None })
        };
        let paths = preconditions.paths();
        let states: Vec<Option<State<'_>>> = paths.iter().map(state).collect();
        preconditions.check(&Current { states: &states, locks: &self.locks })
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        self.nodes.get(path).map(|node| node.kind).or(report::fixed(path).map(|fixed| fixed.kind))
    }

    fn parent_kind(&self, path: &Path) -> Option<Kind> {
        path.parent().and_then(|parent| self.kind(&parent))
    }

    fn resource<'s>(&'s self, path: &'s Path, with_data: bool) -> Option<Resource<'s>> {
        let Some(node) = self.nodes.get(path) else { return report::fixed(path) };
        let sync = SyncToken { collection: node.collection, change: self.changes };
        Some(Resource {
            etag: node.etag.as_deref(),
            length: node.content.len() as u64,
            content_type: &node.content_type,
            created: Timestamp::from_secs(1_767_225_600),
            modified: Timestamp::from_secs(1_767_225_600 + node.changed as i64),
            components: node.components,
            sync: node.kind.is_synchronised().then_some(sync),
            locks: &self.locks,
            dead: &node.dead,
            data: std::str::from_utf8(&node.content).ok().filter(|_| with_data),
            ..Resource::new(path, node.kind)
        })
    }

    fn viewer<'s>(&'s self, zone: &'s ical::Zone) -> Viewer<'s> {
        Viewer { principal: &self.owner, now: self.now(), zone }
    }

    fn members(&self, path: &Path) -> Vec<Path> {
        let fixed = report::fixed_members(path, &self.owner);
        let rows = self.nodes.keys().filter(|member| member.parent().as_ref() == Some(path)).cloned();
        // The top of the files is a row, and a fixed member of what is above.
        let mut members: Vec<Path> = rows.chain(fixed).collect();
        members.sort();
        members.dedup();
        members
    }

    fn propfind(&self, propfind: &Propfind) -> Result<Response, Refusal> {
        self.kind(&propfind.path).ok_or_else(Refusal::not_found)?;
        let mut paths = vec![propfind.path.clone()];
        if propfind.depth == Depth::One {
            paths.extend(self.members(&propfind.path));
        }
        let mut out = String::new();
        let viewer = self.viewer(&ical::Zone::Utc);
        let mut multistatus = Multistatus::begin(&propfind.props, viewer, propfind.prefer.minimal, &mut out);
        for path in &paths {
            if let Some(mut resource) = self.resource(path, propfind.props.wants_data()) {
                let covering: Vec<ActiveLock> =
                    self.locks.iter().filter(|l| l.covers(path)).cloned().collect();
                resource.locks = &covering;
                multistatus.row(&resource, &mut out);
            }
        }
        multistatus.finish(None, None, &mut out);
        Ok(multi(out))
    }

    fn make(&mut self, make: &Make) -> Result<Response, Refusal> {
        make.check(self.kind(&make.path), self.parent_kind(&make.path))?;
        self.check(&make.preconditions)?;
        let (kind, components) = match make.collection {
            NewCollection::Folder => (Kind::Folder, Components::default()),
            NewCollection::Calendar(components) => (Kind::Calendar, components),
            NewCollection::Book => (Kind::Book, Components::default()),
        };
        self.changes += 1;
        let mut node = Node::collection(kind, components, self.changes);
        node.dead.clone_from(&make.properties);
        self.nodes.insert(make.path.clone(), node);
        Ok(make.response())
    }

    fn put(&mut self, put: &Put, body: &[u8]) -> Result<Response, Refusal> {
        let existing = self.kind(&put.path);
        put.check(existing, self.parent_kind(&put.path))?;
        self.check(&put.preconditions)?;
        let parent = put.path.parent().and_then(|parent| self.nodes.get(&parent));
        let takes = parent.map_or(Components::default(), |node| node.components);
        let (kind, content, uid, index, altered) = match put.object {
            ObjectType::File => (Kind::File, body.to_vec(), String::new(), None, false),
            ObjectType::Calendar => {
                let stored = ical::check(body, takes)?;
                let uid = stored.index.uid.to_string();
                (Kind::CalendarObject, stored.text.into_bytes(), uid, Some(stored.index), stored.altered)
            }
            ObjectType::Card => {
                let stored = vcard::check(body)?;
                (Kind::Card, stored.text.into_bytes(), stored.uid.to_string(), None, stored.altered)
            }
        };
        let beside = |path: &Path| *path != put.path && path.parent() == put.path.parent();
        let same = |node: &Node| !uid.is_empty() && node.uid == uid;
        if let Some((other, _)) = self.nodes.iter().find(|(path, node)| beside(path) && same(node)) {
            return Err(plan::uid_conflict(put.object, true, other));
        }
        let etag = self.store(put.path.clone(), kind, content, &put.content_type, index);
        if let Some(node) = self.nodes.get_mut(&put.path) {
            node.uid = uid;
        }
        Ok(plan::made(existing.is_none(), Some(&*etag).filter(|_| !altered), None))
    }

    fn store(
        &mut self,
        path: Path,
        kind: Kind,
        content: Vec<u8>,
        content_type: &str,
        index: Option<Index>,
    ) -> String {
        self.changes += 1;
        let etag = format!("{:x}", self.changes);
        let dead = self.nodes.get(&path).map(|node| node.dead.clone()).unwrap_or_default();
        let components = index.as_ref().map_or(Components::default(), |index| index.component);
        let node = Node {
            content,
            content_type: content_type.to_owned(),
            etag: Some(etag.clone()),
            dead,
            index,
            ..Node::collection(kind, components, self.changes)
        };
        self.nodes.insert(path, node);
        etag
    }

    /// Removes a place and all in it, and the locks that were taken there.
    fn remove(&mut self, path: &Path) {
        self.changes += 1;
        let removed: Vec<Path> = self.nodes.keys().filter(|member| path.contains(member)).cloned().collect();
        for member in removed {
            self.nodes.remove(&member);
            self.gone.push((self.changes, member));
        }
        self.locks.retain(|lock| !path.contains(&lock.root));
    }

    fn relocate(&mut self, relocate: &Relocate, is_move: bool) -> Result<Response, Refusal> {
        let (from, to) = (&relocate.from, &relocate.to);
        let created = relocate.check(self.kind(from), self.kind(to), self.parent_kind(to))?;
        self.check(&relocate.preconditions)?;
        let taken: Vec<(Path, Node)> = self
            .nodes
            .iter()
            .filter(|(path, _)| *path == from || (relocate.with_members && from.contains(path)))
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect();
        self.remove(to);
        if is_move {
            self.remove(from);
        }
        for (path, mut node) in taken {
            self.changes += 1;
            node.changed = self.changes;
            if let Some(path) = path.rebase(from, to) {
                self.nodes.insert(path, node);
            }
        }
        Ok(plan::made(created, None, None))
    }
}

fn multi(out: String) -> Response {
    let headers = vec![("content-type", XML_TYPE.to_owned())];
    Response { status: Status(207), headers, body: out.into_bytes() }
}

/// The most octets of a body that this store takes.
pub const BODY_MAX: usize = 4 * limits::CARD_MAX;
