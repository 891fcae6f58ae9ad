//! The machine. Its transitions are in [`state`](super::state); here is what goes in and out at each.

mod complete;
mod dispatch;
mod message;

use alloc::sync::Arc;
use alloc::vec::Vec;

use protocol_core::message::Structure;
use protocol_core::sasl::{Mechanism, wire};
use protocol_core::{Instant, RecvBuf, SendBuf};

use super::append::LineEnds;
use super::capability::Enabled;
use super::fetch::{Fetching, Row};
use super::limits::{FAILED_LOGINS_MAX, IDLE_TIME, KEEP_ALIVE_TIME, LOGIN_TIME};
use super::list::Style;
use super::question::{Append, Authenticate, Connect, Running, Secret, UpgradeTls};
use super::reason::{Bad, Bye, No};
use super::request::Request;
use super::search::{Answer, Found};
use super::state::{Event, Level, Phase, State};
use super::targets::{Message, Targets};
use super::view::{Change, View};
use super::{CloseReason, RowData, ServerConfig, Timer, TlsInfo, Transport};
use crate::codec::frame::{self, Frame, Framer};
use crate::codec::{Name, Tag};

/// What a session wants.
#[derive(Debug)]
#[must_use]
pub enum Step<'b> {
    /// Flush, then wait for octets, EOF, the deadline, or something to tell with
    /// [`ServerSession::mailbox_changed`] or [`ServerSession::bye`].
    NeedInput,
    /// `out` is above its high-water mark: flush before polling again.
    Flush,
    /// Greet or refuse.
    Connect(Connect),
    /// LOGIN or a response of AUTHENTICATE.
    Authenticate(Authenticate),
    /// A whole command, legal in this state.
    Command(Running, Request<'b>),
    /// APPEND announced its message; not one octet of it was read.
    Append(Append<'b>),
    /// Octets of the accepted message, with CRLF line ends: store them, then poll.
    Chunk(&'b [u8]),
    /// The whole message came: commit it, then [`Running::appended`].
    Appended(Running),
    /// The accepted message will not complete: drop its spool. [`Step::Closed`] means the same.
    Discard,
    /// Like [`Step::NeedInput`], in IDLE: changes are told at once.
    Idle,
    /// Flush, shake hands.
    UpgradeTls(UpgradeTls),
    /// Flush and close.
    Closed(CloseReason),
}

/// Why a command is refused without asking the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    No(No),
    Bad(Bad),
}

impl From<No> for Refused {
    fn from(why: No) -> Self {
        Refused::No(why)
    }
}

impl From<Bad> for Refused {
    fn from(why: Bad) -> Self {
        Refused::Bad(why)
    }
}

/// What went wrong in the running command, to be told when it completes.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    gone: bool,
    unreadable: bool,
    undecodable: bool,
}

/// One IMAP connection seen from the server.
///
/// It holds state and no buffers: the driver lends them to [`ServerSession::poll`]. One command runs at a
/// time; what a client pipelines waits in the receive buffer.
///
/// # For the driver
/// [`poll`](Self::poll), [`deadline`](Self::deadline), [`mailbox_changed`](Self::mailbox_changed),
/// [`bye`](Self::bye).
///
/// # While a command runs
/// [`targets`](Self::targets), [`row`](Self::row), [`stored_row`](Self::stored_row),
/// [`message_gone`](Self::message_gone), [`learn_keywords`](Self::learn_keywords), [`view`](Self::view).
pub struct ServerSession {
    config: Arc<ServerConfig>,
    tls: Option<TlsInfo>,
    state: State,
    pub(super) framer: Framer,
    /// The command under way.
    pub(super) tag: Option<Tag>,
    name: Name,
    pub(super) view: View,
    /// Message numbers the command is about: rising, separate ranges.
    target_ranges: Vec<(u32, u32)>,
    /// UIDs that `$` stands for: rising, separate ranges.
    pub(super) saved: Vec<(u32, u32)>,
    /// The running SEARCH replaces `saved`.
    saving: bool,
    enabled: Enabled,
    trouble: Trouble,
    mechanism: Mechanism,
    /// A message passes; so many of its octets at the front of the buffer are not judged yet.
    line_ends: LineEnds,
    chunk_left: usize,
    /// The message was announced inside `UTF8 (...)`, and as literal8.
    append_utf8: bool,
    append_binary: bool,
    /// The response to SEARCH that did not fit, and the last line of an answer that did not.
    searched: Option<(Answer, Found)>,
    held: Option<SendBuf>,
    /// What is answered when the octets in the way are gone, and whether any are.
    drained: Option<Refused>,
    draining: bool,
    /// A question went out with the last step.
    asked: bool,
    now: Instant,
    started: Instant,
    active: Instant,
    kept_alive: Instant,
    bad_commands: u32,
    strangers_commands: u32,
    failed_logins: u32,
    close: CloseReason,
}

