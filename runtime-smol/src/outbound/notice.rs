//! Delivery status notifications on their way: built by the pure builder, placed in the sender's folder when
//! the sender is ours, else queued under the null reverse-path.

use std::collections::HashMap;
use std::time::Duration;

use protocol_core::Timestamp;
use protocol_core::message::Scanner;
use protocol_smtp::dsn::{self, Action, Dsn, Report, Returned};
use protocol_smtp::queue::{NoticeKind, Settlement, StoreError};
use protocol_smtp::trace;
use storage::directory::{Resolution, resolve};
use storage::{
    Accept, Deliver, FolderTarget, Job, JobId, JobRecipient, MessageId, NamedFlags, NewJob, Queued,
    SpecialUse, Spool,
};

use super::attempt::Tried;
use super::convert::{deliver_by, with_status};
use crate::app::App;
use crate::signing::sign_whole;
use crate::smtp::{canonical_text, domain_of};

/// The notification that a settlement asks for and where it goes, to be written with the settlement. One
/// settlement's notices are one message for one recipient: the sender.
pub async fn build(
    app: &App,
    job: &Job,
    settlement: &Settlement,
    tried: &HashMap<u16, Tried>,
    now: Timestamp,
) -> Result<Option<(Spool, Accept)>, StoreError> {
    if settlement.notices.is_empty() || job.spec.sender.is_empty() {
        return Ok(None);
    }
    let reports = reports(job, settlement, tried, app.config.outbound.retry.ttl);
    let returned = returned(app, job, settlement).await?;
    let id = MessageId::random();
    let bytes = dsn::build(&Dsn {
        hostname: &app.config.server.hostname,
        id: &id.to_string(),
        to: &job.spec.sender,
        arrival: job.spec.created,
        envid: job.spec.envid.as_deref(),
        reports: &reports,
        returned,
        now,
    });
    let signer = app.signing.for_host(&app.storage, &app.config.server.hostname).await;
    let bytes = match signer.map_err(super::store_error)? {
        Some(signer) => sign_whole(&signer, &bytes, now),
        None => bytes,
    };
    write_artifact(app, id, &bytes);
    let accept = address(app, job, id, &bytes, now).await?;
    Ok(Some((Spool::from_bytes(bytes), accept)))
}

fn reports<'a>(
    job: &'a Job,
    settlement: &'a Settlement,
    tried: &'a HashMap<u16, Tried>,
    ttl: Duration,
) -> Vec<Report<'a>> {
    // Both in the store's time. A deadline of mode R ends all attempts (RFC 2852 §4).
    let end = job.spec.deliver_by.and_then(|by| deliver_by(by, 0).end());
    let ttl_end = job.spec.start + ttl;
    let retry_until = end.map_or(ttl_end, |end| end.min(ttl_end));
    let mut reports = Vec::new();
    for notice in &settlement.notices {
        for index in &notice.recipients {
            let change = settlement.changes.iter().find(|c| c.index == *index);
            let (Some(change), Some(row)) = (change, job.spec.recipients.get(usize::from(*index))) else {
                continue;
            };
            reports.push(Report {
                recipient: &row.address,
                orcpt: row.orcpt.as_deref(),
                action: match notice.kind {
                    NoticeKind::Failed => Action::Failed,
                    NoticeKind::Delayed => Action::Delayed,
                    NoticeKind::Relayed => Action::Relayed,
                    NoticeKind::Delivered => Action::Delivered,
                },
                status: change.status,
                remote: tried.get(index).map(|t| t.host.as_str()),
                diagnostic: with_status(change.status, &change.reply),
                retry_until: (notice.kind == NoticeKind::Delayed).then_some(retry_until),
            });
        }
    }
    reports
}

