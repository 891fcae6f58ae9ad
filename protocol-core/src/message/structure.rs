//! The structure of a message: where its parts are and what its headers say about them.
//!
//! Everything here is computed once, by [`super::Scanner`], and kept beside the message. IMAP answers
//! ENVELOPE, BODYSTRUCTURE and section look-ups from it without reading the message again.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::address_list::AddressList;
use super::content::{Disposition, Encoding, Param};
use super::from::FromVerdict;
use super::header::{Edit, Fields, unfold};

/// What a [`Part`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Octets: text, an attachment, or something opaque.
    Leaf,
    /// `multipart/*` with at least one child.
    Multipart,
    /// `message/rfc822` or `message/global` with exactly one child, the root of the message inside, which
    /// carries that message's [`Envelope`] (RFC 2046 §5.2.1, RFC 6532 §3.7).
    Message,
}

/// One entity of the MIME tree. Offsets count octets from the start of the whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Leaf, multipart or message.
    pub kind: Kind,
    /// Index of the part this one is in; `None` for the root.
    pub parent: Option<u32>,
    /// Index one past the last part inside this one: parts are in document order, so `index + 1..end` is
    /// everything below.
    pub end: u32,
    /// First octet of the part's header.
    pub header_start: u64,
    /// First octet after the blank line that ends the header; equal to `body_end` when there is none.
    pub body_start: u64,
    /// One past the last octet of the body. The line end in front of a boundary belongs to the boundary
    /// (RFC 2046 §5.1.1).
    pub body_end: u64,
    /// Line ends (LF) in the body.
    pub lines: u64,
    /// Bare CR, bare LF or NUL stands in the body.
    pub unclean: bool,
    /// Octets over 127 in the body of a leaf; of a multipart in what stands in front of its first part, between
    /// parts and behind the last.
    pub eight_bit: u64,
    /// A line of more than [`LINE_OCTETS_MAX`](super::limits::LINE_OCTETS_MAX) octets stands there.
    pub long_line: bool,
    /// Type, in lower case: `text` of `text/plain`. The default when the field is absent or not valid.
    pub media_type: String,
    /// Subtype, in lower case.
    pub media_subtype: String,
    /// Parameters of Content-Type in the order of the field, continuations joined (RFC 2231 §3).
    pub params: Vec<Param>,
    /// Content-Disposition (RFC 2183).
    pub disposition: Option<Disposition>,
    /// Content-Transfer-Encoding (RFC 2045 §6); 7bit when absent.
    pub encoding: Encoding,
    /// Where Content-Transfer-Encoding fields stand, for parts whose encoding is `8bit` or `binary`, or whose
    /// octets do not fit their encoding: what [`super::binary`] and [`super::transcode`] replace. At most
    /// [`super::limits::ENCODING_FIELDS_MAX`].
    pub encoding_fields: Vec<Range<u64>>,
    /// Content-ID, unfolded.
    pub id: Option<Vec<u8>>,
    /// Content-Description, unfolded, RFC 2047 words left as they are.
    pub description: Option<Vec<u8>>,
    /// Content-MD5.
    pub md5: Option<Vec<u8>>,
    /// Content-Language tags (RFC 3282).
    pub language: Vec<Vec<u8>>,
    /// Content-Location (RFC 2557).
    pub location: Option<Vec<u8>>,
    /// The message's envelope, for the root and for the one child of a [`Kind::Message`].
    pub envelope: Option<Box<Envelope>>,
}

impl Part {
    /// The header, with the blank line that ends it.
    pub fn header(&self) -> Range<u64> {
        self.header_start..self.body_start
    }

    /// The body, still in its transfer encoding.
    pub fn body(&self) -> Range<u64> {
        self.body_start..self.body_end
    }

    /// Octets of the body, still in its transfer encoding: what BODYSTRUCTURE calls its size.
    pub fn size(&self) -> u64 {
        self.body_end.saturating_sub(self.body_start)
    }

    /// The value of a Content-Type parameter; `name` in lower case, without a `*`. The extended form
    /// (`name*`) wins over the plain one (RFC 2231 §4), decoded to UTF-8.
    pub fn param(&self, name: &str) -> Option<String> {
        super::content::param_text(&self.params, name)
    }

    /// The charset of a text part, as labelled.
    pub fn charset(&self) -> Option<String> {
        self.param("charset")
    }

    /// The one file name of the part, by the rule every view of Inbox uses: `filename` of
    /// Content-Disposition, else `name` of Content-Type; in each the extended form first. RFC 2047 words in
    /// a plain value are decoded, because senders write them there.
    pub fn file_name(&self) -> Option<String> {
        self.disposition
            .as_ref()
            .and_then(|d| super::content::param_text(&d.params, "filename"))
            .or_else(|| self.param("name"))
    }

    /// Whether the part is text that a reader sees as part of the message: not marked as anything else than
    /// inline (RFC 2183 §2.8 makes an unknown disposition an attachment).
    pub fn is_inline_text(&self) -> bool {
        self.kind == Kind::Leaf
            && self.media_type == "text"
            && self.disposition.as_ref().is_none_or(|d| d.kind == "inline")
    }

