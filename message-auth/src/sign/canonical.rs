//! Relaxed canonicalisation (RFC 6376 §3.4.2, §3.4.4): of a body as it passes, of single fields at once.

use protocol_core::message::header::trim;
use sha2::{Digest, Sha256};

/// Canonical octets are hashed in pieces of this many.
const PIECE: usize = 4096;

/// The hash of a body in relaxed canonicalisation, fed in any pieces: the memory does not grow with the body.
///
/// Only CRLF ends a line. A lone CR or LF is an octet like others, as it is for verifiers.
pub struct BodyHash {
    hasher: Sha256,
    canonical: Vec<u8>,
    /// White space that stands before whatever comes next; it goes when that is the end of the line.
    space: bool,
    /// A CR that ends the line if LF is next.
    cr: bool,
    /// Line ends that count only if something follows them.
    line_ends: u64,
    /// Whether the body has any octet that counts.
    any: bool,
}

impl BodyHash {
    /// Of an empty body.
    pub fn new() -> Self {
        BodyHash {
            hasher: Sha256::new(),
            canonical: Vec::with_capacity(PIECE),
            space: false,
            cr: false,
            line_ends: 0,
            any: false,
        }
    }

    /// Takes the next octets of the body.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while let Some((&first, rest)) = octets.split_first() {
            if std::mem::take(&mut self.cr) {
                if first == b'\n' {
                    self.space = false;
                    self.line_ends += 1;
                    octets = rest;
                    continue;
                }
                self.put(b"\r");
            }
            octets = match first {
                b' ' | b'\t' => {
                    self.space = true;
                    rest
                }
                b'\r' => {
                    self.cr = true;
                    rest
                }
                _ => {
                    let len = memchr::memchr3(b' ', b'\t', b'\r', octets).unwrap_or(octets.len());
                    self.put(&octets[..len]);
                    &octets[len..]
                }
            };
        }
    }

    /// SHA-256 of the canonical body: without the blank lines at its end, with one CRLF after the last line.
    pub fn finish(mut self) -> BodyDigest {
        if self.cr {
            self.put(b"\r");
        }
        if self.any {
            self.canonical.extend_from_slice(b"\r\n");
        }
        self.hasher.update(&self.canonical);
        BodyDigest(self.hasher.finalize().into())
    }

    /// Octets that count, and with them what waited in front of them.
    fn put(&mut self, octets: &[u8]) {
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.write(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.write(b" ");
        }
        self.any = true;
        self.write(octets);
    }

    fn write(&mut self, octets: &[u8]) {
        if self.canonical.len() + octets.len() > PIECE {
            self.hasher.update(&self.canonical);
            self.canonical.clear();
        }
        if octets.len() > PIECE {
            self.hasher.update(octets);
        } else {
            self.canonical.extend_from_slice(octets);
        }
    }
}

impl Default for BodyHash {
    fn default() -> Self {
        BodyHash::new()
    }
}

/// What [`BodyHash`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest(pub(super) [u8; 32]);

/// Appends a field without its CRLF: the name in lower case, the value on one line, white space as one space.
pub(super) fn relaxed_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(trim(name).iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let mut space = false;
    for &octet in trim(value) {
        match octet {
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = true,
            _ => {
                if std::mem::take(&mut space) {
                    out.push(b' ');
                }
                out.push(octet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6376 §3.4.4 word by word, over the whole body.
    fn whole(body: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let end = rest.windows(2).position(|w| w == b"\r\n");
            let line = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |end| &rest[end + 2..]);
            let mut out: Vec<u8> = Vec::new();
            for &octet in line {
                match octet {
                    b' ' | b'\t' if out.last() == Some(&b' ') => {}
                    b' ' | b'\t' => out.push(b' '),
                    octet => out.push(octet),
                }
            }
            if out.last() == Some(&b' ') {
                out.pop();
            }
            lines.push(out);
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines.iter().flat_map(|line| [line.as_slice(), b"\r\n"].concat()).collect()
    }

    fn hashed(pieces: &[&[u8]]) -> [u8; 32] {
        let mut hash = BodyHash::new();
        pieces.iter().for_each(|piece| hash.feed(piece));
        hash.finish().0
    }

    #[test]
    fn bodies_are_canonical_as_the_rfc_shows() {
        assert_eq!(whole(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        let bodies: [&[u8]; 12] = [
            b"",
            b"\r\n",
            b" \t\r\n \r\n",
            b"  ",
            b" C \r\nD \t E\r\n\r\n\r\n",
            b"no line end",
            b"space at the end ",
            b"a\r\n\r\n \r\nb\r\n",
            b"lone \r CR and \n LF\r",
            b"\r\r\n\r\r\n",
            b" \r \r\n",
            b"\n\r\n",
        ];
        for body in bodies {
            let want: [u8; 32] = Sha256::digest(whole(body)).into();
            assert_eq!(hashed(&[body]), want, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn long_lines_and_many_blank_lines_pass_piece_by_piece() {
        for len in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let body = [vec![b'x'; len], b"\r\n".repeat(len), b"end".to_vec()].concat();
            let want: [u8; 32] = Sha256::digest(whole(&body)).into();
            assert_eq!(hashed(&[&body]), want, "{len}");
        }
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 9] = [b"a", b"xyz", b" ", b"\t", b"  ", b"\r\n", b"\r", b"\n", b"\xc3\xa9"];
        proptest::collection::vec(proptest::sample::select(pieces.map(<[u8]>::to_vec).to_vec()), 0..40)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_hash_of_the_whole(body in octets(), cuts in proptest::collection::vec(0usize..80, 0..6)) {
            let want: [u8; 32] = Sha256::digest(whole(&body)).into();
            prop_assert_eq!(hashed(&[&body]), want);
            let singles: Vec<&[u8]> = body.chunks(1).collect();
            prop_assert_eq!(hashed(&singles), want);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (body.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(body.len());
            let mut at = 0;
            let pieces: Vec<&[u8]> = cuts.iter().map(|&c| &body[std::mem::replace(&mut at, c)..c]).collect();
            prop_assert_eq!(hashed(&pieces), want);
        }
    }

    #[test]
    fn fields_are_canonical_as_the_rfc_shows() {
        let mut out = Vec::new();
        relaxed_field(b"A", b" X\r\n", &mut out);
        out.push(b'|');
        relaxed_field(b"B ", b" Y\t\r\n\tZ  ", &mut out);
        assert_eq!(out, b"a:X|b:Y Z");
    }
}
