//! The values that go in and out of the queue.

use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use crate::status::Status;

/// Which job. The bytes are storage's; the queue only compares them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobKey(pub [u8; 16]);

/// Which node of an installation: mixed into the seed, so that two nodes never share their jitter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeId(pub u64);

/// One claim of one job. Storage raises the epoch at every claim and refuses writes under an older one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fence {
    /// Which job.
    pub job: JobKey,
    /// Which claim of it.
    pub epoch: u64,
}

/// A job as storage gave it with a claim: what the queue needs to know of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Which job, and which claim of it.
    pub fence: Fence,
    /// Until when it is ours.
    pub lease_until: Timestamp,
    /// What shares connections, limits and backing off: the destination domain, or the relay host.
    pub destination: String,
    /// The reverse-path is null: nobody is told.
    pub null_sender: bool,
    /// It carries a notification itself: when it fails, it dies silently.
    pub is_dsn: bool,
    /// When TTL and delay warning start to count.
    pub start: Timestamp,
    /// Attempts before this claim.
    pub attempts: u32,
    /// All recipients, settled ones too: indices count from the job's first.
    pub recipients: Vec<Recipient>,
}

/// Where a recipient stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum State {
    Pending,
    Delivered,
    Bounced,
    Expired,
    Suppressed,
    Cancelled,
}

/// A recipient of a job, as far as decisions need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Where it stands.
    pub state: State,
    /// What its sender wants to hear (RFC 3461 §4.1).
    pub notify: Notify,
    /// The last failure, if any.
    pub last: Option<Failure>,
    /// Attempts in which it was tried.
    pub attempts: u32,
    /// Of these, how many broke between the final dot and its reply.
    pub in_doubt: u32,
    /// Whether a delay notice went out.
    pub delay_notified: bool,
    /// An earlier holder recorded that it was about to write the final dot and then left no result. The
    /// claim is then settled as an attempt in doubt, without dialling.
    pub dot_sent: Option<Timestamp>,
}

impl Recipient {
    /// A recipient that was never tried.
    pub fn new(notify: Notify) -> Recipient {
        Recipient {
            state: State::Pending,
            notify,
            last: None,
            attempts: 0,
            in_doubt: 0,
            delay_notified: false,
            dot_sent: None,
        }
    }
}

/// RFC 3461 §4.1 NOTIFY.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Notify {
    /// The parameter was not given: failures and, from us, one notice of delay.
    #[default]
    Absent,
    /// `NEVER`.
    Never,
    /// Any of the three.
    On {
        /// `SUCCESS`.
        success: bool,
        /// `FAILURE`.
        failure: bool,
        /// `DELAY`.
        delay: bool,
    },
}

impl Notify {
    /// Reads the parameter's value: `NEVER`, or a comma-separated list of the other three, in any case.
    pub fn parse(value: &str) -> Option<Notify> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Notify::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in value.split(',') {
            let flag = match word {
                w if w.eq_ignore_ascii_case("SUCCESS") => &mut success,
                w if w.eq_ignore_ascii_case("FAILURE") => &mut failure,
                w if w.eq_ignore_ascii_case("DELAY") => &mut delay,
                _ => return None,
            };
            *flag = true;
        }
        Some(Notify::On { success, failure, delay })
    }

    /// Whether a delivery is reported.
    pub fn success(self) -> bool {
        matches!(self, Notify::On { success: true, .. })
    }

    /// Whether a failure is reported.
    pub fn failure(self) -> bool {
        matches!(self, Notify::Absent | Notify::On { failure: true, .. })
    }

    /// Whether a delay is reported.
    pub fn delay(self) -> bool {
        matches!(self, Notify::Absent | Notify::On { delay: true, .. })
    }
}

/// Why a recipient was not reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The status code: the peer's own where it gave one.
    pub status: Status,
    /// The peer's reply or our reason, one line.
    pub reply: String,
}

/// What an attempt found out about one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The next hop took responsibility.
    Delivered {
        /// Its reply to the end of data.
        reply: String,
        /// Who answers a wish for success notices.
        dsn: DsnDuty,
    },
    /// A failure that another attempt may cure.
    Temporary(Failure),
    /// A failure that no attempt cures.
    Permanent(Failure),
    /// The connection broke after the final dot and before its reply.
    InDoubt(Failure),
    /// A suppression row stands against it: it was not tried and will not be.
    Suppressed(Failure),
    /// Nothing was looked up or dialled for it (shutdown, lease too short): no attempt.
    NotTried,
}

/// Who answers NOTIFY=SUCCESS after a delivery (RFC 3461 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DsnDuty {
    /// The next hop offers DSN and was given the parameters.
    PassedOn,
    /// The next hop lacks DSN: we report `relayed`.
    Relayed,
    /// The mailbox is there (LMTP): we report `delivered`.
    Final,
}

/// How the destination itself behaved, apart from its verdicts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It answered and worked.
    Good,
    /// It is there and wants less: 421, a connection limit, a time-out within a session.
    Busy,
    /// Nothing could be looked up or connected to.
    Unreachable,
}