    /// Whether the part is shown as an attachment: its disposition says so, or it is not text and has none.
    pub fn is_attachment(&self) -> bool {
        match &self.disposition {
            Some(d) if d.kind == "attachment" => true,
            Some(d) if d.kind == "inline" => self.media_type != "text" && self.file_name().is_some(),
            _ => self.kind == Kind::Leaf && self.media_type != "text",
        }
    }
}

/// The fields IMAP's ENVELOPE shows (RFC 9051 §7.5.2), unfolded, otherwise as they stand: RFC 2047 words are
/// not decoded, 8-bit octets are kept. `None`: no such field. Address fields are read with
/// [`Envelope::list`]; that Sender and Reply-To default to From is the writer's business.
///
/// Of Date, Subject, From, Sender, In-Reply-To and Message-ID the first field counts; several Reply-To, To,
/// Cc or Bcc fields are joined with a comma. A value is cut at
/// [`ENVELOPE_FIELD_MAX`](super::limits::ENVELOPE_FIELD_MAX) octets, address lists at a comma.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Envelope {
    pub date: Option<Vec<u8>>,
    pub subject: Option<Vec<u8>>,
    pub from: Option<Vec<u8>>,
    pub sender: Option<Vec<u8>>,
    pub reply_to: Option<Vec<u8>>,
    pub to: Option<Vec<u8>>,
    pub cc: Option<Vec<u8>>,
    pub bcc: Option<Vec<u8>>,
    pub in_reply_to: Option<Vec<u8>>,
    pub message_id: Option<Vec<u8>>,
}

impl Envelope {
    /// The addresses of a field's value, read lazily; empty for `None`.
    pub fn list(value: &Option<Vec<u8>>) -> AddressList<'_> {
        AddressList::new(value.as_deref().unwrap_or_default())
    }
}

/// What was noticed on the way. A set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// The root header has too many fields or octets (552 5.3.4); what came after is not in the structure.
    pub const HEADER_TOO_LARGE: Flags = Flags(1);
    /// Containers are nested deeper than allowed; the deepest is one opaque part.
    pub const TOO_DEEP: Flags = Flags(1 << 1);
    /// There are more parts than allowed; the last one holds the rest of the message.
    pub const TOO_MANY_PARTS: Flags = Flags(1 << 2);
    /// Octets over 127 stand in the header or in a header of a part.
    pub const HEADER_8BIT: Flags = Flags(1 << 3);
    /// Octets over 127 stand in a body.
    pub const BODY_8BIT: Flags = Flags(1 << 4);
    /// A Content field stands twice in one header, or a parameter twice in one field: the first counts.
    pub const DUPLICATE_CONTENT_FIELD: Flags = Flags(1 << 5);
    /// A multipart without a usable boundary, or in which no part was found: taken as text.
    pub const NO_PARTS: Flags = Flags(1 << 6);
    /// A multipart ended without its closing boundary.
    pub const UNCLOSED: Flags = Flags(1 << 7);
    /// A header line is no field and continues none.
    pub const MALFORMED_HEADER: Flags = Flags(1 << 8);
    /// A Content field could not be read as its RFC says: the default counts, or what could be read.
    pub const MALFORMED_CONTENT: Flags = Flags(1 << 9);
    /// Text that belongs in the structure was cut or left out because it is over a limit.
    pub const CUT: Flags = Flags(1 << 10);
    /// The message has no line that ends the header.
    pub const HEADER_ONLY: Flags = Flags(1 << 11);
    /// Bare CR, bare LF or NUL stands somewhere.
    pub const UNCLEAN: Flags = Flags(1 << 12);
    /// A multipart or message claims an encoding that RFC 2045 §6.4 forbids for it; it is ignored.
    pub const ENCODED_CONTAINER: Flags = Flags(1 << 13);
    /// Octets over 127 stand in a header inside a message inside this one.
    pub const INNER_HEADER_8BIT: Flags = Flags(1 << 14);
    /// A header, of the message or of anything in it, has a line of more than
    /// [`LINE_OCTETS_MAX`](super::limits::LINE_OCTETS_MAX) octets.
    pub const HEADER_LONG_LINE: Flags = Flags(1 << 15);
    /// The root header has a MIME-Version field.
    pub const MIME_VERSION: Flags = Flags(1 << 16);

    /// Whether every bit of `other` is set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    pub fn set(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

/// The structure of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Octets of the whole message.
    pub size: u64,
    /// What was noticed.
    pub flags: Flags,
    /// Octets of the longest line, without its line end.
    pub longest_line: u64,
    /// Received fields in the root header.
    pub received: u32,
    /// Received fields that name our own host after `by`.
    pub own_received: u32,
    /// What the From fields of the root header are worth.
    pub from: FromVerdict,
    /// References of the root header, unfolded; the last octets when longer than its limit. Read with
    /// [`super::header::message_ids`].
    pub references: Option<Vec<u8>>,
    /// All parts in document order; the first is the message itself. Never empty.
    pub(super) parts: Vec<Part>,
}

