//! Objects in an S3-compatible bucket.
//!
//! Everything runs on the tokio runtime of the database, and is seen as futures that any executor can await. An
//! object is stored once: a name that is there already is refused by the store where it knows `If-None-Match`, and
//! what was stored is looked at (length, hash, ETag) before anybody relies on it. Our own form of objects
//! (`format`) stays under the store's encryption: the store never sees what is in them.
//!
//! S3 keeps no mark that the rows of an object were committed, and lists nothing by age. Where one process alone
//! writes, empty files beside the spool do both (`marks`).

mod client;
mod probe;
mod upload;
mod xml;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::s3::command::Command;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Blobs, Listed, LocalBlobs, ObjectKey, Source};
use crate::error::{Error, Result};
use crate::keys::{KEY_LEN, TenantKey};
use client::{Call, Client, Fault};

/// How long one operation is tried: a client that waits for its 250 is still there.
pub const S3_PATIENCE: Duration = Duration::from_secs(60);
/// Uploads at once; each holds one part in memory.
const UPLOADS_AT_ONCE: usize = 16;
/// Deletions at once.
const DELETES_AT_ONCE: usize = 16;
/// Marks that are kept whatever their age, and the age after which others go.
const MARKS_KEPT: usize = 4096;
const MARK_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who encrypts objects on their way to the store's disks (`S3_ENCRYPTION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// The store, with the tenant's key (SSE-C), where it can and the way there is encrypted; else we alone.
    Auto,
    /// The store, with the tenant's key; without it nothing starts.
    SseC,
    /// We alone.
    Client,
}

/// Where the bucket is.
#[derive(Clone)]
pub struct S3Options {
    /// `https://HOST` or `http://HOST:PORT`.
    pub endpoint: String,
    /// As in the signature.
    pub region: String,
    /// Must exist.
    pub bucket: String,
    /// Its key's ID.
    pub access_key_id: String,
    /// And its secret.
    pub secret_access_key: Zeroizing<String>,
    /// The bucket is in the path, not in the host name. Where the host is an address it is anyway.
    pub path_style: bool,
    /// Who encrypts.
    pub encryption: S3Encryption,
    /// Roots trusted beside the public ones.
    pub extra_roots_pem: Option<Vec<u8>>,
    /// How long one operation is tried.
    pub patience: Duration,
}

impl std::fmt::Debug for S3Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

impl S3Options {
    fn is_https(&self) -> bool {
        self.endpoint.starts_with("https://")
    }

    fn in_path(&self) -> bool {
        let authority = self.endpoint.split_once("://").map_or("", |(_, rest)| rest);
        let host = authority.split('/').next().unwrap_or("");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        // There is no host below an address, and below `localhost` only on some machines.
        self.path_style
            || host.parse::<std::net::Ipv4Addr>().is_ok()
            || host.starts_with('[')
            || host == "localhost"
    }
}

/// Objects in a bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3Blobs {
    shared: Arc<Shared>,
    /// The tenant's keys for SSE-C, the one for new objects first; none for what needs no key.
    customer: Arc<Vec<Zeroizing<[u8; KEY_LEN]>>>,
}

struct Shared {
    client: Client,
    handle: Handle,
    uploads: Semaphore,
    /// Whether new objects are written with SSE-C.
    sse_c: bool,
    /// Whether the way to the store is encrypted, so that keys may be sent to it.
    is_https: bool,
    /// Whether the store refuses a name that is there when it is asked to.
    conditional: bool,
    marks: Option<LocalBlobs>,
}

impl S3Blobs {
    /// Tries the bucket with a probe object: that it can be written, read and deleted, and what the store knows.
    /// `marks` is a directory for this process's notes, when it alone writes to the bucket. The error is for the
    /// operator.
    pub async fn open(
        options: S3Options,
        handle: Handle,
        marks: Option<PathBuf>,
    ) -> std::result::Result<S3Blobs, String> {
        let marks = match marks {
            Some(dir) => Some(LocalBlobs::open(&dir).map_err(|error| format!("{}: {error}", dir.display()))?),
            None => None,
        };
        let probing = handle.clone();
        let opened = handle.spawn(async move {
            let client = Client::new(&options).map_err(|fault| fault.to_string())?;
            let found = probe::probe(&client, &options).await?;
            tracing::info!(
                endpoint = options.endpoint,
                bucket = options.bucket,
                sse_c = found.sse_c,
                conditional = found.conditional,
                "objects rest in a bucket"
            );
            Ok::<_, String>(Shared {
                client,
                handle: probing,
                uploads: Semaphore::new(UPLOADS_AT_ONCE),
                sse_c: found.sse_c,
                is_https: options.is_https(),
                conditional: found.conditional,
                marks,
            })
        });
        let shared = opened.await.map_err(|died| died.to_string())??;
        Ok(S3Blobs { shared: Arc::new(shared), customer: Arc::default() })
    }

