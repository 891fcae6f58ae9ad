//! Steps that wait for an answer, and the completions of commands.
//!
//! Each value here is consumed by answering it. One that is dropped becomes a temporary failure at the next
//! `poll`.

use alloc::borrow::Cow;

use protocol_core::sasl::{Mechanism, wire};
use protocol_core::{SendBuf, Timestamp};

pub use protocol_core::sasl::Secret;

use super::list::{self, Folder, StatusData, StatusQuery};
use super::reason::{Bye, No};
use super::request::{Storing, keywords, system_flags};
use super::search::{Answer, Found, Program, Searching};
use super::select::{self, Selected};
use super::session::ServerSession;
use super::state::Event;
use super::{CloseReason, FlagBits, TlsInfo};
use crate::codec::{AppendMessage, Name, frame};
use crate::set::write_compact;

/// A client connected: greet it or turn it away.
#[derive(Debug)]
#[must_use]
pub struct Connect(());

impl Connect {
    pub(super) fn new() -> Self {
        Connect(())
    }

    /// Greets.
    pub fn accept(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.greet(out);
    }

    /// `* BYE`.
    pub fn refuse(self, why: Bye, session: &mut ServerSession, out: &mut SendBuf) {
        session.end_with(why, CloseReason::Refused, out);
    }
}

/// LOGIN or a response of AUTHENTICATE. LOGIN comes as PLAIN with an initial response.
#[derive(Debug)]
#[must_use]
pub struct Authenticate {
    mechanism: Mechanism,
    begins: bool,
    response: Option<Secret>,
}

impl Authenticate {
    pub(super) fn new(mechanism: Mechanism, begins: bool, response: Option<Secret>) -> Self {
        Authenticate { mechanism, begins, response }
    }

    /// Which mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Whether this is the first step: begin a new `sasl::Server` with [`Authenticate::response`] as its
    /// initial response. Otherwise it is the response to the last challenge.
    pub fn begins(&self) -> bool {
        self.begins
    }

    /// The decoded response; `None` only at the beginning, when there is no initial one.
    pub fn response(&self) -> Option<&[u8]> {
        self.response.as_ref().map(Secret::expose)
    }

    /// Sends a challenge.
    pub fn challenge(self, text: &[u8], session: &mut ServerSession, out: &mut SendBuf) {
        out.push(b"+ ");
        out.push(wire::encode(text).as_bytes());
        out.push(b"\r\n");
        session.apply(Event::Challenge);
    }

    /// The client is who it says.
    pub fn succeed(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.logged_in(out);
    }

    /// It is not ([`No::AuthenticationFailed`], whatever the reason), or it can not be told now
    /// ([`No::Unavailable`]).
    pub fn fail(self, why: No, session: &mut ServerSession, out: &mut SendBuf) {
        session.log_in_failed(why, out);
    }
}

/// STARTTLS was answered: flush, shake hands, [`UpgradeTls::done`]. What the client sent behind the command is
/// gone (RFC 9051 §6.2.1).
#[derive(Debug)]
#[must_use]
pub struct UpgradeTls(());

impl UpgradeTls {
    pub(super) fn new() -> Self {
        UpgradeTls(())
    }

    /// TLS stands.
    pub fn done(self, tls: TlsInfo, session: &mut ServerSession, now: protocol_core::Instant) {
        session.upgraded(tls, now);
    }
}

/// APPEND announced its message, of which not one octet was read.
#[derive(Debug)]
#[must_use]
pub struct Append<'b> {
    name: Cow<'b, str>,
    message: AppendMessage<'b>,
}

impl<'b> Append<'b> {
    pub(super) fn new(name: Cow<'b, str>, message: AppendMessage<'b>) -> Self {
        Append { name, message }
    }

    /// The folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Announced octets. What is stored may be larger, as lone LFs become CRLF.
    pub fn size(&self) -> u64 {
        self.message.size
    }

    /// System flags to set.
    pub fn system(&self) -> FlagBits {
        system_flags(self.message.flags)
    }

    /// Keywords to set.
    pub fn keywords(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        keywords(self.message.flags)
    }

    /// INTERNALDATE to set; now when absent.
    pub fn internal_date(&self) -> Option<Timestamp> {
        self.message.date.map(|date| date.0)
    }

    /// Takes the message: open a spool; [`Step::Chunk`](super::Step::Chunk)s follow, then
    /// [`Step::Appended`](super::Step::Appended), or [`Step::Discard`](super::Step::Discard).
    pub fn accept(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.take_message(self.message.non_sync, out);
    }

