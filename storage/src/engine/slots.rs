//! Counters of rates, suppressions by hand, and the cleaning of small rows.

use protocol_core::Timestamp;

use super::Engine;
use crate::error::{Error, Result};
use crate::rows::{ApplyError, Rows, Writes};
use crate::slots::*;
use crate::store::Limits;

/// Counters remembered; beyond it all are forgotten and read again.
const COUNTERS_MAX: usize = 65_536;

/// What is told of each charge, and the counters as they are then: revision and value.
type Counted = (Vec<bool>, Vec<(CounterKey, (u64, u64))>);

/// Adds what fits, in order.
fn add(known: &std::collections::HashMap<CounterKey, (u64, u64)>, charges: &[Charge]) -> Counted {
    let mut counters: Vec<(CounterKey, (u64, u64))> = Vec::new();
    let mut answers = Vec::with_capacity(charges.len());
    for charge in charges {
        let at = counters.iter().position(|(key, _)| *key == charge.counter).unwrap_or_else(|| {
            let state = known.get(&charge.counter).copied().unwrap_or_default();
            counters.push((charge.counter.clone(), state));
            counters.len() - 1
        });
        let Some((_, (_, used))) = counters.get_mut(at) else { continue };
        let after = used.saturating_add_signed(charge.amount);
        let fits = charge.amount <= 0 || after <= charge.limit;
        if fits {
            *used = after;
        }
        answers.push(fits);
    }
    (answers, counters)
}

