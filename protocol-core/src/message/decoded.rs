//! What the leaves of a message decode to, counted while they pass.
//!
//! Whether a line is a delimiter shows at its end, and then neither it nor the line end in front of it belongs
//! to the body. So the last line end is held back, and a line that begins like a delimiter keeps the count as
//! it was in front of it.

use alloc::vec::Vec;

use super::content::Encoding;
use super::decode::Decoder;
use super::structure::{Kind, Part};

/// Octets that are decoded at a time.
const PIECE: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct DecodedParts {
    /// Of the body being read.
    current: Option<Count>,
    /// As it was in front of a line that may be a delimiter.
    before: Option<Count>,
    /// A line end, or its CR, that was not counted yet.
    held: &'static [u8],
    scratch: Vec<u8>,
    largest: u64,
}

#[derive(Clone, Debug)]
struct Count {
    decoder: Decoder,
    octets: u64,
}

impl Count {
    fn feed(&mut self, bytes: &[u8], scratch: &mut Vec<u8>) {
        if let Decoder::Identity = self.decoder {
            self.octets = self.octets.saturating_add(bytes.len() as u64);
            return;
        }
        for piece in bytes.chunks(PIECE) {
            scratch.clear();
            self.decoder.feed(piece, scratch);
            self.octets = self.octets.saturating_add(scratch.len() as u64);
        }
    }
}

impl DecodedParts {
    /// A body in this encoding begins.
    pub fn begin(&mut self, encoding: &Encoding) {
        self.current = Some(Count { decoder: Decoder::new(encoding), octets: 0 });
        (self.before, self.held) = (None, b"");
    }

    /// A header begins; what was read in front of it was no leaf.
    pub fn stop(&mut self) {
        (self.current, self.before, self.held) = (None, None, b"");
    }

    /// Octets of a line, without its LF.
    pub fn feed(&mut self, is_line_start: bool, bytes: &[u8]) {
        let Some(count) = &mut self.current else { return };
        if is_line_start {
            self.before = bytes.starts_with(b"-").then(|| count.clone());
        }
        count.feed(self.held, &mut self.scratch);
        let (now, held): (&[u8], &[u8]) = match bytes {
            [now @ .., b'\r'] => (now, b"\r"),
            _ => (bytes, b""),
        };
        count.feed(now, &mut self.scratch);
        self.held = held;
    }

    /// LF, of a line that is no delimiter.
    pub fn line_end(&mut self) {
        let Some(count) = &mut self.current else { return };
        self.before = None;
        self.held = match self.held {
            b"\r" => b"\r\n",
            held => {
                count.feed(held, &mut self.scratch);
                b"\n"
            }
        };
    }

    /// The line was a delimiter.
    pub fn rewind(&mut self) {
        (self.current, self.held) = (self.before.take(), b"");
    }

    /// A part ended; the innermost of several comes first, and the count is its own.
    pub fn end(&mut self, part: &Part) {
        let Some(mut count) = self.current.take() else { return };
        count.feed(core::mem::take(&mut self.held), &mut self.scratch);
        if part.kind == Kind::Leaf && !part.is_inline_text() {
            self.scratch.clear();
            count.decoder.finish(&mut self.scratch);
            self.largest = self.largest.max(count.octets.saturating_add(self.scratch.len() as u64));
        }
    }

    /// Decoded octets of the largest leaf that is not text shown inline.
    pub fn largest(&self) -> u64 {
        self.largest
    }
}
