//! What only a database in files can show, and how opening one fails.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use storage::*;

use crate::support::{Directory, *};

async fn open(directory: &Directory) -> S {
    Arc::new(SurrealStore::open(directory.options()).await.unwrap())
}

#[test]
fn everything_is_there_after_reopening() {
    let directory = Directory::new();
    block_on(async {
        let store = open(&directory).await;
        let alice = alice(&store).await;
        let placed = fill(&store, alice.id, 20).await;
        let inbox = placed[0].folder;
        store.set_flags(inbox, &[3, 4], FlagOp::Add, &flags(Flags::DELETED, &["k"]), None).await.unwrap();
        store.expunge(inbox, &[3]).await.unwrap();
        queue(&store, vec![job(alice.org, at(10), &["a@example.net"])]).await;
        let claimed = store.claim_jobs("w", at(10), secs(60), secs(5), 1).await.unwrap();
        let before = (store.load_folder(inbox).await.unwrap(), store.meta(inbox, 1..=20).await.unwrap());
        let (jobs, due) = (store.list_jobs(9).await.unwrap(), store.next_due().await.unwrap());
        store.close().await;
        assert!(matches!(store.ping().await, Err(Error::Unavailable(_))));
        drop(store);

        let store = open(&directory).await;
        store.ping().await.unwrap();
        let after = (store.load_folder(inbox).await.unwrap(), store.meta(inbox, 1..=20).await.unwrap());
        assert_eq!(after, before);
        assert_eq!((store.list_jobs(9).await.unwrap(), store.next_due().await.unwrap()), (jobs, due));
        store.release_job(fence(&claimed[0]), at(30)).await.unwrap();
        assert_eq!(fill(&store, alice.id, 1).await[0].row.uid, 21);
        store.close().await;
    });
}

#[test]
fn a_store_that_was_not_closed_loses_nothing() {
    let directory = Directory::new();
    block_on(async {
        let store = open(&directory).await;
        let alice = alice(&store).await;
        fill(&store, alice.id, 5).await;
        // The files as a crash would leave them: copied while the store is open.
        let copy = Directory::new();
        copy_files(&directory.path(), &copy.path());
        let crashed = open(&copy).await;
        assert_eq!(crashed.load_folder(folder(&store, alice.id, "INBOX").await.id).await.unwrap().1.len(), 5);
        crashed.close().await;
        store.close().await;
    });
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target);
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn open_error(options: SurrealOptions) -> DatabaseOpenError {
    match SurrealStore::open(options).await {
        Ok(_) => panic!("the database was opened"),
        Err(error) => error,
    }
}

#[test]
fn opening_fails_with_a_reason() {
    let directory = Directory::new();
    block_on(async {
        for url in ["", "mysql://x", "surrealkv://", "ws://", "data/db", "mem://x"] {
            assert_eq!(open_error(SurrealOptions::at(url)).await, DatabaseOpenError::Url(url.into()));
        }
        let store = open(&directory).await;
        let second = open_error(directory.options()).await;
        assert_eq!(second, DatabaseOpenError::InUse(directory.path()));
        store.close().await;

        let file = directory.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let below = SurrealOptions::at(format!("surrealkv://{}/db", file.display()));
        assert!(matches!(open_error(below).await, DatabaseOpenError::NotWritable(..)));

        let nobody = open_error(SurrealOptions::at("ws://127.0.0.1:9")).await;
        assert!(matches!(nobody, DatabaseOpenError::Connect(..)), "{nobody:?}");
    });
}

#[test]
fn a_directory_without_permission_is_named() {
    let directory = Directory::new();
    let path = directory.path();
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not hold back the superuser.
    if std::fs::write(path.join("probe"), b"").is_ok() {
        return;
    }
    let error = block_on(open_error(directory.options()));
    assert!(matches!(error, DatabaseOpenError::NotWritable(named, _) if named == path));
}

#[test]
fn sc6_damaged_files_are_reported() {
    let directory = Directory::new();
    block_on(async {
        let store = open(&directory).await;
        alice(&store).await;
        store.close().await;
    });
    // The manifest says which tables there are.
    let manifest = directory.path().join("manifest");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&manifest).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    let error = block_on(open_error(directory.options()));
    assert!(matches!(error, DatabaseOpenError::Damaged(..)), "{error:?}");
}

