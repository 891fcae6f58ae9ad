//! Delivery status notifications (RFC 3461, 3462, 3464; RFC 6533 where an address is not ASCII).
//!
//! Pure: what to say, an ID and the time go in, a message comes out. Whether a notification is due is
//! decided by [`decide`](crate::queue::decide), and to whom it goes by the envelope: its reverse-path is
//! null, always.

mod returned;
mod status;
mod text;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::Timestamp;

use crate::status::Status;
use returned::returned_part;
pub use returned::{RETURNED_MAX, Returnable, Returned, returns_whole};
use status::status_part;
use text::wrap;
pub(crate) use text::{clean, date, field};

/// What is told about a recipient: `Action` of RFC 3464 §2.3.3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Action {
    Failed,
    Delayed,
    Relayed,
    Delivered,
}

impl Action {
    /// The word for it.
    const fn name(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Relayed => "relayed",
            Action::Delivered => "delivered",
        }
    }
}

/// A recipient in a notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// Its address, as it was tried.
    pub recipient: &'a str,
    /// ORCPT as the sender gave it, in xtext.
    pub orcpt: Option<&'a str>,
    /// What happened.
    pub action: Action,
    /// The status; its class should fit the action.
    pub status: Status,
    /// The name of the host that was tried last.
    pub remote: Option<&'a str>,
    /// The host's reply, which begins with its three digits, or our own words.
    pub diagnostic: String,
    /// When it was tried last, if ever.
    pub last_attempt: Option<Timestamp>,
    /// For a delay: until when it will be tried.
    pub retry_until: Option<Timestamp>,
}

/// A notification to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dsn<'a> {
    /// Our name: Reporting-MTA, and the domain of MAILER-DAEMON.
    pub hostname: &'a str,
    /// Unique; letters and digits. Makes Message-ID and boundary.
    pub id: &'a str,
    /// The sender of the message, who is told.
    pub to: &'a str,
    /// When the message was accepted.
    pub arrival: Timestamp,
    /// ENVID as the sender gave it, in xtext.
    pub envid: Option<&'a str>,
    /// The sender's deadline (RFC 2852 §4).
    pub deliver_by: Option<Timestamp>,
    /// At least one.
    pub reports: &'a [Report<'a>],
    /// What goes back.
    pub returned: Returned,
    /// Date of the notification.
    pub now: Timestamp,
}

impl Report<'_> {
    /// Whether the diagnostic is a reply of the remote host, and not our own words.
    fn is_reply(&self) -> bool {
        self.diagnostic.bytes().take_while(u8::is_ascii_digit).count() == 3
    }
}

/// Writes the notification. Every line ends with CRLF; nothing from outside can add a field or a part.
pub fn build(dsn: &Dsn<'_>) -> Vec<u8> {
    let global = !dsn.to.is_ascii() || dsn.reports.iter().any(|r| !r.recipient.is_ascii());
    let (kind, returned) = returned_part(&dsn.returned);
    let text = human_part(dsn);
    let status = status_part(dsn, global);
    let boundary = boundary(dsn.id, &[text.as_bytes(), &status, &returned]);

    let mut out = Vec::with_capacity(returned.len() + status.len() + text.len() + 2_048);
    header(dsn, &boundary, &mut out);
    part(&boundary, "text/plain; charset=utf-8", text.as_bytes(), &mut out);
    let status_type = if global { "message/global-delivery-status" } else { "message/delivery-status" };
    part(&boundary, status_type, &status, &mut out);
    if !returned.is_empty() {
        part(&boundary, kind.media_type(!returned.is_ascii()), &returned, &mut out);
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

// ---- header and parts -----------------------------------------------------------------------------------

fn header(dsn: &Dsn<'_>, boundary: &str, out: &mut Vec<u8>) {
    let worst = dsn.reports.iter().map(|r| r.action).min().unwrap_or(Action::Failed);
    let subject = match worst {
        Action::Failed => "Your message could not be delivered",
        Action::Delayed => "Your message is delayed",
        Action::Relayed => "Your message was passed on",
        Action::Delivered => "Your message was delivered",
    };
    field(out, "From", &format!("Mail Delivery System <MAILER-DAEMON@{}>", dsn.hostname));
    field(out, "To", &format!("<{}>", dsn.to));
    field(out, "Subject", subject);
    field(out, "Date", &date(dsn.now));
    field(out, "Message-ID", &format!("<{}@{}>", dsn.id, dsn.hostname));
    // RFC 3834 §5: so that no automaton answers.
    field(out, "Auto-Submitted", "auto-replied");
    field(out, "MIME-Version", "1.0");
    let report = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    field(out, "Content-Type", &report);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn part(boundary: &str, media_type: &str, body: &[u8], out: &mut Vec<u8>) {
    let encoding = if body.is_ascii() { "7bit" } else { "8bit" };
    out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
    field(out, "Content-Type", media_type);
    field(out, "Content-Transfer-Encoding", encoding);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// One that occurs in none of the parts. The ID is not to be guessed, so the first one nearly always is.
pub(crate) fn boundary(id: &str, parts: &[&[u8]]) -> String {
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let mut n = 0;
    loop {
        let boundary = format!("=_{id}_{n}");
        if !parts.iter().any(|p| memchr::memmem::find(p, boundary.as_bytes()).is_some()) {
            return boundary;
        }
        n += 1;
    }
}

fn human_part(dsn: &Dsn<'_>) -> String {
    let mut text = format!("This is the mail server at {}.\r\n", clean(dsn.hostname));
    let groups = [
        (
            Action::Failed,
            "Your message could not be delivered to the following recipients. It will not be tried again.",
        ),
        (
            Action::Delayed,
            "Your message has not reached the following recipients yet. You need not do anything: it is tried again.",
        ),
        (
            Action::Relayed,
            "Your message was passed on to servers that do not report delivery, for the following recipients.",
        ),
        (Action::Delivered, "Your message was delivered to the following recipients."),
    ];
    for (action, sentence) in groups {
        let of_group = || dsn.reports.iter().filter(|r| r.action == action);
        if of_group().next().is_none() {
            continue;
        }
        text.push_str("\r\n");
        wrap(&mut text, sentence, "");
        for report in of_group() {
            text.push_str("\r\n");
            wrap(&mut text, &format!("<{}>", clean(report.recipient)), "  ");
            if let Some(remote) = report.remote {
                let said = if report.is_reply() { "said" } else { "was tried last" };
                wrap(&mut text, &format!("the server {} {said}:", clean(remote)), "    ");
            }
            wrap(&mut text, &clean(&report.diagnostic), "    ");
            if let Some(until) = report.retry_until.filter(|_| action == Action::Delayed) {
                wrap(&mut text, &format!("It is tried until {}.", date(until)), "    ");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
