//! DATA and BDAT: from the command to the question whether the message may be stored.

use protocol_core::{RecvBuf, SendBuf};

use super::guard::HeaderGuard;
use super::replies;
use super::session::{Asked, By, Late, Message, Next, ServerSession, State, Transaction};
use super::steps::{Begin, Finish, Step};
use super::table::Act;
use super::{CloseReason, Refusal};
use crate::params::Body;
use crate::stuffing::{BareOctet, LineCheck, Scan, Unstuff};

impl ServerSession {
    /// DATA, with what stands behind it still in `input`.
    pub(super) fn data_command(&mut self, act: Act, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if !input.is_empty() {
            // RFC 2920 §3.1: DATA is the last command of a group, for what follows depends on its reply. Octets
            // sent before it would be run as commands when the reply is not 354.
            input.discard_all();
            replies::TOO_SOON.write(out);
            return self.end(CloseReason::Abuse);
        }
        match act {
            Act::No(row) | Act::Reset(row) => self.error(row, out),
            // RFC 3030 §3: a BINARYMIME message comes by BDAT only.
            Act::Run if self.is_binary() => self.error(&replies::NEEDS_BDAT, out),
            Act::Run => self.ask_begin(By::Data),
        }
    }

    /// BDAT in its turn. Its octets follow whatever the reply is (RFC 3030 §2).
    pub(super) fn bdat(&mut self, size: u64, last: bool) -> Next {
        let message = self.transaction.as_ref().and_then(|t| t.message.as_ref());
        let (open, so_far) = message.map_or((false, 0), |m| (true, m.octets));
        if so_far.saturating_add(size) > self.config.message_max {
            return self.refuse_chunk(Refusal::TooBig, size, last);
        }
        if !open {
            return self.ask_begin(By::Bdat { size, last });
        }
        self.state = State::Bdat { left: size, last };
        Next::Again
    }

