//! The messages that matched.

use alloc::vec::Vec;

use super::super::targets::{self, Message};
use super::super::view::View;
use super::Searching;

/// Messages that matched, put in with rising numbers.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Message numbers.
    pub(super) ranges: Vec<(u32, u32)>,
    /// The highest modification sequence among them.
    pub(super) modseq: u64,
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
    pub(super) fn ends(&self) -> Option<(u32, u32)> {
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
}
