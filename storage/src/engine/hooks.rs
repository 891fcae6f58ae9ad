//! Webhooks and templates of an organisation.

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use super::Engine;
use super::names::{check_text, invalid};
use crate::api::*;
use crate::error::{Error, Refusal, Result};
use crate::rows::{Rows, Writes};
use crate::slots::*;
use crate::store::Hooks;
use crate::types::*;

/// Webhooks of an organisation.
pub const WEBHOOKS_MAX: usize = 50;
/// Templates of an organisation.
pub const TEMPLATES_MAX: usize = 1_000;
/// Versions of a template.
pub const TEMPLATE_VERSIONS_MAX: u32 = 1_000;
/// Rows of one read.
const READ_AT_ONCE: usize = 500;

const LOWEST: Id = Id([0; 16]);

fn too_many<T>(what: &str, max: usize) -> Result<T> {
    Err(Refusal::TooMany(format!("an organisation has at most {max} {what}")).into())
}

fn webhook_of(row: SlotRow) -> Result<Webhook> {
    match row.slot {
        Slot::Webhook(webhook) => Ok(*webhook),
        _ => Err(Error::Corrupt("webhook: another kind of row".into())),
    }
}

fn template_of(row: SlotRow) -> Result<Template> {
    match row.slot {
        Slot::Template(template) => Ok(*template),
        _ => Err(Error::Corrupt("template: another kind of row".into())),
    }
}

