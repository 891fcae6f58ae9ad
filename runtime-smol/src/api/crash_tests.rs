//! A client that hears no answer asks again under the same key, whatever the server died of in between: at every step
//! of storage, before it and after it, there is one message in the end, and one ID.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use api_message::Request;
use storage::simulated::{engine, memory_rows};
use storage::{
    Alias, Blobs, Domain, DomainSettings, Error, Fault, Keys, Listed, LocalBlobs, Mailbox, MailboxId,
    MemoryRows, MessageId, ObjectKey, OrgId, Parts, PasswordRecord, Result, Scopes, Source, Storage,
};

use super::auth::Caller;
use super::error::{ApiError, Code};
use super::send::send;
use crate::app::App;
use crate::config::{self, Profile, Sources};
use crate::task::block_on;
use crate::world::Dir;

/// Lets so many steps pass; from then on the process is dead, and nothing more is done. What is under way then was
/// done or not, as the fault says.
#[derive(Clone)]
struct Fuse {
    left: Arc<AtomicUsize>,
    dead: Arc<AtomicBool>,
    fault: Fault,
}

impl Fuse {
    fn new(steps: usize, fault: Fault) -> Fuse {
        Fuse { left: Arc::new(AtomicUsize::new(steps)), dead: Arc::default(), fault }
    }

    /// What becomes of the next step; none: it is done.
    fn step(&self) -> Option<Fault> {
        let burn = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn) {
            Ok(_) => None,
            Err(_) if !self.dead.swap(true, Ordering::SeqCst) => Some(self.fault),
            Err(_) => Some(Fault::Before),
        }
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

fn died() -> Error {
    Error::Unavailable("the process is dead".into())
}

/// Objects in files, until the process dies.
struct Mortal(LocalBlobs, Option<Fuse>);

impl Mortal {
    async fn change<T: Default>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.1.as_ref().and_then(Fuse::step) {
            None => work.await,
            Some(Fault::Before) => Err(died()),
            Some(Fault::After) => work.await.and(Err(died())),
        }
    }
}

#[async_trait::async_trait]
impl Blobs for Mortal {
    async fn put(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()> {
        self.change(self.0.put(key, source)).await
    }
    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
        self.0.read(key, offset, len).await
    }
    async fn confirm(&self, keys: &[ObjectKey]) -> Result<()> {
        self.change(self.0.confirm(keys)).await
    }
    async fn marks_from_the_start(&self) -> bool {
        self.0.marks_from_the_start().await
    }
    async fn delete(&self, keys: &[ObjectKey]) -> Result<()> {
        self.change(self.0.delete(keys)).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.0.list(prefix).await
    }
    async fn newest(&self, n: usize) -> Result<Vec<Listed>> {
        self.0.newest(n).await
    }
}

/// What outlives a process.
struct Lasting {
    dir: Dir,
    rows: MemoryRows,
    org: OrgId,
    bob: MailboxId,
}

impl Lasting {
    fn new() -> Lasting {
        let (dir, rows) = (Dir::new("api-crash"), memory_rows());
        let mut lasting =
            Lasting { dir, rows, org: OrgId(storage::Id([0; 16])), bob: MailboxId(storage::Id([0; 16])) };
        let app = lasting.process(None);
        block_on(async {
            let store = app.storage.store();
            lasting.org = app.storage.create_org("acme").await.unwrap().id;
            let (org, settings) = (lasting.org, DomainSettings::default());
            store.add_domain(&Domain { name: "a.test".into(), org, settings }).await.unwrap();
            let bob = Mailbox {
                id: MailboxId::random(),
                org,
                address: "bob@a.test".into(),
                name: String::new(),
                quota_bytes: None,
                used_bytes: 0,
                disabled: false,
                admin: false,
                told: true,
            };
            let password = PasswordRecord { argon2: String::new(), scram_sealed: Vec::new() };
            store.create_mailbox(&bob, &password, app.storage.store_now()).await.unwrap();
            let targets = vec!["x@forwarded.test".into(), "bob@a.test".into()];
            store.add_alias(&Alias { address: "all@a.test".into(), org, targets }).await.unwrap();
            lasting.bob = bob.id;
        });
        lasting
    }

