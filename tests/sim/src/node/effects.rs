//! What the queue asks for, carried out as the server's shell does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_channel::Receiver;
use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::queue::{Effect, Event, Fence, JobKey, Settlement, StoreError, Verdict};
use storage::{Error, Job, JobState};

use super::{Held, Worker, claim_of};
use crate::attempt::{self, Attempted, Control};
use crate::convert::{self, fence_of};
use crate::exec::lock;
use crate::mutants::Mutant;
use crate::notice;

/// A monotonic clock may run a tenth faster or slower than the store's.
const DRIFT: u32 = 10;

impl Worker {
    pub(super) fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Proceed { fence } => {
                self.tell(fence, Control::Proceed);
                crate::chaos::before_the_dot(&self.world, self.group);
            }
            Effect::Withhold { fence } => self.tell(fence, Control::Withhold),
            Effect::Abandon { fence } => {
                self.world.books().attempt_ended(self.node, claim_of(fence));
                self.tell(fence, Control::Abandon);
            }
            Effect::Deliver { .. } if self.world.mutant == Some(Mutant::ClaimedTwice) => {
                self.start(effect.clone());
                self.start(effect);
            }
            Effect::RecordDot { fence, lease, .. }
                if self.world.mutant == Some(Mutant::ProceedBeforeDurable) =>
            {
                let _ = self.events.try_send(Event::DotRecorded { fence, result: Ok(self.now() + lease) });
                self.start(effect);
            }
            effect => self.start(effect),
        }
    }

    pub(super) fn start(self: &Arc<Self>, effect: Effect) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move { worker.perform(effect).await });
    }

    pub(super) async fn perform(self: Arc<Self>, effect: Effect) {
        let phase = self.phase("effect");
        let event = match effect {
            Effect::Claim { limit, lease } => {
                phase.now("claim");
                self.claim(usize::from(limit), lease).await
            }
            Effect::Renew { fence, lease } => {
                phase.now("renew");
                Event::Renewed { fence, result: self.renew(fence, lease).await }
            }
            Effect::RecordDot { fence, recipients, lease } => {
                phase.now("record dot");
                let result = self.record_dot(fence, &recipients, lease).await;
                Event::DotRecorded { fence, result }
            }
            Effect::Deliver { fence, recipients, attempt, .. } => {
                let Some((job, control)) = self.begin_attempt(fence) else { return };
                phase.now("look up who is suppressed");
                let (recipients, held_back, looked) = self.not_suppressed(&job, recipients).await;
                // The process may have been stopped while it asked.
                if looked.is_some() && !self.holds_for(fence, Duration::ZERO) {
                    return;
                }
                let what = attempt::What { job: &job, recipients: &recipients, number: attempt, looked };
                let mut found = attempt::run(&self, what, fence, control, &phase).await;
                found.verdicts.extend(held_back);
                self.attempted(fence, found)
            }
            Effect::Save { fence, settlement } => {
                phase.now("save");
                Event::Saved { fence, result: self.save(fence, settlement).await }
            }
            // No attempt of this world crashes without its node.
            Effect::Release { fence, due, crashed: _ } => {
                phase.now("release");
                let result = self.store.release(fence_of(fence), self.to_store(due)).await;
                Event::Released { fence, result: self.answer(result) }
            }
            Effect::Proceed { .. } | Effect::Withhold { .. } | Effect::Abandon { .. } => return,
        };
        if let Event::Saved { fence, result } | Event::Released { fence, result } = &event
            && *result != Err(StoreError::Unavailable)
        {
            self.forget(*fence);
        }
        let _ = self.events.try_send(event);
    }

    /// What the queue may conclude. An unknown outcome ends the process.
    pub(super) fn answer<T>(&self, result: Result<T, Error>) -> Result<T, StoreError> {
        result.map_err(|error| match error {
            Error::Refused(_) | Error::NotFound => StoreError::Stale,
            Error::OutcomeUnknown(_) => {
                self.dies("an unknown outcome");
                StoreError::Unavailable
            }
            _ => StoreError::Unavailable,
        })
    }

    pub(super) fn dies(&self, of: &str) {
        self.world.note(format_args!("n{}: ends because of {of}", self.node));
        self.world.count("node ended itself");
        self.world.exec.kill(self.group);
    }

    pub(super) fn tell(&self, fence: Fence, control: Control) {
        let table = lock(&self.held);
        let held = table.get(&fence.job).filter(|h| h.job.epoch == fence.epoch);
        if let Some(sender) = held.and_then(|h| h.control.as_ref()) {
            let _ = sender.try_send(control);
        }
    }

    pub(super) fn forget(&self, fence: Fence) {
        let mut table = lock(&self.held);
        if table.get(&fence.job).is_some_and(|h| h.job.epoch == fence.epoch) {
            table.remove(&fence.job);
        }
    }

    pub(super) async fn claim(&self, limit: usize, lease: Duration) -> Event {
        let asked = self.now();
        let Some(now) = self.ask_store().await else { return Event::ClaimFailed };
        let claimed = self.store.claim(now, lease, limit).await;
        let Ok(mut jobs) = self.answer(claimed) else { return Event::ClaimFailed };
        // Both at one moment: the process may have been stopped while it asked.
        let lead_ms = lock(&self.store_clock).now(self.world.exec.now()).0 - self.now().0;
        self.lead_ms.store(lead_ms, Ordering::Relaxed);
        // The queue takes a claim for lost whose answer came so late; its jobs wait for the end of the lease.
        if !jobs.is_empty() && asked + self.shortened(lease) <= self.now() {
            self.claimed_late.store(true, Ordering::Relaxed);
        }
        jobs.retain(|job| job.state == JobState::Processing);
        self.looks_at_claim(&jobs).await;
        let mut known = Vec::with_capacity(jobs.len());
        let mut table = lock(&self.held);
        for job in jobs {
            let mut of_queue = convert::job(&job, asked + self.shortened(lease), lead_ms);
            if let Some(mutant) = self.world.mutant {
                mutant.claimed(&mut of_queue);
            }
            known.push(of_queue);
            table.insert(JobKey(job.spec.id.0.0), Held { job, control: None, hosts: BTreeMap::new() });
        }
        Event::Claimed(known)
    }

    /// A lease as it is taken for here: the clock that counts it may be slow.
    pub(super) fn shortened(&self, lease: Duration) -> Duration {
        match self.world.mutant {
            Some(Mutant::LeaseNotShortened) => lease,
            _ => lease - lease / DRIFT,
        }
    }

    pub(super) async fn renew(&self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError> {
        let asked = self.now();
        if self.world.mutant == Some(Mutant::NoRenewal) {
            return Ok(asked + lease);
        }
        let renewed = self.store.renew(fence_of(fence), self.store_now().await, lease).await;
        let asked = if self.world.mutant == Some(Mutant::RenewalIgnoresStale) { self.now() } else { asked };
        self.answer(renewed).map(|()| asked + self.shortened(lease))
    }

    pub(super) async fn record_dot(
        &self,
        fence: Fence,
        recipients: &[u16],
        lease: Duration,
    ) -> Result<Timestamp, StoreError> {
        let asked = self.now();
        let long = lease + lease / (DRIFT - 1);
        if self.world.mutant == Some(Mutant::NoDotRecord) {
            return self.renew(fence, long).await;
        }
        let recipients: Vec<usize> = recipients.iter().map(|n| usize::from(*n)).collect();
        // Longer than it is taken for here, by what clocks may differ.
        let recorded = self.store.dot_sent(fence_of(fence), &recipients, self.store_now().await, long).await;
        self.answer(recorded).map(|()| asked + lease)
    }

    pub(super) fn begin_attempt(&self, fence: Fence) -> Option<(Job, Receiver<Control>)> {
        // The process may have been stopped since the queue decided.
        if !self.holds_for(fence, Duration::ZERO) {
            return None;
        }
        let (sender, receiver) = async_channel::unbounded();
        let mut table = lock(&self.held);
        let held = table.get_mut(&fence.job).filter(|h| h.job.epoch == fence.epoch)?;
        held.control = Some(sender);
        held.hosts.clear();
        Some((held.job.clone(), receiver))
    }

    pub(super) fn attempted(&self, fence: Fence, mut found: Attempted) -> Event {
        let now = self.world.exec.now();
        let mut books = self.world.books();
        // What a session reports under a claim that was lost meanwhile is of no account: nothing is written.
        if lock(&self.queue).lease_until(fence).is_some() {
            books.learnt(claim_of(fence), &found.verdicts, now);
        }
        books.attempt_ended(self.node, claim_of(fence));
        drop(books);
        if let Some(held) = lock(&self.held).get_mut(&fence.job) {
            held.control = None;
            held.hosts = found.hosts;
        }
        for (index, verdict) in &found.verdicts {
            self.world.note(format_args!("n{}: {} {index} {}", self.node, name(fence), short(verdict)));
        }
        if let Some(mutant) = self.world.mutant {
            mutant.verdicts(&mut found.verdicts);
        }
        Event::Attempted { fence, verdicts: found.verdicts, health: found.health }
    }

    pub(super) async fn save(&self, fence: Fence, mut settlement: Settlement) -> Result<(), StoreError> {
        let held = lock(&self.held).get(&fence.job).filter(|h| h.job.epoch == fence.epoch).cloned();
        let Some(Held { job, hosts, .. }) = held else { return Err(StoreError::Stale) };
        let now = self.to_store(self.now());
        settlement.next_due = settlement.next_due.map(|due| self.to_store(due));
        if self.world.mutant == Some(Mutant::NoBackoff) {
            settlement.next_due = settlement.next_due.map(|_| now);
        }
        let mut update = convert::update(&job, &settlement, &hosts, now);
        if self.world.setup.limits.is_some() {
            update.suppressions = convert::suppressions(&job, &settlement, now);
        }
        update.also.jobs.extend(notice::build(&self.world, &job, &settlement, &hosts, now));
        if self.world.mutant == Some(Mutant::TwoDsns) {
            update.also.jobs.extend(notice::build(&self.world, &job, &settlement, &hosts, now));
        }
        let tells = !update.also.jobs.is_empty();
        let store_now = self.store_now().await;
        let saved = self.store.save(fence_of(fence), update, store_now).await;
        self.answer(saved)?;
        if tells {
            let _ = self.events.try_send(Event::Wake);
        }
        Ok(())
    }
}

fn name(fence: Fence) -> String {
    format!("{}#{}", crate::db::world_name(claim_of(fence).0), fence.epoch)
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered { reply, .. } => format!("delivered: {reply}"),
        Verdict::Temporary(f) => format!("temporary: {}", f.reply),
        Verdict::Permanent(f) => format!("permanent: {}", f.reply),
        Verdict::InDoubt(f) => format!("in doubt: {}", f.reply),
        Verdict::Suppressed(f) => format!("suppressed: {}", f.reply),
        Verdict::NotTried => "not tried".into(),
    }
}
