//! SASL (RFC 4422) without I/O: server and client sides of PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and
//! SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266).
//!
//! The server side is [`Server`]: it takes decoded responses and returns a [`Step`], which may be a
//! [`Question`] that the driver answers. It never sees a stored password: Argon2 and look-ups are the
//! driver's. One value serves one attempt; it is not used again after [`Step::Success`] or [`Step::Failure`].
//!
//! Wire forms (base64, `*` to cancel, `=` for an empty initial response) are in [`wire`].

mod client;
mod prep;
mod scram;
mod secret;
mod server;
mod verifier;
pub mod wire;

pub use client::{Client, ClientFault};
pub use prep::{PASSWORD_MAX, PasswordFault, prepare_password};
pub use secret::Secret;
pub use server::{Failure, Question, Server, Step};
pub use verifier::{ITERATIONS, ITERATIONS_MAX, ITERATIONS_MIN, SALT_LEN, SALT_MAX, ScramVerifier};

/// Octets of one decoded response: what base64 makes of a line of 12,288 (RFC 4954 §4).
pub const RESPONSE_MAX: usize = 12_288 / 4 * 3;
/// Octets of a user name.
pub const USER_MAX: usize = 512;
/// Octets of a nonce that a peer sends.
pub const NONCE_MAX: usize = 512;

/// The mechanisms known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Mechanism {
    Login,
    Plain,
    ScramSha256,
    ScramSha256Plus,
}

impl Mechanism {
    /// All of them, best first: the order in which to offer them.
    pub const ALL: [Mechanism; 4] =
        [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Login => "LOGIN",
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// From a name in any letter case.
    pub fn parse(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|m| m.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether it can be offered: all need TLS (SPEC: only under TLS), and the PLUS one something to bind to.
    pub fn is_usable(self, tls: bool, binding: &ChannelBinding) -> bool {
        tls && (self != Mechanism::ScramSha256Plus || binding.is_available())
    }
}

/// What ties an authentication to its TLS connection (RFC 5929, RFC 9266).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelBinding {
    /// `tls-exporter`: 32 octets exported under the label `EXPORTER-Channel-Binding` with an empty context.
    /// In TLS 1.2 only with extended master secret (RFC 9266 §3).
    pub tls_exporter: Option<[u8; 32]>,
    /// `tls-server-end-point`: the hash of the server's certificate (RFC 5929 §4.1).
    pub tls_server_end_point: Option<alloc::vec::Vec<u8>>,
}

impl ChannelBinding {
    /// Whether there is anything to bind to.
    pub fn is_available(&self) -> bool {
        self.tls_exporter.is_some() || self.tls_server_end_point.is_some()
    }

    /// The data of a binding type by its registered name.
    pub fn data(&self, kind: &str) -> Option<&[u8]> {
        match kind {
            "tls-exporter" => self.tls_exporter.as_ref().map(|d| &d[..]),
            "tls-server-end-point" => self.tls_server_end_point.as_deref(),
            _ => None,
        }
    }

    /// The best binding there is: its type and data.
    fn best(&self) -> Option<(&'static str, &[u8])> {
        ["tls-exporter", "tls-server-end-point"].into_iter().find_map(|kind| Some((kind, self.data(kind)?)))
    }
}

#[cfg(test)]
mod tests;
