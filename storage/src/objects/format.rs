//! The form of an object.
//!
//! ```text
//! magic (7) version (1) [key (4), in version 2] salt (16) length of the sealed envelope (4)
//! the envelope, sealed
//! the content in chunks of 64 KiB, each sealed; the last one may be shorter, and is empty for no content
//! ```
//!
//! Each object has its own key, derived from a tenant key and the salt; version 2 names the tenant key, version 1
//! is of an organisation's first. A chunk's nonce is its number; what
//! is authenticated with it is organisation, mailbox or queue, message, version, the chunk's number and
//! whether it is the last. So a chunk that was changed, moved, cut off or taken from another object does not
//! open, and a range is read without reading what lies before it.
//!
//! The envelope alone is enough to make the message's rows again when the database lost them.

use std::sync::Arc;
use std::time::Duration;

use aes_gcm::aead::{Aead, AeadInPlace, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use serde::{Deserialize, Serialize};

use super::{Blobs, Content, ObjectKey, Source};
use crate::error::{Error, Result};
use crate::keys::{self, KeyId, Keys, NONCE_LEN, TAG_LEN, TenantKey};
use crate::types::{DeliverBy, JobRecipient};

/// Plaintext octets of a chunk.
pub const CHUNK_LEN: usize = 64 * 1024;

const MAGIC: &[u8; 7] = b"InboxOb";
/// Of what an organisation's first key seals, and of what names its key.
const OF_FIRST: u8 = 1;
const OF_NAMED: u8 = 2;
const SALT_LEN: usize = 16;
const HEAD_LEN: usize = MAGIC.len() + 1 + SALT_LEN + 4;
/// Octets of a key's name.
const KEY_ID_LEN: usize = 4;
const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
/// Octets of a sealed envelope, with the meta in it.
const ENVELOPE_MAX: usize = 32 * 1024 * 1024;
/// What is read first: for most messages the envelope and all of the content.
const FIRST_READ_LEN: usize = HEAD_LEN + 4 * 1024 + SEALED_CHUNK_LEN;
/// The envelope's number among the chunks.
const ENVELOPE_INDEX: u64 = u64::MAX;

/// What an object says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What it was accepted for.
    pub place: Place,
    /// Reverse-path without brackets; empty for the null reverse-path and for what a client stored.
    pub sender: String,
    /// As they were given in the transaction; empty for what a client stored.
    pub recipients: Vec<String>,
    /// When it was accepted, in milliseconds since the epoch.
    pub received_ms: i64,
    /// Octets of content.
    pub len: u64,
    /// BLAKE3 of the content.
    pub hash: [u8; 32],
    /// Rises with every object that this installation writes.
    pub sequence: u64,
    /// `enc_wrapped_dek_customer` of the mailbox's domain when it was accepted: of use to its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapped_key: Option<String>,
    /// The message's structure as its rows hold it, in clear here, since all of this is sealed.
    #[serde(skip)]
    pub meta: Vec<u8>,
}

/// What an object was accepted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A folder of its mailbox.
    Folder {
        /// The folder when one was named; none is the folder of some use, at last the inbox.
        folder: Option<String>,
        /// INTERNALDATE, in milliseconds since the epoch.
        internal_date_ms: i64,
        /// System flags it was stored with.
        flags: u64,
        /// Keywords it was stored with.
        keywords: Vec<String>,
    },
    /// Beside its message, of which it is a part.
    Part {
        /// `image/png`.
        media_type: String,
        /// What its sender called it, unless only the owner may know.
        file_name: Option<String>,
    },
    /// The outbound queue.
    Queue {
        /// Its jobs as they were queued.
        jobs: Vec<EnvelopeJob>,
    },
    /// A file of its mailbox's tree. Where it is and what it is called, its rows say alone.
    File,
}

/// A job as it was queued, from which it can be queued again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EnvelopeJob {
    pub id: String,
    pub sender: String,
    pub domain: String,
    pub recipients: Vec<JobRecipient>,
    pub envid: Option<String>,
    pub ret: Option<String>,
    pub eight_bit: bool,
    pub binary: bool,
    pub smtputf8: bool,
    pub require_tls: bool,
    pub is_dsn: bool,
    pub created_ms: i64,
    pub start_ms: i64,
    pub due_ms: i64,
    #[serde(default)]
    pub deliver_by: Option<DeliverBy>,
    #[serde(default)]
    pub logged: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Version and name of an object.
