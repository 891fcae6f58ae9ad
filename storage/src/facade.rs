//! [`Storage`]: what the rest of Inbox sees of all this.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_executor::{Executor, Task};
use event_listener::Event;
use protocol_core::Timestamp;

use crate::check::StartReport;
use crate::claimer::Claimer;
use crate::error::{Error, Result};
use crate::keys::{KeyError, Keys, TenantKey};
use crate::lock::{DataLock, LockError};
use crate::objects::{Blobs, LocalBlobs, Object, ObjectKey, S3Blobs, S3Options};
use crate::passwords::Passwords;
use crate::slots::Charge;
use crate::spool::{self, Spool};
use crate::store::Store;
use crate::surreal::{SurrealOptions, SurrealStore};
use crate::types::*;
use crate::view::Views;
use crate::writer::{self, Writer};

/// Under the objects directory: what is noted of objects in a bucket.
const MARKS_DIR: &str = "marks";
/// How long an organisation's keys are remembered when other processes may change them.
const SHARED_KEYS_AGE: Duration = Duration::from_secs(30);

/// Mailboxes whose domain is remembered.
const REMEMBERED_MAILBOXES_MAX: usize = 65_536;
/// How often views are compared with a database that other processes write to.
const REMOTE_POLL: Duration = Duration::from_secs(3);

/// Where things are. No default: the configuration decides.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Which database.
    pub database: SurrealOptions,
    /// Holds the lock; everything else may lie elsewhere.
    pub data_dir: PathBuf,
    /// Where objects rest as files, and what is on its way to a bucket.
    pub objects_dir: PathBuf,
    /// The bucket where objects rest instead.
    pub s3: Option<S3Options>,
    /// Decoded body parts are kept as objects too.
    pub parsed_parts: bool,
    /// The master key; made when absent.
    pub master_key_file: PathBuf,
    /// Octets of the largest message that is taken, trace fields aside.
    pub spool_limit: u64,
}

/// Why storage could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The data directory is in use or not usable.
    Lock(LockError),
    /// The master key is not usable.
    Key(KeyError),
    /// The objects directory is not usable.
    Objects(PathBuf, io::Error),
    /// The bucket is not usable; the text says why.
    Bucket(String),
    /// The database could not be opened.
    Database(crate::surreal::OpenError),
    /// Its rows could not be compared with the objects.
    Rows(Error),
    /// A thread could not be started.
    Thread(io::Error),
}