/// What of the message goes back (RFC 3461 §4.3): all of a failed one when RET=FULL asks for it, else its header.
async fn returned(app: &App, job: &Job, settlement: &Settlement) -> Result<Returned, StoreError> {
    let failed = settlement.notices.iter().any(|n| n.kind == NoticeKind::Failed);
    // Binary octets have no place in a notification, whose own lines must be lines.
    let fits = job.spec.size <= dsn::RETURNED_MAX as u64 && !job.spec.binary;
    // RFC 8689 §5: a message that demanded REQUIRETLS does not come back whole.
    let full = failed && job.spec.ret.as_deref() == Some("FULL") && fits && !job.spec.require_tls;
    let mut object = match app.storage.open_queued(job.spec.org, job.spec.message).await {
        Ok(object) => object,
        Err(error) => {
            tracing::warn!(job = %job.spec.id, %error, "a notification goes without the message's header");
            return Ok(Returned::Header(Vec::new()));
        }
    };
    let len = usize::try_from(object.len()).unwrap_or(usize::MAX).min(dsn::RETURNED_MAX);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match object.read(bytes.len() as u64, len - bytes.len()).await {
            Ok([]) | Err(_) => break,
            Ok(piece) => bytes.extend_from_slice(piece),
        }
    }
    Ok(if full {
        Returned::Message(bytes)
    } else {
        let end = protocol_core::message::header::header_len(&bytes);
        bytes.truncate(end);
        if job.spec.binary {
            bytes = protocol_core::message::binary::clean_header(&bytes);
        }
        Returned::Header(bytes)
    })
}

/// Into the sender's folder when the sender is ours, else into the queue.
async fn address(
    app: &App,
    job: &Job,
    id: MessageId,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Accept, StoreError> {
    let sender = canonical_text(&job.spec.sender);
    let resolved = resolve(app.storage.store(), &app.config.server.hostname, std::slice::from_ref(&sender));
    let resolution = resolved.await.map_err(super::store_error)?.pop();
    let mut accept = Accept { recipients: vec![job.spec.sender.clone()], received: now, ..Accept::default() };
    match resolution {
        Some(Resolution::Local { mailboxes, .. }) => {
            let mut scanner = Scanner::new().with_own_host(&app.config.server.hostname);
            scanner.feed(bytes);
            let structure = scanner.finish();
            for (n, mailbox) in mailboxes.iter().enumerate() {
                let prefix = [trace::return_path(""), trace::delivered_to(&job.spec.sender)].concat();
                let mut structure = structure.clone();
                structure.shift(prefix.len() as u64);
                accept.deliveries.push(Deliver {
                    org: mailbox.org,
                    mailbox: mailbox.id,
                    message: if n == 0 { id } else { MessageId::random() },
                    prefix,
                    skip: Vec::new(),
                    folder: FolderTarget::Use(SpecialUse::Inbox),
                    flags: NamedFlags::default(),
                    internal_date: now,
                    meta: structure.encode(),
                    // A sender whose mailbox is full still hears that mail did not arrive.
                    check_quota: false,
                });
            }
        }
        Some(Resolution::NotLocal) => {
            let org = job.spec.org;
            accept.queued = Some(Queued { org, message: id, prefix: Vec::new(), skip: Vec::new() });
            accept.jobs.push(NewJob {
                id: JobId::random(),
                org,
                message: id,
                size: bytes.len() as u64,
                sender: String::new(),
                domain: domain_of(&job.spec.sender),
                recipients: vec![JobRecipient::new(job.spec.sender.clone())],
                envid: None,
                ret: None,
                eight_bit: bytes.iter().any(|b| *b >= 0x80),
                binary: false,
                // The notification names its recipient in its own header.
                smtputf8: !job.spec.sender.is_ascii(),
                require_tls: job.spec.require_tls,
                is_dsn: true,
                created: now,
                start: now,
                due: now,
                deliver_by: None,
                counted: None,
                logged: false,
            });
        }
        // The sender is gone: there is nobody left to tell.
        _ => {}
    }
    Ok(accept)
}

/// The notification as a file for the operator, under `data/bounces/`.
fn write_artifact(app: &App, id: MessageId, bytes: &[u8]) {
    let path = app.config.data_path("bounces").join(format!("{id}.eml"));
    let bytes = bytes.to_vec();
    blocking::unblock(move || {
        let written = crate::files::write_private(&path, &bytes);
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "a notification could not be kept as a file");
        }
    })
    .detach();
}
