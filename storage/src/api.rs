//! What the transactional API keeps: e-mails, keys, and the log of what became of what was sent. Plain data.

use protocol_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::types::{
    ApiKeyId, DeliveryRecord, JobEvent, JobId, MailboxId, MessageId, OrgId, RecipientState, TemplateId,
    WebhookId,
};

/// Times as milliseconds since the epoch.
pub(crate) mod millis {
    use protocol_core::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp)
    }

    /// The same for a time that may be absent.
    pub mod optional {
        use super::*;

        pub fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => to.serialize_some(&time.0),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<i64>::deserialize(from)?.map(Timestamp))
        }
    }
}

// ---- keys -------------------------------------------------------------------------------------------------

/// What a key lets its bearer do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scopes {
    /// Send, schedule and cancel e-mails.
    pub send: bool,
    /// See e-mails and what became of them.
    pub read: bool,
    /// Change what belongs to the organisation.
    pub admin: bool,
    /// Make and remove organisations, and say what they may send: for whoever runs the installation.
    pub operator: bool,
    /// Read a mailbox over IMAP. This and what follows make a key an app password: its secret stands for the password
    /// of its mailbox there and nowhere else.
    pub imap: bool,
    /// Submit mail over SMTP.
    pub smtp: bool,
    /// Calendars, contacts and files.
    pub dav: bool,
}

/// The names of all scopes.
pub const SCOPE_NAMES: [&str; 7] = ["send", "read", "admin", "operator", "imap", "smtp", "dav"];

impl Scopes {
    /// The names of those that are given.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let Scopes { send, read, admin, operator, imap, smtp, dav } = self;
        let given = [send, read, admin, operator, imap, smtp, dav];
        given.into_iter().zip(SCOPE_NAMES).filter(|(given, _)| *given).map(|(_, name)| name)
    }

    /// Whether it is good for the API at all.
    pub fn of_api(self) -> bool {
        self.send || self.read || self.admin || self.operator
    }

    /// Whether it stands for a password.
    pub fn of_protocols(self) -> bool {
        self.imap || self.smtp || self.dav
    }

    /// Adds a scope by its name; whether there is one of that name.
    pub fn add(&mut self, name: &str) -> bool {
        match name {
            "send" => self.send = true,
            "read" => self.read = true,
            "admin" => self.admin = true,
            "operator" => self.operator = true,
            "imap" => self.imap = true,
            "smtp" => self.smtp = true,
            "dav" => self.dav = true,
            _ => return false,
        }
        true
    }
}

/// A key of the API. The secret itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its ID, which is a part of the secret and tells nothing.
    pub id: ApiKeyId,
    /// Whose it is.
    pub org: OrgId,
    /// The mailbox that it acts for; none: the organisation.
    pub mailbox: Option<MailboxId>,
    /// What people call it.
    pub name: String,
    /// What it lets its bearer do.
    pub scopes: Scopes,
    /// What is sent with it is never delivered.
    pub test: bool,
    /// Domains it may send for, A-labels. With no domains and no addresses: all of its organisation's.
    pub domains: Vec<String>,
    /// Canonical addresses it may send as, besides those domains.
    pub addresses: Vec<String>,
    /// Networks it may be used from, as written (`192.0.2.0/24`); none: from everywhere.
    pub networks: Vec<String>,
    /// Keyed hash of the secret.
    pub hash: [u8; 32],
    /// When it was made.
    #[serde(with = "millis")]
    pub created: Timestamp,
    /// From then on it is worth nothing.
    #[serde(with = "millis::optional")]
    pub expires: Option<Timestamp>,
    /// When it was used last, to within [`LAST_USE_STEP_SECS`].
    #[serde(with = "millis::optional")]
    pub last_used: Option<Timestamp>,
}

/// How often the last use of a key is written down at most.
pub const LAST_USE_STEP_SECS: i64 = 60;

/// What is wanted of a new key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewApiKey {
    pub mailbox: Option<MailboxId>,
    pub name: String,
    pub scopes: Scopes,
    pub test: bool,
    pub domains: Vec<String>,
    pub addresses: Vec<String>,
    pub networks: Vec<String>,
    pub expires: Option<Timestamp>,
}

// ---- e-mails ----------------------------------------------------------------------------------------------

/// Which field of the message names a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum EmailRecipientKind {
    To,
    Cc,
    Bcc,
}

/// A recipient of an e-mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailRecipient {
    /// As it goes into commands. What is told of it is told under this address.
    pub address: String,
    /// How it is named in the message.
    pub kind: EmailRecipientKind,
}

/// An e-mail that was accepted through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// Its ID; its jobs are numbered from it ([`JobId::of`]).
    pub id: MessageId,
    /// Whose it is.
    pub org: OrgId,
    /// What can be read in its row.
    pub open: EmailOpen,
    /// [`EmailPrivate`], sealed with the organisation's key.
    pub sealed: Vec<u8>,
}

