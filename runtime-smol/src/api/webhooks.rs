//! Events of an organisation, sent to addresses of its own over HTTPS and signed as Standard Webhooks says: `webhook-id`,
//! `webhook-timestamp`, and `webhook-signature`, an HMAC-SHA256 over both and the body.
//!
//! Each webhook has a position in the log and sends what is behind it, in order, one after the other: an event that
//! cannot be delivered waits, and those behind it with it, until it was tried often enough and is given up. One node at
//! a time is at a webhook; when it stops, what was sent and not yet written down is sent again, with the same ID.

mod payload;
mod send;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use storage::{MailboxId, OrgId, Purpose, Storage, Webhook, WebhookEdit, WebhookId};
use zeroize::Zeroizing;

use super::auth::{Caller, Scope};
use super::error::ApiError;
use super::event::{Kind, Position};
use crate::app::App;
use crate::config::Config;
use crate::https::{PORT, Target};

pub use send::run;

/// Octets of an address.
const URL_MAX: usize = 2_000;
/// Begins every secret (Standard Webhooks).
const SECRET_PREFIX: &str = "whsec_";

/// What somebody wants of a webhook; what is not named stays, or is as it is for a new one.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// An `https` address.
    pub url: Option<String>,
    /// Kinds of events; an empty list: all.
    pub kinds: Option<Vec<Kind>>,
    /// Whether anything is sent.
    pub enabled: Option<bool>,
    /// The address of the mailbox that it is for; it is told what arrives there, and nothing else. Never changed.
    pub mailbox: Option<String>,
}

/// The address, when it is one that may be called: HTTPS, to a name, on the port of HTTPS.
fn target(config: &Config, url: &str) -> Result<Target, ApiError> {
    let wrong = |why: &str| ApiError::argument("url", "SYNTAX", format!("url: {why}"));
    if url.len() > URL_MAX || url.chars().any(char::is_control) {
        return Err(wrong("too long, or with control characters"));
    }
    let target = Target::parse(url).ok_or_else(|| wrong("an https address with a host's name"))?;
    // `0x7f.1` is an address to some resolvers: a domain's last label begins with a letter.
    let top = target.host.rsplit_once('.').map(|(_, top)| top);
    if !top.is_some_and(|top| top.starts_with(|c: char| c.is_ascii_alphabetic())) {
        return Err(wrong("an https address with a host's name"));
    }
    if target.port != PORT && !config.webhook_allow_private_networks {
        return Err(wrong("only port 443 is called"));
    }
    Ok(target)
}

fn sealed(storage: &Storage, id: WebhookId, secret: &[u8]) -> storage::Result<Vec<u8>> {
    storage.keys().seal(Purpose::Webhook, &id.to_string(), secret)
}

fn new_secret() -> Result<Zeroizing<[u8; 32]>, ApiError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice())
        .map_err(|_| ApiError::new(super::error::Code::Unavailable, "try again later"))?;
    Ok(secret)
}

fn shown(secret: &[u8]) -> String {
    format!("{SECRET_PREFIX}{}", BASE64.encode(secret))
}

/// Makes a webhook for what happens from now on; the secret is in the answer and nowhere else. Needs the scope `admin`.
pub async fn create(app: &App, caller: &Caller, wanted: Wanted) -> Result<(Webhook, String), ApiError> {
    caller.needs(Scope::Admin)?;
    make(&app.storage, &app.config, caller.org, wanted).await
}

