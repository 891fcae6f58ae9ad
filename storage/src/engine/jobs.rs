//! The outbound queue: leases, fences, results.

use std::collections::HashMap;

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::Engine;
use super::staged::StagedSlots;
use crate::api::LogRow;
use crate::error::{Error, Refusal, Result};
use crate::rows::{DueKey, JobRow, Rows, Writes};
use crate::slots::{CounterKey, SlotKey};
use crate::store::Jobs;
use crate::types::*;

/// Ended jobs removed in one transaction of a cleaning.
const CLEAN_BATCH: usize = 500;

fn in_use<T>(why: &str) -> Result<T> {
    Err(Refusal::InUse(why.into()).into())
}

/// Adds a record about the job as a whole.
pub(super) fn note_event(
    row: &mut JobRow,
    event: JobEvent,
    reply: &str,
    now: Timestamp,
    writes: &mut Writes,
) {
    let record = record(row, String::new(), RecipientState::Pending, reply, now);
    add_delivery(row, DeliveryRecord { event, ..record }, writes);
}

pub(super) fn add_delivery(row: &mut JobRow, record: DeliveryRecord, writes: &mut Writes) {
    let spec = &row.job.spec;
    if spec.logged {
        writes.log.push(log_entry(spec.org, spec.message, spec.id, record.clone()));
    }
    writes.deliveries.push((row.job.spec.id, row.deliveries, record));
    row.deliveries = row.deliveries.saturating_add(1);
}

/// An entry that has no number yet.
pub(super) fn log_entry(org: OrgId, email: MessageId, job: JobId, record: DeliveryRecord) -> LogRow {
    LogRow { org, number: 0, email, job, record, trace: None }
}

/// A record that no attempt of ours made.
fn record(
    row: &JobRow,
    recipient: String,
    state: RecipientState,
    reply: &str,
    now: Timestamp,
) -> DeliveryRecord {
    DeliveryRecord {
        recipient,
        state,
        host: None,
        reply: reply.to_owned(),
        tls: String::new(),
        attempt: row.job.attempts,
        in_doubt: false,
        at_ms: now.0,
        event: JobEvent::Attempted,
    }
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
        let (address, state) = (recipient.address.clone(), recipient.state);
        let reply = "the worker stopped between the final dot and its reply";
        let record = DeliveryRecord { in_doubt: true, ..record(row, address, state, reply, now) };
        add_delivery(row, record, writes);
    }
}

pub(super) fn give_back(job: &mut Job, due: Timestamp) {
    job.state = JobState::Queued;
    job.owner = None;
    job.lease_until = None;
    job.due = due;
}

/// Holds a job that ends its workers, until somebody has looked at it (SPEC section 6, `held`).
pub(super) fn park(row: &mut JobRow, reason: &str, now: Timestamp, writes: &mut Writes) {
    note_event(row, JobEvent::Parked, reason, now, writes);
    let due = row.job.due;
    give_back(&mut row.job, due);
    row.job.state = JobState::Held;
    row.job.updated = now;
    tracing::error!(job = %row.job.spec.id, id = %row.job.spec.message, reason, "a job is held: look at it, then release or cancel it");
}

/// Applies an administrator's action. One that is being delivered can be held or cancelled as long as no final dot
/// was announced: its holder's next write is fenced, before the dot.
fn act(row: &mut JobRow, action: JobAction, now: Timestamp, writes: &mut Writes) -> Result<()> {
    let before_dot = row.dot_sent.is_empty();
    match (action, row.job.state) {
        (JobAction::Retry, JobState::Queued | JobState::Held) => give_back(&mut row.job, now),
        (JobAction::Retry, JobState::Dead) => {
            for recipient in &mut row.job.spec.recipients {
                if matches!(recipient.state, RecipientState::Bounced | RecipientState::Expired) {
                    recipient.state = RecipientState::Pending;
                }
            }
            start_anew(row, now);
        }
        (JobAction::Reschedule(at), JobState::Queued) if row.job.attempts == 0 => {
            row.job.spec.start = at;
            give_back(&mut row.job, at);
        }
        (JobAction::Hold, JobState::Queued) => row.job.state = JobState::Held,
        (JobAction::Hold, JobState::Processing) if before_dot => {
            give_back(&mut row.job, now);
            row.job.state = JobState::Held;
        }
        (JobAction::Release, JobState::Held) => start_anew(row, now),
        (JobAction::Cancel, JobState::Queued | JobState::Held) => cancel(row, now, writes),
        (JobAction::Cancel, JobState::Processing) if before_dot => cancel(row, now, writes),
        (JobAction::Hold | JobAction::Cancel, JobState::Processing) => {
            return in_use("the message is being handed over to its destination");
        }
        (_, JobState::Processing) => return in_use("the job is being delivered"),
        (JobAction::Reschedule(_), JobState::Queued) => return in_use("the job was tried already"),
        (_, JobState::Queued) => return in_use("the job is queued, not held"),
        (_, JobState::Held) => return in_use("the job is held"),
        (_, JobState::Dead) => return in_use("the job is dead: it can only be retried"),
        (_, JobState::Cancelled) => return in_use("the job was cancelled"),
    }
    row.job.updated = now;
    let event = match action {
        JobAction::Retry => JobEvent::Retried,
        JobAction::Hold => JobEvent::Held,
        JobAction::Release => JobEvent::Released,
        JobAction::Reschedule(_) => JobEvent::Rescheduled,
        JobAction::Cancel => return Ok(()),
    };
    note_event(row, event, "", now, writes);
    Ok(())
}

