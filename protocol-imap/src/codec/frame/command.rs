//! Framing of commands, for servers.

use protocol_core::RecvBuf;

use super::super::command::append::AppendMessage;
use super::super::command::{Command, CommandBody, Tag};
use super::super::read::Cursor;
use super::{ANNOUNCEMENT_MAX, Announced, LineEnd, find_crlf, line_end};

/// What a command may hold. All in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One line, without its CRLF.
    pub line: usize,
    /// One literal that is no message.
    pub literal: usize,
    /// One literal that is no message and comes without a continuation.
    pub non_sync_literal: usize,
    /// The whole command without messages. The receive buffer must hold at least this much.
    pub command: usize,
    /// What is read and thrown away of a bad command, and of a message that was refused, before the session
    /// is better ended.
    pub drain: u64,
}

impl Limits {
    /// Before log-in.
    pub const BEFORE_LOGIN: Limits =
        Limits { line: 12_288, literal: 1024, non_sync_literal: 1024, command: 16 * 1024, drain: 64 * 1024 };
    /// After log-in.
    pub const AFTER_LOGIN: Limits = Limits {
        line: 64 * 1024,
        literal: 64 * 1024,
        non_sync_literal: 4096,
        command: 64 * 1024,
        drain: 64 * 1024 * 1024,
    };
}

/// Why a command could not be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// A line above [`Limits::line`].
    LineTooLong,
    /// A literal above [`Limits::literal`].
    LiteralTooLarge,
    /// A literal without continuation above [`Limits::non_sync_literal`] (RFC 7888 §5).
    NonSyncLiteralTooLarge,
    /// A command above [`Limits::command`].
    CommandTooLong,
}

impl FrameFault {
    /// A text for the BAD response.
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameFault::LineTooLong => "Line too long",
            FrameFault::LiteralTooLarge => "Literal too large",
            FrameFault::NonSyncLiteralTooLarge => "Literal too large to be sent without a continuation",
            FrameFault::CommandTooLong => "Command too long",
        }
    }
}

/// A command that was too large. It has been consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Its tag, when it began with one.
    pub tag: Option<Tag>,
    /// Why.
    pub fault: FrameFault,
    /// Its end was not found within [`Limits::drain`]: answer BYE and close.
    pub fatal: bool,
}

/// What [`Framer::poll`] found.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// More octets, or EOF, or the deadline.
    NeedInput,
    /// A small literal was announced: write a continuation (`+ `), flush, poll again.
    Continue(Announced),
    /// A whole command stands at the front of the buffer: take `len` octets. Behind a message: what follows
    /// it up to the line end.
    Whole {
        /// Its octets with the final CRLF.
        len: usize,
    },
    /// A message literal was announced; the `len` octets before it, up to the CRLF behind its announcement,
    /// stand at the front of the buffer: take them. Then [`Framer::accept`] or [`Framer::refuse`].
    Message {
        /// Octets before the message.
        len: usize,
        /// The message.
        literal: Announced,
    },
    /// `len` octets of the accepted message stand at the front of the buffer: take them.
    Chunk {
        /// Never 0.
        len: usize,
    },
    /// A command that was too large was read to its end.
    Bad(BadFrame),
    /// The message that was refused, and its command, were read to their end.
    Drained,
}

/// What follows [`Framer::refuse`].
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client waits: answer now.
    Answer,
    /// The octets come anyway: poll until [`Frame::Drained`], then answer.
    Drain,
    /// More octets come than anyone wants to read: answer, BYE, close.
    Close,
}

/// Finds commands in a receive buffer. Holds offsets only; between two calls of [`Framer::poll`] the buffer
/// may grow, and is consumed only as the last [`Frame`] says.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    state: State,
    /// Where the line under way begins.
    line_start: usize,
    /// No line ends before here. Beyond the buffer's end while a literal is awaited.
    searched: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Inside a command, or before one.
    Command,
    /// A message literal was announced and neither accepted nor refused.
    Decide(Announced),
    /// So many octets of an accepted message are still to come.
    Message(u64),
    /// Behind a message: the rest of its command, or the next message.
    Behind,
    Drain(Drain),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drain {
    /// Octets of a literal that are still to come.
    literal: u64,
    /// Octets thrown away.
    done: u64,
    /// `None`: a refused message.
    bad: Option<(Option<Tag>, FrameFault)>,
}

impl Framer {
    /// Before the first command.
    pub fn new(limits: Limits) -> Self {
        Framer { limits, state: State::Command, line_start: 0, searched: 0 }
    }

