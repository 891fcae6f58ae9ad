//! The scanner: from the octets of a message, in chunks, to its [`Structure`].
//!
//! It works line by line and holds no line but header fields (one at a time, at most
//! [`HEADER_OCTETS_MAX`]) and the beginning of a line that may be a delimiter. Every decision falls at the end
//! of a line, so the result is the same for every split into chunks.
//!
//! ```text
//!            delimiter of an open multipart, in any state: everything inside it ends
//!          ┌──────────────────────────────┬───────────────────────────────────────────┐
//!   header ┴─ blank line ─▶ leaf, preamble of a multipart, epilogue                   │
//!     ▲            └─ message/* ─▶ header of the message inside                       │
//!     └──────────── opening delimiter ─── closing delimiter: epilogue ◀───────────────┘
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::boundary::{Boundary, LineHead};
use super::content::Encoding;
use super::decoded::DecodedParts;
use super::entity::{self, Budget, Seen};
use super::from::FromVerdict;
use super::header::{Field, split_field, unfold};
use super::limits::{
    DEPTH_MAX, HEADER_FIELDS_MAX, HEADER_OCTETS_MAX, LINE_OCTETS_MAX, PARTS_MAX, REFERENCES_MAX,
};
use super::structure::{Flags, Kind, Part, Structure};

/// Reads one message. Feed it in chunks, then [`Scanner::finish`].
#[derive(Debug)]
pub struct Scanner {
    /// In lower case.
    own_host: Option<Box<str>>,
    parts: Vec<Part>,
    /// The part being read and everything it is in, outermost first. Never empty.
    open: Vec<Open>,
    /// The header being read, of the innermost open part.
    header: Option<Header>,
    /// The last part takes everything to the end.
    rest_is_opaque: bool,
    budget: Budget,
    received: u32,
    own_received: u32,
    from: FromVerdict,
    references: Option<Vec<u8>>,
    longest_line: u64,
    /// Octets read.
    offset: u64,
    /// Line ends read.
    line_ends: u64,
    /// Where the current line began.
    line_start: u64,
    /// Its last octet so far.
    last: u8,
    /// Octets of the line end in front of the current line.
    line_end_before: u64,
    head: LineHead,
    /// Counts what the body being read decodes to, when that was asked for.
    decoded: Option<DecodedParts>,
    /// The field being read, folding included. Kept from field to field for its capacity.
    field: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    part: usize,
    /// Of a multipart that has not been closed.
    boundary: Option<Boundary>,
    closed: bool,
    /// Line ends in front of the body.
    lines_before: u64,
}

#[derive(Debug, Default)]
struct Header {
    octets: usize,
    fields: usize,
    seen: Seen,
    /// Over a limit: the rest of this header is not read.
    overflow: bool,
    /// Where the field being read began.
    field_start: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    /// At the beginning of a message.
    pub fn new() -> Scanner {
        let mut scanner = Scanner {
            own_host: None,
            parts: Vec::new(),
            open: Vec::new(),
            header: None,
            rest_is_opaque: false,
            budget: Budget::new(),
            received: 0,
            own_received: 0,
            from: FromVerdict::default(),
            references: None,
            longest_line: 0,
            offset: 0,
            line_ends: 0,
            line_start: 0,
            last: 0,
            line_end_before: 0,
            head: LineHead::default(),
            decoded: None,
            field: Vec::new(),
        };
        scanner.begin_part(None, true);
        scanner
    }

    /// Counts Received fields that this host wrote.
    pub fn with_own_host(mut self, host: &str) -> Scanner {
        self.own_host = Some(host.to_ascii_lowercase().into());
        self
    }

    /// Counts what each leaf decodes to while it passes: see [`Scanner::finish_counted`].
    pub fn with_decoded_sizes(mut self) -> Scanner {
        self.decoded = Some(DecodedParts::default());
        self
    }

    /// What was noticed so far; [`Flags::HEADER_TOO_LARGE`] is known as soon as the limit is passed.
    pub fn flags(&self) -> Flags {
        self.budget.flags
    }

    /// Received fields so far.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Octets of the message's own header, its blank line included, once that line was seen.
    pub fn header_len(&self) -> Option<u64> {
        let in_root_header = self.header.is_some() && self.open.len() == 1;
        (!in_root_header).then(|| self.parts[0].body_start)
    }

