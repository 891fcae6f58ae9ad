//! Organisations, mailboxes and what proves a password.

use protocol_core::sasl::ScramVerifier;

use crate::api::Webhook;
use crate::error::{Error, Refusal, Result};
use crate::facade::{Inner, Storage, now};
use crate::objects::ObjectKey;
use crate::passwords::open_verifier;
use crate::slots::{SuppressionKey, SuppressionScope};
use crate::types::*;

const SUPPRESSIONS_AT_ONCE: usize = 500;

impl Inner {
    /// Removes what an organisation has set for the API.
    async fn remove_settings_of(&self, org: OrgId) -> Result<()> {
        for key in self.store.list_api_keys(Some(org)).await? {
            self.settle(self.store.remove_api_key(key.id).await)?;
        }
        for webhook in self.store.webhooks(Some(org)).await? {
            self.settle(self.store.remove_webhook(org, webhook.id).await)?;
        }
        for template in self.store.templates(org).await? {
            self.settle(self.store.remove_template(org, template.id).await)?;
        }
        self.settle(self.store.remove_audit(org).await)?;
        self.remove_suppressions_of(org).await
    }
}

impl Inner {
    /// Removes what an organisation has learned of addresses.
    async fn remove_suppressions_of(&self, org: OrgId) -> Result<()> {
        // Rows are in the order of organisations, and no address is before this one.
        let first = SuppressionKey { org: Some(org), scope: SuppressionScope::Address, entry: String::new() };
        let mut after = first;
        loop {
            let rows = self.store.list_suppressions(Some(&after), SUPPRESSIONS_AT_ONCE).await?;
            for row in &rows {
                if row.key.org != Some(org) {
                    return Ok(());
                }
                self.settle(self.store.remove_suppression(&row.key).await)?;
            }
            match rows.last() {
                Some(last) => after = last.key.clone(),
                None => return Ok(()),
            }
        }
    }
}

