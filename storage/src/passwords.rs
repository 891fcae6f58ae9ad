//! Passwords: Argon2id for what a client sends in clear, a SCRAM verifier beside it, and a short memory of
//! what was verified. Unknown, disabled and existing accounts cost the same and look the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use protocol_core::sasl::{ITERATIONS, SALT_LEN, ScramVerifier, Secret, prepare_password};
use zeroize::Zeroizing;

use crate::error::{Error, Refusal, Result};
use crate::keys::{self, Keys, Purpose};
use crate::types::PasswordRecord;

/// Argon2id computations at once, each of 19 MiB.
pub const ARGON2_AT_ONCE: usize = 3;
/// Computations that may wait for their turn; further ones are refused as overload.
pub const ARGON2_WAITING_MAX: usize = 64;
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

/// Opens the verifier of an account.
pub(crate) fn open_verifier(keys: &Keys, address: &str, record: &PasswordRecord) -> Result<ScramVerifier> {
    let opened = keys.open_sealed(Purpose::Scram, address, &record.scram_sealed)?;
    ScramVerifier::decode(&opened).ok_or_else(|| Error::Corrupt(format!("SCRAM verifier of {address:?}")))
}

/// Makes and checks password records.
pub(crate) struct Passwords {
    turns: Arc<async_lock::Semaphore>,
    waiting: AtomicUsize,
    /// Random for each process: what is remembered means nothing outside it.
    memory_key: Zeroizing<[u8; 32]>,
    remembered: Mutex<HashMap<[u8; 32], (String, Instant)>>,
}

impl Passwords {
    pub(crate) fn new() -> Passwords {
        Passwords {
            turns: Arc::new(async_lock::Semaphore::new(ARGON2_AT_ONCE)),
            waiting: AtomicUsize::new(0),
            memory_key: Zeroizing::new(keys::random()),
            remembered: Mutex::default(),
        }
    }

    /// Both forms of a password, the SCRAM verifier sealed for the address.
    pub(crate) async fn record(&self, keys: &Keys, address: &str, password: &[u8]) -> Result<PasswordRecord> {
        let password = prepare_password(password)
            .map_err(|fault| Error::Refused(Refusal::Invalid(fault.reason().into())))?;
        let (argon2, verifier) = self
            .compute(move || {
                let salt: [u8; 16] = keys::random();
                let salt = SaltString::encode_b64(&salt).map_err(|e| Error::Unavailable(e.to_string()))?;
                let hash = hasher()?
                    .hash_password(password.expose(), &salt)
                    .map_err(|e| Error::Refused(Refusal::Invalid(format!("password: {e}"))))?;
                let salt: [u8; SALT_LEN] = keys::random();
                Ok((hash.to_string(), ScramVerifier::from_password(&password, &salt, ITERATIONS)))
            })
            .await?;
        let scram_sealed = keys.seal(Purpose::Scram, address, verifier.encode().expose())?;
        Ok(PasswordRecord { argon2, scram_sealed })
    }

    /// Whether the password fits the record; without a record the same work is done, and it does not.
    pub(crate) async fn verify(&self, address: &str, argon2: Option<&str>, password: &[u8]) -> Result<bool> {
        // What cannot be a password is compared all the same, so that it costs as much as any other.
        let password = prepare_password(password).unwrap_or_else(|_| Secret::new(Vec::new()));
        let memory = self.memory_of(address, argon2.unwrap_or(""), password.expose());
        if argon2.is_some() && self.lock().get(&memory).is_some_and(|(_, at)| at.elapsed() < REMEMBER) {
            return Ok(true);
        }
        let hash = argon2.unwrap_or(NO_ACCOUNT).to_owned();
        let fits = self
            .compute(move || {
                let parsed =
                    PasswordHash::new(&hash).map_err(|e| Error::Corrupt(format!("password hash: {e}")))?;
                Ok(hasher()?.verify_password(password.expose(), &parsed).is_ok())
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
            #[allow(clippy::disallowed_methods)] // the age of what is remembered, and no lease
            remembered.insert(memory, (address.to_owned(), Instant::now()));
        }
    }

    /// Runs where blocking is allowed, a few at once; [`Error::Unavailable`] when too many wait.
    async fn compute<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = match self.turns.try_acquire_arc() {
            Some(turn) => turn,
            None => {
                let _place = Waiting::enter(&self.waiting)?;
                self.turns.acquire_arc().await
            }
        };
        // The turn ends with the computation, not with a caller who goes away meanwhile.
        blocking::unblock(move || {
            let outcome = what();
            drop(turn);
            outcome
        })
        .await
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
    use futures_lite::future::block_on;

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
            let verifier = open_verifier(&keys, "a@b", &record).unwrap();
            let again = ScramVerifier::from_password(&Secret::from("hunter2"), &verifier.salt, ITERATIONS);
            assert_eq!(verifier, again);
            assert!(open_verifier(&keys, "c@b", &record).is_err());
            let empty = passwords.record(&keys, "a@b", b"").await;
            assert!(matches!(empty, Err(Error::Refused(Refusal::Invalid(_)))));
            assert!(!passwords.verify("a@b", Some(&record.argon2), b"\xff").await.unwrap());
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
