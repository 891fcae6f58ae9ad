//! What was read of the members of collections, in memory, for the next request. Truth stays in storage: a view is used
//! only for the very state of the collection that it is of, and kept current by the changes that this process writes.
//! What another node writes gives the collection another state, and it is read anew.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol_dav::path::Path;
use storage::{DavEffect, DavKey, DavNode, Id, MailboxId};

use super::node::Node;

/// Octets of one view, about; what is larger is read page by page each time.
const VIEW_OCTETS_MAX: usize = 16 * 1024 * 1024;
/// Octets of all.
const OCTETS_MAX: usize = 64 * 1024 * 1024;
/// Octets of properties that clients have set on one member; with more of them a collection has no view.
const PROPERTIES_MAX: usize = 1024;
/// Octets that a member costs beside what it says.
const MEMBER_OCTETS: usize = 512;

/// The members of one collection.
struct View {
    /// The collection.
    key: DavKey,
    path: Path,
    /// The state of its members.
    changed: u64,
    /// A revision of the owner's tree at which that was so.
    rev: u64,
    members: BTreeMap<Id, Node>,
    octets: usize,
    /// When it was used last.
    used: u64,
}

#[derive(Default)]
struct Kept {
    /// By whose it is and the collection's number.
    views: HashMap<(MailboxId, u64), View>,
    octets: usize,
    clock: u64,
}

/// All views of this process.
#[derive(Default)]
pub struct Views(Mutex<Kept>);

/// Members that are being read one page after the other.
pub struct Gathering {
    collection: u64,
    members: BTreeMap<Id, Node>,
    octets: usize,
}

impl Gathering {
    /// Of a collection of which nothing was read yet.
    pub fn of(collection: &Node) -> Gathering {
        Gathering { collection: collection.row.id, members: BTreeMap::new(), octets: 0 }
    }

    /// Adds a page; false when it is not of this collection, or more than is kept.
    pub fn add(&mut self, collection: &Node, page: &[Node]) -> bool {
        for node in page {
            let Some(octets) = octets_of(node) else { return false };
            self.octets += octets;
            self.members.insert(node.row.key.name, bare(node.clone()));
        }
        self.collection == collection.row.id && self.octets <= VIEW_OCTETS_MAX
    }
}

/// Octets of a member, about; none when it is too large, or a collection, whose state changes without its own.
fn octets_of(node: &Node) -> Option<usize> {
    if node.row.members.is_some() {
        return None;
    }
    let properties: usize = node.dead.iter().map(|property| property.fragment.len()).sum();
    (properties <= PROPERTIES_MAX).then_some(MEMBER_OCTETS + properties + 3 * node.meta.name.len())
}

/// Without what is made anew, or belongs to who looks at it.
fn bare(mut node: Node) -> Node {
    node.row.meta = Vec::new();
    node.sharees = [].into();
    node.seen = None;
    node
}

impl Views {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the members of a collection as it is; none when they are not known.
    fn with<T>(&self, collection: &Node, rev: u64, look: impl FnOnce(&BTreeMap<Id, Node>) -> T) -> Option<T> {
        let mut kept = self.kept();
        kept.clock += 1;
        let clock = kept.clock;
        let view = kept.views.get_mut(&(collection.row.key.mailbox, collection.row.id))?;
        if view.changed != collection.members().changed {
            return None;
        }
        view.used = clock;
        view.rev = view.rev.max(rev);
        Some(look(&view.members))
    }

