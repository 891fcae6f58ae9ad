//! Commands: which are answered here, and what the others ask of the driver.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt::Write as _;

use protocol_core::sasl::{Mechanism, Secret, wire};
use protocol_core::{RecvBuf, SendBuf};

use super::{Next, Refused, ServerSession};
use crate::codec::frame;
use crate::codec::{
    Append, AppendMessage, Atom, BadCommand, Command, CommandBody, Fetch, FetchItem, Initial, List, Search,
    SearchKey, SearchOp, SelectParams, States, StatusItem, Store, Tag,
};
use crate::server::CloseReason;
use crate::server::capability;
use crate::server::fetch::Fetching;
use crate::server::limits::COMMANDS_BEFORE_LOGIN_MAX;
use crate::server::list::{Kind, Listing, StatusQuery};
use crate::server::reason::{Bad, Bye, No};
use crate::server::request::{Purpose, Request, Storing, check_flags, mailbox};
use crate::server::search::Searching;
use crate::server::select::number_code;
use crate::server::state::{Event, Level};
use crate::server::targets;
use crate::set::SequenceSet;

/// What became of a command.
enum Outcome {
    /// It is answered.
    Answered,
    /// It goes to the driver.
    Ask,
    Sasl(Mechanism, Option<Secret>),
    StartTls,
}

impl ServerSession {
    /// A whole command stands at the front of the buffer.
    pub(super) fn command(&mut self, len: usize, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let octets = input.bytes().get(..len).unwrap_or_default();
        let outcome = self.dispatch(octets, out);
        match outcome {
            Outcome::Ask => return Next::Command(len),
            // Before log-in any line may hold a password, LOGIN misspelt for instance.
            _ if !self.state.is_known() => {
                input.take_secret(len);
            }
            _ => input.consume(len),
        }
        match outcome {
            Outcome::Answered | Outcome::Ask => Next::Again,
            Outcome::Sasl(mechanism, response) => {
                self.mechanism = mechanism;
                self.apply(Event::AskSasl);
                Next::Authenticate(mechanism, true, response)
            }
            Outcome::StartTls => {
                // RFC 9051 §6.2.1: what a third party may have put behind the command is never looked at.
                input.discard_all();
                self.apply(Event::AskUpgrade);
                Next::Upgrade
            }
        }
    }

    fn dispatch(&mut self, octets: &[u8], out: &mut SendBuf) -> Outcome {
        let command = match Command::parse(octets, self.enabled.utf8()) {
            Ok(command) => command,
            Err(bad) => {
                self.bad_command(&bad, out);
                return Outcome::Answered;
            }
        };
        if let Err(why) = self.admit(&command, out) {
            self.write_refused(why, out);
            return Outcome::Answered;
        }
        match self.carry_out(&command.body, out) {
            Ok(outcome) => outcome,
            Err(why) => {
                self.write_refused(why, out);
                Outcome::Answered
            }
        }
    }

    fn bad_command(&mut self, bad: &BadCommand<'_>, out: &mut SendBuf) {
        self.tag = bad.tag.and_then(Tag::new);
        self.write_tag(out);
        // Writing to a send buffer can not fail.
        let _ = write!(out, "BAD {}\r\n", bad.fault);
        self.count_bad(out);
    }

    /// The tag is kept; the command is legal in this state.
    fn admit(&mut self, command: &Command<'_>, out: &mut SendBuf) -> Result<(), Refused> {
        self.tag = Tag::new(command.tag);
        self.name = command.body.name();
        if self.tag.is_none() {
            return Err(Bad::Tag.into());
        }
        let here = match self.state.level() {
            Level::Stranger => States::NOT_AUTHENTICATED,
            Level::User => States::AUTHENTICATED,
            Level::Selected => States::SELECTED,
        };
        if here == States::NOT_AUTHENTICATED {
            self.strangers_commands += 1;
            if self.strangers_commands > COMMANDS_BEFORE_LOGIN_MAX {
                self.end_with(Bye::Abuse, CloseReason::Abuse, out);
                return Err(Bad::State.into());
            }
        }
        if self.name.properties().states.contains(here) { Ok(()) } else { Err(Bad::State.into()) }
    }

