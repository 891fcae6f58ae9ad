//! Organisations and the domains they have, over the API.
//!
//! An organisation gets a domain when it proves that the name is its own, by a record that nobody else can publish, or
//! from whoever runs the installation. What a domain may send is for the latter alone to say.

use std::sync::Arc;

use protocol_core::Timestamp;
use serde_json::Value;
use storage::{ApiKey, CounterKey, Domain, DomainSettings, Error, NewApiKey, Org, OrgId, Scopes};

use super::auth::{Caller, Scope};
use super::directory::{DnsRecord, own_address};
use super::error::{ApiError, Code};
use crate::admin::{Context, Failure, Request, domain_name, encryption, execute, fields, new_domain, rotate};
use crate::app::App;
use crate::dns::Resolver;

/// Octets of an organisation's name.
const NAME_MAX: usize = 128;
/// Before the name of the domain, where the proof stands.
const PROOF_PREFIX: &str = "_inbox-challenge.";
/// Others that may change a domain at the same time before this change is given up.
const TRIES_MAX: usize = 8;
const HOUR_SECS: i64 = 3_600;
const DAY_SECS: i64 = 86_400;

/// An organisation, and what it has.
pub struct Organization {
    /// Its row.
    pub org: Org,
    /// Its mailboxes.
    pub mailboxes: usize,
    /// Octets they hold.
    pub used_bytes: u64,
}

/// What is counted of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Recipients of this hour.
    Hour,
    /// Recipients of today.
    Day,
    /// Jobs that are queued.
    Jobs,
}

/// Which reports of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reports {
    Tls,
    Dmarc,
}

fn failed(Failure(why): Failure) -> ApiError {
    ApiError::new(Code::Conflict, why)
}

/// The caller's organisation. Needs the scope `admin`.
pub async fn own(app: &App, caller: &Caller) -> Result<Organization, ApiError> {
    caller.needs(Scope::Admin)?;
    let all = listed(app, Some(caller.org)).await?;
    all.into_iter().next().ok_or_else(ApiError::not_found)
}

/// All organisations, by name. Needs the scope `operator`.
pub async fn all(app: &App, caller: &Caller) -> Result<Vec<Organization>, ApiError> {
    caller.needs(Scope::Operator)?;
    listed(app, None).await
}

async fn listed(app: &App, only: Option<OrgId>) -> Result<Vec<Organization>, ApiError> {
    let store = app.storage.store();
    let mailboxes = store.list_mailboxes().await?;
    let orgs = store.list_orgs().await?.into_iter().filter(|org| only.is_none_or(|only| only == org.id));
    let told = orgs.map(|org| {
        let own = || mailboxes.iter().filter(|mailbox| mailbox.org == org.id);
        let (many, used_bytes) = (own().count(), own().map(|mailbox| mailbox.used_bytes).sum());
        Organization { org, mailboxes: many, used_bytes }
    });
    Ok(told.collect())
}

async fn by_id(app: &App, id: &str) -> Result<Org, ApiError> {
    let id = OrgId::parse(id).ok_or_else(ApiError::not_found)?;
    let orgs = app.storage.store().list_orgs().await?;
    orgs.into_iter().find(|org| org.id == id).ok_or_else(ApiError::not_found)
}

/// Makes an organisation. Needs the scope `operator`.
pub async fn create(app: &App, caller: &Caller, name: &str) -> Result<Organization, ApiError> {
    caller.needs(Scope::Operator)?;
    api_message::check_line("name", name, NAME_MAX)?;
    if name.trim().is_empty() {
        return Err(ApiError::argument("name", "MISSING", "name: must not be empty"));
    }
    let org = app.storage.create_org(name).await?;
    tracing::info!(org = %org.id, "an organisation was made over the API");
    Ok(Organization { org, mailboxes: 0, used_bytes: 0 })
}

/// Removes an organisation that has no domains any more, and whatever it left unreadable. Needs the scope `operator`.
pub async fn delete(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    caller.needs(Scope::Operator)?;
    let org = by_id(app, id).await?;
    if org.id == caller.org {
        return Err(ApiError::new(Code::Conflict, "the key that asks for this is the organisation's own"));
    }
    app.storage.delete_org(&org.name).await?;
    tracing::info!(org = %org.id, "an organisation was removed over the API");
    Ok(())
}

