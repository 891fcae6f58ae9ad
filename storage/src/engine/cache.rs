//! Mailboxes as this process wrote them last, so that a commit need not read them again.
//!
//! A cached state may be out of date when another process writes to the mailbox too. Then the revisions do
//! not match and nothing is written; a refusal, which writes nothing, is never given on a cached state.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rows::MailboxState;
use crate::types::MailboxId;

/// Mailboxes kept.
const MAILBOXES_MAX: usize = 1_024;
/// A mailbox with more folders than that is read each time.
const FOLDERS_MAX: usize = 64;
/// How long the quota of a domain may be out of date: no revision guards it.
const AGE_MAX: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Cache {
    states: Mutex<HashMap<MailboxId, (Instant, MailboxState)>>,
}

impl Cache {
    fn states(&self) -> MutexGuard<'_, HashMap<MailboxId, (Instant, MailboxState)>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a state out: it goes back only when what was made of it has been written.
    pub fn take(&self, mailbox: MailboxId) -> Option<(Instant, MailboxState)> {
        self.states().remove(&mailbox).filter(|(read, _)| read.elapsed() < AGE_MAX)
    }

    /// Keeps the state that was written; `read` is when its domain's quota was.
    pub fn keep(&self, read: Instant, state: MailboxState) {
        if state.folders.len() > FOLDERS_MAX {
            return;
        }
        let mut states = self.states();
        if states.len() >= MAILBOXES_MAX {
            states.clear();
        }
        states.insert(state.row.mailbox.id, (read, state));
    }

    pub fn forget(&self, mailbox: MailboxId) {
        self.states().remove(&mailbox);
    }

    pub fn clear(&self) {
        self.states().clear();
    }
}
