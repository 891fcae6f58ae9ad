//! Tests of the facade with everything under it: real files, rows in memory, faults in both.
#![allow(clippy::disallowed_methods)] // files are given times in the past

mod accept;
mod blobs;
mod check;
mod crash;
mod folders;
mod format;
mod local;
mod open;
mod queue;
mod rotation;
mod s3;
mod views;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_lite::future::block_on;
use protocol_core::Timestamp;

use crate::error::{Error, Result};
use crate::objects::{Blobs, Listed, LocalBlobs, ObjectKey, Source};
use crate::testing::TempDir;
use crate::*;

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Says whether an operation on objects fails: its name, and the object.
pub(crate) type BlobFault = Box<dyn FnMut(&'static str, Option<ObjectKey>) -> Result<()> + Send>;

/// Blobs that fail when told to, before anything is done.
pub(crate) struct FaultyBlobs {
    inner: Arc<dyn Blobs>,
    fault: Mutex<Option<BlobFault>>,
}

impl FaultyBlobs {
    pub fn set_fault(&self, fault: Option<BlobFault>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn ask(&self, what: &'static str, key: Option<ObjectKey>) -> Result<()> {
        self.fault.lock().unwrap().as_mut().map_or(Ok(()), |fault| fault(what, key))
    }
}

#[async_trait::async_trait]
impl Blobs for FaultyBlobs {
    async fn put(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()> {
        self.ask("put", Some(key))?;
        self.inner.put(key, source).await?;
        self.ask("put done", Some(key))
    }
    async fn replace(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()> {
        self.ask("replace", Some(key))?;
        self.inner.replace(key, source).await
    }
    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
        self.ask("read", Some(key))?;
        self.inner.read(key, offset, len).await
    }
    async fn confirm(&self, keys: &[ObjectKey]) -> Result<()> {
        self.ask("confirm", keys.first().copied())?;
        self.inner.confirm(keys).await
    }
    async fn delete(&self, keys: &[ObjectKey]) -> Result<()> {
        self.ask("delete", keys.first().copied())?;
        self.inner.delete(keys).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.ask("list", None)?;
        self.inner.list(prefix).await
    }
    async fn newest(&self, n: usize) -> Result<Vec<Listed>> {
        self.ask("newest", None)?;
        self.inner.newest(n).await
    }
}

/// Objects in a map, so that tests can change their octets.
#[derive(Default)]
pub(crate) struct MemoryBlobs(pub Mutex<BTreeMap<ObjectKey, Vec<u8>>>);

#[async_trait::async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, key: ObjectKey, mut source: Box<dyn Source>) -> Result<()> {
        let mut octets = Vec::new();
        while let Some(piece) = source.next()? {
            octets.extend(piece);
        }
        self.0.lock().unwrap().insert(key, octets);
        Ok(())
    }
    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
        let map = self.0.lock().unwrap();
        let octets = map.get(&key).ok_or(Error::NotFound)?;
        let start = (offset as usize).min(octets.len());
        let end = start.saturating_add(len).min(octets.len());
        Ok((octets[start..end].to_vec(), octets.len() as u64))
    }
    async fn delete(&self, keys: &[ObjectKey]) -> Result<()> {
        let mut map = self.0.lock().unwrap();
        keys.iter().for_each(|key| drop(map.remove(key)));
        Ok(())
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let modified = SystemTime::now();
        let map = self.0.lock().unwrap();
        let named = map.iter().filter(|(key, _)| key.to_string().starts_with(prefix));
        Ok(named
            .map(|(key, octets)| Listed { key: *key, len: octets.len() as u64, modified, confirmed: None })
            .collect())
    }
    async fn newest(&self, _: usize) -> Result<Vec<Listed>> {
        self.list("msg/").await
    }
}

/// An installation with one organisation and one mailbox.
pub(crate) struct World {
    pub dir: TempDir,
    pub store: Arc<MemoryStore>,
    pub local: LocalBlobs,
    pub blobs: Arc<FaultyBlobs>,
    pub storage: Storage,
    pub org: Org,
    pub mailbox: Mailbox,
}

pub(crate) const MASTER: [u8; 32] = [0x11; 32];
pub(crate) const NOW: Timestamp = Timestamp(1_795_433_195_000);

impl World {
    pub fn new() -> World {
        let dir = TempDir::new();
        let store = Arc::new(MemoryStore::new());
        store.set_now(Some(NOW));
        let local = LocalBlobs::open(&dir.path().join("objects")).unwrap();
        let blobs = Arc::new(FaultyBlobs { inner: Arc::new(local.clone()), fault: Mutex::new(None) });
        let storage = open(&dir, &store, &blobs);
        let org = block_on(storage.create_org("acme")).unwrap();
        let domain = Domain { name: "example.com".into(), org: org.id, settings: DomainSettings::default() };
        block_on(store.add_domain(&domain)).unwrap();
        let mailbox = add_mailbox(&store, &org, "alice@example.com", None);
        World { dir, store, local, blobs, storage, org, mailbox }
    }

    /// The same rows and objects under a new process.
    pub fn reopen(&mut self) {
        self.storage = open(&self.dir, &self.store, &self.blobs);
    }

