//! Command lines: framed, parsed, judged by the table, and run.

use alloc::sync::Arc;

use protocol_core::{RecvBuf, SendBuf};

use super::config::Offer;
use super::replies::{self, Row};
use super::session::{Hello, Late, Next, ServerSession, State, without_crlf};
use super::steps::{Step, UpgradeTls};
use super::table::{self, Act, Phase, Verb};
use super::{CloseReason, Refusal};
use crate::address::Path;
use crate::command::{Command, CommandError};
use crate::limits::{AUTH_LINE_MAX, COMMAND_LINE_MAX};
use crate::params::{Accepts, Hold, MailParams};
use crate::reply;

/// The first octet of a TLS record that holds a ClientHello (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What stands at the front of the buffer.
enum Framed {
    /// A line with its LF.
    Line(usize),
    /// No line end within the limit; `Some` when the LF is there, so many octets on.
    TooLong(Option<usize>),
    Partial,
}

fn frame(input: &mut RecvBuf, limit: usize) -> Framed {
    match input.find_lf() {
        Some(end) if end < limit => Framed::Line(end + 1),
        Some(end) => Framed::TooLong(Some(end + 1)),
        None if input.len() >= limit || input.is_full() => Framed::TooLong(None),
        None => Framed::Partial,
    }
}

