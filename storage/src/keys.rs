//! The only reader of the master key. Everything secret that rests on disk is sealed by a key from here.
//!
//! The master key seals small secrets (tenant keys, SCRAM verifiers, DKIM keys). Each organisation has a
//! tenant key, which seals its rows and objects; deleting it makes its mail unreadable for good. No key is
//! ever printed: `Debug` shows names only, and memory is wiped when a key is dropped.

mod tenant;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::types::OrgId;
pub use tenant::TenantKey;
pub(crate) use tenant::{KeyId, Ring, with_wrapped_key, wrapped_key};

/// Octets in every key.
pub const KEY_LEN: usize = 32;
/// Octets that [`Keys::seal`] adds: version, nonce and tag.
pub const SEAL_OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;
const SEAL_VERSION: u8 = 1;
/// Octets of the key file.
const FILE_MAX: usize = 1024;

// Each use of the master key has a key of its own, so that no sealed value of one use opens in another.
const CONTEXT_SEAL: &str = "inbox storage v1: small secrets sealed with the master key";
const CONTEXT_NAMES: &str = "inbox storage v1: answers for accounts that do not exist";

pub(crate) type Key = Zeroizing<[u8; KEY_LEN]>;

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
    /// The one that seals, then those that it follows: they only open, until everything is sealed anew.
    seal: RwLock<Vec<Key>>,
    names: Key,
    tenants: Mutex<HashMap<OrgId, (TenantKey, Instant)>>,
    /// Rings that others have replaced and that somebody may still seal with.
    replaced: Mutex<Vec<(OrgId, Weak<Ring>)>>,
    file: Option<PathBuf>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
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
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_MAX));
        file.take(FILE_MAX as u64).read_to_end(&mut text).map_err(io)?;
        let file = KeyFile::read(&text).ok_or_else(|| KeyError::Form(path.to_owned()))?;
        Ok(Keys { file: Some(path.to_owned()), ..Keys::of(&file) })
    }

    fn of(file: &KeyFile) -> Keys {
        let seal = |master: &Key| Zeroizing::new(blake3::derive_key(CONTEXT_SEAL, master.as_slice()));
        Keys {
            seal: RwLock::new(file.masters.iter().map(seal).collect()),
            names: file.names.clone(),
            tenants: Mutex::new(HashMap::new()),
            replaced: Mutex::default(),
            file: None,
        }
    }

    /// From a key in memory, for tests and for `mem://`.
    pub fn from_master(master: &[u8; KEY_LEN]) -> Keys {
        Keys::of(&KeyFile::of_one(Zeroizing::new(*master)))
    }

    fn seals(&self) -> Vec<Key> {
        self.seal.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether older master keys still open what they sealed.
    pub(crate) fn has_old_master(&self) -> bool {
        self.seal.read().unwrap_or_else(PoisonError::into_inner).len() > 1
    }

    /// Makes a new master key that seals from now on, durable in the file beside the one it follows. Does nothing when
    /// there is one already that follows another.
    pub(crate) fn begin_master(&self) -> std::result::Result<(), KeyError> {
        if self.has_old_master() {
            return Ok(());
        }
        self.change_file(|file| file.masters.insert(0, Zeroizing::new(random())))
    }

    /// Forgets the master keys that were followed.
    pub(crate) fn end_master(&self) -> std::result::Result<(), KeyError> {
        self.change_file(|file| file.masters.truncate(1))
    }

    fn change_file(&self, change: impl FnOnce(&mut KeyFile)) -> std::result::Result<(), KeyError> {
        let path = self.file.clone().ok_or_else(|| KeyError::Form("(in memory)".into()))?;
        let io = |error| KeyError::Io(path.clone(), error);
        let text = Zeroizing::new(fs::read(&path).map_err(io)?);
        let mut file = KeyFile::read(&text).ok_or_else(|| KeyError::Form(path.clone()))?;
        change(&mut file);
        replace_file(&path, file.write().as_bytes()).map_err(io)?;
        let seal = Keys::of(&file).seal;
        *self.seal.write().unwrap_or_else(PoisonError::into_inner) =
            seal.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(())
    }

    /// Whether something is sealed with the master key that seals now; `Corrupt` when with none.
    pub(crate) fn is_current(&self, purpose: Purpose, id: &str, sealed: &[u8]) -> Result<bool> {
        self.opened(purpose, id, sealed).map(|(at, _)| at == 0)
    }

    /// Seals a small secret; what comes out opens only for the same purpose and ID.
    pub fn seal(&self, purpose: Purpose, id: &str, secret: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = Vec::with_capacity(secret.len() + SEAL_OVERHEAD);
        sealed.push(SEAL_VERSION);
        sealed.extend_from_slice(&nonce);
        let keys = self.seals();
        let current = keys.first().ok_or_else(|| Error::Unavailable("there is no master key".into()))?;
        sealed.extend(encrypt(current, &nonce, &purpose.bind(id), secret)?);
        Ok(sealed)
    }

    /// Opens what [`Keys::seal`] made; [`Error::Corrupt`] names purpose and ID when it is anything else.
    pub fn open_sealed(&self, purpose: Purpose, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.opened(purpose, id, sealed).map(|(_, opened)| opened)
    }

    /// Which of the master keys opens it, and what it is.
    fn opened(&self, purpose: Purpose, id: &str, sealed: &[u8]) -> Result<(usize, Zeroizing<Vec<u8>>)> {
        let damaged = || Error::Corrupt(format!("sealed {} of {id:?}", purpose.label()));
        let (&version, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        if version != SEAL_VERSION {
            return Err(damaged());
        }
        let bound = purpose.bind(id);
        let keys = self.seals();
        let opens = |(at, key)| Some((at, Zeroizing::new(decrypt(key, nonce, &bound, sealed)?)));
        keys.iter().enumerate().find_map(opens).ok_or_else(damaged)
    }

    /// A new random tenant key, sealed; it becomes usable once its organisation is stored.
    pub fn make_tenant_key(&self) -> Result<Vec<u8>> {
        self.seal_ring(&Ring::first(Zeroizing::new(random())))
    }

    /// Seals an organisation's keys.
    pub(crate) fn seal_ring(&self, ring: &Ring) -> Result<Vec<u8>> {
        self.seal(Purpose::TenantKey, "", &ring.write())
    }

    /// Opens an organisation's sealed keys, to change them.
    pub(crate) fn open_ring(&self, org: OrgId, sealed: &[u8]) -> Result<Ring> {
        let opened = self.open_sealed(Purpose::TenantKey, "", sealed)?;
        Ring::read(&opened).ok_or_else(|| Error::Corrupt(format!("tenant key of organisation {org}")))
    }

    /// The organisation's key when it was read less than `age` ago.
    pub(crate) fn cached_tenant(&self, org: OrgId, age: Duration) -> Option<TenantKey> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&org).filter(|(_, read)| read.elapsed() < age).map(|(key, _)| key.clone())
    }

    /// Opens an organisation's sealed key and remembers it.
    #[allow(clippy::disallowed_methods)] // how long ago a key was read is no business of leases
    pub fn open_tenant(&self, org: OrgId, sealed: &[u8]) -> Result<TenantKey> {
        let key = TenantKey::new(org, self.open_ring(org, sealed)?);
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, _)) = tenants.insert(org, (key.clone(), Instant::now())) {
            let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
            replaced.retain(|(_, ring)| ring.strong_count() > 0);
            replaced.push((org, before.ring_weak()));
        }
        Ok(key)
    }

    /// Whether somebody still has keys of an organisation as they were before they were last read: what is sealed
    /// with them may come to rest later.
    pub(crate) fn has_replaced_handles(&self, org: OrgId) -> bool {
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.iter().any(|(of, ring)| *of == org && ring.strong_count() > 0)
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

/// Octets from the system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random generator works");
    bytes
}

