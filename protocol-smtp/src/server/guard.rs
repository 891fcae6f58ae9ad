//! Counts header fields as a message passes: too many, too large, or a loop (RFC 5321 §6.3).

use super::Refusal;
use crate::limits::{HEADER_FIELDS_MAX, HEADER_OCTETS_MAX, RECEIVED_LOOP};

const RECEIVED: &[u8] = b"received:";

/// Watches the header only; the body costs nothing. Any split of the message gives the same verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderGuard {
    at: At,
    octets: u64,
    fields: u32,
    received: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// First octet of a line.
    LineStart,
    /// A CR at the start of a line: the empty line, if LF follows.
    EmptyLineCr,
    /// So many octets of `Received:` have matched.
    Name(u8),
    /// Somewhere in a line that matters no more.
    Line,
    Body,
}

impl HeaderGuard {
    pub(crate) fn new() -> Self {
        HeaderGuard { at: At::LineStart, octets: 0, fields: 0, received: 0 }
    }

    /// Judges the next octets.
    pub(crate) fn watch(&mut self, mut text: &[u8]) -> Result<(), Refusal> {
        while self.at != At::Body && !text.is_empty() {
            let used = match self.at {
                At::Line => memchr::memchr(b'\n', text).map_or(text.len(), |i| i + 1),
                _ => 1,
            };
            self.octets += used as u64;
            let last = text[used - 1];
            self.at = self.next(last);
            text = &text[used..];
            if self.octets > HEADER_OCTETS_MAX || self.fields > HEADER_FIELDS_MAX {
                return Err(Refusal::HeaderLimit);
            }
            if self.received > RECEIVED_LOOP {
                return Err(Refusal::Loop);
            }
        }
        Ok(())
    }

    fn next(&mut self, octet: u8) -> At {
        match (self.at, octet) {
            (At::LineStart, b'\r') => At::EmptyLineCr,
            (At::EmptyLineCr, b'\n') => At::Body,
            (_, b'\n') => At::LineStart,
            (At::LineStart, b' ' | b'\t') => At::Line,
            (At::LineStart, first) => {
                self.fields += 1;
                if first.eq_ignore_ascii_case(&RECEIVED[0]) { At::Name(1) } else { At::Line }
            }
            (At::Name(n), octet) if RECEIVED.get(usize::from(n)) == Some(&octet.to_ascii_lowercase()) => {
                if usize::from(n) + 1 == RECEIVED.len() {
                    self.received += 1;
                    At::Line
                } else {
                    At::Name(n + 1)
                }
            }
            _ => At::Line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn judge(message: &[u8], size: usize) -> Result<(), Refusal> {
        let mut guard = HeaderGuard::new();
        message.chunks(size).try_for_each(|c| guard.watch(c))
    }

    fn check(message: &[u8], expected: Result<(), Refusal>) {
        for size in [1, 2, 3, 7, 1000, message.len()] {
            assert_eq!(judge(message, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn si17_a_hundred_received_fields_pass_and_one_more_is_a_loop() {
        let message =
            |n: usize| [b"RECEIVED: x\r\n\ty\r\n".repeat(n), b"\r\nReceived: body\r\n".repeat(200)].concat();
        check(&message(RECEIVED_LOOP as usize), Ok(()));
        check(&message(RECEIVED_LOOP as usize + 1), Err(Refusal::Loop));
    }

    #[test]
    fn si35_fields_and_octets_at_the_limit_and_past_it() {
        let fields = |n: usize| [b"To: x\r\n".repeat(n), b"\r\nbody\r\n".to_vec()].concat();
        check(&fields(HEADER_FIELDS_MAX as usize), Ok(()));
        check(&fields(HEADER_FIELDS_MAX as usize + 1), Err(Refusal::HeaderLimit));
        let large = |n: u64| {
            let mut m: Vec<u8> = b"X: ".to_vec();
            m.resize(n as usize - 4, b'x');
            m.extend_from_slice(b"\r\n\r\nbody\r\n");
            m
        };
        check(&large(HEADER_OCTETS_MAX), Ok(()));
        check(&large(HEADER_OCTETS_MAX + 1), Err(Refusal::HeaderLimit));
    }

    #[test]
    fn a_message_without_a_header_is_all_body() {
        check(b"\r\nTo: x\r\n", Ok(()));
    }
}
