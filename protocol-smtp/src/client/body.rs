//! Framing of message octets on their way from storage to the wire.

use super::session::ClientSession;
use crate::stuffing::{Pieces, Stuff};

/// Longest head of a BDAT chunk: `BDAT `, 20 digits, CRLF.
const HEAD_MAX: usize = 27;

/// Dot-stuffs for DATA or frames for BDAT, without copying. Flush what the session appended before the
/// first piece, write the pieces in order, and call [`BodyEncoder::finish`] after the last.
///
/// Dropped unfinished, the message ends as a temporary failure and the connection with it.
#[derive(Debug)]
pub struct BodyEncoder {
    framing: Framing,
    octets: u64,
    chunks: u64,
}

#[derive(Debug)]
enum Framing {
    Dots(Stuff),
    Chunks { head: [u8; HEAD_MAX] },
}

impl BodyEncoder {
    pub(super) fn new(bdat: bool) -> BodyEncoder {
        let framing =
            if bdat { Framing::Chunks { head: [0; HEAD_MAX] } } else { Framing::Dots(Stuff::new()) };
        BodyEncoder { framing, octets: 0, chunks: 0 }
    }

    /// The pieces to write for the next octets of the message; slices of `chunk` and framing between them.
    /// With BDAT each call makes one chunk. The peer answers each, and is heard only after the last, so they
    /// must be large: with 64 KiB the replies to the largest message fit into any socket's buffers.
    pub fn encode<'c>(&'c mut self, chunk: &'c [u8]) -> Encoded<'c> {
        self.octets += chunk.len() as u64;
        match &mut self.framing {
            Framing::Dots(stuff) => Encoded::Dots(stuff.encode(chunk)),
            Framing::Chunks { .. } if chunk.is_empty() => Encoded::Chunk([chunk; 2].into_iter()),
            Framing::Chunks { head } => {
                self.chunks += 1;
                Encoded::Chunk([write_head(head, chunk.len()), chunk].into_iter())
            }
        }
    }

    /// Octets of the message given so far.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The whole message was written. The next step is [`ClientStep::DotPending`](super::ClientStep).
    pub fn finish(self, session: &mut ClientSession) {
        let end: &'static [u8] = match self.framing {
            Framing::Dots(stuff) => stuff.finish(),
            Framing::Chunks { .. } => b"BDAT 0 LAST\r\n",
        };
        session.body_written(end, self.chunks);
    }
}

/// Iterator of [`BodyEncoder::encode`]. Empty pieces need not be written.
#[derive(Debug)]
pub enum Encoded<'c> {
    /// DATA.
    Dots(Pieces<'c>),
    /// BDAT: head and chunk.
    Chunk(core::array::IntoIter<&'c [u8], 2>),
}

impl<'c> Iterator for Encoded<'c> {
    type Item = &'c [u8];

    fn next(&mut self) -> Option<&'c [u8]> {
        match self {
            Encoded::Dots(pieces) => pieces.next(),
            Encoded::Chunk(pieces) => pieces.next(),
        }
    }
}

/// Writes `BDAT n CRLF` to the end of `head`.
fn write_head(head: &mut [u8; HEAD_MAX], mut n: usize) -> &[u8] {
    let mut at = HEAD_MAX;
    let mut put = |byte| {
        at -= 1;
        head[at] = byte;
    };
    put(b'\n');
    put(b'\r');
    loop {
        put(b'0' + (n % 10) as u8);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    b" TADB".iter().for_each(|b| put(*b));
    &head[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn encoded(bdat: bool, chunks: &[&[u8]]) -> Vec<u8> {
        let mut encoder = BodyEncoder::new(bdat);
        let mut out = Vec::new();
        for chunk in chunks {
            encoder.encode(chunk).for_each(|piece| out.extend_from_slice(piece));
        }
        out
    }

    #[test]
    fn so5_dots_are_stuffed_behind_crlf_only_and_lines_stay_as_they_are() {
        let long = [b'x'; 1_000_000];
        let message = [&b".\r\n..\r\na.b\r\n.c\r\n"[..], &long, b"\r\n\xc3\xa9\r\n"].concat();
        let wire = [&b"..\r\n...\r\na.b\r\n..c\r\n"[..], &long, b"\r\n\xc3\xa9\r\n"].concat();
        assert_eq!(encoded(false, &[&message]), wire);
        let bytewise: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(encoded(false, &bytewise), wire);
        let split: Vec<&[u8]> = message.chunks(7).collect();
        assert_eq!(encoded(false, &split), wire);
    }

    #[test]
    fn chunks_are_framed_and_not_stuffed() {
        assert_eq!(encoded(true, &[b".\r\n", b"", b"0123456789"]), b"BDAT 3\r\n.\r\nBDAT 10\r\n0123456789");
        let mut head = [0; HEAD_MAX];
        assert_eq!(write_head(&mut head, usize::MAX), b"BDAT 18446744073709551615\r\n");
    }
}
