//! The queue against a model of storage under virtual time: several nodes, slow and failing storage, and
//! destinations that answer, defer, or are not there.

#[path = "queue/turns.rs"]
mod turns;
#[path = "queue/world.rs"]
mod world;

use proptest::prelude::*;
use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::queue::*;
use world::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// Gaps between the attempts, the formula's delay for each, and the time of the first attempt.
fn gaps(attempts: &[Timestamp]) -> Vec<Duration> {
    attempts.windows(2).map(|w| w[1].since(w[0])).collect()
}

fn so16(policy: Policy) {
    for seed in 0..20 {
        let mut world = World::new(policy.clone(), 1, seed);
        world.slowness = Duration::ZERO;
        world.add(0, "busy.test");
        world.run_until(T0 + policy.ttl + policy.retry_max);
        let history = &world.history[&key(0)];

        let gaps = gaps(&history.attempts);
        for (n, gap) in gaps.iter().enumerate() {
            let plain = policy.retry_base.saturating_mul(1 << n.min(20));
            assert!(*gap >= (plain * 8 / 10).min(policy.retry_max), "seed {seed}: gap {n} is {gap:?}");
            assert!(*gap <= plain * 12 / 10 + policy.poll_interval, "seed {seed}: gap {n} is {gap:?}");
            assert!(*gap <= policy.retry_max + policy.poll_interval, "seed {seed}: gap {n} is {gap:?}");
        }
        let delays: Vec<Timestamp> = history.of(NoticeKind::Delayed);
        let late =
            history.attempts.iter().find(|at| **at >= T0 + HOUR).expect("there is an attempt after an hour");
        assert_eq!(delays.len(), 1, "seed {seed}");
        assert!(
            delays[0].since(*late) <= Duration::from_secs(1),
            "seed {seed}: the first failure after an hour"
        );

        let failures = history.of(NoticeKind::Failed);
        let last = *history.attempts.last().unwrap();
        let ttl_end = T0 + policy.ttl;
        assert_eq!(failures.len(), 1, "seed {seed}");
        if history.attempts.len() as u32 == policy.max_attempts {
            assert!(failures[0].since(last) <= Duration::from_secs(1), "seed {seed}");
        } else {
            assert!(
                failures[0] >= ttl_end && failures[0].since(ttl_end) <= policy.poll_interval,
                "seed {seed}"
            );
            assert!(
                last < ttl_end && ttl_end.since(last) <= policy.retry_max + policy.poll_interval,
                "seed {seed}"
            );
        }
        assert!(world.row(0).is_none_or(|r| r.settled), "seed {seed}");
    }
}

#[test]
fn so16_default_variables_end_at_the_limit_of_attempts() {
    so16(Policy::default());
    let mut world = World::new(Policy::default(), 1, 1);
    world.add(0, "busy.test");
    world.run_until(T0 + Duration::from_secs(86_400));
    assert_eq!(world.history[&key(0)].attempts.len(), 10);
}

#[test]
fn so16_the_advised_variables_end_at_the_ttl() {
    so16(Policy { max_attempts: 130, ttl: Duration::from_secs(432_000), ..Policy::default() });
}

#[test]
fn so17_a_dead_domain_with_100000_jobs_does_not_starve_a_live_one() {
    let mut world = World::new(Policy::default(), 1, 7);
    for n in 0..100_000 {
        world.add(n, "dead.test");
    }
    world.add(100_000, "good.test");
    world.run_until(T0 + Duration::from_secs(60));
    let live = &world.history[&key(100_000)];
    assert_eq!(live.attempts.len(), 1, "tried within 60 s");
    assert!(world.most_held <= Policy::default().held_max);
}

#[test]
fn so17_one_live_job_behind_a_hundred_of_each_of_fifty_dead_domains() {
    let mut world = World::new(Policy::default(), 1, 7);
    for n in 0..5_000 {
        world.add(n, &format!("dead{}.test", n % 50));
    }
    world.add(100_000, "good.test");
    world.run_until(T0 + Duration::from_secs(60));
    assert_eq!(world.history[&key(100_000)].attempts.len(), 1);
}

