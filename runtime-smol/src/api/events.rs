//! The log of an organisation, told event by event, from wherever somebody has read to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;
use storage::{Email, EmailPrivate, LogRow, MessageId, OrgId};

use super::auth::{Caller, Scope, is_still};
use super::emails::{is_visible, may_see};
use super::error::{ApiError, Code};
use super::event::{About, Event, Kind, Position};
use crate::app::App;
use crate::task;
use crate::wire::monotonic_now;

/// Rows of the log that are read at a time.
const ROWS: usize = 100;
/// How long a stream waits before it looks whether more has happened on another node.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long it waits at least: where much happens, much is read at once.
const LOOK_LEAST: Duration = Duration::from_millis(200);
/// Streams of one process.
pub const STREAMS_MAX: usize = 1_000;
/// Events that wait for a slow reader.
const WAITING_MAX: usize = 16;
/// E-mails that a reader of the log remembers.
const REMEMBERED_MAX: usize = 256;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of one e-mail.
    pub email: Option<MessageId>,
    /// Of these kinds; none: of all.
    pub kinds: Vec<Kind>,
}

/// An e-mail's row, and what it keeps sealed.
type Opened = (Arc<Email>, Arc<EmailPrivate>);

/// Reads a log, and remembers the e-mails it names.
pub struct Reader {
    app: Arc<App>,
    org: OrgId,
    /// None for one whose row is gone.
    emails: HashMap<MessageId, Option<Opened>>,
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
        let from = position.complete();
        let rows = self.app.storage.store().log_after(self.org, from, ROWS).await?;
        let (mut events, mut end) = (Vec::new(), position);
        for row in rows {
            for (part, kind) in Kind::all_of(&row.record) {
                let at = Position::new(row.number, part);
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
        let about = match row.mailbox() {
            Some(mailbox) => Some(About::Message(mailbox, row.trace.clone())),
            None => self.email(row).await?.map(|(email, private)| About::Email(email, private)),
        };
        let (email, record) = (row.email, row.record.clone());
        Ok(about.map(|about| Event { position, kind, email, record, about }))
    }

    /// The e-mail of an entry; none when its row is gone.
    async fn email(&mut self, row: &LogRow) -> storage::Result<Option<Opened>> {
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
        Ok(self.emails.get(&row.email).cloned().flatten())
    }
}

impl Wanted {
    /// Whether an event is one of those, and the caller's to see.
    fn fits(&self, caller: &Caller, event: &Event) -> bool {
        self.email.is_none_or(|email| email == event.email)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && match &event.about {
                About::Email(row, _) => is_visible(caller, row),
                About::Message(mailbox, _) => may_see(caller, Some(*mailbox)),
            }
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
        let (mut looks, mut asked) = (0u32, monotonic_now());
        loop {
            // What is written from here on is not missed, whatever this look finds.
            let news = self.app.logged.listen();
            let look = monotonic_now();
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
            if look.since(asked) >= LOOK_AGAIN || looks.is_multiple_of(64) {
                asked = look;
                if !self.goes_on().await {
                    return;
                }
            }
            if more {
                continue;
            }
            let again = async {
                let elsewhere = async {
                    Timer::after(LOOK_AGAIN).await;
                };
                let here = async {
                    news.await;
                    Timer::after(LOOK_LEAST.saturating_sub(monotonic_now().since(look))).await;
                };
                future::or(elsewhere, here).await;
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
