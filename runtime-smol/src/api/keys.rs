//! Keys and suppressions of an organisation, over the API.

use protocol_core::Timestamp;
use protocol_core::address::{Canonical, canonical_domain};
use storage::{
    ApiKey, ApiKeyId, NewApiKey, Scopes, Suppression, SuppressionKey, SuppressionScope, SuppressionSource,
};

use super::auth::{Caller, Scope};
use super::directory;
use super::error::{ApiError, Code};
use crate::app::App;
use crate::config::Networks;

/// Rows of one look at suppressions.
const ROWS: usize = 1_000;
/// Octets of a reason.
const REASON_MAX: usize = 200;

/// What is wanted of a new key.
#[derive(Debug, Default)]
pub struct Wanted {
    /// What people call it.
    pub name: String,
    /// What it lets its bearer do.
    pub scopes: Scopes,
    /// The address of the mailbox that it acts for; none: what its maker acts for.
    pub mailbox: Option<String>,
    /// Domains and addresses it may send for; none: all of the organisation's.
    pub senders: Vec<String>,
    /// Networks it may be used from; none: everywhere.
    pub networks: Vec<String>,
    /// Its end.
    pub expires: Option<Timestamp>,
    /// What is sent with it is never delivered.
    pub test: bool,
}

/// Makes a key; the secret is in the answer and nowhere else. Needs the scope `admin`, and gives no right that the
/// caller does not have.
pub async fn create(app: &App, caller: &Caller, wanted: Wanted) -> Result<(ApiKey, String), ApiError> {
    caller.needs(Scope::Admin)?;
    let (has, gives) = (caller.scopes, wanted.scopes);
    let more = (gives.send && !has.send)
        || (gives.read && !has.read)
        || gives.operator
        || (caller.is_test() && !wanted.test);
    let bound =
        |key: &ApiKey| !(key.domains.is_empty() && key.addresses.is_empty() && key.networks.is_empty());
    if more || caller.key.as_ref().is_some_and(bound) {
        return Err(ApiError::new(Code::Forbidden, "a key gives no right that its maker does not have"));
    }
    let own = caller.key.as_ref().and_then(|key| key.mailbox);
    let mailbox = match &wanted.mailbox {
        None => own,
        Some(address) => {
            let mailbox = directory::own_mailbox(app, caller, "mailbox", address).await?;
            // A key of one mailbox makes none for another.
            if own.is_some_and(|own| own != mailbox.id) {
                return Err(ApiError::not_found());
            }
            Some(mailbox.id)
        }
    };
    let mut new = NewApiKey {
        mailbox,
        name: wanted.name,
        scopes: wanted.scopes,
        test: wanted.test,
        expires: wanted.expires,
        ..NewApiKey::default()
    };
    for (n, sender) in wanted.senders.iter().enumerate() {
        let wrong = |why: &dyn std::fmt::Display| {
            ApiError::argument(&format!("senders[{n}]"), "SYNTAX", format!("senders[{n}]: {why}"))
        };
        match sender.contains('@') {
            true => new.addresses.push(Canonical::parse(sender).map_err(|e| wrong(&e))?.to_string()),
            false => new.domains.push(canonical_domain(sender).map_err(|e| wrong(&e))?),
        }
    }
    for (n, network) in wanted.networks.into_iter().enumerate() {
        if Networks::parse(&network).is_none_or(|networks| networks.is_empty()) || network.contains(',') {
            let argument = format!("networks[{n}]");
            let message = format!("{argument}: a network is written as 192.0.2.0/24");
            return Err(ApiError::argument(&argument, "SYNTAX", message));
        }
        new.networks.push(network);
    }
    let (key, secret) = app.storage.create_api_key(caller.org, new).await?;
    tracing::info!(key = %key.id, "an API key was made");
    Ok((key, secret.as_str().to_owned()))
}

/// All keys of the organisation. Needs the scope `admin`.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<ApiKey>, ApiError> {
    caller.needs(Scope::Admin)?;
    Ok(app.storage.store().list_api_keys(Some(caller.org)).await?)
}

/// Makes a key worth nothing. Needs the scope `admin`.
pub async fn revoke(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    caller.needs(Scope::Admin)?;
    let id = ApiKeyId::parse(id).ok_or_else(ApiError::not_found)?;
    app.storage.revoke_api_key(Some(caller.org), id).await?;
    tracing::info!(key = %id, "an API key was revoked");
    Ok(())
}

/// The row that an entry names: an address when it has an `@`, else a domain.
pub fn entry_key(caller: &Caller, entry: &str) -> Result<SuppressionKey, ApiError> {
    let wrong = |why: &dyn std::fmt::Display| ApiError::argument("entry", "ADDRESS", format!("entry: {why}"));
    let (scope, entry) = match entry.contains('@') {
        true => (SuppressionScope::Address, Canonical::parse(entry).map_err(|e| wrong(&e))?.to_string()),
        false => (SuppressionScope::Domain, canonical_domain(entry).map_err(|e| wrong(&e))?),
    };
    Ok(SuppressionKey { org: Some(caller.org), scope, entry })
}

/// Those of the organisation that hold now, behind an entry. Needs the scope `read`.
pub async fn suppressions(
    app: &App,
    caller: &Caller,
    after: Option<SuppressionKey>,
    first: usize,
) -> Result<Vec<Suppression>, ApiError> {
    caller.needs(Scope::Read)?;
    let lowest =
        SuppressionKey { org: Some(caller.org), scope: SuppressionScope::Address, entry: String::new() };
    let mut after = after.filter(|key| key.org == Some(caller.org)).unwrap_or(lowest);
    let (mut found, now) = (Vec::new(), app.storage.store_now());
    loop {
        let rows = app.storage.store().list_suppressions(Some(&after), ROWS).await?;
        let is_last = rows.len() < ROWS;
        for row in rows {
            if row.key.org != Some(caller.org) || found.len() == first {
                return Ok(found);
            }
            after = row.key.clone();
            if row.holds(now) {
                found.push(row);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// Holds mail to an entry back. Needs the scope `admin`.
pub async fn suppress(
    app: &App,
    caller: &Caller,
    entry: &str,
    reason: Option<String>,
    expires: Option<Timestamp>,
) -> Result<Suppression, ApiError> {
    caller.needs(Scope::Admin)?;
    let reason = reason.unwrap_or_else(|| "added over the API".into());
    api_message::check_line("reason", &reason, REASON_MAX)?;
    let row = Suppression {
        key: entry_key(caller, entry)?,
        reason,
        source: SuppressionSource::Manual,
        created: app.storage.store_now(),
        expires,
    };
    app.storage.store().put_suppression(&row).await?;
    Ok(row)
}

/// Lets mail to an entry go again; whether anything held it back. Needs the scope `admin`.
pub async fn unsuppress(app: &App, caller: &Caller, entry: &str) -> Result<bool, ApiError> {
    caller.needs(Scope::Admin)?;
    Ok(app.storage.store().remove_suppression(&entry_key(caller, entry)?).await?)
}
