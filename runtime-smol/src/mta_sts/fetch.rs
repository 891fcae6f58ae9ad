//! One fetch of a policy from its host (RFC 8461 §3.3).

use protocol_smtp::route::mta_sts::{
    FETCH_LIMIT, POLICY_HOST_PREFIX, POLICY_OCTETS_MAX, POLICY_PATH, Policy,
};
use protocol_smtp::tlsrpt::ResultType;

use crate::https::{Fault, Https, Limits, Target};

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFault {
    /// What a TLS report calls it (RFC 8460 §4.3.2).
    pub result: ResultType,
    /// What it was.
    pub reason: String,
}

/// Fetches a domain's policy. Only an answer of status 200 from a host with a valid certificate counts.
pub(super) async fn policy(https: &Https, port: u16, domain: &str) -> Result<Policy, FetchFault> {
    let target = Target { host: format!("{POLICY_HOST_PREFIX}{domain}"), port, path: POLICY_PATH.into() };
    let limits = Limits { octets: POLICY_OCTETS_MAX, time: FETCH_LIMIT };
    let answer = https.get(&target, limits).await.map_err(|fault| FetchFault {
        result: match fault {
            Fault::Certificate(_) => ResultType::StsWebpkiInvalid,
            Fault::TooLong => ResultType::StsPolicyInvalid,
            Fault::Unreached(_) | Fault::Http(_) => ResultType::StsPolicyFetchError,
        },
        reason: fault.to_string(),
    })?;
    if answer.status != 200 {
        let reason = format!("{} answers with status {}", target.host, answer.status);
        return Err(FetchFault { result: ResultType::StsPolicyFetchError, reason });
    }
    Policy::parse(&answer.content_type, &answer.body)
        .map_err(|fault| FetchFault { result: ResultType::StsPolicyInvalid, reason: fault.to_string() })
}