    /// Whether new objects are written with SSE-C.
    pub fn uses_sse_c(&self) -> bool {
        self.shared.sse_c
    }

    /// Runs on the runtime, to its end even when nobody waits any more.
    async fn run<T, F>(&self, work: impl FnOnce(S3Blobs) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let task = self.shared.handle.spawn(work(self.clone()));
        task.await.unwrap_or_else(|died| Err(Error::Unavailable(format!("object store: {died}"))))
    }

    async fn store(&self, key: ObjectKey, source: Box<dyn Source>, replace: bool) -> Result<()> {
        if let Some(marks) = &self.shared.marks {
            marks.put(key, Box::new(NoOctets)).await?;
        }
        let customer = if self.shared.sse_c { self.customer.first().cloned() } else { None };
        let stored = self
            .run(async move |blobs| {
                let _permit = blobs.shared.uploads.acquire().await;
                let name = key.to_string();
                let upload = upload::Upload {
                    client: &blobs.shared.client,
                    name: &name,
                    headers: customer.map(|key| customer_headers(&key)).unwrap_or_default(),
                    only_new: blobs.shared.conditional && !replace,
                };
                upload.run(source).await
            })
            .await;
        if stored.is_err()
            && !replace
            && let Some(marks) = &self.shared.marks
        {
            let _ = marks.delete(&[key]).await;
        }
        stored
    }

    /// Headers to try one after the other: an object was written with one of the tenant's keys, or with none.
    fn ways_to_read(&self) -> Vec<HeaderMap> {
        let keys = self.customer.iter().filter(|_| self.shared.is_https);
        let mut ways: Vec<HeaderMap> = keys.map(|key| customer_headers(key)).collect();
        let without = if self.shared.sse_c { ways.len() } else { 0 };
        ways.insert(without, HeaderMap::new());
        ways
    }

    async fn read_range(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
        let name = key.to_string();
        let until = self.shared.client.until();
        // An object has octets, so asking for one is always possible.
        let end = offset.saturating_add((len as u64).max(1) - 1);
        let mut last = None;
        for headers in self.ways_to_read() {
            let command = Command::GetObjectRange { start: offset, end: Some(end) };
            let call = Call { headers, answer_max: len.max(1), ..Call::new(command, &name) };
            match self.shared.client.send(&call, until).await {
                Ok(answer) => return ranged(&answer, offset, len),
                Err(fault) if fault.status == 416 => {
                    return self
                        .length(&name, call.headers, fault.range_total)
                        .await
                        .map(|len| (Vec::new(), len));
                }
                Err(fault) if fault.may_be_key() => last = Some(fault),
                Err(fault) => return Err(fault.into_error()),
            }
        }
        Err(last.unwrap_or_else(|| Fault::other("there is no way to read")).into_error())
    }

    /// The length of an object, which some stores tell with their refusal of a range behind its end.
    async fn length(&self, name: &str, headers: HeaderMap, told: Option<u64>) -> Result<u64> {
        if let Some(told) = told {
            return Ok(told);
        }
        let call = Call { headers, ..Call::new(Command::HeadObject, name) };
        let there = self.shared.client.send(&call, self.shared.client.until()).await;
        let there = there.map_err(Fault::into_error)?;
        there.length().ok_or_else(|| Error::Unavailable("object store: an object without a length".into()))
    }

