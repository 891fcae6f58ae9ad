//! What the driver's answers do. An answer to a question that does not stand (given to another session, say)
//! changes nothing.

use protocol_core::{Instant, SendBuf};

use super::replies;
use super::session::{Asked, By, Hello, Next, ServerSession, State, Transaction};
use super::{CloseReason, Refusal, Service};
use crate::params::MailParams;
use crate::reply;
use crate::status::Status;

impl ServerSession {
    /// A question that nobody answered: nothing is known of its outcome, so the client tries again later.
    pub(super) fn unanswered(&mut self, question: Asked, out: &mut SendBuf) -> Next {
        match question {
            Asked::Connect => self.turn_away(&Refusal::Unavailable, out),
            Asked::Authenticate(_) => self.not_authenticated(&Refusal::AuthUnavailable, out),
            Asked::Finish => {
                // The spool is still there.
                let times = self.replies_due();
                self.abandon();
                (0..times).for_each(|_| Refusal::StorageFailed.write(out));
                self.state = State::Line;
            }
            other => self.refused(other, &Refusal::Unavailable, out),
        }
        Next::Again
    }

    pub(super) fn greeted(&mut self) {
        if matches!(self.state, State::Asked(Asked::Connect)) {
            self.state = State::Greet(self.now + self.config.greet_delay);
        }
    }

    /// RFC 5321 §3.1 knows only 554 here; 421 says that it is not for ever (§3.8).
    pub(super) fn turn_away(&mut self, why: &Refusal, out: &mut SendBuf) {
        match why {
            Refusal::RateLimited => Refusal::TooManyConnections.write(out),
            why if why.is_temporary() => why.write_as(421, out),
            why => why.write(out),
        }
        self.end(CloseReason::Refused);
    }

    pub(super) fn sender_accepted(&mut self, params: &MailParams<'_>, out: &mut SendBuf) {
        if !matches!(self.state, State::Asked(Asked::Sender)) {
            return;
        }
        self.state = State::Line;
        self.transaction =
            Some(Transaction { body: params.body, smtputf8: params.smtputf8, recipients: 0, message: None });
        replies::SENDER.write(out);
    }

    pub(super) fn recipient_accepted(&mut self, out: &mut SendBuf) {
        if !matches!(self.state, State::Asked(Asked::Recipient)) {
            return;
        }
        self.state = State::Line;
        self.known_recipient = true;
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients += 1;
        }
        replies::RECIPIENT.write(out);
    }

    /// MAIL, RCPT, DATA or BDAT was refused by the driver.
    pub(super) fn refused(&mut self, question: Asked, why: &Refusal, out: &mut SendBuf) {
        self.state = State::Line;
        if let Asked::Begin(By::Bdat { size, last }) = question {
            self.refuse_chunk(why.clone(), size, last);
            return;
        }
        if question == Asked::Begin(By::Data) {
            self.abandon();
        }
        why.write(out);
        if why.code() == 421 {
            self.end(CloseReason::Refused);
        } else if *why == Refusal::UnknownRecipient && !self.known_recipient {
            self.unknown_recipients += 1;
            if self.unknown_recipients >= self.config.unknown_recipients_max {
                self.state = State::Tarpit(self.now + self.config.tarpit);
            }
        }
    }

    pub(super) fn refused_now(&mut self, why: &Refusal, out: &mut SendBuf) {
        if let State::Asked(question @ (Asked::Sender | Asked::Recipient | Asked::Begin(_))) = self.state {
            self.refused(question, why, out);
        }
    }

    /// The message was stored or refused; the driver has seen to its spool.
    pub(super) fn finished(&mut self, result: Result<&str, &Refusal>, out: &mut SendBuf) {
        let times = self.replies_due();
        self.finished_each((0..times).map(|_| result), out);
    }

    pub(super) fn finished_each<'r>(
        &mut self,
        results: impl Iterator<Item = Result<&'r str, &'r Refusal>>,
        out: &mut SendBuf,
    ) {
        if !matches!(self.state, State::Asked(Asked::Finish)) {
            return;
        }
        self.state = State::Line;
        self.spool = false;
        self.transaction = None;
        let mut close = false;
        for result in results {
            match result {
                Ok(id) => {
                    self.idle_commands = 0;
                    write_accepted(id, out);
                }
                Err(why) => {
                    close |= why.code() == 421;
                    why.write(out);
                }
            }
        }
        if close {
            self.end(CloseReason::Refused);
        }
    }

    /// One verdict for each recipient; without LMTP the protocol has one reply, which is the first success.
    pub(super) fn finished_by_recipient(&mut self, verdicts: &[Result<&str, Refusal>], out: &mut SendBuf) {
        static MISSING: Refusal = Refusal::StorageFailed;
        let verdict = |i: usize| match verdicts.get(i) {
            Some(Ok(id)) => Ok(*id),
            Some(Err(why)) => Err(why),
            None => Err(&MISSING),
        };
        let recipients = self.recipients();
        if self.config.service == Service::Lmtp {
            self.finished_each((0..recipients).map(verdict), out);
        } else {
            let one = (0..recipients).map(verdict).find(Result::is_ok).unwrap_or_else(|| verdict(0));
            self.finished_each(core::iter::once(one), out);
        }
    }

    /// RFC 3207 §4.2: everything learnt before TLS is forgotten.
    pub(super) fn secured(&mut self, channel_binding: bool, now: Instant) {
        if !matches!(self.state, State::Upgrading) {
            return;
        }
        self.state = State::Line;
        self.tls = true;
        self.channel_binding = channel_binding;
        (self.hello, self.account, self.transaction) = (Hello::None, None, None);
        self.now = now;
        self.quiet_since = now;
    }
}

/// The ID is the driver's; only what cannot break the line is shown.
fn write_accepted(id: &str, out: &mut SendBuf) {
    reply::write_start(out, 250, true, Some(Status::OK));
    out.push(b"Accepted as ");
    super::refusal::push_cleaned(id, out);
    out.push(b"\r\n");
}
