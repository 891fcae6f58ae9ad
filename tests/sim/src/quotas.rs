//! What a message is charged, as the server's shell has it.

use protocol_core::Timestamp;
use storage::{Charge, CounterKey, DomainSettings, Quota};

use crate::setup::Quotas;

const HOUR_SECS: i64 = 3_600;

/// The quotas as a domain's settings.
pub fn settings(quotas: Quotas) -> DomainSettings {
    DomainSettings {
        quota_hourly_send_limit: quotas.hourly,
        quota_max_queued_jobs: quotas.jobs,
        ..DomainSettings::default()
    }
}

/// What settings say about quotas.
pub fn of(settings: &DomainSettings) -> Quotas {
    Quotas { hourly: settings.quota_hourly_send_limit, jobs: settings.quota_max_queued_jobs }
}

/// The counter of an hour.
pub fn hour(domain: &str, now: Timestamp) -> CounterKey {
    CounterKey::sent(domain, HOUR_SECS, now)
}

/// What a message of so many recipients and jobs is charged at a time of the store.
pub fn charges(domain: &str, quotas: Quotas, recipients: usize, jobs: usize, now: Timestamp) -> Vec<Charge> {
    let amount = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let hourly = quotas.hourly.map(|limit| Charge {
        counter: hour(domain, now),
        amount: amount(recipients),
        limit,
        quota: Quota::Hourly,
    });
    let queued = quotas.jobs.map(|limit| Charge {
        counter: CounterKey::queued_jobs(domain),
        amount: amount(jobs),
        limit,
        quota: Quota::QueuedJobs,
    });
    [hourly, queued].into_iter().flatten().collect()
}