#[test]
fn an_older_schema_is_brought_up_with_its_rows() {
    let directory = Directory::new();
    block_on(async {
        let store = open(&directory).await;
        let alice = alice(&store).await;
        let before = store.list_domains().await.unwrap();
        store.close().await;
        let older = SurrealStore::open(directory.options()).await.unwrap();
        older.set_schema_version(1).await.unwrap();
        older.close().await;
        let store = open(&directory).await;
        assert_eq!(store.mailbox(alice.id).await.unwrap(), alice);
        assert_eq!(store.list_domains().await.unwrap(), before);
        let settings = DomainSettings { dkim_old_until: Some(7), ..DomainSettings::default() };
        store.set_domain(&before[0].name, &settings).await.unwrap();
        assert_eq!(store.domain(&before[0].name).await.unwrap().settings, settings);
        let policy = StoredPolicy {
            domain: "example.net".into(),
            text: "text".into(),
            fetched: at(1),
            refresh: at(2),
            expires: at(3),
        };
        store.put_policy(&policy).await.unwrap();
        assert_eq!(store.policy("example.net").await.unwrap(), Some(policy));
        let key = crate::api::key(alice.org, "made by this version");
        store.add_api_key(&key).await.unwrap();
        let logged = NewJob { logged: true, ..job(alice.org, at(1), &["a@example.net"]) };
        queue(&store, vec![job(alice.org, at(0), &["a@example.net"]), logged]).await;
        store.close().await;
        let store = open(&directory).await;
        assert_eq!(store.api_key(key.id).await.unwrap(), key);
        assert_eq!(store.log_end(alice.org).await.unwrap(), 1);
        let logged = store.list_jobs(9).await.unwrap().iter().map(|job| job.spec.logged).collect::<Vec<_>>();
        assert_eq!(logged.iter().filter(|logged| **logged).count(), 1);
        store.close().await;
    });
}

#[test]
fn what_was_due_under_an_older_schema_is_due_still() {
    let directory = Directory::new();
    block_on(async {
        let store = SurrealStore::open(directory.options()).await.unwrap();
        let store: S = Arc::new(store);
        let (one, two) = (org(&store, "one").await, org(&store, "two").await);
        let jobs = [job(one, at(10), &["a@example.net"]), job(two, at(20), &["b@example.net"])];
        queue(&store, jobs.to_vec()).await;
        queue(&store, vec![job(one, at(5), &["leased@example.net"])]).await;
        let leased = store.claim_jobs("w", at(6), secs(60), secs(5), 1).await.unwrap().remove(0);
        store.close().await;
        drop(store);
        let older = SurrealStore::open(directory.options()).await.unwrap();
        older.due_as_in_version_3().await.unwrap();
        older.close().await;

        let store = open(&directory).await;
        assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
        let mut claimed: Vec<JobId> = store
            .claim_jobs("v", at(30), secs(60), secs(5), 9)
            .await
            .unwrap()
            .iter()
            .map(|j| j.spec.id)
            .collect();
        claimed.sort();
        let mut expected = vec![jobs[0].id, jobs[1].id];
        expected.sort();
        assert_eq!(claimed, expected, "the leased one is not due yet");
        let late = store.claim_jobs("v", at(72), secs(60), secs(5), 9).await.unwrap();
        assert_eq!((late.len(), late[0].spec.id, late[0].epoch), (1, leased.spec.id, 2));
        store.close().await;
    });
}

#[test]
fn jobs_of_an_older_schema_are_the_same_jobs() {
    let directory = Directory::new();
    block_on(async {
        let store = open(&directory).await;
        let org = org(&store, "one").await;
        let queued = job(org, at(10), &["a@example.net", "b@example.net"]);
        let jobs = vec![queued.clone(), job(org, at(5), &["leased@example.net"])];
        queue(&store, jobs).await;
        let leased = store.claim_jobs("w", at(6), secs(60), secs(5), 1).await.unwrap().remove(0);
        let announced = store.dot_sent(fence(&leased), &[0], at(7), secs(60)).await;
        announced.unwrap();
        let before = [store.job(queued.id).await.unwrap(), store.job(leased.spec.id).await.unwrap()];
        store.close().await;
        drop(store);
        let older = SurrealStore::open(directory.options()).await.unwrap();
        older.jobs_as_in_version_7().await.unwrap();
        older.close().await;

        let store = open(&directory).await;
        let after = [store.job(queued.id).await.unwrap(), store.job(leased.spec.id).await.unwrap()];
        assert_eq!(before, after);
        let mut all = store.queued_messages().await.unwrap();
        all.sort();
        let mut expected = vec![(org, queued.message), (org, leased.spec.message)];
        expected.sort();
        assert_eq!(all, expected);
        let claimed = store.claim_jobs("v", at(30), secs(60), secs(5), 9).await.unwrap();
        assert_eq!((claimed.len(), claimed[0].spec.id), (1, queued.id));
        let done = |job: &Job| JobUpdate {
            recipients: job.spec.recipients.clone(),
            attempts: 1,
            ..JobUpdate::default()
        };
        store.save_job(fence(&claimed[0]), done(&claimed[0]), at(31)).await.unwrap();
        store.save_job(fence(&leased), done(&leased), at(31)).await.unwrap();
        assert!(store.queued_messages().await.unwrap().is_empty());
        store.close().await;
    });
}

#[test]
fn a_newer_schema_stops_the_start() {
    let directory = Directory::new();
    block_on(async {
        let store = SurrealStore::open(directory.options()).await.unwrap();
        store.set_schema_version(77).await.unwrap();
        store.close().await;
        let error = open_error(directory.options()).await;
        assert!(matches!(error, DatabaseOpenError::Newer(77, ours) if ours < 77), "{error:?}");
        assert!(error.to_string().contains("newer version"));
    });
}
