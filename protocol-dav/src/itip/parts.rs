//! What the parts of scheduling share: components by their instance, users by their address, messages put together.

use std::collections::HashSet;

use super::{Method, address_of};
use crate::ical::{Moment, Zones};
use crate::object::{Component, Property};
use crate::time::{Seconds, write_date_time};

/// Whether a component can be scheduled.
pub(super) fn is_scheduled(component: &Component<'_>) -> bool {
    ["VEVENT", "VTODO", "VJOURNAL"].iter().any(|name| component.is(name))
}

/// The components that can be scheduled.
pub(super) fn scheduled<'s, 'c>(object: &'s Component<'c>) -> impl Iterator<Item = &'s Component<'c>> {
    object.components.iter().filter(|c| is_scheduled(c))
}

/// What tells one calendar user from another: the mail address, or the URI in lower case.
pub(super) fn user(uri: &str) -> String {
    address_of(uri).unwrap_or_else(|| uri.trim().to_ascii_lowercase())
}

/// Whether the organizer of an object is this party.
pub(super) fn organizer_is(object: &Component<'_>, me: super::Party<'_>) -> bool {
    scheduled(object).find_map(|c| c.property("ORGANIZER")).is_some_and(|o| me.is(o.value()))
}

/// Which instance a component is about; none for all of them.
pub(super) fn instance(component: &Component<'_>, zones: &Zones<'_>) -> Option<Seconds> {
    component.property("RECURRENCE-ID").and_then(|id| Moment::of(id, zones)).map(Moment::utc)
}

/// SEQUENCE; zero when there is none (RFC 5545 §3.8.7.4).
pub(super) fn sequence(component: &Component<'_>) -> u64 {
    component.value("SEQUENCE").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The property by which a user is invited to a component.
pub(super) fn attendee<'s, 'c>(component: &'s Component<'c>, user_key: &str) -> Option<&'s Property<'c>> {
    component.all("ATTENDEE").find(|attendee| user(attendee.value()) == user_key)
}

/// PARTSTAT in upper case; `NEEDS-ACTION` when there is none.
pub(super) fn participation(attendee: &Property<'_>) -> String {
    attendee.parameter("PARTSTAT").map_or("NEEDS-ACTION".to_owned(), |p| p.to_ascii_uppercase())
}

/// Whether the server is to send messages about this user (`SCHEDULE-AGENT`, RFC 6638 §7.1).
pub(super) fn is_servers(user: &Property<'_>) -> bool {
    user.parameter("SCHEDULE-AGENT").is_none_or(|agent| agent.eq_ignore_ascii_case("SERVER"))
}

pub(super) fn is_cancelled(component: &Component<'_>) -> bool {
    component.value("STATUS").is_some_and(|status| status.eq_ignore_ascii_case("CANCELLED"))
}

/// What a server and a client say to one another about sending, and nobody else must see (RFC 6638 §11).
pub(super) fn without_scheduling_parameters<'c>(property: Property<'c>) -> Property<'c> {
    let mut property = property;
    for name in ["SCHEDULE-AGENT", "SCHEDULE-STATUS", "SCHEDULE-FORCE-SEND"] {
        if property.parameter(name).is_some() {
            property = property.with_parameter(name, None);
        }
    }
    property
}

/// A component as others see it: without alarms, which are everybody's own.
pub(super) fn public<'c>(component: &Component<'c>) -> Component<'c> {
    let mut public = component.clone();
    public.components.retain(|inner| !inner.is("VALARM"));
    public.properties = public.properties.into_iter().map(without_scheduling_parameters).collect();
    public
}

/// The date and time now, as DTSTAMP has it.
pub(super) fn stamp(now: Seconds) -> Property<'static> {
    let mut value = String::new();
    write_date_time(now, true, &mut value);
    Property::new("DTSTAMP", &[], &value)
}

/// The object of a message: these components, and the time zones that they use.
pub(super) fn message_text(
    method: Method,
    object: &Component<'_>,
    components: Vec<Component<'_>>,
    now: Seconds,
) -> String {
    let mut out = Component::new("VCALENDAR");
    out.properties.push(Property::new("VERSION", &[], "2.0"));
    out.properties.push(Property::new("PRODID", &[], crate::ical::PRODUCT));
    out.properties.push(Property::new("METHOD", &[], method.name()));
    let names: HashSet<String> = components
        .iter()
        .flat_map(|c| &c.properties)
        .filter_map(|p| p.parameter("TZID").map(|tzid| tzid.into_owned()))
        .collect();
    let used = |zone: &&Component<'_>| {
        zone.is("VTIMEZONE") && zone.value("TZID").is_some_and(|tzid| names.contains(tzid))
    };
    let mut text = String::new();
    out.components.extend(object.components.iter().filter(used).cloned().map(Component::into_owned));
    for mut component in components {
        component.set(stamp(now));
        out.components.push(component.into_owned());
    }
    out.write(&mut text);
    text
}

/// A time of an object under another name: with the parameters that say which clock it is on.
pub(super) fn time_named(property: &Property<'_>, name: &str, value: &str) -> Property<'static> {
    let tzid = property.parameter("TZID");
    let kind = property.parameter("VALUE");
    let mut parameters = Vec::new();
    parameters.extend(tzid.as_deref().map(|tzid| ("TZID", tzid)));
    parameters.extend(kind.as_deref().map(|kind| ("VALUE", kind)));
    Property::new(name, &parameters, value)
}

/// A property so written that two which say the same are equal: names and parameters in one letter case and order.
pub(super) fn normal(property: &Property<'_>) -> String {
    let mut parameters: Vec<String> = property
        .parameters()
        .map(|p| {
            let values: Vec<String> = p.values().map(|v| v.to_ascii_uppercase()).collect();
            format!("{}={}", p.name.to_ascii_uppercase(), values.join(","))
        })
        .collect();
    parameters.sort_unstable();
    format!("{};{}:{}", property.name().to_ascii_uppercase(), parameters.join(";"), property.value().trim())
}
