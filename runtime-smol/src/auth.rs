//! Log-in for every protocol: the SASL machine's questions answered from storage.

use protocol_core::address::Canonical;
use protocol_core::sasl::{ChannelBinding, Mechanism, Question, Server, Step, prepare_password};
use storage::{Error, Mailbox, Storage};

use crate::tls::Identity;
use crate::wire::Wire;

/// One authentication exchange.
pub struct Login {
    server: Server,
    /// The mailbox whose password or verifier was looked up.
    mailbox: Option<Mailbox>,
    began: bool,
}

/// What came of one turn.
pub enum Outcome {
    /// Send this and wait.
    Challenge(Vec<u8>),
    /// The client is this mailbox's owner.
    Success(Box<Mailbox>),
    /// It is not; nothing says why.
    Failed,
    /// It could not be found out now.
    Unavailable,
}

/// What a connection can be bound to (RFC 9266, RFC 5929).
pub fn channel_binding(wire: &Wire, identity: Option<&Identity>) -> ChannelBinding {
    let end_point = identity.filter(|_| wire.tls().is_some()).and_then(|i| i.end_point()).map(<[u8]>::to_vec);
    ChannelBinding { tls_exporter: wire.tls_exporter(), tls_server_end_point: end_point }
}

impl Login {
    /// Begins an exchange; `None` for a mechanism that does not exist or cannot be used on this connection.
    pub fn new(mechanism: &str, binding: ChannelBinding) -> Option<Login> {
        let mechanism = Mechanism::parse(mechanism.as_bytes()).filter(|m| m.is_usable(true, &binding))?;
        let mut seed = [0; 24];
        getrandom::fill(&mut seed).ok()?;
        Some(Login { server: Server::new(mechanism, binding, seed), mailbox: None, began: false })
    }

    /// Takes what the client sent; nothing at first, unless it sent an initial response.
    pub async fn turn(&mut self, storage: &Storage, response: Option<&[u8]>) -> Outcome {
        let mut step = match (self.began, response) {
            (true, Some(response)) => self.server.respond(response),
            (_, response) => self.server.start(response),
        };
        self.began = true;
        loop {
            step = match step {
                Step::Challenge(text) => return Outcome::Challenge(text),
                Step::Failure(_) => return Outcome::Failed,
                Step::Success { .. } => {
                    return match self.mailbox.take() {
                        Some(mailbox) => Outcome::Success(Box::new(mailbox)),
                        None => Outcome::Failed,
                    };
                }
                Step::Question(Question::Password { user, password }) => {
                    match storage.verify_password(&login_name(&user), password.expose()).await {
                        Ok(found) => {
                            self.mailbox = found;
                            self.server.verified(self.mailbox.is_some())
                        }
                        Err(error) => return unavailable(&error),
                    }
                }
                Step::Question(Question::Verifier { user }) => {
                    match storage.scram_verifier(&login_name(&user)).await {
                        Ok((verifier, found)) => {
                            self.mailbox = found;
                            self.server.verifier(verifier, self.mailbox.is_some())
                        }
                        Err(error) => return unavailable(&error),
                    }
                }
            };
        }
    }
}

/// Checks a name and a password that came without SASL (IMAP's LOGIN).
pub async fn verify(storage: &Storage, user: &str, password: &[u8]) -> Outcome {
    // A password that cannot be one costs as much as any other.
    let prepared = prepare_password(password);
    let octets = prepared.as_ref().map_or(&b""[..], |p| p.expose());
    match storage.verify_password(&login_name(user), octets).await {
        Ok(Some(mailbox)) if prepared.is_ok() => Outcome::Success(Box::new(mailbox)),
        Ok(_) => Outcome::Failed,
        Err(error) => unavailable(&error),
    }
}

fn login_name(user: &str) -> String {
    Canonical::parse(user).map_or_else(|_| user.to_owned(), |c| c.to_string())
}

fn unavailable(error: &Error) -> Outcome {
    tracing::warn!(%error, "log-in could not be checked");
    Outcome::Unavailable
}
