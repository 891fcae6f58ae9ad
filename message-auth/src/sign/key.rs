//! Private keys for signing.

use std::fmt;

use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use mail_auth::common::crypto::{RsaKey, Sha256, SigningKey as _};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::Digest as _;

/// A private key, read and checked. It is never shown.
pub struct Key(Secret);

enum Secret {
    Rsa(Box<RsaKey<Sha256>>),
    /// Overwritten when it is dropped.
    Ed25519(Box<SigningKey>),
}

/// Octets that are no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKey;

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is neither an RSA key of 2,048 to 4,096 bits nor an Ed25519 key in PKCS#8")
    }
}

impl std::error::Error for BadKey {}

impl Key {
    /// Reads PKCS#8 in DER: an RSA key of 2,048 to 4,096 bits (RFC 8301 §3.2 advises against shorter ones) or
    /// an Ed25519 key. The octets stay the caller's, who wipes them.
    ///
    /// # Errors
    /// [`BadKey`] for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Key, BadKey> {
        if let Ok(key) = SigningKey::from_pkcs8_der(der) {
            return Ok(Key(Secret::Ed25519(Box::new(key))));
        }
        let key = RsaKey::<Sha256>::from_key_der(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)));
        key.map(|key| Key(Secret::Rsa(Box::new(key)))).map_err(|_| BadKey)
    }

    /// The name that `a=` gives to signatures by this key.
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Secret::Rsa(_) => "rsa-sha256",
            Secret::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// Signs canonical octets (RFC 6376 §3.3.1, RFC 8463 §3). `None` when the system has no randomness with
    /// which to blind an RSA operation.
    pub(super) fn sign(&self, canonical: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Secret::Rsa(key) => key.sign(canonical).ok(),
            Secret::Ed25519(key) => Some(key.sign(&sha2::Sha256::digest(canonical)).to_bytes().to_vec()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.algorithm())
    }
}
