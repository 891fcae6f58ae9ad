//! Webhooks of mailboxes by hand: who is told of what arrives.

use serde_json::{Value, json};

use super::Failure;
use super::execute::{Context, canonical, explained, failed};
use crate::api::webhooks::{Wanted, make};

/// Has an address told of what arrives in a mailbox from now on; the secret that signs is in the answer, and can be
/// seen nowhere else again. Without an address all webhooks of the mailbox are removed.
pub(super) async fn set(context: &Context, address: &str, url: Option<String>) -> Result<Value, Failure> {
    let (storage, address) = (&context.storage, canonical(address)?);
    let found = storage.store().credential(&address).await.map_err(failed)?;
    let (mailbox, _) = found.ok_or_else(|| Failure(format!("there is no mailbox {address}")))?;
    let Some(url) = url else {
        let mut removed = 0;
        for webhook in storage.store().webhooks(Some(mailbox.org)).await.map_err(failed)? {
            if webhook.mailbox == Some(mailbox.id) {
                let gone = storage.remove_webhook(webhook.org, webhook.id).await;
                removed += usize::from(gone.map_err(|e| explained("webhook", e))?);
            }
        }
        return Ok(json!({"address": address, "removed": removed}));
    };
    let wanted = Wanted { url: Some(url), mailbox: Some(address.clone()), ..Wanted::default() };
    let made = make(storage, &context.config, mailbox.org, wanted).await;
    let (webhook, secret) = made.map_err(|error| Failure(error.message))?;
    Ok(json!({"id": webhook.id.to_string(), "address": address, "url": webhook.url, "secret": secret}))
}
