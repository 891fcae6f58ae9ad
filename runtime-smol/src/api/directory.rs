//! Domains, mailboxes, aliases and the queue of an organisation, over the API. What belongs to another one is not found.
//!
//! Organisations, and the domains they have, are in [`tenants`](super::tenants).

use protocol_core::address::Canonical;
use protocol_core::sasl::prepare_password;
use serde_json::Value;
use storage::{Alias, Domain, Error, Job, JobAction, JobId, Mailbox, MailboxEdit};

use super::auth::{Caller, Scope};
use super::error::ApiError;
use crate::admin::dkim;
use crate::app::App;
use crate::dns::Resolver;

/// Jobs that are looked at for one listing.
const JOBS_LOOKED_AT_MAX: usize = 10_000;
/// Octets of a password.
const PASSWORD_MAX: usize = 1_024;
/// Octets of a display name.
const NAME_MAX: usize = 255;
/// Targets of an alias.
const TARGETS_MAX: usize = storage::ALIAS_TARGETS_MAX;

/// A record to publish.
pub struct DnsRecord {
    /// Its name, with the final dot.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its content.
    pub value: String,
    /// Whether it is published; none when it was not looked up, or could not be.
    pub live: Option<bool>,
}

/// The organisation's domains. Needs the scope `admin`.
pub async fn domains(app: &App, caller: &Caller) -> Result<Vec<Domain>, ApiError> {
    caller.needs(Scope::Admin)?;
    let all = app.storage.store().list_domains().await?;
    Ok(all.into_iter().filter(|domain| domain.org == caller.org).collect())
}

/// What a domain publishes, and with `check` what of it can be found.
pub async fn records(app: &App, domain: &Domain, check: bool) -> Vec<DnsRecord> {
    let mut records = Vec::new();
    // One of its own remembers no answer of before.
    let resolver = check.then(|| Resolver::open(&app.config.dns).ok()).flatten();
    for record in dkim::records(&app.config, domain) {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, kind, value) = (text("name"), text("type"), text("value"));
        let live = match &resolver {
            Some(resolver) => published(resolver, &name, &kind, &value).await,
            None => None,
        };
        records.push(DnsRecord { name, kind, value, live });
    }
    records
}

/// Whether a record is published; none when that cannot be found out now. Only texts have upper and lower case.
async fn published(resolver: &Resolver, name: &str, kind: &str, value: &str) -> Option<bool> {
    let found = resolver.lookup_shown(name, kind).await.ok()?;
    let is = |text: &String| if kind == "TXT" { text == value } else { text.eq_ignore_ascii_case(value) };
    Some(found.iter().any(is))
}

/// The canonical form of an address at one of the organisation's domains.
pub(super) async fn own_address(
    app: &App,
    caller: &Caller,
    argument: &str,
    address: &str,
) -> Result<String, ApiError> {
    let wrong = |why| ApiError::argument(argument, "ADDRESS", format!("{argument}: {why}"));
    let canonical = Canonical::parse(address).map_err(wrong)?;
    match app.storage.store().domain(canonical.domain()).await {
        Ok(domain) if domain.org == caller.org => Ok(canonical.to_string()),
        Ok(_) | Err(Error::NotFound) => Err(ApiError::not_found()),
        Err(error) => Err(error.into()),
    }
}

/// The mailbox of an address at one of the organisation's domains.
pub(super) async fn own_mailbox(
    app: &App,
    caller: &Caller,
    argument: &str,
    address: &str,
) -> Result<Mailbox, ApiError> {
    let address = own_address(app, caller, argument, address).await?;
    let found = app.storage.store().credential(&address).await?;
    found.map(|(mailbox, _)| mailbox).ok_or_else(ApiError::not_found)
}

