//! What goes into an object: fields put in front, then a spooled message, without some of its ranges.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::spool::{Spool, SpoolReader};

/// The plaintext of an object. Cheap to clone; reading may block.
#[derive(Clone)]
pub struct Content {
    prefix: Vec<u8>,
    body: SpoolReader,
    keep: Vec<Range<u64>>,
}

impl Content {
    /// `prefix`, then the spooled message without the ranges in `skip`, which may touch but neither overlap
    /// nor go backwards nor reach past the end ([`Error::Refused`] otherwise).
    pub fn new(prefix: Vec<u8>, spool: &Spool, skip: &[Range<u64>]) -> Result<Content> {
        let invalid = || Error::Refused(crate::Refusal::Invalid("ranges to leave out of the message".into()));
        let mut keep = Vec::with_capacity(skip.len() + 1);
        let mut at = 0;
        for range in skip {
            if range.start < at || range.end < range.start || range.end > spool.len() {
                return Err(invalid());
            }
            if range.start > at {
                keep.push(at..range.start);
            }
            at = range.end;
        }
        if at < spool.len() {
            keep.push(at..spool.len());
        }
        Ok(Content { prefix, body: spool.reader(), keep })
    }

    /// Octets in all.
    pub fn len(&self) -> u64 {
        self.prefix.len() as u64 + self.keep.iter().map(|r| r.end - r.start).sum::<u64>()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `len` octets from `offset`, fewer only at the end.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(len.min(usize::try_from(self.len()).unwrap_or(len)));
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.prefix.len());
        let from_prefix = &self.prefix[start..self.prefix.len().min(start.saturating_add(len))];
        out.extend_from_slice(from_prefix);
        let mut skip = offset.saturating_sub(self.prefix.len() as u64);
        for range in &self.keep {
            let have = range.end - range.start;
            if skip >= have {
                skip -= have;
                continue;
            }
            let want = (have - skip).min((len - out.len()) as u64);
            if want == 0 {
                break;
            }
            self.body.read(range.start + skip, want as usize, &mut out)?;
            skip = 0;
        }
        Ok(out)
    }

    /// BLAKE3 of it all.
    pub fn hash(&self) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        loop {
            let piece = self.read(at, super::CHUNK_LEN)?;
            if piece.is_empty() {
                return Ok(*hasher.finalize().as_bytes());
            }
            at += piece.len() as u64;
            hasher.update(&piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(prefix: &str, body: &str, skip: &[Range<u64>]) -> Result<Content> {
        Content::new(prefix.into(), &Spool::from_bytes(body.as_bytes().to_vec()), skip)
    }

    #[test]
    fn prefix_and_kept_ranges_are_read_at_every_offset_and_length() {
        let content = content("abc", "0123456789", &[0..2, 4..5, 5..6, 9..10]).unwrap();
        let whole = b"abc23678";
        assert_eq!(content.len(), 8);
        for from in 0..10usize {
            for len in 0..10 {
                let want = &whole[from.min(8)..(from + len).min(8)];
                assert_eq!(content.read(from as u64, len).unwrap(), want, "{from} {len}");
            }
        }
        assert_eq!(content.hash().unwrap(), *blake3::hash(whole).as_bytes());
    }

    #[test]
    fn ranges_out_of_order_or_past_the_end_are_refused() {
        for skip in [[2..4, 3..5], [4..5, 1..2], [0..1, 1..11], [Range { start: 3, end: 2 }, 4..5]] {
            assert!(content("", "0123456789", &skip).is_err(), "{skip:?}");
        }
        assert!(content("", "", &[]).unwrap().is_empty());
    }
}
