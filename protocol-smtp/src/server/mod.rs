//! The server's side of a connection: SMTP transfer, submission and LMTP.
//!
//! **It is** [`ServerSession`]: what one client may say next, what it is told, and when it has been silent for
//! too long. Every transition is in `table.rs`, every reply of the session's own in `replies.rs`, every refusal a
//! driver can give in [`Refusal`].
//!
//! **It is not** a judge of senders, recipients or messages, and it keeps none: the envelope and the spool are
//! the driver's. It knows no SASL mechanism, only the frame of an exchange.
//!
//! **To drive it**: `poll`, and do what the [`Step`] says.
//! - Read what is already there, without waiting, before the first `poll`: whoever speaks before the greeting gets
//!   554. [`ServerConfig::greet_delay`] waits for such clients.
//! - On `NeedInput`, flush, then wait for octets, end of file or [`ServerSession::deadline`], and poll again.
//! - Store each `Chunk` before the next `poll`. [`Begin`] accepted means that a spool is open; it is closed by the
//!   answer to [`Finish`] or by `Discard`, whichever comes.
//! - Accept [`Finish`] only when the message is on stable storage.
//! - After `UpgradeTls`, flush, do the handshake, and give octets that came before it to nobody.

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
