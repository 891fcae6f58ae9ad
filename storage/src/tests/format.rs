//! What damage of an object's octets is found.

use super::*;
use crate::objects::{Encoder, NewObject};

struct Sample {
    blobs: Arc<MemoryBlobs>,
    key: ObjectKey,
    tenant: TenantKey,
}

fn tenant(org: OrgId) -> TenantKey {
    let keys = Keys::from_master(&MASTER);
    keys.open_tenant(org, &keys.make_tenant_key().unwrap()).unwrap()
}

pub(super) fn envelope() -> Envelope {
    Envelope {
        place: Place::Folder {
            folder: None,
            internal_date_ms: NOW.0,
            flags: 0,
            keywords: vec!["$Label1".into()],
        },
        sender: "bob@example.org".into(),
        recipients: vec!["alice@example.com".into()],
        received_ms: NOW.0,
        len: 0,
        hash: [0; 32],
        sequence: 7,
        wrapped_key: None,
        meta: b"structure".to_vec(),
    }
}

fn put(blobs: &Arc<MemoryBlobs>, key: ObjectKey, tenant: &TenantKey, text: &[u8]) {
    let content = Content::new(Vec::new(), &Spool::from_bytes(text.to_vec()), &[]).unwrap();
    let object = NewObject { key, envelope: envelope(), content };
    block_on(blobs.put(key, Box::new(Encoder::new(object, tenant.clone())))).unwrap();
}

impl Sample {
    fn new(text: &[u8]) -> Sample {
        let org = OrgId::random();
        let key = ObjectKey::stored(org, MailboxId::random(), MessageId::random());
        let sample = Sample { blobs: Arc::default(), key, tenant: tenant(org) };
        put(&sample.blobs, key, &sample.tenant, text);
        sample
    }

    fn octets(&self) -> Vec<u8> {
        self.blobs.0.lock().unwrap()[&self.key].clone()
    }

    fn replace(&self, octets: Vec<u8>) {
        self.blobs.0.lock().unwrap().insert(self.key, octets);
    }

    fn read(&self) -> Result<Vec<u8>> {
        self.read_with(&self.tenant)
    }

    fn read_with(&self, tenant: &TenantKey) -> Result<Vec<u8>> {
        block_on(async {
            let mut object = Object::open(self.blobs.clone(), self.key, tenant).await?;
            let text = object.read_all().await?;
            object.verify().await?;
            Ok(text)
        })
    }

    fn assert_damaged(&self, octets: Vec<u8>, how: &str) {
        self.replace(octets);
        match self.read() {
            Err(Error::Corrupt(what)) => assert!(what.contains(&self.key.to_string()), "{how}: {what}"),
            other => panic!("{how}: {:?}", other.map(|text| text.len())),
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn objects_of_every_shape_are_read_back_in_ranges() {
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN, 3 * CHUNK_LEN + 5] {
        let text = pattern(len);
        let sample = Sample::new(&text);
        assert_eq!(sample.read().unwrap(), text);
        let mut object = block_on(Object::open(sample.blobs.clone(), sample.key, &sample.tenant)).unwrap();
        assert_eq!(object.len(), len as u64);
        assert_eq!(object.envelope().meta, b"structure");
        assert_eq!(object.envelope().hash, *blake3::hash(&text).as_bytes());
        for offset in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, len.saturating_sub(1), len, len + 1] {
            let piece = block_on(object.read(offset as u64, 100)).unwrap();
            let to_chunk_end = CHUNK_LEN - offset % CHUNK_LEN;
            let end = len.min(offset + 100.min(to_chunk_end)).max(offset.min(len));
            assert_eq!(piece, &text[offset.min(len)..end], "{len} {offset}");
        }
    }
}

#[test]
fn sc6_every_changed_octet_of_an_object_is_found() {
    for text in [&b""[..], b"Subject: x\r\n\r\nbody\r\n"] {
        let sample = Sample::new(text);
        let whole = sample.octets();
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 1 << (i % 8);
            sample.assert_damaged(changed, &format!("octet {i} changed"));
        }
        for len in 0..whole.len() {
            sample.assert_damaged(whole[..len].to_vec(), &format!("cut to {len}"));
        }
        sample.assert_damaged([&whole[..], b"x"].concat(), "one octet more");
    }
}

#[test]
fn sc6_changes_in_every_chunk_of_a_large_object_are_found() {
    let sample = Sample::new(&pattern(2 * CHUNK_LEN + 1000));
    let whole = sample.octets();
    let sealed = CHUNK_LEN + 16;
    let content_at = whole.len() - 2 * sealed - 1016;
    for at in [content_at, content_at + sealed, content_at + 2 * sealed] {
        let end = whole.len().min(at + sealed);
        for i in [at, at + 500, end - 17, end - 16, end - 1] {
            let mut changed = whole.clone();
            changed[i] ^= 0x10;
            sample.assert_damaged(changed, &format!("octet {i} changed"));
        }
        sample.assert_damaged(whole[..at].to_vec(), "cut at a chunk");
    }
    let mut swapped = whole.clone();
    let (first, second) = swapped[content_at..].split_at_mut(sealed);
    first.swap_with_slice(&mut second[..sealed]);
    sample.assert_damaged(swapped, "chunks swapped");
    let mut dropped = whole[..content_at].to_vec();
    dropped.extend_from_slice(&whole[content_at + sealed..]);
    sample.assert_damaged(dropped, "first chunk dropped");
}

#[test]
fn sc16_an_object_opens_only_in_its_own_place() {
    let sample = Sample::new(b"secret");
    let whole = sample.octets();
    assert!(matches!(sample.read_with(&tenant(sample.key.org)), Err(Error::Corrupt(_))), "another key");
    let elsewhere = [
        ObjectKey { org: OrgId::random(), ..sample.key },
        ObjectKey { mailbox: Some(MailboxId::random()), ..sample.key },
        ObjectKey { mailbox: None, ..sample.key },
        ObjectKey { message: MessageId::random(), ..sample.key },
    ];
    for key in elsewhere {
        let moved = Sample { blobs: Arc::default(), key, tenant: sample.tenant.clone() };
        moved.assert_damaged(whole.clone(), &format!("moved to {key}"));
    }
}

#[test]
fn sc16_a_chunk_of_an_earlier_object_of_the_same_name_does_not_fit() {
    let sample = Sample::new(&pattern(CHUNK_LEN + 100));
    let old = sample.octets();
    put(&sample.blobs, sample.key, &sample.tenant, &pattern(CHUNK_LEN + 100));
    let mut mixed = sample.octets();
    let last = mixed.len() - 116;
    mixed[last..].copy_from_slice(&old[last..]);
    sample.assert_damaged(mixed, "last chunk rolled back");
    // Salts are random, so the same text never makes the same octets.
    assert_ne!(sample.octets()[8..24], old[8..24]);
}

#[test]
fn an_envelope_larger_than_the_first_read_is_read_whole() {
    let sample = Sample::new(b"x");
    let content = Content::new(Vec::new(), &Spool::from_bytes(b"text".to_vec()), &[]).unwrap();
    let envelope = Envelope { meta: pattern(200_000), ..envelope() };
    let object = NewObject { key: sample.key, envelope, content };
    block_on(sample.blobs.put(sample.key, Box::new(Encoder::new(object, sample.tenant.clone())))).unwrap();
    let mut object = block_on(Object::open(sample.blobs.clone(), sample.key, &sample.tenant)).unwrap();
    assert_eq!(object.envelope().meta, pattern(200_000));
    assert_eq!(block_on(object.read_all()).unwrap(), b"text");
}
