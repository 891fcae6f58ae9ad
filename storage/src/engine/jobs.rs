//! The outbound queue: leases, fences, results.

use std::collections::HashMap;

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::Engine;
use crate::error::{Error, Refusal, Result};
use crate::rows::{DueKey, JobRow, Rows, Writes};
use crate::store::Jobs;
use crate::types::*;

/// Ended jobs removed in one transaction of a cleaning.
const CLEAN_BATCH: usize = 500;

fn fenced<T>() -> Result<T> {
    Err(Refusal::Fenced.into())
}

fn in_use<T>(why: &str) -> Result<T> {
    Err(Refusal::InUse(why.into()).into())
}

/// Writes down what a holder left that announced a final dot and was not heard of again: the recipients may
/// or may not have the message (RFC 5321 §4.5.3.2.6 has nothing better than to try again).
fn note_in_doubt(row: &mut JobRow, now: Timestamp, writes: &mut Writes) {
    if row.dot_sent.is_empty() {
        return;
    }
    row.job.attempts = row.job.attempts.saturating_add(1);
    for n in std::mem::take(&mut row.dot_sent) {
        let Some(recipient) = row.job.spec.recipients.get_mut(n) else { continue };
        recipient.attempts = recipient.attempts.saturating_add(1);
        recipient.in_doubt = recipient.in_doubt.saturating_add(1);
        let record = DeliveryRecord {
            recipient: recipient.address.clone(),
            state: recipient.state,
            host: None,
            reply: "the worker stopped between the final dot and its reply".into(),
            tls: String::new(),
            attempt: row.job.attempts,
            in_doubt: true,
            at_ms: now.0,
        };
        add_delivery(row.job.spec.id, &mut row.deliveries, record, writes);
    }
}

fn add_delivery(job: JobId, count: &mut u32, record: DeliveryRecord, writes: &mut Writes) {
    writes.deliveries.push((job, *count, record));
    *count = count.saturating_add(1);
}

fn give_back(job: &mut Job, due: Timestamp) {
    job.state = JobState::Queued;
    job.owner = None;
    job.lease_until = None;
    job.due = due;
}

/// Applies an administrator's action to a job that nobody holds.
fn act(row: &mut JobRow, action: JobAction, now: Timestamp, writes: &mut Writes) -> Result<()> {
    let job = &mut row.job;
    match (action, job.state) {
        (JobAction::Retry, JobState::Queued | JobState::Held) => give_back(job, now),
        (JobAction::Retry, JobState::Dead) => {
            for recipient in &mut job.spec.recipients {
                if matches!(recipient.state, RecipientState::Bounced | RecipientState::Expired) {
                    recipient.state = RecipientState::Pending;
                }
            }
            start_anew(job, now);
        }
        (JobAction::Hold, JobState::Queued) => job.state = JobState::Held,
        (JobAction::Release, JobState::Held) => start_anew(job, now),
        (JobAction::Cancel, JobState::Queued | JobState::Held) => {
            job.state = JobState::Cancelled;
            cancel_recipients(row, now, writes);
        }
        (_, JobState::Processing) => return in_use("the job is being delivered"),
        (_, JobState::Queued) => return in_use("the job is queued, not held"),
        (_, JobState::Held) => return in_use("the job is held"),
        (_, JobState::Dead) => return in_use("the job is dead: it can only be retried"),
        (_, JobState::Cancelled) => return in_use("the job was cancelled"),
    }
    row.job.updated = now;
    Ok(())
}

/// Time to live, attempts and the delay warning count from here.
fn start_anew(job: &mut Job, now: Timestamp) {
    job.spec.start = job.spec.start.max(now);
    job.attempts = 0;
    give_back(job, now);
}

