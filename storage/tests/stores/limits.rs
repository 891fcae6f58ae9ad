//! Counters, suppressions, keys of idempotency, and what is told of a message.

use storage::*;

use crate::support::*;

const DAY: i64 = 86_400;

fn charge(counter: CounterKey, amount: i64, limit: u64, quota: Quota) -> Charge {
    Charge { counter, amount, limit, quota }
}

pub async fn counters_stop_at_their_limit(store: S) {
    let of = |name: &str| CounterKey::window(CounterKind::Rate, name.into(), 60, at(0));
    let one = |name: &str| charge(of(name), 1, 2, Quota::Rate);
    let answers = store.count(vec![one("a"), one("b"), one("a"), one("a"), one("b")]).await.unwrap();
    assert_eq!(answers, [true, true, true, false, true]);
    assert_eq!(store.count(vec![one("a")]).await.unwrap(), [false]);
    // A place that is given back can be taken again, and a counter never goes below nothing.
    let back = charge(of("a"), -1, 2, Quota::Rate);
    assert_eq!(store.count(vec![back, one("a"), one("a")]).await.unwrap(), [true, true, false]);
    let back = charge(of("b"), -9, 2, Quota::Rate);
    assert_eq!(store.count(vec![back]).await.unwrap(), [true]);
    assert_eq!(store.counters(&[of("b"), of("a"), of("c")]).await.unwrap(), [0, 2, 0]);
    let next = CounterKey::window(CounterKind::Rate, "a".into(), 60, at(60));
    assert_eq!(store.count(vec![charge(next, 1, 2, Quota::Rate)]).await.unwrap(), [true]);
}

pub async fn q10_quotas_are_counted_with_what_they_allow(store: S) {
    let org = org(&store, "org").await;
    let hour = CounterKey::sent("example.test", 3_600, at(0));
    let queued = CounterKey::queued_jobs("example.test");
    let send = |recipients: i64| {
        let spec = NewJob { counted: Some("example.test".into()), ..job(org, at(1), &["a@example.net"]) };
        let charges = vec![
            charge(hour.clone(), recipients, 10, Quota::Hourly),
            charge(queued.clone(), 1, 2, Quota::QueuedJobs),
        ];
        Commit { jobs: vec![spec], charges, ..Commit::default() }
    };
    let answers = store.commit_batch(vec![send(6), send(6), send(4), send(0)]).await;
    let refused = |quota| Err(Refusal::Quota(quota).into());
    assert_eq!(answers, [Ok(vec![]), refused(Quota::Hourly), Ok(vec![]), refused(Quota::QueuedJobs)]);
    assert_eq!(store.counters(&[hour.clone(), queued.clone()]).await.unwrap(), [10, 2]);
    assert_eq!(store.list_jobs(9).await.unwrap().len(), 2, "a refused message has no job");
    // A settled job and a cancelled one make room.
    let claimed = store.claim_jobs("w", at(1), secs(60), secs(5), 1).await.unwrap().remove(0);
    let done = JobUpdate { recipients: claimed.spec.recipients.clone(), attempts: 1, ..JobUpdate::default() };
    store.save_job(fence(&claimed), done, at(2)).await.unwrap();
    assert_eq!(store.counters(std::slice::from_ref(&queued)).await.unwrap(), [1]);
    let left = store.list_jobs(9).await.unwrap().remove(0);
    store.act_on_job(left.spec.id, JobAction::Cancel, at(3)).await.unwrap();
    assert_eq!(store.counters(&[hour, queued]).await.unwrap(), [10, 0]);
}

fn key(org: Option<OrgId>, scope: SuppressionScope, entry: &str) -> SuppressionKey {
    SuppressionKey { org, scope, entry: entry.into() }
}

/// One attempt that says this, at this time.
async fn say(store: &S, org: OrgId, now: i64, change: SuppressionChange) {
    queue(store, vec![job(org, at(now), &["a@example.net"])]).await;
    let claimed = store.claim_jobs("w", at(now), secs(60), secs(5), 1).await.unwrap().remove(0);
    let update = JobUpdate {
        recipients: claimed.spec.recipients.clone(),
        suppressions: vec![change],
        ..JobUpdate::default()
    };
    store.save_job(fence(&claimed), update, at(now)).await.unwrap();
}