#[test]
fn so17_a_dead_domain_s_jobs_end_by_themselves() {
    let policy = Policy { ttl: HOUR * 4, ..Policy::default() };
    let mut world = World::new(policy, 1, 3);
    for n in 0..500 {
        world.add(n, "dead.test");
    }
    world.run_until(T0 + HOUR * 6);
    for n in 0..500 {
        let history = &world.history[&key(n)];
        assert_eq!(history.of(NoticeKind::Failed).len(), 1, "job {n}");
        assert!(history.attempts.len() <= 10);
    }
    assert!(world.nodes[0].is_idle() || world.nodes[0].held() == 0);
}

#[test]
fn q2_a_node_that_slept_through_its_lease_writes_no_dot_and_no_result() {
    let policy = Policy::default();
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 4 };
    start(&mut queue, fence, T0);
    // The process was stopped for longer than the lease, and wakes before its final dot.
    let later = T0 + policy.lease + Duration::from_secs(1);
    queue.handle(Event::DotPending { fence, recipients: vec![0], wait: Duration::from_secs(600) }, later);
    assert_eq!(drain(&mut queue, later), [Effect::Abandon { fence }, claim(&policy)]);
    let verdicts =
        vec![(0, Verdict::Delivered { reply: "250".into(), dsn: DsnDuty::Relayed, by_passed_on: true })];
    queue.handle(Event::Attempted { fence, verdicts, health: Health::Good }, later);
    queue.handle(Event::DotPending { fence, recipients: vec![0], wait: Duration::from_secs(600) }, later);
    assert_eq!(drain(&mut queue, later), [Effect::Abandon { fence }]);
}

#[test]
fn q2_the_dot_waits_for_a_lease_that_outlasts_its_reply() {
    let policy = Policy::default();
    let (wait, secs) = (Duration::from_secs(600), Duration::from_secs);
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    queue.handle(Event::DotPending { fence, recipients: vec![0], wait }, T0);
    let record = Effect::RecordDot { fence, recipients: vec![0], lease: wait + policy.lease };
    assert_eq!(drain(&mut queue, T0), std::slice::from_ref(&record));
    // Storage was slow: the lease it gave is too short by now, so it is asked again.
    let slow = T0 + secs(30);
    queue.handle(Event::DotRecorded { fence, result: Ok(slow + wait - secs(1)) }, slow);
    assert_eq!(drain(&mut queue, slow), [record, claim(&policy)]);
    queue.handle(Event::DotRecorded { fence, result: Ok(slow + wait + secs(60)) }, slow);
    assert_eq!(drain(&mut queue, slow), [Effect::Proceed { fence }]);
    // The renewal in the wait does not shorten it.
    let half = slow + (wait + secs(60)) / 2;
    assert_eq!(queue.deadline(), Some(half));
    assert_eq!(
        drain(&mut queue, half),
        [Effect::Renew { fence, lease: slow.since(T0) + wait - half.since(T0) }]
    );
    // A shutdown that reports nothing of the recipient leaves it in doubt, not untried.
    queue.handle(Event::Attempted { fence, verdicts: vec![], health: Health::Good }, half);
    let effects = drain(&mut queue, half);
    let Effect::Save { settlement, .. } = &effects[0] else { panic!("{effects:?}") };
    assert!(settlement.changes[0].in_doubt && settlement.changes[0].recipient.in_doubt == 1);
    assert!(settlement.next_due.unwrap() >= half + IN_DOUBT_WAIT);
}

