//! Scheduling (RFC 6638) by iTIP messages (RFC 5546): which messages a change of a calendar object makes, and what
//! a message that comes in makes of an object.
//!
//! When an object is put or deleted, [`on_change`] says what is to be sent, or why the change is not allowed. Each
//! [`Message`] goes to the calendars of its recipient when that is a local one ([`receive`]), else by mail
//! ([`Message::mail`], RFC 6047). What became of it is noted by [`with_status`].

mod attendee;
mod freebusy;
mod mail;
mod organizer;
mod parts;
mod receive;

#[cfg(test)]
mod tests;

pub use freebusy::{FreeBusyRequest, Recipient, schedule_response};
pub use mail::Mail;
pub use receive::{Received, receive};

use std::collections::HashMap;
use std::sync::Arc;

use protocol_core::address::Canonical;

use crate::limits;
use crate::object::{Component, Property};
use crate::path::{Area, Path};
use crate::refusal::{Condition, Refusal};
use crate::time::Seconds;

/// Whose calendar it is: every mail address at which they are invited, canonical.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The addresses, the one of the mailbox first.
    pub addresses: &'a [&'a str],
}

impl Party<'_> {
    /// Whether a calendar user address is theirs.
    pub fn is(&self, uri: &str) -> bool {
        address_of(uri).is_some_and(|address| self.addresses.contains(&address.as_str()))
    }
}

/// The canonical mail address of a calendar user address: a `mailto:` URI, or the path of a principal.
pub fn address_of(uri: &str) -> Option<String> {
    let uri = uri.trim();
    if uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:")) {
        let address = uri[7..].split('?').next().unwrap_or("");
        return Canonical::parse(&unescaped(address)?).ok().map(|address| address.to_string());
    }
    let path = Path::parse(uri, "").ok().filter(|path| path.area() == Some(Area::Principals))?;
    path.owner().map(str::to_owned)
}

/// Percent-encoding of a `mailto:` URI undone (RFC 6068 §2).
fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|d| (d as char).to_digit(16));
            octets.push((digit()? * 16 + digit()?) as u8);
        } else {
            octets.push(byte);
        }
    }
    String::from_utf8(octets).ok()
}

/// What an iTIP message asks (RFC 5546 §1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// An invitation, or a change of one.
    Request,
    /// An answer to one.
    Reply,
    /// It is off, or the recipient is no longer invited.
    Cancel,
}

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Request => "REQUEST",
            Method::Reply => "REPLY",
            Method::Cancel => "CANCEL",
        }
    }

    fn of(name: &str) -> Option<Method> {
        let all = [Method::Request, Method::Reply, Method::Cancel];
        all.into_iter().find(|method| method.name().eq_ignore_ascii_case(name))
    }
}

/// A message to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it asks.
    pub method: Method,
    /// The UID it is about.
    pub uid: Box<str>,
    /// Who sends it: a canonical address of the one whose calendar changed.
    pub sender: String,
    /// Who it is for, as the calendar object writes it.
    pub recipient_uri: String,
    /// Their canonical address; none when it is no mail address, so that it cannot be delivered (`3.7`).
    pub recipient: Option<String>,
    /// The iCalendar object with its METHOD; shared by all recipients who get the same.
    pub text: Arc<str>,
}

/// What a change comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Whether the object is one of scheduling at all: it then has a schedule tag, and its UID may be only once in
    /// all calendars of its owner (`CALDAV:unique-scheduling-object-resource`).
    pub is_scheduling: bool,
    /// What is to be sent.
    pub messages: Vec<Message>,
}

/// On which terms a change is made.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time, in seconds of UTC.
    pub now: Seconds,
    /// Whether the organizer is told that an invitation is deleted (`Schedule-Reply`, RFC 6638 §8.1).
    pub reply: bool,
}

