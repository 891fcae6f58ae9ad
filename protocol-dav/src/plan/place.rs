//! What puts something somewhere or takes it away: PUT, DELETE, COPY, MOVE.

use protocol_core::Timestamp;
use protocol_core::time::MONTHS;

use super::methods::location;
use crate::headers::{self, Depth, Head};
use crate::lock::Change;
use crate::path::{Area, Path, PathKind};
use crate::precondition::Preconditions;
use crate::refusal::{Condition, Refusal, Response, Status};
use crate::request::bad;
use crate::resource::Kind;

/// What is put somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    /// A file, of any type.
    File,
    /// A calendar object.
    Calendar,
    /// A vCard.
    Card,
}

/// A PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Where.
    pub path: Path,
    /// What.
    pub object: ObjectType,
    /// The media type that a file is kept with.
    pub content_type: Box<str>,
    /// What must hold.
    pub preconditions: Preconditions,
}

impl Put {
    pub(super) fn of(head: &Head<'_>, path: Path, preconditions: Preconditions) -> Result<Put, Refusal> {
        // A part would be taken for the whole (RFC 9110 §14.4).
        if head.field("content-range")?.is_some() {
            return Err(bad("a part of a resource cannot be put"));
        }
        let content_type = head.field("content-type")?.unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let (object, known, condition) = match path.area() {
            Some(Area::Calendars) => (
                ObjectType::Calendar,
                ["", "text/calendar", "application/octet-stream"].contains(&essence.as_str()),
                Condition::SupportedCalendarData,
            ),
            Some(Area::Books) => (
                ObjectType::Card,
                ["", "text/vcard", "text/x-vcard", "text/directory", "application/octet-stream"]
                    .contains(&essence.as_str()),
                Condition::SupportedAddressData,
            ),
            _ => (ObjectType::File, true, Condition::SupportedCalendarData),
        };
        if !known {
            return Err(Refusal::condition(condition, "this type is not kept here"));
        }
        let kept = content_type.len() <= 255 && content_type.bytes().all(|b| (b' '..0x7F).contains(&b));
        let content_type =
            if essence.contains('/') && kept { content_type } else { "application/octet-stream" };
        Ok(Put { path, object, content_type: content_type.into(), preconditions })
    }

    /// Whether something can be put here, by what is here and what it would be in. To be called before
    /// the preconditions, in the same transaction.
    pub fn check(&self, existing: Option<Kind>, parent: Option<Kind>) -> Result<(), Refusal> {
        if existing.is_some_and(Kind::is_collection) {
            let refusal = Refusal::status(405, "a collection has no content");
            return Err(Refusal { allow: Some(super::allow(&self.path)), ..refusal });
        }
        let fits = match self.object {
            ObjectType::File => Kind::Folder,
            ObjectType::Calendar => Kind::Calendar,
            ObjectType::Card => Kind::Book,
        };
        if parent == Some(fits) { Ok(()) } else { Err(no_parent()) }
    }
}

fn no_parent() -> Refusal {
    Refusal::status(409, "there is no collection that this could be in")
}

/// A DELETE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// What.
    pub path: Path,
    /// What must hold.
    pub preconditions: Preconditions,
    /// Whether the organizer of a deleted invitation is told (`Schedule-Reply`, RFC 6638 §8.1).
    pub schedule_reply: bool,
}

impl Delete {
    pub(super) fn of(head: &Head<'_>, path: Path, preconditions: Preconditions) -> Result<Delete, Refusal> {
        let schedule_reply = match head.field("schedule-reply")? {
            None => true,
            Some(text) if text.eq_ignore_ascii_case("t") => true,
            Some(text) if text.eq_ignore_ascii_case("f") => false,
            Some(_) => return Err(bad("Schedule-Reply is T or F")),
        };
        Ok(Delete { path, preconditions, schedule_reply })
    }

    /// Whether there is something to be removed.
    pub fn check(&self, existing: Option<Kind>) -> Result<(), Refusal> {
        existing.map(|_| ()).ok_or_else(Refusal::not_found)
    }
}

