//! What an attendee's changes make (RFC 6638 §3.2.2): answers to the organizer.

use std::collections::{BTreeMap, HashSet};

use super::parts::{
    attendee, instance, is_cancelled, is_servers, message_text, participation, scheduled, time_named, user,
    without_scheduling_parameters,
};
use super::{Message, Method, Outgoing, Party, Terms, address_of};
use crate::ical::{Moment, Zone, Zones};
use crate::object::{Component, Property};
use crate::refusal::{Condition, Refusal};
use crate::time::Seconds;

pub(super) fn changed(
    old: Option<&Component<'_>>,
    new: Option<&Component<'_>>,
    me: Party<'_>,
    terms: Terms,
) -> Result<Outgoing, Refusal> {
    if let (Some(old), Some(new)) = (old, new) {
        check_allowed(old, new, me)?;
    }
    let mut outgoing = Outgoing { is_scheduling: true, messages: Vec::new() };
    let Some(object) = new.or(old) else { return Ok(outgoing) };
    let organizer = scheduled(object).find_map(|c| c.property("ORGANIZER"));
    let Some(organizer) = organizer.filter(|organizer| is_servers(organizer)) else { return Ok(outgoing) };
    let answers = match (old, new) {
        (_, Some(new)) => answers(old, new, me),
        (Some(old), None) if terms.reply => declined(old, me),
        _ => Vec::new(),
    };
    if answers.is_empty() {
        return Ok(outgoing);
    }
    let sender = me.addresses.first().copied().unwrap_or("");
    let uri = organizer.value().trim();
    outgoing.messages.push(Message {
        method: Method::Reply,
        uid: answers[0].value("UID").unwrap_or("").into(),
        sender: sender.to_owned(),
        recipient_uri: uri.to_owned(),
        recipient: address_of(uri),
        text: message_text(Method::Reply, object, answers, terms.now).into(),
    });
    Ok(outgoing)
}

fn own<'s, 'c>(component: &'s Component<'c>, me: Party<'_>) -> Option<&'s Property<'c>> {
    component.all("ATTENDEE").find(|attendee| me.is(attendee.value()))
}

/// By instance, that about all of them first.
fn by_instance<'s, 'c>(object: &'s Component<'c>) -> BTreeMap<Option<Seconds>, &'s Component<'c>> {
    let zones = Zones::of(object, &Zone::Utc);
    scheduled(object).map(|component| (instance(component, &zones), component)).collect()
}

/// What only the organizer decides: when it is, how it recurs, who is invited.
fn check_allowed(old: &Component<'_>, new: &Component<'_>, me: Party<'_>) -> Result<(), Refusal> {
    let refused = || {
        let condition = Condition::AllowedAttendeeSchedulingObjectChange;
        Err(Refusal::condition(condition, "only the organizer can change this"))
    };
    let (before, after) = (by_instance(old), by_instance(new));
    let (old_zones, new_zones) = (Zones::of(old, &Zone::Utc), Zones::of(new, &Zone::Utc));
    for (id, component) in &after {
        // An instance that is new here is still one of the series it is taken from.
        let Some(original) = before.get(id).or(before.get(&None)) else { return refused() };
        let same_instance = before.contains_key(id);
        if same_instance && times(original, &old_zones) != times(component, &new_zones) {
            return refused();
        }
        if invited(original, me) != invited(component, me) {
            return refused();
        }
    }
    Ok(())
}

fn times(component: &Component<'_>, zones: &Zones<'_>) -> Vec<String> {
    let mut times = Vec::new();
    for name in ["DTSTART", "DTEND", "DUE"] {
        let moment = component.property(name).and_then(|property| Moment::of(property, zones));
        times.push(moment.map_or(String::new(), |moment| format!("{}{}", moment.is_date, moment.utc())));
    }
    for name in ["DURATION", "RRULE", "RDATE"] {
        let mut values: Vec<String> = component.all(name).map(|p| p.value().to_ascii_uppercase()).collect();
        values.sort_unstable();
        times.extend(values);
    }
    times
}

