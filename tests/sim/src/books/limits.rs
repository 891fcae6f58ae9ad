//! Quotas, suppressions and what administrators asked for: who may be tried and sent to, and how much is accepted.
//!
//! What counts is counted here from the jobs that were accepted, and never read from a counter.

use std::collections::{BTreeMap, BTreeSet};

use storage::simulated::JobRow;
use storage::{
    Charge, CounterKey, JobId, JobState, MessageId, OrgId, Quota, RecipientState, Slot, SlotKey,
    SuppressionKey,
};

use super::{Books, Claim, Found};
use crate::db::{Applied, world_name};
use crate::node::keys;
use crate::quotas;
use crate::setup::Quotas;
use crate::world::World;

/// What a message was charged, as its node asked for it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The sender's domain.
    pub domain: String,
    /// When its node began to look at the quotas, in true time.
    pub from: u64,
    /// What it asked for.
    pub charges: Vec<Charge>,
}

/// What was there, as it became visible: from when on, what.
type History<T> = Vec<(u64, T)>;

/// See the module.
#[derive(Default)]
pub(crate) struct LimitsBook {
    asked: BTreeMap<MessageId, Asked>,
    /// The quotas of domains, and as they are durably.
    quotas: BTreeMap<String, (History<Quotas>, Quotas)>,
    /// Recipients accepted in an hour, durably; and the most that was ever visible.
    sent: BTreeMap<CounterKey, u64>,
    visible: BTreeMap<CounterKey, u64>,
    peak: BTreeMap<CounterKey, u64>,
    /// Whether mail is held back; and since when durably.
    suppressed: BTreeMap<SuppressionKey, (History<bool>, Option<u64>)>,
    /// Who was held back under a claim with a reason.
    held_back: BTreeMap<Claim, BTreeSet<String>>,
    cancels: BTreeSet<JobId>,
    closing: BTreeMap<OrgId, u64>,
    deleted: BTreeSet<OrgId>,
}

impl Books {
    // ---- what is asked for ----------------------------------------------------------------------------

    /// The quotas of a domain as the world begins.
    pub fn quotas_founded(&mut self, domain: String, quotas: Quotas) {
        self.of_limits.quotas.insert(domain, (vec![(0, quotas)], quotas));
    }

    /// A node is about to accept a message, and charges this.
    pub fn asks(&mut self, message: MessageId, asked: Asked) {
        self.of_limits.asked.insert(message, asked);
    }

    /// Somebody asks for a job to be cancelled.
    pub fn asks_cancel(&mut self, job: JobId) {
        self.of_limits.cancels.insert(job);
    }

    /// Somebody asks for a tenant to be deleted.
    pub fn asks_deletion(&mut self, org: OrgId, now: u64) {
        self.of_limits.closing.insert(org, now);
    }

    /// Whether a tenant's deletion was asked for.
    pub fn is_closing(&self, org: OrgId) -> bool {
        self.of_limits.closing.contains_key(&org)
    }

    /// Whether a tenant is gone for good.
    pub fn is_deleted(&self, org: OrgId) -> bool {
        self.of_limits.deleted.contains(&org)
    }

    /// Whether somebody wanted this job to be cancelled.
    pub(crate) fn may_be_cancelled(&self, row: &JobRow) -> bool {
        self.of_limits.cancels.contains(&row.job.spec.id) || self.is_closing(row.job.spec.org)
    }

    // ---- quotas ---------------------------------------------------------------------------------------

    /// Q10: a client was told that its message is too much.
    pub fn refused(&self, message: MessageId, quota: Quota) -> Found {
        let Some(asked) = self.of_limits.asked.get(&message) else { return Ok(()) };
        let Some(charge) = asked.charges.iter().find(|c| c.quota == quota && quota == Quota::Hourly) else {
            return Ok(());
        };
        let most = self.of_limits.peak.get(&charge.counter).copied().unwrap_or(0);
        match most.saturating_add_signed(charge.amount) > charge.limit {
            true => Ok(()),
            false => Err(format!("Q10: {message} is refused after {most} of {}", charge.limit)),
        }
    }

