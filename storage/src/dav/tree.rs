//! Trees opened: what their rows keep sealed is read and written in clear here.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::error::{Error, Result};
use crate::facade::{Flight, Inner, Storage, now};
use crate::keys::TenantKey;
use crate::objects::{Content, Envelope, NewObject, Object, ObjectKey, Place};
use crate::spool::Spool;
use crate::types::{Id, Mailbox, MailboxId, MessageId, OrgId};

/// An owner's tree as it was at one moment. Whatever is decided by what it shows is written by
/// [`Storage::dav_commit`], which writes nothing when the tree has changed since.
#[derive(Clone)]
pub struct DavTree {
    inner: Arc<Inner>,
    tenant: TenantKey,
    org: OrgId,
    owner: DavOwner,
}

impl std::fmt::Debug for DavTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DavTree").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// What is sealed together with its place, so that it opens nowhere else.
#[derive(Clone, Copy)]
enum Sealed {
    Node(DavKey),
    Text(u64),
    Gone(u64, u64),
    Mail(u64),
}

impl Sealed {
    fn place(self) -> MessageId {
        let mut hasher = blake3::Hasher::new_derive_key("inbox storage v1: the place of a row of a tree");
        match self {
            Sealed::Node(key) => {
                hasher.update(b"node ").update(key.table.name().as_bytes()).update(&[0]);
                hasher.update(&key.parent.to_be_bytes()).update(&key.name.0)
            }
            Sealed::Text(id) => hasher.update(b"text ").update(&id.to_be_bytes()),
            Sealed::Gone(parent, change) => {
                hasher.update(b"gone ").update(&parent.to_be_bytes()).update(&change.to_be_bytes())
            }
            Sealed::Mail(number) => hasher.update(b"mail ").update(&number.to_be_bytes()),
        };
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        MessageId(Id(id))
    }
}

impl Storage {
    /// The tree of a mailbox.
    pub async fn dav(&self, mailbox: &Mailbox) -> Result<DavTree> {
        let inner = self.inner.clone();
        let tenant = inner.tenant(mailbox.org).await?;
        let none = DavOwner { mailbox: mailbox.id, rev: 0, last: 0 };
        let owner = inner.store.dav_owner(mailbox.id).await?.unwrap_or(none);
        Ok(DavTree { inner, tenant, org: mailbox.org, owner })
    }

    /// Writes changes of trees in one transaction. `false`: one of them has changed since it was read, and nothing
    /// was written; read again, decide again.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`](crate::Refusal::OverQuota), [`Refusal::TooMany`](crate::Refusal::TooMany) over
    /// [`DAV_NODES_AT_ONCE_MAX`].
    pub async fn dav_commit(&self, drafts: Vec<DavDraft>, file: Option<&DavFile>) -> Result<bool> {
        let changes: Vec<DavChange> = drafts.into_iter().map(|draft| draft.change).collect();
        let new: Vec<ObjectKey> = file.map(|file| file.key).into_iter().collect();
        self.durable(async move |inner| {
            let Some(orphans) = inner.settle(inner.store.dav_commit(changes).await)? else {
                return Ok(false);
            };
            inner.confirm(&new).await;
            let gone: Vec<ObjectKey> =
                orphans.into_iter().map(|(org, mailbox, id)| ObjectKey::stored(org, mailbox, id)).collect();
            inner.delete_objects(&gone).await;
            Ok(true)
        })
        .await
    }

    /// Writes the content of a file, durably. It stays when a change that refers to it is committed before the
    /// answer is dropped; else it is collected in a day.
    pub async fn dav_file(&self, mailbox: &Mailbox, spool: &Spool) -> Result<DavFile> {
        let message = MessageId::random();
        let key = ObjectKey::stored(mailbox.org, mailbox.id, message);
        let content = Content::new(Vec::new(), spool, &[])?;
        let size = content.len();
        let tenant = self.inner.tenant(mailbox.org).await?;
        let envelope = Envelope {
            place: Place::File,
            sender: String::new(),
            recipients: Vec::new(),
            received_ms: now().0,
            len: 0,
            hash: [0; 32],
            sequence: self.inner.next_sequence(),
            wrapped_key: None,
            meta: Vec::new(),
        };
        let object = NewObject { key, envelope, content };
        self.durable(async move |inner| {
            let flight = inner.begin_flight(vec![key]);
            inner.put_all(vec![(object, tenant)]).await?;
            Ok(DavFile { message, size, key, _flight: flight })
        })
        .await
    }

    /// Removes the content of a file that no change referred to.
    pub async fn dav_discard(&self, file: DavFile) {
        self.durable(async move |inner| inner.delete_objects(&[file.key]).await).await;
    }

