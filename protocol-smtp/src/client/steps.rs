//! The steps of a session. Those that are questions are consumed by answering.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use protocol_core::SendBuf;
use protocol_core::time::Duration;

use super::body::BodyEncoder;
use super::session::ClientSession;
use super::{CloseReason, Extensions};
use crate::queue::Verdict;

/// What the driver does next.
#[must_use]
#[derive(Debug)]
pub enum ClientStep {
    /// Flush, then wait for bytes, end of file or the deadline.
    NeedInput,
    /// The send buffer is above its high-water mark: flush before polling again.
    Flush,
    /// Flush, then do the handshake.
    UpgradeTls(UpgradeTls),
    /// A turn of a SASL exchange.
    Prove(Prove),
    /// Nothing is under way: send a message, quit, or wait (and poll when bytes come).
    Ready,
    /// What became of a recipient. Comes once for each that is settled.
    Settled {
        /// Its index in the envelope.
        index: u16,
        /// What became of it.
        verdict: Verdict,
    },
    /// The peer takes this recipient, but not beside the others (452 4.5.3): send the message again for it,
    /// on this connection.
    Later {
        /// Its index in the envelope.
        index: u16,
    },
    /// At least one recipient stands: flush, then write the message through the encoder.
    Body(BodyEncoder),
    /// The message is written but for its final dot or `BDAT LAST`. Make sure that the lease outlasts `wait`
    /// and record the fact, then [`ClientSession::proceed`] or [`ClientSession::withhold`].
    DotPending {
        /// Whose fate hangs on it.
        recipients: Vec<u16>,
        /// How long the reply may take.
        wait: Duration,
    },
    /// Close the connection; flush first for [`CloseReason::Quit`].
    Closed(CloseReason),
}

/// The server is ready for a TLS handshake.
#[derive(Debug)]
pub struct UpgradeTls(pub(super) ());

impl UpgradeTls {
    /// TLS stands. `valid`: the certificate is valid for the host's name, and the rest of its proof too;
    /// `why` says what is wrong with it otherwise.
    pub fn done(self, valid: bool, why: &str, session: &mut ClientSession, out: &mut SendBuf) {
        session.secured(valid, why, out);
    }

    /// The handshake broke or took too long.
    pub fn failed(self, why: &str, session: &mut ClientSession) {
        session.not_secured(why);
    }
}

/// A turn of a SASL exchange (RFC 4954 §4). The mechanisms are in `protocol_core::sasl`.
pub struct Prove {
    pub(super) offered: Extensions,
    /// `None` before AUTH was sent.
    pub(super) challenge: Option<Vec<u8>>,
}

impl Prove {
    /// Whether the server announced this mechanism.
    pub fn offers(&self, mechanism: &str) -> bool {
        self.offered.has_mechanism(mechanism)
    }

    /// What the server sent, decoded; `None` at the start, when a mechanism is to be chosen.
    pub fn challenge(&self) -> Option<&[u8]> {
        self.challenge.as_deref()
    }

    /// Begins: AUTH with an initial response, if the mechanism has one.
    pub fn start(
        self,
        mechanism: &str,
        initial: Option<&[u8]>,
        session: &mut ClientSession,
        out: &mut SendBuf,
    ) {
        session.auth_started(mechanism, initial, out);
    }

    /// Answers the challenge.
    pub fn respond(self, response: &[u8], session: &mut ClientSession, out: &mut SendBuf) {
        session.auth_continued(response, out);
    }

    /// Gives up: no usable mechanism, or the server failed to prove itself.
    pub fn cancel(self, why: &str, session: &mut ClientSession) {
        session.auth_given_up(why);
    }
}

impl fmt::Debug for Prove {
    /// Without the challenge, which may tell something of the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prove").field("mechanisms", &self.offered.mechanisms).finish_non_exhaustive()
    }
}

/// A reply's text, cut for keeping.
pub(super) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
