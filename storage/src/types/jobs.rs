//! Values of the outbound queue, and what one acceptance makes durable.

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use serde::{Deserialize, Serialize};

use super::*;
use crate::api::{Email, LogRow};
use crate::slots::{Charge, Idempotency, SuppressionChange};

/// States of a job (SPEC section 6). A settled job has no row: its `delivery` rows remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Queued,
    Processing,
    Held,
    Dead,
    Cancelled,
}

/// States of a recipient of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    Pending,
    Delivered,
    Bounced,
    Expired,
    Suppressed,
    Cancelled,
}

/// A recipient of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecipient {
    /// Address as it goes into RCPT TO, without brackets.
    pub address: String,
    /// Where it stands.
    pub state: RecipientState,
    /// RFC 3461 §4.1 NOTIFY as the sender gave it (`NEVER`, `SUCCESS,FAILURE`), none when absent.
    pub notify: Option<String>,
    /// RFC 3461 §4.2 ORCPT, still in xtext.
    pub orcpt: Option<String>,
    /// Last reply or reason, one line, at most 1 KiB.
    pub reply: Option<String>,
    /// Attempts in which this recipient was tried.
    pub attempts: u32,
    /// Attempts that broke after the final dot and before its reply.
    pub in_doubt: u32,
    /// Whether a delay notice went out.
    pub delay_notified: bool,
}

impl JobRecipient {
    /// One that was never tried.
    pub fn new(address: impl Into<String>) -> JobRecipient {
        JobRecipient {
            address: address.into(),
            state: RecipientState::Pending,
            notify: None,
            orcpt: None,
            reply: None,
            attempts: 0,
            in_doubt: 0,
            delay_notified: false,
        }
    }
}

/// A job to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its ID, chosen by the caller.
    pub id: JobId,
    /// The sender's organisation.
    pub org: OrgId,
    /// The message's object, `msg/{org}/queue/{message}.eml`, shared by the jobs of one submission.
    pub message: MessageId,
    /// Size of the message in octets.
    pub size: u64,
    /// Reverse-path without brackets; empty is the null reverse-path.
    pub sender: String,
    /// Destination domain, A-label; an address literal keeps its brackets.
    pub domain: String,
    /// At least one.
    pub recipients: Vec<JobRecipient>,
    /// RFC 3461 ENVID in xtext.
    pub envid: Option<String>,
    /// RFC 3461 RET: `FULL` or `HDRS`.
    pub ret: Option<String>,
    /// The message holds 8-bit octets in its body (BODY=8BITMIME or found so).
    pub eight_bit: bool,
    /// BODY=BINARYMIME.
    pub binary: bool,
    /// MAIL had SMTPUTF8 and a header field holds non-ASCII octets: the header needs SMTPUTF8 on its way.
    pub smtputf8: bool,
    /// MAIL had REQUIRETLS.
    pub require_tls: bool,
    /// A delivery status notification: when it fails, it dies silently.
    pub is_dsn: bool,
    /// When the message was accepted.
    pub created: Timestamp,
    /// When TTL, attempts and delay warning start to count; later than `created` after a release time.
    pub start: Timestamp,
    /// First attempt not before this.
    pub due: Timestamp,
    /// BY of the message (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
    /// The sender's domain whose queued jobs are counted ([`CounterKey::queued_jobs`](crate::CounterKey)), while
    /// it has a limit for them: this job is one of them until it is settled.
    pub counted: Option<String>,
    /// What happens to it goes into its organisation's log too ([`LogRow`](crate::LogRow)).
    pub logged: bool,
    /// The trace that it is a part of, as W3C Trace Context writes it in `traceparent`; opaque here.
    pub trace: Option<String>,
}

/// DELIVERBY (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverBy {
    /// The time, milliseconds since the epoch.
    pub at_ms: i64,
    /// `R`: given up then; else (`N`) its sender is told.
    pub give_up: bool,
    /// `T`: every hop is reported.
    pub trace: bool,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// As it was queued; recipients carry their current state.
    pub spec: NewJob,
    /// Where it stands.
    pub state: JobState,
    /// Attempts made: claims in which a look-up or connection was tried.
    pub attempts: u32,
    /// Raised by every claim.
    pub epoch: u64,
    /// Who holds it.
    pub owner: Option<String>,
    /// Until when.
    pub lease_until: Option<Timestamp>,
    /// The next attempt, for queued jobs.
    pub due: Timestamp,
    /// Last change.
    pub updated: Timestamp,
}

impl Job {
    /// As it is when it was queued.
    pub(crate) fn queued(spec: NewJob) -> Job {
        Job {
            state: JobState::Queued,
            attempts: 0,
            epoch: 0,
            owner: None,
            lease_until: None,
            due: spec.due,
            updated: spec.created,
            spec,
        }
    }

    /// Makes it its holder's from now on.
    pub(crate) fn hold(&mut self, owner: &str, now: Timestamp, lease: Duration) {
        self.state = JobState::Processing;
        self.epoch += 1;
        self.owner = Some(owner.to_owned());
        self.lease_until = Some(now + lease);
        self.updated = now;
    }
}

/// Proof that a writer holds a job: only the current epoch may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Which job.
    pub job: JobId,
    /// The epoch of the claim.
    pub epoch: u64,
}

/// What an attempt leaves behind; one atomic write with everything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobUpdate {
    /// Recipients' new states, all of the job's, in their order.
    pub recipients: Vec<JobRecipient>,
    /// Attempts after this one.
    pub attempts: u32,
    /// `Some`: queued again for then. `None`: settled, the row leaves the queue (or stays as `dead`).
    pub next_due: Option<Timestamp>,
    /// Kept as a dead row for its retention when settled with failures.
    pub dead: bool,
    /// One for each recipient tried.
    pub deliveries: Vec<DeliveryRecord>,
    /// What it says about addresses and domains, for the job's organisation.
    pub suppressions: Vec<SuppressionChange>,
    /// A DSN to place or queue, and anything else that must happen with it.
    pub also: Commit,
}

