//! A DMARC aggregate report as a message (RFC 9990 §3.5.2). What the report says is made elsewhere.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol_core::Timestamp;

use crate::dsn::{boundary, date, field, part};

/// Characters of base64 in a line (RFC 2045 §6.8).
const LINE: usize = 76;

/// A report to be mailed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateMail<'a> {
    /// Our name, and the domain of the sender.
    pub submitter: &'a str,
    /// The domain that the report is about.
    pub domain: &'a str,
    /// Unique; letters and digits. Makes Message-ID and boundary.
    pub id: &'a str,
    /// `report_id` as the report has it.
    pub report_id: &'a str,
    /// The sender's address.
    pub from: &'a str,
    /// Where it goes.
    pub to: &'a str,
    /// Begin and end of what it is about, in seconds of unix time.
    pub time: (u64, u64),
    /// The report's XML, compressed with gzip.
    pub gzip: &'a [u8],
    /// Date of the message.
    pub now: Timestamp,
}

impl AggregateMail<'_> {
    /// The attachment's name (RFC 9990 §3.5.1).
    pub fn file_name(&self) -> String {
        let (begin, end) = self.time;
        format!("{}!{}!{begin}!{end}.xml.gz", self.submitter, self.domain)
    }

    /// The message, every line with CRLF.
    pub fn build(&self) -> Vec<u8> {
        let text = format!(
            "This is an aggregate report about mail that came to {} under the name of\r\n\
             {}. It is sent because the domain's DMARC record asks for it.\r\n",
            self.submitter, self.domain
        );
        let boundary = boundary(self.id, &[text.as_bytes()]);
        let mut out = Vec::with_capacity(self.gzip.len() / 3 * 4 + 2_048);
        field(&mut out, "From", &format!("<{}>", self.from));
        field(&mut out, "To", &format!("<{}>", self.to));
        let subject = format!(
            "Report Domain: {} Submitter: {} Report-ID: <{}>",
            self.domain, self.submitter, self.report_id
        );
        field(&mut out, "Subject", &subject);
        field(&mut out, "Date", &date(self.now));
        field(&mut out, "Message-ID", &format!("<{}@{}>", self.id, self.submitter));
        field(&mut out, "Auto-Submitted", "auto-generated");
        field(&mut out, "MIME-Version", "1.0");
        field(&mut out, "Content-Type", &format!("multipart/mixed; boundary=\"{boundary}\""));
        out.extend_from_slice(b"\r\n");
        part(&boundary, "text/plain; charset=us-ascii", text.as_bytes(), &mut out);
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        field(&mut out, "Content-Type", "application/gzip");
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_as_a_message() {
        let mail = AggregateMail {
            submitter: "mx.here.test",
            domain: "a.test",
            id: "0f1e",
            report_id: "2026-11-26.0123456789abcdef0123456789abcdef@mx.here.test",
            from: "postmaster@mx.here.test",
            to: "dmarc@a.test",
            time: (1_795_651_200, 1_795_737_599),
            gzip: &[0x1f; 100],
            now: Timestamp::from_secs(1_795_740_000),
        };
        let text = String::from_utf8(mail.build()).unwrap();
        assert!(text.split("\r\n").all(|line| !line.contains('\n') && line.len() <= 100), "{text}");
        let unfolded = text.replace("\r\n ", " ").replace("\r\n\t", " ");
        for part in [
            "Subject: Report Domain: a.test Submitter: mx.here.test Report-ID: <2026-11-26.0123456789abcdef",
            "Content-Type: application/gzip\r\n",
            "filename=\"mx.here.test!a.test!1795651200!1795737599.xml.gz\"",
            "Auto-Submitted: auto-generated\r\n",
        ] {
            assert!(unfolded.contains(part), "{part}\n{text}");
        }
    }
}