    fn is_binary(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| t.body == Body::Binary)
    }

    fn ask_begin(&mut self, by: By) -> Next {
        self.state = State::Asked(Asked::Begin(by));
        self.bulk_since = self.now;
        self.bulk_octets = 0;
        Next::Step(Step::Begin(Begin { limit: self.config.message_max, binary: self.is_binary() }))
    }

    /// The rest of a BDAT chunk is dropped; then `late` is said.
    pub(super) fn skip_bdat(&mut self, left: u64, late: Late) -> Next {
        if self.transaction.as_ref().is_none_or(|t| t.message.is_none()) {
            self.bulk_since = self.now;
            self.bulk_octets = 0;
        }
        self.late = Some(late);
        self.state = State::SkipBdat { left };
        Next::Again
    }

    pub(super) fn refuse_chunk(&mut self, why: Refusal, left: u64, last: bool) -> Next {
        // RFC 2033 §4.2 wants a reply for each recipient after the last chunk only.
        let times = if last { self.replies_due() } else { 1 };
        let next = self.skip_bdat(left, Late::Refusal(why, times));
        self.abandon();
        next
    }

    /// What the answer to `Begin` leads to.
    pub(super) fn begun(&mut self, out: &mut SendBuf) {
        let State::Asked(Asked::Begin(by)) = self.state else { return };
        let Some(transaction) = &mut self.transaction else { return };
        transaction.message = Some(Message { octets: 0, guard: HeaderGuard::new(), lines: LineCheck::new() });
        self.spool = true;
        self.state = match by {
            By::Data => {
                out.push(b"354 Go ahead, end with CRLF.CRLF\r\n");
                State::Data(Unstuff::new())
            }
            By::Bdat { size, last } => State::Bdat { left: size, last },
        };
    }

    // ---- octets ----------------------------------------------------------------------------------------

    pub(super) fn octets(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match self.state {
            State::Data(unstuff) => self.data(unstuff, input, out),
            State::Drain(unstuff) => self.drain(unstuff, input, out),
            State::Bdat { left: 0, last } => self.chunk_ended(last, out),
            State::Bdat { left, last } => self.chunk(left, last, input, out),
            State::SkipBdat { left: 0 } => self.say_late(out),
            State::SkipBdat { left } => {
                let n = available(left, input);
                if n == 0 {
                    return self.starved(input);
                }
                input.consume(n);
                self.count_octets(n);
                self.state = State::SkipBdat { left: left.saturating_sub(n as u64) };
                Next::Again
            }
            _ => self.end(CloseReason::Abuse),
        }
    }

    fn data(&mut self, mut unstuff: Unstuff, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match unstuff.scan(input.bytes()) {
            Scan::NeedInput => self.starved(input),
            Scan::Bare(octet) => self.bare(octet, self.replies_due(), out),
            Scan::End { len } => {
                input.consume(len);
                self.ask_finish()
            }
            Scan::Text { skip, len } => {
                self.state = State::Data(unstuff);
                match self.judge(input.bytes().get(skip..skip + len).unwrap_or_default()) {
                    Ok(()) => Next::Chunk { skip, len },
                    Err(why) => {
                        input.consume(skip + len);
                        self.late = Some(Late::Refusal(why, self.replies_due()));
                        self.abandon();
                        self.state = State::Drain(unstuff);
                        Next::Again
                    }
                }
            }
        }
    }

    /// The message is lost; its end is still looked for, so that the connection stays in step.
    fn drain(&mut self, mut unstuff: Unstuff, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        match unstuff.scan(input.bytes()) {
            Scan::NeedInput => self.starved(input),
            Scan::Bare(octet) => {
                let times = if let Some(Late::Refusal(_, times)) = self.late { times } else { 1 };
                self.bare(octet, times, out)
            }
            Scan::End { len } => {
                input.consume(len);
                self.say_late(out)
            }
            Scan::Text { skip, len } => {
                input.consume(skip + len);
                self.count_octets(len);
                self.state = State::Drain(unstuff);
                Next::Again
            }
        }
    }

    fn chunk(&mut self, left: u64, last: bool, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let n = available(left, input);
        if n == 0 {
            return self.starved(input);
        }
        let text = input.bytes().get(..n).unwrap_or_default();
        if !self.is_binary()
            && let Some(message) = self.transaction.as_mut().and_then(|t| t.message.as_mut())
            && let Err(octet) = message.lines.check(text)
        {
            let times = if last { self.replies_due() } else { 1 };
            return self.bare(octet, times, out);
        }
        match self.judge(text) {
            Ok(()) => {
                self.state = State::Bdat { left: left.saturating_sub(n as u64), last };
                Next::Chunk { skip: 0, len: n }
            }
            Err(why) => self.refuse_chunk(why, left, last),
        }
    }

    /// All octets of a BDAT are here.
    fn chunk_ended(&mut self, last: bool, out: &mut SendBuf) -> Next {
        if !last {
            self.state = State::Line;
            self.quiet_since = self.now;
            replies::CHUNK.write(out);
            return Next::Again;
        }
        let message = self.transaction.as_ref().and_then(|t| t.message.as_ref());
        match message.map(|m| m.lines.finish()) {
            Some(Err(octet)) if !self.is_binary() => self.bare(octet, self.replies_due(), out),
            _ => self.ask_finish(),
        }
    }

    fn ask_finish(&mut self) -> Next {
        let octets = self.transaction.as_ref().and_then(|t| t.message.as_ref()).map_or(0, |m| m.octets);
        self.state = State::Asked(Asked::Finish);
        Next::Step(Step::Finish(Finish { octets, recipients: self.recipients() }))
    }

    /// Counts the next octets of the message and judges size and header.
    fn judge(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.count_octets(text.len());
        let limit = self.config.message_max;
        let Some(Transaction { message: Some(message), .. }) = &mut self.transaction else {
            return Err(Refusal::StorageFailed);
        };
        message.octets = message.octets.saturating_add(text.len() as u64);
        if message.octets > limit {
            return Err(Refusal::TooBig);
        }
        message.guard.watch(text, &self.config.hostname)
    }

    fn count_octets(&mut self, n: usize) {
        self.quiet_since = self.now;
        self.bulk_octets = self.bulk_octets.saturating_add(n as u64);
    }

    fn starved(&mut self, input: &RecvBuf) -> Next {
        if input.is_eof() { self.end(CloseReason::Eof) } else { Next::Wait }
    }

    /// Whoever breaks the rule for line endings may see an end of data where we see none: nothing further is
    /// read from it.
    fn bare(&mut self, octet: BareOctet, times: usize, out: &mut SendBuf) -> Next {
        let row = match octet {
            BareOctet::Cr => &replies::BARE_CR,
            BareOctet::Lf => &replies::BARE_LF,
            BareOctet::Nul => &replies::BARE_NUL,
        };
        (0..times).for_each(|_| row.write(out));
        self.end(CloseReason::BareOctet)
    }

    /// A refused message has been dropped to its end.
    fn say_late(&mut self, out: &mut SendBuf) -> Next {
        self.state = State::Line;
        self.quiet_since = self.now;
        match self.late.take() {
            Some(Late::Row(row)) => self.error(row, out),
            Some(Late::Refusal(why, times)) => {
                (0..times).for_each(|_| why.write(out));
                if why.code() == 421 { self.end(CloseReason::Refused) } else { Next::Again }
            }
            None => Next::Again,
        }
    }
}

fn available(left: u64, input: &RecvBuf) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
}