impl OpenError {
    /// Whether a new process usually opens what this one could not.
    pub fn is_standstill(&self) -> bool {
        match self {
            OpenError::Database(why) => *why == crate::surreal::OpenError::Standstill,
            OpenError::Rows(why) => why.is_standstill(),
            _ => false,
        }
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Lock(why) => why.fmt(f),
            OpenError::Key(why) => why.fmt(f),
            OpenError::Objects(path, why) => write!(f, "objects directory {}: {why}", path.display()),
            OpenError::Bucket(why) => f.write_str(why),
            OpenError::Database(why) => why.fmt(f),
            OpenError::Rows(why) => write!(f, "the database cannot be read: {why}"),
            OpenError::Thread(why) => write!(f, "cannot start a thread: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// All stored data of an installation. Cheap to clone; every method may be awaited from any executor.
///
/// A change that was begun is finished even when the caller's future is dropped.
#[derive(Clone)]
pub struct Storage {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub store: Arc<dyn Store>,
    pub blobs: Arc<dyn Blobs>,
    pub keys: Arc<Keys>,
    pub views: Arc<Views>,
    pub passwords: Passwords,
    pub writer: Writer<Commit, Vec<Placed>>,
    pub jobs: Writer<(Fence, JobWrite), Vec<Placed>>,
    pub counts: Writer<Charge, bool>,
    pub clock: StoreClock,
    pub start: OnceLock<StartReport>,
    executor: Arc<Executor<'static>>,
    /// Closed when this is dropped, which ends the thread.
    _running: async_channel::Sender<()>,
    written: async_channel::Receiver<()>,
    pub spool_dir: PathBuf,
    spool_limit: u64,
    pub parsed_parts: bool,
    sequence: AtomicU64,
    domains: Mutex<HashMap<MailboxId, Arc<str>>>,
    /// Held while what older keys sealed is sealed anew.
    pub rotating: async_lock::Mutex<()>,
    /// Objects whose rows are not yet committed: nobody may take them for leftovers.
    in_flight: Mutex<HashSet<ObjectKey>>,
    /// Who takes jobs at once that are accepted here.
    pub claimer: OnceLock<Arc<dyn Claimer>>,
    fatal: OnceLock<Error>,
    fatal_event: Event,
    /// Whether this process alone writes to database and objects.
    alone: bool,
    _lock: Option<DataLock>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

/// The parts of a [`Storage`], for those who bring their own: tests and the simulator.
pub struct Parts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Objects.
    pub blobs: Arc<dyn Blobs>,
    /// Keys.
    pub keys: Keys,
    /// For temporary files; made when absent, emptied at start.
    pub spool_dir: PathBuf,
    /// As in [`StorageOptions`].
    pub spool_limit: u64,
    /// No other process writes to these rows and objects.
    pub alone: bool,
    /// As in [`StorageOptions`].
    pub parsed_parts: bool,
}

impl Storage {
    /// Opens everything: takes the lock on the data directory, reads or makes the master key, opens the
    /// database, and compares its newest rows with the newest objects ([`Storage::start_report`]).
    pub async fn open(options: StorageOptions) -> std::result::Result<Storage, OpenError> {
        let lock = DataLock::take(&options.data_dir).map_err(OpenError::Lock)?;
        let keys = Keys::open(&options.master_key_file).map_err(OpenError::Key)?;
        let objects = |why| OpenError::Objects(options.objects_dir.clone(), why);
        let local = LocalBlobs::open(&options.objects_dir).map_err(objects)?;
        let alone = !options.database.url.starts_with("ws");
        let store = SurrealStore::open(options.database).await.map_err(OpenError::Database)?;
        let blobs: Arc<dyn Blobs> = match options.s3 {
            None => Arc::new(local),
            Some(s3) => {
                let marks = alone.then(|| options.objects_dir.join(MARKS_DIR));
                match S3Blobs::open(s3, store.runtime(), marks).await {
                    Ok(blobs) => Arc::new(blobs),
                    Err(why) => {
                        store.close().await;
                        return Err(OpenError::Bucket(why));
                    }
                }
            }
        };
        let parts = Parts {
            store: Arc::new(store),
            blobs,
            keys,
            spool_dir: options.objects_dir.join(spool::TMP_DIR),
            spool_limit: options.spool_limit,
            alone,
            parsed_parts: options.parsed_parts,
        };
        Storage::start(parts, Some(lock)).await
    }

    /// From parts, without a lock.
    pub async fn from_parts(parts: Parts) -> std::result::Result<Storage, OpenError> {
        Storage::start(parts, None).await
    }

    async fn start(parts: Parts, lock: Option<DataLock>) -> std::result::Result<Storage, OpenError> {
        let spool_dir = parts.spool_dir.clone();
        let age = if parts.alone { Duration::ZERO } else { spool::SHARED_LEFTOVER_AGE };
        spool::remove_leftovers(&spool_dir, age).map_err(|why| OpenError::Objects(spool_dir, why))?;
        let executor = Arc::new(Executor::new());
        let (running, stop) = async_channel::bounded::<()>(1);
        let runner = executor.clone();
        std::thread::Builder::new()
            .name("inbox-storage".into())
            .spawn(move || futures_lite::future::block_on(runner.run(stop.recv())).unwrap_or(()))
            .map_err(OpenError::Thread)?;
        let views = Arc::new(Views::new(parts.store.clone()));
        let (ended, written) = async_channel::bounded::<()>(1);
        let asked = StoreClock::asked();
        let clock = StoreClock::start(parts.store.now().await.map_err(OpenError::Rows)?, asked);
        let (writer, commits) = Writer::new();
        let (jobs, job_writes) = Writer::new();
        let (counts, charges) = Writer::new();
        let (store, placed, running_writer) = (parts.store.clone(), views.clone(), ended.clone());
        let batches = writer::run(commits, async move |commits| {
            let results = store.commit_batch(commits).await;
            // Views first: who is told that a message was stored finds it in its folder.
            placed.placed(results.iter().flatten().flatten()).await;
            results
        });
        executor.spawn(until_written(batches, running_writer)).detach();
        let (store, placed, time) = (parts.store.clone(), views.clone(), clock.clone());
        let batches = writer::run(job_writes, async move |writes| {
            // Clocks may count differently: what was shown long ago is asked for again.
            if time.is_old() {
                let _ = time.ask(&*store).await;
            }
            let results = store.write_jobs(writes, time.now()).await;
            placed.placed(results.iter().flatten().flatten()).await;
            results
        });
        executor.spawn(until_written(batches, ended)).detach();
        let store = parts.store.clone();
        // Not waited for at the end: a count that nobody hears of changes nothing.
        executor
            .spawn(writer::run(charges, async move |charges| {
                let many = charges.len();
                match store.count(charges).await {
                    Ok(answers) => answers.into_iter().map(Ok).collect(),
                    Err(why) => (0..many).map(|_| Err(why.clone())).collect(),
                }
            }))
            .detach();
        let inner = Inner {
            store: parts.store,
            blobs: parts.blobs,
            keys: Arc::new(parts.keys),
            views,
            passwords: Passwords::new(),
            writer,
            jobs,
            counts,
            clock,
            start: OnceLock::new(),
            executor,
            _running: running,
            written,
            spool_dir: parts.spool_dir,
            spool_limit: parts.spool_limit,
            parsed_parts: parts.parsed_parts,
            sequence: AtomicU64::new(0),
            domains: Mutex::default(),
            rotating: async_lock::Mutex::new(()),
            in_flight: Mutex::default(),
            claimer: OnceLock::new(),
            fatal: OnceLock::new(),
            fatal_event: Event::new(),
            alone: parts.alone,
            _lock: lock,
        };
        let storage = Storage { inner: Arc::new(inner) };
        if !storage.inner.alone {
            storage.poll_views().map_err(OpenError::Thread)?;
        }
        storage.compare_at_start().await.map_err(OpenError::Rows)?;
        Ok(storage)
    }

    /// Rows directly: the directory, and whatever reads without objects or views. Changes to folders,
    /// messages and jobs go through the methods here, which keep objects and views in step.
    pub fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    /// The keys, for secrets that rows hold.
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// An empty spool.
    pub fn spool(&self) -> Spool {
        Spool::new(self.inner.spool_dir.clone(), self.inner.spool_limit)
    }

    /// An empty spool that takes at most `limit` octets, for a message that is changed here and becomes longer
    /// than it came.
    pub fn spool_up_to(&self, limit: u64) -> Spool {
        Spool::new(self.inner.spool_dir.clone(), limit)
    }

    /// What the comparison at start found.
    pub fn start_report(&self) -> StartReport {
        self.inner.start.get().cloned().unwrap_or_default()
    }

    /// Waits until it is not known whether a change was applied: the process must then end, for what its
    /// memory says may differ from what is stored.
    pub async fn fatal(&self) -> Error {
        loop {
            let listener = self.inner.fatal_event.listen();
            if let Some(why) = self.inner.fatal.get() {
                return why.clone();
            }
            listener.await;
        }
    }

    /// Finishes what was begun and closes the database; later calls fail.
    pub async fn close(&self) {
        self.inner.writer.close();
        self.inner.jobs.close();
        self.inner.counts.close();
        // Ends when the writers have written what waited: their senders are dropped then.
        let _ = self.inner.written.recv().await;
        self.inner.store.close().await;
    }

    // ---- objects -----------------------------------------------------------------------------------------

    /// Opens a stored message.
    pub async fn open_message(&self, org: OrgId, mailbox: MailboxId, message: MessageId) -> Result<Object> {
        self.inner.open_object(ObjectKey::stored(org, mailbox, message)).await
    }

    /// Opens the body of a queued message.
    pub async fn open_queued(&self, org: OrgId, message: MessageId) -> Result<Object> {
        self.inner.open_object(ObjectKey::queued(org, message)).await
    }

    // ---- inside ------------------------------------------------------------------------------------------

    /// Runs a change to its end, whatever becomes of the caller.
    pub(crate) fn durable<T, F>(&self, change: impl FnOnce(Arc<Inner>) -> F) -> Durable<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        Durable(Some(self.inner.executor.spawn(change(self.inner.clone()))))
    }

    /// Asks a shared database every few seconds what others changed: notices may be lost.
    fn poll_views(&self) -> io::Result<()> {
        let inner = Arc::downgrade(&self.inner);
        let poll = move || {
            loop {
                #[allow(clippy::disallowed_methods)] // on a thread of its own
                std::thread::sleep(REMOTE_POLL);
                let Some(inner) = inner.upgrade() else { return };
                futures_lite::future::block_on(async {
                    for view in inner.views.all() {
                        inner.views.refresh_or_gone(&view).await;
                    }
                });
            }
        };
        std::thread::Builder::new().name("inbox-views".into()).spawn(poll).map(drop)
    }
}

impl Inner {
    /// The organisation's key.
    pub(crate) async fn tenant(&self, org: OrgId) -> Result<TenantKey> {
        let age = if self.alone { Duration::MAX } else { SHARED_KEYS_AGE };
        if let Some(key) = self.keys.cached_tenant(org, age) {
            return Ok(key);
        }
        self.tenant_now(org).await
    }

    /// The organisation's key as the database has it.
    pub(crate) async fn tenant_now(&self, org: OrgId) -> Result<TenantKey> {
        let sealed = self.store.org_key(org).await?;
        self.keys.open_tenant(org, &sealed)
    }

    /// The key for what is sealed for a mailbox, or for the organisation's queue.
    pub(crate) async fn tenant_of(&self, org: OrgId, mailbox: Option<MailboxId>) -> Result<TenantKey> {
        let tenant = self.tenant(org).await?;
        match mailbox {
            Some(mailbox) if tenant.has_domain_keys() => {
                Ok(tenant.for_domain(&self.domain_name_of(mailbox).await?))
            }
            _ => Ok(tenant),
        }
    }

    /// The domain of a mailbox, which never changes; empty when the mailbox is gone.
    pub(crate) async fn domain_name_of(&self, mailbox: MailboxId) -> Result<Arc<str>> {
        let known = || self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known().get(&mailbox) {
            return Ok(name.clone());
        }
        let address = match self.store.mailbox(mailbox).await {
            Ok(mailbox) => mailbox.address,
            Err(Error::NotFound) => return Ok("".into()),
            Err(error) => return Err(error),
        };
        let name: Arc<str> = address.rsplit_once('@').map_or("", |(_, name)| name).into();
        let mut known = known();
        if known.len() >= REMEMBERED_MAILBOXES_MAX {
            known.clear();
        }
        known.insert(mailbox, name.clone());
        Ok(name)
    }

    /// Where objects of this tenant rest.
    pub(crate) fn blobs_of(&self, tenant: &TenantKey) -> Arc<dyn Blobs> {
        self.blobs.for_tenant(tenant).unwrap_or_else(|| self.blobs.clone())
    }

    pub(crate) async fn open_object(&self, key: ObjectKey) -> Result<Object> {
        let tenant = self.tenant_of(key.org, key.mailbox).await?;
        let opened = Object::open(self.blobs_of(&tenant), key, &tenant).await;
        let opened = match opened {
            // Another process may have given the organisation a new key since.
            Err(Error::Corrupt(_) | Error::Unavailable(_)) if !self.alone => {
                self.tenant_now(key.org).await?;
                let tenant = self.tenant_of(key.org, key.mailbox).await?;
                Object::open(self.blobs_of(&tenant), key, &tenant).await
            }
            other => other,
        };
        opened.map(|object| object.follow(self.keys.clone()))
    }

    /// Passes an outcome on; one that is not known is announced to [`Storage::fatal`].
    pub(crate) fn settle<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(why @ Error::OutcomeUnknown(_)) = &outcome {
            tracing::error!(error = %why, "a change may or may not have been stored");
            let _ = self.fatal.set(why.clone());
            self.fatal_event.notify(usize::MAX);
        }
        outcome
    }

    /// The next running number: later objects have greater ones, across restarts too. It follows the clock,
    /// so that it needs no storage of its own.
    pub(crate) fn next_sequence(&self) -> u64 {
        let clock = since_epoch();
        let clock = u64::try_from(clock.as_micros()).unwrap_or(u64::MAX);
        let next = |last: u64| Some(clock.max(last.saturating_add(1)));
        let last = self.sequence.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        last.map_or(clock, |last| clock.max(last.saturating_add(1)))
    }

    /// Numbers given from now on are greater than this one.
    pub(crate) fn sequence_seen(&self, seen: u64) {
        self.sequence.fetch_max(seen, Ordering::AcqRel);
    }

    pub(crate) fn alone(&self) -> bool {
        self.alone
    }

    pub(crate) fn is_in_flight(&self, key: &ObjectKey) -> bool {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Marks objects as being written until the answer is dropped.
    pub(crate) fn begin_flight(self: &Arc<Self>, keys: Vec<ObjectKey>) -> Flight {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).extend(&keys);
        Flight { inner: self.clone(), keys }
    }

    /// Removes objects that no row refers to any more. What cannot be removed now is collected later.
    pub(crate) async fn delete_objects(&self, keys: &[ObjectKey]) {
        if keys.is_empty() {
            return;
        }
        match self.part_keys(keys).await {
            Ok(parts) if parts.is_empty() => {}
            Ok(parts) => {
                if let Err(error) = self.blobs.delete(&parts).await {
                    tracing::warn!(%error, "parts that are no longer needed could not be deleted yet");
                }
            }
            Err(error) => tracing::warn!(%error, "parts that are no longer needed could not be listed"),
        }
        if let Err(error) = self.blobs.delete(keys).await {
            tracing::warn!(%error, "objects that are no longer needed could not be deleted yet");
        }
    }

    pub(crate) async fn delete_prefix(&self, prefix: &str) {
        match self.blobs.list(prefix).await {
            Ok(listed) => {
                let keys: Vec<ObjectKey> = listed.iter().map(|object| object.key).collect();
                self.delete_objects(&keys).await;
            }
            Err(error) => tracing::warn!(%error, "objects that are no longer needed could not be listed"),
        }
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Durable<T> {
        Durable(Some(self.executor.spawn(future)))
    }
}

/// Objects on their way to their rows.
pub(crate) struct Flight {
    inner: Arc<Inner>,
    keys: Vec<ObjectKey>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut in_flight = self.inner.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.keys {
            in_flight.remove(key);
        }
    }
}

/// A change under way. Dropping it does not stop the change.
#[must_use = "the outcome decides what may be answered"]
pub(crate) struct Durable<T>(Option<Task<T>>);

impl<T> Future for Durable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.0.as_mut() {
            Some(task) => Pin::new(task).poll(context),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Durable<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

/// Does the work and then drops what tells that it is done.
async fn until_written(work: impl Future<Output = ()>, ended: async_channel::Sender<()>) {
    work.await;
    drop(ended);
}

/// The store's clock as this process knows it: what it showed last, counted on by the monotonic clock.
#[derive(Clone)]
pub(crate) struct StoreClock(Arc<Mutex<(Timestamp, std::time::Instant)>>);

/// How long the store's clock is counted on before it is asked for again: a tenth of it is less than the skew.
const STORE_CLOCK_AGE_MAX: Duration = Duration::from_secs(10);

impl StoreClock {
    #[allow(clippy::disallowed_methods)] // leases are counted from here
    fn asked() -> std::time::Instant {
        std::time::Instant::now()
    }

    /// Asks the store for its time, and counts on from the moment before it was asked: a process that was stopped
    /// before it heard the answer must not write leases that end too early. An answer that took long is not taken,
    /// for leases would end too late by as much.
    pub(crate) async fn ask(&self, store: &dyn Store) -> Result<Timestamp> {
        for _ in 0..3 {
            let asked = StoreClock::asked();
            let now = store.now().await?;
            if asked.elapsed() <= STORE_CLOCK_AGE_MAX {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (now, asked);
                return Ok(now);
            }
        }
        Err(Error::Unavailable("the store is slow to tell the time".into()))
    }

    fn start(now: Timestamp, asked: std::time::Instant) -> StoreClock {
        StoreClock(Arc::new(Mutex::new((now, asked))))
    }

    fn is_old(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.elapsed() > STORE_CLOCK_AGE_MAX
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (shown, at) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown + at.elapsed()
    }
}

/// The system's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
}

#[allow(clippy::disallowed_methods)] // the one look at the wall clock in this crate
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
