//! Events: what a record of the log tells, and where it stands.
//!
//! An attempt's record is told twice: that it was made, and what came of it. A position names the record and which of
//! the two; whoever goes on behind the last position they have seen misses nothing, and sees nothing twice that they
//! had written down.

use std::sync::Arc;

use storage::{DeliveryRecord, Email, EmailPrivate, JobEvent, MailboxId, MessageId};

use super::emails::Status;

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
    Received,
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
            JobEvent::Received => Kind::Received,
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
    pub fn all_of(record: &DeliveryRecord) -> Vec<(u8, Kind)> {
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
            Received,
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
            Kind::Received => "RECEIVED",
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
    /// A part of a record.
    pub fn new(number: u64, part: u8) -> Position {
        Position { number, part }
    }

    /// The number of the record behind which everything is yet to come, a part of it perhaps among it.
    pub fn complete(self) -> u64 {
        if self.part == OUTCOME { self.number } else { self.number.saturating_sub(1) }
    }

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
    /// To which e-mail; of what arrived, which stored message.
    pub email: MessageId,
    /// For which recipient, when, and all the rest.
    pub record: DeliveryRecord,
    /// What it is about.
    pub about: About,
}

/// What an event is about.
#[derive(Clone, Debug)]
pub enum About {
    /// An e-mail of the API: its row, and what it was sent with.
    Email(Arc<Email>, Arc<EmailPrivate>),
    /// A message that arrived in a mailbox, and the trace of its reception.
    Message(MailboxId, Option<String>),
}

impl Event {
    /// What the e-mail was sent with; none of one that arrived.
    pub fn private(&self) -> Option<&EmailPrivate> {
        match &self.about {
            About::Email(_, private) => Some(private),
            About::Message(..) => None,
        }
    }

    /// The trace of the e-mail, or of the reception.
    pub fn trace(&self) -> Option<&str> {
        match &self.about {
            About::Email(row, _) => row.open.trace.as_deref(),
            About::Message(_, trace) => trace.as_deref(),
        }
    }
}

/// An event for tests of those that tell of events.
#[cfg(test)]
pub fn tests_event() -> Event {
    use protocol_core::Timestamp;
    use storage::{EmailOpen, Id, OrgId};
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
        trace: None,
    };
    Event {
        position: Position::end(7),
        kind: Kind::Delivered,
        email,
        record,
        about: About::Email(Arc::new(Email { id: email, org, open, sealed: Vec::new() }), Arc::default()),
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
