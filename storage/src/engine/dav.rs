//! Changes of trees of collections: guarded by their owners' rows, counted against the mailbox's quota.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Engine;
use crate::dav::*;
use crate::error::{Error, Refusal, Result};
use crate::rows::{MailboxState, ObjectRow, Rows, Writes};
use crate::store::Dav;
use crate::types::*;

/// Rows of one read.
const READ_AT_ONCE: usize = 1_000;

impl<R: Rows> Engine<R> {
    /// The writes of the changes and the objects that nothing refers to any more; none when one of the trees is no
    /// longer what it was when the change was decided.
    async fn dav_writes(
        &self,
        changes: &[DavChange],
    ) -> Result<Option<(Writes, Vec<(OrgId, MailboxId, MessageId)>)>> {
        let mut writes = Writes::default();
        let mut orphans = Vec::new();
        for change in changes {
            let stored = self.rows.dav_owner(change.owner.mailbox).await?;
            if stored.map_or(0, |owner| owner.rev) != change.owner.rev {
                return Ok(None);
            }
            let given = stored.map_or(0, |owner| owner.last);
            if change.owner.last < given {
                return Err(Refusal::Invalid("numbers of a tree rise".into()).into());
            }
            orphans.extend(self.dav_change(change, &mut writes).await?);
        }
        Ok(Some((writes, orphans)))
    }

    /// Adds what one change writes.
    async fn dav_change(
        &self,
        change: &DavChange,
        writes: &mut Writes,
    ) -> Result<Vec<(OrgId, MailboxId, MessageId)>> {
        let mailbox = change.owner.mailbox;
        let before = self.dav_before(change).await?;
        let put: HashSet<DavKey> = change.put.iter().map(|node| node.key).collect();
        let gone = change.gone.iter().filter(|key| !put.contains(*key)).filter_map(|key| before.get(key));
        let mut grown: i64 = 0;
        let mut refs: BTreeMap<MessageId, (i64, u64)> = BTreeMap::new();
        for old in gone {
            writes.dav.nodes_gone.push(old.key);
            forget(old, writes);
            grown = grown.saturating_sub_unsigned(old.size);
            count(&mut refs, old, -1);
        }
        for node in &change.put {
            if let Some(old) = before.get(&node.key) {
                if old.id == node.id {
                    writes.dav.uids_gone.extend(old.uid.map(|uid| (uid, old.key)));
                } else {
                    forget(old, writes);
                }
                grown = grown.saturating_sub_unsigned(old.size);
                count(&mut refs, old, -1);
            }
            grown = grown.saturating_add_unsigned(node.size);
            count(&mut refs, node, 1);
            writes.dav.uids.extend(node.uid.map(|uid| (uid, node.key)));
            writes.dav.nodes.push(node.clone());
        }
        self.dav_touch(change, &before, writes).await?;
        writes.dav.owners.push(change.owner);
        writes.dav.history.extend(change.history.iter().cloned());
        writes.dav.texts.extend(change.texts.iter().cloned());
        writes.dav.mails.extend(change.mails.iter().cloned());
        writes.dav.mails_gone.extend(change.mails_gone.iter().map(|number| (mailbox, *number)));
        // What was taken away and put again under another name keeps its content.
        let kept: HashSet<u64> = change.put.iter().map(|node| node.id).collect();
        writes.dav.texts_gone.retain(|(of, id)| *of != mailbox || !kept.contains(id));
        writes
            .dav
            .history_gone
            .retain(|(of, id, last)| *of != mailbox || *last < u64::MAX || !kept.contains(id));
        let state = if grown != 0 || change.owner.rev == 0 || !refs.is_empty() {
            Some(self.mailbox_state(mailbox).await?)
        } else {
            None
        };
        let org = state.as_ref().map(|state| state.row.mailbox.org);
        if let Some(state) = state.filter(|_| grown != 0 || change.owner.rev == 0) {
            writes.mailboxes.push(charged(state, grown, change.check_quota)?.row);
        }
        let orphans = self.dav_refs(mailbox, refs, writes).await?;
        Ok(org.map(|org| orphans.into_iter().map(|id| (org, mailbox, id)).collect()).unwrap_or_default())
    }

