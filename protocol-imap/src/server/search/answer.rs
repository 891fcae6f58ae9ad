//! The SEARCH or ESEARCH response: one line that may name every message of a folder, so it is written in
//! pieces.

use protocol_core::SendBuf;

use super::super::view::View;
use super::{Found, Searching};
use crate::codec::SearchReturn;

/// A response under way: what it says, and how far it is written.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Answer {
    uid: bool,
    /// `None` for an untagged SEARCH response.
    returns: Option<SearchReturn>,
    /// The highest modification sequence, if it is told.
    modseq: Option<u64>,
    stage: Stage,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Numbers,
    End,
    Done,
}

/// A place among the numbers that matched.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    range: usize,
    /// How many of that range are behind.
    done: u32,
    /// Neighbours that are not written yet (of ALL), because the next number may join them.
    run: Option<(u32, u32)>,
    any: bool,
}

impl Answer {
    /// `modseq`: the program asked for modification sequences, so the answer tells the highest (RFC 7162
    /// §3.1.5, §3.1.6, §3.1.10).
    pub(in super::super) fn new(
        searching: &Searching<'_>,
        found: &Found,
        modseq: bool,
        rev2: bool,
    ) -> Answer {
        let returns = searching.returns(rev2);
        // SAVE alone: nothing is told (RFC 5182 §2.1).
        let silent = returns.is_some_and(|r| !(r.min || r.max || r.all || r.count));
        Answer {
            uid: searching.search.uid,
            returns,
            modseq: (modseq && !found.is_empty()).then_some(found.modseq),
            stage: if silent { Stage::Done } else { Stage::Begin },
            place: Place::default(),
        }
    }

    /// Whether the line is begun and not ended.
    pub(in super::super) fn is_inside_line(&self) -> bool {
        matches!(self.stage, Stage::Numbers | Stage::End)
    }

    /// Goes on as long as `out` is not high. Whether the whole response is written.
    pub(in super::super) fn write(
        &mut self,
        found: &Found,
        tag: &[u8],
        view: &View,
        out: &mut SendBuf,
    ) -> bool {
        if self.stage == Stage::Begin {
            self.begin(found, tag, view, out);
            self.stage = Stage::Numbers;
        }
        if self.stage == Stage::Numbers {
            let written = match self.returns {
                None => self.write_each(found, view, out),
                Some(returns) => !returns.all || self.write_set(found, view, out),
            };
            if !written {
                return false;
            }
            self.stage = Stage::End;
        }
        if self.stage == Stage::End {
            self.end(found, out);
            self.stage = Stage::Done;
        }
        true
    }

    fn shown(&self, number: u32, view: &View) -> u32 {
        if self.uid { view.uid(number).unwrap_or(0) } else { number }
    }

    fn begin(&self, found: &Found, tag: &[u8], view: &View, out: &mut SendBuf) {
        let Some(returns) = self.returns else { return out.push(b"* SEARCH") };
        out.push(b"* ESEARCH (TAG \"");
        out.push(tag);
        out.push(if self.uid { b"\") UID" } else { b"\")" });
        if let Some((low, high)) = found.ends() {
            if returns.min {
                number(b" MIN ", u64::from(self.shown(low, view)), out);
            }
            if returns.max {
                number(b" MAX ", u64::from(self.shown(high, view)), out);
            }
            if returns.all {
                out.push(b" ALL ");
            }
        }
    }

    /// The next number that matched, as it is shown.
    fn next(&mut self, found: &Found, view: &View) -> Option<u32> {
        let &(low, high) = found.ranges.get(self.place.range)?;
        let next = low + self.place.done;
        if next == high {
            self.place.range += 1;
            self.place.done = 0;
        } else {
            self.place.done += 1;
        }
        Some(self.shown(next, view))
    }

    fn write_each(&mut self, found: &Found, view: &View, out: &mut SendBuf) -> bool {
        while !out.is_high() {
            let Some(shown) = self.next(found, view) else { return true };
            number(b" ", u64::from(shown), out);
        }
        false
    }

    /// Runs of neighbours as ranges.
    fn write_set(&mut self, found: &Found, view: &View, out: &mut SendBuf) -> bool {
        while !out.is_high() {
            let next = self.next(found, view);
            match (self.place.run, next) {
                (None, None) => return true,
                (None, Some(n)) => self.place.run = Some((n, n)),
                (Some((first, last)), Some(n)) if last.checked_add(1) == Some(n) => {
                    self.place.run = Some((first, n));
                }
                (Some((first, last)), next) => {
                    number(if self.place.any { b"," } else { b"" }, u64::from(first), out);
                    if last != first {
                        number(b":", u64::from(last), out);
                    }
                    self.place.any = true;
                    self.place.run = next.map(|n| (n, n));
                }
            }
        }
        false
    }

    fn end(&self, found: &Found, out: &mut SendBuf) {
        match (self.returns, self.modseq) {
            (None, Some(modseq)) => {
                number(b" (MODSEQ ", modseq, out);
                out.push_u8(b')');
            }
            (None, None) => {}
            (Some(returns), modseq) => {
                if returns.count {
                    number(b" COUNT ", u64::from(found.len()), out);
                }
                if let Some(modseq) = modseq {
                    number(b" MODSEQ ", modseq, out);
                }
            }
        }
        out.push(b"\r\n");
    }
}

fn number(before: &[u8], n: u64, out: &mut SendBuf) {
    out.push(before);
    out.push_decimal(n);
}
