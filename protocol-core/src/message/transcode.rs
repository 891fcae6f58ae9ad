//! Changes the transfer encodings of a message as it streams by, for two needs: lines that are short enough
//! (RFC 5322 §2.1.1), and octets that a server without 8BITMIME takes (RFC 6152 §3). What the parts decode to
//! stays as it was.
//!
//! A structure says beforehand what is to be done where, so both are planned once and then carried out for
//! chunks of any size. Only a message of clean lines is changed; the other kind is [`super::binary`]'s.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::content::Encoding;
use super::decode::Decoder;
use super::encode::{self, Encoder};
use super::header::{Field, Fields};
use super::limits::{ENCODING_FIELDS_MAX, LINE_OCTETS_MAX};
use super::structure::{Flags, Kind, Part, Structure};

/// Flags of a message whose structure does not tell all of its parts or fields as another reader sees them: an
/// encoding put on what is shown here might fall on something else there.
const OPAQUE: u32 = Flags::HEADER_TOO_LARGE.0
    | Flags::TOO_DEEP.0
    | Flags::TOO_MANY_PARTS.0
    | Flags::NO_PARTS.0
    | Flags::CUT.0
    | Flags::UNCLEAN.0;

/// Why a message cannot be made 7-bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// A `multipart/signed` or `multipart/encrypted` part is in it (RFC 1847 §2.1).
    Signed,
    /// A header field of it or of something in it holds octets over 127, which no transfer encoding covers.
    Header,
    /// Such octets stand where no transfer encoding may be used: between parts, in a `message/*` leaf
    /// (RFC 2046 §5.2), or under an encoding that nobody knows.
    Place,
    /// The structure does not show all of it.
    Structure,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hindrance::Signed => "a part of it is signed or encrypted",
            Hindrance::Header => "its header is not ASCII",
            Hindrance::Place => "octets over 127 stand where no encoding may be used",
            Hindrance::Structure => "its structure is not plain enough",
        })
    }
}

/// Whether a field is a signature over the message that a change of its body would break: DKIM (RFC 6376), its
/// forerunner, or a set of ARC (RFC 8617).
pub fn is_signature(field: &Field<'_>) -> bool {
    [
        "DKIM-Signature",
        "DomainKey-Signature",
        "ARC-Message-Signature",
        "ARC-Seal",
        "ARC-Authentication-Results",
    ]
    .iter()
    .any(|name| field.is(name))
}

/// Whether a header has a signature over the message.
pub fn is_signed(header: &[u8]) -> bool {
    Fields::new(header).any(|f| is_signature(&f))
}

/// Carries out one plan. The structure of what comes out is another one: scan it again.
#[derive(Debug)]
pub struct Transcoder {
    /// In the order of the message; those done are behind `next`.
    steps: Vec<Step>,
    next: usize,
    /// Whether the step at `next` has begun.
    begun: bool,
    offset: u64,
    size: u64,
    recode: Option<(Decoder, Encoder)>,
    fold: Fold,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Step {
    range: Range<u64>,
    action: Action,
}

/// In the order in which those that begin at one offset are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Insert(&'static str),
    Drop,
    Fold,
    /// From the part's own encoding to this one.
    Base64(From),
    QuotedPrintable(From),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Identity,
    Base64,
    QuotedPrintable,
}

