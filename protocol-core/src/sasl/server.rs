//! The server's side. All transitions are in [`Server::respond`] and the two answers.
//!
//! ```text
//! PLAIN   start ── response ──▶ Question::Password ── verified ──▶ Success | Failure
//! LOGIN   start ── user ── password ──▶ Question::Password ── verified ──▶ Success | Failure
//! SCRAM   start ── client-first ──▶ Question::Verifier ── verifier ──▶ Challenge(server-first)
//!               ── client-final ──▶ Challenge(server-final) | Failure ── empty ──▶ Success
//! ```
//!
//! Whether the user exists is never visible before the end: for SCRAM the driver answers with a fake verifier
//! ([`super::ScramVerifier::fake`]) and `usable: false`, and the proof fails like a wrong one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use subtle::ConstantTimeEq;

use super::scram::{BindingFlag, ClientFinal, ClientFirst, proof_fits};
use super::verifier::hmac;
use super::{ChannelBinding, Mechanism, RESPONSE_MAX, ScramVerifier, Secret, USER_MAX, prepare_password};

/// What to do next.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these octets in base64 and give the client's response to [`Server::respond`].
    Challenge(Vec<u8>),
    /// Answer the question.
    Question(Question),
    /// The client has proved to be this user. The name is as the client wrote it.
    Success {
        /// User name.
        user: String,
    },
    /// It has not.
    Failure(Failure),
}

/// What the driver must find out.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// Does this password fit this user? Answer with [`Server::verified`].
    Password {
        /// User name as the client wrote it.
        user: String,
        /// The password, prepared: see [`prepare_password`].
        password: Secret,
    },
    /// What is kept of this user's password? Answer with [`Server::verifier`].
    Verifier {
        /// User name as the client wrote it.
        user: String,
    },
}

/// Why authentication failed. What the client is told of it is the protocol's business: the same for
/// [`Failure::Credentials`] and [`Failure::ChannelBinding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A response is not what the mechanism says, or is over a limit.
    Malformed,
    /// Wrong password, unknown user, an account that may not log in, or a foreign authorization identity.
    Credentials,
    /// The channel bindings differ, or the client was made to believe that the server cannot bind (RFC 5802
    /// §6): somebody may stand in between.
    ChannelBinding,
}

/// One authentication attempt.
pub struct Server {
    mechanism: Mechanism,
    binding: ChannelBinding,
    nonce: String,
    state: State,
}

enum State {
    Start,
    LoginPassword { user: String },
    Password { user: String },
    Verifier(Scram),
    ClientFinal { scram: Scram, server_first: String, verifier: ScramVerifier, usable: bool },
    Acknowledge { user: String },
    Done,
}

struct Scram {
    user: String,
    gs2_header: String,
    /// The data that `c=` must hold behind the gs2-header.
    binding: Vec<u8>,
    client_first_bare: String,
    nonce: String,
}

impl Server {
    /// An attempt by `mechanism`. `binding` is what this connection can be bound to; when it is available,
    /// the PLUS mechanism counts as offered. `seed` is fresh randomness and becomes the server's nonce.
    pub fn new(mechanism: Mechanism, binding: ChannelBinding, seed: [u8; 24]) -> Server {
        Server { mechanism, binding, nonce: STANDARD_NO_PAD.encode(seed), state: State::Start }
    }

    /// Which mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Begins, with the initial response when the client sent one.
    pub fn start(&mut self, initial: Option<&[u8]>) -> Step {
        match (initial, self.mechanism) {
            (Some(response), _) => self.respond(response),
            (None, Mechanism::Login) => Step::Challenge(b"Username:".to_vec()),
            (None, _) => Step::Challenge(Vec::new()),
        }
    }

    /// The client's decoded response to the last challenge.
    pub fn respond(&mut self, response: &[u8]) -> Step {
        if response.len() > RESPONSE_MAX {
            return self.fail(Failure::Malformed);
        }
        match (core::mem::replace(&mut self.state, State::Done), self.mechanism) {
            (State::Start, Mechanism::Plain) => self.plain(response),
            (State::Start, Mechanism::Login) => match user_name(response) {
                Some(user) => {
                    self.state = State::LoginPassword { user };
                    Step::Challenge(b"Password:".to_vec())
                }
                None => self.fail(Failure::Malformed),
            },
            (State::Start, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus) => {
                self.client_first(response)
            }
            (State::LoginPassword { user }, _) => self.ask_password(user, response),
            (State::ClientFinal { scram, server_first, verifier, usable }, _) => {
                self.client_final(response, scram, &server_first, &verifier, usable)
            }
            (State::Acknowledge { user }, _) if response.is_empty() => Step::Success { user },
            // A response nobody asked for.
            _ => self.fail(Failure::Malformed),
        }
    }