/// Time to live, attempts and the delay warning count from here.
fn start_anew(row: &mut JobRow, now: Timestamp) {
    row.job.spec.start = row.job.spec.start.max(now);
    row.job.attempts = 0;
    (row.crashes, row.lost) = (0, 0);
    give_back(&mut row.job, now);
}

pub(super) fn cancel(row: &mut JobRow, now: Timestamp, writes: &mut Writes) {
    let due = row.job.due;
    give_back(&mut row.job, due);
    row.job.state = JobState::Cancelled;
    let mut recipients = std::mem::take(&mut row.job.spec.recipients);
    for recipient in recipients.iter_mut().filter(|r| r.state == RecipientState::Pending) {
        recipient.state = RecipientState::Cancelled;
        let record = record(row, recipient.address.clone(), recipient.state, "cancelled", now);
        add_delivery(row, DeliveryRecord { event: JobEvent::Cancelled, ..record }, writes);
    }
    row.job.spec.recipients = recipients;
}

/// The counter that a job counts in, until it is settled.
pub(super) fn counter_of(job: &Job) -> Option<CounterKey> {
    job.spec.counted.as_deref().map(CounterKey::queued_jobs)
}

impl<R: Rows> Engine<R> {
    async fn job_row(&self, id: JobId) -> Result<Option<JobRow>> {
        Ok(self.rows.jobs(&[id]).await?.into_iter().next())
    }

    /// Cancels all that an organisation has queued, held jobs too. Who holds one of its jobs is fenced, and sends it
    /// no more.
    pub(super) async fn cancel_jobs_of(&self, org: OrgId) -> Result<()> {
        let (mut tries, end) = (0, Timestamp(i64::MAX));
        loop {
            let due = self.rows.due(org, end, end, CLEAN_BATCH).await?;
            let ids: Vec<JobId> = due.iter().map(|key| key.job).collect();
            // What is held stands in no line.
            let mut rows = match ids.as_slice() {
                [] => self.rows.jobs_held(org, CLEAN_BATCH).await?,
                ids => self.rows.jobs(ids).await?,
            };
            if due.is_empty() && rows.is_empty() {
                return Ok(());
            }
            // Some may have come to their end since the index was read.
            rows.retain(|row| !matches!(row.job.state, JobState::Dead | JobState::Cancelled));
            let now = self.rows.now().await?;
            let counters = rows.iter().filter_map(|row| counter_of(&row.job)).map(SlotKey::Counter);
            let mut slots = StagedSlots::read(&self.rows, counters.collect()).await?;
            let mut writes = Writes::default();
            for mut row in rows {
                let before = row.due_at();
                cancel(&mut row, now, &mut writes);
                row.job.updated = now;
                if let Some(counter) = counter_of(&row.job) {
                    slots.charge(&counter, -1);
                }
                writes.job(before, row);
            }
            writes.slots = slots.writes();
            // What has no job any more is no line to stand in.
            let moved = writes.due_gone.clone();
            writes.due_gone.extend(due.into_iter().filter(|key| !moved.contains(key)));
            self.apply("cancel_jobs_of", writes, &mut tries).await?;
        }
    }

    /// Due jobs for a claim. Organisations take turns from behind the one that was served last; each gives a share,
    /// and when all have given theirs and there is room, those with more give more.
    async fn due_in_turns(
        &self,
        last: &mut Option<OrgId>,
        now: Timestamp,
        skew: Duration,
        limit: usize,
    ) -> Result<Vec<DueKey>> {
        let share = (limit / 8).max(1);
        let mut due: Vec<DueKey> = Vec::new();
        let mut with_more: Vec<OrgId> = Vec::new();
        let mut seen: Vec<OrgId> = Vec::new();
        let mut at = *last;
        while due.len() < limit && seen.len() < ORGS_OF_CLAIM_MAX {
            let next = match self.rows.due_org_after(at).await? {
                None if at.is_some() => self.rows.due_org_after(None).await?,
                next => next,
            };
            let Some(org) = next.filter(|org| !seen.contains(org)) else { break };
            seen.push(org);
            at = Some(org);
            let room = share.min(limit - due.len());
            let rows = self.rows.due(org, now, now - skew, room).await?;
            if !rows.is_empty() {
                *last = Some(org);
            }
            if rows.len() == room {
                with_more.push(org);
            }
            due.extend(rows);
        }
        for org in with_more {
            let had = due.iter().filter(|key| key.org == org).count();
            let room = limit - due.len();
            if room == 0 {
                break;
            }
            due.extend(self.rows.due(org, now, now - skew, had + room).await?.into_iter().skip(had));
        }
        // Wherever the round ended, the next one goes on from there.
        *last = at;
        Ok(due)
    }
}

