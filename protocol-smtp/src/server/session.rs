//! [`ServerSession`]: its state, `poll`, `deadline`, and what the driver may ask it.

use alloc::string::String;
use alloc::sync::Arc;

use protocol_core::time::Duration;
use protocol_core::{Instant, RecvBuf, SendBuf, Timestamp};

use super::guard::HeaderGuard;
use super::replies::{self, Row};
use super::steps::{Connect, Recipient, Sender, Step};
use super::table::Phase;
use super::{CloseReason, Refusal, ServerConfig, Service, Timer};
use crate::command::Command;
use crate::params::Body;
use crate::stuffing::{LineCheck, Unstuff};

/// A message's average rate counts from here on.
const MESSAGE_GRACE_SECS: u64 = 60;

/// One connection seen from the server. State only: no buffer, no clock.
///
/// For the driver: [`ServerSession::poll`], [`ServerSession::deadline`], [`ServerSession::shut_down`]; the rest
/// of what it tells the session goes through the questions among the [`Step`]s. For trace fields and logs:
/// the accessors.
#[derive(Clone, Debug)]
pub struct ServerSession {
    pub(super) config: Arc<ServerConfig>,
    pub(super) state: State,
    pub(super) tls: bool,
    pub(super) channel_binding: bool,
    /// Name given in EHLO, HELO or LHLO; its memory is used again.
    pub(super) client: String,
    pub(super) hello: Hello,
    pub(super) account: Option<String>,
    pub(super) transaction: Option<Transaction>,
    /// The driver holds a spool.
    pub(super) spool: bool,
    /// The driver is to drop it before anything else happens.
    pub(super) drop_spool: bool,
    /// What is said once the rest of a refused message has been dropped.
    pub(super) late: Option<Late>,
    pub(super) errors: u32,
    pub(super) idle_commands: u32,
    pub(super) unknown_recipients: u32,
    pub(super) known_recipient: bool,
    /// When the client last completed something, or an answer was waited for.
    pub(super) quiet_since: Instant,
    /// When the octets that are coming now began to come, and how many there were.
    pub(super) bulk_since: Instant,
    pub(super) bulk_octets: u64,
    pub(super) now: Instant,
    /// The last step was the driver's to do; its time is not the client's.
    waited: bool,
    /// The wall clock's time at an instant, when the driver told it.
    wall: Option<(Timestamp, Instant)>,
    pub(super) shutting_down: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    None,
    Helo,
    Extended,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Nothing was asked yet.
    Start,
    /// Accepted; the greeting goes out at this time unless the client speaks first.
    Greet(Instant),
    /// A question is with the driver. Still so at the next `poll` means that it was dropped.
    Asked(Asked),
    /// A command line is next.
    Line,
    /// A line longer than allowed is dropped up to its end; its reply is sent.
    LongLine,
    /// A line of a SASL exchange is next.
    AuthLine(&'static str),
    /// The driver does the handshake.
    Upgrading,
    /// Message octets of DATA.
    Data(Unstuff),
    /// The rest of a refused DATA is dropped.
    Drain(Unstuff),
    /// Octets left of the current BDAT chunk.
    Bdat { left: u64, last: bool },
    /// Octets left of a refused BDAT chunk.
    SkipBdat { left: u64 },
    /// Nothing is read until then.
    Tarpit(Instant),
    /// It is over.
    Ended(CloseReason),
}

/// The question that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Connect,
    Authenticate(&'static str),
    Sender,
    Recipient,
    Begin(By),
    Finish,
}

/// How message octets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Data,
    Bdat { size: u64, last: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) body: Body,
    pub(super) smtputf8: bool,
    pub(super) recipients: usize,
    /// The message under way.
    pub(super) message: Option<Message>,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) octets: u64,
    pub(super) guard: HeaderGuard,
    pub(super) lines: LineCheck,
}

/// A reply that waits.
#[derive(Clone, Debug)]
pub(super) enum Late {
    Row(&'static Row),
    /// So many times, for LMTP's recipients.
    Refusal(Refusal, usize),
}

/// What `poll` does next, without a borrow of the input.
pub(super) enum Next {
    Again,
    Wait,
    Step(Step<'static>),
    /// The line of this length is MAIL and asks.
    Sender(usize),
    /// The line of this length is RCPT and asks.
    Recipient(usize),
    /// Drop `skip` octets; `len` octets after them are message text.
    Chunk {
        skip: usize,
        len: usize,
    },
}

impl ServerSession {
    /// A connection that was just accepted. `tls`: whether implicit TLS stands, and then whether it gives
    /// channel bindings.
    pub fn new(config: Arc<ServerConfig>, tls: Option<bool>, now: Instant) -> ServerSession {
        ServerSession {
            config,
            state: State::Start,
            tls: tls.is_some(),
            channel_binding: tls.unwrap_or(false),
            client: String::new(),
            hello: Hello::None,
            account: None,
            transaction: None,
            spool: false,
            drop_spool: false,
            late: None,
            errors: 0,
            idle_commands: 0,
            unknown_recipients: 0,
            known_recipient: false,
            quiet_since: now,
            bulk_since: now,
            bulk_octets: 0,
            now,
            waited: false,
            wall: None,
            shutting_down: false,
        }
    }

