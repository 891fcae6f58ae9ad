//! From verdicts and decisions to the one write that carries them out.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use protocol_core::Timestamp;

use super::classify::{Class, class_of};
use super::decide::{Attempt, Decision, decide, exhausted, late_at};
use super::policy::Policy;
use super::settlement::*;
use super::types::*;
use crate::status::Status;

/// The whole attempt as one atomic write; `None` when nothing was tried, so that the job is only given back.
/// `jitter` is drawn once for the job: recipients that fail alike stay together.
pub fn settle(
    job: &Job,
    verdicts: &[(u16, Verdict)],
    policy: &Policy,
    now: Timestamp,
    jitter: u64,
) -> Option<Settlement> {
    if verdicts.iter().all(|(_, v)| *v == Verdict::NotTried) {
        return None;
    }
    let tried = verdicts.iter().any(|(_, v)| !matches!(v, Verdict::NotTried | Verdict::Suppressed(_)));
    let number = job.attempts.saturating_add(u32::from(tried));
    let mut settling = Settling::new(job, tried);
    for (index, verdict) in verdicts {
        let Some(recipient) = settling.recipients.get(usize::from(*index)) else { continue };
        let (silent, deliver_by) = (job.is_silent(), job.deliver_by);
        let attempt = Attempt { number, start: job.start, silent, deliver_by, verdict };
        let decision = decide(recipient, &attempt, policy, now, jitter);
        settling.apply(*index, verdict, decision);
    }
    Some(settling.finish(number, now))
}

/// The settlement of a job whose time is over, without an attempt: every pending recipient expires with the
/// last failure it had.
pub fn settle_expired(job: &Job) -> Settlement {
    let mut settling = Settling::new(job, false);
    for (index, recipient) in (0u16..).zip(&job.recipients) {
        if recipient.state != State::Pending {
            continue;
        }
        let last = recipient.last.clone().unwrap_or_else(never_tried);
        let notify = !job.is_silent() && recipient.notify.failure();
        let by_sender = job.deliver_by.is_some_and(|by| by.give_up);
        let status = if by_sender { Status::EXPIRED } else { exhausted(last.status) };
        let decision = Decision::Expire { status, notify };
        settling.apply(index, &Verdict::Temporary(last), decision);
    }
    settling.finish(job.attempts, job.start)
}

/// The notice that a deadline of mode `N` has passed (RFC 2852 §4), without an attempt: `None` when it is not
/// due, or nobody is left to be told of. The job is due again at once.
pub(super) fn settle_late(job: &Job, policy: &Policy, now: Timestamp) -> Option<Settlement> {
    let by = job.deliver_by.filter(|_| !job.is_silent())?;
    late_at(job.start, job.deliver_by, policy).filter(|at| *at == by.at && now >= *at)?;
    let mut settling = Settling::new(job, false);
    for (index, recipient) in (0u16..).zip(&job.recipients) {
        let pending = recipient.state == State::Pending && recipient.dot_sent.is_none();
        if pending && recipient.notify.delay() && !recipient.delay_notified {
            settling.late(index, now);
        }
    }
    (!settling.changes.is_empty()).then(|| settling.finish(job.attempts, now))
}

fn never_tried() -> Failure {
    let reply = "the destination could not be reached before the message expired";
    Failure::local(Status::NO_ANSWER, reply)
}

/// A settlement under construction.
struct Settling {
    recipients: Vec<Recipient>,
    changes: Vec<Change>,
    notices: BTreeMap<NoticeKind, Vec<u16>>,
    due: Option<Timestamp>,
    /// Something was looked up or dialled.
    attempted: bool,
    suppressions: Vec<SuppressionChange>,
    /// Nothing is learnt from this job: see [`Settlement::suppressions`].
    silent: bool,
}

impl Settling {
    fn new(job: &Job, attempted: bool) -> Settling {
        Settling {
            recipients: job.recipients.clone(),
            changes: Vec::new(),
            notices: BTreeMap::new(),
            due: None,
            attempted,
            suppressions: Vec::new(),
            silent: job.is_silent(),
        }
    }

