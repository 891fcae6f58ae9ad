//! Recognises what was seen a while ago and comes again. A message with the same envelope: usually the client
//! lost the connection before it heard the 250. It is never held back, for a sender may mean it; it is counted.
//! A signature: one message sent on to many, which is slowed down when it comes too often.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol_core::Instant;

use super::transaction::Transaction;

/// How long a message is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long a signature is remembered.
const REPLAYED_WITHIN: Duration = Duration::from_secs(3600);
/// Messages with one signature that are accepted in that time; a list's one message for many of our people
/// stays below it.
pub(super) const REPLAYS_MAX: u32 = 1_000;
/// Hashes remembered at most; the oldest are forgotten first.
const MESSAGES_MAX: usize = 16_384;

/// What was seen lately, by hash.
pub struct Repeats {
    within: Duration,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    /// How often each hash stands in `order`.
    counts: HashMap<[u8; 32], u32>,
    order: VecDeque<(Instant, [u8; 32])>,
}

impl Repeats {
    /// For messages, by a hash of envelope and octets.
    pub fn of_messages() -> Repeats {
        Repeats { within: REMEMBERED, remembered: Mutex::default() }
    }

    /// For signatures.
    pub fn of_signatures() -> Repeats {
        Repeats { within: REPLAYED_WITHIN, remembered: Mutex::default() }
    }

    /// Whether the message was accepted for the same envelope in the last ten minutes; it is remembered in any
    /// case. `content` has seen the message's octets.
    pub(super) fn is_repeat(
        &self,
        transaction: &Transaction,
        content: &blake3::Hasher,
        now: Instant,
    ) -> bool {
        self.note(fingerprint(transaction, content), now) > 1
    }

    /// Remembers a hash; how often it was seen in the time, with this one.
    pub(super) fn note(&self, hash: [u8; 32], now: Instant) -> u32 {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, oldest)) = remembered.order.front().copied() {
            if now.since(at) <= self.within && remembered.order.len() < MESSAGES_MAX {
                break;
            }
            remembered.order.pop_front();
            match remembered.counts.get_mut(&oldest) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(remembered.counts.remove(&oldest)),
            }
        }
        remembered.order.push_back((now, hash));
        let count = remembered.counts.entry(hash).or_default();
        *count += 1;
        *count
    }
}

/// A hash of envelope and octets.
pub(super) fn fingerprint(transaction: &Transaction, content: &blake3::Hasher) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(content.finalize().as_bytes());
    let recipients = transaction.recipients.iter().map(|recipient| recipient.given.as_str());
    for address in std::iter::once(transaction.sender.as_str()).chain(recipients) {
        hasher.update(&(address.len() as u64).to_le_bytes()).update(address.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> [u8; 32] {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    #[test]
    fn si40_a_repeat_is_one_for_ten_minutes() {
        let (repeats, start) = (Repeats::of_messages(), Instant(0));
        let seen = |hash, now| repeats.note(hash, now) > 1;
        assert!(!seen(hash(1), start));
        assert!(!seen(hash(2), start));
        assert!(seen(hash(1), start + REMEMBERED));
        assert!(!seen(hash(2), start + REMEMBERED + Duration::from_millis(1)));
        assert!(seen(hash(1), start + REMEMBERED * 2), "counted from the last time");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let repeats = Repeats::of_signatures();
        for n in 0..MESSAGES_MAX {
            assert_eq!(repeats.note(hash(n), Instant(0)), 1);
        }
        assert_eq!(repeats.note(hash(MESSAGES_MAX), Instant(0)), 1, "one past the limit");
        assert_eq!(repeats.note(hash(0), Instant(0)), 1, "the oldest was forgotten");
        assert_eq!(repeats.note(hash(MESSAGES_MAX), Instant(0)), 2);
        let remembered = repeats.remembered.lock().unwrap();
        assert_eq!(remembered.order.len(), MESSAGES_MAX);
        assert!(remembered.counts.len() <= MESSAGES_MAX);
    }
}