    /// Refuses it: [`No::TryCreate`] for a folder that is not there, [`No::OverQuota`], [`No::TooBig`].
    pub fn refuse(self, why: No, session: &mut ServerSession, out: &mut SendBuf) {
        session.refuse_message(why, out);
    }
}

/// A command under way. Consumed by its completion, of which it gets exactly one.
#[derive(Debug)]
#[must_use]
pub struct Running(());

impl Running {
    pub(super) fn new() -> Self {
        Running(())
    }

    /// Completes. A command in which something went wrong on the way (a message was gone, unreadable or could
    /// not be decoded) completes with NO all the same.
    pub fn ok(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.complete_ok(|_, _| {}, out);
    }

    /// Refuses.
    pub fn no(self, why: No, session: &mut ServerSession, out: &mut SendBuf) {
        session.complete_no(why, out);
    }

    /// Completes SELECT or EXAMINE. `rows` are all messages in the order of their UIDs, `keywords` the
    /// folder's in the order of their bits.
    pub fn selected<'k>(
        self,
        folder: &Selected<'_>,
        keywords: impl Iterator<Item = &'k str>,
        rows: impl Iterator<Item = (u32, FlagBits)>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        session.selected(folder, keywords, rows, out);
    }

    /// Completes LIST or LSUB. `folders` are all of the user's; `subscriptions` all names subscribed to, or
    /// none when [`Listing::wants_subscriptions`](super::Listing::wants_subscriptions) says so.
    pub fn listed<'a>(
        self,
        listing: &super::Listing<'_>,
        folders: &'a [Folder<'a>],
        subscriptions: impl Iterator<Item = &'a str>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        match list::write(listing, folders, subscriptions, session.style(), out) {
            Ok(()) => session.complete_ok(|_, _| {}, out),
            Err(why) => session.complete_refused(why, out),
        }
    }

    /// Completes STATUS. `name` as it was asked.
    pub fn status(
        self,
        name: &str,
        query: &StatusQuery<'_>,
        data: &StatusData,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        list::write_status(name, query.items, data, session.style(), out);
        session.complete_ok(|_, _| {}, out);
    }

    /// Completes EXPUNGE and UID EXPUNGE: these went, in rising order.
    pub fn expunged(self, uids: &[u32], session: &mut ServerSession, out: &mut SendBuf) {
        session.view.expunge(uids.iter().copied());
        session.complete_ok(|_, _| {}, out);
    }

    /// Completes SEARCH.
    pub fn searched(
        self,
        searching: &Searching<'_>,
        program: &Program,
        found: &Found,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        session.searched(searching, program, found, out);
    }

    /// Completes FETCH.
    pub fn fetched(self, session: &mut ServerSession, out: &mut SendBuf) {
        session.complete_ok(|_, _| {}, out);
    }

    /// Completes STORE; [`ServerSession::stored_row`] was called for each row that changed. `modified`: UIDs,
    /// in rising order, that UNCHANGEDSINCE kept from changing (RFC 7162 §3.1.3).
    pub fn stored(
        self,
        storing: &Storing<'_>,
        modified: &[u32],
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let uid = storing.store.uid;
        session.complete_ok(
            |session, out| {
                let shown = |&u: &u32| if uid { Some(u) } else { session.view.number(u) };
                if modified.iter().any(|u| shown(u).is_some()) {
                    out.push(b"[MODIFIED ");
                    write_compact(modified.iter().filter_map(shown), out);
                    out.push(b"] ");
                }
            },
            out,
        );
    }

    /// Completes COPY: source UIDs and the UIDs of the copies, in the order of the sources.
    pub fn copied(
        self,
        uid_validity: u32,
        pairs: &[(u32, u32)],
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        session.complete_ok(|_, out| write_copy_uid(uid_validity, pairs, out), out);
    }

    /// Completes MOVE: COPYUID first, then EXPUNGE for each that went (RFC 6851 §4.3).
    pub fn moved(
        self,
        uid_validity: u32,
        pairs: &[(u32, u32)],
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        if !pairs.is_empty() {
            out.push(b"* OK ");
            write_copy_uid(uid_validity, pairs, out);
            out.push(b"Moved\r\n");
        }
        session.view.expunge(pairs.iter().map(|(from, _)| *from));
        session.complete_ok(|_, _| {}, out);
    }

    /// Completes APPEND: the message's place.
    pub fn appended(self, uid_validity: u32, uid: u32, session: &mut ServerSession, out: &mut SendBuf) {
        session.complete_ok(
            |_, out| {
                out.push(b"[APPENDUID ");
                out.push_decimal(u64::from(uid_validity));
                out.push_u8(b' ');
                out.push_decimal(u64::from(uid));
                out.push(b"] ");
            },
            out,
        );
    }
}