    /// Mails that changes gave rise to and that are not on their way yet, at most `limit`.
    pub async fn dav_mails(&self, limit: usize) -> Result<Vec<DavMail>> {
        self.inner.store.dav_mails(limit).await
    }
}

/// A file's content, written and not yet referred to.
pub struct DavFile {
    /// The object.
    pub message: MessageId,
    /// Octets.
    pub size: u64,
    key: ObjectKey,
    _flight: Flight,
}

impl DavTree {
    /// Whether nothing was made in it yet.
    pub fn is_new(&self) -> bool {
        self.owner.rev == 0
    }

    /// The revision that it had.
    pub fn rev(&self) -> u64 {
        self.owner.rev
    }

    /// Whether it has that revision still.
    pub async fn is_current(&self) -> Result<bool> {
        let owner = self.inner.store.dav_owner(self.owner.mailbox).await?;
        Ok(owner.map_or(0, |owner| owner.rev) == self.owner.rev)
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.owner.last
    }

    /// Whose it is.
    pub fn mailbox(&self) -> MailboxId {
        self.owner.mailbox
    }

    /// The key of a name in a collection.
    pub fn key(&self, table: DavTable, parent: u64, name: &str) -> DavKey {
        let name = self.hash("dav name", &[&parent.to_be_bytes(), name.as_bytes()]);
        DavKey { table, mailbox: self.owner.mailbox, parent, name }
    }

    /// What stands for a UID in rows.
    pub fn uid(&self, uid: &str) -> Id {
        self.hash("dav uid", &[uid.as_bytes()])
    }

    fn hash(&self, use_for: &str, parts: &[&[u8]]) -> Id {
        let mut all: Vec<&[u8]> = vec![&self.owner.mailbox.0.0[..]];
        all.extend(parts);
        let tag = self.inner.keys.tag(use_for, &all);
        let mut id = [0; 16];
        id.copy_from_slice(&tag[..16]);
        Id(id)
    }

    /// Those of the nodes that are there, in any order.
    pub async fn nodes(&self, keys: &[DavKey]) -> Result<Vec<DavNode>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.open_all(self.inner.store.dav_nodes(keys).await?)
    }

    /// The node of a name in a collection.
    pub async fn node(&self, table: DavTable, parent: u64, name: &str) -> Result<Option<DavNode>> {
        Ok(self.nodes(&[self.key(table, parent, name)]).await?.pop())
    }

    /// The members of a collection behind a key, by key, at most `limit`.
    pub async fn members(
        &self,
        table: DavTable,
        parent: u64,
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<DavNode>> {
        let of = (table, self.owner.mailbox, parent);
        self.open_all(self.inner.store.dav_members(of, after, limit).await?)
    }

    /// The numbers and keys of the members of a collection that changed after a number, in order.
    pub async fn changes(&self, table: DavTable, parent: u64, since: u64) -> Result<Vec<(u64, DavKey)>> {
        self.inner.store.dav_changes((table, self.owner.mailbox, parent), since).await
    }

    /// The numbers and names of the members that were removed from a collection after a number, in order.
    pub async fn gone(&self, parent: u64, since: u64) -> Result<Vec<(u64, String)>> {
        let rows = self.inner.store.dav_gone(self.owner.mailbox, parent, since).await?;
        let open = |row: DavGone| {
            let name = self.open(Sealed::Gone(row.parent, row.change), &row.name)?;
            let name = String::from_utf8(name).map_err(|_| Error::Corrupt("dav_gone: a name".into()))?;
            Ok((row.change, name))
        };
        rows.into_iter().map(open).collect()
    }

    /// The content of nodes, of those that have any in rows.
    pub async fn texts(&self, ids: &[u64]) -> Result<HashMap<u64, Vec<u8>>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.inner.store.dav_texts(self.owner.mailbox, ids).await?;
        rows.into_iter().map(|row| Ok((row.id, self.open(Sealed::Text(row.id), &row.text)?))).collect()
    }

    /// The nodes that have a UID.
    pub async fn with_uid(&self, uid: &str) -> Result<Vec<DavNode>> {
        let keys = self.inner.store.dav_uids(self.owner.mailbox, self.uid(uid)).await?;
        self.nodes(&keys).await
    }

    /// Opens a file's content.
    pub async fn open_file(&self, message: MessageId) -> Result<Object> {
        self.inner.open_object(ObjectKey::stored(self.org, self.owner.mailbox, message)).await
    }

    /// Opens a mail that a change of this tree gave rise to.
    pub fn open_mail(&self, mail: &DavMail) -> Result<Vec<u8>> {
        self.open(Sealed::Mail(mail.number), &mail.mail)
    }

    /// A change of the tree as it is.
    pub fn draft(&self) -> DavDraft {
        DavDraft { tenant: self.tenant.clone(), change: DavChange::of(self.owner), opened: Vec::new() }
    }

    fn open_all(&self, nodes: Vec<DavNode>) -> Result<Vec<DavNode>> {
        let open = |mut node: DavNode| {
            node.meta = self.open(Sealed::Node(node.key), &node.meta)?;
            Ok(node)
        };
        nodes.into_iter().map(open).collect()
    }

    fn open(&self, what: Sealed, sealed: &[u8]) -> Result<Vec<u8>> {
        self.tenant.open_meta(self.owner.mailbox, what.place(), sealed)
    }
}

