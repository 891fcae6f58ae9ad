//! Who a local recipient is: mailboxes, aliases, plus tags, role addresses and catch-alls.
//!
//! Rows are fetched level by level, one query for all addresses of a level; the decision is made on what was
//! fetched, without the store.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::store::Store;
use crate::types::*;

/// Aliases that may stand between an address and a mailbox.
pub const ALIAS_STEPS_MAX: usize = 10;
/// Addresses that one call looks at, reached through aliases and given; what lies beyond counts as a loop.
pub const ADDRESSES_MAX: usize = 5_000;

/// A domain's own requirements of senders, over those of the installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Requires {
    pub spf_pass: Option<bool>,
    pub dkim_pass: Option<bool>,
    pub dmarc_pass: Option<bool>,
}

/// What becomes of mail for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is delivered here, goes on from here, or both. A mailbox that several recipients of one envelope
    /// lead to still gets one copy: compare IDs.
    Local {
        /// Each once.
        mailboxes: Vec<Mailbox>,
        /// Addresses elsewhere that an alias names.
        remote: Vec<String>,
        /// What followed the delimiter, when the address was found without it.
        tag: Option<String>,
        /// `postmaster` or `abuse`: quotas do not apply, nor do requirements on the sender.
        role: bool,
        /// What the domain requires of mail for the address, where it says something of its own.
        requires: Requires,
    },
    /// The domain is ours, and there is no such address.
    UnknownLocal,
    /// The mailbox is disabled.
    Disabled,
    /// The mailbox, or one that an alias leads to, is full.
    OverQuota,
    /// The domain is not ours.
    NotLocal,
    /// The aliases lead in a circle, or too far.
    AliasLoop,
}

/// Resolves canonical addresses (`local@domain`, or `postmaster` alone), one answer each, in order.
/// `own_hostname` is this installation's own name: nobody lives there but the role addresses.
pub async fn resolve(store: &dyn Store, own_hostname: &str, addresses: &[String]) -> Result<Vec<Resolution>> {
    let mut known = Known { own_hostname: own_hostname.to_owned(), ..Known::default() };
    known.fetch(store, addresses).await?;
    Ok(addresses.iter().map(|address| known.resolution(address)).collect())
}

/// What was fetched.
#[derive(Default)]
struct Known {
    own_hostname: String,
    domains: HashMap<String, Option<Domain>>,
    rows: HashMap<String, Option<AddressRow>>,
    /// Administrators of organisations, and under `None` the installation's.
    administrators: HashMap<Option<OrgId>, Vec<Mailbox>>,
}

