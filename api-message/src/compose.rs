//! From an e-mail to the octets of a message (RFC 5322, RFC 2045 to 2047, RFC 2387).
//!
//! Everything is 7-bit: bodies are quoted-printable or base64 where they are not ASCII in short lines, so that no
//! server on the way has to change what was signed. Only an address with a non-ASCII local part needs more, and
//! stands in its field as UTF-8 (RFC 6532). Bcc recipients are in no field.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol_core::Timestamp;
use protocol_core::message::encode::QuotedPrintable;
use protocol_core::message::limits::{HEADER_OCTETS_MAX, LINE_OCTETS_MAX};
use protocol_core::message::submission::base32;

use crate::check::{Email, Part, RecipientKind};
use crate::fault::{Fault, Reason};
use crate::field;
use crate::headers::is_unstructured;
use crate::limits::MESSAGE_MAX;
use crate::mime::disposition;

/// What makes a message differ from all others; fresh random bits.
#[derive(Clone, Copy, Debug)]
pub struct Unique {
    /// For the Message-ID.
    pub message_id: [u8; 16],
    /// For delimiters of parts.
    pub boundary: [u8; 16],
}

/// A whole message, its attachments still without their encoding.
#[derive(Clone, Debug)]
pub struct Composed {
    pieces: Vec<Piece>,
    /// A header field holds an address that only SMTPUTF8 carries (RFC 6531 §3.2).
    pub smtputf8: bool,
    /// The Message-ID with its brackets.
    pub message_id: String,
}

#[derive(Clone, Debug)]
enum Piece {
    Octets(Vec<u8>),
    /// Written in base64.
    Encoded(Vec<u8>),
}

/// Octets that make one line of base64 (RFC 2045 §6.8).
const BASE64_LINE: usize = 57;
/// Lines of base64 in one chunk.
const LINES_OF_CHUNK: usize = 512;

impl Email {
    /// Makes the message, dated `date`.
    ///
    /// # Errors
    /// A fault when the header or the whole message passes its limit.
    pub fn compose(mut self, date: Timestamp, unique: Unique) -> Result<Composed, Fault> {
        let message_id = format!("<{}@{}>", base32(unique.message_id), self.from.canonical.domain());
        let header = self.header(date, &message_id);
        if header.len() > HEADER_OCTETS_MAX / 2 {
            return Err(Fault::new("to", Reason::TooLarge, "addresses and fields make the header too large"));
        }
        let visible = self.recipients.iter().filter(|r| r.kind != RecipientKind::Bcc);
        let mut shown = visible.map(|r| &r.address).chain(&self.reply_to).chain([&self.from]);
        let smtputf8 = shown.any(|address| !address.is_ascii());
        let mut writer =
            Writer { out: header, pieces: Vec::new(), boundary: base32(unique.boundary), depth: 0 };
        let parts = core::mem::take(&mut self.parts);
        let (inline, attached): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|p| p.content_id.is_some());
        writer.mixed(&self, inline, attached);
        writer.pieces.push(Piece::Octets(writer.out.into_bytes()));
        let composed = Composed { pieces: writer.pieces, smtputf8, message_id };
        if composed.octets() > MESSAGE_MAX {
            let message =
                format!("the message with its attachments encoded is larger than {MESSAGE_MAX} octets");
            return Err(Fault::new("attachments", Reason::TooLarge, message));
        }
        Ok(composed)
    }

    fn header(&self, date: Timestamp, message_id: &str) -> String {
        let mut out = String::new();
        let of = |kind| self.recipients.iter().filter(move |r| r.kind == kind).map(|r| &r.address);
        field::addresses("From", [&self.from].into_iter(), &mut out);
        field::addresses("To", of(RecipientKind::To), &mut out);
        field::addresses("Cc", of(RecipientKind::Cc), &mut out);
        if self.recipients.iter().all(|r| r.kind == RecipientKind::Bcc) {
            // A group without members says that there are recipients, and not who (RFC 5322 §3.4).
            out.push_str("To: undisclosed-recipients:;\r\n");
        }
        field::addresses("Reply-To", self.reply_to.iter(), &mut out);
        field::unstructured("Subject", &self.subject, &mut out);
        out.push_str("Date: ");
        // Writing to a String cannot fail.
        let _ = date.civil().write_rfc5322(&mut out);
        out.push_str(&format!("\r\nMessage-ID: {message_id}\r\n"));
        for pair in &self.fields {
            match is_unstructured(&pair.name) {
                true => field::unstructured(&pair.name, &pair.value, &mut out),
                false => field::structured(&pair.name, &pair.value, &mut out),
            }
        }
        out.push_str("MIME-Version: 1.0\r\n");
        out
    }
}

struct Writer {
    out: String,
    pieces: Vec<Piece>,
    boundary: String,
    depth: u8,
}

impl Writer {
    /// multipart/mixed when there are files, else what stands in it.
    fn mixed(&mut self, email: &Email, inline: Vec<Part>, attached: Vec<Part>) {
        if attached.is_empty() {
            return self.alternative(email, inline);
        }
        let boundary = self.open("multipart/mixed", "");
        self.delimiter(&boundary);
        self.alternative(email, inline);
        attached.into_iter().for_each(|part| self.attachment(&boundary, part));
        self.close(&boundary);
    }

