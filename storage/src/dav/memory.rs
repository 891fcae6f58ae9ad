//! The rows of trees in maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;

const LOWEST: Id = Id([0; 16]);
const HIGHEST: Id = Id([u8::MAX; 16]);

/// The maps.
#[derive(Clone, Default)]
pub(crate) struct DavTables {
    owners: BTreeMap<MailboxId, DavOwner>,
    nodes: BTreeMap<DavKey, DavNode>,
    texts: BTreeMap<(MailboxId, u64), DavText>,
    gone: BTreeMap<(MailboxId, u64, u64), DavGone>,
    uids: BTreeMap<(MailboxId, Id, u64), DavKey>,
    mails: BTreeMap<(MailboxId, u64), DavMail>,
}

impl DavTables {
    pub fn is_stale(&self, writes: &DavWrites) -> bool {
        writes.owners.iter().any(|owner| self.rev(owner.mailbox) != owner.rev)
    }

    fn rev(&self, mailbox: MailboxId) -> u64 {
        self.owners.get(&mailbox).map_or(0, |owner| owner.rev)
    }

    pub fn apply(&mut self, writes: DavWrites) {
        for owner in writes.owners {
            self.owners.insert(owner.mailbox, DavOwner { rev: owner.rev + 1, ..owner });
        }
        for key in &writes.nodes_gone {
            self.nodes.remove(key);
        }
        self.nodes.extend(writes.nodes.into_iter().map(|node| (node.key, node)));
        for key in &writes.texts_gone {
            self.texts.remove(key);
        }
        self.texts.extend(writes.texts.into_iter().map(|text| ((text.mailbox, text.id), text)));
        self.gone.extend(writes.history.into_iter().map(|row| ((row.mailbox, row.parent, row.change), row)));
        for (mailbox, parent, last) in writes.history_gone {
            self.gone.retain(|(of, within, change), _| (*of, *within) != (mailbox, parent) || *change > last);
        }
        for (uid, key) in &writes.uids_gone {
            self.uids.remove(&(key.mailbox, *uid, key.parent));
        }
        self.uids.extend(writes.uids.into_iter().map(|(uid, key)| ((key.mailbox, uid, key.parent), key)));
        for key in &writes.mails_gone {
            self.mails.remove(key);
        }
        self.mails.extend(writes.mails.into_iter().map(|mail| ((mail.mailbox, mail.number), mail)));
    }

    pub fn remove_mailbox(&mut self, mailbox: MailboxId) {
        self.owners.remove(&mailbox);
        self.nodes.retain(|key, _| key.mailbox != mailbox);
        self.texts.retain(|(of, _), _| *of != mailbox);
        self.gone.retain(|(of, ..), _| *of != mailbox);
        self.uids.retain(|(of, ..), _| *of != mailbox);
        self.mails.retain(|(of, _), _| *of != mailbox);
    }

    pub fn owner(&self, mailbox: MailboxId) -> Option<DavOwner> {
        self.owners.get(&mailbox).copied()
    }

    pub fn nodes(&self, keys: &[DavKey]) -> Vec<DavNode> {
        keys.iter().filter_map(|key| self.nodes.get(key).cloned()).collect()
    }

    fn within(
        &self,
        table: DavTable,
        mailbox: MailboxId,
        parent: u64,
        after: Option<Id>,
    ) -> impl Iterator<Item = &DavNode> {
        let key = |name| DavKey { table, mailbox, parent, name };
        let from = match after {
            Some(name) => Bound::Excluded(key(name)),
            None => Bound::Included(key(LOWEST)),
        };
        // From behind the last name there is nothing, and `range` takes no such range.
        let empty = after == Some(HIGHEST);
        let range = (!empty).then(|| self.nodes.range((from, Bound::Included(key(HIGHEST)))));
        range.into_iter().flatten().map(|(_, node)| node)
    }

    pub fn members(&self, of: (DavTable, MailboxId, u64), after: Option<Id>, limit: usize) -> Vec<DavNode> {
        self.within(of.0, of.1, of.2, after).take(limit).cloned().collect()
    }

    pub fn changes(&self, of: (DavTable, MailboxId, u64), since: u64) -> Vec<(u64, DavKey)> {
        let nodes = self.within(of.0, of.1, of.2, None).filter(|node| node.changed > since);
        nodes.map(|node| (node.changed, node.key)).collect()
    }

    pub fn texts(&self, mailbox: MailboxId, ids: &[u64]) -> Vec<DavText> {
        ids.iter().filter_map(|id| self.texts.get(&(mailbox, *id)).cloned()).collect()
    }

    pub fn gone(&self, mailbox: MailboxId, parent: u64, since: u64) -> Vec<DavGone> {
        let from = (mailbox, parent, since.saturating_add(1));
        self.gone.range(from..=(mailbox, parent, u64::MAX)).map(|(_, row)| row.clone()).collect()
    }

    pub fn uids(&self, mailbox: MailboxId, uid: Id) -> Vec<DavKey> {
        self.uids.range((mailbox, uid, 0)..=(mailbox, uid, u64::MAX)).map(|(_, key)| *key).collect()
    }

    pub fn mails(&self, limit: usize) -> Vec<DavMail> {
        self.mails.values().take(limit).cloned().collect()
    }

    pub fn used(&self, mailbox: MailboxId) -> u64 {
        self.nodes.values().filter(|node| node.key.mailbox == mailbox).map(|node| node.size).sum()
    }
}
