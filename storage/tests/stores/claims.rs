//! Many workers, one queue.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use storage::*;

use crate::support::*;

pub async fn q1_no_job_is_claimed_twice(store: S) {
    const WORKERS: usize = 4;
    const JOBS: usize = 200;
    let org = org(&store, "org").await;
    queue(&store, (0..JOBS).map(|_| job(org, at(10), &["a@example.net"])).collect()).await;
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let threads: Vec<_> = (0..WORKERS)
        .map(|n| {
            let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
            std::thread::spawn(move || block_on(work(store, &format!("w{n}"), &seen)))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), JOBS);
    assert!(store.list_jobs(1).await.unwrap().is_empty());
}

async fn work(store: S, owner: &str, seen: &Mutex<HashSet<JobId>>) {
    loop {
        let jobs = store.claim_jobs(owner, at(20), secs(60), secs(5), 7).await.unwrap();
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            assert!(seen.lock().unwrap().insert(job.spec.id), "claimed twice");
            let done =
                JobUpdate { recipients: job.spec.recipients.clone(), attempts: 1, ..JobUpdate::default() };
            store.save_job(fence(&job), done, at(21)).await.unwrap();
        }
    }
}
