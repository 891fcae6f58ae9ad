//! The machine: every transition of a session is in this file.
//!
//! ```text
//!  Start ── Connect ──┬─ accept ── Ready ◀───────────────────────────────────────────────┐
//!                     └─ refuse ── Closing                                                │
//!  Ready ── command ──┬─ answered at once ────────────────────────────────────────────────┤
//!                     ├─ MAIL, RCPT ── Asked ── accept, refuse ───────────────────────────┤
//!                     ├─ AUTH ── Asked ─┬─ challenge ── AuthLine ── response ── Asked     │
//!                     │                 └─ succeed, fail ─────────────────────────────────┤
//!                     ├─ STARTTLS ── Upgrading ── done ── Ready (everything forgotten)    │
//!                     └─ DATA, BDAT ── Asked(Begin) ─┬─ refuse ───────────────────────────┤
//!                                                    └─ accept ── Data or Bdat            │
//!  Data ── chunks ──┬─ CRLF.CRLF ── Asked(Finish) ── accept, refuse ──────────────────────┤
//!                   ├─ too large, loop ── Discard ── Data, dropping ── CRLF.CRLF, reply ──┤
//!                   └─ bare CR, LF, NUL ── Discard, reply, Closing                        │
//!  Bdat ── chunks ──┬─ chunk done ── 250, Ready with the message open ────────────────────┤
//!                   ├─ LAST done ── Asked(Finish) ── accept, refuse ──────────────────────┤
//!                   └─ too large, loop ── Discard ── rest dropped, reply ─────────────────┘
//! ```
//!
//! A question in `Asked` that is still there at the next `poll` was dropped: it is refused with 451.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base64::Engine as _;
use protocol_core::time::Duration;
use protocol_core::{Instant, RecvBuf, SendBuf};

use super::guard::HeaderGuard;
use super::steps::*;
use super::{CloseReason, Refusal, ServerConfig, Service, Timer};
use crate::command::{Command, CommandError};
use crate::limits::{ACCOUNT_MAX, AUTH_LINE_MAX, COMMAND_LINE_MAX};
use crate::params::{Body, MailParams};
use crate::reply;
use crate::status::Status;
use crate::stuffing::{LineCheck, Scan, Unstuff};

/// One connection seen from the server.
#[derive(Clone, Debug)]
pub struct ServerSession {
    config: Arc<ServerConfig>,
    state: State,
    tls: bool,
    channel_binding: bool,
    /// Name given in EHLO, HELO or LHLO.
    client: Option<String>,
    /// EHLO or LHLO, not HELO.
    extended: bool,
    account: Option<String>,
    transaction: Option<Transaction>,
    errors: u32,
    idle_commands: u32,
    unknown_recipients: u32,
    known_recipient: bool,
    last_activity: Instant,
    now: Instant,
    shutting_down: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Start,
    Asked(Asked),
    Ready,
    /// A line longer than any command is dropped up to its end.
    LongLine,
    AuthLine(&'static str),
    Upgrading,
    Data(Unstuff2),
    /// Octets left of the current BDAT chunk.
    Bdat {
        left: u64,
        last: bool,
    },
    /// A refused BDAT: its octets are dropped, then the reply is sent.
    SkipBdat {
        left: u64,
    },
    Tarpit(Instant),
    /// Tell the driver to drop the spool, then go on as before.
    DiscardThenClose(CloseReason),
    Closing(CloseReason),
    Closed(CloseReason),
}

/// `Unstuff` with equality, for the state's sake.
#[derive(Clone, Debug)]
struct Unstuff2(Unstuff);

impl PartialEq for Unstuff2 {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Unstuff2 {}

/// The question that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Connect,
    ConnectEarly,
    Authenticate(&'static str),
    Sender,
    Recipient,
    Begin,
    Finish,
}

#[derive(Clone, Debug)]
struct Transaction {
    body: Body,
    smtputf8: bool,
    recipients: usize,
    message: Option<Message>,
}

/// A message under way.
#[derive(Clone, Debug)]
struct Message {
    by: By,
    octets: u64,
    guard: HeaderGuard,
    lines: LineCheck,
    began: Instant,
    /// The driver holds a spool.
    spooled: bool,
    /// Why it is dropped; the reply waits for its end.
    failed: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Data,
    Bdat { size: u64, last: bool },
}

/// What `poll` does next, without a borrow of the input.
enum Next {
    Again,
    Wait,
    Step(Step<'static>),
    /// The line of this length is MAIL and asks.
    Sender(usize),
    /// The line of this length is RCPT and asks.
    Recipient(usize),
    /// Drop so many octets; so many after them are message text.
    Chunk(usize, usize),
}

fn status(class: u8, subject: u16, detail: u16) -> Option<Status> {
    Some(Status::new(class, subject, detail))
}

impl ServerSession {
    /// A connection that was just accepted. `tls`: implicit TLS stands, and gives channel bindings or not.
    pub fn new(config: Arc<ServerConfig>, tls: Option<bool>, now: Instant) -> ServerSession {
        ServerSession {
            config,
            state: State::Start,
            tls: tls.is_some(),
            channel_binding: tls.unwrap_or(false),
            client: None,
            extended: false,
            account: None,
            transaction: None,
            errors: 0,
            idle_commands: 0,
            unknown_recipients: 0,
            known_recipient: false,
            last_activity: now,
            now,
            shutting_down: false,
        }
    }

