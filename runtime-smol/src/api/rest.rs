//! The same over REST, for those who would rather not write documents: `POST /v1/emails`, `GET /v1/emails/{id}`,
//! `POST /v1/emails/{id}/cancel`; and messages that arrived, `GET /v1/messages/{mailbox}/{id}`.

use std::sync::Arc;

use serde_json::{Value, json};
use storage::{EmailRecipientKind, MailboxId, MessageId};
use tide::{Request, Response, StatusCode};
use tracing::Instrument;

use super::auth::Scope;
use super::emails::{self, RecipientStory, State, Status, Story};
use super::error::ApiError;
use super::event::Kind;
use super::input::SendEmailInput;
use super::send::send;
use super::{Api, BODY_MAX, NOSNIFF, SMALL_BODY_MAX, body, stream, time};
use crate::metrics::METRICS;

/// The field that carries a key of idempotency; it wins over the one in the body when both are there and equal.
const KEY_FIELD: &str = "idempotency-key";

pub(super) fn mount<S: Clone + Send + Sync + 'static>(api: &Arc<Api>, server: &mut tide::Server<S>) {
    let this = api.clone();
    server.at("/v1/emails").post(move |mut request: Request<S>| {
        let api = this.clone();
        async move { told(api.post_email(&mut request).await) }
    });
    let this = api.clone();
    server.at("/v1/emails/:id").get(move |request: Request<S>| {
        let api = this.clone();
        async move { told(api.one_email(&request).await) }
    });
    let this = api.clone();
    server.at("/v1/emails/:id/cancel").post(move |request: Request<S>| {
        let api = this.clone();
        async move { told(api.cancel_email(&request).await) }
    });
    let this = api.clone();
    server.at("/v1/messages/:mailbox/:id").get(move |request: Request<S>| {
        let api = this.clone();
        async move {
            match api.message(&request).await {
                Ok(response) => {
                    METRICS.api_requests.add("OK");
                    Ok(response)
                }
                Err(error) => told(Err(error)),
            }
        }
    });
    server.at("/v1/openapi.json").get(|_| async {
        let response = Response::builder(StatusCode::Ok).body(include_str!("openapi.json"));
        Ok(response.content_type(tide::http::mime::JSON).build())
    });
}

impl Api {
    async fn post_email<S>(&self, request: &mut Request<S>) -> Result<Value, ApiError> {
        let caller = self.caller(request).await?;
        let limit = if caller.scopes.send { BODY_MAX } else { SMALL_BODY_MAX };
        let field = request.header(KEY_FIELD).map(|values| values.last().as_str().to_owned());
        let mut input: SendEmailInput = body::read_json(request, limit, &self.large).await?.parse()?;
        if let Some(field) = field {
            if input.idempotency_key.as_ref().is_some_and(|key| *key != field) {
                let message = "idempotencyKey: the field and the body name different keys";
                return Err(ApiError::argument("idempotencyKey", "CONFLICT", message));
            }
            input.idempotency_key = Some(field);
        }
        let (email, key) = input.into_request(None)?;
        let span = caller.span("POST /v1/emails");
        let id = send(&self.app, &caller, email, key).instrument(span).await?;
        Ok(json!({"id": id.to_string()}))
    }

    async fn one_email<S>(&self, request: &Request<S>) -> Result<Value, ApiError> {
        let caller = self.caller(request).await?;
        let id = request.param("id").unwrap_or_default();
        let span = caller.span("GET /v1/emails/{id}");
        emails::find(&self.app, &caller, id).instrument(span).await.map(|story| email(&story))
    }

    /// A message that arrived, as it is stored. Another organisation's, another mailbox's, and one that never was are
    /// not told apart.
    async fn message<S>(&self, request: &Request<S>) -> Result<Response, ApiError> {
        let caller = self.caller(request).await?;
        caller.needs(Scope::Read)?;
        let param = |name| request.param(name).unwrap_or_default();
        let mailbox = MailboxId::parse(param("mailbox")).ok_or_else(ApiError::not_found)?;
        let message = MessageId::parse(param("id")).ok_or_else(ApiError::not_found)?;
        if !emails::may_see(&caller, Some(mailbox)) {
            return Err(ApiError::not_found());
        }
        let span = caller.span("GET /v1/messages/{mailbox}/{id}");
        let object = self.app.storage.open_message(caller.org, mailbox, message).instrument(span).await?;
        let len = usize::try_from(object.len()).ok();
        let body = stream::body(object, len);
        let response = Response::builder(StatusCode::Ok).body(body).content_type("message/rfc822");
        // What somebody sent is never shown as a page of this server's.
        let response = response.header("content-disposition", "attachment; filename=\"message.eml\"");
        Ok(response.header("cache-control", "no-store").header(NOSNIFF.0, NOSNIFF.1).build())
    }

    async fn cancel_email<S>(&self, request: &Request<S>) -> Result<Value, ApiError> {
        let caller = self.caller(request).await?;
        let id = request.param("id").unwrap_or_default();
        let span = caller.span("POST /v1/emails/{id}/cancel");
        emails::cancel(&self.app, &caller, id).instrument(span).await.map(|story| email(&story))
    }
}

