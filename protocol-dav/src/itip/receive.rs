//! What a message that comes in makes of an object (RFC 5546 §3.2, RFC 6638 §4).
//!
//! A message says who sends it, and who it came from says whether that is so: an invitation must come from its
//! organizer, an answer from the attendee who gives it. Nothing that a message refers to is ever fetched.

use std::collections::HashMap;

use super::parts::{
    attendee, instance, is_cancelled, is_scheduled, normal, participation, scheduled, sequence, time_named,
    user,
};
use super::{Method, Party, check_attendees};
use crate::ical::{Instance, Moment, Series, Zone, Zones};
use crate::object::{Component, Property};
use crate::recur::Budget;
use crate::refusal::{Condition, Refusal};
use crate::request::TimeRange;
use crate::time::Seconds;

/// What is done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The object becomes this; the message goes into the scheduling inbox too.
    Store {
        /// The object to keep: in the place of the one there is, else in the default calendar.
        text: String,
        /// Whether its schedule tag changes (RFC 6638 §3.2.10): not when only somebody's answer was noted.
        new_schedule_tag: bool,
    },
    /// It says nothing that is not known, or is older than what is.
    Nothing,
    /// It asks for something that a person must decide, or about something that is not there.
    InboxOnly,
}

/// Processes a message for the one whose calendar it is. `existing` is their object with the message's UID, and
/// `sender` the canonical address that the message was proved to come from.
pub fn receive(
    message: &Component<'_>,
    existing: Option<&Component<'_>>,
    me: Party<'_>,
    sender: &str,
) -> Result<Received, Refusal> {
    let invalid = |reason| Refusal::condition(Condition::ValidSchedulingMessage, reason);
    check_attendees(message)?;
    let method = message.value("METHOD").ok_or_else(|| invalid("an iTIP message has a METHOD"))?;
    let Some(method) = Method::of(method) else { return Ok(Received::InboxOnly) };
    let Some(first) = scheduled(message).next() else { return Ok(Received::InboxOnly) };
    let uid = first.value("UID").filter(|uid| !uid.is_empty());
    let uid = uid.ok_or_else(|| invalid("a component has a UID"))?;
    let organizer = first.property("ORGANIZER").ok_or_else(|| invalid("a message names its organizer"))?;
    let organizer_key = user(organizer.value());
    let about_one = scheduled(message).all(|c| {
        c.value("UID") == Some(uid) && c.value("ORGANIZER").map(user).as_deref() == Some(&*organizer_key)
    });
    if !about_one {
        return Err(invalid("a message is about one UID and one organizer"));
    }
    let known = existing.and_then(|e| scheduled(e).find_map(|c| c.value("ORGANIZER").map(user)));
    if known.is_some_and(|known| known != organizer_key) {
        return Err(spoofed());
    }
    match method {
        Method::Reply => reply(message, existing, me, sender),
        Method::Request | Method::Cancel => {
            let by_proxy = organizer.parameter("SENT-BY").is_some_and(|uri| user(&uri) == sender);
            if organizer_key != sender && !by_proxy {
                return Err(spoofed());
            }
            if me.is(organizer.value()) {
                // One's own invitation that comes back changes nothing.
                return Ok(Received::Nothing);
            }
            // An object that is there and was not made by an invitation is not replaced by one.
            if existing.is_some_and(|e| scheduled(e).all(|c| c.property("ORGANIZER").is_none())) {
                return Err(spoofed());
            }
            if method == Method::Request { request(message, existing, me) } else { cancel(message, existing) }
        }
    }
}

fn spoofed() -> Refusal {
    let reason = "the message does not come from whom it says";
    Refusal::condition(Condition::OrganizerAllowed, reason)
}

fn request(
    message: &Component<'_>,
    existing: Option<&Component<'_>>,
    me: Party<'_>,
) -> Result<Received, Refusal> {
    let invited = scheduled(message).any(|c| c.all("ATTENDEE").any(|a| me.is(a.value())));
    if !invited {
        let condition = Condition::ValidSchedulingMessage;
        return Err(Refusal::condition(condition, "the recipient is not invited"));
    }
    let zones = Zones::of(message, &Zone::Utc);
    let has_master = scheduled(message).any(|c| c.property("RECURRENCE-ID").is_none());
    let mut out = Component::new("VCALENDAR");
    out.properties = message.properties.iter().filter(|p| !p.is("METHOD")).cloned().collect();
    out.components.extend(message.components.iter().filter(|c| c.is("VTIMEZONE")).cloned());
    let Some(existing) = existing else {
        out.components.extend(scheduled(message).map(accepted));
        return Ok(stored(&out));
    };
    let known = by_instance(existing);
    let told = by_instance(message);
    let mut fresh = false;
    for component in scheduled(message) {
        let own = known.get(&instance(component, &zones)).copied();
        // What is older than what is known about the same says nothing (RFC 5546 §2.1.5).
        if own.is_some_and(|own| is_older(component, own)) {
            return Ok(Received::Nothing);
        }
        fresh |= own.is_none_or(|own| says_more(component, own));
        out.components.push(with_own(accepted(component), own.or(known.get(&None).copied()), me));
    }
    if !has_master {
        // A message about some instances leaves the others as they are.
        let known_zones = Zones::of(existing, &Zone::Utc);
        for component in &existing.components {
            let replaced = is_scheduled(component) && told.contains_key(&instance(component, &known_zones));
            let known_zone = component.is("VTIMEZONE")
                && message
                    .components
                    .iter()
                    .any(|c| c.is("VTIMEZONE") && c.value("TZID") == component.value("TZID"));
            if !replaced && !known_zone {
                out.components.push(component.clone());
            }
        }
    }
    let fewer = has_master && scheduled(existing).count() != scheduled(message).count();
    if fresh || fewer { Ok(stored(&out)) } else { Ok(Received::Nothing) }
}

