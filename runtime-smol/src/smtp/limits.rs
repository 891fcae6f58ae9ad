//! What a source and a sender's domain may send: rate windows by address, quotas by domain, suppressed recipients.
//! Counted in storage, so that all nodes count together.

use protocol_core::message::Date;
use protocol_smtp::server::{Refusal, Service};
use storage::{Charge, CounterKey, CounterKind, DomainSettings, Mailbox, Quota, Storage, Suppression};

use super::session::Connection;
use super::transaction::{Transaction, canonical_text};
use crate::metrics::METRICS;
use crate::net::network;
use crate::task;

const HOUR_SECS: i64 = 3_600;
const DAY_SECS: i64 = 86_400;

/// The quotas of a sender's domain, as they were at MAIL.
#[derive(Clone, Debug)]
pub struct Quotas {
    domain: String,
    recipients_max: Option<u64>,
    hourly: Option<u64>,
    daily: Option<u64>,
    jobs_max: Option<u64>,
    /// A period's quota, or that of queued jobs, was used up when it was looked at.
    used_up: bool,
}

impl Quotas {
    fn new(domain: &str, settings: &DomainSettings) -> Option<Quotas> {
        let quotas = Quotas {
            domain: domain.to_owned(),
            recipients_max: settings.quota_max_recipients_per_message,
            hourly: settings.quota_hourly_send_limit,
            daily: settings.quota_daily_send_limit,
            jobs_max: settings.quota_max_queued_jobs,
            used_up: false,
        };
        let any = [quotas.recipients_max, quotas.hourly, quotas.daily, quotas.jobs_max];
        any.iter().any(Option::is_some).then_some(quotas)
    }