/// Makes a key of another organisation: its first one, so that it can look after itself. Needs the scope `operator`.
pub async fn create_key(
    app: &App,
    caller: &Caller,
    id: &str,
    name: String,
    scopes: Scopes,
) -> Result<(ApiKey, String), ApiError> {
    caller.needs(Scope::Operator)?;
    if scopes.operator {
        return Err(ApiError::new(Code::Forbidden, "the scope operator is given by hand only"));
    }
    let org = by_id(app, id).await?;
    let new = NewApiKey { name, scopes, ..NewApiKey::default() };
    let (key, secret) = app.storage.create_api_key(org.id, new).await?;
    tracing::info!(key = %key.id, org = %org.id, "an API key was made");
    Ok((key, secret.as_str().to_owned()))
}

fn canonical(name: &str) -> Result<String, ApiError> {
    domain_name(name).map_err(|Failure(why)| ApiError::argument("name", "SYNTAX", format!("name: {why}")))
}

/// The record by which the caller's organisation proves that a name is its own. Needs the scope `admin`.
pub fn proof(app: &App, caller: &Caller, name: &str) -> Result<DnsRecord, ApiError> {
    caller.needs(Scope::Admin)?;
    let name = canonical(name)?;
    let tag = app.storage.keys().tag("domain proof", &[caller.org.0.0.as_slice(), name.as_bytes()]);
    let digest = blake3::Hash::from_bytes(tag).to_hex();
    Ok(DnsRecord {
        name: format!("{PROOF_PREFIX}{name}."),
        kind: "TXT".into(),
        value: format!("inbox-domain={}", &digest[..32]),
        live: None,
    })
}

/// Gives a name to the caller's organisation, which has proved that it is its own, or to any, for whoever runs the
/// installation. DKIM keys are made for it. Needs the scope `admin`, or `operator` for another organisation and without
/// proof.
pub async fn create_domain(
    app: &Arc<App>,
    caller: &Caller,
    name: &str,
    owner: Option<&str>,
) -> Result<Domain, ApiError> {
    let org = match owner {
        Some(id) => {
            caller.needs(Scope::Operator)?;
            by_id(app, id).await?.id
        }
        None => {
            caller.needs(Scope::Admin)?;
            caller.org
        }
    };
    let name = canonical(name)?;
    if !caller.scopes.operator {
        proved(app, caller, &name).await?;
    }
    let made = new_domain(&app.administration(), &name, org, &[]).await;
    let (domain, _) = made.map_err(failed)?;
    app.storage.store().add_domain(&domain).await?;
    tracing::info!(domain = domain.name, org = %org, "a domain was added over the API");
    Ok(domain)
}

/// Asks the name servers, and before that nothing is said of whether somebody has the name already.
async fn proved(app: &App, caller: &Caller, name: &str) -> Result<(), ApiError> {
    let record = proof(app, caller, name)?;
    let silent = || ApiError::new(Code::Unavailable, "the name servers do not answer; try again later");
    // A resolver of its own remembers no answer of before.
    let resolver = Resolver::open(&app.config.dns).map_err(|_| silent())?;
    let found = resolver.lookup_txt(&record.name).await.map_err(|_| silent())?;
    if found.contains(&record.value) {
        return Ok(());
    }
    let message = "name: publish the record that domainProof answers, and ask again";
    Err(ApiError::argument("name", "NOT_PROVED", message))
}

/// The row of a domain of the caller's organisation.
async fn own_domain(app: &App, caller: &Caller, name: &str) -> Result<Domain, ApiError> {
    let name = canonical(name)?;
    let domain = app.storage.store().domain(&name).await?;
    if domain.org == caller.org { Ok(domain) } else { Err(ApiError::not_found()) }
}

