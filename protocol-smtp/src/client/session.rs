//! The machine. What was sent stands in `expect`, in order; each reply takes the front of it:
//!
//! ```text
//! Greeting ─ Hello ─┬─ StartTls ─ [UpgradeTls] ─ Hello (again)
//!                   ├─ 5yz: Helo
//!                   └─ [Prove] ─ Auth ─ ... ─┐
//! Ready ◄─────────────────────────────────────┘
//!   send: (Rset) Mail Rcpt... Data ── 354 ── [Body] ── [DotPending] ── Last ── Ready
//!         (Rset) Mail Rcpt...     ── BDAT ── [Body] ── [DotPending] ── Chunk... Last ── Ready
//!   quit: Quit ── Closed
//! ```
//!
//! Steps in brackets are questions: `Asked` until answered. With PIPELINING a group is written at once, else
//! `script` keeps the lines that wait for the reply before theirs.
//!
//! A connection that ends: before the final dot, recipients that were accepted fail for now and those not
//! yet answered are left to the next host; after it, all that wait are in doubt.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol_core::time::Duration;
use protocol_core::{Instant, RecvBuf, SendBuf};
use zeroize::Zeroizing;

use super::body::BodyEncoder;
use super::envelope::{Envelope, Missing};
use super::extensions::Extensions;
use super::replies::{self, RcptReply};
use super::steps::{ClientStep, Prove, UpgradeTls};
use super::transaction::{Standing, Transaction, script};
use super::{ClientConfig, CloseReason, FINAL_REPLY_MIN, Timer};
use crate::command::Command;
use crate::queue::{DsnDuty, Failure, Verdict};
use crate::reply::{Reply, ReplyParser};
use crate::route::{Proceed, Tls, TlsDemand, TlsOutcome, after_tls};
use crate::status::Status;

/// A command line with an initial response is not longer than this (RFC 4954 §4.1); a longer response waits
/// for the server's empty challenge.
const AUTH_COMMAND_MAX: usize = 512;

/// One connection seen from the client. See the module for how to drive it.
#[derive(Debug)]
pub struct ClientSession {
    config: Arc<ClientConfig>,
    state: State,
    parser: ReplyParser,
    /// Commands sent and not yet answered.
    expect: VecDeque<Expect>,
    /// Commands to be sent one by one.
    script: VecDeque<(Expect, Vec<u8>)>,
    /// Steps decided and not yet taken.
    given: VecDeque<ClientStep>,
    deadline: Option<(Instant, Timer)>,
    extensions: Extensions,
    tls: bool,
    certificate_valid: bool,
    authenticated: bool,
    pending_initial: Option<Zeroizing<Vec<u8>>>,
    transaction: Option<Transaction>,
    /// A transaction ended without success: RSET comes before the next.
    dirty: bool,
    /// The session was kept and taken up again, and the peer has not yet shown that it goes on with it.
    resumed: bool,
}