    /// A process on it, which dies when the fuse burns down.
    fn process(&self, fuse: Option<&Fuse>) -> App {
        let path: &Path = self.dir.path();
        let store = engine(self.rows.clone());
        let burning = fuse.cloned();
        store.inject(burning.map(|fuse| -> storage::FaultHook { Box::new(move |_| fuse.step()) }));
        let parts = Parts {
            store: Arc::new(store),
            blobs: Arc::new(Mortal(LocalBlobs::open(&path.join("objects")).unwrap(), fuse.cloned())),
            keys: Keys::from_master(&[7; storage::KEY_LEN]),
            spool_dir: path.join("spool"),
            spool_limit: 1 << 20,
            alone: true,
            parsed_parts: false,
        };
        let sources = Sources {
            data_dir: Some(path.to_owned()),
            env_file: None,
            profile: Profile::Quickstart { deliver: false },
            environment: vec![("DNS_RESOLVERS".into(), "127.0.0.1:1".into())],
        };
        let config = config::load(&sources).unwrap().config;
        App::open(Arc::new(config), block_on(Storage::from_parts(parts)).unwrap()).unwrap()
    }

    fn ask(&self, app: &App, subject: &str) -> std::result::Result<MessageId, ApiError> {
        let caller = Caller {
            org: self.org,
            scopes: Scopes { send: true, read: true, ..Scopes::default() },
            key: None,
            mailbox: None,
            tls: true,
            origin: [127, 0, 0, 1].into(),
            proof: None,
            trace: None,
        };
        let request = Request {
            from: "me@a.test".into(),
            to: vec!["bob@a.test".into(), "all@a.test".into(), "x@far.test".into(), "y@away.test".into()],
            subject: Some(subject.into()),
            text: Some("text".into()),
            ..Request::default()
        };
        block_on(send(app, &caller, request, Some("key".into())))
    }

    /// One e-mail, one job for each destination, one copy for bob, and each of them told of once.
    fn assert_one(&self, app: &App, id: MessageId, when: &str) {
        block_on(async {
            let store = app.storage.store();
            let emails = store.emails(self.org, None, 10).await.unwrap();
            assert_eq!(emails.iter().map(|email| email.id).collect::<Vec<_>>(), [id], "{when}");
            let jobs = app.storage.list_jobs(10).await.unwrap();
            let mut domains: Vec<&str> = jobs.iter().map(|job| job.spec.domain.as_str()).collect();
            domains.sort_unstable();
            assert_eq!(domains, ["away.test", "far.test", "forwarded.test"], "{when}");
            assert!(jobs.iter().all(|job| job.spec.message == id), "{when}");
            assert_eq!(store.messages(self.bob).await.unwrap().len(), 1, "{when}");
            let log = store.log_after(self.org, 0, 100).await.unwrap();
            let numbers: Vec<u64> = log.iter().map(|row| row.number).collect();
            assert_eq!(numbers, (1..=log.len() as u64).collect::<Vec<_>>(), "{when}");
            let told: BTreeSet<String> =
                log.iter().map(|row| format!("{:?}", (row.job, &row.record))).collect();
            assert_eq!(told.len(), log.len(), "{when}: {log:?}");
            assert_eq!(log.iter().filter(|row| row.mailbox() == Some(self.bob)).count(), 1, "{when}");
            let report = app.storage.check(false).await.unwrap();
            assert!(report.is_clean(), "{when}: {report:?}");
        });
    }
}

#[test]
fn q8_a_request_that_is_repeated_after_a_crash_at_any_step_sends_one_message() {
    for fault in [Fault::Before, Fault::After] {
        for step in 0.. {
            let when = format!("{fault:?} at step {step}");
            let lasting = Lasting::new();
            let fuse = Fuse::new(step, fault);
            let app = lasting.process(Some(&fuse));
            let first = lasting.ask(&app, "one");
            drop(app);
            let app = lasting.process(None);
            let again = lasting.ask(&app, "one").unwrap_or_else(|e| panic!("{when}: {e:?}"));
            if let Ok(first) = first {
                assert_eq!(first, again, "{when}: it was answered");
            }
            lasting.assert_one(&app, again, &when);
            assert_eq!(lasting.ask(&app, "one"), Ok(again), "{when}");
            let other = lasting.ask(&app, "two").map_err(|error| error.code);
            assert_eq!(other, Err(Code::IdempotencyConflict), "{when}");
            lasting.assert_one(&app, again, &when);
            block_on(app.storage.close());
            if !fuse.is_dead() {
                assert!(step > 3, "there are steps to die at");
                break;
            }
            assert!(step < 100, "it never lives through");
        }
    }
}