    /// Make progress: consume from `input`, append replies to `out`, return the next step.
    pub fn poll<'b>(&mut self, now: Instant, input: &'b mut RecvBuf, out: &mut SendBuf) -> Step<'b> {
        self.now = now;
        loop {
            if out.is_high() {
                return Step::Flush;
            }
            match self.next(input, out) {
                Next::Again => {}
                Next::Wait => return Step::NeedInput,
                Next::Step(step) => return step,
                Next::Sender(n) => return self.sender_step(input.take(n)),
                Next::Recipient(n) => {
                    let (line, rest) = input.take_and_rest(n);
                    return self.recipient_step(line, rest);
                }
                Next::Chunk(skip, len) => {
                    input.consume(skip);
                    return Step::Chunk(input.take(len));
                }
            }
        }
    }

    /// Call `poll` no later than this even if nothing arrives (RFC 5321 §4.5.3.2), and why.
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let idle = (self.last_activity + self.config.idle, Timer::Idle);
        let message = self.transaction.as_ref().and_then(|t| t.message.as_ref());
        match &self.state {
            State::Closed(_) | State::Closing(_) | State::DiscardThenClose(_) => None,
            State::Tarpit(until) => Some((*until, Timer::Tarpit)),
            State::Upgrading => Some((self.last_activity + self.config.handshake, Timer::Handshake)),
            State::Data(_) | State::Bdat { .. } => {
                let slow = message.map(|m| (self.message_deadline(m), Timer::Message));
                Some(slow.filter(|(at, _)| *at < idle.0).unwrap_or(idle))
            }
            _ => Some(idle),
        }
    }

    /// RFC 5321 §3.8: a server that stops says 421. At once between commands, at its end for a message.
    pub fn shut_down(&mut self, out: &mut SendBuf) {
        self.shutting_down = true;
        if matches!(self.state, State::Ready | State::AuthLine(_) | State::LongLine) && !self.message_open() {
            self.close_with(&Refusal::ShuttingDown, CloseReason::ShuttingDown, out);
        }
    }

    /// The name the client gave itself.
    pub fn client_name(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// Whether the client used EHLO or LHLO (RFC 3848: `ESMTP` and not `SMTP`).
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// The authenticated account.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Whether TLS protects the connection.
    pub fn is_secure(&self) -> bool {
        self.tls
    }

    // ---- what comes next -------------------------------------------------------------------------------

    fn next(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if let Some(next) = self.expired(out) {
            return next;
        }
        match self.state.clone() {
            State::Start => {
                let early = !input.is_empty();
                self.state = State::Asked(if early { Asked::ConnectEarly } else { Asked::Connect });
                Next::Step(Step::Connect(Connect(())))
            }
            State::Asked(question) => self.unanswered(question, out),
            State::Closing(why) => {
                self.state = State::Closed(why);
                Next::Again
            }
            State::DiscardThenClose(why) => {
                self.state = State::Closed(why);
                Next::Step(Step::Discard)
            }
            State::Closed(why) => Next::Step(Step::Closed(why)),
            State::Tarpit(_) => {
                input.discard_all();
                if input.is_eof() { self.end(CloseReason::Eof) } else { Next::Wait }
            }
            State::Upgrading => self.end(CloseReason::Abuse),
            State::Ready => self.command_line(input, out),
            State::LongLine => self.rest_of_long_line(input, out),
            State::AuthLine(mechanism) => self.auth_line(mechanism, input, out),
            State::Data(unstuff) => self.data(unstuff.0, input, out),
            State::Bdat { left, last } => self.bdat_octets(left, last, input, out),
            State::SkipBdat { left } => self.skip_bdat(left, input, out),
        }
    }

    /// What a deadline that has passed does.
    fn expired(&mut self, out: &mut SendBuf) -> Option<Next> {
        let (at, timer) = self.deadline()?;
        if self.now < at {
            return None;
        }
        let reason = match timer {
            Timer::Tarpit => {
                reply::write(out, 421, status(4, 7, 0), "Too many unknown recipients, closing connection");
                CloseReason::Abuse
            }
            Timer::Idle | Timer::Message | Timer::Handshake => {
                reply::write(out, 421, status(4, 4, 2), "Timeout, closing connection");
                CloseReason::Timeout
            }
        };
        Some(self.end(reason))
    }

    /// Ends the session; the driver drops its spool first when it has one.
    fn end(&mut self, why: CloseReason) -> Next {
        let spooled = self.transaction.take().and_then(|t| t.message).is_some_and(|m| m.spooled);
        self.state = if spooled { State::DiscardThenClose(why) } else { State::Closing(why) };
        Next::Again
    }

    fn close_with(&mut self, why: &Refusal, reason: CloseReason, out: &mut SendBuf) {
        why.write(out);
        self.end(reason);
    }

    /// A question that nobody answered: nothing is known of its outcome, so the client tries again later.
    fn unanswered(&mut self, question: Asked, out: &mut SendBuf) -> Next {
        match question {
            Asked::Connect | Asked::ConnectEarly => {
                self.close_with(&Refusal::TooManyConnections, CloseReason::Refused, out);
            }
            Asked::Authenticate(_) => self.not_authenticated(&Refusal::AuthUnavailable, out),
            Asked::Finish => self.finished(Err(&Refusal::StorageFailed), out),
            other => self.refused(other, &Refusal::StorageFailed, out),
        }
        Next::Again
    }

    fn message_open(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| t.message.is_some())
    }

