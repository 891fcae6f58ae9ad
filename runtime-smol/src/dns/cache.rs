//! A map that forgets: each entry at its own time, and the oldest when there are too many.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::{LowerName, Name, RecordType};

/// What was asked: a name, whatever the case of its letters, and a type.
pub(super) type Key = (LowerName, RecordType);

pub(super) fn key(name: &Name, kind: RecordType) -> Key {
    (LowerName::new(name), kind)
}

pub(super) struct Cache<V> {
    entries: Mutex<Entries<V>>,
    most: usize,
}

struct Entries<V> {
    known: HashMap<Key, (Instant, V)>,
    /// In the order in which they came; a key that was replaced stands here once.
    order: VecDeque<Key>,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(most: usize) -> Cache<V> {
        Cache { entries: Mutex::new(Entries { known: HashMap::new(), order: VecDeque::new() }), most }
    }

    pub(super) fn get(&self, key: &Key) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, value) = entries.known.get(key)?;
        (*until > now()).then(|| value.clone())
    }

    pub(super) fn put(&self, key: Key, value: V, ttl: Duration) {
        if ttl.is_zero() {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.known.insert(key.clone(), (now() + ttl, value)).is_none() {
            entries.order.push_back(key);
        }
        while entries.order.len() > self.most {
            let Some(oldest) = entries.order.pop_front() else { return };
            entries.known.remove(&oldest);
        }
    }
}

pub(super) fn now() -> Instant {
    #[allow(clippy::disallowed_methods)] // the age of what is kept, and nothing else
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_in_time_and_the_oldest_make_room() {
        let cache = Cache::new(2);
        let key = |n: u8| key(&Name::from_ascii(format!("N{n}.test.")).unwrap(), RecordType::A);
        let lower = |n: u8| super::key(&Name::from_ascii(format!("n{n}.test.")).unwrap(), RecordType::A);
        let hour = Duration::from_secs(3600);
        cache.put(key(0), 'x', Duration::ZERO);
        assert_eq!(cache.get(&key(0)), None);
        cache.put(key(1), 'a', hour);
        cache.put(key(2), 'b', hour);
        cache.put(key(1), 'c', hour);
        assert_eq!((cache.get(&lower(1)), cache.get(&lower(2))), (Some('c'), Some('b')));
        cache.put(key(3), 'd', hour);
        assert_eq!(
            (cache.get(&key(1)), cache.get(&key(2)), cache.get(&key(3))),
            (None, Some('b'), Some('d'))
        );
    }
}