    /// The nodes that a change is about, as they are.
    async fn dav_before(&self, change: &DavChange) -> Result<HashMap<DavKey, DavNode>> {
        let keys = change.put.iter().map(|node| &node.key).chain(&change.gone).chain(&change.touched);
        let keys: HashSet<DavKey> = keys.copied().collect();
        if keys.len() > DAV_NODES_AT_ONCE_MAX {
            let why = format!("at most {DAV_NODES_AT_ONCE_MAX} resources are changed at once");
            return Err(Refusal::TooMany(why).into());
        }
        if keys.iter().any(|key| key.mailbox != change.owner.mailbox) {
            return Err(Refusal::Invalid("a change is about one owner's tree".into()).into());
        }
        let keys: Vec<DavKey> = keys.into_iter().collect();
        let mut before = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            before.extend(self.rows.dav_nodes(keys).await?.into_iter().map(|node| (node.key, node)));
        }
        Ok(before)
    }

    /// Notes that members of collections changed, and lets the oldest removals be forgotten.
    async fn dav_touch(
        &self,
        change: &DavChange,
        before: &HashMap<DavKey, DavNode>,
        writes: &mut Writes,
    ) -> Result<()> {
        let put: HashSet<DavKey> = change.put.iter().map(|node| node.key).collect();
        let touched: HashSet<DavKey> =
            change.touched.iter().copied().filter(|key| !put.contains(key)).collect();
        for key in touched {
            let mut node = before.get(&key).cloned().ok_or(Error::NotFound)?;
            let Some(members) = &mut node.members else {
                return Err(Refusal::Invalid("only collections have members".into()).into());
            };
            members.changed = change.owner.last;
            let removed = change.history.iter().filter(|row| row.parent == node.id).count() as u64;
            members.removed += removed;
            if members.removed > 2 * DAV_HISTORY_MAX {
                let mut rows = self.rows.dav_gone(key.mailbox, node.id, 0).await?;
                rows.sort_unstable_by_key(|row| row.change);
                let many = rows.len().saturating_sub(DAV_HISTORY_MAX as usize);
                if let Some(last) = many.checked_sub(1).and_then(|at| rows.get(at)) {
                    writes.dav.history_gone.push((key.mailbox, node.id, last.change));
                    members.forgotten = last.change;
                    members.removed = (rows.len() - many) as u64 + removed;
                }
            }
            writes.dav.nodes.push(node);
        }
        Ok(())
    }

    /// New counts of the objects that nodes refer to; those that none does any more.
    async fn dav_refs(
        &self,
        mailbox: MailboxId,
        mut refs: BTreeMap<MessageId, (i64, u64)>,
        writes: &mut Writes,
    ) -> Result<Vec<MessageId>> {
        refs.retain(|_, (change, _)| *change != 0);
        let ids: Vec<MessageId> = refs.keys().copied().collect();
        let mut known = HashMap::new();
        for ids in ids.chunks(READ_AT_ONCE) {
            let rows = self.rows.objects(mailbox, ids).await?;
            known.extend(rows.into_iter().map(|(id, refs, _)| (id, refs)));
        }
        let mut orphans = Vec::new();
        for (message, (change, size)) in refs {
            let before = known.get(&message).copied();
            let after = i64::from(before.unwrap_or(0)) + change;
            match (before, u32::try_from(after)) {
                (_, Err(_)) | (None, Ok(0)) => {}
                (None, Ok(refs)) => {
                    writes.objects_new.push(ObjectRow { mailbox, message, refs, size, meta: Vec::new() });
                }
                (Some(_), Ok(0)) => {
                    writes.objects_gone.push((mailbox, message));
                    orphans.push(message);
                }
                (Some(_), Ok(refs)) => writes.objects.push((mailbox, message, refs)),
            }
        }
        Ok(orphans)
    }
}

