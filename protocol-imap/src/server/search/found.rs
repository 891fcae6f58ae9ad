//! The messages that matched, and the responses that say so.

use alloc::vec::Vec;

use protocol_core::SendBuf;

use super::super::targets::{self, Message};
use super::super::view::View;
use super::Searching;
use crate::set::write_compact;

/// Messages that matched, put in with rising numbers.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Message numbers.
    ranges: Vec<(u32, u32)>,
    /// The highest modification sequence among them.
    modseq: u64,
}

impl Found {
    /// None yet.
    pub fn new() -> Found {
        Found::default()
    }

    /// One more.
    pub fn push(&mut self, message: Message, modseq: u64) {
        self.modseq = self.modseq.max(modseq);
        match self.ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(message.number) => *last = message.number,
            Some((_, last)) if *last >= message.number => {}
            _ => self.ranges.push((message.number, message.number)),
        }
    }

    /// How many.
    pub fn len(&self) -> u32 {
        targets::count(&self.ranges)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|&(low, high)| low..=high)
    }

    /// The first and the last number.
    fn ends(&self) -> Option<(u32, u32)> {
        Some((self.ranges.first()?.0, self.ranges.last()?.1))
    }

    /// What `$` stands for afterwards, as ranges of UIDs (RFC 5182 §2.1): with MIN or MAX, and neither ALL nor
    /// COUNT, only those.
    pub(in super::super) fn saved(&self, searching: &Searching<'_>, view: &View) -> Vec<(u32, u32)> {
        let returns = searching.search.returns.unwrap_or_default();
        let mut uids: Vec<(u32, u32)> = Vec::new();
        let mut push = |number| {
            if let Some(uid) = view.uid(number) {
                match uids.last_mut() {
                    Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
                    Some((_, last)) if *last == uid => {}
                    _ => uids.push((uid, uid)),
                }
            }
        };
        if (returns.min || returns.max) && !returns.all && !returns.count {
            if let Some((low, high)) = self.ends() {
                if returns.min {
                    push(low);
                }
                if returns.max {
                    push(high);
                }
            }
        } else {
            self.numbers().for_each(push);
        }
        uids
    }

    /// The SEARCH or ESEARCH response. `modseq`: the program asked for modification sequences, so the answer
    /// tells the highest (RFC 7162 §3.1.5, §3.1.6, §3.1.10).
    pub(in super::super) fn write(
        &self,
        searching: &Searching<'_>,
        modseq: bool,
        tag: &[u8],
        rev2: bool,
        view: &View,
        out: &mut SendBuf,
    ) {
        let uid = searching.search.uid;
        let modseq = (modseq && !self.is_empty()).then_some(self.modseq);
        let shown = |number| if uid { view.uid(number).unwrap_or(0) } else { number };
        let Some(returns) = searching.returns(rev2) else {
            out.push(b"* SEARCH");
            for number in self.numbers() {
                out.push_u8(b' ');
                out.push_decimal(u64::from(shown(number)));
            }
            if let Some(modseq) = modseq {
                out.push(b" (MODSEQ ");
                out.push_decimal(modseq);
                out.push_u8(b')');
            }
            return out.push(b"\r\n");
        };
        if !(returns.min || returns.max || returns.all || returns.count) {
            // SAVE alone: nothing is told (RFC 5182 §2.1).
            return;
        }
        out.push(b"* ESEARCH (TAG \"");
        out.push(tag);
        out.push(if uid { b"\") UID" } else { b"\")" });
        let number = |name: &[u8], n: u64, out: &mut SendBuf| {
            out.push(name);
            out.push_decimal(n);
        };
        if let Some((low, high)) = self.ends() {
            if returns.min {
                number(b" MIN ", u64::from(shown(low)), out);
            }
            if returns.max {
                number(b" MAX ", u64::from(shown(high)), out);
            }
            if returns.all {
                out.push(b" ALL ");
                write_compact(self.numbers().map(shown), out);
            }
        }
        if returns.count {
            number(b" COUNT ", u64::from(self.len()), out);
        }
        if let Some(modseq) = modseq {
            number(b" MODSEQ ", modseq, out);
        }
        out.push(b"\r\n");
    }
}
