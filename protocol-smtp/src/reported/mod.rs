//! What other servers report about messages of ours: delivery status notifications that come back (RFC 3464,
//! RFC 6533; RFC 3886 is read alike) and complaints (RFC 5965).
//!
//! **It is** three steps without a state: [`locate`] says which octets of a message with a known structure are
//! wanted, [`read`] makes a [`Report`] of them, and [`outcomes`] says what it means for the recipients of the
//! message that it is about. Which message that is, an [`envid`] proves.
//!
//! **It is not** a judge of who wrote the report: a report comes from anybody, and nothing may follow from one
//! that is not proved to be about a message of ours. What is no report, or goes beyond a limit, is [`NoReport`],
//! and the message that holds it is mail like any other.

mod delivery;
pub mod envid;
mod feedback;
mod fields;
mod outcome;
mod trace;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use protocol_core::message::decode::Decoder;
use protocol_core::message::header::message_ids;
use protocol_core::message::{Encoding, Fields, Kind, Part, Structure};

pub use delivery::{Action, DeliveryReport, Diagnostic, Recipient};
pub use feedback::{Feedback, FeedbackReport};
pub use outcome::{Outcome, Suppress, Told, outcomes};
pub use trace::{Returned, Trace};

/// Octets of the part for machines, as it stands in the message.
pub const REPORT_OCTETS_MAX: u64 = 512 * 1024;
/// Octets of the returned header that are looked at.
pub const RETURNED_OCTETS_MAX: u64 = 64 * 1024;
/// Recipients of one report.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Fields of one group that are looked at.
pub const FIELDS_MAX: usize = 100;
/// Octets that are kept of a field's value.
pub const VALUE_MAX: usize = 1_024;

/// A report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// What became of a message.
    Delivery(DeliveryReport),
    /// What a recipient thinks of it.
    Feedback(FeedbackReport),
}

impl Report {
    /// The envelope identifier under which the message was sent, its xtext undone.
    pub fn envelope_id(&self) -> Option<&str> {
        match self {
            Report::Delivery(report) => report.envelope_id.as_deref(),
            Report::Feedback(report) => report.envelope_id.as_deref(),
        }
    }

    /// Message-ID of the returned message or header, with its angle brackets.
    pub fn message_id(&self) -> Option<&str> {
        match self {
            Report::Delivery(report) => report.message_id.as_deref(),
            Report::Feedback(report) => report.message_id.as_deref(),
        }
    }
}

/// Why a message is no report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoReport {
    /// It is not `multipart/report` (RFC 6522).
    OtherMessage,
    /// It is a report of another kind, or its type and its parts do not fit.
    OtherReport,
    /// The part for machines is longer than [`REPORT_OCTETS_MAX`], or tells of more than [`RECIPIENTS_MAX`].
    TooLarge,
    /// A field that makes it a report is missing, doubled or cannot be read.
    Malformed,
}

impl fmt::Display for NoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoReport::OtherMessage => "it is no report",
            NoReport::OtherReport => "it is a report of another kind",
            NoReport::TooLarge => "the report is too large",
            NoReport::Malformed => "the report is not as its RFC has it",
        })
    }
}

impl core::error::Error for NoReport {}

/// Which kind of report it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportKind {
    /// `message/delivery-status`, `message/global-delivery-status` or `message/tracking-status`.
    Delivery,
    /// `message/feedback-report`.
    Feedback,
}

/// The octets of a message that make it a report: to be fetched and given to [`read`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// Which kind.
    pub kind: ReportKind,
    /// Where the part for machines stands, at most [`REPORT_OCTETS_MAX`] octets.
    pub status: Range<u64>,
    /// Where the returned header stands, at most [`RETURNED_OCTETS_MAX`] octets; empty when nothing was returned.
    pub returned: Range<u64>,
    encodings: [Encoding; 2],
}

