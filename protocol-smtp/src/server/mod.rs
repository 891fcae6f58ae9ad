//! The server's side of a connection: SMTP transfer, submission and LMTP.
//!
//! [`ServerSession`] holds state, no buffers, no clock. Methods for the driver: `poll`, `deadline`,
//! `shut_down`. Everything else it does by answering the questions among its [`Step`]s.

mod answers;
mod auth;
mod config;
mod guard;
mod lines;
mod message;
mod refusal;
mod replies;
mod session;
mod steps;
mod table;

pub use config::{Extensions, ServerConfig, Service};
pub use refusal::{Refusal, Verdict};
pub use session::ServerSession;
pub use steps::{Authenticate, Begin, Connect, Finish, Recipient, Sender, Step, UpgradeTls};

/// What a connection over the limits is told before it is closed, without a session.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"421 4.7.0 Too many connections, try again later\r\n";

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// QUIT.
    Quit,
    /// The peer closed its side.
    Eof,
    /// It was refused at the start.
    Refused,
    /// Too many errors, commands without effect or unknown recipients; or it spoke out of turn or HTTP.
    Abuse,
    /// Octets that no message may hold.
    BareOctet,
    /// It was too slow.
    Timeout,
    /// The handshake failed.
    TlsFailed,
    /// The server stops.
    ShuttingDown,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The greeting waits for clients that speak too soon.
    Greeting,
    /// No command and no data for too long.
    Idle,
    /// The message takes too long, or comes too slowly.
    Message,
    /// The TLS handshake takes too long.
    Handshake,
    /// A session that asked for too many unknown recipients waits for its end.
    Tarpit,
}
