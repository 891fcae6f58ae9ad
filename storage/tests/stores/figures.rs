//! How fast, printed when `INBOX_STORE_FIGURES` is set; what they did is checked in any case.

use std::sync::Arc;
use std::time::Instant;

use storage::*;

use crate::support::{Directory, *};

fn rate(what: &str, count: usize, since: Instant) {
    if std::env::var_os("INBOX_STORE_FIGURES").is_some() {
        let secs = since.elapsed().as_secs_f64();
        println!("{what}: {:.0}/s ({count} in {:.1} ms)", count as f64 / secs, secs * 1e3);
    }
}

async fn measure(store: S, scale: usize) {
    let org = org(&store, "org").await;
    domain(&store, org, "example.test").await;
    let mut boxes = Vec::new();
    for n in 0..50 {
        boxes.push(mailbox(&store, org, &format!("m{n}@example.test")).await.id);
    }
    let start = Instant::now();
    for _ in 0..scale * 2 {
        store.ping().await.unwrap();
    }
    rate("smallest transactions", scale * 2, start);
    let start = Instant::now();
    for n in 0..scale * 2 {
        assert_eq!(store.folders(boxes[n % boxes.len()]).await.unwrap().len(), 6);
    }
    rate("reads of a mailbox and its six folders", scale * 2, start);
    for batch in [1usize, 10, 50] {
        let rounds = scale * 20 / batch + 1;
        let start = Instant::now();
        for _ in 0..rounds {
            let commits =
                (0..batch).map(|n| commit(vec![row(boxes[n % boxes.len()], inbox(), 100)])).collect();
            assert!(store.commit_batch(commits).await.iter().all(|answer| answer.is_ok()));
        }
        rate(&format!("commits in batches of {batch}"), rounds * batch, start);
    }
    let batch = 500;
    let start = Instant::now();
    for _ in 0..scale * 100 / batch {
        let commits = (0..batch).map(|_| commit(vec![row(boxes[0], inbox(), 100)])).collect();
        assert!(store.commit_batch(commits).await.iter().all(|answer| answer.is_ok()));
    }
    rate("commits to one mailbox in batches of 500", scale * 100 / batch * batch, start);
    let folder = folder(&store, boxes[0], "INBOX").await;
    let start = Instant::now();
    let (_, rows) = store.load_folder(folder.id).await.unwrap();
    assert_eq!(rows.len(), folder.messages as usize);
    rate("rows of a folder loaded", rows.len(), start);
    let start = Instant::now();
    let meta = store.meta(folder.id, 1..=1000).await.unwrap();
    rate("meta of rows loaded", meta.len(), start);
    let uids: Vec<u32> = rows.iter().take(1000).map(|row| row.uid).collect();
    let start = Instant::now();
    let changed =
        store.set_flags(folder.id, &uids, FlagOp::Add, &flags(Flags::SEEN, &[]), None).await.unwrap();
    rate("rows flagged at once", changed.changed.len(), start);
    let start = Instant::now();
    for uid in uids.iter().take(scale) {
        store.set_flags(folder.id, &[*uid], FlagOp::Add, &flags(Flags::FLAGGED, &[]), None).await.unwrap();
    }
    rate("rows flagged one by one", scale.min(uids.len()), start);

    let jobs = scale * 10;
    let start = Instant::now();
    for chunk in (0..jobs).collect::<Vec<_>>().chunks(50) {
        let commits = chunk.iter().map(|_| Commit {
            rows: vec![],
            jobs: vec![job(org, at(1), &["a@example.net"])],
            ..Commit::default()
        });
        assert!(store.commit_batch(commits.collect()).await.iter().all(|answer| answer.is_ok()));
    }
    rate("jobs queued in batches of 50", jobs, start);
    let start = Instant::now();
    let mut done = 0;
    let mut claiming = std::time::Duration::ZERO;
    loop {
        let claim = Instant::now();
        let claimed = store.claim_jobs("w", at(2), secs(60), secs(1), 100).await.unwrap();
        claiming += claim.elapsed();
        if claimed.is_empty() {
            break;
        }
        done += claimed.len();
        let saves = claimed.iter().map(|job| {
            let recipients = job.spec.recipients.clone();
            let update = JobUpdate { recipients, attempts: 1, ..JobUpdate::default() };
            store.save_job(fence(job), update, at(3))
        });
        for save in saves {
            save.await.unwrap();
        }
    }
    assert_eq!(done, jobs);
    rate("of these, claims", jobs, Instant::now() - claiming);
    rate("jobs claimed by the hundred and saved one by one", jobs, start);
}

#[test]
fn figures() {
    let asked = std::env::var("INBOX_STORE_FIGURES").ok();
    let directory = Directory::new();
    // `memory` leaves the disk out of the figures.
    let options =
        if asked.as_deref() == Some("memory") { SurrealOptions::memory() } else { directory.options() };
    block_on(async {
        let store: S = Arc::new(SurrealStore::open(options).await.unwrap());
        measure(store.clone(), if asked.is_some() { 100 } else { 5 }).await;
        store.close().await;
    });
}
