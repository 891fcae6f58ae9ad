//! The log of an organisation, told event by event, from wherever somebody has read to.
//!
//! An attempt's record is told twice: that it was made, and what came of it. A position names the record and which of
//! the two; whoever goes on behind the last position they have seen misses nothing, and sees nothing twice that they
//! had written down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;
use storage::{ApiKeyId, DeliveryRecord, Email, EmailPrivate, JobEvent, LogRow, MessageId, OrgId};

use super::auth::{Caller, Scope};
use super::emails::{Status, is_visible};
use super::error::{ApiError, Code};
use crate::app::App;
use crate::task;

/// Rows of the log that are read at a time.
const ROWS: usize = 100;
/// How long a stream waits before it looks whether more has happened.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Streams of one process.
pub const STREAMS_MAX: usize = 1_000;
/// Events that wait for a slow reader.
const WAITING_MAX: usize = 16;
/// E-mails that a reader of the log remembers.
const REMEMBERED_MAX: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Accepted,
    Queued,
    Attempted,
    Delivered,
    Deferred,
    Bounced,
    Suppressed,
    Complained,
    Cancelled,
    Rescheduled,
    Held,
    Released,
}

impl Kind {
    /// What a record is about.
    pub fn of(record: &DeliveryRecord) -> Kind {
        match record.event {
            JobEvent::Accepted => Kind::Accepted,
            JobEvent::Queued => Kind::Queued,
            JobEvent::Rescheduled => Kind::Rescheduled,
            JobEvent::Held | JobEvent::Parked => Kind::Held,
            JobEvent::Released | JobEvent::Retried => Kind::Released,
            JobEvent::Attempted | JobEvent::Cancelled | JobEvent::Reported | JobEvent::Complained => {
                match Status::Queued.after(record) {
                    Status::Queued | Status::Deferred => Kind::Deferred,
                    Status::Delivered => Kind::Delivered,
                    Status::Bounced => Kind::Bounced,
                    Status::Suppressed => Kind::Suppressed,
                    Status::Complained => Kind::Complained,
                    Status::Cancelled => Kind::Cancelled,
                }
            }
        }
    }

    /// Everything that a record tells, in order.
    fn all_of(record: &DeliveryRecord) -> Vec<(u8, Kind)> {
        let was_attempt = record.event == JobEvent::Attempted && record.attempt > 0;
        let outcome = (OUTCOME, Kind::of(record));
        if was_attempt { vec![(ATTEMPT, Kind::Attempted), outcome] } else { vec![outcome] }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Kind> {
        use Kind::*;
        let all = [
            Accepted,
            Queued,
            Attempted,
            Delivered,
            Deferred,
            Bounced,
            Suppressed,
            Complained,
            Cancelled,
            Rescheduled,
            Held,
            Released,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Accepted => "ACCEPTED",
            Kind::Queued => "QUEUED",
            Kind::Attempted => "ATTEMPTED",
            Kind::Delivered => "DELIVERED",
            Kind::Deferred => "DEFERRED",
            Kind::Bounced => "BOUNCED",
            Kind::Suppressed => "SUPPRESSED",
            Kind::Complained => "COMPLAINED",
            Kind::Cancelled => "CANCELLED",
            Kind::Rescheduled => "RESCHEDULED",
            Kind::Held => "HELD",
            Kind::Released => "RELEASED",
        }
    }
}

/// The parts of a record.
const ATTEMPT: u8 = 0;
const OUTCOME: u8 = 1;

/// A place in the log: a record, and which of its events. As text it is an event's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    number: u64,
    part: u8,
}

impl Position {
    /// Behind everything that there is so far.
    pub fn end(number: u64) -> Position {
        Position { number, part: OUTCOME }
    }

    /// Before everything.
    pub fn start() -> Position {
        Position::end(0)
    }

    /// Reads an event's ID.
    pub fn parse(text: &str) -> Option<Position> {
        let (number, part) = text.strip_prefix("evt_")?.split_once('_')?;
        let part = part.parse().ok().filter(|part| *part <= OUTCOME)?;
        let number = number.parse().ok()?;
        let position = Position { number, part };
        (position.to_string() == text).then_some(position)
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "evt_{}_{}", self.number, self.part)
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where it stands in the log; its ID.
    pub position: Position,
    /// What happened.
    pub kind: Kind,
    /// To which e-mail.
    pub email: MessageId,
    /// For which recipient, when, and all the rest.
    pub record: DeliveryRecord,
    /// What the e-mail was sent with.
    pub private: Arc<EmailPrivate>,
    /// The e-mail's row.
    pub row: Arc<Email>,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of one e-mail.
    pub email: Option<MessageId>,
    /// Of these kinds; none: of all.
    pub kinds: Vec<Kind>,
}

