//! The only reader of the master key. Everything secret that rests on disk is sealed by a key from here.
//!
//! The master key seals small secrets (tenant keys, SCRAM verifiers, DKIM keys). Each organisation has a
//! tenant key, which seals its rows and objects; deleting it makes its mail unreadable for good. No key is
//! ever printed: `Debug` shows names only, and memory is wiped when a key is dropped.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::types::{MailboxId, MessageId, OrgId};

/// Octets in every key.
pub const KEY_LEN: usize = 32;
/// Octets that [`Keys::seal`] adds: version, nonce and tag.
pub const SEAL_OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;
const SALT_LEN: usize = 16;
const SEAL_VERSION: u8 = 1;
const ROW_VERSION: u8 = 1;

// Each use of the master key has a key of its own, so that no sealed value of one use opens in another.
const CONTEXT_SEAL: &str = "inbox storage v1: small secrets sealed with the master key";
const CONTEXT_NAMES: &str = "inbox storage v1: answers for accounts that do not exist";
const CONTEXT_ROW: &str = "inbox storage v1: a row sealed with the tenant key";
const CONTEXT_OBJECT: &str = "inbox storage v1: an object sealed with the tenant key";

type Key = Zeroizing<[u8; KEY_LEN]>;

/// What a sealed secret is for. It is authenticated: a value sealed for one purpose opens for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An organisation's tenant key. The store gives the organisation its ID after the key is sealed, so the
    /// ID is empty here; a key swapped between organisations is found out by the objects, which bind theirs.
    TenantKey,
    /// A SCRAM verifier; the ID is the mailbox's address.
    Scram,
    /// A private DKIM key; the ID is the domain.
    Dkim,
    /// An SSE-C key; the ID is the domain.
    SseC,
    /// The secret of a webhook; the ID is its own.
    Webhook,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Purpose::TenantKey => "tenant-key",
            Purpose::Scram => "scram",
            Purpose::Dkim => "dkim",
            Purpose::SseC => "sse-c",
            Purpose::Webhook => "webhook",
        }
    }

    fn bind(self, id: &str) -> Vec<u8> {
        let label = self.label().as_bytes();
        let mut bound = Vec::with_capacity(2 + label.len() + id.len());
        bound.push(SEAL_VERSION);
        bound.push(label.len() as u8);
        bound.extend_from_slice(label);
        bound.extend_from_slice(id.as_bytes());
        bound
    }
}

/// Why the master key file cannot be used.
#[derive(Debug)]
pub enum KeyError {
    /// The file could not be read or made.
    Io(PathBuf, io::Error),
    /// Somebody besides its owner may read it.
    Mode(PathBuf, u32),
    /// It holds neither 32 octets nor their base64.
    Form(PathBuf),
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyError::Io(path, error) => write!(f, "master key file {}: {error}", path.display()),
            KeyError::Mode(path, mode) => write!(
                f,
                "master key file {} has mode {mode:04o}, so others can read it; run: chmod 600 {}",
                path.display(),
                path.display()
            ),
            KeyError::Form(path) => {
                write!(f, "master key file {} must hold 32 octets, or their base64", path.display())
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// The master key and what is derived from it.
pub struct Keys {
    seal: Key,
    names: Key,
    tenants: Mutex<HashMap<OrgId, TenantKey>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// An organisation's key. Cheap to clone; wiped when the last clone goes.
#[derive(Clone)]
pub struct TenantKey {
    org: OrgId,
    key: std::sync::Arc<Key>,
}

impl std::fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantKey").field("org", &self.org).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the master key; makes the file with a random key when it is absent, durable before it is used.
    /// A file that its group or others can read is refused.
    pub fn open(path: &Path) -> std::result::Result<Keys, KeyError> {
        let io = |error| KeyError::Io(path.to_owned(), error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_key_file(path).map_err(io)?;
                File::open(path).map_err(io)?
            }
            Err(error) => return Err(io(error)),
        };
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode(path.to_owned(), mode));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        file.take(256).read_to_end(&mut text).map_err(io)?;
        let key = parse_key(&text).ok_or_else(|| KeyError::Form(path.to_owned()))?;
        Ok(Keys::from_master(&key))
    }

    /// From a key in memory, for tests and for `mem://`.
    pub fn from_master(master: &[u8; KEY_LEN]) -> Keys {
        Keys {
            seal: Zeroizing::new(blake3::derive_key(CONTEXT_SEAL, master)),
            names: Zeroizing::new(blake3::derive_key(CONTEXT_NAMES, master)),
            tenants: Mutex::new(HashMap::new()),
        }
    }

