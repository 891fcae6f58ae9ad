//! What the server keeps of a password for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677).

use alloc::vec::Vec;
use core::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::secret::Secret;

/// PBKDF2 iterations of verifiers made here.
pub const ITERATIONS: u32 = 15_000;
/// The fewest iterations a client accepts (RFC 7677 §4).
pub const ITERATIONS_MIN: u32 = 4_096;
/// The most iterations a client computes: what a server can make it spend.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Octets of a salt at most.
pub const SALT_MAX: usize = 64;
/// Octets of salts made here.
pub const SALT_LEN: usize = 16;

const VERSION: u8 = 1;

type HmacSha256 = Hmac<Sha256>;

/// Salt, iterations, StoredKey and ServerKey of RFC 5802 §3. Overwritten when dropped.
#[derive(Clone)]
pub struct ScramVerifier {
    /// 1 to [`SALT_MAX`] octets.
    pub salt: Vec<u8>,
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// H(ClientKey).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Makes the verifier of a password that [`super::prepare_password`] prepared. Costs `iterations` HMACs:
    /// a few milliseconds, not to be spent on an executor thread.
    pub fn from_password(password: &Secret, salt: &[u8], iterations: u32) -> ScramVerifier {
        let mut salted = salted_password(password.expose(), salt, iterations);
        let mut client_key = hmac(&salted, b"Client Key");
        let verifier = ScramVerifier {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, b"Server Key"),
        };
        salted.zeroize();
        client_key.zeroize();
        verifier
    }

    /// A verifier for a user that does not exist: always the same for one name, and like any other to look
    /// at, but no password fits it. `key` is derived from the master key.
    pub fn fake(key: &[u8; 32], user: &str) -> ScramVerifier {
        let derive = |label: &[u8]| {
            let mut mac = keyed(key);
            mac.update(label);
            mac.update(user.as_bytes());
            <[u8; 32]>::from(mac.finalize().into_bytes())
        };
        ScramVerifier {
            salt: derive(b"salt\0")[..SALT_LEN].to_vec(),
            iterations: ITERATIONS,
            stored_key: derive(b"stored\0"),
            server_key: derive(b"server\0"),
        }
    }

    /// For the database, where it is sealed.
    pub fn encode(&self) -> Secret {
        let mut out = Vec::with_capacity(6 + self.salt.len() + 64);
        out.push(VERSION);
        out.extend_from_slice(&self.iterations.to_be_bytes());
        out.push(self.salt.len() as u8);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.stored_key);
        out.extend_from_slice(&self.server_key);
        Secret::new(out)
    }

    /// The inverse of [`ScramVerifier::encode`]; `None` when the octets are not what it writes.
    pub fn decode(bytes: &[u8]) -> Option<ScramVerifier> {
        let (&version, rest) = bytes.split_first()?;
        let (iterations, rest) = rest.split_first_chunk::<4>()?;
        let (&salt_len, rest) = rest.split_first()?;
        let (salt, rest) = rest.split_at_checked(usize::from(salt_len))?;
        let (stored_key, rest) = rest.split_first_chunk::<32>()?;
        let (server_key, rest) = rest.split_first_chunk::<32>()?;
        let iterations = u32::from_be_bytes(*iterations);
        let valid = version == VERSION
            && rest.is_empty()
            && (1..=SALT_MAX).contains(&salt.len())
            && (1..=ITERATIONS_MAX).contains(&iterations);
        valid.then(|| ScramVerifier {
            salt: salt.to_vec(),
            iterations,
            stored_key: *stored_key,
            server_key: *server_key,
        })
    }
}

impl PartialEq for ScramVerifier {
    /// In time that does not depend on where the keys differ.
    fn eq(&self, other: &Self) -> bool {
        let keys = self.stored_key.ct_eq(&other.stored_key) & self.server_key.ct_eq(&other.server_key);
        self.salt == other.salt && self.iterations == other.iterations && bool::from(keys)
    }
}

impl Eq for ScramVerifier {}

impl Drop for ScramVerifier {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn keyed(key: &[u8]) -> HmacSha256 {
    // HMAC takes keys of every length (RFC 2104 §2), so this cannot fail; an empty key is never secret.
    HmacSha256::new_from_slice(key).unwrap_or_else(|_| HmacSha256::new(&Default::default()))
}

pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// `Hi` of RFC 5802 §2.2: PBKDF2 with one block.
pub(super) fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let prf = keyed(password);
    let mut first = prf.clone();
    first.update(salt);
    first.update(&1u32.to_be_bytes());
    let mut block: [u8; 32] = first.finalize().into_bytes().into();
    let mut result = block;
    for _ in 1..iterations {
        let mut next = prf.clone();
        next.update(&block);
        block = next.finalize().into_bytes().into();
        for (r, b) in result.iter_mut().zip(block) {
            *r ^= b;
        }
    }
    block.zeroize();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn pbkdf2_known_answers() {
        // RFC 7914 §11 gives 64 octets for one iteration; the first block is ours.
        let got = salted_password(b"passwd", b"salt", 1);
        assert_eq!(got[..8], [0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f]);
        let got = salted_password(b"Password", b"NaCl", 80_000);
        assert_eq!(got[..8], [0x4d, 0xdc, 0xd8, 0xf6, 0x0b, 0x98, 0xbe, 0x21]);
    }

    #[test]
    fn encoded_verifiers_are_read_back_and_damaged_ones_refused() {
        for salt_len in [1, SALT_LEN, SALT_MAX] {
            let salt = vec![7; salt_len];
            let verifier = ScramVerifier::from_password(&Secret::from("pencil"), &salt, 2);
            let bytes = verifier.encode();
            assert_eq!(ScramVerifier::decode(bytes.expose()).as_ref(), Some(&verifier));
            for cut in 0..bytes.len() {
                assert!(ScramVerifier::decode(&bytes.expose()[..cut]).is_none());
            }
        }
        let mut long = ScramVerifier::fake(&[0; 32], "x");
        long.salt = vec![7; SALT_MAX + 1];
        assert!(ScramVerifier::decode(long.encode().expose()).is_none());
        let mut slow = ScramVerifier::fake(&[0; 32], "x");
        slow.iterations = ITERATIONS_MAX;
        assert!(ScramVerifier::decode(slow.encode().expose()).is_some());
        slow.iterations = ITERATIONS_MAX + 1;
        assert!(ScramVerifier::decode(slow.encode().expose()).is_none());
    }

    #[test]
    fn au1_fake_verifiers_are_stable_and_differ_by_name() {
        let key = [9; 32];
        assert_eq!(ScramVerifier::fake(&key, "a@b"), ScramVerifier::fake(&key, "a@b"));
        assert_ne!(ScramVerifier::fake(&key, "a@b").salt, ScramVerifier::fake(&key, "c@d").salt);
        assert_ne!(ScramVerifier::fake(&[8; 32], "a@b").salt, ScramVerifier::fake(&key, "a@b").salt);
    }
}
