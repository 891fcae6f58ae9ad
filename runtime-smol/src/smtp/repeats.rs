//! Recognises a message that was accepted a few minutes ago and comes again: usually the client lost the
//! connection before it heard the 250. It is never held back, for a sender may mean it; it is counted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol_core::Instant;

use super::transaction::Transaction;

/// How long a message is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Messages remembered at most; the oldest are forgotten first.
const MESSAGES_MAX: usize = 16_384;

/// What was accepted lately, by a hash of envelope and octets.
#[derive(Default)]
pub struct Repeats(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// How often each hash stands in `order`.
    counts: HashMap<[u8; 32], u32>,
    order: VecDeque<(Instant, [u8; 32])>,
}

impl Repeats {
    /// Whether the message was accepted for the same envelope in the last ten minutes; it is remembered in any
    /// case. `content` has seen the message's octets.
    pub(super) fn is_repeat(&self, transaction: &Transaction, content: blake3::Hasher, now: Instant) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(content.finalize().as_bytes());
        let recipients = transaction.recipients.iter().map(|recipient| recipient.given.as_str());
        for address in std::iter::once(transaction.sender.as_str()).chain(recipients) {
            hasher.update(&(address.len() as u64).to_le_bytes()).update(address.as_bytes());
        }
        self.note(*hasher.finalize().as_bytes(), now)
    }

    fn note(&self, hash: [u8; 32], now: Instant) -> bool {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((at, oldest)) = remembered.order.front().copied() {
            if now.since(at) <= REMEMBERED && remembered.order.len() < MESSAGES_MAX {
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
        *count > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> [u8; 32] {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    #[test]
    fn si40_a_repeat_is_one_for_ten_minutes() {
        let (repeats, start) = (Repeats::default(), Instant(0));
        assert!(!repeats.note(hash(1), start));
        assert!(!repeats.note(hash(2), start));
        assert!(repeats.note(hash(1), start + REMEMBERED));
        assert!(!repeats.note(hash(2), start + REMEMBERED + Duration::from_millis(1)));
        assert!(repeats.note(hash(1), start + REMEMBERED * 2), "counted from the last time");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let repeats = Repeats::default();
        for n in 0..MESSAGES_MAX {
            assert!(!repeats.note(hash(n), Instant(0)));
        }
        assert!(!repeats.note(hash(MESSAGES_MAX), Instant(0)), "one past the limit");
        assert!(!repeats.note(hash(0), Instant(0)), "the oldest was forgotten");
        assert!(repeats.note(hash(MESSAGES_MAX), Instant(0)));
        let remembered = repeats.0.lock().unwrap();
        assert_eq!(remembered.order.len(), MESSAGES_MAX);
        assert!(remembered.counts.len() <= MESSAGES_MAX);
    }
}
