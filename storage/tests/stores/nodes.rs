//! Several nodes over one database: what one remembers, another has changed.

use std::sync::Arc;

use storage::*;

use crate::support::*;

const NODES: usize = 3;

fn commits_of(mailbox: MailboxId, n: usize) -> Vec<Commit> {
    (0..n).map(|_| commit(vec![row(mailbox, inbox(), 10)])).collect()
}

async fn two_nodes_take_turns(one: S, two: S) {
    let id = alice(&one).await.id;
    let mut uids = Vec::new();
    for n in 0..4 {
        let node = if n % 2 == 0 { &one } else { &two };
        uids.push(fill(node, id, 1).await[0].row.uid);
    }
    assert_eq!(uids, [1, 2, 3, 4]);
    // A folder that the other node made is no unknown folder, and space that it freed can be used.
    let made = two.create_folder(id, "new", None, at(5)).await.unwrap();
    assert_eq!(place(&one, vec![row(id, FolderTarget::Id(made.id), 1)]).await[0].folder, made.id);
    two.set_domain(
        "example.test",
        &DomainSettings { quota_mailbox_bytes: Some(500), ..DomainSettings::default() },
    )
    .await
    .unwrap();
    let full = two.commit_batch(vec![commit(vec![row(id, inbox(), 100)])]).await;
    assert_eq!(full, [Err(Refusal::OverQuota.into())]);
    let inbox_id = folder(&two, id, "INBOX").await.id;
    one.set_flags(inbox_id, &[1, 2], FlagOp::Add, &flags(Flags::DELETED, &[]), None).await.unwrap();
    one.expunge(inbox_id, &[1, 2]).await.unwrap();
    assert!(two.commit_batch(vec![commit(vec![row(id, inbox(), 100)])]).await[0].is_ok());
    assert_eq!(one.mailbox(id).await.unwrap().used_bytes, 301);
}

async fn q10_a_quota_is_exact(nodes: [S; NODES]) {
    let org = org(&nodes[0], "org").await;
    domain(&nodes[0], org, "example.test").await;
    let mailbox = Mailbox { quota_bytes: Some(300), ..new_mailbox(org, "alice@example.test") };
    nodes[0].create_mailbox(&mailbox, &password("p"), at(0)).await.unwrap();
    let id = mailbox.id;
    let threads: Vec<_> = nodes
        .iter()
        .map(|node| {
            let node = Arc::clone(node);
            std::thread::spawn(move || {
                block_on(async {
                    let mut accepted = 0;
                    for _ in 0..10 {
                        let answers = node.commit_batch(commits_of(id, 2)).await;
                        for answer in answers {
                            match answer {
                                Ok(_) => accepted += 1,
                                Err(why) => assert_eq!(why, Refusal::OverQuota.into()),
                            }
                        }
                    }
                    accepted
                })
            })
        })
        .collect();
    let accepted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let (info, rows) = nodes[1].load_folder(folder(&nodes[1], id, "INBOX").await.id).await.unwrap();
    assert_eq!((accepted, rows.len(), info.messages), (30, 30, 30));
    assert_eq!(nodes[2].mailbox(id).await.unwrap().used_bytes, 300);
    let uids: Vec<u32> = rows.iter().map(|row| row.uid).collect();
    assert_eq!(uids, (1..=30).collect::<Vec<_>>());
}

async fn q1_no_job_is_claimed_twice(nodes: [S; NODES]) {
    const JOBS: usize = 60;
    let org = org(&nodes[0], "org").await;
    queue(&nodes[0], (0..JOBS).map(|_| job(org, at(10), &["a@example.net"])).collect()).await;
    let threads: Vec<_> = nodes
        .into_iter()
        .enumerate()
        .map(|(n, node)| {
            std::thread::spawn(move || {
                block_on(async {
                    let mut claimed = Vec::new();
                    loop {
                        let jobs =
                            node.claim_jobs(&format!("n{n}"), at(20), secs(60), secs(5), 5).await.unwrap();
                        if jobs.is_empty() {
                            return claimed;
                        }
                        claimed.extend(jobs.iter().map(|job| (job.spec.id, job.epoch)));
                    }
                })
            })
        })
        .collect();
    let mut all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), all.iter().all(|(_, epoch)| *epoch == 1)), (JOBS, true));
}

