//! SASL mechanisms (RFC 4422) as pure machines: messages in, messages and questions out.
//!
//! A server starts an [`Exchange`] for a mechanism, gives it the client's responses, and does what the
//! [`Turn`] says: send a challenge, verify a password, look a verifier up, or end. Framing (base64, `334`,
//! `+`) belongs to the protocols. A client drives a [`ScramClient`] or sends [`plain`].

mod scram;
mod server;

pub use scram::{ScramClient, ScramError, ScramVerifier};
pub use server::{Exchange, Turn};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroize;

/// User name or authorisation identity, octets.
pub const NAME_MAX: usize = 320;
/// Password, octets.
pub const PASSWORD_MAX: usize = 1024;
/// One message of a client, decoded from base64; AUTH lines are bounded by the protocols too.
pub const RESPONSE_MAX: usize = 9_216;

/// Octets that are overwritten when dropped and never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes a copy of `octets`.
    pub fn new(octets: &[u8]) -> Secret {
        Secret(octets.to_vec())
    }

    /// The octets; not for logs.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The message of PLAIN (RFC 4616 §2), without an authorisation identity.
pub fn plain(user: &str, password: &str) -> Secret {
    let mut message = Vec::with_capacity(2 + user.len() + password.len());
    message.push(0);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    message.extend_from_slice(password.as_bytes());
    Secret(message)
}

/// A password in the form in which it is hashed and compared, wherever it comes from: NFKC, other spaces as
/// the ASCII space, and no controls (RFC 4013 §2, without its bidirectional rule, which would refuse
/// passwords that RFC 8265 §4.2 takes). `None` for a password that cannot be one.
pub fn prepared(password: &[u8]) -> Option<Secret> {
    let text = core::str::from_utf8(password).ok()?;
    if text.is_empty() || text.len() > PASSWORD_MAX || text.chars().any(char::is_control) {
        return None;
    }
    if text.is_ascii() {
        return Some(Secret::new(password));
    }
    // Mapped to nothing (RFC 4013 §2.1): soft hyphen, zero-width marks, variation selectors.
    let visible = text.chars().filter(|c| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'));
    let mut out: String = visible.map(|c| if c.is_whitespace() { ' ' } else { c }).nfkc().collect();
    let secret = Secret::new(out.as_bytes());
    out.zeroize();
    (!secret.0.is_empty()).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_typed_on_different_machines_are_the_same() {
        let form = |text: &str| prepared(text.as_bytes()).map(|s| s.expose().to_vec());
        assert_eq!(form("pa\u{308}ss"), form("p\u{e4}ss"));
        assert_eq!(form("a\u{a0}b"), form("a b"));
        assert_eq!(form("I\u{ad}X"), Some(b"IX".to_vec()));
        assert_eq!(form("\u{2168}"), Some(b"IX".to_vec()));
        assert_eq!(form(""), None);
        assert_eq!(form("a\u{7}b"), None);
        assert_eq!(prepared(b"\xff"), None);
        assert!(prepared(&[b'x'; PASSWORD_MAX]).is_some());
        assert!(prepared(&[b'x'; PASSWORD_MAX + 1]).is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(alloc::format!("{:?}", Secret::new(b"hunter2")), "Secret(..)");
    }
}
