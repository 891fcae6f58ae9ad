//! Types of the schema that are answered.

use async_graphql::{Enum, ID, InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value};
use protocol_core::Timestamp;
use storage::{DeliveryRecord, EmailRecipientKind};

use crate::api::emails::{RecipientStory, State, Status, Story};
use crate::api::event::{Event, Kind};
use crate::api::time;

/// A time, by RFC 3339: `2026-02-10T12:00:00Z`. Answers are in UTC, with milliseconds.
pub struct DateTime(pub Timestamp);

#[Scalar(name = "DateTime")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => match time::parse(text) {
                Some(time) => Ok(DateTime(time)),
                None => Err(InputValueError::custom("a time is written as 2026-02-10T12:00:00Z")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(time::write(self.0))
    }
}

/// Any JSON value.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub struct Json(pub serde_json::Value);

#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        value.into_json().map(Json).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// Where an e-mail stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "State")]
pub enum EmailState {
    /// It waits for its time.
    Scheduled,
    /// The outcome for some recipient is open.
    Queued,
    /// Every recipient has it.
    Delivered,
    /// Some recipients have it, the others never will.
    PartiallyDelivered,
    /// No recipient has it, and none will.
    Failed,
    /// It was given up before any recipient had it.
    Cancelled,
}

/// Where the e-mail stands for one recipient.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Status")]
pub enum RecipientState {
    /// Not tried yet.
    Queued,
    /// Tried, and to be tried again.
    Deferred,
    /// The next server, or the mailbox here, has it.
    Delivered,
    /// It will not arrive.
    Bounced,
    /// Mail to it is held back.
    Suppressed,
    /// It was delivered, and the recipient complained.
    Complained,
    /// It was given up before it was sent.
    Cancelled,
}

/// How a recipient is named in the message.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "EmailRecipientKind")]
pub enum RecipientKind {
    /// In the To field.
    To,
    /// In the Cc field.
    Cc,
    /// Nowhere.
    Bcc,
}

/// What happened.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Kind")]
pub enum EventType {
    /// The e-mail was accepted.
    Accepted,
    /// It was queued for a destination.
    Queued,
    /// It was tried; what came of it is an event of its own.
    Attempted,
    /// The recipient has it.
    Delivered,
    /// An attempt failed; another one follows.
    Deferred,
    /// It will not arrive.
    Bounced,
    /// Mail to the recipient is held back.
    Suppressed,
    /// The recipient complained.
    Complained,
    /// It was given up before it was sent.
    Cancelled,
    /// The time before which it is not sent was changed.
    Rescheduled,
    /// It was held, by an administrator or because its attempts end in crashes.
    Held,
    /// An administrator let it go on.
    Released,
    /// A message arrived in a mailbox here that has a webhook.
    Received,
}

/// A name and a value.
#[derive(SimpleObject)]
pub struct NameValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Something that happened to an e-mail for one recipient.
#[derive(SimpleObject)]
pub struct DeliveryAttempt {
    /// What happened.
    pub r#type: EventType,
    /// When.
    pub at: DateTime,
    /// Number of the attempt, from 1; 0 for what was no attempt.
    pub attempt: u32,
    /// The host that was spoken with, and its address.
    pub host: Option<String>,
    /// What it said, or why it came to nothing.
    pub reply: String,
    /// What the connection showed of TLS: the policy, the version and cipher, and what the certificate was worth.
    pub tls: Option<String>,
    /// The connection broke when the message had been sent and the answer had not come: it may have arrived.
    pub in_doubt: bool,
}

/// A recipient and what became of the e-mail for it.
#[derive(SimpleObject)]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// How the message names it.
    pub kind: RecipientKind,
    /// Where it stands.
    pub state: RecipientState,
    /// What was said last.
    pub reply: Option<String>,
    /// Everything that happened, by time.
    pub attempts: Vec<DeliveryAttempt>,
}