    /// Tells the session what the wall clock shows at `now`. FUTURERELEASE exists only then: its keyword names a
    /// date (RFC 4865 §4), and HOLDUNTIL is compared with the time.
    pub fn set_wall_clock(&mut self, wall: Timestamp, now: Instant) {
        self.wall = Some((wall, now));
    }

    /// Makes progress: consumes from `input`, appends replies to `out`, returns the next step.
    pub fn poll<'b>(&mut self, now: Instant, input: &'b mut RecvBuf, out: &mut SendBuf) -> Step<'b> {
        self.now = now;
        if core::mem::take(&mut self.waited) {
            self.quiet_since = now;
        }
        loop {
            if out.is_high() {
                return Step::Flush;
            }
            match self.next(input, out) {
                Next::Again => {}
                Next::Wait if !self.expired(out) => return Step::NeedInput,
                Next::Wait => {}
                next => {
                    self.waited = true;
                    return self.step(next, input);
                }
            }
        }
    }

    /// Call `poll` no later than this even if nothing arrives (RFC 5321 §4.5.3.2), and why.
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let idle = (self.quiet_since + self.config.idle, Timer::Idle);
        match self.state {
            State::Start | State::Asked(_) | State::Ended(_) => None,
            State::Greet(at) => Some((at, Timer::Greeting)),
            State::Tarpit(until) => Some((until, Timer::Tarpit)),
            State::Upgrading => Some((self.quiet_since + self.config.handshake, Timer::Handshake)),
            State::Line | State::LongLine | State::AuthLine(_) if self.phase() != Phase::Chunks => Some(idle),
            _ => Some(idle.min((self.bulk_deadline(), Timer::Message))),
        }
    }

    /// The server stops (RFC 5321 §3.8): 421 at once between commands, at its end for a message under way.
    pub fn shut_down(&mut self, out: &mut SendBuf) {
        self.shutting_down = true;
        let between =
            matches!(self.state, State::Line | State::LongLine | State::AuthLine(_) | State::Greet(_));
        if between && self.phase() != Phase::Chunks {
            self.end_with(&Refusal::ShuttingDown, CloseReason::ShuttingDown, out);
        }
    }

    /// The name the client gave itself.
    pub fn client_name(&self) -> Option<&str> {
        (self.hello != Hello::None).then_some(self.client.as_str())
    }

    /// Whether the client used EHLO or LHLO.
    pub fn is_extended(&self) -> bool {
        self.hello == Hello::Extended
    }

    /// The authenticated account.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// How long a TLS handshake may take.
    pub fn handshake_limit(&self) -> Duration {
        self.config.handshake
    }

    /// Whether TLS protects the connection.
    pub fn is_secure(&self) -> bool {
        self.tls
    }

    /// Recipients accepted in the transaction under way.
    pub fn recipients(&self) -> usize {
        self.transaction.as_ref().map_or(0, |t| t.recipients)
    }

    /// What stands behind `with` in a Received field (RFC 3848, RFC 6531 §4.3). `smtputf8`: the transaction
    /// has SMTPUTF8.
    pub fn protocol(&self, smtputf8: bool) -> &'static str {
        let lmtp = self.config.service == Service::Lmtp;
        match (lmtp, smtputf8, self.is_extended(), self.tls, self.account.is_some()) {
            (false, false, false, _, _) => "SMTP",
            (false, false, true, false, false) => "ESMTP",
            (false, false, true, false, true) => "ESMTPA",
            (false, false, true, true, false) => "ESMTPS",
            (false, false, true, true, true) => "ESMTPSA",
            (false, true, _, false, false) => "UTF8SMTP",
            (false, true, _, false, true) => "UTF8SMTPA",
            (false, true, _, true, false) => "UTF8SMTPS",
            (false, true, _, true, true) => "UTF8SMTPSA",
            (true, false, _, false, _) => "LMTP",
            (true, false, _, true, false) => "LMTPS",
            (true, false, _, true, true) => "LMTPSA",
            (true, true, _, false, _) => "UTF8LMTP",
            (true, true, _, true, false) => "UTF8LMTPS",
            (true, true, _, true, true) => "UTF8LMTPSA",
        }
    }

    /// The latest time that HOLDUNTIL may name, while FUTURERELEASE is offered.
    pub(super) fn hold_until_max(&self) -> Option<Timestamp> {
        let (wall, at) = self.wall.filter(|_| self.config.extensions.future_release)?;
        Some(wall + self.now.since(at) + Duration::from_secs(self.config.hold_max_secs))
    }

    // ---- what comes next -------------------------------------------------------------------------------

    fn next(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if core::mem::take(&mut self.drop_spool) {
            return Next::Step(Step::Discard);
        }
        match self.state {
            State::Start => {
                self.state = State::Asked(Asked::Connect);
                Next::Step(Step::Connect(Connect { spoke_first: !input.is_empty() }))
            }
            State::Asked(question) => self.unanswered(question, out),
            State::Ended(why) => Next::Step(Step::Closed(why)),
            State::Greet(at) => self.greet(at, input, out),
            State::Tarpit(_) => {
                input.discard_all();
                if input.is_eof() { self.end(CloseReason::Eof) } else { Next::Wait }
            }
            // The driver could not do the handshake; the client expects TLS, so nothing can be said to it.
            State::Upgrading => self.end(CloseReason::TlsFailed),
            State::Line => self.command_line(input, out),
            State::LongLine => self.rest_of_long_line(input),
            State::AuthLine(mechanism) => self.auth_line(mechanism, input, out),
            State::Data(_) | State::Drain(_) | State::Bdat { .. } | State::SkipBdat { .. } => {
                // A client that always has more to send never waits, so the message's time is judged here.
                if self.now >= self.bulk_deadline() { self.timeout(out) } else { self.octets(input, out) }
            }
        }
    }

    /// Builds the step that borrows from the input. What is parsed here was parsed before, when the line was
    /// judged without a borrow.
    fn step<'b>(&mut self, next: Next, input: &'b mut RecvBuf) -> Step<'b> {
        match next {
            Next::Step(step) => step,
            Next::Chunk { skip, len } => {
                input.consume(skip);
                Step::Chunk(input.take(len))
            }
            Next::Sender(len) => match Command::parse(without_crlf(input.take(len)), &self.accepts()) {
                Ok(Command::Mail(path, params)) => {
                    self.state = State::Asked(Asked::Sender);
                    Step::Sender(Sender { path, params })
                }
                _ => Step::Flush,
            },
            Next::Recipient(len) => {
                let accepts = self.accepts();
                let (line, rest) = input.take_and_rest(len);
                match Command::parse(without_crlf(line), &accepts) {
                    Ok(Command::Rcpt(path, params)) => {
                        self.state = State::Asked(Asked::Recipient);
                        Step::Recipient(Recipient { path, params, rest, accepts })
                    }
                    _ => Step::Flush,
                }
            }
            Next::Again | Next::Wait => Step::NeedInput,
        }
    }

    /// Acts on a deadline that has passed; whether it did.
    fn expired(&mut self, out: &mut SendBuf) -> bool {
        let Some((_, timer)) = self.deadline().filter(|(at, _)| self.now >= *at) else { return false };
        match timer {
            Timer::Tarpit => {
                replies::TOO_MANY_UNKNOWN.write(out);
                self.end(CloseReason::Abuse);
            }
            Timer::Handshake => {
                self.end(CloseReason::Timeout);
            }
            Timer::Idle | Timer::Message | Timer::Greeting => {
                self.timeout(out);
            }
        }
        true
    }

    fn timeout(&mut self, out: &mut SendBuf) -> Next {
        replies::TIMEOUT.write(out);
        self.end(CloseReason::Timeout)
    }

    /// When the octets that are coming now must have ended, at the rate they have.
    fn bulk_deadline(&self) -> Instant {
        let earned = Duration::from_secs(
            MESSAGE_GRACE_SECS.saturating_add(self.bulk_octets / self.config.message_rate.max(1)),
        );
        self.bulk_since + earned.min(self.config.message_time)
    }

    // ---- endings, used everywhere ----------------------------------------------------------------------

    /// Ends the session; a spool is dropped first.
    pub(super) fn end(&mut self, why: CloseReason) -> Next {
        self.abandon();
        self.state = State::Ended(why);
        Next::Again
    }

    pub(super) fn end_with(&mut self, why: &Refusal, reason: CloseReason, out: &mut SendBuf) {
        why.write(out);
        self.end(reason);
    }

    /// Forgets the transaction; the driver is told when it holds a spool.
    pub(super) fn abandon(&mut self) {
        self.transaction = None;
        self.drop_spool |= core::mem::take(&mut self.spool);
    }

    /// How many replies a message gets (RFC 2033 §4.2).
    pub(super) fn replies_due(&self) -> usize {
        if self.config.service == Service::Lmtp { self.recipients() } else { 1 }
    }
}

pub(super) fn without_crlf(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").unwrap_or(line)
}