pub(crate) fn encrypt(key: &Key, nonce: &[u8; NONCE_LEN], bound: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    Aes256Gcm::new(key.as_slice().into())
        .encrypt(Nonce::from_slice(nonce), Payload { msg: plain, aad: bound })
        .map_err(|_| Error::Unavailable("a value is too large to seal".into()))
}

pub(crate) fn decrypt(key: &Key, nonce: &[u8; NONCE_LEN], bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    Aes256Gcm::new(key.as_slice().into())
        .decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad: bound })
        .ok()
}

/// What the file holds: 32 octets, or lines: the master key, then `old` and `names` with keys, all in base64.
struct KeyFile {
    /// The current one first.
    masters: Vec<Key>,
    /// Keyed hashes that must not change with the master key: they are kept, or known to others.
    names: Key,
}

impl KeyFile {
    fn of_one(master: Key) -> KeyFile {
        let names = Zeroizing::new(blake3::derive_key(CONTEXT_NAMES, master.as_slice()));
        KeyFile { masters: vec![master], names }
    }

    fn read(text: &[u8]) -> Option<KeyFile> {
        if let Ok(raw) = <[u8; KEY_LEN]>::try_from(text) {
            return Some(KeyFile::of_one(Zeroizing::new(raw)));
        }
        let mut lines =
            std::str::from_utf8(text).ok()?.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut file = KeyFile::of_one(parse_base64_key(lines.next()?)?);
        for line in lines {
            match line.split_once(' ')? {
                ("old", key) => file.masters.push(parse_base64_key(key)?),
                ("names", key) => file.names = parse_base64_key(key)?,
                _ => return None,
            }
        }
        Some(file)
    }