/// Answers to two renewals could change places, and the shorter lease would be taken for the longer one.
#[test]
fn q2_a_dot_and_a_renewal_are_never_asked_for_at_once() {
    let policy = Policy::default();
    let (wait, lease) = (Duration::from_secs(600), policy.lease);
    let mut queue = Queue::new(policy, NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    let half = T0 + lease / 2;
    assert_eq!(drain(&mut queue, half)[0], Effect::Renew { fence, lease });
    queue.handle(Event::DotPending { fence, recipients: vec![0], wait }, half);
    assert_eq!(drain(&mut queue, half), []);
    queue.handle(Event::Renewed { fence, result: Ok(half + lease) }, half);
    assert_eq!(
        drain(&mut queue, half),
        [Effect::RecordDot { fence, recipients: vec![0], lease: wait + lease }]
    );
    // The dot's answer is late: the lease is not renewed beside it.
    assert_eq!(
        drain(&mut queue, half + lease / 2 + Duration::from_secs(1)).iter().filter_map(Effect::fence).count(),
        0
    );
}

#[test]
fn a_dot_that_storage_cannot_record_is_withheld_and_one_of_a_lost_lease_abandoned() {
    for (error, expected) in [(StoreError::Unavailable, false), (StoreError::Stale, true)] {
        let mut queue = Queue::new(Policy::default(), NodeId(1), [1; 32]);
        let fence = Fence { job: key(1), epoch: 1 };
        start(&mut queue, fence, T0);
        queue.handle(Event::DotPending { fence, recipients: vec![0], wait: HOUR }, T0);
        drain(&mut queue, T0);
        queue.handle(Event::DotRecorded { fence, result: Err(error) }, T0);
        let answer = if expected { Effect::Abandon { fence } } else { Effect::Withhold { fence } };
        assert_eq!(drain(&mut queue, T0).first(), Some(&answer));
        assert_eq!(queue.lease_until(fence).is_none(), expected);
    }
}

#[test]
fn so8_a_dot_recorded_by_a_holder_that_died_counts_as_an_attempt_in_doubt() {
    let mut queue = Queue::new(Policy::default(), NodeId(1), [1; 32]);
    let mut job = job(1, 2, "good.test", T0 + HOUR);
    job.recipients = vec![Recipient::new(Notify::Absent); 2];
    job.recipients[0].dot_sent = Some(T0);
    let now = T0 + Duration::from_secs(180);
    drain(&mut queue, now);
    queue.handle(Event::Claimed(vec![job]), now);
    let effects = drain(&mut queue, now);
    let Effect::Save { settlement, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((settlement.attempts, settlement.changes.len()), (1, 1));
    assert!(settlement.changes[0].in_doubt);
    assert_eq!(settlement.next_due, Some(T0 + IN_DOUBT_WAIT));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Deliver { .. })), "nothing is dialled");
}

#[test]
fn new_jobs_are_taken_at_once_while_nobody_waits_to_be_claimed() {
    let policy = Policy { held_max: 8, batch: 2, ..Policy::default() };
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    let of = |n| job(n, 1, &format!("d{n}.test"), T0 + HOUR);
    let claims = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Claim { .. }));
    // Whatever was queued before comes first.
    assert_eq!(queue.room_for_new(), 0);
    assert!(claims(&drain(&mut queue, T0)));
    queue.handle(Event::Claimed(vec![of(1), of(2)]), T0);
    assert_eq!(queue.room_for_new(), 0);
    assert!(claims(&drain(&mut queue, T0)));
    queue.handle(Event::Claimed(vec![of(3)]), T0);
    drain(&mut queue, T0);
    // Half of the room is for others.
    assert_eq!(queue.room_for_new(), 1);
    queue.handle(Event::Queued(vec![of(4)]), T0);
    let effects = drain(&mut queue, T0);
    let new = Fence { job: key(4), epoch: 1 };
    assert!(effects.iter().any(|e| matches!(e, Effect::Deliver { fence, .. } if *fence == new)));
    assert!(!claims(&effects), "a job that came by itself answers no claim: {effects:?}");
    assert_eq!((queue.held(), queue.room_for_new()), (4, 0));
    // A claim leaves the room that was promised, and while it is under way its own is taken.
    let mut other = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    drain(&mut other, T0);
    other.handle(Event::Claimed(vec![of(1)]), T0);
    drain(&mut other, T0);
    other.promised(6);
    let after = T0 + policy.poll_interval;
    assert!(drain(&mut other, after).iter().any(|e| matches!(e, Effect::Claim { limit: 1, .. })));
    assert_eq!(other.room_for_new(), 3);
    // The next claim comes when it would have come, and a failed one says nothing of who waits.
    let next = T0 + policy.poll_interval;
    assert!(claims(&drain(&mut queue, next)));
    queue.handle(Event::ClaimFailed, next);
    assert_eq!(queue.room_for_new(), 0);
    // One that comes while the node stops is given back.
    queue.handle(Event::Paused(true), next);
    queue.handle(Event::Queued(vec![of(5)]), next);
    let of_five = |e: &Effect| matches!(e, Effect::Release { fence, .. } if fence.job == key(5));
    assert!(drain(&mut queue, next).iter().any(of_five));
}

