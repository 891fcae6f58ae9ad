//! Telling delimiter lines from others (RFC 2046 §5.1.1).
//!
//! A delimiter is a whole line: `--`, the boundary, maybe `--`, and nothing but white space behind. So a
//! boundary that another one begins with is never taken for it. Of two that fit (`x` closing, `x--` opening)
//! the longer one counts, of two equal ones the innermost.

use alloc::vec::Vec;

use super::limits::BOUNDARY_MAX;

/// Octets of a line that are looked at: `--`, a boundary, `--`.
const HEAD_MAX: usize = BOUNDARY_MAX + 4;

/// The boundary of an open multipart.
#[derive(Clone, Debug)]
pub(super) struct Boundary {
    text: Vec<u8>,
    /// Compared first: a message may open a hundred multiparts and then send millions of lines that look
    /// almost like one of their boundaries.
    hash: u64,
}

impl Boundary {
    /// `None` when it cannot be one: empty, too long, with control characters or octets over 127. Spaces at
    /// its end are not part of it.
    pub fn new(value: &[u8]) -> Option<Boundary> {
        let text = trim_end(value);
        let valid = (1..=BOUNDARY_MAX).contains(&text.len()) && text.iter().all(|b| (32..127).contains(b));
        valid.then(|| Boundary { text: text.to_vec(), hash: hash(text) })
    }

    fn is(&self, text: &[u8], hash: u64) -> bool {
        self.hash == hash && self.text == text
    }
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t' | b'\r'] = text {
        text = rest;
    }
    text
}

/// FNV-1a.
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// The beginning of the current line, kept while it may be a delimiter.
#[derive(Debug, Default)]
pub(super) struct LineHead {
    text: Vec<u8>,
    /// The line begins with `-` and there is nothing but white space past what is kept.
    candidate: bool,
}

impl LineHead {
    /// A new line begins with this octet.
    pub fn begin(&mut self, first: u8) {
        self.text.clear();
        self.candidate = first == b'-';
    }

    /// The next octets of the line.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.candidate {
            return;
        }
        let room = HEAD_MAX - self.text.len();
        let (kept, rest) = bytes.split_at(room.min(bytes.len()));
        self.text.extend_from_slice(kept);
        self.candidate = rest.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'));
    }

    /// The line ended: which of `open` (outermost first) it delimits, and whether it closes it.
    pub fn delimits<'b>(
        &mut self,
        open: impl DoubleEndedIterator<Item = (usize, &'b Boundary)> + Clone,
    ) -> Option<(usize, bool)> {
        if !core::mem::take(&mut self.candidate) {
            return None;
        }
        let text = trim_end(self.text.strip_prefix(b"--")?);
        let find = |text: &[u8]| {
            let hash = hash(text);
            open.clone().rev().find(|(_, b)| b.is(text, hash)).map(|(level, _)| level)
        };
        if let Some(level) = find(text) {
            return Some((level, false));
        }
        find(text.strip_suffix(b"--")?).map(|level| (level, true))
    }
}
