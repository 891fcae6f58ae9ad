//! What the organizer's changes make (RFC 6638 §3.2.1): every attendee sees those instances they are invited to.

use std::collections::BTreeMap;

use super::parts::{
    attendee, instance, is_cancelled, is_servers, message, normal, public, scheduled, sequence, user,
};
use super::{Message, Method, Outgoing, Party, Terms, check_attendees};
use crate::ical::{Zone, Zones};
use crate::object::{Component, Property};
use crate::refusal::Refusal;
use crate::time::Seconds;

pub(super) fn changed(
    old: Option<&Component<'_>>,
    new: Option<&Component<'_>>,
    me: Party<'_>,
    terms: Terms,
) -> Result<Outgoing, Refusal> {
    if let Some(new) = new {
        check_attendees(new)?;
    }
    let sender = me.addresses.first().copied().unwrap_or("");
    let mut messages = Vec::new();
    for (key, uri) in attendees(old, new, me) {
        let before = old.and_then(|object| View::of(object, &key));
        let after = new.and_then(|object| View::of(object, &key));
        messages.extend(for_one(before, after, old, new, &uri, sender, terms));
    }
    let invites = |object: &Component<'_>| scheduled(object).any(|c| c.property("ATTENDEE").is_some());
    let is_scheduling = new.is_some_and(invites) || old.is_some_and(invites);
    Ok(Outgoing { is_scheduling, messages })
}

/// Everybody who is or was invited, but for the organizer, each once.
fn attendees(
    old: Option<&Component<'_>>,
    new: Option<&Component<'_>>,
    me: Party<'_>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for object in new.into_iter().chain(old) {
        for property in scheduled(object).flat_map(|c| c.all("ATTENDEE")) {
            if !me.is(property.value()) {
                let uri = property.value().trim().to_owned();
                found.entry(user(property.value())).or_insert(uri);
            }
        }
    }
    found
}

/// What one attendee sees of an object.
struct View<'c> {
    /// By instance, that about all of them first.
    components: BTreeMap<Option<Seconds>, Component<'c>>,
    forced: bool,
}

impl<'c> View<'c> {
    /// None when there is nothing that they see, or when the server has no part in telling them.
    fn of(object: &Component<'c>, key: &str) -> Option<View<'c>> {
        let zones = Zones::of(object, &Zone::Utc);
        let mut components = BTreeMap::new();
        let mut left_out: Vec<Property<'c>> = Vec::new();
        let mut forced = false;
        for component in scheduled(object) {
            match attendee(component, key) {
                Some(own) if is_servers(own) => {
                    forced |= own.has("SCHEDULE-FORCE-SEND", "REQUEST");
                    components.insert(instance(component, &zones), public(component));
                }
                Some(_) => return None,
                None => left_out.extend(component.property("RECURRENCE-ID").cloned()),
            }
        }
        // Who is invited to all but one is not told of that one otherwise.
        if let Some(master) = components.get_mut(&None) {
            for id in left_out {
                let parameters: Vec<(String, String)> = id
                    .parameters()
                    .filter(|p| p.is("TZID") || p.is("VALUE"))
                    .filter_map(|p| Some((p.name.to_owned(), p.values().next()?.into_owned())))
                    .collect();
                let parameters: Vec<(&str, &str)> =
                    parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                master.properties.push(Property::new("EXDATE", &parameters, id.value()));
            }
        }
        (!components.is_empty()).then_some(View { components, forced })
    }

    fn differs(&self, other: &View<'_>) -> bool {
        self.components.len() != other.components.len()
            || self
                .components
                .iter()
                .zip(&other.components)
                .any(|((own_id, own), (id, other))| own_id != id || significant(own) != significant(other))
    }
}

/// What an attendee has to know of: not when something was written, nor what programs note for themselves, nor what
/// others have answered.
fn significant(component: &Component<'_>) -> Vec<String> {
    const NOTED: [&str; 6] = ["DTSTAMP", "LAST-MODIFIED", "CREATED", "SEQUENCE", "TRANSP", "REQUEST-STATUS"];
    let mut properties: Vec<String> = component
        .properties
        .iter()
        .filter(|p| !NOTED.iter().any(|name| p.is(name)) && !p.name().to_ascii_uppercase().starts_with("X-"))
        .map(|p| if p.is("ATTENDEE") { normal(&p.with_parameter("PARTSTAT", None)) } else { normal(p) })
        .collect();
    properties.sort_unstable();
    properties
}

fn for_one(
    before: Option<View<'_>>,
    after: Option<View<'_>>,
    old: Option<&Component<'_>>,
    new: Option<&Component<'_>>,
    uri: &str,
    sender: &str,
    terms: Terms,
) -> Vec<Message> {
    let mut messages = Vec::new();
    let removed = match (&before, &after) {
        (Some(before), None) => before.components.values().map(|c| cancelled(c, uri)).collect(),
        // Who keeps the series learns of a lost instance by what is left out of it.
        (Some(before), Some(after)) if !after.components.contains_key(&None) => {
            let lost = before.components.iter().filter(|(id, _)| !after.components.contains_key(id));
            lost.map(|(_, c)| cancelled(c, uri)).collect()
        }
        _ => Vec::new(),
    };
    if let (false, Some(object)) = (removed.is_empty(), old) {
        messages.push(message(Method::Cancel, object, removed, sender, uri, terms.now));
    }
    let (Some(after), Some(object)) = (after, new) else { return messages };
    if before.is_some_and(|before| !after.differs(&before)) && !after.forced {
        return messages;
    }
    let off = after.components.values().all(is_cancelled);
    let method = if off { Method::Cancel } else { Method::Request };
    let components = after.components.into_values().collect();
    messages.push(message(method, object, components, sender, uri, terms.now));
    messages
}

/// What tells one attendee that a component no longer concerns them (RFC 5546 §3.2.5).
fn cancelled<'c>(component: &Component<'c>, uri: &str) -> Component<'c> {
    const KEPT: [&str; 10] = [
        "UID",
        "ORGANIZER",
        "DTSTART",
        "DTEND",
        "DURATION",
        "DUE",
        "RECURRENCE-ID",
        "SUMMARY",
        "RRULE",
        "LOCATION",
    ];
    let mut out = Component::new(&component.name);
    let own = user(uri);
    let kept = component
        .properties
        .iter()
        .filter(|p| KEPT.iter().any(|name| p.is(name)) || (p.is("ATTENDEE") && user(p.value()) == own));
    out.properties = kept.cloned().collect();
    out.properties.push(Property::new("STATUS", &[], "CANCELLED"));
    out.properties.push(Property::new("SEQUENCE", &[], &(sequence(component) + 1).to_string()));
    out
}