/// Finds the parts of a report (RFC 6522 §3). The message itself must be one; what is forwarded within another
/// message is somebody else's.
pub fn locate(structure: &Structure) -> Result<Located, NoReport> {
    let root = structure.root();
    let is_report = root.kind == Kind::Multipart
        && (root.media_type.as_str(), root.media_subtype.as_str()) == ("multipart", "report");
    if !is_report {
        return Err(NoReport::OtherMessage);
    }
    let parts = || structure.children(0).filter_map(|index| Some((index, structure.part(index)?)));
    let (index, part) = parts().find(|(_, part)| status_kind(part).is_some()).ok_or(NoReport::OtherReport)?;
    let kind = status_kind(part).ok_or(NoReport::OtherReport)?;
    // Some forget the parameter, which says nothing that the part does not say. One that says something else counts.
    let named = root.param("report-type").map(|name| kind_named(&name.to_ascii_lowercase()));
    if named.is_some_and(|named| named != Some(kind)) {
        return Err(NoReport::OtherReport);
    }
    if part.size() > REPORT_OCTETS_MAX {
        return Err(NoReport::TooLarge);
    }
    let behind = parts().filter(|(at, _)| *at > index);
    let (returned, encoding) =
        behind.filter_map(|(at, part)| returned(structure, at, part)).next().unwrap_or_default();
    let returned = returned.start..returned.end.min(returned.start.saturating_add(RETURNED_OCTETS_MAX));
    Ok(Located { kind, status: part.body(), returned, encodings: [part.encoding.clone(), encoding] })
}

fn status_kind(part: &Part) -> Option<ReportKind> {
    let is_leaf = part.kind == Kind::Leaf && part.media_type == "message";
    kind_named(&part.media_subtype).filter(|_| is_leaf)
}

/// The kind that a subtype names, or the `report-type` that is the same (RFC 6522 §3).
fn kind_named(name: &str) -> Option<ReportKind> {
    match name {
        "delivery-status" | "global-delivery-status" | "tracking-status" => Some(ReportKind::Delivery),
        "feedback-report" => Some(ReportKind::Feedback),
        _ => None,
    }
}

/// Where the header stands that a part returns: that of the message in it, or all of it.
fn returned(structure: &Structure, index: usize, part: &Part) -> Option<(Range<u64>, Encoding)> {
    match (part.media_type.as_str(), part.media_subtype.as_str()) {
        ("message", "rfc822" | "global") if part.kind == Kind::Message => {
            let inside = structure.children(index).next().and_then(|at| structure.part(at))?;
            Some((inside.header(), Encoding::SevenBit))
        }
        ("text", "rfc822-headers")
        | ("message", "global-headers" | "rfc822-headers" | "rfc822" | "global") => {
            Some((part.body(), part.encoding.clone()))
        }
        _ => None,
    }
}

/// Reads a report from the octets of [`Located::status`] and [`Located::returned`], as they stand in the message.
pub fn read(located: &Located, status: &[u8], returned: &[u8]) -> Result<Report, NoReport> {
    if status.len() as u64 > REPORT_OCTETS_MAX {
        return Err(NoReport::TooLarge);
    }
    let [of_status, of_returned] = &located.encodings;
    let status = decoded(of_status, status);
    let end = returned.len().min(RETURNED_OCTETS_MAX as usize);
    let message_id = message_id(&decoded(of_returned, &returned[..end]));
    match located.kind {
        ReportKind::Delivery => DeliveryReport::read(&status, message_id).map(Report::Delivery),
        ReportKind::Feedback => FeedbackReport::read(&status, message_id).map(Report::Feedback),
    }
}

fn decoded(encoding: &Encoding, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut decoder = Decoder::new(encoding);
    decoder.feed(octets, &mut out);
    decoder.finish(&mut out);
    out
}

fn message_id(header: &[u8]) -> Option<String> {
    let field = Fields::find(header, "Message-ID")?;
    message_ids(field.value).next().map(fields::text).filter(|id| id.len() <= VALUE_MAX)
}

#[cfg(test)]
mod tests;