fn cancel_recipients(row: &mut JobRow, now: Timestamp, writes: &mut Writes) {
    let (id, attempt) = (row.job.spec.id, row.job.attempts);
    for recipient in &mut row.job.spec.recipients {
        if recipient.state != RecipientState::Pending {
            continue;
        }
        recipient.state = RecipientState::Cancelled;
        let record = DeliveryRecord {
            recipient: recipient.address.clone(),
            state: RecipientState::Cancelled,
            host: None,
            reply: "cancelled".into(),
            tls: String::new(),
            attempt,
            in_doubt: false,
            at_ms: now.0,
        };
        add_delivery(id, &mut row.deliveries, record, writes);
    }
}

impl<R: Rows> Engine<R> {
    async fn job_row(&self, id: JobId) -> Result<Option<JobRow>> {
        Ok(self.rows.jobs(&[id]).await?.into_iter().next())
    }

    /// The job under a fence: fenced unless the epoch is current and the job is being processed.
    async fn fenced_row(&self, fence: Fence) -> Result<JobRow> {
        match self.job_row(fence.job).await? {
            Some(row) if row.job.epoch == fence.epoch && row.job.state == JobState::Processing => Ok(row),
            _ => fenced(),
        }
    }

    /// As `fenced_row`; the lease must not have ended either.
    async fn leased_row(&self, fence: Fence, now: Timestamp) -> Result<JobRow> {
        let row = self.fenced_row(fence).await?;
        if row.job.lease_until.is_some_and(|until| until > now) { Ok(row) } else { fenced() }
    }
}

/// A job row after a claim.
fn claimed(mut row: JobRow, owner: &str, now: Timestamp, lease: Duration, writes: &mut Writes) -> Job {
    let before = row.due_at();
    note_in_doubt(&mut row, now, writes);
    row.job.state = JobState::Processing;
    row.job.epoch += 1;
    row.job.owner = Some(owner.to_owned());
    row.job.lease_until = Some(now + lease);
    row.job.updated = now;
    let job = row.job.clone();
    writes.job(before, row);
    job
}

