//! The values that go in and out of the queue.

use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::Timestamp;

use crate::params::By;
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
    /// Whose it is: jobs of several tenants for one destination take turns.
    pub tenant: [u8; 16],
    /// The sender's deadline, if any.
    pub deliver_by: Option<DeliverBy>,
    /// All recipients, settled ones too: indices count from the job's first.
    pub recipients: Vec<Recipient>,
}

impl Job {
    /// Nobody is told what becomes of it, and nothing is concluded from it.
    pub(super) fn is_silent(&self) -> bool {
        self.null_sender || self.is_dsn
    }
}

/// DELIVERBY of a message (RFC 2852), counted from when it was accepted, or from its release when it was held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliverBy {
    /// The deadline.
    pub at: Timestamp,
    /// Mode `R`: at the deadline it is given up. Else `N`: its sender is told of the delay, and it goes on.
    pub give_up: bool,
    /// `T`: its sender is told of each hop.
    pub trace: bool,
}

impl DeliverBy {
    /// As the parameter says, for a message that is accepted, or will be released, `now`.
    pub fn new(by: By, now: Timestamp) -> DeliverBy {
        let at = Timestamp(now.0.saturating_add(i64::from(by.secs) * 1_000));
        DeliverBy { at, give_up: by.give_up, trace: by.trace }
    }

    /// The parameter for the next hop: the time that is left, in whole seconds, less than none when it is over
    /// (RFC 2852 §4.1.3). With mode `R` nothing is left to be sent once it is 0.
    pub fn remaining(&self, now: Timestamp) -> By {
        let secs = self.at.0.saturating_sub(now.0).div_euclid(1_000);
        let secs = secs.clamp(-BY_SECS_MAX, BY_SECS_MAX);
        By { secs: secs as i32, give_up: self.give_up, trace: self.trace }
    }

    /// When mode `R` ends all attempts.
    pub fn end(&self) -> Option<Timestamp> {
        self.give_up.then_some(self.at)
    }
}

/// Nine digits (RFC 2852 §4).
const BY_SECS_MAX: i64 = 999_999_999;

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
    /// Who says so. What follows for later mail depends on it.
    pub origin: Origin,
}

impl Failure {
    /// A reason of our own that proves nothing about the address or its domain.
    pub fn local(status: Status, reply: impl Into<String>) -> Failure {
        Failure { status, reply: reply.into(), origin: Origin::Local }
    }

    /// A failure as storage kept it, from its text alone: `550 5.1.1 text` of a peer, or `5.4.7 text` of ours.
    /// It may name a class again, but no suppression follows from it.
    pub fn kept(text: impl Into<String>) -> Failure {
        let reply: String = text.into();
        let mut words = reply.split(' ');
        let code = words.next().filter(|w| w.len() == 3).and_then(|w| w.parse().ok());
        let code = code.filter(|c| (400..600).contains(c));
        let status = reply.split(' ').take(2).find_map(|word| Status::parse(word.as_bytes()));
        let status = status.unwrap_or(Status::TEMPORARY);
        let origin = code.map_or(Origin::Local, |code| Origin::Peer { code, own: false });
        Failure { status, reply, origin }
    }
}

/// Who says that a recipient was not reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// We do: network, name server, TLS, what the message needs, what is set here.
    #[default]
    Local,
    /// A peer, by a reply.
    Peer {
        /// The reply code, 400 to 599.
        code: u16,
        /// It is about this recipient: the reply to its RCPT, or to the end of data of a message for it alone.
        /// What is said of the session, the sender or a message for several proves nothing of one of them.
        own: bool,
    },
    /// The name server says that the domain does not exist (NXDOMAIN).
    NoSuchDomain,
    /// The domain publishes that it takes no mail (null MX, RFC 7505).
    NullMx,
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
        /// The next hop was given the sender's deadline (BY), or is the last one.
        by_passed_on: bool,
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
