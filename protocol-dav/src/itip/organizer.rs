//! What the organizer's changes make (RFC 6638 §3.2.1): every attendee sees those instances they are invited to.
//!
//! Most attendees see the same. What they see is worked out once for each set of instances that somebody is invited
//! to, and the text of a message is shared by all who get it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::parts::{
    instance, is_cancelled, is_servers, message_text, normal, public, scheduled, sequence, time_named, user,
};
use super::{Message, Method, Outgoing, Party, Terms, address_of, check_attendees};
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
    let (old, new) = (old.map(Roster::of), new.map(Roster::of));
    let is_scheduling =
        [&old, &new].iter().any(|roster| roster.as_ref().is_some_and(|r| !r.users.is_empty()));
    let mut users: BTreeMap<&str, &str> = BTreeMap::new();
    for roster in new.iter().chain(&old) {
        for (key, invited) in roster.users.iter().filter(|(_, invited)| !me.is(&invited.uri)) {
            users.entry(key).or_insert(&invited.uri);
        }
    }
    let mut telling = Telling {
        old: old.as_ref(),
        new: new.as_ref(),
        sender: me.addresses.first().copied().unwrap_or(""),
        now: terms.now,
        differences: HashMap::new(),
        requests: HashMap::new(),
        messages: Vec::new(),
    };
    for (key, uri) in users {
        telling.tell(key, uri);
    }
    Ok(Outgoing { is_scheduling, messages: telling.messages })
}

/// Who is invited to which component of an object.
struct Roster<'o, 'c> {
    object: &'o Component<'c>,
    components: Vec<(Option<Seconds>, &'o Component<'c>)>,
    users: BTreeMap<String, Invited>,
}

/// What one user is invited to.
struct Invited {
    uri: String,
    /// Which components, in order.
    to: Vec<usize>,
    /// Whether the server has the part of telling them.
    is_servers: bool,
    /// Whether they are told whatever has changed (`SCHEDULE-FORCE-SEND`).
    is_forced: bool,
}

impl<'o, 'c> Roster<'o, 'c> {
    fn of(object: &'o Component<'c>) -> Roster<'o, 'c> {
        let zones = Zones::of(object, &Zone::Utc);
        let components: Vec<_> = scheduled(object).map(|c| (instance(c, &zones), c)).collect();
        let mut users: BTreeMap<String, Invited> = BTreeMap::new();
        for (at, (_, component)) in components.iter().enumerate() {
            for property in component.all("ATTENDEE") {
                let invited = users.entry(user(property.value())).or_insert_with(|| Invited {
                    uri: property.value().trim().to_owned(),
                    to: Vec::new(),
                    is_servers: true,
                    is_forced: false,
                });
                if invited.to.last() != Some(&at) {
                    invited.to.push(at);
                }
                invited.is_servers &= is_servers(property);
                invited.is_forced |= property.has("SCHEDULE-FORCE-SEND", "REQUEST");
            }
        }
        Roster { object, components, users }
    }

    /// What the server tells a user of; none when they are not invited, or not by the server.
    fn invited(&self, key: &str) -> Option<&Invited> {
        self.users.get(key).filter(|invited| invited.is_servers)
    }

    /// Those components as others see them, that about all instances first.
    fn view(&self, to: &[usize]) -> BTreeMap<Option<Seconds>, Component<'c>> {
        let chosen = to.iter().map(|at| self.components[*at]);
        let mut view: BTreeMap<_, _> = chosen.map(|(id, component)| (id, public(component))).collect();
        // Who is invited to all but one is not told of that one otherwise.
        if let Some(master) = view.get_mut(&None) {
            for (at, (_, component)) in self.components.iter().enumerate() {
                if let (Err(_), Some(id)) = (to.binary_search(&at), component.property("RECURRENCE-ID")) {
                    master.properties.push(time_named(id, "EXDATE", id.value()));
                }
            }
        }
        view
    }
}