fn told(outcome: Result<Value, ApiError>) -> tide::Result {
    match outcome {
        Ok(value) => {
            METRICS.api_requests.add("OK");
            super::json(StatusCode::Ok, serde_json::to_vec(&value)?)
        }
        Err(error) => {
            let shown = json!({"error": {
                "code": error.code.name(), "message": error.message,
                "argument": error.argument, "reason": error.reason,
            }});
            super::refused(&error, serde_json::to_vec(&shown)?)
        }
    }
}

fn email(story: &Story) -> Value {
    let (open, private) = (&story.email.open, &story.private);
    let metadata = private.metadata.iter().map(|(name, value)| json!({"name": name, "value": value}));
    json!({
        "id": story.email.id.to_string(),
        "state": state(story.state),
        "from": open.sender,
        "subject": private.subject,
        "recipients": story.recipients.iter().map(recipient).collect::<Vec<_>>(),
        "tags": private.tags,
        "metadata": metadata.collect::<Vec<_>>(),
        "createdAt": time::write(open.created),
        "sendAt": open.send_at.map(time::write),
        "nextAttemptAt": story.next_attempt.map(time::write),
        "size": open.size,
        "messageId": open.message_id,
        "apiKeyId": open.key.map(|key| key.to_string()),
        "test": open.test,
    })
}

fn recipient(story: &RecipientStory) -> Value {
    let attempts = story.records.iter().map(|record| {
        json!({
            "type": Kind::of(record).name(),
            "at": time::write(protocol_core::Timestamp(record.at_ms)),
            "attempt": record.attempt,
            "host": record.host,
            "reply": record.reply,
            "tls": Some(&record.tls).filter(|tls| !tls.is_empty()),
            "inDoubt": record.in_doubt,
        })
    });
    json!({
        "address": story.address,
        "kind": match story.kind {
            EmailRecipientKind::To => "TO",
            EmailRecipientKind::Cc => "CC",
            EmailRecipientKind::Bcc => "BCC",
        },
        "state": status(story.status),
        "reply": story.records.last().map(|record| &record.reply),
        "attempts": attempts.collect::<Vec<_>>(),
    })
}

fn state(state: State) -> &'static str {
    match state {
        State::Scheduled => "SCHEDULED",
        State::Queued => "QUEUED",
        State::Delivered => "DELIVERED",
        State::PartiallyDelivered => "PARTIALLY_DELIVERED",
        State::Failed => "FAILED",
        State::Cancelled => "CANCELLED",
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Queued => "QUEUED",
        Status::Deferred => "DEFERRED",
        Status::Delivered => "DELIVERED",
        Status::Bounced => "BOUNCED",
        Status::Suppressed => "SUPPRESSED",
        Status::Complained => "COMPLAINED",
        Status::Cancelled => "CANCELLED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names of an input's fields in the schema of GraphQL.
    fn fields_of(input: &str) -> BTreeSet<String> {
        let sdl = crate::api::graphql::schema().sdl();
        let body = sdl.split(&format!("input {input} {{\n")).nth(1).and_then(|rest| rest.split("\n}").next());
        let mut described = false;
        let mut names = BTreeSet::new();
        for line in body.unwrap_or_default().lines().map(str::trim) {
            match line.starts_with("\"\"\"") {
                true => described ^= line.matches("\"\"\"").count() == 1,
                false if described => {}
                false => names.extend(line.split_once(':').map(|(name, _)| name.to_owned())),
            }
        }
        names
    }

    #[test]
    fn the_document_of_rest_names_what_graphql_takes() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let properties = &document["components"]["schemas"]["SendEmail"]["properties"];
        let names: BTreeSet<String> = properties.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, fields_of("SendEmailInput"));
        assert!(names.contains("idempotencyKey") && names.len() > 15);
        for (outer, input) in [("attachments", "AttachmentInput"), ("headers", "NameValueInput")] {
            let items = &properties[outer]["items"];
            let items = match items["$ref"].as_str() {
                Some(_) => &document["components"]["schemas"]["NameValue"],
                None => items,
            };
            let names: BTreeSet<String> = items["properties"].as_object().unwrap().keys().cloned().collect();
            // A file beside the document is of GraphQL's requests in several parts.
            let taken = fields_of(input).into_iter().filter(|name| name != "file").collect();
            assert_eq!(names, taken);
        }
        // What serde reads is what the schema of GraphQL says: an unknown member is refused.
        let read = |json: &str| serde_json::from_str::<SendEmailInput>(json);
        assert!(
            read(r#"{"from": "a@b.example", "textBody": "x", "sendAt": "2026-02-10T12:00:00Z"}"#).is_ok()
        );
        assert!(read(r#"{"from": "a@b.example", "text": "x"}"#).is_err());
        assert!(read(r#"{"from": "a@b.example", "attachments": [{"content": "eA=="}]}"#).is_ok());
        assert!(read(r#"{"from": "a@b.example", "attachments": [{"file": null}]}"#).is_err());
        assert!(read(r#"{"from": "a@b.example", "sendAt": "tomorrow"}"#).is_err());
    }
}
