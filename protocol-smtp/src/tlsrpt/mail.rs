//! A report as a message (RFC 8460 §5.3).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol_core::Timestamp;

use super::MEDIA_TYPE;
use super::report::Day;
use crate::dsn::{boundary, date, field, part};

/// Characters of base64 in a line (RFC 2045 §6.8).
const LINE: usize = 76;

/// A report to be mailed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail<'a> {
    /// Our name: `TLS-Report-Submitter`, and the domain of the sender.
    pub submitter: &'a str,
    /// The domain that the report is about: `TLS-Report-Domain`.
    pub domain: &'a str,
    /// Unique; letters and digits. Makes Message-ID and boundary.
    pub id: &'a str,
    /// `report-id` as the report has it.
    pub report_id: &'a str,
    /// The sender's address.
    pub from: &'a str,
    /// Where it goes.
    pub to: &'a str,
    /// The day.
    pub day: Day,
    /// The report's JSON, compressed with gzip.
    pub gzip: &'a [u8],
    /// Date of the message.
    pub now: Timestamp,
}

impl Mail<'_> {
    /// The attachment's name (RFC 8460 §5.1): who reports, about whom, from when until when, in seconds of
    /// unix time.
    pub fn file_name(&self) -> String {
        let (begin, end) = (self.day.start().secs(), self.day.last_second().secs());
        format!("{}!{}!{begin}!{end}.json.gz", self.submitter, self.domain)
    }

    /// The message, every line with CRLF.
    pub fn build(&self) -> Vec<u8> {
        let text = format!(
            "This is a report about TLS on connections to the mail servers of\r\n\
             {}, on {} (UTC), as seen by {}.\r\n\
             It is sent because the domain asks for it with a record at _smtp._tls.\r\n",
            self.domain, self.day, self.submitter
        );
        let boundary = boundary(self.id, &[text.as_bytes()]);
        let mut out = Vec::with_capacity(self.gzip.len() / 3 * 4 + 2_048);
        self.header(&boundary, &mut out);
        part(&boundary, "text/plain; charset=us-ascii", text.as_bytes(), &mut out);
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        field(&mut out, "Content-Type", MEDIA_TYPE);
        field(&mut out, "Content-Transfer-Encoding", "base64");
        let file = format!("attachment; filename=\"{}\"", self.file_name());
        field(&mut out, "Content-Disposition", &file);
        out.extend_from_slice(b"\r\n");
        for line in STANDARD.encode(self.gzip).as_bytes().chunks(LINE) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out
    }

    fn header(&self, boundary: &str, out: &mut Vec<u8>) {
        field(out, "From", &format!("<{}>", self.from));
        field(out, "To", &format!("<{}>", self.to));
        let subject = format!(
            "Report Domain: {} Submitter: {} Report-ID: <{}>",
            self.domain, self.submitter, self.report_id
        );
        field(out, "Subject", &subject);
        field(out, "Date", &date(self.now));
        field(out, "Message-ID", &format!("<{}@{}>", self.id, self.submitter));
        field(out, "TLS-Report-Domain", self.domain);
        field(out, "TLS-Report-Submitter", self.submitter);
        // RFC 8460 §5.3: what it is about must not keep it from arriving (RFC 8689 §3).
        field(out, "TLS-Required", "No");
        field(out, "Auto-Submitted", "auto-generated");
        field(out, "MIME-Version", "1.0");
        let report = format!("multipart/report; report-type=\"tlsrpt\"; boundary=\"{boundary}\"");
        field(out, "Content-Type", &report);
        out.extend_from_slice(b"\r\n");
    }
}
