//! What a report means for the recipients of the message that it is about.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use protocol_core::address::Canonical;
use protocol_core::time::Duration;

use super::delivery::{Action, DeliveryReport, Recipient};
use super::feedback::FeedbackReport;
use super::fields::out_of_xtext;
use super::{Report, VALUE_MAX};
use crate::queue::{ADDRESS_SUPPRESSED, Class, classify};
use crate::status::Status;

/// What a report tells of one recipient.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Told {
    /// It came back after another server had taken it.
    Bounced,
    /// It is still under way.
    Delayed,
    /// It is in the mailbox.
    Delivered,
    /// It was passed on to where nothing is reported any more.
    Relayed,
    /// Its recipient complained.
    Complained,
}

impl Told {
    /// The stable name for events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Told::Bounced => "bounced",
            Told::Delayed => "delayed",
            Told::Delivered => "delivered",
            Told::Relayed => "relayed",
            Told::Complained => "complained",
        }
    }
}

/// That no more mail goes to the address, for the sending organisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suppress {
    /// From now; none: without an end.
    pub lasts: Option<Duration>,
}

/// What is to be written about one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Index of the recipient among those that were given.
    pub recipient: usize,
    /// What is told.
    pub told: Told,
    /// One line of at most [`VALUE_MAX`] octets: the status and the diagnostic, or what was complained of.
    pub reply: String,
    /// Who said so: the remote server, else the reporter.
    pub host: Option<String>,
    /// Whether the address is to be suppressed.
    pub suppress: Option<Suppress>,
}

/// What the report means for `sent`, the recipients of the message as they were sent to. It must be proved that the
/// report is about that message. Of several groups about one recipient the first counts; recipients that are not
/// among `sent` count for nothing.
pub fn outcomes(report: &Report, sent: &[&str]) -> Vec<Outcome> {
    let mut known = BTreeMap::new();
    for (index, address) in sent.iter().enumerate() {
        known.entry(canonical(address)).or_insert(index);
    }
    match report {
        Report::Delivery(report) => delivery(report, &known),
        Report::Feedback(report) => feedback(report, &known, sent.len()),
    }
}

type Known = BTreeMap<String, usize>;

fn canonical(address: &str) -> String {
    Canonical::parse(address).map_or_else(|_| String::from(address), |canonical| canonical.to_string())
}

/// The index of an address, as it is written or with its xtext undone.
fn index(known: &Known, address: &str) -> Option<usize> {
    let found = known.get(&canonical(address));
    found.or_else(|| known.get(&canonical(&out_of_xtext(address)?))).copied()
}

fn delivery(report: &DeliveryReport, known: &Known) -> Vec<Outcome> {
    let mut seen = BTreeSet::new();
    let one = |recipient: &Recipient| {
        // Whom we named counts before whom the last server knows: mail that was forwarded fails elsewhere, and it is
        // our recipient that is not reached.
        let addresses = recipient.original.iter().chain(&recipient.last);
        let index = addresses.filter_map(|address| index(known, address)).next()?;
        let told = match recipient.action {
            Action::Failed => Told::Bounced,
            Action::Delayed => Told::Delayed,
            Action::Delivered => Told::Delivered,
            Action::Relayed | Action::Expanded => Told::Relayed,
            Action::Transferred | Action::Other => return None,
        };
        let host = recipient.remote.clone().or_else(|| report.reporter.clone());
        let suppress = is_gone(recipient).then_some(Suppress { lasts: Some(ADDRESS_SUPPRESSED) });
        Some(Outcome { recipient: index, told, reply: reply(recipient), host, suppress })
    };
    let mut all: Vec<Outcome> = report.recipients.iter().filter_map(one).collect();
    all.retain(|outcome| seen.insert(outcome.recipient));
    all
}

/// Whether the report says for good that there is no such address, by the same rules as a reply to RCPT. That a
/// domain is gone is never taken from another's word.
fn is_gone(recipient: &Recipient) -> bool {
    let permanent = recipient.status.is_none_or(|status| status.class == 5);
    if recipient.action != Action::Failed || !permanent {
        return false;
    }
    let code = recipient.diagnostic.as_ref().and_then(|diagnostic| diagnostic.code());
    // Without a reply the status alone is as good as the reply that carries it; without either nothing is said.
    let code = code.or(recipient.status.map(|_| 550)).unwrap_or(0);
    let text = recipient.diagnostic.as_ref().map_or("", |diagnostic| diagnostic.text.as_str());
    classify(code, recipient.status, text) == Class::AddressPermanent
}

fn reply(recipient: &Recipient) -> String {
    let text = recipient.diagnostic.as_ref().map_or("", |diagnostic| diagnostic.text.as_str());
    let shown = text.split(' ').take(2).any(|word| Status::parse(word.as_bytes()).is_some());
    let reply = match recipient.status {
        Some(status) if !shown => format!("{status} {text}"),
        _ => String::from(text),
    };
    cut(reply.trim())
}

fn cut(text: &str) -> String {
    let end = (0..=VALUE_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    String::from(text.get(..end).unwrap_or(""))
}

/// A complaint is about the recipients it names. One that names none that can be read (RFC 6590) is about the only
/// recipient, when there is only one.
fn feedback(report: &FeedbackReport, known: &Known, sent: usize) -> Vec<Outcome> {
    if !report.feedback.is_complaint() {
        return Vec::new();
    }
    let mut about: BTreeSet<usize> = report.recipients.iter().filter_map(|r| index(known, r)).collect();
    if about.is_empty() && sent == 1 {
        about.insert(0);
    }
    let reply = match &report.agent {
        Some(agent) => cut(&format!("{} (reported by {agent})", report.feedback.name())),
        None => String::from(report.feedback.name()),
    };
    let one = |recipient| Outcome {
        recipient,
        told: Told::Complained,
        reply: reply.clone(),
        host: None,
        suppress: Some(Suppress { lasts: None }),
    };
    about.into_iter().map(one).collect()
}
