//! What time it is for a node: its own clocks, the queue's, and the store's as it was shown last.

use std::sync::atomic::Ordering;

use protocol_core::time::Duration;
use protocol_core::{Instant, Timestamp};

use super::Worker;
use crate::clock::Anchor;
use crate::exec::lock;
use crate::mutants::Mutant;

/// How long a node goes by the store's clock as it was shown last: a tenth of it is less than the skew.
const STORE_CLOCK_AGE_MAX: Duration = Duration::from_secs(10);

impl Worker {
    /// Now, as this node takes it.
    pub fn now(&self) -> Timestamp {
        let truth = self.world.exec.now();
        if self.world.mutant == Some(Mutant::WallClockLease) {
            let step = lock(&self.world.wall_step_ms).get(&self.node).copied().unwrap_or(0);
            return self.clock.wall(truth, step);
        }
        lock(&self.anchor).now(truth)
    }

    /// The store's clock, as this node knows it: asked again when that was long ago, for the two may count
    /// differently.
    pub(super) async fn store_now(&self) -> Timestamp {
        let age = lock(&self.store_clock).age(self.world.exec.now());
        if age > STORE_CLOCK_AGE_MAX && self.world.mutant != Some(Mutant::StoreClockStale) {
            let _ = self.ask_store().await;
        }
        lock(&self.store_clock).now(self.world.exec.now())
    }

    /// Asks the store for its time. An answer that took long is not taken: leases would end too late by as much.
    pub(super) async fn ask_store(&self) -> Option<Timestamp> {
        for _ in 0..3 {
            let asked = self.world.exec.now();
            let now = self.store.now().await.ok()?;
            let took = Duration::from_nanos(self.world.exec.now() - asked);
            if took <= STORE_CLOCK_AGE_MAX || self.world.mutant == Some(Mutant::StoreClockLate) {
                self.store_shows(now, asked);
                return Some(now);
            }
        }
        None
    }

    /// The same moment on the store's clock.
    pub(super) fn to_store(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.lead_ms.load(Ordering::Relaxed)))
    }

    /// Takes over what the store's clock shows, counted on from before it was asked: a node that was stopped before
    /// it heard the answer must not write leases that end too early.
    pub(super) fn store_shows(&self, now: Timestamp, asked: u64) {
        let late = self.world.mutant == Some(Mutant::StoreClockLate);
        let from = if late { self.world.exec.now() } else { asked };
        *lock(&self.store_clock) = Anchor::new(self.clock, from, now);
    }

    /// Monotonic time, as this node takes it.
    pub fn monotonic(&self) -> Instant {
        Instant(self.clock.monotonic(self.world.exec.now()))
    }

    /// The true time at which this node's monotonic clock shows `at`.
    pub fn truth_of(&self, at: Instant) -> u64 {
        self.clock.truth_of(at.0)
    }

    /// The true time at which the queue's clock shows `at`.
    pub(super) fn truth_of_queue(&self, at: Timestamp) -> u64 {
        let truth = lock(&self.anchor).truth_of(at);
        match self.world.mutant {
            // A clock that steps back would be asked again at once.
            Some(Mutant::WallClockLease) => truth.max(self.world.exec.now() + crate::world::SECOND),
            _ => truth,
        }
    }

    /// Anchors the queue's time to the store's.
    pub(super) async fn asks_the_time(&self) -> bool {
        if self.ask_store().await.is_none() {
            return false;
        }
        *lock(&self.anchor) = *lock(&self.store_clock);
        true
    }
}
