//! The outbound queue.

use protocol_core::Timestamp;
use storage::*;

use crate::support::*;

const LEASE: u64 = 120;

async fn claim(store: &S, owner: &str, now: Timestamp, limit: usize) -> Vec<Job> {
    store.claim_jobs(owner, now, secs(LEASE), secs(5), limit).await.unwrap()
}

/// The job, and what was written about its attempts.
async fn looked_up(store: &S, id: JobId) -> (Option<Job>, Vec<DeliveryRecord>) {
    let (job, mut records) = store.job(id).await.unwrap();
    records.retain(|record| record.event == JobEvent::Attempted);
    (job, records)
}

async fn one_job(store: &S) -> (OrgId, NewJob) {
    let org = org(store, "org").await;
    let spec = job(org, at(10), &["a@example.net", "b@example.net"]);
    queue(store, vec![spec.clone()]).await;
    (org, spec)
}

fn update(job: &Job, next_due: Option<Timestamp>) -> JobUpdate {
    JobUpdate {
        recipients: job.spec.recipients.clone(),
        attempts: job.attempts + 1,
        next_due,
        ..JobUpdate::default()
    }
}

pub async fn jobs_come_due_in_order(store: S) {
    let org = org(&store, "org").await;
    let jobs: Vec<NewJob> = [30, 10, 20].map(|n| job(org, at(n), &["a@example.net"])).into();
    queue(&store, jobs.clone()).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
    assert!(claim(&store, "w", at(9), 10).await.is_empty());
    let first = claim(&store, "w", at(25), 1).await;
    assert_eq!(first.len(), 1);
    let claimed = &first[0];
    assert_eq!(claimed.spec, jobs[1]);
    assert_eq!((claimed.state, claimed.epoch, claimed.attempts), (JobState::Processing, 1, 0));
    assert_eq!((claimed.owner.as_deref(), claimed.lease_until), (Some("w"), Some(at(25 + 120))));
    let second = claim(&store, "w", at(25), 10).await;
    assert_eq!(second.iter().map(|job| job.spec.id).collect::<Vec<_>>(), [jobs[2].id]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(30)));
    assert_eq!(claim(&store, "w", at(30), 10).await[0].spec, jobs[0]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(145)));
    assert!(claim(&store, "w", at(31), 10).await.is_empty());

    let listed = store.list_jobs(2).await.unwrap();
    let mut ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    ids.sort();
    assert_eq!(listed.iter().map(|job| job.spec.id).collect::<Vec<_>>(), ids[..2]);
    let mut messages: Vec<_> = jobs.iter().map(|job| (org, job.message)).collect();
    messages.sort();
    assert_eq!(store.queued_messages().await.unwrap(), messages);
}

pub async fn results_are_written_once(store: S) {
    let (_, spec) = one_job(&store).await;
    let job = claim(&store, "w", at(10), 1).await.remove(0);
    let mut retry = update(&job, Some(at(70)));
    retry.recipients[0].state = RecipientState::Delivered;
    retry.recipients[1].reply = Some("451 later".into());
    retry.deliveries = vec![
        delivery("a@example.net", RecipientState::Delivered, 1, at(11)),
        delivery("b@example.net", RecipientState::Pending, 1, at(11)),
    ];
    assert_eq!(store.save_job(fence(&job), retry.clone(), at(11)).await.unwrap(), []);
    let (stored, deliveries) = looked_up(&store, spec.id).await;
    let stored = stored.unwrap();
    assert_eq!((stored.state, stored.attempts, stored.due), (JobState::Queued, 1, at(70)));
    assert_eq!((stored.owner, stored.lease_until, stored.updated), (None, None, at(11)));
    assert_eq!((stored.spec.recipients, deliveries), (retry.recipients.clone(), retry.deliveries.clone()));
    let fenced = Err(Refusal::Fenced.into());
    assert_eq!(store.save_job(fence(&job), retry, at(12)).await, fenced);

    let job = claim(&store, "v", at(70), 1).await.remove(0);
    assert_eq!((job.epoch, job.attempts), (2, 1));
    let short = JobUpdate { recipients: vec![], ..update(&job, None) };
    assert!(matches!(
        store.save_job(fence(&job), short, at(71)).await,
        Err(Error::Refused(Refusal::Invalid(_)))
    ));
    let mut done = update(&job, None);
    done.deliveries = vec![delivery("b@example.net", RecipientState::Delivered, 2, at(71))];
    store.save_job(fence(&job), done, at(71)).await.unwrap();
    let (stored, deliveries) = looked_up(&store, spec.id).await;
    assert_eq!((stored, deliveries.len(), deliveries[2].attempt), (None, 3, 2));
    assert_eq!(store.next_due().await.unwrap(), None);
    assert!(
        store.list_jobs(10).await.unwrap().is_empty() && store.queued_messages().await.unwrap().is_empty()
    );
    assert_eq!(store.job(JobId::random()).await, Err(Error::NotFound));
}