/// The components that can be scheduled, by their instance.
fn by_instance<'s, 'c>(object: &'s Component<'c>) -> HashMap<Option<Seconds>, &'s Component<'c>> {
    let zones = Zones::of(object, &Zone::Utc);
    scheduled(object).map(|component| (instance(component, &zones), component)).collect()
}

fn stored(object: &Component<'_>) -> Received {
    Received::Store { text: object.to_string(), new_schedule_tag: true }
}

/// A component as it is kept: what the sender would have this user's devices do is not.
fn accepted<'c>(component: &Component<'c>) -> Component<'c> {
    let mut out = component.clone();
    out.components.retain(|inner| !inner.is("VALARM"));
    out.properties.retain(|p| {
        let local = p.value().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
        !(p.is("ATTACH") && local)
    });
    out
}

fn is_older(component: &Component<'_>, known: &Component<'_>) -> bool {
    let stamp = |c: &Component<'_>| c.value("DTSTAMP").and_then(crate::time::utc).unwrap_or(i64::MIN);
    match sequence(component).cmp(&sequence(known)) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => stamp(component) < stamp(known),
        std::cmp::Ordering::Greater => false,
    }
}

fn says_more(component: &Component<'_>, known: &Component<'_>) -> bool {
    let said = |c: &Component<'_>| {
        let mut lines: Vec<String> = c.properties.iter().filter(|p| !p.is("DTSTAMP")).map(normal).collect();
        lines.sort_unstable();
        lines
    };
    said(&accepted(component)) != said(known)
}

/// What is the user's own stays: alarms, and as long as it is the same appointment what they have answered.
fn with_own<'c>(mut component: Component<'c>, known: Option<&Component<'c>>, me: Party<'_>) -> Component<'c> {
    let Some(known) = known else { return component };
    component.components.extend(known.components.iter().filter(|inner| inner.is("VALARM")).cloned());
    if let Some(transparency) = known.property("TRANSP") {
        component.set(transparency.clone());
    }
    let same =
        sequence(&component) == sequence(known) && component.value("DTSTART") == known.value("DTSTART");
    let answered = known.all("ATTENDEE").find(|a| me.is(a.value())).map(participation);
    if let (true, Some(answered)) = (same, answered) {
        for property in component.properties.iter_mut().filter(|p| p.is("ATTENDEE") && me.is(p.value())) {
            if participation(property) == "NEEDS-ACTION" && answered != "NEEDS-ACTION" {
                *property = property.with_parameter("PARTSTAT", Some(&answered));
            }
        }
    }
    component
}

