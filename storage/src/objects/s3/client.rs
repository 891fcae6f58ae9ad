//! One request to the object store: signed by rust-s3, sent by a client of our own, tried again when that can help.
//!
//! rust-s3's client follows redirects with every header it was given, so a store could have a tenant's key sent
//! elsewhere; it also knows no extra roots and repeats no PUT. So it makes and signs requests here, and does not send.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ::s3::Bucket;
use ::s3::command::Command;
use ::s3::creds::Credentials;
use ::s3::error::S3Error;
use ::s3::region::Region;
use ::s3::request::Request;
use ::s3::request::tokio_backend::ReqwestRequest;
use ::s3::signing;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use protocol_core::message::DateTime;
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue};
use sha2::Sha256;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{S3Options, xml};
use crate::error::Error;

/// One attempt, with its body; parts are small, so a slower store is of no use.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Waits between attempts: doubled from the first to the last, between half and all of it.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);
const PROBE_PATIENCE: Duration = Duration::from_secs(15);
/// Octets of an answer that is a document: a listing of 1,000 objects has half of that.
const DOCUMENT_MAX: usize = 4 << 20;

/// A request.
pub(super) struct Call<'a> {
    pub command: Command<'a>,
    pub path: &'a str,
    /// Beside those that signing makes.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Octets of the answer's body that are of interest; what lies behind them is not read.
    pub answer_max: usize,
}

impl<'a> Call<'a> {
    pub fn new(command: Command<'a>, path: &'a str) -> Call<'a> {
        Call { command, path, headers: HeaderMap::new(), body: Bytes::new(), answer_max: DOCUMENT_MAX }
    }
}

/// A good answer.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn etag(&self) -> Option<&str> {
        self.header("etag")
    }

    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Fault {
    /// 0 when there was no answer.
    pub status: u16,
    /// The store's own word for it (`NoSuchKey`), or empty.
    pub code: String,
    what: String,
    /// Whether the same request may succeed a little later.
    pub transient: bool,
    pub range_total: Option<u64>,
}

impl Fault {
    pub fn other(what: impl Into<String>) -> Fault {
        Fault { status: 0, code: String::new(), what: what.into(), transient: false, range_total: None }
    }

    pub fn transient(what: impl Into<String>) -> Fault {
        Fault { transient: true, ..Fault::other(what) }
    }

    /// There is no such object, and the bucket is there.
    pub fn is_not_found(&self) -> bool {
        self.status == 404 && self.code != "NoSuchBucket"
    }

    /// An object of that name is there already.
    pub fn is_conflict(&self) -> bool {
        self.status == 412
    }

    /// The key that was sent, or that none was, may be the reason.
    pub fn may_be_key(&self) -> bool {
        matches!(self.status, 400 | 403)
    }

    pub fn into_error(self) -> Error {
        if self.is_not_found() {
            return Error::NotFound;
        }
        Error::Unavailable(self.to_string())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "object store: {}", self.what)?;
        match (self.status, self.code.as_str()) {
            (301 | 302 | 307 | 308, _) => f.write_str(
                "; it sends requests elsewhere: set S3_ENDPOINT and S3_REGION to where the bucket is",
            ),
            (_, "NoSuchBucket") => f.write_str("; make the bucket, or set S3_BUCKET"),
            (_, "RequestTimeTooSkewed") => f.write_str("; its clock and this machine's differ"),
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                f.write_str("; check S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY and S3_REGION")
            }
            _ => Ok(()),
        }
    }
}

/// The store and the way to it.
pub(super) struct Client {
    bucket: Bucket,
    key_id: String,
    secret: Zeroizing<String>,
    http: reqwest::Client,
    /// Seconds that the store's clock is ahead of ours, as it last complained.
    skew_secs: AtomicI64,
    patience: Duration,
}