    fn message_deadline(&self, message: &Message) -> Instant {
        let earned = Duration::from_secs(60 + message.octets / self.config.message_rate.max(1));
        message.began + earned.min(self.config.message_time)
    }

    // ---- lines -----------------------------------------------------------------------------------------

    fn command_line(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let Some(end) = input.find_lf() else {
            if input.is_eof() {
                return self.end(CloseReason::Eof);
            }
            if input.len() >= AUTH_LINE_MAX || input.is_full() {
                input.discard_all();
                self.state = State::LongLine;
                return Next::Again;
            }
            return Next::Wait;
        };
        self.last_activity = self.now;
        let len = end + 1;
        let line = &input.bytes()[..end];
        let is_auth = line.get(..5).is_some_and(|v| v.eq_ignore_ascii_case(b"AUTH "));
        let limit = if is_auth { AUTH_LINE_MAX } else { COMMAND_LINE_MAX };
        // RFC 5321 §2.3.8: only CRLF ends a line.
        let Some(line) = line.strip_suffix(b"\r").filter(|_| len <= limit) else {
            let text = if len > limit { "Line too long" } else { "Lines end with CRLF" };
            let detail = if is_auth && len > limit { 6 } else { 2 };
            input.consume(len);
            self.error(500, status(5, 5, detail), text, out);
            return Next::Again;
        };
        match Command::parse(line, &self.config.accepts(self.tls)) {
            Err(error) => {
                input.consume(len);
                self.command_error(error, out)
            }
            Ok(Command::Mail(..)) if self.mail_allowed(out) => Next::Sender(len),
            Ok(Command::Mail(..)) => {
                input.consume(len);
                Next::Again
            }
            Ok(Command::Rcpt(path, _)) if self.rcpt_allowed(path.is_ascii(), out) => Next::Recipient(len),
            Ok(Command::Rcpt(..)) => {
                input.consume(len);
                Next::Again
            }
            Ok(Command::Auth { mechanism, initial }) => {
                let asked = self.auth_command(mechanism, initial, out);
                input.take_secret(len);
                asked.unwrap_or(Next::Again)
            }
            Ok(Command::StartTls) => {
                input.consume(len);
                self.starttls(input, out)
            }
            Ok(Command::Bdat { size, last }) => {
                input.consume(len);
                self.bdat(size, last, out)
            }
            Ok(Command::Data) => {
                input.consume(len);
                self.data_command(out)
            }
            Ok(Command::Ehlo(name) | Command::Lhlo(name) | Command::Helo(name)) => {
                let name = String::from(name);
                let verb = line.first().map_or(b' ', u8::to_ascii_uppercase);
                input.consume(len);
                self.hello(verb, name, out);
                Next::Again
            }
            Ok(simple) => {
                let simple = match simple {
                    Command::Rset => Simple::Rset,
                    Command::Vrfy => Simple::Vrfy,
                    Command::Expn => Simple::Expn,
                    Command::Help => Simple::Help,
                    Command::Quit => Simple::Quit,
                    _ => Simple::Noop,
                };
                input.consume(len);
                self.simple(simple, out)
            }
        }
    }

    fn rest_of_long_line(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match input.find_lf() {
            Some(end) => {
                input.consume(end + 1);
                self.state = State::Ready;
                self.error(500, status(5, 5, 2), "Line too long", out);
                Next::Again
            }
            None if input.is_eof() => self.end(CloseReason::Eof),
            None => {
                input.discard_all();
                Next::Wait
            }
        }
    }

