//! E-mails and keys of the API, and the log of what became of what was sent.

use storage::*;

use crate::support::*;

/// A trace that must come back as it was given.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn email(org: OrgId, created: i64, jobs: u16) -> Email {
    Email {
        id: MessageId::random(),
        org,
        open: EmailOpen {
            key: Some(ApiKeyId::random()),
            mailbox: None,
            sender: "alice@example.test".into(),
            recipients: vec![EmailRecipient {
                address: "a@example.net".into(),
                kind: EmailRecipientKind::Bcc,
            }],
            created: at(created),
            send_at: Some(at(created + 5)),
            jobs,
            size: 1_234,
            message_id: "<x@example.test>".into(),
            test: false,
            expires: at(created + 1_000),
            trace: Some(TRACE.into()),
        },
        sealed: vec![0, 1, 255],
    }
}

fn event(recipient: &str, event: JobEvent, when: i64) -> DeliveryRecord {
    let state = if event == JobEvent::Accepted { RecipientState::Pending } else { RecipientState::Delivered };
    DeliveryRecord { event, ..delivery(recipient, state, 0, at(when)) }
}

/// An e-mail with one job and the event of its acceptance.
fn accepted(email: &Email) -> Commit {
    let spec = NewJob {
        id: JobId::of(email.id, 0),
        message: email.id,
        logged: true,
        trace: Some(TRACE.into()),
        ..job(email.org, email.open.created, &["a@example.net"])
    };
    let told = event("", JobEvent::Accepted, 0);
    Commit {
        jobs: vec![spec],
        events: vec![(JobId::of(email.id, JOBS_OF_MESSAGE_MAX - 1), told)],
        email: Some(email.clone()),
        ..Commit::default()
    }
}

async fn accept(store: &S, commits: Vec<Commit>) {
    for answer in store.commit_batch(commits).await {
        assert_eq!(answer, Ok(vec![]));
    }
}

async fn told(store: &S, org: OrgId, after: u64) -> Vec<(u64, JobEvent, RecipientState)> {
    let rows = store.log_after(org, after, 100).await.unwrap();
    assert!(rows.iter().all(|row| row.org == org));
    rows.iter().map(|row| (row.number, row.record.event, row.record.state)).collect()
}

pub async fn ti1_emails_are_their_organisations_and_the_newest_come_first(store: S) {
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let mut all: Vec<Email> = [3, 1, 2, 2].iter().map(|created| email(mine, *created, 1)).collect();
    let other = email(yours, 2, 1);
    accept(&store, all.iter().chain([&other]).map(accepted).collect()).await;
    all.sort_by_key(|e| std::cmp::Reverse((e.open.created, e.id)));
    assert_eq!(store.emails(mine, None, 9).await.unwrap(), all);
    assert_eq!(store.emails(yours, None, 9).await.unwrap(), std::slice::from_ref(&other));
    let place = |e: &Email| EmailPlace { created: e.open.created, id: e.id };
    assert_eq!(store.emails(mine, Some(place(&all[0])), 2).await.unwrap(), all[1..3]);
    assert_eq!(store.emails(mine, Some(place(&all[3])), 2).await.unwrap(), []);
    assert_eq!(store.email(mine, all[1].id).await.unwrap(), all[1]);
    assert_eq!(store.email(mine, other.id).await, Err(Error::NotFound));
    assert_eq!(store.email(yours, all[0].id).await, Err(Error::NotFound));
}