    /// The same rows with objects elsewhere.
    pub fn reopen_with(&mut self, inner: Arc<dyn Blobs>) {
        self.blobs = Arc::new(FaultyBlobs { inner, fault: Mutex::new(None) });
        self.reopen();
    }

    pub fn folder_id(&self, name: &str) -> FolderId {
        let folders = block_on(self.store.folders(self.mailbox.id)).unwrap();
        folders.iter().find(|folder| folder.name == name).unwrap().id
    }

    pub fn deliver(&self, prefix: &str) -> Deliver {
        deliver(&self.mailbox, prefix)
    }

    pub fn accept_of(&self, deliveries: Vec<Deliver>) -> Accept {
        Accept {
            sender: "bob@example.org".into(),
            recipients: vec!["alice@example.com".into()],
            // Not too long ago to be queued again.
            received: crate::facade::now(),
            deliveries,
            ..Accept::default()
        }
    }

    pub fn accept(&self, text: &str) -> Result<Vec<Placed>> {
        let accept = self.accept_of(vec![self.deliver("")]);
        block_on(self.storage.accept(&Spool::from_bytes(text.as_bytes().to_vec()), accept))
    }

    pub fn queue(&self, text: &str, jobs: usize) -> Result<Vec<NewJob>> {
        let message = MessageId::random();
        let jobs: Vec<NewJob> = (0..jobs).map(|n| job(self.org.id, message, &format!("d{n}.test"))).collect();
        let queued = Queued { org: self.org.id, message, prefix: b"X: y\r\n".to_vec(), skip: Vec::new() };
        let accept = Accept { queued: Some(queued), jobs: jobs.clone(), ..self.accept_of(Vec::new()) };
        block_on(self.storage.accept(&Spool::from_bytes(text.as_bytes().to_vec()), accept)).map(|_| jobs)
    }

    pub fn read(&self, message: MessageId) -> Result<Vec<u8>> {
        block_on(async {
            self.storage.open_message(self.org.id, self.mailbox.id, message).await?.read_all().await
        })
    }

    pub fn objects(&self) -> Vec<ObjectKey> {
        let mut keys: Vec<_> = block_on(self.local.list("msg/")).unwrap().iter().map(|o| o.key).collect();
        keys.sort();
        keys
    }

    pub fn path(&self, key: ObjectKey) -> std::path::PathBuf {
        self.dir.path().join("objects").join(key.to_string())
    }

    pub fn make_old(&self, key: ObjectKey) {
        let file = std::fs::File::options().write(true).open(self.path(key)).unwrap();
        file.set_modified(SystemTime::now() - LEFTOVER_AGE - Duration::from_secs(60)).unwrap();
    }
}

fn open(dir: &TempDir, store: &Arc<MemoryStore>, blobs: &Arc<FaultyBlobs>) -> Storage {
    let parts = Parts {
        store: store.clone(),
        blobs: blobs.clone(),
        keys: Keys::from_master(&MASTER),
        spool_dir: dir.path().join("spool"),
        spool_limit: 64 * 1024 * 1024,
        alone: true,
        parsed_parts: false,
    };
    block_on(Storage::from_parts(parts)).unwrap()
}

/// A mailbox without the cost of hashing a password.
pub(crate) fn add_mailbox(store: &MemoryStore, org: &Org, address: &str, quota: Option<u64>) -> Mailbox {
    let mailbox = Mailbox {
        id: MailboxId::random(),
        org: org.id,
        address: address.into(),
        name: String::new(),
        quota_bytes: quota,
        used_bytes: 0,
        disabled: false,
        admin: false,
        told: false,
    };
    let record = PasswordRecord { argon2: String::new(), scram_sealed: Vec::new() };
    block_on(store.create_mailbox(&mailbox, &record, NOW)).unwrap();
    mailbox
}

pub(crate) fn deliver(mailbox: &Mailbox, prefix: &str) -> Deliver {
    Deliver {
        org: mailbox.org,
        mailbox: mailbox.id,
        message: MessageId::random(),
        prefix: prefix.as_bytes().to_vec(),
        skip: Vec::new(),
        folder: FolderTarget::Use(SpecialUse::Inbox),
        flags: NamedFlags::default(),
        internal_date: NOW,
        meta: b"structure".to_vec(),
        check_quota: true,
        told: None,
    }
}

pub(crate) fn job(org: OrgId, message: MessageId, domain: &str) -> NewJob {
    NewJob {
        id: JobId::random(),
        org,
        message,
        size: 0,
        sender: "alice@example.com".into(),
        domain: domain.into(),
        recipients: vec![JobRecipient::new(format!("bob@{domain}"))],
        envid: None,
        ret: None,
        eight_bit: false,
        binary: false,
        smtputf8: false,
        require_tls: false,
        is_dsn: false,
        created: NOW,
        start: NOW,
        due: NOW,
        deliver_by: None,
        counted: None,
        logged: false,
        trace: None,
    }
}

/// What became of a job's first recipient.
pub(crate) fn record(job: &Job, state: RecipientState) -> DeliveryRecord {
    DeliveryRecord {
        recipient: job.spec.recipients[0].address.clone(),
        state,
        host: None,
        reply: "250 ok".into(),
        tls: "plaintext".into(),
        attempt: 1,
        in_doubt: false,
        at_ms: NOW.0,
        event: JobEvent::Attempted,
    }
}