    /// A refused command counts; too many end the session.
    fn error(&mut self, code: u16, status: Option<Status>, text: &str, out: &mut SendBuf) {
        reply::write(out, code, status, text);
        self.count_error(out);
    }

    fn count_error(&mut self, out: &mut SendBuf) {
        self.errors += 1;
        if self.errors >= self.config.errors_max {
            reply::write(out, 421, Some(Status::new(4, 7, 0)), "Too many errors, closing connection");
            self.end(CloseReason::Abuse);
        }
    }

    fn count_idle_command(&mut self, out: &mut SendBuf) {
        self.idle_commands += 1;
        if self.idle_commands >= self.config.idle_commands_max {
            reply::write(out, 421, Some(Status::new(4, 7, 0)), "Too many commands without a message");
            self.end(CloseReason::Abuse);
        }
    }

    fn command_error(&mut self, error: CommandError, out: &mut SendBuf) -> Next {
        if error == CommandError::Http {
            reply::write(out, 500, status(5, 5, 1), "This is a mail server");
            return self.end(CloseReason::Abuse);
        }
        if self.needs_tls_first() {
            self.error(530, status(5, 7, 0), "Issue STARTTLS first", out);
            return Next::Again;
        }
        let (code, status, text) = match error {
            CommandError::Unknown | CommandError::Http => (500, status(5, 5, 1), "Unknown command"),
            CommandError::Octets => (500, status(5, 5, 2), "Octets that no command line holds"),
            CommandError::Argument => (501, status(5, 5, 4), "Bad argument"),
            CommandError::Sender => (501, status(5, 1, 7), "Bad sender address"),
            CommandError::Recipient => (501, status(5, 1, 3), "Bad recipient address"),
            CommandError::Parameter => (555, status(5, 5, 4), "Unknown parameter"),
            CommandError::NeedsUtf8 => (553, status(5, 6, 7), "A non-ASCII address needs SMTPUTF8"),
        };
        self.error(code, status, text, out);
        Next::Again
    }

    // ---- commands --------------------------------------------------------------------------------------

    /// SPEC: on 587 nothing but a few commands before TLS.
    fn needs_tls_first(&self) -> bool {
        self.config.service.is_submission() && !self.tls
    }

    fn hello(&mut self, verb: u8, name: String, out: &mut SendBuf) {
        let lmtp = self.config.service == Service::Lmtp;
        // RFC 2033 §4.1: LMTP has LHLO and neither of the others.
        if lmtp != (verb == b'L') {
            return self.error(500, status(5, 5, 1), "Unknown command", out);
        }
        // RFC 5321 §4.1.4: a new greeting is a RSET as well.
        self.transaction = None;
        self.extended = verb != b'H';
        self.client = Some(name);
        let config = Arc::clone(&self.config);
        if !self.extended {
            return reply::write(out, 250, None, &config.hostname);
        }
        let line = |out: &mut SendBuf, text: &str| reply::write_line(out, 250, false, None, text);
        line(out, &config.hostname);
        line(out, "PIPELINING");
        out.push(b"250-SIZE ");
        out.push_decimal(config.message_max);
        out.push(b"\r\n");
        line(out, "8BITMIME");
        line(out, "SMTPUTF8");
        line(out, "CHUNKING");
        line(out, "BINARYMIME");
        line(out, "DSN");
        if config.starttls && !self.tls {
            line(out, "STARTTLS");
        }
        if config.require_tls && self.tls {
            line(out, "REQUIRETLS");
        }
        if self.tls && self.account.is_none() && !config.mechanisms.is_empty() {
            out.push(b"250-AUTH");
            if config.scram_plus && self.channel_binding {
                out.push(b" SCRAM-SHA-256-PLUS");
            }
            for mechanism in config.mechanisms {
                out.push(b" ");
                out.push(mechanism.as_bytes());
            }
            out.push(b"\r\n");
        }
        out.push(b"250-LIMITS RCPTMAX=");
        out.push_decimal(config.recipients_max as u64);
        out.push(b"\r\n");
        reply::write_line(out, 250, true, None, "ENHANCEDSTATUSCODES");
    }

