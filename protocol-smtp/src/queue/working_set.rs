//! The machine. A held job is in one of four phases, and every claim ends in `Save`, `Release` or the loss
//! of its lease:
//!
//! ```text
//! Claimed ──┬─ Waiting ── Deliver ── Delivering ── Attempted ──┬─ Saving ── Saved ── gone
//!           │     │                      │ DotPending          │
//!           │     │                      └ RecordDot, Proceed  └─ nothing tried: Releasing
//!           ├─────┴─ no room, resting, paused: Releasing ── Released ── gone
//!           └─ nothing pending, expired, in doubt: Saving
//! ```
//!
//! At any time: the lease's end, or `StoreError::Stale`, and the job is forgotten; if it was being
//! delivered, `Abandon` says so. Nothing happens under a fence after that.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::decide::{IN_DOUBT_WAIT, settle, settle_expired};
use super::destination::Destinations;
use super::policy::Policy;
use super::types::*;
use crate::rng::Rng;
use crate::status::Status;

/// Between two tries of a write that storage could not do.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// The working set of one node. See the module for how to drive it.
#[derive(Debug)]
pub struct Queue {
    policy: Policy,
    rng: Rng,
    jobs: BTreeMap<JobKey, Held>,
    destinations: Destinations,
    /// Effects decided and not yet taken.
    ready: VecDeque<Effect>,
    /// Limit of the claim under way.
    claiming: Option<u16>,
    next_claim: Timestamp,
    /// Attempts under way.
    delivering: usize,
    paused: bool,
    /// Timers were looked at for this time, and no event came since.
    checked_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Held {
    job: Job,
    phase: Phase,
    renew_at: Timestamp,
    /// Storage is asked to prolong the lease, by `Renew` or `RecordDot`: never by both at once, for their
    /// answers could change places and leave a wrong end of the lease here.
    renewing: bool,
    /// The lease must reach this far: the reply to a final dot is awaited.
    needed_until: Option<Timestamp>,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Delivering { since: Timestamp, dot: Dot },
    Saving { settlement: Settlement, retry_at: Option<Timestamp> },
    Releasing { due: Timestamp, retry_at: Option<Timestamp> },
}

#[derive(Debug, Clone)]
enum Dot {
    /// Far from it.
    None,
    /// It waits for the answer to a renewal.
    Wanted { recipients: Vec<u16>, wait: Duration },
    /// Storage is asked to record it.
    Recording { recipients: Vec<u16>, wait: Duration },
    /// It may be on the wire.
    Recorded { recipients: Vec<u16> },
}

impl Queue {
    /// An empty working set. `seed` drives jitter only; `node` keeps the nodes of an installation apart.
    pub fn new(policy: Policy, node: NodeId, seed: [u8; 32]) -> Queue {
        Queue {
            policy,
            rng: Rng::new(seed, node.0),
            jobs: BTreeMap::new(),
            destinations: Destinations::default(),
            ready: VecDeque::new(),
            claiming: None,
            next_claim: Timestamp(i64::MIN),
            delivering: 0,
            paused: false,
            checked_at: None,
        }
    }

    /// Takes in what happened. Events under a fence that is not held are ignored.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        self.checked_at = None;
        match event {
            Event::Claimed(jobs) => self.claimed(jobs, now),
            Event::ClaimFailed => {
                self.claiming = None;
                self.next_claim = now + self.policy.poll_interval;
            }
            Event::Wake => self.next_claim = self.next_claim.min(now),
            Event::Attempted { fence, verdicts, health } => self.attempted(fence, verdicts, health, now),
            Event::DotPending { fence, recipients, wait } => self.dot_pending(fence, recipients, wait),
            Event::Renewed { fence, result } => self.renewed(fence, result, now),
            Event::DotRecorded { fence, result } => self.dot_recorded(fence, result, now),
            Event::Saved { fence, result } | Event::Released { fence, result } => {
                self.written(fence, result, now)
            }
            Event::Paused(paused) => self.pause(paused, now),
        }
    }

