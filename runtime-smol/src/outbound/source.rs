//! Where the octets of a message to send come from: the queued object, or a copy made for a server that cannot
//! take the message as it is. Whatever changes a message on its way out belongs here.

use std::sync::Arc;

use message_auth::sign::Signer;
use protocol_core::address::canonical_domain;
use protocol_core::message::from::from_addresses;
use protocol_core::message::header::{Field, Fields, header_len};
use protocol_core::message::limits::HEADER_OCTETS_MAX;
use protocol_core::message::{Edit, Scanner, transcode, transcode::Transcoder};
use protocol_smtp::trace;
use storage::{Job, Object, Spool};

use crate::app::App;
use crate::signing::sign_spooled;
use crate::wire::wall_now;

/// Octets that are read at a time; one chunk of BDAT each.
pub const PIECE: usize = 64 * 1024;
/// How many times longer a message can become.
const GROWTH_MAX: u64 = 4;

/// An open message.
pub enum Source {
    /// As it is queued.
    Queued(Box<Object>),
    /// Changed, and kept until the attempt ends.
    Copy(Box<Spool>),
}

impl Source {
    /// The message as it is queued; one of the API that waited for its time is signed only now, because until then
    /// keys may have changed, and its signatures would have grown old.
    pub async fn queued(app: &App, job: &Job) -> storage::Result<Source> {
        let mut object = app.storage.open_queued(job.spec.org, job.spec.message).await?;
        if job.spec.logged
            && let Some(signed) = signed_late(app, job, &mut object).await?
        {
            return Ok(Source::Copy(Box::new(signed)));
        }
        Ok(Source::Queued(Box::new(object)))
    }

    /// The message made 7-bit, for a server without 8BITMIME; `Err` says why it stays as it is: mail that only
    /// passes through here is never changed, and neither is what somebody signed.
    pub async fn seven_bit(app: &App, job: &Job) -> storage::Result<Result<Source, String>> {
        let mut object = app.storage.open_queued(job.spec.org, job.spec.message).await?;
        let mut scanner = Scanner::new();
        let mut at = 0;
        while at < object.len() {
            let piece = object.read(at, PIECE).await?;
            at += piece.len() as u64;
            scanner.feed(piece);
        }
        let structure = scanner.finish();
        let header = read(&mut object, structure.root().body_start).await?;
        let signer = author(app, job, &header).await?;
        if !is_ours(job, &header, signer.as_deref()) {
            return Ok(Err("it was not submitted here, or somebody else signed it".to_owned()));
        }
        let mut transcoder = match Transcoder::seven_bit(&structure) {
            Ok(transcoder) => transcoder,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let mut spool = app.storage.spool_up_to(object.len().saturating_mul(GROWTH_MAX) + PIECE as u64);
        let (mut at, mut out) = (0, Vec::new());
        while at < object.len() {
            let piece = object.read(at, PIECE).await?;
            at += piece.len() as u64;
            out.clear();
            transcoder.feed(piece, &mut out);
            spool.write(&out).await?;
        }
        out.clear();
        transcoder.finish(&mut out);
        spool.write(&out).await?;
        if let Some(signer) = signer {
            spool = signed_again(app, &signer, spool).await?;
        }
        Ok(Ok(Source::Copy(Box::new(spool))))
    }

    /// Octets in all.
    pub fn len(&self) -> u64 {
        match self {
            Source::Queued(object) => object.len(),
            Source::Copy(spool) => spool.len(),
        }
    }

    /// Some octets from `offset`, none only at the end.
    pub async fn read(&mut self, offset: u64) -> storage::Result<Vec<u8>> {
        match self {
            Source::Queued(object) => object.read(offset, PIECE).await.map(<[u8]>::to_vec),
            Source::Copy(spool) => spool.read(offset, PIECE).await,
        }
    }
}

async fn read(object: &mut Object, len: u64) -> storage::Result<Vec<u8>> {
    let mut header = Vec::new();
    while (header.len() as u64) < len {
        let at = header.len() as u64;
        let piece = object.read(at, usize::try_from(len - at).unwrap_or(PIECE).min(PIECE)).await?;
        if piece.is_empty() {
            break;
        }
        header.extend_from_slice(piece);
    }
    Ok(header)
}

/// Who signs for the message's author, or for this host's own notifications.
async fn author(app: &App, job: &Job, header: &[u8]) -> storage::Result<Option<Arc<Signer>>> {
    if job.spec.is_dsn {
        return app.signing.for_host(&app.storage, &app.config.server.hostname).await;
    }
    let from = from_addresses(header, job.spec.sender.is_empty()).unwrap_or_default();
    match from.first().and_then(|mailbox| canonical_domain(std::str::from_utf8(&mailbox.domain).ok()?).ok()) {
        Some(domain) => app.signing.for_author(&app.storage, &domain).await,
        None => Ok(None),
    }
}

/// Whether the message began here and nobody else signed it: a notification of our own, or one that our own
/// Received field, the topmost, says was submitted. Signatures of `signer` are no hindrance: they are made anew.
fn is_ours(job: &Job, header: &[u8], signer: Option<&Signer>) -> bool {
    let header = &header[..header_len(header)];
    let submitted = || Fields::find(header, "Received").is_some_and(|f| trace::is_submission(f.value));
    let foreign = |field: &Field<'_>| {
        transcode::is_signature(field) && !signer.is_some_and(|s| is_by(field, s.domain()))
    };
    (job.spec.is_dsn || submitted()) && !Fields::new(header).any(|field| foreign(&field))
}