    /// Seals a small secret; what comes out opens only for the same purpose and ID.
    pub fn seal(&self, purpose: Purpose, id: &str, secret: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = Vec::with_capacity(secret.len() + SEAL_OVERHEAD);
        sealed.push(SEAL_VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend(encrypt(&self.seal, &nonce, &purpose.bind(id), secret)?);
        Ok(sealed)
    }

    /// Opens what [`Keys::seal`] made; [`Error::Corrupt`] names purpose and ID when it is anything else.
    pub fn open_sealed(&self, purpose: Purpose, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let damaged = || Error::Corrupt(format!("sealed {} of {id:?}", purpose.label()));
        let (&version, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        if version != SEAL_VERSION {
            return Err(damaged());
        }
        decrypt(&self.seal, nonce, &purpose.bind(id), sealed).map(Zeroizing::new).ok_or_else(damaged)
    }

    /// A new random tenant key, sealed; it becomes usable once its organisation is stored.
    pub fn make_tenant_key(&self) -> Result<Vec<u8>> {
        let key: Key = Zeroizing::new(random());
        self.seal(Purpose::TenantKey, "", key.as_slice())
    }

    /// The organisation's key when it is remembered.
    pub fn cached_tenant(&self, org: OrgId) -> Option<TenantKey> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(&org).cloned()
    }

    /// Opens an organisation's sealed key and remembers it.
    pub fn open_tenant(&self, org: OrgId, sealed: &[u8]) -> Result<TenantKey> {
        let opened = self.open_sealed(Purpose::TenantKey, "", sealed)?;
        let key: [u8; KEY_LEN] = opened
            .as_slice()
            .try_into()
            .map_err(|_| Error::Corrupt(format!("tenant key of organisation {org}")))?;
        let key = TenantKey { org, key: std::sync::Arc::new(Zeroizing::new(key)) };
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(org, key.clone());
        Ok(key)
    }

    /// Forgets an organisation's key: it was deleted.
    pub fn forget_tenant(&self, org: OrgId) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&org);
    }

    /// A keyed hash of `parts`, for marks that only this installation can make; `use_for` keeps uses apart.
    pub fn tag(&self, use_for: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        for part in [b"tag", use_for.as_bytes()].iter().chain(parts) {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// What answers for accounts that do not exist is derived from this and their names: it must be the same
    /// whenever it is asked for (RFC 5802 §9).
    pub(crate) fn names(&self) -> &[u8; KEY_LEN] {
        &self.names
    }
}

impl TenantKey {
    /// Seals the meta of a message's rows. Folders of one mailbox share it, so it binds mailbox and message.
    pub fn seal_meta(&self, mailbox: MailboxId, message: MessageId, meta: &[u8]) -> Result<Vec<u8>> {
        let salt: [u8; SALT_LEN] = random();
        let key = self.derived(CONTEXT_ROW, &salt);
        let mut sealed = Vec::with_capacity(1 + SALT_LEN + meta.len() + TAG_LEN);
        sealed.push(ROW_VERSION);
        sealed.extend_from_slice(&salt);
        // The key is used for this one value, so a fixed nonce repeats for no key.
        sealed.extend(encrypt(&key, &[0; NONCE_LEN], &self.bind_meta(mailbox, message), meta)?);
        Ok(sealed)
    }

    /// Opens what [`TenantKey::seal_meta`] made.
    pub fn open_meta(&self, mailbox: MailboxId, message: MessageId, sealed: &[u8]) -> Result<Vec<u8>> {
        let damaged = || Error::Corrupt(format!("meta of message {message} in mailbox {mailbox}"));
        let (&version, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_LEN>().ok_or_else(damaged)?;
        if version != ROW_VERSION {
            return Err(damaged());
        }
        let key = self.derived(CONTEXT_ROW, salt);
        decrypt(&key, &[0; NONCE_LEN], &self.bind_meta(mailbox, message), sealed).ok_or_else(damaged)
    }

    /// The key of one object.
    pub(crate) fn object_cipher(&self, salt: &[u8]) -> Aes256Gcm {
        let key = self.derived(CONTEXT_OBJECT, salt);
        Aes256Gcm::new(key.as_slice().into())
    }

    fn derived(&self, context: &str, salt: &[u8]) -> Key {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(self.key.as_slice()).update(salt);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }

    fn bind_meta(&self, mailbox: MailboxId, message: MessageId) -> [u8; 49] {
        let mut bound = [ROW_VERSION; 49];
        bound[1..17].copy_from_slice(&self.org.0.0);
        bound[17..33].copy_from_slice(&mailbox.0.0);
        bound[33..].copy_from_slice(&message.0.0);
        bound
    }
}

/// Octets from the system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random generator works");
    bytes
}

fn encrypt(key: &Key, nonce: &[u8; NONCE_LEN], bound: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    Aes256Gcm::new(key.as_slice().into())
        .encrypt(Nonce::from_slice(nonce), Payload { msg: plain, aad: bound })
        .map_err(|_| Error::Unavailable("a value is too large to seal".into()))
}

fn decrypt(key: &Key, nonce: &[u8; NONCE_LEN], bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    Aes256Gcm::new(key.as_slice().into())
        .decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad: bound })
        .ok()
}