    fn simple(&mut self, command: Simple, out: &mut SendBuf) -> Next {
        if self.needs_tls_first() && matches!(command, Simple::Vrfy | Simple::Expn) {
            self.error(530, status(5, 7, 0), "Issue STARTTLS first", out);
            return Next::Again;
        }
        match command {
            Simple::Quit => {
                reply::write(out, 221, status(2, 0, 0), "Bye");
                return self.end(CloseReason::Quit);
            }
            Simple::Rset => {
                let discard = self.reset();
                reply::write(out, 250, status(2, 0, 0), "OK");
                self.count_idle_command(out);
                return discard;
            }
            Simple::Noop => reply::write(out, 250, status(2, 0, 0), "OK"),
            Simple::Vrfy => reply::write(out, 252, status(2, 1, 5), "Send some mail, it will be tried"),
            Simple::Expn => return self.error_again(502, 1, "EXPN is not available", out),
            Simple::Help => reply::write(out, 214, status(2, 0, 0), "See RFC 5321"),
        }
        self.count_idle_command(out);
        Next::Again
    }

    fn error_again(&mut self, code: u16, detail: u16, text: &str, out: &mut SendBuf) -> Next {
        self.error(code, status(5, 5, detail), text, out);
        Next::Again
    }

    /// Forgets the transaction; tells the driver when it holds a spool.
    fn reset(&mut self) -> Next {
        let spooled = self.transaction.take().and_then(|t| t.message).is_some_and(|m| m.spooled);
        if spooled { Next::Step(Step::Discard) } else { Next::Again }
    }

    fn starttls(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if self.tls {
            return self.error_again(503, 1, "TLS is active", out);
        }
        if !self.config.starttls {
            return self.error_again(502, 1, "STARTTLS is not available", out);
        }
        let discard = self.reset();
        // RFC 3207 §4.2: nothing learnt before TLS is kept, nothing sent before it is obeyed.
        input.discard_all();
        if let Next::Step(step) = discard {
            // A spool was open (BDAT without LAST): it goes first, and the command is refused as out of order.
            self.error(503, status(5, 5, 1), "STARTTLS inside a transaction", out);
            return Next::Step(step);
        }
        reply::write(out, 220, status(2, 0, 0), "Ready to start TLS");
        self.state = State::Upgrading;
        Next::Step(Step::UpgradeTls(UpgradeTls(())))
    }

    fn mail_allowed(&mut self, out: &mut SendBuf) -> bool {
        let refusal = if self.needs_tls_first() {
            Some((530, status(5, 7, 0), "Issue STARTTLS first"))
        } else if self.client.is_none() {
            Some((503, status(5, 5, 1), "Say EHLO first"))
        } else if self.config.service.is_submission() && self.account.is_none() {
            Some((530, status(5, 7, 0), "Authentication required"))
        } else if self.transaction.is_some() {
            Some((503, status(5, 5, 1), "A transaction is open already"))
        } else if self.shutting_down {
            Some((421, status(4, 3, 2), "The server is shutting down"))
        } else {
            None
        };
        match refusal {
            Some((code, status, text)) => {
                self.error(code, status, text, out);
                false
            }
            None => true,
        }
    }

    fn rcpt_allowed(&mut self, is_ascii: bool, out: &mut SendBuf) -> bool {
        if self.needs_tls_first() {
            self.error(530, status(5, 7, 0), "Issue STARTTLS first", out);
            return false;
        }
        let Some(transaction) = self.transaction.as_ref().filter(|t| t.message.is_none()) else {
            self.error(503, status(5, 5, 1), "MAIL first", out);
            return false;
        };
        if !is_ascii && !transaction.smtputf8 {
            self.error(553, status(5, 6, 7), "A non-ASCII address needs SMTPUTF8", out);
            return false;
        }
        if transaction.recipients >= self.config.recipients_max {
            Refusal::TooManyRecipients.write(out);
            return false;
        }
        true
    }

