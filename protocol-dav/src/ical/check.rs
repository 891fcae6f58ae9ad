//! What may be stored as a calendar object (RFC 4791 §4.1, §5.3.2.1), and what an index must know of it.

use super::series::Series;
use super::zone::{Embedded, Zone, Zones};
use crate::limits;
use crate::object::{Component, ObjectFault, Property, decode};
use crate::recur::{Rule, RuleFault};
use crate::refusal::{Condition, Refusal};
use crate::resource::Components;
use crate::time::{Seconds, read_date, read_date_time, read_duration};

/// What an index must know of a calendar object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The UID that all its components have.
    pub uid: Box<str>,
    /// The one type they have.
    pub component: Components,
    /// Before this there is nothing of it, in seconds of UTC; none when it has no time, and so is in every range.
    /// Floating times are read in a zone that makes it earlier than any does.
    pub first: Option<Seconds>,
    /// After this there is nothing of it; none when it goes on for ever or has no time.
    pub last: Option<Seconds>,
    /// Whether it has more than one instance.
    pub recurring: bool,
}

/// A calendar object that may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The text to keep; what was sent, octet for octet, unless [`Stored::altered`].
    pub text: String,
    /// Whether the text is not what was sent, so that no entity tag is answered (RFC 9110 §9.3.4).
    pub altered: bool,
    /// What an index must know.
    pub index: Index,
}

/// Checks an object that was sent, for a calendar that takes these components.
pub fn check(octets: &[u8], takes: Components) -> Result<Stored, Refusal> {
    let refuse = |condition, reason| Err(Refusal::condition(condition, reason));
    if octets.len() > limits::CALENDAR_OBJECT_MAX {
        return refuse(Condition::MaxResourceSize, "the calendar object is too large");
    }
    let Some(text) = decode(octets) else {
        return refuse(Condition::ValidCalendarData, "the calendar object is not UTF-8");
    };
    let object = super::parse(&text).map_err(|fault| match fault {
        ObjectFault::TooLarge => {
            Refusal::condition(Condition::ValidCalendarData, "the calendar object has too many parts")
        }
        ObjectFault::Malformed => {
            Refusal::condition(Condition::ValidCalendarData, "this is no iCalendar object")
        }
    })?;
    let index = check_object(&object, takes)?;
    // An alarm that runs a program on whoever reads it is not passed on (RFC 5545 dropped the action, §8).
    if has_procedure(&object) {
        let mut object = object.clone();
        drop_procedures(&mut object);
        return Ok(Stored { text: object.to_string(), altered: true, index });
    }
    let altered = text.len() != octets.len();
    Ok(Stored { index, altered, text: text.into_owned() })
}

fn check_object(object: &Component<'_>, takes: Components) -> Result<Index, Refusal> {
    let invalid = |reason| Refusal::condition(Condition::ValidCalendarData, reason);
    let unfit = |reason| Refusal::condition(Condition::ValidCalendarObjectResource, reason);
    if object.value("VERSION") != Some("2.0") || object.property("PRODID").is_none() {
        return Err(invalid("an iCalendar object has VERSION 2.0 and a PRODID"));
    }
    if object.property("METHOD").is_some() {
        return Err(unfit("a stored object has no METHOD"));
    }
    let mut kind: Option<Components> = None;
    let mut uid: Option<&str> = None;
    let mut masters = 0;
    let mut ids: Vec<&str> = Vec::new();
    for component in &object.components {
        if component.is("VTIMEZONE") {
            Embedded::of(component).ok_or_else(|| invalid("a VTIMEZONE is not valid"))?;
            continue;
        }
        let own = Components::of(&component.name).ok_or_else(|| {
            Refusal::condition(Condition::SupportedCalendarComponent, "this component is not kept")
        })?;
        if kind.is_some_and(|kind| kind != own) {
            return Err(unfit("a calendar object has components of one type"));
        }
        kind = Some(own);
        let own = component.value("UID").filter(|own| !own.is_empty() && own.len() <= limits::UID_MAX);
        let own = own.ok_or_else(|| invalid("a component has a UID"))?;
        if uid.is_some_and(|uid| uid != own) {
            return Err(unfit("a calendar object has one UID"));
        }
        uid = Some(own);
        match component.value("RECURRENCE-ID") {
            Some(id) => ids.push(id),
            None => masters += 1,
        }
        check_component(component)?;
    }
    let (Some(kind), Some(uid)) = (kind, uid) else {
        return Err(unfit("a calendar object holds a component besides time zones"));
    };
    ids.sort_unstable();
    if masters > 1 || ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(unfit("an instance is described twice"));
    }
    if !takes.contains(kind) {
        return Err(Refusal::condition(
            Condition::SupportedCalendarComponent,
            "this calendar does not take this component",
        ));
    }
    Ok(index_of(object, kind, uid))
}