type Bound = (u8, ObjectKey);

/// What authenticates a chunk beside its octets.
fn bound((version, key): Bound, index: u64, last: bool) -> Vec<u8> {
    let mut bound = vec![0; 59];
    bound[0] = version;
    bound[1] = u8::from(key.mailbox.is_some());
    bound[2..18].copy_from_slice(&key.org.0.0);
    if let Some(mailbox) = key.mailbox {
        bound[18..34].copy_from_slice(&mailbox.0.0);
    }
    bound[34..50].copy_from_slice(&key.message.0.0);
    bound[50..58].copy_from_slice(&index.to_be_bytes());
    bound[58] = u8::from(last);
    bound.extend(key.part_octets());
    bound
}

fn nonce(index: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&index.to_be_bytes());
    nonce
}

fn chunks_of(len: u64) -> u64 {
    len.div_ceil(CHUNK_LEN as u64).max(1)
}

/// An object to be written: what it holds and what it says about itself. Length and hash of the envelope are
/// filled in from the content.
#[derive(Clone)]
pub(crate) struct NewObject {
    pub key: ObjectKey,
    pub envelope: Envelope,
    pub content: Content,
}

/// Makes the octets of an object, a chunk at a time.
pub(crate) struct Encoder {
    object: NewObject,
    tenant: TenantKey,
    cipher: Option<Aes256Gcm>,
    version: u8,
    next: u64,
}

impl Encoder {
    pub(crate) fn new(object: NewObject, tenant: TenantKey) -> Encoder {
        let version = if tenant.id() == KeyId::FIRST { OF_FIRST } else { OF_NAMED };
        Encoder { object, tenant, cipher: None, version, next: 0 }
    }

    fn head(&mut self) -> Result<Vec<u8>> {
        let NewObject { key, envelope, content } = &mut self.object;
        envelope.len = content.len();
        envelope.hash = content.hash()?;
        let json = serde_json::to_vec(&envelope).map_err(|e| Error::Unavailable(format!("envelope: {e}")))?;
        let mut plain = Vec::with_capacity(4 + json.len() + envelope.meta.len());
        plain.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
        plain.extend_from_slice(&json);
        plain.extend_from_slice(&envelope.meta);
        let sealed_len = plain.len() + TAG_LEN;
        if sealed_len > ENVELOPE_MAX {
            return Err(Error::Refused(crate::Refusal::TooMany("the envelope is too large".into())));
        }
        let salt: [u8; SALT_LEN] = keys::random();
        let id = self.tenant.id();
        let gone = || Error::Unavailable("the tenant's key is gone".into());
        let cipher = self.tenant.object_cipher(id, &salt).ok_or_else(gone)?;
        let mut out = Vec::with_capacity(HEAD_LEN + KEY_ID_LEN + sealed_len);
        out.extend_from_slice(MAGIC);
        out.push(self.version);
        if self.version == OF_NAMED {
            out.extend_from_slice(&id.0);
        }
        out.extend_from_slice(&salt);
        out.extend_from_slice(&(sealed_len as u32).to_be_bytes());
        out.extend(seal(&cipher, (self.version, *key), ENVELOPE_INDEX, false, &plain)?);
        self.cipher = Some(cipher);
        Ok(out)
    }
}

impl Source for Encoder {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut out = if self.cipher.is_none() { self.head()? } else { Vec::new() };
        let len = self.object.content.len();
        let Some(cipher) = self.cipher.as_ref().filter(|_| self.next < chunks_of(len)) else {
            return Ok(None);
        };
        let plain = self.object.content.read(self.next * CHUNK_LEN as u64, CHUNK_LEN)?;
        let last = self.next + 1 == chunks_of(len);
        let sealed = seal(cipher, (self.version, self.object.key), self.next, last, &plain)?;
        self.next += 1;
        if out.is_empty() {
            out = sealed;
        } else {
            out.extend_from_slice(&sealed);
        }
        Ok(Some(out))
    }
}

fn seal(cipher: &Aes256Gcm, key: Bound, index: u64, last: bool, plain: &[u8]) -> Result<Vec<u8>> {
    cipher
        .encrypt(Nonce::from_slice(&nonce(index)), Payload { msg: plain, aad: &bound(key, index, last) })
        .map_err(|_| Error::Unavailable("a chunk is too large to seal".into()))
}

