//! Small rows as they will be when what was decided so far is written.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use protocol_core::Timestamp;

use crate::api::{Email, EmailPlace};
use crate::error::{Refusal, Result};
use crate::rows::Rows;
use crate::slots::*;
use crate::types::{Commit, OrgId};

#[derive(Clone, Debug)]
struct Staged {
    rev: u64,
    slot: Option<Slot>,
    changed: bool,
}

/// What was read, and what becomes of it. A key that was not read is taken for one that is not there, so whoever
/// decides reads first: [`keys_of`] and [`suppression_keys`] name what a decision needs.
#[derive(Clone, Debug, Default)]
pub(super) struct StagedSlots {
    slots: BTreeMap<SlotKey, Staged>,
}

/// The small rows that a commit rests on.
pub(super) fn keys_of(commit: &Commit) -> impl Iterator<Item = SlotKey> + '_ {
    let charges = commit.charges.iter().map(|charge| SlotKey::Counter(charge.counter.clone()));
    let key = commit.idempotency.iter().map(|i| SlotKey::Idempotency(i.org, i.key.clone()));
    let suppressions = commit.suppressions.iter().flat_map(|(org, change)| suppression_keys(*org, change));
    let email = commit.email.iter().flat_map(email_keys);
    charges.chain(key).chain(suppressions).chain(email)
}

/// The rows of an e-mail: itself, and its place in time.
fn email_keys(email: &Email) -> [SlotKey; 2] {
    let place = EmailPlace { created: email.open.created, id: email.id };
    [SlotKey::Email(email.org, email.id), SlotKey::EmailTime(email.org, Reverse(place))]
}

/// The rows that a change of suppressions rests on.
pub(super) fn suppression_keys(org: OrgId, change: &SuppressionChange) -> Vec<SlotKey> {
    match change {
        SuppressionChange::Suppress { address, .. } => vec![address_key(org, address)],
        SuppressionChange::SuspectDomain { domain, .. } => vec![domain_key(org, domain)],
        SuppressionChange::Delivered { address } | SuppressionChange::Replied { address } => {
            let domain = domain_of(address).map(|domain| domain_key(org, domain));
            std::iter::once(address_key(org, address)).chain(domain).collect()
        }
    }
}

fn address_key(org: OrgId, address: &str) -> SlotKey {
    key(org, SuppressionScope::Address, address)
}

fn domain_key(org: OrgId, domain: &str) -> SlotKey {
    key(org, SuppressionScope::Domain, domain)
}

fn key(org: OrgId, scope: SuppressionScope, entry: &str) -> SlotKey {
    SlotKey::Suppression(SuppressionKey { org: Some(org), scope, entry: entry.to_owned() })
}