pub async fn q2_fences_hold_off_the_late(store: S) {
    let (_, spec) = one_job(&store).await;
    let slow = claim(&store, "slow", at(10), 1).await.remove(0);
    store.renew_job(fence(&slow), at(100), secs(60)).await.unwrap();
    assert!(claim(&store, "fast", at(160), 1).await.is_empty());
    // At the end of the lease its holder may not go on, though nobody else has the job yet.
    let fenced = || Err(Refusal::Fenced.into());
    assert_eq!(store.renew_job(fence(&slow), at(160), secs(60)).await, fenced());
    assert_eq!(store.dot_sent(fence(&slow), &[0], at(160), secs(LEASE)).await, fenced());
    let fast = claim(&store, "fast", at(166), 1).await.remove(0);
    assert_eq!((fast.epoch, fast.owner.as_deref()), (slow.epoch + 1, Some("fast")));
    assert_eq!(store.save_job(fence(&slow), update(&slow, None), at(167)).await.map(drop), fenced());
    assert_eq!(store.release_job(fence(&slow), at(167)).await, fenced());
    assert_eq!(store.renew_job(fence(&slow), at(167), secs(60)).await, fenced());
    assert_eq!(store.dot_sent(fence(&slow), &[0], at(167), secs(LEASE)).await, fenced());
    store.dot_sent(fence(&fast), &[0], at(167), secs(LEASE)).await.unwrap();
    assert!(store.dot_sent(fence(&fast), &[2], at(167), secs(LEASE)).await.is_err());
    store.release_job(fence(&fast), at(500)).await.unwrap();
    assert_eq!(store.release_job(fence(&fast), at(600)).await, fenced());
    let (job, deliveries) = looked_up(&store, spec.id).await;
    let job = job.unwrap();
    assert_eq!((job.state, job.due, job.attempts, deliveries.len()), (JobState::Queued, at(500), 0, 0));
    let nobody = Fence { job: JobId::random(), epoch: 1 };
    assert_eq!(store.renew_job(nobody, at(1), secs(1)).await, fenced());
}

pub async fn leases_are_taken_over_after_the_skew(store: S) {
    one_job(&store).await;
    claim(&store, "w", at(10), 1).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(130)));
    // The lease ended 5 s ago, not more.
    assert!(claim(&store, "v", at(135), 1).await.is_empty());
    let taken = store.claim_jobs("v", Timestamp(at(135).0 + 1), secs(LEASE), secs(5), 1).await.unwrap();
    assert_eq!((taken.len(), taken[0].epoch, taken[0].attempts), (1, 2, 0));
}

pub async fn so9_a_final_dot_without_result_is_in_doubt(store: S) {
    let (_, spec) = one_job(&store).await;
    let job = claim(&store, "w", at(10), 1).await.remove(0);
    store.dot_sent(fence(&job), &[1], at(20), secs(LEASE)).await.unwrap();
    store.dot_sent(fence(&job), &[1], at(21), secs(LEASE)).await.unwrap();
    // Not sooner than ten minutes after the lease (and the skew).
    assert!(claim(&store, "v", at(141 + 600 + 5), 1).await.is_empty());
    let taken = claim(&store, "v", at(141 + 600 + 6), 1).await.remove(0);
    let [untouched, doubted] = &taken.spec.recipients[..] else { panic!() };
    assert_eq!((untouched.attempts, untouched.in_doubt), (0, 0));
    assert_eq!((doubted.attempts, doubted.in_doubt, doubted.state), (1, 1, RecipientState::Pending));
    assert_eq!((taken.attempts, taken.epoch), (1, 2));
    let (_, deliveries) = looked_up(&store, spec.id).await;
    assert_eq!((deliveries.len(), deliveries[0].in_doubt), (1, true));
    assert_eq!(deliveries[0].recipient, "b@example.net");
    // A result that is written leaves no doubt behind.
    store.dot_sent(fence(&taken), &[0, 1], at(748), secs(LEASE)).await.unwrap();
    store.save_job(fence(&taken), update(&taken, Some(at(800))), at(749)).await.unwrap();
    let again = claim(&store, "w", at(800), 1).await.remove(0);
    assert_eq!(again.spec.recipients[1].in_doubt, 1);
    assert_eq!(looked_up(&store, spec.id).await.1.len(), 1);
}