    fn apply(&mut self, index: u16, verdict: &Verdict, decision: Decision) {
        if self.changes.iter().any(|c| c.index == index) {
            return; // one attempt settles a recipient once
        }
        let Some(recipient) = self.recipients.get_mut(usize::from(index)) else { return };
        let (state, notice) = match decision {
            Decision::Untouched => return,
            Decision::Delivered { notice } => (State::Delivered, notice),
            Decision::Retry { due, warn } => {
                self.due = self.due.max(Some(due));
                recipient.delay_notified |= warn;
                (State::Pending, warn.then_some(NoticeKind::Delayed))
            }
            Decision::Bounce { notify } => (State::Bounced, notify.then_some(NoticeKind::Failed)),
            Decision::Expire { notify, .. } => (State::Expired, notify.then_some(NoticeKind::Failed)),
            Decision::Suppress { notify } => (State::Suppressed, notify.then_some(NoticeKind::Failed)),
        };
        recipient.state = state;
        recipient.dot_sent = None;
        let in_doubt = matches!(verdict, Verdict::InDoubt(_));
        let (mut status, reply, class) = match verdict {
            Verdict::Delivered { reply, .. } => (Status::OK, reply.clone(), None),
            Verdict::Temporary(f) | Verdict::Permanent(f) | Verdict::InDoubt(f) | Verdict::Suppressed(f) => {
                recipient.last = Some(f.clone());
                (f.status, f.reply.clone(), Some(class_of(f)))
            }
            Verdict::NotTried => return,
        };
        if let Decision::Expire { status: final_status, .. } = decision {
            status = final_status;
        }
        if self.attempted && !matches!(verdict, Verdict::Suppressed(_)) {
            recipient.attempts = recipient.attempts.saturating_add(1);
        }
        recipient.in_doubt = recipient.in_doubt.saturating_add(u32::from(in_doubt));
        if let Some(kind) = notice {
            self.notices.entry(kind).or_default().push(index);
        }
        self.changes.push(Change { index, recipient: recipient.clone(), status, reply, in_doubt, class });
        if !self.silent {
            self.learn(index, verdict, class);
        }
    }

    /// What a verdict teaches. Only what is for good and said of this very address, or proved of its domain by
    /// DNS, counts against it.
    fn learn(&mut self, recipient: u16, verdict: &Verdict, class: Option<Class>) {
        let change = match verdict {
            Verdict::Delivered { .. } => SuppressionChange::Lift { recipient },
            Verdict::Permanent(f) => match f.origin {
                Origin::Peer { code: 500..=599, own: true } if class == Some(Class::AddressPermanent) => {
                    SuppressionChange::Suppress {
                        recipient,
                        reason: f.reply.clone(),
                        lasts: ADDRESS_SUPPRESSED,
                    }
                }
                Origin::NoSuchDomain | Origin::NullMx if !self.suspects() => {
                    SuppressionChange::SuspectDomain {
                        recipient,
                        reason: f.reply.clone(),
                        confirmed_after: SUSPICION_CONFIRMED_AFTER,
                        lasts: DOMAIN_SUPPRESSED,
                    }
                }
                Origin::Local | Origin::Peer { .. } | Origin::NoSuchDomain | Origin::NullMx => return,
            },
            Verdict::Temporary(_) | Verdict::InDoubt(_) | Verdict::Suppressed(_) | Verdict::NotTried => {
                return;
            }
        };
        self.suppressions.push(change);
    }

    /// The domain is suspected once for each attempt, however many recipients it has there.
    fn suspects(&self) -> bool {
        self.suppressions.iter().any(|c| matches!(c, SuppressionChange::SuspectDomain { .. }))
    }

    /// The recipient stays as it is, and its sender is told that the deadline is over.
    fn late(&mut self, index: u16, now: Timestamp) {
        let Some(recipient) = self.recipients.get_mut(usize::from(index)) else { return };
        recipient.delay_notified = true;
        self.due = self.due.max(Some(now));
        let reply = match &recipient.last {
            Some(last) => last.reply.clone(),
            None => String::from("the message could not be delivered within the time that its sender set"),
        };
        let class = Some(recipient.last.as_ref().map_or(Class::Transient, class_of));
        let (recipient, status) = (recipient.clone(), Status::EXPIRED.with_class(4));
        self.changes.push(Change { index, recipient, status, reply, in_doubt: false, class });
        self.notices.entry(NoticeKind::Delayed).or_default().push(index);
    }

    fn finish(self, attempts: u32, now: Timestamp) -> Settlement {
        let pending = self.recipients.iter().any(|r| r.state == State::Pending);
        let failed = |r: &Recipient| matches!(r.state, State::Bounced | State::Expired | State::Suppressed);
        let dead = !pending && self.recipients.iter().any(failed);
        // Recipients left untried wait with those that are retried; alone they need not wait.
        let next_due = pending.then(|| self.due.unwrap_or(now));
        let notices = self.notices.into_iter().map(|(kind, recipients)| Notice { kind, recipients });
        Settlement {
            attempts,
            changes: self.changes,
            next_due,
            dead,
            notices: notices.collect(),
            suppressions: self.suppressions,
        }
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