/// A limit of 100, asked for 5 times 20 by each of three nodes, of which each takes what it can.
async fn q10_counters_are_exact(nodes: [S; NODES]) {
    let counter = CounterKey::window(CounterKind::Rate, "transfer 192.0.2.1".into(), 60, at(0));
    let charge =
        |counter: &CounterKey| Charge { counter: counter.clone(), amount: 1, limit: 100, quota: Quota::Rate };
    let threads: Vec<_> = nodes
        .iter()
        .map(|node| {
            let (node, counter) = (Arc::clone(node), counter.clone());
            std::thread::spawn(move || {
                block_on(async {
                    let mut counted = 0;
                    for _ in 0..20 {
                        let charges = (0..5).map(|_| charge(&counter)).collect();
                        let answers = node.count(charges).await.unwrap();
                        counted += answers.into_iter().filter(|counted| *counted).count();
                    }
                    counted
                })
            })
        })
        .collect();
    let counted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!((counted, nodes[0].counters(&[counter]).await.unwrap()), (100, vec![100]));
}

async fn q7_one_key_makes_one_job(nodes: [S; NODES]) {
    const CLIENTS: usize = 9;
    let org = org(&nodes[0], "org").await;
    let threads: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let node = Arc::clone(&nodes[n % NODES]);
            std::thread::spawn(move || {
                let spec = job(org, at(1), &["a@example.net"]);
                let key = Idempotency {
                    org,
                    key: "send-1".into(),
                    fingerprint: [7; 32],
                    answer: spec.id.to_string(),
                    expires: at(86_400),
                };
                let commit = Commit {
                    jobs: vec![spec.clone()],
                    idempotency: Some(key),
                    at: at(1),
                    ..Commit::default()
                };
                match block_on(node.commit_batch(vec![commit])).remove(0) {
                    Ok(_) => spec.id.to_string(),
                    Err(Error::Refused(Refusal::Repeated(answer))) => answer,
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut answers: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    answers.dedup();
    let jobs = nodes[1].list_jobs(9).await.unwrap();
    assert_eq!((answers.len(), jobs.len()), (1, 1));
    assert_eq!(answers[0], jobs[0].spec.id.to_string());
}

async fn one_name_for_one(nodes: [S; NODES]) {
    let threads: Vec<_> = nodes
        .iter()
        .map(|node| {
            let node = Arc::clone(node);
            std::thread::spawn(move || block_on(node.create_org("same", b"k", at(0))).is_ok())
        })
        .collect();
    let made = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|made| *made).count();
    assert_eq!((made, nodes[0].list_orgs().await.unwrap().len()), (1, 1));
}

fn memory() -> [S; NODES] {
    let first = MemoryStore::new();
    [Arc::new(first.another_node()), Arc::new(first.another_node()), Arc::new(first)]
}

async fn surreal() -> [S; NODES] {
    let first = SurrealStore::open(SurrealOptions::memory()).await.unwrap();
    [Arc::new(first.another_node()), Arc::new(first.another_node()), Arc::new(first)]
}

macro_rules! on_nodes {
    ($($scenario:ident: $memory:ident, $surreal:ident;)*) => {$(
        #[test]
        fn $memory() {
            block_on($scenario(memory()));
        }
        #[test]
        fn $surreal() {
            block_on(async { $scenario(surreal().await).await });
        }
    )*};
}

async fn turns(nodes: [S; NODES]) {
    let [one, two, _] = nodes;
    two_nodes_take_turns(one, two).await;
}

on_nodes! {
    turns: turns_in_memory, turns_in_surreal;
    q10_a_quota_is_exact: q10_quota_in_memory, q10_quota_in_surreal;
    q1_no_job_is_claimed_twice: q1_claims_in_memory, q1_claims_in_surreal;
    q10_counters_are_exact: q10_counters_in_memory, q10_counters_in_surreal;
    q7_one_key_makes_one_job: q7_keys_in_memory, q7_keys_in_surreal;
    one_name_for_one: names_in_memory, names_in_surreal;
}

#[test]
fn sc4_injected_faults_say_what_they_did() {
    block_on(async {
        let store = MemoryStore::new();
        let shared: S = Arc::new(store.another_node());
        let id = alice(&shared).await.id;
        store.inject(Some(Box::new(|what| (what == "commit_batch").then_some(Fault::Before))));
        let answers = store.commit_batch(commits_of(id, 2)).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Unavailable(_)))));
        assert_eq!(folder(&shared, id, "INBOX").await.messages, 0);
        store.inject(Some(Box::new(|_| Some(Fault::After))));
        let answers = store.commit_batch(commits_of(id, 2)).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::OutcomeUnknown(_)))));
        assert_eq!(folder(&shared, id, "INBOX").await.messages, 2);
        store.inject(None);
        assert!(store.commit_batch(commits_of(id, 1)).await[0].is_ok());
        assert_eq!(folder(&shared, id, "INBOX").await.messages, 3);
    });
}