#[async_trait::async_trait]
impl<R: Rows> Limits for Engine<R> {
    async fn count(&self, charges: Vec<Charge>) -> Result<Vec<bool>> {
        let mut known = self.counting.lock().await;
        if known.len() > COUNTERS_MAX {
            known.clear();
        }
        let mut tries = 0;
        loop {
            let unknown: Vec<SlotKey> = charges
                .iter()
                .filter(|charge| !known.contains_key(&charge.counter))
                .map(|charge| SlotKey::Counter(charge.counter.clone()))
                .collect();
            if !unknown.is_empty() {
                for row in self.rows.slots(&unknown).await? {
                    if let (SlotKey::Counter(key), Slot::Counter(used)) = (row.key, row.slot) {
                        known.insert(key, (row.rev, used));
                    }
                }
            }
            let (answers, counters) = add(&known, &charges);
            let changed = |(key, (_, used)): &&(CounterKey, (u64, u64))| {
                known.get(key).copied().unwrap_or_default().1 != *used
            };
            let write = |(key, (rev, used)): &(CounterKey, (u64, u64))| SlotWrite {
                key: SlotKey::Counter(key.clone()),
                rev: *rev,
                slot: Some(Slot::Counter(*used)),
            };
            let slots: Vec<SlotWrite> = counters.iter().filter(changed).map(write).collect();
            if slots.is_empty() {
                return Ok(answers);
            }
            // What is remembered is right again only when it was written.
            for write in &slots {
                if let SlotKey::Counter(key) = &write.key {
                    known.remove(key);
                }
            }
            match self.rows.apply("count", Writes { slots: slots.clone(), ..Writes::default() }).await {
                Ok(()) => {
                    for write in slots {
                        if let (SlotKey::Counter(key), Some(Slot::Counter(used))) = (write.key, write.slot) {
                            known.insert(key, (write.rev + 1, used));
                        }
                    }
                    return Ok(answers);
                }
                Err(ApplyError::Stale) if tries < super::TRIES_MAX => {
                    tries += 1;
                    self.rows.pause(tries).await;
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    async fn counters(&self, keys: &[CounterKey]) -> Result<Vec<u64>> {
        let wanted: Vec<SlotKey> = keys.iter().cloned().map(SlotKey::Counter).collect();
        let rows = self.rows.slots(&wanted).await?;
        let used = |key: &CounterKey| {
            let row = rows.iter().find(|row| matches!(&row.key, SlotKey::Counter(k) if k == key));
            match row.map(|row| &row.slot) {
                Some(Slot::Counter(used)) => *used,
                _ => 0,
            }
        };
        Ok(keys.iter().map(used).collect())
    }

    async fn suppressions(&self, keys: &[SuppressionKey]) -> Result<Vec<Suppression>> {
        let keys: Vec<SlotKey> = keys.iter().cloned().map(SlotKey::Suppression).collect();
        let rows = self.rows.slots(&keys).await?;
        Ok(rows.into_iter().filter_map(suppression_of).collect())
    }

    async fn put_suppression(&self, row: &Suppression) -> Result<()> {
        let key = SlotKey::Suppression(row.key.clone());
        self.replace_slot("put_suppression", key, Some(Slot::Suppression(row.clone()))).await.map(drop)
    }

    async fn remove_suppression(&self, key: &SuppressionKey) -> Result<bool> {
        self.replace_slot("remove_suppression", SlotKey::Suppression(key.clone()), None).await
    }

    async fn list_suppressions(
        &self,
        after: Option<&SuppressionKey>,
        limit: usize,
    ) -> Result<Vec<Suppression>> {
        let after = after.cloned().map(SlotKey::Suppression);
        let rows = self.rows.slots_after(SlotTable::Suppression, after.as_ref(), limit).await?;
        Ok(rows.into_iter().filter_map(suppression_of).collect())
    }

    async fn clean_slots(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let mut cleaned = 0;
        let tables = [
            SlotTable::RateWindow,
            SlotTable::Quota,
            SlotTable::Suppression,
            SlotTable::Idempotency,
            SlotTable::Email,
            SlotTable::EmailTime,
            SlotTable::Audit,
        ];
        for table in tables {
            let by_end = matches!(table, SlotTable::RateWindow | SlotTable::Quota);
            loop {
                let removed = self.clean_table(table, now, limit, by_end).await?;
                cleaned += removed;
                // What is over stands first, and may have become more than one look: as many sources as there are
                // networks leave their rows.
                if !by_end || removed < limit as u64 {
                    break;
                }
            }
        }
        Ok(cleaned)
    }
}

fn suppression_of(row: SlotRow) -> Option<Suppression> {
    match row.slot {
        Slot::Suppression(row) => Some(row),
        _ => None,
    }
}

impl<R: Rows> Engine<R> {
    /// Writes a row in place of what is there; whether there was one.
    pub(super) async fn replace_slot(
        &self,
        what: &'static str,
        key: SlotKey,
        slot: Option<Slot>,
    ) -> Result<bool> {
        let mut tries = 0;
        loop {
            let known = self.rows.slots(std::slice::from_ref(&key)).await?.into_iter().next();
            let rev = known.as_ref().map_or(0, |row| row.rev);
            if rev == 0 && slot.is_none() {
                return Ok(false);
            }
            let write = SlotWrite { key: key.clone(), rev, slot: slot.clone() };
            if self.apply(what, Writes { slots: vec![write], ..Writes::default() }, &mut tries).await? {
                return Ok(known.is_some());
            }
        }
    }

    /// Looks at the next rows of a table and removes those that are over.
    async fn clean_table(&self, table: SlotTable, now: Timestamp, limit: usize, by_end: bool) -> Result<u64> {
        let mut cleaned = self.cleaned.lock().await;
        let after = if by_end { None } else { cleaned.get(&table) };
        let rows = self.rows.slots_after(table, after, limit).await?;
        match rows.last() {
            Some(last) if rows.len() >= limit => cleaned.insert(table, last.key.clone()),
            _ => cleaned.remove(&table),
        };
        let over = rows.into_iter().filter(|row| row.slot.is_over(&row.key, now));
        let gone = |row: SlotRow| SlotWrite { key: row.key, rev: row.rev, slot: None };
        let slots: Vec<SlotWrite> = over.map(gone).collect();
        let count = slots.len() as u64;
        match self.rows.apply("clean_slots", Writes { slots, ..Writes::default() }).await {
            Ok(()) => Ok(count),
            // Somebody writes to one of them, or cleans too: next time.
            Err(ApplyError::Stale) => Ok(0),
            Err(other) => Err(Error::from(other)),
        }
    }
}
