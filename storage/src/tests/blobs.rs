//! What every place for objects must do: the same test over files, memory and a bucket.

use super::*;
use crate::objects::{S3Blobs, S3Options};
use crate::tests::s3::{Bucket, Octets, pattern};

#[path = "../../../tests/ports.rs"]
mod ports;

pub(super) fn key() -> ObjectKey {
    ObjectKey::stored(OrgId::random(), MailboxId::random(), MessageId::random())
}

async fn put(blobs: &dyn Blobs, key: ObjectKey, octets: &[u8]) {
    blobs.put(key, Box::new(Octets::new(octets))).await.unwrap();
}

/// Names and lengths under a prefix.
async fn listed(blobs: &dyn Blobs, prefix: &str) -> Vec<(ObjectKey, u64)> {
    let mut found: Vec<_> = blobs.list(prefix).await.unwrap().iter().map(|o| (o.key, o.len)).collect();
    found.sort();
    found
}

async fn conformance(blobs: &dyn Blobs) {
    let a = key();
    let b = ObjectKey::queued(a.org, MessageId::random());
    let c = key();
    put(blobs, a, b"one two").await;
    put(blobs, b, b"x").await;
    put(blobs, c, &pattern(300_000)).await;
    assert_eq!(blobs.read(a, 0, 100).await.unwrap(), (b"one two".to_vec(), 7));
    assert_eq!(blobs.read(a, 2, 4).await.unwrap(), (b"e tw".to_vec(), 7));
    assert_eq!(blobs.read(a, 6, 100).await.unwrap(), (b"o".to_vec(), 7));
    assert_eq!(blobs.read(a, 7, 1).await.unwrap(), (Vec::new(), 7));
    assert_eq!(blobs.read(a, 900, 1).await.unwrap(), (Vec::new(), 7));
    assert_eq!(blobs.read(c, 131_071, 70_000).await.unwrap().0, pattern(300_000)[131_071..201_071]);
    assert_eq!(blobs.read(key(), 0, 1).await, Err(Error::NotFound));
    let mut all = vec![(a, 7), (b, 1), (c, 300_000)];
    all.sort();
    assert_eq!(listed(blobs, "msg/").await, all);
    let mut of_org = vec![(a, 7), (b, 1)];
    of_org.sort();
    assert_eq!(listed(blobs, &ObjectKey::org_prefix(a.org)).await, of_org);
    assert_eq!(listed(blobs, &ObjectKey::place_prefix(a.org, None)).await, [(b, 1)]);
    assert_eq!(listed(blobs, &ObjectKey::place_prefix(c.org, None)).await, []);
    assert!(blobs.newest(2).await.unwrap().len() >= 2);
    blobs.confirm(&[a, key()]).await.unwrap();
    blobs.replace(a, Box::new(Octets::new(b"another"))).await.unwrap();
    assert_eq!(blobs.read(a, 0, 100).await.unwrap(), (b"another".to_vec(), 7));
    blobs.sweep().await.unwrap();
    blobs.delete(&[a, key()]).await.unwrap();
    blobs.delete(&[a]).await.unwrap();
    assert_eq!(blobs.read(a, 0, 1).await, Err(Error::NotFound));
    assert_eq!(listed(blobs, "msg/").await.len(), 2);
}

#[test]
fn objects_as_files() {
    let dir = TempDir::new();
    block_on(conformance(&LocalBlobs::open(dir.path()).unwrap()));
}

#[test]
fn objects_in_memory() {
    block_on(conformance(&MemoryBlobs::default()));
}

#[test]
fn objects_in_a_bucket() {
    let bucket = Bucket::plain();
    block_on(conformance(&bucket.open().unwrap()));
}

#[test]
fn objects_in_a_bucket_that_encrypts() {
    let bucket = Bucket::encrypting();
    let blobs = bucket.open().unwrap();
    assert!(blobs.uses_sse_c());
    let keys = Keys::from_master(&MASTER);
    let tenant = keys.open_tenant(OrgId::random(), &keys.make_tenant_key().unwrap()).unwrap();
    block_on(conformance(&*blobs.for_tenant(&tenant).unwrap()));
}

/// A server that others wrote, which knows neither keys nor conditions as we use them.
struct Moto(std::process::Child, u16);

impl Moto {
    fn start() -> Option<Moto> {
        use std::process::{Command, Stdio};
        let python = |code: &str| {
            let mut command = Command::new("python3");
            command.args(["-B", "-c", code]).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if !python("import moto.server").status().is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(), "not installed: python3:moto");
            eprintln!("left out, not installed: python3:moto");
            return None;
        }
        let port = ports::free_port();
        let code = format!("from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])");
        let moto = Moto(python(&code).spawn().unwrap(), port);
        let begun = std::time::Instant::now();
        while !moto.made_bucket() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    fn made_bucket(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.1)) else { return false };
        let head =
            "PUT /inbox-mail HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_end(&mut answer)).is_ok()
            && answer.starts_with(b"HTTP/1.1 200")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn objects_in_a_bucket_of_another_server() {
    let Some(moto) = Moto::start() else { return };
    let bucket = Bucket::plain();
    let endpoint = format!("http://127.0.0.1:{}", moto.1);
    let blobs = bucket.open_with(S3Options { endpoint, region: "us-east-1".into(), ..bucket.options() });
    block_on(conformance(&blobs.unwrap()));
}

#[test]
fn marks_tell_what_was_confirmed_and_what_is_newest() {
    let bucket = Bucket::plain();
    let blobs: S3Blobs = bucket.open().unwrap();
    block_on(async {
        let [a, b] = [key(), key()];
        put(&blobs, a, b"a").await;
        put(&blobs, b, b"b").await;
        blobs.confirm(&[a]).await.unwrap();
        let found = blobs.list("msg/").await.unwrap();
        let confirmed = |key| found.iter().find(|o| o.key == key).unwrap().confirmed;
        assert_eq!((confirmed(a), confirmed(b)), (Some(true), Some(false)));
        assert_eq!(blobs.newest(2).await.unwrap().len(), 2);
        // At least so many, as files that came at the same moment are: and without a listing of the bucket.
        let asked = bucket.server.log();
        assert!(!blobs.newest(1).await.unwrap().is_empty());
        assert_eq!(bucket.server.log(), asked);
    });
}
