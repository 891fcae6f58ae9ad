//! Durable commits, one after the other: each change of a job's row must follow from what was learnt.

use std::collections::BTreeMap;

use protocol_smtp::queue::Verdict;
use storage::simulated::JobRow;
use storage::{DeliveryRecord, JobEvent, JobId, JobState, RecipientState};

use super::reports::{Told, read};
use super::{Books, Found, JobBook, Learnt, Message, nanos};
use crate::db::{Applied, world_name};
use crate::world::{MILLI, T0, World};

/// A change of one job's row.
pub(super) struct Change<'a> {
    pub(super) old: &'a JobRow,
    pub(super) new: &'a JobRow,
    pub(super) gone: bool,
    pub(super) records: Vec<&'a DeliveryRecord>,
    pub(super) told: Vec<Told>,
    /// Recipients for whom a cancellation is recorded.
    pub(super) cancelled: Vec<&'a str>,
    /// True time of the commit.
    pub(super) at: u64,
}

impl Books {
    /// A commit is durable: from now on it counts.
    pub fn commit_durable(&mut self, world: &World, commit: &Applied) {
        if let Err(why) = self.durable(world, commit) {
            world.fail(why);
        }
    }

    fn durable(&mut self, world: &World, commit: &Applied) -> Found {
        let mut told = BTreeMap::new();
        for row in &commit.writes.jobs_new {
            self.new_job(world, row, commit.at, &mut told)?;
        }
        let kept = commit.writes.jobs.iter().map(|row| (row, false));
        for (new, gone) in kept.chain(commit.writes.jobs_gone.iter().map(|row| (row, true))) {
            let id = new.job.spec.id;
            let Some(old) = self.jobs.get(&id).map(|book| book.row.clone()) else {
                return Err(format!("{} of a job that is not there: {}", commit.what, world_name(id)));
            };
            let of_attempts = |r: &DeliveryRecord| r.event == JobEvent::Attempted;
            let records = commit.writes.deliveries.iter().filter(|(job, _, r)| *job == id && of_attempts(r));
            let change = Change {
                old: &old,
                new,
                gone,
                records: records.map(|(_, _, record)| record).collect(),
                told: told.remove(&new.job.spec.message.to_string()).unwrap_or_default(),
                cancelled: cancelled_in(commit, id),
                at: commit.at,
            };
            match commit.what {
                "claim_jobs" => self.claimed(&change)?,
                "write_jobs" if !gone && new.job.state == JobState::Processing => self.prolonged(&change),
                "write_jobs" if self.meant(commit.node, "save_job", (id, old.job.epoch)) => {
                    self.saved(&change)?
                }
                "write_jobs" => self.released(&change)?,
                "act_on_job" if new.job.state == JobState::Cancelled => self.cancelled(&change, true)?,
                "cancel_jobs_of" => self.cancelled(&change, false)?,
                _ => {}
            }
            if let Some(book) = self.jobs.get_mut(&id) {
                (book.row, book.gone) = (new.clone(), gone);
            }
        }
        self.limits_durable(commit, world.exec.now())?;
        match told.into_iter().next() {
            Some((envid, told)) => {
                Err(format!("I5: a notification about {envid} that nothing caused: {told:?}"))
            }
            None => Ok(()),
        }
    }

    fn new_job(
        &mut self,
        world: &World,
        row: &JobRow,
        born: u64,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) -> Found {
        let spec = &row.job.spec;
        let count = spec.recipients.len();
        let book = JobBook {
            row: row.clone(),
            gone: false,
            settled: vec![None; count],
            notices: vec![[0; 3]; count],
            not_before: 0,
            dot_at: 0,
            born,
        };
        self.jobs.insert(spec.id, book);
        if !spec.is_dsn {
            return Ok(());
        }
        let Some(bytes) = crate::exec::lock(&world.objects).get(&spec.message).cloned() else {
            return Err(format!("the object of {} was not written before its row", world_name(spec.id)));
        };
        let (envid, reports) = read(&bytes);
        told.entry(envid.unwrap_or_default()).or_default().extend(reports);
        let recipients = spec.recipients.iter().map(|r| (r.address.clone(), None)).collect();
        let message = Message {
            org: spec.org,
            sender: spec.sender.clone(),
            recipients,
            bytes,
            // Its settlement is durable, so it is promised.
            acknowledged: Some(world.exec.now()),
        };
        self.messages.insert(spec.message, message);
        Ok(())
    }