/// Changes settings of a domain as the command line does: field and value, an empty value removes the setting. Needs
/// the scope `admin`.
pub async fn update_domain(
    app: &App,
    caller: &Caller,
    name: &str,
    set: &[(String, String)],
) -> Result<Domain, ApiError> {
    caller.needs(Scope::Admin)?;
    let found = own_domain(app, caller, name).await?;
    let domain = changed(app, &found.name, |domain| {
        let applied = fields::apply(app.storage.keys(), domain, set);
        applied.map(drop).map_err(|Failure(why)| ApiError::new(Code::InvalidArgument, why))
    })
    .await?;
    encryption::follow_domain(&app.storage, &domain).await.map_err(failed)?;
    Ok(domain)
}

/// Says what a domain may send. Needs the scope `operator`.
pub async fn set_quotas(
    app: &App,
    caller: &Caller,
    name: &str,
    set: impl Fn(&mut DomainSettings),
) -> Result<Domain, ApiError> {
    caller.needs(Scope::Operator)?;
    let name = canonical(name)?;
    changed(app, &name, |domain| {
        set(&mut domain.settings);
        Ok(())
    })
    .await
}

/// Changes a domain's settings, whoever else does at the same time.
async fn changed(
    app: &App,
    name: &str,
    change: impl Fn(&mut Domain) -> Result<(), ApiError>,
) -> Result<Domain, ApiError> {
    let store = app.storage.store();
    for _ in 0..TRIES_MAX {
        let mut domain = store.domain(name).await?;
        let before = domain.settings.clone();
        change(&mut domain)?;
        if domain.settings == before || store.replace_domain(name, &before, &domain.settings).await? {
            return Ok(domain);
        }
    }
    Err(ApiError::new(Code::Conflict, "something else changed it at the same time"))
}

/// Takes a domain without mailboxes and aliases away from the organisation; its name. Needs the scope `admin`.
pub async fn delete_domain(app: &App, caller: &Caller, name: &str) -> Result<String, ApiError> {
    caller.needs(Scope::Admin)?;
    let domain = own_domain(app, caller, name).await?;
    app.storage.store().delete_domain(&domain.name).await?;
    tracing::info!(domain = domain.name, "a domain was removed over the API");
    Ok(domain.name)
}

/// Makes new DKIM keys beside those that sign, or lets them sign when their records are published. Needs the scope
/// `admin`.
pub async fn rotate_keys(
    app: &Arc<App>,
    caller: &Caller,
    name: &str,
    finish: bool,
) -> Result<Domain, ApiError> {
    caller.needs(Scope::Admin)?;
    let domain = own_domain(app, caller, name).await?;
    let context = app.administration();
    let done = match finish {
        true => rotate::finish(&context, &domain.name).await,
        false => rotate::begin(&context, &domain.name).await,
    };
    done.map_err(failed)?;
    Ok(app.storage.store().domain(&domain.name).await?)
}

/// What others report about the organisation's mail, read from a folder of one of its mailboxes. Needs the scope
/// `admin`.
pub async fn reports(
    app: &Arc<App>,
    caller: &Caller,
    which: Reports,
    mailbox: &str,
    folder: Option<String>,
) -> Result<Value, ApiError> {
    caller.needs(Scope::Admin)?;
    let mailbox = own_address(app, caller, "mailbox", mailbox).await?;
    if app.storage.store().credential(&mailbox).await?.is_none() {
        return Err(ApiError::not_found());
    }
    let request = match which {
        Reports::Tls => Request::TlsReportReceived { mailbox, folder },
        Reports::Dmarc => Request::DmarcReportReceived { mailbox, folder },
    };
    let context: Context = app.administration();
    execute(&context, request).await.map_err(failed)
}

/// What a counter of a domain shows now.
pub async fn used(app: &App, domain: &str, what: Used) -> Result<u64, Error> {
    let now: Timestamp = app.storage.store_now();
    let key = match what {
        Used::Hour => CounterKey::sent(domain, HOUR_SECS, now),
        Used::Day => CounterKey::sent(domain, DAY_SECS, now),
        Used::Jobs => CounterKey::queued_jobs(domain),
    };
    Ok(app.storage.store().counters(&[key]).await?.into_iter().next().unwrap_or(0))
}