/// The same for whoever may do anything.
pub(crate) async fn make(
    storage: &Storage,
    config: &Config,
    org: OrgId,
    wanted: Wanted,
) -> Result<(Webhook, String), ApiError> {
    let url = wanted.url.unwrap_or_default();
    target(config, &url)?;
    let kinds = wanted.kinds.unwrap_or_default();
    let mailbox = match &wanted.mailbox {
        None => None,
        Some(_) if kinds.iter().any(|kind| *kind != Kind::Received) => {
            let message = "types: the webhook of a mailbox is told of RECEIVED only";
            return Err(ApiError::argument("types", "CONFLICT", message));
        }
        Some(address) => Some(mailbox_of(storage, org, address).await?),
    };
    let (id, secret) = (WebhookId::random(), new_secret()?);
    let webhook = Webhook {
        id,
        org,
        url,
        kinds: names(kinds),
        mailbox,
        sealed_secret: sealed(storage, id, secret.as_slice())?,
        enabled: wanted.enabled.unwrap_or(true),
        created: storage.store_now(),
        position: Position::end(storage.store().log_end(org).await?).to_string(),
        attempts: 0,
        given_up: 0,
        next_try: Timestamp(0),
        leased: Timestamp(0),
        last_error: None,
        last_success: None,
    };
    storage.add_webhook(&webhook).await?;
    Ok((webhook, shown(secret.as_slice())))
}

/// The mailbox of an address, when it is the organisation's.
async fn mailbox_of(storage: &Storage, org: OrgId, address: &str) -> Result<MailboxId, ApiError> {
    let wrong = |why| ApiError::argument("mailbox", "ADDRESS", format!("mailbox: {why}"));
    let address = Canonical::parse(address).map_err(wrong)?.to_string();
    let found = storage.store().credential(&address).await?.map(|(mailbox, _)| mailbox);
    found.filter(|mailbox| mailbox.org == org).map(|mailbox| mailbox.id).ok_or_else(ApiError::not_found)
}

fn names(kinds: Vec<Kind>) -> Vec<String> {
    kinds.into_iter().map(|kind| kind.name().to_owned()).collect()
}

fn id_of(id: &str) -> Result<WebhookId, ApiError> {
    WebhookId::parse(id).ok_or_else(ApiError::not_found)
}

/// Changes a webhook. Needs the scope `admin`.
pub async fn update(app: &App, caller: &Caller, id: &str, wanted: Wanted) -> Result<Webhook, ApiError> {
    caller.needs(Scope::Admin)?;
    if let Some(url) = &wanted.url {
        target(&app.config, url)?;
    }
    let Wanted { url, kinds, enabled, mailbox: _ } = wanted;
    let edit = WebhookEdit { url, kinds: kinds.map(names), enabled, ..WebhookEdit::default() };
    Ok(app.storage.store().edit_webhook(caller.org, id_of(id)?, edit).await?)
}

/// Gives a webhook another secret, which is in the answer. Needs the scope `admin`.
pub async fn rotate(app: &App, caller: &Caller, id: &str) -> Result<(Webhook, String), ApiError> {
    caller.needs(Scope::Admin)?;
    let (id, secret) = (id_of(id)?, new_secret()?);
    let sealed_secret = Some(sealed(&app.storage, id, secret.as_slice())?);
    let edit = WebhookEdit { sealed_secret, ..WebhookEdit::default() };
    let webhook = app.storage.store().edit_webhook(caller.org, id, edit).await?;
    Ok((webhook, shown(secret.as_slice())))
}

/// Sends what is behind a position (again). Needs the scope `admin`.
pub async fn replay(app: &App, caller: &Caller, id: &str, after: Position) -> Result<Webhook, ApiError> {
    caller.needs(Scope::Admin)?;
    let edit = WebhookEdit { position: Some(after.to_string()), ..WebhookEdit::default() };
    Ok(app.storage.store().edit_webhook(caller.org, id_of(id)?, edit).await?)
}

/// All webhooks of the organisation. Needs the scope `admin`.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Webhook>, ApiError> {
    caller.needs(Scope::Admin)?;
    Ok(app.storage.store().webhooks(Some(caller.org)).await?)
}

/// Removes a webhook. Needs the scope `admin`.
pub async fn remove(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    caller.needs(Scope::Admin)?;
    match app.storage.remove_webhook(caller.org, id_of(id)?).await? {
        true => Ok(()),
        false => Err(ApiError::not_found()),
    }
}
