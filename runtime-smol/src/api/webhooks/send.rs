//! Events on their way: what is due is claimed, sent in order, and written down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_io::Timer;
use async_lock::Semaphore;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_lite::future;
use hmac::{Hmac, Mac};
use protocol_core::Timestamp;
use sha2::Sha256;
use storage::{OrgId, Purpose, Webhook};
use tracing::{Instrument, Span};

use super::payload::payload;
use super::target;
use crate::api::event::{About, Event, Position};
use crate::api::events::Reader;
use crate::app::App;
use crate::https::{Https, Limits};
use crate::metrics::METRICS;
use crate::task;
use crate::telemetry::{self, TARGET};

/// How often webhooks that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long after something was written down here they are looked for.
const LOOK_LEAST: Duration = Duration::from_millis(100);
/// How long a node may be at a webhook without a word.
const LEASE: Duration = Duration::from_secs(60);
/// Webhooks that one node is at at once.
const AT_ONCE: usize = 32;
/// Of these, of one organisation: addresses that take their time are their owner's trouble only.
const OF_ORG_AT_ONCE: usize = 4;
/// What an address may take to answer, and what it may answer (HG11).
const LIMITS: Limits = Limits { octets: 64 * 1024, time: Duration::from_secs(10) };
/// Waits before the second and every further try of an event; after the last one it is given up.
const WAITS_SECS: [u64; 9] = [5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200];

/// Sends events for as long as the server runs.
pub async fn run(app: Arc<App>) {
    let allow_private = app.config.webhook_allow_private_networks;
    let https = Https::new(app.resolver.clone(), app.client_tls.clone(), allow_private);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let busy = Busy::default();
    loop {
        let news = app.logged.listen();
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
            let Some(turn) = busy.enter(webhook.org) else { continue };
            let Some(place) = places.try_acquire_arc() else { break };
            let (app, https) = (app.clone(), https.clone());
            task::spawn(async move {
                if let Err(error) = tend(&app, &https, &webhook).await {
                    tracing::warn!(webhook = %webhook.id, %error, "a webhook could not be tended");
                }
                drop((place, turn));
            })
            .detach();
        }
        let again = async {
            let elsewhere = async {
                Timer::after(LOOK).await;
            };
            let here = async {
                news.await;
                Timer::after(LOOK_LEAST).await;
            };
            future::or(elsewhere, here).await;
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

/// How many webhooks of each organisation this node is at.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<HashMap<OrgId, usize>>>);

/// A webhook's turn among those of its organisation, until it is dropped.
struct Turn(Busy, OrgId);

impl Busy {
    fn enter(&self, org: OrgId) -> Option<Turn> {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let many = busy.entry(org).or_default();
        (*many < OF_ORG_AT_ONCE).then(|| {
            *many += 1;
            Turn(self.clone(), org)
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut busy = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(many) = busy.get_mut(&self.1) {
            *many -= 1;
        }
        busy.retain(|_, many| *many > 0);
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
    let mut reader = Reader::new(app.clone(), claimed.org);
    let mut position = Position::parse(&claimed.position).unwrap_or(position);
    loop {
        let (events, end) = reader.after(position).await?;
        let wanted: Vec<&Event> = events.iter().filter(|event| wants(&claimed, event)).collect();
        for event in wanted {
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

/// A mailbox's webhook is told what arrives there, and nothing else.
fn wants(webhook: &Webhook, event: &Event) -> bool {
    let fits = match (webhook.mailbox, &event.about) {
        (None, _) => true,
        (Some(wanted), About::Message(mailbox, _)) => wanted == *mailbox,
        (Some(_), About::Email(..)) => false,
    };
    fits && (webhook.kinds.is_empty() || webhook.kinds.iter().any(|name| name == event.kind.name()))
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
    let target = match target(&app.config, &webhook.url) {
        Ok(target) => target,
        Err(error) => return Outcome::Failed(error.message),
    };
    let (id, now) = (event.position.to_string(), app.storage.store_now().secs().to_string());
    let body = payload(app, webhook, event).await.to_string();
    let signature = signature(secret, &id, &now, &body);
    let mut fields = vec![
        ("content-type", "application/json"),
        ("webhook-id", id.as_str()),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    let span = span(webhook, event);
    let trace = telemetry::of(&span).or_else(|| event.trace().map(str::to_owned));
    fields.extend(trace.as_deref().map(|trace| ("traceparent", trace)));
    match https.deliver(&target, &fields, body.into_bytes(), LIMITS).instrument(span).await {
        Ok(answer) if (200..300).contains(&answer.status) => Outcome::Taken,
        Ok(answer) if answer.status == 410 => Outcome::Gone,
        // Redirects are not followed: where they lead was not checked.
        Ok(answer) => Outcome::Failed(format!("it answered {}", answer.status)),
        Err(fault) => Outcome::Failed(fault.to_string()),
    }
}

/// A try to hand an event over, in the trace of the e-mail it is about.
fn span(webhook: &Webhook, event: &Event) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "webhook.deliver",
        otel.kind = "client",
        inbox.org = %webhook.org,
        inbox.webhook = %webhook.id,
        inbox.message = %event.email,
        inbox.event = event.kind.name(),
        inbox.attempt = webhook.attempts + 1,
    );
    telemetry::continues(span, event.trace())
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
    fn one_organisation_has_so_many_turns_and_no_more() {
        let (busy, one, other) = (Busy::default(), OrgId(storage::Id([1; 16])), OrgId(storage::Id([2; 16])));
        let turns: Vec<_> = (0..OF_ORG_AT_ONCE).map_while(|_| busy.enter(one)).collect();
        assert_eq!(turns.len(), OF_ORG_AT_ONCE);
        assert!(busy.enter(one).is_none() && busy.enter(other).is_some());
        drop(turns);
        assert!(busy.enter(one).is_some());
    }

    #[test]
    fn an_event_is_tried_as_often_as_there_are_waits_and_once_more() {
        let event = crate::api::event::tests_event();
        let mut webhook = Webhook {
            id: storage::WebhookId(storage::Id([1; 16])),
            org: storage::OrgId(storage::Id([2; 16])),
            url: "https://a.example/".into(),
            kinds: Vec::new(),
            mailbox: None,
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
