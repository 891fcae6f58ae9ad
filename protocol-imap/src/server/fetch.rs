//! FETCH: what each item needs, and one response row item by item.
//!
//! A [`Row`] is a small machine of its own. It writes what it knows and stops where octets of the stored
//! message are needed: to look at ([`RowStep::Read`]), to count ([`RowStep::Size`]), or to be copied from
//! storage to the transport without passing through here ([`RowStep::Stream`]).

mod body;
mod envelope;
mod row;
mod section;

use core::fmt;
use core::ops::Range;

use protocol_core::message::Encoding;

use crate::codec::{Fetch, FetchItem, Section, SectionText};

pub use row::Row;

/// FETCH.
///
/// For each target: read the row, and what [`Fetching::needs`] says; [`ServerSession::row`](super::ServerSession::row), then
/// [`Row::step`] until [`RowStep::Done`]; flush whenever the send buffer is high.
///
/// When [`Fetching::sets_seen`], first store `\Seen` for those targets that lack it (those of
/// [`Fetching::wants`] only), and pass `seen_now` for them.
#[derive(Clone, Copy, Debug)]
pub struct Fetching<'b> {
    pub(super) fetch: Fetch<'b>,
    pub(super) read_only: bool,
}

/// What rows of a FETCH need besides [`RowData`](super::RowData).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The message's [`Structure`](protocol_core::message::Structure).
    pub structure: bool,
    /// The message's octets may be asked for.
    pub content: bool,
}

impl<'b> Fetching<'b> {
    /// What its rows need.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for item in self.fetch.items.iter() {
            let (structure, content) = match item {
                FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure => (true, false),
                FetchItem::Rfc822 => (false, true),
                FetchItem::Section { section, .. } => (!is_whole(&section), true),
                FetchItem::Rfc822Header
                | FetchItem::Rfc822Text
                | FetchItem::Binary { .. }
                | FetchItem::BinarySize(_) => (true, true),
                _ => (false, false),
            };
            needs.structure |= structure;
            needs.content |= content;
        }
        needs
    }

    /// Whether messages count as read by this FETCH: content is asked for without PEEK, and the folder is not
    /// read-only.
    pub fn sets_seen(&self) -> bool {
        !self.read_only
            && self.fetch.items.iter().any(|item| {
                matches!(
                    item,
                    FetchItem::Rfc822
                        | FetchItem::Rfc822Text
                        | FetchItem::Section { peek: false, .. }
                        | FetchItem::Binary { peek: false, .. }
                )
            })
    }

    /// Whether a message of this modification sequence is to be fetched at all (RFC 7162 §3.1.4.1).
    pub fn wants(&self, modseq: u64) -> bool {
        self.fetch.changed_since.is_none_or(|since| modseq > since)
    }

    fn asks_for(&self, wanted: &FetchItem<'_>) -> bool {
        self.fetch.items.iter().any(|item| item == *wanted)
    }
}

fn is_whole(section: &Section<'_>) -> bool {
    section.part.is_message() && section.text == SectionText::All
}

/// What a row needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum RowStep {
    /// Octets of the stored message, all of them at once: [`Row::supply`]. At most a header
    /// (`protocol_core::message::limits::HEADER_OCTETS_MAX`).
    Read {
        /// Which.
        range: Range<u64>,
    },
    /// How many octets these give when decoded: [`Row::decoded_size`].
    Size {
        /// Octets of the stored message.
        range: Range<u64>,
        /// Their transfer encoding.
        encoding: Encoding,
    },
    /// Flush, copy exactly these octets to the transport: [`Row::streamed`].
    Stream {
        /// Octets of the stored message; at least one.
        range: Range<u64>,
    },
    /// Flush, decode these octets, leave out the first `skip` of what comes and copy the next `len` to the
    /// transport: [`Row::streamed`].
    StreamDecoded {
        /// Octets of the stored message.
        range: Range<u64>,
        /// Their transfer encoding.
        encoding: Encoding,
        /// Decoded octets to leave out.
        skip: u64,
        /// Decoded octets to send; at least one.
        len: u64,
    },
    /// The row is complete.
    Done,
}

/// Another number of octets went to the transport than was announced. The connection can only be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Announced and not sent.
    pub missing: i128,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets of a literal are missing", self.missing)
    }
}
