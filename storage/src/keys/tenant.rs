//! An organisation's keys: a ring, in which a new key takes over from an older one that still opens what it sealed.
//!
//! What is sealed names its key, so that a key can be replaced while everything goes on: first the new key seals, then
//! what the old one sealed is sealed again, and then the old one is forgotten. A domain may have a key of its own.

use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::KeyInit;
use zeroize::Zeroizing;

use super::{KEY_LEN, Key, NONCE_LEN, TAG_LEN, decrypt, encrypt, random};
use crate::error::{Error, Result};
use crate::types::{MailboxId, MessageId, OrgId};

const CONTEXT_ROW: &str = "inbox storage v1: a row sealed with the tenant key";
const CONTEXT_OBJECT: &str = "inbox storage v1: an object sealed with the tenant key";
const CONTEXT_CUSTOMER: &str = "inbox storage v1: the key that an object store encrypts with";

const SALT_LEN: usize = 16;
/// What the first key of a ring sealed does not name it.
const ROW_OF_FIRST: u8 = 1;
const ROW_OF_NAMED: u8 = 2;
/// In front of either: a key of the owner's, which the owner alone can unwrap, with its length.
const ROW_WITH_WRAPPED: u8 = 3;
const RING_VERSION: u8 = 2;
/// Keys of one organisation: current ones, and those that are being replaced.
const KEYS_MAX: usize = 200;

/// Names a key in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(pub [u8; 4]);

impl KeyId {
    /// The key that an organisation was made with.
    pub const FIRST: KeyId = KeyId([0; 4]);
}

#[derive(Clone)]
struct RingKey {
    id: KeyId,
    /// Seals mail for mailboxes of this domain only.
    domain: Option<String>,
    /// It was given by its owner, who may read objects in the store with it.
    given: bool,
    key: Key,
}

/// All keys of an organisation, the newest of each domain last.
#[derive(Clone)]
pub(crate) struct Ring {
    keys: Vec<RingKey>,
}

impl Ring {
    pub fn first(key: Key) -> Ring {
        Ring { keys: vec![RingKey { id: KeyId::FIRST, domain: None, given: false, key }] }
    }