/// What `poll` found, without a borrow of the buffer.
enum Next {
    Again,
    NeedInput,
    Connect,
    Authenticate(Mechanism, bool, Option<Secret>),
    /// A request of so many octets.
    Command(usize),
    /// The announcement of a message in so many octets.
    Append(usize),
    Chunk(usize),
    /// A lone LF is replaced.
    CrLf,
    Appended,
    Discard,
    Upgrade,
}

impl ServerSession {
    /// A connection that nobody has greeted.
    pub fn new(config: Arc<ServerConfig>, transport: Transport, now: Instant) -> Self {
        let tls = match transport {
            Transport::Plain => None,
            Transport::Tls(info) => Some(info),
        };
        ServerSession {
            config,
            tls,
            state: State::START,
            framer: Framer::new(frame::Limits::BEFORE_LOGIN),
            tag: None,
            name: Name::Noop,
            view: View::default(),
            target_ranges: Vec::new(),
            saved: Vec::new(),
            saving: false,
            enabled: Enabled::default(),
            trouble: Trouble::default(),
            mechanism: Mechanism::Plain,
            line_ends: LineEnds::default(),
            chunk_left: 0,
            append_utf8: false,
            append_binary: false,
            searched: None,
            held: None,
            drained: None,
            draining: false,
            asked: false,
            now,
            started: now,
            active: now,
            kept_alive: now,
            bad_commands: 0,
            strangers_commands: 0,
            failed_logins: 0,
            close: CloseReason::Eof,
        }
    }

    // ---- for the driver -------------------------------------------------------------------------------