    /// The quotas of a sender's domain, when it has any.
    pub async fn of(storage: &Storage, domain: &str) -> storage::Result<Option<Quotas>> {
        match storage.store().domain_lately(domain).await {
            Ok(row) => Ok(Quotas::new(domain, &row.settings)),
            Err(storage::Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Recipients that one message may have.
    pub fn recipients_max(&self) -> Option<u64> {
        self.recipients_max
    }

    /// The domain, when its queued jobs are counted.
    pub fn counted(&self) -> Option<String> {
        self.jobs_max.map(|_| self.domain.clone())
    }

    /// What a message of so many recipients and jobs is charged.
    pub fn charges(&self, recipients: usize, jobs: usize, now: protocol_core::Timestamp) -> Vec<Charge> {
        let amount = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let sent = |secs, limit: Option<u64>, quota| {
            limit.map(|limit| Charge {
                counter: CounterKey::sent(&self.domain, secs, now),
                amount: amount(recipients),
                limit,
                quota,
            })
        };
        let queued = self.jobs_max.filter(|_| jobs > 0).map(|limit| Charge {
            counter: CounterKey::queued_jobs(&self.domain),
            amount: amount(jobs),
            limit,
            quota: Quota::QueuedJobs,
        });
        let hourly = sent(HOUR_SECS, self.hourly, Quota::Hourly);
        let daily = sent(DAY_SECS, self.daily, Quota::Daily);
        [hourly, daily, queued].into_iter().flatten().collect()
    }
}

impl Connection {
    /// The counter of a source in the window of now, and its limit; none where nothing is limited.
    fn rate(&self, what: &str, transfer: u64, submission: u64) -> Option<Charge> {
        if self.service == Service::Lmtp {
            // The one client of that port is our own transfer agent.
            return None;
        }
        let rates = &self.app.config.rate_limit;
        let ip = self.peer.ip().filter(|ip| rates.enabled && !rates.exempt_networks.contains(*ip))?;
        let (port, limit) =
            if self.service.is_submission() { ("submission", submission) } else { ("transfer", transfer) };
        let name = format!("{port} {what} {}", network(ip));
        let secs = i64::try_from(rates.window.as_secs()).unwrap_or(i64::MAX);
        let counter = CounterKey::window(CounterKind::Rate, name, secs, self.app.storage.store_now());
        Some(Charge { counter, amount: 1, limit, quota: Quota::Rate })
    }

    async fn count(&self, charge: Charge) -> Result<(), Refusal> {
        match self.app.storage.count(charge).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::RateLimited),
            Err(error) => {
                let open = self.app.config.rate_limit.fail_open_on_db_error;
                tracing::warn!(%error, open, "a rate could not be counted");
                if open { Ok(()) } else { Err(Refusal::Unavailable) }
            }
        }
    }

    /// Counts this connection (SPEC section 4).
    pub(super) async fn count_connection(&self) -> Result<(), Refusal> {
        let rates = &self.app.config.rate_limit;
        match self.rate("connections", rates.transfer_connections, rates.submission_connections) {
            Some(charge) => self.count(charge).await.inspect_err(|_| METRICS.rate_limited.add("connection")),
            None => Ok(()),
        }
    }

    /// Counts a message at its MAIL; the answer gives the place back.
    pub(super) async fn count_message(&self) -> Result<Option<Charge>, Refusal> {
        let rates = &self.app.config.rate_limit;
        let Some(charge) = self.rate("messages", rates.transfer_messages, rates.submission_messages) else {
            return Ok(None);
        };
        let back = Charge { amount: -charge.amount, ..charge.clone() };
        self.count(charge).await.inspect_err(|_| METRICS.rate_limited.add("message"))?;
        Ok(Some(back))
    }

    /// A message that was refused later does not count.
    pub(super) fn give_back(&self, back: Option<Charge>) {
        let Some(charge) = back else { return };
        let storage = self.app.storage.clone();
        task::spawn(async move {
            if let Err(error) = storage.count(charge).await {
                tracing::debug!(%error, "a place in a rate window could not be given back");
            }
        })
        .detach();
    }

    /// The quotas of an authenticated sender's domain, and whether one of them is used up already.
    pub(super) async fn quotas_of(&self, account: &Mailbox) -> storage::Result<Option<Quotas>> {
        let store = self.app.storage.store();
        let Some((_, name)) = account.address.rsplit_once('@') else { return Ok(None) };
        let Some(mut quotas) = Quotas::of(&self.app.storage, name).await? else { return Ok(None) };
        let charges = quotas.charges(1, 1, self.app.storage.store_now());
        let keys: Vec<CounterKey> = charges.iter().map(|charge| charge.counter.clone()).collect();
        let used = store.counters(&keys).await?;
        quotas.used_up = charges.iter().zip(used).any(|(charge, used)| used >= charge.limit);
        Ok(Some(quotas))
    }

    /// Whether quotas let one more recipient in: of this message, or of the period at all.
    pub(super) fn within_quotas(&self, transaction: &Transaction) -> Result<(), Refusal> {
        let Some(quotas) = &transaction.quotas else { return Ok(()) };
        if quotas.used_up {
            return Err(Refusal::SendQuota);
        }
        let many = transaction.recipients.len() as u64;
        match quotas.recipients_max {
            Some(max) if many >= max => Err(Refusal::RecipientQuota),
            _ => Ok(()),
        }
    }

    /// Whether mail of an authenticated sender to an address elsewhere is held back.
    pub(super) async fn not_suppressed(&self, given: &str) -> Result<(), Refusal> {
        let Some(account) = self.account.as_ref().filter(|_| self.service.is_submission()) else {
            return Ok(());
        };
        let address = canonical_text(given);
        match self.app.storage.suppressed(account.org, std::slice::from_ref(&address)).await {
            Ok(rows) => match rows.into_iter().flatten().next() {
                Some(row) => Err(Refusal::Suppressed(told(&row))),
                None => Ok(()),
            },
            Err(error) => {
                tracing::warn!(%error, "suppressions could not be looked up");
                Err(Refusal::StorageFailed)
            }
        }
    }
}

/// Reason, date and cure of a suppression, one line of ASCII.
pub fn told(row: &Suppression) -> String {
    let day = Date::of(row.created);
    let day = format!("{:04}-{:02}-{:02}", day.year, day.month, day.day);
    let reason: String = row
        .reason
        .chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .take(200)
        .collect();
    let entry = &row.key.entry;
    format!("{entry} since {day} ({reason}); lift it with: inbox suppression remove {entry}")
}