/// What is to be sent when `old` becomes `new`: neither is there before it is made and after it is deleted.
pub fn on_change(
    old: Option<&Component<'_>>,
    new: Option<&Component<'_>>,
    me: Party<'_>,
    terms: Terms,
) -> Result<Outgoing, Refusal> {
    if let Some(new) = new {
        check_organizers(old, new)?;
    }
    let Some(object) = new.or(old) else { return Ok(Outgoing::default()) };
    let Some(organizer) = parts::scheduled(object).find_map(|c| c.property("ORGANIZER")) else {
        // Without an organizer it is nobody's invitation; if it was one, it is over.
        return match old.filter(|_| new.is_some()) {
            Some(old) if parts::organizer_is(old, me) => organizer::changed(Some(old), None, me, terms),
            _ => Ok(Outgoing::default()),
        };
    };
    if me.is(organizer.value()) {
        return organizer::changed(old, new, me, terms);
    }
    let invited = |c: &Component<'_>| c.all("ATTENDEE").any(|attendee| me.is(attendee.value()));
    if parts::scheduled(object).any(invited) || old.is_some_and(|old| parts::scheduled(old).any(invited)) {
        return attendee::changed(old, new, me, terms);
    }
    Ok(Outgoing::default())
}

/// RFC 6638 §3.2.4.2, §3.2.4.3.
fn check_organizers(old: Option<&Component<'_>>, new: &Component<'_>) -> Result<(), Refusal> {
    let organizer = |c: &Component<'_>| c.value("ORGANIZER").map(parts::user);
    let mut organizers = parts::scheduled(new).map(organizer);
    let Some(first) = organizers.next() else { return Ok(()) };
    if organizers.any(|other| other != first) {
        let condition = Condition::SameOrganizerInAllComponents;
        return Err(Refusal::condition(condition, "all components have the same organizer"));
    }
    let before = old.and_then(|old| parts::scheduled(old).next()).and_then(organizer);
    if let (Some(before), Some(after)) = (before, first)
        && before != after
    {
        let condition = Condition::AllowedOrganizerSchedulingObjectChange;
        return Err(Refusal::condition(condition, "the organizer of an event does not change"));
    }
    Ok(())
}

/// An object with what became of the messages to these calendar users (`SCHEDULE-STATUS`, RFC 6638 §7.3): `1.2`
/// delivered, `1.1` sent by mail, `3.7` no such user, `5.1` cannot be delivered. The status of an organizer is about
/// the reply to them.
pub fn with_status(object: &Component<'_>, statuses: &[(&str, &str)]) -> String {
    let statuses: HashMap<String, &str> =
        statuses.iter().map(|(uri, status)| (parts::user(uri), *status)).collect();
    let mut object = object.clone();
    for component in object.components.iter_mut().filter(|c| parts::is_scheduled(c)) {
        for property in &mut component.properties {
            if !property.is("ATTENDEE") && !property.is("ORGANIZER") {
                continue;
            }
            if let Some(status) = statuses.get(&parts::user(property.value())) {
                *property = property.with_parameter("SCHEDULE-STATUS", Some(status));
            }
        }
    }
    object.to_string()
}

/// An object as it is kept after it was put: without what was only an order to the server (RFC 6638 §7.2). None
/// when there is nothing of that in it.
pub fn without_orders(object: &Component<'_>) -> Option<String> {
    let ordered = |p: &Property<'_>| p.parameter("SCHEDULE-FORCE-SEND").is_some();
    if !object.components.iter().any(|c| c.properties.iter().any(ordered)) {
        return None;
    }
    let mut object = object.clone();
    for property in object.components.iter_mut().flat_map(|c| &mut c.properties).filter(|p| ordered(p)) {
        *property = property.with_parameter("SCHEDULE-FORCE-SEND", None);
    }
    Some(object.to_string())
}

/// Whether a message or an object invites more than this server handles.
fn check_attendees(object: &Component<'_>) -> Result<(), Refusal> {
    if parts::scheduled(object).any(|c| c.all("ATTENDEE").count() > limits::ATTENDEES_MAX) {
        let condition = Condition::MaxAttendeesPerInstance;
        return Err(Refusal::condition(condition, "there are too many attendees"));
    }
    Ok(())
}