impl Inner {
    /// Ends a mailbox's entries in the log, when it has no webhook any more.
    async fn tell_no_more(&self, org: OrgId, mailbox: MailboxId) -> Result<()> {
        if self.store.webhooks(Some(org)).await?.iter().any(|webhook| webhook.mailbox == Some(mailbox)) {
            return Ok(());
        }
        match self.store.mailbox(mailbox).await {
            Ok(mailbox) => self.settle(self.store.set_told(&mailbox.address, false).await),
            Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove_webhooks_of(&self, mailbox: &Mailbox) -> Result<()> {
        if !mailbox.told {
            return Ok(());
        }
        for webhook in self.store.webhooks(Some(mailbox.org)).await? {
            if webhook.mailbox == Some(mailbox.id) {
                self.settle(self.store.remove_webhook(mailbox.org, webhook.id).await)?;
            }
        }
        Ok(())
    }
}

impl Storage {
    /// Makes an organisation with a tenant key of its own.
    pub async fn create_org(&self, name: &str) -> Result<Org> {
        let sealed = self.inner.keys.make_tenant_key()?;
        let name = name.to_owned();
        self.durable(async move |inner| inner.settle(inner.store.create_org(&name, &sealed, now()).await))
            .await
    }

    /// Removes an organisation that has no domains, its key, and with it whatever it left unreadable.
    pub async fn delete_org(&self, name: &str) -> Result<()> {
        let org = self.inner.store.org(name).await?;
        let name = name.to_owned();
        self.durable(async move |inner| {
            inner.settle(inner.store.delete_org(&name).await)?;
            inner.keys.forget_tenant(org.id);
            // What is left over lets nobody do anything: the organisation has no domains and no mail.
            if let Err(error) = inner.remove_settings_of(org.id).await {
                tracing::warn!(%error, org = %org.id, "keys, webhooks and templates are not removed yet");
            }
            for prefix in ObjectKey::org_prefixes(org.id) {
                inner.delete_prefix(&prefix).await;
            }
            Ok(())
        })
        .await
    }

    /// Makes a mailbox in the organisation that has the address's domain. The address is canonical.
    pub async fn create_mailbox(
        &self,
        address: &str,
        password: &[u8],
        name: &str,
        quota_bytes: Option<u64>,
        admin: bool,
    ) -> Result<Mailbox> {
        let invalid = || Error::Refused(Refusal::Invalid(format!("{address:?} is not an address")));
        let (_, domain) = address.rsplit_once('@').ok_or_else(invalid)?;
        let org = self.inner.store.domain(domain).await?.org;
        let record = self.inner.passwords.record(&self.inner.keys, address, password).await?;
        let mailbox = Mailbox {
            id: MailboxId::random(),
            org,
            address: address.to_owned(),
            name: name.to_owned(),
            quota_bytes,
            used_bytes: 0,
            disabled: false,
            admin,
            told: false,
        };
        self.durable(async move |inner| {
            inner.settle(inner.store.create_mailbox(&mailbox, &record, now()).await)?;
            Ok(mailbox)
        })
        .await
    }

    /// Replaces the password of a canonical address.
    pub async fn set_password(&self, address: &str, password: &[u8]) -> Result<()> {
        let record = self.inner.passwords.record(&self.inner.keys, address, password).await?;
        let address = address.to_owned();
        self.durable(async move |inner| {
            let outcome = inner.settle(inner.store.set_password(&address, &record).await);
            inner.passwords.forget(&address);
            outcome
        })
        .await
    }

    /// Disables or enables a mailbox.
    pub async fn set_disabled(&self, address: &str, disabled: bool) -> Result<()> {
        let address = address.to_owned();
        self.durable(async move |inner| {
            let outcome = inner.settle(inner.store.set_disabled(&address, disabled).await);
            inner.passwords.forget(&address);
            outcome
        })
        .await
    }

    /// Makes a webhook; when it is a mailbox's, what arrives there goes into the log from then on.
    pub async fn add_webhook(&self, webhook: &Webhook) -> Result<()> {
        let webhook = webhook.clone();
        self.durable(async move |inner| {
            // The log first: a webhook that is told nothing would be worse than a log that nobody reads.
            if let Some(id) = webhook.mailbox {
                let mailbox = inner.store.mailbox(id).await?;
                if mailbox.org != webhook.org {
                    return Err(Error::NotFound);
                }
                inner.settle(inner.store.set_told(&mailbox.address, true).await)?;
            }
            inner.settle(inner.store.add_webhook(&webhook).await)
        })
        .await
    }

    /// Removes a webhook; whether it was there. With the last one of a mailbox its entries in the log end.
    pub async fn remove_webhook(&self, org: OrgId, id: WebhookId) -> Result<bool> {
        self.durable(async move |inner| {
            let webhook = match inner.store.webhook(org, id).await {
                Ok(webhook) => webhook,
                Err(Error::NotFound) => return Ok(false),
                Err(error) => return Err(error),
            };
            let removed = inner.settle(inner.store.remove_webhook(org, id).await)?;
            if let Some(mailbox) = webhook.mailbox {
                inner.tell_no_more(org, mailbox).await?;
            }
            Ok(removed)
        })
        .await
    }

    /// Removes a mailbox with its folders, messages and their objects.
    pub async fn delete_mailbox(&self, address: &str) -> Result<Mailbox> {
        let address = address.to_owned();
        self.durable(async move |inner| {
            let (mailbox, _) = inner.settle(inner.store.delete_mailbox(&address).await)?;
            inner.passwords.forget(&address);
            inner.views.refresh_mailbox(mailbox.id).await;
            if let Err(error) = inner.remove_webhooks_of(&mailbox).await {
                tracing::warn!(%error, mailbox = %mailbox.id, "its webhooks are not removed yet");
            }
            inner.delete_prefix(&ObjectKey::place_prefix(mailbox.org, Some(mailbox.id))).await;
            for prefix in ObjectKey::part_prefixes(mailbox.org, mailbox.id, None) {
                inner.delete_prefix(&prefix).await;
            }
            Ok(mailbox)
        })
        .await
    }

    /// The mailbox when the password fits it. An unknown name, a disabled mailbox and a wrong password cost
    /// the same and are not told apart; [`Error::Unavailable`] when too many passwords wait to be checked.
    pub async fn verify_password(&self, address: &str, password: &[u8]) -> Result<Option<Mailbox>> {
        let found = self.inner.store.credential(address).await?;
        let hash = found.as_ref().map(|(_, record)| record.argon2.as_str());
        let fits = self.inner.passwords.verify(address, hash, password).await?;
        Ok(found.map(|(mailbox, _)| mailbox).filter(|mailbox| fits && !mailbox.disabled))
    }

    /// What SCRAM-SHA-256 needs. For an unknown name and a disabled mailbox there is no mailbox beside it,
    /// and no password fits; the two look like any other.
    pub async fn scram_verifier(&self, address: &str) -> Result<(ScramVerifier, Option<Mailbox>)> {
        let stand_in = ScramVerifier::fake(self.inner.keys.names(), address);
        match self.inner.store.credential(address).await? {
            None => Ok((stand_in, None)),
            Some((mailbox, record)) => {
                let verifier = open_verifier(&self.inner.keys, address, &record)?;
                if mailbox.disabled {
                    // It keeps its salt, which clients may remember, but not its keys.
                    let mut closed = stand_in;
                    closed.salt.clone_from(&verifier.salt);
                    return Ok((closed, None));
                }
                Ok((verifier, Some(mailbox)))
            }
        }
    }
}
