//! Framing of responses, for clients.

use protocol_core::RecvBuf;

use super::{LineEnd, find_crlf, line_end};

/// What [`ResponseFramer::poll`] found.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFrame {
    /// More octets, or EOF.
    NeedInput,
    /// A whole response, or what is left of one behind a streamed literal: take `len` octets.
    Whole {
        /// Its octets with the final CRLF.
        len: usize,
    },
    /// A literal too large to be held was announced: take the `len` octets before it, up to the CRLF behind
    /// its announcement, then poll for its chunks. `Whole` or `Stream` with the rest of the response follows.
    Stream {
        /// Octets before the literal.
        len: usize,
        /// Octets of the literal.
        octets: u64,
    },
    /// `len` octets of the literal under way: take them.
    Chunk {
        /// Never 0.
        len: usize,
    },
    /// The server sends more in one response than is held, or a literal without an end: close.
    TooLong,
}

/// Finds responses in a receive buffer. Holds offsets only.
#[derive(Clone, Debug)]
pub struct ResponseFramer {
    /// Literals above this are streamed.
    held_literal: usize,
    /// A response without its streamed literals holds at most this.
    response: usize,
    /// Octets of a streamed literal that are still to come.
    left: u64,
    line_start: usize,
    searched: usize,
}

impl ResponseFramer {
    /// Literals above `held_literal` octets are streamed; a response without them holds at most `response`
    /// octets, which the receive buffer must be able to hold.
    pub fn new(held_literal: usize, response: usize) -> Self {
        ResponseFramer { held_literal, response, left: 0, line_start: 0, searched: 0 }
    }

    /// Looks for the next response or chunk.
    pub fn poll(&mut self, input: &mut RecvBuf) -> ResponseFrame {
        if self.left > 0 {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
            self.left -= len as u64;
            return if len == 0 { ResponseFrame::NeedInput } else { ResponseFrame::Chunk { len } };
        }
        let bytes = input.bytes();
        while bytes.len() >= self.searched {
            let found = find_crlf(bytes, self.line_start, self.searched);
            // Where the line ends, or as far as one knows that it does not.
            let end = found.map_or(bytes.len().saturating_add(1), |lf| lf + 1);
            if end > self.response {
                return ResponseFrame::TooLong;
            }
            let Some(lf) = found else {
                self.searched = bytes.len();
                break;
            };
            match line_end(bytes.get(self.line_start..lf - 1).unwrap_or_default()) {
                LineEnd::Endless => return ResponseFrame::TooLong,
                LineEnd::Plain => {
                    self.restart();
                    return ResponseFrame::Whole { len: end };
                }
                LineEnd::Literal(literal) => match usize::try_from(literal.octets) {
                    Ok(octets) if octets <= self.held_literal => {
                        self.line_start = end.saturating_add(octets);
                        self.searched = self.line_start;
                        if self.searched > self.response {
                            return ResponseFrame::TooLong;
                        }
                    }
                    _ => {
                        self.restart();
                        self.left = literal.octets;
                        return ResponseFrame::Stream { len: end, octets: literal.octets };
                    }
                },
            }
        }
        if input.is_full() { ResponseFrame::TooLong } else { ResponseFrame::NeedInput }
    }

    fn restart(&mut self) {
        self.line_start = 0;
        self.searched = 0;
    }
}