    /// The next thing to do. Drain until `None` after each [`Queue::handle`] and at each deadline.
    pub fn poll(&mut self, now: Timestamp) -> Option<Effect> {
        if self.checked_at != Some(now) {
            self.check_timers(now);
            self.checked_at = Some(now);
        }
        if let Some(effect) = self.ready.pop_front() {
            return Some(effect);
        }
        if self.paused {
            return None;
        }
        self.start_attempt(now).or_else(|| self.claim(now))
    }

    /// Poll no later than this.
    pub fn deadline(&self) -> Option<Timestamp> {
        let claim = self.may_claim().then_some(self.next_claim);
        self.jobs.values().map(Held::next_timer).chain(claim).min()
    }

    /// Whether no job is held and no claim is under way: after `Paused(true)`, the moment to stop.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.claiming.is_none()
    }

    /// Jobs held: waiting, under way and being written.
    pub fn held(&self) -> usize {
        self.jobs.len()
    }

    /// Attempts under way.
    pub fn delivering(&self) -> usize {
        self.delivering
    }

    /// Until when this claim is ours, as far as known here; `None` when it is not held.
    pub fn lease_until(&self, fence: Fence) -> Option<Timestamp> {
        self.jobs.get(&fence.job).filter(|h| h.job.fence == fence).map(|h| h.job.lease_until)
    }

    // ---- claims ---------------------------------------------------------------------------------------

    fn may_claim(&self) -> bool {
        !self.paused && self.claiming.is_none() && self.jobs.len() < self.policy.held_max
    }

    fn claim(&mut self, now: Timestamp) -> Option<Effect> {
        if !self.may_claim() || now < self.next_claim {
            return None;
        }
        let room = self.policy.held_max - self.jobs.len();
        let limit = self.policy.batch.max(1).min(u16::try_from(room).unwrap_or(u16::MAX));
        self.claiming = Some(limit);
        Some(Effect::Claim { limit, lease: self.policy.lease })
    }

    fn claimed(&mut self, jobs: Vec<Job>, now: Timestamp) {
        let limit = self.claiming.take().unwrap_or(0);
        // A full batch means that more may be due: a dead destination's line must not hide a live one's.
        let more = jobs.len() >= usize::from(limit.max(1));
        self.next_claim = if more { now } else { now + self.policy.poll_interval };
        for job in jobs {
            self.take_in(job, now);
        }
    }

    fn take_in(&mut self, job: Job, now: Timestamp) {
        let key = job.fence.job;
        if let Some(held) = self.jobs.get(&key) {
            if held.job.fence.epoch >= job.fence.epoch {
                return; // an old answer
            }
            self.forget(key);
        }
        if now >= job.lease_until {
            return; // the answer came too late: the claim is over already
        }
        let phase = self.first_phase(&job, now);
        let renew_at = now + job.lease_until.since(now) / 2;
        if let Phase::Waiting = phase {
            self.destinations.wait(&job.destination, key, &self.policy, now);
        }
        let held = Held { job, phase, renew_at, renewing: false, needed_until: None };
        self.jobs.insert(key, held);
        self.write(key);
    }

    /// What a fresh claim is for.
    fn first_phase(&mut self, job: &Job, now: Timestamp) -> Phase {
        let pending = || job.recipients.iter().filter(|r| r.state == State::Pending);
        if self.paused {
            return Phase::Releasing { due: now, retry_at: None };
        }
        if pending().next().is_none() {
            return Phase::saving(settle_expired(job));
        }
        if let Some(dot_sent) = pending().filter_map(|r| r.dot_sent).max() {
            return Phase::saving(self.settle_lost_dot(job, dot_sent, now));
        }
        let resting = self.destinations.entry(&job.destination, &self.policy, now).is_resting(now);
        let over = job.attempts >= self.policy.max_attempts || now >= job.start + self.policy.ttl;
        if over && (job.attempts > 0 || resting) {
            return Phase::saving(settle_expired(job));
        }
        let jitter = self.rng.next();
        let destination = self.destinations.entry(&job.destination, &self.policy, now);
        if resting || !destination.has_room() {
            return Phase::Releasing { due: destination.turn(now, jitter), retry_at: None };
        }
        Phase::Waiting
    }

    /// An earlier holder wrote, or was about to write, the final dot and left no result: that attempt counts
    /// as one in doubt. The wait counts from the dot.
    fn settle_lost_dot(&mut self, job: &Job, dot_sent: Timestamp, now: Timestamp) -> Settlement {
        let reply = "the server stopped between the end of the message and the peer's reply";
        let failure = Failure { status: Status::BAD_CONNECTION, reply: String::from(reply) };
        let sent = (0u16..).zip(&job.recipients).filter(|(_, r)| r.dot_sent.is_some());
        let verdicts: Vec<_> = sent.map(|(i, _)| (i, Verdict::InDoubt(failure.clone()))).collect();
        let at = dot_sent.min(now);
        let mut settlement =
            settle(job, &verdicts, &self.policy, at, self.rng.next()).unwrap_or_else(|| settle_expired(job));
        settlement.next_due = settlement.next_due.map(|due| due.max(at + IN_DOUBT_WAIT));
        settlement
    }

    // ---- attempts -------------------------------------------------------------------------------------

    fn start_attempt(&mut self, now: Timestamp) -> Option<Effect> {
        if self.delivering >= self.policy.deliveries_max {
            return None;
        }
        let (jobs, margin) = (&self.jobs, self.policy.start_margin());
        let lease_holds = |key: JobKey| jobs.get(&key).is_some_and(|h| now + margin <= h.job.lease_until);
        let key = self.destinations.next(now, lease_holds)?;
        let held = self.jobs.get_mut(&key)?;
        if held.job.attempts > 0 && now >= held.job.start + self.policy.ttl {
            // Its time ended while it waited for its turn.
            held.phase = Phase::saving(settle_expired(&held.job));
            self.write(key);
            return self.ready.pop_front();
        }
        held.phase = Phase::Delivering { since: now, dot: Dot::None };
        self.delivering += 1;
        if let Some(destination) = self.destinations.known(&held.job.destination) {
            destination.started(now);
        }
        let pending = (0u16..).zip(&held.job.recipients).filter(|(_, r)| r.state == State::Pending);
        Some(Effect::Deliver {
            fence: held.job.fence,
            destination: held.job.destination.clone(),
            recipients: pending.map(|(index, _)| index).collect(),
            attempt: held.job.attempts.saturating_add(1),
        })
    }

    fn attempted(&mut self, fence: Fence, mut verdicts: Vec<(u16, Verdict)>, health: Health, now: Timestamp) {
        let jitter = self.rng.next();
        let Some(held) = held_under(&mut self.jobs, fence) else { return };
        let Phase::Delivering { since, dot } = &held.phase else { return };
        let took = now.since(*since);
        if let Dot::Recorded { recipients } = dot {
            doubt_the_silent(recipients, &mut verdicts);
        }
        let tried = verdicts.iter().any(|(_, v)| *v != Verdict::NotTried);
        held.phase = match settle(&held.job, &verdicts, &self.policy, now, jitter) {
            Some(settlement) => Phase::saving(settlement),
            None => Phase::Releasing { due: now, retry_at: None },
        };
        held.needed_until = None;
        let name = held.job.destination.clone();
        self.delivering -= 1;
        self.write(fence.job);
        let Some(destination) = self.destinations.known(&name) else { return };
        if !tried {
            destination.ended();
        } else if destination.report(health, took, &self.policy, now) {
            self.send_away(&name, now);
        }
    }

    /// The destination is left alone: who waits for it is given back, so that others can be claimed.
    fn send_away(&mut self, name: &str, now: Timestamp) {
        let Some(destination) = self.destinations.known(name) else { return };
        for key in core::mem::take(&mut destination.waiting) {
            let due = destination.turn(now, self.rng.next());
            if let Some(held) = self.jobs.get_mut(&key) {
                held.phase = Phase::Releasing { due, retry_at: None };
                self.ready.push_back(Effect::Release { fence: held.job.fence, due });
            }
        }
    }

    // ---- the final dot --------------------------------------------------------------------------------

    fn dot_pending(&mut self, fence: Fence, recipients: Vec<u16>, wait: Duration) {
        let lease = self.policy.lease;
        let Some(held) = held_under(&mut self.jobs, fence) else {
            // The lease went while the session worked: it must not write the dot.
            self.ready.push_back(Effect::Abandon { fence });
            return;
        };
        let Phase::Delivering { dot, .. } = &mut held.phase else { return };
        *dot = Dot::Wanted { recipients, wait };
        self.ready.extend(held.record_dot(lease));
    }

    fn dot_recorded(&mut self, fence: Fence, result: Result<Timestamp, StoreError>, now: Timestamp) {
        let lease = self.policy.lease;
        let Some(held) = held_under(&mut self.jobs, fence) else { return };
        held.renewing = false;
        let Phase::Delivering { dot, .. } = &mut held.phase else { return };
        let Dot::Recording { recipients, wait } = dot.clone() else { return };
        match result {
            Ok(until) if until >= now + wait => {
                *dot = Dot::Recorded { recipients };
                held.prolong(until, now);
                held.needed_until = Some(now + wait);
                self.ready.push_back(Effect::Proceed { fence });
            }
            // Storage took so long that the lease no longer outlasts the wait: once more.
            Ok(until) => {
                *dot = Dot::Wanted { recipients, wait };
                held.prolong(until, now);
                self.ready.extend(held.record_dot(lease));
            }
            Err(StoreError::Unavailable) => {
                *dot = Dot::None;
                self.ready.push_back(Effect::Withhold { fence });
            }
            Err(StoreError::Stale) => self.forget(fence.job),
        }
    }

    // ---- leases and writes ----------------------------------------------------------------------------

    fn renewed(&mut self, fence: Fence, result: Result<Timestamp, StoreError>, now: Timestamp) {
        let lease = self.policy.lease;
        let Some(held) = held_under(&mut self.jobs, fence) else { return };
        held.renewing = false;
        match result {
            Ok(until) => held.prolong(until, now),
            Err(StoreError::Unavailable) => held.renew_at = now + STORE_RETRY,
            Err(StoreError::Stale) => return self.forget(fence.job),
        }
        self.ready.extend(held.record_dot(lease));
    }

    fn written(&mut self, fence: Fence, result: Result<(), StoreError>, now: Timestamp) {
        let Some(held) = held_under(&mut self.jobs, fence) else { return };
        let (Phase::Saving { retry_at, .. } | Phase::Releasing { retry_at, .. }) = &mut held.phase else {
            return;
        };
        match result {
            Err(StoreError::Unavailable) => *retry_at = Some(now + STORE_RETRY),
            Ok(()) | Err(StoreError::Stale) => self.forget(fence.job),
        }
    }

    /// Emits the write that a job's phase asks for.
    fn write(&mut self, key: JobKey) {
        let Some(held) = self.jobs.get_mut(&key) else { return };
        let fence = held.job.fence;
        match &mut held.phase {
            Phase::Saving { settlement, retry_at } => {
                *retry_at = None;
                self.ready.push_back(Effect::Save { fence, settlement: settlement.clone() });
            }
            Phase::Releasing { due, retry_at } => {
                *retry_at = None;
                self.ready.push_back(Effect::Release { fence, due: *due });
            }
            Phase::Waiting | Phase::Delivering { .. } => {}
        }
    }

    /// The claim is lost or over. Effects under it that nobody took are withdrawn.
    fn forget(&mut self, key: JobKey) {
        let Some(held) = self.jobs.remove(&key) else { return };
        let fence = held.job.fence;
        self.ready.retain(|e| e.fence() != Some(fence));
        match held.phase {
            Phase::Waiting => self.destinations.leave(&held.job.destination, key),
            Phase::Delivering { .. } => {
                self.delivering -= 1;
                if let Some(destination) = self.destinations.known(&held.job.destination) {
                    destination.ended();
                }
                self.ready.push_back(Effect::Abandon { fence });
            }
            Phase::Saving { .. } | Phase::Releasing { .. } => {}
        }
    }

    fn pause(&mut self, paused: bool, now: Timestamp) {
        self.paused = paused;
        self.next_claim = self.next_claim.min(now);
        if !paused {
            return;
        }
        let waiting = self.jobs.iter().filter(|(_, h)| matches!(h.phase, Phase::Waiting));
        let keys: Vec<JobKey> = waiting.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(held) = self.jobs.get_mut(&key) {
                held.phase = Phase::Releasing { due: now, retry_at: None };
                self.destinations.leave(&held.job.destination, key);
            }
            self.write(key);
        }
    }

    fn check_timers(&mut self, now: Timestamp) {
        let due = self.jobs.iter().filter(|(_, h)| h.next_timer() <= now);
        let due: Vec<JobKey> = due.map(|(key, _)| *key).collect();
        for key in due {
            let Some(held) = self.jobs.get_mut(&key) else { continue };
            if now >= held.job.lease_until {
                self.forget(key);
                continue;
            }
            if !held.renewing && now >= held.renew_at {
                held.renewing = true;
                let needed = held.needed_until.map_or(Duration::ZERO, |until| until.since(now));
                let lease = self.policy.lease.max(needed);
                self.ready.push_back(Effect::Renew { fence: held.job.fence, lease });
            }
            if held.retry_at().is_some_and(|at| now >= at) {
                self.write(key);
            }
        }
    }
}

