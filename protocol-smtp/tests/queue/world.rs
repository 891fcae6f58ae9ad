//! Storage, destinations and time for queues: everything that is not the queue.

use std::collections::{BTreeMap, BTreeSet};

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::queue::*;
use protocol_smtp::status::Status;

pub const T0: Timestamp = Timestamp(1_800_000_000_000);
/// How long after the end of a lease storage gives the job to another node.
const SKEW: Duration = Duration::from_millis(500);
/// What storage needs for a claim, for each row of it, and for any other write: 4,500 claims with results a
/// second, which is what the embedded database does on a small machine.
const CLAIM_MICROS: u64 = 2_000;
const ROW_MICROS: u64 = 100;
const WRITE_MICROS: u64 = 100;

pub fn key(n: u32) -> JobKey {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    JobKey(bytes)
}

pub fn job(n: u32, epoch: u64, destination: &str, lease_until: Timestamp) -> Job {
    Job {
        fence: Fence { job: key(n), epoch },
        lease_until,
        destination: destination.into(),
        null_sender: false,
        is_dsn: false,
        start: T0,
        attempts: 0,
        tenant: [0; 16],
        deliver_by: None,
        recipients: vec![Recipient::new(Notify::Absent)],
    }
}

pub fn drain(queue: &mut Queue, now: Timestamp) -> Vec<Effect> {
    std::iter::from_fn(|| queue.poll(now)).collect()
}

pub fn claim(policy: &Policy) -> Effect {
    Effect::Claim { limit: policy.batch, lease: policy.lease }
}

/// Brings one job under way.
pub fn start(queue: &mut Queue, fence: Fence, now: Timestamp) {
    drain(queue, now);
    let claimed = Job { fence, ..job(1, 1, "good.test", now + Policy::default().lease) };
    queue.handle(Event::Claimed(vec![claimed]), now);
    let effects = drain(queue, now);
    assert!(matches!(&effects[..], [Effect::Deliver { fence: f, .. }] if *f == fence), "{effects:?}");
}

#[derive(Debug)]
pub struct Row {
    job: Job,
    due: Timestamp,
    /// Until when it is leased, if it is.
    leased: Option<Timestamp>,
    pub settled: bool,
}

#[derive(Default, Debug)]
pub struct History {
    pub attempts: Vec<Timestamp>,
    notices: Vec<(Timestamp, NoticeKind)>,
}

impl History {
    pub fn of(&self, kind: NoticeKind) -> Vec<Timestamp> {
        self.notices.iter().filter(|(_, k)| *k == kind).map(|(at, _)| *at).collect()
    }
}

/// Something that will happen.
enum Later {
    /// The node hears of it.
    Tell(usize, Event),
    /// An attempt comes to its end, or to its final dot.
    AttemptEnds(usize, Fence),
}

pub struct World {
    policy: Policy,
    pub nodes: Vec<Queue>,
    rows: BTreeMap<JobKey, Row>,
    /// Jobs that may be claimed, by when.
    due: BTreeSet<(Timestamp, JobKey)>,
    pub history: BTreeMap<JobKey, History>,
    later: BTreeMap<(Timestamp, u64), Later>,
    seq: u64,
    now: Timestamp,
    rng: u64,
    /// When storage has done what it was asked so far: it does one thing after another.
    store_free: Timestamp,
    /// Attempts under way: by whom, under which fence.
    under_way: BTreeMap<JobKey, (usize, Fence)>,
    /// Attempts that stand before their final dot.
    at_dot: BTreeSet<Fence>,
    /// Claims that a node knows to be lost.
    lost: BTreeSet<(usize, Fence)>,
    /// How often storage fails or answers late, in a thousand.
    pub trouble_permille: u64,
    /// How long a destination takes, at most.
    pub slowness: Duration,
    pub most_held: usize,
    pub most_delivering: usize,
}

