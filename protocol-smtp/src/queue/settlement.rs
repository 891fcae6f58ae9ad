//! The result of an attempt as storage writes it.

use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::classify::Class;
use super::types::Recipient;
use crate::status::Status;

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
    /// What the attempt teaches about addresses and the domain, for the sending organisation. Empty for mail
    /// from nobody and for notifications: they may go to addresses that were forged.
    pub suppressions: Vec<SuppressionChange>,
}

/// How long an address stays suppressed after a permanent failure.
pub const ADDRESS_SUPPRESSED: Duration = Duration::from_secs(90 * 86_400);
/// How long a domain stays suppressed after its absence was confirmed.
pub const DOMAIN_SUPPRESSED: Duration = Duration::from_secs(7 * 86_400);
/// A second failure of the domain confirms the first one only when it comes so much later.
pub const SUSPICION_CONFIRMED_AFTER: Duration = Duration::from_secs(6 * 3_600);

/// A change of the suppression rows of the sending organisation. Rows that a person made are never touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SuppressionChange {
    /// The address is gone: an automatic row for it, or the one there is made to last from now.
    Suppress {
        /// Whose address: an index of the job.
        recipient: u16,
        /// The peer's reply, for the row's reason.
        reason: String,
        /// From now.
        lasts: Duration,
    },
    /// The domain of the job seems to be gone: noted, and when it was noted before, `confirmed_after` ago or
    /// earlier and with no delivery in between, an automatic row for the domain.
    SuspectDomain {
        /// A recipient in the domain: an index of the job, whose recipients all have one domain.
        recipient: u16,
        /// What DNS said, for the row's reason.
        reason: String,
        /// The least time between the two.
        confirmed_after: Duration,
        /// How long the row lasts from its confirmation.
        lasts: Duration,
    },
    /// A delivery: automatic rows of the address go, and so do those of its domain and the suspicion of it.
    Lift {
        /// Whose address: an index of the job.
        recipient: u16,
    },
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
    /// What the failure is about, for logs, events and metrics; none after a delivery.
    pub class: Option<Class>,
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
