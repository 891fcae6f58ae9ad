//! Delivery status notifications (RFC 3464 §2; RFC 6533 §3; RFC 3886 §3).

use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::Timestamp;
use protocol_core::message::DateTime;

use super::fields::{Group, groups};
use super::{NoReport, RECIPIENTS_MAX};
use crate::status::Status;

/// What became of a message, as far as its reporter knows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeliveryReport {
    /// Original-Envelope-Id.
    pub envelope_id: Option<String>,
    /// Reporting-MTA without its type.
    pub reporter: Option<String>,
    /// Arrival-Date.
    pub arrival: Option<Timestamp>,
    /// At least one, at most [`RECIPIENTS_MAX`].
    pub recipients: Vec<Recipient>,
    /// Of what was returned, with its angle brackets.
    pub message_id: Option<String>,
}

/// What became of one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Original-Recipient: whom the sender named (ORCPT).
    pub original: Option<String>,
    /// Final-Recipient: whom the reporter knows.
    pub last: Option<String>,
    /// Action.
    pub action: Action,
    /// Status; without a usable one, that of the diagnostic.
    pub status: Option<Status>,
    /// Diagnostic-Code.
    pub diagnostic: Option<Diagnostic>,
    /// Remote-MTA without its type: who said so to the reporter.
    pub remote: Option<String>,
}

/// Action (RFC 3464 §2.3.3; RFC 3886 §3.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
    /// Delivered to a list or to the targets of an alias, who may fail yet.
    Expanded,
    /// Handed to the next hop, which may fail yet (tracking only).
    Transferred,
    /// A word that is not known, or `opaque`.
    Other,
}

/// Diagnostic-Code (RFC 3464 §2.3.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// In lower case: `smtp`, `x-unix`; empty when there is none.
    pub kind: String,
    /// On one line.
    pub text: String,
}

impl Diagnostic {
    /// The reply code when it is a reply of SMTP.
    pub fn code(&self) -> Option<u16> {
        let digits = self.text.get(..3).filter(|_| self.kind == "smtp")?;
        let whole = !self.text[3..].starts_with(|c: char| c.is_ascii_alphanumeric());
        digits.parse().ok().filter(|code| whole && (200..600).contains(code))
    }
}

impl DeliveryReport {
    /// Reads the part's octets, its transfer encoding undone.
    pub(super) fn read(octets: &[u8], message_id: Option<String>) -> Result<DeliveryReport, NoReport> {
        let mut report = DeliveryReport { message_id, ..DeliveryReport::default() };
        for (n, group) in groups(octets).enumerate() {
            // The first group is about the message; some leave it out, or forget the empty line behind it.
            if n == 0 {
                report.envelope_id = group.text("Original-Envelope-Id");
                report.reporter = group.typed("Reporting-MTA").map(|(_, host)| host);
                let arrival = group.text("Arrival-Date");
                report.arrival =
                    arrival.and_then(|date| Some(DateTime::parse_rfc5322(date.as_bytes())?.time));
            }
            let Some(recipient) = Recipient::read(group) else { continue };
            if report.recipients.len() == RECIPIENTS_MAX {
                return Err(NoReport::TooLarge);
            }
            report.recipients.push(recipient);
        }
        if report.recipients.is_empty() { Err(NoReport::Malformed) } else { Ok(report) }
    }
}

impl Recipient {
    /// None for a group that names nobody or says nothing of him.
    fn read(group: Group<'_>) -> Option<Recipient> {
        let action = match group.word("Action")?.as_str() {
            "failed" => Action::Failed,
            "delayed" => Action::Delayed,
            "delivered" => Action::Delivered,
            "relayed" => Action::Relayed,
            "expanded" => Action::Expanded,
            "transferred" => Action::Transferred,
            _ => Action::Other,
        };
        let (original, last) = (group.address("Original-Recipient"), group.address("Final-Recipient"));
        if original.is_none() && last.is_none() {
            return None;
        }
        let diagnostic = group.typed("Diagnostic-Code").map(|(kind, text)| Diagnostic { kind, text });
        let status = group.word("Status").and_then(|word| Status::parse(word.as_bytes()));
        let said = || {
            let words = diagnostic.as_ref()?.text.split(' ').take(2);
            words.filter_map(|word| Status::parse(word.trim_start_matches('#').as_bytes())).next()
        };
        let status = status.or_else(said);
        let remote = group.typed("Remote-MTA").map(|(_, host)| host);
        Some(Recipient { original, last, action, status, diagnostic, remote })
    }
}