    fn carry_out(&mut self, body: &CommandBody<'_>, out: &mut SendBuf) -> Result<Outcome, Refused> {
        match body {
            CommandBody::Capability => {
                out.push(b"* CAPABILITY ");
                self.write_capabilities(out);
                out.push(b"\r\n");
            }
            CommandBody::Noop if !self.state.is_known() => {}
            CommandBody::Id(_) => out.push(b"* ID (\"name\" \"Inbox\")\r\n"),
            CommandBody::Namespace => out.push(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"),
            CommandBody::Enable(names) => self.enable(*names, out),
            CommandBody::Logout => {
                out.push(b"* BYE ");
                Bye::Logout.write(out);
                self.write_ok(|_, _| {}, out);
                self.end(CloseReason::Logout);
                return Ok(Outcome::Answered);
            }
            CommandBody::Idle => {
                out.push(b"+ Idling\r\n");
                self.kept_alive = self.now;
                self.apply(Event::BeginIdle);
                self.tell_if_idle(out);
                return Ok(Outcome::Answered);
            }
            CommandBody::StartTls => return self.start_tls(out),
            CommandBody::Authenticate { mechanism, initial } => {
                return self.authenticate(*mechanism, *initial);
            }
            CommandBody::Login { user, password } => {
                self.require_tls()?;
                let mut plain = Vec::with_capacity(user.len() + password.0.len() + 2);
                plain.push(0);
                plain.extend(user.octets());
                plain.push(0);
                plain.extend(password.0.octets());
                return Ok(Outcome::Sasl(Mechanism::Plain, Some(Secret::new(plain))));
            }
            CommandBody::Compress(_) => return Err(Bad::Extension.into()),
            _ => return self.ask(body, out),
        }
        self.write_ok(|_, _| {}, out);
        Ok(Outcome::Answered)
    }

    fn require_tls(&self) -> Result<(), Refused> {
        if self.tls.is_some() { Ok(()) } else { Err(No::PrivacyRequired.into()) }
    }

    fn start_tls(&mut self, out: &mut SendBuf) -> Result<Outcome, Refused> {
        if self.tls.is_some() {
            return Err(Bad::TlsActive.into());
        }
        if !self.config.starttls {
            return Err(No::NoStartTls.into());
        }
        self.write_tag(out);
        out.push(b"OK Begin TLS\r\n");
        Ok(Outcome::StartTls)
    }

    fn authenticate(&self, mechanism: Atom<'_>, initial: Option<Initial<'_>>) -> Result<Outcome, Refused> {
        self.require_tls()?;
        let tls = self.tls.unwrap_or_default();
        let mechanism = capability::offered(mechanism.0, &self.config, tls).ok_or(No::Mechanism)?;
        let response = match initial {
            None => None,
            Some(Initial::Empty) => Some(Secret::default()),
            Some(Initial::Base64(octets)) => Some(wire::decode(octets).map_err(|_| Bad::Base64)?),
        };
        Ok(Outcome::Sasl(mechanism, response))
    }

    fn enable(&mut self, names: List<'_, Atom<'_>>, out: &mut SendBuf) {
        let before = self.enabled;
        out.push(b"* ENABLED");
        for name in names.iter() {
            if let Some(name) = self.enabled.enable(name.0) {
                out.push_u8(b' ');
                out.push(name.as_bytes());
            }
        }
        out.push(b"\r\n");
        if self.enabled.condstore && !before.condstore {
            self.tell_highest_modseq(out);
        }
    }

    /// RFC 7162 §3.1.2.1: a client that becomes CONDSTORE-aware with a folder selected is told where it stands.
    fn tell_highest_modseq(&self, out: &mut SendBuf) {
        if self.state.level() == Level::Selected {
            number_code("HIGHESTMODSEQ", self.view.highest_modseq(), "Highest", out);
        }
    }

    // ---- what the driver is asked ---------------------------------------------------------------------

    fn ask(&mut self, body: &CommandBody<'_>, out: &mut SendBuf) -> Result<Outcome, Refused> {
        self.saving = matches!(body, CommandBody::Search(s) if s.returns.is_some_and(|r| r.save));
        if let Err(why) = self.request_of(body) {
            if self.saving && matches!(why, Refused::No(_)) {
                // RFC 5182 §2.1: a SEARCH that was to save and is answered NO leaves nothing saved.
                self.saved.clear();
            }
            return Err(why);
        }
        self.aim(body)?;
        if implies_condstore(body) && !core::mem::replace(&mut self.enabled.condstore, true) {
            self.tell_highest_modseq(out);
        }
        let selects = matches!(body, CommandBody::Select { .. } | CommandBody::Examine { .. });
        if selects {
            if self.state.level() == Level::Selected {
                // RFC 9051 §7.1: what follows is no longer about the old folder.
                out.push(b"* OK [CLOSED] The previous mailbox is closed\r\n");
            }
            self.view.clear();
            self.saved.clear();
        }
        self.apply(if selects { Event::AskSelect } else { Event::Ask });
        Ok(Outcome::Ask)
    }

    /// Reads again, for the driver, what was found good before.
    pub(super) fn request<'b>(&self, octets: &'b [u8]) -> Result<Request<'b>, Refused> {
        let command = Command::parse(octets, self.enabled.utf8()).map_err(|_| Bad::State)?;
        self.request_of(&command.body)
    }

    fn request_of<'b>(&self, body: &CommandBody<'b>) -> Result<Request<'b>, Refused> {
        let utf8 = self.enabled.utf8();
        let find = |name| mailbox(name, utf8, Purpose::Find);
        let create = |name| mailbox(name, utf8, Purpose::Create);
        Ok(match *body {
            CommandBody::Select { mailbox, params } => select(find(mailbox)?, params, false)?,
            CommandBody::Examine { mailbox, params } => select(find(mailbox)?, params, true)?,
            CommandBody::Create { mailbox, uses } => {
                let mut uses = uses.iter();
                let special_use = match (uses.next(), uses.next()) {
                    (None, _) => None,
                    (Some(one), None) => Some(one.special_use().ok_or(No::UseAttr)?),
                    // A folder has one use here.
                    _ => return Err(No::UseAttr.into()),
                };
                Request::Create { name: create(mailbox)?, special_use }
            }
            CommandBody::Delete(mailbox) if mailbox.is_inbox() => return Err(No::Inbox.into()),
            CommandBody::Delete(mailbox) => Request::Delete { name: find(mailbox)? },
            CommandBody::Rename { from, to } => Request::Rename { from: find(from)?, to: create(to)? },
            CommandBody::Subscribe(mailbox) => Request::Subscribe { name: find(mailbox)?, on: true },
            CommandBody::Unsubscribe(mailbox) => Request::Subscribe { name: find(mailbox)?, on: false },
            CommandBody::List(list) => Request::List(Listing(Kind::List(list))),
            CommandBody::Lsub { reference, pattern } => {
                Request::List(Listing(Kind::Lsub { reference, pattern }))
            }
            CommandBody::Status { mailbox, items } => {
                Request::Status { name: find(mailbox)?, query: StatusQuery { items } }
            }
            CommandBody::Close => Request::Close { expunge: !self.view.is_read_only() },
            CommandBody::Unselect => Request::Unselect,
            CommandBody::Expunge | CommandBody::UidExpunge(_) => {
                self.require_writable()?;
                Request::Expunge
            }
            CommandBody::Search(search) => {
                let searching = Searching { search };
                searching.check(self.enabled.utf8_accept)?;
                Request::Search(searching)
            }
            CommandBody::Fetch(fetch) => {
                if fetch.vanished {
                    return Err(Bad::Extension.into());
                }
                Request::Fetch(Fetching { fetch, read_only: self.view.is_read_only() })
            }
            CommandBody::Store(store) => {
                self.require_writable()?;
                check_flags(store.flags)?;
                Request::Store(Storing { store })
            }
            CommandBody::Copy { mailbox, .. } => Request::Copy { to: destination(find(mailbox))? },
            CommandBody::Move { mailbox, .. } => {
                self.require_writable()?;
                Request::Move { to: destination(find(mailbox))? }
            }
            // NOOP and CHECK; the others are answered without the driver.
            _ => Request::Noop,
        })
    }

    fn require_writable(&self) -> Result<(), Refused> {
        if self.view.is_read_only() { Err(No::ReadOnly.into()) } else { Ok(()) }
    }

    /// Resolves what the command is about.
    fn aim(&mut self, body: &CommandBody<'_>) -> Result<(), Refused> {
        let all = (!self.view.is_empty()).then_some((1, self.view.len()));
        let (uid, set) = match body {
            CommandBody::Fetch(Fetch { uid, set, .. })
            | CommandBody::Store(Store { uid, set, .. })
            | CommandBody::Copy { uid, set, .. }
            | CommandBody::Move { uid, set, .. } => (*uid, set),
            CommandBody::UidExpunge(set) => (true, set),
            CommandBody::Search(search) => {
                self.target_ranges.clear();
                self.target_ranges.extend(all);
                self.narrow(search);
                return Ok(());
            }
            CommandBody::Expunge => {
                self.target_ranges.clear();
                self.target_ranges.extend(all);
                return Ok(());
            }
            _ => {
                self.target_ranges.clear();
                return Ok(());
            }
        };
        self.aim_at(set, uid)
    }

    fn aim_at(&mut self, set: &SequenceSet<'_>, uid: bool) -> Result<(), Refused> {
        if set.is_saved() {
            targets::from_saved(&self.saved, &self.view, &mut self.target_ranges);
        } else if uid {
            targets::from_uids(set, &self.view, &mut self.target_ranges);
        } else {
            targets::from_numbers(set, &self.view, &mut self.target_ranges)?;
        }
        Ok(())
    }

    /// A search program is a conjunction: a set that stands in it by itself bounds what need be looked at.
    fn narrow(&mut self, search: &Search<'_>) {
        for op in search.program.iter() {
            let (set, uid) = match op {
                SearchOp::Key(SearchKey::Uid(set)) => (set, true),
                SearchOp::Key(SearchKey::Sequence(set)) => (set, false),
                SearchOp::Key(_) => continue,
                // Behind an operator stand its operands.
                _ => return,
            };
            if set.is_saved() || uid {
                let _ = self.aim_at(&set, true);
            } else {
                self.target_ranges.clear();
                let count = self.view.len();
                let within = set.resolve(count).map(|(low, high)| (low, high.min(count)));
                self.target_ranges.extend(within.filter(|(low, high)| low <= high));
                targets::merge(&mut self.target_ranges);
            }
            return;
        }
    }

    // ---- APPEND ---------------------------------------------------------------------------------------

    /// APPEND up to the announcement of its message stands at the front of the buffer.
    pub(super) fn message_announced(&mut self, len: usize, input: &mut RecvBuf, out: &mut SendBuf) -> Next {
        let octets = input.bytes().get(..len).unwrap_or_default();
        let refused = match Command::parse(octets, self.enabled.utf8()) {
            Ok(command) => match self.admit(&command, out).and_then(|()| self.append_of(&command.body)) {
                Ok((_, message)) => {
                    self.append_utf8 = message.utf8;
                    self.append_binary = message.binary;
                    self.line_ends = Default::default();
                    self.chunk_left = 0;
                    self.apply(Event::AskAppend);
                    return Next::Append(len);
                }
                Err(why) => why,
            },
            Err(bad) => {
                self.tag = bad.tag.and_then(Tag::new);
                Bad::Name.into()
            }
        };
        input.consume(len);
        match self.framer.refuse() {
            frame::Refused::Answer => self.write_refused(refused, out),
            frame::Refused::Drain => {
                self.drained = Some(refused);
                self.draining = true;
                self.apply(Event::Drop);
            }
            frame::Refused::Close => {
                self.write_refused(refused, out);
                self.end_with(Bye::TooLong, CloseReason::Abuse, out);
            }
        }
        Next::Again
    }

    pub(super) fn append_request<'b>(
        &self,
        octets: &'b [u8],
    ) -> Result<(Cow<'b, str>, AppendMessage<'b>), Refused> {
        let command = Command::parse(octets, self.enabled.utf8()).map_err(|_| Bad::State)?;
        self.append_of(&command.body)
    }

    fn append_of<'b>(&self, body: &CommandBody<'b>) -> Result<(Cow<'b, str>, AppendMessage<'b>), Refused> {
        let CommandBody::Append(Append { mailbox: name, message }) = *body else {
            return Err(Bad::State.into());
        };
        let name = destination(mailbox(name, self.enabled.utf8(), Purpose::Find))?;
        check_flags(message.flags)?;
        if message.utf8 && !self.enabled.utf8() {
            return Err(Bad::Utf8.into());
        }
        if message.size > self.config.append_max {
            return Err(No::TooBig.into());
        }
        Ok((name, message))
    }
}