/// Organisations that one claim looks at.
const ORGS_OF_CLAIM_MAX: usize = 64;

/// A job row after a claim: processing, or held when its claims or attempts keep ending without a result. None when
/// its holder is not lost: somebody looks again later.
fn claimed(
    mut row: JobRow,
    owner: &str,
    (now, lease, skew): (Timestamp, Duration, Duration),
    writes: &mut Writes,
) -> Option<JobRow> {
    let before = row.due_at();
    let was_held = row.job.state == JobState::Processing;
    if was_held && row.lost_at().is_some_and(|end| end >= now - skew) {
        row.look_at = row.lost_at();
        writes.job(before, row);
        return None;
    }
    note_in_doubt(&mut row, now, writes);
    row.lost = if was_held { row.lost.saturating_add(1) } else { row.lost };
    if row.lost >= LOST_CLAIMS_MAX {
        let reason = format!("its worker was lost {} times", row.lost);
        park(&mut row, &reason, now, writes);
    } else {
        row.job.hold(owner, now, lease);
        row.look_at = row.lost_at();
    }
    writes.job(before, row.clone());
    Some(row)
}

#[async_trait::async_trait]
impl<R: Rows> Jobs for Engine<R> {
    async fn now(&self) -> Result<Timestamp> {
        self.rows.now().await
    }

    async fn claim_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        skew: Duration,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let mut last = self.claims.lock().await;
        let mut tries = 0;
        loop {
            // Whoever lost to another node looks at more, and takes from another place in the line.
            let wide = limit.saturating_mul(1 + (tries as usize).min(3));
            let mut turn = *last;
            let mut due = self.due_in_turns(&mut turn, now, skew, wide).await?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            if due.len() > limit {
                let start = spread(owner, tries) % (due.len() - limit + 1);
                due = due.split_off(start);
                due.truncate(limit);
            }
            let ids: Vec<JobId> = due.iter().map(|key| key.job).collect();
            let rows = self.rows.jobs(&ids).await?;
            let mut rows: HashMap<JobId, Option<JobRow>> =
                rows.into_iter().map(|row| (row.job.spec.id, Some(row))).collect();
            let mut writes = Writes::default();
            let mut taken = Vec::with_capacity(due.len());
            for key in due {
                match rows.get(&key.job) {
                    Some(Some(row)) if row.due_at() == Some(key) => {
                        let row = rows.insert(key.job, None).flatten();
                        let times = (now, lease, skew);
                        taken.extend(row.and_then(|row| claimed(row, owner, times, &mut writes)));
                    }
                    // The job has moved on since the index was read, or stands in it twice: the index is read in
                    // several steps, and the job may have moved between two of them.
                    Some(_) => {}
                    None => writes.due_gone.push(key),
                }
            }
            if self.apply("claim_jobs", writes, &mut tries).await? {
                *last = turn;
                let held = taken.iter().filter(|row| row.job.state == JobState::Processing);
                held.for_each(|row| self.held.keep(JobRow { rev: row.rev + 1, ..row.clone() }));
                return Ok(taken.into_iter().map(|row| row.job).collect());
            }
        }
    }

    async fn write_jobs(&self, writes: Vec<(Fence, JobWrite)>, now: Timestamp) -> Vec<Result<Vec<Placed>>> {
        self.do_write_jobs(writes, now).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        let (mut first, mut at) = (None, None);
        while let Some(org) = self.rows.due_org_after(at).await? {
            at = Some(org);
            let due = self.rows.due_first(org).await?;
            first = match (first, due) {
                (Some(a), Some(b)) => Some(std::cmp::min::<Timestamp>(a, b)),
                (a, b) => a.or(b),
            };
        }
        Ok(first)
    }

    async fn timeline(&self, message: MessageId) -> Result<Vec<(JobId, DeliveryRecord)>> {
        let jobs = JobId::of(message, 0)..=JobId::of(message, JOBS_OF_MESSAGE_MAX - 1);
        // Message IDs are random: only the last of all has jobs that begin anew at the first.
        let mut records =
            if jobs.start() <= jobs.end() { self.rows.deliveries_between(jobs).await? } else { Vec::new() };
        records.sort_by_key(|(_, record)| record.at_ms);
        Ok(records)
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
            if row.job.state == JobState::Cancelled
                && let Some(counter) = counter_of(&row.job)
            {
                let mut slots =
                    StagedSlots::read(&self.rows, vec![SlotKey::Counter(counter.clone())]).await?;
                slots.charge(&counter, -1);
                writes.slots = slots.writes();
            }
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
        self.rows.clean_log(deliveries_before).await?;
        Ok((jobs, self.rows.clean_deliveries(deliveries_before).await?))
    }

    async fn queued_messages(&self) -> Result<Vec<(OrgId, MessageId)>> {
        self.rows.queued_messages().await
    }
}

/// Different for every owner and try.
fn spread(owner: &str, tries: u32) -> usize {
    let hash = blake3::hash(format!("{tries} {owner}").as_bytes());
    usize::from(u16::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]))
}
