//! Who signs what leaves here: the keys of the author's domain, else the installation's key.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_lite::future;
use message_auth::sign::{BodyHash, Key, Signer};
use protocol_core::Timestamp;
use protocol_core::message::Edit;
use protocol_core::message::header::header_len;
use storage::{Domain, Error, Keys, Purpose, Spool, Storage};
use zeroize::Zeroizing;

use crate::config;

/// Octets of a body that are hashed between two looks at other work.
const PIECE: usize = 128 * 1024;
/// Domains whose keys are kept ready, and domains of which the log was told.
const DOMAINS_MAX: usize = 1_024;

/// Keys, ready for use. One for the process.
pub struct Signing {
    installation: Option<Arc<Signer>>,
    selector: String,
    headers: Vec<String>,
    known: Mutex<HashMap<String, Known>>,
    told: Mutex<HashSet<String>>,
}

/// A domain's signer and the settings it was made of. A row with other settings, whoever wrote it, makes another.
struct Known {
    settings: KeySettings,
    signer: Option<Arc<Signer>>,
}

/// Selector, sealed RSA key, sealed Ed25519 key, names of fields.
type KeySettings = [Option<String>; 4];

impl Signing {
    /// Reads the installation's key.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn open(config: &config::Dkim) -> Result<Signing, String> {
        let installation = match (&config.domain, &config.private_key_b64_pkcs8) {
            (Some(domain), Some(secret)) => {
                let key =
                    read_key(secret.expose()).map_err(|e| format!("SMTP_DKIM_PRIVATE_KEY_B64_PKCS8: {e}"))?;
                let keys = vec![(config.selector.clone(), key)];
                Some(Arc::new(Signer::new(domain.clone(), keys, &config.headers)))
            }
            _ => None,
        };
        Ok(Signing {
            installation,
            selector: config.selector.clone(),
            headers: config.headers.clone(),
            known: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Who signs for an author at `domain` (an A-label name): the domain's own keys, else the installation's key
    /// when its domain is aligned with the author's (RFC 7489 §3.1.1, relaxed, one within the other).
    pub async fn for_author(&self, storage: &Storage, domain: &str) -> storage::Result<Option<Arc<Signer>>> {
        if let Some(signer) = self.of_domain(storage, domain).await? {
            return Ok(Some(signer));
        }
        let aligned =
            |signer: &&Arc<Signer>| is_within(domain, signer.domain()) || is_within(signer.domain(), domain);
        let signer = self.installation.as_ref().filter(aligned).cloned();
        if signer.is_none() && remember(&self.told, domain.to_owned()) {
            tracing::warn!(domain, "there is no DKIM key for this domain: its mail goes unsigned");
        }
        Ok(signer)
    }

    /// Who signs what this host itself writes: the keys of its own domain or of the nearest one above that is
    /// ours, else the installation's key.
    pub async fn for_host(&self, storage: &Storage, hostname: &str) -> storage::Result<Option<Arc<Signer>>> {
        let mut name = hostname;
        while name.contains('.') {
            if let Some(signer) = self.of_domain(storage, name).await? {
                return Ok(Some(signer));
            }
            name = name.split_once('.').map_or("", |(_, above)| above);
        }
        if self.installation.is_none() && remember(&self.told, hostname.to_owned()) {
            tracing::warn!(hostname, "there is no DKIM key for this host: its notifications go unsigned");
        }
        Ok(self.installation.clone())
    }

    async fn of_domain(&self, storage: &Storage, name: &str) -> storage::Result<Option<Arc<Signer>>> {
        match storage.store().domain_lately(name).await {
            Ok(domain) => Ok(self.ready(storage.keys(), &domain)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The domain's signer: the one that is kept, when its settings are still these.
    fn ready(&self, keys: &Keys, domain: &Domain) -> Option<Arc<Signer>> {
        let s = &domain.settings;
        let settings: KeySettings = [
            s.dkim_selector.clone(),
            s.dkim_private_key_b64_pkcs8.clone(),
            s.dkim_ed25519_private_key_b64_pkcs8.clone(),
            s.dkim_headers.clone(),
        ];
        if let Some(known) = lock(&self.known).get(&domain.name).filter(|known| known.settings == settings) {
            return known.signer.clone();
        }
        let signer = self.open_keys(keys, &domain.name, &settings).map(Arc::new);
        let mut known = lock(&self.known);
        if known.len() >= DOMAINS_MAX {
            known.clear();
        }
        known.insert(domain.name.clone(), Known { settings, signer: signer.clone() });
        signer
    }

    fn open_keys(&self, keys: &Keys, domain: &str, settings: &KeySettings) -> Option<Signer> {
        let [selector, rsa, ed25519, headers] = settings;
        let selector = selector.as_deref().unwrap_or(&self.selector);
        let mut opened = Vec::new();
        for (selector, sealed) in [(selector.to_owned(), rsa), (format!("{selector}-ed25519"), ed25519)] {
            let Some(sealed) = sealed else { continue };
            match unseal(keys, domain, sealed) {
                Ok(key) => opened.push((selector, key)),
                Err(why) => tracing::error!(
                    domain,
                    selector,
                    why,
                    "a DKIM key cannot be used: nothing is signed with it"
                ),
            }
        }
        let named: Option<Vec<String>> = headers.as_ref().map(|h| h.split(',').map(str::to_owned).collect());
        let always = named.as_ref().unwrap_or(&self.headers);
        (!opened.is_empty()).then(|| Signer::new(domain, opened, always))
    }
}

/// Signs what will be sent of a spooled message: its header as `edit` makes it, and the body. The answer is
/// fields to stand above those of the edit; none when there is nobody to sign.
pub async fn sign_spooled(
    signer: &Signer,
    header: &[u8],
    edit: &Edit,
    spool: &Spool,
    now: Timestamp,
) -> storage::Result<Vec<u8>> {
    let mut sent = edit.prefix.clone();
    edit.kept(0, header).for_each(|piece| sent.extend_from_slice(piece));
    let mut hash = BodyHash::new();
    let mut at = header.len() as u64;
    while at < spool.len() {
        let piece = spool.read(at, PIECE).await?;
        if piece.is_empty() {
            return Err(Error::Corrupt("a spool ends early".into()));
        }
        edit.kept(at, &piece).for_each(|kept| hash.feed(kept));
        at += piece.len() as u64;
        future::yield_now().await;
    }
    Ok(fields(signer, &sent, hash, now))
}

/// Signs a whole message of our own; the answer is the message with its signatures.
pub fn sign_whole(signer: &Signer, message: &[u8], now: Timestamp) -> Vec<u8> {
    let (header, body) = message.split_at(header_len(message));
    let mut hash = BodyHash::new();
    hash.feed(body);
    [&fields(signer, header, hash, now), message].concat()
}

fn fields(signer: &Signer, header: &[u8], body: BodyHash, now: Timestamp) -> Vec<u8> {
    signer.sign(header, body.finish(), now).unwrap_or_else(|error| {
        tracing::error!(domain = signer.domain(), %error, "a message goes unsigned");
        Vec::new()
    })
}

fn unseal(keys: &Keys, domain: &str, sealed: &str) -> Result<Key, String> {
    let sealed = BASE64.decode(sealed).map_err(|e| e.to_string())?;
    let opened = keys.open_sealed(Purpose::Dkim, domain, &sealed).map_err(|e| e.to_string())?;
    read_key(std::str::from_utf8(&opened).map_err(|e| e.to_string())?)
}

/// Reads PKCS#8 in base64.
pub(crate) fn read_key(b64: &str) -> Result<Key, String> {
    let der = BASE64.decode(b64.trim()).map(Zeroizing::new).map_err(|_| "this is not base64".to_owned())?;
    Key::from_pkcs8(&der).map_err(|e| e.to_string())
}

/// Whether `name` is `above` or a name below it.
fn is_within(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether it was not there before. What is too much is forgotten, and then said again.
fn remember<T: Eq + Hash>(set: &Mutex<HashSet<T>>, item: T) -> bool {
    let mut set = lock(set);
    if set.len() >= DOMAINS_MAX {
        set.clear();
    }
    set.insert(item)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
