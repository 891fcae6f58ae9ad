//! Organisations, and the domains they have.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use storage::{DomainSettings, Scopes};

use super::directory::{DnsRecord, Domain, named};
use super::keys::{KeyScope, NewApiKey};
use super::query::parts;
use super::types::{DateTime, Json};
use crate::api::error::ApiError;
use crate::api::tenants::{self, Reports};

/// An organisation: its mail, keys and settings are nobody else's to see.
#[derive(SimpleObject)]
pub struct Organization {
    /// Its ID.
    id: ID,
    /// Its name.
    name: String,
    /// When it was made.
    created_at: DateTime,
    /// How many mailboxes it has.
    mailboxes: usize,
    /// Octets they hold.
    used_bytes: u64,
}

impl From<tenants::Organization> for Organization {
    fn from(told: tenants::Organization) -> Organization {
        Organization {
            id: ID(told.org.id.to_string()),
            name: told.org.name,
            created_at: DateTime(told.org.created),
            mailboxes: told.mailboxes,
            used_bytes: told.used_bytes,
        }
    }
}

/// Which reports.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Reports")]
pub enum ReportKind {
    /// How TLS went, of servers that sent mail to a domain (RFC 8460).
    Tls,
    /// What came under a domain's name (DMARC).
    Dmarc,
}

/// Settings of a domain. What is left out stays; null is the installation's setting.
#[derive(InputObject)]
pub struct DomainSettingsInput {
    /// A local part or address that gets what no mailbox or alias does.
    catch_all: MaybeUndefined<String>,
    /// Whether what stands behind a delimiter in an address is left out when its mailbox is looked for.
    plus_addressing: MaybeUndefined<bool>,
    /// The delimiter: one character.
    plus_delimiter: MaybeUndefined<String>,
    /// Whether mail to the domain needs an SPF pass.
    require_spf_pass: MaybeUndefined<bool>,
    /// Whether it needs a valid DKIM signature.
    require_dkim_pass: MaybeUndefined<bool>,
    /// Whether it needs a DMARC pass.
    require_dmarc_pass: MaybeUndefined<bool>,
    /// Header fields that DKIM signs, separated by commas.
    dkim_headers: MaybeUndefined<String>,
}

impl DomainSettingsInput {
    /// As the command line takes them.
    fn fields(self) -> Vec<(String, String)> {
        let flag = |name: &str, value| text(name, named(value).map(|v| v.map(|v: bool| v.to_string())));
        let all = [
            text("catch_all", named(self.catch_all)),
            flag("plus_addressing", self.plus_addressing),
            text("plus_delimiter", named(self.plus_delimiter)),
            flag("require_spf_pass", self.require_spf_pass),
            flag("require_dkim_pass", self.require_dkim_pass),
            flag("require_dmarc_pass", self.require_dmarc_pass),
            text("dkim_headers", named(self.dkim_headers)),
        ];
        all.into_iter().flatten().collect()
    }
}

fn text(name: &str, value: Option<Option<String>>) -> Option<(String, String)> {
    value.map(|value| (name.to_owned(), value.unwrap_or_default()))
}

/// What a domain may send and hold. What is left out stays; null is no limit.
#[derive(InputObject)]
pub struct QuotasInput {
    /// Recipients that one message may have.
    max_recipients_per_message: MaybeUndefined<u64>,
    /// Recipients in an hour.
    hourly_send_limit: MaybeUndefined<u64>,
    /// Recipients in a day.
    daily_send_limit: MaybeUndefined<u64>,
    /// Jobs that may be queued at once.
    max_queued_jobs: MaybeUndefined<u64>,
    /// Octets that a mailbox of the domain may hold which has no limit of its own.
    mailbox_quota_bytes: MaybeUndefined<u64>,
}

impl QuotasInput {
    fn apply(&self, settings: &mut DomainSettings) {
        let all = [
            (&self.max_recipients_per_message, &mut settings.quota_max_recipients_per_message),
            (&self.hourly_send_limit, &mut settings.quota_hourly_send_limit),
            (&self.daily_send_limit, &mut settings.quota_daily_send_limit),
            (&self.max_queued_jobs, &mut settings.quota_max_queued_jobs),
            (&self.mailbox_quota_bytes, &mut settings.quota_mailbox_bytes),
        ];
        for (wanted, setting) in all {
            if let Some(value) = named(*wanted) {
                *setting = value;
            }
        }
    }

    /// What the database can count.
    fn check(&self) -> Result<(), ApiError> {
        let all = [
            &self.max_recipients_per_message,
            &self.hourly_send_limit,
            &self.daily_send_limit,
            &self.max_queued_jobs,
            &self.mailbox_quota_bytes,
        ];
        match all.into_iter().any(|value| value.value().is_some_and(|n| i64::try_from(*n).is_err())) {
            true => Err(ApiError::argument("quotas", "TOO_LARGE", "quotas: a number is too large")),
            false => Ok(()),
        }
    }
}

/// What can be asked about organisations.
#[derive(Default)]
pub struct TenantQuery;

