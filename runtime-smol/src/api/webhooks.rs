//! Events of an organisation, sent to addresses of its own over HTTPS and signed as Standard Webhooks says: `webhook-id`,
//! `webhook-timestamp`, and `webhook-signature`, an HMAC-SHA256 over both and the body.
//!
//! Each webhook has a position in the log and sends what is behind it, in order, one after the other: an event that
//! cannot be delivered waits, and those behind it with it, until it was tried often enough and is given up. One node at
//! a time is at a webhook; when it stops, what was sent and not yet written down is sent again, with the same ID.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use async_lock::Semaphore;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_lite::future;
use hmac::{Hmac, Mac};
use protocol_core::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;
use storage::{Purpose, Storage, Webhook, WebhookEdit, WebhookId};
use zeroize::Zeroizing;

use super::auth::{Caller, Scope};
use super::error::ApiError;
use super::event::{Event, Kind, Position};
use super::events::Reader;
use super::time;
use crate::app::App;
use crate::https::{Https, Limits, PORT, Target};
use crate::metrics::METRICS;
use crate::task;

/// How often webhooks that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long a node may be at a webhook without a word.
const LEASE: Duration = Duration::from_secs(60);
/// Webhooks that one node is at at once.
const AT_ONCE: usize = 16;
/// What an address may take to answer, and what it may answer (HG11).
const LIMITS: Limits = Limits { octets: 64 * 1024, time: Duration::from_secs(10) };
/// Octets of an address.
const URL_MAX: usize = 2_000;
/// Waits before the second and every further try of an event; after the last one it is given up.
const WAITS_SECS: [u64; 9] = [5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200];
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
}

/// The address, when it is one that may be called: HTTPS, to a name, on the port of HTTPS.
fn target(app: &App, url: &str) -> Result<Target, ApiError> {
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
    if target.port != PORT && !app.config.webhook_allow_private_networks {
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
    let url = wanted.url.unwrap_or_default();
    target(app, &url)?;
    let (id, secret) = (WebhookId::random(), new_secret()?);
    let webhook = Webhook {
        id,
        org: caller.org,
        url,
        kinds: names(wanted.kinds.unwrap_or_default()),
        sealed_secret: sealed(&app.storage, id, secret.as_slice())?,
        enabled: wanted.enabled.unwrap_or(true),
        created: app.storage.store_now(),
        position: Position::end(app.storage.store().log_end(caller.org).await?).to_string(),
        attempts: 0,
        given_up: 0,
        next_try: Timestamp(0),
        leased: Timestamp(0),
        last_error: None,
        last_success: None,
    };
    app.storage.store().add_webhook(&webhook).await?;
    Ok((webhook, shown(secret.as_slice())))
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
        target(app, url)?;
    }
    let Wanted { url, kinds, enabled } = wanted;
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
    match app.storage.store().remove_webhook(caller.org, id_of(id)?).await? {
        true => Ok(()),
        false => Err(ApiError::not_found()),
    }
}

/// Sends events for as long as the server runs.
pub async fn run(app: Arc<App>) {
    let allow_private = app.config.webhook_allow_private_networks;
    let https = Https::new(app.resolver.clone(), app.client_tls.clone(), allow_private);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let due = match app.storage.store().webhooks(None).await {
            Ok(webhooks) => webhooks,
            Err(error) => {
                tracing::warn!(%error, "webhooks could not be looked up");
                Vec::new()
            }
        };
        let now = app.storage.store_now();
        let is_due = |w: &Webhook| w.enabled && w.next_try <= now && w.leased <= now;
        for webhook in due.into_iter().filter(is_due) {
            let Some(place) = places.try_acquire_arc() else { break };
            let (app, https) = (app.clone(), https.clone());
            task::spawn(async move {
                if let Err(error) = tend(&app, &https, &webhook).await {
                    tracing::warn!(webhook = %webhook.id, %error, "a webhook could not be tended");
                }
                drop(place);
            })
            .detach();
        }
        let again = async {
            Timer::after(LOOK).await;
            false
        };
        let stop = async {
            app.stop.wait().await;
            true
        };
        if future::or(stop, again).await {
            return;
        }
    }
}

/// Sends what a webhook has waiting, if anything, until it is done, something fails, or the server stops.
async fn tend(app: &Arc<App>, https: &Https, found: &Webhook) -> storage::Result<()> {
    let Some(position) = Position::parse(&found.position) else { return Ok(()) };
    if Position::end(app.storage.store().log_end(found.org).await?) <= position {
        return Ok(());
    }
    let now = app.storage.store_now();
    let store = app.storage.store();
    let Some(mut claimed) = store.claim_webhook(found.org, found.id, now, LEASE).await? else {
        return Ok(());
    };
    let secret =
        app.storage.keys().open_sealed(Purpose::Webhook, &claimed.id.to_string(), &claimed.sealed_secret)?;
    let kinds = claimed.kinds.clone();
    let mut reader = Reader::new(app.clone(), claimed.org);
    let mut position = Position::parse(&claimed.position).unwrap_or(position);
    loop {
        let (events, end) = reader.after(position).await?;
        for event in events.iter().filter(|event| wants(&kinds, event)) {
            let outcome = deliver(app, https, &claimed, &secret, event).await;
            METRICS.webhook_deliveries.add(match &outcome {
                Outcome::Taken => "taken",
                Outcome::Gone => "gone",
                Outcome::Failed(_) => "failed",
            });
            let progress = after(&claimed, event, outcome, app.storage.store_now());
            let waits = progress.next_try > app.storage.store_now() || !progress.enabled;
            let held = store.save_webhook(&claimed, &progress).await?;
            if !held || waits || app.stop.is_set() {
                return Ok(());
            }
            claimed = progress;
        }
        let done = end == position;
        position = end;
        // What was passed over need not be looked at again.
        let leased = if done { Timestamp(0) } else { app.storage.store_now() + LEASE };
        let progress = Webhook { position: position.to_string(), leased, ..claimed.clone() };
        if !store.save_webhook(&claimed, &progress).await? || done || app.stop.is_set() {
            return Ok(());
        }
        claimed = progress;
    }
}