fn parse_key(text: &[u8]) -> Option<Key> {
    if let Ok(raw) = <[u8; KEY_LEN]>::try_from(text) {
        return Some(Zeroizing::new(raw));
    }
    let decoded = Zeroizing::new(BASE64.decode(text.trim_ascii()).ok()?);
    <[u8; KEY_LEN]>::try_from(decoded.as_slice()).ok().map(Zeroizing::new)
}

fn make_key_file(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::lock::private_dir(dir)?;
    let key: Key = Zeroizing::new(random());
    let text = Zeroizing::new(BASE64.encode(key.as_slice()) + "\n");
    // A complete file appears or none: a torn key would make everything sealed with it unreadable. The link
    // fails when another process made one meanwhile, and then that one counts.
    let temporary = path.with_extension(format!("new-{}", crate::Id::random()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        });
    fs::remove_file(&temporary)?;
    written?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use crate::types::Id;

    #[test]
    fn a_key_file_is_made_once_for_its_owner_only_and_read_back() {
        let dir = TempDir::new();
        let path = dir.path().join("deep/master.key");
        let keys = Keys::open(&path).unwrap();
        let sealed = keys.seal(Purpose::Dkim, "example.com", b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
        let again = Keys::open(&path).unwrap();
        assert_eq!(again.open_sealed(Purpose::Dkim, "example.com", &sealed).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn raw_and_base64_keys_are_the_same_key_and_other_lengths_are_none() {
        let dir = TempDir::new();
        let path = dir.path().join("master.key");
        let write = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            Keys::open(&path)
        };
        let sealed = write(&[7; 32]).unwrap().seal(Purpose::Scram, "a@b", b"x").unwrap();
        let text = BASE64.encode([7; 32]);
        let keys = write(format!("{text}\r\n").as_bytes()).unwrap();
        assert_eq!(keys.open_sealed(Purpose::Scram, "a@b", &sealed).unwrap().as_slice(), b"x");
        for bad in [&[7u8; 31][..], &[7; 33], b"", b"no key at all"] {
            assert!(matches!(write(bad), Err(KeyError::Form(_))));
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let dir = TempDir::new();
        let path = dir.path().join("master.key");
        fs::write(&path, [7; 32]).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Keys::open(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_sealed_secret_opens_for_its_purpose_and_id_only_and_any_change_is_found() {
        let keys = Keys::from_master(&[1; 32]);
        let sealed = keys.seal(Purpose::Dkim, "example.com", b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + SEAL_OVERHEAD);
        assert!(keys.open_sealed(Purpose::Scram, "example.com", &sealed).is_err());
        assert!(keys.open_sealed(Purpose::Dkim, "example.org", &sealed).is_err());
        assert!(Keys::from_master(&[2; 32]).open_sealed(Purpose::Dkim, "example.com", &sealed).is_err());
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(keys.open_sealed(Purpose::Dkim, "example.com", &changed).is_err(), "octet {i}");
            assert!(keys.open_sealed(Purpose::Dkim, "example.com", &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn sc16_meta_binds_organisation_mailbox_and_message() {
        let keys = Keys::from_master(&[1; 32]);
        let [org, other] = [1, 2].map(|n| OrgId(Id([n; 16])));
        let sealed_key = keys.make_tenant_key().unwrap();
        let key = keys.open_tenant(org, &sealed_key).unwrap();
        let same_key_elsewhere = keys.open_tenant(other, &sealed_key).unwrap();
        let (mailbox, message) = (MailboxId(Id([3; 16])), MessageId(Id([4; 16])));
        let sealed = key.seal_meta(mailbox, message, b"structure").unwrap();
        assert_eq!(key.open_meta(mailbox, message, &sealed).unwrap(), b"structure");
        assert!(key.open_meta(MailboxId(Id([5; 16])), message, &sealed).is_err());
        assert!(key.open_meta(mailbox, MessageId(Id([5; 16])), &sealed).is_err());
        assert!(same_key_elsewhere.open_meta(mailbox, message, &sealed).is_err());
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 0x80;
            assert!(key.open_meta(mailbox, message, &changed).is_err(), "octet {i}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let keys = Keys::from_master(&[0xAB; 32]);
        let key = keys.open_tenant(OrgId(Id([1; 16])), &keys.make_tenant_key().unwrap()).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { .. }");
        assert!(format!("{key:?}").starts_with("TenantKey { org:"));
    }
}
