//! A report that others send us about connections to our hosts (RFC 8460 §4.4).
//!
//! It comes from anybody: whoever unpacks it stops at [`REPORT_OCTETS_MAX`] and at [`RATIO_MAX`] times what came,
//! and here texts, policies and details have limits. Members that are not known are skipped.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::aggregate::{DETAILS_MAX, Detail, POLICIES_MAX};
use super::read::{Malformed, Reader, Result as Read};
use super::session::{PolicyKind, PolicySeen, ResultType};

/// Octets of a report, unpacked.
pub const REPORT_OCTETS_MAX: usize = 10 * 1024 * 1024;
/// How many times longer a report may become when it is unpacked.
pub const RATIO_MAX: usize = 100;
/// Lines of a policy and patterns that are kept.
const LINES_MAX: usize = 100;

/// A report.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Received {
    /// `organization-name`: whose report it is.
    pub organization: String,
    /// `contact-info`.
    pub contact: String,
    /// `report-id`.
    pub id: String,
    /// `start-datetime` as given.
    pub start: String,
    /// `end-datetime` as given.
    pub end: String,
    /// What is told, for each policy.
    pub policies: Vec<ReceivedPolicy>,
}

/// What a report tells of one policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedPolicy {
    /// The policy; its domain should be one of ours.
    pub policy: PolicySeen,
    /// `total-successful-session-count`.
    pub successes: u64,
    /// `total-failure-session-count`.
    pub failures: u64,
    /// Kinds of failure and how often each was seen. A `result-type` that is not known is
    /// [`ResultType::ValidationFailure`], with its name as the reason where none is given.
    pub details: Vec<(Detail, u64)>,
}

/// Why what came is no report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportFault {
    /// It is longer than [`REPORT_OCTETS_MAX`].
    TooLong,
    /// It is no JSON, or its members are not those of a report.
    Malformed,
    /// It tells of no policy.
    Empty,
}

impl fmt::Display for ReportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReportFault::TooLong => "the report is longer than 10 MiB",
            ReportFault::Malformed => "the report is not as RFC 8460 has it",
            ReportFault::Empty => "the report tells of no policy",
        })
    }
}

impl core::error::Error for ReportFault {}

impl Received {
    /// Reads a report's JSON.
    pub fn read(json: &[u8]) -> Result<Received, ReportFault> {
        if json.len() > REPORT_OCTETS_MAX {
            return Err(ReportFault::TooLong);
        }
        let report = whole(json).map_err(|Malformed| ReportFault::Malformed)?;
        if report.policies.is_empty() { Err(ReportFault::Empty) } else { Ok(report) }
    }
}

