//! Commits: messages placed in folders and jobs queued, many commits in one transaction.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::staged::{self, StagedSlots};
use super::{Engine, jobs, mail};
use protocol_core::Timestamp;

use crate::error::{Error, Refusal, Result};
use crate::rows::*;
use crate::slots::SlotKey;
use crate::types::*;

/// The mailboxes of a batch as they will be when what was placed so far is written.
pub(super) struct Placing {
    mailboxes: HashMap<MailboxId, PlacingMailbox>,
    jobs: HashSet<JobId>,
    /// Small rows: counters, keys of idempotency, suppressions.
    pub slots: StagedSlots,
    pub writes: Writes,
}

struct PlacingMailbox {
    state: MailboxState,
    read: Instant,
    objects: HashSet<MessageId>,
    folders_changed: HashSet<FolderId>,
    changed: bool,
}

/// What one commit has changed so far, to be taken back when it is refused.
struct Undo {
    used: Vec<(MailboxId, u64)>,
    folders: Vec<(MailboxId, FolderInfo)>,
    objects: Vec<(MailboxId, MessageId)>,
    messages_new: usize,
    objects_new: usize,
}

impl Placing {
    fn new(states: Vec<(Instant, MailboxState)>, slots: StagedSlots) -> Self {
        let mailbox = |(read, state): (Instant, MailboxState)| PlacingMailbox {
            state,
            read,
            objects: HashSet::new(),
            folders_changed: HashSet::new(),
            changed: false,
        };
        let known = states.into_iter().map(|state| (state.1.row.mailbox.id, mailbox(state)));
        Placing { mailboxes: known.collect(), jobs: HashSet::new(), slots, writes: Writes::default() }
    }

    /// Adds one commit; when it is refused, nothing of it.
    pub fn add(&mut self, commit: &Commit) -> Result<Vec<Placed>> {
        for job in &commit.jobs {
            self.check_job(job)?;
        }
        if let Some(key) = &commit.idempotency {
            self.slots.check_idempotency(key, commit.at)?;
        }
        self.slots.check_charges(&commit.charges)?;
        let mut undo = Undo {
            used: Vec::new(),
            folders: Vec::new(),
            objects: Vec::new(),
            messages_new: self.writes.messages_new.len(),
            objects_new: self.writes.objects_new.len(),
        };
        let mut placed = Vec::with_capacity(commit.rows.len());
        for row in &commit.rows {
            match self.add_row(row, &mut undo) {
                Ok(place) => placed.push(place),
                Err(why) => {
                    self.take_back(undo);
                    return Err(why);
                }
            }
        }
        for (id, folder) in &undo.folders {
            if let Some(mailbox) = self.mailboxes.get_mut(id) {
                mailbox.folders_changed.insert(folder.id);
                mailbox.changed = true;
            }
        }
        for job in &commit.jobs {
            self.add_job(job, commit.claim.as_ref(), commit.at);
        }
        self.add_small(commit);
        Ok(placed)
    }

    /// What goes with a commit that nothing refuses any more.
    fn add_small(&mut self, commit: &Commit) {
        for charge in &commit.charges {
            self.slots.charge(&charge.counter, charge.amount);
        }
        if let Some(key) = &commit.idempotency {
            self.slots.put_idempotency(key);
        }
        for (org, change) in &commit.suppressions {
            self.slots.suppress(*org, change, commit.at);
        }
        for (n, (job, record)) in (FIRST_EVENT..).zip(&commit.events) {
            // The events of a new e-mail are the first of theirs, and there may be as many as it has recipients.
            let number = if commit.email.is_some() { n } else { event_number(record) };
            self.writes.events.push((*job, number, record.clone()));
            if let Some(email) = &commit.email {
                self.writes.log.push(jobs::log_entry(email.org, email.id, *job, record.clone()));
            }
        }
        if let Some(email) = &commit.email {
            self.slots.put_email(email);
        }
        self.writes.log.extend(commit.arrived.iter().cloned());
    }

    fn check_job(&self, job: &NewJob) -> Result<()> {
        if job.recipients.is_empty() {
            return Err(Refusal::Invalid("a job has at least one recipient".into()).into());
        }
        if self.jobs.contains(&job.id) {
            return Err(Refusal::Exists(job.id.to_string()).into());
        }
        Ok(())
    }

    fn add_job(&mut self, spec: &NewJob, claim: Option<&Claim>, at: Timestamp) {
        self.jobs.insert(spec.id);
        let (dot_sent, look_at) = (Vec::new(), None);
        let job = Job::queued(spec.clone());
        let mut row = JobRow { job, rev: 0, look_at, dot_sent, deliveries: 0, crashes: 0, lost: 0 };
        jobs::note_event(&mut row, JobEvent::Queued, "", spec.created, &mut self.writes);
        if let Some(job) = claim.and_then(|claim| claim.of(spec, at)) {
            row.job = job;
            row.look_at = row.lost_at();
        }
        self.writes.due_new.extend(row.due_at());
        self.writes.jobs_new.push(row);
    }