    /// Recipients that a commit accepts, for each message that clients submitted.
    fn accepted_by(&self, commit: &Applied) -> BTreeMap<MessageId, (u64, Asked)> {
        let mut accepted = BTreeMap::new();
        for row in commit.writes.jobs_new.iter().filter(|row| !row.job.spec.is_dsn) {
            let spec = &row.job.spec;
            let Some(asked) = self.of_limits.asked.get(&spec.message) else { continue };
            accepted.entry(spec.message).or_insert((0, asked.clone())).0 += spec.recipients.len() as u64;
        }
        accepted
    }

    fn count_visible(&mut self, commit: &Applied) {
        for (recipients, asked) in self.accepted_by(commit).into_values() {
            for charge in asked.charges.iter().filter(|c| c.quota == Quota::Hourly) {
                let sum = self.of_limits.visible.entry(charge.counter.clone()).or_default();
                *sum += recipients;
                let peak = self.of_limits.peak.entry(charge.counter.clone()).or_default();
                *peak = (*peak).max(*sum);
            }
        }
    }

    /// Q10: never more is accepted than the quotas allow that were in force while it was accepted.
    fn count_durable(&mut self, commit: &Applied) -> Found {
        for (message, (recipients, asked)) in self.accepted_by(commit) {
            for charge in &asked.charges {
                let limit = charge.limit;
                self.was_in_force(message, &asked, charge, commit.at)?;
                let sum = match charge.quota {
                    Quota::Hourly => {
                        let sum = self.of_limits.sent.entry(charge.counter.clone()).or_default();
                        *sum += recipients;
                        *sum
                    }
                    _ => self.queued_jobs(&asked.domain),
                };
                if sum > limit {
                    let (quota, domain) = (charge.quota, &asked.domain);
                    return Err(format!("Q10: {domain} has {sum} {quota}, allowed are {limit}"));
                }
            }
        }
        Ok(())
    }

    /// Jobs of a domain that are not at their end.
    fn queued_jobs(&self, domain: &str) -> u64 {
        let open = self.jobs.values().filter(|book| {
            let state = book.row.job.state;
            !book.gone && !matches!(state, JobState::Dead | JobState::Cancelled)
        });
        open.filter(|book| book.row.job.spec.counted.as_deref() == Some(domain)).count() as u64
    }

    fn was_in_force(&self, message: MessageId, asked: &Asked, charge: &Charge, at: u64) -> Found {
        let Some((history, _)) = self.of_limits.quotas.get(&asked.domain) else { return Ok(()) };
        let of = |quotas: &Quotas| if charge.quota == Quota::Hourly { quotas.hourly } else { quotas.jobs };
        let during = between(history, asked.from, at).any(|quotas| of(quotas) == Some(charge.limit));
        match during {
            true => Ok(()),
            false => Err(format!(
                "Q10: {message} is accepted by a quota of {} that was edited before",
                charge.limit
            )),
        }
    }

    /// Q10: what the counters say at the end is what was accepted.
    pub(crate) fn counters_fit(&self, world: &World) -> Found {
        let hours = self.of_limits.sent.iter().map(|(key, sum)| (key.clone(), *sum));
        let domains = self.of_limits.quotas.keys();
        let queued = domains.map(|domain| (CounterKey::queued_jobs(domain), self.queued_jobs(domain)));
        for (key, sum) in hours.chain(queued) {
            let counted = world.db.durable_counter(&key);
            if counted != sum {
                return Err(format!("Q10: the counter `{}` shows {counted}, accepted are {sum}", key.name));
            }
        }
        Ok(())
    }

    // ---- suppressions ---------------------------------------------------------------------------------

    /// Q15: nobody is dialled who was held back, durably, before it was looked up and until it was.
    pub(crate) fn not_held_back(
        &self,
        job: &JobRow,
        recipients: &[u16],
        looked: Option<(u64, u64)>,
    ) -> Found {
        let Some((from, to)) = looked else { return Ok(()) };
        let job = &job.job;
        for n in recipients {
            let Some(recipient) = job.spec.recipients.get(usize::from(*n)) else { continue };
            let sure = keys(job, &recipient.address).iter().any(|key| {
                self.of_limits.suppressed.get(key).is_some_and(|(history, since)| {
                    since.is_some_and(|since| since <= from && between(history, since, to).all(|held| *held))
                })
            });
            if sure {
                let name = world_name(job.spec.id);
                return Err(format!("Q15: {name} dials for {}, who is held back", recipient.address));
            }
        }
        Ok(())
    }

