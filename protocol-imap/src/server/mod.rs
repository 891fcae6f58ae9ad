//! The server's side of an IMAP connection.
//!
//! [`ServerSession`] is the machine: octets and answers in, [`Step`]s and octets out. It frames and parses
//! commands, knows which are legal, answers by itself what needs no mailbox, and keeps the session's own
//! [`View`] of the selected folder, so that message numbers never shift under a client.
//!
//! What only a mail store can decide comes out as [`Step::Command`]: a [`Running`], which is the command's
//! tag and is consumed by exactly one completion, and a [`Request`]. Every reply text and response code is in
//! [`reason`]; a driver names reasons, never words.
//!
//! | module | what is in it |
//! |---|---|
//! | [`session`] | the machine |
//! | [`state`] | all transitions, as a table |
//! | [`request`] | what a driver is asked to do |
//! | [`question`] | steps that wait for an answer, and the completions of commands |
//! | [`view`] | message numbers, and changes not yet told |
//! | [`select`], [`list`], [`search`], [`fetch`] | the answers of these commands |
//! | [`reason`], [`capability`] | texts, codes and capabilities: tables |

mod append;
pub mod capability;
pub mod fetch;
pub mod limits;
pub mod list;
pub mod question;
pub mod reason;
pub mod request;
pub mod search;
pub mod select;
pub mod session;
pub mod state;
pub mod targets;
pub mod view;

use alloc::string::String;

use protocol_core::Timestamp;

pub use fetch::{Fetching, Needs, Row, RowStep, Truncated};
pub use list::{Folder, Listing, StatusData, StatusQuery};
pub use question::{Append, Authenticate, Connect, Running, Secret, UpgradeTls};
pub use reason::{Bye, No};
pub use request::{Request, Storing};
pub use search::{Found, Need, Program, Searching, Verdict};
pub use select::Selected;
pub use session::{ServerSession, Step};
pub use targets::{Message, Targets};
pub use view::{Change, View};

/// What a connection over the limits is told before it is closed, without a session.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"* BYE [UNAVAILABLE] Too many connections; try again later\r\n";

/// What a session is told once, for all connections of a port.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name in the greeting, ASCII.
    pub hostname: String,
    /// Whether STARTTLS is offered while there is no TLS.
    pub starttls: bool,
    /// Octets of one message that APPEND takes (RFC 7889).
    pub append_max: u64,
    /// Whether `AUTH=SCRAM-SHA-256-PLUS` is offered when TLS gives channel bindings.
    pub scram_plus: bool,
}

impl ServerConfig {
    /// The specification's figures.
    pub fn new(hostname: &str, append_max: u64) -> Self {
        ServerConfig { hostname: String::from(hostname), starttls: true, append_max, scram_plus: true }
    }
}

/// What lies under the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nothing is encrypted: no log-in.
    Plain,
    /// TLS from the first octet.
    Tls(TlsInfo),
}

/// What the session needs to know of a TLS connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// Channel bindings can be had (RFC 9266 or RFC 5929).
    pub channel_binding: bool,
}

/// Flags of a message: bits 0 to 4 are `\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`; bit 8+n is the
/// folder's keyword n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlagBits(pub u64);

#[allow(missing_docs)]
impl FlagBits {
    pub const SEEN: FlagBits = FlagBits(1);
    pub const ANSWERED: FlagBits = FlagBits(2);
    pub const FLAGGED: FlagBits = FlagBits(4);
    pub const DELETED: FlagBits = FlagBits(8);
    pub const DRAFT: FlagBits = FlagBits(16);

    pub const fn contains(self, other: FlagBits) -> bool {
        self.0 & other.0 == other.0
    }
    pub const fn union(self, other: FlagBits) -> FlagBits {
        FlagBits(self.0 | other.0)
    }
    /// The flag of keyword `n`; none beyond the 56th.
    pub const fn keyword(n: usize) -> FlagBits {
        if n < 56 { FlagBits(1 << (8 + n)) } else { FlagBits(0) }
    }
}

/// What the store knows of a message without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowData {
    /// Its UID.
    pub uid: u32,
    /// Its flags.
    pub flags: FlagBits,
    /// Modification sequence of its last change (RFC 7162); at least 1.
    pub modseq: u64,
    /// Exact size in octets.
    pub size: u64,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// LOGOUT.
    Logout,
    /// The peer closed its side.
    Eof,
    /// It was refused at the start.
    Refused,
    /// Too many errors or failed log-ins.
    Abuse,
    /// It was too slow.
    Timeout,
    /// The driver said so with [`ServerSession::bye`].
    Bye,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Not logged in for too long.
    Login,
    /// No command for too long (RFC 9051 §5.4).
    Idle,
    /// In IDLE: time for `* OK Still here`.
    KeepAlive,
}