pub async fn what_happens_to_an_email_is_in_the_log_without_a_gap(store: S) {
    use JobEvent::*;
    use RecipientState::{Delivered, Pending};
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let (one, two) = (email(mine, 0, 1), email(mine, 1, 1));
    assert_eq!(store.log_end(mine).await.unwrap(), 0);
    accept(&store, vec![accepted(&one), accepted(&email(yours, 0, 1)), accepted(&two)]).await;
    // What was not sent through the API is told of to nobody.
    queue(&store, vec![job(mine, at(99), &["b@example.net"])]).await;
    let first = [(1, Queued, Pending), (2, Accepted, Pending), (3, Queued, Pending), (4, Accepted, Pending)];
    let mut log = told(&store, mine, 0).await;
    log.sort_unstable_by_key(|(number, ..)| *number);
    let kinds = |log: &[(u64, JobEvent, RecipientState)]| {
        let mut kinds: Vec<String> = log.iter().map(|(_, event, _)| format!("{event:?}")).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&log), kinds(&first));
    assert_eq!(log.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(told(&store, yours, 0).await.len(), 2, "each organisation has its own numbers");
    // One is delivered, the other cancelled.
    let claimed = store.claim_jobs("w", at(0), secs(60), secs(5), 9).await.unwrap();
    let claimed = claimed.into_iter().find(|job| job.spec.message == one.id).unwrap();
    assert_eq!(claimed.spec.trace.as_deref(), Some(TRACE));
    let mut recipients = claimed.spec.recipients.clone();
    recipients[0].state = Delivered;
    let done = JobUpdate {
        recipients,
        attempts: 1,
        deliveries: vec![delivery("a@example.net", Delivered, 1, at(2))],
        ..JobUpdate::default()
    };
    store.save_job(fence(&claimed), done, at(2)).await.unwrap();
    store.act_on_job(JobId::of(two.id, 0), JobAction::Cancel, at(3)).await.unwrap();
    let log = told(&store, mine, 4).await;
    assert_eq!(log, [(5, Attempted, Delivered), (6, Cancelled, RecipientState::Cancelled)]);
    assert_eq!(store.log_end(mine).await.unwrap(), 6);
    let rows = store.log_after(mine, 4, 1).await.unwrap();
    assert_eq!((rows.len(), rows[0].email, rows[0].job), (1, one.id, claimed.spec.id));
    assert_eq!(told(&store, mine, 6).await, []);
    assert_eq!(told(&store, mine, u64::MAX).await, []);
}

pub async fn q8_a_repeated_request_stores_and_tells_nothing(store: S) {
    let mine = org(&store, "mine").await;
    let with_key = |fingerprint: u8| {
        let email = email(mine, 0, 1);
        let idempotency = Idempotency {
            org: mine,
            key: "k".into(),
            fingerprint: [fingerprint; 32],
            answer: email.id.to_string(),
            expires: at(100),
        };
        (email.id, Commit { idempotency: Some(idempotency), at: at(0), ..accepted(&email) })
    };
    let ((first, one), (second, two), (third, three)) = (with_key(1), with_key(1), with_key(2));
    let answers = store.commit_batch(vec![one, two, three]).await;
    let repeated = Refusal::Repeated(first.to_string()).into();
    assert_eq!(answers, [Ok(vec![]), Err(repeated), Err(Refusal::IdempotencyConflict.into())]);
    assert_eq!(store.emails(mine, None, 9).await.unwrap().len(), 1);
    assert!(store.email(mine, second).await.is_err() && store.email(mine, third).await.is_err());
    assert_eq!(store.log_end(mine).await.unwrap(), 2);
    assert_eq!(store.list_jobs(9).await.unwrap().len(), 1);
}

pub async fn numbers_of_the_log_are_given_once_whoever_writes(store: S) {
    const EACH: usize = 20;
    let mine = org(&store, "mine").await;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                block_on(async {
                    for _ in 0..EACH {
                        let new = email(mine, 0, 1);
                        accept(&store, vec![accepted(&new)]).await;
                        store.act_on_job(JobId::of(new.id, 0), JobAction::Cancel, at(1)).await.unwrap();
                    }
                })
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let all = (4 * EACH * 3) as u64;
    let rows = store.log_after(mine, 0, 1_000).await.unwrap();
    let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=all).collect::<Vec<_>>());
    assert_eq!(store.log_end(mine).await.unwrap(), all);
    // Of one e-mail, what came first has the smaller number.
    for row in rows.iter().filter(|row| row.record.event == JobEvent::Cancelled) {
        let queued = rows.iter().find(|r| r.email == row.email && r.record.event == JobEvent::Queued);
        assert!(queued.unwrap().number < row.number);
    }
}

pub async fn a_scheduled_email_is_put_off_until_it_is_tried(store: S) {
    let mine = org(&store, "mine").await;
    let new = email(mine, 10, 1);
    accept(&store, vec![accepted(&new)]).await;
    let id = JobId::of(new.id, 0);
    store.act_on_job(id, JobAction::Reschedule(at(50)), at(1)).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(50)));
    assert_eq!(store.claim_jobs("w", at(49), secs(60), secs(5), 9).await.unwrap().len(), 0);
    store.act_on_job(id, JobAction::Reschedule(at(20)), at(2)).await.unwrap();
    let claimed = store.claim_jobs("w", at(20), secs(60), secs(5), 9).await.unwrap().remove(0);
    assert_eq!(claimed.spec.start, at(20), "time to live counts from there");
    let again = store.act_on_job(id, JobAction::Reschedule(at(90)), at(21)).await;
    assert!(matches!(again, Err(Error::Refused(Refusal::InUse(_)))), "{again:?}");
    let tried = JobUpdate {
        recipients: claimed.spec.recipients.clone(),
        attempts: 1,
        next_due: Some(at(30)),
        ..JobUpdate::default()
    };
    store.save_job(fence(&claimed), tried, at(21)).await.unwrap();
    let late = store.act_on_job(id, JobAction::Reschedule(at(90)), at(22)).await;
    assert!(matches!(late, Err(Error::Refused(Refusal::InUse(_)))), "{late:?}");
    let jobs = store.jobs_of(new.id, 1).await.unwrap();
    assert_eq!((jobs.len(), jobs[0].due), (1, at(30)));
    assert_eq!(store.jobs_of(new.id, 0).await.unwrap(), []);
}

