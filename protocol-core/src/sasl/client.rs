//! The client's side: PLAIN and SCRAM-SHA-256, bound to the channel or not.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::scram::{ServerFirst, escape};
use super::verifier::{hmac, salted_password};
use super::{
    ChannelBinding, ITERATIONS_MAX, ITERATIONS_MIN, Mechanism, PasswordFault, Secret, prepare_password,
};

/// Why the client gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// A challenge that the mechanism does not have there, or is malformed.
    Challenge,
    /// The server's nonce does not begin with ours, or its iteration count is out of bounds.
    Untrusted,
    /// The server did not prove that it knows the password.
    ServerSignature,
}

/// One attempt to authenticate.
pub struct Client {
    mechanism: Mechanism,
    user: String,
    password: Secret,
    nonce: String,
    gs2_header: String,
    binding: Vec<u8>,
    state: State,
}

enum State {
    Start,
    ServerFirst,
    ServerFinal { signature: [u8; 32] },
    Done,
    Failed,
}

impl Client {
    /// The best mechanism among those a server offers; `None` when it offers none of ours. LOGIN is not
    /// spoken by the client.
    pub fn choose(offered: &[Mechanism], binding: &ChannelBinding) -> Option<Mechanism> {
        [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain]
            .into_iter()
            .filter(|m| *m != Mechanism::ScramSha256Plus || binding.is_available())
            .find(|m| offered.contains(m))
    }

    /// An attempt by `mechanism`; LOGIN is treated as PLAIN. `seed` is fresh randomness.
    ///
    /// # Errors
    /// When the password cannot be prepared.
    pub fn new(
        mechanism: Mechanism,
        user: &str,
        password: &Secret,
        binding: &ChannelBinding,
        seed: [u8; 24],
    ) -> Result<Client, PasswordFault> {
        let (gs2_header, data) = match (mechanism, binding.best()) {
            (Mechanism::ScramSha256Plus, Some((kind, data))) => (format!("p={kind},,"), data.to_vec()),
            // We could bind, but the server did not offer it; should it have, it notices (RFC 5802 §6).
            (_, Some(_)) => (String::from("y,,"), Vec::new()),
            (_, None) => (String::from("n,,"), Vec::new()),
        };
        Ok(Client {
            mechanism,
            user: user.into(),
            password: prepare_password(password.expose())?,
            nonce: STANDARD_NO_PAD.encode(seed),
            gs2_header,
            binding: data,
            state: State::Start,
        })
    }

    /// Which mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The initial response, to be sent with the command or after an empty challenge.
    pub fn initial(&mut self) -> Secret {
        if matches!(self.mechanism, Mechanism::Plain | Mechanism::Login) {
            self.state = State::Done;
            let mut response = Vec::with_capacity(2 + self.user.len() + self.password.len());
            response.push(0);
            response.extend_from_slice(self.user.as_bytes());
            response.push(0);
            response.extend_from_slice(self.password.expose());
            return Secret::new(response);
        }
        self.state = State::ServerFirst;
        Secret::from(format!("{}{}", self.gs2_header, self.first_bare()))
    }

    /// The response to a decoded challenge. For SCRAM it costs the iterations the server asks for.
    ///
    /// # Errors
    /// Then the exchange is to be cancelled with `*`.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Secret, ClientFault> {
        match core::mem::replace(&mut self.state, State::Failed) {
            State::ServerFirst => self.client_final(challenge),
            State::ServerFinal { signature } => {
                let given = challenge.strip_prefix(b"v=").and_then(|v| STANDARD.decode(v).ok());
                match given {
                    Some(given) if bool::from(given.ct_eq(&signature)) => {
                        self.state = State::Done;
                        Ok(Secret::default())
                    }
                    _ => Err(ClientFault::ServerSignature),
                }
            }
            State::Start | State::Done | State::Failed => Err(ClientFault::Challenge),
        }
    }

    /// Whether a success that the server now reports can be believed: with SCRAM only after it has proved
    /// that it knows the password (RFC 5802 §5).
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", escape(&self.user), self.nonce)
    }

    fn client_final(&mut self, challenge: &[u8]) -> Result<Secret, ClientFault> {
        let server_first = ServerFirst::parse(challenge).ok_or(ClientFault::Challenge)?;
        let is_longer =
            server_first.nonce.len() > self.nonce.len() && server_first.nonce.starts_with(&self.nonce);
        if !is_longer || !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&server_first.iterations) {
            return Err(ClientFault::Untrusted);
        }
        let mut bound = self.gs2_header.clone().into_bytes();
        bound.extend_from_slice(&self.binding);
        let without_proof = format!("c={},r={}", STANDARD.encode(bound), server_first.nonce);
        let challenge = core::str::from_utf8(challenge).map_err(|_| ClientFault::Challenge)?;
        let auth_message = format!("{},{challenge},{without_proof}", self.first_bare());

        let salted = salted_password(self.password.expose(), &server_first.salt, server_first.iterations);
        let salted = Secret::new(salted.to_vec());
        let client_key = hmac(salted.expose(), b"Client Key");
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let mut proof = hmac(&stored_key, auth_message.as_bytes());
        for (p, k) in proof.iter_mut().zip(client_key) {
            *p ^= k;
        }
        let server_key = hmac(salted.expose(), b"Server Key");
        self.state = State::ServerFinal { signature: hmac(&server_key, auth_message.as_bytes()) };
        Ok(Secret::from(format!("{without_proof},p={}", STANDARD.encode(proof))))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}