pub async fn a_lease_that_was_prolonged_is_looked_at_again(store: S) {
    let (_, spec) = one_job(&store).await;
    let job = claim(&store, "w", at(10), 1).await.remove(0);
    store.renew_job(fence(&job), at(100), secs(LEASE)).await.unwrap();
    // Whoever comes at the end of the first lease finds that it goes on, and when to come again.
    assert!(claim(&store, "v", at(150), 1).await.is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(at(220)));
    // The holder is not disturbed.
    store.dot_sent(fence(&job), &[0], at(160), secs(LEASE)).await.unwrap();
    assert!(claim(&store, "v", at(300), 1).await.is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(at(280 + 600)));
    store.save_job(fence(&job), update(&job, Some(at(900))), at(301)).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(900)));
    let again = claim(&store, "v", at(900), 1).await.remove(0);
    assert_eq!((again.spec.id, again.epoch, again.spec.recipients[0].in_doubt), (spec.id, 2, 0));
}

pub async fn jobs_can_be_claimed_as_they_are_queued(store: S) {
    let org = org(&store, "org").await;
    let (now, later) = (job(org, at(10), &["a@example.net"]), job(org, at(50), &["b@example.net"]));
    let claimed = Claim { owner: "w".into(), lease: secs(LEASE) };
    let commit = Commit {
        jobs: vec![now.clone(), later.clone()],
        claim: Some(claimed.clone()),
        at: at(20),
        ..Commit::default()
    };
    assert_eq!(store.commit_batch(vec![commit]).await, [Ok(Vec::new())]);
    let (stored, timeline) = store.job(now.id).await.unwrap();
    let stored = stored.unwrap();
    assert_eq!(Some(&stored), claimed.of(&now, at(20)).as_ref());
    assert_eq!((stored.state, stored.epoch, stored.lease_until), (JobState::Processing, 1, Some(at(140))));
    assert_eq!(timeline.iter().map(|record| record.event).collect::<Vec<_>>(), [JobEvent::Queued]);
    // The other is not due, and nobody's.
    assert_eq!(claimed.of(&later, at(20)), None);
    assert!(claim(&store, "v", at(49), 9).await.is_empty());
    let other = claim(&store, "v", at(50), 9).await;
    assert_eq!(other.iter().map(|job| job.spec.id).collect::<Vec<_>>(), [later.id]);
    // It is like any other claim: it can be written under, and it can be lost.
    store.dot_sent(fence(&stored), &[0], at(60), secs(LEASE)).await.unwrap();
    store.save_job(fence(&stored), update(&stored, Some(at(70))), at(61)).await.unwrap();
    let second = claim(&store, "v", at(70), 9).await.remove(0);
    assert_eq!((second.spec.id, second.epoch), (now.id, 2));
    let lost = job(org, at(10), &["c@example.net"]);
    let commit = Commit { jobs: vec![lost.clone()], claim: Some(claimed), at: at(80), ..Commit::default() };
    store.commit_batch(vec![commit]).await.remove(0).unwrap();
    let early = claim(&store, "v", at(180), 9).await;
    assert!(early.iter().all(|job| job.spec.id == later.id), "{early:?}");
    let taken = claim(&store, "v", at(206), 9).await;
    let of_lost = taken.iter().find(|job| job.spec.id == lost.id).unwrap();
    assert_eq!(of_lost.epoch, 2);
    let late = Fence { job: lost.id, epoch: 1 };
    assert_eq!(store.dot_sent(late, &[0], at(207), secs(1)).await, Err(Refusal::Fenced.into()));
}