impl Client {
    pub fn new(options: &S3Options) -> Result<Client, Fault> {
        let failed = |what: &dyn std::fmt::Display| Fault::other(format!("cannot be used: {what}"));
        let credentials = Credentials::new(
            Some(&options.access_key_id),
            Some(&options.secret_access_key),
            None,
            None,
            None,
        );
        let credentials = credentials.map_err(|e| failed(&e))?;
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        let region = Region::Custom { region: options.region.clone(), endpoint };
        let bucket = Bucket::new(&options.bucket, region, credentials).map_err(|e| failed(&e))?;
        let bucket = if options.in_path() { bucket.with_path_style() } else { bucket };
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true);
        if let Some(pem) = &options.extra_roots_pem {
            for root in reqwest::Certificate::from_pem_bundle(pem).map_err(|e| failed(&e))? {
                http = http.add_root_certificate(root);
            }
        }
        let http = http.build().map_err(|e| failed(&e))?;
        Ok(Client {
            bucket: *bucket,
            key_id: options.access_key_id.clone(),
            secret: options.secret_access_key.clone(),
            http,
            skew_secs: AtomicI64::new(0),
            patience: options.patience,
        })
    }

    /// Until when an operation that begins now is tried.
    pub fn until(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// The same for what is tried when storage opens: who waits for it wants to know soon.
    pub fn soon(&self) -> Instant {
        Instant::now() + self.patience.min(PROBE_PATIENCE)
    }

    /// The answer, after as many attempts as there is time for.
    pub async fn send(&self, call: &Call<'_>, until: Instant) -> Result<Answer, Fault> {
        let mut pause = PAUSE_FIRST;
        loop {
            let attempt = tokio::time::timeout_at(until, self.attempt(call)).await;
            let fault = match attempt {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(fault)) => fault,
                Err(_) => return Err(Fault::transient("it did not answer in time")),
            };
            let wait = pause.mul_f64(0.5 + f64::from(crate::keys::random::<1>()[0]) / 512.0);
            if !fault.transient || Instant::now() + wait >= until {
                return Err(fault);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, Fault> {
        let unsigned = |e: S3Error| Fault::other(format!("a request cannot be made: {e}"));
        let bucket = self.bucket.with_extra_headers(call.headers.clone()).map_err(unsigned)?;
        let mut request =
            ReqwestRequest::new(&bucket, call.path, call.command.clone()).await.map_err(unsigned)?;
        let skew = self.skew_secs.load(Ordering::Relaxed);
        let by = Duration::from_secs(skew.unsigned_abs());
        if skew >= 0 {
            request.datetime += by
        } else {
            request.datetime -= by
        }
        let sent_at = request.datetime.unix_timestamp() - skew;
        let (mut headers, url) =
            (request.headers().await.map_err(unsigned)?, request.url().map_err(unsigned)?);
        self.sign(&request, &mut headers, &url).map_err(unsigned)?;
        let verb = call.command.http_verb().to_string();
        let verb = reqwest::Method::from_bytes(verb.as_bytes()).map_err(|e| Fault::other(e.to_string()))?;
        let request = self.http.request(verb, url).headers(headers).timeout(ATTEMPT_LIMIT);
        let mut response = request.body(call.body.clone()).send().await.map_err(|e| transport(&e))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let good = response.status().is_success();
        let wanted = if good { call.answer_max } else { DOCUMENT_MAX };
        let mut body = Vec::new();
        while body.len() < wanted {
            let Some(piece) = response.chunk().await.map_err(|e| transport(&e))? else { break };
            body.extend_from_slice(&piece[..piece.len().min(wanted - body.len())]);
        }
        let answer = Answer { status, headers, body };
        if good {
            return Ok(answer);
        }
        let fault = refused(&answer);
        if fault.code == "RequestTimeTooSkewed" && self.learn_clock(&answer, sent_at) {
            return Err(Fault { transient: true, ..fault });
        }
        Err(fault)
    }

    /// Signs anew: rust-s3 sorts the lines of headers, not their names, so `...-customer-key` comes behind
    /// `...-customer-key-md5`, and every request with a customer's key is refused.
    fn sign(
        &self,
        request: &ReqwestRequest<'_>,
        headers: &mut HeaderMap,
        url: &reqwest::Url,
    ) -> Result<(), S3Error> {
        headers.remove(AUTHORIZATION);
        // It is made behind the signature, and of no use beside x-amz-date.
        headers.remove(DATE);
        let mut lines: Vec<(&str, &str)> = Vec::with_capacity(headers.len());
        for (name, value) in headers.iter() {
            lines.push((name.as_str(), value.to_str()?.trim()));
        }
        lines.sort_unstable();
        let lines: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (region, names) = (&self.bucket.region, signing::signed_header_string(headers));
        let hash = headers.get("x-amz-content-sha256").map_or(Ok(""), |hash| hash.to_str())?;
        let (path, query) = (signing::canonical_uri_string(url), signing::canonical_query_string(url));
        let verb = request.command.http_verb();
        let canonical = format!("{verb}\n{path}\n{query}\n{lines}\n{names}\n{hash}");
        let text = signing::string_to_sign(&request.datetime, region, &canonical)?;
        let key = signing::signing_key(&request.datetime, &self.secret, region, "s3")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        mac.update(text.as_bytes());
        let signature: String =
            mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
        let header =
            signing::authorization_header(&self.key_id, &request.datetime, region, &names, &signature)?;
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&header)?);
        Ok(())
    }

    /// Takes the store's clock from its complaint; whether that is news.
    fn learn_clock(&self, answer: &Answer, sent_at: i64) -> bool {
        let date = answer.header("date").and_then(|date| DateTime::parse_rfc5322(date.as_bytes()));
        let Some(theirs) = date.map(|date| date.time) else { return false };
        let skew = theirs.secs() - sent_at;
        let before = self.skew_secs.swap(skew, Ordering::Relaxed);
        if (before - skew).abs() < 60 {
            return false;
        }
        tracing::warn!(seconds = skew, "the object store's clock is ahead of this machine's by so much");
        true
    }
}

/// No answer, or not a whole one.
fn transport(error: &reqwest::Error) -> Fault {
    // The innermost reason says most; the URL, with the object's name, is nobody's business.
    let mut why = String::from("no answer");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        why = inner.to_string();
        source = inner.source();
    }
    if error.is_timeout() {
        why = "it did not answer in time".into();
    }
    // A certificate does not become good by asking again.
    let transient = !error.is_builder() && !why.contains("certificate");
    Fault { transient, ..Fault::other(why) }
}

fn refused(answer: &Answer) -> Fault {
    let text = answer.text();
    let said = |name| xml::first(&text, name).unwrap_or_default();
    let (status, code) = (answer.status, said("Code"));
    let mut message = said("Message");
    message.retain(|c| !c.is_control());
    let message: String = message.chars().take(200).collect();
    let what = [&format!("it answers {status}"), &code, &message].map(|s| s.trim()).join(" ");
    // 409 is another upload to the same name that has not ended yet.
    let transient = matches!(status, 408 | 409 | 425 | 429 | 500 | 502 | 503 | 504)
        || matches!(code.as_str(), "RequestTimeout" | "SlowDown" | "BadDigest" | "XAmzContentSHA256Mismatch");
    let total = answer.header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    Fault { status, code, what: what.trim().to_owned(), transient, range_total: total }
}