/// A stored message, open for reading. Everything it returns was verified.
pub struct Object {
    key: ObjectKey,
    blobs: Arc<dyn Blobs>,
    tenant: TenantKey,
    /// Where newer keys are found.
    keys: Option<Arc<Keys>>,
    sealed: Sealed,
    envelope: Envelope,
    /// One chunk: its number and its plaintext. Reading in order opens each chunk once.
    chunk: Option<(u64, Vec<u8>)>,
}

/// How an object is sealed.
struct Sealed {
    version: u8,
    key: KeyId,
    cipher: Aes256Gcm,
    content_at: u64,
}

/// What stands before the sealed envelope.
struct Head {
    version: u8,
    key: KeyId,
    salt: [u8; SALT_LEN],
    len: usize,
    sealed_len: usize,
}

impl Head {
    fn read(text: &[u8]) -> Option<Head> {
        let (&version, mut rest) = text.strip_prefix(MAGIC)?.split_first()?;
        let key = match version {
            OF_FIRST => KeyId::FIRST,
            OF_NAMED => {
                let (id, after) = rest.split_first_chunk::<KEY_ID_LEN>()?;
                rest = after;
                KeyId(*id)
            }
            _ => return None,
        };
        let (salt, rest) = rest.split_first_chunk::<SALT_LEN>()?;
        let (sealed_len, rest) = rest.split_first_chunk::<4>()?;
        let sealed_len = u32::from_be_bytes(*sealed_len) as usize;
        let len = text.len() - rest.len();
        let good = (TAG_LEN + 4..=ENVELOPE_MAX).contains(&sealed_len);
        good.then_some(Head { version, key, salt: *salt, len, sealed_len })
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("key", &self.key)
            .field("len", &self.envelope.len)
            .finish_non_exhaustive()
    }
}

impl Object {
    /// Opens an object and verifies its envelope and that nothing is missing at its end.
    pub(crate) async fn open(blobs: Arc<dyn Blobs>, key: ObjectKey, tenant: &TenantKey) -> Result<Object> {
        let damaged = || Error::Corrupt(format!("object {key}"));
        let (mut first, total) = blobs.read(key, 0, FIRST_READ_LEN).await?;
        let head = Head::read(&first).ok_or_else(damaged)?;
        let cipher = tenant.object_cipher(head.key, &head.salt).ok_or_else(damaged)?;
        let content_at = head.len + head.sealed_len;
        if first.len() < content_at {
            first = blobs.read(key, 0, content_at + SEALED_CHUNK_LEN).await?.0;
        }
        let sealed = first.get(head.len..content_at).ok_or_else(damaged)?;
        let plain =
            open_sealed(&cipher, (head.version, key), ENVELOPE_INDEX, false, sealed).ok_or_else(damaged)?;
        let envelope = Envelope::parse(&plain).ok_or_else(damaged)?;
        let chunks = chunks_of(envelope.len);
        let expected = chunks
            .checked_mul(TAG_LEN as u64)
            .and_then(|tags| tags.checked_add(envelope.len)?.checked_add(content_at as u64));
        if expected != Some(total) {
            return Err(damaged());
        }
        let sealed = Sealed { version: head.version, key: head.key, cipher, content_at: content_at as u64 };
        let mut object =
            Object { key, blobs, tenant: tenant.for_reading(), keys: None, sealed, envelope, chunk: None };
        if let Some(sealed) = first.get(content_at..content_at + object.sealed_len(0)) {
            object.open_chunk(0, sealed)?;
        }
        Ok(object)
    }

    /// Goes on when its tenant's keys change while it is open.
    pub(crate) fn follow(mut self, keys: Arc<Keys>) -> Object {
        self.keys = Some(keys);
        self
    }

    /// Whether it is sealed with the key that seals now.
    pub(crate) fn is_current(&self) -> bool {
        self.sealed.key == self.tenant.id()
    }

    /// Octets of the message.
    pub fn len(&self) -> u64 {
        self.envelope.len
    }

    /// Whether the message has no octets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it says about itself.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Its name.
    pub fn key(&self) -> ObjectKey {
        self.key
    }