fn wants(kinds: &[String], event: &Event) -> bool {
    kinds.is_empty() || kinds.iter().any(|name| name == event.kind.name())
}

/// What an address answered to an event.
enum Outcome {
    Taken,
    /// 410: it wants no more.
    Gone,
    Failed(String),
}

async fn deliver(app: &App, https: &Https, webhook: &Webhook, secret: &[u8], event: &Event) -> Outcome {
    // What may be called may have changed since the webhook was made.
    let target = match target(app, &webhook.url) {
        Ok(target) => target,
        Err(error) => return Outcome::Failed(error.message),
    };
    let (id, now) = (event.position.to_string(), app.storage.store_now().secs().to_string());
    let body = payload(event).to_string();
    let signature = signature(secret, &id, &now, &body);
    let fields = [
        ("content-type", "application/json"),
        ("webhook-id", id.as_str()),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    match https.deliver(&target, &fields, body.into_bytes(), LIMITS).await {
        Ok(answer) if (200..300).contains(&answer.status) => Outcome::Taken,
        Ok(answer) if answer.status == 410 => Outcome::Gone,
        // Redirects are not followed: where they lead was not checked.
        Ok(answer) => Outcome::Failed(format!("it answered {}", answer.status)),
        Err(fault) => Outcome::Failed(fault.to_string()),
    }
}

/// How far a webhook has got after an event.
fn after(webhook: &Webhook, event: &Event, outcome: Outcome, now: Timestamp) -> Webhook {
    let past = Webhook { position: event.position.to_string(), attempts: 0, ..webhook.clone() };
    match outcome {
        Outcome::Taken => {
            Webhook { leased: now + LEASE, last_error: None, last_success: Some(now), next_try: now, ..past }
        }
        Outcome::Gone => Webhook {
            enabled: false,
            leased: Timestamp(0),
            last_error: Some("it answered 410 and is not called any more".into()),
            ..webhook.clone()
        },
        Outcome::Failed(why) => {
            tracing::info!(webhook = %webhook.id, attempt = webhook.attempts + 1, why, "an event was not taken");
            let wait = usize::try_from(webhook.attempts).ok().and_then(|n| WAITS_SECS.get(n));
            let last_error = Some(why.chars().filter(|c| !c.is_control()).take(500).collect());
            match wait {
                Some(secs) => Webhook {
                    attempts: webhook.attempts + 1,
                    next_try: now + Duration::from_secs(*secs),
                    leased: Timestamp(0),
                    last_error,
                    ..webhook.clone()
                },
                None => Webhook {
                    given_up: webhook.given_up + 1,
                    leased: now + LEASE,
                    next_try: now,
                    last_error,
                    ..past
                },
            }
        }
    }
}

/// Standard Webhooks: the signed content is ID, time and body, with dots between them.
fn signature(secret: &[u8], id: &str, now: &str, body: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{id}.{now}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn payload(event: &Event) -> Value {
    let record = &event.record;
    let metadata = event.private.metadata.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "type": format!("email.{}", event.kind.name().to_lowercase()),
        "timestamp": time::write(Timestamp(record.at_ms)),
        "data": {
            "eventId": event.position.to_string(),
            "emailId": event.email.to_string(),
            "recipient": some(&record.recipient),
            "attempt": record.attempt,
            "host": record.host,
            "reply": some(&record.reply).filter(|_| event.kind != Kind::Attempted),
            "tls": some(&record.tls),
            "inDoubt": record.in_doubt,
            "tags": event.private.tags,
            "metadata": metadata.collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // Computed with Python's hmac module.
        let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = "{\"test\": 2432232314}";
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_event_is_tried_as_often_as_there_are_waits_and_once_more() {
        let event = crate::api::event::tests_event();
        let mut webhook = Webhook {
            id: WebhookId(storage::Id([1; 16])),
            org: storage::OrgId(storage::Id([2; 16])),
            url: "https://a.example/".into(),
            kinds: Vec::new(),
            sealed_secret: Vec::new(),
            enabled: true,
            created: Timestamp(0),
            position: Position::start().to_string(),
            attempts: 0,
            given_up: 0,
            next_try: Timestamp(0),
            leased: Timestamp(0),
            last_error: None,
            last_success: None,
        };
        for wait in WAITS_SECS {
            webhook = after(&webhook, &event, Outcome::Failed("no\r\nanswer".into()), Timestamp(1_000));
            assert_eq!(webhook.next_try, Timestamp(1_000 + wait as i64 * 1_000));
            assert_eq!(webhook.position, Position::start().to_string(), "the event waits");
            assert_eq!(webhook.last_error.as_deref(), Some("noanswer"));
        }
        let given_up = after(&webhook, &event, Outcome::Failed("no".into()), Timestamp(1_000));
        assert_eq!((given_up.given_up, given_up.attempts), (1, 0));
        assert_eq!(
            given_up.position,
            event.position.to_string(),
            "the next one is not kept waiting for ever"
        );
        let taken = after(&webhook, &event, Outcome::Taken, Timestamp(9));
        assert_eq!(
            (taken.position, taken.attempts, taken.last_success),
            (event.position.to_string(), 0, Some(Timestamp(9)))
        );
        assert!(!after(&webhook, &event, Outcome::Gone, Timestamp(9)).enabled);
    }
}
