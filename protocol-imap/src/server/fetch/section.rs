//! Where a section of a message lies (RFC 9051 §6.4.5.1), and the header fields that one asks for.

use core::ops::Range;

use protocol_core::SendBuf;
use protocol_core::message::{Encoding, Fields, Kind, Structure};

use crate::codec::command::fetch::PART_DEPTH_MAX;
use crate::codec::{PartPath, Partial, Section, SectionText};

/// Where the octets of a section come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// These octets of the stored message.
    Range(Range<u64>),
    /// Some fields of the header that stands here.
    Fields(Range<u64>),
    /// There is no such section.
    Nothing,
}

/// Finds a section. `size` is that of the whole message, which needs no structure.
pub(super) fn locate(section: &Section<'_>, size: u64, structure: Option<&Structure>) -> Source {
    if section.part.is_message() && section.text == SectionText::All {
        return Source::Range(0..size);
    }
    let Some(structure) = structure else { return Source::Nothing };
    let Some(index) = part(structure, &section.part) else { return Source::Nothing };
    let Some(found) = structure.part(index) else { return Source::Nothing };
    let range = match &section.text {
        SectionText::All => return Source::Range(found.body()),
        SectionText::Mime => return Source::Range(found.header()),
        SectionText::Header
        | SectionText::Text
        | SectionText::HeaderFields(_)
        | SectionText::HeaderFieldsNot(_) => {
            // These are about a message: the whole one, or the one inside a message/rfc822 part.
            let message = if section.part.is_message() {
                Some(found)
            } else if found.kind == Kind::Message {
                structure.children(index).next().and_then(|child| structure.part(child))
            } else {
                None
            };
            let Some(message) = message else { return Source::Nothing };
            if section.text == SectionText::Text {
                return Source::Range(message.body());
            }
            message.header()
        }
    };
    if section.text == SectionText::Header { Source::Range(range) } else { Source::Fields(range) }
}

/// The body of a part and its transfer encoding, `None` for content that stands as it is.
pub(super) fn binary(
    path: &PartPath<'_>,
    size: u64,
    structure: Option<&Structure>,
) -> Option<(Range<u64>, Option<Encoding>)> {
    if path.is_message() {
        return Some((0..size, None));
    }
    let structure = structure?;
    let found = structure.part(part(structure, path)?)?;
    let encoded = found.kind == Kind::Leaf && !found.encoding.is_identity();
    Some((found.body(), encoded.then(|| found.encoding.clone())))
}

fn part(structure: &Structure, path: &PartPath<'_>) -> Option<usize> {
    let mut numbers = [0; PART_DEPTH_MAX];
    let mut len = 0;
    for number in path.numbers() {
        *numbers.get_mut(len)? = number;
        len += 1;
    }
    structure.section(numbers.get(..len)?)
}

/// How many octets a partial range leaves out and how many it takes, of `size`.
pub(super) fn clip(size: u64, partial: Option<Partial>) -> (u64, u64) {
    match partial {
        None => (0, size),
        Some(Partial { offset, count }) => {
            let skip = offset.min(size);
            (skip, count.min(size - skip))
        }
    }
}

/// Writes ` {n}` and the fields of `header` that the section asks for, with the blank line that always ends
/// them.
pub(super) fn write_fields(
    text: &SectionText<'_>,
    header: &[u8],
    partial: Option<Partial>,
    out: &mut SendBuf,
) {
    let pieces = || {
        let fields = Fields::new(header).filter(|field| asked_for(text, field.name));
        let fields = fields.filter_map(|field| header.get(field.range));
        fields.chain(core::iter::once(&b"\r\n"[..]))
    };
    let size = pieces().map(|piece| piece.len() as u64).sum();
    let (mut skip, mut len) = clip(size, partial);
    out.push(b" {");
    out.push_decimal(len);
    out.push(b"}\r\n");
    for piece in pieces() {
        let from = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        skip -= from as u64;
        let rest = piece.get(from..).unwrap_or_default();
        let take = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        len -= take as u64;
        out.push(rest.get(..take).unwrap_or_default());
    }
}

/// Whether a field of this name is among those asked for. A line that is no field is in HEADER.FIELDS.NOT.
fn asked_for(text: &SectionText<'_>, name: &[u8]) -> bool {
    match text {
        SectionText::HeaderFields(names) => names.iter().any(|n| n.eq_ignore_ascii_case(name)),
        SectionText::HeaderFieldsNot(names) => !names.iter().any(|n| n.eq_ignore_ascii_case(name)),
        _ => true,
    }
}