    /// A look-up said that these are held back.
    pub fn held_back(&mut self, job: &storage::Job, names: Vec<String>, looked: Option<(u64, u64)>) {
        let Some((from, to)) = looked else { return };
        let with_reason = |address: &String| {
            keys(job, address).iter().any(|key| {
                let history = self.of_limits.suppressed.get(key).map(|(history, _)| history);
                history.is_some_and(|history| between(history, from, to).any(|held| *held))
            })
        };
        let names: BTreeSet<String> = names.into_iter().filter(with_reason).collect();
        self.of_limits.held_back.insert((job.spec.id, job.epoch), names);
    }

    /// Q15: nobody is given up as held back whom nothing held back.
    pub(crate) fn had_a_reason(&self, claim: Claim, address: &str) -> Found {
        let names = self.of_limits.held_back.get(&claim);
        match names.is_some_and(|names| names.contains(address)) {
            true => Ok(()),
            false => Err(format!("Q15: {} gives up {address}, whom nothing holds back", world_name(claim.0))),
        }
    }

    // ---- commits --------------------------------------------------------------------------------------

    /// A commit became visible.
    pub(crate) fn limits_visible(&mut self, commit: &Applied, now: u64) {
        self.count_visible(commit);
        for domain in &commit.writes.domains {
            if let Some((history, _)) = self.of_limits.quotas.get_mut(&domain.name) {
                history.push((now, quotas::of(&domain.settings)));
            }
        }
        for (key, held) in suppressions(commit) {
            self.of_limits.suppressed.entry(key).or_default().0.push((now, held));
        }
    }

    /// A commit is durable.
    pub(crate) fn limits_durable(&mut self, commit: &Applied, now: u64) -> Found {
        for domain in &commit.writes.domains {
            if let Some((_, durable)) = self.of_limits.quotas.get_mut(&domain.name) {
                *durable = quotas::of(&domain.settings);
            }
        }
        for (key, held) in suppressions(commit) {
            let since = &mut self.of_limits.suppressed.entry(key).or_default().1;
            *since = held.then(|| since.unwrap_or(now));
        }
        self.count_durable(commit)?;
        commit.writes.orgs_gone.iter().try_for_each(|org| self.tenant_gone(*org))
    }

    /// The database went down, and what was visible and not durable is gone.
    pub fn database_crashed(&mut self, now: u64) {
        let limits = &mut self.of_limits;
        for (history, durable) in limits.quotas.values_mut() {
            history.push((now, *durable));
        }
        for (history, since) in limits.suppressed.values_mut() {
            history.push((now, since.is_some()));
            *since = since.map(|_| now);
        }
        limits.visible = limits.sent.clone();
    }

    /// Q12: a deleted tenant has no job left that is not at its end. Who was stopped in the middle of an acceptance
    /// when the deletion began is not looked at: his client is gone.
    fn tenant_gone(&mut self, org: OrgId) -> Found {
        self.of_limits.deleted.insert(org);
        let begun = self.of_limits.closing.get(&org).copied().unwrap_or(0);
        let left = self.jobs.values().find(|book| {
            let of_tenant = book.row.job.spec.org == org && book.born < begun;
            let ended = matches!(book.row.job.state, JobState::Dead | JobState::Cancelled);
            of_tenant && !book.gone && !ended
        });
        match left {
            None => Ok(()),
            Some(book) => {
                let (name, state) = (world_name(book.row.job.spec.id), book.row.job.state);
                Err(format!("Q12: the tenant of {name} is deleted, and the job is {state:?}"))
            }
        }
    }
}

/// What a history shows at any time between the two.
fn between<T>(history: &History<T>, from: u64, to: u64) -> impl Iterator<Item = &T> {
    let ends = history.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
    history
        .iter()
        .zip(ends)
        .filter(move |((begins, _), ends)| *begins <= to && *ends >= from)
        .map(|((_, t), _)| t)
}

/// What a commit changes about who is held back.
fn suppressions(commit: &Applied) -> impl Iterator<Item = (SuppressionKey, bool)> {
    commit.writes.slots.iter().filter_map(|write| {
        let SlotKey::Suppression(key) = &write.key else { return None };
        Some((key.clone(), matches!(write.slot, Some(Slot::Suppression(_)))))
    })
}

/// Whether a recipient was given up because his mail is held back.
pub(crate) fn is_held_back(before: RecipientState, after: RecipientState) -> bool {
    before == RecipientState::Pending && after == RecipientState::Suppressed
}
