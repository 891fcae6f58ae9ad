//! The frame of a SASL exchange (RFC 4954 §4); the mechanisms are elsewhere.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol_core::{RecvBuf, SendBuf};

use super::replies;
use super::session::{Asked, Next, ServerSession, State, without_crlf};
use super::steps::{Authenticate, Step};
use super::{CloseReason, Refusal};
use crate::limits::{ACCOUNT_MAX, AUTH_LINE_MAX};

/// Octets encoded at once, so that a challenge of any length needs no memory.
const ENCODE_STEP: usize = 48;

impl ServerSession {
    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>, out: &mut SendBuf) -> Next {
        if self.account.is_some() {
            return self.error(&replies::AUTH_DONE, out);
        }
        let Some(mechanism) = self.config.mechanism(mechanism, self.channel_binding) else {
            return self.error(&replies::MECHANISM, out);
        };
        let response = match initial {
            None => None,
            // RFC 4954 §4: an initial response that is empty.
            Some("=") => Some(Vec::new()),
            Some(text) => match STANDARD.decode(text) {
                Ok(response) => Some(response),
                Err(_) => return self.error(&replies::BASE64, out),
            },
        };
        self.ask_authenticate(mechanism, response, true)
    }

    fn ask_authenticate(&mut self, mechanism: &'static str, response: Option<Vec<u8>>, first: bool) -> Next {
        self.state = State::Asked(Asked::Authenticate(mechanism));
        Next::Step(Step::Authenticate(Authenticate { mechanism, response, first }))
    }

    pub(super) fn auth_line(
        &mut self,
        mechanism: &'static str,
        input: &mut RecvBuf,
        out: &mut SendBuf,
    ) -> Next {
        let end = input.find_lf();
        let Some(end) = end.filter(|end| *end < AUTH_LINE_MAX) else {
            if end.is_some() || input.len() >= AUTH_LINE_MAX || input.is_full() {
                return self.too_long(end.map(|end| end + 1), &replies::AUTH_TOO_LONG, input, out);
            }
            return if input.is_eof() { self.end(CloseReason::Eof) } else { Next::Wait };
        };
        self.quiet_since = self.now;
        self.state = State::Line;
        let line = input.take_secret(end + 1);
        match without_crlf(line) {
            _ if !line.ends_with(b"\r\n") => self.error(&replies::LINE_END, out),
            b"*" => self.error(&replies::AUTH_CANCELLED, out),
            text => match STANDARD.decode(text) {
                Ok(response) => self.ask_authenticate(mechanism, Some(response), false),
                Err(_) => self.error(&replies::BASE64, out),
            },
        }
    }

    // ---- answers ---------------------------------------------------------------------------------------

    pub(super) fn challenged(&mut self, text: &[u8], out: &mut SendBuf) {
        let State::Asked(Asked::Authenticate(mechanism)) = self.state else { return };
        out.push(b"334 ");
        let mut encoded = [0; ENCODE_STEP / 3 * 4];
        for piece in text.chunks(ENCODE_STEP) {
            let len = STANDARD.encode_slice(piece, &mut encoded).unwrap_or(0);
            out.push(encoded.get(..len).unwrap_or_default());
        }
        out.push(b"\r\n");
        self.state = State::AuthLine(mechanism);
    }

    pub(super) fn authenticated(&mut self, account: &str, out: &mut SendBuf) {
        if !matches!(self.state, State::Asked(Asked::Authenticate(_))) {
            return;
        }
        if account.len() > ACCOUNT_MAX {
            return self.not_authenticated(&Refusal::AuthFailed, out);
        }
        self.account = Some(String::from(account));
        replies::AUTHENTICATED.write(out);
        self.state = State::Line;
    }

    pub(super) fn not_authenticated(&mut self, why: &Refusal, out: &mut SendBuf) {
        if !matches!(self.state, State::Asked(Asked::Authenticate(_))) {
            return;
        }
        self.state = State::Line;
        why.write(out);
        self.count_error(out);
    }
}