pub async fn so15_suppressions_follow_what_attempts_say(store: S) {
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let address = "gone@example.net";
    let of = |org| key(Some(org), SuppressionScope::Address, address);
    let suppress = |source, expires| SuppressionChange::Suppress {
        address: address.into(),
        reason: "550 5.1.1 no such user".into(),
        source,
        expires,
    };
    let rows = async || store.suppressions(&[of(mine), of(yours)]).await.unwrap();
    say(&store, mine, 10, suppress(SuppressionSource::Bounce, Some(at(90 * DAY)))).await;
    let found = rows().await;
    assert_eq!(found.len(), 1, "the other organisation's mail is not held back");
    assert_eq!((found[0].source, found[0].expires), (SuppressionSource::Bounce, Some(at(90 * DAY))));
    assert!(found[0].holds(at(89 * DAY)) && !found[0].holds(at(90 * DAY)));
    say(&store, mine, 20, SuppressionChange::Delivered { address: address.into() }).await;
    assert!(rows().await.is_empty(), "a later success shows that the address is alive");

    say(&store, mine, 30, suppress(SuppressionSource::Complaint, None)).await;
    say(&store, mine, 40, suppress(SuppressionSource::Bounce, Some(at(90 * DAY)))).await;
    say(&store, mine, 50, SuppressionChange::Delivered { address: address.into() }).await;
    assert_eq!(rows().await[0].source, SuppressionSource::Complaint, "a complaint outlasts a bounce");
    say(&store, mine, 60, SuppressionChange::Replied { address: address.into() }).await;
    assert!(rows().await.is_empty());
}

pub async fn a_domain_is_suppressed_when_it_is_gone_twice(store: S) {
    let org = org(&store, "org").await;
    let gone = || SuppressionChange::SuspectDomain {
        domain: "example.net".into(),
        reason: "there is no such domain".into(),
    };
    let row = async || {
        let rows = store.suppressions(&[key(Some(org), SuppressionScope::Domain, "example.net")]).await;
        rows.unwrap().pop()
    };
    say(&store, org, 0, gone()).await;
    say(&store, org, 6 * 3_600 - 1, gone()).await;
    let suspicion = row().await.unwrap();
    assert_eq!((suspicion.source, suspicion.holds(at(6 * 3_600))), (SuppressionSource::Suspicion, false));
    say(&store, org, 6 * 3_600, gone()).await;
    let sure = row().await.unwrap();
    assert!(sure.holds(at(6 * 3_600)) && sure.holds(at(7 * DAY)) && !sure.holds(at(6 * 3_600 + 7 * DAY)));
    say(&store, org, 8 * DAY, gone()).await;
    assert_eq!(row().await.unwrap().source, SuppressionSource::Suspicion, "it begins anew");
    say(&store, org, 8 * DAY + 1, SuppressionChange::Delivered { address: "b@example.net".into() }).await;
    assert_eq!(row().await, None);
}

pub async fn suppressions_by_hand_are_listed_and_stay(store: S) {
    let org = org(&store, "org").await;
    let by_hand = |org, scope, entry: &str, expires| Suppression {
        key: key(org, scope, entry),
        reason: "asked by telephone".into(),
        source: SuppressionSource::Manual,
        created: at(0),
        expires,
    };
    let all = [
        by_hand(None, SuppressionScope::Address, "a@example.net", None),
        by_hand(None, SuppressionScope::Domain, "example.org", None),
        by_hand(Some(org), SuppressionScope::Address, "a@example.net", None),
        by_hand(Some(org), SuppressionScope::Address, "b@example.net", Some(at(100))),
    ];
    for row in all.iter().rev() {
        store.put_suppression(row).await.unwrap();
    }
    assert_eq!(store.list_suppressions(None, 9).await.unwrap(), all);
    assert_eq!(store.list_suppressions(None, 2).await.unwrap(), all[..2]);
    assert_eq!(store.list_suppressions(Some(&all[1].key), 9).await.unwrap(), all[2..]);
    let expires = Some(at(90 * DAY));
    let suppress = SuppressionChange::Suppress {
        address: "b@example.net".into(),
        reason: "550".into(),
        source: SuppressionSource::Bounce,
        expires,
    };
    say(&store, org, 50, suppress.clone()).await;
    say(&store, org, 51, SuppressionChange::Replied { address: "a@example.net".into() }).await;
    assert_eq!(store.list_suppressions(None, 9).await.unwrap(), all, "only a hand removes it");
    say(&store, org, 100, suppress).await;
    let row = store.suppressions(&[all[3].key.clone()]).await.unwrap().remove(0);
    assert_eq!(
        (row.source, row.expires),
        (SuppressionSource::Bounce, expires),
        "one that is over is replaced"
    );
    assert!(store.remove_suppression(&all[0].key).await.unwrap());
    assert!(!store.remove_suppression(&all[0].key).await.unwrap());
    assert_eq!(store.list_suppressions(None, 9).await.unwrap().len(), 3);
}

