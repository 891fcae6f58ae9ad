//! Calendars and address books that colleagues share. A collection stays in its owner's tree; each of those it is shared
//! with has a place of their own for it, with their own name and colour, which says whose and which it is and nothing
//! more. What they may do the collection alone says, and it is read under the revision of the owner's tree: a change
//! by somebody who may no longer make it is not written.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol_dav::limits;
use protocol_dav::path::{Area, Path};
use protocol_dav::plan::{self, Plan, Share};
use protocol_dav::refusal::Refusal;
use protocol_dav::resource::{Access, Kind};
use storage::directory::{Resolution, resolve};
use storage::{DavDraft, Id, Mailbox, MailboxId, Storage};

use super::Answer;
use super::fault::Fault;
use super::node::{Mount, Node, Seen, ShareRow};
use super::publish;
use super::schedule::addresses_of;
use super::session::Session;
use super::views::Views;
use super::write::{Decision, uuid};
use crate::app::App;

/// A collection as somebody sees it with whom it is shared.
pub struct Lending {
    /// Where they see it.
    pub at: Path,
    /// The collection there; its row is its owner's.
    pub root: Node,
    /// The collection as its owner has it.
    pub collection: Node,
    /// What they may do.
    pub access: Access,
    /// Their canonical address.
    pub viewer: String,
}

/// The tree that a request of somebody is about: their own, or that of the owner of a collection that is shared with
/// them.
pub async fn open(
    storage: &Storage,
    views: &Arc<Views>,
    mailbox: &Mailbox,
    plan: &Plan,
) -> Result<Session, Fault> {
    let mut own = Session::open(storage, mailbox).await?;
    own.views = Some(views.clone());
    let Some((path, reads)) = place(plan) else { return Ok(own) };
    let Some(mount) = mount_at(&own, path).await? else { return Ok(own) };
    // Nothing is there any more once the collection is gone or no longer shared.
    let lent = lent(storage, &own, &mount).await?.ok_or_else(Refusal::not_found)?;
    // What is done to the place itself, other than to look at it, is done in the tree of who has it.
    Ok(if reads || path.names().len() > 1 { lent } else { own })
}

/// What a request is about, and whether it only looks at it.
fn place(plan: &Plan) -> Option<(&Path, bool)> {
    Some(match plan {
        Plan::Propfind(propfind) => (&propfind.path, true),
        Plan::Get(get) => (&get.path, true),
        Plan::Report(report) => (&report.path, true),
        Plan::Proppatch(patch) => (&patch.path, false),
        Plan::Make(make) => (&make.path, false),
        Plan::Put(put) => (&put.path, false),
        Plan::Delete(delete) => (&delete.path, false),
        Plan::Copy(relocate) | Plan::Move(relocate) => (&relocate.from, false),
        Plan::Lock(lock) => (&lock.request.path, false),
        Plan::Refresh(refresh) => (&refresh.path, false),
        Plan::Unlock(unlock) => (&unlock.path, false),
        Plan::Publish(publish) => (&publish.path, false),
        Plan::Share(share) => (&share.path, false),
        Plan::Options(_) | Plan::ScheduleOutbox(_) => return None,
    })
}

/// The place of a shared collection that a path leads to or into.
async fn mount_at(own: &Session, path: &Path) -> Result<Option<Node>, Fault> {
    let (Some(area @ (Area::Calendars | Area::Books)), Some(name)) = (path.area(), path.names().first())
    else {
        return Ok(None);
    };
    let found = own.find(&Path::home(area, own.principal()).join(name)).await?;
    Ok(found.filter(|node| node.meta.mount.is_some()))
}

/// The tree of the owner of what is shown at a place; none when it is shown there no longer.
async fn lent(storage: &Storage, own: &Session, mount: &Node) -> Result<Option<Session>, Fault> {
    let (Some(kept), Some(area)) = (&mount.meta.mount, mount.path.area()) else { return Ok(None) };
    let Some(owner) = mailbox(storage, &kept.mailbox).await? else { return Ok(None) };
    if owner.disabled || owner.org != own.mailbox.org {
        return Ok(None);
    }
    let mut theirs = Session::open(storage, &owner).await?;
    theirs.views.clone_from(&own.views);
    let Some(collection) = collection(&theirs, area, kept).await? else { return Ok(None) };
    let me = own.mailbox.id.to_string();
    let Some(entry) = collection.meta.shares.iter().find(|entry| entry.mailbox == me) else {
        return Ok(None);
    };
    let access = entry.access();
    let seen = Seen { owner: owner.address.clone(), access };
    let mut root = Node {
        path: mount.path.clone(),
        dead: mount.dead.clone(),
        sharees: Arc::from([]),
        seen: Some(Arc::new(seen)),
        ..collection.clone()
    };
    (root.meta.public, root.meta.shares) = (None, Vec::new());
    // Locks bind whoever asks, by whatever path.
    let here = theirs.locks.drain(..).filter_map(|mut lock| {
        lock.root = lock.root.rebase(&collection.path, &mount.path)?;
        Some(lock)
    });
    theirs.locks = here.collect();
    let viewer = own.principal().to_owned();
    theirs.lending = Some(Lending { at: mount.path.clone(), root, collection, access, viewer });
    Ok(Some(theirs))
}

