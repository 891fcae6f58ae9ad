//! The machine. A held job is in one of four phases, and every claim ends in `Save`, `Release` or the loss
//! of its lease:
//!
//! ```text
//! Claimed ──┬─ Waiting ── Deliver ── Delivering ── Attempted ──┬─ Saving ── Saved ── gone
//!           │     │                      │ DotPending          │
//!           │     │                      └ RecordDot, Proceed  └─ nothing tried: Releasing
//!           ├─────┴─ no room, resting, paused, crashed: Releasing ── Released ── gone
//!           └─ nothing pending, expired, in doubt, past its deadline: Saving
//! ```
//!
//! At any time: the lease's end, or `StoreError::Stale`, and the job is forgotten; if it was being
//! delivered, `Abandon` says so. Nothing happens under a fence after that.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

mod attempts;
mod dot;
mod held;
mod leases;

use super::destination::Destinations;
use super::events::{Effect, Event};
use super::policy::Policy;
use super::settle::{settle_expired, settle_late};
use super::types::*;
use crate::rng::Rng;
use held::{Held, Phase};

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
    /// The last claim found fewer due jobs than it asked for: what is queued now stands before nobody.
    caught_up: bool,
    /// New jobs for which there must be room.
    promised: usize,
    /// Attempts under way.
    delivering: usize,
    paused: bool,
    /// Timers were looked at for this time, and no event came since.
    checked_at: Option<Timestamp>,
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
            caught_up: false,
            promised: 0,
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
                self.caught_up = false;
                self.next_claim = now + self.policy.poll_interval;
            }
            Event::Queued(jobs) => jobs.into_iter().for_each(|job| self.take_in(job, now)),
            Event::Wake => self.next_claim = self.next_claim.min(now),
            Event::Attempted { fence, verdicts, health } => self.attempted(fence, verdicts, health, now),
            Event::Crashed { fence } => self.crashed(fence, now),
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

    /// How many jobs may be claimed as they are queued, without a claim of their own. None while others wait to be
    /// claimed, who come first; and half of the room is for those, whoever they belong to.
    pub fn room_for_new(&self) -> usize {
        let free = self.policy.held_max / 2;
        let claimed = self.jobs.len() + usize::from(self.claiming.unwrap_or(0));
        let open = !self.paused && self.caught_up;
        if open {
            free.saturating_sub(self.jobs.len()).min(self.policy.held_max.saturating_sub(claimed))
        } else {
            0
        }
    }

    /// So many jobs that are being queued now have been promised room, all in all: no claim takes it.
    pub fn promised(&mut self, jobs: usize) {
        self.promised = jobs;
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
        !self.paused && self.claiming.is_none() && self.room() > 0
    }

    fn room(&self) -> usize {
        self.policy.held_max.saturating_sub(self.jobs.len() + self.promised)
    }

    fn claim(&mut self, now: Timestamp) -> Option<Effect> {
        if !self.may_claim() || now < self.next_claim {
            return None;
        }
        let limit = self.policy.batch.max(1).min(u16::try_from(self.room()).unwrap_or(u16::MAX));
        self.claiming = Some(limit);
        Some(Effect::Claim { limit, lease: self.policy.lease })
    }

    fn claimed(&mut self, jobs: Vec<Job>, now: Timestamp) {
        let limit = self.claiming.take().unwrap_or(0);
        // A full batch means that more may be due: a dead destination's line must not hide a live one's.
        let more = jobs.len() >= usize::from(limit.max(1));
        self.next_claim = if more { now } else { now + self.policy.poll_interval };
        self.caught_up = !more;
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
            self.destinations.wait(&job.destination, job.tenant, key, &self.policy, now);
        }
        let held = Held { job, phase, renew_at, renewing: false, needed_until: None };
        self.jobs.insert(key, held);
        self.write(key);
    }

    /// What a fresh claim is for.
    fn first_phase(&mut self, job: &Job, now: Timestamp) -> Phase {
        let pending = || job.recipients.iter().filter(|r| r.state == State::Pending);
        if self.paused {
            return Phase::releasing(now);
        }
        if pending().next().is_none() {
            return Phase::saving(settle_expired(job));
        }
        if let Some(dot_sent) = pending().filter_map(|r| r.dot_sent).max() {
            return Phase::saving(self.settle_lost_dot(job, dot_sent, now));
        }
        if job.deliver_by.and_then(|by| by.end()).is_some_and(|at| now >= at) {
            return Phase::saving(settle_expired(job)); // RFC 2852 §4: nothing is tried after the deadline
        }
        if let Some(settlement) = settle_late(job, &self.policy, now) {
            return Phase::saving(settlement);
        }
        let resting = self.destinations.entry(&job.destination, &self.policy, now).is_resting(now);
        let over = job.attempts >= self.policy.max_attempts || now >= job.start + self.policy.ttl;
        if over && (job.attempts > 0 || resting) {
            return Phase::saving(settle_expired(job));
        }
        let jitter = self.rng.next();
        let destination = self.destinations.entry(&job.destination, &self.policy, now);
        if resting || !destination.has_room(job.tenant, &self.policy) {
            return Phase::releasing(in_time(job, destination.turn(now, jitter), now));
        }
        Phase::Waiting
    }
}

/// A time for a job to come back, not behind the deadline that its sender set.
fn in_time(job: &Job, due: Timestamp, now: Timestamp) -> Timestamp {
    job.deliver_by.filter(|by| by.at > now).map_or(due, |by| due.min(by.at))
}
