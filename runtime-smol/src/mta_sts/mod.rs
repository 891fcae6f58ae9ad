//! MTA-STS policies of other domains (RFC 8461): the record is looked up for every message, the policy is fetched
//! when the record announces another one, and a policy once seen binds until its `max_age` has passed.
//!
//! What to do is decided in [`protocol_smtp::route::mta_sts`]. Policies are kept in the database, so that they
//! outlast a restart and all nodes know them; what this process saw lately stands in front of it.

mod fetch;
pub mod own;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_io::Timer;
use async_lock::Mutex as AsyncMutex;
use protocol_core::Timestamp;
use protocol_smtp::route::mta_sts::{self, Cached, Mode, Plan, Policy, RECORD_PREFIX, Standing, Txt};
use protocol_smtp::route::posture::StsState;
use protocol_smtp::tlsrpt::{Day, PolicyKind, PolicySeen, Session};
use storage::{Storage, StoredPolicy};

use crate::dns::Resolver;
use crate::https::Https;
use crate::task;
use crate::tls_reports::Reports;
use crate::wire::wall_now;

pub use fetch::FetchFault;

/// Domains that are remembered in front of the database.
const KNOWN_MAX: usize = 10_000;
/// What another node fetched is seen after this time at the latest.
const BELIEVED: Duration = Duration::from_secs(600);
/// How often policies that are due are fetched again.
const TEND_INTERVAL: Duration = Duration::from_secs(900);
/// Policies that are looked at each time.
const TEND_MAX: usize = 10_000;
/// Of these, fetched at once.
const TEND_AT_ONCE: usize = 8;

/// Lines and patterns of a policy that a TLS report quotes: every connection is noted with them.
const QUOTED_MAX: usize = 50;

/// What is known of a domain for one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// For the decision on the posture.
    pub state: StsState,
    /// The policy that holds, whatever its mode; for TLS reports.
    pub policy: Option<Policy>,
}

impl Look {
    fn of(standing: Standing) -> Look {
        let (state, policy) = match standing {
            Standing::Nothing => (StsState::None, None),
            Standing::Advertised => (StsState::Advertised, None),
            Standing::Policy(policy) => {
                let state = match policy.mode {
                    Mode::Enforce => StsState::Enforce { mx: policy.mx.clone() },
                    Mode::Testing => StsState::Testing,
                    Mode::None => StsState::Off,
                };
                (state, Some(policy))
            }
        };
        Look { state, policy }
    }

    /// The policy as a TLS report names it.
    pub fn seen(&self, domain: &str) -> PolicySeen {
        let (kind, strings, mx_hosts) = match &self.policy {
            Some(policy) => {
                let quoted = |mut lines: Vec<String>| {
                    lines.truncate(QUOTED_MAX);
                    lines
                };
                (PolicyKind::Sts, quoted(policy.lines()), quoted(policy.mx.clone()))
            }
            None => (PolicyKind::NoPolicyFound, Vec::new(), Vec::new()),
        };
        PolicySeen { kind, domain: domain.to_owned(), strings, mx_hosts }
    }
}

/// The policies. One for the process; copies share it.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    https: Https,
    resolver: Arc<Resolver>,
    storage: Storage,
    reports: Reports,
    port: u16,
    known: Mutex<HashMap<String, Arc<Entry>>>,
    clock: Clock,
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One domain.
#[derive(Default)]
struct Entry {
    /// Held by who fetches.
    fetching: AsyncMutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When the database was asked last.
    loaded: Option<Timestamp>,
    cached: Option<Cached>,
    last: Option<Fetched>,
}

/// The last fetch.
struct Fetched {
    ended: Timestamp,
    /// What was announced.
    id: String,
    outcome: Result<Policy, FetchFault>,
}

impl Policies {
    /// With nothing in front of the database yet. `port` is MTA_STS_HTTPS_PORT.
    pub fn new(
        https: Https,
        resolver: Arc<Resolver>,
        storage: Storage,
        reports: Reports,
        port: u16,
    ) -> Policies {
        Policies::with_clock(https, resolver, storage, reports, port, Arc::new(wall_now))
    }