#[derive(Debug)]
enum State {
    /// `expect` is not empty.
    Waiting,
    /// 220 to STARTTLS came: is it the last thing that came?
    TlsGranted,
    /// A question is open.
    Asked(Question),
    Ready,
    Closed(CloseReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Tls,
    Proof,
    Body,
    Dot { end: &'static [u8] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Greeting,
    Hello,
    Helo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt(usize),
    Data,
    /// A BDAT chunk before the last.
    Chunk,
    /// The end of data; in LMTP once for each accepted recipient.
    Last,
    /// The end of an empty message that nobody takes.
    LoneDot,
    Quit,
}

impl ClientSession {
    /// A connection was made. `secured`: it begins with TLS (implicit), and this says whether the server's
    /// certificate is valid for its name; when the demand is not met, the session is closed from the start.
    pub fn new(config: Arc<ClientConfig>, secured: Option<bool>) -> ClientSession {
        let unmet = secured == Some(false) && after_tls(config.demand, TlsOutcome::Invalid) != Proceed::GoOn;
        let text = String::from("the certificate is not valid for the host's name");
        let refused = CloseReason::Tls { outcome: TlsOutcome::Invalid, text };
        ClientSession {
            config,
            state: if unmet { State::Closed(refused) } else { State::Waiting },
            parser: ReplyParser::new(),
            expect: VecDeque::from([Expect::Greeting]),
            script: VecDeque::new(),
            given: VecDeque::new(),
            deadline: None,
            extensions: Extensions::default(),
            tls: secured.is_some(),
            certificate_valid: secured.unwrap_or(false),
            authenticated: false,
            pending_initial: None,
            transaction: None,
            dirty: false,
            resumed: false,
        }
    }

    /// Makes progress: consumes from `input`, appends commands to `out`, returns the next step.
    pub fn poll(&mut self, now: Instant, input: &mut RecvBuf, out: &mut SendBuf) -> ClientStep {
        loop {
            if let Some(step) = self.given.pop_front() {
                if let ClientStep::UpgradeTls(_) = step {
                    self.deadline = Some((now + self.config.timeout, Timer::Handshake));
                }
                return step;
            }
            let eof = input.is_eof();
            match self.state {
                State::Closed(ref reason) => return ClientStep::Closed(reason.clone()),
                State::Asked(question) => self.unanswered(question),
                State::TlsGranted => self.tls_granted(input),
                State::Ready => match self.idle(input) {
                    Some(step) => return step,
                    None => continue,
                },
                State::Waiting if out.is_high() => return ClientStep::Flush,
                State::Waiting => match self.parser.poll(input) {
                    Ok(Some(reply)) => {
                        self.deadline = None;
                        self.on_reply(&reply, out);
                    }
                    Ok(None) if eof => self.end_gone(),
                    Ok(None) => match self.wait(now) {
                        Some(step) => return step,
                        None => continue,
                    },
                    Err(error) => {
                        let failure = self.failure(Status::new(4, 5, 0), &alloc::format!("{error}"));
                        self.end(CloseReason::PeerMisbehaved(failure.clone()), &failure);
                    }
                },
            }
        }
    }

    /// Call `poll` no later than this even if nothing arrives; and why.
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        self.deadline
    }

    /// Starts a transaction for the first recipients of `envelope`, as many as the peer takes at once: so
    /// many were taken, and each of them will be settled or named in [`ClientStep::Later`]. Call it only at
    /// [`ClientStep::Ready`]; at any other time it takes none.
    ///
    /// # Errors
    /// [`Missing`] names what the peer lacks for the message; nothing was sent.
    pub fn send(&mut self, envelope: &Envelope<'_>, out: &mut SendBuf) -> Result<usize, Missing> {
        if !matches!(self.state, State::Ready) {
            return Ok(0);
        }
        if let Some(missing) = Missing::of(envelope, &self.extensions, self.tls) {
            return Err(missing);
        }
        let most = self.extensions.recipients_max.unwrap_or(super::RECIPIENTS_DEFAULT);
        let taken = envelope.recipients.len().min(most);
        let (mut fit, mut misfit) = (Vec::new(), Vec::new());
        for recipient in envelope.recipients.iter().take(taken) {
            let fits = self.extensions.smtputf8 || recipient.path.is_ascii();
            if fits { fit.push(*recipient) } else { misfit.push(recipient.index) }
        }
        for index in misfit {
            let failure = Missing::Utf8Address.failure("SMTP");
            self.given.push_back(ClientStep::Settled { index, verdict: Verdict::Permanent(failure) });
        }
        if fit.is_empty() {
            return Ok(taken);
        }
        let dsn = match (self.extensions.dsn, self.config.lmtp) {
            (true, _) => DsnDuty::PassedOn,
            (false, true) => DsnDuty::Final,
            (false, false) => DsnDuty::Relayed,
        };
        self.script = script(envelope, &fit, &self.extensions, core::mem::take(&mut self.dirty));
        self.transaction = Some(Transaction::new(&fit, self.extensions.bdat(), dsn));
        self.state = State::Waiting;
        self.pump(out);
        Ok(taken)
    }

    /// Takes up a session that was kept at [`ClientStep::Ready`], for another message with a demand of its own;
    /// `false`: it is not good for that demand, and stays as it was. `valid` says what the certificate that was
    /// shown is worth under the new message's check: what it was worth for another counts for nothing.
    ///
    /// From here until MAIL is accepted, whatever ends or refuses is the end of a session that was kept too long
    /// or was used too often ([`CloseReason::Stale`]), and no word about the message: a server may close when it
    /// likes, and may limit the messages of one connection (RFC 9422 §4.1.1).
    pub fn resume(&mut self, demand: TlsDemand, plaintext: bool, valid: bool) -> bool {
        let outcome = match (self.tls, valid) {
            (true, true) => TlsOutcome::Valid,
            (true, false) => TlsOutcome::Invalid,
            (false, _) => TlsOutcome::NotOffered,
        };
        let starts_tls = !plaintext && demand.tls != Tls::Disabled;
        let started_tls = !self.config.plaintext && self.config.demand.tls != Tls::Disabled;
        // A connection on which TLS was not even asked for is none for a message that would ask.
        let as_asked = if self.tls { starts_tls } else { started_tls || !starts_tls };
        if !matches!(self.state, State::Ready) || !as_asked || after_tls(demand, outcome) != Proceed::GoOn {
            return false;
        }
        (self.resumed, self.certificate_valid) = (true, self.tls && valid);
        true
    }

    /// Ends the session politely. Only at [`ClientStep::Ready`].
    pub fn quit(&mut self, out: &mut SendBuf) {
        if matches!(self.state, State::Ready) {
            Command::Quit.write(out);
            self.await_reply(Expect::Quit);
        }
    }

    /// Writes the final dot (or `BDAT LAST`): from here on a broken connection means doubt.
    pub fn proceed(&mut self, out: &mut SendBuf) {
        let State::Asked(Question::Dot { end }) = self.state else { return };
        let Some(transaction) = &mut self.transaction else { return };
        transaction.after_dot = true;
        out.push(end);
        let replies = if self.config.lmtp { transaction.accepted() } else { 1 };
        self.expect.extend(core::iter::repeat_n(Expect::Last, replies));
        self.state = State::Waiting;
    }

    /// Does not write the final dot: the message is not sent, its recipients fail for now, and the
    /// connection is of no further use.
    pub fn withhold(&mut self, why: &str) {
        let failure = Failure { status: Status::new(4, 3, 0), reply: String::from(why) };
        self.end(CloseReason::Abandoned, &failure);
    }

    /// Whether a final dot may be on the wire without its reply.
    pub fn is_after_dot(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| t.after_dot)
    }