pub async fn what_is_kept_of_an_email_is_kept_as_long_after_its_new_time(store: S) {
    let mine = org(&store, "mine").await;
    let new = email(mine, 0, 1);
    accept(&store, vec![accepted(&new)]).await;
    store.put_off_email(mine, new.id, at(2_000)).await.unwrap();
    let open = store.email(mine, new.id).await.unwrap().open;
    assert_eq!((open.send_at, open.expires), (Some(at(2_000)), at(2_995)));
    while store.clean_slots(at(2_994), 100).await.unwrap() > 0 {}
    assert_eq!(store.emails(mine, None, 9).await.unwrap().len(), 1);
    assert_eq!(store.put_off_email(org(&store, "yours").await, new.id, at(1)).await, Err(Error::NotFound));
}

pub async fn emails_and_their_log_go_when_they_are_over(store: S) {
    let mine = org(&store, "mine").await;
    let (old, new) = (email(mine, 0, 1), email(mine, 500, 1));
    accept(&store, vec![accepted(&old), accepted(&new)]).await;
    while store.clean_slots(at(1_000), 100).await.unwrap() > 0 {}
    assert_eq!(store.emails(mine, None, 9).await.unwrap(), [new]);
    assert_eq!(store.email(mine, old.id).await, Err(Error::NotFound));
    let before = store.log_end(mine).await.unwrap();
    store.clean_jobs(at(-1), at(10)).await.unwrap();
    assert_eq!(told(&store, mine, 0).await, []);
    assert_eq!(store.log_end(mine).await.unwrap(), before, "no number is given twice");
}

pub fn key(org: OrgId, name: &str) -> ApiKey {
    ApiKey {
        id: ApiKeyId::random(),
        org,
        mailbox: None,
        name: name.into(),
        scopes: Scopes { send: true, admin: true, ..Scopes::default() },
        test: true,
        domains: vec!["example.test".into()],
        addresses: vec!["\"a b\"@example.test".into()],
        networks: vec!["192.0.2.0/24".into()],
        hash: [7; 32],
        created: at(0),
        expires: Some(at(50)),
        last_used: None,
    }
}

pub async fn keys_are_made_used_and_removed(store: S) {
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let (one, two) = (key(mine, "one"), key(yours, "two"));
    store.add_api_key(&one).await.unwrap();
    store.add_api_key(&two).await.unwrap();
    assert_eq!(store.api_key(one.id).await.unwrap(), one);
    assert_eq!(store.list_api_keys(Some(mine)).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.list_api_keys(None).await.unwrap().len(), 2);
    store.touch_api_key(one.id, at(10)).await.unwrap();
    store.touch_api_key(one.id, at(10 + LAST_USE_STEP_SECS - 1)).await.unwrap();
    assert_eq!(store.api_key(one.id).await.unwrap().last_used, Some(at(10)));
    store.touch_api_key(one.id, at(10 + LAST_USE_STEP_SECS)).await.unwrap();
    assert_eq!(store.api_key(one.id).await.unwrap().last_used, Some(at(10 + LAST_USE_STEP_SECS)));
    assert!(store.remove_api_key(one.id).await.unwrap());
    assert!(!store.remove_api_key(one.id).await.unwrap());
    // One that was removed while it was used does not come back.
    store.touch_api_key(one.id, at(999)).await.unwrap();
    assert_eq!(store.api_key(one.id).await, Err(Error::NotFound));
    let nobodys = store.add_api_key(&key(OrgId::random(), "x")).await;
    assert_eq!(nobodys, Err(Error::NotFound));
    let entries = |n: usize| ApiKey { networks: vec!["::1".into(); n - 2], ..key(mine, "many") };
    store.add_api_key(&entries(API_KEY_ENTRIES_MAX)).await.unwrap();
    assert!(store.add_api_key(&entries(API_KEY_ENTRIES_MAX + 1)).await.is_err());
    assert!(store.add_api_key(&key(mine, "a\nb")).await.is_err());
}
