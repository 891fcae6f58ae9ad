//! Storing one object: whole when it is small, in parts when it is not; then looked at as it rests in the store.

use ::s3::command::{Command, Multipart};
use ::s3::serde_types::{CompleteMultipartUploadData, Part};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::client::{Answer, Call, Client, Fault};
use super::{Source, xml};
use crate::error::{Error, Result};

/// Octets of a part: the least that S3 takes for all but the last. What an upload needs of memory is this.
pub(super) const PART_LEN: usize = 5 << 20;
/// Parts that S3 takes.
const PARTS_MAX: u32 = 10_000;
/// Times that an object which does not rest as it was sent is sent again.
const AGAIN_MAX: usize = 3;
/// Uploads that somebody began and did not end are given up after this: no message takes as long.
const ABANDONED: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

const MARK: HeaderName = HeaderName::from_static("x-amz-meta-inbox");
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const OCTETS: &str = "application/octet-stream";

pub(super) struct Upload<'a> {
    pub client: &'a Client,
    pub name: &'a str,
    /// The tenant's key, when the store encrypts.
    pub headers: HeaderMap,
    /// The store refuses the object when the name is taken.
    pub only_new: bool,
}

/// Reads at most a part, where blocking is allowed; whether that was all.
async fn next_part(
    mut source: Box<dyn Source>,
    mut rest: Vec<u8>,
) -> Result<(Box<dyn Source>, Vec<u8>, Vec<u8>, bool)> {
    let read = move || {
        while rest.len() <= PART_LEN {
            match source.next()? {
                Some(piece) => rest.extend_from_slice(&piece),
                None => return Ok((source, rest, Vec::new(), true)),
            }
        }
        let more = rest.split_off(PART_LEN);
        Ok((source, rest, more, false))
    };
    let task = tokio::task::spawn_blocking(read);
    task.await.unwrap_or_else(|died| Err(Error::Unavailable(died.to_string())))
}