    /// Reads the next octets.
    pub fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            self.part_of_line(&rest[..at]);
            self.line_end();
            rest = &rest[at + 1..];
        }
        self.part_of_line(rest);
    }

    /// The message ended.
    pub fn finish(self) -> Structure {
        self.finish_counted().0
    }

    /// The message ended. Also the decoded octets of its largest leaf that is not text shown inline
    /// ([`Part::is_inline_text`]); 0 unless [`Scanner::with_decoded_sizes`] was called.
    pub fn finish_counted(mut self) -> (Structure, u64) {
        let content = self.offset - self.line_start;
        self.longest_line = self.longest_line.max(content);
        if content > 0 && self.last == b'\r' {
            self.note_unclean();
        }
        if content > 0 && !self.delimiter(self.line_ends) && content > LINE_OCTETS_MAX as u64 {
            self.note_long_line();
        }
        if self.header.is_some() && self.open.len() == 1 {
            self.budget.flags.set(Flags::HEADER_ONLY);
        }
        self.end_headers();
        self.close_down_to(0, self.offset, self.line_ends);
        let largest = self.decoded.map_or(0, |d| d.largest());
        let structure = Structure {
            size: self.offset,
            flags: self.budget.flags,
            longest_line: self.longest_line,
            received: self.received,
            own_received: self.own_received,
            from: self.from,
            references: self.references,
            parts: self.parts,
        };
        (structure, largest)
    }

    // ---- lines ----------------------------------------------------------------------------------------

    /// Octets of the current line, without its LF.
    fn part_of_line(&mut self, bytes: &[u8]) {
        let (Some(&first), Some((&last, before_last))) = (bytes.first(), bytes.split_last()) else { return };
        let is_line_start = self.offset == self.line_start;
        if is_line_start {
            self.head.begin(first);
            // Only a line that begins with white space continues a field (RFC 5322 §2.2.3).
            if self.header.is_some() && !matches!(first, b' ' | b'\t') {
                self.end_field();
            }
        }
        self.head.push(bytes);
        let bare_cr = !is_line_start && self.last == b'\r';
        if bare_cr || last == 0 || memchr::memchr2(0, b'\r', before_last).is_some() {
            self.note_unclean();
        }
        if !bytes.is_ascii() {
            self.note_8bit(bytes);
        }
        if let Some(decoded) = &mut self.decoded {
            decoded.feed(is_line_start, bytes);
        }
        self.last = last;
        self.push_to_field(bytes);
        self.offset += bytes.len() as u64;
    }

    fn line_end(&mut self) {
        let octets = self.offset - self.line_start;
        let is_crlf = octets > 0 && self.last == b'\r';
        let content = octets - u64::from(is_crlf);
        self.longest_line = self.longest_line.max(content);
        if !is_crlf {
            self.note_unclean();
        }
        let line_ends = self.line_ends;
        self.offset += 1;
        self.line_ends += 1;
        if octets == 0 || !self.delimiter(line_ends) {
            if content > LINE_OCTETS_MAX as u64 {
                self.note_long_line();
            }
            if let Some(decoded) = &mut self.decoded {
                decoded.line_end();
            }
            if content == 0 && self.header.is_some() {
                self.drop_blank_line(octets as usize);
                self.end_header();
            } else {
                self.push_to_field(b"\n");
            }
        }
        self.line_start = self.offset;
        self.line_end_before = 1 + u64::from(is_crlf);
    }

    fn note_unclean(&mut self) {
        self.budget.flags.set(Flags::UNCLEAN);
        if self.header.is_none()
            && let Some(open) = self.open.last()
        {
            self.parts[open.part].unclean = true;
        }
    }

    fn note_8bit(&mut self, bytes: &[u8]) {
        let in_message = self.open.iter().any(|o| self.parts[o.part].kind == Kind::Message);
        self.budget.flags.set(match (self.header.is_some(), in_message) {
            (true, false) => Flags::HEADER_8BIT,
            (true, true) => Flags(Flags::BODY_8BIT.0 | Flags::INNER_HEADER_8BIT.0),
            (false, _) => Flags::BODY_8BIT,
        });
        if self.header.is_none()
            && let Some(open) = self.open.last()
        {
            let count = bytes.iter().filter(|b| **b >= 0x80).count();
            self.parts[open.part].eight_bit += count as u64;
        }
    }

    /// The line that ended is too long, and no delimiter.
    fn note_long_line(&mut self) {
        match (&self.header, self.open.last()) {
            (None, Some(open)) => self.parts[open.part].long_line = true,
            _ => self.budget.flags.set(Flags::HEADER_LONG_LINE),
        }
    }

    // ---- header fields --------------------------------------------------------------------------------

    fn push_to_field(&mut self, bytes: &[u8]) {
        let Some(header) = &mut self.header else { return };
        if header.overflow {
            return;
        }
        if self.field.is_empty() {
            header.field_start = self.offset;
        }
        header.octets += bytes.len();
        // The CR of a blank line does not count; whether it is one shows with the next octet.
        let may_be_blank = self.field.is_empty() && bytes == b"\r";
        if header.octets > HEADER_OCTETS_MAX && !may_be_blank {
            self.overflow();
        } else {
            self.field.extend_from_slice(bytes);
        }
    }

    /// The CR of the blank line was taken for a field.
    fn drop_blank_line(&mut self, octets: usize) {
        if octets > 0 {
            self.field.clear();
        }
        if let Some(header) = &mut self.header {
            header.octets = header.octets.saturating_sub(octets);
        }
    }

    fn overflow(&mut self) {
        self.field.clear();
        let is_root = self.open.len() == 1;
        self.budget.flags.set(if is_root { Flags::HEADER_TOO_LARGE } else { Flags::CUT });
        if let Some(header) = &mut self.header {
            header.overflow = true;
        }
    }

    /// The field being read is complete.
    fn end_field(&mut self) {
        if self.field.is_empty() {
            return;
        }
        let Some(header) = &mut self.header else { return };
        header.fields += 1;
        if header.fields > HEADER_FIELDS_MAX {
            self.overflow();
            return;
        }
        let raw = core::mem::take(&mut self.field);
        self.field_read(&raw);
        self.field = raw;
        self.field.clear();
    }

    fn field_read(&mut self, raw: &[u8]) {
        let (Some(header), Some(open)) = (&mut self.header, self.open.last()) else { return };
        let is_first = header.fields == 1;
        let field = split_field(raw, 0);
        let is_root = self.open.len() == 1;
        if is_root {
            self.from.see(&field, raw, is_first);
        }
        if !field.well_formed || matches!(raw.first(), Some(b' ' | b'\t')) {
            self.budget.flags.set(Flags::MALFORMED_HEADER);
            return;
        }
        let mut buffer = [0; 32];
        let Some(name) = lower_name(&field, &mut buffer) else { return };
        let part = &mut self.parts[open.part];
        if name.starts_with(b"content-") {
            let place = header.field_start..header.field_start + raw.len() as u64;
            entity::content_field(part, &mut header.seen, &mut self.budget, name, &field, place);
        } else if let Some(envelope) = part.envelope.as_deref_mut() {
            entity::envelope_field(envelope, &mut self.budget, name, field.value);
            if is_root {
                self.trace_field(name, &field);
            }
        }
    }

    fn trace_field(&mut self, name: &[u8], field: &Field<'_>) {
        match name {
            b"received" => {
                self.received += 1;
                let own = self.own_host.as_deref().is_some_and(|h| entity::is_received_by(field.value, h));
                self.own_received += u32::from(own);
            }
            b"mime-version" => self.budget.flags.set(Flags::MIME_VERSION),
            b"references" if self.references.is_none() => {
                let value = unfold(field.value);
                let from = value.len().saturating_sub(REFERENCES_MAX);
                self.references = Some(value[from..].to_vec());
            }
            _ => {}
        }
    }

    /// Something else than a blank line ended the header; that of a message inside is as empty as its body.
    fn end_headers(&mut self) {
        while self.header.is_some() {
            self.end_header();
        }
    }

    /// The header ended: at its blank line, at a delimiter, or with the message. The body begins at `offset`.
    fn end_header(&mut self) {
        self.end_field();
        self.header = None;
        if let (Some(decoded), Some(open)) = (&mut self.decoded, self.open.last()) {
            decoded.begin(&self.parts[open.part].encoding);
        }
        let depth = self.open.len();
        let Some(open) = self.open.last_mut() else { return };
        let index = open.part;
        open.lines_before = self.line_ends;
        let in_digest = self.parts[index]
            .parent
            .and_then(|p| self.parts.get(p as usize))
            .is_some_and(|p| p.media_type == "multipart" && p.media_subtype == "digest");
        let full = self.parts.len() >= PARTS_MAX;
        let part = &mut self.parts[index];
        part.body_start = self.offset;
        part.body_end = self.offset;
        if part.media_type.is_empty() {
            if in_digest && part.envelope.is_none() {
                // RFC 2046 §5.1.5.
                part.media_type = "message".into();
                part.media_subtype = "rfc822".into();
            } else {
                entity::set_text_plain(part);
            }
        }
        let is_multipart = part.media_type == "multipart";
        let is_message =
            part.media_type == "message" && matches!(part.media_subtype.as_str(), "rfc822" | "global");
        if !is_multipart && !is_message {
            return;
        }
        if depth > DEPTH_MAX {
            self.budget.flags.set(Flags::TOO_DEEP);
            return entity::set_opaque(part);
        }
        if !part.encoding.is_identity() {
            self.budget.flags.set(Flags::ENCODED_CONTAINER);
        }
        if is_multipart {
            let value = part.params.iter().find(|p| p.name == "boundary").map(|p| p.value.as_slice());
            open.boundary = value.and_then(Boundary::new);
            part.kind = Kind::Multipart;
        } else if full {
            self.budget.flags.set(Flags::TOO_MANY_PARTS);
            entity::set_opaque(part);
        } else {
            part.kind = Kind::Message;
            self.begin_part(Some(index), true);
        }
    }

    // ---- the tree -------------------------------------------------------------------------------------

    /// A part begins, with its header, at `offset`.
    fn begin_part(&mut self, parent: Option<usize>, is_message_root: bool) {
        let part = self.parts.len();
        self.parts.push(entity::new_part(parent, self.offset, is_message_root));
        self.open.push(Open { part, boundary: None, closed: false, lines_before: self.line_ends });
        self.header = Some(Header::default());
        self.field.clear();
        if let Some(decoded) = &mut self.decoded {
            decoded.stop();
        }
    }

    /// The line that ended, or the end of the message, may complete a delimiter; whether it did. `line_ends`
    /// were in front of the line.
    fn delimiter(&mut self, line_ends: u64) -> bool {
        if self.rest_is_opaque {
            return false;
        }
        let open = self.open.iter().enumerate().filter_map(|(level, o)| Some((level, o.boundary.as_ref()?)));
        let Some((level, closes)) = self.head.delimits(open) else { return false };
        if let Some(decoded) = &mut self.decoded {
            decoded.rewind();
        }
        if self.header.is_some() {
            // The line end of a header's last line stays with the header.
            self.field.clear();
            let (offset, all_line_ends) = (self.offset, self.line_ends);
            (self.offset, self.line_ends) = (self.line_start, line_ends);
            self.end_headers();
            self.close_down_to(level + 1, self.line_start, line_ends);
            (self.offset, self.line_ends) = (offset, all_line_ends);
        } else {
            // The line end in front of a delimiter belongs to it.
            let end = self.line_start - self.line_end_before.min(self.line_start);
            let lines = line_ends.saturating_sub(u64::from(self.line_end_before > 0));
            self.close_down_to(level + 1, end, lines);
        }
        let container = &mut self.open[level];
        let parent = container.part;
        // White space behind a delimiter makes a long line that no transfer encoding can mend.
        self.parts[parent].long_line |= self.offset - self.line_start > LINE_OCTETS_MAX as u64 + 2;
        if closes {
            container.boundary = None;
            container.closed = true;
        } else {
            self.next_part(parent);
        }
        true
    }

    fn next_part(&mut self, parent: usize) {
        if self.parts.len() >= PARTS_MAX {
            self.rest_is_opaque = true;
            self.budget.flags.set(Flags::TOO_MANY_PARTS);
            return;
        }
        self.begin_part(Some(parent), false);
        if self.parts.len() == PARTS_MAX {
            self.rest_is_opaque = true;
            self.budget.flags.set(Flags::TOO_MANY_PARTS);
            self.header = None;
            if let Some(part) = self.parts.last_mut() {
                entity::set_opaque(part);
            }
            if let Some(decoded) = &mut self.decoded {
                decoded.begin(&Encoding::SevenBit);
            }
        }
    }

    /// Ends every open part from `level` on, the innermost first: bodies end at `end`, in front of which are
    /// `lines` line ends, but not before what is inside them.
    fn close_down_to(&mut self, level: usize, mut end: u64, mut lines: u64) {
        let total = self.parts.len();
        for open in self.open.drain(level..).rev() {
            let part = &mut self.parts[open.part];
            end = end.max(part.body_start);
            lines = lines.max(open.lines_before);
            part.end = total as u32;
            part.body_end = end;
            part.lines = lines - open.lines_before;
            if part.kind == Kind::Multipart {
                if total == open.part + 1 {
                    part.kind = Kind::Leaf;
                    self.budget.flags.set(Flags::NO_PARTS);
                    entity::set_text_plain(part);
                } else if !open.closed {
                    self.budget.flags.set(Flags::UNCLOSED);
                }
            }
            let is_replaceable = matches!(part.encoding, Encoding::Binary | Encoding::EightBit)
                || (part.unclean && part.encoding.is_identity())
                || part.eight_bit > 0
                || part.long_line;
            if let Some(decoded) = &mut self.decoded {
                decoded.end(part);
            }
            if !is_replaceable {
                part.encoding_fields = Vec::new();
            }
        }
    }
}

/// The name in lower case; `None` for one longer than any that matters here.
fn lower_name<'b>(field: &Field<'_>, buffer: &'b mut [u8; 32]) -> Option<&'b [u8]> {
    let name = buffer.get_mut(..field.name.len())?;
    name.copy_from_slice(field.name);
    name.make_ascii_lowercase();
    Some(name)
}