#[async_trait::async_trait]
impl<R: Rows> Jobs for Engine<R> {
    async fn claim_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        skew: Duration,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let _one_at_a_time = self.claims.lock().await;
        let mut tries = 0;
        loop {
            let due = self.rows.due(now, now - skew, limit).await?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let ids: Vec<JobId> = due.iter().map(|key| key.job).collect();
            let rows = self.rows.jobs(&ids).await?;
            let mut rows: HashMap<JobId, JobRow> =
                rows.into_iter().map(|row| (row.job.spec.id, row)).collect();
            let mut writes = Writes::default();
            let mut jobs = Vec::with_capacity(due.len());
            for key in due {
                match rows.remove(&key.job) {
                    Some(row) if row.due_at() == Some(key) => {
                        jobs.push(claimed(row, owner, now, lease, &mut writes));
                    }
                    // The job has moved on since the index was read.
                    Some(_) => {}
                    None => writes.due_gone.push(key),
                }
            }
            if self.apply("claim_jobs", writes, &mut tries).await? {
                return Ok(jobs);
            }
        }
    }

    async fn renew_job(&self, fence: Fence, now: Timestamp, lease: Duration) -> Result<()> {
        let _guard = self.lock_job(fence.job).await?;
        let mut tries = 0;
        loop {
            let mut row = self.leased_row(fence, now).await?;
            let before = row.due_at();
            row.job.lease_until = Some(now + lease);
            row.job.updated = now;
            let mut writes = Writes::default();
            writes.job(before, row);
            if self.apply("renew_job", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn dot_sent(&self, fence: Fence, recipients: &[usize], now: Timestamp) -> Result<()> {
        let _guard = self.lock_job(fence.job).await?;
        let mut tries = 0;
        loop {
            let mut row = self.leased_row(fence, now).await?;
            let before = row.due_at();
            for n in recipients {
                if *n >= row.job.spec.recipients.len() {
                    return Err(Refusal::Invalid("no such recipient".into()).into());
                }
                if !row.dot_sent.contains(n) {
                    row.dot_sent.push(*n);
                }
            }
            let mut writes = Writes::default();
            writes.job(before, row);
            if self.apply("dot_sent", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn save_job(&self, fence: Fence, update: JobUpdate, now: Timestamp) -> Result<Vec<Placed>> {
        let _guard = self.lock_job(fence.job).await?;
        let also = std::slice::from_ref(&update.also);
        let _guards = self.lock_for_commits(also).await?;
        let mut tries = 0;
        loop {
            let mut row = self.fenced_row(fence).await?;
            if update.recipients.len() != row.job.spec.recipients.len() {
                return Err(Refusal::Invalid("an update names every recipient of the job".into()).into());
            }
            let (mut placing, _) = self.placing(also.iter(), false).await?;
            let placed = placing.add(&update.also)?;
            let (mut writes, _) = placing.into_writes();
            let before = row.due_at();
            for record in &update.deliveries {
                add_delivery(fence.job, &mut row.deliveries, record.clone(), &mut writes);
            }
            settle(row, before, &update, now, &mut writes);
            if self.apply("save_job", writes, &mut tries).await? {
                return Ok(placed);
            }
        }
    }

    async fn release_job(&self, fence: Fence, due: Timestamp) -> Result<()> {
        let _guard = self.lock_job(fence.job).await?;
        let mut tries = 0;
        loop {
            let mut row = self.fenced_row(fence).await?;
            let before = row.due_at();
            row.dot_sent.clear();
            give_back(&mut row.job, due);
            let mut writes = Writes::default();
            writes.job(before, row);
            if self.apply("release_job", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.rows.due_first().await
    }

    async fn list_jobs(&self, limit: usize) -> Result<Vec<Job>> {
        Ok(self.rows.jobs_oldest(limit).await?.into_iter().map(|row| row.job).collect())
    }

    async fn job(&self, id: JobId) -> Result<(Option<Job>, Vec<DeliveryRecord>)> {
        let job = self.job_row(id).await?.map(|row| row.job);
        let deliveries = self.rows.deliveries(id).await?;
        if job.is_none() && deliveries.is_empty() { Err(Error::NotFound) } else { Ok((job, deliveries)) }
    }

    async fn act_on_job(&self, id: JobId, action: JobAction, now: Timestamp) -> Result<()> {
        let _guard = self.lock_job(id).await?;
        let mut tries = 0;
        loop {
            let mut row = self.job_row(id).await?.ok_or(Error::NotFound)?;
            let before = row.due_at();
            let mut writes = Writes::default();
            act(&mut row, action, now, &mut writes)?;
            writes.job(before, row);
            if self.apply("act_on_job", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn clean_jobs(&self, dead_before: Timestamp, deliveries_before: Timestamp) -> Result<(u64, u64)> {
        let mut jobs = 0;
        let mut tries = 0;
        loop {
            let ended = self.rows.jobs_ended(dead_before, CLEAN_BATCH).await?;
            if ended.is_empty() {
                break;
            }
            let count = ended.len() as u64;
            let writes = Writes { jobs_gone: ended, ..Writes::default() };
            if self.apply("clean_jobs", writes, &mut tries).await? {
                jobs += count;
            }
        }
        Ok((jobs, self.rows.clean_deliveries(deliveries_before).await?))
    }

    async fn queued_messages(&self) -> Result<Vec<(OrgId, MessageId)>> {
        self.rows.queued_messages().await
    }
}

/// The job's row after an attempt: queued again, dead, or gone.
fn settle(mut row: JobRow, before: Option<DueKey>, update: &JobUpdate, now: Timestamp, writes: &mut Writes) {
    row.dot_sent.clear();
    row.job.spec.recipients = update.recipients.clone();
    row.job.attempts = update.attempts;
    row.job.updated = now;
    match update.next_due {
        Some(due) => give_back(&mut row.job, due),
        None if update.dead => {
            give_back(&mut row.job, now);
            row.job.state = JobState::Dead;
        }
        None => {
            writes.due_gone.extend(before);
            writes.jobs_gone.push(row);
            return;
        }
    }
    writes.job(before, row);
}
