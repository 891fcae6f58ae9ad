//! Completions: what waits is told, then the tagged line is written.

use protocol_core::SendBuf;

use super::{Refused, ServerSession, Trouble};
use crate::codec::Name;
use crate::server::CloseReason;
use crate::server::capability::{self, Situation};
use crate::server::limits::BAD_COMMANDS_MAX;
use crate::server::reason::{Bad, Bye, No};
use crate::server::search::{Answer, Found};
use crate::server::state::{Event, Level, Phase};
use crate::server::view::Telling;

impl ServerSession {
    /// Tells what may be told (RFC 9051 §7.5.1), then completes the command: `code` writes a response code
    /// and a space, or nothing.
    pub(in crate::server) fn complete_ok(
        &mut self,
        code: impl FnOnce(&Self, &mut SendBuf),
        out: &mut SendBuf,
    ) {
        let trouble = core::mem::take(&mut self.trouble);
        let by_number = self.name.properties().uses_numbers;
        if trouble.unreadable {
            return self.complete_no(No::Corruption, out);
        }
        if trouble.undecodable {
            return self.complete_no(No::UnknownCte, out);
        }
        if trouble.gone && by_number {
            return self.complete_no(No::ExpungeIssued, out);
        }
        let event = match self.name {
            Name::Close | Name::Unselect => Event::CompleteClose,
            _ => Event::Complete,
        };
        if !self.apply(event) {
            return;
        }
        if event == Event::CompleteClose {
            self.view.clear();
            self.saved.clear();
        }
        self.saving = false;
        self.write_ok(code, out);
    }

    /// An OK for the command under way, behind what waits to be told.
    pub(super) fn write_ok(&mut self, code: impl FnOnce(&Self, &mut SendBuf), out: &mut SendBuf) {
        self.finish(
            |session, out| {
                session.write_tag(out);
                out.push(b"OK ");
                code(session, out);
                session.write_completed(out);
            },
            out,
        );
    }

    pub(in crate::server) fn complete_no(&mut self, why: No, out: &mut SendBuf) {
        self.trouble = Trouble::default();
        if !self.apply(Event::Complete) {
            return;
        }
        if core::mem::take(&mut self.saving) {
            // RFC 5182 §2.1: a SEARCH that was to save and fails saves nothing.
            self.saved.clear();
        }
        self.finish(|session, out| session.write_no(why, out), out);
    }

    pub(in crate::server) fn complete_refused(&mut self, why: Refused, out: &mut SendBuf) {
        match why {
            Refused::No(why) => self.complete_no(why, out),
            Refused::Bad(why) => {
                if self.apply(Event::Complete) {
                    self.write_bad(why, out);
                }
            }
        }
    }

    /// Writes the last line of a command's answer, when all that comes before it is written. What does not fit
    /// into `out` follows at the next polls ([`Phase::Answering`]), and the line behind it.
    fn finish(&mut self, line: impl FnOnce(&Self, &mut SendBuf), out: &mut SendBuf) {
        if self.go_on(out) {
            return line(self, out);
        }
        let mut held = SendBuf::with_high_water(usize::MAX);
        line(self, &mut held);
        self.held = Some(held);
        self.apply(Event::HoldAnswer);
    }

    /// Goes on with an answer that did not fit.
    pub(super) fn next_of_answer(&mut self, out: &mut SendBuf) {
        if !self.go_on(out) {
            return;
        }
        if let Some(line) = self.held.take() {
            out.push(line.bytes());
        }
        self.apply(Event::EndAnswer);
    }

    /// Writes what comes before the last line, as long as `out` is not high. Whether it is all written.
    fn go_on(&mut self, out: &mut SendBuf) -> bool {
        if let Some((mut answer, found)) = self.searched.take() {
            let tag = self.tag.as_ref().map_or("", |t| t.as_str()).as_bytes();
            if !answer.write(&found, tag, &self.view, out) {
                self.searched = Some((answer, found));
                return false;
            }
        }
        self.view.tell_expunged(out) && self.tell_what_waits(out)
    }

    /// Begins the response to SEARCH, of which the rest waits for [`ServerSession::complete_ok`].
    pub(in crate::server) fn answer_search(&mut self, mut answer: Answer, found: &Found, out: &mut SendBuf) {
        if self.state.phase() != Phase::Running {
            return;
        }
        let tag = self.tag.as_ref().map_or("", |t| t.as_str()).as_bytes();
        if !answer.write(found, tag, &self.view, out) {
            self.searched = Some((answer, found.clone()));
        }
    }

    /// Whether all is told.
    fn tell_what_waits(&mut self, out: &mut SendBuf) -> bool {
        let properties = self.name.properties();
        if self.state.level() == Level::Selected && !properties.changes_mailbox {
            // A command that uses numbers lets none shift, not even when others may: see `MOVE`.
            return self.view.tell(!properties.uses_numbers, self.telling(), out);
        }
        true
    }

    pub(super) fn telling(&self) -> Telling {
        Telling { modseq: self.enabled.condstore, rev2: self.enabled.rev2 }
    }

    /// In IDLE, tells what waits as long as `out` is not high. Whether nothing waits any more.
    pub(super) fn tell_if_idle(&mut self, out: &mut SendBuf) -> bool {
        if self.state.phase() == Phase::Idle && self.state.level() == Level::Selected {
            return self.view.tell(true, self.telling(), out);
        }
        true
    }

    // ---- writing --------------------------------------------------------------------------------------

    /// The tag of the command under way and a space, or `* `.
    pub(in crate::server) fn write_tag(&self, out: &mut SendBuf) {
        out.push(self.tag.as_ref().map_or("*", |tag| tag.as_str()).as_bytes());
        out.push_u8(b' ');
    }

    pub(in crate::server) fn write_completed(&self, out: &mut SendBuf) {
        out.push(self.name.as_str().as_bytes());
        out.push(b" completed\r\n");
    }

    pub(in crate::server) fn write_capabilities(&self, out: &mut SendBuf) {
        let situation = Situation {
            tls: self.tls.is_some(),
            channel_binding: self.tls.is_some_and(|tls| tls.channel_binding),
            logged_in: self.state.is_known(),
        };
        capability::write(&self.config, situation, out);
    }

    pub(super) fn write_no(&self, why: No, out: &mut SendBuf) {
        self.write_tag(out);
        out.push(b"NO ");
        why.write(out);
    }

    pub(super) fn write_bad(&mut self, why: Bad, out: &mut SendBuf) {
        self.write_tag(out);
        out.push(b"BAD ");
        why.write(out);
        self.count_bad(out);
    }

    pub(super) fn write_refused(&mut self, why: Refused, out: &mut SendBuf) {
        match why {
            Refused::No(why) => self.write_no(why, out),
            Refused::Bad(why) => self.write_bad(why, out),
        }
    }

    pub(super) fn count_bad(&mut self, out: &mut SendBuf) {
        self.bad_commands += 1;
        if self.bad_commands >= BAD_COMMANDS_MAX {
            self.end_with(Bye::Abuse, CloseReason::Abuse, out);
        }
    }
}