/// A change that is being put together.
#[derive(Debug)]
pub struct DavDraft {
    tenant: TenantKey,
    change: DavChange,
    /// What is put, in clear.
    opened: Vec<DavNode>,
}

/// What a change comes to once it is written, for those who keep in memory what they have read. The tree has the next
/// revision then.
#[derive(Clone, Debug)]
pub struct DavEffect {
    /// Whose tree.
    pub mailbox: MailboxId,
    /// The revision that it had before.
    pub rev: u64,
    /// The number given last, which is that of the last change of each collection that was touched.
    pub last: u64,
    /// What was put, in clear.
    pub put: Vec<DavNode>,
    /// What was removed, before anything was put.
    pub gone: Vec<DavKey>,
    /// Collections whose members changed.
    pub touched: Vec<DavKey>,
}

impl DavDraft {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.change.owner.last += 1;
        self.change.owner.last
    }

    /// The mailbox may grow beyond its quota by this.
    pub fn without_quota(&mut self) {
        self.change.check_quota = false;
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        let DavChange { put, gone, touched, texts, mails, mails_gone, .. } = &self.change;
        put.is_empty()
            && gone.is_empty()
            && touched.is_empty()
            && texts.is_empty()
            && mails.is_empty()
            && mails_gone.is_empty()
    }

    /// Makes a node, or puts it in the place of what has its key; `changed` is set here.
    pub fn put(&mut self, mut node: DavNode) -> Result<()> {
        node.changed = self.number();
        let sealed = self.seal(Sealed::Node(node.key), &node.meta)?;
        self.change.put.retain(|before| before.key != node.key);
        self.opened.retain(|before| before.key != node.key);
        self.opened.push(node.clone());
        node.meta = sealed;
        self.change.put.push(node);
        Ok(())
    }

    /// What it comes to once it is written.
    pub fn effect(&self) -> DavEffect {
        let DavChange { owner, gone, touched, .. } = &self.change;
        DavEffect {
            mailbox: owner.mailbox,
            rev: owner.rev,
            last: owner.last,
            put: self.opened.clone(),
            gone: gone.clone(),
            touched: touched.clone(),
        }
    }

    /// Keeps the content of a node.
    pub fn text(&mut self, id: u64, text: &[u8]) -> Result<()> {
        let text = self.seal(Sealed::Text(id), text)?;
        self.change.texts.retain(|before| before.id != id);
        self.change.texts.push(DavText { mailbox: self.change.owner.mailbox, id, text });
        Ok(())
    }

    /// Removes a node; its collection remembers it when its name is told.
    pub fn remove(&mut self, key: DavKey, remembered: Option<&str>) -> Result<()> {
        self.change.gone.push(key);
        if let Some(name) = remembered {
            let change = self.number();
            let name = self.seal(Sealed::Gone(key.parent, change), name.as_bytes())?;
            self.change.history.push(DavGone { mailbox: key.mailbox, parent: key.parent, change, name });
        }
        Ok(())
    }

    /// Notes that members of a collection change.
    pub fn touch(&mut self, collection: DavKey) {
        if !self.change.touched.contains(&collection) {
            self.change.touched.push(collection);
        }
    }

    /// Keeps a mail until it is on its way.
    pub fn mail(&mut self, mail: &[u8]) -> Result<()> {
        let number = self.number();
        let mail = self.seal(Sealed::Mail(number), mail)?;
        self.change.mails.push(DavMail { mailbox: self.change.owner.mailbox, number, mail });
        Ok(())
    }

    /// Whether it keeps a mail.
    pub fn has_mail(&self) -> bool {
        !self.change.mails.is_empty()
    }

    /// A mail is on its way.
    pub fn mail_sent(&mut self, number: u64) {
        self.change.mails_gone.push(number);
    }

    fn seal(&self, what: Sealed, text: &[u8]) -> Result<Vec<u8>> {
        self.tenant.seal_meta(self.change.owner.mailbox, what.place(), text)
    }
}
