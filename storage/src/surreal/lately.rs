//! Rows as they were read lately: domains, organisations, and addresses that nothing holds mail back for. A message asks
//! for them a dozen times on its way, and each question costs the engine as much as the write of a row.
//!
//! An embedded database has one process that writes to it, this one: what is remembered here holds until it is
//! written. What is on a server may be changed by others: there a domain is believed for a second by those who ask for
//! one read [`lately`](crate::rows::Rows::domain_lately), and nothing else is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rows::{OrgRow, Writes};
use crate::slots::SlotKey;
use crate::types::{Domain, OrgId};

/// How long a row may be out of date when another process changed it.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Keys remembered of each kind, those that have no row too; beyond it all are forgotten.
const KEYS_MAX: usize = 16_384;

/// See the module. A clone remembers nothing: it stands for another process, and from then on nobody is alone.
pub struct Lately {
    /// Whether nobody else writes.
    alone: Arc<AtomicBool>,
    pub domains: Arc<Domains>,
    pub orgs: Arc<Orgs>,
    pub absent: Arc<Absent>,
}

type Domains = Memory<String, Option<Domain>>;
type Orgs = Memory<OrgId, Option<OrgRow>>;
/// Keys of suppressions that have no row.
type Absent = Memory<SlotKey, ()>;

/// Rows of one kind.
pub struct Memory<K, V>(Mutex<Known<K, V>>);

struct Known<K, V> {
    /// Raised by every change from here: what was read before it is not remembered after it.
    changes: u64,
    /// Writes under way that touch such rows: nobody knows which of both a row is, so that it is read.
    writing: usize,
    rows: HashMap<K, (Instant, V)>,
}

/// What a read that begins now may be remembered under.
#[derive(Clone, Copy)]
pub struct Since(u64, Instant);

#[allow(clippy::disallowed_methods)] // an age, which decides nothing but what is read anew
fn now() -> Instant {
    Instant::now()
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn new() -> Memory<K, V> {
        Memory(Mutex::new(Known { changes: 0, writing: 0, rows: HashMap::new() }))
    }

    fn known(&self) -> MutexGuard<'_, Known<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read, not longer ago than `age`. Else what to remember an answer under.
    pub fn get(&self, key: &K, age: Duration) -> Result<V, Since> {
        let (now, known) = (now(), self.known());
        match known.rows.get(key) {
            Some((read, row)) if known.writing == 0 && now.duration_since(*read) <= age => Ok(row.clone()),
            _ => Err(Since(known.changes, now)),
        }
    }

    /// Remembers an answer, unless something was changed since it was asked for.
    pub fn remember(&self, Since(changes, read): Since, key: K, row: V) {
        let mut known = self.known();
        if known.changes != changes || known.writing > 0 {
            return;
        }
        if known.rows.len() >= KEYS_MAX {
            known.rows.clear();
        }
        known.rows.insert(key, (read, row));
    }

    fn begin(&self) {
        self.known().writing += 1;
    }

    /// Of all rows, or of these.
    fn end(&self, keys: Option<&[K]>) {
        let mut known = self.known();
        known.writing -= 1;
        known.changes += 1;
        match keys {
            None => known.rows.clear(),
            Some(keys) => keys.iter().for_each(|key| drop(known.rows.remove(key))),
        }
    }
}

/// A write under way. What it touches is forgotten when it is dropped, which must be before anybody hears what came of
/// the write.
pub struct Writing {
    directory: Option<(Arc<Domains>, Arc<Orgs>)>,
    suppressions: Option<(Arc<Absent>, Vec<SlotKey>)>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some((domains, orgs)) = &self.directory {
            domains.end(None);
            orgs.end(None);
        }
        if let Some((absent, keys)) = &self.suppressions {
            absent.end(Some(keys));
        }
    }
}

impl Clone for Lately {
    fn clone(&self) -> Self {
        self.alone.store(false, Ordering::SeqCst);
        Lately { alone: self.alone.clone(), ..Lately::new(false) }
    }
}

impl Lately {
    /// `alone`: no other process writes to this database.
    pub fn new(alone: bool) -> Lately {
        Lately {
            alone: Arc::new(AtomicBool::new(alone)),
            domains: Arc::new(Memory::new()),
            orgs: Arc::new(Memory::new()),
            absent: Arc::new(Memory::new()),
        }
    }

