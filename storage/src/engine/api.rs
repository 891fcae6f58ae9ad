//! Keys and e-mails of the API, and the log of what became of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use protocol_core::Timestamp;
use tokio::sync::MutexGuard;

use super::Engine;
use super::names::{check_text, invalid};
use super::staged::StagedSlots;
use crate::api::*;
use crate::audit::{AuditEntry, AuditPlace};
use crate::error::{Error, Refusal, Result};
use crate::rows::{Rows, Writes};
use crate::slots::*;
use crate::store::{Api, Limits};
use crate::types::*;

/// Rows of one read of a listing.
const READ_AT_ONCE: usize = 1_000;
/// Domains, addresses and networks of one key, together.
pub const API_KEY_ENTRIES_MAX: usize = 200;
/// Octets of one of them.
const API_KEY_ENTRY_MAX: usize = 320;

impl<R: Rows> Engine<R> {
    /// Numbers the new entries of logs, and guards the numbers with the revisions of their counters: two
    /// transactions that give the same number cannot both commit. The answer is held until they are applied.
    pub(super) async fn number_log(&self, writes: &mut Writes) -> Result<Option<MutexGuard<'_, ()>>> {
        if writes.log.is_empty() {
            return Ok(None);
        }
        let guard = self.logging.lock().await;
        let mut many: BTreeMap<OrgId, i64> = BTreeMap::new();
        for row in &writes.log {
            *many.entry(row.org).or_default() += 1;
        }
        let keys = many.keys().map(|org| SlotKey::Counter(CounterKey::log(*org))).collect();
        let mut slots = StagedSlots::read(&self.rows, keys).await?;
        let mut next: BTreeMap<OrgId, u64> =
            many.keys().map(|org| (*org, slots.count(&SlotKey::Counter(CounterKey::log(*org))))).collect();
        for row in &mut writes.log {
            let last = next.entry(row.org).or_default();
            *last += 1;
            row.number = *last;
        }
        for (org, amount) in many {
            slots.charge(&CounterKey::log(org), amount);
        }
        writes.slots.extend(slots.writes());
        Ok(Some(guard))
    }

    async fn slot(&self, key: SlotKey) -> Result<Option<SlotRow>> {
        Ok(self.rows.slots(&[key]).await?.into_iter().next())
    }
}

fn key_of(row: SlotRow) -> Result<ApiKey> {
    match row.slot {
        Slot::ApiKey(key) => Ok(*key),
        _ => Err(Error::Corrupt("api_key: another kind of row".into())),
    }
}

fn email_of(row: SlotRow) -> Result<Email> {
    match row.slot {
        Slot::Email(email) => Ok(*email),
        _ => Err(Error::Corrupt("email: another kind of row".into())),
    }
}

fn check_key(key: &ApiKey) -> Result<()> {
    check_text("the name of a key", &key.name)?;
    let entries = || key.domains.iter().chain(&key.addresses).chain(&key.networks);
    if entries().count() > API_KEY_ENTRIES_MAX {
        return invalid(format!("a key has at most {API_KEY_ENTRIES_MAX} domains, addresses and networks"));
    }
    if entries().any(|e| e.is_empty() || e.len() > API_KEY_ENTRY_MAX || e.chars().any(char::is_control)) {
        return invalid("a domain, address or network of a key is not valid");
    }
    Ok(())
}

#[async_trait::async_trait]
impl<R: Rows> Api for Engine<R> {
    async fn email(&self, org: OrgId, id: MessageId) -> Result<Email> {
        email_of(self.slot(SlotKey::Email(org, id)).await?.ok_or(Error::NotFound)?)
    }

    async fn emails(&self, org: OrgId, after: Option<EmailPlace>, limit: usize) -> Result<Vec<Email>> {
        let highest = EmailPlace { created: Timestamp(i64::MAX), id: MessageId(Id([u8::MAX; 16])) };
        let from = SlotKey::EmailTime(org, Reverse(after.unwrap_or(highest)));
        let rows = self.rows.slots_after(SlotTable::EmailTime, Some(&from), limit).await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            match row.key {
                SlotKey::EmailTime(owner, Reverse(place)) if owner == org => {
                    keys.push(SlotKey::Email(org, place.id));
                }
                // The next organisation's begin.
                _ => break,
            }
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let emails = self.rows.slots(&keys).await?.into_iter().map(email_of).collect::<Result<Vec<_>>>()?;
        let mut by_id: BTreeMap<MessageId, Email> =
            emails.into_iter().map(|email| (email.id, email)).collect();
        let in_order = keys.iter().filter_map(|key| match key {
            SlotKey::Email(_, id) => by_id.remove(id),
            _ => None,
        });
        Ok(in_order.collect())
    }