/// One change of one job that its holder asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobWrite {
    /// Prolongs the lease; fenced when it has ended.
    Renew {
        /// From `now` of the write.
        lease: Duration,
    },
    /// Prolongs the lease and records that the final dot is about to be written for these recipients.
    Dot {
        /// By index.
        recipients: Vec<usize>,
        /// From `now` of the write.
        lease: Duration,
    },
    /// An attempt's result.
    Save(Box<JobUpdate>),
    /// Given back without an attempt, due then.
    Release {
        /// Not to be claimed before.
        due: Timestamp,
    },
    /// Given back because the attempt's task came to a sudden end; parked after [`CRASHES_MAX`] of them.
    Crashed {
        /// Not to be claimed before.
        due: Timestamp,
    },
}

/// Attempts that may end in a crash of their task, in a row, before the job is parked: held, for somebody to look.
pub const CRASHES_MAX: u32 = 5;
/// The same for claims whose holder was not heard of again. More, for a server that is killed takes jobs with it
/// that have nothing to do with its end.
pub const LOST_CLAIMS_MAX: u32 = 25;

/// A `delivery` row: what became of one recipient in one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Recipient address; empty for what happened to the job as a whole.
    pub recipient: String,
    /// The outcome.
    pub state: RecipientState,
    /// Remote host, when one was reached.
    pub host: Option<String>,
    /// Remote reply or reason.
    pub reply: String,
    /// TLS posture, for example `dane TLSv1.3 TLS13_AES_256_GCM_SHA384 verified` or `plaintext`.
    pub tls: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The connection broke between the final dot and its reply.
    pub in_doubt: bool,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// What happened; absent in rows of earlier versions, which are about attempts only.
    #[serde(default)]
    pub event: JobEvent,
}

/// What a `delivery` row tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEvent {
    /// An attempt was made for the recipient.
    #[default]
    Attempted,
    /// The job was queued.
    Queued,
    /// An administrator held it, released it, or had it tried again.
    Held,
    /// See above.
    Released,
    /// See above.
    Retried,
    /// Given up by its sender or an administrator.
    Cancelled,
    /// Held by the server, because its attempts end in crashes.
    Parked,
    /// A report about it came back from another server.
    Reported,
    /// Its recipient complained.
    Complained,
    /// The whole e-mail was accepted.
    Accepted,
    /// The time before which it is not sent was changed.
    Rescheduled,
    /// A message arrived in a mailbox here ([`LogRow::mailbox`](crate::LogRow::mailbox)).
    Received,
}

/// A claim on jobs that are being queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// As in [`Jobs::claim_jobs`](crate::Jobs::claim_jobs).
    pub owner: String,
    /// From the commit's `at` on.
    pub lease: Duration,
}

impl Claim {
    /// The job as this claim makes it when it is queued; none when it is not due at that time.
    pub fn of(&self, spec: &NewJob, at: Timestamp) -> Option<Job> {
        (spec.due <= at).then(|| {
            let mut job = Job::queued(spec.clone());
            job.hold(&self.owner, at, self.lease);
            job
        })
    }
}

/// Everything one acceptance makes durable: all of it or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Messages placed in folders.
    pub rows: Vec<NewRow>,
    /// Jobs queued.
    pub jobs: Vec<NewJob>,
    /// Whose those are at once that are due by `at`: they are queued and claimed in one transaction.
    pub claim: Option<Claim>,
    /// Quotas that are counted in the same transaction; one that would be exceeded refuses all of it.
    pub charges: Vec<Charge>,
    /// Refuses all of it with what was answered before, when the key was used before.
    pub idempotency: Option<Idempotency>,
    /// What it says about addresses and domains, for these organisations.
    pub suppressions: Vec<(OrgId, SuppressionChange)>,
    /// Events of jobs that are there or were.
    pub events: Vec<(JobId, DeliveryRecord)>,
    /// An e-mail of the API; `events` are about it then, and go into its organisation's log.
    pub email: Option<Email>,
    /// What arrived, for logs; not yet numbered.
    pub arrived: Vec<LogRow>,
    /// When it is asked for: whether keys and suppressions are over is judged by it.
    pub at: Timestamp,
}

impl Commit {
    /// Makes one of two.
    ///
    /// # Errors
    /// [`Refusal::Invalid`](crate::Refusal::Invalid) when both have what there is one of: a key of idempotency, an
    /// e-mail, a claim.
    pub(crate) fn join(&mut self, other: Commit) -> crate::Result<()> {
        let twice = (self.idempotency.is_some() && other.idempotency.is_some())
            || (self.email.is_some() && other.email.is_some())
            || self.claim.is_some()
            || other.claim.is_some();
        if twice {
            return Err(crate::Refusal::Invalid("two commits that cannot be one".into()).into());
        }
        let Commit { rows, jobs, charges, idempotency, suppressions, events, email, arrived, .. } = other;
        self.rows.extend(rows);
        self.jobs.extend(jobs);
        self.charges.extend(charges);
        self.suppressions.extend(suppressions);
        self.events.extend(events);
        self.arrived.extend(arrived);
        self.idempotency = self.idempotency.take().or(idempotency);
        self.email = self.email.take().or(email);
        self.at = self.at.max(other.at);
        Ok(())
    }
}

/// What an administrator does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum JobAction {
    /// Due now.
    Retry,
    Hold,
    Release,
    Cancel,
    /// Not to be sent before then; for a job that was not tried yet.
    Reschedule(Timestamp),
}
