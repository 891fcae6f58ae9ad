//! Keys of the API: made, found by their secret, removed.
//!
//! A secret is `inbox_live_` or `inbox_test_`, the key's ID, `_`, and 256 random bits in base32. What is kept is a
//! keyed hash of it, so that neither the database nor a copy of it lets anybody in.

use protocol_core::Timestamp;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::api::{ApiKey, NewApiKey};
use crate::error::{Error, Refusal, Result};
use crate::facade::Storage;
use crate::types::{ApiKeyId, Id, Mailbox, OrgId};

/// Begins every secret: whoever finds one somewhere can tell what it is.
const LIVE: &str = "inbox_live_";
const TEST: &str = "inbox_test_";
/// Characters of an ID.
const ID_LEN: usize = 26;
/// Characters of a whole secret.
const SECRET_LEN: usize = LIVE.len() + ID_LEN + 1 + 2 * ID_LEN;

/// The ID that a secret names, and what is hashed of it; none when it cannot be one.
fn parse(secret: &str) -> Option<ApiKeyId> {
    let rest = secret.strip_prefix(LIVE).or_else(|| secret.strip_prefix(TEST))?;
    if secret.len() != SECRET_LEN || !secret.is_ascii() {
        return None;
    }
    let (id, rest) = rest.split_at_checked(ID_LEN)?;
    rest.strip_prefix('_')?;
    ApiKeyId::parse(id)
}

/// What a key that stands for a password can be bound to: a mailbox. What is sent over SMTP is what its mailbox may
/// send, and is always sent.
fn check_app_password(new: &NewApiKey) -> Result<()> {
    let wrong = match new {
        NewApiKey { mailbox: None, .. } => "imap, smtp and dav are scopes of a mailbox's key",
        NewApiKey { test: true, .. } => "a test key is for the API alone",
        new if !new.domains.is_empty() || !new.addresses.is_empty() => {
            "a key with imap, smtp or dav sends as its mailbox: it takes no list of senders"
        }
        _ => return Ok(()),
    };
    Err(Refusal::Invalid(wrong.into()).into())
}

impl Storage {
    fn key_hash(&self, secret: &str) -> [u8; 32] {
        self.keys().tag("api key", &[secret.as_bytes()])
    }

    /// Makes a key; the secret is in the answer and nowhere else.
    pub async fn create_api_key(&self, org: OrgId, new: NewApiKey) -> Result<(ApiKey, Zeroizing<String>)> {
        if new.scopes.names().next().is_none() {
            return Err(Refusal::Invalid("a key has at least one scope".into()).into());
        }
        if new.scopes.of_protocols() {
            check_app_password(&new)?;
        }
        let id = ApiKeyId::random();
        let prefix = if new.test { TEST } else { LIVE };
        let secret = Zeroizing::new(format!("{prefix}{id}_{}{}", Id::random(), Id::random()));
        let key = ApiKey {
            id,
            org,
            mailbox: new.mailbox,
            name: new.name,
            scopes: new.scopes,
            test: new.test,
            domains: new.domains,
            addresses: new.addresses,
            networks: new.networks,
            hash: self.key_hash(&secret),
            created: self.store_now(),
            expires: new.expires,
            last_used: None,
        };
        let stored = key.clone();
        self.durable(async move |inner| inner.settle(inner.store.add_api_key(&stored).await)).await?;
        Ok((key, secret))
    }

    /// The key of a secret, while it is worth something at `now`. That there is none, that it has ended, and that the
    /// secret is wrong are not told apart.
    pub async fn api_key_of(&self, secret: &str, now: Timestamp) -> Result<Option<ApiKey>> {
        let hash = self.key_hash(secret);
        let Some(id) = parse(secret) else { return Ok(None) };
        let key = match self.store().api_key(id).await {
            Ok(key) => key,
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let fits = bool::from(key.hash.ct_eq(&hash)) && key.expires.is_none_or(|end| now < end);
        Ok(Some(key).filter(|_| fits))
    }

    /// The mailbox and the key whose secret stands for its password, while that is worth something at `now`; which
    /// protocols it is good for is the caller's to see. [`None`] for everything else.
    pub async fn app_password(
        &self,
        address: &str,
        secret: &[u8],
        now: Timestamp,
    ) -> Result<Option<(Mailbox, ApiKey)>> {
        let Ok(secret) = std::str::from_utf8(secret) else { return Ok(None) };
        let Some(key) = self.api_key_of(secret, now).await? else { return Ok(None) };
        let Some(id) = key.mailbox else { return Ok(None) };
        match self.store().mailbox(id).await {
            Ok(mailbox) => {
                let fits = mailbox.address == address && !mailbox.disabled && mailbox.org == key.org;
                Ok(fits.then_some((mailbox, key)))
            }
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a key of an organisation; [`Error::NotFound`] when it has none of that ID. With no organisation any key.
    pub async fn revoke_api_key(&self, org: Option<OrgId>, id: ApiKeyId) -> Result<()> {
        let key = self.store().api_key(id).await?;
        if org.is_some_and(|org| org != key.org) {
            return Err(Error::NotFound);
        }
        self.durable(async move |inner| inner.settle(inner.store.remove_api_key(id).await)).await.map(drop)
    }

    /// Writes down that a key was used, without keeping anybody waiting.
    pub fn touch_api_key(&self, id: ApiKeyId) {
        let now = self.store_now();
        drop(self.durable(async move |inner| {
            if let Err(error) = inner.store.touch_api_key(id, now).await {
                tracing::debug!(%error, key = %id, "the use of a key could not be written down");
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_secret_names_no_key() {
        let id = Id([7; 16]);
        let secret = format!("{LIVE}{id}_{id}{id}");
        assert_eq!(parse(&secret), Some(ApiKeyId(id)));
        for bad in [
            "",
            "inbox_live_",
            &secret[1..],
            &secret[..secret.len() - 1],
            &format!("{secret}0"),
            &secret.replace("live", "LIVE"),
            &secret.replacen('_', "-", 1),
            &format!("{LIVE}{}_{id}{id}", "u".repeat(ID_LEN)),
            &"é".repeat(SECRET_LEN / 2),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