impl Structure {
    /// All parts in document order; the first is the root. Never empty.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The message itself as a part.
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }

    /// The part at an index of [`Structure::parts`].
    pub fn part(&self, index: usize) -> Option<&Part> {
        self.parts.get(index)
    }

    /// The envelope of the message itself.
    pub fn envelope(&self) -> &Envelope {
        const NONE: &Envelope = &Envelope {
            date: None,
            subject: None,
            from: None,
            sender: None,
            reply_to: None,
            to: None,
            cc: None,
            bcc: None,
            in_reply_to: None,
            message_id: None,
        };
        self.parts[0].envelope.as_deref().unwrap_or(NONE)
    }

    /// Indexes of the direct children of a part, in order.
    pub fn children(&self, index: usize) -> Children<'_> {
        let end = self.parts.get(index).map_or(0, |p| p.end as usize);
        Children { parts: &self.parts, next: index + 1, end: end.min(self.parts.len()) }
    }

    /// The part that an IMAP section number names (RFC 9051 §6.4.5.1), `[4, 2]` for `4.2`; the index into
    /// [`Structure::parts`]. An empty path names the root. `None` when there is no such part.
    ///
    /// For section `n.HEADER` and `n.TEXT` the part must be a [`Kind::Message`]; they are the header and the
    /// body of its one child. `n.MIME` is [`Part::header`] of the part, `n` its [`Part::body`].
    pub fn section(&self, path: &[u32]) -> Option<usize> {
        let mut at = 0;
        // A message's root is not itself a numbered part: part 1 of a message that is no multipart is its body.
        let mut is_message_root = true;
        for &number in path {
            if number == 0 {
                return None;
            }
            if !is_message_root && self.parts[at].kind == Kind::Message {
                at = self.children(at).next()?;
                is_message_root = true;
            }
            if self.parts[at].kind == Kind::Multipart {
                at = self.children(at).nth(number as usize - 1)?;
            } else if !is_message_root || number != 1 {
                return None;
            }
            is_message_root = false;
        }
        Some(at)
    }

    /// The IMAP section number of a part: `section(path(i))` is `i`, but for the root of a message inside that
    /// is a multipart, which has no number of its own and gives that of the part it is in. Empty for the root
    /// when it is a multipart.
    pub fn path(&self, index: usize) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = index;
        while let Some(part) = self.parts.get(at) {
            let parent = part.parent.map(|p| p as usize);
            match parent.filter(|&p| self.parts[p].kind == Kind::Multipart) {
                Some(multipart) => {
                    let nth = self.children(multipart).position(|c| c == at).unwrap_or(0);
                    path.push(nth as u32 + 1);
                }
                None if part.kind != Kind::Multipart => path.push(1),
                None => {}
            }
            match parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        path.reverse();
        path
    }

    /// Leaf parts in document order.
    pub fn leaves(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.parts.iter().enumerate().filter(|(_, p)| p.kind == Kind::Leaf)
    }

    /// Accounts for `prefix_len` octets of fields put on top of the message: the root's header still begins at
    /// 0 and is that much longer; every other offset moves.
    pub fn shift(&mut self, prefix_len: u64) {
        self.remap(|at| at.saturating_add(prefix_len));
    }

    /// Accounts for an edit of the root header: offsets move by what was put on top and what was left out, and
    /// fields that the edit adds or removes are added to or removed from the envelope.
    pub fn apply(&mut self, edit: &Edit) {
        self.remap(|at| edit.new_offset(at));
        let Some(envelope) = self.parts[0].envelope.as_deref_mut() else { return };
        if edit.removes_bcc {
            envelope.bcc = None;
        }
        for field in Fields::new(&edit.prefix) {
            let slot = match () {
                () if field.is("Date") => &mut envelope.date,
                () if field.is("Message-ID") => &mut envelope.message_id,
                () => continue,
            };
            if slot.is_none() {
                *slot = Some(unfold(field.value).into_owned());
            }
        }
    }

    fn remap(&mut self, moved: impl Fn(u64) -> u64) {
        self.size = moved(self.size);
        for (index, part) in self.parts.iter_mut().enumerate() {
            if index > 0 {
                part.header_start = moved(part.header_start);
            }
            part.body_start = moved(part.body_start);
            part.body_end = moved(part.body_end);
            for range in &mut part.encoding_fields {
                *range = moved(range.start)..moved(range.end);
            }
        }
    }
}

/// The direct children of a part: see [`Structure::children`].
pub struct Children<'a> {
    parts: &'a [Part],
    next: usize,
    end: usize,
}

impl Iterator for Children<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next >= self.end {
            return None;
        }
        let at = self.next;
        // A damaged `end` must not make the walk stand still or go back.
        self.next = (self.parts[at].end as usize).max(at + 1);
        Some(at)
    }
}
