//! From header fields to what a [`Part`] and an [`Envelope`] say.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::content::{self, Disposition, Encoding, Param, Parsed};
use super::header::{Field, trim, unfold};
use super::limits::{ENCODING_FIELDS_MAX, ENVELOPE_FIELD_MAX, LANGUAGES_MAX, TEXT_MAX};
use super::structure::{Envelope, Flags, Kind, Part};

/// What is left of [`TEXT_MAX`], and the flags that reading fields sets.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    pub flags: Flags,
}

impl Budget {
    pub fn new() -> Self {
        Budget { left: TEXT_MAX, flags: Flags::default() }
    }

    /// Takes `len` octets; when they are not there the text is left out.
    fn take(&mut self, len: usize) -> bool {
        match self.left.checked_sub(len) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.flags.set(Flags::CUT);
                false
            }
        }
    }

    fn keep(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        let mut value = unfold(value).into_owned();
        if value.len() > ENVELOPE_FIELD_MAX {
            self.flags.set(Flags::CUT);
            value.truncate(ENVELOPE_FIELD_MAX);
        }
        self.take(value.len()).then_some(value)
    }

    fn keep_params(&mut self, params: Vec<Param>) -> Vec<Param> {
        let len = params.iter().map(|p| p.name.len() + p.value.len()).sum();
        if self.take(len) { params } else { Vec::new() }
    }

    fn note(&mut self, parsed: &Parsed) {
        if parsed.duplicate {
            self.flags.set(Flags::DUPLICATE_CONTENT_FIELD);
        }
        if parsed.faulty {
            self.flags.set(Flags::MALFORMED_CONTENT);
        }
    }
}

/// Which Content fields one header has had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen(u8);

impl Seen {
    /// Whether this is the first of its kind.
    fn first(&mut self, bit: u8, budget: &mut Budget) -> bool {
        let first = self.0 & bit == 0;
        self.0 |= bit;
        if !first {
            budget.flags.set(Flags::DUPLICATE_CONTENT_FIELD);
        }
        first
    }
}

const TYPE: u8 = 1;
const DISPOSITION: u8 = 1 << 1;
const ENCODING: u8 = 1 << 2;
const ID: u8 = 1 << 3;
const DESCRIPTION: u8 = 1 << 4;
const MD5: u8 = 1 << 5;
const LANGUAGE: u8 = 1 << 6;
const LOCATION: u8 = 1 << 7;

/// A part whose header begins here, with nothing known of it.
pub(super) fn new_part(parent: Option<usize>, header_start: u64, is_message_root: bool) -> Part {
    Part {
        kind: Kind::Leaf,
        parent: parent.map(|p| p as u32),
        end: 0,
        header_start,
        body_start: header_start,
        body_end: header_start,
        lines: 0,
        unclean: false,
        eight_bit: 0,
        long_line: false,
        media_type: String::new(),
        media_subtype: String::new(),
        params: Vec::new(),
        disposition: None,
        encoding: Encoding::SevenBit,
        encoding_fields: Vec::new(),
        id: None,
        description: None,
        md5: None,
        language: Vec::new(),
        location: None,
        envelope: is_message_root.then(Box::default),
    }
}

/// Gives a part the type that RFC 2045 §5.2 has for a missing or unreadable one.
pub(super) fn set_text_plain(part: &mut Part) {
    part.media_type = "text".into();
    part.media_subtype = "plain".into();
    part.params = vec![Param { name: "charset".into(), value: b"us-ascii".to_vec() }];
}

/// Makes a part something that nobody looks into.
pub(super) fn set_opaque(part: &mut Part) {
    part.kind = Kind::Leaf;
    part.media_type = "application".into();
    part.media_subtype = "octet-stream".into();
    part.params = Vec::new();
}