/// What an e-mail's row says in clear: addresses, times, sizes and IDs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailOpen {
    /// The key it was sent with; none: with a mailbox's password.
    pub key: Option<ApiKeyId>,
    /// The mailbox that sent it, when it was one.
    pub mailbox: Option<MailboxId>,
    /// Reverse-path and author.
    pub sender: String,
    /// Each once.
    pub recipients: Vec<EmailRecipient>,
    /// When it was accepted.
    #[serde(with = "millis")]
    pub created: Timestamp,
    /// Not to be sent before.
    #[serde(with = "millis::optional")]
    pub send_at: Option<Timestamp>,
    /// How many jobs it has, or had.
    pub jobs: u16,
    /// Octets of the message.
    pub size: u64,
    /// With its brackets.
    pub message_id: String,
    /// Never delivered.
    pub test: bool,
    /// From then on the row can go.
    #[serde(with = "millis")]
    pub expires: Timestamp,
    /// The trace that it is a part of, as in [`NewJob`](crate::NewJob).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// What an e-mail's row says to its organisation only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailPrivate {
    /// The subject.
    pub subject: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Names and values of the sender's own.
    pub metadata: Vec<(String, String)>,
}

/// An e-mail to be stored with its acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEmail {
    /// Its ID.
    pub id: MessageId,
    /// Whose it is.
    pub org: OrgId,
    /// What can be read in its row.
    pub open: EmailOpen,
    /// What is sealed.
    pub private: EmailPrivate,
}

/// A place in the list of an organisation's e-mails, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailPlace {
    /// When it was accepted.
    pub created: Timestamp,
    /// Its ID.
    pub id: MessageId,
}

// ---- the log ----------------------------------------------------------------------------------------------

/// An entry of an organisation's log: what happened to an e-mail, numbered without gaps in the order in which it
/// became durable. Whoever has read up to a number has missed nothing before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Whose log.
    pub org: OrgId,
    /// From 1.
    pub number: u64,
    /// Which e-mail; of what arrived, which stored message.
    pub email: MessageId,
    /// Which of its jobs; one that there never was for what no job did. Of what arrived, the mailbox, under its ID.
    pub job: JobId,
    /// What happened.
    pub record: DeliveryRecord,
    /// Of what arrived: the trace of its reception, as in [`NewJob`](crate::NewJob).
    pub trace: Option<String>,
}

impl LogRow {
    /// That a message arrived in a mailbox of an organisation; the address is the mailbox's.
    pub fn arrived(
        org: OrgId,
        (mailbox, address): (MailboxId, &str),
        message: MessageId,
        at: Timestamp,
        trace: Option<String>,
    ) -> LogRow {
        let record = DeliveryRecord {
            recipient: address.to_owned(),
            state: RecipientState::Delivered,
            host: None,
            reply: String::new(),
            tls: String::new(),
            attempt: 0,
            in_doubt: false,
            at_ms: at.0,
            event: JobEvent::Received,
        };
        LogRow { org, number: 0, email: message, job: JobId(mailbox.0), record, trace }
    }

    /// The mailbox in which a message arrived; none when the entry is about something else.
    pub fn mailbox(&self) -> Option<MailboxId> {
        (self.record.event == JobEvent::Received).then_some(MailboxId(self.job.0))
    }
}

// ---- webhooks ---------------------------------------------------------------------------------------------

/// Where an organisation's events are sent, and how far that has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its ID.
    pub id: WebhookId,
    /// Whose events.
    pub org: OrgId,
    /// An `https` address.
    pub url: String,
    /// Kinds of events, by name; none: all.
    pub kinds: Vec<String>,
    /// Only of what arrives in this mailbox; none: of what the organisation sends, and of what arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<MailboxId>,
    /// The secret that signs, sealed with the master key.
    pub sealed_secret: Vec<u8>,
    /// Nothing is sent while it is not.
    pub enabled: bool,
    /// When it was made.
    #[serde(with = "millis")]
    pub created: Timestamp,
    /// The event that was taken last, by its ID.
    pub position: String,
    /// Tries of the next event so far.
    pub attempts: u32,
    /// Events that were given up.
    pub given_up: u64,
    /// Not to be tried before.
    #[serde(with = "millis")]
    pub next_try: Timestamp,
    /// Somebody is at it until then.
    #[serde(with = "millis")]
    pub leased: Timestamp,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When an event was taken last.
    #[serde(with = "millis::optional")]
    pub last_success: Option<Timestamp>,
}

/// What is changed about a webhook; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WebhookEdit {
    pub url: Option<String>,
    pub kinds: Option<Vec<String>>,
    pub enabled: Option<bool>,
    /// Events behind this one are sent (again).
    pub position: Option<String>,
    pub sealed_secret: Option<Vec<u8>>,
}

// ---- templates --------------------------------------------------------------------------------------------

/// One version of a template. Versions are never changed: what was sent with one can be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its ID, the same for all versions.
    pub id: TemplateId,
    /// Whose it is.
    pub org: OrgId,
    /// From 1.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// The body as text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// What can be put into it.
    pub variables: Vec<TemplateVariable>,
    /// When this version was made.
    #[serde(with = "millis")]
    pub created: Timestamp,
}

/// A variable of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateVariable {
    /// Its name.
    pub name: String,
    /// What it holds: `string`, `number`, `boolean`, `list` or `object`.
    pub kind: String,
    /// It may be left out.
    pub optional: bool,
}
