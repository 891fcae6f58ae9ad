//! What a node remembers of each destination: how many attempts it may have under way, and whether it is
//! worth trying at all. Additive increase, multiplicative decrease; a destination that cannot be reached is
//! left alone for a while, and then tried with one job.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::line::{Line, Tenant};
use super::policy::Policy;
use super::types::{Health, JobKey};

/// Destinations remembered at once. Beyond it those without jobs are forgotten, healthy ones first.
pub const DESTINATIONS_MAX: usize = 4_096;
/// Failures to connect in a row after which a destination is left alone, at any limit.
const FAILURES_MAX: u32 = 3;
/// The longest time a destination is left alone, or a job waits for its turn outside the working set.
const REST_MAX: Duration = Duration::from_secs(600);
/// So long may a job wait here for its turn, as far as can be told. What waits longer is given back: each place
/// that it keeps is one that another destination does not have.
const WAIT_MAX_MS: u64 = 4_000;
/// An attempt's duration until one has ended. The first jobs that find no room come back after so long, and not
/// after what a slow destination would take.
const DURATION_GUESS_MS: u64 = 200;

/// One destination.
#[derive(Debug)]
pub(super) struct Destination {
    /// Attempts it may have under way.
    limit: u32,
    /// Successes since the limit last changed.
    successes: u32,
    /// Attempts under way.
    active: u32,
    /// Failures to connect, in a row.
    failures: u32,
    /// Not tried before this.
    rest_until: Option<Timestamp>,
    /// Jobs held here that wait for a slot.
    pub(super) waiting: Line,
    /// When the next job that finds no room is likely to find some.
    next_turn: Timestamp,
    /// Moving average of an attempt's duration, once one has ended.
    average_ms: Option<u64>,
    last_used: Timestamp,
}

impl Destination {
    fn new(policy: &Policy, now: Timestamp) -> Destination {
        Destination {
            limit: policy.per_destination_start.clamp(1, policy.per_destination_max.max(1)),
            successes: 0,
            active: 0,
            failures: 0,
            rest_until: None,
            waiting: Line::default(),
            next_turn: now,
            average_ms: None,
            last_used: now,
        }
    }

    /// Whether one more attempt may start.
    pub(super) fn has_slot(&self) -> bool {
        self.active < self.limit && self.rest_until.is_none()
    }

    /// Whether it is being left alone. The first question after the end of the rest ends it.
    pub(super) fn is_resting(&mut self, now: Timestamp) -> bool {
        if self.rest_until.is_some_and(|until| now >= until) {
            self.rest_until = None;
        }
        self.rest_until.is_some()
    }

    /// Whether one more job of `tenant` may wait here: among what is likely to be under way within
    /// [`WAIT_MAX_MS`], at least two rounds, and never more than half of all that is held here.
    pub(super) fn has_room(&self, tenant: Tenant, policy: &Policy) -> bool {
        let rounds = self.average_ms.map_or(2, |average| (WAIT_MAX_MS / average.max(1)).max(2));
        let places = rounds.saturating_mul(u64::from(self.limit)).min(policy.held_max as u64 / 2);
        self.waiting.has_room(tenant, places.max(2) as usize)
    }

    pub(super) fn started(&mut self, now: Timestamp) {
        self.active += 1;
        self.last_used = now;
    }

    /// An attempt ended without telling anything about the destination.
    pub(super) fn ended(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// An attempt ended after `took`; true when the destination is to be left alone from now on.
    pub(super) fn report(&mut self, health: Health, took: Duration, policy: &Policy, now: Timestamp) -> bool {
        self.ended();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).min(3_600_000);
        self.average_ms = Some(self.average_ms.map_or(took_ms, |average| (average * 7 + took_ms) / 8));
        match health {
            Health::Good => {
                self.failures = 0;
                self.rest_until = None;
                self.successes += 1;
                if self.successes >= self.limit {
                    self.limit = self.limit.saturating_add(1).min(policy.per_destination_max.max(1));
                    self.successes = 0;
                }
                false
            }
            Health::Busy => {
                self.halve();
                false
            }
            Health::Unreachable => {
                self.failures = self.failures.saturating_add(1);
                let rest = self.limit == 1 || self.failures >= FAILURES_MAX;
                self.halve();
                if rest {
                    let doublings = self.failures.saturating_sub(FAILURES_MAX).min(16);
                    let length = policy.retry_base.saturating_mul(1 << doublings).min(REST_MAX);
                    self.limit = 1;
                    self.rest_until = Some(now + length);
                }
                rest
            }
        }
    }