/// As SASL compares it (RFC 4013), so that every mechanism accepts what was given.
fn password(text: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, ApiError> {
    let wrong = |why: &str| ApiError::argument("password", "SYNTAX", format!("password: {why}"));
    if text.is_empty() || text.len() > PASSWORD_MAX {
        return Err(wrong("1 to 1,024 octets"));
    }
    let prepared = prepare_password(text.as_bytes());
    let prepared = prepared.map_err(|_| wrong("it holds characters that no password can have"))?;
    Ok(zeroize::Zeroizing::new(prepared.expose().to_vec()))
}

/// The organisation's mailboxes, by address. Needs the scope `admin`.
pub async fn mailboxes(app: &App, caller: &Caller) -> Result<Vec<Mailbox>, ApiError> {
    caller.needs(Scope::Admin)?;
    let all = app.storage.store().list_mailboxes().await?;
    Ok(all.into_iter().filter(|mailbox| mailbox.org == caller.org).collect())
}

/// Makes a mailbox. Needs the scope `admin`.
pub async fn create_mailbox(
    app: &App,
    caller: &Caller,
    address: &str,
    secret: &str,
    name: &str,
    quota_bytes: Option<u64>,
) -> Result<Mailbox, ApiError> {
    caller.needs(Scope::Admin)?;
    let address = own_address(app, caller, "address", address).await?;
    api_message::check_line("name", name, NAME_MAX)?;
    let secret = password(secret)?;
    let made = app.storage.create_mailbox(&address, &secret, name, quota_bytes, false).await?;
    tracing::info!(mailbox = %made.id, "a mailbox was made over the API");
    Ok(made)
}

/// Changes a mailbox; what is not named stays. Needs the scope `admin`.
pub async fn update_mailbox(
    app: &App,
    caller: &Caller,
    address: &str,
    secret: Option<&str>,
    disabled: Option<bool>,
    edit: MailboxEdit,
) -> Result<Mailbox, ApiError> {
    caller.needs(Scope::Admin)?;
    let address = own_address(app, caller, "address", address).await?;
    if let Some(name) = &edit.name {
        api_message::check_line("name", name, NAME_MAX)?;
    }
    let secret = secret.map(password).transpose()?;
    if let Some(secret) = secret {
        app.storage.set_password(&address, &secret).await?;
    }
    if edit != MailboxEdit::default() {
        app.storage.store().edit_mailbox(&address, edit).await?;
    }
    if let Some(disabled) = disabled {
        app.storage.set_disabled(&address, disabled).await?;
    }
    let found = app.storage.store().credential(&address).await?;
    found.map(|(mailbox, _)| mailbox).ok_or_else(ApiError::not_found)
}

/// Removes a mailbox with everything in it. Needs the scope `admin`.
pub async fn delete_mailbox(app: &App, caller: &Caller, address: &str) -> Result<String, ApiError> {
    caller.needs(Scope::Admin)?;
    let address = own_address(app, caller, "address", address).await?;
    let gone = app.storage.delete_mailbox(&address).await?;
    tracing::info!(mailbox = %gone.id, "a mailbox was removed over the API");
    Ok(address)
}

/// The organisation's aliases, by address. Needs the scope `admin`.
pub async fn aliases(app: &App, caller: &Caller) -> Result<Vec<Alias>, ApiError> {
    caller.needs(Scope::Admin)?;
    let all = app.storage.store().list_aliases().await?;
    Ok(all.into_iter().filter(|alias| alias.org == caller.org).collect())
}

/// Makes an alias. Needs the scope `admin`.
pub async fn add_alias(
    app: &App,
    caller: &Caller,
    address: &str,
    targets: Vec<String>,
) -> Result<Alias, ApiError> {
    caller.needs(Scope::Admin)?;
    let address = own_address(app, caller, "address", address).await?;
    if targets.is_empty() || targets.len() > TARGETS_MAX {
        return Err(ApiError::argument("targets", "TOO_MANY", format!("targets: 1 to {TARGETS_MAX}")));
    }
    let mut canonical = Vec::with_capacity(targets.len());
    for (n, target) in targets.iter().enumerate() {
        let argument = format!("targets[{n}]");
        let parsed = api_message::Address::parse(&argument, target)?;
        // Targets here are kept in canonical form, others as they were given.
        let here = match app.storage.store().domain(parsed.canonical.domain()).await {
            Ok(_) => true,
            Err(Error::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        canonical.push(if here { parsed.canonical.to_string() } else { parsed.wire });
    }
    let alias = Alias { address, org: caller.org, targets: canonical };
    app.storage.store().add_alias(&alias).await?;
    Ok(alias)
}

/// Removes an alias. Needs the scope `admin`.
pub async fn delete_alias(app: &App, caller: &Caller, address: &str) -> Result<String, ApiError> {
    caller.needs(Scope::Admin)?;
    let address = own_address(app, caller, "address", address).await?;
    app.storage.store().delete_alias(&address).await?;
    Ok(address)
}

/// The organisation's jobs that have a row, the oldest first. Needs the scope `admin`.
pub async fn jobs(app: &App, caller: &Caller, first: usize) -> Result<Vec<Job>, ApiError> {
    caller.needs(Scope::Admin)?;
    let all = app.storage.list_jobs(JOBS_LOOKED_AT_MAX).await?;
    Ok(all.into_iter().filter(|job| job.spec.org == caller.org).take(first).collect())
}

/// Does something to a job of the organisation. Needs the scope `admin`.
pub async fn act_on_job(app: &App, caller: &Caller, id: &str, action: JobAction) -> Result<Job, ApiError> {
    caller.needs(Scope::Admin)?;
    let id = JobId::parse(id).ok_or_else(ApiError::not_found)?;
    let own = |job: &Job| job.spec.org == caller.org;
    let (job, _) = app.storage.job(id).await?;
    job.filter(own).ok_or_else(ApiError::not_found)?;
    app.storage.act_on_job(id, action, app.storage.store_now()).await?;
    app.queued.notify(usize::MAX);
    let (job, _) = app.storage.job(id).await?;
    job.filter(own).ok_or_else(ApiError::not_found)
}
