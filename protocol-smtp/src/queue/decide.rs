//! What becomes of a recipient after an attempt: the pure heart of the queue.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::policy::Policy;
use super::types::*;
use crate::status::Status;

/// After a connection broke between the final dot and its reply, the next attempt waits at least this long:
/// the peer may still be delivering what it got (RFC 5321 §4.5.3.2.6 gives it ten minutes to answer).
pub const IN_DOUBT_WAIT: Duration = Duration::from_secs(600);

/// An attempt as one recipient sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Its number, from 1.
    pub number: u32,
    /// When TTL and delay warning began to count.
    pub start: Timestamp,
    /// Nobody may be told: the reverse-path is null, or the message is a notification itself.
    pub silent: bool,
    /// What was found out.
    pub verdict: &'a Verdict,
}

/// What becomes of the recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Done; a success notice is due when the sender asked for one and no next hop sends it.
    Delivered {
        /// [`NoticeKind::Relayed`] or [`NoticeKind::Delivered`].
        notice: Option<NoticeKind>,
    },
    /// Tried again, not before `due`.
    Retry {
        /// When. At the end of the TTL itself the claim only settles and does not dial.
        due: Timestamp,
        /// The one notice of delay is due now.
        warn: bool,
    },
    /// Given up after a permanent failure.
    Bounce {
        /// A failure notice is due.
        notify: bool,
    },
    /// Given up because attempts or time are used up.
    Expire {
        /// 5.4.7, or the TLS failure that stood in the way all the time.
        status: Status,
        /// A failure notice is due.
        notify: bool,
    },
    /// Given up without trying.
    Suppress {
        /// A failure notice is due.
        notify: bool,
    },
    /// As it was.
    Untouched,
}

/// Decides about one recipient (RFC 5321 §4.5.4, RFC 3461 §5.2, RFC 3464).
pub fn decide(
    recipient: &Recipient,
    attempt: &Attempt<'_>,
    policy: &Policy,
    now: Timestamp,
    jitter: u64,
) -> Decision {
    if recipient.state != State::Pending {
        return Decision::Untouched;
    }
    let notify = !attempt.silent && recipient.notify.failure();
    let (failure, wait_min) = match attempt.verdict {
        Verdict::NotTried => return Decision::Untouched,
        Verdict::Delivered { dsn, .. } => {
            let asked = !attempt.silent && recipient.notify.success();
            return Decision::Delivered { notice: if asked { success_notice(*dsn) } else { None } };
        }
        Verdict::Permanent(_) => return Decision::Bounce { notify },
        Verdict::Suppressed(_) => return Decision::Suppress { notify },
        Verdict::Temporary(failure) => (failure, Duration::ZERO),
        Verdict::InDoubt(failure) => (failure, IN_DOUBT_WAIT),
    };
    let end = attempt.start + policy.ttl;
    if attempt.number >= policy.max_attempts || now >= end {
        return Decision::Expire { status: exhausted(failure.status), notify };
    }
    let due = now + policy.retry_delay(attempt.number, jitter).max(wait_min);
    let late = !policy.delay_warning.is_zero() && now >= attempt.start + policy.delay_warning;
    let warn = late && !recipient.delay_notified && !attempt.silent && recipient.notify.delay();
    Decision::Retry { due: due.min(end), warn }
}

/// RFC 3461 §5.2: a next hop with DSN answers itself, one without makes us say `relayed`.
fn success_notice(duty: DsnDuty) -> Option<NoticeKind> {
    match duty {
        DsnDuty::PassedOn => None,
        DsnDuty::Relayed => Some(NoticeKind::Relayed),
        DsnDuty::Final => Some(NoticeKind::Delivered),
    }
}

/// The status of a recipient given up for lack of attempts or time: 5.4.7, but a TLS failure stays one, so
/// that its sender learns what to change.
fn exhausted(last: Status) -> Status {
    if last == Status::NO_TLS || last == Status::BAD_TLS { last.with_class(5) } else { Status::EXPIRED }
}

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
    let silent = job.null_sender || job.is_dsn;
    let mut settling = Settling::new(job, tried);
    for (index, verdict) in verdicts {
        let Some(recipient) = settling.recipients.get(usize::from(*index)) else { continue };
        let attempt = Attempt { number, start: job.start, silent, verdict };
        let decision = decide(recipient, &attempt, policy, now, jitter);
        settling.apply(*index, verdict, decision);
    }
    Some(settling.finish(number, now))
}

/// The settlement of a job whose time is over, without an attempt: every pending recipient expires with the
/// last failure it had.
pub fn settle_expired(job: &Job) -> Settlement {
    let silent = job.null_sender || job.is_dsn;
    let mut settling = Settling::new(job, false);
    for (index, recipient) in (0u16..).zip(&job.recipients) {
        if recipient.state != State::Pending {
            continue;
        }
        let last = recipient.last.clone().unwrap_or_else(never_tried);
        let notify = !silent && recipient.notify.failure();
        let decision = Decision::Expire { status: exhausted(last.status), notify };
        settling.apply(index, &Verdict::Temporary(last), decision);
    }
    settling.finish(job.attempts, job.start)
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
}

impl Settling {
    fn new(job: &Job, attempted: bool) -> Settling {
        let recipients = job.recipients.clone();
        Settling { recipients, changes: Vec::new(), notices: BTreeMap::new(), due: None, attempted }
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
        let (mut status, reply) = match verdict {
            Verdict::Delivered { reply, .. } => (Status::OK, reply.clone()),
            Verdict::Temporary(f) | Verdict::Permanent(f) | Verdict::InDoubt(f) | Verdict::Suppressed(f) => {
                recipient.last = Some(f.clone());
                (f.status, f.reply.clone())
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
        self.changes.push(Change { index, recipient: recipient.clone(), status, reply, in_doubt });
    }

    fn finish(self, attempts: u32, now: Timestamp) -> Settlement {
        let pending = self.recipients.iter().any(|r| r.state == State::Pending);
        let failed = |r: &Recipient| matches!(r.state, State::Bounced | State::Expired | State::Suppressed);
        let dead = !pending && self.recipients.iter().any(failed);
        // Recipients left untried wait with those that are retried; alone they need not wait.
        let next_due = pending.then(|| self.due.unwrap_or(now));
        let notices = self.notices.into_iter().map(|(kind, recipients)| Notice { kind, recipients });
        Settlement { attempts, changes: self.changes, next_due, dead, notices: notices.collect() }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