/// What goes with a node.
fn forget(node: &DavNode, writes: &mut Writes) {
    let mailbox = node.key.mailbox;
    writes.dav.texts_gone.push((mailbox, node.id));
    writes.dav.uids_gone.extend(node.uid.map(|uid| (uid, node.key)));
    if node.members.is_some() {
        writes.dav.history_gone.push((mailbox, node.id, u64::MAX));
    }
}

fn count(refs: &mut BTreeMap<MessageId, (i64, u64)>, node: &DavNode, change: i64) {
    if let Some(object) = node.object {
        let entry = refs.entry(object).or_insert((0, node.size));
        entry.0 += change;
    }
}

/// The mailbox with more or fewer octets in it.
fn charged(mut state: MailboxState, grown: i64, check_quota: bool) -> Result<MailboxState> {
    let quota = state.row.mailbox.quota_bytes.or(state.domain_quota_bytes);
    let after = state.row.mailbox.used_bytes.saturating_add_signed(grown);
    if check_quota && grown > 0 && quota.is_some_and(|quota| after > quota) {
        return Err(Refusal::OverQuota.into());
    }
    state.row.mailbox.used_bytes = after;
    Ok(state)
}

#[async_trait::async_trait]
impl<R: Rows> Dav for Engine<R> {
    async fn dav_owner(&self, mailbox: MailboxId) -> Result<Option<DavOwner>> {
        self.rows.dav_owner(mailbox).await
    }

    async fn dav_nodes(&self, keys: &[DavKey]) -> Result<Vec<DavNode>> {
        let mut nodes = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            nodes.extend(self.rows.dav_nodes(keys).await?);
        }
        Ok(nodes)
    }

    async fn dav_members(
        &self,
        of: (DavTable, MailboxId, u64),
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<DavNode>> {
        self.rows.dav_members(of, after, limit).await
    }

    async fn dav_changes(&self, of: (DavTable, MailboxId, u64), since: u64) -> Result<Vec<(u64, DavKey)>> {
        let mut changes = self.rows.dav_changes(of, since).await?;
        changes.sort_unstable();
        Ok(changes)
    }

    async fn dav_texts(&self, mailbox: MailboxId, ids: &[u64]) -> Result<Vec<DavText>> {
        self.rows.dav_texts(mailbox, ids).await
    }

    async fn dav_gone(&self, mailbox: MailboxId, parent: u64, since: u64) -> Result<Vec<DavGone>> {
        let mut gone = self.rows.dav_gone(mailbox, parent, since).await?;
        gone.sort_unstable_by_key(|row| row.change);
        Ok(gone)
    }

    async fn dav_uids(&self, mailbox: MailboxId, uid: Id) -> Result<Vec<DavKey>> {
        let mut keys = self.rows.dav_uids(mailbox, uid).await?;
        keys.sort_unstable();
        Ok(keys)
    }

    async fn dav_mails(&self, limit: usize) -> Result<Vec<DavMail>> {
        self.rows.dav_mails(limit).await
    }

    async fn dav_used(&self, mailbox: MailboxId) -> Result<u64> {
        self.rows.dav_used(mailbox).await
    }

    async fn dav_commit(
        &self,
        changes: Vec<DavChange>,
    ) -> Result<Option<Vec<(OrgId, MailboxId, MessageId)>>> {
        let owners: HashSet<MailboxId> = changes.iter().map(|change| change.owner.mailbox).collect();
        if owners.len() != changes.len() {
            return Err(Refusal::Invalid("two changes of one tree".into()).into());
        }
        let _guards = self.lock_mailboxes(owners.into_iter()).await?;
        let mut tries = 0;
        loop {
            let Some((writes, orphans)) = self.dav_writes(&changes).await? else { return Ok(None) };
            if self.apply("dav_commit", writes, &mut tries).await? {
                return Ok(Some(orphans));
            }
        }
    }
}
