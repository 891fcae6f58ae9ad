//! Domains as they were read lately. A message asks for those of its sender and its recipients half a dozen times on
//! its way, and the engine reads the definition of each of their forty fields anew for each question.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rows::Writes;
use crate::types::Domain;

/// How long a row may be out of date when another process changed it. What this process changes is read anew.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Names remembered, those that are no domain of ours too; beyond it all are forgotten.
const NAMES_MAX: usize = 4_096;

/// See the module. A clone remembers nothing: it stands for another process.
#[derive(Default)]
pub struct Lately(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Raised by every change from here: what was read before it is not remembered after it.
    changes: u64,
    domains: HashMap<String, (Instant, Option<Domain>)>,
}

impl Clone for Lately {
    fn clone(&self) -> Self {
        Lately::default()
    }
}

/// What a read that begins now may be remembered under.
pub struct Since(u64, Instant);

#[allow(clippy::disallowed_methods)] // an age, which decides nothing but what is read anew
fn now() -> Instant {
    Instant::now()
}

impl Lately {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read within the last second: the row, or that there is none. Else what to remember an answer under.
    pub fn domain(&self, name: &str) -> Result<Option<Domain>, Since> {
        let (now, known) = (now(), self.known());
        match known.domains.get(name) {
            Some((read, domain)) if now.duration_since(*read) < AGE_MAX => Ok(domain.clone()),
            _ => Err(Since(known.changes, now)),
        }
    }

    /// Remembers an answer, unless something was changed since it was asked for.
    pub fn remember(&self, Since(changes, read): Since, name: &str, domain: &Option<Domain>) {
        let mut known = self.known();
        if known.changes != changes {
            return;
        }
        if known.domains.len() >= NAMES_MAX {
            known.domains.clear();
        }
        known.domains.insert(name.to_owned(), (read, domain.clone()));
    }

    /// Forgets all when writes touch the directory: to be called when they were tried, whatever came of it.
    pub fn forget(&self, writes: &Writes) {
        let domains = writes.domains_new.len() + writes.domains.len() + writes.domains_gone.len();
        if domains + writes.orgs_gone.len() > 0 {
            let mut known = self.known();
            known.changes += 1;
            known.domains.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DomainSettings, OrgId};

    fn domain(name: &str) -> Option<Domain> {
        Some(Domain { name: name.into(), org: OrgId::random(), settings: DomainSettings::default() })
    }

    #[test]
    fn an_answer_is_remembered_until_something_changes() {
        let lately = Lately::default();
        let row = domain("a.test");
        let since = lately.domain("a.test").unwrap_err();
        lately.remember(since, "a.test", &row);
        assert_eq!(lately.domain("a.test").unwrap_or_default(), row);
        let since = lately.domain("b.test").unwrap_err();
        lately.remember(since, "b.test", &None);
        assert!(matches!(lately.domain("b.test"), Ok(None)));
        lately.forget(&Writes::default());
        assert!(lately.domain("a.test").is_ok());
        let writes = Writes { domains_new: row.into_iter().collect(), ..Writes::default() };
        // What was asked before the change and is answered after it.
        let since = lately.domain("c.test").unwrap_err();
        lately.forget(&writes);
        lately.remember(since, "c.test", &None);
        assert!(["a.test", "b.test", "c.test"].iter().all(|name| lately.domain(name).is_err()));
        assert!(lately.clone().domain("a.test").is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let lately = Lately::default();
        for n in 0..3 * NAMES_MAX {
            let name = format!("d{n}.test");
            if let Err(since) = lately.domain(&name) {
                lately.remember(since, &name, &None);
            }
            assert!(lately.known().domains.len() <= NAMES_MAX);
        }
    }
}
