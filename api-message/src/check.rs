//! From a request to an e-mail that can be sent: every argument is looked at, and the first fault is told.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use protocol_core::Timestamp;

use crate::address::Address;
use crate::fault::{Fault, Reason};
use crate::headers;
use crate::limits::*;
use crate::mime::{MediaType, check_content_id};
use crate::request::{Attachment, Pair, Request, Unsubscribe};
use crate::text::{body, check_filled, check_line, check_name};

/// An e-mail whose every argument is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The author.
    pub from: Address,
    /// To, Cc and Bcc, in the order of the request; each address once, as what it was named first.
    pub recipients: Vec<Recipient>,
    /// Where answers go.
    pub reply_to: Vec<Address>,
    /// The subject.
    pub subject: String,
    /// Body as text, its lines ended by CRLF.
    pub text: Option<String>,
    /// Body as HTML, its lines ended by CRLF.
    pub html: Option<String>,
    /// Fields besides those that every message has.
    pub fields: Vec<Pair>,
    /// Files, and parts that the HTML shows.
    pub parts: Vec<Part>,
    /// Each once.
    pub tags: Vec<String>,
    /// Each name once.
    pub metadata: Vec<Pair>,
    /// Not to be sent before; none when that is now or past.
    pub send_at: Option<Timestamp>,
    /// REQUIRETLS.
    pub require_tls: bool,
}

/// A recipient and how it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Whom it goes to.
    pub address: Address,
    /// Which field names it.
    pub kind: RecipientKind,
}

/// How a recipient is named in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RecipientKind {
    To,
    Cc,
    /// In no field at all.
    Bcc,
}

/// A checked attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name for people.
    pub filename: Option<String>,
    /// What it is.
    pub(crate) media_type: MediaType,
    /// Set for a part that the HTML shows.
    pub content_id: Option<String>,
    /// The octets.
    pub content: Vec<u8>,
}

impl Request {
    /// Checks everything at the time `now`. A template is not applied here: whoever has it puts what it gives in
    /// the place of subject and bodies first.
    ///
    /// # Errors
    /// The first fault, in the order of the arguments.
    pub fn check(self, now: Timestamp) -> Result<Email, Fault> {
        let from = Address::parse("from", &self.from)?;
        if from.canonical.is_literal() {
            return Err(Fault::new("from", Reason::Address, "an author's domain has a name"));
        }
        let recipients = recipients(&self)?;
        let reply_to = addresses("replyTo", &self.reply_to, REPLY_TO_MAX)?;
        let subject = self.subject.unwrap_or_default();
        check_line("subject", &subject, SUBJECT_MAX)?;
        let checked = |argument, text: Option<String>| text.map(|t| body(argument, &t, BODY_MAX)).transpose();
        let (text, html) = (checked("textBody", self.text)?, checked("htmlBody", self.html)?);
        if text.is_none() && html.is_none() {
            return Err(Fault::new("textBody", Reason::Missing, "an e-mail has textBody, htmlBody or both"));
        }
        let mut fields = unsubscribe_fields(self.unsubscribe)?;
        add_headers(&mut fields, self.headers)?;
        let parts = parts(self.attachments, html.is_some())?;
        let send_at = self.send_at.filter(|at| *at > now);
        if send_at.is_some_and(|at| at.0 - now.0 > SEND_AT_AHEAD_MAX_SECS * 1_000) {
            return Err(Fault::new("sendAt", Reason::TooFarAhead, "at most 30 days ahead"));
        }
        Ok(Email {
            from,
            recipients,
            reply_to,
            subject,
            text,
            html,
            fields,
            parts,
            tags: tags(self.tags)?,
            metadata: metadata(self.metadata)?,
            send_at,
            require_tls: self.require_tls,
        })
    }
}

fn addresses(argument: &str, texts: &[String], max: usize) -> Result<Vec<Address>, Fault> {
    if texts.len() > max {
        return Err(Fault::too_many(argument, max));
    }
    texts.iter().enumerate().map(|(n, text)| Address::parse(&format!("{argument}[{n}]"), text)).collect()
}

fn recipients(request: &Request) -> Result<Vec<Recipient>, Fault> {
    let kinds = [
        ("to", &request.to, RecipientKind::To),
        ("cc", &request.cc, RecipientKind::Cc),
        ("bcc", &request.bcc, RecipientKind::Bcc),
    ];
    if kinds.iter().map(|(_, texts, _)| texts.len()).sum::<usize>() > RECIPIENTS_MAX {
        return Err(Fault::too_many("to", RECIPIENTS_MAX));
    }
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (argument, texts, kind) in kinds {
        for address in addresses(argument, texts, RECIPIENTS_MAX)? {
            if seen.insert(address.canonical.to_string()) {
                all.push(Recipient { address, kind });
            }
        }
    }
    if all.is_empty() {
        return Err(Fault::new("to", Reason::Missing, "an e-mail has at least one recipient"));
    }
    Ok(all)
}

