//! The books: what really happened, kept apart from everything under test. They are told of acceptances by
//! the remote servers, of commits by the database, of attempts by the driver at the moment of dialling, and
//! compare what they are told with each other.

mod commits;
mod end;
mod limits;
mod recipients;
mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol_core::time::Duration;
use protocol_smtp::queue::{IN_DOUBT_WAIT, Notify, Policy, Verdict};
use storage::simulated::JobRow;
use storage::{JobId, JobState, MessageId, OrgId, RecipientState};

use crate::attempt::What;
use crate::db::{Applied, world_name};
use crate::setup::{Clocks, Kind, Setup};
use crate::world::MILLI;

pub use limits::Asked;
use limits::LimitsBook;

/// What a check finds.
pub type Found = Result<(), String>;

/// How far a node's clock may be from the truth, and some for the way.
const TOLERANCE: Duration = Duration::from_millis(5_500);
/// The same where clocks drift by a tenth: what is due is then known as of the last claim, and a node that waits
/// for a final reply may not claim for a while.
const TOLERANCE_WILD: Duration = Duration::from_secs(150);

/// A message, submitted or made by us.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its tenant.
    pub org: OrgId,
    /// Reverse-path; empty is null.
    pub sender: String,
    /// Who should get it, and what its sender wants to hear.
    pub recipients: Vec<(String, Option<String>)>,
    /// Its octets.
    pub bytes: Arc<[u8]>,
    /// It was acknowledged, in true time.
    pub acknowledged: Option<u64>,
}

/// A job as its commits show it.
#[derive(Clone, Debug)]
pub(crate) struct JobBook {
    /// As it is stored durably, or was when it went.
    pub row: JobRow,
    /// It has no row any more.
    pub gone: bool,
    /// When each recipient's last state was written, under which epoch.
    pub settled: Vec<Option<(u64, u64)>>,
    /// Notices written for each recipient: failed, delayed, success.
    pub notices: Vec<[u32; 3]>,
    /// No attempt before this, in true time.
    pub not_before: u64,
    /// When a final dot was recorded last.
    pub dot_at: u64,
    /// When it became visible.
    pub born: u64,
}

/// What an attempt learnt, as its session reported it.
#[derive(Clone, Debug)]
pub(crate) struct Learnt {
    pub verdicts: BTreeMap<u16, Verdict>,
    pub at: u64,
}

/// A remote server took a message for a recipient.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub job: JobId,
    pub epoch: u64,
    pub recipient: String,
}

/// A claim: which job, which epoch.
pub type Claim = (JobId, u64);

/// See the module.
pub struct Books {
    pub(crate) policy: Policy,
    pub(crate) tolerance: Duration,
    kinds: BTreeMap<String, Kind>,
    pub(crate) messages: BTreeMap<MessageId, Message>,
    pub(crate) jobs: BTreeMap<JobId, JobBook>,
    pub(crate) accepted: Vec<Accepted>,
    /// The worst code that a server gave for a recipient under a claim.
    said: BTreeMap<(JobId, u64, String), u16>,
    learnt: BTreeMap<Claim, Learnt>,
    /// Acceptances under a claim are explained by a written delivery, or by a written doubt.
    explained: BTreeSet<(JobId, u64, String)>,
    /// What nodes meant to write under which fence.
    intents: BTreeSet<(usize, &'static str, JobId, u64)>,
    /// Who runs on each node now.
    owners: BTreeMap<usize, String>,
    /// Attempts under way: by node and claim, to which destination.
    active: BTreeMap<(usize, JobId, u64), String>,
    /// Every claim by which attempts were started.
    started: BTreeSet<Claim>,
    pub(crate) of_limits: LimitsBook,
    /// Attempts that were written.
    pub attempts_written: u64,
    /// Doubts that were written.
    pub doubts_written: u64,
}

impl Books {
    /// Empty books.
    pub fn new(setup: &Setup) -> Books {
        Books {
            policy: setup.policy.clone(),
            tolerance: match setup.clocks {
                Clocks::Close => TOLERANCE,
                Clocks::Wild => TOLERANCE_WILD,
            },
            kinds: setup.domains.iter().map(|d| (d.name.clone(), d.kind)).collect(),
            messages: BTreeMap::new(),
            jobs: BTreeMap::new(),
            accepted: Vec::new(),
            said: BTreeMap::new(),
            learnt: BTreeMap::new(),
            explained: BTreeSet::new(),
            intents: BTreeSet::new(),
            owners: BTreeMap::new(),
            active: BTreeMap::new(),
            started: BTreeSet::new(),
            of_limits: LimitsBook::default(),
            attempts_written: 0,
            doubts_written: 0,
        }
    }