#[test]
fn q12_a_ttl_that_ends_while_leased_ends_in_one_notice() {
    let policy = Policy { ttl: Duration::from_secs(100), ..Policy::default() };
    let mut queue = Queue::new(policy, NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    let now = T0 + Duration::from_secs(101);
    let failure = Failure::local(protocol_smtp::status::Status::new(4, 2, 0), "450");
    queue.handle(
        Event::Attempted { fence, verdicts: vec![(0, Verdict::Temporary(failure))], health: Health::Good },
        now,
    );
    let effects = drain(&mut queue, now);
    let saves: Vec<_> = effects.iter().filter(|e| matches!(e, Effect::Save { .. })).collect();
    let [Effect::Save { settlement, .. }] = &saves[..] else { panic!("{effects:?}") };
    assert_eq!((settlement.next_due, settlement.notices.len()), (None, 1));
    // Storage is away: the same write is repeated, and after it was made nothing more is.
    queue.handle(Event::Saved { fence, result: Err(StoreError::Unavailable) }, now);
    let again = drain(&mut queue, now + Duration::from_secs(1));
    assert!(again.contains(saves[0]), "{again:?}");
    queue.handle(Event::Saved { fence, result: Ok(()) }, now);
    assert_eq!(queue.held(), 0);
}

#[test]
fn q12_a_ttl_that_ends_while_a_job_waits_for_its_turn_ends_it_without_an_attempt() {
    let policy = Policy { per_destination_start: 1, per_destination_max: 1, ..Policy::default() };
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    let (lease, end) = (policy.lease * 2, T0 + policy.ttl);
    let early = end - Duration::from_secs(10);
    drain(&mut queue, early);
    let tried = |n| Job { attempts: 1, ..job(n, 1, "good.test", early + lease) };
    queue.handle(Event::Claimed(vec![tried(1), tried(2)]), early);
    let first = Fence { job: key(1), epoch: 1 };
    assert!(
        drain(&mut queue, early)
            .iter()
            .any(|e| matches!(e, Effect::Deliver { fence, .. } if *fence == first))
    );
    // The first attempt ends when the time of both is over.
    let verdicts =
        vec![(0, Verdict::Delivered { reply: "250".into(), dsn: DsnDuty::Relayed, by_passed_on: false })];
    queue.handle(Event::Attempted { fence: first, verdicts, health: Health::Good }, end);
    let effects = drain(&mut queue, end);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Deliver { .. })), "{effects:?}");
    let second = Fence { job: key(2), epoch: 1 };
    let expired =
        |e: &Effect| matches!(e, Effect::Save { fence, settlement } if *fence == second && settlement.dead);
    assert!(effects.iter().any(expired), "{effects:?}");
}

