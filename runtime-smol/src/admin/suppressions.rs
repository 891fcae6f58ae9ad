//! Suppressions by hand: who gets no mail of an organisation, or of this installation.

use protocol_core::Timestamp;
use serde_json::{Value, json};
use storage::{OrgId, Storage, Suppression, SuppressionKey, SuppressionScope, SuppressionSource};

use super::execute::{canonical, domain_name, explained, failed, iso, org_names};
use super::{Failure, Scope};

/// Rows of one listing.
const ROWS_MAX: usize = 10_000;

async fn org_id(storage: &Storage, org: Option<&str>) -> Result<Option<OrgId>, Failure> {
    match org {
        None => Ok(None),
        Some(name) => {
            let org = storage.store().org(name).await;
            org.map(|org| Some(org.id)).map_err(|e| explained(&format!("organisation {name}"), e))
        }
    }
}

/// The row that an entry names: an address when it has an `@`, unless the scope says otherwise.
fn key(org: Option<OrgId>, entry: &str, scope: Option<Scope>) -> Result<SuppressionKey, Failure> {
    let scope = scope.unwrap_or(if entry.contains('@') { Scope::Address } else { Scope::Domain });
    Ok(match scope {
        Scope::Address => SuppressionKey { org, scope: SuppressionScope::Address, entry: canonical(entry)? },
        Scope::Domain => SuppressionKey { org, scope: SuppressionScope::Domain, entry: domain_name(entry)? },
    })
}

/// All that hold, and those that are suspicions still; of one organisation and the installation, or all.
pub(super) async fn list(storage: &Storage, org: Option<&str>) -> Result<Value, Failure> {
    let wanted = org_id(storage, org).await?;
    let names = org_names(storage).await?;
    let rows = storage.store().list_suppressions(None, ROWS_MAX).await.map_err(failed)?;
    let mine = rows.iter().filter(|row| wanted.is_none() || row.key.org.is_none() || row.key.org == wanted);
    Ok(mine
        .map(|row| {
            let org = row.key.org.map(|org| names.get(&org).cloned().unwrap_or_else(|| org.to_string()));
            shown(row, org.as_deref(), storage.store_now())
        })
        .collect())
}

fn shown(row: &Suppression, org: Option<&str>, now: Timestamp) -> Value {
    json!({
        "entry": row.key.entry, "scope": row.key.scope, "org": org, "reason": row.reason, "source": row.source,
        "created": iso(row.created), "expires": row.expires.map(iso), "holds": row.holds(now),
    })
}

/// Holds mail to an entry back, until a hand removes it.
pub(super) async fn add(
    storage: &Storage,
    entry: &str,
    scope: Option<Scope>,
    org: Option<&str>,
) -> Result<Value, Failure> {
    let key = key(org_id(storage, org).await?, entry, scope)?;
    let row = Suppression {
        key,
        reason: "added by an administrator".into(),
        source: SuppressionSource::Manual,
        created: storage.store_now(),
        expires: None,
    };
    storage.store().put_suppression(&row).await.map_err(failed)?;
    Ok(shown(&row, org, row.created))
}

/// Lets mail to an entry go again: every row of that entry, or those of one organisation.
pub(super) async fn remove(storage: &Storage, entry: &str, org: Option<&str>) -> Result<Value, Failure> {
    let wanted = org_id(storage, org).await?;
    let key = key(wanted, entry, None)?;
    let rows = storage.store().list_suppressions(None, ROWS_MAX).await.map_err(failed)?;
    let mut removed = 0;
    for row in rows.iter().filter(|row| row.key.scope == key.scope && row.key.entry == key.entry) {
        if org.is_none() || row.key.org == wanted {
            removed += usize::from(storage.store().remove_suppression(&row.key).await.map_err(failed)?);
        }
    }
    match removed {
        0 => Err(Failure(format!("there is no suppression of {entry}"))),
        removed => Ok(json!({"entry": key.entry, "removed": removed})),
    }
}
