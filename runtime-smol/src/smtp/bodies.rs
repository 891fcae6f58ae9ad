//! The forms in which one message is kept: as it came, and as it must be changed before it is delivered or
//! queued. What is changed, and how, is decided in `protocol_core::message`; here it is read from one spool and
//! written to another.

use protocol_core::message::limits::LEAF_DECODED_MAX;
use protocol_core::message::{Scanner, Structure, binary, transcode::Transcoder};
use protocol_smtp::params::Body;
use protocol_smtp::server::Refusal;
use storage::{Spool, Storage};

use super::accept::storage_failed;
use super::transaction::Incoming;

/// Octets that are read and changed at a time.
const PIECE: usize = 64 * 1024;
/// How many times longer a message can become: quoted-printable makes three characters of an octet, and
/// breaks lines.
const GROWTH_MAX: u64 = 4;

/// A message and its structure.
pub(crate) struct Form {
    pub spool: Spool,
    pub structure: Structure,
}

/// A message as mailboxes get it, and as the queue gets it when that differs.
pub(crate) struct Forms {
    pub delivered: Form,
    pub queued: Option<Form>,
}

impl Forms {
    /// A BODY=BINARYMIME message is delivered with its binary parts in base64 and queued as it is (RFC 3030
    /// §3). What is submitted gets short lines in every form that is not binary; a leaf that is too large is
    /// refused.
    pub async fn make(
        incoming: Incoming,
        body: Body,
        submitted: bool,
        own_host: &str,
        storage: &Storage,
    ) -> Result<Forms, Refusal> {
        let Incoming { spool, scanner, failed, .. } = incoming;
        if let Some(error) = failed {
            tracing::error!(%error, "a message could not be spooled");
            return Err(Refusal::StorageFailed);
        }
        let (structure, largest_leaf) = scanner.finish_counted();
        if submitted && largest_leaf > LEAF_DECODED_MAX {
            return Err(Refusal::PartTooBig);
        }
        let mut forms = Forms { delivered: Form { spool, structure }, queued: None };
        if body == Body::Binary && binary::is_needed(&forms.delivered.structure) {
            let mut reencoder = Some(binary::Reencoder::new(&forms.delivered.structure));
            let clean = changed(&forms.delivered.spool, own_host, storage, |octets, out| match octets {
                Some(octets) => reencoder.as_mut().map_or((), |r| r.feed(octets, out)),
                None => reencoder.take().map_or((), |r| r.finish(out)),
            });
            let clean = clean.await.map_err(storage_failed)?;
            forms.queued = Some(std::mem::replace(&mut forms.delivered, clean));
        }
        if submitted && let Some(transcoder) = Transcoder::short_lines(&forms.delivered.structure) {
            let form = transcoded(&forms.delivered.spool, own_host, storage, transcoder);
            forms.delivered = form.await.map_err(storage_failed)?;
        }
        Ok(forms)
    }
}

async fn transcoded(
    from: &Spool,
    own_host: &str,
    storage: &Storage,
    transcoder: Transcoder,
) -> storage::Result<Form> {
    let mut transcoder = Some(transcoder);
    changed(from, own_host, storage, |octets, out| match octets {
        Some(octets) => transcoder.as_mut().map_or((), |t| t.feed(octets, out)),
        None => transcoder.take().map_or((), |t| t.finish(out)),
    })
    .await
}

/// Puts a spooled message through `change`, which is called with each piece and with nothing at the end.
async fn changed(
    from: &Spool,
    own_host: &str,
    storage: &Storage,
    mut change: impl FnMut(Option<&[u8]>, &mut Vec<u8>),
) -> storage::Result<Form> {
    let mut spool = storage.spool_up_to(from.len().saturating_mul(GROWTH_MAX).saturating_add(PIECE as u64));
    let mut scanner = Scanner::new().with_own_host(own_host);
    let (mut at, mut out) = (0, Vec::new());
    loop {
        let piece = from.read(at, PIECE).await?;
        at += piece.len() as u64;
        out.clear();
        change((!piece.is_empty()).then_some(&piece), &mut out);
        scanner.feed(&out);
        spool.write(&out).await?;
        if piece.is_empty() {
            return Ok(Form { spool, structure: scanner.finish() });
        }
    }
}
