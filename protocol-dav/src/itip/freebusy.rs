//! Asking when others are busy: the POST to a scheduling outbox (RFC 6638 §5).

use super::Party;
use crate::ical;
use crate::limits;
use crate::name::DECLARATIONS;
use crate::object::{Property, decode};
use crate::refusal::{Condition, Refusal, Response, Status, XML_DECLARATION, XML_TYPE};
use crate::request::TimeRange;
use crate::time::utc;
use crate::xml::{escape_text, text_element};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeBusyRequest {
    /// The UID of the request, for the answers.
    pub uid: Box<str>,
    /// When.
    pub range: TimeRange,
    /// Who asks, as it is written.
    pub organizer: String,
    /// Whose time is asked for: each as it is written, and their canonical address if it is one.
    pub attendees: Vec<(String, Option<String>)>,
}

impl FreeBusyRequest {
    /// From the body of a POST to the outbox of the one who asks.
    pub fn parse(octets: &[u8], me: Party<'_>) -> Result<FreeBusyRequest, Refusal> {
        let invalid = |reason| Refusal::condition(Condition::ValidSchedulingMessage, reason);
        let invalid_data = || Refusal::condition(Condition::ValidCalendarData, "this is no iCalendar object");
        let text = decode(octets).ok_or_else(invalid_data)?;
        let object = ical::parse(&text).map_err(|_| invalid_data())?;
        if !object.value("METHOD").is_some_and(|method| method.eq_ignore_ascii_case("REQUEST")) {
            return Err(invalid("free and busy times are asked for by REQUEST"));
        }
        let mut asked = object.components.iter().filter(|c| c.is("VFREEBUSY"));
        let (Some(component), None) = (asked.next(), asked.next()) else {
            return Err(invalid("a request holds one VFREEBUSY"));
        };
        let time = |name| component.value(name).and_then(utc);
        let (Some(start), Some(end)) = (time("DTSTART"), time("DTEND")) else {
            return Err(invalid("a request has a DTSTART and a DTEND in UTC"));
        };
        let organizer = component.value("ORGANIZER").filter(|organizer| me.is(organizer));
        let organizer = organizer.ok_or_else(|| {
            Refusal::condition(Condition::OrganizerAllowed, "the organizer is not the one who asks")
        })?;
        let attendees: Vec<(String, Option<String>)> = component
            .all("ATTENDEE")
            .map(|p| (p.value().trim().to_owned(), super::address_of(p.value())))
            .collect();
        if attendees.is_empty() || start >= end {
            return Err(invalid("a request asks for somebody's time"));
        }
        if attendees.len() > limits::ATTENDEES_MAX {
            let condition = Condition::MaxAttendeesPerInstance;
            return Err(Refusal::condition(condition, "there are too many attendees"));
        }
        let range = TimeRange { start: Some(start), end: Some(end) };
        let uid = component.value("UID").ok_or_else(|| invalid("a component has a UID"))?.into();
        Ok(FreeBusyRequest { uid, range, organizer: organizer.to_owned(), attendees })
    }

    /// The properties with which the answer about one attendee begins, for
    /// [`free_busy_object`](crate::ical::free_busy_object).
    pub fn answer_properties(&self, attendee: &str) -> Vec<Property<'static>> {
        vec![
            Property::new("UID", &[], &self.uid),
            Property::new("ORGANIZER", &[], &self.organizer),
            Property::new("ATTENDEE", &[], attendee),
        ]
    }
}

/// What is answered about one attendee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Their times: an iCalendar object.
    Times(String),
    /// They are not known here (`3.7`), or their times cannot be had.
    Unknown,
    /// It is too much to be computed (`5.1`).
    TooMuch,
}

/// The answer to the POST: `CALDAV:schedule-response` (RFC 6638 §10.1).
pub fn schedule_response(recipients: &[(String, Recipient)]) -> Response {
    let mut out = format!("{XML_DECLARATION}<C:schedule-response{DECLARATIONS}>");
    for (uri, recipient) in recipients {
        out.push_str("<C:response><C:recipient>");
        text_element("D:href", uri, &mut out);
        out.push_str("</C:recipient>");
        let (status, data) = match recipient {
            Recipient::Times(data) => ("2.0;Success", Some(data)),
            Recipient::Unknown => ("3.7;Invalid calendar user", None),
            Recipient::TooMuch => ("5.1;Service unavailable", None),
        };
        text_element("C:request-status", status, &mut out);
        if let Some(data) = data {
            out.push_str("<C:calendar-data>");
            escape_text(data, &mut out);
            out.push_str("</C:calendar-data>");
        }
        out.push_str("</C:response>");
    }
    out.push_str("</C:schedule-response>\n");
    let headers = vec![("content-type", XML_TYPE.to_owned())];
    Response { status: Status(200), headers, body: out.into_bytes() }
}
