//! The queue's own time, and until when a job is ours by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use protocol_core::Timestamp;

/// A monotonic clock may run a tenth faster or slower than the store's.
const DRIFT: u32 = 10;

/// The queue's own time, which never runs backwards: the store's clock as it was at start, counted on by the
/// monotonic clock. What storage keeps is in the store's time; `Worker::lead` is how far that is ahead.
#[derive(Clone, Copy, Debug)]
pub struct Anchor(pub Timestamp, pub Instant);

impl Anchor {
    /// What the queue's clock shows.
    pub fn now(self) -> Timestamp {
        self.0 + self.1.elapsed()
    }
}

/// For how long a lease is taken that storage gave: shorter, by what the clocks may differ.
pub fn shortened(lease: Duration) -> Duration {
    lease - lease / DRIFT
}

/// For how long a lease is asked for that is to last so long here.
pub fn lengthened(lease: Duration) -> Duration {
    lease + lease / (DRIFT - 1)
}

/// Until when a job is ours. An attempt looks at it whenever it is about to do what only a holder may: the process may
/// have been stopped for long since the queue said that it may.
#[derive(Clone, Debug)]
pub struct Lease {
    anchor: Anchor,
    until: Arc<AtomicI64>,
}

impl Lease {
    /// One that lasts until then.
    pub fn new(anchor: Anchor, until: Timestamp) -> Lease {
        Lease { anchor, until: Arc::new(AtomicI64::new(until.0)) }
    }

    /// Storage gave it until then.
    pub fn prolong(&self, until: Timestamp) {
        self.until.store(until.0, Ordering::Release);
    }

    /// Whether it holds for so long from now.
    pub fn outlasts(&self, wait: Duration) -> bool {
        self.anchor.now() + wait < Timestamp(self.until.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn q2_a_lease_holds_for_what_is_left_of_it_and_no_longer() {
        let (secs, start) = (Duration::from_secs, Timestamp(1_000_000));
        let lease = Lease::new(Anchor(start, Instant::now()), start + secs(100));
        assert!(lease.outlasts(Duration::ZERO) && lease.outlasts(secs(50)) && !lease.outlasts(secs(100)));
        // The same process, that was stopped for longer.
        let stopped = Instant::now() - secs(100);
        let late = Lease::new(Anchor(start, stopped), start + secs(100));
        assert!(!late.outlasts(Duration::ZERO));
        late.prolong(start + secs(800));
        assert!(late.outlasts(secs(600)) && !late.outlasts(secs(700)));
    }

    #[test]
    fn a_lease_that_was_lengthened_lasts_as_long_as_was_asked_for_on_a_slow_clock() {
        for secs in [1, 10, 120, 720] {
            let asked = Duration::from_secs(secs);
            assert!(shortened(lengthened(asked)) + Duration::from_millis(1) >= asked);
            assert!(shortened(asked) < asked);
        }
    }
}
