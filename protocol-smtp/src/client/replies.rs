//! What a reply means for a recipient (RFC 5321 §4.2, §4.5.3.1.10).

use alloc::string::{String, ToString};

use super::REPLY_KEPT_MAX;
use super::steps::cut;
use crate::queue::{DsnDuty, Failure, Origin, Verdict};
use crate::reply::Reply;
use crate::status::Status;

/// A reply as a verdict keeps it: one line, cut, without controls.
pub(super) fn text(reply: &Reply<'_>) -> String {
    cut(reply.to_string(), REPLY_KEPT_MAX)
}

/// A reply of class 4 or 5 as a failure. `own`: it is about one recipient and no other.
pub(super) fn failure(reply: &Reply<'_>, own: bool) -> Failure {
    let class = if reply.class() == 5 { 5 } else { 4 };
    let status = reply.status().unwrap_or(Status::new(class, 0, 0));
    Failure { status, reply: text(reply), origin: Origin::Peer { code: reply.code(), own } }
}

/// A refusal of the whole session: another host, or the same one later, may think otherwise, so it is
/// temporary, but for 521, by which a host says that it never takes mail (RFC 7504 §3).
pub(super) fn session_failure(reply: &Reply<'_>) -> Failure {
    let failure = failure(reply, false);
    if reply.code() == 521 { failure } else { Failure { status: failure.status.with_class(4), ..failure } }
}

/// What falls to us after a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duty {
    pub(super) dsn: DsnDuty,
    pub(super) by_passed_on: bool,
}

/// The reply to MAIL, DATA or the end of data, for each recipient it concerns.
pub(super) fn verdict(reply: &Reply<'_>, duty: Duty, own: bool) -> Verdict {
    match reply.class() {
        2 => Verdict::Delivered { reply: text(reply), dsn: duty.dsn, by_passed_on: duty.by_passed_on },
        5 => Verdict::Permanent(failure(reply, own)),
        _ => Verdict::Temporary(failure(reply, own)),
    }
}

/// What the reply to a RCPT says.
pub(super) enum RcptReply {
    Accepted,
    Settled(Verdict),
    /// Too many recipients, or one that goes only alone.
    TooMany(Failure),
}

pub(super) fn rcpt(reply: &Reply<'_>) -> RcptReply {
    let too_many = Status::new(reply.class(), 5, 3);
    match reply.code() {
        200..=299 => RcptReply::Accepted,
        // RFC 5321 §4.5.3.1.10: servers that mean 452 may say 552. With another status code it means what it says.
        452 | 552 if reply.status().is_some_and(|s| s == too_many) => RcptReply::TooMany(as_452(reply)),
        452 | 552 if reply.status().is_none() => RcptReply::TooMany(as_452(reply)),
        500..=599 => RcptReply::Settled(Verdict::Permanent(failure(reply, true))),
        _ => RcptReply::Settled(Verdict::Temporary(failure(reply, true))),
    }
}

fn as_452(reply: &Reply<'_>) -> Failure {
    Failure { status: Status::new(4, 5, 3), ..failure(reply, false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ReplyParser;
    use alloc::format;
    use protocol_core::RecvBuf;

    fn kept(text: &str) -> String {
        let mut input = RecvBuf::with_limit(super::super::RECV_BUF_MIN);
        let line = format!("450 {text}\r\n");
        line.as_bytes().chunks(500).for_each(|piece| assert_eq!(input.feed(piece), piece.len()));
        self::text(&ReplyParser::new().poll(&mut input).unwrap().unwrap())
    }

    #[test]
    fn a_reply_is_kept_up_to_the_limit_and_cut_between_characters() {
        let room = REPLY_KEPT_MAX - "450 ".len();
        assert_eq!(kept(&"x".repeat(room)).len(), REPLY_KEPT_MAX);
        assert_eq!(kept(&"x".repeat(room + 1)).len(), REPLY_KEPT_MAX);
        let cut = kept(&format!("{}é", "x".repeat(room - 1)));
        assert_eq!((cut.len(), cut.ends_with('x')), (REPLY_KEPT_MAX - 1, true));
    }
}