/// What happened outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The answer to [`Effect::Claim`].
    Claimed(Vec<Job>),
    /// Storage could not claim.
    ClaimFailed,
    /// A job may be due now: something was queued on this node.
    Wake,
    /// What an attempt found. Recipients not mentioned count as [`Verdict::NotTried`].
    Attempted {
        /// Under which claim.
        fence: Fence,
        /// Index of the recipient in the job, and what became of it.
        verdicts: Vec<(u16, Verdict)>,
        /// How the destination behaved.
        health: Health,
    },
    /// A session stands before its final dot (or `BDAT LAST`) and waits for [`Effect::Proceed`].
    DotPending {
        /// Under which claim.
        fence: Fence,
        /// The recipients whose fate hangs on it.
        recipients: Vec<u16>,
        /// How long the wait for the reply may be.
        wait: Duration,
    },
    /// The answer to [`Effect::Renew`]: until when the lease now holds.
    Renewed {
        /// Under which claim.
        fence: Fence,
        /// The new end of the lease.
        result: Result<Timestamp, StoreError>,
    },
    /// The answer to [`Effect::RecordDot`]: until when the lease now holds.
    DotRecorded {
        /// Under which claim.
        fence: Fence,
        /// The new end of the lease.
        result: Result<Timestamp, StoreError>,
    },
    /// The answer to [`Effect::Save`].
    Saved {
        /// Under which claim.
        fence: Fence,
        /// What storage said.
        result: Result<(), StoreError>,
    },
    /// The answer to [`Effect::Release`].
    Released {
        /// Under which claim.
        fence: Fence,
        /// What storage said.
        result: Result<(), StoreError>,
    },
    /// Stop or resume claiming and starting attempts. Jobs that wait are given back; attempts under way end.
    Paused(bool),
}

/// Why storage did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The fence is not current: another claim was made, or the job was settled or cancelled. It is
    /// forgotten, and nothing is done under this fence again.
    Stale,
    /// Nothing was written; it may work later.
    Unavailable,
}

/// What must be done outside. Each is answered by one event, but for
/// `Proceed` and `Abandon`; `Withhold` is answered by the attempt's end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Claim up to `limit` due jobs for this node, with `lease`.
    Claim {
        /// At most this many.
        limit: u16,
        /// From now.
        lease: Duration,
    },
    /// Prolong the lease to `lease` from now.
    Renew {
        /// Under which claim.
        fence: Fence,
        /// From now.
        lease: Duration,
    },
    /// Prolong the lease to `lease` from now and record that the final dot is about to be written.
    RecordDot {
        /// Under which claim.
        fence: Fence,
        /// Whose fate hangs on it.
        recipients: Vec<u16>,
        /// From now.
        lease: Duration,
    },
    /// The session may write its final dot.
    Proceed {
        /// Under which claim.
        fence: Fence,
    },
    /// Storage could not record the dot: break off without writing it, and report the attempt.
    Withhold {
        /// Under which claim.
        fence: Fence,
    },
    /// The claim is lost: drop the connection, write no dot, report nothing.
    Abandon {
        /// The lost claim.
        fence: Fence,
    },
    /// Try these recipients now.
    Deliver {
        /// Under which claim.
        fence: Fence,
        /// Its destination, as the job had it.
        destination: String,
        /// Pending recipients by index.
        recipients: Vec<u16>,
        /// Number of this attempt, from 1.
        attempt: u32,
    },
    /// Write the result of an attempt, with the notices it causes, in one transaction.
    Save {
        /// Under which claim.
        fence: Fence,
        /// What to write.
        settlement: Settlement,
    },
    /// Give the job back without an attempt, due at `due`.
    Release {
        /// Under which claim.
        fence: Fence,
        /// Not to be claimed before this.
        due: Timestamp,
    },
}

impl Effect {
    /// The claim it acts under; none for [`Effect::Claim`].
    pub fn fence(&self) -> Option<Fence> {
        match self {
            Effect::Claim { .. } => None,
            Effect::Renew { fence, .. }
            | Effect::RecordDot { fence, .. }
            | Effect::Proceed { fence }
            | Effect::Withhold { fence }
            | Effect::Abandon { fence }
            | Effect::Deliver { fence, .. }
            | Effect::Save { fence, .. }
            | Effect::Release { fence, .. } => Some(*fence),
        }
    }
}

/// The result of an attempt: one atomic write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// Attempts of the job after this one.
    pub attempts: u32,
    /// The recipients that this attempt touched; the others stay as they are.
    pub changes: Vec<Change>,
    /// Queued again for then; `None` when no recipient is pending any more.
    pub next_due: Option<Timestamp>,
    /// Settled, and at least one recipient was not reached: the row stays as `dead` for its retention.
    pub dead: bool,
    /// Notices to send, one message each.
    pub notices: Vec<Notice>,
}

/// What an attempt changes about one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its index in the job.
    pub index: u16,
    /// The recipient as it is now.
    pub recipient: Recipient,
    /// The status of its last result, for logs and notices.
    pub status: Status,
    /// The peer's reply or our reason, one line.
    pub reply: String,
    /// Whether this attempt ended in doubt.
    pub in_doubt: bool,
}

/// A delivery status notification to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// What it says.
    pub kind: NoticeKind,
    /// About whom: indices of the job. Their changes hold status and reply.
    pub recipients: Vec<u16>,
}

/// The `Action` of RFC 3464 §2.3.3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum NoticeKind {
    Failed,
    Delayed,
    Relayed,
    Delivered,
}