/// Reads a log, and remembers the e-mails it names.
pub struct Reader {
    app: Arc<App>,
    org: OrgId,
    emails: HashMap<MessageId, Option<(Arc<Email>, Arc<EmailPrivate>)>>,
}

impl Reader {
    /// Of an organisation.
    pub fn new(app: Arc<App>, org: OrgId) -> Reader {
        Reader { app, org, emails: HashMap::new() }
    }

    /// The next events behind a position, wherever they lead; none when that is the end. The second part of the answer
    /// is the position that was read to.
    pub async fn after(&mut self, position: Position) -> storage::Result<(Vec<Event>, Position)> {
        // The rest of a record comes first.
        let from = if position.part == OUTCOME { position.number } else { position.number.saturating_sub(1) };
        let rows = self.app.storage.store().log_after(self.org, from, ROWS).await?;
        let (mut events, mut end) = (Vec::new(), position);
        for row in rows {
            for (part, kind) in Kind::all_of(&row.record) {
                let at = Position { number: row.number, part };
                if at <= position {
                    continue;
                }
                end = end.max(at);
                events.extend(self.event(&row, at, kind).await?);
            }
            end = end.max(Position::end(row.number));
        }
        Ok((events, end))
    }

    /// None for an e-mail whose row is gone.
    async fn event(
        &mut self,
        row: &LogRow,
        position: Position,
        kind: Kind,
    ) -> storage::Result<Option<Event>> {
        if !self.emails.contains_key(&row.email) {
            if self.emails.len() >= REMEMBERED_MAX {
                self.emails.clear();
            }
            let found = match self.app.storage.store().email(self.org, row.email).await {
                Ok(email) => {
                    let private = self.app.storage.open_email(&email).await?;
                    Some((Arc::new(email), Arc::new(private)))
                }
                Err(storage::Error::NotFound) => None,
                Err(error) => return Err(error),
            };
            self.emails.insert(row.email, found);
        }
        let known = self.emails.get(&row.email).cloned().flatten();
        Ok(known.map(|(email, private)| Event {
            position,
            kind,
            email: row.email,
            record: row.record.clone(),
            private,
            row: email,
        }))
    }
}

impl Wanted {
    /// Whether an event is one of those, and the caller's to see.
    fn fits(&self, caller: &Caller, event: &Event) -> bool {
        self.email.is_none_or(|email| email == event.email)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && is_visible(caller, &event.row)
    }
}

/// Events behind a position, at most `first`, of those that one look at the log finds.
pub async fn list(
    app: &Arc<App>,
    caller: &Caller,
    wanted: &Wanted,
    after: Position,
    first: usize,
) -> Result<Vec<Event>, ApiError> {
    caller.needs(Scope::Read)?;
    let mut reader = Reader::new(app.clone(), caller.org);
    let mut at = after;
    let mut found = Vec::new();
    loop {
        let (events, end) = reader.after(at).await?;
        found.extend(events.into_iter().filter(|event| wanted.fits(caller, event)));
        found.truncate(first);
        if end == at || found.len() == first {
            return Ok(found);
        }
        at = end;
    }
}

/// Streams that are open.
static STREAMS: AtomicUsize = AtomicUsize::new(0);

struct Place;

