//! DMARC aggregate reports (RFC 9990): what is noted of each message, the report that a domain is sent about a
//! day, and reports that others send.
//!
//! **To drive it**: write [`Observation::line`] to a journal for every message whose domain asks for reports.
//! When the day is over, feed the journal to an [`Aggregate`], ask
//! [`Verifier::report_policy`](crate::Verifier::report_policy) for each of its domains, and send what
//! [`Aggregate::report`] writes. No report holds an address of a person or anything of a message.

pub(crate) mod policy;
mod received;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::net::IpAddr;

use mail_auth::report::{
    ActionDisposition, Alignment, DKIMAuthResult, Discovery, Disposition as Asked, DkimResult as ReportDkim,
    DmarcResult as ReportDmarc, PolicyOverride, PolicyOverrideReason, PolicyPublished, Record, Report,
    SPFAuthResult, SPFDomainScope, SpfResult as ReportSpf,
};
use protocol_core::auth::{
    Dkim, DkimResult, DmarcPolicy, MessageResults, PublishedPolicy, Spf, SpfIdentity, SpfResult,
};
use serde::{Deserialize, Serialize};

pub use policy::ReportPolicy;
pub use received::{MESSAGE_MAX, RATIO_MAX, Received, ReceivedRow, UNPACKED_MAX, parse as parse_received};

/// Different rows of one day that are kept; what comes later is counted in no report.
pub const ROWS_MAX: usize = 100_000;
/// Domains of one day that are told; what comes later under other names is in no report.
pub const DOMAINS_MAX: usize = 10_000;
/// Signatures of one message that a report names (RFC 9990 §3.1.1.9).
const SIGNATURES_SHOWN: usize = 10;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was delivered as any other.
    Delivered,
    /// It went to the Junk folder.
    Quarantined,
    /// It was refused.
    Rejected,
}

/// What a report says of one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    published: PolicyPublished,
    record: Record,
}

impl Observation {
    /// Of a message from a client at this address, with this reverse-path (empty for null). `vouched_for`: the
    /// policy was not applied because a trusted ARC chain says that DMARC passed. `None`: its domain asks for no
    /// reports.
    pub fn of(
        source: IpAddr,
        sender: &str,
        spf: &Spf,
        found: &MessageResults,
        disposition: Disposition,
        vouched_for: bool,
    ) -> Option<Observation> {
        let dmarc = &found.dmarc;
        let policy = dmarc.published.filter(|_| !dmarc.report_to.is_empty())?;
        let aligned = |passed| if passed { ReportDmarc::Pass } else { ReportDmarc::Fail };
        let mut record = Record::new()
            .with_source_ip(source)
            .with_count(1)
            .with_action_disposition(match disposition {
                Disposition::Delivered if dmarc.spf_aligned || dmarc.dkim_aligned => ActionDisposition::Pass,
                Disposition::Delivered => ActionDisposition::None,
                Disposition::Quarantined => ActionDisposition::Quarantine,
                Disposition::Rejected => ActionDisposition::Reject,
            })
            .with_dmarc_dkim_result(aligned(dmarc.dkim_aligned))
            .with_dmarc_spf_result(aligned(dmarc.spf_aligned))
            .with_header_from(&dmarc.domain)
            .with_envelope_from(sender.rsplit_once('@').map_or("", |(_, domain)| domain));
        for dkim in found.dkim.iter().take(SIGNATURES_SHOWN) {
            record = record.with_dkim_auth_result(dkim_result(dkim));
        }
        let scope = match spf.identity {
            SpfIdentity::Helo => SPFDomainScope::Helo,
            SpfIdentity::MailFrom => SPFDomainScope::MailFrom,
        };
        record = record.with_spf_auth_result(
            SPFAuthResult::new()
                .with_domain(&spf.domain)
                .with_scope(scope)
                .with_result(spf_result(spf.result)),
        );
        if vouched_for {
            let reason = PolicyOverrideReason::new(PolicyOverride::TrustedForwarder);
            record = record.with_policy_override_reason(reason.with_comment("arc=pass"));
        }
        Some(Observation { published: published(&dmarc.domain, policy), record })
    }

    /// As a line of a journal, without its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads [`Observation::line`].
    pub fn parse(line: &str) -> Option<Observation> {
        serde_json::from_str(line).ok()
    }

    /// The domain of its From field.
    pub fn domain(&self) -> &str {
        &self.published.domain
    }
}