fn domain_of(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

impl StagedSlots {
    /// Reads the rows of these keys, in one read; none when there are no keys.
    pub async fn read(rows: &impl Rows, mut keys: Vec<SlotKey>) -> Result<StagedSlots> {
        if keys.is_empty() {
            return Ok(StagedSlots::default());
        }
        keys.sort_unstable();
        keys.dedup();
        let read = rows.slots(&keys).await?.into_iter();
        let staged = |row: SlotRow| (row.key, Staged { rev: row.rev, slot: Some(row.slot), changed: false });
        Ok(StagedSlots { slots: read.map(staged).collect() })
    }

    fn slot(&self, key: &SlotKey) -> Option<&Slot> {
        self.slots.get(key).and_then(|staged| staged.slot.as_ref())
    }

    fn put(&mut self, key: SlotKey, slot: Option<Slot>) {
        let staged = self.slots.entry(key).or_insert(Staged { rev: 0, slot: None, changed: false });
        staged.slot = slot;
        staged.changed = true;
    }

    pub fn is_changed(&self) -> bool {
        self.slots.values().any(|staged| staged.changed)
    }

    /// What changed. A row that was made and removed again is not among it.
    pub fn writes(&self) -> Vec<SlotWrite> {
        let changed = self.slots.iter().filter(|(_, s)| s.changed && (s.rev > 0 || s.slot.is_some()));
        let write =
            |(key, s): (&SlotKey, &Staged)| SlotWrite { key: key.clone(), rev: s.rev, slot: s.slot.clone() };
        changed.map(write).collect()
    }

    // ---- counters ---------------------------------------------------------------------------------------

    pub fn count(&self, key: &SlotKey) -> u64 {
        match self.slot(key) {
            Some(Slot::Counter(used)) => *used,
            _ => 0,
        }
    }

    /// Refuses the first charge that would exceed its limit when all are made.
    pub fn check_charges(&self, charges: &[Charge]) -> Result<()> {
        let mut sums: BTreeMap<&CounterKey, i64> = BTreeMap::new();
        for charge in charges {
            let sum = sums.entry(&charge.counter).or_default();
            *sum = sum.saturating_add(charge.amount);
            let used = self.count(&SlotKey::Counter(charge.counter.clone()));
            if charge.amount > 0 && used.saturating_add_signed(*sum) > charge.limit {
                return Err(Refusal::Quota(charge.quota).into());
            }
        }
        Ok(())
    }

    /// Adds to a counter, whatever its limit.
    pub fn charge(&mut self, counter: &CounterKey, amount: i64) {
        let key = SlotKey::Counter(counter.clone());
        let used = self.count(&key).saturating_add_signed(amount);
        // A counter without a window ends when there is nothing to count.
        let gone = used == 0 && counter.ends == Timestamp(i64::MAX);
        self.put(key, (!gone).then_some(Slot::Counter(used)));
    }

    // ---- idempotency ------------------------------------------------------------------------------------

    /// Refuses what was accepted before under the same key. What was answered then is written once more: when
    /// the write is durable, so is what it repeats, which may have been seen before it was.
    pub fn check_idempotency(&mut self, new: &Idempotency, now: Timestamp) -> Result<()> {
        let key = SlotKey::Idempotency(new.org, new.key.clone());
        match self.slot(&key) {
            Some(Slot::Idempotency(known)) if now < known.expires => {
                if known.fingerprint != new.fingerprint {
                    return Err(Refusal::IdempotencyConflict.into());
                }
                let known = known.clone();
                let answer = known.answer.clone();
                self.put(key, Some(Slot::Idempotency(known)));
                Err(Refusal::Repeated(answer).into())
            }
            _ => Ok(()),
        }
    }

    pub fn put_idempotency(&mut self, new: &Idempotency) {
        let key = SlotKey::Idempotency(new.org, new.key.clone());
        self.put(key, Some(Slot::Idempotency(new.clone())));
    }

    // ---- e-mails ----------------------------------------------------------------------------------------

    pub fn put_email(&mut self, email: &Email) {
        let [row, time] = email_keys(email);
        self.put(row, Some(Slot::Email(Box::new(email.clone()))));
        self.put(time, Some(Slot::EmailTime(email.open.expires)));
    }

    // ---- suppressions -----------------------------------------------------------------------------------

    fn suppression(&self, key: &SlotKey) -> Option<&Suppression> {
        match self.slot(key) {
            Some(Slot::Suppression(row)) => Some(row),
            _ => None,
        }
    }

    fn set(
        &mut self,
        key: SlotKey,
        reason: &str,
        source: SuppressionSource,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) {
        let SlotKey::Suppression(of) = &key else { return };
        let row = Suppression { key: of.clone(), reason: reason.to_owned(), source, created, expires };
        self.put(key, Some(Slot::Suppression(row)));
    }

    /// What a change makes of the rows; see [`SuppressionChange`].
    pub fn suppress(&mut self, org: OrgId, change: &SuppressionChange, now: Timestamp) {
        use SuppressionSource::{Bounce, Complaint, Manual, Suspicion};
        match change {
            SuppressionChange::Suppress { address, reason, source, expires } => {
                let key = address_key(org, address);
                let stays = |row: &Suppression| row.source == Manual || lasts_longer(row.expires, *expires);
                if !self.suppression(&key).is_some_and(|row| row.holds(now) && stays(row)) {
                    self.set(key, reason, *source, now, *expires);
                }
            }
            SuppressionChange::SuspectDomain { domain, reason } => {
                let key = domain_key(org, domain);
                let end = Some(Timestamp(now.0 + DOMAIN_LASTS_SECS * 1_000));
                let known = self.suppression(&key).filter(|row| row.expires.is_none_or(|end| now < end));
                match known.map(|row| (row.source, row.created)) {
                    Some((Suspicion, since)) if now.0 - since.0 >= CONFIRM_AFTER_SECS * 1_000 => {
                        self.set(key, reason, Bounce, now, end);
                    }
                    Some(_) => {}
                    None => self.set(key, reason, Suspicion, now, end),
                }
            }
            SuppressionChange::Delivered { .. } => self.lift(org, change, &[Bounce, Suspicion]),
            SuppressionChange::Replied { .. } => self.lift(org, change, &[Bounce, Suspicion, Complaint]),
        }
    }

    fn lift(&mut self, org: OrgId, change: &SuppressionChange, sources: &[SuppressionSource]) {
        for key in suppression_keys(org, change) {
            if self.suppression(&key).is_some_and(|row| sources.contains(&row.source)) {
                self.put(key, None);
            }
        }
    }
}

fn lasts_longer(known: Option<Timestamp>, new: Option<Timestamp>) -> bool {
    match (known, new) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(known), Some(new)) => known >= new,
    }
}
