//! Aggregate reports of others. Whatever arrives is bounded before it is unpacked and while it is.

use std::io::{Cursor, Read};
use std::net::IpAddr;

use flate2::read::GzDecoder;
use mail_auth::report::{ActionDisposition, DmarcResult, Report};
use mail_parser::{MessageParser, MimeHeaders, PartType};

/// Octets of a message that is looked at.
pub const MESSAGE_MAX: usize = 10 * 1024 * 1024;
/// Octets of a report, unpacked.
pub const UNPACKED_MAX: u64 = 10 * 1024 * 1024;
/// How many times longer a report may be than its packed form.
pub const RATIO_MAX: u64 = 100;
/// Parts of a message that are tried.
const PARTS_MAX: usize = 20;

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who reports, as it says itself.
    pub reporter: String,
    /// Its ID of the report.
    pub id: String,
    /// The domain it is about.
    pub domain: String,
    /// The time it is about, in seconds of the Unix epoch.
    pub begin: u64,
    /// Its end.
    pub end: u64,
    /// Its rows.
    pub rows: Vec<ReceivedRow>,
}

/// Messages alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRow {
    /// Where they came from.
    pub source: Option<IpAddr>,
    /// How many.
    pub count: u32,
    /// What became of them: `none`, `pass`, `quarantine` or `reject`.
    pub disposition: &'static str,
    /// An aligned signature passed.
    pub dkim: bool,
    /// SPF passed for an aligned domain.
    pub spf: bool,
    /// The domain of their From field.
    pub header_from: String,
}

/// Finds the report in a message.
///
/// # Errors
/// Why there is none, or why it is not read.
pub fn parse(message: &[u8]) -> Result<Received, String> {
    if message.len() > MESSAGE_MAX {
        return Err("the message is larger than a report may be".into());
    }
    let message = MessageParser::new().parse(message).ok_or("it is no message")?;
    let mut why = String::from("it holds no report");
    for part in message.parts.iter().take(PARTS_MAX) {
        let name = part.attachment_name().unwrap_or_default().to_ascii_lowercase();
        let subtype =
            part.content_type().and_then(|ct| ct.subtype()).unwrap_or_default().to_ascii_lowercase();
        let is = |kind: &str, ending: &str| subtype.ends_with(kind) || name.ends_with(ending);
        let octets: &[u8] = match &part.body {
            PartType::Text(text) | PartType::Html(text) => text.as_bytes(),
            PartType::Binary(octets) | PartType::InlineBinary(octets) => octets,
            PartType::Message(_) | PartType::Multipart(_) => continue,
        };
        let xml = if is("gzip", ".gz") {
            unpacked(GzDecoder::new(octets), octets.len())
        } else if is("zip", ".zip") {
            unzipped(octets)
        } else if is("xml", ".xml") {
            Ok(octets.to_vec())
        } else {
            continue;
        };
        match xml.and_then(|xml| Report::parse_xml(&xml)) {
            Ok(report) => return Ok(plain(&report)),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The first file of an archive, which is the only one in a report (RFC 9990 §3.5.3).
fn unzipped(octets: &[u8]) -> Result<Vec<u8>, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(octets)).map_err(|e| e.to_string())?;
    let file = archive.by_index(0).map_err(|e| e.to_string())?;
    unpacked(file, octets.len())
}

fn unpacked(reader: impl Read, packed: usize) -> Result<Vec<u8>, String> {
    let limit = UNPACKED_MAX.min(RATIO_MAX * packed as u64);
    let mut out = Vec::new();
    reader.take(limit + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
    if out.len() as u64 > limit { Err("it is far larger unpacked than packed".into()) } else { Ok(out) }
}

fn plain(report: &Report) -> Received {
    let rows = report.records().iter().map(|record| ReceivedRow {
        source: record.source_ip(),
        count: record.count(),
        disposition: match record.action_disposition() {
            ActionDisposition::None | ActionDisposition::Unspecified => "none",
            ActionDisposition::Pass => "pass",
            ActionDisposition::Quarantine => "quarantine",
            ActionDisposition::Reject => "reject",
        },
        dkim: record.dmarc_dkim_result() == DmarcResult::Pass,
        spf: record.dmarc_spf_result() == DmarcResult::Pass,
        header_from: record.header_from().to_owned(),
    });
    Received {
        reporter: report.org_name().to_owned(),
        id: report.report_id().to_owned(),
        domain: report.domain().to_owned(),
        begin: report.date_range_begin(),
        end: report.date_range_end(),
        rows: rows.collect(),
    }
}
