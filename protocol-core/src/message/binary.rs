//! Makes a message that came with BODY=BINARYMIME one that every store and client can hold: its binary parts
//! in base64, and nothing but CRLF at the end of a line (RFC 3030 §3, SPEC section 4).

use alloc::vec::Vec;
use core::ops::Range;

use super::content::Encoding;
use super::encode::Base64;
use super::structure::{Flags, Kind, Structure};

/// Whether [`Reencoder`] would change anything.
pub fn is_needed(structure: &Structure) -> bool {
    structure.flags.has(Flags::UNCLEAN) || structure.parts().iter().any(|p| p.encoding == Encoding::Binary)
}

/// Re-encodes a message as it streams by. Leaves that are labelled `binary`, or that hold bare CR, bare LF or
/// NUL without a transfer encoding, become base64; multiparts and messages labelled `binary` become `8bit`.
/// Elsewhere bare CR and bare LF become CRLF and NUL is left out. The structure of what comes out is another
/// one: scan it again.
#[derive(Debug)]
pub struct Reencoder {
    /// In the order of the message; those done are behind `next`.
    steps: Vec<Step>,
    next: usize,
    offset: u64,
    size: u64,
    /// A CR came last; whether it is bare shows with the next octet.
    held_cr: bool,
    base64: Base64,
}

#[derive(Debug)]
struct Step {
    range: Range<u64>,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Insert(&'static str),
    Drop,
    Base64,
}

impl Reencoder {
    /// For the message that `structure` describes.
    pub fn new(structure: &Structure) -> Reencoder {
        let mut steps = Vec::new();
        // An encoding counts only where MIME is said to be spoken (RFC 2045 §4). First, in front of the rest.
        if is_needed(structure) && !structure.flags.has(Flags::MIME_VERSION) {
            steps.push(Step { range: 0..0, action: Action::Insert("MIME-Version: 1.0\r\n") });
        }
        for part in structure.parts() {
            let is_leaf = part.kind == Kind::Leaf;
            let replace =
                part.encoding == Encoding::Binary || (is_leaf && part.unclean && part.encoding.is_identity());
            if !replace {
                continue;
            }
            let field = match is_leaf {
                // A part whose header was not read needs the line that ends the one it gets.
                true if part.header_start == part.body_start => "Content-Transfer-Encoding: base64\r\n\r\n",
                true => "Content-Transfer-Encoding: base64\r\n",
                false => "Content-Transfer-Encoding: 8bit\r\n",
            };
            let top = part.header_start;
            steps.push(Step { range: top..top, action: Action::Insert(field) });
            steps
                .extend(part.encoding_fields.iter().map(|r| Step { range: r.clone(), action: Action::Drop }));
            if is_leaf {
                steps.push(Step { range: part.body(), action: Action::Base64 });
            }
        }
        // Stable: what is inserted at one place stays in order.
        steps.sort_by_key(|s| (s.range.start, !matches!(s.action, Action::Insert(_)), s.range.end));
        Reencoder {
            steps,
            next: 0,
            offset: 0,
            size: structure.size,
            held_cr: false,
            base64: Base64::default(),
        }
    }

    /// Takes the next octets of the message and appends what becomes of them: at most a third more, with line
    /// ends and new fields, or twice as much where bare line ends abound.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        loop {
            let (until, action) = self.current(out);
            if rest.is_empty() {
                return;
            }
            let len = usize::try_from(until - self.offset).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(len);
            match action {
                None => self.clean(now, out),
                Some(Action::Base64) => self.base64.feed(now, out),
                Some(_) => {}
            }
            self.offset += len as u64;
            rest = later;
        }
    }

    /// The message ended.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.current(out);
        self.end_base64(out);
        self.end_cr(out);
    }

    /// What to do with the octets from `offset` up to another offset. Steps that begin here are begun, those
    /// that end here are ended.
    fn current(&mut self, out: &mut Vec<u8>) -> (u64, Option<Action>) {
        while let Some(step) = self.steps.get(self.next) {
            let (range, action) = (step.range.clone(), step.action);
            if self.offset < range.start {
                return (range.start, None);
            }
            self.end_cr(out);
            if self.offset < range.end {
                return (range.end, Some(action));
            }
            match action {
                Action::Insert(field) => out.extend_from_slice(field.as_bytes()),
                Action::Drop => {}
                Action::Base64 => self.end_base64(out),
            }
            self.next += 1;
        }
        (u64::MAX, None)
    }

    fn clean(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let [first, ..] = rest {
            let held_cr = core::mem::take(&mut self.held_cr);
            if held_cr || *first == b'\n' {
                out.extend_from_slice(b"\r\n");
                if *first == b'\n' {
                    rest = &rest[1..];
                    continue;
                }
            }
            let plain = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            if let [b'\r' | 0, tail @ ..] = rest {
                self.held_cr = rest[0] == b'\r';
                rest = tail;
            }
        }
    }

    fn end_cr(&mut self, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.held_cr) {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The line end in front of a delimiter is already there; at the end of the message one is added.
    fn end_base64(&mut self, out: &mut Vec<u8>) {
        if self.base64.finish(out) && self.offset == self.size {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A header of a message that came with BODY=BINARYMIME, to be shown elsewhere: bare CR and bare LF become
/// CRLF, NUL is left out.
pub fn clean_header(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len());
    let structure = super::Scanner::new().finish();
    let mut cleaner = Reencoder { steps: Vec::new(), ..Reencoder::new(&structure) };
    cleaner.feed(header, &mut out);
    cleaner.finish(&mut out);
    out
}