    fn sender_step<'b>(&mut self, line: &'b [u8]) -> Step<'b> {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        match Command::parse(line, &self.config.accepts(self.tls)) {
            Ok(Command::Mail(path, params)) => {
                self.state = State::Asked(Asked::Sender);
                Step::Sender(Sender { path, params })
            }
            _ => Step::NeedInput,
        }
    }

    fn recipient_step<'b>(&mut self, line: &'b [u8], rest: &'b [u8]) -> Step<'b> {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let accepts = self.config.accepts(self.tls);
        match Command::parse(line, &accepts) {
            Ok(Command::Rcpt(path, params)) => {
                self.state = State::Asked(Asked::Recipient);
                Step::Recipient(Recipient { path, params, rest, accepts })
            }
            _ => Step::NeedInput,
        }
    }

    fn data_command(&mut self, out: &mut SendBuf) -> Next {
        if let Some(next) = self.message_refused(out) {
            return next;
        }
        match &self.transaction {
            Some(t) if t.message.is_some() => self.error_again(503, 1, "DATA after BDAT", out),
            // RFC 3030 §3: a BINARYMIME message comes by BDAT only.
            Some(t) if t.body == Body::Binary => self.error_again(503, 1, "BINARYMIME needs BDAT", out),
            _ => self.ask_begin(By::Data),
        }
    }

    /// What DATA and BDAT have in common: there must be recipients.
    fn message_refused(&mut self, out: &mut SendBuf) -> Option<Next> {
        if self.needs_tls_first() {
            self.error(530, status(5, 7, 0), "Issue STARTTLS first", out);
            return Some(Next::Again);
        }
        match &self.transaction {
            None => Some(self.error_again(503, 1, "MAIL first", out)),
            Some(t) if t.recipients == 0 => Some(self.error_again(503, 1, "RCPT first", out)),
            Some(_) => None,
        }
    }

    fn ask_begin(&mut self, by: By) -> Next {
        let began = self.now;
        if let Some(transaction) = &mut self.transaction {
            transaction.message = Some(Message {
                by,
                octets: 0,
                guard: HeaderGuard::new(),
                lines: LineCheck::new(),
                began,
                spooled: false,
                failed: None,
            });
        }
        self.state = State::Asked(Asked::Begin);
        Next::Step(Step::Begin(Begin { limit: self.config.message_max }))
    }

    fn bdat(&mut self, size: u64, last: bool, out: &mut SendBuf) -> Next {
        let had = out.len();
        if let Some(next) = self.message_refused(out) {
            // RFC 3030 §2: the octets follow whatever the reply is.
            if matches!(self.state, State::Ready) && out.len() > had && size > 0 {
                self.state = State::SkipBdat { left: size };
            }
            return next;
        }
        match self.transaction.as_mut().and_then(|t| t.message.as_mut()) {
            None => self.ask_begin(By::Bdat { size, last }),
            Some(message) => {
                message.by = By::Bdat { size, last };
                self.state = State::Bdat { left: size, last };
                Next::Again
            }
        }
    }

    // ---- the message -----------------------------------------------------------------------------------

    fn data(&mut self, mut unstuff: Unstuff, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match unstuff.scan(input.bytes()) {
            Scan::NeedInput if input.is_eof() => self.end(CloseReason::Eof),
            Scan::NeedInput => Next::Wait,
            Scan::Bare(octet) => self.bare(octet, out),
            Scan::End { len } => {
                input.consume(len);
                self.message_ended(out)
            }
            Scan::Text { skip, len } => {
                self.state = State::Data(Unstuff2(unstuff));
                self.text(skip, len, input)
            }
        }
    }

    fn bare(&mut self, octet: crate::stuffing::BareOctet, out: &mut SendBuf) -> Next {
        use crate::stuffing::BareOctet;
        let text = match octet {
            BareOctet::Cr => "The message holds CR without LF",
            BareOctet::Lf => "The message holds LF without CR",
            BareOctet::Nul => "The message holds NUL",
        };
        reply::write(out, 550, status(5, 5, 2), text);
        self.end(CloseReason::BareOctet)
    }

    /// Hands `len` octets out, or drops them when the message has failed already.
    fn text(&mut self, skip: usize, len: usize, input: &mut RecvBuf) -> Next {
        self.last_activity = self.now;
        let limit = self.config.message_max;
        let Some(message) = self.transaction.as_mut().and_then(|t| t.message.as_mut()) else {
            return self.end(CloseReason::Abuse);
        };
        if message.failed.is_some() {
            input.consume(skip + len);
            return Next::Again;
        }
        let text = &input.bytes()[skip..skip + len];
        message.octets += len as u64;
        let verdict = if message.octets > limit { Err(Refusal::TooBig) } else { message.guard.watch(text) };
        if let Err(why) = verdict {
            message.failed = Some(why);
            message.spooled = false;
            input.consume(skip + len);
            return Next::Step(Step::Discard);
        }
        Next::Chunk(skip, len)
    }

    fn bdat_octets(&mut self, left: u64, last: bool, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if left == 0 {
            return if last { self.bdat_last(out) } else { self.chunk_done(out) };
        }
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if n == 0 {
            return if input.is_eof() { self.end(CloseReason::Eof) } else { Next::Wait };
        }
        let strict = self.transaction.as_ref().is_some_and(|t| t.body != Body::Binary);
        let message = self.transaction.as_mut().and_then(|t| t.message.as_mut());
        if let Some(message) = message.filter(|m| strict && m.failed.is_none())
            && let Err(octet) = message.lines.check(&input.bytes()[..n])
        {
            return self.bare(octet, out);
        }
        self.state = State::Bdat { left: left - n as u64, last };
        self.text(0, n, input)
    }

    fn bdat_last(&mut self, out: &mut SendBuf) -> Next {
        let strict = self.transaction.as_ref().is_some_and(|t| t.body != Body::Binary);
        let lines = self.transaction.as_ref().and_then(|t| t.message.as_ref()).map(|m| m.lines);
        match lines.map(|l| l.finish()) {
            Some(Err(octet)) if strict => self.bare(octet, out),
            _ => self.message_ended(out),
        }
    }

    fn chunk_done(&mut self, out: &mut SendBuf) -> Next {
        self.state = State::Ready;
        let failed =
            self.transaction.as_ref().and_then(|t| t.message.as_ref()).and_then(|m| m.failed.clone());
        match failed {
            Some(why) => {
                self.transaction = None;
                why.write(out);
            }
            None => reply::write(out, 250, status(2, 0, 0), "Chunk received"),
        }
        Next::Again
    }

    fn skip_bdat(&mut self, left: u64, input: &mut RecvBuf, _out: &mut SendBuf) -> Next {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        input.consume(n);
        let left = left - n as u64;
        self.state = if left == 0 { State::Ready } else { State::SkipBdat { left } };
        match left {
            0 => Next::Again,
            _ if input.is_eof() => self.end(CloseReason::Eof),
            _ => Next::Wait,
        }
    }

    fn message_ended(&mut self, out: &mut SendBuf) -> Next {
        let Some(message) = self.transaction.as_ref().and_then(|t| t.message.as_ref()) else {
            return self.end(CloseReason::Abuse);
        };
        let octets = message.octets;
        match message.failed.clone() {
            Some(why) => {
                self.finished(Err(&why), out);
                Next::Again
            }
            None => {
                self.state = State::Asked(Asked::Finish);
                Next::Step(Step::Finish(Finish { octets }))
            }
        }
    }

    // ---- AUTH ------------------------------------------------------------------------------------------

    fn auth_command(&mut self, mechanism: &str, initial: Option<&str>, out: &mut SendBuf) -> Option<Next> {
        if !self.config.service.is_submission() {
            self.error(502, status(5, 5, 1), "AUTH is not available on this port", out);
        } else if !self.tls {
            self.error(530, status(5, 7, 0), "Issue STARTTLS first", out);
        } else if self.account.is_some() || self.transaction.is_some() {
            self.error(503, status(5, 5, 1), "AUTH is not possible now", out);
        } else if self.client.is_none() {
            self.error(503, status(5, 5, 1), "Say EHLO first", out);
        } else {
            let Some(mechanism) = self.mechanism(mechanism) else {
                self.error(504, status(5, 5, 4), "Unknown mechanism", out);
                return None;
            };
            let response = match initial {
                None => None,
                Some("=") => Some(Vec::new()), // RFC 4954 §4: an initial response that is empty
                Some(text) => match decode(text.as_bytes()) {
                    Some(response) => Some(response),
                    None => {
                        self.error(501, status(5, 5, 2), "Not base64", out);
                        return None;
                    }
                },
            };
            return Some(self.ask_auth(mechanism, response));
        }
        None
    }

    fn mechanism(&self, name: &str) -> Option<&'static str> {
        const PLUS: &str = "SCRAM-SHA-256-PLUS";
        if name.eq_ignore_ascii_case(PLUS) {
            return (self.config.scram_plus && self.channel_binding).then_some(PLUS);
        }
        self.config.mechanisms.iter().copied().find(|m| m.eq_ignore_ascii_case(name))
    }

    fn ask_auth(&mut self, mechanism: &'static str, response: Option<Vec<u8>>) -> Next {
        self.state = State::Asked(Asked::Authenticate(mechanism));
        Next::Step(Step::Authenticate(Authenticate { mechanism, response }))
    }

    fn auth_line(&mut self, mechanism: &'static str, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let Some(end) = input.find_lf() else {
            if input.is_eof() {
                return self.end(CloseReason::Eof);
            }
            if input.len() >= AUTH_LINE_MAX || input.is_full() {
                let n = input.len();
                input.take_secret(n);
                self.state = State::LongLine;
                return Next::Again;
            }
            return Next::Wait;
        };
        self.last_activity = self.now;
        let len = end + 1;
        let line = input.take_secret(len);
        let line = line.strip_suffix(b"\r\n").filter(|_| len <= AUTH_LINE_MAX);
        self.state = State::Ready;
        match line {
            None => self.error(500, status(5, 5, 6), "Line too long", out),
            Some(b"*") => self.error(501, status(5, 7, 0), "Authentication cancelled", out),
            Some(text) => match decode(text) {
                Some(response) => return self.ask_auth(mechanism, Some(response)),
                None => self.error(501, status(5, 5, 2), "Not base64", out),
            },
        }
        Next::Again
    }

    // ---- answers ---------------------------------------------------------------------------------------

    pub(super) fn greeted(&mut self, out: &mut SendBuf) {
        if self.state == State::Asked(Asked::ConnectEarly) {
            // RFC 5321 §4.3.1: a client waits for the greeting. One that does not is no mail server.
            reply::write(out, 554, status(5, 5, 1), "You spoke before the greeting");
            self.end(CloseReason::Abuse);
            return;
        }
        if self.shutting_down {
            return self.close_with(&Refusal::ShuttingDown, CloseReason::ShuttingDown, out);
        }
        let protocol = if self.config.service == Service::Lmtp { " LMTP Inbox" } else { " ESMTP Inbox" };
        out.push(b"220 ");
        out.push(self.config.hostname.as_bytes());
        out.push(protocol.as_bytes());
        out.push(b"\r\n");
        self.state = State::Ready;
    }

    pub(super) fn turn_away(&mut self, why: &Refusal, out: &mut SendBuf) {
        self.close_with(why, CloseReason::Refused, out);
    }

    pub(super) fn challenged(&mut self, text: &[u8], out: &mut SendBuf) {
        let State::Asked(Asked::Authenticate(mechanism)) = self.state else { return };
        out.push(b"334 ");
        out.push(base64::engine::general_purpose::STANDARD.encode(text).as_bytes());
        out.push(b"\r\n");
        self.state = State::AuthLine(mechanism);
    }

    pub(super) fn authenticated(&mut self, account: &str, out: &mut SendBuf) {
        if account.len() > ACCOUNT_MAX {
            return self.not_authenticated(&Refusal::AuthFailed, out);
        }
        self.account = Some(String::from(account));
        reply::write(out, 235, status(2, 7, 0), "Authenticated");
        self.state = State::Ready;
    }

    pub(super) fn not_authenticated(&mut self, why: &Refusal, out: &mut SendBuf) {
        self.state = State::Ready;
        why.write(out);
        self.count_error(out);
    }

    pub(super) fn sender_accepted(&mut self, params: &MailParams<'_>, out: &mut SendBuf) {
        self.state = State::Ready;
        // RFC 1870 §6.1: a message that is announced as too large is refused before it is sent.
        if params.size.is_some_and(|size| size > self.config.message_max) {
            return Refusal::TooBig.write(out);
        }
        self.transaction =
            Some(Transaction { body: params.body, smtputf8: params.smtputf8, recipients: 0, message: None });
        self.idle_commands = 0;
        reply::write(out, 250, status(2, 1, 0), "Sender OK");
    }

    pub(super) fn recipient_accepted(&mut self, out: &mut SendBuf) {
        self.state = State::Ready;
        self.known_recipient = true;
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients += 1;
        }
        reply::write(out, 250, status(2, 1, 5), "Recipient OK");
    }

    /// MAIL, RCPT, DATA or BDAT was refused by the driver.
    pub(super) fn refused(&mut self, question: Asked, why: &Refusal, out: &mut SendBuf) {
        self.state = State::Ready;
        if question == Asked::Begin {
            let by = self.transaction.take().and_then(|t| t.message).map(|m| m.by);
            if let Some(By::Bdat { size, .. }) = by {
                self.state = State::SkipBdat { left: size };
            }
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

    pub(super) fn begun(&mut self, out: &mut SendBuf) {
        let Some(message) = self.transaction.as_mut().and_then(|t| t.message.as_mut()) else { return };
        message.spooled = true;
        self.state = match message.by {
            By::Data => {
                reply::write(out, 354, None, "Go ahead, end with CRLF.CRLF");
                State::Data(Unstuff2(Unstuff::new()))
            }
            By::Bdat { size, last } => State::Bdat { left: size, last },
        };
    }

    pub(super) fn finished(&mut self, result: Result<&str, &Refusal>, out: &mut SendBuf) {
        self.state = State::Ready;
        self.last_activity = self.now;
        let recipients = self.transaction.take().map_or(0, |t| t.recipients);
        // RFC 2033 §4.2: LMTP answers once for each recipient.
        let replies = if self.config.service == Service::Lmtp { recipients } else { 1 };
        for _ in 0..replies {
            match result {
                Ok(id) => {
                    out.push(b"250 2.0.0 Accepted as ");
                    out.push(id.as_bytes());
                    out.push(b"\r\n");
                }
                Err(why) => why.write(out),
            }
        }
        if self.shutting_down {
            self.close_with(&Refusal::ShuttingDown, CloseReason::ShuttingDown, out);
        } else if result.is_err_and(|why| why.code() == 421) {
            self.end(CloseReason::Refused);
        }
    }

    pub(super) fn secured(&mut self, channel_binding: bool, now: Instant) {
        self.tls = true;
        self.channel_binding = channel_binding;
        self.state = State::Ready;
        self.last_activity = now;
        (self.client, self.account, self.transaction) = (None, None, None);
        self.extended = false;
    }
}

#[derive(Clone, Copy)]
enum Simple {
    Noop,
    Rset,
    Vrfy,
    Expn,
    Help,
    Quit,
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
