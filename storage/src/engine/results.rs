//! What holders of jobs write, many jobs in one transaction: renewals, announced dots, results, jobs given back.

use std::collections::HashMap;

use protocol_core::Timestamp;

use super::commit::Placing;
use super::jobs::{add_delivery, counter_of, give_back, park};
use super::{Engine, staged};
use crate::error::{Error, Refusal, Result};
use crate::rows::{ApplyError, DueKey, JobRow, Rows, Writes};
use crate::slots::SlotKey;
use crate::types::*;

/// A job as the writes so far leave it.
struct Current {
    row: JobRow,
    /// Its row in the due index before all of them.
    before: Option<DueKey>,
    changed: bool,
    /// Settled: the row goes.
    gone: bool,
}

fn fenced<T>() -> Result<T> {
    Err(Refusal::Fenced.into())
}

/// The small rows that results rest on.
fn keys_of(rows: &HashMap<JobId, Current>, writes: &[(Fence, JobWrite)]) -> Vec<SlotKey> {
    let mut keys = Vec::new();
    for (fence, write) in writes {
        let (Some(current), JobWrite::Save(update)) = (rows.get(&fence.job), write) else { continue };
        let org = current.row.job.spec.org;
        keys.extend(update.suppressions.iter().flat_map(|change| staged::suppression_keys(org, change)));
        keys.extend(counter_of(&current.row.job).map(SlotKey::Counter));
    }
    keys
}

impl Current {
    /// Fenced unless the epoch is current and the job is being processed; with `until` its lease must hold then.
    fn check(&self, fence: Fence, until: Option<Timestamp>) -> Result<()> {
        let job = &self.row.job;
        let held = !self.gone && job.epoch == fence.epoch && job.state == JobState::Processing;
        let lease = until.is_none_or(|now| job.lease_until.is_some_and(|end| end > now));
        if held && lease { Ok(()) } else { fenced() }
    }

    fn apply(
        &mut self,
        fence: Fence,
        write: &JobWrite,
        now: Timestamp,
        placing: &mut Placing,
    ) -> Result<Vec<Placed>> {
        let mut placed = Vec::new();
        match write {
            JobWrite::Renew { lease } => {
                self.check(fence, Some(now))?;
                self.row.job.lease_until = Some(now + *lease);
                self.row.job.updated = now;
            }
            JobWrite::Dot { recipients, lease } => {
                self.check(fence, Some(now))?;
                if recipients.iter().any(|n| *n >= self.row.job.spec.recipients.len()) {
                    return Err(Refusal::Invalid("no such recipient".into()).into());
                }
                let new = recipients.iter().filter(|n| !self.row.dot_sent.contains(n)).copied();
                let new: Vec<usize> = new.collect();
                self.row.dot_sent.extend(new);
                self.row.job.lease_until = Some(now + *lease);
                self.row.job.updated = now;
            }
            JobWrite::Save(update) => {
                self.check(fence, None)?;
                placed = self.save(update, now, placing)?;
            }
            JobWrite::Release { due } => {
                self.check(fence, None)?;
                self.row.dot_sent.clear();
                give_back(&mut self.row.job, *due);
            }
            JobWrite::Crashed { due } => {
                self.check(fence, None)?;
                self.row.dot_sent.clear();
                give_back(&mut self.row.job, *due);
                self.row.crashes = self.row.crashes.saturating_add(1);
                if self.row.crashes >= CRASHES_MAX {
                    let reason = format!("{} attempts in a row ended in a crash", self.row.crashes);
                    park(&mut self.row, &reason, now, &mut placing.writes);
                }
            }
        }
        self.changed = true;
        Ok(placed)
    }

    /// The job's row after an attempt: queued again, dead, or gone.
    fn save(&mut self, update: &JobUpdate, now: Timestamp, placing: &mut Placing) -> Result<Vec<Placed>> {
        let row = &mut self.row;
        if update.recipients.len() != row.job.spec.recipients.len() {
            return Err(Refusal::Invalid("an update names every recipient of the job".into()).into());
        }
        let placed = placing.add(&update.also)?;
        for record in &update.deliveries {
            add_delivery(row, record.clone(), &mut placing.writes);
        }
        for change in &update.suppressions {
            placing.slots.suppress(row.job.spec.org, change, now);
        }
        row.dot_sent.clear();
        (row.crashes, row.lost) = (0, 0);
        row.job.spec.recipients = update.recipients.clone();
        row.job.attempts = update.attempts;
        row.job.updated = now;
        if update.next_due.is_none()
            && let Some(counter) = counter_of(&row.job)
        {
            placing.slots.charge(&counter, -1);
        }
        match update.next_due {
            Some(due) => give_back(&mut row.job, due),
            None if update.dead => {
                give_back(&mut row.job, now);
                row.job.state = JobState::Dead;
            }
            None => self.gone = true,
        }
        Ok(placed)
    }