    /// A claim: the epoch rises by one, and a dot without a result becomes a doubt.
    fn claimed(&mut self, change: &Change<'_>) -> Found {
        let (old, new) = (change.old, change.new);
        let name = world_name(new.job.spec.id);
        // Its holder is not lost, and somebody looks again later: nothing else is different.
        let unmoved = JobRow { look_at: old.look_at, rev: old.rev, ..new.clone() };
        if unmoved == *old {
            return Ok(());
        }
        // A job whose claims keep being lost is parked instead of claimed.
        let parked = new.job.state == JobState::Held && new.lost >= storage::LOST_CLAIMS_MAX;
        if !parked && new.job.epoch != old.job.epoch + 1 {
            return Err(format!("I3: {name}: epoch {} follows {}", new.job.epoch, old.job.epoch));
        }
        if matches!(old.job.state, JobState::Dead | JobState::Cancelled | JobState::Held) {
            return Err(format!("I4: {name} is claimed and {:?}", old.job.state));
        }
        let doubted: Vec<&str> =
            old.dot_sent.iter().map(|n| old.job.spec.recipients[*n].address.as_str()).collect();
        let recorded: Vec<&str> =
            change.records.iter().filter(|r| r.in_doubt).map(|r| r.recipient.as_str()).collect();
        if doubted != recorded || change.records.len() != recorded.len() {
            return Err(format!("I2: {name}: dots for {doubted:?}, doubts written for {recorded:?}"));
        }
        for address in doubted {
            self.explained.insert((new.job.spec.id, old.job.epoch, address.to_owned()));
            self.doubts_written += 1;
        }
        Ok(())
    }

    /// A renewal, or the record of a dot.
    fn prolonged(&mut self, change: &Change<'_>) {
        if change.old.dot_sent.len() == change.new.dot_sent.len() {
            return;
        }
        if let Some(book) = self.jobs.get_mut(&change.new.job.spec.id) {
            book.dot_at = change.at;
            // RFC 5321 §4.5.3.2.6: until a result is written, this is an attempt that may be in doubt.
            book.not_before = change.at + nanos(protocol_smtp::queue::IN_DOUBT_WAIT);
        }
    }

    /// I9: only what was not tried is given back.
    fn released(&mut self, change: &Change<'_>) -> Found {
        let claim = (change.old.job.spec.id, change.old.job.epoch);
        let tried =
            self.learnt.get(&claim).is_some_and(|l| l.verdicts.values().any(|v| *v != Verdict::NotTried));
        if tried || !change.old.dot_sent.is_empty() {
            return Err(format!("I9: {} was tried and is given back as if not", world_name(claim.0)));
        }
        Ok(())
    }

    /// Q12: a job is cancelled because somebody wanted it, before its final dot was announced (but for the end of its
    /// tenant), once for each recipient that was still pending, and nobody is told.
    fn cancelled(&mut self, change: &Change<'_>, before_dot: bool) -> Found {
        let (old, new) = (change.old, change.new);
        let name = world_name(new.job.spec.id);
        if !self.may_be_cancelled(old) {
            return Err(format!("Q12: {name} is cancelled by nobody"));
        }
        if matches!(old.job.state, JobState::Dead | JobState::Cancelled) {
            return Err(format!("Q12: {name} is cancelled after its end ({:?})", old.job.state));
        }
        if before_dot && !old.dot_sent.is_empty() {
            return Err(format!("Q12: {name} is cancelled after its final dot was announced"));
        }
        let mut pending = Vec::new();
        for (n, (before, after)) in old.job.spec.recipients.iter().zip(&new.job.spec.recipients).enumerate() {
            let expected = match before.state {
                RecipientState::Pending => RecipientState::Cancelled,
                ended => ended,
            };
            if after.state != expected {
                return Err(format!("Q12: {name}: recipient {n} is {:?} when it is cancelled", after.state));
            }
            if before.state == RecipientState::Pending {
                pending.push(&*before.address);
                if let Some(book) = self.jobs.get_mut(&new.job.spec.id) {
                    book.settled[n] = Some((change.at, old.job.epoch));
                }
            }
        }
        if change.cancelled != pending || !change.records.is_empty() {
            return Err(format!("Q12: {name}: cancelled are {pending:?}, recorded {:?}", change.cancelled));
        }
        // With the end of a tenant it stays open whether what was announced was taken.
        for n in &old.dot_sent {
            let address = old.job.spec.recipients[*n].address.clone();
            self.explained.insert((new.job.spec.id, old.job.epoch, address));
        }
        Ok(())
    }

