//! What is noted about one connection: under which policy it was made, and how its TLS came out.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use protocol_core::Timestamp;

use super::json::Json;
use super::report::date_time;

/// Characters of a reason.
pub const REASON_MAX: usize = 200;

/// `policy-type` (RFC 8460 §4.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[allow(missing_docs)]
pub enum PolicyKind {
    Tlsa,
    Sts,
    NoPolicyFound,
}

impl PolicyKind {
    const ALL: [PolicyKind; 3] = [PolicyKind::Tlsa, PolicyKind::Sts, PolicyKind::NoPolicyFound];

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyKind::Tlsa => "tlsa",
            PolicyKind::Sts => "sts",
            PolicyKind::NoPolicyFound => "no-policy-found",
        }
    }

    /// From its name.
    pub fn parse(name: &str) -> Option<PolicyKind> {
        PolicyKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The policy that held for a connection (RFC 8460 §4.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PolicySeen {
    /// `policy-type`.
    pub kind: PolicyKind,
    /// `policy-domain`: the destination, an A-label.
    pub domain: String,
    /// `policy-string`: the TLSA records, or the lines of the MTA-STS policy.
    pub strings: Vec<String>,
    /// `mx-host`: the patterns of an MTA-STS policy, else nothing.
    pub mx_hosts: Vec<String>,
}

/// `result-type` (RFC 8460 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum ResultType {
    /// The host does not offer STARTTLS, or refuses it.
    StarttlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate is past its time.
    CertificateExpired,
    /// No root that we trust has signed the certificate.
    CertificateNotTrusted,
    /// Anything else that broke the handshake.
    ValidationFailure,
    /// TLSA records fit neither the certificate nor their own form.
    TlsaInvalid,
    /// The records' signatures are bogus.
    DnssecInvalid,
    /// DANE is demanded here, and the host has no usable records.
    DaneRequired,
    /// The policy could not be fetched.
    StsPolicyFetchError,
    /// The policy could not be read.
    StsPolicyInvalid,
    /// The policy host's certificate is not valid.
    StsWebpkiInvalid,
}

impl ResultType {
    const ALL: [ResultType; 11] = [
        ResultType::StarttlsNotSupported,
        ResultType::CertificateHostMismatch,
        ResultType::CertificateExpired,
        ResultType::CertificateNotTrusted,
        ResultType::ValidationFailure,
        ResultType::TlsaInvalid,
        ResultType::DnssecInvalid,
        ResultType::DaneRequired,
        ResultType::StsPolicyFetchError,
        ResultType::StsPolicyInvalid,
        ResultType::StsWebpkiInvalid,
    ];

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            ResultType::StarttlsNotSupported => "starttls-not-supported",
            ResultType::CertificateHostMismatch => "certificate-host-mismatch",
            ResultType::CertificateExpired => "certificate-expired",
            ResultType::CertificateNotTrusted => "certificate-not-trusted",
            ResultType::ValidationFailure => "validation-failure",
            ResultType::TlsaInvalid => "tlsa-invalid",
            ResultType::DnssecInvalid => "dnssec-invalid",
            ResultType::DaneRequired => "dane-required",
            ResultType::StsPolicyFetchError => "sts-policy-fetch-error",
            ResultType::StsPolicyInvalid => "sts-policy-invalid",
            ResultType::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }

    /// From its name.
    pub fn parse(name: &str) -> Option<ResultType> {
        ResultType::ALL.into_iter().find(|result| result.as_str() == name)
    }
}

/// One connection, or one try to fetch a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// When.
    pub at: Timestamp,
    /// Under which policy.
    pub policy: PolicySeen,
    /// `None`: TLS was negotiated as the policy asks.
    pub failure: Option<ResultType>,
    /// Our address.
    pub sending_ip: Option<IpAddr>,
    /// The host that was dialled.
    pub mx: Option<String>,
    /// Its address.
    pub receiving_ip: Option<IpAddr>,
    /// What the failure was, in our own words. [`Session::line`] cleans it.
    pub reason: Option<String>,
}

impl Session {
    /// Its line in a journal: one JSON object in the names of RFC 8460 §4.4, with a line feed at the end.
    pub fn line(&self) -> String {
        let mut json = Json::default();
        json.open('{');
        json.member("time", &date_time(self.at));
        policy(&mut json, &self.policy);
        json.member("result", if self.failure.is_none() { "success" } else { "failure" });
        if let Some(failure) = self.failure {
            json.member("result-type", failure.as_str());
        }
        if let Some(ip) = self.sending_ip {
            json.member("sending-mta-ip", &ip.to_string());
        }
        if let Some(mx) = &self.mx {
            json.member("receiving-mx-hostname", mx);
        }
        if let Some(ip) = self.receiving_ip {
            json.member("receiving-ip", &ip.to_string());
        }
        if let Some(reason) = &self.reason {
            json.member("failure-reason-code", &clean(reason));
        }
        json.close('}');
        let mut line = json.finish();
        line.push('\n');
        line
    }
}

/// The members of a policy.
pub(super) fn policy(json: &mut Json, policy: &PolicySeen) {
    json.member("policy-type", policy.kind.as_str());
    if !policy.strings.is_empty() {
        json.strings("policy-string", &policy.strings);
    }
    json.member("policy-domain", &policy.domain);
    if !policy.mx_hosts.is_empty() {
        json.strings("mx-host", &policy.mx_hosts);
    }
}

/// A reason without anything that looks like an address, at most [`REASON_MAX`] characters of it.
pub(super) fn clean(reason: &str) -> String {
    let mut out = String::new();
    for word in reason.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(if word.contains('@') { "(address)" } else { word });
    }
    if let Some((at, _)) = out.char_indices().nth(REASON_MAX) {
        out.truncate(at);
    }
    out
}