/// A mailbox by what rows say of it; none when it is gone.
async fn mailbox(storage: &Storage, id: &str) -> Result<Option<Mailbox>, Fault> {
    let Some(id) = Id::parse(id) else { return Ok(None) };
    match storage.store().mailbox(MailboxId(id)).await {
        Ok(mailbox) => Ok(Some(mailbox)),
        Err(storage::Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A collection by its number, wherever its owner has moved it.
async fn collection(owner: &Session, area: Area, kept: &Mount) -> Result<Option<Node>, Fault> {
    let home = Path::home(area, owner.principal());
    let found = owner.find(&home.join(&kept.name)).await?;
    if let Some(node) = found.filter(|node| node.row.id == kept.collection) {
        return Ok(Some(node));
    }
    let home = owner.must_find(&home).await?;
    let mut after = None;
    loop {
        let page = owner.members(&home, after).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = Some(last.row.key.name);
        if let Some(node) = page.into_iter().find(|node| node.row.id == kept.collection) {
            return Ok(Some(node));
        }
    }
}

impl Session {
    /// Whether it is the tree of somebody else.
    pub fn is_lent(&self) -> bool {
        self.lending.is_some()
    }

    /// What is at a place within a collection that is shared with who asks.
    pub async fn find_lent(&self, lending: &Lending, path: &Path) -> Result<Option<Node>, Fault> {
        if *path == lending.at {
            return Ok(Some(lending.root.clone()));
        }
        let (true, [_, name]) = (lending.at.contains(path), path.names()) else { return Ok(None) };
        self.member_of(&lending.root, path, name).await
    }
}

/// Refuses to copy or move what is in one owner's collection into another's: clients put and delete then.
pub async fn check_stays(session: &Session, from: &Path, to: &Path) -> Result<(), Fault> {
    let stays = match &session.lending {
        Some(lending) => lending.at.contains(to) && lending.at.contains(from),
        None => to.names().len() < 2 || mount_at(session, to).await?.is_none(),
    };
    if stays { Ok(()) } else { Err(Refusal::status(403, "these are of different owners").into()) }
}

/// The collections of others that are shown in a home.
pub async fn shown(storage: &Storage, own: &Session, home: &Node) -> Result<Vec<Node>, Fault> {
    let mut shown = Vec::new();
    if own.is_lent() || !home.path.names().is_empty() {
        return Ok(shown);
    }
    for mount in own.mounts(home).await? {
        let theirs = lent(storage, own, &mount).await?;
        shown.extend(theirs.and_then(|theirs| theirs.lending).map(|lending| lending.root));
    }
    Ok(shown)
}

/// Decides with whom a collection is shared.
pub async fn share(app: &App, session: &Session, share: &Share) -> Result<Decision, Fault> {
    let mut node = session.must_find(&share.path).await?;
    session.check(&share.preconditions).await?;
    if node.meta.mount.is_some() || !matches!(node.kind, Kind::Calendar | Kind::Book) {
        return Err(plan::not_allowed().into());
    }
    let mut wanted: BTreeMap<String, Option<Access>> = BTreeMap::new();
    for (address, access) in &share.changes {
        let known = node.meta.shares.iter().find(|entry| *entry.address == **address);
        match (known, access) {
            (Some(entry), None) => {
                wanted.insert(entry.mailbox.clone(), None);
            }
            // Nobody is told whether there is somebody from whom nothing is taken away.
            (None, None) => {}
            (_, Some(access)) => {
                let sharee = colleague(app, session, address).await?;
                wanted.insert(sharee.id.to_string(), Some(*access));
            }
        }
    }
    let mut drafts = Vec::new();
    for (id, access) in wanted {
        let sharee = mailbox(&app.storage, &id).await?;
        drafts.extend(change(app, session, &mut node, &id, sharee.as_ref(), access).await?);
    }
    if node.meta.shares.len() > limits::SHAREES_MAX {
        return Err(Refusal::status(507, "a collection is shared with fewer people").into());
    }
    let mut draft = session.tree.draft();
    draft.put(node.write()?)?;
    drafts.insert(0, draft);
    let answer = Answer { status: 200, ..plan::made(true, None, None).into() };
    Ok(Decision { answer, drafts })
}

/// Somebody else of the same organisation, by their mailbox's address or an alias of it.
async fn colleague(app: &App, session: &Session, address: &str) -> Result<Mailbox, Fault> {
    let host = &app.config.server.hostname;
    let resolved = resolve(app.storage.store(), host, &[address.to_owned()]).await?.into_iter().next();
    let Some(Resolution::Local { mailboxes, .. }) = resolved else {
        return Err(plan::unknown_sharee().into());
    };
    let theirs = |mailbox: &Mailbox| mailbox.org == session.mailbox.org && mailbox.id != session.mailbox.id;
    match mailboxes.as_slice() {
        [mailbox] if theirs(mailbox) && addresses_of(app, mailbox).await?.iter().any(|a| a == address) => {
            Ok(mailbox.clone())
        }
        _ => Err(plan::unknown_sharee().into()),
    }
}

/// Notes in a collection what somebody may do from now on, and gives them a place for it or takes it away.
async fn change(
    app: &App,
    session: &Session,
    node: &mut Node,
    id: &str,
    sharee: Option<&Mailbox>,
    access: Option<Access>,
) -> Result<Option<DavDraft>, Fault> {
    node.meta.shares.retain(|entry| entry.mailbox != id);
    // Whose mailbox is gone has no place either.
    let Some(sharee) = sharee else { return Ok(None) };
    let area = node.path.area().unwrap_or(Area::Calendars);
    let theirs = Session::open(&app.storage, sharee).await?;
    let home = theirs.must_find(&Path::home(area, theirs.principal())).await?;
    let mounts = theirs.mounts(&home).await?;
    let own = Mount {
        mailbox: session.mailbox.id.to_string(),
        collection: node.row.id,
        name: node.path.name().unwrap_or("").to_owned(),
    };
    let is_of_this = |mount: &&Node| mount.meta.mount.as_ref().is_some_and(|mount| mount.is_of(&own));
    let mut draft = theirs.tree.draft();
    draft.without_quota();
    let Some(access) = access else {
        for mount in mounts.iter().filter(is_of_this) {
            draft.remove(mount.row.key, None)?;
        }
        return Ok(Some(draft).filter(|draft| !draft.is_empty()));
    };
    node.meta.shares.push(ShareRow::of(sharee, access));
    if mounts.iter().any(|mount| is_of_this(&mount)) {
        return Ok(None);
    }
    make_room(app, &theirs, &mounts, &mut draft).await?;
    let path = home.path.join(&uuid()?);
    let mut mount = theirs.new_node(&path, &home, node.kind, &mut draft)?;
    mount.set_components(node.components());
    mount.dead = named(node);
    mount.meta.mount = Some(own);
    draft.put(mount.write()?)?;
    Ok(Some(draft))
}

/// Counts what is shared with somebody; what is there no longer makes room.
async fn make_room(app: &App, theirs: &Session, mounts: &[Node], draft: &mut DavDraft) -> Result<(), Fault> {
    if mounts.len() < limits::SHARED_WITH_MAX {
        return Ok(());
    }
    let mut left = mounts.len();
    for mount in mounts {
        if lent(&app.storage, theirs, mount).await?.is_none() {
            draft.remove(mount.row.key, None)?;
            left -= 1;
        }
    }
    if left >= limits::SHARED_WITH_MAX {
        return Err(Refusal::status(507, "too much is shared with them already").into());
    }
    Ok(())
}

/// How a collection is called and coloured by somebody it is shared with, until they change it: as by its owner.
fn named(node: &Node) -> Vec<protocol_dav::resource::DeadProperty> {
    node.dead.iter().filter(|property| property.name != publish::name()).cloned().collect()
}

/// Decides that somebody no longer wants to see what is shared with them.
pub async fn leave(app: &App, session: &Session, mount: &Node) -> Result<Decision, Fault> {
    let mut draft = session.tree.draft();
    draft.remove(mount.row.key, None)?;
    let mut drafts = vec![draft];
    if let Some(theirs) = lent(&app.storage, session, mount).await?
        && let Some(lending) = &theirs.lending
    {
        let me = session.mailbox.id.to_string();
        let mut collection = lending.collection.clone();
        collection.meta.shares.retain(|entry| entry.mailbox != me);
        let mut draft = theirs.tree.draft();
        draft.without_quota();
        draft.put(collection.write()?)?;
        drafts.push(draft);
    }
    Ok(Decision { answer: plan::made(false, None, None).into(), drafts })
}