#[Object]
impl TenantQuery {
    /// The caller's organisation. Needs the scope `admin`.
    async fn organization(&self, context: &Context<'_>) -> async_graphql::Result<Organization> {
        let (app, caller) = parts(context)?;
        Ok(tenants::own(app, caller).await?.into())
    }

    /// All organisations of the installation. Needs the scope `operator`.
    async fn organizations(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Organization>> {
        let (app, caller) = parts(context)?;
        Ok(tenants::all(app, caller).await?.into_iter().map(Organization::from).collect())
    }

    /// The record by which the organisation proves that a domain is its own, for `createDomain`. Needs the scope
    /// `admin`.
    async fn domain_proof(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The domain.")] name: String,
    ) -> async_graphql::Result<DnsRecord> {
        let (app, caller) = parts(context)?;
        Ok(tenants::proof(app, caller, &name)?.into())
    }

    /// What other servers report, read from a folder of a mailbox of the organisation. Needs the scope `admin`.
    #[graphql(complexity = "100")]
    async fn received_reports(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which reports.")] kind: ReportKind,
        #[graphql(desc = "The mailbox that gets them.")] mailbox: String,
        #[graphql(desc = "Its folder; INBOX when absent.")] folder: Option<String>,
    ) -> async_graphql::Result<Json> {
        let (app, caller) = parts(context)?;
        Ok(Json(tenants::reports(app, caller, kind.into(), &mailbox, folder).await?))
    }
}

/// What can be done with organisations and their domains.
#[derive(Default)]
pub struct TenantMutation;

#[Object]
impl TenantMutation {
    /// Makes an organisation. Needs the scope `operator`.
    async fn create_organization(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its name, which no other has.")] name: String,
    ) -> async_graphql::Result<Organization> {
        let (app, caller) = parts(context)?;
        Ok(tenants::create(app, caller, &name).await?.into())
    }

    /// Removes an organisation that has no domains any more, for good. Needs the scope `operator`.
    async fn delete_organization(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
    ) -> async_graphql::Result<ID> {
        let (app, caller) = parts(context)?;
        tenants::delete(app, caller, &id).await?;
        Ok(id)
    }

    /// Makes a key of another organisation, with which it looks after itself. Needs the scope `operator`.
    async fn create_organization_key(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The organisation's ID.")] organization_id: ID,
        #[graphql(desc = "What people call it.")] name: String,
        #[graphql(desc = "What it lets its bearer do.")] scopes: Vec<KeyScope>,
    ) -> async_graphql::Result<NewApiKey> {
        let (app, caller) = parts(context)?;
        let scopes: Scopes = KeyScope::all_of(&scopes);
        Ok(tenants::create_key(app, caller, &organization_id, name, scopes).await?.into())
    }

    /// Gives a domain to the organisation, and makes its DKIM keys. The record of `domainProof` must be published;
    /// whoever has the scope `operator` needs none, and may name another organisation. Needs the scope `admin`.
    async fn create_domain(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The domain.")] name: String,
        #[graphql(desc = "Another organisation; needs the scope operator.")] organization_id: Option<ID>,
    ) -> async_graphql::Result<Domain> {
        let (app, caller) = parts(context)?;
        let owner = organization_id.as_ref().map(|id| id.as_str());
        Ok(Domain(tenants::create_domain(app, caller, &name, owner).await?))
    }

    /// Changes settings of a domain. Needs the scope `admin`.
    async fn update_domain(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The domain.")] name: String,
        #[graphql(desc = "What is to be changed.")] settings: DomainSettingsInput,
    ) -> async_graphql::Result<Domain> {
        let (app, caller) = parts(context)?;
        Ok(Domain(tenants::update_domain(app, caller, &name, &settings.fields()).await?))
    }

    /// Says what a domain may send, whichever organisation has it. Needs the scope `operator`.
    async fn set_quotas(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The domain.")] domain: String,
        #[graphql(desc = "What is to be changed.")] quotas: QuotasInput,
    ) -> async_graphql::Result<Domain> {
        let (app, caller) = parts(context)?;
        quotas.check()?;
        let set = |settings: &mut DomainSettings| quotas.apply(settings);
        Ok(Domain(tenants::set_quotas(app, caller, &domain, set).await?))
    }

    /// Takes a domain without mailboxes and aliases away from the organisation; its name. Needs the scope `admin`.
    async fn delete_domain(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The domain.")] name: String,
    ) -> async_graphql::Result<String> {
        let (app, caller) = parts(context)?;
        Ok(tenants::delete_domain(app, caller, &name).await?)
    }

    /// Makes new DKIM keys, whose records `dnsRecords` shows then; the old ones sign until those are published. Needs
    /// the scope `admin`.
    async fn rotate_dkim_keys(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The domain.")] name: String,
        #[graphql(desc = "Look now whether the records are published, and let the new keys sign.")]
        finish: Option<bool>,
    ) -> async_graphql::Result<Domain> {
        let (app, caller) = parts(context)?;
        Ok(Domain(tenants::rotate_keys(app, caller, &name, finish.unwrap_or_default()).await?))
    }
}