pub async fn results_place_their_notices(store: S) {
    let alice = alice(&store).await;
    queue(&store, vec![job(alice.org, at(10), &["a@example.net"])]).await;
    let claimed = claim(&store, "w", at(10), 1).await.remove(0);
    let dsn = NewJob { is_dsn: true, sender: String::new(), ..job(alice.org, at(12), &["x@example.org"]) };
    let also = Commit { rows: vec![row(alice.id, inbox(), 5)], jobs: vec![dsn.clone()], ..Commit::default() };
    let nowhere =
        Commit { rows: vec![row(MailboxId::random(), inbox(), 5)], jobs: vec![], ..Commit::default() };
    let bad = JobUpdate { also: nowhere, ..update(&claimed, None) };
    assert_eq!(store.save_job(fence(&claimed), bad, at(11)).await, Err(Error::NotFound));
    let dead = JobUpdate { also, dead: true, ..update(&claimed, None) };
    let placed = store.save_job(fence(&claimed), dead, at(11)).await.unwrap();
    assert_eq!((placed.len(), placed[0].row.uid), (1, 1));
    assert_eq!(folder(&store, alice.id, "INBOX").await.messages, 1);
    let states: Vec<JobState> = store.list_jobs(10).await.unwrap().iter().map(|job| job.state).collect();
    assert!(states.contains(&JobState::Dead) && states.contains(&JobState::Queued) && states.len() == 2);
    assert_eq!(store.next_due().await.unwrap(), Some(at(12)));
    assert_eq!(claim(&store, "w", at(50), 9).await[0].spec, dsn);
}

pub async fn administrators_act(store: S) {
    let (_, spec) = one_job(&store).await;
    let state = async || store.job(spec.id).await.unwrap().0.unwrap();
    let act = async |action, now| store.act_on_job(spec.id, action, at(now)).await;
    let refused = |answer| assert!(matches!(answer, Err(Error::Refused(Refusal::InUse(_)))), "{answer:?}");
    refused(act(JobAction::Release, 1).await);
    act(JobAction::Hold, 1).await.unwrap();
    assert_eq!((state().await.state, store.next_due().await.unwrap()), (JobState::Held, None));
    refused(act(JobAction::Hold, 2).await);
    assert!(claim(&store, "w", at(100), 1).await.is_empty());
    act(JobAction::Release, 200).await.unwrap();
    let released = state().await;
    assert_eq!((released.state, released.due, released.spec.start), (JobState::Queued, at(200), at(200)));
    act(JobAction::Retry, 150).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(at(150)));

    let job = claim(&store, "w", at(300), 1).await.remove(0);
    let mut failed = update(&job, None);
    failed.dead = true;
    failed.recipients[0].state = RecipientState::Bounced;
    failed.recipients[1].state = RecipientState::Delivered;
    store.save_job(fence(&job), failed, at(301)).await.unwrap();
    refused(act(JobAction::Cancel, 302).await);
    refused(act(JobAction::Hold, 302).await);
    act(JobAction::Retry, 400).await.unwrap();
    let retried = state().await;
    assert_eq!((retried.state, retried.attempts, retried.spec.start), (JobState::Queued, 0, at(400)));
    let recipients: Vec<RecipientState> = retried.spec.recipients.iter().map(|r| r.state).collect();
    assert_eq!(recipients, [RecipientState::Pending, RecipientState::Delivered]);
    act(JobAction::Cancel, 401).await.unwrap();
    let cancelled = state().await;
    assert_eq!((cancelled.state, cancelled.updated), (JobState::Cancelled, at(401)));
    let (_, deliveries) = store.job(spec.id).await.unwrap();
    let events: Vec<JobEvent> = deliveries.iter().map(|record| record.event).collect();
    let (held, released, retried) = (JobEvent::Held, JobEvent::Released, JobEvent::Retried);
    assert_eq!(events, [JobEvent::Queued, held, released, retried, retried, JobEvent::Cancelled]);
    assert_eq!(deliveries[5].state, RecipientState::Cancelled);
    refused(act(JobAction::Retry, 402).await);
    assert!(claim(&store, "w", at(9000), 1).await.is_empty());
    assert!(store.queued_messages().await.unwrap().is_empty());
    assert_eq!(store.act_on_job(JobId::random(), JobAction::Hold, at(0)).await, Err(Error::NotFound));
}