    /// Other limits from the next command on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Looks for the next command, continuation, message or chunk.
    pub fn poll(&mut self, input: &mut RecvBuf) -> Frame {
        match self.state {
            State::Command | State::Behind => self.poll_lines(input),
            // Unanswered, the message counts as refused.
            State::Decide(_) => match self.refuse() {
                Refused::Drain => self.poll_drain(input),
                Refused::Answer => Frame::Drained,
                Refused::Close => self.fatal(FrameFault::CommandTooLong, None),
            },
            State::Message(left) => self.poll_message(left, input),
            State::Drain(_) => self.poll_drain(input),
        }
    }

    /// Looks for one line in which nothing announces a literal: DONE of IDLE, a response of AUTHENTICATE.
    /// Answers `NeedInput`, `Whole` or `Bad`.
    pub fn poll_line(&mut self, input: &mut RecvBuf) -> Frame {
        let bytes = input.bytes();
        match find_crlf(bytes, 0, self.searched.min(bytes.len())) {
            Some(at) if at - 1 > self.limits.line => self.fatal(FrameFault::LineTooLong, None),
            Some(at) => {
                self.restart();
                Frame::Whole { len: at + 1 }
            }
            None if bytes.len() > self.limits.line + 1 || input.is_full() => {
                self.fatal(FrameFault::LineTooLong, None)
            }
            None => {
                self.searched = bytes.len();
                Frame::NeedInput
            }
        }
    }

    /// The message is wanted: write a continuation unless it is non-synchronising, then poll for chunks.
    pub fn accept(&mut self) {
        if let State::Decide(literal) = self.state {
            self.state = State::Message(literal.octets);
        }
    }

    /// The message is not wanted.
    pub fn refuse(&mut self) -> Refused {
        let State::Decide(literal) = self.state else { return Refused::Answer };
        self.restart();
        if !literal.non_sync {
            return Refused::Answer;
        }
        if literal.octets > self.limits.drain {
            return Refused::Close;
        }
        self.state = State::Drain(Drain { literal: literal.octets, done: 0, bad: None });
        Refused::Drain
    }

    /// Octets of the accepted message that have not come yet.
    pub fn message_left(&self) -> u64 {
        if let State::Message(left) = self.state { left } else { 0 }
    }

    /// The rest of the command behind an accepted message is thrown away: poll until [`Frame::Drained`].
    pub fn abandon(&mut self) {
        let literal = self.message_left();
        self.restart();
        self.state = State::Drain(Drain { literal, done: 0, bad: None });
    }

    fn restart(&mut self) {
        self.state = State::Command;
        self.line_start = 0;
        self.searched = 0;
    }

    fn fatal(&mut self, fault: FrameFault, tag: Option<Tag>) -> Frame {
        self.restart();
        Frame::Bad(BadFrame { tag, fault, fatal: true })
    }

    fn poll_lines(&mut self, input: &mut RecvBuf) -> Frame {
        let bytes = input.bytes();
        if bytes.len() < self.searched {
            // A driver with too small a buffer must not wait for ever.
            return if input.is_full() {
                self.fail(FrameFault::CommandTooLong, input)
            } else {
                Frame::NeedInput
            };
        }
        let found = find_crlf(bytes, self.line_start, self.searched);
        // The end of the line, or as far as one knows that it does not end.
        let end = found.map_or(bytes.len().saturating_add(1), |lf| lf + 1);
        if let Some(fault) = self.over(end) {
            return self.fail(fault, input);
        }
        let Some(lf) = found else {
            if input.is_full() {
                return self.fail(FrameFault::CommandTooLong, input);
            }
            self.searched = bytes.len();
            return Frame::NeedInput;
        };
        let line = bytes.get(self.line_start..lf - 1).unwrap_or_default();
        match line_end(line) {
            LineEnd::Endless => self.fail(FrameFault::LiteralTooLarge, input),
            LineEnd::Plain => {
                self.restart();
                Frame::Whole { len: end }
            }
            LineEnd::Literal(literal) => self.announced(literal, end, input),
        }
    }

    /// What a line that ends at `end` at the earliest is too long for: that which it passes first, so that
    /// the answer is the same however the octets arrive.
    fn over(&self, end: usize) -> Option<FrameFault> {
        let line_max = self.line_start.saturating_add(self.limits.line).saturating_add(2);
        let over = end > line_max.min(self.limits.command);
        let fault = if line_max <= self.limits.command {
            FrameFault::LineTooLong
        } else {
            FrameFault::CommandTooLong
        };
        over.then_some(fault)
    }