impl Upload<'_> {
    pub async fn run(&self, source: Box<dyn Source>) -> Result<()> {
        let (source, first, more, all) = next_part(source, Vec::new()).await?;
        if all {
            return self.whole(first.into()).await.map_err(Fault::into_error);
        }
        self.in_parts(source, first, more).await
    }

    async fn whole(&self, octets: Bytes) -> std::result::Result<(), Fault> {
        let until = self.client.until();
        let mark = blake3::hash(&octets).to_hex();
        let checksum = BASE64.encode(Sha256::digest(&octets));
        let mut headers = self.headers.clone();
        headers.insert(MARK, value(&mark)?);
        headers.insert(CHECKSUM, value(&checksum)?);
        let mut only_new = self.only_new;
        let mut tries = 0;
        loop {
            if only_new {
                headers.insert(reqwest::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            } else {
                headers.remove(reqwest::header::IF_NONE_MATCH);
            }
            let put = Command::PutObject {
                content: &octets,
                content_type: OCTETS,
                custom_headers: Some(headers.clone()),
                multipart: None,
            };
            let call = Call { body: octets.clone(), ..Call::new(put, self.name) };
            let stored = match self.client.send(&call, until).await {
                Ok(answer) => Some(answer),
                // An earlier attempt arrived, and only its answer did not; or the name is another's.
                Err(fault) if fault.is_conflict() => None,
                Err(fault) => return Err(fault),
            };
            let wrong =
                match self.look(octets.len() as u64, &mark, Some(&checksum), stored.as_ref(), until).await {
                    Ok(()) => return Ok(()),
                    Err(fault) if fault.status == 0 && !fault.transient => fault,
                    Err(fault) => return Err(fault),
                };
            tries += 1;
            // A name that was taken before the first attempt is not ours to write over.
            if tries >= AGAIN_MAX || (stored.is_none() && tries == 1) {
                return Err(wrong);
            }
            tracing::warn!(object = self.name, %wrong, "an object is sent again");
            only_new = false;
        }
    }

    /// Compares what the store has with what was sent.
    async fn look(
        &self,
        len: u64,
        mark: &str,
        checksum: Option<&str>,
        stored: Option<&Answer>,
        until: Instant,
    ) -> std::result::Result<(), Fault> {
        let mut headers = self.headers.clone();
        headers.insert(HeaderName::from_static("x-amz-checksum-mode"), HeaderValue::from_static("ENABLED"));
        let call = Call { headers, ..Call::new(Command::HeadObject, self.name) };
        let there = match self.client.send(&call, until).await {
            Err(fault) if fault.is_not_found() => return Err(Fault::other("it does not have what it took")),
            other => other?,
        };
        if there.length() != Some(len) {
            return Err(Fault::other("it has another length of what it took"));
        }
        if there.header(MARK.as_str()) != Some(mark) {
            return Err(Fault::other("another object has this name"));
        }
        let differ = |sent: Option<&str>, there: Option<&str>| matches!((sent, there), (Some(sent), Some(there)) if sent != there);
        let etag = stored.and_then(Answer::etag);
        if differ(checksum, there.header(CHECKSUM.as_str())) || differ(etag, there.etag()) {
            return Err(Fault::other("it has another checksum of what it took"));
        }
        Ok(())
    }

    async fn in_parts(&self, source: Box<dyn Source>, first: Vec<u8>, more: Vec<u8>) -> Result<()> {
        // The mark of an upload whose octets are not known yet tells it from every other.
        let mark = crate::Id::random().to_string();
        let upload = self.begin(&mark).await.map_err(Fault::into_error)?;
        let outcome = match self.parts(&upload, source, first, more).await {
            Ok((parts, len)) => self.complete(&upload, parts, len, &mark).await.map_err(Fault::into_error),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            let abort = Call::new(Command::AbortMultipartUpload { upload_id: &upload }, self.name);
            let _ = self.client.send(&abort, self.client.until()).await;
        }
        outcome
    }

    async fn begin(&self, mark: &str) -> std::result::Result<String, Fault> {
        let mut headers = self.headers.clone();
        headers.insert(MARK, value(mark)?);
        let initiate = Command::InitiateMultipartUpload { content_type: OCTETS };
        let answer = self
            .client
            .send(&Call { headers, ..Call::new(initiate, self.name) }, self.client.until())
            .await?;
        let upload = xml::first(&answer.text(), "UploadId").filter(|id| !id.is_empty());
        upload.ok_or_else(|| Fault::other("it gave no ID to an upload in parts"))
    }

    async fn parts(
        &self,
        upload: &str,
        mut source: Box<dyn Source>,
        mut part: Vec<u8>,
        mut more: Vec<u8>,
    ) -> Result<(Vec<Part>, u64)> {
        let (mut parts, mut len, mut last) = (Vec::new(), 0, false);
        for number in 1..=PARTS_MAX {
            len += part.len() as u64;
            let octets = Bytes::from(part);
            let put = Command::PutObject {
                content: &octets,
                content_type: OCTETS,
                custom_headers: Some(self.headers.clone()),
                multipart: Some(Multipart::new(number, upload)),
            };
            let call = Call { body: octets.clone(), ..Call::new(put, self.name) };
            let answer = self.client.send(&call, self.client.until()).await.map_err(Fault::into_error)?;
            let etag = answer.etag().ok_or_else(|| Fault::other("a part got no ETag").into_error())?;
            parts.push(Part { part_number: number, etag: etag.to_owned() });
            if last {
                return Ok((parts, len));
            }
            (source, part, more, last) = next_part(source, more).await?;
        }
        Err(Error::Unavailable("object store: the object has too many parts".into()))
    }

    async fn complete(
        &self,
        upload: &str,
        parts: Vec<Part>,
        len: u64,
        mark: &str,
    ) -> std::result::Result<(), Fault> {
        let until = self.client.until();
        let data = CompleteMultipartUploadData { parts };
        let body = Bytes::from(data.to_string());
        let command = Command::CompleteMultipartUpload { upload_id: upload, data };
        let call = Call { headers: self.headers.clone(), body, ..Call::new(command, self.name) };
        match self.client.send(&call, until).await {
            // A long completion begins with 200 and may end with an error all the same.
            Ok(answer) if answer.text().contains("<Error>") => {
                let code = xml::first(&answer.text(), "Code").unwrap_or_default();
                return Err(Fault::transient(format!("an upload could not be completed: {code}")));
            }
            Ok(_) => {}
            // An earlier attempt completed it, and its answer was lost.
            Err(fault) if fault.is_not_found() => {}
            Err(fault) => return Err(fault),
        }
        self.look(len, mark, None, None, until).await
    }
}

fn value(text: &str) -> std::result::Result<HeaderValue, Fault> {
    HeaderValue::from_str(text).map_err(|error| Fault::other(error.to_string()))
}

/// Gives up uploads in parts that were begun long ago: the store keeps, and charges for, their parts.
pub(super) async fn abort_old(client: &Client) -> std::result::Result<(), Fault> {
    let list = Command::ListMultipartUploads {
        prefix: Some("msg/"),
        delimiter: None,
        key_marker: None,
        upload_id_marker: None,
        max_uploads: None,
    };
    let answer = client.send(&Call::new(list, ""), client.until()).await?;
    let text = answer.text();
    for upload in xml::all(&text, "Upload") {
        let begun = xml::first(upload, "Initiated").as_deref().and_then(xml::time);
        let old = begun.is_some_and(|begun| begun.elapsed().is_ok_and(|age| age > ABANDONED));
        let (Some(name), Some(id)) = (xml::first(upload, "Key"), xml::first(upload, "UploadId")) else {
            continue;
        };
        if old {
            client
                .send(&Call::new(Command::AbortMultipartUpload { upload_id: &id }, &name), client.until())
                .await?;
        }
    }
    Ok(())
}
