//! What other domains publish about TLS, and what they report.

use protocol_smtp::route::mta_sts::{Cached, ID_MAX, MAX_AGE_SECS_MAX, Policy, Txt};
use protocol_smtp::tlsrpt::{DESTINATIONS_MAX, DETAILS_MAX, POLICIES_MAX, Received, destinations};

/// Records, policies and reports: limits hold, and a policy that reads is written so that it reads the same.
pub fn tls_policy(data: &[u8]) {
    if let Txt::Id(id) = Txt::parse([data]) {
        assert!(!id.is_empty() && id.len() <= ID_MAX);
    }
    assert!(destinations([data]).len() <= DESTINATIONS_MAX);
    if let Ok(policy) = Policy::parse_body(data) {
        assert!(policy.max_age_secs <= MAX_AGE_SECS_MAX);
        assert_eq!(Policy::parse_body(policy.text().as_bytes()), Ok(policy));
    }
    if let Some(cached) = std::str::from_utf8(data).ok().and_then(Cached::decode) {
        assert_eq!(Cached::decode(&cached.encode()), Some(cached));
    }
    if let Ok(report) = Received::read(data) {
        assert!((1..=POLICIES_MAX).contains(&report.policies.len()));
        assert!(report.policies.iter().all(|policy| policy.details.len() <= DETAILS_MAX));
    }
}