/// RFC 2369 §3.2, and RFC 8058 §3.1 for one click, which needs an address with `https`.
fn unsubscribe_fields(wanted: Option<Unsubscribe>) -> Result<Vec<Pair>, Fault> {
    let Some(wanted) = wanted else { return Ok(Vec::new()) };
    let mut ways = Vec::new();
    if let Some(url) = &wanted.url {
        check_filled("unsubscribe.url", url, UNSUBSCRIBE_URL_MAX)?;
        let bad = |c: char| !c.is_ascii_graphic() || "<>\"\\^`{|}".contains(c);
        if !url.starts_with("https://") || url.len() == 8 || url.chars().any(bad) {
            return Err(Fault::new(
                "unsubscribe.url",
                Reason::Syntax,
                "an address that begins with https://",
            ));
        }
        ways.push(format!("<{url}>"));
    }
    if let Some(mailto) = &wanted.mailto {
        let address = Address::parse("unsubscribe.mailto", mailto)?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"@.-_+".contains(&b);
        if !address.wire.bytes().all(is_plain) {
            return Err(Fault::new("unsubscribe.mailto", Reason::Address, "a plain ASCII address"));
        }
        ways.push(format!("<mailto:{}>", address.wire));
    }
    if ways.is_empty() || (wanted.one_click && wanted.url.is_none()) {
        return Err(Fault::new(
            "unsubscribe",
            Reason::Missing,
            "one click needs a url; else a url or a mailto",
        ));
    }
    let mut fields = Vec::from([Pair::new("List-Unsubscribe", ways.join(", "))]);
    if wanted.one_click {
        fields.push(Pair::new("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
    }
    Ok(fields)
}

fn add_headers(fields: &mut Vec<Pair>, headers: Vec<Pair>) -> Result<(), Fault> {
    if headers.len() > HEADERS_MAX {
        return Err(Fault::too_many("headers", HEADERS_MAX));
    }
    for (n, header) in headers.into_iter().enumerate() {
        let argument = format!("headers[{n}]");
        headers::check(&argument, &header.name, &header.value)?;
        if fields.iter().any(|field| field.name.eq_ignore_ascii_case(&header.name)) {
            return Err(Fault::new(
                format!("{argument}.name"),
                Reason::Conflict,
                "this field is there twice",
            ));
        }
        fields.push(header);
    }
    Ok(())
}

fn parts(attachments: Vec<Attachment>, has_html: bool) -> Result<Vec<Part>, Fault> {
    if attachments.len() > ATTACHMENTS_MAX {
        return Err(Fault::too_many("attachments", ATTACHMENTS_MAX));
    }
    let mut ids = BTreeSet::new();
    let mut parts = Vec::with_capacity(attachments.len());
    for (n, attachment) in attachments.into_iter().enumerate() {
        let argument = format!("attachments[{n}]");
        let part = part(&argument, attachment)?;
        if let Some(id) = &part.content_id {
            let of_id = || format!("{argument}.contentId");
            if !has_html {
                return Err(Fault::new(of_id(), Reason::Conflict, "an inline part needs an htmlBody"));
            }
            if !ids.insert(id.clone()) {
                return Err(Fault::new(of_id(), Reason::Conflict, "this contentId is there twice"));
            }
        }
        parts.push(part);
    }
    Ok(parts)
}

fn part(argument: &str, attachment: Attachment) -> Result<Part, Fault> {
    let of_name = format!("{argument}.filename");
    if let Some(name) = &attachment.filename {
        check_filled(&of_name, name, FILE_NAME_MAX)?;
        // Neither is part of a name on any system, and some reader would write where they point to.
        if name.contains(['/', '\\']) {
            return Err(Fault::new(of_name, Reason::Syntax, "a file's name holds no `/` and no `\\`"));
        }
    } else if attachment.content_id.is_none() {
        return Err(Fault::new(of_name, Reason::Missing, "an attachment has a filename"));
    }
    let media_type = match &attachment.content_type {
        Some(text) => MediaType::parse(&format!("{argument}.contentType"), text)?,
        None => MediaType::octets(),
    };
    if let Some(id) = &attachment.content_id {
        check_content_id(&format!("{argument}.contentId"), id)?;
    }
    if attachment.content.len() > ATTACHMENT_MAX {
        return Err(Fault::too_large(format!("{argument}.content"), ATTACHMENT_MAX));
    }
    let Attachment { filename, content_id, content, .. } = attachment;
    Ok(Part { filename, media_type, content_id, content })
}

fn tags(tags: Vec<String>) -> Result<Vec<String>, Fault> {
    if tags.len() > TAGS_MAX {
        return Err(Fault::too_many("tags", TAGS_MAX));
    }
    let mut kept: Vec<String> = Vec::with_capacity(tags.len());
    for (n, tag) in tags.into_iter().enumerate() {
        check_name(&format!("tags[{n}]"), &tag, TAG_MAX)?;
        if !kept.contains(&tag) {
            kept.push(tag);
        }
    }
    Ok(kept)
}

fn metadata(pairs: Vec<Pair>) -> Result<Vec<Pair>, Fault> {
    if pairs.len() > METADATA_MAX {
        return Err(Fault::too_many("metadata", METADATA_MAX));
    }
    let mut names = BTreeSet::new();
    for (n, pair) in pairs.iter().enumerate() {
        check_name(&format!("metadata[{n}].name"), &pair.name, METADATA_NAME_MAX)?;
        check_line(&format!("metadata[{n}].value"), &pair.value, METADATA_VALUE_MAX)?;
        if !names.insert(pair.name.as_str()) {
            let message = "this name is there twice";
            return Err(Fault::new(format!("metadata[{n}].name"), Reason::Conflict, message));
        }
    }
    Ok(pairs)
}
