//! The message of APPEND: octets pass through, are judged, and are thrown away when they are not wanted.

use protocol_core::{RecvBuf, SendBuf};

use super::{Next, Refused, ServerSession};
use crate::codec::frame::{self, Frame};
use crate::server::CloseReason;
use crate::server::append::Piece;
use crate::server::reason::{Bad, Bye, No};
use crate::server::state::Event;

impl ServerSession {
    /// Octets of an accepted message, and what stands behind it.
    pub(super) fn next_piece(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if self.chunk_left == 0 {
            match self.framer.poll(input) {
                Frame::Chunk { len } => self.chunk_left = len,
                Frame::NeedInput => return Next::NeedInput,
                Frame::Whole { len } => return self.message_ended(len, input),
                Frame::Message { len, .. } => {
                    // A second message (RFC 3502) is not offered.
                    input.consume(len);
                    return match self.framer.refuse() {
                        frame::Refused::Answer => self.drop_message(Bad::Append.into(), false),
                        frame::Refused::Drain => self.drop_message(Bad::Append.into(), true),
                        frame::Refused::Close => {
                            self.end_with(Bye::TooLong, CloseReason::Abuse, out);
                            Next::Again
                        }
                    };
                }
                Frame::Bad(bad) => {
                    self.apply(Event::Drop);
                    self.apply(Event::EndDrop);
                    self.bad_frame(&bad, out);
                    return Next::Discard;
                }
                Frame::Continue(_) => {
                    out.push(b"+ Ready\r\n");
                    return Next::Again;
                }
                Frame::Drained => return Next::Again,
            }
        }
        self.active = self.now;
        let octets = input.bytes();
        match self.line_ends.next(octets.get(..self.chunk_left).unwrap_or(octets)) {
            Piece::Good(n) => {
                self.chunk_left -= n;
                Next::Chunk(n)
            }
            Piece::LoneLf => {
                self.chunk_left -= 1;
                Next::CrLf
            }
            Piece::Bad => {
                input.consume(self.chunk_left);
                self.chunk_left = 0;
                self.framer.abandon();
                self.drop_message(self.bad_octet(), true)
            }
        }
    }

    /// The rest of the command's line came: nothing, or the parenthesis of `UTF8 (...)`.
    pub(super) fn message_ended(&mut self, len: usize, input: &mut RecvBuf) -> Next {
        let tail = input.take(len);
        let expected: &[u8] = if self.append_utf8 { b")\r\n" } else { b"\r\n" };
        let good = tail == expected;
        self.active = self.now;
        if good && self.line_ends.is_whole() {
            self.apply(Event::EndMessage);
            self.apply(Event::AskCommit);
            return Next::Appended;
        }
        let why = if good { self.bad_octet() } else { Bad::Append.into() };
        self.drop_message(why, false)
    }

    /// RFC 3516 §4.4: a store that keeps no binary content says UNKNOWN-CTE to a literal8 that has some.
    pub(super) fn bad_octet(&self) -> Refused {
        if self.append_binary { No::UnknownCte.into() } else { No::BareOctet.into() }
    }

    /// What still comes of the command, if anything does, is thrown away, and then answered.
    pub(super) fn drop_message(&mut self, why: Refused, draining: bool) -> Next {
        self.drained = Some(why);
        self.draining = draining;
        self.apply(Event::Drop);
        Next::Discard
    }

    pub(super) fn next_drained(&mut self, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        if self.draining {
            match self.framer.poll(input) {
                Frame::NeedInput => return Next::NeedInput,
                Frame::Bad(bad) => {
                    self.draining = false;
                    self.apply(Event::EndDrop);
                    self.bad_frame(&bad, out);
                    return Next::Again;
                }
                _ => self.draining = false,
            }
        }
        self.active = self.now;
        self.apply(Event::EndDrop);
        if let Some(why) = self.drained.take() {
            self.write_refused(why, out);
        }
        Next::Again
    }

    pub(in crate::server) fn refuse_message(&mut self, why: No, out: &mut SendBuf) {
        match self.framer.refuse() {
            frame::Refused::Answer => self.complete_no(why, out),
            frame::Refused::Drain => {
                self.drop_message(why.into(), true);
            }
            frame::Refused::Close => {
                self.write_no(why, out);
                self.end_with(Bye::TooLong, CloseReason::Abuse, out);
            }
        }
    }
}