    fn add_row(&mut self, new: &NewRow, undo: &mut Undo) -> Result<Placed> {
        let mailbox = self.mailboxes.get_mut(&new.mailbox).ok_or(Error::NotFound)?;
        let first_of_commit = !undo.objects.contains(&(new.mailbox, new.message));
        if first_of_commit {
            if mailbox.objects.contains(&new.message) {
                return Err(Refusal::Exists(new.message.to_string()).into());
            }
            charge(mailbox, new, undo)?;
        }
        let folder = target(&mut mailbox.state.folders, &new.folder).ok_or(Error::NotFound)?;
        if !undo.folders.iter().any(|(_, before)| before.id == folder.id) {
            undo.folders.push((new.mailbox, folder.clone()));
            folder.highest_modseq += 1;
        }
        let row = mail::place(folder, new)?;
        self.writes.messages_new.push((folder.id, row));
        if first_of_commit {
            mailbox.objects.insert(new.message);
            undo.objects.push((new.mailbox, new.message));
            self.writes.objects_new.push(ObjectRow {
                mailbox: new.mailbox,
                message: new.message,
                refs: 1,
                size: new.size,
                meta: new.meta.clone(),
            });
        } else {
            let of_commit = self.writes.objects_new.iter_mut().skip(undo.objects_new);
            for object in of_commit.filter(|o| (o.mailbox, o.message) == (new.mailbox, new.message)) {
                object.refs += 1;
            }
        }
        Ok(mail::placed(folder, row))
    }

    fn take_back(&mut self, undo: Undo) {
        // The oldest state was noted first, so the states go back in reverse.
        for (id, used) in undo.used.into_iter().rev() {
            if let Some(mailbox) = self.mailboxes.get_mut(&id) {
                mailbox.state.row.mailbox.used_bytes = used;
            }
        }
        for (id, before) in undo.folders {
            let folders = self.mailboxes.get_mut(&id).map(|mailbox| &mut mailbox.state.folders);
            if let Some(folder) = folders.into_iter().flatten().find(|folder| folder.id == before.id) {
                *folder = before;
            }
        }
        for (id, message) in undo.objects {
            if let Some(mailbox) = self.mailboxes.get_mut(&id) {
                mailbox.objects.remove(&message);
            }
        }
        self.writes.messages_new.truncate(undo.messages_new);
        self.writes.objects_new.truncate(undo.objects_new);
    }

    /// All writes, the changed mailboxes and folders once each; and the states as they are when the writes
    /// have been applied.
    pub fn into_writes(self) -> (Writes, Vec<(Instant, MailboxState)>) {
        let mut writes = self.writes;
        writes.slots.extend(self.slots.writes());
        let mut states = Vec::with_capacity(self.mailboxes.len());
        for mailbox in self.mailboxes.into_values() {
            let PlacingMailbox { mut state, read, folders_changed, changed, .. } = mailbox;
            if changed {
                let folders = state.folders.iter().filter(|folder| folders_changed.contains(&folder.id));
                writes.folders.extend(folders.cloned());
                writes.mailboxes.push(state.row.clone());
                state.row.rev += 1;
            }
            states.push((read, state));
        }
        (writes, states)
    }
}

/// Numbers of events that no job's row counts begin here.
const FIRST_EVENT: u32 = 0x8000_0000;

/// A number for an event that its job's row does not count: far above those it does, and the same for the same
/// event, which is then written once.
fn event_number(record: &DeliveryRecord) -> u32 {
    let text = format!("{record:?}");
    let hash = blake3::hash(text.as_bytes());
    let bytes = hash.as_bytes();
    u32::from_be_bytes([bytes[0] | 0x80, bytes[1], bytes[2], bytes[3]])
}

/// Counts a new message against the mailbox's quota.
fn charge(mailbox: &mut PlacingMailbox, new: &NewRow, undo: &mut Undo) -> Result<()> {
    let quota = mailbox.state.row.mailbox.quota_bytes.or(mailbox.state.domain_quota_bytes);
    let used = &mut mailbox.state.row.mailbox.used_bytes;
    let after = used.saturating_add(new.size);
    if new.check_quota && quota.is_some_and(|quota| after > quota) {
        return Err(Refusal::OverQuota.into());
    }
    undo.used.push((new.mailbox, *used));
    *used = after;
    Ok(())
}

fn target<'a>(folders: &'a mut [FolderInfo], target: &FolderTarget) -> Option<&'a mut FolderInfo> {
    let wanted = match target {
        FolderTarget::Id(id) => folders.iter().position(|folder| folder.id == *id),
        FolderTarget::Use(special) => {
            let of = |special| folders.iter().position(|folder| folder.special_use == Some(special));
            of(*special).or_else(|| of(SpecialUse::Inbox))
        }
    };
    folders.get_mut(wanted?)
}