    /// Reads what [`Ring::write`] wrote; a bare key is a ring of one.
    pub fn read(text: &[u8]) -> Option<Ring> {
        if let Ok(key) = <[u8; KEY_LEN]>::try_from(text) {
            return Some(Ring::first(Zeroizing::new(key)));
        }
        let mut rest = text.strip_prefix(&[RING_VERSION])?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (id, after) = rest.split_first_chunk::<4>()?;
            let (&[given, len], after) = after.split_first_chunk::<2>()?;
            let (domain, after) = after.split_at_checked(usize::from(len))?;
            let (key, after) = after.split_first_chunk::<KEY_LEN>()?;
            let domain = std::str::from_utf8(domain).ok()?;
            keys.push(RingKey {
                id: KeyId(*id),
                domain: (!domain.is_empty()).then(|| domain.to_owned()),
                given: given == 1,
                key: Zeroizing::new(*key),
            });
            rest = after;
        }
        (keys.iter().any(|key| key.domain.is_none()) && keys.len() <= KEYS_MAX).then_some(Ring { keys })
    }

    /// In clear, to be sealed.
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        if let [RingKey { id: KeyId::FIRST, domain: None, given: false, key }] = self.keys.as_slice() {
            return Zeroizing::new(key.to_vec());
        }
        let domain = |key: &RingKey| key.domain.as_deref().unwrap_or_default().len();
        let len = 1 + self.keys.iter().map(|key| 6 + domain(key) + KEY_LEN).sum::<usize>();
        // As large as it gets, so that no copy of it stays behind unwiped.
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.push(RING_VERSION);
        for key in &self.keys {
            let domain = key.domain.as_deref().unwrap_or_default();
            out.extend_from_slice(&key.id.0);
            out.push(u8::from(key.given));
            out.push(u8::try_from(domain.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(domain.as_bytes());
            out.extend_from_slice(key.key.as_slice());
        }
        out
    }

    /// Adds a key that seals from now on, for a domain or for whatever has no key of its own: a given one, or a
    /// random one.
    pub fn add(&mut self, domain: Option<&str>, given: Option<Key>) -> Result<KeyId> {
        if self.keys.len() >= KEYS_MAX {
            return Err(crate::Refusal::TooMany("the organisation has too many keys".into()).into());
        }
        let id = loop {
            let id = KeyId(random());
            if id != KeyId::FIRST && self.keys.iter().all(|key| key.id != id) {
                break id;
            }
        };
        let (is_given, key) = (given.is_some(), given.unwrap_or_else(|| Zeroizing::new(random())));
        self.keys.push(RingKey { id, domain: domain.map(str::to_owned), given: is_given, key });
        Ok(id)
    }

    /// The key that seals for a domain of its own, if it has one: whether it is this one.
    pub fn is_current(&self, domain: &str, given: &[u8; KEY_LEN]) -> bool {
        self.current_of(domain).is_some_and(|at| self.keys[at].key.as_slice() == given)
    }

    pub fn has_own(&self, domain: &str) -> bool {
        self.current_of(domain).is_some()
    }

    /// A domain's keys seal nothing more; they still open what they sealed.
    pub fn release(&mut self, domain: &str) {
        for key in &mut self.keys {
            if key.domain.as_deref() == Some(domain) {
                // No domain has this name, and so nothing is sealed with the key.
                key.domain = Some(RELEASED.into());
            }
        }
    }

    /// Whether there are keys that others have replaced.
    pub fn has_old(&self) -> bool {
        !self.old().is_empty()
    }

    /// The keys that others have replaced.
    pub fn old(&self) -> Vec<KeyId> {
        (0..self.keys.len()).filter(|at| !self.seals(*at)).map(|at| self.keys[at].id).collect()
    }

    /// Forgets keys, unless they seal. What they sealed cannot be opened any more.
    pub fn forget(&mut self, ids: &[KeyId]) {
        let old = self.old();
        self.keys.retain(|key| !(old.contains(&key.id) && ids.contains(&key.id)));
    }

    fn seals(&self, at: usize) -> bool {
        match self.keys[at].domain.as_deref() {
            None => at == self.current(),
            Some(RELEASED) => false,
            Some(domain) => self.current_of(domain) == Some(at),
        }
    }

    fn current(&self) -> usize {
        self.keys.iter().rposition(|key| key.domain.is_none()).unwrap_or(0)
    }

    fn current_of(&self, domain: &str) -> Option<usize> {
        self.keys.iter().rposition(|key| key.domain.as_deref() == Some(domain))
    }
}

/// In place of the domain of a key that its domain has given up.
const RELEASED: &str = "-";

/// An organisation's keys, one of which seals. Cheap to clone; wiped when the last clone goes.
#[derive(Clone)]
pub struct TenantKey {
    org: OrgId,
    ring: Arc<Ring>,
    current: usize,
}

impl std::fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantKey").field("org", &self.org).finish_non_exhaustive()
    }
}

impl TenantKey {
    pub(super) fn new(org: OrgId, ring: Ring) -> TenantKey {
        let current = ring.current();
        TenantKey { org, ring: Arc::new(ring), current }
    }

    /// The same keys; what is sealed with them is for a mailbox of this domain.
    pub(crate) fn for_domain(&self, domain: &str) -> TenantKey {
        let current = self.ring.current_of(domain).unwrap_or_else(|| self.ring.current());
        TenantKey { org: self.org, ring: self.ring.clone(), current }
    }

    /// The keys as this handle knows them.
    pub(super) fn ring_weak(&self) -> std::sync::Weak<Ring> {
        Arc::downgrade(&self.ring)
    }

    /// The same keys for somebody who reads: nobody waits for them to be given back.
    pub(crate) fn for_reading(&self) -> TenantKey {
        TenantKey { org: self.org, ring: Arc::new((*self.ring).clone()), current: self.current }
    }

    /// Whether both know the same keys.
    pub(crate) fn is_same(&self, other: &TenantKey) -> bool {
        let ids = |tenant: &TenantKey| tenant.ring.keys.iter().map(|key| key.id).collect::<Vec<_>>();
        ids(self) == ids(other)
    }

    /// Whether it matters whose mailbox something is for.
    pub(crate) fn has_domain_keys(&self) -> bool {
        self.ring.keys.iter().any(|key| key.domain.is_some())
    }

    /// Which key seals.
    pub(crate) fn id(&self) -> KeyId {
        self.ring.keys[self.current].id
    }

