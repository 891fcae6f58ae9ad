//! Mailboxes as this process wrote them last, so that a commit need not read them again.
//!
//! A cached state may be out of date when another process writes to the mailbox too. Then the revisions do
//! not match and nothing is written; a refusal, which writes nothing, is never given on a cached state.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rows::{JobRow, MailboxState};
use crate::types::{JobId, MailboxId};

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

/// Jobs kept; a node holds fewer.
const JOBS_MAX: usize = 4_096;

/// Jobs as this process claimed or wrote them last, so that their results need not read them again. What was said
/// above holds: the revision guards the row, and nothing is refused on a remembered one.
#[derive(Default)]
pub(super) struct HeldJobs {
    rows: Mutex<HashMap<JobId, JobRow>>,
}

impl HeldJobs {
    fn rows(&self) -> MutexGuard<'_, HashMap<JobId, JobRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row out: it goes back only when what was made of it has been written.
    pub fn take(&self, job: JobId) -> Option<JobRow> {
        self.rows().remove(&job)
    }

    /// Keeps a row under the revision that was written.
    pub fn keep(&self, row: JobRow) {
        let mut rows = self.rows();
        if rows.len() >= JOBS_MAX {
            rows.clear();
        }
        rows.insert(row.job.spec.id, row);
    }
}
