//! A job under a claim, and the phase it is in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::super::events::Effect;
use super::super::settlement::Settlement;
use super::super::types::{Fence, Job, JobKey};

#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: Job,
    pub(super) phase: Phase,
    pub(super) renew_at: Timestamp,
    /// Storage is asked to prolong the lease, by `Renew` or `RecordDot`: never by both at once, for their
    /// answers could change places and leave a wrong end of the lease here.
    pub(super) renewing: bool,
    /// The lease must reach this far: the reply to a final dot is awaited.
    pub(super) needed_until: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Waiting,
    Delivering { since: Timestamp, dot: Dot },
    Saving { settlement: Settlement, retry_at: Option<Timestamp> },
    Releasing { due: Timestamp, crashed: bool, retry_at: Option<Timestamp> },
}

#[derive(Debug, Clone)]
pub(super) enum Dot {
    /// Far from it.
    None,
    /// It waits for the answer to a renewal.
    Wanted { recipients: Vec<u16>, wait: Duration },
    /// Storage is asked to record it.
    Recording { recipients: Vec<u16>, wait: Duration },
    /// It may be on the wire.
    Recorded { recipients: Vec<u16> },
}

impl Phase {
    pub(super) fn saving(settlement: Settlement) -> Phase {
        Phase::Saving { settlement, retry_at: None }
    }

    pub(super) fn releasing(due: Timestamp) -> Phase {
        Phase::Releasing { due, crashed: false, retry_at: None }
    }
}

impl Held {
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Saving { retry_at, .. } | Phase::Releasing { retry_at, .. } => retry_at,
            Phase::Waiting | Phase::Delivering { .. } => None,
        }
    }

    pub(super) fn next_timer(&self) -> Timestamp {
        let renew = if self.renewing { self.job.lease_until } else { self.renew_at };
        let deadline = self.given_up_at().unwrap_or(renew);
        renew.min(self.job.lease_until).min(self.retry_at().unwrap_or(renew)).min(deadline)
    }

    /// When a job that waits for its turn is given up by its sender's wish.
    pub(super) fn given_up_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Waiting => self.job.deliver_by.and_then(|by| by.end()),
            Phase::Delivering { .. } | Phase::Saving { .. } | Phase::Releasing { .. } => None,
        }
    }

    /// Asks for the dot that is wanted, unless a renewal is still under way.
    pub(super) fn record_dot(&mut self, lease: Duration) -> Option<Effect> {
        let Phase::Delivering { dot, .. } = &mut self.phase else { return None };
        let Dot::Wanted { recipients, wait } = dot.clone() else { return None };
        if core::mem::replace(&mut self.renewing, true) {
            return None;
        }
        *dot = Dot::Recording { recipients: recipients.clone(), wait };
        Some(Effect::RecordDot { fence: self.job.fence, recipients, lease: wait + lease })
    }

    /// The lease holds until `until`; it is renewed at half of what is left.
    pub(super) fn prolong(&mut self, until: Timestamp, now: Timestamp) {
        self.job.lease_until = until;
        self.renew_at = now + until.since(now) / 2;
    }
}

/// The job, if it is held under this very claim.
pub(super) fn held_under(jobs: &mut BTreeMap<JobKey, Held>, fence: Fence) -> Option<&mut Held> {
    jobs.get_mut(&fence.job).filter(|h| h.job.fence == fence)
}
