//! What is told of an event.

use protocol_core::Timestamp;
use protocol_core::message::header::{Fields, header_len, unfold};
use serde_json::{Value, json};
use storage::{EmailPrivate, MailboxId, OrgId, Webhook};

use crate::api::event::{About, Event, Kind};
use crate::api::time;
use crate::app::App;

/// Octets of a header that are told; what goes on behind them is at the message's address.
const HEADER_MAX: usize = 64 * 1024;

/// The body of an event, before it is signed.
pub async fn payload(app: &App, webhook: &Webhook, event: &Event) -> Value {
    let data = match &event.about {
        About::Email(_, private) => sent(event, private),
        About::Message(mailbox, _) => received(app, webhook.org, *mailbox, event).await,
    };
    json!({
        "type": format!("email.{}", event.kind.name().to_lowercase()),
        "timestamp": time::write(Timestamp(event.record.at_ms)),
        "data": data,
    })
}

fn sent(event: &Event, private: &EmailPrivate) -> Value {
    let record = &event.record;
    let metadata = private.metadata.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "eventId": event.position.to_string(),
        "emailId": event.email.to_string(),
        "recipient": some(&record.recipient),
        "attempt": record.attempt,
        "host": record.host,
        "reply": some(&record.reply).filter(|_| event.kind != Kind::Attempted),
        "tls": some(&record.tls),
        "inDoubt": record.in_doubt,
        "tags": private.tags,
        "metadata": metadata.collect::<Vec<_>>(),
    })
}

/// Of what arrived: where it is, and its header. What was removed meanwhile, and what the server cannot read, has none.
async fn received(app: &App, org: OrgId, mailbox: MailboxId, event: &Event) -> Value {
    let path = format!("/v1/messages/{mailbox}/{}", event.email);
    let (size, headers) = match header(app, org, mailbox, event).await {
        Ok((size, header)) => (Some(size), Some(header)),
        Err(error) => {
            tracing::debug!(%error, message = %event.email, "a message that arrived cannot be read");
            (None, None)
        }
    };
    json!({
        "eventId": event.position.to_string(),
        "messageId": event.email.to_string(),
        "mailbox": event.record.recipient,
        "size": size,
        "headers": headers,
        "path": path,
        "url": base(app).map(|base| base + &path),
    })
}

async fn header(
    app: &App,
    org: OrgId,
    mailbox: MailboxId,
    event: &Event,
) -> storage::Result<(u64, Vec<Value>)> {
    let mut object = app.storage.open_message(org, mailbox, event.email).await?;
    let wanted = usize::try_from(object.len()).unwrap_or(usize::MAX).min(HEADER_MAX);
    let mut octets = Vec::with_capacity(wanted);
    while octets.len() < wanted {
        let piece = object.read(octets.len() as u64, wanted - octets.len()).await?;
        if piece.is_empty() {
            break;
        }
        octets.extend_from_slice(piece);
    }
    octets.truncate(header_len(&octets));
    Ok((object.len(), fields(&octets)))
}

/// The fields of a header on one line each, as they stand: encoded words are the reader's to decode.
fn fields(header: &[u8]) -> Vec<Value> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let named = Fields::new(header).filter(|field| field.well_formed);
    named.map(|field| json!({"name": text(field.name), "value": text(&unfold(field.value))})).collect()
}

/// Where this server answers; over HTTPS where it does.
fn base(app: &App) -> Option<String> {
    let (ports, host) = (&app.config.ports, &app.config.server.hostname);
    match (ports.https, ports.http) {
        (Some(443), _) => Some(format!("https://{host}")),
        (Some(port), _) => Some(format!("https://{host}:{port}")),
        (None, Some(port)) => Some(format!("http://{host}:{port}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_told_field_by_field() {
        let header =
            b"From: a@b.example\r\nSubject: =?utf-8?q?x?=\r\n  y\r\nnot a field\r\nX-B: \xff\r\n\r\n";
        let want = json!([
            {"name": "From", "value": "a@b.example"},
            {"name": "Subject", "value": "=?utf-8?q?x?=  y"},
            {"name": "X-B", "value": "\u{fffd}"},
        ]);
        assert_eq!(Value::from(fields(header)), want);
        assert_eq!(fields(b""), Vec::<Value>::new());
    }
}
