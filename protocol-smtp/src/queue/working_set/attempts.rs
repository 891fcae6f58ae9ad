//! Attempts: begun, ended, crashed, and lost by an earlier holder.

use alloc::vec::Vec;
use protocol_core::Timestamp;

use super::super::decide::IN_DOUBT_WAIT;
use super::super::events::Effect;
use super::super::settle::{settle, settle_expired};
use super::super::settlement::Settlement;
use super::super::types::*;
use super::held::{Dot, Phase, held_under};
use super::{Queue, in_time};
use crate::status::Status;

impl Queue {
    pub(super) fn start_attempt(&mut self, now: Timestamp) -> Option<Effect> {
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

    pub(super) fn attempted(
        &mut self,
        fence: Fence,
        mut verdicts: Vec<(u16, Verdict)>,
        health: Health,
        now: Timestamp,
    ) {
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
            None => Phase::releasing(now),
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

    /// The attempt's task is gone and with it what it found out. Nothing is concluded about the destination.
    pub(super) fn crashed(&mut self, fence: Fence, now: Timestamp) {
        let jitter = self.rng.next();
        let Some(held) = held_under(&mut self.jobs, fence) else { return };
        let Phase::Delivering { dot, .. } = &held.phase else { return };
        let mut verdicts = Vec::new();
        if let Dot::Recorded { recipients } = dot {
            doubt_the_silent(recipients, &mut verdicts);
        }
        held.phase = match settle(&held.job, &verdicts, &self.policy, now, jitter) {
            Some(settlement) => Phase::saving(settlement),
            None => {
                let due = in_time(&held.job, now + self.policy.retry_delay(1, jitter), now);
                Phase::Releasing { due, crashed: true, retry_at: None }
            }
        };
        held.needed_until = None;
        self.delivering -= 1;
        if let Some(destination) = self.destinations.known(&held.job.destination) {
            destination.ended();
        }
        self.write(fence.job);
    }

    /// The destination is left alone: who waits for it is given back, so that others can be claimed.
    pub(super) fn send_away(&mut self, name: &str, now: Timestamp) {
        let Some(destination) = self.destinations.known(name) else { return };
        for key in destination.waiting.take_all() {
            let Some(destination) = self.destinations.known(name) else { return };
            let due = destination.turn(now, self.rng.next());
            if let Some(held) = self.jobs.get_mut(&key) {
                held.phase = Phase::releasing(in_time(&held.job, due, now));
                self.write(key);
            }
        }
    }

    /// An earlier holder wrote, or was about to write, the final dot and left no result: that attempt counts
    /// as one in doubt. The wait counts from the dot.
    pub(super) fn settle_lost_dot(&mut self, job: &Job, dot_sent: Timestamp, now: Timestamp) -> Settlement {
        let reply = "the server stopped between the end of the message and the peer's reply";
        let failure = Failure::local(Status::BAD_CONNECTION, reply);
        let sent = (0u16..).zip(&job.recipients).filter(|(_, r)| r.dot_sent.is_some());
        let verdicts: Vec<_> = sent.map(|(i, _)| (i, Verdict::InDoubt(failure.clone()))).collect();
        let at = dot_sent.min(now);
        let mut settlement =
            settle(job, &verdicts, &self.policy, at, self.rng.next()).unwrap_or_else(|| settle_expired(job));
        settlement.next_due = settlement.next_due.map(|due| {
            let due = due.max(at + IN_DOUBT_WAIT);
            job.deliver_by.and_then(|by| by.end()).map_or(due, |end| due.min(end.max(now)))
        });
        settlement
    }
}

/// Recipients whose final dot may be on the wire and for whom no result came are in doubt, not untried.
fn doubt_the_silent(recipients: &[u16], verdicts: &mut Vec<(u16, Verdict)>) {
    let reply = "the attempt was given up between the end of the message and the peer's reply";
    for index in recipients {
        let told = verdicts.iter().any(|(i, v)| i == index && *v != Verdict::NotTried);
        if !told {
            verdicts.retain(|(i, _)| i != index);
            let failure = Failure::local(Status::BAD_CONNECTION, reply);
            verdicts.push((*index, Verdict::InDoubt(failure)));
        }
    }
}
