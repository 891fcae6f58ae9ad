//! ENVELOPE and BODYSTRUCTURE written from what `protocol_core::message` knows of a message.

use protocol_core::message::content::Param;
use protocol_core::message::limits::DEPTH_MAX;
use protocol_core::message::{Disposition, Entry, Envelope, Kind, Part, Structure};

use super::super::list::Element;
use super::super::text::Text;
use super::super::write::Emit;
use super::structure::Address;

/// An optional field's value.
fn field(value: &Option<alloc::vec::Vec<u8>>) -> Option<Text<'_>> {
    value.as_deref().map(Text::new)
}

/// Writes ENVELOPE's value (RFC 9051 §7.5.2). Header text goes out as it stands: RFC 2047 words are not
/// decoded, and 8-bit octets go as a literal unless the client has enabled UTF-8.
pub fn emit_envelope(envelope: &Envelope, e: &mut Emit<'_>) {
    e.push(b"(");
    e.nstring(field(&envelope.date));
    e.push(b" ");
    e.nstring(field(&envelope.subject));
    // RFC 9051 §7.5.2: Sender and Reply-To, when absent or empty, have the value of From.
    let or_from = |value| if is_empty(value) { &envelope.from } else { value };
    let lists = [
        &envelope.from,
        or_from(&envelope.sender),
        or_from(&envelope.reply_to),
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ];
    for list in lists {
        e.push(b" ");
        emit_addresses(list, e);
    }
    e.push(b" ");
    e.nstring(field(&envelope.in_reply_to));
    e.push(b" ");
    e.nstring(field(&envelope.message_id));
    e.push(b")");
}

fn is_empty(value: &Option<alloc::vec::Vec<u8>>) -> bool {
    Envelope::list(value).next().is_none()
}

fn emit_addresses(value: &Option<alloc::vec::Vec<u8>>, e: &mut Emit<'_>) {
    let mut any = false;
    for entry in Envelope::list(value) {
        if !any {
            e.push(b"(");
        }
        any = true;
        match &entry {
            Entry::Mailbox(mailbox) => Address {
                name: mailbox.name.as_deref().map(Text::new),
                route: mailbox.route.as_deref().map(Text::new),
                mailbox: Some(Text::new(&mailbox.local)),
                host: Some(Text::new(&mailbox.domain)),
            }
            .emit(e),
            Entry::GroupStart(name) => {
                Address { mailbox: Some(Text::new(name)), ..Address::default() }.emit(e)
            }
            Entry::GroupEnd => Address::default().emit(e),
            // No host would make it a group, and a made-up one an address: the host is empty.
            Entry::Invalid(text) => {
                Address { mailbox: Some(Text::new(text)), host: Some(Text::default()), ..Address::default() }
                    .emit(e);
            }
        }
    }
    e.push(if any { b")" } else { b"NIL" });
}

/// Writes BODY's value, or BODYSTRUCTURE's when `extended` (RFC 9051 §7.5.2).
pub fn emit_structure(structure: &Structure, extended: bool, e: &mut Emit<'_>) {
    emit_part(structure, 0, 0, extended, e);
}

fn emit_part(structure: &Structure, index: usize, depth: usize, extended: bool, e: &mut Emit<'_>) {
    let Some(part) = structure.part(index) else { return };
    // Each level of a message inside counts twice: as a part and as the root in it.
    let has_children = depth <= 2 * DEPTH_MAX && structure.children(index).next().is_some();
    e.push(b"(");
    match part.kind {
        Kind::Multipart if has_children => {
            for child in structure.children(index) {
                emit_part(structure, child, depth + 1, extended, e);
            }
            e.push(b" ");
            e.string(part.media_subtype.as_str().into());
            if extended {
                e.push(b" ");
                emit_params(&part.params, e);
                emit_extension(part, e);
            }
        }
        Kind::Message if has_children => {
            emit_fields(part, &part.media_type, &part.media_subtype, e);
            for child in structure.children(index).take(1) {
                e.push(b" ");
                let envelope = structure.part(child).and_then(|p| p.envelope.as_deref());
                emit_envelope(envelope.unwrap_or(&Envelope::default()), e);
                e.push(b" ");
                emit_part(structure, child, depth + 1, extended, e);
            }
            emit_lines(part, e);
            emit_single_extension(part, extended, e);
        }
        // A container that was not taken apart must not look like one: a client would expect its parts.
        _ if is_container(part) => {
            emit_fields(part, "application", "octet-stream", e);
            emit_single_extension(part, extended, e);
        }
        _ => {
            emit_fields(part, &part.media_type, &part.media_subtype, e);
            if part.media_type == "text" {
                emit_lines(part, e);
            }
            emit_single_extension(part, extended, e);
        }
    }
    e.push(b")");
}

fn is_container(part: &Part) -> bool {
    let message = part.media_type == "message" && matches!(part.media_subtype.as_str(), "rfc822" | "global");
    message || part.media_type == "multipart"
}

fn emit_fields(part: &Part, media_type: &str, media_subtype: &str, e: &mut Emit<'_>) {
    e.string(media_type.into());
    e.push(b" ");
    e.string(media_subtype.into());
    e.push(b" ");
    emit_params(&part.params, e);
    e.push(b" ");
    e.nstring(field(&part.id));
    e.push(b" ");
    e.nstring(field(&part.description));
    e.push(b" ");
    e.string(part.encoding.name().into());
    e.push(b" ");
    e.number(part.size());
}

fn emit_lines(part: &Part, e: &mut Emit<'_>) {
    e.push(b" ");
    e.number(part.lines);
}

fn emit_single_extension(part: &Part, extended: bool, e: &mut Emit<'_>) {
    if extended {
        e.push(b" ");
        e.nstring(field(&part.md5));
        emit_extension(part, e);
    }
}

/// Disposition, language and location, each with a space before it.
fn emit_extension(part: &Part, e: &mut Emit<'_>) {
    e.push(b" ");
    emit_disposition(part.disposition.as_ref(), e);
    e.push(b" ");
    for (i, language) in part.language.iter().enumerate() {
        e.push(if i == 0 { b"(" } else { b" " });
        e.string(Text::new(language));
    }
    e.push(if part.language.is_empty() { b"NIL" } else { b")" });
    e.push(b" ");
    e.nstring(field(&part.location));
}

fn emit_disposition(disposition: Option<&Disposition>, e: &mut Emit<'_>) {
    let Some(disposition) = disposition else { return e.push(b"NIL") };
    e.push(b"(");
    e.string(disposition.kind.as_str().into());
    e.push(b" ");
    emit_params(&disposition.params, e);
    e.push(b")");
}

fn emit_params(params: &[Param], e: &mut Emit<'_>) {
    for (i, param) in params.iter().enumerate() {
        e.push(if i == 0 { b"(" } else { b" " });
        e.string(param.name.as_str().into());
        e.push(b" ");
        e.string(Text::new(&param.value));
    }
    e.push(if params.is_empty() { b"NIL" } else { b")" });
}