    fn with_clock(
        https: Https,
        resolver: Arc<Resolver>,
        storage: Storage,
        reports: Reports,
        port: u16,
        clock: Clock,
    ) -> Policies {
        let known = Mutex::default();
        Policies(Arc::new(Inner { https, resolver, storage, reports, port, known, clock }))
    }

    /// What holds for mail to a domain (an A-label) that leaves now. Waits for a fetch, ten seconds at most, when
    /// a policy is announced that is not known.
    pub async fn state(&self, domain: &str) -> StsState {
        self.look(domain).await.state
    }

    /// The same, with the policy.
    pub async fn look(&self, domain: &str) -> Look {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        if domain.is_empty() || domain.starts_with('[') {
            return Look::of(Standing::Nothing);
        }
        let asked = self.now();
        let txt = self.txt(&domain).await;
        let entry = self.entry(&domain);
        if let Err(error) = self.load(&domain, &entry).await {
            // A policy may be kept that cannot be read now: not less than TLS.
            tracing::warn!(domain, %error, "it is not known whether an MTA-STS policy is kept");
            return Look::of(Standing::Advertised);
        }
        let fetched = match entry.plan(self.now(), &txt) {
            Plan::Keep => None,
            Plan::Fetch => self.fetch(&domain, &entry, &txt, asked, true).await,
            Plan::Refresh => {
                let (policies, domain, entry, txt) =
                    (self.clone(), domain.clone(), entry.clone(), txt.clone());
                task::spawn(async move { drop(policies.fetch(&domain, &entry, &txt, asked, true).await) })
                    .detach();
                None
            }
        };
        self.note_use(&domain, &entry);
        let cached = entry.lock().cached.clone();
        Look::of(mta_sts::standing(self.now(), cached.as_ref(), &txt, fetched.as_ref()))
    }

    /// Fetches policies again before they expire, and forgets those that have, for ever.
    pub async fn tend(self) {
        loop {
            Timer::after(TEND_INTERVAL).await;
            self.tend_once().await;
        }
    }