/// Something that happened to an e-mail.
#[derive(SimpleObject)]
pub struct DeliveryEvent {
    /// Its ID, and where it stands: events behind it are those that happened later. The same event always has the same.
    pub id: ID,
    /// What happened.
    pub r#type: EventType,
    /// When.
    pub at: DateTime,
    /// To which e-mail. Of a message that arrived: which one, by its own ID.
    pub email_id: ID,
    /// For which recipient; none when it is about the e-mail as a whole, or a destination. Of a message that arrived:
    /// the mailbox's address.
    pub recipient: Option<String>,
    /// Number of the attempt, from 1; 0 for what was no attempt.
    pub attempt: u32,
    /// The host that was spoken with, and its address.
    pub host: Option<String>,
    /// What it said, or why it came to nothing.
    pub reply: Option<String>,
    /// What the connection showed of TLS.
    pub tls: Option<String>,
    /// It may have arrived: the connection broke before the answer came.
    pub in_doubt: bool,
    /// Words of the e-mail.
    pub tags: Vec<String>,
    /// Names and values that were given with the e-mail.
    pub metadata: Vec<NameValue>,
}

impl From<Event> for DeliveryEvent {
    fn from(event: Event) -> DeliveryEvent {
        let private = event.private().cloned().unwrap_or_default();
        let Event { position, kind, email, record, .. } = event;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let pair = |(name, value): &(String, String)| NameValue { name: name.clone(), value: value.clone() };
        DeliveryEvent {
            id: ID(position.to_string()),
            r#type: kind.into(),
            at: DateTime(Timestamp(record.at_ms)),
            email_id: ID(email.to_string()),
            recipient: some(record.recipient),
            attempt: record.attempt,
            host: record.host,
            // What came of an attempt is told by the event behind it.
            reply: some(record.reply).filter(|_| kind != Kind::Attempted),
            tls: some(record.tls),
            in_doubt: record.in_doubt,
            metadata: private.metadata.iter().map(pair).collect(),
            tags: private.tags,
        }
    }
}

/// An e-mail that was accepted.
#[derive(SimpleObject)]
pub struct Email {
    /// Its ID, as `sendEmail` answered it.
    pub id: ID,
    /// Where it stands.
    pub state: EmailState,
    /// The address it is sent from.
    pub from: String,
    /// The subject.
    pub subject: String,
    /// Each recipient, with what became of the e-mail for it.
    pub recipients: Vec<Recipient>,
    /// Words it can be found by.
    pub tags: Vec<String>,
    /// Names and values that were given with it.
    pub metadata: Vec<NameValue>,
    /// When it was accepted.
    pub created_at: DateTime,
    /// The time before which it was not to be sent.
    pub send_at: Option<DateTime>,
    /// When it is tried next.
    pub next_attempt_at: Option<DateTime>,
    /// Octets of the message.
    pub size: u64,
    /// The Message-ID field, with its angle brackets.
    pub message_id: String,
    /// The key it was sent with.
    pub api_key_id: Option<ID>,
    /// It was sent with a test key, and never left.
    pub test: bool,
}

impl From<DeliveryRecord> for DeliveryAttempt {
    fn from(record: DeliveryRecord) -> DeliveryAttempt {
        DeliveryAttempt {
            r#type: Kind::of(&record).into(),
            at: DateTime(Timestamp(record.at_ms)),
            attempt: record.attempt,
            host: record.host,
            reply: record.reply,
            tls: Some(record.tls).filter(|tls| !tls.is_empty()),
            in_doubt: record.in_doubt,
        }
    }
}

impl From<RecipientStory> for Recipient {
    fn from(story: RecipientStory) -> Recipient {
        Recipient {
            address: story.address,
            kind: story.kind.into(),
            state: story.status.into(),
            reply: story.records.last().map(|record| record.reply.clone()),
            attempts: story.records.into_iter().map(DeliveryAttempt::from).collect(),
        }
    }
}

impl From<Story> for Email {
    fn from(story: Story) -> Email {
        let Story { email, private, state, recipients, next_attempt } = story;
        let metadata = private.metadata.into_iter().map(|(name, value)| NameValue { name, value });
        Email {
            id: ID(email.id.to_string()),
            state: state.into(),
            from: email.open.sender,
            subject: private.subject,
            recipients: recipients.into_iter().map(Recipient::from).collect(),
            tags: private.tags,
            metadata: metadata.collect(),
            created_at: DateTime(email.open.created),
            send_at: email.open.send_at.map(DateTime),
            next_attempt_at: next_attempt.map(DateTime),
            size: email.open.size,
            message_id: email.open.message_id,
            api_key_id: email.open.key.map(|key| ID(key.to_string())),
            test: email.open.test,
        }
    }
}