fn mailboxes_of<'a>(commits: impl Iterator<Item = &'a Commit>) -> Vec<MailboxId> {
    let mut ids: Vec<MailboxId> = commits.flat_map(|c| c.rows.iter().map(|row| row.mailbox)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl<R: Rows> Engine<R> {
    /// The mailboxes and small rows that commits touch, and `more` small rows. With `cached` those mailboxes that are
    /// remembered are not read; the second part of the answer is whether there were any.
    pub(super) async fn placing<'a>(
        &self,
        commits: impl Iterator<Item = &'a Commit>,
        more: Vec<SlotKey>,
        cached: bool,
    ) -> Result<(Placing, bool)> {
        let (mut states, mut unknown) = (Vec::new(), Vec::new());
        let commits: Vec<&Commit> = commits.collect();
        for id in mailboxes_of(commits.iter().copied()) {
            match self.cache.take(id).filter(|_| cached) {
                Some(state) => states.push(state),
                None => unknown.push(id),
            }
        }
        let keys = commits.iter().flat_map(|commit| staged::keys_of(commit)).chain(more).collect();
        let slots = StagedSlots::read(&self.rows, keys).await?;
        let any_cached = !states.is_empty();
        if !unknown.is_empty() {
            #[allow(clippy::disallowed_methods)] // the age of a memory that revisions guard
            let now = Instant::now();
            let read = self.rows.mailbox_states(&unknown).await?;
            states.extend(read.into_iter().flatten().map(|state| (now, state)));
        }
        Ok((Placing::new(states, slots), any_cached))
    }

    pub(super) fn remember(&self, states: Vec<(Instant, MailboxState)>) {
        for (read, state) in states {
            self.cache.keep(read, state);
        }
    }

    pub(super) async fn lock_for_commits(
        &self,
        commits: &[Commit],
    ) -> Result<Vec<tokio::sync::MutexGuard<'_, ()>>> {
        self.lock_mailboxes(mailboxes_of(commits.iter()).into_iter()).await
    }

    pub(super) async fn do_commit_batch(&self, commits: Vec<Commit>) -> Vec<Result<Vec<Placed>>> {
        let fail = |why: Error| commits.iter().map(|_| Err(why.clone())).collect();
        let _guards = match self.lock_for_commits(&commits).await {
            Ok(guards) => guards,
            Err(why) => return fail(why),
        };
        match self.commit_locked(&commits).await {
            Ok(answers) => answers,
            Err(ApplyError::Exists) if commits.len() > 1 => {
                // One of them was committed before. Its neighbours must not suffer, so each goes alone.
                let mut answers = Vec::with_capacity(commits.len());
                for commit in &commits {
                    let one = self.commit_locked(std::slice::from_ref(commit)).await;
                    answers.push(match one {
                        Ok(mut answer) => answer.pop().unwrap_or(Ok(Vec::new())),
                        Err(why) => Err(why.into()),
                    });
                }
                answers
            }
            Err(why) => fail(why.into()),
        }
    }

    /// Places what can be placed and writes it in one transaction.
    async fn commit_locked(&self, commits: &[Commit]) -> Result<Vec<Result<Vec<Placed>>>, ApplyError> {
        let mut tries = 0;
        let mut cached = true;
        loop {
            let placing = self.placing(commits.iter(), Vec::new(), cached).await;
            let (mut placing, any_cached) = placing.map_err(ApplyError::Other)?;
            let mut answers: Vec<_> = commits.iter().map(|commit| placing.add(commit)).collect();
            cached = false;
            if any_cached && answers.iter().any(|answer| answer.is_err()) {
                continue;
            }
            let unchanged = !placing.slots.is_changed();
            let (mut writes, states) = placing.into_writes();
            let empty = writes.messages_new.is_empty() && writes.jobs_new.is_empty();
            if empty && unchanged && writes.events.is_empty() {
                return Ok(answers);
            }
            let _log = self.number_log(&mut writes).await.map_err(ApplyError::Other)?;
            let held = writes.jobs_new.iter().filter(|row| row.job.state == JobState::Processing);
            let held: Vec<JobRow> = held.cloned().collect();
            match self.rows.apply("commit_batch", writes).await {
                Ok(()) => {
                    self.remember(states);
                    held.into_iter().for_each(|row| self.held.keep(JobRow { rev: row.rev + 1, ..row }));
                    return Ok(answers);
                }
                Err(ApplyError::Stale) if tries < super::TRIES_MAX => {
                    tries += 1;
                    self.rows.pause(tries).await;
                }
                Err(ApplyError::Other(why)) => {
                    // What was refused stays refused; the rest shares the fate of the transaction, and so does
                    // what repeats something: it promises what only the transaction makes durable.
                    let rests_on_it = |answer: &Result<Vec<Placed>>| {
                        matches!(answer, Ok(_) | Err(Error::Refused(Refusal::Repeated(_))))
                    };
                    for answer in answers.iter_mut().filter(|answer| rests_on_it(answer)) {
                        *answer = Err(why.clone());
                    }
                    return Ok(answers);
                }
                Err(other) => return Err(other),
            }
        }
    }
}