fn whole(json: &[u8]) -> Read<Received> {
    let mut report = Received::default();
    let mut reader = Reader::new(json);
    reader.object(|reader, name| {
        match name {
            "organization-name" => report.organization = reader.string()?,
            "contact-info" => report.contact = reader.string()?,
            "report-id" => report.id = reader.string()?,
            "date-range" => reader.object(|reader, name| {
                match name {
                    "start-datetime" => report.start = reader.string()?,
                    "end-datetime" => report.end = reader.string()?,
                    _ => reader.skip()?,
                }
                Ok(())
            })?,
            "policies" => reader.array(|reader| {
                let policy = policy(reader)?;
                if report.policies.len() < POLICIES_MAX {
                    report.policies.extend(policy);
                }
                Ok(())
            })?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(report)
}

/// One policy; none when its kind is not known.
fn policy(reader: &mut Reader<'_>) -> Read<Option<ReceivedPolicy>> {
    let mut seen = None;
    let (mut successes, mut failures, mut details) = (0, 0, Vec::new());
    reader.object(|reader, name| {
        match name {
            "policy" => seen = policy_seen(reader)?,
            "summary" => reader.object(|reader, name| {
                match name {
                    "total-successful-session-count" => successes = reader.number()?,
                    "total-failure-session-count" => failures = reader.number()?,
                    _ => reader.skip()?,
                }
                Ok(())
            })?,
            "failure-details" => reader.array(|reader| {
                let detail = detail(reader)?;
                if details.len() < DETAILS_MAX {
                    details.push(detail);
                }
                Ok(())
            })?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(seen.map(|policy| ReceivedPolicy { policy, successes, failures, details }))
}

fn policy_seen(reader: &mut Reader<'_>) -> Read<Option<PolicySeen>> {
    let mut kind = None;
    let (mut domain, mut strings, mut mx_hosts) = (String::new(), Vec::new(), Vec::new());
    reader.object(|reader, name| {
        match name {
            "policy-type" => kind = PolicyKind::parse(&reader.string()?),
            "policy-domain" => domain = reader.string()?,
            "policy-string" => strings = texts(reader)?,
            "mx-host" => mx_hosts = texts(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(kind.map(|kind| PolicySeen { kind, domain, strings, mx_hosts }))
}

/// An array of texts, or one text, as some write it where there is only one.
fn texts(reader: &mut Reader<'_>) -> Read<Vec<String>> {
    let mut texts = Vec::new();
    if reader.peek() == Some(b'"') {
        texts.push(reader.string()?);
        return Ok(texts);
    }
    reader.array(|reader| {
        let text = reader.string()?;
        if texts.len() < LINES_MAX {
            texts.push(text);
        }
        Ok(())
    })?;
    Ok(texts)
}

fn detail(reader: &mut Reader<'_>) -> Read<(Detail, u64)> {
    let mut found = Detail {
        result: ResultType::ValidationFailure,
        sending_ip: None,
        mx: None,
        receiving_ip: None,
        reason: None,
    };
    let (mut count, mut kind) = (0, String::new());
    reader.object(|reader, name| {
        match name {
            "result-type" => kind = reader.string()?,
            "sending-mta-ip" => found.sending_ip = reader.string()?.parse().ok(),
            "receiving-mx-hostname" => found.mx = Some(reader.string()?),
            "receiving-ip" => found.receiving_ip = reader.string()?.parse().ok(),
            "failed-session-count" => count = reader.number()?,
            "failure-reason-code" => found.reason = Some(reader.string()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    match ResultType::parse(&kind) {
        Some(result) => found.result = result,
        None => found.reason = found.reason.or(Some(kind)),
    }
    Ok((found, count))
}

#[cfg(test)]
mod tests {
    use super::super::{Aggregate, Day, Report, Session};
    use super::*;
    use alloc::format;
    use alloc::vec;
    use protocol_core::Timestamp;

    #[test]
    fn what_we_write_is_read() {
        let mut aggregate = Aggregate::default();
        let at = Timestamp::from_secs(1_795_433_195);
        for failure in [None, Some(ResultType::CertificateExpired), Some(ResultType::CertificateExpired)] {
            aggregate.add(Session {
                at,
                policy: PolicySeen {
                    kind: PolicyKind::Sts,
                    domain: "example.net".into(),
                    strings: vec!["version: STSv1".into(), "mode: testing".into()],
                    mx_hosts: vec!["*.example.net".into()],
                },
                failure,
                sending_ip: "192.0.2.1".parse().ok(),
                mx: Some("mx.example.net".into()),
                receiving_ip: "2001:db8::2".parse().ok(),
                reason: failure.map(|_| "é \"quoted\"".into()),
            });
        }
        let report = Report {
            organization: "mx.example.org",
            contact: "postmaster@mx.example.org",
            id: "id@mx.example.org",
            day: Day::of(at),
            aggregate: &aggregate,
        };
        let read = Received::read(report.json().as_bytes()).unwrap();
        assert_eq!((read.organization.as_str(), read.id.as_str()), (report.organization, report.id));
        assert_eq!(
            (read.start.as_str(), read.end.as_str()),
            ("2026-11-23T00:00:00Z", "2026-11-23T23:59:59Z")
        );
        let (policy, totals) = aggregate.policies().next().unwrap();
        let told = &read.policies[0];
        assert_eq!((&told.policy, told.successes, told.failures), (policy, 1, 2));
        let details: Vec<_> = totals.details.clone().into_iter().collect();
        assert_eq!(told.details, details);
    }

    #[test]
    fn what_others_write_is_read() {
        let json = br#"{"x":[{}],"policies":[
            {"policy":{"policy-type":"sts","policy-domain":"a.test","mx-host":"mx.a.test"},"summary":{},
             "failure-details":[{"result-type":"new-kind","failed-session-count":7,"sending-mta-ip":"x"}]},
            {"policy":{"policy-type":"unknown"}}]}"#;
        let read = Received::read(json).unwrap();
        assert_eq!(read.policies.len(), 1);
        assert_eq!(read.policies[0].policy.mx_hosts, ["mx.a.test"]);
        let (detail, count) = &read.policies[0].details[0];
        assert_eq!((detail.result, *count), (ResultType::ValidationFailure, 7));
        assert_eq!(detail.reason.as_deref(), Some("new-kind"));
    }

    #[test]
    fn si34_reports_at_their_limits() {
        let policy = r#"{"policy":{"policy-type":"sts","policy-domain":"a.test"}}"#;
        let many = |n: usize| format!("{{\"policies\":[{}]}}", vec![policy; n].join(","));
        let count = |json: &str| Received::read(json.as_bytes()).map(|r| r.policies.len());
        assert_eq!(count(&many(POLICIES_MAX)), Ok(POLICIES_MAX));
        assert_eq!(count(&many(POLICIES_MAX + 1)), Ok(POLICIES_MAX));
        assert_eq!(count(&many(0)), Err(ReportFault::Empty));
        let mut padded = many(1);
        padded.push_str(&" ".repeat(REPORT_OCTETS_MAX - padded.len()));
        assert_eq!(count(&padded), Ok(1));
        padded.push(' ');
        assert_eq!(count(&padded), Err(ReportFault::TooLong));
        for bad in ["", "[]", "null", "{\"policies\":{}}", "{\"policies\":[1]}", "<feedback/>", "{}x"] {
            assert_eq!(count(bad), Err(ReportFault::Malformed), "{bad}");
        }
    }
}
