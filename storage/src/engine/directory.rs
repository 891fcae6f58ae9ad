//! Organisations, domains, mailboxes and aliases. All changes are guarded by the directory's one revision:
//! they are rare, and what they depend on (is the address free, whose is the domain) spans tables.

use protocol_core::Timestamp;

use super::Engine;
use super::names::{self, domain_of, invalid};
use crate::error::{Error, Refusal, Result};
use crate::rows::{MailboxRow, OrgRow, Rows, Writes};
use crate::store::Directory;
use crate::types::*;

/// The folders of a new mailbox.
pub(super) const INITIAL_FOLDERS: [(&str, SpecialUse); 6] = [
    ("INBOX", SpecialUse::Inbox),
    ("Drafts", SpecialUse::Drafts),
    ("Sent", SpecialUse::Sent),
    ("Junk", SpecialUse::Junk),
    ("Trash", SpecialUse::Trash),
    ("Archive", SpecialUse::Archive),
];

fn exists<T>(what: &str) -> Result<T> {
    Err(Refusal::Exists(what.to_owned()).into())
}

impl<R: Rows> Engine<R> {
    /// Writes that the directory's revision guards, as it is now.
    async fn directory_writes(&self) -> Result<Writes> {
        Ok(Writes { directory_rev: Some(self.rows.directory_rev().await?), ..Writes::default() })
    }

    async fn address_row(&self, address: &str) -> Result<Option<AddressRow>> {
        let rows = self.rows.addresses(&[address.to_owned()]).await?;
        Ok(rows.into_iter().next().flatten())
    }

    async fn mailbox_at(&self, address: &str) -> Result<Mailbox> {
        match self.address_row(address).await? {
            Some(AddressRow::Mailbox(mailbox)) => Ok(mailbox),
            _ => Err(Error::NotFound),
        }
    }

    /// The address must be free and its domain the organisation's.
    async fn check_new_address(&self, address: &str, org: OrgId) -> Result<()> {
        match self.rows.domain(domain_of(address)?).await? {
            Some(domain) if domain.org == org => {}
            _ => return Err(Error::NotFound),
        }
        match self.address_row(address).await? {
            Some(_) => exists(address),
            None => Ok(()),
        }
    }

    /// Changes one mailbox's own row, or what is keyed by it.
    async fn change_mailbox(
        &self,
        what: &'static str,
        address: &str,
        change: impl Fn(&mut Mailbox, &mut Writes) + Send + Sync,
    ) -> Result<()> {
        let id = self.mailbox_at(address).await?.id;
        let _guard = self.lock_mailbox(id).await?;
        let mut tries = 0;
        loop {
            let mut row = self.rows.mailbox(id).await?.ok_or(Error::NotFound)?;
            let mut writes = Writes::default();
            change(&mut row.mailbox, &mut writes);
            writes.mailboxes.push(row);
            if self.apply(what, writes, &mut tries).await? {
                return Ok(());
            }
        }
    }
}

fn new_mailbox(mailbox: &Mailbox, now: Timestamp, writes: &mut Writes) {
    let mut row = MailboxRow {
        mailbox: Mailbox { used_bytes: 0, ..mailbox.clone() },
        rev: 0,
        uid_validity_last: 0,
        uid_validity_vacated: 0,
    };
    for (name, special_use) in INITIAL_FOLDERS {
        let folder = super::folders::new_folder(&mut row, name.to_owned(), Some(special_use), now);
        writes.folders_new.push(folder);
        writes.subscriptions.push((mailbox.id, name.to_owned()));
    }
    writes.mailboxes_new.push(row);
}