    /// What the peer announced last.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is, and the peer proved its name.
    pub fn is_certificate_valid(&self) -> bool {
        self.tls && self.certificate_valid
    }

    // ---- waiting --------------------------------------------------------------------------------------

    /// Nothing of a reply is there. The deadline is set once for each reply, however slowly it trickles.
    fn wait(&mut self, now: Instant) -> Option<ClientStep> {
        let timer = match self.expect.front() {
            Some(Expect::Greeting) => Timer::Greeting,
            Some(Expect::Chunk | Expect::Last) => Timer::FinalReply,
            _ => Timer::Reply,
        };
        let wait = if timer == Timer::FinalReply { self.final_wait() } else { self.config.timeout };
        let (due, _) = *self.deadline.get_or_insert((now + wait, timer));
        if now < due {
            return Some(ClientStep::NeedInput);
        }
        if self.expect.front() == Some(&Expect::Quit) {
            self.state = State::Closed(CloseReason::Quit);
            return None;
        }
        let text = match timer {
            Timer::Greeting => "the server did not greet in time",
            _ => "the server did not answer in time",
        };
        let failure = self.failure(Status::BAD_CONNECTION, text);
        self.end(CloseReason::TimedOut(timer, failure.clone()), &failure);
        None
    }

    fn final_wait(&self) -> Duration {
        self.config.timeout.max(FINAL_REPLY_MIN)
    }

