//! Between the queue machine's values and storage's.

use std::collections::HashMap;

use protocol_core::Timestamp;
use protocol_smtp::queue::{
    Failure, Fence, Job as QueueJob, JobKey, Notify, Recipient, Settlement, State, Verdict,
};
use protocol_smtp::status::Status;
use storage::{DeliveryRecord, Id, Job, JobEvent, JobId, JobRecipient, JobUpdate, RecipientState};

use super::attempt::Tried;

pub fn fence_of(fence: Fence) -> storage::Fence {
    storage::Fence { job: JobId(Id(fence.job.0)), epoch: fence.epoch }
}

/// A claimed job as the machine knows it, in its own time, of which the store's is `lead_ms` ahead. `relay` takes
/// all mail when it is set.
pub fn job(job: &Job, relay: Option<&str>, lease_until: Timestamp, lead_ms: i64) -> QueueJob {
    QueueJob {
        fence: Fence { job: JobKey(job.spec.id.0.0), epoch: job.epoch },
        lease_until,
        destination: relay.unwrap_or(&job.spec.domain).to_owned(),
        null_sender: job.spec.sender.is_empty(),
        is_dsn: job.spec.is_dsn,
        start: Timestamp(job.spec.start.0.saturating_sub(lead_ms)),
        attempts: job.attempts,
        recipients: job.spec.recipients.iter().map(recipient).collect(),
    }
}

fn recipient(recipient: &JobRecipient) -> Recipient {
    let notify = recipient.notify.as_deref().and_then(Notify::parse).unwrap_or_default();
    Recipient {
        state: match recipient.state {
            RecipientState::Pending => State::Pending,
            RecipientState::Delivered => State::Delivered,
            RecipientState::Bounced => State::Bounced,
            RecipientState::Expired => State::Expired,
            RecipientState::Suppressed => State::Suppressed,
            RecipientState::Cancelled => State::Cancelled,
        },
        last: recipient
            .reply
            .as_ref()
            .map(|reply| Failure { status: status_in(reply), reply: reply.clone() }),
        attempts: recipient.attempts,
        in_doubt: recipient.in_doubt,
        delay_notified: recipient.delay_notified,
        // Storage settles the doubt itself when it gives the job out again.
        dot_sent: None,
        ..Recipient::new(notify)
    }
}

/// The enhanced code in a kept reply, `550 5.1.1 text` or our own `5.4.7 text`.
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
pub fn update(job: &Job, settlement: &Settlement, tried: &HashMap<u16, Tried>, now: Timestamp) -> JobUpdate {
    let mut recipients = job.spec.recipients.clone();
    let mut deliveries = Vec::with_capacity(settlement.changes.len());
    for change in &settlement.changes {
        let Some(row) = recipients.get_mut(usize::from(change.index)) else { continue };
        row.state = state(change.recipient.state);
        row.attempts = change.recipient.attempts;
        row.in_doubt = change.recipient.in_doubt;
        row.delay_notified = change.recipient.delay_notified;
        row.reply = Some(with_status(change.status, &change.reply));
        let tried = tried.get(&change.index);
        deliveries.push(DeliveryRecord {
            recipient: row.address.clone(),
            state: row.state,
            host: tried.map(|t| t.host.clone()),
            reply: with_status(change.status, &change.reply),
            tls: tried.map(|t| t.tls.clone()).unwrap_or_default(),
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

/// The reply with its enhanced code in front when it does not show it itself.
pub fn with_status(status: Status, reply: &str) -> String {
    if reply.split(' ').take(2).any(|word| Status::parse(word.as_bytes()).is_some()) {
        reply.to_owned()
    } else {
        format!("{status} {reply}")
    }
}

/// A word for metrics and logs, and the reply.
pub fn outcome(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Delivered { reply, .. } => ("delivered", reply.clone()),
        Verdict::Temporary(why) => ("deferred", with_status(why.status, &why.reply)),
        Verdict::Permanent(why) => ("bounced", with_status(why.status, &why.reply)),
        Verdict::InDoubt(why) => ("in_doubt", with_status(why.status, &why.reply)),
        Verdict::Suppressed(why) => ("suppressed", with_status(why.status, &why.reply)),
        Verdict::NotTried => ("not_tried", String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_reply_gives_its_status_back() {
        assert_eq!(status_in("550 5.1.1 no such user"), Status::new(5, 1, 1));
        assert_eq!(status_in(&with_status(Status::EXPIRED, "given up")), Status::EXPIRED);
        assert_eq!(status_in("451 try later"), Status::TEMPORARY);
        assert_eq!(with_status(Status::new(5, 1, 1), "550 5.1.1 no"), "550 5.1.1 no");
    }
}
