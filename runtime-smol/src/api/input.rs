//! What is asked for, in the form that GraphQL and REST share.

use api_message::{Attachment, Pair, Request, TemplateUse, Unsubscribe};
use async_graphql::{Context, ID, InputObject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::error::ApiError;
use super::graphql::{DateTime, Json};
use super::templates::canonical;
use super::time;
use super::upload::Upload;

/// A name and a value.
#[derive(InputObject, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameValueInput {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A file, or a part that the HTML shows.
#[derive(InputObject, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttachmentInput {
    /// Its name for people; needed unless there is a contentId.
    pub filename: Option<String>,
    /// Its media type; application/octet-stream when absent.
    pub content_type: Option<String>,
    /// With it the part is shown where the HTML body says cid: and this ID.
    pub content_id: Option<String>,
    /// The octets, in base64; or file.
    pub content: Option<String>,
    /// A file that comes beside the document; its name and type count when filename and contentType are absent.
    #[serde(skip)]
    pub file: Option<Upload>,
}

/// How a reader leaves the list the e-mail is for (RFC 2369, RFC 8058).
#[derive(InputObject, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnsubscribeInput {
    /// An address that begins with https://.
    pub url: Option<String>,
    /// An address to write to.
    pub mailto: Option<String>,
    /// A POST to the url is enough, without asking.
    #[graphql(default)]
    #[serde(default)]
    pub one_click: bool,
}

/// An e-mail to be sent.
#[derive(InputObject, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendEmailInput {
    /// The author: an address, or a name with the address in angle brackets.
    pub from: String,
    /// Recipients that everybody sees.
    #[serde(default, deserialize_with = "read_list")]
    pub to: Vec<String>,
    /// Further recipients that everybody sees.
    pub cc: Option<Vec<String>>,
    /// Recipients that nobody else sees.
    pub bcc: Option<Vec<String>>,
    /// Where answers go.
    pub reply_to: Option<Vec<String>>,
    /// The subject.
    pub subject: Option<String>,
    /// The body as plain text.
    pub text_body: Option<String>,
    /// The body as HTML.
    pub html_body: Option<String>,
    /// Further header fields: those for threads and lists, and X- fields.
    pub headers: Option<Vec<NameValueInput>>,
    /// Files, and parts that the HTML shows.
    pub attachments: Option<Vec<AttachmentInput>>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// Names and values that come back with everything that is told of it.
    pub metadata: Option<Vec<NameValueInput>>,
    /// Not to be sent before; at most 30 days ahead.
    #[serde(default, deserialize_with = "read_time")]
    pub send_at: Option<DateTime>,
    /// Every server on the way must use TLS that can be verified (RFC 8689).
    #[graphql(default)]
    #[serde(default)]
    pub require_tls: bool,
    /// How a reader leaves the list.
    pub unsubscribe: Option<UnsubscribeInput>,
    /// The ID of a template: subject and bodies come from it.
    pub template_id: Option<ID>,
    /// Which version; the newest when absent.
    pub template_version: Option<u32>,
    /// What is put into the template: an object with a member for each of its variables.
    pub variables: Option<Json>,
    /// Requests with the same key within 24 hours are one: the same arguments get the same ID, others an error.
    pub idempotency_key: Option<String>,
}

/// Null is what is absent.
fn read_list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn read_time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<DateTime>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let bad = || serde::de::Error::custom("a time is written as 2026-02-10T12:00:00Z");
    time::parse(&text).map(|time| Some(DateTime(time))).ok_or_else(bad)
}

impl SendEmailInput {
    /// The request, and its key of idempotency. Files are those of the context.
    ///
    /// # Errors
    /// When an attachment is not base64, or is no file of the request, or all files are more than a message may hold.
    pub fn into_request(self, context: Option<&Context<'_>>) -> Result<(Request, Option<String>), ApiError> {
        let pairs = |list: Option<Vec<NameValueInput>>| -> Vec<Pair> {
            list.unwrap_or_default().into_iter().map(|pair| Pair::new(pair.name, pair.value)).collect()
        };
        // One file can stand in many places, and each has a copy.
        let mut left = api_message::limits::MESSAGE_MAX;
        let attachments = self.attachments.unwrap_or_default().into_iter().enumerate();
        let request = Request {
            from: self.from,
            to: self.to,
            cc: self.cc.unwrap_or_default(),
            bcc: self.bcc.unwrap_or_default(),
            reply_to: self.reply_to.unwrap_or_default(),
            subject: self.subject,
            text: self.text_body,
            html: self.html_body,
            headers: pairs(self.headers),
            attachments: attachments
                .map(|(n, input)| attachment(n, input, context, &mut left))
                .collect::<Result<_, _>>()?,
            tags: self.tags.unwrap_or_default(),
            metadata: pairs(self.metadata),
            send_at: self.send_at.map(|time| time.0),
            require_tls: self.require_tls,
            unsubscribe: self.unsubscribe.map(|u| Unsubscribe {
                url: u.url,
                mailto: u.mailto,
                one_click: u.one_click,
            }),
            template: self.template_id.map(|id| TemplateUse {
                id: id.0,
                version: self.template_version,
                variables: self.variables.map_or_else(|| "{}".to_owned(), |v| canonical(&v.0)),
            }),
        };
        Ok((request, self.idempotency_key))
    }
}

fn attachment(
    n: usize,
    input: AttachmentInput,
    context: Option<&Context<'_>>,
    left: &mut u64,
) -> Result<Attachment, ApiError> {
    let name = |of: &str| format!("attachments[{n}].{of}");
    let wrong = |of: &str, reason, why: &str| {
        let argument = name(of);
        ApiError::argument(&argument, reason, format!("{argument}: {why}"))
    };
    let (filename, content_type, content) = match (input.content, input.file) {
        (Some(text), None) => {
            let octets = BASE64.decode(text.as_bytes());
            (None, None, octets.map_err(|_| wrong("content", "SYNTAX", "this is not base64"))?)
        }
        (None, Some(upload)) => {
            let file = context.and_then(|context| upload.of(context));
            let file = file.ok_or_else(|| wrong("file", "SYNTAX", "this is no file of the request"))?;
            let rest = left.checked_sub(file.content.len() as u64);
            *left = rest.ok_or_else(|| wrong("file", "TOO_LARGE", "more than a message may hold"))?;
            (Some(file.filename.clone()), file.content_type.clone(), file.content.to_vec())
        }
        _ => return Err(wrong("content", "MISSING", "either this or file, and not both")),
    };
    Ok(Attachment {
        filename: input.filename.or(filename),
        content_type: input.content_type.or(content_type),
        content_id: input.content_id,
        content,
    })
}
