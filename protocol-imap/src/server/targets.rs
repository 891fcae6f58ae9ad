//! Which messages a command is about: its sequence set as rising, separate ranges of message numbers.
//!
//! A set may name a message a thousand times; each is answered once. The numbers stay good while the command
//! runs, because the view changes only when it completes.

use alloc::vec::Vec;

use super::reason::Bad;
use super::session::ServerSession;
use super::view::View;
use crate::set::{Bound, SequenceSet};

/// A message of the selected folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number in this session.
    pub number: u32,
    /// Its UID.
    pub uid: u32,
}

/// A place among the messages that the running command is about; see [`ServerSession::targets`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Targets {
    range: usize,
    /// How many of that range are behind.
    done: u32,
}

impl Targets {
    /// The next message in rising order.
    pub fn next(&mut self, session: &ServerSession) -> Option<Message> {
        loop {
            let &(low, high) = session.target_ranges().get(self.range)?;
            let number = low.checked_add(self.done).filter(|n| *n <= high);
            let Some(number) = number else {
                self.range += 1;
                self.done = 0;
                continue;
            };
            self.done += 1;
            if let Some(uid) = session.view().uid(number) {
                return Some(Message { number, uid });
            }
        }
    }
}

/// Message numbers of a set that holds message numbers. One that no message has is the client's fault, `*`
/// of an empty folder too (RFC 3501 §9 `seq-number`).
pub(super) fn from_numbers(
    set: &SequenceSet<'_>,
    view: &View,
    into: &mut Vec<(u32, u32)>,
) -> Result<(), Bad> {
    into.clear();
    for range in set.ranges() {
        let over = |bound| match bound {
            Bound::Number(n) => n > view.len(),
            Bound::Largest => view.is_empty(),
        };
        if over(range.first) || over(range.last) {
            return Err(Bad::Number);
        }
        into.extend(range.resolve(view.len()));
    }
    merge(into);
    Ok(())
}

/// Message numbers of a set that holds UIDs. UIDs that no message has are passed over (RFC 9051 §6.4.9).
pub(super) fn from_uids(set: &SequenceSet<'_>, view: &View, into: &mut Vec<(u32, u32)>) {
    into.clear();
    into.extend(set.resolve(view.last_uid()).filter_map(|range| numbers_of(range, view)));
    merge(into);
}

/// Message numbers of what the last SEARCH saved, as ranges of UIDs (RFC 5182 §2.1).
pub(super) fn from_saved(saved: &[(u32, u32)], view: &View, into: &mut Vec<(u32, u32)>) {
    into.clear();
    into.extend(saved.iter().filter_map(|range| numbers_of(*range, view)));
    merge(into);
}

fn numbers_of((low, high): (u32, u32), view: &View) -> Option<(u32, u32)> {
    let first = view.numbers_below(low).checked_add(1)?;
    let last = match high.checked_add(1) {
        Some(above) => view.numbers_below(above),
        None => view.len(),
    };
    (first <= last).then_some((first, last))
}

/// Sorts, and joins what overlaps or touches.
pub(super) fn merge(ranges: &mut Vec<(u32, u32)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1.saturating_add(1);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

/// Whether `n` is in ranges that [`merge`] made.
pub(super) fn contains(ranges: &[(u32, u32)], n: u32) -> bool {
    let at = ranges.partition_point(|(low, _)| *low <= n);
    at.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, high)| n <= *high)
}

/// How many numbers are in the ranges.
pub(super) fn count(ranges: &[(u32, u32)]) -> u32 {
    ranges.iter().fold(0, |n, (low, high)| n.saturating_add(high - low).saturating_add(1))
}