/// `[COPYUID validity from to] `, or nothing when nothing was copied (RFC 4315 §3).
fn write_copy_uid(uid_validity: u32, pairs: &[(u32, u32)], out: &mut SendBuf) {
    if pairs.is_empty() {
        return;
    }
    out.push(b"[COPYUID ");
    out.push_decimal(u64::from(uid_validity));
    out.push_u8(b' ');
    write_compact(pairs.iter().map(|(from, _)| *from), out);
    out.push_u8(b' ');
    write_compact(pairs.iter().map(|(_, to)| *to), out);
    out.push(b"] ");
}

impl ServerSession {
    pub(super) fn greet(&mut self, out: &mut SendBuf) {
        if !self.apply(Event::Greet) {
            return;
        }
        out.push(b"* OK [CAPABILITY ");
        self.write_capabilities(out);
        out.push(b"] ");
        out.push(self.config().hostname.as_bytes());
        out.push(b" Inbox ready\r\n");
    }

    pub(super) fn logged_in(&mut self, out: &mut SendBuf) {
        if !self.apply(Event::LogIn) {
            return;
        }
        self.framer.set_limits(frame::Limits::AFTER_LOGIN);
        self.write_tag(out);
        out.push(b"OK [CAPABILITY ");
        self.write_capabilities(out);
        out.push(b"] Logged in\r\n");
    }

    pub(super) fn take_message(&mut self, non_sync: bool, out: &mut SendBuf) {
        if !self.apply(Event::TakeMessage) {
            return;
        }
        self.framer.accept();
        if !non_sync {
            out.push(b"+ Ready for the message\r\n");
        }
    }

    fn selected<'k>(
        &mut self,
        folder: &Selected<'_>,
        keywords: impl Iterator<Item = &'k str>,
        rows: impl Iterator<Item = (u32, FlagBits)>,
        out: &mut SendBuf,
    ) {
        let read_only = folder.read_only || self.name() == Name::Examine;
        let (mut count, mut first_unseen) = (0, None);
        let uids = rows.map(|(uid, flags)| {
            count += 1;
            if first_unseen.is_none() && !flags.contains(FlagBits::SEEN) {
                first_unseen = Some(count);
            }
            uid
        });
        self.view.load(uids, folder.highest_modseq, read_only);
        self.view.learn_keywords(keywords);
        let enabled = self.enabled();
        select::write(folder, &mut self.view, first_unseen, enabled.rev2, enabled.utf8(), out);
        if !self.apply(Event::CompleteSelect) {
            return;
        }
        self.write_tag(out);
        out.push(if read_only { b"OK [READ-ONLY] " } else { b"OK [READ-WRITE] " });
        self.write_completed(out);
    }

    fn searched(&mut self, searching: &Searching<'_>, program: &Program, found: &Found, out: &mut SendBuf) {
        let answer = Answer::new(searching, found, program.wants_modseq(), self.enabled().rev2);
        if searching.search.returns.is_some_and(|r| r.save) {
            self.saved = found.saved(searching, &self.view);
        }
        self.answer_search(answer, found, out);
        self.complete_ok(|_, _| {}, out);
    }

    /// A row that STORE changed: its FETCH response, unless SILENT was asked for. Under CONDSTORE the new
    /// modification sequence is told even then (RFC 7162 §3.1.3).
    pub fn stored_row(
        &mut self,
        storing: &Storing<'_>,
        uid: u32,
        flags: FlagBits,
        modseq: u64,
        out: &mut SendBuf,
    ) {
        let Some(number) = self.view.number(uid) else { return };
        self.view.tell_keywords(out);
        // What another session changed is told even under SILENT (RFC 9051 §6.4.6).
        let silent = storing.is_silent() && !self.view.flags_wait(uid);
        self.view.tell_flags(uid, flags, modseq);
        let with_modseq = self.enabled().condstore;
        if silent && !with_modseq {
            return;
        }
        out.push(b"* ");
        out.push_decimal(u64::from(number));
        out.push(b" FETCH (");
        let mut space: &[u8] = b"";
        if storing.store.uid {
            out.push(b"UID ");
            out.push_decimal(u64::from(uid));
            space = b" ";
        }
        if !silent {
            out.push(space);
            out.push(b"FLAGS ");
            self.view.write_flags(flags, out);
            space = b" ";
        }
        if with_modseq {
            out.push(space);
            out.push(b"MODSEQ (");
            out.push_decimal(modseq);
            out.push_u8(b')');
        }
        out.push(b")\r\n");
    }
}
