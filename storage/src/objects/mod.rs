//! Encrypted objects: their names, their form, and where they rest.
//!
//! A message's source is an object of its own for every mailbox that received it, encrypted with its
//! organisation's key; a queued message is one object for all jobs of its submission. [`Blobs`] stores
//! opaque octets under an [`ObjectKey`]; `format` makes and reads those octets; `content` says what goes in.

mod content;
mod format;
mod local;

use std::fmt;
use std::time::SystemTime;

pub use content::Content;
pub use format::{CHUNK_LEN, Envelope, EnvelopeJob, Object, Place};
pub(crate) use format::{Encoder, NewObject};
pub use local::LocalBlobs;
#[cfg(test)]
pub(crate) use local::Step;

use crate::error::Result;
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
}

const QUEUE: &str = "queue";
const SUFFIX: &str = ".eml";

impl ObjectKey {
    /// The object of a message in a mailbox.
    pub fn stored(org: OrgId, mailbox: MailboxId, message: MessageId) -> ObjectKey {
        ObjectKey { org, mailbox: Some(mailbox), message }
    }

    /// The body of a queued message.
    pub fn queued(org: OrgId, message: MessageId) -> ObjectKey {
        ObjectKey { org, mailbox: None, message }
    }

    /// Reads what `Display` wrote; `None` for any other text. Identifiers have one spelling, so two texts
    /// never name one object, and no text with separators, dots or control characters in a segment passes.
    pub fn parse(text: &str) -> Option<ObjectKey> {
        let mut segments = text.split('/');
        let (kind, org, place, file) =
            (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
        if kind != "msg" || segments.next().is_some() {
            return None;
        }
        let mailbox = if place == QUEUE { None } else { Some(MailboxId::parse(place)?) };
        let message = MessageId::parse(file.strip_suffix(SUFFIX)?)?;
        Some(ObjectKey { org: OrgId::parse(org)?, mailbox, message })
    }

    /// Everything of one organisation.
    pub fn org_prefix(org: OrgId) -> String {
        format!("msg/{org}/")
    }

    /// Everything of one mailbox, or of an organisation's queue.
    pub fn place_prefix(org: OrgId, mailbox: Option<MailboxId>) -> String {
        match mailbox {
            Some(mailbox) => format!("msg/{org}/{mailbox}/"),
            None => format!("msg/{org}/{QUEUE}/"),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ObjectKey::place_prefix(self.org, self.mailbox))?;
        write!(f, "{}{SUFFIX}", self.message)
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

/// Where objects rest. What is put is never changed, only deleted.
///
/// A lack of space or a failing device is [`Error::Unavailable`](crate::Error::Unavailable).
#[async_trait::async_trait]
pub trait Blobs: Send + Sync {
    /// Stores an object. `Ok` means that it and its name survive a loss of power.
    async fn put(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()>;
    /// At most `len` octets from `offset`, fewer at the end; and the length of the whole object.
    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)>;
    /// Notes that the rows of objects were committed. What is noted survives the end of the process, and a loss
    /// of power only once something was made durable after it. Where it cannot be kept nothing is done; an
    /// object that is not there is no error.
    async fn confirm(&self, keys: &[ObjectKey]) -> Result<()> {
        let _ = keys;
        Ok(())
    }
    /// Removes objects; one that is not there is no error. On an error some may be gone.
    async fn delete(&self, keys: &[ObjectKey]) -> Result<()>;
    /// The objects under a prefix ending in `/` (`msg/` is all), in no order. Files with other names are left out.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>>;
    /// At least the `n` newest objects, or all when there are fewer.
    async fn newest(&self, n: usize) -> Result<Vec<Listed>>;
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
        ] {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        let org = OrgId(Id([1; 16]));
        let good = ObjectKey::queued(org, MessageId(Id([3; 16]))).to_string();
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
            String::new(),
        ] {
            assert_eq!(ObjectKey::parse(&bad), None, "{bad:?}");
        }
    }
}