    async fn list_all(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let command = Command::ListObjectsV2 {
                prefix: prefix.to_owned(),
                delimiter: None,
                continuation_token: token.take(),
                start_after: None,
                max_keys: None,
            };
            let until = self.shared.client.until();
            let answer =
                self.shared.client.send(&Call::new(command, ""), until).await.map_err(|f| f.into_error())?;
            let text = answer.text();
            if !text.contains("</ListBucketResult>") {
                return Err(Error::Unavailable("object store: a listing is cut off".into()));
            }
            for object in xml::all(&text, "Contents") {
                let Some(key) = xml::first(object, "Key").as_deref().and_then(ObjectKey::parse) else {
                    continue;
                };
                let len = xml::first(object, "Size").and_then(|size| size.parse().ok()).unwrap_or(0);
                let modified = xml::first(object, "LastModified").as_deref().and_then(xml::time);
                // One without a time is young: nobody may take it for a leftover.
                #[allow(clippy::disallowed_methods)]
                let modified = modified.unwrap_or_else(SystemTime::now);
                found.push(Listed { key, len, modified, confirmed: None });
            }
            token = xml::first(&text, "NextContinuationToken");
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// What the marks say of objects. One without a mark was confirmed long ago.
    async fn marked(&self, mut found: Vec<Listed>, prefix: &str) -> Result<Vec<Listed>> {
        let Some(marks) = &self.shared.marks else { return Ok(found) };
        let noted = marks.list(prefix).await?;
        let noted: HashMap<ObjectKey, Option<bool>> = noted.iter().map(|m| (m.key, m.confirmed)).collect();
        for object in &mut found {
            object.confirmed = noted.get(&object.key).copied().unwrap_or(Some(true));
        }
        Ok(found)
    }
}

/// A mark has no octets.
struct NoOctets;

impl Source for NoOctets {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// The octets that were asked for, and the object's length.
fn ranged(answer: &client::Answer, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
    let strange = || Error::Unavailable("object store: it answers another range than was asked for".into());
    if answer.status != 206 {
        return Err(strange());
    }
    let range =
        answer.header("content-range").and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
    let (span, total) = range.ok_or_else(strange)?;
    let total: u64 = total.parse().map_err(|_| strange())?;
    let want = total.saturating_sub(offset).min(len.max(1) as u64);
    if !span.starts_with(&format!("{offset}-")) || answer.body.len() as u64 != want {
        return Err(strange());
    }
    let mut body = answer.body.clone();
    body.truncate(len);
    Ok((body, total))
}

/// The headers that give the store a key: it keeps none, and refuses what is read with another.
fn customer_headers(key: &[u8; KEY_LEN]) -> HeaderMap {
    let secret = |bytes: &[u8]| {
        let mut value =
            HeaderValue::from_str(&BASE64.encode(bytes)).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    };
    let name = |last: &str| {
        let name = format!("x-amz-server-side-encryption-customer-{last}");
        HeaderName::from_bytes(name.as_bytes()).unwrap_or(reqwest::header::WARNING)
    };
    HeaderMap::from_iter([
        (name("algorithm"), HeaderValue::from_static("AES256")),
        (name("key"), secret(key)),
        (name("key-md5"), secret(&md5::compute(key).0)),
    ])
}

#[async_trait::async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()> {
        self.store(key, source, false).await
    }

    async fn replace(&self, key: ObjectKey, source: Box<dyn Source>) -> Result<()> {
        self.store(key, source, true).await
    }

    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
        self.run(async move |blobs| blobs.read_range(key, offset, len).await).await
    }

    async fn confirm(&self, keys: &[ObjectKey]) -> Result<()> {
        match &self.shared.marks {
            Some(marks) => marks.confirm(keys).await,
            None => Ok(()),
        }
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<()> {
        for some in keys.chunks(DELETES_AT_ONCE) {
            let begun: Vec<_> = some
                .iter()
                .map(|key| {
                    let (blobs, name) = (self.clone(), key.to_string());
                    self.shared.handle.spawn(async move {
                        let client = &blobs.shared.client;
                        match client.send(&Call::new(Command::DeleteObject, &name), client.until()).await {
                            Ok(_) => Ok(()),
                            Err(fault) if fault.is_not_found() => Ok(()),
                            Err(fault) => Err(fault.into_error()),
                        }
                    })
                })
                .collect();
            let mut outcome = Ok(());
            for deletion in begun {
                let deleted = deletion.await;
                outcome =
                    outcome.and(deleted.unwrap_or_else(|died| Err(Error::Unavailable(died.to_string()))));
            }
            outcome?;
            if let Some(marks) = &self.shared.marks {
                marks.delete(some).await?;
            }
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let wanted = prefix.to_owned();
        let found = self.run(async move |blobs| blobs.list_all(&wanted).await).await?;
        self.marked(found, prefix).await
    }

    /// From the marks, which lie by age; the whole bucket is listed only when they are too few.
    async fn newest(&self, n: usize) -> Result<Vec<Listed>> {
        if let Some(marks) = &self.shared.marks {
            let noted = marks.newest(n).await?;
            if noted.len() >= n {
                return Ok(noted);
            }
        }
        let mut found = self.list("msg/").await?;
        found.sort_by_key(|object| std::cmp::Reverse(object.modified));
        Ok(found)
    }

    async fn sweep(&self) -> Result<()> {
        self.run(async move |blobs| {
            let client = &blobs.shared.client;
            upload::abort_old(client).await.map_err(|fault| fault.into_error())
        })
        .await?;
        let Some(marks) = &self.shared.marks else { return Ok(()) };
        let mut noted = marks.list("msg/").await?;
        noted.sort_by_key(|mark| std::cmp::Reverse(mark.modified));
        let old = noted.iter().skip(MARKS_KEPT).filter(|mark| {
            mark.confirmed == Some(true) && mark.modified.elapsed().is_ok_and(|age| age > MARK_AGE)
        });
        marks.delete(&old.map(|mark| mark.key).collect::<Vec<_>>()).await
    }

    fn for_tenant(&self, tenant: &TenantKey) -> Option<Arc<dyn Blobs>> {
        Some(Arc::new(S3Blobs { shared: self.shared.clone(), customer: Arc::new(tenant.customer_keys()) }))
    }
}