    pub(crate) fn kind(&self, domain: &str) -> Option<Kind> {
        self.kinds.get(domain).copied()
    }

    // ---- submissions ----------------------------------------------------------------------------------

    /// A message exists; nobody has promised anything.
    pub fn message(&mut self, id: MessageId, message: Message) {
        self.messages.insert(id, message);
    }

    /// Its client was told that it was accepted.
    pub fn acknowledged(&mut self, id: MessageId, now: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.acknowledged = Some(now);
        }
    }

    // ---- nodes ----------------------------------------------------------------------------------------

    /// A node started anew: what ran on it before is gone.
    pub fn node_started(&mut self, node: usize, owner: &str) {
        self.owners.insert(node, owner.to_owned());
        self.active.retain(|(n, _, _), _| *n != node);
    }

    /// A node is about to write something under a fence.
    pub fn intends(&mut self, node: usize, what: &'static str, claim: Claim) {
        self.intents.insert((node, what, claim.0, claim.1));
    }

    /// Whether a node meant to write this.
    pub(crate) fn meant(&self, node: usize, what: &'static str, claim: Claim) -> bool {
        self.intents.contains(&(node, what, claim.0, claim.1))
    }

    /// An attempt begins. I3, I4, I6, I7, I11, Q15.
    pub fn attempt_started(&mut self, node: usize, claim: Claim, what: &What<'_>, now: u64) -> Found {
        let What { recipients, number, looked, .. } = *what;
        let name = world_name(claim.0);
        let Some(book) = self.jobs.get(&claim.0) else {
            return Err(format!("I4: {name} is tried and not there"));
        };
        self.not_held_back(&book.row, recipients, looked)?;
        let job = &book.row.job;
        if job.state == JobState::Cancelled && self.may_be_cancelled(&book.row) && job.epoch == claim.1 {
            // Its holder learns of it at the next write, which is before the dot.
            return self.limits(node, claim, job.spec.domain.clone());
        }
        if book.gone || job.state != JobState::Processing {
            return Err(format!("I4: {name} is tried after its end ({:?})", job.state));
        }
        if job.epoch != claim.1 {
            return Err(format!("I3: {name} is tried under epoch {}, stored is {}", claim.1, job.epoch));
        }
        if !self.started.insert(claim) {
            return Err(format!("I2: {name} is tried twice under epoch {}", claim.1));
        }
        let pending = |n: &u16| {
            job.spec.recipients.get(usize::from(*n)).is_some_and(|r| r.state == RecipientState::Pending)
        };
        if let Some(n) = recipients.iter().find(|n| !pending(n)) {
            return Err(format!("I4, I7: recipient {n} of {name} is tried after its end"));
        }
        if number != job.attempts + 1 {
            return Err(format!("I6: {name}: attempt {number} after {} written ones", job.attempts));
        }
        if job.attempts >= self.policy.max_attempts {
            return Err(format!("I6: {name}: attempt {number} of {}", self.policy.max_attempts));
        }
        let true_ms = crate::world::T0.0 + (now / MILLI) as i64;
        let end = job.spec.start + self.policy.ttl + self.tolerance;
        if job.attempts > 0 && true_ms > end.0 {
            return Err(format!("I6: {name}: an attempt {} ms after its time to live", true_ms - end.0));
        }
        if now + nanos(self.tolerance) < book.not_before {
            let early = (book.not_before - now) / MILLI;
            return Err(format!("I6: {name}: attempt {number} comes {early} ms too early"));
        }
        self.limits(node, claim, job.spec.domain.clone())
    }

    fn limits(&mut self, node: usize, claim: Claim, domain: String) -> Found {
        let of_node = self.active.iter().filter(|((n, _, _), _)| *n == node);
        let (mut all, mut same) = (1, 1);
        for (_, other) in of_node {
            all += 1;
            same += u32::from(*other == domain);
        }
        if all > self.policy.deliveries_max {
            return Err(format!("I11: n{node} has {all} attempts under way"));
        }
        if same > self.policy.per_destination_max.max(1) {
            return Err(format!("I11: n{node} has {same} attempts under way to {domain}"));
        }
        self.active.insert((node, claim.0, claim.1), domain);
        Ok(())
    }

