//! Delivery status notifications (RFC 3461, 3462, 3464; RFC 6533 where an address is not ASCII).
//!
//! Pure: what to say, an ID and the time go in, a message comes out. Whether a notification is due is
//! decided by [`decide`](crate::queue::decide), and to whom it goes by the envelope: its reverse-path is
//! null, always.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use protocol_core::Timestamp;

use crate::params::decode_xtext;
use crate::status::Status;
use crate::stuffing::LineCheck;

/// Octets of the message that go back with a notification.
pub const RETURNED_MAX: usize = 50 * 1024;
/// Where a line is folded when it can be (RFC 5322 §2.1.1).
const FOLD_AT: usize = 76;
/// Where a word without spaces is cut: a line with it stays below 998 octets.
const WORD_MAX: usize = 900;

/// What is told about a recipient: `Action` of RFC 3464 §2.3.3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Action {
    Failed,
    Delayed,
    Relayed,
    Delivered,
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
    /// The host that said so.
    pub remote: Option<&'a str>,
    /// The host's reply, which begins with its three digits, or our own words.
    pub diagnostic: String,
    /// For a delay: until when it will be tried.
    pub retry_until: Option<Timestamp>,
}

/// What of the message goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Returned {
    /// All of it, when it has at most [`RETURNED_MAX`] octets; else its header.
    Message(Vec<u8>),
    /// Its header, cut at [`RETURNED_MAX`]. Empty: nothing goes back.
    Header(Vec<u8>),
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
    /// At least one.
    pub reports: &'a [Report<'a>],
    /// What goes back.
    pub returned: Returned,
    /// Date of the notification and of the last attempt.
    pub now: Timestamp,
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
                wrap(&mut text, &format!("the server {} said:", clean(remote)), "    ");
            }
            wrap(&mut text, &clean(&report.diagnostic), "    ");
            if let Some(until) = report.retry_until.filter(|_| action == Action::Delayed) {
                wrap(&mut text, &format!("It is tried until {}.", date(until)), "    ");
            }
        }
    }
    text
}

/// RFC 3464 §2: fields of the message, then a group of fields for each recipient.
fn status_part(dsn: &Dsn<'_>, global: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(envid) = dsn.envid.and_then(xtext) {
        field(&mut out, "Original-Envelope-Id", &envid);
    }
    field(&mut out, "Reporting-MTA", &format!("dns; {}", dsn.hostname));
    field(&mut out, "Arrival-Date", &date(dsn.arrival));
    for report in dsn.reports {
        out.extend_from_slice(b"\r\n");
        recipient_fields(report, dsn.now, global, &mut out);
    }
    out
}

fn recipient_fields(report: &Report<'_>, now: Timestamp, global: bool, out: &mut Vec<u8>) {
    if let Some(original) = report.orcpt.and_then(|o| original_recipient(o, global)) {
        field(out, "Original-Recipient", &original);
    }
    // RFC 6533 §3: utf-8 is the type of an address that is not ASCII.
    let kind = if report.recipient.is_ascii() { "rfc822" } else { "utf-8" };
    field(out, "Final-Recipient", &format!("{kind}; {}", report.recipient));
    let action = match report.action {
        Action::Failed => "failed",
        Action::Delayed => "delayed",
        Action::Relayed => "relayed",
        Action::Delivered => "delivered",
    };
    field(out, "Action", action);
    field(out, "Status", &report.status.to_string());
    if let Some(remote) = report.remote {
        field(out, "Remote-MTA", &format!("dns; {remote}"));
    }
    let digits = report.diagnostic.bytes().take_while(u8::is_ascii_digit).count();
    let kind = if digits == 3 { "smtp" } else { "X-Inbox" };
    let diagnostic = clean(&report.diagnostic);
    let diagnostic = if global { diagnostic } else { ascii(&diagnostic) };
    field(out, "Diagnostic-Code", &format!("{kind}; {diagnostic}"));
    field(out, "Last-Attempt-Date", &date(now));
    if let Some(until) = report.retry_until.filter(|_| report.action == Action::Delayed) {
        field(out, "Will-Retry-Until", &date(until));
    }
}

