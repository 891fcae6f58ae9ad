//! The steps of a session. Those that are questions are consumed by answering; dropped unanswered, they
//! become temporary failures at the next `poll`.

use core::fmt;

use alloc::vec::Vec;
use protocol_core::{Instant, SendBuf};

use super::session::ServerSession;
use super::{CloseReason, Refusal};
use crate::address::{Mailbox, Path};
use crate::command::Command;
use crate::params::{Accepts, MailParams, RcptParams};

/// What the driver does next.
#[must_use]
#[derive(Debug)]
pub enum Step<'b> {
    /// Flush, then wait for bytes, end of file or the deadline.
    NeedInput,
    /// The send buffer is above its high-water mark: flush before polling again.
    Flush,
    /// Greet or refuse.
    Connect(Connect),
    /// A turn of a SASL exchange.
    Authenticate(Authenticate),
    /// MAIL.
    Sender(Sender<'b>),
    /// RCPT.
    Recipient(Recipient<'b>),
    /// DATA or the first BDAT passed every check: open a spool.
    Begin(Begin),
    /// Octets of the message, dot-unstuffed, borrowed: store them, then poll.
    Chunk(&'b [u8]),
    /// The message is whole: make it durable.
    Finish(Finish),
    /// The message will not complete: drop the spool.
    Discard,
    /// Flush, then do the handshake.
    UpgradeTls(UpgradeTls),
    /// Flush and close.
    Closed(CloseReason),
}

/// A peer connected.
#[derive(Debug)]
pub struct Connect {
    pub(super) spoke_first: bool,
}

impl Connect {
    /// Whether octets stood in the buffer before the greeting. Such a client gets 554 even when accepted.
    pub fn spoke_first(&self) -> bool {
        self.spoke_first
    }

    /// Greets it, at the next `poll`.
    pub fn accept(self, session: &mut ServerSession, _out: &mut SendBuf) {
        session.greeted();
    }

    /// Refuses it: 421, or 554 for what is not temporary; the connection is closed.
    pub fn refuse(self, why: &Refusal, session: &mut ServerSession, out: &mut SendBuf) {
        session.turn_away(why, out);
    }
}

/// A turn of a SASL exchange (RFC 4954 §4).
pub struct Authenticate {
    pub(super) mechanism: &'static str,
    pub(super) first: bool,
    pub(super) response: Option<Vec<u8>>,
}

impl Authenticate {
    /// The mechanism's name as offered.
    pub fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// Whether this is the AUTH command itself and not a response to a challenge.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// What the client sent, decoded; `None` for an AUTH without an initial response. Secret.
    pub fn response(&self) -> Option<&[u8]> {
        self.response.as_deref()
    }

    /// Sends a challenge and waits for the response.
    pub fn challenge(self, text: &[u8], session: &mut ServerSession, out: &mut SendBuf) {
        session.challenged(text, out);
    }

    /// The client is `account`.
    pub fn succeed(self, account: &str, session: &mut ServerSession, out: &mut SendBuf) {
        session.authenticated(account, out);
    }

    /// It is not who it says, or that cannot be known now.
    pub fn fail(self, why: &Refusal, session: &mut ServerSession, out: &mut SendBuf) {
        session.not_authenticated(why, out);
    }
}

impl Drop for Authenticate {
    fn drop(&mut self) {
        if let Some(response) = &mut self.response {
            zeroize::Zeroize::zeroize(response);
        }
    }
}

impl fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticate").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// MAIL: may this sender send?
#[derive(Debug)]
pub struct Sender<'b> {
    pub(super) path: Path<'b>,
    pub(super) params: MailParams<'b>,
}

impl<'b> Sender<'b> {
    /// The reverse-path.
    pub fn path(&self) -> Path<'b> {
        self.path
    }

    /// Its parameters.
    pub fn params(&self) -> &MailParams<'b> {
        &self.params
    }

    /// `250 2.1.0`.
    pub fn accept(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.sender_accepted(&self.params, out);
    }

    /// Refuses the sender; there is no transaction.
    pub fn refuse(self, why: &Refusal, session: &mut ServerSession, out: &mut SendBuf) {
        session.refused_now(why, out);
    }
}