#[test]
fn q12_a_job_cancelled_while_leased_is_forgotten() {
    let mut queue = Queue::new(Policy::default(), NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    let half = T0 + Duration::from_secs(60);
    assert!(drain(&mut queue, half).contains(&Effect::Renew { fence, lease: Policy::default().lease }));
    queue.handle(Event::Renewed { fence, result: Err(StoreError::Stale) }, half);
    assert_eq!(drain(&mut queue, half).first(), Some(&Effect::Abandon { fence }));
    assert_eq!((queue.held(), queue.delivering()), (0, 0));
}

#[test]
fn a_pause_gives_everything_back_and_ends_idle() {
    let mut world = World::new(Policy::default(), 1, 5);
    for n in 0..300 {
        world.add(n, ["good.test", "busy.test", "slow.test"][n as usize % 3]);
    }
    world.run_until(T0 + Duration::from_secs(5));
    assert!(world.nodes[0].held() > 0);
    world.pause(0);
    // Attempts under way end by themselves; the slowest takes three leases, then waits for its final reply.
    world.run_until(T0 + Duration::from_secs(1_000));
    assert!(world.nodes[0].is_idle());
    assert_eq!(world.leased(), 0, "no job is left leased");
    let before = world.attempts();
    world.run_until(T0 + HOUR);
    assert_eq!(world.attempts(), before, "nothing is tried while paused");
}

#[test]
fn jobs_held_and_attempts_under_way_stay_within_their_limits() {
    let policy = Policy { held_max: 30, deliveries_max: 10, ..Policy::default() };
    let mut world = World::new(policy, 1, 11);
    for n in 0..1_000 {
        world.add(n, &format!("slow{}.test", n % 40));
    }
    world.run_until(T0 + Duration::from_secs(120));
    assert!(
        world.most_held <= 30 && world.most_delivering == 10,
        "{} {}",
        world.most_held,
        world.most_delivering
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever storage and destinations do: at most one attempt of a job at a time over all nodes, nothing
    /// under a stale fence (both checked by the world at every effect), and in the end every job is settled.
    #[test]
    fn every_job_is_settled_once_and_by_one_node_at_a_time(
        seed in any::<u64>(),
        nodes in 1usize..4,
        jobs in 1u32..60,
        trouble in 0u64..400,
        lease_secs in 10u64..200,
    ) {
        let (lease, poll_interval) = (Duration::from_secs(lease_secs), Duration::from_secs(20));
        let mut world = World::new(Policy { lease, poll_interval, ..Policy::default() }, nodes, seed);
        world.trouble_permille = trouble;
        for n in 0..jobs {
            world.add(n, ["good.test", "busy.test", "dead.test", "slow.test", "broken.test"][n as usize % 5]);
        }
        world.run_until(T0 + HOUR * 5);
        world.trouble_permille = 0;
        for hour in 6..40 {
            if !world.is_settled() || world.leased() > 0 {
                world.run_until(T0 + HOUR * hour);
            }
        }
        for n in 0..jobs {
            let row = world.row(n).unwrap();
            prop_assert!(row.settled, "job {n} is {row:?}");
            prop_assert!(world.history[&key(n)].of(NoticeKind::Failed).len() <= 1);
        }
        prop_assert_eq!(world.leased(), 0);
    }
}

#[test]
fn q13_a_crashed_attempt_is_given_back_and_counted_and_its_slot_is_free_again() {
    let policy = Policy { per_destination_start: 1, ..Policy::default() };
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    queue.handle(Event::Crashed { fence: Fence { epoch: 9, ..fence } }, T0);
    assert_eq!(queue.delivering(), 1, "another claim's crash is none of this one's");
    queue.handle(Event::Crashed { fence }, T0);
    assert_eq!(queue.delivering(), 0);
    let effects = drain(&mut queue, T0);
    let Effect::Release { due, crashed: true, .. } = effects[0] else { panic!("{effects:?}") };
    assert!((24_000..=36_000).contains(&due.since(T0).as_millis()), "not at once: {due:?}");
    // Storage is away: the same is asked again, and the crash is still told.
    queue.handle(Event::Released { fence, result: Err(StoreError::Unavailable) }, T0);
    let again = drain(&mut queue, T0 + Duration::from_secs(1));
    assert!(again.contains(&effects[0]), "{again:?}");
    queue.handle(Event::Released { fence, result: Ok(()) }, T0 + Duration::from_secs(1));
    assert_eq!(queue.held(), 0);
    // The only slot of the destination is free for others.
    let other = job(2, 1, "good.test", T0 + policy.lease);
    queue.handle(Event::Claimed(vec![other]), T0 + Duration::from_secs(2));
    let effects = drain(&mut queue, T0 + Duration::from_secs(2));
    assert!(effects.iter().any(|e| matches!(e, Effect::Deliver { .. })), "{effects:?}");
}

#[test]
fn q13_a_crash_behind_the_recorded_dot_is_settled_in_doubt() {
    let mut queue = Queue::new(Policy::default(), NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    let wait = Duration::from_secs(600);
    queue.handle(Event::DotPending { fence, recipients: vec![0], wait }, T0);
    drain(&mut queue, T0);
    queue.handle(Event::DotRecorded { fence, result: Ok(T0 + HOUR) }, T0);
    drain(&mut queue, T0);
    queue.handle(Event::Crashed { fence }, T0);
    let effects = drain(&mut queue, T0);
    let Effect::Save { settlement, .. } = &effects[0] else { panic!("{effects:?}") };
    assert!(settlement.changes[0].in_doubt && settlement.next_due >= Some(T0 + IN_DOUBT_WAIT));
    assert_eq!(queue.delivering(), 0);
}

#[test]
fn q16_a_tenant_with_one_job_is_not_starved_by_one_with_100000_for_the_same_destination() {
    let mut world = World::new(Policy::default(), 1, 7);
    for n in 0..100_000 {
        world.add(n, "good.test");
    }
    world.add_for([9; 16], 100_000, "good.test");
    world.run_until(T0 + Duration::from_secs(60));
    assert_eq!(world.history[&key(100_000)].attempts.len(), 1, "tried within 60 s");
}

#[test]
fn so17_tenants_take_turns_at_one_destination() {
    let policy = Policy { per_destination_start: 1, per_destination_max: 1, ..Policy::default() };
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    drain(&mut queue, T0);
    let of = |tenant: u8, n: u32| Job { tenant: [tenant; 16], ..job(n, 1, "good.test", T0 + HOUR) };
    queue.handle(Event::Claimed(vec![of(1, 1), of(1, 2), of(2, 3), of(2, 4)]), T0);
    let mut order = Vec::new();
    for _ in 0..8 {
        for effect in drain(&mut queue, T0) {
            if let Effect::Deliver { fence, .. } = effect {
                order.push(fence.job);
                let verdict =
                    Verdict::Delivered { reply: "250".into(), dsn: DsnDuty::Relayed, by_passed_on: true };
                queue.handle(
                    Event::Attempted { fence, verdicts: vec![(0, verdict)], health: Health::Good },
                    T0,
                );
            }
        }
    }
    // Two may wait; the third is the other tenant's share of them.
    assert_eq!(order, [key(1), key(3), key(2)]);
}

#[test]
fn rfc2852_a_job_that_waits_past_the_deadline_of_mode_r_is_never_tried() {
    let policy = Policy { per_destination_start: 1, ..Policy::default() };
    let mut queue = Queue::new(policy.clone(), NodeId(1), [1; 32]);
    let fence = Fence { job: key(1), epoch: 1 };
    start(&mut queue, fence, T0);
    let at = T0 + Duration::from_secs(5);
    let deliver_by = Some(DeliverBy { at, give_up: true, trace: false });
    let urgent = |n| Job { deliver_by, ..job(n, 1, "good.test", T0 + HOUR) };
    queue.handle(Event::Claimed(vec![urgent(2)]), T0);
    drain(&mut queue, T0);
    assert_eq!(queue.deadline(), Some(at), "a claim is under way, and the job is given up then");
    let effects = drain(&mut queue, at);
    let settled = effects.iter().find_map(|e| match e {
        Effect::Save { fence, settlement } if fence.job == key(2) => Some(settlement),
        _ => None,
    });
    let settled = settled.expect("given up in line");
    assert_eq!((settled.next_due, settled.attempts, settled.notices.len()), (None, 0, 1));
    // One that is claimed too late is settled at once, though it was never tried.
    queue.handle(Event::Claimed(vec![urgent(3)]), at);
    let effects = drain(&mut queue, at);
    assert!(effects.iter().any(|e| matches!(e, Effect::Save { .. })), "{effects:?}");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Deliver { .. })), "{effects:?}");
}

#[test]
fn rfc2852_mode_n_tells_at_the_deadline_and_goes_on() {
    let mut queue = Queue::new(Policy::default(), NodeId(1), [1; 32]);
    drain(&mut queue, T0);
    let at = T0 + Duration::from_secs(5);
    let deliver_by = Some(DeliverBy { at, give_up: false, trace: false });
    let told = Job { deliver_by, ..job(1, 1, "good.test", T0 + HOUR) };
    queue.handle(Event::Claimed(vec![told.clone()]), at);
    let effects = drain(&mut queue, at);
    let Effect::Save { settlement, fence } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(settlement.notices[0].kind, NoticeKind::Delayed);
    assert_eq!((settlement.next_due, settlement.attempts), (Some(at), 0));
    queue.handle(Event::Saved { fence: *fence, result: Ok(()) }, at);
    // Claimed again it is tried.
    let recipients = vec![settlement.changes[0].recipient.clone()];
    let again = Job { recipients, fence: Fence { job: key(1), epoch: 2 }, ..told };
    queue.handle(Event::Claimed(vec![again]), at);
    let effects = drain(&mut queue, at);
    assert!(effects.iter().any(|e| matches!(e, Effect::Deliver { .. })), "{effects:?}");
}
