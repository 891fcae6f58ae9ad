//! Sequence sets: message numbers or UIDs as clients and servers write them (RFC 9051 §9 `sequence-set`).

use core::fmt;

use protocol_core::SendBuf;

use crate::codec::{Cursor, Element, Emit, Fault};

/// Most ranges in one set that is read; the limit of a command in octets is reached at about the same time.
pub const SET_RANGES_MAX: usize = 16_384;

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A number, never 0.
    Number(u32),
    /// `*`: the largest number in use.
    Largest,
}

/// A range as it was written: either end may be the larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The end that was written first.
    pub first: Bound,
    /// The other end; the same for a single number.
    pub last: Bound,
}

impl SeqRange {
    /// From one number to another.
    pub const fn new(first: u32, last: u32) -> Self {
        SeqRange { first: Bound::Number(first), last: Bound::Number(last) }
    }

    /// Lowest and highest number when `largest` is the largest in use. `None` when the range holds `*` and
    /// nothing is in use (`largest` is 0).
    pub fn resolve(self, largest: u32) -> Option<(u32, u32)> {
        let number = |bound| match bound {
            Bound::Number(n) => Some(n),
            Bound::Largest => (largest > 0).then_some(largest),
        };
        let (a, b) = (number(self.first)?, number(self.last)?);
        Some((a.min(b), a.max(b)))
    }
}

/// A set of message numbers or UIDs, borrowed. Equal when the same ranges stand in the same order.
#[derive(Clone, Copy)]
pub struct SequenceSet<'b>(Repr<'b>);

#[derive(Clone, Copy)]
enum Repr<'b> {
    /// `$`: the result of the last SEARCH with SAVE (RFC 5182).
    Saved,
    /// Read once before without a fault.
    Wire(&'b [u8]),
    Ranges(&'b [SeqRange]),
    Numbers(&'b [u32]),
}

impl<'b> SequenceSet<'b> {
    /// `$` (RFC 5182 §2.1).
    pub const SAVED: SequenceSet<'static> = SequenceSet(Repr::Saved);

    /// These ranges, in this order.
    pub const fn of(ranges: &'b [SeqRange]) -> Self {
        SequenceSet(Repr::Ranges(ranges))
    }

    /// These numbers in this order; runs of rising neighbours are written as ranges.
    pub const fn of_numbers(numbers: &'b [u32]) -> Self {
        SequenceSet(Repr::Numbers(numbers))
    }

    /// Whether this is `$`.
    pub fn is_saved(&self) -> bool {
        matches!(self.0, Repr::Saved)
    }

    /// Whether there is no number in it. `$` is not empty in this sense.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Repr::Saved => false,
            Repr::Wire(wire) => wire.is_empty(),
            Repr::Ranges(ranges) => ranges.is_empty(),
            Repr::Numbers(numbers) => numbers.is_empty(),
        }
    }

    /// Whether `*` stands in it.
    pub fn has_largest(&self) -> bool {
        match self.0 {
            Repr::Wire(wire) => wire.contains(&b'*'),
            _ => self.ranges().any(|r| r.first == Bound::Largest || r.last == Bound::Largest),
        }
    }

    /// The ranges as they were written; none for `$`.
    pub fn ranges(&self) -> Ranges<'b> {
        Ranges(match self.0 {
            Repr::Saved => Source::Ranges([].iter()),
            Repr::Wire(wire) => Source::Wire(Cursor::new(wire, false)),
            Repr::Ranges(ranges) => Source::Ranges(ranges.iter()),
            Repr::Numbers(numbers) => Source::Numbers(numbers),
        })
    }

    /// Lowest and highest number of each range, in the order of writing, when `largest` is the largest
    /// number in use (0: none is). They may overlap.
    pub fn resolve(&self, largest: u32) -> impl Iterator<Item = (u32, u32)> + use<'b> {
        self.ranges().filter_map(move |range| range.resolve(largest))
    }

    /// Whether `n` is in the set; linear in its ranges.
    pub fn contains(&self, n: u32, largest: u32) -> bool {
        self.resolve(largest).any(|(low, high)| (low..=high).contains(&n))
    }

    /// `sequence-set`, with `$`.
    pub(crate) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        if c.eat(b'$') {
            return Ok(SequenceSet(Repr::Saved));
        }
        let wire = c.set_octets();
        let mut check = Cursor::new(wire, false);
        let mut count = 0;
        loop {
            read_range(&mut check)?;
            count += 1;
            if check.is_empty() {
                return Ok(SequenceSet(Repr::Wire(wire)));
            }
            check.expect(b',', "a comma or the end of a sequence set")?;
            if count == SET_RANGES_MAX {
                return Err(Fault::Limit("ranges of a sequence set"));
            }
        }
    }

    pub(crate) fn emit(&self, e: &mut Emit<'_>) {
        if self.is_saved() {
            return e.push(b"$");
        }
        if let Repr::Wire(wire) = self.0 {
            return e.push(wire);
        }
        let mut first = true;
        for range in self.ranges() {
            if !first {
                e.push(b",");
            }
            first = false;
            emit_bound(range.first, e);
            if range.last != range.first {
                e.push(b":");
                emit_bound(range.last, e);
            }
        }
    }
}