    fn key(&self, id: KeyId) -> Option<&Key> {
        self.ring.keys.iter().find(|key| key.id == id).map(|key| &key.key)
    }

    /// The keys for a store that encrypts with them: that of new objects first. One that the owner gave is what the
    /// owner can read objects with; one that was made here is not shown to the store.
    pub(crate) fn customer_keys(&self) -> Vec<Zeroizing<[u8; KEY_LEN]>> {
        let given = |key: &RingKey| {
            if key.given { key.key.clone() } else { derived(&key.key, CONTEXT_CUSTOMER, &[]) }
        };
        let first = given(&self.ring.keys[self.current]);
        let others = self.ring.keys.iter().enumerate().rev().filter(|(at, _)| *at != self.current);
        std::iter::once(first).chain(others.map(|(_, key)| given(key))).collect()
    }

    /// Seals the meta of a message's rows. Folders of one mailbox share it, so it binds mailbox and message.
    pub fn seal_meta(&self, mailbox: MailboxId, message: MessageId, meta: &[u8]) -> Result<Vec<u8>> {
        let current = &self.ring.keys[self.current];
        let salt: [u8; SALT_LEN] = random();
        let mut sealed = Vec::with_capacity(5 + SALT_LEN + meta.len() + TAG_LEN);
        if current.id == KeyId::FIRST {
            sealed.push(ROW_OF_FIRST);
        } else {
            sealed.push(ROW_OF_NAMED);
            sealed.extend_from_slice(&current.id.0);
        }
        let bound = self.bind_meta(sealed[0], mailbox, message);
        sealed.extend_from_slice(&salt);
        // The key is used for this one value, so a fixed nonce repeats for no key.
        let key = derived(&current.key, CONTEXT_ROW, &salt);
        sealed.extend(encrypt(&key, &[0; NONCE_LEN], &bound, meta)?);
        Ok(sealed)
    }

    /// Opens what [`TenantKey::seal_meta`] made with any of the keys.
    pub fn open_meta(&self, mailbox: MailboxId, message: MessageId, sealed: &[u8]) -> Result<Vec<u8>> {
        let damaged = || Error::Corrupt(format!("meta of message {message} in mailbox {mailbox}"));
        let sealed = without_wrapped_key(sealed).ok_or_else(damaged)?;
        let (id, rest) = named_key(sealed).ok_or_else(damaged)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_LEN>().ok_or_else(damaged)?;
        let key = derived(self.key(id).ok_or_else(damaged)?, CONTEXT_ROW, salt);
        let bound = self.bind_meta(sealed[0], mailbox, message);
        decrypt(&key, &[0; NONCE_LEN], &bound, rest).ok_or_else(damaged)
    }

    /// Whether something sealed by [`TenantKey::seal_meta`] was sealed with the key that seals now.
    pub(crate) fn is_current_meta(&self, sealed: &[u8]) -> bool {
        without_wrapped_key(sealed).and_then(named_key).is_some_and(|(id, _)| id == self.id())
    }

    /// The key of one object; none when the ring does not have the one it names.
    pub(crate) fn object_cipher(&self, id: KeyId, salt: &[u8]) -> Option<Aes256Gcm> {
        let key = derived(self.key(id)?, CONTEXT_OBJECT, salt);
        Some(Aes256Gcm::new(key.as_slice().into()))
    }

    fn bind_meta(&self, version: u8, mailbox: MailboxId, message: MessageId) -> [u8; 49] {
        let mut bound = [version; 49];
        bound[1..17].copy_from_slice(&self.org.0.0);
        bound[17..33].copy_from_slice(&mailbox.0.0);
        bound[33..].copy_from_slice(&message.0.0);
        bound
    }
}

/// The owner's wrapped key goes with a row as it is: nobody else can use it.
pub(crate) fn with_wrapped_key(sealed: Vec<u8>, wrapped: Option<&str>) -> Vec<u8> {
    let Some((wrapped, len)) = wrapped.and_then(|w| Some((w, u16::try_from(w.len()).ok()?))) else {
        return sealed;
    };
    let mut out = Vec::with_capacity(3 + wrapped.len() + sealed.len());
    out.push(ROW_WITH_WRAPPED);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(wrapped.as_bytes());
    out.extend_from_slice(&sealed);
    out
}