    async fn tend_once(&self) {
        let now = self.now();
        let store = self.0.storage.store();
        let due = match store.policies_due(now, TEND_MAX).await {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "MTA-STS policies could not be looked after"),
        };
        let used = |row: &StoredPolicy| Cached::decode(&row.text).is_some_and(|c| c.is_refreshed(now));
        let domains: Vec<String> = due.into_iter().filter(used).map(|row| row.domain).collect();
        for some in domains.chunks(TEND_AT_ONCE) {
            let tasks: Vec<_> = some
                .iter()
                .map(|domain| {
                    let (policies, domain) = (self.clone(), domain.clone());
                    task::spawn(async move { policies.refresh(&domain).await })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        }
        match store.clean_policies(self.now()).await {
            Ok(0) => {}
            Ok(expired) => tracing::debug!(expired, "MTA-STS policies expired"),
            Err(error) => tracing::warn!(%error, "expired MTA-STS policies could not be removed"),
        }
    }

    async fn refresh(&self, domain: &str) {
        let asked = self.now();
        let txt = self.txt(domain).await;
        let entry = self.entry(domain);
        if self.load(domain, &entry).await.is_ok() && entry.plan(self.now(), &txt) != Plan::Keep {
            self.fetch(domain, &entry, &txt, asked, false).await;
        }
    }

    /// Fetches, unless somebody else has since `asked`. The answer is the policy that came.
    async fn fetch(
        &self,
        domain: &str,
        entry: &Entry,
        txt: &Txt,
        asked: Timestamp,
        for_mail: bool,
    ) -> Option<Policy> {
        let _alone = entry.fetching.lock().await;
        let id = entry.announced(txt)?;
        if let Some(last) = entry.lock().last.as_ref().filter(|l| l.ended >= asked && l.id == id) {
            return last.outcome.clone().ok();
        }
        let outcome = fetch::policy(&self.0.https, self.0.port, domain).await;
        let now = self.now();
        entry.lock().last = Some(Fetched { ended: now, id: id.clone(), outcome: outcome.clone() });
        match outcome {
            Ok(policy) => {
                tracing::debug!(domain, id, mode = policy.mode.as_str(), "an MTA-STS policy was fetched");
                let used = entry.lock().cached.as_ref().filter(|_| !for_mail).map_or(now, |c| c.used);
                let cached = Cached { id, policy: policy.clone(), fetched: now, used };
                entry.lock().cached = Some(cached.clone());
                self.put(domain, &cached).await;
                Some(policy)
            }
            Err(fault) => {
                tracing::warn!(domain, reason = fault.reason, "an MTA-STS policy could not be fetched");
                let nothing = Look::of(Standing::Nothing);
                let policy = PolicySeen { kind: PolicyKind::Sts, ..nothing.seen(domain) };
                self.0.reports.note(&Session {
                    at: now,
                    policy,
                    failure: Some(fault.result),
                    sending_ip: None,
                    mx: None,
                    receiving_ip: None,
                    reason: Some(fault.reason),
                });
                None
            }
        }
    }

    /// Keeps the day on which mail asked last.
    fn note_use(&self, domain: &str, entry: &Entry) {
        let now = self.now();
        let noted = {
            let mut known = entry.lock();
            let stale = known.cached.as_mut().filter(|c| Day::of(c.used) < Day::of(now));
            stale.map(|cached| {
                cached.used = now;
                cached.clone()
            })
        };
        if let Some(cached) = noted {
            let (policies, domain) = (self.clone(), domain.to_owned());
            task::spawn(async move { policies.put(&domain, &cached).await }).detach();
        }
    }

    async fn put(&self, domain: &str, cached: &Cached) {
        let row = StoredPolicy {
            domain: domain.to_owned(),
            text: cached.encode(),
            fetched: cached.fetched,
            refresh: cached.refresh_at(),
            expires: cached.expires(),
        };
        if let Err(error) = self.0.storage.store().put_policy(&row).await {
            tracing::warn!(domain, %error, "an MTA-STS policy could not be kept: a restart forgets it");
        }
    }

    /// Asks the database when it was not asked lately.
    async fn load(&self, domain: &str, entry: &Entry) -> storage::Result<()> {
        let now = self.now();
        if entry.lock().loaded.is_some_and(|at| now.since(at) < BELIEVED) {
            return Ok(());
        }
        let row = self.0.storage.store().policy(domain).await?;
        let stored = row.and_then(|row| {
            let cached = Cached::decode(&row.text);
            if cached.is_none() {
                tracing::warn!(domain, "the MTA-STS policy that is kept cannot be read");
            }
            cached
        });
        let mut known = entry.lock();
        known.loaded = Some(now);
        let fetched = |cached: &Option<Cached>| cached.as_ref().map(|c| c.fetched);
        if fetched(&stored) > fetched(&known.cached) {
            known.cached = stored;
        }
        Ok(())
    }

    async fn txt(&self, domain: &str) -> Txt {
        match self.0.resolver.lookup_txt(&format!("{RECORD_PREFIX}{domain}")).await {
            Ok(records) => Txt::parse(records.iter().map(String::as_bytes)),
            Err(_) => Txt::Failed,
        }
    }

    fn entry(&self, domain: &str) -> Arc<Entry> {
        let mut known = lock(&self.0.known);
        if known.len() >= KNOWN_MAX && !known.contains_key(domain) {
            known.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        known.entry(domain.to_owned()).or_default().clone()
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    fn plan(&self, now: Timestamp, txt: &Txt) -> Plan {
        let id = self.announced(txt);
        let known = self.lock();
        let failed = known.last.as_ref().filter(|l| l.outcome.is_err() && Some(&l.id) == id.as_ref());
        mta_sts::plan(now, known.cached.as_ref(), txt, failed.map(|l| l.ended))
    }

    /// The `id` that is announced, or, while the record is not to be seen, the one under which the policy is kept.
    fn announced(&self, txt: &Txt) -> Option<String> {
        match txt {
            Txt::Id(id) => Some(id.clone()),
            Txt::Absent | Txt::Failed => self.lock().cached.as_ref().map(|c| c.id.clone()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
