//! The sum of a day's connections, for each policy that held.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::net::IpAddr;

use super::session::{PolicySeen, ResultType, Session, clean};

/// Policies in one report; connections under further ones are counted in no summary.
pub const POLICIES_MAX: usize = 100;
/// Kinds of failure told for one policy; further ones are counted in the summary alone.
pub const DETAILS_MAX: usize = 500;

/// A kind of failure (RFC 8460 §4.4, `failure-details`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Detail {
    /// `result-type`.
    pub result: ResultType,
    /// `sending-mta-ip`.
    pub sending_ip: Option<IpAddr>,
    /// `receiving-mx-hostname`.
    pub mx: Option<String>,
    /// `receiving-ip`.
    pub receiving_ip: Option<IpAddr>,
    /// `failure-reason-code`.
    pub reason: Option<String>,
}

/// What is counted for a policy.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// `total-successful-session-count`.
    pub successes: u64,
    /// `total-failure-session-count`.
    pub failures: u64,
    /// How often each kind of failure was seen.
    pub details: BTreeMap<Detail, u64>,
}

/// A day's sum for one destination.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Aggregate {
    policies: BTreeMap<PolicySeen, Totals>,
}

impl Aggregate {
    /// Adds a connection.
    pub fn add(&mut self, session: Session) {
        let Session { policy, failure, sending_ip, mx, receiving_ip, reason, .. } = session;
        if self.policies.len() >= POLICIES_MAX && !self.policies.contains_key(&policy) {
            return;
        }
        let totals = self.policies.entry(policy).or_default();
        let Some(result) = failure else {
            totals.successes += 1;
            return;
        };
        totals.failures += 1;
        let reason = reason.map(|r| clean(&r));
        let detail = Detail { result, sending_ip, mx, receiving_ip, reason };
        if totals.details.len() < DETAILS_MAX || totals.details.contains_key(&detail) {
            *totals.details.entry(detail).or_default() += 1;
        }
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies in a fixed order.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicySeen, &Totals)> {
        self.policies.iter()
    }
}
