//! Leases, and the writes that end a claim.

use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::super::events::{Effect, StoreError};
use super::super::settle::settle_expired;
use super::super::types::{Fence, JobKey};
use super::held::{Phase, held_under};
use super::{Queue, STORE_RETRY};

impl Queue {
    pub(super) fn renewed(&mut self, fence: Fence, result: Result<Timestamp, StoreError>, now: Timestamp) {
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

    pub(super) fn written(&mut self, fence: Fence, result: Result<(), StoreError>, now: Timestamp) {
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
    pub(super) fn write(&mut self, key: JobKey) {
        let Some(held) = self.jobs.get_mut(&key) else { return };
        let fence = held.job.fence;
        match &mut held.phase {
            Phase::Saving { settlement, retry_at } => {
                *retry_at = None;
                self.ready.push_back(Effect::Save { fence, settlement: settlement.clone() });
            }
            Phase::Releasing { due, crashed, retry_at } => {
                *retry_at = None;
                self.ready.push_back(Effect::Release { fence, due: *due, crashed: *crashed });
            }
            Phase::Waiting | Phase::Delivering { .. } => {}
        }
    }

    /// The claim is lost or over. Effects under it that nobody took are withdrawn.
    pub(super) fn forget(&mut self, key: JobKey) {
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

    pub(super) fn pause(&mut self, paused: bool, now: Timestamp) {
        self.paused = paused;
        self.next_claim = self.next_claim.min(now);
        if !paused {
            return;
        }
        let waiting = self.jobs.iter().filter(|(_, h)| matches!(h.phase, Phase::Waiting));
        let keys: Vec<JobKey> = waiting.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(held) = self.jobs.get_mut(&key) {
                held.phase = Phase::releasing(now);
                self.destinations.leave(&held.job.destination, key);
            }
            self.write(key);
        }
    }

    pub(super) fn check_timers(&mut self, now: Timestamp) {
        let due = self.jobs.iter().filter(|(_, h)| h.next_timer() <= now);
        let due: Vec<JobKey> = due.map(|(key, _)| *key).collect();
        for key in due {
            let Some(held) = self.jobs.get_mut(&key) else { continue };
            if now >= held.job.lease_until {
                self.forget(key);
                continue;
            }
            if held.given_up_at().is_some_and(|at| now >= at) {
                held.phase = Phase::saving(settle_expired(&held.job));
                self.destinations.leave(&held.job.destination, key);
                self.write(key);
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