#[async_trait::async_trait]
impl<R: Rows> Directory for Engine<R> {
    async fn create_org(&self, name: &str, sealed_key: &[u8], now: Timestamp) -> Result<Org> {
        names::check_text("an organisation's name", name)?;
        if name.is_empty() {
            return invalid("an organisation's name is not empty");
        }
        let org = Org { id: OrgId::random(), name: name.to_owned(), created: now };
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            if self.rows.org_named(name).await?.is_some() {
                return exists(name);
            }
            writes.orgs_new.push(OrgRow { org: org.clone(), sealed_key: sealed_key.to_vec() });
            if self.apply("create_org", writes, &mut tries).await? {
                return Ok(org.clone());
            }
        }
    }

    async fn list_orgs(&self) -> Result<Vec<Org>> {
        let mut orgs = self.rows.orgs().await?;
        orgs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(orgs)
    }

    async fn org(&self, name: &str) -> Result<Org> {
        Ok(self.rows.org_named(name).await?.ok_or(Error::NotFound)?.org)
    }

    async fn org_key(&self, org: OrgId) -> Result<Vec<u8>> {
        Ok(self.rows.org(org).await?.ok_or(Error::NotFound)?.sealed_key)
    }

    async fn set_org_key(&self, org: OrgId, before: &[u8], after: &[u8]) -> Result<bool> {
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            let row = self.rows.org(org).await?.ok_or(Error::NotFound)?;
            if row.sealed_key != before {
                return Ok(false);
            }
            writes.orgs.push(OrgRow { sealed_key: after.to_vec(), ..row });
            if self.apply("set_org_key", writes, &mut tries).await? {
                return Ok(true);
            }
        }
    }

    async fn set_password_if(
        &self,
        address: &str,
        before: &PasswordRecord,
        after: &PasswordRecord,
    ) -> Result<bool> {
        let id = self.mailbox_at(address).await?.id;
        let _guard = self.lock_mailbox(id).await?;
        let mut tries = 0;
        loop {
            let row = self.rows.mailbox(id).await?.ok_or(Error::NotFound)?;
            if self.rows.credential(id).await?.as_ref() != Some(before) {
                return Ok(false);
            }
            let credentials = vec![(id, after.clone())];
            let writes = Writes { mailboxes: vec![row], credentials, ..Writes::default() };
            if self.apply("set_password_if", writes, &mut tries).await? {
                return Ok(true);
            }
        }
    }

    async fn delete_org(&self, name: &str) -> Result<()> {
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            let org = self.rows.org_named(name).await?.ok_or(Error::NotFound)?.org;
            let in_use = self.rows.domains().await?.iter().any(|domain| domain.org == org.id);
            if !in_use {
                self.cancel_jobs_of(org.id).await?;
            }
            if self.rows.domains().await?.iter().any(|domain| domain.org == org.id) {
                return Err(Refusal::InUse(format!("{name} has domains")).into());
            }
            writes.orgs_gone.push(org.id);
            if self.apply("delete_org", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn add_domain(&self, domain: &Domain) -> Result<()> {
        let name = &domain.name;
        if name.is_empty() || name.len() > 255 || name.chars().any(|c| c.is_control() || c == '@') {
            return invalid("not a domain name");
        }
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            if self.rows.domain(name).await?.is_some() {
                return exists(name);
            }
            self.rows.org(domain.org).await?.ok_or(Error::NotFound)?;
            writes.domains_new.push(domain.clone());
            if self.apply("add_domain", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn set_domain(&self, name: &str, settings: &DomainSettings) -> Result<()> {
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            let domain = self.rows.domain(name).await?.ok_or(Error::NotFound)?;
            writes.domains.push(Domain { settings: settings.clone(), ..domain });
            if self.apply("set_domain", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn replace_domain(
        &self,
        name: &str,
        before: &DomainSettings,
        after: &DomainSettings,
    ) -> Result<bool> {
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            let domain = self.rows.domain(name).await?.ok_or(Error::NotFound)?;
            if domain.settings != *before {
                return Ok(false);
            }
            writes.domains.push(Domain { settings: after.clone(), ..domain });
            if self.apply("replace_domain", writes, &mut tries).await? {
                return Ok(true);
            }
        }
    }

    async fn domain(&self, name: &str) -> Result<Domain> {
        self.rows.domain(name).await?.ok_or(Error::NotFound)
    }

    async fn domain_lately(&self, name: &str) -> Result<Domain> {
        self.rows.domain_lately(name).await?.ok_or(Error::NotFound)
    }

    async fn list_domains(&self) -> Result<Vec<Domain>> {
        let mut domains = self.rows.domains().await?;
        domains.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(domains)
    }

    async fn delete_domain(&self, name: &str) -> Result<()> {
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            self.rows.domain(name).await?.ok_or(Error::NotFound)?;
            let at = |address: &str| address.rsplit_once('@').is_some_and(|(_, domain)| domain == name);
            if self.rows.mailboxes().await?.iter().any(|mailbox| at(&mailbox.address)) {
                return Err(Refusal::InUse(format!("{name} has mailboxes")).into());
            }
            if self.rows.aliases().await?.iter().any(|alias| at(&alias.address)) {
                return Err(Refusal::InUse(format!("{name} has aliases")).into());
            }
            writes.domains_gone.push(name.to_owned());
            if self.apply("delete_domain", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn create_mailbox(
        &self,
        mailbox: &Mailbox,
        password: &PasswordRecord,
        now: Timestamp,
    ) -> Result<()> {
        names::check_text("a mailbox's name", &mailbox.name)?;
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            self.check_new_address(&mailbox.address, mailbox.org).await?;
            if self.rows.mailbox(mailbox.id).await?.is_some() {
                return exists(&mailbox.id.to_string());
            }
            new_mailbox(mailbox, now, &mut writes);
            writes.credentials.push((mailbox.id, password.clone()));
            if mailbox.admin || self.rows.administrators(Some(mailbox.org)).await?.is_empty() {
                writes.administrators.push((mailbox.org, mailbox.id));
            }
            if self.apply("create_mailbox", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn set_password(&self, address: &str, password: &PasswordRecord) -> Result<()> {
        let set = |mailbox: &mut Mailbox, writes: &mut Writes| {
            writes.credentials.push((mailbox.id, password.clone()));
        };
        self.change_mailbox("set_password", address, set).await
    }

    async fn set_disabled(&self, address: &str, disabled: bool) -> Result<()> {
        let set = |mailbox: &mut Mailbox, _: &mut Writes| mailbox.disabled = disabled;
        self.change_mailbox("set_disabled", address, set).await
    }

    async fn edit_mailbox(&self, address: &str, edit: MailboxEdit) -> Result<()> {
        let set = |mailbox: &mut Mailbox, _: &mut Writes| {
            mailbox.name = edit.name.clone().unwrap_or_else(|| mailbox.name.clone());
            mailbox.quota_bytes = edit.quota_bytes.unwrap_or(mailbox.quota_bytes);
        };
        self.change_mailbox("edit_mailbox", address, set).await
    }

    async fn set_told(&self, address: &str, told: bool) -> Result<()> {
        let set = |mailbox: &mut Mailbox, _: &mut Writes| mailbox.told = told;
        self.change_mailbox("set_told", address, set).await
    }

    async fn list_mailboxes(&self) -> Result<Vec<Mailbox>> {
        let mut mailboxes = self.rows.mailboxes().await?;
        mailboxes.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(mailboxes)
    }

    async fn mailbox(&self, id: MailboxId) -> Result<Mailbox> {
        Ok(self.rows.mailbox(id).await?.ok_or(Error::NotFound)?.mailbox)
    }

    async fn delete_mailbox(&self, address: &str) -> Result<(Mailbox, Vec<MessageId>)> {
        let id = self.mailbox_at(address).await?.id;
        let _directory = self.directory.lock().await;
        let _guard = self.lock_mailbox(id).await?;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            let state = self.mailbox_state(id).await?;
            let answer = (state.row.mailbox.clone(), self.rows.messages(id).await?);
            writes.folders_gone = state.folders.iter().map(|folder| (id, folder.id)).collect();
            writes.mailboxes_gone.push(state.row);
            if self.apply("delete_mailbox", writes, &mut tries).await? {
                return Ok(answer);
            }
        }
    }

    async fn administrators(&self, org: Option<OrgId>) -> Result<Vec<Mailbox>> {
        let mut found = self.rows.administrators(org).await?;
        if org.is_none() {
            let mut orgs = self.rows.orgs().await?;
            orgs.sort_by_key(|org| (org.created, org.id));
            let oldest = orgs.iter().find(|org| found.iter().any(|mailbox| mailbox.org == org.id));
            found.retain(|mailbox| oldest.is_some_and(|org| org.id == mailbox.org));
        }
        if found.iter().any(|mailbox| mailbox.admin) {
            found.retain(|mailbox| mailbox.admin);
        }
        found.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(found)
    }

    async fn add_alias(&self, alias: &Alias) -> Result<()> {
        if alias.targets.is_empty() {
            return invalid("an alias has at least one target");
        }
        if alias.targets.len() > names::ALIAS_TARGETS_MAX {
            let why = format!("an alias has at most {} targets", names::ALIAS_TARGETS_MAX);
            return Err(Refusal::TooMany(why).into());
        }
        for target in &alias.targets {
            domain_of(target)?;
        }
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            self.check_new_address(&alias.address, alias.org).await?;
            writes.aliases_new.push(alias.clone());
            if self.apply("add_alias", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn list_aliases(&self) -> Result<Vec<Alias>> {
        let mut aliases = self.rows.aliases().await?;
        aliases.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(aliases)
    }

    async fn delete_alias(&self, address: &str) -> Result<()> {
        let _one_at_a_time = self.directory.lock().await;
        let mut tries = 0;
        loop {
            let mut writes = self.directory_writes().await?;
            match self.address_row(address).await? {
                Some(AddressRow::Alias(_)) => writes.aliases_gone.push(address.to_owned()),
                _ => return Err(Error::NotFound),
            }
            if self.apply("delete_alias", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn address_rows(&self, addresses: &[String]) -> Result<Vec<Option<AddressRow>>> {
        if addresses.is_empty() { Ok(Vec::new()) } else { self.rows.addresses(addresses).await }
    }

    async fn credential(&self, address: &str) -> Result<Option<(Mailbox, PasswordRecord)>> {
        let Some(AddressRow::Mailbox(mailbox)) = self.address_row(address).await? else { return Ok(None) };
        let record = self.rows.credential(mailbox.id).await?;
        Ok(record.map(|record| (mailbox, record)))
    }
}