impl Transcoder {
    /// Shortens lines of more than [`LINE_OCTETS_MAX`] octets: leaves that have one are encoded, text as
    /// quoted-printable or base64 by what is shorter, all else as base64; header fields are folded where they
    /// have white space. `None` when there is nothing to do.
    ///
    /// What stands inside `multipart/signed`, `multipart/encrypted` or any `message/*` is carried as it is, and
    /// so is all else that cannot be changed without harm: a signature or another's message that arrives with
    /// its long lines can still be read by most, one that was changed on the way is worth nothing (RFC 1847
    /// §2.1, RFC 2046 §5.2), and a refusal would keep the sender from passing on what he was given.
    pub fn short_lines(structure: &Structure) -> Option<Transcoder> {
        if structure.longest_line <= LINE_OCTETS_MAX as u64 || structure.flags.0 & OPAQUE != 0 {
            return None;
        }
        let folds = structure.flags.has(Flags::HEADER_LONG_LINE);
        let mut plan = Plan::default();
        let parts = structure.parts();
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            let closed = is_sealed(part) || part.media_type == "message";
            let recode = part.kind == Kind::Leaf && part.long_line && !closed && is_encodable(part);
            plan.header(part, recode.then(|| target(part)), false, folds);
            if recode {
                plan.recode(part);
            }
            at = if closed { (part.end as usize).max(at + 1) } else { at + 1 };
        }
        plan.transcoder(structure)
    }

    /// Makes a message of octets up to 127 and of short lines: leaves that need it are encoded, in messages
    /// inside too (RFC 2046 §5.2.1), and the labels `8bit` and `binary` of what they are in are taken away.
    /// A message that is 7-bit already, labels apart, comes out with those labels gone.
    ///
    /// Header lines are folded where they can; a field without white space keeps its length.
    ///
    /// # Errors
    /// [`Hindrance`] when it cannot be done.
    pub fn seven_bit(structure: &Structure) -> Result<Transcoder, Hindrance> {
        let flags = structure.flags;
        if structure.parts().iter().any(is_sealed) {
            return Err(Hindrance::Signed);
        }
        if flags.has(Flags::HEADER_8BIT) || flags.has(Flags::INNER_HEADER_8BIT) {
            return Err(Hindrance::Header);
        }
        if flags.0 & OPAQUE != 0 {
            return Err(Hindrance::Structure);
        }
        let folds = flags.has(Flags::HEADER_LONG_LINE);
        let mut plan = Plan::default();
        for part in structure.parts() {
            let needed = part.eight_bit > 0 || part.long_line;
            if needed && (part.kind != Kind::Leaf || part.media_type == "message" || !is_encodable(part)) {
                return Err(Hindrance::Place);
            }
            if part.encoding_fields.len() >= ENCODING_FIELDS_MAX {
                return Err(Hindrance::Structure);
            }
            let unlabel = matches!(part.encoding, Encoding::EightBit | Encoding::Binary);
            plan.header(part, needed.then(|| target(part)), unlabel, folds);
            if needed {
                plan.recode(part);
            }
        }
        Ok(plan.transcoder(structure).unwrap_or_else(|| Transcoder::of(Vec::new(), structure)))
    }

    fn of(steps: Vec<Step>, structure: &Structure) -> Transcoder {
        Transcoder {
            steps,
            next: 0,
            begun: false,
            offset: 0,
            size: structure.size,
            recode: None,
            fold: Fold::default(),
            scratch: Vec::new(),
        }
    }

    /// Takes the next octets of the message and appends what becomes of them: at most four times as many, and
    /// new fields.
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
                None => out.extend_from_slice(now),
                Some(Action::Insert(_) | Action::Drop) => {}
                Some(Action::Fold) => self.fold.feed(now, out),
                Some(Action::Base64(_) | Action::QuotedPrintable(_)) => {
                    if let Some((decoder, encoder)) = &mut self.recode {
                        self.scratch.clear();
                        decoder.feed(now, &mut self.scratch);
                        encoder.feed(&self.scratch, out);
                    }
                }
            }
            self.offset += len as u64;
            rest = later;
        }
    }

    /// The message ended.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.current(out);
    }

    /// What to do with the octets from `offset` up to another offset. Steps that begin here are begun, those
    /// that end here are ended.
    fn current(&mut self, out: &mut Vec<u8>) -> (u64, Option<Action>) {
        while let Some(step) = self.steps.get(self.next) {
            let (range, action) = (step.range.clone(), step.action);
            if self.offset < range.start {
                return (range.start, None);
            }
            if !core::mem::replace(&mut self.begun, true) {
                self.begin(action, out);
            }
            if self.offset < range.end {
                return (range.end, Some(action));
            }
            self.end(action, out);
            self.next += 1;
            self.begun = false;
        }
        (u64::MAX, None)
    }

    fn begin(&mut self, action: Action, out: &mut Vec<u8>) {
        let (from, encoder) = match action {
            Action::Insert(text) => return out.extend_from_slice(text.as_bytes()),
            Action::Drop | Action::Fold => return,
            Action::Base64(from) => (from, Encoder::Base64(encode::Base64::default())),
            Action::QuotedPrintable(from) => {
                (from, Encoder::QuotedPrintable(encode::QuotedPrintable::default()))
            }
        };
        let decoder = Decoder::new(&match from {
            From::Identity => Encoding::EightBit,
            From::Base64 => Encoding::Base64,
            From::QuotedPrintable => Encoding::QuotedPrintable,
        });
        self.recode = Some((decoder, encoder));
    }

    fn end(&mut self, action: Action, out: &mut Vec<u8>) {
        match action {
            Action::Insert(_) | Action::Drop => {}
            Action::Fold => self.fold.flush(out),
            Action::Base64(_) | Action::QuotedPrintable(_) => {
                if let Some((mut decoder, mut encoder)) = self.recode.take() {
                    self.scratch.clear();
                    decoder.finish(&mut self.scratch);
                    encoder.feed(&self.scratch, out);
                    encoder.finish(self.offset == self.size, out);
                }
            }
        }
    }
}

#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
    recodes: bool,
}

impl Plan {
    fn push(&mut self, range: Range<u64>, action: Action) {
        self.steps.push(Step { range, action });
    }

