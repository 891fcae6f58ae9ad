//! Log-in for every protocol: the SASL machine's questions answered from storage.

use std::net::IpAddr;

use protocol_core::address::Canonical;
use protocol_core::sasl::{ChannelBinding, Mechanism, Question, Server, Step, prepare_password};
use storage::{ApiKey, Error, Mailbox, Storage};

use crate::config::Networks;
use crate::tls::Identity;
use crate::wire::Wire;

/// What a password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Protocol {
    Imap,
    Smtp,
    Dav,
    Api,
}

/// Where somebody asks to be let in.
#[derive(Clone, Copy, Debug)]
pub struct Entrance {
    /// To what.
    pub protocol: Protocol,
    /// From where; none for a socket in the file system.
    pub origin: Option<IpAddr>,
}

impl Entrance {
    /// Whether the secret of a key is a password here.
    pub fn admits(self, key: &ApiKey) -> bool {
        let scoped = match self.protocol {
            Protocol::Imap => key.scopes.imap,
            Protocol::Smtp => key.scopes.smtp,
            Protocol::Dav => key.scopes.dav,
            Protocol::Api => key.scopes.of_api(),
        };
        scoped && admits_from(key, self.origin)
    }
}

/// Whether a key may be used from an address: from everywhere when it is bound to no networks.
pub fn admits_from(key: &ApiKey, origin: Option<IpAddr>) -> bool {
    let networks = || Networks::parse(&key.networks.join(",")).unwrap_or_default();
    key.networks.is_empty() || origin.is_some_and(|origin| networks().contains(origin))
}

/// Checks a password, or an app password in its place; the key is beside the mailbox then. One that may not be used here
/// costs the same and looks the same as a wrong one.
///
/// # Errors
/// Storage's.
pub async fn admit(
    storage: &Storage,
    user: &str,
    password: &[u8],
    entrance: Entrance,
) -> storage::Result<Option<(Mailbox, Option<ApiKey>)>> {
    let name = login_name(user);
    if let Some((mailbox, key)) = storage.app_password(&name, password, storage.store_now()).await?
        && entrance.admits(&key)
    {
        storage.touch_api_key(key.id);
        return Ok(Some((mailbox, Some(key))));
    }
    // What cannot be a password costs as much as any other.
    let prepared = prepare_password(password);
    let octets = prepared.as_ref().map_or(&b""[..], |p| p.expose());
    let found = storage.verify_password(&name, octets).await?;
    Ok(found.filter(|_| prepared.is_ok()).map(|mailbox| (mailbox, None)))
}

/// One authentication exchange.
pub struct Login {
    server: Server,
    /// The mailbox whose password or verifier was looked up.
    mailbox: Option<Mailbox>,
    began: bool,
    entrance: Entrance,
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
    pub fn new(mechanism: &str, binding: ChannelBinding, entrance: Entrance) -> Option<Login> {
        let mechanism = Mechanism::parse(mechanism.as_bytes()).filter(|m| m.is_usable(true, &binding))?;
        let mut seed = [0; 24];
        getrandom::fill(&mut seed).ok()?;
        Some(Login { server: Server::new(mechanism, binding, seed), mailbox: None, began: false, entrance })
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
                    match admit(storage, &user, password.expose(), self.entrance).await {
                        Ok(found) => {
                            self.mailbox = found.map(|(mailbox, _)| mailbox);
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

fn login_name(user: &str) -> String {
    Canonical::parse(user).map_or_else(|_| user.to_owned(), |c| c.to_string())
}

fn unavailable(error: &Error) -> Outcome {
    tracing::warn!(%error, "log-in could not be checked");
    Outcome::Unavailable
}
