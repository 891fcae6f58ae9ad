//! Passwords: Argon2id for what a client sends in clear, a SCRAM verifier beside it, and a short memory of
//! what was verified. Unknown, disabled and existing accounts cost the same and look the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::keys::{self, Keys, Purpose};
use crate::types::PasswordRecord;

/// Argon2id computations at once, each of 19 MiB.
pub const ARGON2_AT_ONCE: usize = 3;
/// Computations that may wait for their turn; further ones are refused as overload.
pub const ARGON2_WAITING_MAX: usize = 64;
/// SCRAM-SHA-256 iterations (RFC 7677 §4 asks for at least 4,096).
pub const SCRAM_ITERATIONS: u32 = 15_000;
/// How long a verified password is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
const REMEMBERED_MAX: usize = 16_384;

// OWASP's recommendation for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Compared with when there is no account: the same work, and no password matches.
const NO_ACCOUNT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm8gc3VjaCBhY2NvdW50$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What a server keeps for SCRAM-SHA-256 (RFC 5802 §3). It does not yield the password, but who has it can
/// pose as the server, so it is stored sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Salt.
    pub salt: Vec<u8>,
    /// Iteration count.
    pub iterations: u32,
    /// StoredKey.
    pub stored_key: [u8; 32],
    /// ServerKey.
    pub server_key: [u8; 32],
}

impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramVerifier {
    /// RFC 5802 §3: SaltedPassword, ClientKey, StoredKey and ServerKey. Takes milliseconds.
    fn make(password: &[u8], salt: &[u8]) -> ScramVerifier {
        let salted = Zeroizing::new(pbkdf2(password, salt, SCRAM_ITERATIONS));
        let client_key = Zeroizing::new(hmac(salted.as_slice(), b"Client Key"));
        ScramVerifier {
            salt: salt.to_vec(),
            iterations: SCRAM_ITERATIONS,
            stored_key: Sha256::digest(client_key.as_slice()).into(),
            server_key: hmac(salted.as_slice(), b"Server Key"),
        }
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(68 + self.salt.len()));
        out.extend_from_slice(&self.iterations.to_be_bytes());
        out.extend_from_slice(&self.stored_key);
        out.extend_from_slice(&self.server_key);
        out.extend_from_slice(&self.salt);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<ScramVerifier> {
        let (iterations, rest) = bytes.split_first_chunk::<4>()?;
        let (stored_key, rest) = rest.split_first_chunk::<32>()?;
        let (server_key, salt) = rest.split_first_chunk::<32>()?;
        Some(ScramVerifier {
            salt: salt.to_vec(),
            iterations: u32::from_be_bytes(*iterations),
            stored_key: *stored_key,
            server_key: *server_key,
        })
    }

    /// For an account that does not exist: always the same for one name, and no password fits (RFC 5802 §9).
    pub(crate) fn stand_in(keys: &Keys, address: &str) -> ScramVerifier {
        let bytes = keys.stand_in(address);
        let derive = |label: &[u8]| hmac(&bytes[16..], label);
        ScramVerifier {
            salt: bytes[..16].to_vec(),
            iterations: SCRAM_ITERATIONS,
            stored_key: derive(b"stored"),
            server_key: derive(b"server"),
        }
    }

    /// Opens the verifier of an account.
    pub(crate) fn open(keys: &Keys, address: &str, record: &PasswordRecord) -> Result<ScramVerifier> {
        let opened = keys.open_sealed(Purpose::Scram, address, &record.scram_sealed)?;
        ScramVerifier::from_bytes(&opened)
            .ok_or_else(|| Error::Corrupt(format!("SCRAM verifier of {address:?}")))
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// Hi() of RFC 5802 §2.2, which is PBKDF2 with one block.
fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let keyed = <Hmac<Sha256> as Mac>::new_from_slice(password).expect("HMAC takes keys of any length");
    let once = |parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut u = once(&[salt, &1u32.to_be_bytes()]);
    let mut out = u;
    for _ in 1..iterations {
        u = once(&[&u]);
        out.iter_mut().zip(u).for_each(|(o, u)| *o ^= u);
    }
    out
}

/// Makes and checks password records.
pub(crate) struct Passwords {
    turns: async_lock::Semaphore,
    waiting: AtomicUsize,
    /// Random for each process: what is remembered means nothing outside it.
    memory_key: Zeroizing<[u8; 32]>,
    remembered: Mutex<HashMap<[u8; 32], (String, Instant)>>,
}

impl Passwords {
    pub(crate) fn new() -> Passwords {
        Passwords {
            turns: async_lock::Semaphore::new(ARGON2_AT_ONCE),
            waiting: AtomicUsize::new(0),
            memory_key: Zeroizing::new(keys::random()),
            remembered: Mutex::default(),
        }
    }

    /// Both forms of a password, the SCRAM verifier sealed for the address.
    pub(crate) async fn record(&self, keys: &Keys, address: &str, password: &[u8]) -> Result<PasswordRecord> {
        let password = Zeroizing::new(password.to_vec());
        let (argon2, verifier) = self
            .compute(move || {
                let salt: [u8; 16] = keys::random();
                let salt = SaltString::encode_b64(&salt).map_err(|e| Error::Unavailable(e.to_string()))?;
                let hash = hasher()?
                    .hash_password(&password, &salt)
                    .map_err(|e| Error::Refused(crate::Refusal::Invalid(format!("password: {e}"))))?;
                Ok((hash.to_string(), ScramVerifier::make(&password, &keys::random::<16>())))
            })
            .await?;
        let scram_sealed = keys.seal(Purpose::Scram, address, &verifier.to_bytes())?;
        Ok(PasswordRecord { argon2, scram_sealed })
    }

    /// Whether the password fits the record; without a record the same work is done, and it does not.
    pub(crate) async fn verify(&self, address: &str, argon2: Option<&str>, password: &[u8]) -> Result<bool> {
        let memory = self.memory_of(address, argon2.unwrap_or(""), password);
        if argon2.is_some() && self.lock().get(&memory).is_some_and(|(_, at)| at.elapsed() < REMEMBER) {
            return Ok(true);
        }
        let hash = argon2.unwrap_or(NO_ACCOUNT).to_owned();
        let password = Zeroizing::new(password.to_vec());
        let fits = self
            .compute(move || {
                let parsed =
                    PasswordHash::new(&hash).map_err(|e| Error::Corrupt(format!("password hash: {e}")))?;
                Ok(hasher()?.verify_password(&password, &parsed).is_ok())
            })
            .await?;
        let fits = fits && argon2.is_some();
        if fits {
            self.remember(memory, address);
        }
        Ok(fits)
    }

    /// Forgets what was verified for an address: its password or its state changed.
    pub(crate) fn forget(&self, address: &str) {
        self.lock().retain(|_, (of, _)| of != address);
    }

    /// The stored hash is part of it, so that a password changed elsewhere is not remembered here.
    fn memory_of(&self, address: &str, argon2: &str, password: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.memory_key);
        for part in [address.as_bytes(), argon2.as_bytes(), password] {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }

    fn remember(&self, memory: [u8; 32], address: &str) {
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (_, at)| at.elapsed() < REMEMBER);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(memory, (address.to_owned(), Instant::now()));
        }
    }

    /// Runs where blocking is allowed, a few at once; [`Error::Unavailable`] when too many wait.
    async fn compute<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _turn = match self.turns.try_acquire() {
            Some(turn) => turn,
            None => {
                let _place = Waiting::enter(&self.waiting)?;
                self.turns.acquire().await
            }
        };
        blocking::unblock(what).await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (String, Instant)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Waiting<'a>> {
        if count.fetch_add(1, Ordering::AcqRel) >= ARGON2_WAITING_MAX {
            count.fetch_sub(1, Ordering::AcqRel);
            return Err(Error::Unavailable("too many passwords wait to be checked".into()));
        }
        Ok(Waiting(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn hasher() -> Result<Argon2<'static>> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| Error::Unavailable(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use futures_lite::future::block_on;

    #[test]
    fn scram_keys_are_those_of_the_rfcs_example() {
        // RFC 7677 §3 shows the server's signature of this exchange, made with these keys.
        let salt = base64::engine::general_purpose::STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = pbkdf2(b"pencil", &salt, 4096);
        let auth = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                     r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac(&hmac(&salted, b"Server Key"), auth);
        let text = base64::engine::general_purpose::STANDARD.encode(signature);
        assert_eq!(text, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_password_fits_its_record_and_no_other_does() {
        block_on(async {
            let (keys, passwords) = (Keys::from_master(&[1; 32]), Passwords::new());
            let record = passwords.record(&keys, "a@b", b"hunter2").await.unwrap();
            assert!(record.argon2.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", record.argon2);
            assert!(passwords.verify("a@b", Some(&record.argon2), b"hunter2").await.unwrap());
            assert_eq!(passwords.lock().len(), 1);
            assert!(passwords.verify("a@b", Some(&record.argon2), b"hunter2").await.unwrap());
            assert!(!passwords.verify("a@b", Some(&record.argon2), b"hunter3").await.unwrap());
            assert!(!passwords.verify("c@b", None, b"hunter2").await.unwrap());
            assert_eq!(passwords.lock().len(), 1, "only what fits is remembered");
            passwords.forget("a@b");
            assert!(passwords.lock().is_empty());
            let verifier = ScramVerifier::open(&keys, "a@b", &record).unwrap();
            assert_eq!(verifier, ScramVerifier::make(b"hunter2", &verifier.salt));
            assert!(ScramVerifier::open(&keys, "c@b", &record).is_err());
        });
    }

    #[test]
    fn the_stand_in_record_takes_the_same_work_as_a_real_one() {
        let parsed = PasswordHash::new(NO_ACCOUNT).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        assert_eq!(parsed.hash.unwrap().len(), 32);
    }

    #[test]
    fn as_many_wait_as_may_and_one_more_is_refused() {
        let count = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..ARGON2_WAITING_MAX).map(|_| Waiting::enter(&count).unwrap()).collect();
        assert!(matches!(Waiting::enter(&count), Err(Error::Unavailable(_))));
        places.pop();
        assert!(Waiting::enter(&count).is_ok());
    }
}