    /// The answer to [`Question::Password`]: whether it fits, and the account may log in.
    pub fn verified(&mut self, fits: bool) -> Step {
        match core::mem::replace(&mut self.state, State::Done) {
            State::Password { user } if fits => Step::Success { user },
            _ => self.fail(Failure::Credentials),
        }
    }

    /// The answer to [`Question::Verifier`]. `usable` is false for an unknown user (with a fake verifier) and
    /// for an account that may not log in: then no proof succeeds.
    pub fn verifier(&mut self, verifier: ScramVerifier, usable: bool) -> Step {
        let State::Verifier(scram) = core::mem::replace(&mut self.state, State::Done) else {
            return self.fail(Failure::Credentials);
        };
        let salt = STANDARD.encode(&verifier.salt);
        let server_first = format!("r={},s={salt},i={}", scram.nonce, verifier.iterations);
        let challenge = server_first.as_bytes().to_vec();
        self.state = State::ClientFinal { scram, server_first, verifier, usable };
        Step::Challenge(challenge)
    }

    fn fail(&mut self, why: Failure) -> Step {
        self.state = State::Done;
        Step::Failure(why)
    }

    /// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
    fn plain(&mut self, response: &[u8]) -> Step {
        let mut pieces = response.splitn(3, |&b| b == 0);
        let (Some(authzid), Some(authcid), Some(password)) = (pieces.next(), pieces.next(), pieces.next())
        else {
            return self.fail(Failure::Malformed);
        };
        let Some(user) = user_name(authcid) else { return self.fail(Failure::Malformed) };
        if !authzid.is_empty() && authzid != authcid {
            return self.fail(Failure::Credentials);
        }
        self.ask_password(user, password)
    }

    fn ask_password(&mut self, user: String, password: &[u8]) -> Step {
        // A password that cannot be prepared was never set, so it fits nobody.
        let Ok(password) = prepare_password(password) else { return self.fail(Failure::Credentials) };
        self.state = State::Password { user: user.clone() };
        Step::Question(Question::Password { user, password })
    }

    fn client_first(&mut self, response: &[u8]) -> Step {
        let Some(first) = ClientFirst::parse(response) else { return self.fail(Failure::Malformed) };
        let binding = match (&first.flag, self.mechanism) {
            // RFC 5802 §6: the PLUS name and the flag `p` go together.
            (BindingFlag::Bound(kind), Mechanism::ScramSha256Plus) => match self.binding.data(kind) {
                Some(data) => data.to_vec(),
                None => return self.fail(Failure::ChannelBinding),
            },
            (BindingFlag::Unsupported, Mechanism::ScramSha256) => Vec::new(),
            // The client can bind and was told that we cannot: when we offered to, the list was tampered with.
            (BindingFlag::ServerCannot, Mechanism::ScramSha256) if !self.binding.is_available() => Vec::new(),
            _ => return self.fail(Failure::ChannelBinding),
        };
        if first.authzid.as_ref().is_some_and(|a| *a != first.user) {
            return self.fail(Failure::Credentials);
        }
        let user = first.user.clone();
        self.state = State::Verifier(Scram {
            gs2_header: first.gs2_header.into(),
            binding,
            client_first_bare: first.bare.into(),
            nonce: format!("{}{}", first.nonce, self.nonce),
            user: first.user,
        });
        Step::Question(Question::Verifier { user })
    }

    fn client_final(
        &mut self,
        response: &[u8],
        scram: Scram,
        server_first: &str,
        verifier: &ScramVerifier,
        usable: bool,
    ) -> Step {
        let Some(last) = ClientFinal::parse(response) else { return self.fail(Failure::Malformed) };
        if !bool::from(last.nonce.as_bytes().ct_eq(scram.nonce.as_bytes())) {
            return self.fail(Failure::Credentials);
        }
        let mut bound = scram.gs2_header.into_bytes();
        bound.extend_from_slice(&scram.binding);
        if !bool::from(last.binding.ct_eq(&bound)) {
            return self.fail(Failure::ChannelBinding);
        }
        let auth_message = format!("{},{server_first},{}", scram.client_first_bare, last.without_proof);
        // Computed for an unknown user too, so that it takes the same time.
        let fits = proof_fits(&verifier.stored_key, auth_message.as_bytes(), &last.proof);
        let signature = hmac(&verifier.server_key, auth_message.as_bytes());
        if !(fits & usable) {
            return self.fail(Failure::Credentials);
        }
        self.state = State::Acknowledge { user: scram.user };
        Step::Challenge(format!("v={}", STANDARD.encode(signature)).into_bytes())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

fn user_name(octets: &[u8]) -> Option<String> {
    let user = core::str::from_utf8(octets).ok()?;
    (!user.is_empty() && user.len() <= USER_MAX && !user.contains('\0')).then(|| user.into())
}
