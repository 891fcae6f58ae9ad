//! Keys of the API by hand.

use protocol_core::Timestamp;
use protocol_core::time::Civil;
use serde_json::{Value, json};
use storage::{ApiKey, ApiKeyId, NewApiKey, SCOPE_NAMES, Scopes, Storage};

use super::execute::{canonical, domain_name, explained, failed, iso, org_names};
use super::{Failure, KeyCreate};
use crate::api;
use crate::config::Networks;

/// Makes a key. Its secret is in the answer, and can be seen nowhere else again.
pub(super) async fn create(storage: &Storage, wanted: KeyCreate) -> Result<Value, Failure> {
    let (org, mailbox) = match (&wanted.org, &wanted.mailbox) {
        (Some(name), None) => {
            let org = storage.store().org(name).await;
            (org.map_err(|e| explained(&format!("organisation {name}"), e))?.id, None)
        }
        (None, Some(address)) => {
            let address = canonical(address)?;
            let found = storage.store().credential(&address).await.map_err(failed)?;
            let (mailbox, _) = found.ok_or_else(|| Failure(format!("there is no mailbox {address}")))?;
            (mailbox.org, Some(mailbox.id))
        }
        _ => return Err(Failure("a key is for an organisation or for a mailbox".into())),
    };
    let new = NewApiKey {
        mailbox,
        name: wanted.name.clone(),
        scopes: scopes(&wanted.scopes)?,
        test: wanted.test,
        expires: wanted.expires.as_deref().map(date).transpose()?,
        ..allowed(&wanted)?
    };
    let (key, secret) = storage.create_api_key(org, new).await.map_err(failed)?;
    let names: Vec<&str> = key.scopes.names().collect();
    Ok(json!({
        "id": key.id.to_string(), "secret": secret.as_str(), "scopes": names, "expires": key.expires.map(iso),
    }))
}

fn scopes(text: &str) -> Result<Scopes, Failure> {
    let mut scopes = Scopes::default();
    for name in text.split(',').map(str::trim) {
        if !scopes.add(name) {
            return Err(Failure(format!("{name} is no scope; there are {}", SCOPE_NAMES.join(", "))));
        }
    }
    Ok(scopes)
}

/// What a key is bound to: each entry is an address or a domain it may send for, each network one it may be used from.
fn allowed(wanted: &KeyCreate) -> Result<NewApiKey, Failure> {
    let mut new = NewApiKey::default();
    for sender in &wanted.senders {
        match sender.contains('@') {
            true => new.addresses.push(canonical(sender)?),
            false => new.domains.push(domain_name(sender)?),
        }
    }
    for network in &wanted.networks {
        if Networks::parse(network).is_none_or(|networks| networks.is_empty()) {
            return Err(Failure(format!("{network} is no network such as 192.0.2.0/24")));
        }
        new.networks.push(network.clone());
    }
    Ok(new)
}

/// A day, at whose beginning in UTC the key ends, or a time.
fn date(text: &str) -> Result<Timestamp, Failure> {
    let day = || {
        let mut parts = text.splitn(3, '-').map(str::parse::<u16>);
        let mut part = || parts.next()?.ok();
        let (year, month, day) = (i64::from(part()?), part()?, part()?);
        let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
        let civil = Civil { year, month, day, hour: 0, minute: 0, second: 0, weekday: 0 };
        civil.to_unix().map(Timestamp::from_secs)
    };
    let bad =
        || Failure(format!("{text} is no date such as 2027-01-31, and no time such as 2027-01-31T12:00:00Z"));
    api::read_time(text).or_else(day).ok_or_else(bad)
}

pub(super) async fn list(storage: &Storage) -> Result<Value, Failure> {
    let names = org_names(storage).await?;
    let keys = storage.store().list_api_keys(None).await.map_err(failed)?;
    let mailboxes = storage.store().list_mailboxes().await.map_err(failed)?;
    let shown = keys.iter().map(|key| {
        let mailbox = key.mailbox.and_then(|id| mailboxes.iter().find(|m| m.id == id)).map(|m| &m.address);
        let allowed: Vec<&String> = key.domains.iter().chain(&key.addresses).collect();
        json!({
            "id": key.id.to_string(), "name": key.name, "org": names.get(&key.org), "mailbox": mailbox,
            "scopes": key.scopes.names().collect::<Vec<_>>(), "test": key.test, "from": allowed,
            "networks": key.networks, "createdAt": iso(key.created), "expires": key.expires.map(iso),
            "lastUsedAt": key.last_used.map(iso),
        })
    });
    Ok(shown.collect())
}

pub(super) async fn revoke(storage: &Storage, id: &str) -> Result<Value, Failure> {
    let key = ApiKeyId::parse(id).ok_or_else(|| Failure(format!("{id} is no key's ID")))?;
    storage.revoke_api_key(None, key).await.map_err(|e| explained(&format!("key {id}"), e))?;
    Ok(json!({"revoked": id}))
}

/// Whether there is a key of that name.
pub(crate) async fn is_there(storage: &Storage, name: &str) -> Result<bool, Failure> {
    let keys: Vec<ApiKey> = storage.store().list_api_keys(None).await.map_err(failed)?;
    Ok(keys.iter().any(|key| key.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_scopes_are_read() {
        assert_eq!(date("1970-01-02").unwrap(), Timestamp(86_400_000));
        assert_eq!(date("1970-01-02T00:00:01Z").unwrap(), Timestamp(86_401_000));
        for bad in ["", "1970", "1970-13-01", "1970-02-30", "tomorrow", "1970-01-02T"] {
            assert!(date(bad).is_err(), "{bad}");
        }
        assert_eq!(scopes("send, read").unwrap(), Scopes { send: true, read: true, ..Scopes::default() });
        assert!(scopes("send,write").is_err() && scopes("").is_err());
    }

    #[test]
    fn what_a_key_is_bound_to_is_read() {
        let with = |senders: &[&str], networks: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|t| t.to_string()).collect();
            allowed(&KeyCreate { senders: texts(senders), networks: texts(networks), ..KeyCreate::default() })
        };
        let new = with(&["Example.COM", "Me@Example.org"], &["192.0.2.0/24", "::1"]).unwrap();
        assert_eq!(
            (new.domains, new.addresses),
            (vec!["example.com".into()], vec!["me@example.org".to_owned()])
        );
        assert_eq!(new.networks, ["192.0.2.0/24", "::1"]);
        assert!(with(&["a@@b"], &[]).is_err() && with(&[], &["10/8"]).is_err() && with(&[], &[""]).is_err());
    }
}