fn emit_bound(bound: Bound, e: &mut Emit<'_>) {
    match bound {
        Bound::Number(n) => e.number(u64::from(n)),
        Bound::Largest => e.push(b"*"),
    }
}

fn read_bound(c: &mut Cursor<'_>) -> Result<Bound, Fault> {
    if c.eat(b'*') { Ok(Bound::Largest) } else { c.nz_number().map(Bound::Number) }
}

fn read_range(c: &mut Cursor<'_>) -> Result<SeqRange, Fault> {
    let first = read_bound(c)?;
    let last = if c.eat(b':') { read_bound(c)? } else { first };
    Ok(SeqRange { first, last })
}

impl<'b> Element<'b> for SequenceSet<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        SequenceSet::read(c)
    }
    fn emit(&self, e: &mut Emit<'_>) {
        SequenceSet::emit(self, e);
    }
}

impl PartialEq for SequenceSet<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is_saved() == other.is_saved() && self.ranges().eq(other.ranges())
    }
}

impl Eq for SequenceSet<'_> {}

impl fmt::Debug for SequenceSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_saved() { f.write_str("$") } else { f.debug_list().entries(self.ranges()).finish() }
    }
}

/// The ranges of a [`SequenceSet`].
#[derive(Clone)]
pub struct Ranges<'b>(Source<'b>);

#[derive(Clone)]
enum Source<'b> {
    Wire(Cursor<'b>),
    Ranges(core::slice::Iter<'b, SeqRange>),
    Numbers(&'b [u32]),
}

impl Iterator for Ranges<'_> {
    type Item = SeqRange;

    fn next(&mut self) -> Option<SeqRange> {
        match &mut self.0 {
            Source::Ranges(ranges) => ranges.next().copied(),
            Source::Wire(c) => {
                if c.is_empty() {
                    return None;
                }
                let range = read_range(c).ok();
                c.eat(b',');
                range
            }
            Source::Numbers(numbers) => {
                let (&first, mut rest) = numbers.split_first()?;
                let mut last = first;
                while let Some((&next, behind)) = rest.split_first()
                    && last.checked_add(1) == Some(next)
                {
                    last = next;
                    rest = behind;
                }
                *numbers = rest;
                Some(SeqRange::new(first, last))
            }
        }
    }
}

/// Writes numbers in their order, runs of rising neighbours as ranges (`1:3,5`), without allocating.
/// Returns whether there was any.
pub fn write_compact(numbers: impl IntoIterator<Item = u32>, out: &mut SendBuf) -> bool {
    let mut run: Option<(u32, u32)> = None;
    let mut any = false;
    let mut flush = |(first, last): (u32, u32), out: &mut SendBuf| {
        if any {
            out.push_u8(b',');
        }
        any = true;
        out.push_decimal(u64::from(first));
        if last != first {
            out.push_u8(b':');
            out.push_decimal(u64::from(last));
        }
    };
    for n in numbers {
        run = match run {
            Some((first, last)) if last.checked_add(1) == Some(n) => Some((first, n)),
            Some(whole) => {
                flush(whole, out);
                Some((n, n))
            }
            None => Some((n, n)),
        };
    }
    if let Some(whole) = run {
        flush(whole, out);
    }
    any
}