/// A COPY or a MOVE. It is done whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocate {
    /// What.
    pub from: Path,
    /// Whereto; what is there is replaced, not merged with (RFC 4918 §9.8.4).
    pub to: Path,
    /// Whether what is there may be replaced.
    pub overwrite: bool,
    /// Whether what is in a collection goes along; always so for MOVE.
    pub with_members: bool,
    /// What must hold.
    pub preconditions: Preconditions,
}

impl Relocate {
    pub(super) fn of(head: &Head<'_>, from: Path, is_move: bool) -> Result<Relocate, Refusal> {
        let to = headers::destination(head)?;
        if to.owner() != from.owner() || to.owner().is_none() {
            return Err(Refusal::status(403, "nothing can be put at the Destination"));
        }
        let with_members = match Depth::of(head, Depth::Infinity)? {
            Depth::Infinity => true,
            Depth::Zero if !is_move => false,
            // Of a thing without members both depths say the same.
            Depth::Zero if from.kind() == PathKind::Object => false,
            _ => return Err(bad("this Depth is not possible")),
        };
        let nested = from.contains(&to) && (with_members || from == to);
        if nested || to.contains(&from) {
            return Err(Refusal::status(403, "one of source and Destination is in the other"));
        }
        if from.kind() != to.kind() || from.area() != to.area() {
            return Err(location(&to));
        }
        if to.kind() == PathKind::Object && to.parent().is_some_and(|p| p.kind() == PathKind::ScheduleInbox) {
            return Err(location(&to));
        }
        let mut changes = vec![(to.clone(), Change::Remove)];
        if is_move {
            changes.insert(0, (from.clone(), Change::Remove));
        }
        let preconditions = Preconditions::of(head, &from, changes)?;
        let overwrite = headers::overwrite(head)?;
        Ok(Relocate { from, to, overwrite, with_members, preconditions })
    }

    /// Whether it can be done, by what is at either end and what the destination would be in. True when
    /// nothing is replaced: the answer is then `201`, else `204`.
    pub fn check(
        &self,
        source: Option<Kind>,
        destination: Option<Kind>,
        destination_parent: Option<Kind>,
    ) -> Result<bool, Refusal> {
        let source = source.ok_or_else(Refusal::not_found)?;
        let fits = match source {
            Kind::File | Kind::Folder => destination_parent == Some(Kind::Folder),
            Kind::CalendarObject => destination_parent == Some(Kind::Calendar),
            Kind::Card => destination_parent == Some(Kind::Book),
            Kind::Calendar | Kind::Book => destination_parent == Some(Kind::Home),
            _ => return Err(location(&self.to)),
        };
        if !fits {
            return Err(no_parent());
        }
        if destination.is_some() && !self.overwrite {
            return Err(Refusal::status(412, "there is something at the Destination"));
        }
        Ok(destination.is_none())
    }
}

/// The refusal of an object whose UID another one has: in the same collection, or for an object of scheduling in any
/// calendar of its owner (RFC 4791 §5.3.2.1, RFC 6352 §6.3.2.1, RFC 6638 §3.2.4.1). `other` is where that one is.
pub fn uid_conflict(object: ObjectType, same_collection: bool, other: &Path) -> Refusal {
    let condition = match (object, same_collection) {
        (ObjectType::Card, _) => Condition::CardNoUidConflict,
        (_, true) => Condition::NoUidConflict,
        (_, false) => Condition::UniqueSchedulingObjectResource,
    };
    Refusal::condition(condition, "another object has the same UID").at(other.href(false))
}

/// The answer when something was made or replaced. An entity tag is given only when what is kept is, octet for
/// octet, what was sent (RFC 9110 §9.3.4).
pub fn made(created: bool, etag: Option<&str>, schedule_tag: Option<&str>) -> Response {
    let mut headers = Vec::new();
    if let Some(etag) = etag {
        headers.push(("etag", format!("\"{etag}\"")));
    }
    if let Some(tag) = schedule_tag {
        headers.push(("schedule-tag", format!("\"{tag}\"")));
    }
    Response { status: Status(if created { 201 } else { 204 }), headers, body: Vec::new() }
}

/// `IMF-fixdate` (RFC 9110 §5.6.7).
pub fn http_date(time: Timestamp) -> String {
    const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let at = time.civil();
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[usize::from(at.weekday)],
        at.day,
        MONTHS[usize::from(at.month) - 1],
        at.year,
        at.hour,
        at.minute,
        at.second
    )
}
