//! Durable commits, one after the other: each change of a job's row must follow from what was learnt.

use std::collections::BTreeMap;

use protocol_smtp::queue::{DsnDuty, Verdict};
use storage::simulated::JobRow;
use storage::{DeliveryRecord, JobEvent, JobRecipient, JobState, RecipientState};

use super::reports::{Told, read};
use super::{Books, Found, JobBook, Learnt, Message, nanos, notify_of};
use crate::db::{Applied, world_name};
use crate::setup::Kind;
use crate::world::{MILLI, T0, World};

/// A change of one job's row.
struct Change<'a> {
    old: &'a JobRow,
    new: &'a JobRow,
    gone: bool,
    records: Vec<&'a DeliveryRecord>,
    told: Vec<Told>,
    /// True time of the commit.
    at: u64,
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
            self.new_job(world, row, &mut told)?;
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
                at: commit.at,
            };
            match commit.what {
                "claim_jobs" => self.claimed(&change)?,
                "write_jobs" if !gone && new.job.state == JobState::Processing => self.prolonged(&change),
                "write_jobs" if self.meant(commit.node, "save_job", (id, old.job.epoch)) => {
                    self.saved(&change)?
                }
                "write_jobs" => self.released(&change)?,
                _ => {}
            }
            if let Some(book) = self.jobs.get_mut(&id) {
                (book.row, book.gone) = (new.clone(), gone);
            }
        }
        match told.into_iter().next() {
            Some((envid, told)) => {
                Err(format!("I5: a notification about {envid} that nothing caused: {told:?}"))
            }
            None => Ok(()),
        }
    }

    fn new_job(&mut self, world: &World, row: &JobRow, told: &mut BTreeMap<String, Vec<Told>>) -> Found {
        let spec = &row.job.spec;
        let count = spec.recipients.len();
        let book = JobBook {
            row: row.clone(),
            gone: false,
            settled: vec![None; count],
            notices: vec![[0; 3]; count],
            not_before: 0,
            dot_at: 0,
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

    /// I1, I2, I6, I7, I8, I9: the recipient's new state follows from its own verdict and from nothing else.
    fn check_recipient(
        &mut self,
        change: &Change<'_>,
        n: usize,
        (before, after): (&JobRecipient, &JobRecipient),
        verdict: Option<&Verdict>,
        number: u32,
    ) -> Found {
        use RecipientState::*;
        let spec = &change.old.job.spec;
        let (id, epoch) = (spec.id, change.old.job.epoch);
        let name = world_name(id);
        if before.state != Pending {
            let same = before.state == after.state;
            return if same {
                Ok(())
            } else {
                Err(format!("I4: {name}: recipient {n} changed after its end"))
            };
        }
        let now_ms = T0.0 + (change.at / MILLI) as i64;
        let end_ms = (spec.start + self.policy.ttl).0;
        let used_up = number >= self.policy.max_attempts;
        let may_expire = used_up || now_ms + self.tolerance.as_millis() as i64 >= end_ms;
        let fits = match (verdict, after.state) {
            (None | Some(Verdict::NotTried), Pending) => true,
            (None | Some(Verdict::NotTried), Expired) => may_expire,
            (Some(Verdict::Delivered { .. }), Delivered) => true,
            (Some(Verdict::Permanent(_)), Bounced) => true,
            (Some(Verdict::Suppressed(_)), Suppressed) => true,
            (Some(Verdict::Temporary(_) | Verdict::InDoubt(_)), Expired) => may_expire,
            (Some(Verdict::Temporary(_) | Verdict::InDoubt(_)), Pending) => !used_up,
            _ => false,
        };
        if !fits {
            return Err(format!("I1, I8, I9: {name}: recipient {n} is {:?} after {verdict:?}", after.state));
        }
        let in_doubt = matches!(verdict, Some(Verdict::InDoubt(_)));
        if after.in_doubt != before.in_doubt + u32::from(in_doubt) {
            return Err(format!("I2: {name}: recipient {n} was {} times in doubt", after.in_doubt));
        }
        let scripted = matches!(self.kind(&spec.domain), Some(Kind::Plain | Kind::Home));
        let said = self.said.get(&(id, epoch, after.address.clone())).copied().unwrap_or(0);
        if after.state == Bounced && scripted && said < 500 {
            return Err(format!("I1: {name}: {} bounced, its server said {said}", after.address));
        }
        if in_doubt || after.state == Delivered {
            self.explained.insert((id, epoch, after.address.clone()));
            self.doubts_written += u64::from(in_doubt);
        }
        let took = |a: &&super::Accepted| (a.job, a.epoch) == (id, epoch) && a.recipient == after.address;
        if after.state == Delivered && scripted && self.accepted.iter().find(took).is_none() {
            return Err(format!("I1: {name}: {} counts as delivered, nobody took it", after.address));
        }
        if after.state != Pending
            && let Some(book) = self.jobs.get_mut(&id)
        {
            book.settled[n] = Some((change.at, epoch));
        }
        Ok(())
    }

    /// I5: which notice this change makes due; and at most one of each kind ever.
    fn notice_due(
        &mut self,
        change: &Change<'_>,
        n: usize,
        (before, after): (&JobRecipient, &JobRecipient),
        verdict: Option<&Verdict>,
        learnt: Option<&Learnt>,
    ) -> Result<Option<Told>, String> {
        let spec = &change.old.job.spec;
        let name = world_name(spec.id);
        let notify = notify_of(self.wish(spec.message, &after.address));
        let silent = spec.sender.is_empty() || spec.is_dsn;
        let over = before.state == RecipientState::Pending && after.state != RecipientState::Pending;
        let warned = !before.delay_notified && after.delay_notified;
        let warning = self.policy.delay_warning;
        let decided = learnt.map_or(change.at, |l| l.at);
        let age = (T0.0 + (decided / MILLI) as i64) - (spec.start + warning).0;
        let slack = self.tolerance.as_millis() as i64;
        if warned && (silent || !notify.delay() || warning.is_zero() || age < -slack) {
            return Err(format!("I5: {name}: a delay notice for recipient {n} that is not due"));
        }
        let failed_again = !over && matches!(verdict, Some(Verdict::Temporary(_) | Verdict::InDoubt(_)));
        let owed = failed_again && !silent && notify.delay() && !warning.is_zero() && age > slack;
        if owed && !after.delay_notified {
            return Err(format!(
                "I5: {name}: recipient {n} waits for {age} ms more than the warning, untold"
            ));
        }
        let (kind, action) = match verdict {
            _ if silent => return Ok(None),
            _ if over && is_failure(after.state) && notify.failure() => (0, "failed"),
            _ if warned => (1, "delayed"),
            Some(Verdict::Delivered { dsn: DsnDuty::Relayed, .. }) if over && notify.success() => {
                (2, "relayed")
            }
            Some(Verdict::Delivered { dsn: DsnDuty::Final, .. }) if over && notify.success() => {
                (2, "delivered")
            }
            _ => return Ok(None),
        };
        if let Some(count) = self.jobs.get_mut(&spec.id).and_then(|b| b.notices.get_mut(n)) {
            count[kind] += 1;
            if count[kind] > 1 {
                return Err(format!("I5: {name}: recipient {n} is told `{action}` again"));
            }
        }
        Ok(Some(Told { recipient: after.address.clone(), action: action.into() }))
    }

    /// NOTIFY as it was submitted, whatever the row says.
    fn wish(&self, message: storage::MessageId, address: &str) -> Option<&str> {
        let message = self.messages.get(&message)?;
        message.recipients.iter().find(|(a, _)| a == address)?.1.as_deref()
    }
}

fn is_tried(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::NotTried | Verdict::Suppressed(_))
}

fn is_failure(state: RecipientState) -> bool {
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
