//! Complaints and other feedback (RFC 5965 §3, RFC 6430, RFC 6591).

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use protocol_core::Timestamp;
use protocol_core::message::DateTime;

use super::NoReport;
use super::fields::{address, groups, text};

/// What a recipient, or a server for one, thinks of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedbackReport {
    /// Feedback-Type.
    pub feedback: Feedback,
    /// User-Agent: what made the report.
    pub agent: Option<String>,
    /// Original-Envelope-Id.
    pub envelope_id: Option<String>,
    /// Original-Mail-From; the null reverse-path is empty.
    pub sender: Option<String>,
    /// Original-Rcpt-To, of the first [`FIELDS_MAX`](super::FIELDS_MAX) fields. Some reporters make the addresses unreadable (RFC 6590).
    pub recipients: Vec<String>,
    /// Arrival-Date, or Received-Date as it was called before.
    pub arrival: Option<Timestamp>,
    /// Source-IP: who brought the message.
    pub source_ip: Option<IpAddr>,
    /// Of what was returned, with its angle brackets.
    pub message_id: Option<String>,
}

/// Feedback-Type (RFC 5965 §7.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Feedback {
    Abuse,
    Fraud,
    Virus,
    NotSpam,
    AuthFailure,
    /// `other`, or a word that is not known.
    Other,
}

impl Feedback {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Feedback::Abuse => "abuse",
            Feedback::Fraud => "fraud",
            Feedback::Virus => "virus",
            Feedback::NotSpam => "not-spam",
            Feedback::AuthFailure => "auth-failure",
            Feedback::Other => "other",
        }
    }

    /// Whether somebody complained that he got the message at all. What a scanner found in it, and what became of
    /// its signature, is no complaint.
    pub const fn is_complaint(self) -> bool {
        matches!(self, Feedback::Abuse | Feedback::Fraud)
    }
}

impl FeedbackReport {
    /// Reads the part's octets, its transfer encoding undone.
    pub(super) fn read(octets: &[u8], message_id: Option<String>) -> Result<FeedbackReport, NoReport> {
        let group = groups(octets).next().ok_or(NoReport::Malformed)?;
        if group.all("Feedback-Type").count() != 1 {
            return Err(NoReport::Malformed);
        }
        let feedback = match group.word("Feedback-Type").ok_or(NoReport::Malformed)?.as_str() {
            "abuse" => Feedback::Abuse,
            "fraud" => Feedback::Fraud,
            "virus" => Feedback::Virus,
            "not-spam" => Feedback::NotSpam,
            "auth-failure" => Feedback::AuthFailure,
            _ => Feedback::Other,
        };
        let recipients = group.all("Original-Rcpt-To").filter_map(|value| {
            let value = text(&value);
            // No type stands in front (RFC 5965 §3.2), but some write one.
            let (kind, plain) = value.split_once(';').unwrap_or(("", &value));
            address(&kind.trim().to_ascii_lowercase(), plain.trim())
        });
        let arrival = group.text("Arrival-Date").or_else(|| group.text("Received-Date"));
        let sender = group.text("Original-Mail-From");
        Ok(FeedbackReport {
            feedback,
            agent: group.text("User-Agent"),
            envelope_id: group.text("Original-Envelope-Id"),
            sender: sender.map(|path| String::from(path.trim_start_matches('<').trim_end_matches('>'))),
            recipients: recipients.collect(),
            arrival: arrival.and_then(|date| Some(DateTime::parse_rfc5322(date.as_bytes())?.time)),
            source_ip: group.word("Source-IP").and_then(|ip| ip.parse().ok()),
            message_id,
        })
    }
}