pub async fn q8_one_key_is_one_request(store: S) {
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let send = |org, print: u8, answer: &str, now| Commit {
        jobs: vec![job(org, at(now), &["a@example.net"])],
        idempotency: Some(Idempotency {
            org,
            key: "k".into(),
            fingerprint: [print; 32],
            answer: answer.into(),
            expires: at(now + DAY),
        }),
        at: at(now),
        ..Commit::default()
    };
    let repeated = |answer: &str| Err(Refusal::Repeated(answer.into()).into());
    // In one batch and in the next one alike.
    let answers = store
        .commit_batch(vec![send(mine, 1, "one", 0), send(mine, 1, "two", 0), send(mine, 2, "x", 0)])
        .await;
    assert_eq!(answers, [Ok(vec![]), repeated("one"), Err(Refusal::IdempotencyConflict.into())]);
    assert_eq!(store.commit_batch(vec![send(mine, 1, "three", DAY - 1)]).await, [repeated("one")]);
    assert_eq!(store.commit_batch(vec![send(yours, 2, "four", 1)]).await, [Ok(vec![])]);
    assert_eq!(store.commit_batch(vec![send(mine, 2, "five", DAY)]).await, [Ok(vec![])], "the key is free");
    assert_eq!(store.list_jobs(9).await.unwrap().len(), 3);
}

pub async fn what_is_over_is_removed(store: S) {
    let org = org(&store, "org").await;
    let window = |n: i64| CounterKey::window(CounterKind::Rate, format!("w{n}"), 60, at(n * 60));
    for n in 0..5 {
        store.count(vec![charge(window(n), 1, 9, Quota::Rate)]).await.unwrap();
    }
    let row = |n: i64| Suppression {
        key: key(Some(org), SuppressionScope::Address, &format!("a{n}@example.net")),
        reason: String::new(),
        source: SuppressionSource::Manual,
        created: at(0),
        expires: (n > 0).then(|| at(n * 60)),
    };
    for n in 0..5 {
        store.put_suppression(&row(n)).await.unwrap();
    }
    let now = window(2).ends;
    let mut removed = 0;
    for _ in 0..5 {
        removed += store.clean_slots(now, 2).await.unwrap();
    }
    let left = store.list_suppressions(None, 9).await.unwrap();
    let over = (1..5).filter(|n| at(n * 60) <= now).count();
    assert_eq!(left.len(), 5 - over);
    assert_eq!(removed, 3 + over as u64, "three windows are over");
    assert_eq!(store.counters(&[window(2), window(3)]).await.unwrap(), [0, 1]);
    // A counter that was removed can be counted again.
    assert_eq!(store.count(vec![charge(window(2), 1, 9, Quota::Rate)]).await.unwrap(), [true]);
}

pub async fn a_timeline_tells_all_jobs_of_a_message(store: S) {
    let org = org(&store, "org").await;
    let message = MessageId::random();
    let jobs: Vec<NewJob> = (0..3)
        .map(|n| NewJob { id: JobId::of(message, n), message, ..job(org, at(n.into()), &["a@example.net"]) })
        .collect();
    queue(&store, jobs.clone()).await;
    queue(&store, vec![job(org, at(0), &["b@example.net"])]).await;
    let told = store.timeline(message).await.unwrap();
    assert_eq!(
        told.iter().map(|(job, _)| *job).collect::<Vec<_>>(),
        jobs.iter().map(|j| j.id).collect::<Vec<_>>()
    );
    assert!(told.iter().all(|(_, record)| record.event == JobEvent::Queued));
    // What another server reports later is told too, once.
    let report = DeliveryRecord {
        event: JobEvent::Complained,
        ..delivery("a@example.net", RecipientState::Delivered, 1, at(500))
    };
    for _ in 0..2 {
        let events = vec![(jobs[1].id, report.clone())];
        assert_eq!(store.commit_batch(vec![Commit { events, ..Commit::default() }]).await, [Ok(vec![])]);
    }
    let told = store.timeline(message).await.unwrap();
    assert_eq!((told.len(), told.last()), (4, Some(&(jobs[1].id, report))));
}