    /// Makes progress: consumes from `input`, appends to `out`, returns the next step.
    pub fn poll<'b>(&mut self, now: Instant, input: &'b mut RecvBuf, out: &mut SendBuf) -> Step<'b> {
        self.now = now;
        if core::mem::take(&mut self.asked) {
            // The driver's own time does not count as the client's.
            self.active = now;
            self.answer_unanswered(out);
        }
        self.expire(out);
        let next = loop {
            if self.state.phase() == Phase::Ended {
                return Step::Closed(self.close);
            }
            if out.is_high() {
                return Step::Flush;
            }
            match self.advance(input, out) {
                Next::Again => {}
                Next::NeedInput if input.is_eof() => self.end(CloseReason::Eof),
                Next::NeedInput if self.state.phase() == Phase::Idle => return Step::Idle,
                Next::NeedInput => return Step::NeedInput,
                next => break next,
            }
        };
        self.asked = !matches!(next, Next::Chunk(_) | Next::CrLf | Next::Discard);
        match next {
            Next::Connect => Step::Connect(Connect::new()),
            Next::Authenticate(mechanism, begins, response) => {
                Step::Authenticate(Authenticate::new(mechanism, begins, response))
            }
            Next::Command(len) => match self.request(input.take(len)) {
                Ok(request) => Step::Command(Running::new(), request),
                // It was read before, so this is not reached; the command fails as if it were unanswered.
                Err(_) => Step::Flush,
            },
            Next::Append(len) => match self.append_request(input.take(len)) {
                Ok((name, message)) => Step::Append(Append::new(name, message)),
                Err(_) => Step::Flush,
            },
            Next::Chunk(len) => Step::Chunk(input.take(len)),
            Next::CrLf => {
                input.consume(1);
                Step::Chunk(b"\r\n")
            }
            Next::Appended => Step::Appended(Running::new()),
            Next::Discard => Step::Discard,
            Next::Upgrade => Step::UpgradeTls(UpgradeTls::new()),
            Next::Again | Next::NeedInput => Step::NeedInput,
        }
    }

    /// Call `poll` no later than this even if nothing arrives; and why.
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        match (self.state.phase(), self.state.level()) {
            (Phase::Ended, _) => None,
            (_, Level::Stranger) => Some((self.started + LOGIN_TIME, Timer::Login)),
            (Phase::Idle, _) => {
                let keep_alive = (self.kept_alive + KEEP_ALIVE_TIME, Timer::KeepAlive);
                let idle = (self.active + IDLE_TIME, Timer::Idle);
                Some(if keep_alive.0 < idle.0 { keep_alive } else { idle })
            }
            _ => Some((self.active + IDLE_TIME, Timer::Idle)),
        }
    }

    /// Something changed in the selected folder. Told at once in IDLE; otherwise with the next completion
    /// that may tell it (RFC 9051 §7.5.1). Changes come in the order of their modification sequences.
    pub fn mailbox_changed(&mut self, change: Change, out: &mut SendBuf) {
        self.mailbox_changes(core::iter::once(change), out);
    }

    /// Many changes at once: in IDLE, one EXISTS for all messages that came.
    pub fn mailbox_changes(&mut self, changes: impl IntoIterator<Item = Change>, out: &mut SendBuf) {
        if self.state.level() != Level::Selected {
            return;
        }
        changes.into_iter().for_each(|change| self.view.note(change));
        self.tell_if_idle(out);
    }

    /// The selected folder's keywords, all of them, in the order of their bits. Tell before rows or changes
    /// that carry new ones.
    pub fn learn_keywords<'k>(&mut self, names: impl Iterator<Item = &'k str>, out: &mut SendBuf) {
        if self.state.level() == Level::Selected {
            self.view.learn_keywords(names);
            self.tell_if_idle(out);
        }
    }

    /// Every change of the selected folder up to `modseq` was passed in. Optional: it lets the session forget
    /// what it keeps to recognise changes that come twice.
    pub fn synced(&mut self, modseq: u64) {
        self.view.synced(modseq);
    }

    /// Ends the session with `* BYE`, whatever is under way.
    pub fn bye(&mut self, why: Bye, out: &mut SendBuf) {
        if self.state.phase() != Phase::Ended {
            self.end_with(why, CloseReason::Bye, out);
        }
    }

    // ---- while a command runs -------------------------------------------------------------------------

    /// The messages that the running command is about.
    pub fn targets(&self) -> Targets {
        Targets::default()
    }

    /// How many they are.
    pub fn target_count(&self) -> u32 {
        super::targets::count(&self.target_ranges)
    }

    pub(super) fn target_ranges(&self) -> &[(u32, u32)] {
        &self.target_ranges
    }

    /// The selected folder as the client knows it; empty when none is selected.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Begins the FETCH response for a target. `seen_now`: this FETCH has just set `\Seen`, and `data` is as
    /// it is after that.
    pub fn row<'r>(
        &self,
        fetching: &Fetching<'r>,
        message: Message,
        data: RowData,
        seen_now: bool,
        structure: Option<&'r Structure>,
    ) -> Row<'r> {
        Row::new(fetching, message, data, seen_now, self.enabled.condstore, structure)
    }

    /// A target is no longer in the store. A command that named it by its number will complete with
    /// `NO [EXPUNGEISSUED]`; one that named it by its UID passes over it (RFC 9051 §6.4.9).
    pub fn message_gone(&mut self) {
        self.trouble.gone = true;
    }

    pub(super) fn note_unreadable(&mut self) {
        self.trouble.unreadable = true;
    }

    pub(super) fn note_undecodable(&mut self) {
        self.trouble.undecodable = true;
    }

    /// Where the session stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What ENABLE has turned on.
    pub fn enabled(&self) -> Enabled {
        self.enabled
    }

    /// What TLS offers; `None` without TLS.
    pub fn tls(&self) -> Option<TlsInfo> {
        self.tls
    }

    pub(super) fn saved(&self) -> &[(u32, u32)] {
        &self.saved
    }

    pub(super) fn config(&self) -> &ServerConfig {
        &self.config
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    pub(super) fn style(&self) -> Style {
        Style { utf8: self.enabled.utf8(), append_max: self.config.append_max }
    }

    // ---- going on -------------------------------------------------------------------------------------

    pub(super) fn apply(&mut self, event: Event) -> bool {
        self.state.apply(event)
    }

    fn advance(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match self.state.phase() {
            Phase::Connect => Next::Connect,
            Phase::Line => self.next_command(input, out),
            Phase::SaslLine => self.next_sasl_line(input, out),
            Phase::Message | Phase::MessageEnd => self.next_piece(input, out),
            Phase::Drain => self.next_drained(input, out),
            Phase::Idle if !self.tell_if_idle(out) => Next::Again,
            Phase::Idle => self.next_done(input, out),
            Phase::Answering => {
                self.next_of_answer(out);
                Next::Again
            }
            // An answer is awaited; `poll` has answered what nobody did.
            Phase::Running | Phase::Sasl | Phase::AppendAsked | Phase::Upgrade | Phase::Ended => {
                Next::NeedInput
            }
        }
    }

    fn next_command(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match self.framer.poll(input) {
            Frame::NeedInput => Next::NeedInput,
            Frame::Continue(_) => {
                self.active = self.now;
                out.push(b"+ Ready\r\n");
                Next::Again
            }
            Frame::Whole { len } => {
                self.active = self.now;
                self.command(len, input, out)
            }
            Frame::Message { len, .. } => {
                self.active = self.now;
                self.message_announced(len, input, out)
            }
            Frame::Bad(bad) => {
                self.active = self.now;
                self.tag = bad.tag;
                self.bad_frame(&bad, out);
                Next::Again
            }
            Frame::Chunk { len } => {
                input.consume(len);
                Next::Again
            }
            Frame::Drained => Next::Again,
        }
    }

    fn bad_frame(&mut self, bad: &frame::BadFrame, out: &mut SendBuf) {
        self.write_tag(out);
        out.push(b"BAD ");
        out.push(bad.fault.as_str().as_bytes());
        out.push(b"\r\n");
        if bad.fatal {
            self.end_with(Bye::TooLong, CloseReason::Abuse, out);
        } else {
            self.count_bad(out);
        }
    }

    fn next_sasl_line(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let len = match self.framer.poll_line(input) {
            Frame::Whole { len } => len,
            Frame::Bad(bad) => {
                self.apply(Event::RefuseLogIn);
                self.bad_frame(&bad, out);
                return Next::Again;
            }
            _ => return Next::NeedInput,
        };
        let line = input.take_secret(len);
        match wire::decode(line.strip_suffix(b"\r\n").unwrap_or(line)) {
            Ok(response) => {
                self.apply(Event::AskSasl);
                Next::Authenticate(self.mechanism, false, Some(response))
            }
            Err(fault) => {
                self.apply(Event::RefuseLogIn);
                let why = match fault {
                    wire::WireFault::Cancelled => Bad::Cancelled,
                    wire::WireFault::Base64 => Bad::Base64,
                    wire::WireFault::TooLong => Bad::TooLong,
                };
                self.write_bad(why, out);
                Next::Again
            }
        }
    }

    fn next_done(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let len = match self.framer.poll_line(input) {
            Frame::Whole { len } => len,
            Frame::Bad(bad) => {
                self.apply(Event::EndIdle);
                self.bad_frame(&bad, out);
                return Next::Again;
            }
            _ => return Next::NeedInput,
        };
        self.active = self.now;
        let done = input.take(len).eq_ignore_ascii_case(b"DONE\r\n");
        self.apply(Event::EndIdle);
        if done {
            self.write_ok(|_, _| {}, out);
        } else {
            self.write_bad(Bad::Done, out);
        }
        Next::Again
    }

    // ---- answers that nobody gave, and time ------------------------------------------------------------

    fn answer_unanswered(&mut self, out: &mut SendBuf) {
        match self.state.phase() {
            Phase::Connect => self.end_with(Bye::Unavailable, CloseReason::Refused, out),
            Phase::Running => self.complete_no(No::Unavailable, out),
            Phase::Sasl => self.log_in_failed(No::Unavailable, out),
            Phase::AppendAsked => self.refuse_message(No::Unavailable, out),
            // The client waits for a handshake: no word can reach it.
            Phase::Upgrade => self.end(CloseReason::Bye),
            _ => {}
        }
    }

    fn expire(&mut self, out: &mut SendBuf) {
        let Some((deadline, timer)) = self.deadline() else { return };
        if self.now < deadline {
            return;
        }
        match timer {
            Timer::KeepAlive => {
                self.kept_alive = self.now;
                out.push(b"* OK Still here\r\n");
            }
            Timer::Login => self.end_with(Bye::LoginTimeout, CloseReason::Timeout, out),
            Timer::Idle => self.end_with(Bye::Timeout, CloseReason::Timeout, out),
        }
    }

    pub(super) fn end(&mut self, why: CloseReason) {
        self.close = why;
        self.apply(Event::End);
        (self.searched, self.held) = (None, None);
        self.view.clear();
    }

    pub(super) fn end_with(&mut self, bye: Bye, why: CloseReason, out: &mut SendBuf) {
        if self.searched.as_ref().is_some_and(|(answer, _)| answer.is_inside_line()) {
            out.push(b"\r\n");
        }
        out.push(b"* BYE ");
        bye.write(out);
        self.end(why);
    }

    pub(super) fn log_in_failed(&mut self, why: No, out: &mut SendBuf) {
        if !self.apply(Event::RefuseLogIn) {
            return;
        }
        self.write_no(why, out);
        if why != No::Unavailable {
            self.failed_logins += 1;
            if self.failed_logins >= FAILED_LOGINS_MAX {
                self.end_with(Bye::Abuse, CloseReason::Abuse, out);
            }
        }
    }

    pub(super) fn upgraded(&mut self, tls: TlsInfo, now: Instant) {
        if !self.apply(Event::Upgraded) {
            return;
        }
        self.tls = Some(tls);
        self.framer = Framer::new(frame::Limits::BEFORE_LOGIN);
        self.enabled = Enabled::default();
        (self.started, self.active) = (now, now);
        (self.bad_commands, self.strangers_commands) = (0, 0);
        self.asked = false;
    }
}
