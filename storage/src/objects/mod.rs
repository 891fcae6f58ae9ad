//! Encrypted objects: their names, their form, and where they rest.
//!
//! A message's source is an object of its own for every mailbox that received it, encrypted with its
//! organisation's key; a queued message is one object for all jobs of its submission. [`Blobs`] stores
//! opaque octets under an [`ObjectKey`]; `format` makes and reads those octets; `content` says what goes in.

mod content;
mod format;
mod local;
mod s3;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use content::Content;
pub use format::{CHUNK_LEN, Envelope, EnvelopeJob, Object, Place};
pub(crate) use format::{Encoder, NewObject};
pub use local::LocalBlobs;
#[cfg(test)]
pub(crate) use local::Step;
pub use s3::{S3_PATIENCE, S3Blobs, S3Encryption, S3Options};

use crate::error::Result;
use crate::keys::TenantKey;
use crate::types::{MailboxId, MessageId, OrgId};

/// The name of an object: only well-formed names can be made, and each lies under its organisation's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Whose it is.
    pub org: OrgId,
    /// The mailbox; none is the organisation's queue.
    pub mailbox: Option<MailboxId>,
    /// The message.
    pub message: MessageId,
    /// All of it, or which part.
    pub part: ObjectPart,
}

/// What of a message an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectPart {
    /// All of it, as it came.
    Message,
    /// An attachment, decoded.
    Attachment(PartPath),
    /// Another part, decoded.
    Parsed(PartPath),
}

/// The number of a part as IMAP counts them (RFC 9051 §6.4.5): `2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartPath {
    len: u8,
    numbers: [u16; PART_DEPTH_MAX],
}

/// Levels of a part that is an object of its own.
pub const PART_DEPTH_MAX: usize = 6;

impl PartPath {
    /// None when it is too deep, or the number of none.
    pub fn new(path: &[u32]) -> Option<PartPath> {
        let mut numbers = [0; PART_DEPTH_MAX];
        if path.is_empty() || path.len() > PART_DEPTH_MAX {
            return None;
        }
        for (to, from) in numbers.iter_mut().zip(path) {
            *to = u16::try_from(*from).ok().filter(|n| *n > 0)?;
        }
        Some(PartPath { len: path.len() as u8, numbers })
    }

    fn parse(text: &str) -> Option<PartPath> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| n.to_string() == text);
        let path: Vec<u32> = text.split('.').take(PART_DEPTH_MAX + 1).map(number).collect::<Option<_>>()?;
        PartPath::new(&path)
    }

    fn numbers(&self) -> &[u16] {
        &self.numbers[..usize::from(self.len)]
    }
}

