//! The client's side of a connection: SMTP to another server or a relay, and LMTP.
//!
//! **It is** [`ClientSession`], which holds state, no buffers, no clock. It greets, starts TLS as its
//! [`TlsDemand`] says, authenticates when told to, and then sends one message after another, each recipient
//! settled by a [`Verdict`] that the [`queue`](crate::queue) understands as it is.
//!
//! **It is not** a dialler or a body reader: message octets go from storage to the wire through a
//! [`BodyEncoder`], and never through this machine.
//!
//! **To drive it**: lend `poll` a receive buffer of at least [`RECV_BUF_MIN`] and a send buffer; do what the
//! [`ClientStep`] says. At [`ClientStep::Ready`] call [`ClientSession::send`] or [`ClientSession::quit`], or
//! keep the session and call [`ClientSession::resume`] when there is another message for it.
//! Bound each write without progress, and the connecting before, by [`ClientConfig::timeout`] yourself; every
//! wait for the peer is bounded by [`ClientSession::deadline`]. At the end [`CloseReason::host_result`] says
//! what to report to [`Walk`](crate::route::Walk).

mod body;
mod envelope;
mod extensions;
mod replies;
mod session;
mod steps;
mod transaction;

use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::time::Duration;

use crate::limits::REPLY_MAX;
use crate::queue::{Failure, Health, Verdict};
use crate::route::{HostResult, TlsDemand, TlsOutcome};

pub use body::BodyEncoder;
pub use envelope::{Envelope, Missing, Recipient};
pub use extensions::{Extensions, MECHANISMS_MAX};
pub use session::ClientSession;
pub use steps::{ClientStep, Prove, UpgradeTls};

/// The least limit of a client's receive buffer: the longest reply fits, and one octet more to see that it
/// is too long.
pub const RECV_BUF_MIN: usize = REPLY_MAX + 1;
/// The least wait for the reply to the end of data (RFC 5321 §4.5.3.2.6).
pub const FINAL_REPLY_MIN: Duration = Duration::from_secs(600);
/// Recipients of one transaction towards a peer that announces no limit of its own: every server takes as
/// many (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_DEFAULT: usize = 100;
/// Octets of a peer's reply that a verdict keeps.
pub const REPLY_KEPT_MAX: usize = 1_024;

/// What a session is told once.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Our name in EHLO: a host name or an address literal, ASCII.
    pub name: String,
    /// LMTP instead of SMTP: LHLO, and one reply for each recipient (RFC 2033).
    pub lmtp: bool,
    /// Longest wait for the greeting and for each reply before the final dot.
    pub timeout: Duration,
    /// What encryption this host needs.
    pub demand: TlsDemand,
    /// Do not start TLS though the demand would: it broke before, and plaintext is allowed.
    pub plaintext: bool,
    /// Authenticate before the first message: for relay hosts.
    pub authenticate: bool,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The peer does not greet.
    Greeting,
    /// The peer does not answer a command.
    Reply,
    /// The TLS handshake does not end.
    Handshake,
    /// The peer does not answer the end of data: [`FINAL_REPLY_MIN`] at least.
    FinalReply,
}

/// Why a session ended. It stays: every later `poll` gives the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// QUIT was answered, or not awaited any longer.
    Quit,
    /// TLS came out so that nothing may be sent on this connection.
    Tls {
        /// What happened.
        outcome: TlsOutcome,
        /// In words.
        text: String,
    },
    /// Greeting, EHLO, HELO or AUTH was refused.
    Refused(Failure),
    /// The peer closed, or said that it would (421).
    Gone(Failure),
    /// The peer does not keep to the protocol: nothing it says later is believed.
    PeerMisbehaved(Failure),
    /// A deadline passed.
    TimedOut(Timer, Failure),
    /// A kept session was taken up again ([`ClientSession::resume`]) and was no longer good: nothing of the
    /// message was sent, and a new connection is made for it without anything having failed.
    Stale(Failure),
    /// The driver broke off.
    Abandoned,
}

impl CloseReason {
    /// What to report of this host, given what its recipients got.
    pub fn host_result(&self, verdicts: Vec<(u16, Verdict)>) -> HostResult {
        match self {
            CloseReason::Quit => HostResult::Answered { verdicts, health: Health::Good },
            CloseReason::Tls { outcome, text } => HostResult::Tls(*outcome, text.clone()),
            CloseReason::Abandoned => HostResult::Answered { verdicts, health: Health::Good },
            CloseReason::Refused(failure)
            | CloseReason::Gone(failure)
            | CloseReason::Stale(failure)
            | CloseReason::PeerMisbehaved(failure)
            | CloseReason::TimedOut(_, failure) => match verdicts.is_empty() {
                true => HostResult::NoSession(failure.clone()),
                false => HostResult::Answered { verdicts, health: Health::Busy },
            },
        }
    }
}