/// Whether a field is a DKIM signature of a domain (RFC 6376 §3.5, `d=`).
fn is_by(field: &Field<'_>, domain: &str) -> bool {
    let value = String::from_utf8_lossy(field.value);
    let tag = value.split(';').find_map(|tag| tag.trim().strip_prefix("d=").map(str::trim));
    field.is("DKIM-Signature") && tag.is_some_and(|d| d.eq_ignore_ascii_case(domain))
}

/// A signed copy of a message that has no signature; none when it has one, or there is nobody to sign.
async fn signed_late(app: &App, job: &Job, object: &mut Object) -> storage::Result<Option<Spool>> {
    let most = u64::try_from(2 * HEADER_OCTETS_MAX).unwrap_or(u64::MAX);
    let head = read(object, object.len().min(PIECE as u64)).await?;
    let whole = header_len(&head) < head.len();
    let head = if whole { head } else { read(object, object.len().min(most)).await? };
    let header = &head[..header_len(&head)];
    if Fields::new(header).any(|field| transcode::is_signature(&field)) {
        return Ok(None);
    }
    let Some(signer) = author(app, job, header).await? else { return Ok(None) };
    let mut spool = app.storage.spool_up_to(object.len());
    while spool.len() < object.len() {
        let piece = object.read(spool.len(), PIECE).await?;
        spool.write(piece).await?;
    }
    signed_again(app, &signer, spool).await.map(Some)
}

/// The message with signatures that hold for it as it is now, in place of those that held before.
async fn signed_again(app: &App, signer: &Signer, changed: Spool) -> storage::Result<Spool> {
    let head = changed.read(0, 2 * HEADER_OCTETS_MAX).await?;
    let header = &head[..header_len(&head)];
    let mut edit = Edit::default();
    edit.skip_fields(header, |field| is_by(field, signer.domain()));
    edit.prefix = sign_spooled(signer, header, &edit, &changed, wall_now()).await?;
    let mut spool = app.storage.spool_up_to(changed.len().saturating_add(edit.prefix.len() as u64));
    spool.write(&edit.prefix).await?;
    let mut at = 0;
    while at < changed.len() {
        let piece = changed.read(at, PIECE).await?;
        for kept in edit.kept(at, &piece) {
            spool.write(kept).await?;
        }
        at += piece.len() as u64;
    }
    Ok(spool)
}