    /// Nothing is under way. A server that speaks now takes its leave (421).
    fn idle(&mut self, input: &mut RecvBuf) -> Option<ClientStep> {
        self.deadline = None;
        let eof = input.is_eof();
        let said = match self.parser.poll(input) {
            Ok(None) if eof => {
                self.end_gone();
                return None;
            }
            Ok(None) => return Some(ClientStep::Ready),
            Ok(Some(reply)) => replies::text(&reply),
            Err(error) => alloc::format!("{error}"),
        };
        let failure = self.failure(Status::BAD_CONNECTION, &said);
        self.end(CloseReason::Gone(failure.clone()), &failure);
        None
    }

    /// The driver polls though its question is open: the answer will not come.
    fn unanswered(&mut self, question: Question) {
        match question {
            Question::Tls => self.not_secured("the handshake was given up"),
            Question::Proof => self.auth_given_up("authentication was given up"),
            Question::Body => self.withhold("the message could not be read to its end"),
            Question::Dot { .. } => self.withhold("the message was given up before its end"),
        }
    }

    // ---- replies --------------------------------------------------------------------------------------

    fn on_reply(&mut self, reply: &Reply<'_>, out: &mut SendBuf) {
        let Some(expected) = self.expect.pop_front() else { return };
        let fits = match expected {
            Expect::Data | Expect::Auth => {
                reply.class() != 2 || (expected, reply.code()) == (Expect::Auth, 235)
            }
            Expect::LoneDot | Expect::Quit => true,
            _ => reply.class() != 3,
        };
        if !fits {
            let text = alloc::format!("the server's reply makes no sense here: {}", replies::text(reply));
            let failure = self.failure(Status::new(4, 5, 0), &text);
            return self.end(CloseReason::PeerMisbehaved(failure.clone()), &failure);
        }
        match expected {
            Expect::Greeting | Expect::Hello | Expect::Helo | Expect::StartTls | Expect::Auth => {
                self.on_opening(expected, reply, out)
            }
            Expect::Quit => self.state = State::Closed(CloseReason::Quit),
            Expect::Rset if reply.class() != 2 => self.refused(reply),
            Expect::Rset => {}
            Expect::Mail => self.on_mail(reply),
            Expect::Rcpt(at) => self.on_rcpt(at, reply),
            Expect::Data => self.on_data(reply, out),
            Expect::Chunk => self.on_chunk(reply),
            Expect::Last => self.on_last(reply),
            Expect::LoneDot => self.finish(false),
        }
        if reply.code() == 421 && !matches!(self.state, State::Closed(_)) {
            // RFC 5321 §3.8: the server closes the channel, whatever it was asked.
            let failure = replies::failure(reply);
            return self.end(CloseReason::Gone(failure.clone()), &failure);
        }
        self.pump(out);
    }

    fn on_opening(&mut self, expected: Expect, reply: &Reply<'_>, out: &mut SendBuf) {
        match (expected, reply.class()) {
            (Expect::Greeting, 2) => self.say_hello(out),
            (Expect::Hello, 2) => {
                self.extensions = Extensions::of(reply);
                self.after_hello(out);
            }
            // RFC 5321 §3.2: a server without extensions. LMTP has none without them.
            (Expect::Hello, 5) if !self.config.lmtp => {
                self.await_reply(Expect::Helo);
                let config = self.config.clone();
                Command::Helo(&config.name).write(out);
            }
            (Expect::Helo, 2) => {
                self.extensions = Extensions::default();
                self.after_hello(out);
            }
            (Expect::StartTls, 2) => self.state = State::TlsGranted,
            (Expect::StartTls, _) => {
                let text = alloc::format!("STARTTLS was refused: {}", replies::text(reply));
                self.end_tls(TlsOutcome::Refused, &text);
            }
            (Expect::Auth, 3) => self.challenged(reply, out),
            (Expect::Auth, 2) => {
                self.authenticated = true;
                self.state = State::Ready;
            }
            _ => self.refused(reply),
        }
    }

    fn refused(&mut self, reply: &Reply<'_>) {
        let failure = replies::session_failure(reply);
        self.end(CloseReason::Refused(failure.clone()), &failure);
    }