impl<R: Rows> Engine<R> {
    /// Rows of a table from a key on, for as long as `of` says that they belong.
    async fn rows_while(
        &self,
        table: SlotTable,
        from: Option<SlotKey>,
        of: impl Fn(&SlotKey) -> bool,
    ) -> Result<Vec<SlotRow>> {
        let mut found: Vec<SlotRow> = Vec::new();
        // The key itself belongs, and a read begins behind one.
        if let Some(key) = from.clone() {
            found.extend(self.rows.slots(&[key]).await?);
        }
        let mut after = from;
        loop {
            let rows = self.rows.slots_after(table, after.as_ref(), READ_AT_ONCE).await?;
            let is_last = rows.len() < READ_AT_ONCE;
            after = rows.last().map(|row| row.key.clone());
            for row in rows {
                if !of(&row.key) {
                    return Ok(found);
                }
                found.push(row);
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    async fn webhook_rows(&self, org: OrgId) -> Result<Vec<SlotRow>> {
        let first = SlotKey::Webhook(org, WebhookId(LOWEST));
        let belongs = |key: &SlotKey| matches!(key, SlotKey::Webhook(owner, _) if *owner == org);
        self.rows_while(SlotTable::Webhook, Some(first), belongs).await
    }

    async fn template_rows(&self, org: OrgId) -> Result<Vec<SlotRow>> {
        let first = SlotKey::Template(org, TemplateId(LOWEST), 0);
        let belongs = |key: &SlotKey| matches!(key, SlotKey::Template(owner, ..) if *owner == org);
        self.rows_while(SlotTable::Template, Some(first), belongs).await
    }

    async fn version_rows(&self, org: OrgId, id: TemplateId) -> Result<Vec<SlotRow>> {
        let first = SlotKey::Template(org, id, 0);
        let belongs =
            |key: &SlotKey| matches!(key, SlotKey::Template(owner, of, _) if (*owner, *of) == (org, id));
        self.rows_while(SlotTable::Template, Some(first), belongs).await
    }

    /// Changes a webhook's row as `change` says, which answers whether there is anything to write.
    async fn change_webhook(
        &self,
        what: &'static str,
        org: OrgId,
        id: WebhookId,
        change: impl Fn(&mut Webhook) -> bool,
    ) -> Result<Option<Webhook>> {
        let key = SlotKey::Webhook(org, id);
        let mut tries = 0;
        loop {
            let row = self.rows.slots(std::slice::from_ref(&key)).await?.into_iter().next();
            let row = row.ok_or(Error::NotFound)?;
            let rev = row.rev;
            let mut webhook = webhook_of(row)?;
            if !change(&mut webhook) {
                return Ok(None);
            }
            let slot = Some(Slot::Webhook(Box::new(webhook.clone())));
            let write = SlotWrite { key: key.clone(), rev, slot };
            if self.apply(what, Writes { slots: vec![write], ..Writes::default() }, &mut tries).await? {
                return Ok(Some(webhook));
            }
        }
    }
}

#[async_trait::async_trait]
impl<R: Rows> Hooks for Engine<R> {
    async fn add_webhook(&self, webhook: &Webhook) -> Result<()> {
        self.rows.org(webhook.org).await?.ok_or(Error::NotFound)?;
        if self.webhook_rows(webhook.org).await?.len() >= WEBHOOKS_MAX {
            return too_many("webhooks", WEBHOOKS_MAX);
        }
        let key = SlotKey::Webhook(webhook.org, webhook.id);
        let slot = Slot::Webhook(Box::new(webhook.clone()));
        self.replace_slot("add_webhook", key, Some(slot)).await.map(drop)
    }

    async fn webhooks(&self, org: Option<OrgId>) -> Result<Vec<Webhook>> {
        let rows = match org {
            Some(org) => self.webhook_rows(org).await?,
            None => self.rows_while(SlotTable::Webhook, None, |_| true).await?,
        };
        rows.into_iter().map(webhook_of).collect()
    }

    async fn webhook(&self, org: OrgId, id: WebhookId) -> Result<Webhook> {
        let row = self.rows.slots(&[SlotKey::Webhook(org, id)]).await?.into_iter().next();
        webhook_of(row.ok_or(Error::NotFound)?)
    }

    async fn edit_webhook(&self, org: OrgId, id: WebhookId, edit: WebhookEdit) -> Result<Webhook> {
        let changed = self.change_webhook("edit_webhook", org, id, |webhook| {
            let WebhookEdit { url, kinds, enabled, position, sealed_secret } = edit.clone();
            webhook.url = url.unwrap_or_else(|| webhook.url.clone());
            webhook.kinds = kinds.unwrap_or_else(|| webhook.kinds.clone());
            webhook.enabled = enabled.unwrap_or(webhook.enabled);
            webhook.position = position.unwrap_or_else(|| webhook.position.clone());
            webhook.sealed_secret = sealed_secret.unwrap_or_else(|| webhook.sealed_secret.clone());
            // Whoever is at it works by what it was.
            webhook.leased = Timestamp(0);
            webhook.next_try = Timestamp(0);
            webhook.attempts = 0;
            true
        });
        changed.await?.ok_or(Error::NotFound)
    }

    async fn remove_webhook(&self, org: OrgId, id: WebhookId) -> Result<bool> {
        self.replace_slot("remove_webhook", SlotKey::Webhook(org, id), None).await
    }

    async fn claim_webhook(
        &self,
        org: OrgId,
        id: WebhookId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<Webhook>> {
        let claimed = self.change_webhook("claim_webhook", org, id, |webhook| {
            let free = webhook.enabled && webhook.next_try <= now && webhook.leased <= now;
            webhook.leased = now + lease;
            free
        });
        match claimed.await {
            Err(Error::NotFound) => Ok(None),
            claimed => claimed,
        }
    }

    async fn save_webhook(&self, claimed: &Webhook, progress: &Webhook) -> Result<bool> {
        let saved = self.change_webhook("save_webhook", claimed.org, claimed.id, |webhook| {
            let held = webhook.leased == claimed.leased;
            webhook.position.clone_from(&progress.position);
            webhook.attempts = progress.attempts;
            webhook.given_up = progress.given_up;
            webhook.next_try = progress.next_try;
            webhook.leased = progress.leased;
            webhook.last_error.clone_from(&progress.last_error);
            webhook.last_success = progress.last_success;
            webhook.enabled = progress.enabled;
            held
        });
        match saved.await {
            Ok(saved) => Ok(saved.is_some()),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn add_template(&self, template: &Template) -> Result<Template> {
        check_text("the name of a template", &template.name)?;
        self.rows.org(template.org).await?.ok_or(Error::NotFound)?;
        let mut tries = 0;
        loop {
            let versions = self.version_rows(template.org, template.id).await?;
            let last = versions.into_iter().map(template_of).collect::<Result<Vec<_>>>()?;
            let version = last.last().map_or(1, |last| last.version + 1);
            if version > TEMPLATE_VERSIONS_MAX {
                return invalid(format!("a template has at most {TEMPLATE_VERSIONS_MAX} versions"));
            }
            if version == 1 && self.templates(template.org).await?.len() >= TEMPLATES_MAX {
                return too_many("templates", TEMPLATES_MAX);
            }
            let new = Template { version, ..template.clone() };
            let key = SlotKey::Template(new.org, new.id, version);
            let slot = Some(Slot::Template(Box::new(new.clone())));
            // Of two who give the same number one finds its row there.
            let writes = Writes { slots: vec![SlotWrite { key, rev: 0, slot }], ..Writes::default() };
            if self.apply("add_template", writes, &mut tries).await? {
                return Ok(new);
            }
        }
    }

    async fn template(&self, org: OrgId, id: TemplateId, version: Option<u32>) -> Result<Template> {
        let row = match version {
            Some(version) => {
                self.rows.slots(&[SlotKey::Template(org, id, version)]).await?.into_iter().next()
            }
            None => self.version_rows(org, id).await?.pop(),
        };
        template_of(row.ok_or(Error::NotFound)?)
    }

    async fn templates(&self, org: OrgId) -> Result<Vec<Template>> {
        let rows = self.template_rows(org).await?;
        let mut newest: Vec<Template> = Vec::new();
        for row in rows {
            let template = template_of(row)?;
            match newest.last_mut() {
                Some(last) if last.id == template.id => *last = template,
                _ => newest.push(template),
            }
        }
        Ok(newest)
    }

    async fn remove_template(&self, org: OrgId, id: TemplateId) -> Result<bool> {
        let mut tries = 0;
        loop {
            let rows = self.version_rows(org, id).await?;
            if rows.is_empty() {
                return Ok(false);
            }
            let gone = |row: SlotRow| SlotWrite { key: row.key, rev: row.rev, slot: None };
            let writes = Writes { slots: rows.into_iter().map(gone).collect(), ..Writes::default() };
            if self.apply("remove_template", writes, &mut tries).await? {
                return Ok(true);
            }
        }
    }
}
