//! What becomes of each recipient of an e-mail when it is accepted: a mailbox here, a job of the queue, or nothing.

use std::collections::BTreeMap;

use protocol_core::Timestamp;
use storage::directory::{Resolution, resolve};
use storage::{DeliveryRecord, JobEvent, Mailbox, RecipientState};

use super::auth::Caller;
use super::error::ApiError;
use super::simulate::{self, Outcome};
use crate::app::App;
use crate::smtp::suppression_told;

/// Recipients of one job: a server takes no more in one transaction as a rule (RFC 5321 §4.5.3.1.8).
const RECIPIENTS_OF_JOB_MAX: usize = 100;

/// What becomes of one recipient.
#[derive(Clone, Debug)]
pub enum Route {
    /// It is somebody here; an alias may lead elsewhere too.
    Local {
        /// Mailboxes it reaches.
        mailboxes: Vec<Mailbox>,
        /// Addresses elsewhere that its alias names.
        forwarded: Vec<String>,
        /// Its quota counts.
        check_quota: bool,
    },
    /// The queue brings it.
    Queue,
    /// It can never arrive; the text says why.
    Failed(String),
    /// Mail to it is held back; the text says why.
    Suppressed(String),
    /// Nothing is sent.
    Simulated(Outcome),
}

/// Finds out what becomes of each recipient, in order. `queued` is true when everything waits in the queue, because
/// it is not to be delivered yet.
pub async fn find(
    app: &App,
    caller: &Caller,
    recipients: &[api_message::Recipient],
    queued: bool,
) -> Result<Vec<Route>, ApiError> {
    let canonical: Vec<String> = recipients.iter().map(|r| r.address.canonical.to_string()).collect();
    let resolved = resolve(app.storage.store(), &app.config.server.hostname, &canonical).await?;
    let suppressed = app.storage.suppressed(caller.org, &canonical).await?;
    let mut routes = Vec::with_capacity(recipients.len());
    for ((recipient, resolution), suppressed) in recipients.iter().zip(resolved).zip(suppressed) {
        let simulated = simulate::outcome_of(&recipient.address.canonical);
        routes.push(match (simulated, resolution) {
            (Some(outcome), _) => Route::Simulated(outcome),
            (None, resolution) => match (local(resolution), suppressed) {
                (None, Some(row)) => Route::Suppressed(format!("suppressed: {}", suppression_told(&row))),
                (Some(Route::Local { .. }) | None, _) if caller.is_test() => {
                    Route::Simulated(Outcome::Delivered)
                }
                (Some(Route::Local { .. }), _) if queued => Route::Queue,
                (Some(route), _) => route,
                (None, None) => Route::Queue,
            },
        });
    }
    Ok(routes)
}

/// What a domain of ours does with an address; none when it is not ours.
fn local(resolution: Resolution) -> Option<Route> {
    Some(match resolution {
        Resolution::NotLocal => return None,
        Resolution::Local { mailboxes, remote, role, .. } => {
            Route::Local { mailboxes, forwarded: remote, check_quota: !role }
        }
        Resolution::UnknownLocal => Route::Failed("5.1.1 there is no such mailbox".into()),
        Resolution::Disabled => Route::Failed("5.2.1 the mailbox is disabled".into()),
        Resolution::OverQuota => Route::Failed("5.2.2 the mailbox is full".into()),
        Resolution::AliasLoop => Route::Failed("5.4.6 the aliases lead in a circle".into()),
    })
}

/// What is told of a recipient at once; nothing of one that the queue brings.
pub fn records(address: &str, route: &Route, hostname: &str, now: Timestamp) -> Vec<DeliveryRecord> {
    let record = |state, reply: &str, attempt| DeliveryRecord {
        recipient: address.to_owned(),
        state,
        host: (attempt > 0).then(|| hostname.to_owned()),
        reply: reply.to_owned(),
        tls: String::new(),
        attempt,
        in_doubt: false,
        at_ms: now.0,
        event: JobEvent::Attempted,
    };
    match route {
        Route::Queue => Vec::new(),
        Route::Local { .. } => vec![record(RecipientState::Delivered, "delivered here", 1)],
        Route::Failed(why) => vec![record(RecipientState::Bounced, why, 1)],
        Route::Suppressed(why) => vec![record(RecipientState::Suppressed, why, 0)],
        Route::Simulated(outcome) => simulate::records(address, *outcome, now),
    }
}

/// The recipients that the queue brings, by destination, in groups of what one transaction takes.
pub fn groups<'a>(
    recipients: &'a [api_message::Recipient],
    routes: &[Route],
) -> Vec<(&'a str, Vec<&'a api_message::Recipient>)> {
    let mut by_domain: BTreeMap<&str, Vec<&api_message::Recipient>> = BTreeMap::new();
    for (recipient, _) in recipients.iter().zip(routes).filter(|(_, route)| matches!(route, Route::Queue)) {
        by_domain.entry(recipient.address.canonical.domain()).or_default().push(recipient);
    }
    let mut groups = Vec::new();
    for (domain, list) in by_domain {
        groups.extend(list.chunks(RECIPIENTS_OF_JOB_MAX).map(|chunk| (domain, chunk.to_vec())));
    }
    groups
}