    /// A page of members behind a key.
    pub fn members(&self, collection: &Node, rev: u64, after: Option<Id>, limit: usize) -> Option<Vec<Node>> {
        self.with(collection, rev, |members| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let page = members.range((from, Bound::Unbounded)).take(limit);
            let here = |node: &Node| Node { path: collection.path.join(&node.meta.name), ..node.clone() };
            page.map(|(_, node)| collection.share_with(here(node))).collect()
        })
    }

    /// The numbers and keys of members that changed after a number, in order.
    pub fn changes(&self, collection: &Node, rev: u64, since: u64) -> Option<Vec<(u64, DavKey)>> {
        self.with(collection, rev, |members| {
            let changed = members.values().filter(|node| node.row.changed > since);
            let mut changes: Vec<_> = changed.map(|node| (node.row.changed, node.row.key)).collect();
            changes.sort_unstable();
            changes
        })
    }

    /// Keeps what was read of a collection, all of it while the owner's tree had this revision.
    pub fn keep(&self, collection: &Node, rev: u64, gathered: Gathering) {
        let mut kept = self.kept();
        let place = (collection.row.key.mailbox, collection.row.id);
        kept.clock += 1;
        kept.forget(place);
        kept.octets += gathered.octets;
        let view = View {
            key: collection.row.key,
            path: collection.path.clone(),
            changed: collection.members().changed,
            rev,
            members: gathered.members,
            octets: gathered.octets,
            used: kept.clock,
        };
        kept.views.insert(place, view);
        while kept.octets > OCTETS_MAX {
            let oldest = kept.views.iter().min_by_key(|(_, view)| view.used).map(|(place, _)| *place);
            let Some(oldest) = oldest else { return };
            kept.forget(oldest);
        }
    }

    /// Notes what was written.
    pub fn apply(&self, effects: Vec<DavEffect>) {
        let mut kept = self.kept();
        for effect in effects {
            let of_owner = kept.views.keys().filter(|(mailbox, _)| *mailbox == effect.mailbox);
            for place in of_owner.copied().collect::<Vec<_>>() {
                let Some(view) = kept.views.get_mut(&place) else { continue };
                let before = view.octets;
                let is_current = view.apply(place.1, &effect);
                let after = view.octets;
                kept.octets = (kept.octets + after).saturating_sub(before);
                if !is_current {
                    kept.forget(place);
                }
            }
        }
    }
}

impl Kept {
    fn forget(&mut self, place: (MailboxId, u64)) {
        if let Some(view) = self.views.remove(&place) {
            self.octets = self.octets.saturating_sub(view.octets);
        }
    }
}

impl View {
    /// Notes a change of the owner's tree; false when it is not known what the collection is after it.
    fn apply(&mut self, number: u64, effect: &DavEffect) -> bool {
        let concerns = |key: &DavKey| concerns_of(key, number, self.key);
        let concerned = effect.gone.iter().chain(effect.put.iter().map(|node| &node.key)).any(concerns);
        let touched = effect.touched.contains(&self.key);
        if effect.gone.contains(&self.key) {
            return false;
        }
        if self.rev != effect.rev {
            // It is of another moment, and is used again only when nothing that concerns it was changed.
            return !concerned && !touched;
        }
        self.rev = effect.rev + 1;
        if concerned && !touched {
            return false;
        }
        if touched {
            self.changed = effect.last;
        }
        for key in effect.gone.iter().filter(|key| concerns_of(key, number, self.key)) {
            if let Some(octets) = self.members.remove(&key.name).as_ref().and_then(octets_of) {
                self.octets = self.octets.saturating_sub(octets);
            }
        }
        let put: Vec<DavNode> =
            effect.put.iter().filter(|node| concerns_of(&node.key, number, self.key)).cloned().collect();
        put.into_iter().all(|row| self.put(row)) && self.octets <= VIEW_OCTETS_MAX
    }

    fn put(&mut self, row: DavNode) -> bool {
        let name = row.key.name;
        let Ok(node) = Node::member(&self.path, row) else { return false };
        let Some(octets) = octets_of(&node) else { return false };
        let before = self.members.insert(name, bare(node)).as_ref().and_then(octets_of).unwrap_or(0);
        self.octets = (self.octets + octets).saturating_sub(before);
        true
    }
}

fn concerns_of(key: &DavKey, number: u64, collection: DavKey) -> bool {
    key.parent == number && key.mailbox == collection.mailbox
}
