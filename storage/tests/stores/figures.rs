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

    for batch in [1, 10, 50] {
        measure_queue(&store, org, batch, scale * 10 / batch).await;
    }
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

/// Jobs in batches on their shortest way: queued and claimed, the dot announced, the result written.
async fn measure_queue(store: &S, org: OrgId, batch: usize, rounds: usize) {
    let mut spent = [std::time::Duration::ZERO; 3];
    for _ in 0..rounds {
        let claim = Claim { owner: "w".into(), lease: secs(60) };
        let jobs: Vec<NewJob> = (0..batch).map(|_| job(org, at(1), &["a@example.net"])).collect();
        let held: Vec<Job> = jobs.iter().filter_map(|job| claim.of(job, at(1))).collect();
        let commits = jobs.into_iter().map(|job| Commit {
            jobs: vec![job],
            claim: Some(claim.clone()),
            at: at(1),
            ..Commit::default()
        });
        let commits = commits.collect();
        let start = Instant::now();
        assert!(store.commit_batch(commits).await.iter().all(|answer| answer.is_ok()));
        spent[0] += start.elapsed();
        let dot = |job| (fence(job), JobWrite::Dot { recipients: vec![0], lease: secs(60) });
        let done = |job: &Job| {
            let delivered = delivery("a@example.net", RecipientState::Delivered, 1, at(3));
            let recipients = job.spec.recipients.clone();
            let update =
                JobUpdate { recipients, attempts: 1, deliveries: vec![delivered], ..JobUpdate::default() };
            (fence(job), JobWrite::Save(Box::new(update)))
        };
        let (dots, results) = (held.iter().map(dot).collect(), held.iter().map(done).collect());
        let start = Instant::now();
        assert!(store.write_jobs(dots, at(2)).await.iter().all(|answer| answer.is_ok()));
        spent[1] += start.elapsed();
        let start = Instant::now();
        assert!(store.write_jobs(results, at(3)).await.iter().all(|answer| answer.is_ok()));
        spent[2] += start.elapsed();
    }
    let now = Instant::now();
    for (what, spent) in ["queued and claimed", "dots announced", "results written"].iter().zip(spent) {
        rate(&format!("{what} in batches of {batch}"), rounds * batch, now - spent);
    }
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

/// Resident memory of this process in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// A queue of `INBOX_QUEUED_JOBS` jobs (of a thousand organisations), opened by a process of its own: how long it
/// takes to the first jobs in hand, and how much memory.
#[test]
fn q14_a_long_queue_is_no_longer_to_open() {
    if let Some(path) = std::env::var_os("INBOX_Q14_OPEN") {
        return block_on(open_and_claim(std::path::PathBuf::from(path)));
    }
    let asked = std::env::var("INBOX_QUEUED_JOBS").ok().and_then(|n| n.parse::<usize>().ok());
    let (count, directory) = (asked.unwrap_or(2_000), Directory::new());
    block_on(async {
        let store: S = Arc::new(SurrealStore::open(directory.options()).await.unwrap());
        let orgs: Vec<OrgId> = (0..1_000).map(|_| OrgId::random()).collect();
        for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
            let jobs = chunk.iter().map(|n| {
                let spec = job(orgs[n % orgs.len()], at(1), &["a@example.net"]);
                NewJob { domain: format!("d{}.example", n % 977), ..spec }
            });
            queue(&store, jobs.collect()).await;
        }
        store.close().await;
    });
    let test = "figures::q14_a_long_queue_is_no_longer_to_open";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("INBOX_Q14_OPEN", directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
    let figures = told.lines().find(|line| line.contains("jobs in hand")).unwrap_or_default();
    assert!(!figures.is_empty(), "{told}");
    if asked.is_some() {
        println!("{count} jobs queued: {figures}");
    }
}

async fn open_and_claim(path: std::path::PathBuf) {
    let start = Instant::now();
    let options = SurrealOptions::at(format!("surrealkv://{}", path.display()));
    let store: S = Arc::new(SurrealStore::open(options).await.unwrap());
    let opened = start.elapsed();
    let first = store.claim_jobs("w", at(2), secs(60), secs(1), 100).await.unwrap();
    let claimed = start.elapsed();
    assert_eq!(first.len(), 100);
    assert!(claimed.as_secs() < 10, "opened after {opened:?}, claimed after {claimed:?}");
    let orgs: std::collections::HashSet<OrgId> = first.iter().map(|job| job.spec.org).collect();
    println!(
        "100 jobs in hand of {} organisations after {claimed:.1?} (opened after {opened:.1?}), {} MiB resident",
        orgs.len(),
        resident_mib()
    );
    store.close().await;
}
