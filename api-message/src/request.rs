//! What somebody asks to be sent, as it was asked for.

use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::Timestamp;

/// A request to send one e-mail. Nothing in it has been looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The author, `local@domain` or `Name <local@domain>`.
    pub from: String,
    /// Recipients that everybody sees.
    pub to: Vec<String>,
    /// The same, for information.
    pub cc: Vec<String>,
    /// Recipients that nobody else sees.
    pub bcc: Vec<String>,
    /// Where answers go.
    pub reply_to: Vec<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The body as plain text.
    pub text: Option<String>,
    /// The body as HTML.
    pub html: Option<String>,
    /// Further header fields, in order.
    pub headers: Vec<Pair>,
    /// Files, and parts that the HTML shows.
    pub attachments: Vec<Attachment>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What the caller wants to know when something becomes of it.
    pub metadata: Vec<Pair>,
    /// Not to be sent before.
    pub send_at: Option<Timestamp>,
    /// Every hop must use TLS that it can verify (RFC 8689).
    pub require_tls: bool,
    /// How a reader leaves the list.
    pub unsubscribe: Option<Unsubscribe>,
    /// What subject and bodies are made of instead.
    pub template: Option<TemplateUse>,
}

/// A name and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Pair {
    /// A pair.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Pair {
        Pair { name: name.into(), value: value.into() }
    }
}

/// A file, or a part that the HTML shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Its name for people.
    pub filename: Option<String>,
    /// Media type with its parameters; `application/octet-stream` when absent.
    pub content_type: Option<String>,
    /// With it the part is shown where the HTML says `cid:` and this.
    pub content_id: Option<String>,
    /// The decoded octets.
    pub content: Vec<u8>,
}

/// Ways to leave a list (RFC 2369 §3.2, RFC 8058).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribe {
    /// An `https` address. With `one_click` a POST to it is enough.
    pub url: Option<String>,
    /// An address to write to.
    pub mailto: Option<String>,
    /// The `url` takes `List-Unsubscribe=One-Click` by POST (RFC 8058 §3.1).
    pub one_click: bool,
}

/// A template and what is put into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateUse {
    /// Its ID.
    pub id: String,
    /// Its version; the newest when absent.
    pub version: Option<u32>,
    /// The variables, as JSON in one fixed form.
    pub variables: String,
}