    /// An attempt is over, or its claim was lost.
    pub fn attempt_ended(&mut self, node: usize, claim: Claim) {
        self.active.remove(&(node, claim.0, claim.1));
    }

    /// What an attempt's sessions reported.
    pub fn learnt(&mut self, claim: Claim, verdicts: &[(u16, Verdict)], now: u64) {
        let verdicts = verdicts.iter().cloned().collect();
        self.learnt.insert(claim, Learnt { verdicts, at: now });
    }

    // ---- remote servers -------------------------------------------------------------------------------

    /// A server refused or accepted a recipient, or everything it had accepted.
    pub fn said(&mut self, claim: Claim, recipient: &str, code: u16) {
        let worst = self.said.entry((claim.0, claim.1, recipient.to_owned())).or_default();
        *worst = code.max(*worst);
    }

    /// A server took responsibility. I2 (once under one claim), I10.
    pub fn took(
        &mut self,
        claim: Claim,
        domain: &str,
        sender: &str,
        recipients: &[String],
        bytes: &[u8],
    ) -> Found {
        let name = world_name(claim.0);
        let Some(book) = self.jobs.get(&claim.0) else { return Err(format!("I10: {name} is not known")) };
        let Some(message) = self.messages.get(&book.row.job.spec.message) else {
            return Err(format!("I10: the message of {name} is not known"));
        };
        if *message.bytes != *bytes {
            return Err(format!("I10: {name}: {domain} got other octets than its message's"));
        }
        if message.sender != sender {
            return Err(format!("I10: {name} came from <{sender}>"));
        }
        for recipient in recipients {
            let known = message.recipients.iter().any(|(address, _)| address == recipient);
            if !known || recipient.rsplit_once('@').is_none_or(|(_, d)| d != domain) {
                return Err(format!("I10: {name} went to {recipient}"));
            }
            let again = self.accepted.iter().any(|a| (a.job, a.epoch) == claim && a.recipient == *recipient);
            if again {
                return Err(format!("I2: {name} was sent twice to {recipient} under epoch {}", claim.1));
            }
            self.accepted.push(Accepted { job: claim.0, epoch: claim.1, recipient: recipient.clone() });
        }
        Ok(())
    }

    // ---- commits --------------------------------------------------------------------------------------

    /// A commit became visible. I3: nothing is written under a stale fence.
    pub fn commit_visible(&mut self, commit: &Applied, before: &[JobRow], now: u64) -> Found {
        self.limits_visible(commit, now);
        let (node, what) = (commit.node, commit.what);
        if what != "write_jobs" {
            return Ok(());
        }
        let Some(owner) = self.owners.get(&node) else { return Ok(()) };
        for row in before {
            let (job, epoch) = (row.job.spec.id, row.job.epoch);
            let name = world_name(job);
            if !["save_job", "renew_job", "dot_sent", "release_job"]
                .iter()
                .any(|w| self.meant(node, w, (job, epoch)))
            {
                return Err(format!("I3: {what} of n{node} went through on {name} at epoch {epoch}"));
            }
            // What a dead incarnation sent before it died may still arrive.
            let stored = row.job.owner.as_deref();
            let of_node = stored.is_some_and(|o| o == owner || o.starts_with(&format!("n{node}.")));
            if !of_node || row.job.state != JobState::Processing {
                return Err(format!("I3: {what} of n{node} went through on {name}, held by {stored:?}"));
            }
        }
        Ok(())
    }

    /// The least wait after an attempt: by the formula, and ten minutes after doubt.
    pub(crate) fn least_wait(&self, attempt: u32, in_doubt: bool) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let plain = self.policy.retry_base.saturating_mul(factor) * 4 / 5;
        let wait = plain.min(self.policy.retry_max);
        if in_doubt { wait.max(IN_DOUBT_WAIT) } else { wait }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

pub(crate) fn notify_of(text: Option<&str>) -> Notify {
    text.and_then(Notify::parse).unwrap_or_default()
}
