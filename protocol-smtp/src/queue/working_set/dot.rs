//! The final dot: it is written only under a lease that outlasts its reply, and after storage recorded it.

use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::super::events::{Effect, StoreError};
use super::super::types::Fence;
use super::Queue;
use super::held::{Dot, Phase, held_under};

impl Queue {
    pub(super) fn dot_pending(&mut self, fence: Fence, recipients: Vec<u16>, wait: Duration) {
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

    pub(super) fn dot_recorded(
        &mut self,
        fence: Fence,
        result: Result<Timestamp, StoreError>,
        now: Timestamp,
    ) {
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
}
