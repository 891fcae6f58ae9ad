//! TLS: what we present ([`server`]), what we demand ([`client`]) and channel binding ([`binding`]).
//!
//! TLS 1.2 and 1.3 only, by ring; no early data, no renegotiation (rustls has neither here).

pub mod binding;
pub mod client;
pub mod expiry;
mod files;
mod judge;
pub mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, Verdict};
pub use server::{Alpn, Identity, ServerTls};

/// What went wrong, with the file or variable in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The one source of cryptography, named wherever it is needed: no process-wide default is relied upon.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
