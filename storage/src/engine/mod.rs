//! The rules of the [`Store`], once for every row store: read rows with their revisions, decide, write
//! everything in one transaction that the revisions guard, and start again when they have moved on.

mod api;
mod cache;
mod commit;
mod dav;
mod directory;
mod folders;
mod hooks;
mod jobs;
mod mail;
mod names;
mod policies;
mod recount;
mod results;
mod slots;
mod staged;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

// Not async-lock's: that one looks at the clock to decide who is next, and the simulator must get the same answer twice.
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use crate::error::{Error, Result};
use crate::rows::{ApplyError, Rows, Writes};
use crate::slots::{CounterKey, SlotKey, SlotTable};
use crate::store::Store;
use crate::types::{FolderId, Id, JobId, MailboxId, OrgId};

pub use api::API_KEY_ENTRIES_MAX;
pub use hooks::{TEMPLATE_VERSIONS_MAX, TEMPLATES_MAX, WEBHOOKS_MAX};
pub use names::{
    ALIAS_TARGETS_MAX, FOLDER_LEVEL_OCTETS_MAX, FOLDER_NAME_OCTETS_MAX, FOLDERS_MAX, KEYWORD_OCTETS_MAX,
    SUBSCRIPTIONS_MAX,
};

/// How often a change is decided anew when others keep changing the same rows.
const TRIES_MAX: u32 = 24;

/// Locks that keep the tasks of one process from making each other's reads stale. Correctness does not rest
/// on them: the revisions guard against other processes, and against this one too.
const STRIPES: usize = 64;

/// Folders whose mailbox is remembered; it never changes.
const REMEMBERED_FOLDERS_MAX: usize = 65_536;

/// The [`Store`] over some row store.
pub struct Engine<R> {
    rows: R,
    directory: AsyncMutex<()>,
    /// Claims go one by one; the organisation that was served last.
    claims: AsyncMutex<Option<OrgId>>,
    /// Counters as this process wrote them last.
    counting: AsyncMutex<HashMap<CounterKey, (u64, u64)>>,
    /// Held while entries of logs are numbered and written: two writers of one process would meet at the number.
    logging: AsyncMutex<()>,
    /// Where the last cleaning of each table ended.
    cleaned: AsyncMutex<HashMap<SlotTable, SlotKey>>,
    mailboxes: Vec<AsyncMutex<()>>,
    jobs: Vec<AsyncMutex<()>>,
    folder_mailboxes: Mutex<HashMap<FolderId, MailboxId>>,
    cache: cache::Cache,
    held: cache::HeldJobs,
}

fn stripe(id: Id) -> usize {
    usize::from(id.0[15]) % STRIPES
}

impl<R: Rows> Engine<R> {
    pub(crate) fn over(rows: R) -> Self {
        let locks = || (0..STRIPES).map(|_| AsyncMutex::new(())).collect();
        Engine {
            rows,
            directory: AsyncMutex::new(()),
            claims: AsyncMutex::new(None),
            counting: AsyncMutex::default(),
            logging: AsyncMutex::new(()),
            cleaned: AsyncMutex::default(),
            mailboxes: locks(),
            jobs: locks(),
            folder_mailboxes: Mutex::default(),
            cache: cache::Cache::default(),
            held: cache::HeldJobs::default(),
        }
    }

    pub(crate) fn rows(&self) -> &R {
        &self.rows
    }

    /// Another node over the same rows: what this one remembers and locks, that one does not know of.
    pub fn another_node(&self) -> Self
    where
        R: Clone,
    {
        Engine::over(self.rows.clone())
    }

    async fn lock_mailbox(&self, id: MailboxId) -> Result<MutexGuard<'_, ()>> {
        lock_stripe(&self.mailboxes, stripe(id.0)).await
    }

    async fn lock_job(&self, id: JobId) -> Result<MutexGuard<'_, ()>> {
        lock_stripe(&self.jobs, stripe(id.0)).await
    }

    async fn lock_mailboxes(&self, ids: impl Iterator<Item = MailboxId>) -> Result<Vec<MutexGuard<'_, ()>>> {
        lock_stripes(&self.mailboxes, ids.map(|id| stripe(id.0)).collect()).await
    }

    async fn lock_jobs(&self, ids: impl Iterator<Item = JobId>) -> Result<Vec<MutexGuard<'_, ()>>> {
        lock_stripes(&self.jobs, ids.map(|id| stripe(id.0)).collect()).await
    }

    /// The mailbox of a folder.
    async fn mailbox_of(&self, folder: FolderId) -> Result<MailboxId> {
        let remembered = || self.folder_mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = remembered().get(&folder) {
            return Ok(*mailbox);
        }
        let mailbox = self.rows.folder_mailbox(folder).await?.ok_or(Error::NotFound)?;
        let mut map = remembered();
        if map.len() >= REMEMBERED_FOLDERS_MAX {
            map.clear();
        }
        map.insert(folder, mailbox);
        Ok(mailbox)
    }

    /// Applies writes. `false`: something they rest on has changed since it was read, so read and decide anew.
    async fn apply(&self, what: &'static str, mut writes: Writes, tries: &mut u32) -> Result<bool> {
        let _log = self.number_log(&mut writes).await?;
        for row in writes.mailboxes.iter().chain(&writes.mailboxes_gone) {
            self.cache.forget(row.mailbox.id);
        }
        if !writes.domains.is_empty() {
            self.cache.clear();
        }
        match self.rows.apply(what, writes).await {
            Ok(()) => Ok(true),
            Err(ApplyError::Stale) if *tries < TRIES_MAX => {
                *tries += 1;
                self.rows.pause(*tries).await;
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }
}

/// In rising order of stripes, so that two callers never wait for each other.
async fn lock_stripes(locks: &[AsyncMutex<()>], mut stripes: Vec<usize>) -> Result<Vec<MutexGuard<'_, ()>>> {
    stripes.sort_unstable();
    stripes.dedup();
    let mut guards = Vec::with_capacity(stripes.len());
    for n in stripes {
        guards.push(lock_stripe(locks, n).await?);
    }
    Ok(guards)
}

async fn lock_stripe(locks: &[AsyncMutex<()>], n: usize) -> Result<MutexGuard<'_, ()>> {
    match locks.get(n) {
        Some(lock) => Ok(lock.lock().await),
        None => Err(Error::Unavailable("no such lock".into())),
    }
}

#[async_trait::async_trait]
impl<R: Rows> Store for Engine<R> {
    async fn ping(&self) -> Result<()> {
        self.rows.ping().await
    }

    async fn close(&self) {
        self.rows.close().await;
    }
}