    fn halve(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.successes = 0;
    }

    /// When a job that finds no room should come back: one expected slot after another, spread by `jitter`
    /// once the line is longer than [`REST_MAX`].
    pub(super) fn turn(&mut self, now: Timestamp, jitter: u64) -> Timestamp {
        let average_ms = self.average_ms.unwrap_or(DURATION_GUESS_MS);
        let gap = Duration::from_millis((average_ms / u64::from(self.limit)).max(1));
        let line = gap.saturating_mul(self.waiting.len() as u32);
        self.next_turn = self.next_turn.max(now + line) + gap;
        let latest = self.rest_until.unwrap_or(now) + REST_MAX;
        if self.next_turn > latest {
            self.next_turn = latest;
            return latest - Duration::from_millis(jitter % (REST_MAX.as_millis() as u64 / 2));
        }
        self.rest_until.map_or(self.next_turn, |until| self.next_turn.max(until))
    }

    fn is_idle(&self) -> bool {
        self.active == 0 && self.waiting.is_empty()
    }
}

/// All destinations with something to remember, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    by_name: BTreeMap<Arc<str>, Destination>,
    /// Names with waiting jobs; the front has the next turn.
    ring: VecDeque<Arc<str>>,
}

impl Destinations {
    /// The destination, made when it is not known.
    pub(super) fn entry(&mut self, name: &str, policy: &Policy, now: Timestamp) -> &mut Destination {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= DESTINATIONS_MAX {
                self.forget_idle();
            }
            self.by_name.insert(Arc::from(name), Destination::new(policy, now));
        }
        self.by_name.entry(Arc::from(name)).or_insert_with(|| Destination::new(policy, now))
    }

    pub(super) fn known(&mut self, name: &str) -> Option<&mut Destination> {
        self.by_name.get_mut(name)
    }

    /// Puts a job in line.
    pub(super) fn wait(&mut self, name: &str, tenant: Tenant, job: JobKey, policy: &Policy, now: Timestamp) {
        let destination = self.entry(name, policy, now);
        destination.waiting.push(tenant, job);
        if destination.waiting.len() == 1 && !self.ring.iter().any(|n| &**n == name) {
            self.ring.push_back(Arc::from(name));
        }
    }

    /// Takes a job out of its line.
    pub(super) fn leave(&mut self, name: &str, job: JobKey) {
        if let Some(destination) = self.by_name.get_mut(name) {
            destination.waiting.remove(job);
        }
    }

    /// The next job whose turn it is and that `ready` lets pass: destinations take turns, whatever the
    /// length of their lines, and tenants do so within a line.
    pub(super) fn next(&mut self, now: Timestamp, ready: impl Fn(JobKey) -> bool) -> Option<JobKey> {
        for _ in 0..self.ring.len() {
            let name = self.ring.pop_front()?;
            let Some(destination) = self.by_name.get_mut(&*name) else { continue };
            if destination.waiting.is_empty() {
                continue;
            }
            let slot = !destination.is_resting(now) && destination.has_slot();
            let job = if slot { destination.waiting.next(&ready) } else { None };
            if !destination.waiting.is_empty() {
                self.ring.push_back(name);
            }
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// Makes room: healthy idle destinations go; when there are none, the idle one unused for longest.
    fn forget_idle(&mut self) {
        self.by_name.retain(|_, d| !d.is_idle() || d.failures > 0);
        if self.by_name.len() >= DESTINATIONS_MAX {
            let idle = self.by_name.iter().filter(|(_, d)| d.is_idle());
            if let Some(name) = idle.min_by_key(|(_, d)| d.last_used).map(|(n, _)| n.clone()) {
                self.by_name.remove(&name);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const T0: Timestamp = Timestamp(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn so17_the_limit_falls_on_failure_recovers_by_one_and_is_capped() {
        let policy = Policy::default();
        let mut d = Destination::new(&policy, T0);
        assert_eq!(d.limit, 5);
        d.report(Health::Busy, SECOND, &policy, T0);
        assert_eq!(d.limit, 2);
        d.report(Health::Busy, SECOND, &policy, T0);
        d.report(Health::Busy, SECOND, &policy, T0);
        assert_eq!(d.limit, 1);
        for (successes, limit) in [(1, 2), (2, 3), (3, 4)] {
            for _ in 0..successes {
                d.report(Health::Good, SECOND, &policy, T0);
            }
            assert_eq!(d.limit, limit);
        }
        for _ in 0..1_000 {
            d.report(Health::Good, SECOND, &policy, T0);
        }
        assert_eq!(d.limit, policy.per_destination_max);
    }

    #[test]
    fn a_destination_that_cannot_be_reached_rests_twice_as_long_each_time() {
        let policy = Policy::default();
        let mut d = Destination::new(&policy, T0);
        assert!(!d.report(Health::Unreachable, SECOND, &policy, T0));
        assert!(d.report(Health::Unreachable, SECOND, &policy, T0) || d.limit == 1);
        let mut now = T0;
        let mut rests = alloc::vec::Vec::new();
        for _ in 0..8 {
            d.report(Health::Unreachable, SECOND, &policy, now);
            let until = d.rest_until.unwrap();
            rests.push(until.since(now).as_secs());
            assert!(d.is_resting(until - SECOND));
            assert!(!d.is_resting(until));
            now = until;
        }
        assert_eq!(rests, [30, 60, 120, 240, 480, 600, 600, 600]);
        d.report(Health::Good, SECOND, &policy, now);
        assert_eq!(d.failures, 0);
    }

    #[test]
    fn q16_the_line_of_a_quick_destination_is_long_and_that_of_a_slow_one_short() {
        let policy = Policy::default();
        let line = |took_ms: u64| {
            let mut d = Destination::new(&policy, T0);
            for _ in 0..40 {
                d.report(Health::Good, Duration::from_millis(took_ms), &policy, T0);
            }
            let limit = d.limit as usize;
            let mut held = 0;
            while d.has_room([1; 16], &policy) {
                d.waiting.push([1; 16], JobKey([held; 16]));
                held += 1;
            }
            (usize::from(held), limit)
        };
        let (quick, _) = line(20);
        assert_eq!(quick, policy.held_max / 2, "no destination holds all places");
        let (slow, limit) = line(30_000);
        assert_eq!(slow, 2 * limit);
        let (between, limit) = line(500);
        assert_eq!(between, 8 * limit);
    }

    #[test]
    fn whoever_finds_no_room_at_an_unknown_destination_comes_back_within_seconds() {
        let policy = Policy::default();
        let mut d = Destination::new(&policy, T0);
        let turns: alloc::vec::Vec<Timestamp> = (0..90).map(|n| d.turn(T0, n)).collect();
        assert!(turns.is_sorted());
        assert!(turns[89] <= T0 + 4 * SECOND, "{:?}", turns[89]);
        // One that takes thirty seconds for each and is given one at a time: the line is as long as it is.
        let mut d = Destination::new(&policy, T0);
        for _ in 0..9 {
            d.report(Health::Busy, 30 * SECOND, &policy, T0);
        }
        assert_eq!(d.turn(T0, 0), T0 + 30 * SECOND);
        assert_eq!(d.turn(T0, 0), T0 + 60 * SECOND);
    }

    #[test]
    fn memory_is_bounded_at_the_limit() {
        let policy = Policy::default();
        let mut all = Destinations::default();
        for n in 0..DESTINATIONS_MAX {
            all.entry(&format!("d{n}.example"), &policy, T0).failures = 1;
        }
        assert_eq!(all.len(), DESTINATIONS_MAX);
        all.entry("one.more.example", &policy, T0);
        assert_eq!(all.len(), DESTINATIONS_MAX);
    }
}