/// RCPT: is this recipient ours, or the sender's to reach?
#[derive(Debug)]
pub struct Recipient<'b> {
    pub(super) path: Path<'b>,
    pub(super) params: RcptParams<'b>,
    pub(super) rest: &'b [u8],
    pub(super) accepts: Accepts,
}

impl<'b> Recipient<'b> {
    /// The forward-path: a mailbox or `<postmaster>`.
    pub fn path(&self) -> Path<'b> {
        self.path
    }

    /// Its parameters.
    pub fn params(&self) -> RcptParams<'b> {
        self.params
    }

    /// RCPT lines already received behind this one: look them all up in one query.
    pub fn upcoming(&self) -> impl Iterator<Item = Mailbox<'b>> + use<'b> {
        let (mut rest, accepts) = (self.rest, self.accepts);
        core::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let line = rest.get(..end)?.strip_suffix(b"\r")?;
            rest = rest.get(end + 1..)?;
            match Command::parse(line, &accepts) {
                Ok(Command::Rcpt(path, _)) => path.mailbox(),
                _ => None,
            }
        })
    }

    /// `250 2.1.5`.
    pub fn accept(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.recipient_accepted(out);
    }

    /// Refuses this recipient; the transaction goes on.
    pub fn refuse(self, why: &Refusal, session: &mut ServerSession, out: &mut SendBuf) {
        session.refused_now(why, out);
    }
}

/// A message is about to come.
#[derive(Debug)]
pub struct Begin {
    pub(super) limit: u64,
    pub(super) binary: bool,
}

impl Begin {
    /// It will not be larger than this, in octets.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether BODY=BINARYMIME lifts the rule for line endings.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// A spool is open.
    pub fn accept(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.begun(out);
    }

    /// It cannot be taken now.
    pub fn refuse(self, why: &Refusal, session: &mut ServerSession, out: &mut SendBuf) {
        session.refused_now(why, out);
    }
}

/// The message is whole and well-formed; nothing was promised yet.
#[derive(Debug)]
pub struct Finish {
    pub(super) octets: u64,
    pub(super) recipients: usize,
}

impl Finish {
    /// Octets handed out as chunks.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Recipients accepted for it, at least one.
    pub fn recipients(&self) -> usize {
        self.recipients
    }

    /// `250 2.0.0`, for every recipient. Call only after storage committed. `id` is shown to the client.
    pub fn accept(self, id: &str, session: &mut ServerSession, out: &mut SendBuf) {
        session.finished(Ok(id), out);
    }

    /// Nothing of it was kept.
    pub fn refuse(self, why: &Refusal, session: &mut ServerSession, out: &mut SendBuf) {
        session.finished(Err(why), out);
    }

    /// LMTP (RFC 2033 §4.2): one verdict for each accepted recipient, in order; one that is missing is a
    /// temporary failure. SMTP has one reply only: the first success, else the first refusal.
    pub fn each(self, verdicts: &[Result<&str, Refusal>], session: &mut ServerSession, out: &mut SendBuf) {
        session.finished_by_recipient(verdicts, out);
    }
}

/// The client may begin its handshake once the 220 is flushed.
#[derive(Debug)]
pub struct UpgradeTls(pub(super) ());

impl UpgradeTls {
    /// TLS stands. `channel_binding`: whether it gives bindings for SCRAM-SHA-256-PLUS.
    pub fn done(self, channel_binding: bool, session: &mut ServerSession, now: Instant) {
        session.secured(channel_binding, now);
    }

    /// The handshake failed: nothing more can be said on this connection.
    pub fn failed(self, session: &mut ServerSession) {
        session.end(CloseReason::TlsFailed);
    }
}