    fn write(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(FILE_MAX));
        for (n, master) in self.masters.iter().enumerate() {
            out.push_str(if n == 0 { "" } else { "old " });
            out.push_str(&Zeroizing::new(BASE64.encode(master.as_slice())));
            out.push('\n');
        }
        out.push_str("names ");
        out.push_str(&Zeroizing::new(BASE64.encode(self.names.as_slice())));
        out.push('\n');
        out
    }
}

/// A key of 32 octets in base64.
pub(crate) fn parse_base64_key(text: &str) -> Option<Key> {
    let decoded = Zeroizing::new(BASE64.decode(text.trim()).ok()?);
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

/// Puts other octets into the place of a file, durably, all or nothing.
fn replace_file(path: &Path, octets: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = path.with_extension(format!("new-{}", crate::Id::random()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use crate::types::{Id, MailboxId, MessageId};

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
    fn ti7_a_new_master_key_seals_and_the_old_one_opens_until_it_is_forgotten() {
        let dir = TempDir::new();
        let path = dir.path().join("master.key");
        let keys = Keys::open(&path).unwrap();
        let sealed = keys.seal(Purpose::Dkim, "example.com", b"secret").unwrap();
        let tag = keys.tag("use", &[b"x"]);
        keys.begin_master().unwrap();
        keys.begin_master().unwrap();
        // A process that starts in the middle knows as much.
        for keys in [keys, Keys::open(&path).unwrap()] {
            assert!(keys.has_old_master());
            assert_eq!(keys.is_current(Purpose::Dkim, "example.com", &sealed), Ok(false));
            let again = keys.seal(Purpose::Dkim, "example.com", b"secret").unwrap();
            assert_eq!(keys.is_current(Purpose::Dkim, "example.com", &again), Ok(true));
            assert_eq!(keys.tag("use", &[b"x"]), tag, "what others know does not change");
        }
        let keys = Keys::open(&path).unwrap();
        let again = keys.seal(Purpose::Dkim, "example.com", b"secret").unwrap();
        keys.end_master().unwrap();
        for keys in [keys, Keys::open(&path).unwrap()] {
            assert!(keys.open_sealed(Purpose::Dkim, "example.com", &sealed).is_err());
            assert_eq!(keys.open_sealed(Purpose::Dkim, "example.com", &again).unwrap().as_slice(), b"secret");
            assert_eq!(keys.tag("use", &[b"x"]), tag);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let keys = Keys::from_master(&[0xAB; 32]);
        let key = keys.open_tenant(OrgId(Id([1; 16])), &keys.make_tenant_key().unwrap()).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { .. }");
        assert!(format!("{key:?}").starts_with("TenantKey { org:"));
    }
}