    /// A part's header: its Content-Transfer-Encoding becomes `target`, or is taken away; long lines are folded.
    fn header(&mut self, part: &Part, target: Option<Target>, unlabel: bool, folds: bool) {
        let fields = if target.is_some() || unlabel { part.encoding_fields.as_slice() } else { &[] };
        let blank = part.body_start.saturating_sub(2).max(part.header_start);
        if let Some(target) = target {
            let (at, text) = match fields.first() {
                Some(field) => (field.start, target.field()),
                // A part whose header was not read needs the line that ends the one it gets.
                None if part.header_start == part.body_start => (part.header_start, target.whole_header()),
                None => (blank, target.field()),
            };
            self.push(at..at, Action::Insert(text));
        }
        let mut at = part.header_start;
        for field in fields {
            if folds {
                self.push(at..field.start, Action::Fold);
            }
            self.push(field.clone(), Action::Drop);
            at = field.end;
        }
        if folds {
            self.push(at..blank.max(at), Action::Fold);
        }
    }

    fn recode(&mut self, part: &Part) {
        self.recodes = true;
        let from = match part.encoding {
            Encoding::Base64 => From::Base64,
            Encoding::QuotedPrintable => From::QuotedPrintable,
            _ => From::Identity,
        };
        let action = match target(part) {
            Target::Base64 => Action::Base64(from),
            Target::QuotedPrintable => Action::QuotedPrintable(from),
        };
        self.push(part.body(), action);
    }

    fn transcoder(mut self, structure: &Structure) -> Option<Transcoder> {
        if self.steps.is_empty() {
            return None;
        }
        if self.recodes && !structure.flags.has(Flags::MIME_VERSION) {
            let root = structure.root();
            let at = root.body_start.saturating_sub(2).max(root.header_start);
            self.push(at..at, Action::Insert("MIME-Version: 1.0\r\n"));
        }
        // Stable, and what is inserted at one place keeps an order of its own: an encoding, then a version.
        self.steps.sort_by_key(|s| (s.range.start, s.range.end, s.action));
        Some(Transcoder::of(self.steps, structure))
    }
}

#[derive(Clone, Copy)]
enum Target {
    Base64,
    QuotedPrintable,
}

impl Target {
    fn field(self) -> &'static str {
        match self {
            Target::Base64 => "Content-Transfer-Encoding: base64\r\n",
            Target::QuotedPrintable => "Content-Transfer-Encoding: quoted-printable\r\n",
        }
    }

    fn whole_header(self) -> &'static str {
        match self {
            Target::Base64 => "Content-Transfer-Encoding: base64\r\n\r\n",
            Target::QuotedPrintable => "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
        }
    }
}

/// The encoding a leaf gets. Quoted-printable takes two octets more for each that it escapes, base64 a third
/// more of all; where a sixth of a text is not ASCII they are about even.
fn target(part: &Part) -> Target {
    match part.encoding {
        Encoding::Base64 => Target::Base64,
        Encoding::QuotedPrintable => Target::QuotedPrintable,
        _ if part.media_type == "text" && part.eight_bit.saturating_mul(6) <= part.size() => {
            Target::QuotedPrintable
        }
        _ => Target::Base64,
    }
}

/// Whether what stands in a part is under a signature or a key.
fn is_sealed(part: &Part) -> bool {
    part.media_type == "multipart" && matches!(part.media_subtype.as_str(), "signed" | "encrypted")
}

/// Whether a leaf's encoding is known, and all its labels.
fn is_encodable(part: &Part) -> bool {
    !matches!(part.encoding, Encoding::Other(_)) && part.encoding_fields.len() < ENCODING_FIELDS_MAX
}

/// Breaks header lines in front of white space so that they are short enough. A stretch without white space
/// stays in one piece, however long.
#[derive(Debug, Default)]
struct Fold {
    /// The line since the last break, as far as a break may still be put into it.
    line: Vec<u8>,
    /// Where in it the last white space begins that has something visible on both sides: on a line of white
    /// space alone some readers would end the header.
    place: Option<usize>,
    /// The same for white space behind which nothing visible came yet.
    candidate: Option<usize>,
    /// Something visible came since the last break.
    visible: bool,
    /// The line is too long already and had no place: it is broken at the next one.
    over: bool,
}

impl Fold {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &b in bytes {
            match b {
                b' ' | b'\t' if self.visible => {
                    self.candidate.get_or_insert(self.line.len());
                }
                b' ' | b'\t' | b'\r' => {}
                b'\n' => {
                    self.line.push(b);
                    self.flush(out);
                    continue;
                }
                _ => {
                    self.visible = true;
                    self.place = self.candidate.take().or(self.place);
                }
            }
            self.line.push(b);
            let too_long = self.over || self.line.len() > LINE_OCTETS_MAX;
            if too_long && b != b'\r' {
                self.shorten(out);
            }
        }
    }

    fn shorten(&mut self, out: &mut Vec<u8>) {
        let place = self.place.take();
        // What is written can have no break any more.
        let at = place.or(self.candidate).unwrap_or(self.line.len());
        out.extend(self.line.drain(..at));
        self.candidate = self.candidate.map(|c| c - at);
        if place.is_some() {
            out.extend_from_slice(b"\r\n");
        }
        self.over = place.is_none();
    }

    /// The line ended, or the stretch of the header.
    fn flush(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.line);
        (self.place, self.candidate, self.visible, self.over) = (None, None, false, false);
    }
}
