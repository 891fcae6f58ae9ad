//! What goes into the queue and what comes out of it.

use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::settlement::Settlement;
use super::types::{Fence, Health, Job, Verdict};

/// What happened outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The answer to [`Effect::Claim`].
    Claimed(Vec<Job>),
    /// Storage could not claim.
    ClaimFailed,
    /// Jobs that were queued on this node and claimed for it in the same transaction. Ask for no more than
    /// [`Queue::room_for_new`](super::Queue::room_for_new).
    Queued(Vec<Job>),
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
    /// The task of the attempt ended without a result: a fault of ours. The job is given back and the crash
    /// counted, or, when the final dot was recorded, settled as in doubt.
    Crashed {
        /// Under which claim.
        fence: Fence,
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
        /// The attempt's task crashed: storage counts these and parks the job after too many.
        crashed: bool,
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