/// RFC 3461 §4.2: the type stays, the address comes out of its xtext.
fn original_recipient(orcpt: &str, global: bool) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    let address = if kind.eq_ignore_ascii_case("utf-8") { String::from(address) } else { xtext(address)? };
    (global || address.is_ascii()).then(|| format!("{kind}; {address}"))
}

// ---- what goes back -------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
enum Kind {
    Message,
    Header,
}

impl Kind {
    /// RFC 6533 §4 names types for headers that are not ASCII; in a body they change nothing.
    fn media_type(self, eight_bit: bool) -> &'static str {
        match (self, eight_bit) {
            (Kind::Message, _) => "message/rfc822",
            (Kind::Header, false) => "text/rfc822-headers",
            (Kind::Header, true) => "message/global-headers",
        }
    }
}

/// The returned octets as they can stand in a part: whole lines, none of them with a lone CR, LF or NUL.
fn returned_part(returned: &Returned) -> (Kind, Vec<u8>) {
    let (kind, bytes) = match returned {
        Returned::Message(bytes) if bytes.len() <= RETURNED_MAX && is_text(bytes) => {
            (Kind::Message, &bytes[..])
        }
        Returned::Message(bytes) | Returned::Header(bytes) => (Kind::Header, header_of(bytes)),
    };
    let mut bytes = Vec::from(if is_text(bytes) { bytes } else { b"" });
    if !bytes.is_empty() && !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    (kind, bytes)
}

fn is_text(bytes: &[u8]) -> bool {
    let mut check = LineCheck::new();
    check.check(bytes).is_ok() && check.finish().is_ok()
}

/// Everything before the first empty line, cut at a line end when it is too long.
fn header_of(bytes: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 2);
    let header = bytes.get(..end.min(RETURNED_MAX)).unwrap_or(bytes);
    if header.ends_with(b"\r\n") || end <= RETURNED_MAX && !header.ends_with(b"\r") {
        return header;
    }
    let whole = memchr::memmem::rfind(header, b"\r\n").map_or(0, |at| at + 2);
    header.get(..whole).unwrap_or(b"")
}

// ---- text -----------------------------------------------------------------------------------------------

/// Appends a field, folded where it has spaces. Controls in the value become `?`.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b":");
    let mut column = name.len() + 1;
    for word in pieces(&clean(value)) {
        if column + 1 + word.len() > FOLD_AT && column > name.len() + 1 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend_from_slice(b" ");
        out.extend_from_slice(word.as_bytes());
        column += 1 + word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a sentence, broken into lines that begin with `indent`.
fn wrap(text: &mut String, sentence: &str, indent: &str) {
    let mut column = 0;
    for word in pieces(sentence) {
        if column > 0 && column + 1 + word.len() > FOLD_AT {
            text.push_str("\r\n");
            column = 0;
        }
        let space = if column == 0 { indent } else { " " };
        text.push_str(space);
        text.push_str(word);
        column += space.len() + word.len();
    }
    text.push_str("\r\n");
}

/// Words, none longer than [`WORD_MAX`].
fn pieces(value: &str) -> impl Iterator<Item = &str> {
    value.split(' ').filter(|w| !w.is_empty()).flat_map(|mut word| {
        core::iter::from_fn(move || {
            let end = (0..=WORD_MAX.min(word.len())).rev().find(|at| word.is_char_boundary(*at))?;
            let (front, rest) = word.split_at_checked(end).filter(|(front, _)| !front.is_empty())?;
            word = rest;
            Some(front)
        })
    })
}

/// Without what could end a line or deceive a reader.
pub(crate) fn clean(value: &str) -> String {
    let bad = |c: char| {
        c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    value.chars().map(|c| if bad(c) { '?' } else { c }).collect()
}

fn ascii(value: &str) -> String {
    value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Decoded xtext, if it is printable ASCII.
fn xtext(value: &str) -> Option<String> {
    let octets: Vec<u8> = decode_xtext(value)?.collect();
    let printable = octets.iter().all(|b| matches!(b, 0x20..=0x7e));
    String::from_utf8(octets).ok().filter(|_| printable)
}

pub(crate) fn date(at: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = at.civil().write_rfc5322(&mut text);
    text
}

#[cfg(test)]
mod tests;
