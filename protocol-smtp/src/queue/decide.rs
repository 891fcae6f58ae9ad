//! What becomes of a recipient after an attempt: the pure heart of the queue.

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::policy::Policy;
use super::settlement::NoticeKind;
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
    /// The sender's deadline.
    pub deliver_by: Option<DeliverBy>,
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
        Verdict::Delivered { dsn, by_passed_on, .. } => {
            let notice = success_notice(recipient.notify, *dsn, *by_passed_on, attempt.deliver_by);
            return Decision::Delivered { notice: notice.filter(|_| !attempt.silent) };
        }
        Verdict::Permanent(_) => return Decision::Bounce { notify },
        Verdict::Suppressed(_) => return Decision::Suppress { notify },
        Verdict::Temporary(failure) => (failure, Duration::ZERO),
        Verdict::InDoubt(failure) => (failure, IN_DOUBT_WAIT),
    };
    let end = end(attempt.start, attempt.deliver_by, policy);
    if attempt.number >= policy.max_attempts || now >= end {
        let in_time = attempt.deliver_by.and_then(|by| by.end()).is_none_or(|at| now < at);
        let status = if in_time { exhausted(failure.status) } else { Status::EXPIRED };
        return Decision::Expire { status, notify };
    }
    let due = now + policy.retry_delay(attempt.number, jitter).max(wait_min);
    let wanted = !recipient.delay_notified && !attempt.silent && recipient.notify.delay();
    let late = late_at(attempt.start, attempt.deliver_by, policy);
    let warn = wanted && late.is_some_and(|at| now >= at);
    // The notice of a missed deadline is due at the deadline, whenever the next attempt would be.
    let deadline = late.filter(|at| wanted && !warn && attempt.deliver_by.is_some_and(|by| by.at == *at));
    Decision::Retry { due: due.min(end).min(deadline.unwrap_or(end)), warn }
}

/// When attempts end: the TTL, or the deadline of mode `R` when it is first (RFC 2852 §4).
pub(super) fn end(start: Timestamp, deliver_by: Option<DeliverBy>, policy: &Policy) -> Timestamp {
    let ttl = start + policy.ttl;
    deliver_by.and_then(|by| by.end()).map_or(ttl, |at| at.min(ttl))
}

/// When a sender hears of a delay: at the deadline of mode `N`, whatever is set here, else after the time that is
/// set. A deadline that was over from the start was reported where it passed.
pub(super) fn late_at(start: Timestamp, deliver_by: Option<DeliverBy>, policy: &Policy) -> Option<Timestamp> {
    match deliver_by {
        Some(by) if !by.give_up && by.at > start => Some(by.at),
        _ => (!policy.delay_warning.is_zero()).then(|| start + policy.delay_warning),
    }
}

/// RFC 3461 §5.2: a next hop with DSN answers itself, one without makes us say `relayed`. RFC 2852 §4.1: so does
/// a trace, and a next hop that loses sight of a deadline of mode `N`, unless the sender wants to hear nothing.
fn success_notice(
    notify: Notify,
    duty: DsnDuty,
    by_passed_on: bool,
    deliver_by: Option<DeliverBy>,
) -> Option<NoticeKind> {
    let by = deliver_by.filter(|_| notify != Notify::Never);
    let tell = by.is_some_and(|by| by.trace || !(by.give_up || by_passed_on));
    match duty {
        DsnDuty::Final if notify.success() => Some(NoticeKind::Delivered),
        DsnDuty::Relayed if notify.success() => Some(NoticeKind::Relayed),
        DsnDuty::Relayed | DsnDuty::PassedOn if tell => Some(NoticeKind::Relayed),
        DsnDuty::Final | DsnDuty::Relayed | DsnDuty::PassedOn => None,
    }
}

/// The status of a recipient given up for lack of attempts or time: 5.4.7, but a TLS failure stays one, so
/// that its sender learns what to change.
pub(super) fn exhausted(last: Status) -> Status {
    if last == Status::NO_TLS || last == Status::BAD_TLS { last.with_class(5) } else { Status::EXPIRED }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