pub async fn q12_a_leased_job_can_be_cancelled_until_its_final_dot(store: S) {
    let (_, spec) = one_job(&store).await;
    let job = claim(&store, "w", at(10), 1).await.remove(0);
    let refused = |answer| assert!(matches!(answer, Err(Error::Refused(Refusal::InUse(_)))), "{answer:?}");
    let act = async |action, now| store.act_on_job(spec.id, action, at(now)).await;
    refused(act(JobAction::Retry, 11).await);
    refused(act(JobAction::Release, 11).await);
    store.dot_sent(fence(&job), &[0], at(11), secs(LEASE)).await.unwrap();
    refused(act(JobAction::Cancel, 12).await);
    refused(act(JobAction::Hold, 12).await);
    store.save_job(fence(&job), update(&job, Some(at(20))), at(12)).await.unwrap();

    let job = claim(&store, "w", at(20), 1).await.remove(0);
    act(JobAction::Hold, 21).await.unwrap();
    // Its holder comes with the dot and learns that it has nothing to hold any more.
    let fenced = || Err(Refusal::Fenced.into());
    assert_eq!(store.dot_sent(fence(&job), &[0], at(22), secs(LEASE)).await, fenced());
    act(JobAction::Release, 30).await.unwrap();
    let job = claim(&store, "v", at(30), 1).await.remove(0);
    act(JobAction::Cancel, 31).await.unwrap();
    assert_eq!(store.dot_sent(fence(&job), &[0], at(32), secs(LEASE)).await, fenced());
    assert_eq!(store.save_job(fence(&job), update(&job, None), at(32)).await.map(drop), fenced());
    assert_eq!(store.job(spec.id).await.unwrap().0.unwrap().state, JobState::Cancelled);
    assert!(claim(&store, "w", at(9_000), 1).await.is_empty());
}

pub async fn q12_the_jobs_of_a_deleted_organisation_are_cancelled(store: S) {
    let (gone, stays) = (org(&store, "gone").await, org(&store, "stays").await);
    let counted = |at, to: &str| NewJob { counted: Some("gone.test".into()), ..job(gone, at, &[to]) };
    let (leased, waiting) = (counted(at(1), "a@example.net"), counted(at(50), "b@example.net"));
    let held = counted(at(40), "d@example.net");
    let other = job(stays, at(60), &["c@example.net"]);
    let counter = CounterKey::queued_jobs("gone.test");
    let charge = Charge { counter: counter.clone(), amount: 3, limit: 3, quota: Quota::QueuedJobs };
    let jobs = vec![leased.clone(), waiting.clone(), held.clone(), other.clone()];
    let commit = Commit { jobs, charges: vec![charge], ..Commit::default() };
    store.commit_batch(vec![commit]).await.remove(0).unwrap();
    store.act_on_job(held.id, JobAction::Hold, at(2)).await.unwrap();
    let claimed = claim(&store, "w", at(10), 1).await.remove(0);
    store.delete_org("gone").await.unwrap();
    let late = store.dot_sent(fence(&claimed), &[0], at(11), secs(LEASE)).await;
    assert_eq!(late, Err(Refusal::Fenced.into()), "no final dot is written for it");
    for id in [leased.id, waiting.id, held.id] {
        assert_eq!(store.job(id).await.unwrap().0.unwrap().state, JobState::Cancelled);
    }
    // Whoever has the domain next begins with nothing.
    assert_eq!(store.counters(&[counter]).await.unwrap(), [0]);
    let left: Vec<JobId> = claim(&store, "w", at(9_000), 9).await.iter().map(|job| job.spec.id).collect();
    assert_eq!(left, [other.id]);
}

pub async fn q13_a_job_that_crashes_its_workers_is_parked(store: S) {
    let org = org(&store, "org").await;
    let (poison, other) = (job(org, at(10), &["a@example.net"]), job(org, at(11), &["b@example.net"]));
    queue(&store, vec![poison.clone(), other.clone()]).await;
    for n in 1..=CRASHES_MAX {
        let claimed = claim(&store, "w", at(20), 1).await.remove(0);
        assert_eq!(claimed.spec.id, poison.id);
        let crashed = vec![(fence(&claimed), JobWrite::Crashed { due: at(10) })];
        assert_eq!(store.write_jobs(crashed, at(20)).await, [Ok(vec![])]);
        let state = store.job(poison.id).await.unwrap().0.unwrap().state;
        assert_eq!(state == JobState::Held, n == CRASHES_MAX, "after {n}");
    }
    // The others go on, and nobody touches the poison until an administrator lets it go.
    assert_eq!(claim(&store, "w", at(9_000), 9).await[0].spec.id, other.id);
    let records = store.job(poison.id).await.unwrap().1;
    assert_eq!(records.last().map(|record| record.event), Some(JobEvent::Parked));
    store.act_on_job(poison.id, JobAction::Release, at(9_001)).await.unwrap();
    assert_eq!(claim(&store, "w", at(9_001), 9).await[0].spec.id, poison.id);
}