/// Times are the one thing that everything else depends on: they must be there and readable.
fn check_component(component: &Component<'_>) -> Result<(), Refusal> {
    let invalid = |reason| Err(Refusal::condition(Condition::ValidCalendarData, reason));
    for name in
        ["DTSTART", "DTEND", "DUE", "DURATION", "DTSTAMP", "RECURRENCE-ID", "UID", "ORGANIZER", "STATUS"]
    {
        if component.all(name).count() > 1 {
            return invalid("a property that stands once is repeated");
        }
    }
    for name in ["DTSTART", "DTEND", "DUE", "RECURRENCE-ID"] {
        if component.property(name).is_some_and(|property| !is_time(property)) {
            return invalid("a time is not valid");
        }
    }
    let duration = component.value("DURATION");
    if duration.is_some_and(|text| read_duration(text).is_none()) {
        return invalid("a duration is not valid");
    }
    if duration.is_some() && (component.property("DTEND").is_some() || component.property("DUE").is_some()) {
        return invalid("an end and a duration exclude one another");
    }
    if component.is("VEVENT") && component.property("DTSTART").is_none() {
        return invalid("an event has a DTSTART");
    }
    if component.all("RRULE").count() > limits::RULES_MAX {
        return invalid("there are too many recurrence rules");
    }
    for property in component.all("RRULE") {
        match Rule::parse(property.value()) {
            Ok(_) if component.property("DTSTART").is_some() || component.property("DUE").is_some() => {}
            Ok(_) => return invalid("what recurs has a DTSTART"),
            Err(RuleFault::Malformed) => return invalid("a recurrence rule is not valid"),
            Err(RuleFault::OtherCalendar) => {
                return invalid("recurrence in calendars other than the Gregorian is not computed");
            }
        }
    }
    for property in component.all("EXDATE").chain(component.all("RDATE")) {
        let is_valid = |value: &str| {
            let value = value.trim().split('/').next().unwrap_or("");
            read_date(value).is_some() || read_date_time(value).is_some()
        };
        if !property.value().split(',').all(is_valid) {
            return invalid("a list of times is not valid");
        }
    }
    if component.all("ATTENDEE").count() > limits::ATTENDEES_MAX {
        let condition = Condition::MaxAttendeesPerInstance;
        return Err(Refusal::condition(condition, "there are too many attendees"));
    }
    Ok(())
}

fn is_time(property: &Property<'_>) -> bool {
    let value = property.value().trim();
    if property.has("VALUE", "DATE") {
        return read_date(value).is_some();
    }
    // A date without VALUE=DATE is what some clients write, and no other reading of it is possible.
    read_date_time(value).is_some() || read_date(value).is_some()
}

fn index_of(object: &Component<'_>, kind: Components, uid: &str) -> Index {
    let name = kind.names().next().unwrap_or("");
    let zones = Zones::of(object, &Zone::Utc);
    let series = Series::of(object, name, &zones);
    let (mut first, mut last) = series.span();
    let components = || object.components.iter().filter(|c| c.is(name));
    // A to-do is looked for by other times too (RFC 4791 §9.9), an entry of free and busy times by its periods.
    let other_times = kind == Components::TODO
        && components().any(|c| c.property("COMPLETED").is_some() || c.property("CREATED").is_some())
        && components().any(|c| c.property("DTSTART").is_none() && c.property("DUE").is_none());
    if other_times || (kind == Components::FREEBUSY && first.is_none()) {
        (first, last) = (None, None);
    }
    // Floating times may be read in any zone, none of which is further than this from UTC.
    const SLACK: Seconds = 15 * 3_600;
    let floats = components().any(|c| {
        c.properties.iter().any(|p| {
            let timed = ["DTSTART", "DTEND", "DUE", "RDATE"].iter().any(|name| p.is(name));
            timed && !p.value().ends_with('Z') && p.parameter("TZID").is_none()
        })
    });
    if floats {
        first = first.map(|first| first - SLACK);
        last = last.map(|last| last + SLACK);
    }
    Index { uid: uid.into(), component: kind, first, last, recurring: series.is_recurring() }
}

fn has_procedure(component: &Component<'_>) -> bool {
    is_procedure(component) || component.components.iter().any(has_procedure)
}

fn is_procedure(component: &Component<'_>) -> bool {
    component.is("VALARM") && component.value("ACTION").is_some_and(|a| a.eq_ignore_ascii_case("PROCEDURE"))
}

/// Takes away every alarm that would run a program.
pub(crate) fn drop_procedures(component: &mut Component<'_>) {
    component.components.retain(|inner| !is_procedure(inner));
    for inner in &mut component.components {
        drop_procedures(inner);
    }
}