    fn saved(&mut self, change: &Change<'_>) -> Found {
        let (old, new) = (change.old, change.new);
        let claim = (old.job.spec.id, old.job.epoch);
        let name = world_name(claim.0);
        let learnt = self.learnt.get(&claim).cloned();
        let tried =
            learnt.as_ref().is_some_and(|l| l.verdicts.values().any(is_tried)) || !old.dot_sent.is_empty();
        let number = old.job.attempts + u32::from(tried);
        if new.job.attempts != number {
            return Err(format!("I9: {name}: {} attempts written, {number} made", new.job.attempts));
        }
        self.attempts_written += u64::from(tried);
        let (mut records, mut due, mut wait) = (Vec::new(), Vec::new(), None);
        for (n, (before, after)) in old.job.spec.recipients.iter().zip(&new.job.spec.recipients).enumerate() {
            let verdict = verdict_of(n, learnt.as_ref(), old);
            self.check_recipient(change, n, (before, after), verdict.as_ref(), number)?;
            let touched = before.state == RecipientState::Pending
                && (verdict.as_ref().is_some_and(is_tried) || after.state != RecipientState::Pending);
            if touched {
                let in_doubt = matches!(verdict, Some(Verdict::InDoubt(_)));
                records.push((after.address.clone(), after.state, number, in_doubt));
                wait = wait.max(verdict.as_ref().and_then(|v| self.wait_after(v, number)));
            }
            due.extend(self.notice_due(change, n, (before, after), verdict.as_ref(), learnt.as_ref())?);
        }
        check_records(&name, records, &change.records)?;
        due.sort();
        if due != change.told {
            return Err(format!("I5: {name}: due are {due:?}, told is {:?}", change.told));
        }
        let pending = new.job.spec.recipients.iter().any(|r| r.state == RecipientState::Pending);
        let failed = new.job.spec.recipients.iter().any(|r| is_failure(r.state));
        if pending != (new.job.state == JobState::Queued && !change.gone)
            || change.gone != (!pending && !failed)
        {
            return Err(format!(
                "I1: {name} is {:?}, gone: {}, pending: {pending}",
                new.job.state, change.gone
            ));
        }
        if let (Some(book), Some(learnt)) = (self.jobs.get_mut(&claim.0), learnt) {
            let end =
                u64::try_from(old.job.spec.start.0 - T0.0).unwrap_or(0) * MILLI + nanos(self.policy.ttl);
            book.not_before = wait.map_or(0, |wait| (learnt.at + nanos(wait)).min(end));
        }
        Ok(())
    }

    fn wait_after(&self, verdict: &Verdict, number: u32) -> Option<protocol_core::time::Duration> {
        match verdict {
            Verdict::Temporary(_) => Some(self.least_wait(number, false)),
            Verdict::InDoubt(_) => Some(self.least_wait(number, true)),
            _ => None,
        }
    }
}

/// Recipients of a job for whom a commit records that they were cancelled.
fn cancelled_in(commit: &Applied, job: JobId) -> Vec<&str> {
    let of_job = commit.writes.deliveries.iter().filter(|(id, _, record)| {
        *id == job && record.event == JobEvent::Cancelled && record.state == RecipientState::Cancelled
    });
    of_job.map(|(_, _, record)| &*record.recipient).collect()
}

fn is_tried(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::NotTried | Verdict::Suppressed(_))
}

pub(super) fn is_failure(state: RecipientState) -> bool {
    use RecipientState::*;
    matches!(state, Bounced | Expired | Suppressed)
}

/// What was learnt of a recipient; a dot that was recorded and of which nothing was heard is a doubt.
fn verdict_of(n: usize, learnt: Option<&Learnt>, old: &JobRow) -> Option<Verdict> {
    let told = learnt.and_then(|l| l.verdicts.get(&(n as u16))).cloned();
    match told {
        None | Some(Verdict::NotTried) if old.dot_sent.contains(&n) => {
            let failure =
                protocol_smtp::queue::Failure::local(protocol_smtp::status::Status::BAD_CONNECTION, "");
            Some(Verdict::InDoubt(failure))
        }
        told => told,
    }
}

/// I9: one record for each recipient that was touched, and it says what happened.
fn check_records(
    name: &str,
    mut expected: Vec<(String, RecipientState, u32, bool)>,
    records: &[&DeliveryRecord],
) -> Found {
    let mut written: Vec<_> =
        records.iter().map(|r| (r.recipient.clone(), r.state, r.attempt, r.in_doubt)).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    written.sort_by(|a, b| a.0.cmp(&b.0));
    if expected != written {
        return Err(format!("I9: {name}: records {written:?}, made {expected:?}"));
    }
    Ok(())
}