impl World {
    pub fn new(policy: Policy, nodes: usize, seed: u64) -> World {
        let queue = |n: usize| Queue::new(policy.clone(), NodeId(n as u64), [seed as u8; 32]);
        World {
            nodes: (0..nodes).map(queue).collect(),
            policy,
            rows: BTreeMap::new(),
            due: BTreeSet::new(),
            history: BTreeMap::new(),
            later: BTreeMap::new(),
            seq: 0,
            now: T0,
            rng: seed,
            store_free: T0,
            under_way: BTreeMap::new(),
            at_dot: BTreeSet::new(),
            lost: BTreeSet::new(),
            trouble_permille: 0,
            slowness: Duration::from_secs(2),
            most_held: 0,
            most_delivering: 0,
        }
    }

    pub fn add(&mut self, n: u32, destination: &str) {
        self.add_for([0; 16], n, destination);
    }

    pub fn add_for(&mut self, tenant: [u8; 16], n: u32, destination: &str) {
        let job = Job { tenant, ..job(n, 0, destination, T0) };
        self.rows.insert(key(n), Row { job, due: T0, leased: None, settled: false });
        self.due.insert((T0, key(n)));
        self.history.insert(key(n), History::default());
    }

    pub fn row(&self, n: u32) -> Option<&Row> {
        self.rows.get(&key(n))
    }

    pub fn leased(&self) -> usize {
        self.rows.values().filter(|r| r.leased.is_some_and(|until| until > self.now)).count()
    }

    pub fn is_settled(&self) -> bool {
        self.rows.values().all(|r| r.settled)
    }

    pub fn attempts(&self) -> usize {
        self.history.values().map(|h| h.attempts.len()).sum()
    }

    pub fn pause(&mut self, node: usize) {
        self.nodes[node].handle(Event::Paused(true), self.now);
        self.turn(node);
    }

