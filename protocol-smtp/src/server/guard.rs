//! Counts header fields as a message passes: too many, too large, or a loop (RFC 5321 §6.3).

use super::Refusal;
use crate::limits::{HEADER_FIELDS_MAX, HEADER_OCTETS_MAX, OWN_RECEIVED_LOOP, RECEIVED_LOOP};

const RECEIVED: &[u8] = b"received:";

/// Watches the header only; the body costs nothing. Any split of the message gives the same verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderGuard {
    at: At,
    octets: u64,
    fields: u32,
    received: u32,
    own: u32,
    /// In a Received field: how far `by` and our own name have matched.
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// First octet of a line.
    LineStart,
    /// A CR at the start of a line: the empty line, if LF follows.
    EmptyLineCr,
    /// So many octets of `Received:` have matched.
    Name(u8),
    /// In a Received field, folded or not.
    Received,
    /// Somewhere in a line that matters no more.
    Line,
    Body,
}

/// A match of `by SP hostname` as a word, octet by octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// This field has been counted, or it is no Received field.
    Counted,
    /// Inside another word.
    Other,
    Space,
    B,
    Y,
    /// White space behind `by`.
    Gap,
    /// So many octets of the name.
    Name(u16),
}

impl HeaderGuard {
    pub(crate) fn new() -> Self {
        HeaderGuard { at: At::LineStart, octets: 0, fields: 0, received: 0, own: 0, by: By::Counted }
    }

    /// Judges the next octets. `own` is our host name, the same each time.
    pub(crate) fn watch(&mut self, mut text: &[u8], own: &str) -> Result<(), Refusal> {
        while self.at != At::Body && !text.is_empty() {
            let used = match self.at {
                At::Line => memchr::memchr(b'\n', text).map_or(text.len(), |i| i + 1),
                _ => 1,
            };
            let (seen, rest) = text.split_at(used);
            text = rest;
            self.octets = self.octets.saturating_add(used as u64);
            if let Some(&last) = seen.last() {
                self.at = self.next(last, own.as_bytes());
            }
            if self.octets > HEADER_OCTETS_MAX || self.fields > HEADER_FIELDS_MAX {
                return Err(Refusal::HeaderLimit);
            }
            if self.received > RECEIVED_LOOP || self.own >= OWN_RECEIVED_LOOP {
                return Err(Refusal::Loop);
            }
        }
        Ok(())
    }

    fn next(&mut self, octet: u8, own: &[u8]) -> At {
        match (self.at, octet) {
            (At::LineStart, b'\r') => At::EmptyLineCr,
            (At::EmptyLineCr, b'\n') => At::Body,
            (At::Received, octet) => {
                self.match_by(octet, own);
                if octet == b'\n' { At::LineStart } else { At::Received }
            }
            (_, b'\n') => At::LineStart,
            // A folded line belongs to the field before it (RFC 5322 §2.2.3).
            (At::LineStart, b' ' | b'\t') if self.by != By::Counted => At::Received,
            (At::LineStart, b' ' | b'\t') => At::Line,
            (At::LineStart, first) => {
                self.fields += 1;
                self.by = By::Counted;
                if first.eq_ignore_ascii_case(&b'r') { At::Name(1) } else { At::Line }
            }
            (At::Name(n), octet) if RECEIVED.get(usize::from(n)) == Some(&octet.to_ascii_lowercase()) => {
                if usize::from(n) + 1 < RECEIVED.len() {
                    return At::Name(n + 1);
                }
                self.received += 1;
                self.by = By::Space;
                At::Received
            }
            _ => At::Line,
        }
    }

    /// Follows `by`, white space and our own name through a Received field, each as a word.
    fn match_by(&mut self, octet: u8, own: &[u8]) {
        let space = matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
        let lower = octet.to_ascii_lowercase();
        self.by = match self.by {
            By::Counted => By::Counted,
            By::Name(n) if usize::from(n) == own.len() => {
                // The name must end here, or it is only the beginning of another's.
                if lower.is_ascii_alphanumeric() || matches!(lower, b'.' | b'-' | b'_') {
                    By::Other
                } else {
                    self.own += 1;
                    By::Counted
                }
            }
            By::Name(n) if own.get(usize::from(n)).is_some_and(|o| o.to_ascii_lowercase() == lower) => {
                By::Name(n + 1)
            }
            By::Gap if own.first().is_some_and(|o| o.to_ascii_lowercase() == lower) => By::Name(1),
            By::Y | By::Gap if space => By::Gap,
            _ if space => By::Space,
            By::Space if lower == b'b' => By::B,
            By::B if lower == b'y' => By::Y,
            _ => By::Other,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const OWN: &str = "mx.example.test";

    fn judge(message: &[u8], size: usize) -> Result<(), Refusal> {
        let mut guard = HeaderGuard::new();
        message.chunks(size).try_for_each(|c| guard.watch(c, OWN))
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
    fn si17_our_own_received_field_five_times_is_a_loop() {
        let fields = |field: &str, n: usize| [field.repeat(n).as_bytes(), b"\r\nbody\r\n"].concat();
        for field in [
            "Received: from a (b [192.0.2.1]) by mx.example.test with ESMTP id 1; x\r\n",
            "received: from a\r\n\tBY  MX.Example.Test;\r\n x\r\n",
            "Received: by\r\n mx.example.test\r\n\tby mx.example.test\r\n",
        ] {
            check(&fields(field, 4), Ok(()));
            check(&fields(field, 5), Err(Refusal::Loop));
        }
        for other in [
            "Received: from mx.example.test by other.test; x\r\n",
            "Received: by mx.example.test.other.test\r\n",
            "Received: by amx.example.test\r\n",
            "Received: nearby mx.example.test\r\n",
            "X-Received: by mx.example.test\r\n",
        ] {
            check(&fields(other, 20), Ok(()));
        }
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
