//! Jobs for recipients who live here: messages that were held until their release, and mail for a domain that came
//! here while it waited. Nobody is dialled. What the look-up found is written in the transaction that settles the
//! job, so that each mailbox gets one copy, whatever happens in between.

use std::collections::{BTreeSet, HashMap};

use protocol_core::Timestamp;
use protocol_core::address::canonical_domain;
use protocol_core::message::Edit;
use protocol_smtp::params::Body;
use protocol_smtp::queue::{Settlement, State, StoreError, Verdict};
use protocol_smtp::server::Refusal;
use storage::directory::{Resolution, resolve};
use storage::{
    Accept, Job, JobId, JobRecipient, Mailbox, MessageId, NewJob, OrgId, Queued, SpecialUse, Spool,
};

use super::attempt::Attempted;
use super::source::PIECE;
use super::store_error;
use crate::app::App;
use crate::metrics::METRICS;
use crate::smtp::{Copies, Forms, Incoming, canonical_text, domain_of, forward};

/// Where a recipient's mail goes.
#[derive(Clone, Debug, Default)]
pub struct Home {
    mailboxes: Vec<Mailbox>,
    /// Addresses elsewhere that an alias names, and whose alias it is.
    onward: Vec<(OrgId, String)>,
}

/// Where each recipient's mail goes, by its index.
pub type Homes = HashMap<u16, Home>;

/// What was found for these recipients, when the job's domain is served here; else `None`.
pub async fn look_up(
    app: &App,
    job: &Job,
    recipients: &[u16],
) -> storage::Result<Option<(Attempted, Homes)>> {
    if !is_here(app, job).await? {
        return Ok(None);
    }
    let began = super::monotonic();
    let (mut verdicts, mut homes) = (Vec::new(), Homes::new());
    for index in recipients {
        let Some(row) = job.spec.recipients.get(usize::from(*index)) else { continue };
        match look_up_one(app, &row.address).await? {
            Ok(home) => {
                verdicts.push((*index, Verdict::at_home(home.mailboxes.is_empty())));
                homes.insert(*index, home);
            }
            Err(why) => verdicts.push((*index, Verdict::refused_here(&why))),
        }
    }
    let outcome = Attempted { verdicts, took: began.elapsed(), ..Attempted::nothing() };
    Ok(Some((outcome, homes)))
}