    async fn answered_before(
        &self,
        org: OrgId,
        key: &str,
        fingerprint: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<String>> {
        let key = SlotKey::Idempotency(org, key.to_owned());
        let mut tries = 0;
        loop {
            let Some(SlotRow { rev, slot: Slot::Idempotency(known), .. }) = self.slot(key.clone()).await?
            else {
                return Ok(None);
            };
            if known.expires <= now {
                return Ok(None);
            }
            if known.fingerprint != *fingerprint {
                return Err(Refusal::IdempotencyConflict.into());
            }
            // It may have been seen before it was durable: when this write is, so is what it repeats.
            let answer = known.answer.clone();
            let write = SlotWrite { key: key.clone(), rev, slot: Some(Slot::Idempotency(known)) };
            let writes = Writes { slots: vec![write], ..Writes::default() };
            if self.apply("answered_before", writes, &mut tries).await? {
                return Ok(Some(answer));
            }
        }
    }

    async fn put_audit(&self, entry: &AuditEntry) -> Result<()> {
        let key = SlotKey::Audit(entry.org, entry.place());
        self.replace_slot("put_audit", key, Some(Slot::Audit(Box::new(entry.clone())))).await.map(drop)
    }

    async fn audit(&self, org: Option<OrgId>, after: AuditPlace, limit: usize) -> Result<Vec<AuditEntry>> {
        let from = SlotKey::Audit(org, Reverse(after));
        let rows = self.rows.slots_after(SlotTable::Audit, Some(&from), limit).await?;
        // Behind an organisation's begin the next one's.
        let own = rows.into_iter().map_while(|row| match row.slot {
            Slot::Audit(entry) if entry.org == org => Some(*entry),
            _ => None,
        });
        Ok(own.collect())
    }

    async fn remove_audit(&self, org: OrgId) -> Result<()> {
        let highest = AuditPlace { at: Timestamp(i64::MAX), id: AuditId(Id([u8::MAX; 16])) };
        loop {
            let entries = self.audit(Some(org), highest, READ_AT_ONCE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let key = SlotKey::Audit(entry.org, entry.place());
                self.replace_slot("remove_audit", key, None).await?;
            }
        }
    }

    async fn put_off_email(&self, org: OrgId, id: MessageId, send_at: Timestamp) -> Result<()> {
        let mut tries = 0;
        loop {
            let row = self.slot(SlotKey::Email(org, id)).await?.ok_or(Error::NotFound)?;
            let rev = row.rev;
            let mut email = email_of(row)?;
            let place = EmailPlace { created: email.open.created, id };
            let time = SlotKey::EmailTime(org, Reverse(place));
            let time_rev = self.slot(time.clone()).await?.map_or(0, |row| row.rev);
            let kept = email.open.expires.since(email.open.send_at.unwrap_or(email.open.created));
            email.open.expires = send_at + kept;
            email.open.send_at = Some(send_at);
            let expires = Some(Slot::EmailTime(email.open.expires));
            let slots = vec![
                SlotWrite { key: SlotKey::Email(org, id), rev, slot: Some(Slot::Email(Box::new(email))) },
                SlotWrite { key: time, rev: time_rev, slot: expires },
            ];
            if self.apply("put_off_email", Writes { slots, ..Writes::default() }, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn jobs_of(&self, message: MessageId, count: u16) -> Result<Vec<Job>> {
        let ids: Vec<JobId> = (0..count.min(JOBS_OF_MESSAGE_MAX)).map(|n| JobId::of(message, n)).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.rows.jobs(&ids).await?.into_iter().map(|row| row.job).collect())
    }

    async fn log_after(&self, org: OrgId, number: u64, limit: usize) -> Result<Vec<LogRow>> {
        self.rows.log_after(org, number, limit).await
    }

    async fn log_end(&self, org: OrgId) -> Result<u64> {
        Ok(self.counters(&[CounterKey::log(org)]).await?.into_iter().next().unwrap_or(0))
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<()> {
        check_key(key)?;
        self.rows.org(key.org).await?.ok_or(Error::NotFound)?;
        self.replace_slot("add_api_key", SlotKey::ApiKey(key.id), Some(Slot::ApiKey(Box::new(key.clone()))))
            .await
            .map(drop)
    }

    async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey> {
        key_of(self.slot(SlotKey::ApiKey(id)).await?.ok_or(Error::NotFound)?)
    }

    async fn list_api_keys(&self, org: Option<OrgId>) -> Result<Vec<ApiKey>> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let rows = self.rows.slots_after(SlotTable::ApiKey, after.as_ref(), READ_AT_ONCE).await?;
            let is_last = rows.len() < READ_AT_ONCE;
            after = rows.last().map(|row| row.key.clone());
            for row in rows {
                let key = key_of(row)?;
                if org.is_none_or(|org| org == key.org) {
                    keys.push(key);
                }
            }
            if is_last {
                return Ok(keys);
            }
        }
    }

    async fn remove_api_key(&self, id: ApiKeyId) -> Result<bool> {
        self.replace_slot("remove_api_key", SlotKey::ApiKey(id), None).await
    }

    async fn touch_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<()> {
        let mut tries = 0;
        loop {
            // Removed meanwhile: it must not come back.
            let Some(row) = self.slot(SlotKey::ApiKey(id)).await? else { return Ok(()) };
            let rev = row.rev;
            let mut key = key_of(row)?;
            if key.last_used.is_some_and(|last| now.0 - last.0 < LAST_USE_STEP_SECS * 1_000) {
                return Ok(());
            }
            key.last_used = Some(now);
            let write = SlotWrite { key: SlotKey::ApiKey(id), rev, slot: Some(Slot::ApiKey(Box::new(key))) };
            let writes = Writes { slots: vec![write], ..Writes::default() };
            if self.apply("touch_api_key", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }
}