    /// multipart/alternative when there are two bodies: the better form last (RFC 2046 §5.1.4).
    fn alternative(&mut self, email: &Email, inline: Vec<Part>) {
        match (&email.text, &email.html) {
            (Some(text), None) => self.text("plain", text),
            (None, Some(html)) => self.related(html, inline),
            (Some(text), Some(html)) => {
                let boundary = self.open("multipart/alternative", "");
                self.delimiter(&boundary);
                self.text("plain", text);
                self.delimiter(&boundary);
                self.related(html, inline);
                self.close(&boundary);
            }
            (None, None) => self.text("plain", ""),
        }
    }

    /// multipart/related when the HTML shows parts (RFC 2387 §3.1: the type of its root is told).
    fn related(&mut self, html: &str, inline: Vec<Part>) {
        if inline.is_empty() {
            return self.text("html", html);
        }
        let boundary = self.open("multipart/related", "; type=\"text/html\"");
        self.delimiter(&boundary);
        self.text("html", html);
        inline.into_iter().for_each(|part| self.attachment(&boundary, part));
        self.close(&boundary);
    }

    /// `=_` stands in no line of quoted-printable or base64, and nobody who writes a body knows the random bits.
    fn open(&mut self, kind: &str, params: &str) -> String {
        let boundary = format!("=_{}.{}", self.depth, self.boundary);
        self.depth += 1;
        self.out.push_str(&format!("Content-Type: {kind}{params};\r\n boundary=\"{boundary}\"\r\n"));
        boundary
    }

    fn delimiter(&mut self, boundary: &str) {
        self.out.push_str(&format!("\r\n--{boundary}\r\n"));
    }

    fn close(&mut self, boundary: &str) {
        self.out.push_str(&format!("\r\n--{boundary}--\r\n"));
    }

    fn text(&mut self, subtype: &str, text: &str) {
        let ascii = text.is_ascii();
        let charset = if ascii { "us-ascii" } else { "utf-8" };
        self.out.push_str(&format!("Content-Type: text/{subtype}; charset={charset}\r\n"));
        if ascii && text.split("\r\n").all(|line| line.len() <= LINE_OCTETS_MAX) {
            self.out.push_str("Content-Transfer-Encoding: 7bit\r\n\r\n");
            self.out.push_str(text);
        } else if text.bytes().filter(|b| !b.is_ascii()).count() > text.len() / 4 {
            self.encoded(text.as_bytes().to_vec());
        } else {
            self.out.push_str("Content-Transfer-Encoding: quoted-printable\r\n\r\n");
            let mut encoded = Vec::with_capacity(text.len() + text.len() / 4);
            let mut encoder = QuotedPrintable::default();
            encoder.feed(text.as_bytes(), &mut encoded);
            if encoder.finish(&mut encoded) && self.depth == 0 {
                encoded.extend_from_slice(b"=\r\n");
            }
            // Quoted-printable is ASCII.
            self.out.push_str(core::str::from_utf8(&encoded).unwrap_or_default());
            return;
        }
        if self.depth == 0 && !self.out.ends_with("\r\n") {
            self.out.push_str("\r\n");
        }
    }

    fn attachment(&mut self, boundary: &str, part: Part) {
        self.delimiter(boundary);
        self.out.push_str(&format!("Content-Type: {}\r\n", folded(part.media_type.as_str())));
        self.out.push_str(&disposition(part.content_id.is_some(), part.filename.as_deref()));
        if let Some(id) = &part.content_id {
            self.out.push_str(&format!("Content-ID: <{id}>\r\n"));
        }
        self.encoded(part.content);
    }

    fn encoded(&mut self, content: Vec<u8>) {
        self.out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
        self.pieces.push(Piece::Octets(core::mem::take(&mut self.out).into_bytes()));
        self.pieces.push(Piece::Encoded(content));
    }
}

/// Each parameter on a line of its own.
fn folded(media_type: &str) -> String {
    media_type.replace("; ", ";\r\n ")
}

impl Composed {
    /// Octets of the whole message.
    pub fn octets(&self) -> u64 {
        let of = |piece: &Piece| match piece {
            Piece::Octets(octets) => octets.len() as u64,
            Piece::Encoded(content) => {
                let full = content.len() / BASE64_LINE;
                let rest = content.len() % BASE64_LINE;
                (full * 78 + if rest > 0 { rest.div_ceil(3) * 4 + 2 } else { 0 }) as u64
            }
        };
        self.pieces.iter().map(of).sum()
    }

    /// The message in chunks of at most some 64 KiB (the first ones as large as header and bodies are).
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { pieces: &self.pieces, at: 0 }
    }
}

/// Reads a [`Composed`] message.
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    pieces: &'a [Piece],
    at: usize,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        loop {
            let (piece, rest) = self.pieces.split_first()?;
            match piece {
                Piece::Octets(octets) => {
                    self.pieces = rest;
                    return Some(Cow::Borrowed(octets));
                }
                Piece::Encoded(content) if self.at < content.len() => {
                    let end = content.len().min(self.at + BASE64_LINE * LINES_OF_CHUNK);
                    let now = content.get(self.at..end).unwrap_or_default();
                    self.at = end;
                    return Some(Cow::Owned(base64_lines(now)));
                }
                Piece::Encoded(_) => {
                    self.pieces = rest;
                    self.at = 0;
                }
            }
        }
    }
}

fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let mut out = String::with_capacity(octets.len() / 3 * 4 + octets.len() / 24 + 8);
    for line in octets.chunks(BASE64_LINE) {
        STANDARD.encode_string(line, &mut out);
        out.push_str("\r\n");
    }
    out.into_bytes()
}