impl Place {
    fn take() -> Result<Place, ApiError> {
        if STREAMS.fetch_add(1, Ordering::AcqRel) >= STREAMS_MAX {
            STREAMS.fetch_sub(1, Ordering::AcqRel);
            return Err(ApiError::new(Code::Unavailable, "too many streams are open; try again later"));
        }
        Ok(Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Events behind a position as they happen, until the receiver is dropped, the server stops, or the caller is no
/// longer who they were. Without a position: from now on.
pub async fn stream(
    app: &Arc<App>,
    caller: &Caller,
    wanted: Wanted,
    after: Option<Position>,
) -> Result<Receiver<Result<Event, ApiError>>, ApiError> {
    caller.needs(Scope::Read)?;
    let place = Place::take()?;
    let after = match after {
        Some(after) => after,
        None => Position::end(app.storage.store().log_end(caller.org).await?),
    };
    let (sender, receiver) = async_channel::bounded(WAITING_MAX);
    let tell = Tell { app: app.clone(), caller: caller.clone(), wanted, sender, _place: place };
    task::spawn(tell.run(after)).detach();
    Ok(receiver)
}

struct Tell {
    app: Arc<App>,
    caller: Caller,
    wanted: Wanted,
    sender: Sender<Result<Event, ApiError>>,
    _place: Place,
}

impl Tell {
    async fn run(self, mut at: Position) {
        let mut reader = Reader::new(self.app.clone(), self.caller.org);
        let mut looks = 0u32;
        loop {
            let (events, end) = match reader.after(at).await {
                Ok(read) => read,
                Err(error) => return drop(self.sender.send(Err(error.into())).await),
            };
            for event in events.into_iter().filter(|event| self.wanted.fits(&self.caller, event)) {
                if self.sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            let more = end != at;
            at = end;
            looks = looks.wrapping_add(1);
            if (!more || looks.is_multiple_of(64)) && !self.goes_on().await {
                return;
            }
            if more {
                continue;
            }
            let again = async {
                Timer::after(LOOK_AGAIN).await;
                true
            };
            let ended = async {
                future::or(self.app.stop.wait(), self.sender.closed()).await;
                false
            };
            if !future::or(again, ended).await {
                return;
            }
        }
    }

    /// Whether somebody listens who may: their key was not revoked, their mailbox not disabled.
    async fn goes_on(&self) -> bool {
        if self.sender.is_closed() || self.app.stop.is_set() {
            return false;
        }
        match is_still(&self.app, &self.caller).await {
            Ok(true) => true,
            Ok(false) => {
                let error = ApiError::new(Code::Unauthenticated, "the key or password is not valid any more");
                let _ = self.sender.send(Err(error)).await;
                false
            }
            // The next look at the log says more.
            Err(_) => true,
        }
    }
}

/// Whether a caller is who they were (AU7).
async fn is_still(app: &App, caller: &Caller) -> storage::Result<bool> {
    if let Some(key) = &caller.key {
        let id: ApiKeyId = key.id;
        match app.storage.store().api_key(id).await {
            Ok(key) if key.expires.is_none_or(|end| app.storage.store_now() < end) => {}
            Ok(_) | Err(storage::Error::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    match &caller.mailbox {
        None => Ok(true),
        Some(mailbox) => match app.storage.store().mailbox(mailbox.id).await {
            Ok(mailbox) => Ok(!mailbox.disabled),
            Err(storage::Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// An event for tests of those that tell of events.
#[cfg(test)]
pub fn tests_event() -> Event {
    use protocol_core::Timestamp;
    use storage::{EmailOpen, Id};
    let record = DeliveryRecord {
        recipient: "a@b.example".into(),
        state: storage::RecipientState::Delivered,
        host: None,
        reply: "250 ok".into(),
        tls: String::new(),
        attempt: 1,
        in_doubt: false,
        at_ms: 0,
        event: JobEvent::Attempted,
    };
    let (org, email) = (OrgId(Id([1; 16])), MessageId(Id([2; 16])));
    let open = EmailOpen {
        key: None,
        mailbox: None,
        sender: "s@c.example".into(),
        recipients: Vec::new(),
        created: Timestamp(0),
        send_at: None,
        jobs: 1,
        size: 1,
        message_id: "<m@c.example>".into(),
        test: false,
        expires: Timestamp(0),
    };
    Event {
        position: Position::end(7),
        kind: Kind::Delivered,
        email,
        record,
        private: Arc::default(),
        row: Arc::new(Email { id: email, org, open, sealed: Vec::new() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::RecipientState;

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in [Kind::Accepted, Kind::Attempted, Kind::Released] {
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("accepted"), None);
    }

    #[test]
    fn positions_are_read_and_written() {
        for position in [Position::start(), Position { number: 7, part: 0 }, Position::end(u64::MAX)] {
            assert_eq!(Position::parse(&position.to_string()), Some(position));
        }
        for bad in [
            "", "evt_", "evt_1", "evt_1_2", "evt_-1_0", "evt_01_0", "evt_1_00", "evt_+1_1", "1_1", "evt_1_1 ",
        ] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
        assert!(
            Position { number: 1, part: 0 } < Position::end(1)
                && Position::end(1) < Position { number: 2, part: 0 }
        );
    }

    #[test]
    fn an_attempt_is_told_before_what_came_of_it() {
        let record = |event, state, attempt| DeliveryRecord {
            recipient: "a@b".into(),
            state,
            host: None,
            reply: String::new(),
            tls: String::new(),
            attempt,
            in_doubt: false,
            at_ms: 0,
            event,
        };
        let kinds = |record| Kind::all_of(&record).into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
        use JobEvent::*;
        use RecipientState::*;
        assert_eq!(kinds(record(Attempted, Delivered, 1)), [Kind::Attempted, Kind::Delivered]);
        assert_eq!(kinds(record(Attempted, Pending, 3)), [Kind::Attempted, Kind::Deferred]);
        assert_eq!(kinds(record(Attempted, Suppressed, 0)), [Kind::Suppressed]);
        assert_eq!(kinds(record(Accepted, Pending, 0)), [Kind::Accepted]);
        assert_eq!(kinds(record(Complained, Delivered, 1)), [Kind::Complained]);
        assert_eq!(kinds(record(JobEvent::Cancelled, RecipientState::Cancelled, 0)), [Kind::Cancelled]);
    }
}
