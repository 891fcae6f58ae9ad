//! The files: lines of connections.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use protocol_smtp::tlsrpt::{Aggregate, Day, PolicyKind, PolicySeen, ResultType, Session};
use serde::Deserialize;

use crate::reports::files::{day_file, lines};

/// Domains that one day's reports are made for.
const DOMAINS_MAX: usize = 100_000;

/// A line as [`Session::line`] writes it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    policy_type: String,
    #[serde(default)]
    policy_string: Vec<String>,
    policy_domain: String,
    #[serde(default)]
    mx_host: Vec<String>,
    result_type: Option<String>,
    result: String,
    sending_mta_ip: Option<IpAddr>,
    receiving_mx_hostname: Option<String>,
    receiving_ip: Option<IpAddr>,
    failure_reason_code: Option<String>,
}

impl Line {
    fn session(self, day: Day) -> Option<Session> {
        let failure = match self.result.as_str() {
            "success" => None,
            _ => Some(ResultType::parse(self.result_type.as_deref()?)?),
        };
        Some(Session {
            at: day.start(),
            policy: PolicySeen {
                kind: PolicyKind::parse(&self.policy_type)?,
                domain: self.policy_domain,
                strings: self.policy_string,
                mx_hosts: self.mx_host,
            },
            failure,
            sending_ip: self.sending_mta_ip,
            mx: self.receiving_mx_hostname,
            receiving_ip: self.receiving_ip,
            reason: self.failure_reason_code,
        })
    }
}

/// What a day held.
#[derive(Default)]
pub(super) struct DaySum {
    /// For each domain its report.
    pub domains: BTreeMap<String, Aggregate>,
    /// Connections.
    pub sessions: u64,
    /// Of these, failures.
    pub failures: u64,
    /// Lines that could not be read.
    pub damaged: u64,
}

/// Adds up a day. Blocks.
pub(super) fn sum(dir: &Path, day: Day) -> io::Result<DaySum> {
    let mut sum = DaySum::default();
    lines(&day_file(dir, day), |line| {
        if line == b"\n" {
            return;
        }
        let session = serde_json::from_slice::<Line>(line).ok().and_then(|line| line.session(day));
        let Some(session) = session else {
            sum.damaged += 1;
            return;
        };
        sum.sessions += 1;
        sum.failures += u64::from(session.failure.is_some());
        let domain = session.policy.domain.clone();
        if sum.domains.len() < DOMAINS_MAX || sum.domains.contains_key(&domain) {
            sum.domains.entry(domain).or_default().add(session);
        }
    })?;
    Ok(sum)
}
