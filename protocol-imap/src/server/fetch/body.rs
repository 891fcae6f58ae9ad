//! BODY and BODYSTRUCTURE (RFC 9051 §7.5.2), written straight from the stored structure.

use protocol_core::SendBuf;
use protocol_core::message::limits::DEPTH_MAX;
use protocol_core::message::{Kind, Param, Part, Structure};

use super::envelope;
use crate::codec::{Emit, Text};

/// Writes the structure; `extended` for BODYSTRUCTURE.
pub(super) fn write(structure: &Structure, extended: bool, utf8: bool, out: &mut SendBuf) {
    Writer { structure, extended, utf8 }.part(0, 0, out);
}

struct Writer<'s> {
    structure: &'s Structure,
    extended: bool,
    utf8: bool,
}

impl Writer<'_> {
    /// Calls itself for parts within; the structure is at most [`DEPTH_MAX`] deep.
    fn part(&self, index: usize, depth: usize, out: &mut SendBuf) {
        let Some(part) = self.structure.part(index) else { return };
        let within = depth <= 2 * DEPTH_MAX;
        match part.kind {
            Kind::Multipart if within => self.multipart(index, part, depth, out),
            Kind::Message if within => self.single(part, Some((index, depth)), out),
            _ => self.single(part, None, out),
        }
    }

    fn multipart(&self, index: usize, part: &Part, depth: usize, out: &mut SendBuf) {
        out.push_u8(b'(');
        for child in self.structure.children(index) {
            self.part(child, depth + 1, out);
        }
        let mut e = Emit::server(out, self.utf8);
        e.push(b" ");
        e.string(part.media_subtype.as_str().into());
        if self.extended {
            e.push(b" ");
            params(&part.params, &mut e);
            extension(part, &mut e);
        }
        e.push(b")");
    }

    fn single(&self, part: &Part, message: Option<(usize, usize)>, out: &mut SendBuf) {
        let mut e = Emit::server(out, self.utf8);
        e.push(b"(");
        // A leaf that calls itself a container is one that nobody looked into.
        let opaque = message.is_none()
            && (part.media_type == "multipart"
                || part.media_type == "message"
                    && matches!(part.media_subtype.as_str(), "rfc822" | "global"));
        if opaque {
            e.push(b"\"application\" \"octet-stream\"");
        } else {
            e.string(part.media_type.as_str().into());
            e.push(b" ");
            e.string(part.media_subtype.as_str().into());
        }
        e.push(b" ");
        params(&part.params, &mut e);
        e.push(b" ");
        e.nstring(part.id.as_deref().map(Text::new));
        e.push(b" ");
        e.nstring(part.description.as_deref().map(Text::new));
        e.push(b" ");
        e.string(part.encoding.name().into());
        e.push(b" ");
        e.number(part.size());
        if let Some((index, depth)) = message {
            self.message(index, depth, out);
        }
        let mut e = Emit::server(out, self.utf8);
        if message.is_some() || part.media_type == "text" && !opaque {
            e.push(b" ");
            e.number(part.lines);
        }
        if self.extended {
            e.push(b" ");
            e.nstring(part.md5.as_deref().map(Text::new));
            extension(part, &mut e);
        }
        e.push(b")");
    }

    /// Envelope and structure of the message inside.
    fn message(&self, index: usize, depth: usize, out: &mut SendBuf) {
        let child = self.structure.children(index).next();
        let inside = child.and_then(|child| self.structure.part(child));
        out.push_u8(b' ');
        match inside.and_then(|part| part.envelope.as_deref()) {
            Some(envelope) => envelope::write(envelope, self.utf8, out),
            None => out.push(b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
        }
        out.push_u8(b' ');
        match child {
            Some(child) => self.part(child, depth + 1, out),
            None => out.push(b"(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)"),
        }
    }
}

/// `("name" "value" ...)` or `NIL`.
fn params(params: &[Param], e: &mut Emit<'_>) {
    if params.is_empty() {
        return e.push(b"NIL");
    }
    for (i, param) in params.iter().enumerate() {
        e.push(if i == 0 { b"(" } else { b" " });
        e.string(param.name.as_str().into());
        e.push(b" ");
        e.string(Text::new(&param.value));
    }
    e.push(b")");
}

/// Disposition, language and location, each with a space before it.
fn extension(part: &Part, e: &mut Emit<'_>) {
    match &part.disposition {
        Some(disposition) => {
            e.push(b" (");
            e.string(disposition.kind.as_str().into());
            e.push(b" ");
            params(&disposition.params, e);
            e.push(b")");
        }
        None => e.push(b" NIL"),
    }
    if part.language.is_empty() {
        e.push(b" NIL");
    } else {
        for (i, tag) in part.language.iter().enumerate() {
            e.push(if i == 0 { b" (" } else { b" " });
            e.string(Text::new(tag));
        }
        e.push(b")");
    }
    e.push(b" ");
    e.nstring(part.location.as_deref().map(Text::new));
}