fn cancel(message: &Component<'_>, existing: Option<&Component<'_>>) -> Result<Received, Refusal> {
    let Some(existing) = existing else { return Ok(Received::Nothing) };
    let zones = Zones::of(message, &Zone::Utc);
    let known_zones = Zones::of(existing, &Zone::Utc);
    let mut out = existing.clone();
    // Of all instances, the highest SEQUENCE with which they are called off; of single ones, theirs.
    let mut all: Option<u64> = None;
    let mut single: HashMap<Seconds, (u64, &Component<'_>)> = HashMap::new();
    for component in scheduled(message) {
        match instance(component, &zones) {
            None => all = all.max(Some(sequence(component))),
            Some(id) => {
                single.insert(id, (sequence(component), component));
            }
        }
    }
    let mut changed = false;
    for known in out.components.iter_mut().filter(|c| is_scheduled(c)) {
        let own =
            instance(known, &known_zones).and_then(|id| single.remove(&id)).map(|(sequence, _)| sequence);
        let Some(called_off) = all.max(own) else { continue };
        if called_off >= sequence(known) && !is_cancelled(known) {
            known.set(Property::new("STATUS", &[], "CANCELLED"));
            known.set(Property::new("SEQUENCE", &[], &called_off.to_string()));
            changed = true;
        }
    }
    let master = out.components.iter_mut().find(|c| is_scheduled(c) && c.property("RECURRENCE-ID").is_none());
    if let Some(master) = master.filter(|_| all.is_none()) {
        let mut left: Vec<_> = single.into_iter().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        for id in left.iter().filter_map(|(_, (_, component))| component.property("RECURRENCE-ID")) {
            master.properties.push(time_named(id, "EXDATE", id.value()));
            changed = true;
        }
    }
    Ok(if changed { stored(&out) } else { Received::Nothing })
}

fn reply(
    message: &Component<'_>,
    existing: Option<&Component<'_>>,
    me: Party<'_>,
    sender: &str,
) -> Result<Received, Refusal> {
    let Some(existing) = existing else { return Ok(Received::InboxOnly) };
    if !super::parts::organizer_is(existing, me) {
        return Err(spoofed());
    }
    let zones = Zones::of(message, &Zone::Utc);
    let known_zones = Zones::of(existing, &Zone::Utc);
    let name = scheduled(existing).next().map_or("VEVENT", |c| &*c.name);
    let series = Series::of(existing, name, &known_zones);
    let mut out = existing.clone();
    let mut places: HashMap<Option<Seconds>, usize> = HashMap::new();
    for (at, component) in out.components.iter().enumerate().filter(|(_, c)| is_scheduled(c)) {
        places.insert(instance(component, &known_zones), at);
    }
    let mut changed = false;
    for component in scheduled(message) {
        let mut attendees = component.all("ATTENDEE");
        let (Some(answer), None) = (attendees.next(), attendees.next()) else {
            let condition = Condition::ValidSchedulingMessage;
            return Err(Refusal::condition(condition, "a reply names the one who gives it"));
        };
        let by_proxy = answer.parameter("SENT-BY").is_some_and(|uri| user(&uri) == sender);
        if user(answer.value()) != sender && !by_proxy {
            return Err(spoofed());
        }
        let id = instance(component, &zones);
        let at = match (places.get(&id), id) {
            (Some(at), _) => *at,
            (None, Some(moment)) => match overridden(&series, moment, &known_zones) {
                Some(made) => {
                    out.components.push(made);
                    places.insert(id, out.components.len() - 1);
                    out.components.len() - 1
                }
                None => return Ok(Received::InboxOnly),
            },
            (None, None) => return Ok(Received::InboxOnly),
        };
        match note_answer(&mut out.components[at], component, answer) {
            Some(noted) => changed |= noted,
            // Who was not invited cannot answer.
            None => return Ok(Received::InboxOnly),
        }
    }
    let text = out.to_string();
    Ok(if changed { Received::Store { text, new_schedule_tag: false } } else { Received::Nothing })
}

/// Notes an answer in the component it is about; none when whoever answers is not invited to it.
fn note_answer(known: &mut Component<'_>, component: &Component<'_>, answer: &Property<'_>) -> Option<bool> {
    let key = user(answer.value());
    attendee(known, &key)?;
    // An answer to what has been changed since says nothing about what it is now.
    if sequence(component) < sequence(known) {
        return Some(false);
    }
    let status = component.value("REQUEST-STATUS").and_then(|text| text.split(';').next());
    let said = participation(answer);
    let mut changed = false;
    for property in known.properties.iter_mut().filter(|p| p.is("ATTENDEE") && user(p.value()) == key) {
        changed |= participation(property) != said;
        *property = property.with_parameter("PARTSTAT", Some(&said)).with_parameter("RSVP", None);
        if let Some(status) = status {
            *property = property.with_parameter("SCHEDULE-STATUS", Some(status));
        }
    }
    Some(changed)
}

/// A component for one instance of a series that has none of its own yet.
fn overridden<'c>(series: &Series<'c>, id: Seconds, zones: &Zones<'_>) -> Option<Component<'c>> {
    let mut found: Option<Instance<'_>> = None;
    let range = TimeRange { start: Some(id), end: Some(id + 1) };
    series
        .visit(range, &mut Budget::default(), |instance| {
            if instance.id.is_some_and(|own| own.utc() == id) {
                found = Some(instance);
            }
            found.is_none()
        })
        .ok()?;
    let found = found?;
    let mut component = found.component.clone();
    component.remove(&["RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"]);
    let (own_id, start) = (found.id?, found.start?);
    let original = found.component.property("DTSTART")?;
    let time = |moment: Moment<'_>, name: &str| {
        let mut value = String::new();
        if moment.is_date {
            crate::time::write_date(moment.local, &mut value);
        } else {
            let is_utc = original.value().trim().ends_with('Z');
            crate::time::write_date_time(moment.local, is_utc, &mut value);
        }
        time_named(original, name, &value)
    };
    if let Some(end) = component.property("DTEND").or(component.property("DUE")).cloned() {
        let own = Moment::of(&end, zones)?;
        let local = own.zone.to_local(found.end);
        let mut value = String::new();
        if own.is_date {
            crate::time::write_date(local, &mut value);
        } else {
            crate::time::write_date_time(local, end.value().trim().ends_with('Z'), &mut value);
        }
        component.set(end.with_value(&value));
    }
    component.set(time(start, "DTSTART"));
    component.properties.push(time(own_id, "RECURRENCE-ID"));
    Some(component)
}