/// Messages in the making.
struct Telling<'t, 'o, 'c> {
    old: Option<&'t Roster<'o, 'c>>,
    new: Option<&'t Roster<'o, 'c>>,
    sender: &'t str,
    now: Seconds,
    /// Whether those who were invited to some components and now are to others see a difference.
    differences: HashMap<(Vec<usize>, Vec<usize>), bool>,
    /// The message for those who are invited to some components.
    requests: HashMap<Vec<usize>, (Method, Arc<str>)>,
    messages: Vec<Message>,
}

impl Telling<'_, '_, '_> {
    fn tell(&mut self, key: &str, uri: &str) {
        let before = self.old.and_then(|old| Some((old, old.invited(key)?)));
        let after = self.new.and_then(|new| Some((new, new.invited(key)?)));
        if let Some((old, invited)) = before {
            let lost = lost(old, invited, after.map(|(new, invited)| (new, &*invited.to)));
            if !lost.is_empty() {
                let cancelled = lost.into_iter().map(|component| cancelled(component, key)).collect();
                let text = message_text(Method::Cancel, old.object, cancelled, self.now);
                self.send(Method::Cancel, uri, text.into());
            }
        }
        let Some((new, invited)) = after else { return };
        if let Some((old, had)) = before.filter(|_| !invited.is_forced) {
            let key = (had.to.clone(), invited.to.clone());
            let differs =
                self.differences.entry(key).or_insert_with(|| differ(old, &had.to, new, &invited.to));
            if !*differs {
                return;
            }
        }
        let now = self.now;
        let (method, text) = self
            .requests
            .entry(invited.to.clone())
            .or_insert_with(|| {
                let view = new.view(&invited.to);
                let off = view.values().all(is_cancelled);
                let method = if off { Method::Cancel } else { Method::Request };
                (method, message_text(method, new.object, view.into_values().collect(), now).into())
            })
            .clone();
        self.send(method, uri, text);
    }

    fn send(&mut self, method: Method, uri: &str, text: Arc<str>) {
        let roster = self.new.or(self.old);
        let uid = roster.and_then(|roster| roster.components.first()).and_then(|(_, c)| c.value("UID"));
        self.messages.push(Message {
            method,
            uid: uid.unwrap_or("").into(),
            sender: self.sender.to_owned(),
            recipient_uri: uri.to_owned(),
            recipient: address_of(uri),
            text,
        });
    }
}

/// The components that somebody was invited to and no longer is. Who keeps the series learns of a lost instance by
/// what is left out of it.
fn lost<'o, 'c>(
    old: &Roster<'o, 'c>,
    had: &Invited,
    now: Option<(&Roster<'_, '_>, &[usize])>,
) -> Vec<&'o Component<'c>> {
    let kept: Vec<Option<Seconds>> =
        now.map(|(new, to)| to.iter().map(|at| new.components[*at].0).collect()).unwrap_or_default();
    if kept.contains(&None) {
        return Vec::new();
    }
    let had = had.to.iter().map(|at| old.components[*at]);
    had.filter(|(id, _)| !kept.contains(id)).map(|(_, component)| component).collect()
}

fn differ(old: &Roster<'_, '_>, had: &[usize], new: &Roster<'_, '_>, has: &[usize]) -> bool {
    let said = |view: BTreeMap<Option<Seconds>, Component<'_>>| -> Vec<(Option<Seconds>, Vec<String>)> {
        view.iter().map(|(id, component)| (*id, significant(component))).collect()
    };
    said(old.view(had)) != said(new.view(has))
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

/// What tells one attendee that a component no longer concerns them (RFC 5546 §3.2.5).
fn cancelled<'c>(component: &Component<'c>, key: &str) -> Component<'c> {
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
    let kept = component
        .properties
        .iter()
        .filter(|p| KEPT.iter().any(|name| p.is(name)) || (p.is("ATTENDEE") && user(p.value()) == key));
    out.properties = kept.cloned().map(super::parts::without_scheduling_parameters).collect();
    out.properties.push(Property::new("STATUS", &[], "CANCELLED"));
    out.properties.push(Property::new("SEQUENCE", &[], &(sequence(component) + 1).to_string()));
    out
}
