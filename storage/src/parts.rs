//! Attachments, and when it is asked for the other parts of a message, as objects of their own: decoded, so that they
//! can be handed out without the message. They come with the message and go with it.

use std::collections::{HashMap, HashSet};

use futures_lite::future::block_on;
use protocol_core::Timestamp;
use protocol_core::message::decode::Decoder;
use protocol_core::message::{Part, Structure};

use crate::e2ee::Recipient;
use crate::error::Result;
use crate::facade::Inner;
use crate::objects::{CHUNK_LEN, Content, ObjectKey, ObjectPart, PartPath, Place};
use crate::spool::Spool;

/// Parts of one message that are objects of their own; further ones are in the message only.
pub const PART_OBJECTS_MAX: usize = 100;

/// A part as it is stored.
pub(crate) struct PartObject {
    pub key: ObjectKey,
    pub place: Place,
    pub content: Content,
}

impl Inner {
    /// The parts of a message that are stored beside it. With a recipient they are encrypted to it, and nothing but
    /// attachments is stored.
    pub(crate) async fn parts_of(
        &self,
        message: ObjectKey,
        content: &Content,
        structure: &Structure,
        recipient: Option<&Recipient>,
        at: Timestamp,
    ) -> Result<Vec<PartObject>> {
        let mut out = Vec::new();
        for (index, part) in structure.leaves() {
            let Some(path) = PartPath::new(&structure.path(index)) else { continue };
            let kind = match (part.is_attachment(), self.parsed_parts && recipient.is_none()) {
                (true, _) => ObjectPart::Attachment(path),
                (false, true) => ObjectPart::Parsed(path),
                (false, false) => continue,
            };
            if out.len() >= PART_OBJECTS_MAX {
                break;
            }
            let decoded = self.decoded(content, part).await?;
            let (decoded, file_name) = match recipient {
                None => (decoded, part.file_name()),
                Some(recipient) => {
                    let spool = Spool::new(self.spool_dir.clone(), u64::MAX);
                    let plain = Content::new(Vec::new(), &decoded, &[])?;
                    // What a file is called is as secret as what is in it.
                    (recipient.encrypt_octets(plain, spool, at).await?, None)
                }
            };
            let media_type = match recipient {
                None => format!("{}/{}", part.media_type, part.media_subtype),
                Some(_) => "application/octet-stream".into(),
            };
            out.push(PartObject {
                key: ObjectKey { part: kind, ..message },
                place: Place::Part { media_type, file_name },
                content: Content::new(Vec::new(), &decoded, &[])?,
            });
        }
        Ok(out)
    }

    /// A part's body without its transfer encoding.
    async fn decoded(&self, content: &Content, part: &Part) -> Result<Spool> {
        let (content, range) = (content.clone(), part.body());
        let mut decoder = Decoder::new(&part.encoding);
        let mut spool = Spool::new(self.spool_dir.clone(), u64::MAX);
        blocking::unblock(move || {
            let (mut at, mut out) = (range.start, Vec::new());
            while at < range.end {
                let piece = content.read(at, (range.end - at).min(CHUNK_LEN as u64) as usize)?;
                if piece.is_empty() {
                    break;
                }
                at += piece.len() as u64;
                decoder.feed(&piece, &mut out);
                block_on(spool.write(&out))?;
                out.clear();
            }
            decoder.finish(&mut out);
            block_on(spool.write(&out))?;
            Ok(spool)
        })
        .await
    }

    /// The objects of parts of these messages.
    pub(crate) async fn part_keys(&self, messages: &[ObjectKey]) -> Result<Vec<ObjectKey>> {
        let mut by_place: HashMap<_, HashSet<_>> = HashMap::new();
        for key in messages.iter().filter(|key| key.part == ObjectPart::Message) {
            if let Some(mailbox) = key.mailbox {
                by_place.entry((key.org, mailbox)).or_default().insert(key.message);
            }
        }
        let mut found = Vec::new();
        for ((org, mailbox), messages) in by_place {
            let prefixes: Vec<String> = match messages.len() {
                // One listing of the mailbox for many messages, one for each of a few.
                5.. => ObjectKey::part_prefixes(org, mailbox, None).into(),
                _ => messages.iter().flat_map(|m| ObjectKey::part_prefixes(org, mailbox, Some(*m))).collect(),
            };
            for prefix in prefixes {
                let listed = self.blobs.list(&prefix).await?;
                found.extend(listed.iter().map(|o| o.key).filter(|key| messages.contains(&key.message)));
            }
        }
        Ok(found)
    }
}