impl fmt::Display for PartPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, number) in self.numbers().iter().enumerate() {
            write!(f, "{}{number}", if n == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

const QUEUE: &str = "queue";
const SUFFIX: &str = ".eml";
/// The beginnings of names by what the objects are.
const MESSAGES: &str = "msg";
const ATTACHMENTS: &str = "att";
const PARSED: &str = "part";

impl ObjectKey {
    /// The object of a message in a mailbox.
    pub fn stored(org: OrgId, mailbox: MailboxId, message: MessageId) -> ObjectKey {
        ObjectKey { org, mailbox: Some(mailbox), message, part: ObjectPart::Message }
    }

    /// The body of a queued message.
    pub fn queued(org: OrgId, message: MessageId) -> ObjectKey {
        ObjectKey { org, mailbox: None, message, part: ObjectPart::Message }
    }

    /// Reads what `Display` wrote; `None` for any other text. Identifiers have one spelling, so two texts
    /// never name one object, and no text with separators, dots or control characters in a segment passes.
    pub fn parse(text: &str) -> Option<ObjectKey> {
        let mut segments = text.split('/');
        let (kind, org, place, file) =
            (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
        let (org, last) = (OrgId::parse(org)?, segments.next());
        if segments.next().is_some() {
            return None;
        }
        let mailbox = if place == QUEUE { None } else { Some(MailboxId::parse(place)?) };
        let (message, part) = match (kind, last) {
            (MESSAGES, None) => (file.strip_suffix(SUFFIX)?, ObjectPart::Message),
            (ATTACHMENTS, Some(path)) => (file, ObjectPart::Attachment(PartPath::parse(path)?)),
            (PARSED, Some(path)) => (file, ObjectPart::Parsed(PartPath::parse(path)?)),
            _ => return None,
        };
        if mailbox.is_none() && part != ObjectPart::Message {
            return None;
        }
        Some(ObjectKey { org, mailbox, message: MessageId::parse(message)?, part })
    }

    /// All messages of one organisation.
    pub fn org_prefix(org: OrgId) -> String {
        format!("{MESSAGES}/{org}/")
    }

    /// Everything of one organisation.
    pub fn org_prefixes(org: OrgId) -> [String; 3] {
        [MESSAGES, ATTACHMENTS, PARSED].map(|kind| format!("{kind}/{org}/"))
    }

    /// All messages of one mailbox, or of an organisation's queue.
    pub fn place_prefix(org: OrgId, mailbox: Option<MailboxId>) -> String {
        match mailbox {
            Some(mailbox) => format!("{MESSAGES}/{org}/{mailbox}/"),
            None => format!("{MESSAGES}/{org}/{QUEUE}/"),
        }
    }

    /// The parts of one message of a mailbox, or of all.
    pub fn part_prefixes(org: OrgId, mailbox: MailboxId, message: Option<MessageId>) -> [String; 2] {
        [ATTACHMENTS, PARSED].map(|kind| match message {
            Some(message) => format!("{kind}/{org}/{mailbox}/{message}/"),
            None => format!("{kind}/{org}/{mailbox}/"),
        })
    }

    /// What tells a part from its message, where an object is bound to its name.
    fn part_octets(&self) -> Vec<u8> {
        let (kind, path) = match &self.part {
            ObjectPart::Message => return Vec::new(),
            ObjectPart::Attachment(path) => (1, path),
            ObjectPart::Parsed(path) => (2, path),
        };
        std::iter::once(kind).chain(path.numbers().iter().flat_map(|n| n.to_be_bytes())).collect()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = match &self.part {
            ObjectPart::Message => {
                f.write_str(&ObjectKey::place_prefix(self.org, self.mailbox))?;
                return write!(f, "{}{SUFFIX}", self.message);
            }
            ObjectPart::Attachment(path) => (ATTACHMENTS, path),
            ObjectPart::Parsed(path) => (PARSED, path),
        };
        let place = self.mailbox.map_or_else(|| QUEUE.to_owned(), |mailbox| mailbox.to_string());
        write!(f, "{kind}/{}/{place}/{}/{path}", self.org, self.message)
    }
}

/// The octets of an object to be stored, piece by piece. It runs where blocking is allowed.
pub trait Source: Send + 'static {
    /// The next piece, none at the end. An error gives the object up.
    fn next(&mut self) -> Result<Option<Vec<u8>>>;
}

/// An object that a listing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: ObjectKey,
    /// Octets it takes.
    pub len: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Whether its rows were committed, as [`Blobs::confirm`] was told; none where that is not kept.
    pub confirmed: Option<bool>,
}

/// Where objects rest. What is put is never changed, only deleted, or sealed anew with another key.
///
/// A lack of space or a failing device is [`Error::Unavailable`](crate::Error::Unavailable).
#[async_trait::async_trait]
pub trait Blobs: Send + Sync {
    /// Stores an object. `Ok` means that it and its name survive a loss of power.
    async fn put(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()>;
    /// Stores other octets for the same object under the name that it has, at once: whoever reads gets all of the old
    /// or of the new ones. It is not confirmed any more.
    async fn replace(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()> {
        self.put(key, source).await
    }
    /// At most `len` octets from `offset`, fewer at the end; and the length of the whole object.
    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)>;
    /// Notes that the rows of objects were committed. What is noted survives the end of the process, and a loss
    /// of power only once something was made durable after it. Where it cannot be kept nothing is done; an
    /// object that is not there is no error.
    async fn confirm(&self, keys: &[ObjectKey]) -> Result<()> {
        let _ = keys;
        Ok(())
    }
    /// Whether marks were made since before the first object, and can be relied on to be there. Else a mark must be
    /// seen before its absence says anything: earlier versions made none, and a copy may have lost them.
    async fn marks_from_the_start(&self) -> bool {
        false
    }
    /// Removes objects; one that is not there is no error. On an error some may be gone.
    async fn delete(&self, keys: &[ObjectKey]) -> Result<()>;
    /// The objects under a prefix ending in `/` (`msg/` is all messages), in no order. Files with other names are left out.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>>;
    /// At least the `n` newest objects, or all when there are fewer.
    async fn newest(&self, n: usize) -> Result<Vec<Listed>>;
    /// Removes what was begun long ago and never became an object.
    async fn sweep(&self) -> Result<()> {
        Ok(())
    }
    /// The same objects as they are stored with a tenant's keys; none where stored octets do not depend on them.
    fn for_tenant(&self, tenant: &TenantKey) -> Option<Arc<dyn Blobs>> {
        let _ = tenant;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Id;

    #[test]
    fn keys_have_one_spelling() {
        let [a, b, c] = [1, 2, 3].map(|n| Id([n; 16]));
        for key in [
            ObjectKey::stored(OrgId(a), MailboxId(b), MessageId(c)),
            ObjectKey::queued(OrgId(a), MessageId(c)),
            ObjectKey {
                part: ObjectPart::Attachment(PartPath::new(&[2, 1, 65_535]).unwrap()),
                ..ObjectKey::stored(OrgId(a), MailboxId(b), MessageId(c))
            },
            ObjectKey {
                part: ObjectPart::Parsed(PartPath::new(&[1]).unwrap()),
                ..ObjectKey::stored(OrgId(a), MailboxId(b), MessageId(c))
            },
        ] {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        let org = OrgId(Id([1; 16]));
        let good = ObjectKey::queued(org, MessageId(Id([3; 16]))).to_string();
        let part = format!("att/{org}/{}/{}/2.1", MailboxId(Id([2; 16])), MessageId(Id([3; 16])));
        assert!(ObjectKey::parse(&part).is_some());
        for bad in [
            good.replace("queue", ".."),
            good.replace("queue", "queue/.."),
            good.replace("queue", "QUEUE"),
            good.replace("msg/", "msg//"),
            good.replace("msg/", "/msg/"),
            good.replace(".eml", ""),
            good.replace(".eml", ".eml\0"),
            good.replace(&org.to_string(), &org.to_string().to_uppercase().replace('0', "O")),
            format!("{good}/x"),
            part.replace("/2.1", "/2..1"),
            part.replace("/2.1", "/02.1"),
            part.replace("/2.1", "/2.0"),
            part.replace("/2.1", "/1.1.1.1.1.1.1"),
            part.replace("/2.1", ""),
            part.replace("att/", "msg/"),
            String::new(),
        ] {
            assert_eq!(ObjectKey::parse(&bad), None, "{bad:?}");
        }
    }
}