    /// Whether what is remembered holds until it is written from here.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }

    /// How old a row may be for who asks for one read lately.
    pub fn age(&self) -> Duration {
        if self.is_alone() { Duration::MAX } else { AGE_MAX }
    }

    /// Says that these writes are being tried.
    pub fn writing(&self, writes: &Writes) -> Writing {
        let orgs = writes.orgs_new.len() + writes.orgs.len() + writes.orgs_gone.len();
        let domains = writes.domains_new.len() + writes.domains.len() + writes.domains_gone.len();
        let directory = (domains + orgs > 0).then(|| {
            self.domains.begin();
            self.orgs.begin();
            (self.domains.clone(), self.orgs.clone())
        });
        let of_suppressions = |key: &&SlotKey| matches!(key, SlotKey::Suppression(_));
        let keys: Vec<SlotKey> =
            writes.slots.iter().map(|write| &write.key).filter(of_suppressions).cloned().collect();
        let suppressions = (!keys.is_empty()).then(|| {
            self.absent.begin();
            (self.absent.clone(), keys)
        });
        Writing { directory, suppressions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DomainSettings;

    fn domain(name: &str) -> Option<Domain> {
        Some(Domain { name: name.into(), org: OrgId::random(), settings: DomainSettings::default() })
    }

    fn ask(lately: &Lately, name: &str) -> Result<Option<Domain>, Since> {
        lately.domains.get(&name.to_owned(), lately.age())
    }

    #[test]
    fn an_answer_is_remembered_until_something_changes() {
        let lately = Lately::new(true);
        let row = domain("a.test");
        let Err(since) = ask(&lately, "a.test") else { panic!() };
        lately.domains.remember(since, "a.test".into(), row.clone());
        assert_eq!(ask(&lately, "a.test").ok(), Some(row.clone()));
        let Err(since) = ask(&lately, "b.test") else { panic!() };
        lately.domains.remember(since, "b.test".into(), None);
        assert!(matches!(ask(&lately, "b.test"), Ok(None)));
        drop(lately.writing(&Writes::default()));
        assert!(ask(&lately, "a.test").is_ok());
        let writes = Writes { domains_new: row.into_iter().collect(), ..Writes::default() };
        // What was asked before the change and is answered after it.
        let Err(since) = ask(&lately, "c.test") else { panic!() };
        drop(lately.writing(&writes));
        lately.domains.remember(since, "c.test".into(), None);
        assert!(["a.test", "b.test", "c.test"].iter().all(|name| ask(&lately, name).is_err()));
        // While it is being changed, nobody knows.
        let Err(since) = ask(&lately, "d.test") else { panic!() };
        lately.domains.remember(since, "d.test".into(), None);
        let writing = lately.writing(&writes);
        let Err(since) = ask(&lately, "d.test") else { panic!() };
        lately.domains.remember(since, "d.test".into(), None);
        let Err(meanwhile) = ask(&lately, "d.test") else { panic!() };
        drop(writing);
        lately.domains.remember(meanwhile, "d.test".into(), None);
        assert!(ask(&lately, "d.test").is_err());
    }

    #[test]
    fn who_has_company_believes_nothing_for_long() {
        let lately = Lately::new(true);
        assert!(lately.is_alone() && lately.age() > Duration::from_secs(1 << 40));
        let Err(since) = ask(&lately, "a.test") else { panic!() };
        lately.domains.remember(since, "a.test".into(), None);
        let other = lately.clone();
        assert!(ask(&other, "a.test").is_err());
        assert!(!lately.is_alone() && !other.is_alone());
        assert_eq!((lately.age(), other.age()), (AGE_MAX, AGE_MAX));
        assert!(!Lately::new(false).is_alone());
    }

    #[test]
    fn memory_is_bounded() {
        let lately = Lately::new(true);
        for n in 0..2 * KEYS_MAX + 5 {
            let name = format!("d{n}.test");
            if let Err(since) = ask(&lately, &name) {
                lately.domains.remember(since, name, None);
            }
            assert!(lately.domains.known().rows.len() <= KEYS_MAX);
        }
    }
}