/// The wrapped key of a row, if it has one, to be put in front of what replaces it.
pub(crate) fn wrapped_key(sealed: &[u8]) -> Option<&str> {
    let (len, rest) = sealed.strip_prefix(&[ROW_WITH_WRAPPED])?.split_first_chunk::<2>()?;
    std::str::from_utf8(rest.get(..usize::from(u16::from_be_bytes(*len)))?).ok()
}

fn without_wrapped_key(sealed: &[u8]) -> Option<&[u8]> {
    let Some(rest) = sealed.strip_prefix(&[ROW_WITH_WRAPPED]) else { return Some(sealed) };
    let (len, rest) = rest.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*len))..)
}

/// Which key a row was sealed with, and what follows.
fn named_key(sealed: &[u8]) -> Option<(KeyId, &[u8])> {
    match sealed.split_first()? {
        (&ROW_OF_FIRST, rest) => Some((KeyId::FIRST, rest)),
        (&ROW_OF_NAMED, rest) => rest.split_first_chunk::<4>().map(|(id, rest)| (KeyId(*id), rest)),
        _ => None,
    }
}

fn derived(key: &Key, context: &str, salt: &[u8]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(key.as_slice()).update(salt);
    Zeroizing::new(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Id;

    fn ring() -> Ring {
        Ring::first(Zeroizing::new([7; KEY_LEN]))
    }

    fn tenant(ring: &Ring) -> TenantKey {
        TenantKey::new(OrgId(Id([1; 16])), Ring::read(&ring.write()).unwrap())
    }

    #[test]
    fn a_ring_of_one_is_the_bare_key_and_every_other_is_read_back() {
        let mut ring = ring();
        assert_eq!(ring.write().as_slice(), [7; KEY_LEN]);
        ring.add(None, None).unwrap();
        ring.add(Some("example.com"), Some(Zeroizing::new([9; KEY_LEN]))).unwrap();
        let text = ring.write();
        assert_eq!(Ring::read(&text).unwrap().write(), text);
        for cut in 0..text.len() {
            let whole = cut == KEY_LEN || cut == 1 + 6 + KEY_LEN || cut == 1 + 2 * (6 + KEY_LEN);
            assert_eq!(Ring::read(&text[..cut]).is_some(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn ti7_an_old_key_opens_until_it_is_forgotten_and_the_new_one_seals() {
        let (mailbox, message) = (MailboxId(Id([3; 16])), MessageId(Id([4; 16])));
        let mut ring = ring();
        let old = tenant(&ring);
        let sealed = old.seal_meta(mailbox, message, b"x").unwrap();
        ring.add(None, None).unwrap();
        let both = tenant(&ring);
        assert!(ring.has_old() && old.id() != both.id());
        assert_eq!(both.open_meta(mailbox, message, &sealed).unwrap(), b"x");
        assert!(!both.is_current_meta(&sealed) && old.is_current_meta(&sealed));
        let again = both.seal_meta(mailbox, message, b"x").unwrap();
        assert!(old.open_meta(mailbox, message, &again).is_err());
        ring.forget(&[both.id()]);
        assert!(ring.has_old(), "what seals is not forgotten");
        ring.forget(&ring.old());
        assert!(!ring.has_old());
        let new = tenant(&ring);
        assert_eq!(new.open_meta(mailbox, message, &again).unwrap(), b"x");
        assert!(new.open_meta(mailbox, message, &sealed).is_err());
    }

    #[test]
    fn a_domain_seals_with_its_own_key_until_it_gives_it_up() {
        let mut ring = ring();
        let given = [9; KEY_LEN];
        ring.add(Some("example.com"), Some(Zeroizing::new(given))).unwrap();
        assert!(ring.is_current("example.com", &given) && !ring.has_old());
        let all = tenant(&ring);
        assert_eq!(all.id(), KeyId::FIRST);
        assert_eq!(all.for_domain("example.org").id(), KeyId::FIRST);
        let own = all.for_domain("example.com");
        assert_ne!(own.id(), KeyId::FIRST);
        assert_eq!(own.customer_keys()[0].as_slice(), given, "the owner can read with what the owner gave");
        assert_ne!(all.customer_keys()[0].as_slice(), [7; KEY_LEN], "the store never sees what we made");
        ring.release("example.com");
        assert!(ring.has_old());
        assert_eq!(tenant(&ring).for_domain("example.com").id(), KeyId::FIRST);
    }
}
