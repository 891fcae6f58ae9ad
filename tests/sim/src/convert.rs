//! Between the queue machine's values and storage's, as the server's shell has it.

use std::collections::BTreeMap;

use protocol_core::Timestamp;
use protocol_smtp::queue::{
    Failure, Fence, Job as QueueJob, JobKey, Notify, Recipient, Settlement, State,
    SuppressionChange as Learnt,
};
use protocol_smtp::status::Status;
use storage::{
    DeliveryRecord, Id, Job, JobEvent, JobId, JobRecipient, JobUpdate, RecipientState, SuppressionChange,
    SuppressionSource,
};

/// Storage's fence.
pub fn fence_of(fence: Fence) -> storage::Fence {
    storage::Fence { job: JobId(Id(fence.job.0)), epoch: fence.epoch }
}

/// The machine's fence.
pub fn fence(job: &Job) -> Fence {
    Fence { job: JobKey(job.spec.id.0.0), epoch: job.epoch }
}

/// A claimed job as the machine knows it, in its own time, of which the store's is `lead_ms` ahead.
pub fn job(job: &Job, lease_until: Timestamp, lead_ms: i64) -> QueueJob {
    QueueJob {
        fence: fence(job),
        lease_until,
        destination: job.spec.domain.clone(),
        null_sender: job.spec.sender.is_empty(),
        is_dsn: job.spec.is_dsn,
        start: Timestamp(job.spec.start.0.saturating_sub(lead_ms)),
        attempts: job.attempts,
        tenant: job.spec.org.0.0,
        deliver_by: None,
        recipients: job.spec.recipients.iter().map(recipient).collect(),
    }
}

fn recipient(row: &JobRecipient) -> Recipient {
    let failure = |reply: &String| Failure { status: status_in(reply), ..Failure::kept(reply) };
    Recipient {
        state: match row.state {
            RecipientState::Pending => State::Pending,
            RecipientState::Delivered => State::Delivered,
            RecipientState::Bounced => State::Bounced,
            RecipientState::Expired => State::Expired,
            RecipientState::Suppressed => State::Suppressed,
            RecipientState::Cancelled => State::Cancelled,
        },
        last: row.reply.as_ref().map(failure),
        attempts: row.attempts,
        in_doubt: row.in_doubt,
        delay_notified: row.delay_notified,
        ..Recipient::new(row.notify.as_deref().and_then(Notify::parse).unwrap_or_default())
    }
}

fn status_in(reply: &str) -> Status {
    reply.split(' ').take(2).find_map(|word| Status::parse(word.as_bytes())).unwrap_or(Status::TEMPORARY)
}

fn state(state: State) -> RecipientState {
    match state {
        State::Pending => RecipientState::Pending,
        State::Delivered => RecipientState::Delivered,
        State::Bounced => RecipientState::Bounced,
        State::Expired => RecipientState::Expired,
        State::Suppressed => RecipientState::Suppressed,
        State::Cancelled => RecipientState::Cancelled,
    }
}

/// The atomic write that a settlement asks for, without its notices.
pub fn update(
    job: &Job,
    settlement: &Settlement,
    hosts: &BTreeMap<u16, String>,
    now: Timestamp,
) -> JobUpdate {
    let mut recipients = job.spec.recipients.clone();
    let mut deliveries = Vec::with_capacity(settlement.changes.len());
    for change in &settlement.changes {
        let Some(row) = recipients.get_mut(usize::from(change.index)) else { continue };
        row.state = state(change.recipient.state);
        row.attempts = change.recipient.attempts;
        row.in_doubt = change.recipient.in_doubt;
        row.delay_notified = change.recipient.delay_notified;
        row.reply = Some(with_status(change.status, &change.reply));
        deliveries.push(DeliveryRecord {
            recipient: row.address.clone(),
            state: row.state,
            host: hosts.get(&change.index).cloned(),
            reply: with_status(change.status, &change.reply),
            tls: "plaintext".into(),
            attempt: settlement.attempts,
            in_doubt: change.in_doubt,
            at_ms: now.0,
            event: JobEvent::Attempted,
        });
    }
    JobUpdate {
        recipients,
        attempts: settlement.attempts,
        next_due: settlement.next_due,
        dead: settlement.dead,
        deliveries,
        ..JobUpdate::default()
    }
}

/// What an attempt teaches about addresses, as storage knows them. `now` is the store's.
pub fn suppressions(job: &Job, settlement: &Settlement, now: Timestamp) -> Vec<SuppressionChange> {
    let address = |index: &u16| Some(job.spec.recipients.get(usize::from(*index))?.address.clone());
    let change = |learnt: &Learnt| {
        Some(match learnt {
            Learnt::Suppress { recipient, reason, lasts } => SuppressionChange::Suppress {
                address: address(recipient)?,
                reason: reason.clone(),
                source: SuppressionSource::Bounce,
                expires: Some(now + *lasts),
            },
            Learnt::SuspectDomain { reason, .. } => {
                SuppressionChange::SuspectDomain { domain: job.spec.domain.clone(), reason: reason.clone() }
            }
            Learnt::Lift { recipient } => SuppressionChange::Delivered { address: address(recipient)? },
        })
    };
    settlement.suppressions.iter().filter_map(change).collect()
}

/// The reply with its enhanced code in front when it does not show it itself.
pub fn with_status(status: Status, reply: &str) -> String {
    if reply.split(' ').take(2).any(|word| Status::parse(word.as_bytes()).is_some()) {
        reply.to_owned()
    } else {
        format!("{status} {reply}")
    }
}