/// The organizer and everybody invited but oneself.
fn invited(component: &Component<'_>, me: Party<'_>) -> Vec<String> {
    let organizer = component.all("ORGANIZER").map(|p| format!("organizer {}", user(p.value())));
    let others = component.all("ATTENDEE").filter(|p| !me.is(p.value())).map(|p| user(p.value()));
    let mut invited: Vec<String> = organizer.chain(others).collect();
    invited.sort_unstable();
    invited
}

/// The instances about which something else is said than before.
fn answers(old: Option<&Component<'_>>, new: &Component<'_>, me: Party<'_>) -> Vec<Component<'static>> {
    let before = old.map(by_instance).unwrap_or_default();
    let after = by_instance(new);
    let status = |component: Option<&&Component<'_>>| component.and_then(|c| own(c, me)).map(participation);
    let mut answers = Vec::new();
    for (id, component) in &after {
        let Some(attendee) = own(component, me) else { continue };
        let said = status(before.get(id).or(before.get(&None))).unwrap_or_else(|| "NEEDS-ACTION".to_owned());
        if participation(attendee) != said || attendee.has("SCHEDULE-FORCE-SEND", "REPLY") {
            answers.push(reply(component, attendee));
        }
    }
    // An instance that is left out is one that one does not go to.
    if let (Some(old), Some(master)) = (old, after.get(&None)) {
        let known = excluded(old);
        let zones = Zones::of(new, &Zone::Utc);
        for property in master.all("EXDATE") {
            for value in property.value().split(',').map(str::trim) {
                let moment = Moment::read(property, value, &zones).map(Moment::utc);
                if moment.is_some_and(|moment| !known.contains(&moment)) {
                    answers.extend(left_out(master, property, value, me));
                }
            }
        }
    }
    answers
}

/// The instances that an object leaves out, however they are written.
fn excluded(object: &Component<'_>) -> HashSet<Seconds> {
    let zones = Zones::of(object, &Zone::Utc);
    let mut excluded = HashSet::new();
    for property in scheduled(object).flat_map(|c| c.all("EXDATE")) {
        let moments = property.value().split(',').filter_map(|v| Moment::read(property, v.trim(), &zones));
        excluded.extend(moments.map(Moment::utc));
    }
    excluded
}

fn left_out(
    master: &Component<'_>,
    property: &Property<'_>,
    value: &str,
    me: Party<'_>,
) -> Option<Component<'static>> {
    let attendee = own(master, me)?.with_parameter("PARTSTAT", Some("DECLINED"));
    let mut answer = reply(master, &attendee);
    answer.remove(&["RRULE", "DTSTART", "DTEND", "DUE", "DURATION"]);
    answer.properties.push(time_named(property, "RECURRENCE-ID", value));
    answer.properties.push(time_named(property, "DTSTART", value));
    Some(answer)
}

/// Deleting an invitation declines it, unless that was said already or it is off anyway.
fn declined(old: &Component<'_>, me: Party<'_>) -> Vec<Component<'static>> {
    let mut answers = Vec::new();
    for component in scheduled(old).filter(|c| !is_cancelled(c)) {
        if let Some(attendee) = own(component, me).filter(|own| participation(own) != "DECLINED") {
            answers.push(reply(component, &attendee.with_parameter("PARTSTAT", Some("DECLINED"))));
        }
    }
    answers
}

/// What a reply says of a component (RFC 5546 §3.2.3).
fn reply(component: &Component<'_>, own: &Property<'_>) -> Component<'static> {
    const KEPT: [&str; 10] = [
        "UID",
        "SEQUENCE",
        "ORGANIZER",
        "RECURRENCE-ID",
        "DTSTART",
        "DTEND",
        "DURATION",
        "DUE",
        "SUMMARY",
        "COMMENT",
    ];
    let mut out = Component::new(&component.name);
    let kept = component.properties.iter().filter(|p| KEPT.iter().any(|name| p.is(name)));
    out.properties = kept.cloned().map(|p| without_scheduling_parameters(p).into_owned()).collect();
    out.properties.push(without_scheduling_parameters(own.clone()).with_parameter("RSVP", None));
    out.properties.push(Property::new("REQUEST-STATUS", &[], "2.0;Success"));
    debug_assert!(attendee(&out, &user(own.value())).is_some(), "who answers is named");
    out
}