    /// What of it is written, and the row as it is then, while it is still held.
    fn write(self, writes: &mut Writes) -> Option<JobRow> {
        if self.gone {
            writes.due_gone.extend(self.before);
            writes.jobs_gone.push(self.row);
            return None;
        }
        let held = self.row.job.state == JobState::Processing;
        let after = held.then(|| JobRow { rev: self.row.rev + u64::from(self.changed), ..self.row.clone() });
        if self.changed {
            writes.job(self.before, self.row);
        }
        after
    }
}

impl<R: Rows> Engine<R> {
    pub(super) async fn do_write_jobs(
        &self,
        writes: Vec<(Fence, JobWrite)>,
        now: Timestamp,
    ) -> Vec<Result<Vec<Placed>>> {
        let fail = |why: Error| writes.iter().map(|_| Err(why.clone())).collect();
        let outcome = self.write_jobs_locked(&writes, now).await;
        match outcome {
            Ok(answers) => answers,
            Err(ApplyError::Exists) if writes.len() > 1 => {
                // What goes with one of them was committed before. Its neighbours must not suffer.
                let mut answers = Vec::with_capacity(writes.len());
                for write in &writes {
                    let one = self.write_jobs_locked(std::slice::from_ref(write), now).await;
                    answers.push(match one {
                        Ok(mut answer) => answer.pop().unwrap_or_else(fenced),
                        Err(why) => Err(why.into()),
                    });
                }
                answers
            }
            Err(why) => fail(why.into()),
        }
    }

    async fn write_jobs_locked(
        &self,
        writes: &[(Fence, JobWrite)],
        now: Timestamp,
    ) -> Result<Vec<Result<Vec<Placed>>>, ApplyError> {
        let other = ApplyError::Other;
        let _jobs = self.lock_jobs(writes.iter().map(|(fence, _)| fence.job)).await.map_err(other)?;
        let also: Vec<Commit> = writes.iter().filter_map(also_of).cloned().collect();
        let _mailboxes = self.lock_for_commits(&also).await.map_err(other)?;
        let (mut tries, mut remembered) = (0, true);
        loop {
            let (mut rows, any) = self.current(writes, remembered).await.map_err(other)?;
            remembered = false;
            let keys = keys_of(&rows, writes);
            let (mut placing, _) = self.placing(also.iter(), keys, false).await.map_err(other)?;
            let mut answers = Vec::with_capacity(writes.len());
            for (fence, write) in writes {
                answers.push(match rows.get_mut(&fence.job) {
                    Some(current) => current.apply(*fence, write, now, &mut placing),
                    None => fenced(),
                });
            }
            if any && answers.iter().any(Result::is_err) {
                continue;
            }
            let (mut all, _) = placing.into_writes();
            let kept: Vec<JobRow> = rows.into_values().filter_map(|row| row.write(&mut all)).collect();
            for row in all.mailboxes.iter() {
                self.cache.forget(row.mailbox.id);
            }
            let _log = self.number_log(&mut all).await.map_err(other)?;
            match self.rows.apply("write_jobs", all).await {
                Ok(()) => {
                    kept.into_iter().for_each(|row| self.held.keep(row));
                    return Ok(answers);
                }
                Err(ApplyError::Stale) if tries < super::TRIES_MAX => {
                    tries += 1;
                    self.rows.pause(tries).await;
                }
                Err(ApplyError::Other(why)) => {
                    for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                        *answer = Err(why.clone());
                    }
                    return Ok(answers);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The rows of the jobs; with `remembered` those that this process wrote last are not read. The second part of
    /// the answer is whether there were any.
    async fn current(
        &self,
        writes: &[(Fence, JobWrite)],
        remembered: bool,
    ) -> Result<(HashMap<JobId, Current>, bool)> {
        let mut ids: Vec<JobId> = writes.iter().map(|(fence, _)| fence.job).collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut rows, mut unknown) = (Vec::new(), Vec::new());
        for id in ids {
            match self.held.take(id).filter(|_| remembered) {
                Some(row) => rows.push(row),
                None => unknown.push(id),
            }
        }
        let any = !rows.is_empty();
        if !unknown.is_empty() {
            rows.extend(self.rows.jobs(&unknown).await?);
        }
        let current = |row: JobRow| {
            let before = row.due_at();
            (row.job.spec.id, Current { row, before, changed: false, gone: false })
        };
        Ok((rows.into_iter().map(current).collect(), any))
    }
}

fn also_of((_, write): &(Fence, JobWrite)) -> Option<&Commit> {
    match write {
        JobWrite::Save(update) => Some(&update.also),
        _ => None,
    }
}
