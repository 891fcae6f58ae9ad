//! Delivery status notifications on their way: built by the pure builder, placed in the sender's folder when
//! the sender is ours, else queued under the null reverse-path.

use std::collections::HashMap;
use std::time::Duration;

use protocol_core::Timestamp;
use protocol_core::message::{Edit, Scanner};
use protocol_smtp::dsn::{self, Action, Dsn, Report, Returnable, Returned, returns_whole};
use protocol_smtp::queue::{NoticeKind, Settlement, State, StoreError};
use storage::directory::{Resolution, resolve};
use storage::{Accept, Job, JobId, JobRecipient, MessageId, NewJob, OrgId, Queued, SpecialUse, Spool};

use super::attempt::Tried;
use super::convert::{deliver_by, with_status};
use crate::app::App;
use crate::signing::sign_whole;
use crate::smtp::{Copies, canonical_text, domain_of, forward};
use crate::telemetry;

/// What a notification tells, and of which message.
pub(crate) struct Told<'a> {
    /// For whom it is sent.
    pub org: OrgId,
    /// The message's reverse-path: who is told.
    pub sender: &'a str,
    /// When the message was accepted.
    pub arrival: Timestamp,
    /// ENVID in xtext.
    pub envid: Option<&'a str>,
    /// The sender's deadline.
    pub deliver_by: Option<Timestamp>,
    /// Whether the message demanded REQUIRETLS: so does what is said of it (RFC 8689 §5).
    pub require_tls: bool,
    /// What became of it.
    pub reports: &'a [Report<'a>],
    /// What of it goes back.
    pub returned: Returned,
}

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
    let told = Told {
        org: job.spec.org,
        sender: &job.spec.sender,
        arrival: job.spec.created,
        envid: job.spec.envid.as_deref(),
        deliver_by: job.spec.deliver_by.map(|by| Timestamp(by.at_ms)),
        require_tls: job.spec.require_tls,
        reports: &reports(job, settlement, tried, app.config.outbound.retry.ttl, now),
        returned: returned(app, job, settlement).await?,
    };
    compose(app, told, now).await.map(Some).map_err(super::store_error)
}

/// A notification, signed and addressed: into the sender's folder when the sender is ours, else into the queue. What an
/// alias sent on from here was sent under a reverse-path of ours that stands for another.
pub(crate) async fn compose(app: &App, told: Told<'_>, now: Timestamp) -> storage::Result<(Spool, Accept)> {
    let host = &app.config.server.hostname;
    let original = forward::original(&app.storage, host, told.sender, now);
    let to = original.as_deref().unwrap_or(told.sender);
    let id = MessageId::random();
    let bytes = dsn::build(&Dsn {
        hostname: host,
        id: &id.to_string(),
        to,
        arrival: told.arrival,
        envid: told.envid,
        deliver_by: told.deliver_by,
        reports: told.reports,
        returned: told.returned,
        now,
    });
    let bytes = match app.signing.for_host(&app.storage, host).await? {
        Some(signer) => sign_whole(&signer, &bytes, now),
        None => bytes,
    };
    write_artifact(app, id, &bytes);
    let accept = address(app, to, (told.org, told.require_tls), (id, &bytes), now).await?;
    Ok((Spool::from_bytes(bytes), accept))
}

fn reports<'a>(
    job: &'a Job,
    settlement: &'a Settlement,
    tried: &'a HashMap<u16, Tried>,
    ttl: Duration,
    now: Timestamp,
) -> Vec<Report<'a>> {
    // Both in the store's time. A deadline of mode R ends all attempts (RFC 2852 §4).
    let end = job.spec.deliver_by.and_then(|by| deliver_by(by, 0).end());
    let ttl_end = job.spec.start + ttl;
    let retry_until = end.map_or(ttl_end, |end| end.min(ttl_end));
    let attempted = settlement.attempts > job.attempts;
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
                action: action(notice.kind),
                status: change.status,
                // The name alone, without the address that is shown with it.
                remote: tried.get(index).and_then(|t| t.host.split(' ').next()),
                diagnostic: with_status(change.status, &change.reply),
                last_attempt: (attempted && change.recipient.state != State::Suppressed).then_some(now),
                retry_until: (notice.kind == NoticeKind::Delayed).then_some(retry_until),
            });
        }
    }
    reports
}

fn action(kind: NoticeKind) -> Action {
    match kind {
        NoticeKind::Failed => Action::Failed,
        NoticeKind::Delayed => Action::Delayed,
        NoticeKind::Relayed => Action::Relayed,
        NoticeKind::Delivered => Action::Delivered,
    }
}

/// What of the message goes back.
async fn returned(app: &App, job: &Job, settlement: &Settlement) -> Result<Returned, StoreError> {
    let NewJob { ref ret, size, binary, require_tls, .. } = job.spec;
    let worst = settlement.notices.iter().map(|notice| action(notice.kind)).min();
    let message = Returnable { ret: ret.as_deref(), size, binary, require_tls };
    let full = worst.is_some_and(|worst| returns_whole(message, worst));
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

async fn address(
    app: &App,
    sender: &str,
    (org, require_tls): (OrgId, bool),
    (id, bytes): (MessageId, &[u8]),
    now: Timestamp,
) -> storage::Result<Accept> {
    let host = &app.config.server.hostname;
    let canonical = canonical_text(sender);
    let resolution = resolve(app.storage.store(), host, std::slice::from_ref(&canonical)).await?.pop();
    let mut accept = Accept { recipients: vec![sender.to_owned()], received: now, ..Accept::default() };
    match resolution {
        Some(Resolution::Local { mailboxes, .. }) => {
            let mut scanner = Scanner::new().with_own_host(host);
            scanner.feed(bytes);
            let (edit, structure) = (&Edit::default(), &scanner.finish());
            let copies =
                Copies { sender: "", received: &[], edit, structure, folder: SpecialUse::Inbox, now };
            let each = mailboxes.iter().enumerate().map(|(n, mailbox)| {
                let message = if n == 0 { id } else { MessageId::random() };
                // A sender whose mailbox is full still hears that mail did not arrive.
                copies.one(mailbox, sender, message, false)
            });
            accept.deliveries = each.collect();
        }
        Some(Resolution::NotLocal) => {
            accept.queued = Some(Queued { org, message: id, prefix: Vec::new(), skip: Vec::new() });
            accept.jobs.push(NewJob {
                id: JobId::random(),
                org,
                message: id,
                size: bytes.len() as u64,
                sender: String::new(),
                domain: domain_of(sender),
                recipients: vec![JobRecipient::new(sender)],
                envid: None,
                ret: None,
                eight_bit: bytes.iter().any(|b| *b >= 0x80),
                binary: false,
                // The notification names its recipient in its own header.
                smtputf8: !sender.is_ascii(),
                require_tls,
                is_dsn: true,
                created: now,
                start: now,
                due: now,
                deliver_by: None,
                counted: None,
                logged: false,
                trace: telemetry::current(),
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