fn is_auth(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

impl ServerSession {
    /// Extensions whose parameters exist on this connection now.
    pub(super) fn accepts(&self) -> Accepts {
        Accepts { future_release: self.hold_until_max().is_some(), ..self.config.accepts(self.tls) }
    }

    /// RFC 5321 §4.3.1: the client waits for the greeting. One that does not is no mail server.
    pub(super) fn greet(
        &mut self,
        at: protocol_core::Instant,
        input: &mut RecvBuf,
        out: &mut SendBuf,
    ) -> Next {
        if !input.is_empty() {
            input.discard_all();
            replies::SPOKE_FIRST.write(out);
            return self.end(CloseReason::Abuse);
        }
        if input.is_eof() {
            return self.end(CloseReason::Eof);
        }
        if self.now < at {
            return Next::Wait;
        }
        self.config.write_greeting(out);
        self.state = State::Line;
        Next::Again
    }

    pub(super) fn command_line(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if self.shutting_down && self.phase() != Phase::Chunks {
            self.end_with(&Refusal::ShuttingDown, CloseReason::ShuttingDown, out);
            return Next::Again;
        }
        if input.bytes().first() == Some(&TLS_HANDSHAKE) {
            return self.not_smtp(input, out);
        }
        let auth = is_auth(input.bytes());
        let limit = if auth { AUTH_LINE_MAX } else { COMMAND_LINE_MAX };
        match frame(input, limit) {
            Framed::Line(len) => {
                self.quiet_since = self.now;
                self.line(len, input, out)
            }
            Framed::TooLong(end) => {
                let row = if auth { &replies::AUTH_TOO_LONG } else { &replies::LINE_TOO_LONG };
                self.too_long(end, row, input, out)
            }
            Framed::Partial if input.is_eof() => self.end(CloseReason::Eof),
            Framed::Partial => Next::Wait,
        }
    }

    /// A line beyond its limit is answered as soon as that is known, and its octets are not kept.
    pub(super) fn too_long(
        &mut self,
        end: Option<usize>,
        row: &'static Row,
        input: &mut RecvBuf,
        out: &mut SendBuf,
    ) -> Next {
        match end {
            Some(len) => {
                input.take_secret(len);
                self.quiet_since = self.now;
                self.state = State::Line;
            }
            None => {
                input.take_secret(input.len());
                self.state = State::LongLine;
            }
        }
        self.error(row, out)
    }

    pub(super) fn rest_of_long_line(&mut self, input: &mut RecvBuf) -> Next {
        match input.find_lf() {
            Some(end) => {
                input.take_secret(end + 1);
                self.quiet_since = self.now;
                self.state = State::Line;
                Next::Again
            }
            None => {
                input.take_secret(input.len());
                if input.is_eof() { self.end(CloseReason::Eof) } else { Next::Wait }
            }
        }
    }

    /// A whole line within its limit.
    fn line(&mut self, len: usize, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let line = input.bytes().get(..len).unwrap_or_default();
        // RFC 5321 §2.3.8: only CRLF ends a line. One that ends otherwise is not obeyed.
        if !line.ends_with(b"\r\n") {
            input.consume(len);
            return self.error(&replies::LINE_END, out);
        }
        let verdict = Command::parse(without_crlf(line), &self.accepts());
        let command = match verdict {
            Ok(command) => command,
            Err(error) => {
                let verb = Verb::named(line);
                input.take_secret(len);
                return self.bad_line(error, verb, input, out);
            }
        };
        let verb = Verb::of(&command);
        let act = match table::gate(verb, &self.config, self.tls) {
            Some(row) => Act::No(row),
            None => table::act(verb, self.phase()),
        };
        match (act, command) {
            (Act::Run, Command::Mail(path, params)) => match self.mail_refused(path, &params) {
                None => Next::Sender(len),
                Some(late) => self.refuse_line(late, len, input, out),
            },
            (Act::Run, Command::Rcpt(path, _)) => match self.rcpt_refused(path) {
                None => Next::Recipient(len),
                Some(late) => self.refuse_line(late, len, input, out),
            },
            (Act::Run, Command::Auth { mechanism, initial }) => {
                let next = self.auth(mechanism, initial, out);
                input.take_secret(len);
                next
            }
            (Act::Run, Command::Ehlo(name) | Command::Lhlo(name) | Command::Helo(name)) => {
                self.client.clear();
                self.client.push_str(name);
                input.consume(len);
                self.hello(if verb == Verb::Helo { Hello::Helo } else { Hello::Extended }, out)
            }
            (act, Command::Bdat { size, last }) => {
                input.consume(len);
                match act {
                    Act::Run => self.bdat(size, last),
                    Act::No(row) | Act::Reset(row) => self.skip_bdat(size, Late::Row(row)),
                }
            }
            (act, Command::Data) => {
                input.consume(len);
                self.data_command(act, input, out)
            }
            (Act::Run, Command::StartTls) => {
                // RFC 3207 §4.2: nothing that stands behind it is obeyed.
                input.discard_all();
                self.starttls(out)
            }
            (Act::Run, _) => {
                input.consume(len);
                self.simple(verb, out)
            }
            (Act::No(row), _) => {
                input.take_secret(len);
                self.error(row, out)
            }
            (Act::Reset(row), _) => {
                input.consume(len);
                self.abandon();
                self.error(row, out)
            }
        }
    }

    /// A line that is no command.
    fn bad_line(
        &mut self,
        error: CommandError,
        verb: Option<Verb>,
        input: &mut RecvBuf,
        out: &mut SendBuf,
    ) -> Next {
        if error == CommandError::Http {
            return self.not_smtp(input, out);
        }
        if error == CommandError::ChunkSize {
            // Nobody knows how many octets follow, and they must not be read as commands.
            replies::CHUNK_SIZE.write(out);
            return self.end(CloseReason::Abuse);
        }
        if let Some(row) = verb.and_then(|verb| table::gate(verb, &self.config, self.tls)) {
            return self.error(row, out);
        }
        if table::needs_tls(verb, &self.config, self.tls) {
            return self.error(&replies::NEEDS_TLS, out);
        }
        let row = match error {
            CommandError::Octets => &replies::LINE_OCTETS,
            CommandError::Argument => &replies::ARGUMENT,
            CommandError::Sender => &replies::BAD_SENDER,
            CommandError::Recipient => &replies::BAD_RECIPIENT,
            CommandError::Parameter => &replies::PARAMETER,
            CommandError::NeedsUtf8 => &replies::NEEDS_UTF8,
            CommandError::Unknown | CommandError::Http | CommandError::ChunkSize => &replies::UNKNOWN_COMMAND,
        };
        self.error(row, out)
    }

    /// Another protocol, perhaps by way of a browser: one reply that repeats nothing, and the end.
    fn not_smtp(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        input.discard_all();
        replies::NOT_SMTP.write(out);
        self.end(CloseReason::Abuse)
    }

    // ---- counters --------------------------------------------------------------------------------------

    /// A refused command counts; too many end the session.
    pub(super) fn error(&mut self, row: &Row, out: &mut SendBuf) -> Next {
        row.write(out);
        self.count_error(out)
    }

    pub(super) fn count_error(&mut self, out: &mut SendBuf) -> Next {
        self.errors += 1;
        if self.errors < self.config.errors_max {
            return Next::Again;
        }
        replies::TOO_MANY_ERRORS.write(out);
        self.end(CloseReason::Abuse)
    }

    fn count_idle_command(&mut self, out: &mut SendBuf) -> Next {
        self.idle_commands += 1;
        if self.idle_commands < self.config.idle_commands_max {
            return Next::Again;
        }
        replies::TOO_MANY_IDLE.write(out);
        self.end(CloseReason::Abuse)
    }

    // ---- commands --------------------------------------------------------------------------------------

    /// RFC 5321 §4.1.4: a new greeting is a RSET as well.
    fn hello(&mut self, hello: Hello, out: &mut SendBuf) -> Next {
        self.abandon();
        self.hello = hello;
        let config = Arc::clone(&self.config);
        if hello == Hello::Helo {
            reply::write(out, 250, None, &config.hostname);
        } else {
            let offer = Offer {
                accepts: self.accepts(),
                tls: self.tls,
                channel_binding: self.channel_binding,
                authenticated: self.account.is_some(),
                hold_until_max: self.hold_until_max(),
            };
            config.write_extensions(&offer, out);
        }
        self.count_idle_command(out)
    }

    fn simple(&mut self, verb: Verb, out: &mut SendBuf) -> Next {
        match verb {
            Verb::Quit => {
                replies::BYE.write(out);
                return self.end(CloseReason::Quit);
            }
            Verb::Rset => {
                self.abandon();
                replies::OK.write(out);
            }
            Verb::Vrfy => replies::VRFY.write(out),
            Verb::Help => replies::HELP.write(out),
            _ => replies::OK.write(out),
        }
        self.count_idle_command(out)
    }

    fn starttls(&mut self, out: &mut SendBuf) -> Next {
        replies::STARTTLS.write(out);
        self.state = State::Upgrading;
        Next::Step(Step::UpgradeTls(UpgradeTls(())))
    }

    /// What the session refuses by itself, before it asks.
    fn mail_refused(&self, path: Path<'_>, params: &MailParams<'_>) -> Option<Late> {
        if self.config.service.is_submission() && self.account.is_none() {
            return Some(Late::Row(&replies::NEEDS_AUTH));
        }
        if !path.is_ascii() && !params.smtputf8 {
            return Some(Late::Row(&replies::NEEDS_UTF8));
        }
        let too_late = match params.hold {
            Some(Hold::For(secs)) => u64::from(secs) > self.config.hold_max_secs,
            Some(Hold::Until(at)) => self.hold_until_max().is_none_or(|max| at > max),
            None => false,
        };
        if too_late {
            return Some(Late::Refusal(Refusal::HoldTooLong, 1));
        }
        // RFC 1870 §6.1: a message that is announced as too large is refused before it is sent.
        let too_big = params.size.is_some_and(|size| size > self.config.message_max);
        too_big.then_some(Late::Refusal(Refusal::TooBig, 1))
    }

    fn rcpt_refused(&self, path: Path<'_>) -> Option<Late> {
        let transaction = self.transaction.as_ref()?;
        if !path.is_ascii() && !transaction.smtputf8 {
            return Some(Late::Row(&replies::NEEDS_UTF8));
        }
        let too_many = transaction.recipients >= self.config.recipients_max;
        too_many.then_some(Late::Refusal(Refusal::TooManyRecipients, 1))
    }

    /// Only faults of form count as errors; what a policy refuses does not.
    fn refuse_line(&mut self, late: Late, len: usize, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        input.consume(len);
        match late {
            Late::Row(row) => self.error(row, out),
            Late::Refusal(why, _) => {
                why.write(out);
                Next::Again
            }
        }
    }
}