    /// A literal was announced by the line that ends at `end`.
    fn announced(&mut self, literal: Announced, end: usize, input: &mut RecvBuf) -> Frame {
        let before = input.bytes().get(..end).unwrap_or_default();
        let is_message = match self.state {
            State::Behind => is_next_message(before),
            _ => is_append(before),
        };
        if is_message {
            self.state = State::Decide(literal);
            return Frame::Message { len: end, literal };
        }
        let len = usize::try_from(literal.octets).unwrap_or(usize::MAX);
        let fault = if len > self.limits.literal {
            FrameFault::LiteralTooLarge
        } else if literal.non_sync && len > self.limits.non_sync_literal {
            FrameFault::NonSyncLiteralTooLarge
        } else if end.saturating_add(len) > self.limits.command {
            FrameFault::CommandTooLong
        } else {
            self.line_start = end + len;
            self.searched = end + len;
            if !literal.non_sync {
                return Frame::Continue(literal);
            }
            return self.poll_lines(input);
        };
        self.fail(fault, input)
    }

    fn poll_message(&mut self, left: u64, input: &mut RecvBuf) -> Frame {
        if left == 0 {
            self.state = State::Behind;
            self.line_start = 0;
            self.searched = 0;
            return self.poll_lines(input);
        }
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if len == 0 {
            return Frame::NeedInput;
        }
        self.state = State::Message(left - len as u64);
        Frame::Chunk { len }
    }

    /// The command in the buffer is too large: throws it away up to its end.
    fn fail(&mut self, fault: FrameFault, input: &mut RecvBuf) -> Frame {
        let tag = match self.state {
            State::Behind => None,
            _ => Tag::at_start_of(input.bytes()),
        };
        // What was framed is thrown away; the line under way is looked at again for its end.
        let framed = self.line_start.min(input.len());
        let literal = (self.line_start - framed) as u64;
        input.consume(framed);
        self.restart();
        self.state = State::Drain(Drain { literal, done: framed as u64, bad: Some((tag, fault)) });
        self.poll_drain(input)
    }

    fn poll_drain(&mut self, input: &mut RecvBuf) -> Frame {
        let State::Drain(mut drain) = self.state else { return Frame::NeedInput };
        loop {
            let literal = usize::try_from(drain.literal).unwrap_or(usize::MAX).min(input.len());
            input.consume(literal);
            drain.literal -= literal as u64;
            drain.done += literal as u64;
            let bytes = input.bytes();
            let lf = if drain.literal > 0 { None } else { find_crlf(bytes, 0, 0) };
            let (ending, gone) = match lf {
                Some(lf) => (line_end(bytes.get(..lf - 1).unwrap_or_default()), lf + 1),
                // The end of what is here may be the beginning of an announcement, or half of a line end.
                None => (LineEnd::Plain, bytes.len().saturating_sub(ANNOUNCEMENT_MAX + 1)),
            };
            input.consume(gone);
            drain.done += gone as u64;
            match ending {
                LineEnd::Literal(literal) if literal.non_sync => drain.literal = literal.octets,
                LineEnd::Endless => drain.literal = u64::MAX,
                LineEnd::Literal(_) | LineEnd::Plain => {}
            }
            if drain.done.saturating_add(drain.literal) > self.limits.drain {
                let (tag, fault) = drain.bad.unwrap_or((None, FrameFault::CommandTooLong));
                return self.fatal(fault, tag);
            }
            if lf.is_none() {
                self.state = State::Drain(drain);
                return Frame::NeedInput;
            }
            // A client that waits for a continuation sends no more of this command.
            if !matches!(ending, LineEnd::Literal(literal) if literal.non_sync) {
                break;
            }
        }
        self.restart();
        match drain.bad {
            Some((tag, fault)) => Frame::Bad(BadFrame { tag, fault, fatal: false }),
            None => Frame::Drained,
        }
    }
}

/// Whether the announcement at the end of `octets` is that of APPEND's message.
fn is_append(octets: &[u8]) -> bool {
    let mut c = Cursor::new(octets, true);
    let named = c.tag().is_ok() && c.sp().is_ok() && c.eat_word(b"APPEND");
    named && matches!(Command::parse(octets, true), Ok(Command { body: CommandBody::Append(_), .. }))
}

/// Whether the announcement at the end of `octets` is that of a further message (RFC 3502).
fn is_next_message(octets: &[u8]) -> bool {
    AppendMessage::parse_next(octets).is_ok()
}