fn published(domain: &str, policy: PublishedPolicy) -> PolicyPublished {
    let asked = |policy| match policy {
        DmarcPolicy::None => Asked::None,
        DmarcPolicy::Quarantine => Asked::Quarantine,
        DmarcPolicy::Reject => Asked::Reject,
    };
    let alignment = |strict| if strict { Alignment::Strict } else { Alignment::Relaxed };
    PolicyPublished {
        domain: domain.to_owned(),
        version_published: None,
        adkim: alignment(policy.strict_dkim),
        aspf: alignment(policy.strict_spf),
        p: asked(policy.policy),
        sp: policy.subdomains.map_or(Asked::Unspecified, asked),
        np: policy.non_existent.map_or(Asked::Unspecified, asked),
        testing: policy.testing,
        discovery_method: Discovery::Treewalk,
        fo: None,
    }
}

fn dkim_result(dkim: &Dkim) -> DKIMAuthResult {
    let result = match dkim.result {
        DkimResult::None => ReportDkim::None,
        DkimResult::Pass => ReportDkim::Pass,
        DkimResult::Fail => ReportDkim::Fail,
        DkimResult::Policy => ReportDkim::Policy,
        DkimResult::Neutral => ReportDkim::Neutral,
        DkimResult::TempError => ReportDkim::TempError,
        DkimResult::PermError => ReportDkim::PermError,
    };
    DKIMAuthResult::new().with_domain(&dkim.domain).with_selector(&dkim.selector).with_result(result)
}

fn spf_result(result: SpfResult) -> ReportSpf {
    match result {
        SpfResult::None => ReportSpf::None,
        SpfResult::Neutral => ReportSpf::Neutral,
        SpfResult::Pass => ReportSpf::Pass,
        SpfResult::Fail => ReportSpf::Fail,
        SpfResult::SoftFail => ReportSpf::SoftFail,
        SpfResult::TempError => ReportSpf::TempError,
        SpfResult::PermError => ReportSpf::PermError,
    }
}

/// What one day's messages sum up to.
#[derive(Debug, Default)]
pub struct Aggregate {
    domains: BTreeMap<String, Domain>,
    rows: usize,
}

#[derive(Debug)]
struct Domain {
    published: PolicyPublished,
    rows: HashMap<Record, u32>,
}

/// Who reports.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// Our host name, which is the submitter's domain.
    pub host: &'a str,
    /// The address that reports come from.
    pub address: &'a str,
    /// Tells this report from every other of ours.
    pub id: &'a str,
}

impl Aggregate {
    /// Adds one message.
    pub fn add(&mut self, observation: Observation) {
        let Observation { published, record } = observation;
        if self.domains.len() >= DOMAINS_MAX && !self.domains.contains_key(&published.domain) {
            return;
        }
        let domain = self
            .domains
            .entry(published.domain.clone())
            .or_insert_with(|| Domain { published: published.clone(), rows: HashMap::new() });
        // What the domain published last is what stands in the report.
        domain.published = published;
        match domain.rows.entry(record) {
            Entry::Occupied(mut known) => *known.get_mut() += 1,
            Entry::Vacant(new) if self.rows < ROWS_MAX => {
                self.rows += 1;
                new.insert(1);
            }
            Entry::Vacant(_) => {}
        }
    }

    /// The domains that something is known about, those with the most messages first: names that somebody made up
    /// to keep us busy come last.
    pub fn domains(&self) -> Vec<&str> {
        let count = |domain: &Domain| domain.rows.values().map(|n| u64::from(*n)).sum::<u64>();
        let mut all: Vec<(u64, &str)> =
            self.domains.iter().map(|(name, domain)| (count(domain), name.as_str())).collect();
        all.sort_by_key(|(count, name)| (std::cmp::Reverse(*count), *name));
        all.into_iter().map(|(_, name)| name).collect()
    }

    /// The report to the owner of `policy_domain`, where the policy of these domains stands, about a time in
    /// seconds of the Unix epoch, as XML. `None`: nothing is known about them.
    pub fn report(
        &self,
        policy_domain: &str,
        domains: &[&str],
        reporter: Reporter<'_>,
        (begin, end): (u64, u64),
    ) -> Option<String> {
        let known: Vec<&Domain> = domains.iter().filter_map(|d| self.domains.get(*d)).collect();
        let published = known.first()?.published.clone();
        let mut report = Report::new()
            .with_version(1.0)
            .with_org_name(reporter.host)
            .with_email(reporter.address)
            .with_report_id(reporter.id)
            .with_date_range_begin(begin)
            .with_date_range_end(end)
            .with_policy_published(PolicyPublished { domain: policy_domain.to_owned(), ..published });
        let mut rows: Vec<(&Record, u32)> =
            known.iter().flat_map(|d| &d.rows).map(|(r, n)| (r, *n)).collect();
        rows.sort_by_key(|(record, count)| (std::cmp::Reverse(*count), record.source_ip()));
        for (record, count) in rows {
            report.add_record(record.clone().with_count(count));
        }
        Some(report.to_xml())
    }
}