    fn say_hello(&mut self, out: &mut SendBuf) {
        let config = self.config.clone();
        let name = &*config.name;
        let hello = if config.lmtp { Command::Lhlo(name) } else { Command::Ehlo(name) };
        hello.write(out);
        self.await_reply(Expect::Hello);
    }

    fn after_hello(&mut self, out: &mut SendBuf) {
        let wants_tls = !self.tls && !self.config.plaintext && self.config.demand.tls != Tls::Disabled;
        if wants_tls && self.extensions.starttls {
            Command::StartTls.write(out);
            return self.await_reply(Expect::StartTls);
        }
        if wants_tls && after_tls(self.config.demand, TlsOutcome::NotOffered) != Proceed::GoOn {
            return self.end_tls(TlsOutcome::NotOffered, "the server does not offer STARTTLS");
        }
        if !self.config.authenticate || self.authenticated {
            self.state = State::Ready;
        } else if !self.tls {
            self.auth_refused(Status::NO_TLS, "a password is not sent without TLS");
        } else if self.extensions.mechanisms.is_empty() {
            self.auth_refused(Status::new(4, 7, 0), "the server does not offer AUTH");
        } else {
            self.ask_proof(None);
        }
    }

    // ---- TLS ------------------------------------------------------------------------------------------

    /// RFC 3207 §4.1, and what it leaves open: octets behind the 220 were sent by somebody who could not
    /// have known that TLS begins there. They are not read.
    fn tls_granted(&mut self, input: &mut RecvBuf) {
        if !input.is_empty() {
            return self.end_tls(TlsOutcome::Broken, "octets stand behind the reply to STARTTLS");
        }
        self.state = State::Asked(Question::Tls);
        self.given.push_back(ClientStep::UpgradeTls(UpgradeTls(())));
    }

    pub(super) fn secured(&mut self, valid: bool, why: &str, out: &mut SendBuf) {
        let outcome = if valid { TlsOutcome::Valid } else { TlsOutcome::Invalid };
        if after_tls(self.config.demand, outcome) != Proceed::GoOn {
            return self.end_tls(outcome, why);
        }
        (self.tls, self.certificate_valid) = (true, valid);
        self.deadline = None;
        self.say_hello(out); // RFC 3207 §4.2: what was announced before is forgotten
    }

    pub(super) fn not_secured(&mut self, why: &str) {
        self.end_tls(TlsOutcome::Broken, why);
    }

    fn end_tls(&mut self, outcome: TlsOutcome, text: &str) {
        self.state = State::Closed(CloseReason::Tls { outcome, text: String::from(text) });
    }

    // ---- AUTH -----------------------------------------------------------------------------------------

    fn ask_proof(&mut self, challenge: Option<Vec<u8>>) {
        self.state = State::Asked(Question::Proof);
        self.given.push_back(ClientStep::Prove(Prove { offered: self.extensions.clone(), challenge }));
    }

    fn challenged(&mut self, reply: &Reply<'_>, out: &mut SendBuf) {
        let text = reply.lines().next().unwrap_or(b"");
        let Ok(challenge) = BASE64.decode(text) else {
            return self.auth_refused(Status::new(4, 5, 0), "the server's challenge is not base64");
        };
        match self.pending_initial.take() {
            Some(initial) => {
                out.push(&initial);
                out.push(b"\r\n");
                self.await_reply(Expect::Auth);
            }
            None => self.ask_proof(Some(challenge)),
        }
    }

    pub(super) fn auth_started(&mut self, mechanism: &str, initial: Option<&[u8]>, out: &mut SendBuf) {
        // RFC 4954 §4: an empty initial response is a single `=`.
        let text = initial.map(|i| if i.is_empty() { String::from("=") } else { BASE64.encode(i) });
        let fits = text.as_ref().is_none_or(|t| t.len() + mechanism.len() + 8 <= AUTH_COMMAND_MAX);
        Command::Auth { mechanism, initial: text.as_deref().filter(|_| fits) }.write(out);
        self.pending_initial = text.filter(|_| !fits).map(|t| Zeroizing::new(t.into_bytes()));
        self.await_reply(Expect::Auth);
    }