    pub fn run_until(&mut self, end: Timestamp) {
        for node in 0..self.nodes.len() {
            self.turn(node);
        }
        loop {
            let told = self.later.keys().next().map(|(at, _)| *at);
            let woken = self.nodes.iter().filter_map(Queue::deadline).min();
            let Some(next) = told.into_iter().chain(woken).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.later.first_entry().filter(|e| e.key().0 <= self.now) {
                match entry.remove() {
                    Later::Tell(node, event) => self.tell(node, event),
                    Later::AttemptEnds(node, fence) => self.attempt_ends(node, fence),
                }
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].deadline().is_some_and(|at| at <= self.now) {
                    self.turn(node);
                }
            }
        }
        self.now = self.now.max(end);
    }

    fn random(&mut self, below: u64) -> u64 {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.rng >> 33) % below.max(1)
    }

    fn trouble(&mut self) -> bool {
        self.random(1_000) < self.trouble_permille
    }

    fn schedule(&mut self, at: Timestamp, what: Later) {
        self.seq += 1;
        self.later.insert((at, self.seq), what);
    }

    fn tell(&mut self, node: usize, event: Event) {
        match &event {
            Event::Renewed { fence, result: Err(StoreError::Stale) }
            | Event::DotRecorded { fence, result: Err(StoreError::Stale) }
            | Event::Saved { fence, result: Err(StoreError::Stale) | Ok(()) }
            | Event::Released { fence, result: Err(StoreError::Stale) | Ok(()) } => {
                self.lost.insert((node, *fence));
            }
            _ => {}
        }
        self.nodes[node].handle(event, self.now);
        self.turn(node);
    }

    fn turn(&mut self, node: usize) {
        while let Some(effect) = self.nodes[node].poll(self.now) {
            self.check(node, &effect);
            self.carry_out(node, effect);
        }
        self.most_held = self.most_held.max(self.nodes[node].held());
        self.most_delivering = self.most_delivering.max(self.nodes[node].delivering());
    }

    /// Nothing under a fence that the node knows to be lost, or whose lease has ended.
    fn check(&self, node: usize, effect: &Effect) {
        let Some(fence) = effect.fence() else { return };
        if let Effect::Abandon { .. } = effect {
            return;
        }
        assert!(!self.lost.contains(&(node, fence)), "{effect:?} under a fence known to be lost");
        let row = &self.rows[&fence.job];
        let until = self.nodes[node].lease_until(fence);
        assert!(until.is_some_and(|until| until > self.now), "{effect:?} after the end of its lease");
        if let Effect::Deliver { .. } = effect {
            assert!(!self.under_way.contains_key(&fence.job), "two attempts of one job");
            assert_eq!(row.job.fence.epoch, fence.epoch, "delivered under a stale fence");
            assert!(row.leased.is_some_and(|until| until > self.now), "delivered without a lease");
        }
    }

    /// Storage does it now; the answer comes `cost` later, behind what else it was asked.
    fn store_answer(&mut self, node: usize, cost_micros: u64, event: Event) {
        self.store_free = Timestamp(self.store_free.0.max(self.now.0 * 1_000));
        self.store_free.0 += cost_micros as i64;
        let late = if self.trouble() { self.random(self.policy.lease.as_millis() as u64 * 2) } else { 0 };
        let at = Timestamp(self.store_free.0 / 1_000 + late as i64);
        self.schedule(at, Later::Tell(node, event));
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Claim { limit, lease } => self.claim(node, usize::from(limit), lease),
            Effect::Renew { fence, lease } => {
                let result = self.prolong(fence, lease);
                self.store_answer(node, WRITE_MICROS, Event::Renewed { fence, result });
            }
            Effect::RecordDot { fence, lease, .. } => {
                let result = self.prolong(fence, lease);
                self.store_answer(node, WRITE_MICROS, Event::DotRecorded { fence, result });
            }
            Effect::Save { fence, settlement } => {
                let result = self.save(fence, settlement);
                self.store_answer(node, WRITE_MICROS, Event::Saved { fence, result });
            }
            Effect::Release { fence, due, .. } => {
                let result = self.release(fence, due);
                self.store_answer(node, WRITE_MICROS, Event::Released { fence, result });
            }
            Effect::Deliver { fence, .. } => {
                self.under_way.insert(fence.job, (node, fence));
                if let Some(history) = self.history.get_mut(&fence.job) {
                    history.attempts.push(self.now);
                }
                let at = self.now + self.duration(fence);
                self.schedule(at, Later::AttemptEnds(node, fence));
            }
            Effect::Proceed { fence } => {
                let wait = self.random(self.slowness.as_millis() as u64 + 1);
                self.schedule(self.now + Duration::from_millis(wait), Later::AttemptEnds(node, fence));
            }
            Effect::Withhold { fence } => self.schedule(self.now, Later::AttemptEnds(node, fence)),
            Effect::Abandon { fence } => {
                self.lost.insert((node, fence));
                if self.under_way.get(&fence.job) == Some(&(node, fence)) {
                    self.under_way.remove(&fence.job);
                }
            }
        }
    }

    fn duration(&mut self, fence: Fence) -> Duration {
        let destination = &self.rows[&fence.job].job.destination;
        if destination.starts_with("dead") {
            return Duration::from_secs(30);
        }
        let most = if destination.starts_with("slow") { self.policy.lease * 3 } else { self.slowness };
        let millis = self.random(most.as_millis() as u64 + 1);
        Duration::from_millis(millis)
    }

    fn attempt_ends(&mut self, node: usize, fence: Fence) {
        if self.under_way.get(&fence.job) != Some(&(node, fence)) {
            return; // abandoned
        }
        let destination = self.rows[&fence.job].job.destination.clone();
        let recipients = || vec![0];
        if !destination.starts_with("dead") && self.at_dot.insert(fence) {
            let wait = Duration::from_secs(600);
            return self.tell(node, Event::DotPending { fence, recipients: recipients(), wait });
        }
        self.under_way.remove(&fence.job);
        let failure = |status| Failure::local(status, "the peer said no");
        let (verdict, health) =
            match destination.split('.').next().unwrap_or("").trim_end_matches(char::is_numeric) {
                "dead" => (Verdict::Temporary(failure(Status::NO_ANSWER)), Health::Unreachable),
                "busy" => (Verdict::Temporary(failure(Status::new(4, 2, 0))), Health::Good),
                "broken" => (Verdict::InDoubt(failure(Status::BAD_CONNECTION)), Health::Busy),
                _ => (
                    Verdict::Delivered { reply: "250 ok".into(), dsn: DsnDuty::Relayed, by_passed_on: true },
                    Health::Good,
                ),
            };
        self.tell(node, Event::Attempted { fence, verdicts: vec![(0, verdict)], health });
    }

    // ---- storage --------------------------------------------------------------------------------------

    fn claim(&mut self, node: usize, limit: usize, lease: Duration) {
        if self.trouble() {
            return self.store_answer(node, CLAIM_MICROS, Event::ClaimFailed);
        }
        let mut claimed = Vec::new();
        let ready: Vec<_> = self.due.range(..=(self.now, JobKey([255; 16]))).take(limit).copied().collect();
        for (at, job) in ready {
            self.due.remove(&(at, job));
            let row = self.rows.get_mut(&job).expect("what is due has a row");
            row.job.fence.epoch += 1;
            row.leased = Some(self.now + lease);
            row.due = self.now + lease + SKEW;
            row.job.lease_until = self.now + lease;
            self.due.insert((row.due, job));
            claimed.push(row.job.clone());
        }
        let cost = CLAIM_MICROS + ROW_MICROS * claimed.len() as u64;
        self.store_answer(node, cost, Event::Claimed(claimed));
    }

    fn current(&mut self, fence: Fence) -> Result<&mut Row, StoreError> {
        if self.trouble() {
            return Err(StoreError::Unavailable);
        }
        let now = self.now;
        let row = self.rows.get_mut(&fence.job).ok_or(StoreError::Stale)?;
        let current = row.job.fence.epoch == fence.epoch && row.leased.is_some_and(|until| until > now);
        if current { Ok(row) } else { Err(StoreError::Stale) }
    }

    fn prolong(&mut self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError> {
        let until = self.now + lease;
        let row = self.current(fence)?;
        row.leased = Some(until);
        self.move_due(fence.job, until + SKEW);
        Ok(until)
    }

    fn release(&mut self, fence: Fence, due: Timestamp) -> Result<(), StoreError> {
        self.current(fence)?.leased = None;
        self.move_due(fence.job, due);
        Ok(())
    }

    fn save(&mut self, fence: Fence, settlement: Settlement) -> Result<(), StoreError> {
        let row = self.current(fence)?;
        row.leased = None;
        row.job.attempts = settlement.attempts;
        for change in settlement.changes {
            row.job.recipients[usize::from(change.index)] = change.recipient;
        }
        row.settled = settlement.next_due.is_none();
        let pending = row.job.recipients.iter().any(|r| r.state == State::Pending);
        assert_eq!(pending, settlement.next_due.is_some());
        match settlement.next_due {
            Some(due) => self.move_due(fence.job, due),
            None => {
                let row = &self.rows[&fence.job];
                self.due.remove(&(row.due, fence.job));
            }
        }
        let now = self.now;
        let history = self.history.entry(fence.job).or_default();
        history.notices.extend(settlement.notices.iter().map(|n| (now, n.kind)));
        Ok(())
    }

    fn move_due(&mut self, job: JobKey, due: Timestamp) {
        let Some(row) = self.rows.get_mut(&job) else { return };
        self.due.remove(&(row.due, job));
        row.due = due;
        self.due.insert((due, job));
    }
}