/// What one address leads to, one step on.
enum Step<'a> {
    Mailbox(&'a Mailbox),
    Alias(&'a [String]),
    CatchAll(String),
    Role(Option<OrgId>),
    Unknown,
    NotLocal,
}

fn is_role(local: &str) -> bool {
    matches!(local, "postmaster" | "abuse")
}

/// The address without tag, and the tag.
fn without_tag(address: &str, domain: &Domain) -> Option<(String, String)> {
    if domain.settings.plus_addressing == Some(false) {
        return None;
    }
    let delimiter = domain.settings.plus_delimiter.as_deref().filter(|d| !d.is_empty()).unwrap_or("+");
    let (local, name) = address.rsplit_once('@')?;
    let (base, tag) = local.split_once(delimiter)?;
    if base.is_empty() { None } else { Some((format!("{base}@{name}"), tag.to_owned())) }
}

fn catch_all(domain: &Domain) -> Option<String> {
    let target = domain.settings.catch_all.as_deref().filter(|target| !target.is_empty())?;
    Some(if target.contains('@') { target.to_owned() } else { format!("{target}@{}", domain.name) })
}

impl Known {
    /// The parts of an address; `postmaster` alone is our hostname's (RFC 5321 §4.1.1.3).
    fn parts<'a>(&'a self, address: &'a str) -> (&'a str, &'a str) {
        address.rsplit_once('@').unwrap_or((address, &self.own_hostname))
    }

    fn domain_of(&self, address: &str) -> Option<&Domain> {
        self.domains.get(self.parts(address).1)?.as_ref()
    }

    fn row(&self, address: &str) -> Option<&AddressRow> {
        self.rows.get(address)?.as_ref()
    }

    /// One step from an address, and the tag that was left out for it.
    fn step(&self, address: &str) -> (Step<'_>, Option<String>) {
        let (local, name) = self.parts(address);
        let Some(domain) = self.domain_of(address) else {
            let step = match (name == self.own_hostname, is_role(local)) {
                (true, true) => Step::Role(None),
                (true, false) => Step::Unknown,
                (false, _) => Step::NotLocal,
            };
            return (step, None);
        };
        let plain = format!("{local}@{name}");
        let tagged = without_tag(&plain, domain);
        let (row, tag) = match (self.row(&plain), tagged) {
            (Some(row), _) => (Some(row), None),
            (None, Some((base, tag))) => (self.row(&base), Some(tag)),
            (None, None) => (None, None),
        };
        match row {
            Some(AddressRow::Mailbox(mailbox)) => (Step::Mailbox(mailbox), tag),
            Some(AddressRow::Alias(alias)) => (Step::Alias(&alias.targets), tag),
            None if is_role(local) => (Step::Role(Some(domain.org)), None),
            None => (catch_all(domain).map_or(Step::Unknown, Step::CatchAll), None),
        }
    }

    /// Fetches rows until nothing new is reached, or more than the steps allowed lie behind.
    async fn fetch(&mut self, store: &dyn Store, addresses: &[String]) -> Result<()> {
        let mut level: Vec<String> = addresses.to_vec();
        let mut seen = HashSet::new();
        // One level more than there may be steps, so that the last one's targets are known.
        for _ in 0..=ALIAS_STEPS_MAX {
            level.retain(|address| seen.insert(address.clone()));
            level.truncate((ADDRESSES_MAX + addresses.len()).saturating_sub(self.rows.len()));
            if level.is_empty() {
                return Ok(());
            }
            self.fetch_level(store, &level).await?;
            let mut next = Vec::new();
            for address in &level {
                match self.step(address).0 {
                    Step::Alias(targets) => next.extend(targets.iter().cloned()),
                    Step::CatchAll(target) => next.push(target),
                    _ => {}
                }
            }
            level = next;
        }
        Ok(())
    }

    async fn fetch_level(&mut self, store: &dyn Store, level: &[String]) -> Result<()> {
        for address in level {
            let name = self.parts(address).1.to_owned();
            if let Entry::Vacant(unknown) = self.domains.entry(name) {
                let domain = match store.domain(unknown.key()).await {
                    Ok(domain) => Some(domain),
                    Err(Error::NotFound) => None,
                    Err(other) => return Err(other),
                };
                unknown.insert(domain);
            }
        }
        let mut wanted = Vec::new();
        for address in level {
            let Some(domain) = self.domain_of(address) else { continue };
            let (local, name) = self.parts(address);
            let plain = format!("{local}@{name}");
            wanted.extend(without_tag(&plain, domain).map(|(base, _)| base));
            wanted.push(plain);
        }
        wanted.retain(|address| !self.rows.contains_key(address));
        wanted.sort_unstable();
        wanted.dedup();
        let rows = store.address_rows(&wanted).await?;
        self.rows.extend(wanted.into_iter().zip(rows));
        for address in level {
            if let (Step::Role(org), _) = self.step(address) {
                self.fetch_administrators(store, org).await?;
            }
        }
        Ok(())
    }

    async fn fetch_administrators(&mut self, store: &dyn Store, org: Option<OrgId>) -> Result<()> {
        if let Entry::Vacant(unknown) = self.administrators.entry(org) {
            let mut found = store.administrators(org).await?;
            if found.is_empty() && org.is_some() {
                found = store.administrators(None).await?;
            }
            unknown.insert(found);
        }
        Ok(())
    }

    fn over_quota(&self, mailbox: &Mailbox) -> bool {
        let domain = self.domain_of(&mailbox.address);
        let of_domain = || domain.and_then(|domain| domain.settings.quota_mailbox_bytes);
        mailbox.quota_bytes.or_else(of_domain).is_some_and(|quota| mailbox.used_bytes >= quota)
    }

    fn resolution(&self, address: &str) -> Resolution {
        let (step, tag) = self.step(address);
        if matches!(step, Step::NotLocal) {
            return Resolution::NotLocal;
        }
        let role = is_role(self.parts(address).0);
        let mut walk = Walk::default();
        if self.walk(address, 0, &mut walk).is_err() {
            return Resolution::AliasLoop;
        }
        let full = !role && walk.mailboxes.iter().any(|mailbox| self.over_quota(mailbox));
        match (walk.mailboxes.is_empty() && walk.remote.is_empty(), full) {
            (true, _) if walk.disabled => Resolution::Disabled,
            (true, _) => Resolution::UnknownLocal,
            (false, true) => Resolution::OverQuota,
            (false, false) => {
                let settings = self.domain_of(address).map(|domain| &domain.settings);
                let requires = settings.map_or(Requires::default(), |s| Requires {
                    spf_pass: s.require_spf_pass,
                    dkim_pass: s.require_dkim_pass,
                    dmarc_pass: s.require_dmarc_pass,
                });
                Resolution::Local { mailboxes: walk.mailboxes, remote: walk.remote, tag, role, requires }
            }
        }
    }

    fn walk(&self, address: &str, steps: usize, walk: &mut Walk) -> Result<(), Loop> {
        if walk.done.contains(address) {
            return Ok(());
        }
        if steps > ALIAS_STEPS_MAX || walk.path.iter().any(|above| above == address) {
            return Err(Loop);
        }
        let (_, name) = self.parts(address);
        if !self.domains.contains_key(name) {
            // Beyond what was fetched.
            return Err(Loop);
        }
        match self.step(address).0 {
            Step::Mailbox(mailbox) => walk.add(mailbox),
            Step::Role(org) => {
                for mailbox in self.administrators.get(&org).into_iter().flatten() {
                    walk.add(mailbox);
                }
            }
            Step::Alias(targets) => self.walk_targets(address, targets, steps, walk)?,
            Step::CatchAll(target) => self.walk_targets(address, &[target], steps, walk)?,
            Step::NotLocal => walk.remote.push(address.to_owned()),
            Step::Unknown => {}
        }
        walk.done.insert(address.to_owned());
        Ok(())
    }

    fn walk_targets(
        &self,
        from: &str,
        targets: &[String],
        steps: usize,
        walk: &mut Walk,
    ) -> Result<(), Loop> {
        walk.path.push(from.to_owned());
        for target in targets {
            self.walk(target, steps + 1, walk)?;
        }
        walk.path.pop();
        Ok(())
    }
}

struct Loop;

/// The way through the aliases of one recipient.
#[derive(Default)]
struct Walk {
    mailboxes: Vec<Mailbox>,
    remote: Vec<String>,
    disabled: bool,
    done: HashSet<String>,
    path: Vec<String>,
}

impl Walk {
    fn add(&mut self, mailbox: &Mailbox) {
        if mailbox.disabled {
            self.disabled = true;
        } else if !self.mailboxes.iter().any(|known| known.id == mailbox.id) {
            self.mailboxes.push(mailbox.clone());
        }
    }
}