    /// Octets from `offset` on, at most `len` and at most to the end of a chunk of 64 KiB: at least one octet
    /// before the end of the message, none from there on. Reading on from where the last call stopped reads
    /// each chunk once.
    pub async fn read(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        if offset >= self.len() || len == 0 {
            return Ok(&[]);
        }
        let index = offset / CHUNK_LEN as u64;
        if self.chunk.as_ref().is_none_or(|(have, _)| *have != index) {
            self.fetch(index).await?;
        }
        let chunk = self.chunk.as_ref().map_or(&[][..], |(_, plain)| plain);
        let start = (offset % CHUNK_LEN as u64) as usize;
        let end = start.saturating_add(len).min(chunk.len());
        chunk.get(start..end).ok_or_else(|| Error::Corrupt(format!("object {}", self.key)))
    }

    /// The whole message; for one that is small or must be whole.
    pub async fn read_all(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        while (out.len() as u64) < self.len() {
            let piece = self.read(out.len() as u64, CHUNK_LEN).await?;
            out.extend_from_slice(piece);
        }
        Ok(out)
    }

    /// Reads it all and compares with the hash in the envelope.
    pub async fn verify(&mut self) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < self.len() {
            let piece = self.read(at, CHUNK_LEN).await?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
        // An empty message has one chunk too, and `read` has no reason to look at it.
        if self.is_empty() && self.chunk.is_none() {
            self.fetch(0).await?;
        }
        if *hasher.finalize().as_bytes() == self.envelope.hash {
            Ok(())
        } else {
            Err(Error::Corrupt(format!("object {}", self.key)))
        }
    }

    /// Reads and opens a chunk. One that does not open may have been sealed anew since the object was opened, with
    /// a key that came since: then the object is opened again.
    async fn fetch(&mut self, index: u64) -> Result<()> {
        let Err(error) = self.fetch_as_opened(index).await else { return Ok(()) };
        let latest = self.keys.as_ref().and_then(|keys| keys.cached_tenant(self.key.org, Duration::MAX));
        let latest = latest.filter(|latest| !latest.is_same(&self.tenant));
        match (&error, &latest) {
            (Error::Corrupt(_), _) | (Error::Unavailable(_), Some(_)) => {}
            _ => return Err(error),
        }
        let tenant = latest.unwrap_or_else(|| self.tenant.clone());
        let blobs = self.blobs.for_tenant(&tenant).unwrap_or_else(|| self.blobs.clone());
        let Ok(again) = Object::open(blobs, self.key, &tenant).await else { return Err(error) };
        if again.envelope.hash != self.envelope.hash || again.envelope.len != self.envelope.len {
            return Err(error);
        }
        *self = Object { keys: self.keys.take(), ..again };
        self.fetch_as_opened(index).await
    }

    async fn fetch_as_opened(&mut self, index: u64) -> Result<()> {
        let at = self.sealed.content_at + index * SEALED_CHUNK_LEN as u64;
        let (sealed, _) = self.blobs.read(self.key, at, self.sealed_len(index)).await?;
        self.open_chunk(index, &sealed)
    }

    fn sealed_len(&self, index: u64) -> usize {
        let rest = self.len().saturating_sub(index.saturating_mul(CHUNK_LEN as u64));
        rest.min(CHUNK_LEN as u64) as usize + TAG_LEN
    }

    fn open_chunk(&mut self, index: u64, sealed: &[u8]) -> Result<()> {
        let last = index + 1 == chunks_of(self.len());
        let plain = open_sealed(&self.sealed.cipher, (self.sealed.version, self.key), index, last, sealed)
            .ok_or_else(|| Error::Corrupt(format!("object {}, chunk {index}", self.key)))?;
        self.chunk = Some((index, plain));
        Ok(())
    }
}

fn open_sealed(cipher: &Aes256Gcm, key: Bound, index: u64, last: bool, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = sealed.to_vec();
    cipher
        .decrypt_in_place(Nonce::from_slice(&nonce(index)), &bound(key, index, last), &mut plain)
        .ok()
        .map(|()| plain)
}

impl Envelope {
    fn parse(plain: &[u8]) -> Option<Envelope> {
        let (len, rest) = plain.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*len) as usize;
        let mut envelope: Envelope = serde_json::from_slice(rest.get(..len)?).ok()?;
        envelope.meta = rest.get(len..)?.to_vec();
        Some(envelope)
    }
}
