//! What the store can do, found out with an object that is written, read and deleted when storage opens.

use ::s3::command::Command;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use zeroize::Zeroizing;

use super::client::{Call, Client, Fault};
use super::{S3Encryption, S3Options, customer_headers};
use crate::keys::{self, KEY_LEN};

/// What was found.
pub(super) struct Found {
    pub sse_c: bool,
    pub conditional: bool,
}

struct Probe<'a> {
    client: &'a Client,
    name: String,
}

const TEXT: &[u8] = b"Inbox tries what this store can do. This object may be deleted.";

/// Tries the bucket. The error is for the operator.
pub(super) async fn probe(client: &Client, options: &S3Options) -> Result<Found, String> {
    let at = format!("S3_ENDPOINT={} S3_BUCKET={}", options.endpoint, options.bucket);
    let explained = |fault: Fault| format!("{at}: {fault}");
    let plain = Probe { client, name: format!("probe/{}", crate::Id::random()) };
    plain.put(HeaderMap::new()).await.map_err(explained)?;
    let outcome = plain.look(&at).await;
    let conditional = match &outcome {
        Ok(()) => plain.is_conditional().await,
        Err(_) => false,
    };
    plain.delete().await.map_err(explained)?;
    outcome?;
    let sse_c = match (options.encryption, options.is_https()) {
        (S3Encryption::Client, _) | (S3Encryption::Auto, false) => false,
        (S3Encryption::SseC, false) => {
            return Err(format!(
                "{at}: S3_ENCRYPTION=sse-c sends keys to the store, so the endpoint must be https"
            ));
        }
        (wanted, true) => match sse_c(client).await {
            Ok(()) => true,
            Err(why) if wanted == S3Encryption::SseC => {
                return Err(format!("{at}: S3_ENCRYPTION=sse-c: {why}"));
            }
            Err(why) => {
                tracing::info!(why, "the object store does not encrypt with our keys: we alone encrypt");
                false
            }
        },
    };
    Ok(Found { sse_c, conditional })
}

/// Whether the store takes a key, gives the object for it, and for nothing else.
async fn sse_c(client: &Client) -> Result<(), String> {
    let key: Zeroizing<[u8; KEY_LEN]> = Zeroizing::new(keys::random());
    let other: Zeroizing<[u8; KEY_LEN]> = Zeroizing::new(keys::random());
    let probe = Probe { client, name: format!("probe/{}", crate::Id::random()) };
    let with = customer_headers(&key);
    probe.put(with.clone()).await.map_err(|fault| format!("{fault}"))?;
    let outcome = async {
        match probe.get(with).await {
            Ok(text) if text == TEXT => {}
            Ok(_) => return Err("the store gives back something else".to_owned()),
            Err(fault) => return Err(fault.to_string()),
        }
        for wrong in [HeaderMap::new(), customer_headers(&other)] {
            match probe.get(wrong).await {
                Err(fault) if fault.may_be_key() => {}
                Ok(_) => return Err("the store takes a key and gives the object without it".to_owned()),
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Ok(())
    };
    let outcome = outcome.await;
    let deleted = probe.delete().await.map_err(|fault| fault.to_string());
    outcome.and(deleted)
}

impl Probe<'_> {
    async fn put(&self, headers: HeaderMap) -> Result<(), Fault> {
        let put = Command::PutObject {
            content: TEXT,
            content_type: "text/plain",
            custom_headers: Some(headers),
            multipart: None,
        };
        let call = Call { body: Bytes::from_static(TEXT), ..Call::new(put, &self.name) };
        self.client.send(&call, self.client.soon()).await.map(drop)
    }

    async fn get(&self, headers: HeaderMap) -> Result<Vec<u8>, Fault> {
        let range = Command::GetObjectRange { start: 0, end: Some(TEXT.len() as u64 - 1) };
        let call = Call { headers, ..Call::new(range, &self.name) };
        self.client.send(&call, self.client.soon()).await.map(|answer| answer.body)
    }

    async fn look(&self, at: &str) -> Result<(), String> {
        match self.get(HeaderMap::new()).await {
            Ok(text) if text == TEXT => Ok(()),
            Ok(_) => Err(format!("{at}: object store: it gives back something else than was stored")),
            Err(fault) => Err(format!("{at}: {fault}")),
        }
    }

    /// Whether it refuses a name that is there. Some stores take the request for an ordinary one.
    async fn is_conditional(&self) -> bool {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))]);
        matches!(self.put(headers).await, Err(fault) if fault.is_conflict())
    }

    async fn delete(&self) -> Result<(), Fault> {
        let call = Call::new(Command::DeleteObject, &self.name);
        self.client.send(&call, self.client.soon()).await.map(drop)
    }
}
