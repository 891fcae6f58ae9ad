//! The octets of an appended message: a lone LF becomes CRLF, a lone CR or a NUL is refused. What is stored
//! holds neither, whichever way it came.

/// Judges a message as it passes, in pieces of any size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineEnds {
    /// The last octet was a CR.
    behind_cr: bool,
}

/// What to do with the next octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many are good as they stand.
    Good(usize),
    /// One, a lone LF, is to be replaced by CRLF.
    LoneLf,
    /// No message may hold the next one.
    Bad,
}

impl LineEnds {
    /// Looks at `octets`, of which there is at least one.
    pub fn next(&mut self, octets: &[u8]) -> Piece {
        let mut at = 0;
        loop {
            let rest = octets.get(at..).unwrap_or_default();
            if self.behind_cr {
                match rest.first() {
                    Some(b'\n') => {
                        self.behind_cr = false;
                        at += 1;
                        continue;
                    }
                    Some(_) => return if at == 0 { Piece::Bad } else { Piece::Good(at) },
                    None => return Piece::Good(at),
                }
            }
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, rest) else {
                return Piece::Good(octets.len());
            };
            match rest.get(found) {
                Some(b'\r') => {
                    self.behind_cr = true;
                    at += found + 1;
                }
                // What stands before goes first.
                _ if at + found > 0 => return Piece::Good(at + found),
                Some(b'\n') => return Piece::LoneLf,
                _ => return Piece::Bad,
            }
        }
    }

    /// Whether the message may end here.
    pub fn is_whole(self) -> bool {
        !self.behind_cr
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn pass(message: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut ends = LineEnds::default();
        let mut stored = Vec::new();
        for chunk in message.chunks(size) {
            let mut rest = chunk;
            while !rest.is_empty() {
                match ends.next(rest) {
                    Piece::Good(n) => {
                        assert!(n > 0);
                        stored.extend_from_slice(&rest[..n]);
                        rest = &rest[n..];
                    }
                    Piece::LoneLf => {
                        stored.extend_from_slice(b"\r\n");
                        rest = &rest[1..];
                    }
                    Piece::Bad => return None,
                }
            }
        }
        ends.is_whole().then_some(stored)
    }

    #[test]
    fn every_split_gives_the_same_message() {
        for (message, expected) in [
            (&b"a\r\nb\r\n"[..], Some(&b"a\r\nb\r\n"[..])),
            (b"a\nb\r\n\n\nc", Some(b"a\r\nb\r\n\r\n\r\nc")),
            (b"\n", Some(b"\r\n")),
            (b"a\rb", None),
            (b"a\r", None),
            (b"\r\r\n", None),
            (b"a\0b", None),
            (b"a\r\n\0", None),
        ] {
            for size in 1..=message.len() {
                assert_eq!(pass(message, size).as_deref(), expected, "{message:?} in pieces of {size}");
            }
        }
    }
}