impl Phase {
    fn saving(settlement: Settlement) -> Phase {
        Phase::Saving { settlement, retry_at: None }
    }
}

impl Held {
    fn retry_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Saving { retry_at, .. } | Phase::Releasing { retry_at, .. } => retry_at,
            Phase::Waiting | Phase::Delivering { .. } => None,
        }
    }

    fn next_timer(&self) -> Timestamp {
        let renew = if self.renewing { self.job.lease_until } else { self.renew_at };
        renew.min(self.job.lease_until).min(self.retry_at().unwrap_or(renew))
    }

    /// Asks for the dot that is wanted, unless a renewal is still under way.
    fn record_dot(&mut self, lease: Duration) -> Option<Effect> {
        let Phase::Delivering { dot, .. } = &mut self.phase else { return None };
        let Dot::Wanted { recipients, wait } = dot.clone() else { return None };
        if core::mem::replace(&mut self.renewing, true) {
            return None;
        }
        *dot = Dot::Recording { recipients: recipients.clone(), wait };
        Some(Effect::RecordDot { fence: self.job.fence, recipients, lease: wait + lease })
    }

    /// The lease holds until `until`; it is renewed at half of what is left.
    fn prolong(&mut self, until: Timestamp, now: Timestamp) {
        self.job.lease_until = until;
        self.renew_at = now + until.since(now) / 2;
    }
}

/// The job, if it is held under this very claim.
fn held_under(jobs: &mut BTreeMap<JobKey, Held>, fence: Fence) -> Option<&mut Held> {
    jobs.get_mut(&fence.job).filter(|h| h.job.fence == fence)
}

/// Recipients whose final dot may be on the wire and for whom no result came are in doubt, not untried.
fn doubt_the_silent(recipients: &[u16], verdicts: &mut Vec<(u16, Verdict)>) {
    let reply = "the attempt was given up between the end of the message and the peer's reply";
    for index in recipients {
        let told = verdicts.iter().any(|(i, v)| i == index && *v != Verdict::NotTried);
        if !told {
            verdicts.retain(|(i, _)| i != index);
            let failure = Failure { status: Status::BAD_CONNECTION, reply: String::from(reply) };
            verdicts.push((*index, Verdict::InDoubt(failure)));
        }
    }
}