async fn is_here(app: &App, job: &Job) -> storage::Result<bool> {
    let name = canonical_domain(&job.spec.domain).unwrap_or_else(|_| job.spec.domain.clone());
    if name.eq_ignore_ascii_case(&app.config.server.hostname) {
        return Ok(true);
    }
    match app.storage.store().domain_lately(&name).await {
        Ok(_) => Ok(true),
        Err(storage::Error::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn look_up_one(app: &App, given: &str) -> storage::Result<Result<Home, Refusal>> {
    let address = canonical_text(given);
    let host = &app.config.server.hostname;
    let found = resolve(app.storage.store(), host, std::slice::from_ref(&address)).await?.pop();
    Ok(match found {
        Some(Resolution::Local { mailboxes, remote, .. }) => {
            if let Err(storage::Error::Refused(why)) = app.storage.encryption_ready(&mailboxes).await {
                tracing::error!(%why, "mail waits");
                return Ok(Err(Refusal::EncryptionUnavailable));
            }
            let mut home = Home { mailboxes, onward: Vec::new() };
            if !remote.is_empty() {
                let owner = forward::owner(&app.storage, given).await.ok_or(storage::Error::NotFound)?;
                home.onward = remote.into_iter().map(|address| (owner, address)).collect();
            }
            Ok(home)
        }
        Some(Resolution::Disabled) => Err(Refusal::Disabled),
        Some(Resolution::OverQuota) => Err(Refusal::OverQuota),
        Some(Resolution::AliasLoop) => Err(Refusal::Loop),
        // A recipient of another domain is here only with one of ours that is gone meanwhile.
        Some(Resolution::UnknownLocal | Resolution::NotLocal) | None => Err(Refusal::UnknownRecipient),
    })
}

/// What must be written with a settlement that says `delivered` of recipients here: their copies, and the jobs of what
/// goes on.
pub async fn placed(
    app: &App,
    job: &Job,
    settlement: &Settlement,
    homes: &Homes,
    now: Timestamp,
) -> Result<Vec<(Spool, Accept)>, StoreError> {
    let delivered = settlement.changes.iter().filter(|change| change.recipient.state == State::Delivered);
    let here = delivered.filter_map(|change| {
        let row = job.spec.recipients.get(usize::from(change.index))?;
        Some((row, homes.get(&change.index)?))
    });
    let here: Vec<(&JobRecipient, &Home)> = here.collect();
    let mut all = Vec::new();
    if here.iter().any(|(_, home)| !home.mailboxes.is_empty()) {
        all.push(copies(app, job, &here, now).await.map_err(store_error)?);
    }
    let owners: BTreeSet<OrgId> =
        here.iter().flat_map(|(_, home)| &home.onward).map(|(owner, _)| *owner).collect();
    for owner in owners {
        all.push(onward(app, job, &here, owner, now).await.map_err(store_error)?);
    }
    Ok(all)
}

/// One copy for each mailbox, however many of the recipients lead to it.
async fn copies(
    app: &App,
    job: &Job,
    here: &[(&JobRecipient, &Home)],
    now: Timestamp,
) -> storage::Result<(Spool, Accept)> {
    let incoming = read(app, job).await?;
    let body = if job.spec.binary { Body::Binary } else { Body::EightBit };
    let forms = Forms::make(incoming, body, false, &app.config.server.hostname, &app.storage).await;
    let form = forms.map_err(|why| storage::Error::Unavailable(why.to_string()))?.delivered;
    let shared = Copies {
        sender: &job.spec.sender,
        received: &[],
        edit: &Edit::default(),
        structure: &form.structure,
        folder: SpecialUse::Inbox,
        now,
    };
    let mut accept = acceptance(job, here, now);
    let mut seen = BTreeSet::new();
    for (row, home) in here {
        for mailbox in home.mailboxes.iter().filter(|mailbox| seen.insert(mailbox.id)) {
            // Whether there is room was looked at; what was accepted is not refused a moment later.
            accept.deliveries.push(shared.one(mailbox, &row.address, MessageId::random(), false));
        }
    }
    METRICS.local_deliveries.fetch_add(accept.deliveries.len() as u64, std::sync::atomic::Ordering::Relaxed);
    Ok((form.spool, accept))
}

/// What aliases of one organisation send on: one job for each destination.
async fn onward(
    app: &App,
    job: &Job,
    here: &[(&JobRecipient, &Home)],
    owner: OrgId,
    now: Timestamp,
) -> storage::Result<(Spool, Accept)> {
    let spool = read(app, job).await?.spool;
    let id = MessageId::random();
    let mut accept = acceptance(job, here, now);
    let addresses = here.iter().flat_map(|(_, home)| &home.onward).filter(|(org, _)| *org == owner);
    let addresses: BTreeSet<&str> = addresses.map(|(_, address)| address.as_str()).collect();
    let domains: BTreeSet<String> = addresses.iter().map(|address| domain_of(address)).collect();
    for (n, domain) in (0..).zip(domains) {
        let group = addresses.iter().filter(|address| domain_of(address) == domain);
        let recipients = group.map(|address| JobRecipient::new(*address)).collect();
        accept.jobs.push(NewJob {
            id: JobId::of(id, n),
            org: owner,
            message: id,
            sender: forward::rewritten(&app.storage, &app.config.server.hostname, &job.spec.sender, now),
            domain,
            recipients,
            created: now,
            start: now,
            due: now,
            deliver_by: None,
            counted: None,
            logged: false,
            ..job.spec.clone()
        });
    }
    accept.queued = Some(Queued { org: owner, message: id, prefix: Vec::new(), skip: Vec::new() });
    Ok((spool, accept))
}

fn acceptance(job: &Job, here: &[(&JobRecipient, &Home)], now: Timestamp) -> Accept {
    Accept {
        sender: job.spec.sender.clone(),
        recipients: here.iter().map(|(row, _)| row.address.clone()).collect(),
        received: now,
        ..Accept::default()
    }
}

/// The queued message in a spool of its own, with its structure.
async fn read(app: &App, job: &Job) -> storage::Result<Incoming> {
    let mut object = app.storage.open_queued(job.spec.org, job.spec.message).await?;
    let spool = app.storage.spool_up_to(object.len().saturating_add(PIECE as u64));
    let mut incoming = Incoming::new(spool, &app.config.server.hostname, false);
    let mut at = 0;
    while at < object.len() {
        let piece = object.read(at, PIECE).await?;
        at += piece.len() as u64;
        incoming.scanner.feed(piece);
        incoming.spool.write(piece).await?;
    }
    Ok(incoming)
}