    pub(super) fn auth_continued(&mut self, response: &[u8], out: &mut SendBuf) {
        out.push(BASE64.encode(response).as_bytes());
        out.push(b"\r\n");
        self.await_reply(Expect::Auth);
    }

    pub(super) fn auth_given_up(&mut self, why: &str) {
        self.auth_refused(Status::new(4, 7, 0), why);
    }

    fn auth_refused(&mut self, status: Status, why: &str) {
        let failure = self.failure(status, why);
        self.end(CloseReason::Refused(failure.clone()), &failure);
    }

    // ---- transactions ---------------------------------------------------------------------------------

    /// Sends what may be sent now, and goes on when everything sent is answered.
    fn pump(&mut self, out: &mut SendBuf) {
        if !matches!(self.state, State::Waiting) {
            return;
        }
        while self.expect.is_empty() || self.extensions.pipelining {
            let Some((expect, line)) = self.script.pop_front() else { break };
            let nobody = self.transaction.as_ref().is_none_or(|t| t.accepted() == 0);
            if expect == Expect::Data && nobody && !self.extensions.pipelining {
                break; // RFC 5321 §3.3: no DATA without a recipient
            }
            out.push(&line);
            self.expect.push_back(expect);
        }
        let Some(transaction) = &self.transaction else { return };
        if self.expect.is_empty() {
            if transaction.bdat && transaction.accepted() > 0 {
                self.ask_body();
            } else {
                self.finish(false);
            }
        }
    }

    fn ask_body(&mut self) {
        let bdat = self.transaction.as_ref().is_some_and(|t| t.bdat);
        self.state = State::Asked(Question::Body);
        self.given.push_back(ClientStep::Body(BodyEncoder::new(bdat)));
    }

    pub(super) fn body_written(&mut self, end: &'static [u8], chunks: u64) {
        if !matches!(self.state, State::Asked(Question::Body)) {
            return;
        }
        let chunks = usize::try_from(chunks).unwrap_or(usize::MAX);
        self.expect.extend(core::iter::repeat_n(Expect::Chunk, chunks));
        self.state = State::Asked(Question::Dot { end });
        let recipients = self.transaction.as_ref().map(Transaction::standing).unwrap_or_default();
        self.given.push_back(ClientStep::DotPending { recipients, wait: self.final_wait() });
    }

    fn on_mail(&mut self, reply: &Reply<'_>) {
        let Some(transaction) = &mut self.transaction else { return };
        if reply.class() == 2 {
            self.resumed = false;
        } else if self.resumed {
            let failure = replies::failure(reply);
            self.end(CloseReason::Gone(failure.clone()), &failure);
        } else {
            let verdict = replies::verdict(reply, transaction.dsn);
            transaction.sender_refused = true;
            self.script.clear();
            settle_all(transaction, Standing::Asked, &verdict, &mut self.given);
        }
    }

    fn on_rcpt(&mut self, at: usize, reply: &Reply<'_>) {
        let Some(transaction) = &mut self.transaction else { return };
        if transaction.sender_refused {
            return; // RFC 2920 §3.1: the replies behind a refused MAIL say nothing new
        }
        let others = transaction.accepted() > 0;
        let step = |index| match replies::rcpt(reply) {
            RcptReply::Accepted => None,
            RcptReply::Settled(verdict) => Some(ClientStep::Settled { index, verdict }),
            RcptReply::TooMany(_) if others => Some(ClientStep::Later { index }),
            RcptReply::TooMany(failure) => {
                Some(ClientStep::Settled { index, verdict: Verdict::Temporary(failure) })
            }
        };
        if let Some((index, standing)) = transaction.recipients.get_mut(at) {
            let step = step(*index);
            *standing = if step.is_some() { Standing::Settled } else { Standing::Accepted };
            self.given.extend(step);
        }
    }