/// The destination of COPY, MOVE or APPEND. A name that no folder can have can not be created either, so
/// there is nothing to try.
fn destination<'b>(name: Result<Cow<'b, str>, Refused>) -> Result<Cow<'b, str>, Refused> {
    name.map_err(|why| if why == No::NonExistent.into() { No::Cannot.into() } else { why })
}

fn select<'b>(name: Cow<'b, str>, params: SelectParams<'b>, read_only: bool) -> Result<Request<'b>, Refused> {
    if params.qresync.is_some() {
        return Err(Bad::Extension.into());
    }
    Ok(Request::Select { name, read_only })
}

/// Whether the command makes the client CONDSTORE-aware (RFC 7162 §3.1).
fn implies_condstore(body: &CommandBody<'_>) -> bool {
    match body {
        CommandBody::Select { params, .. } | CommandBody::Examine { params, .. } => params.condstore,
        CommandBody::Status { items, .. } => items.contains(&StatusItem::HighestModSeq),
        CommandBody::Fetch(fetch) => {
            fetch.changed_since.is_some() || fetch.items.contains(&FetchItem::ModSeq)
        }
        CommandBody::Store(store) => store.unchanged_since.is_some(),
        CommandBody::Search(search) => {
            search.program.iter().any(|op| matches!(op, SearchOp::Key(SearchKey::ModSeq(_))))
        }
        _ => false,
    }
}
