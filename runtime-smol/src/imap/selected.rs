//! The selected folder of a session: the shared view, and how far the session's own view has followed it.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol_core::SendBuf;
use protocol_imap::server::{Change, FlagBits, RowData, ServerSession};
use storage::{Change as StoredChange, Changes, FolderId, FolderState, FolderView, Row};

/// A selected folder.
pub struct Selected {
    pub view: Arc<FolderView>,
    /// The shared view's version that the session has been told of.
    version: u64,
}

impl Selected {
    /// At a version of the shared view.
    pub fn new(view: Arc<FolderView>, version: u64) -> Selected {
        Selected { view, version }
    }

    pub fn id(&self) -> FolderId {
        self.view.id()
    }

    /// Waits until there is something to tell.
    pub async fn changed(&self) {
        self.view.changed(self.version).await;
    }

    /// Tells the session what happened since it was last told. `false`: the folder is gone.
    pub fn tell(&mut self, session: &mut ServerSession, out: &mut SendBuf) -> bool {
        if self.view.version() == self.version {
            return true;
        }
        match self.view.changes(self.version) {
            Changes::List(changes, version) => {
                self.version = version;
                // A row may carry a keyword that is new with it.
                if changes.contains(&StoredChange::Keywords) {
                    self.tell_keywords(session, out);
                }
                let gone = changes.contains(&StoredChange::Gone);
                session.mailbox_changes(changes.iter().filter_map(told), out);
                !gone
            }
            Changes::Resync => self.compare(session, out),
        }
    }

    fn tell_keywords(&self, session: &mut ServerSession, out: &mut SendBuf) {
        let keywords = self.view.with(|state| state.info.keywords.clone());
        session.learn_keywords(keywords.iter().map(String::as_str), out);
    }

    /// More happened than is remembered: the session's messages are compared with what is there.
    fn compare(&mut self, session: &mut ServerSession, out: &mut SendBuf) -> bool {
        let (rows, modseq, gone, version) = self.view.with_version(|state, version| {
            (state.rows.clone(), state.info.highest_modseq, state.gone, version)
        });
        self.version = version;
        self.tell_keywords(session, out);
        let there: BTreeSet<u32> = rows.iter().map(|row| row.uid).collect();
        let missing: Vec<u32> = session.view().uids().filter(|uid| !there.contains(uid)).collect();
        let known_modseq = session.view().highest_modseq();
        let expunged = missing.into_iter().map(|uid| Change::Expunged { uid, modseq });
        let there = rows.iter().filter_map(|row| match session.view().number(row.uid) {
            None => Some(Change::Added { uid: row.uid }),
            Some(_) if row.modseq > known_modseq => Some(flags_of(row)),
            Some(_) => None,
        });
        let changes: Vec<Change> = expunged.chain(there).collect();
        session.mailbox_changes(changes, out);
        session.synced(modseq);
        !gone
    }

    /// A message's row as it is now.
    pub fn row(&self, uid: u32) -> Option<Row> {
        self.view.with(|state| state.row(uid).copied())
    }
}

fn told(change: &StoredChange) -> Option<Change> {
    match change {
        StoredChange::Added(row) => Some(Change::Added { uid: row.uid }),
        StoredChange::Flags(row) => Some(flags_of(row)),
        StoredChange::Expunged { uid, modseq } => Some(Change::Expunged { uid: *uid, modseq: *modseq }),
        StoredChange::Keywords | StoredChange::Gone => None,
    }
}

fn flags_of(row: &Row) -> Change {
    Change::Flags { uid: row.uid, flags: FlagBits(row.flags.0), modseq: row.modseq }
}

/// A row as the machine knows it.
pub fn row_data(row: &Row) -> RowData {
    RowData {
        uid: row.uid,
        flags: FlagBits(row.flags.0),
        modseq: row.modseq,
        size: row.size,
        internal_date: row.internal_date,
    }
}

/// UIDs of the messages with `\Deleted`.
pub fn deleted(state: &FolderState) -> Vec<u32> {
    let carries = |row: &&Row| row.flags.contains(storage::Flags::DELETED);
    state.rows.iter().filter(carries).map(|row| row.uid).collect()
}
