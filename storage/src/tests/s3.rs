//! Objects in a bucket: keys, parts, and every fault that a store can show.

use super::blobs::key;
use super::*;
use crate::objects::{S3Blobs, S3Encryption, S3Options};
use s3_server::S3Server;

#[path = "../../../tests/s3.rs"]
mod s3_server;

pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Octets in pieces of 64 KiB.
pub(super) struct Octets(Vec<u8>, usize);

impl Octets {
    pub fn new(octets: &[u8]) -> Octets {
        Octets(octets.to_vec(), 0)
    }
}

impl Source for Octets {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let piece = self.0[self.1..].chunks(CHUNK_LEN).next().map(<[u8]>::to_vec);
        self.1 += piece.as_ref().map_or(0, Vec::len);
        Ok(piece)
    }
}

/// A bucket of its own for one test.
pub(super) struct Bucket {
    pub server: S3Server,
    dir: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Bucket {
    pub fn plain() -> Bucket {
        Bucket::new(S3Server::start_with(None, 2), TempDir::new())
    }

    pub fn encrypting() -> Bucket {
        let dir = TempDir::new();
        Bucket::new(S3Server::start_with(Some(&dir.path().join("tls")), 2), dir)
    }

    fn new(server: S3Server, dir: TempDir) -> Bucket {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Bucket { server, dir, runtime: runtime.unwrap() }
    }

    pub fn options(&self) -> S3Options {
        S3Options {
            endpoint: self.server.endpoint(),
            region: "auto".into(),
            bucket: s3_server::BUCKET.into(),
            access_key_id: s3_server::KEY_ID.into(),
            secret_access_key: s3_server::SECRET.to_owned().into(),
            path_style: false,
            encryption: S3Encryption::Auto,
            extra_roots_pem: self.server.root().map(|path| std::fs::read(path).unwrap()),
            patience: Duration::from_secs(8),
        }
    }

    pub fn open(&self) -> std::result::Result<S3Blobs, String> {
        self.open_with(self.options())
    }

    pub fn open_with(&self, options: S3Options) -> std::result::Result<S3Blobs, String> {
        let marks = Some(self.dir.path().join("marks"));
        block_on(S3Blobs::open(options, self.runtime.handle().clone(), marks))
    }
}

fn tenant() -> TenantKey {
    let keys = Keys::from_master(&[3; 32]);
    keys.open_tenant(OrgId::random(), &keys.make_tenant_key().unwrap()).unwrap()
}

fn put(blobs: &dyn Blobs, key: ObjectKey, octets: &[u8]) -> Result<()> {
    block_on(blobs.put(key, Box::new(Octets::new(octets))))
}

fn get(blobs: &dyn Blobs, key: ObjectKey) -> Result<Vec<u8>> {
    block_on(blobs.read(key, 0, 64 << 20)).map(|(octets, _)| octets)
}

/// Octets of three parts.
const IN_PARTS: usize = (10 << 20) + 1234;

#[test]
fn sse_c_gives_an_object_for_its_key_only_whole_or_in_parts() {
    let bucket = Bucket::encrypting();
    let blobs = bucket.open().unwrap();
    let [ours, theirs] = [tenant(), tenant()].map(|tenant| blobs.for_tenant(&tenant).unwrap());
    for len in [10, IN_PARTS] {
        let (a, octets) = (key(), pattern(len));
        put(&*ours, a, &octets).unwrap();
        assert!(get(&*ours, a).unwrap() == octets);
        for wrong in [&*theirs, &blobs as &dyn Blobs] {
            let refused = get(wrong, a).unwrap_err();
            assert!(matches!(&refused, Error::Unavailable(why) if why.contains("40")), "{refused:?}");
        }
    }
    assert!(!bucket.server.state().contains("\"sse_c\": false"), "{}", bucket.server.state());
    assert!(bucket.server.state().contains("\"parts\": 3"));
}

#[test]
fn a_store_that_refuses_sse_c_gets_objects_that_we_alone_encrypt() {
    let bucket = Bucket::encrypting();
    bucket.server.faults(r#"[{"do": "refuse_sse_c"}]"#);
    let blobs = bucket.open().unwrap();
    assert!(!blobs.uses_sse_c());
    let of_tenant = blobs.for_tenant(&tenant()).unwrap();
    let a = key();
    put(&*of_tenant, a, b"sealed before").unwrap();
    assert_eq!(get(&*of_tenant, a).unwrap(), b"sealed before");
    let forced = S3Options { encryption: S3Encryption::SseC, ..bucket.options() };
    let why = bucket.open_with(forced).err().unwrap();
    assert!(why.contains("S3_ENCRYPTION=sse-c") && why.contains("403 AccessDenied"), "{why}");
    // Later the store takes keys: what was written without one is read all the same, and the other way round.
    bucket.server.faults("[]");
    let later = bucket.open().unwrap();
    assert!(later.uses_sse_c());
    let key_of_tenant = tenant();
    let later = later.for_tenant(&key_of_tenant).unwrap();
    assert_eq!(get(&*later, a).unwrap(), b"sealed before");
    let b = key();
    put(&*later, b, b"with a key").unwrap();
    let client =
        bucket.open_with(S3Options { encryption: S3Encryption::Client, ..bucket.options() }).unwrap();
    assert_eq!(get(&*client.for_tenant(&key_of_tenant).unwrap(), b).unwrap(), b"with a key");
    assert!(bucket.server.keys().iter().all(|name| name.starts_with("msg/")), "the probes are gone");
}

#[test]
fn a_plain_endpoint_never_sees_a_key() {
    let bucket = Bucket::plain();
    let blobs = bucket.open().unwrap();
    assert!(!blobs.uses_sse_c());
    let a = key();
    put(&*blobs.for_tenant(&tenant()).unwrap(), a, b"x").unwrap();
    get(&*blobs.for_tenant(&tenant()).unwrap(), a).unwrap();
    assert!(!bucket.server.log().contains("\"sse_c\": true"));
    let forced = S3Options { encryption: S3Encryption::SseC, ..bucket.options() };
    assert!(bucket.open_with(forced).err().unwrap().contains("must be https"));
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_when_it_is_opened() {
    let bucket = Bucket::encrypting();
    let patience = Duration::from_secs(2);
    let base = || S3Options { patience, ..bucket.options() };
    for (options, said) in [
        (S3Options { bucket: "another".into(), ..base() }, "NoSuchBucket"),
        (S3Options { access_key_id: "nobody".into(), ..base() }, "check S3_ACCESS_KEY_ID"),
        (S3Options { secret_access_key: "wrong".to_owned().into(), ..base() }, "SignatureDoesNotMatch"),
        (S3Options { endpoint: "http://127.0.0.1:9".into(), ..base() }, "refused"),
        (S3Options { extra_roots_pem: None, ..base() }, "certificate"),
    ] {
        let why = bucket.open_with(options).err().unwrap();
        assert!(why.contains(said) && why.contains("S3_ENDPOINT="), "{said}: {why}");
        assert!(!why.contains(s3_server::SECRET) && !why.contains("wrong"), "{why}");
    }
    assert!(!format!("{:?}", bucket.options()).contains(s3_server::SECRET));
}

#[test]
fn sc11_faults_that_pass_are_waited_out() {
    let bucket = Bucket::plain();
    let blobs = bucket.open().unwrap();
    for fault in [
        r#"{"on": "PUT", "do": "status", "status": 500, "times": 2}"#,
        r#"{"on": "PUT", "do": "status", "status": 503, "code": "SlowDown", "times": 3}"#,
        r#"{"on": "PUT", "do": "lost_answer", "times": 1}"#,
        r#"{"on": "PUT", "do": "store_half", "times": 1}"#,
        r#"{"on": "PUT", "do": "wrong_etag", "times": 1}"#,
        r#"{"on": "HEAD", "do": "status", "status": 503, "times": 2}"#,
        r#"{"on": "POST", "do": "status", "status": 503, "times": 1}"#,
        r#"{"on": "POST", "match": "uploadId", "do": "lost_answer", "times": 1}"#,
        r#"{"on": "GET", "do": "cut_answer", "times": 1}"#,
        r#"{"on": "GET", "do": "status", "status": 500, "times": 1}"#,
    ] {
        for len in [10, IN_PARTS] {
            let (a, octets) = (key(), pattern(len));
            let fault = if len > 10 { fault.replace("store_half", "lost_answer") } else { fault.to_owned() };
            bucket.server.faults(&format!("[{fault}]"));
            put(&blobs, a, &octets).unwrap_or_else(|e| panic!("{fault}, {len}: {e}"));
            assert!(get(&blobs, a).unwrap() == octets, "{fault}, {len}");
            block_on(blobs.delete(&[a])).unwrap();
        }
    }
    assert!(bucket.server.state().contains("\"uploads\": 0"));
}

#[test]
fn sc11_faults_that_stay_leave_no_object_and_are_reported_in_time() {
    let bucket = Bucket::plain();
    let patience = Duration::from_millis(1500);
    let blobs = bucket.open_with(S3Options { patience, ..bucket.options() }).unwrap();
    for fault in [
        r#"{"on": "PUT", "do": "status", "status": 503, "code": "SlowDown"}"#,
        r#"{"on": "PUT", "do": "status", "status": 403, "code": "AccessDenied"}"#,
        r#"{"on": "PUT", "do": "store_half"}"#,
        r#"{"on": "PUT", "do": "wrong_etag"}"#,
        r#"{"on": "HEAD", "do": "wrong_checksum"}"#,
        r#"{"on": "PUT", "do": "hang", "secs": 30}"#,
        r#"{"on": "PUT", "do": "redirect", "to": "http://127.0.0.1:9"}"#,
        r#"{"on": "PUT", "do": "lost_answer"}"#,
    ] {
        bucket.server.faults(&format!("[{fault}]"));
        let begun = std::time::Instant::now();
        let a = key();
        let outcome = put(&blobs, a, b"octets of no use");
        if fault.contains("lost_answer") {
            // What arrived is known by its name: asking again finds it.
            assert_eq!(outcome, Ok(()), "{fault}");
        } else {
            assert!(matches!(outcome, Err(Error::Unavailable(_))), "{fault}: {outcome:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{fault}: {:?}", begun.elapsed());
        bucket.server.faults("[]");
    }
}

#[test]
fn sc11_an_object_that_is_there_is_not_written_over() {
    let bucket = Bucket::plain();
    let blobs = bucket.open().unwrap();
    let a = key();
    put(&blobs, a, b"first").unwrap();
    assert!(put(&blobs, a, b"other").is_err());
    assert_eq!(get(&blobs, a).unwrap(), b"first");
    put(&blobs, a, b"first").unwrap();
}

#[test]
fn sc11_a_clock_that_differs_is_learned_from_the_store() {
    let bucket = Bucket::plain();
    for ahead in [-90_000, 7_200] {
        bucket.server.clock(ahead);
        let blobs = bucket.open().unwrap();
        let a = key();
        put(&blobs, a, b"x").unwrap();
        assert_eq!(get(&blobs, a).unwrap(), b"x");
    }
}

#[test]
fn sc11_a_message_is_not_accepted_while_the_store_is_away_and_is_when_it_is_back() {
    let bucket = Bucket::plain();
    let blobs = bucket.open_with(S3Options { patience: Duration::from_secs(1), ..bucket.options() }).unwrap();
    let mut world = World::new();
    world.reopen_with(Arc::new(blobs));
    bucket.server.faults(r#"[{"on": "PUT", "do": "status", "status": 503}]"#);
    assert!(matches!(world.accept("Subject: x\r\n\r\nfirst\r\n"), Err(Error::Unavailable(_))));
    bucket.server.faults("[]");
    assert!(bucket.server.keys().is_empty(), "nothing of it stays");
    let placed = world.accept("Subject: x\r\n\r\nthe second text\r\n").unwrap();
    assert_eq!(world.read(placed[0].row.message).unwrap(), b"Subject: x\r\n\r\nthe second text\r\n");
    for name in bucket.server.keys() {
        assert!(!bucket.server.raw(&name).windows(10).any(|w| w == b"the second"), "{name} is in clear");
    }
    assert!(block_on(world.storage.check(false)).unwrap().is_clean());
}

#[test]
fn sc1_rows_are_rebuilt_from_the_bucket_and_what_was_never_acknowledged_is_not() {
    let bucket = Bucket::plain();
    let mut world = World::new();
    world.reopen_with(Arc::new(bucket.open().unwrap()));
    let kept = world.accept("kept\r\n").unwrap()[0].row.message;
    let lost = world.accept("lost by the database\r\n").unwrap()[0].row.message;
    // An upload that was under way when the process was killed.
    let half = ObjectKey::stored(world.org.id, world.mailbox.id, MessageId::random());
    let tenant = block_on(world.storage.inner.tenant(world.org.id)).unwrap();
    let content = Content::new(Vec::new(), &Spool::from_bytes(b"half\r\n".to_vec()), &[]).unwrap();
    let sequence = world.storage.inner.next_sequence();
    let envelope = Envelope { sequence, ..super::format::envelope() };
    let object = crate::objects::NewObject { key: half, envelope, content };
    let blobs = bucket.open().unwrap();
    block_on(blobs.put(half, Box::new(crate::objects::Encoder::new(object, tenant)))).unwrap();
    world.reopen_with(Arc::new(bucket.open().unwrap()));
    let report = world.storage.start_report();
    assert_eq!((report.missing.len(), report.unacknowledged), (0, 1), "{report:?}");
    super::check::lose_row(&world, lost);
    world.reopen_with(Arc::new(bucket.open().unwrap()));
    let report = world.storage.start_report();
    assert_eq!((report.missing.len(), report.restored), (2, 2), "twice is better than never: {report:?}");
    assert_eq!(world.read(lost).unwrap(), b"lost by the database\r\n");
    assert_eq!(world.read(kept).unwrap(), b"kept\r\n");
    assert!(block_on(world.storage.check(false)).unwrap().is_clean());
}