/// Takes in one well-formed Content field; `place` is where it stands in the message.
pub(super) fn content_field(
    part: &mut Part,
    seen: &mut Seen,
    budget: &mut Budget,
    name: &[u8],
    field: &Field<'_>,
    place: core::ops::Range<u64>,
) {
    match name {
        b"content-type" if seen.first(TYPE, budget) => match content::media_type(field.value) {
            Some(parsed) if budget.take(parsed.first.len() + parsed.second.len()) => {
                budget.note(&parsed);
                part.media_type = parsed.first;
                part.media_subtype = parsed.second;
                part.params = budget.keep_params(parsed.params);
            }
            _ => {
                budget.flags.set(Flags::MALFORMED_CONTENT);
                set_text_plain(part);
            }
        },
        b"content-disposition" if seen.first(DISPOSITION, budget) => {
            match content::disposition(field.value) {
                Some(parsed) if budget.take(parsed.first.len()) => {
                    budget.note(&parsed);
                    let params = budget.keep_params(parsed.params);
                    part.disposition = Some(Disposition { kind: parsed.first, params });
                }
                _ => budget.flags.set(Flags::MALFORMED_CONTENT),
            }
        }
        b"content-transfer-encoding" => {
            if part.encoding_fields.len() < ENCODING_FIELDS_MAX {
                part.encoding_fields.push(place);
            }
            if seen.first(ENCODING, budget) {
                match Encoding::parse(field.value) {
                    Some(encoding) if budget.take(encoding.name().len()) => part.encoding = encoding,
                    _ => budget.flags.set(Flags::MALFORMED_CONTENT),
                }
            }
        }
        b"content-id" if seen.first(ID, budget) => part.id = budget.keep(field.value),
        b"content-description" if seen.first(DESCRIPTION, budget) => {
            part.description = budget.keep(field.value)
        }
        b"content-md5" if seen.first(MD5, budget) => part.md5 = budget.keep(field.value),
        b"content-location" if seen.first(LOCATION, budget) => part.location = budget.keep(field.value),
        b"content-language" if seen.first(LANGUAGE, budget) => {
            if let Some(value) = budget.keep(field.value) {
                let tags = value.split(|&b| b == b',').map(trim).filter(|t| !t.is_empty());
                part.language = tags.take(LANGUAGES_MAX).map(<[u8]>::to_vec).collect();
            }
        }
        _ => {}
    }
}

/// Takes in one well-formed field of a message's header.
pub(super) fn envelope_field(envelope: &mut Envelope, budget: &mut Budget, name: &[u8], value: &[u8]) {
    let (slot, is_list) = match name {
        b"date" => (&mut envelope.date, false),
        b"subject" => (&mut envelope.subject, false),
        b"from" => (&mut envelope.from, false),
        b"sender" => (&mut envelope.sender, false),
        b"reply-to" => (&mut envelope.reply_to, true),
        b"to" => (&mut envelope.to, true),
        b"cc" => (&mut envelope.cc, true),
        b"bcc" => (&mut envelope.bcc, true),
        b"in-reply-to" => (&mut envelope.in_reply_to, false),
        b"message-id" => (&mut envelope.message_id, false),
        _ => return,
    };
    let is_addresses = is_list || matches!(name, b"from" | b"sender");
    match slot {
        None => {
            let value = unfold(value);
            let kept = if is_addresses { cut_at_comma(&value, ENVELOPE_FIELD_MAX) } else { &value };
            if kept.len() < value.len() {
                budget.flags.set(Flags::CUT);
            }
            *slot = budget.keep(kept);
        }
        Some(so_far) if is_list => {
            let value = unfold(value);
            let room = ENVELOPE_FIELD_MAX.saturating_sub(so_far.len() + 2);
            let kept = cut_at_comma(&value, room);
            if kept.len() < value.len() {
                budget.flags.set(Flags::CUT);
            }
            if !kept.is_empty() && budget.take(kept.len() + 2) {
                so_far.extend_from_slice(b", ");
                so_far.extend_from_slice(kept);
            }
        }
        Some(_) => {}
    }
}

/// At most `max` octets of an address list, cut in front of a comma. The one entry that a cut may spoil, when
/// the comma stood in quotes, reads as invalid.
fn cut_at_comma(value: &[u8], max: usize) -> &[u8] {
    if value.len() <= max { value } else { &value[..memchr::memrchr(b',', &value[..max]).unwrap_or(0)] }
}

/// Whether a Received field says that `host` (in lower case) received it (RFC 5321 §4.4 `by`).
pub(super) fn is_received_by(value: &[u8], host: &str) -> bool {
    let mut words =
        value.split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b';')).filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"by") {
            return words.next().is_some_and(|w| w.eq_ignore_ascii_case(host.as_bytes()));
        }
    }
    false
}