pub async fn q13_a_job_whose_workers_are_lost_is_parked_later(store: S) {
    let (_, spec) = one_job(&store).await;
    for n in 0..LOST_CLAIMS_MAX {
        let now = at(10 + i64::from(n) * 1_000);
        assert_eq!(claim(&store, "w", now, 1).await[0].state, JobState::Processing, "claim {n}");
    }
    let after = at(10 + i64::from(LOST_CLAIMS_MAX) * 1_000);
    assert_eq!(claim(&store, "w", after, 1).await[0].state, JobState::Held);
    assert_eq!(store.job(spec.id).await.unwrap().0.unwrap().state, JobState::Held);
}

pub async fn q16_organisations_take_turns(store: S) {
    let (hot, quiet) = (org(&store, "hot").await, org(&store, "quiet").await);
    let many: Vec<NewJob> = (0..300).map(|n| job(hot, at(n % 7), &["a@example.net"])).collect();
    queue(&store, many).await;
    let one = job(quiet, at(50), &["b@example.net"]);
    queue(&store, vec![one.clone()]).await;
    // Whoever's turn it is first: two claims are enough for a job that came due last of all.
    let mut claimed = claim(&store, "w", at(60), 20).await;
    assert_eq!(claimed.len(), 20);
    claimed.extend(claim(&store, "w", at(60), 20).await);
    assert!(claimed.iter().any(|job| job.spec.id == one.id));
    let mut all = claimed.len();
    loop {
        let more = claim(&store, "w", at(60), 64).await.len();
        all += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(all, 301);
}

pub async fn cleaning_takes_what_is_old(store: S) {
    let org = org(&store, "org").await;
    let jobs: Vec<NewJob> = (0..4).map(|_| job(org, at(10), &["a@example.net"])).collect();
    queue(&store, jobs.clone()).await;
    for (n, job) in claim(&store, "w", at(10), 3).await.iter().enumerate() {
        let mut dead = update(job, None);
        dead.dead = true;
        dead.deliveries = vec![delivery("a@example.net", RecipientState::Bounced, 1, at(100 + n as i64))];
        store.save_job(fence(job), dead, at(100 + n as i64)).await.unwrap();
    }
    assert_eq!(store.clean_jobs(at(100), at(100)).await.unwrap(), (0, 4), "the records of their queueing");
    assert_eq!(store.clean_jobs(at(102), at(101)).await.unwrap(), (2, 1));
    assert_eq!(store.list_jobs(10).await.unwrap().len(), 2);
    assert_eq!(store.clean_jobs(at(1000), at(1000)).await.unwrap(), (1, 2));
    assert_eq!(store.list_jobs(10).await.unwrap()[0].state, JobState::Queued);
}

pub async fn a_job_is_queued_once(store: S) {
    let (org, spec) = one_job(&store).await;
    let again =
        Commit { rows: vec![], jobs: vec![NewJob { due: at(99), ..spec.clone() }], ..Commit::default() };
    let other = Commit { rows: vec![], jobs: vec![job(org, at(5), &["c@example.net"])], ..Commit::default() };
    let empty = Commit { rows: vec![], jobs: vec![job(org, at(5), &[])], ..Commit::default() };
    let answers = store.commit_batch(vec![other, again.clone(), empty]).await;
    assert_eq!(answers[0], Ok(vec![]));
    assert!(matches!(answers[1], Err(Error::Refused(Refusal::Exists(_)))));
    assert!(matches!(answers[2], Err(Error::Refused(Refusal::Invalid(_)))));
    assert_eq!(store.list_jobs(10).await.unwrap().len(), 2);
    assert_eq!(store.job(spec.id).await.unwrap().0.unwrap().spec, spec);
}
