//! A message by mail (RFC 6047): what a person reads who has no program for it.

use super::{Message, Method};
use crate::ical;
use crate::object::Component;

/// A mail that carries a message: a plain text, and the calendar object as an alternative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its subject.
    pub subject: String,
    /// Its plain text; lines end with LF.
    pub text: String,
    /// The content type of the calendar part, which is UTF-8 (RFC 6047 §2.4).
    pub content_type: String,
}

impl Message {
    /// The mail for this message.
    pub fn mail(&self) -> Mail {
        let object = ical::parse(&self.text).ok();
        let first = object.as_ref().and_then(|object| super::parts::scheduled(object).next());
        let summary = first.and_then(|c| c.property("SUMMARY")).map(|p| one_line(&p.text()));
        let summary = summary.filter(|text| !text.is_empty()).unwrap_or_else(|| "(no title)".to_owned());
        let status = first.and_then(|c| c.property("ATTENDEE")).map(super::parts::participation);
        let verb = match (self.method, status.as_deref()) {
            (Method::Request, _) => "Invitation",
            (Method::Cancel, _) => "Cancelled",
            (Method::Reply, Some("ACCEPTED")) => "Accepted",
            (Method::Reply, Some("DECLINED")) => "Declined",
            (Method::Reply, Some("TENTATIVE")) => "Tentative",
            (Method::Reply, _) => "Answer",
        };
        let component = first.map_or("VEVENT", |c| &*c.name);
        Mail {
            subject: format!("{verb}: {summary}"),
            text: first.map(|c| describe(c, verb, &summary, &self.sender)).unwrap_or_default(),
            content_type: format!(
                "text/calendar; charset=UTF-8; method={}; component={component}",
                self.method.name()
            ),
        }
    }
}

fn describe(component: &Component<'_>, verb: &str, summary: &str, sender: &str) -> String {
    let mut text = format!("{verb}: {summary}\nFrom: {sender}\n");
    for (label, name) in [("When", "DTSTART"), ("Until", "DTEND"), ("Due", "DUE"), ("Repeats", "RRULE")] {
        if let Some(property) = component.property(name) {
            let zone =
                property.parameter("TZID").map(|tzid| format!(" ({})", one_line(&tzid))).unwrap_or_default();
            text.push_str(&format!("{label}: {}{zone}\n", readable(property.value().trim())));
        }
    }
    if let Some(place) = component.property("LOCATION") {
        text.push_str(&format!("Where: {}\n", one_line(&place.text())));
    }
    if let Some(description) = component.property("DESCRIPTION") {
        text.push_str(&format!("\n{}\n", description.text()));
    }
    text
}

/// `20260102T030400Z` as `2026-01-02 03:04 UTC`; anything else as it is.
fn readable(value: &str) -> String {
    let plain = crate::time::read_date(value).is_some() || crate::time::read_date_time(value).is_some();
    if !plain {
        return one_line(value);
    }
    let date = format!("{}-{}-{}", &value[..4], &value[4..6], &value[6..8]);
    let Some(time) = value.get(9..13) else { return date };
    let utc = if value.ends_with('Z') { " UTC" } else { "" };
    format!("{date} {}:{}{utc}", &time[..2], &time[2..])
}

/// Without line ends and control characters: nothing of it can end a header field.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}