    fn on_data(&mut self, reply: &Reply<'_>, out: &mut SendBuf) {
        let Some(transaction) = &mut self.transaction else { return };
        if reply.class() != 3 {
            let verdict = replies::verdict(reply, transaction.dsn);
            settle_all(transaction, Standing::Accepted, &verdict, &mut self.given);
            self.finish(false);
        } else if transaction.accepted() > 0 {
            self.ask_body();
        } else {
            // RFC 2920 §3.1: a server that wants data for nobody gets an empty message.
            out.push(b".\r\n");
            self.await_reply(Expect::LoneDot);
        }
    }

    /// The first chunk that is refused decides; what is said to later ones follows from it.
    fn on_chunk(&mut self, reply: &Reply<'_>) {
        let Some(transaction) = &mut self.transaction else { return };
        if reply.class() != 2 && transaction.failed.is_none() {
            transaction.failed = Some(replies::verdict(reply, transaction.dsn));
        }
    }

    fn on_last(&mut self, reply: &Reply<'_>) {
        let Some(transaction) = &mut self.transaction else { return };
        let verdict = match &transaction.failed {
            Some(verdict) => verdict.clone(),
            None => replies::verdict(reply, transaction.dsn),
        };
        if self.config.lmtp {
            settle_next(transaction, verdict, &mut self.given);
        } else {
            settle_all(transaction, Standing::Accepted, &verdict, &mut self.given);
        }
        if transaction.accepted() == 0 {
            self.finish(reply.class() == 2);
        }
    }

    /// The transaction is over and the connection good for another.
    fn finish(&mut self, clean: bool) {
        self.transaction = None;
        self.script.clear();
        self.dirty = !clean;
        self.state = State::Ready;
    }

    // ---- ends -----------------------------------------------------------------------------------------

    fn end_gone(&mut self) {
        if self.expect.front() == Some(&Expect::Quit) {
            self.state = State::Closed(CloseReason::Quit);
            return;
        }
        let failure = self.failure(Status::BAD_CONNECTION, "the server closed the connection");
        self.end(CloseReason::Gone(failure.clone()), &failure);
    }

    /// The connection is of no further use. Who was accepted fails for now, or is in doubt.
    fn end(&mut self, reason: CloseReason, failure: &Failure) {
        if let Some(mut transaction) = self.transaction.take() {
            let verdict = match transaction.failed.take() {
                Some(verdict) => verdict,
                None if transaction.after_dot => Verdict::InDoubt(failure.clone()),
                None => Verdict::Temporary(failure.clone()),
            };
            settle_all(&mut transaction, Standing::Accepted, &verdict, &mut self.given);
        }
        self.expect.clear();
        self.script.clear();
        self.deadline = None;
        let reason = if self.resumed { CloseReason::Stale(failure.clone()) } else { reason };
        self.state = State::Closed(reason);
    }

    fn await_reply(&mut self, expect: Expect) {
        self.expect.push_back(expect);
        self.state = State::Waiting;
    }

    fn failure(&self, status: Status, text: &str) -> Failure {
        let at = match self.expect.front() {
            Some(Expect::Greeting) => "before the greeting",
            Some(Expect::Last | Expect::Chunk) => "after the end of data",
            _ if self.transaction.is_some() => "in a transaction",
            _ => "before a transaction",
        };
        Failure { status, reply: alloc::format!("{text} ({at})") }
    }
}

/// Settles every recipient of that standing.
fn settle_all(
    transaction: &mut Transaction,
    from: Standing,
    verdict: &Verdict,
    given: &mut VecDeque<ClientStep>,
) {
    for (index, standing) in transaction.recipients.iter_mut().filter(|(_, s)| *s == from) {
        *standing = Standing::Settled;
        given.push_back(ClientStep::Settled { index: *index, verdict: verdict.clone() });
    }
}

/// RFC 2033 §4.2: one reply for each accepted recipient, in order.
fn settle_next(transaction: &mut Transaction, verdict: Verdict, given: &mut VecDeque<ClientStep>) {
    if let Some((index, standing)) = transaction.recipients.iter_mut().find(|(_, s)| *s == Standing::Accepted)
    {
        *standing = Standing::Settled;
        given.push_back(ClientStep::Settled { index: *index, verdict });
    }
}
