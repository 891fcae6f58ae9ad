//! What a node takes for time: its monotonic clock runs fast or slow, its wall clock is wrong and may step.

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use crate::rng::Rng;
use crate::setup::Clocks;
use crate::world::{MILLI, T0};

const MILLION: i64 = 1_000_000;

/// The clocks of one node.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Parts per million by which the monotonic clock is fast.
    fast_ppm: i64,
    /// Milliseconds by which the wall clock is ahead.
    ahead_ms: i64,
}

impl Clock {
    /// A node's clocks.
    pub fn new(rng: &mut Rng, clocks: Clocks) -> Clock {
        let signed = |rng: &mut Rng, most: u64| rng.below(2 * most + 1) as i64 - most as i64;
        match clocks {
            Clocks::Close => Clock { fast_ppm: signed(rng, 20), ahead_ms: signed(rng, 2_000) },
            Clocks::Wild => Clock { fast_ppm: signed(rng, 100_000), ahead_ms: signed(rng, 3_600_000) },
        }
    }

    /// Monotonic nanoseconds.
    pub fn monotonic(&self, truth: u64) -> u64 {
        let rate = i128::from(MILLION + self.fast_ppm);
        (i128::from(truth) * rate / i128::from(MILLION)) as u64
    }

    /// When the monotonic clock will show at least this.
    pub fn truth_of(&self, monotonic: u64) -> u64 {
        let rate = i128::from(MILLION + self.fast_ppm);
        (i128::from(monotonic) * i128::from(MILLION) / rate) as u64 + 2
    }

    /// The wall clock, with a step of so many milliseconds.
    pub fn wall(&self, truth: u64, step_ms: i64) -> Timestamp {
        Timestamp(T0.0 + (self.monotonic(truth) / MILLI) as i64 + self.ahead_ms + step_ms)
    }
}

/// Wall-clock time anchored once, then counted by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    clock: Clock,
    wall: Timestamp,
    monotonic: u64,
}

impl Anchor {
    /// Anchored now, which is `shown`.
    pub fn new(clock: Clock, truth: u64, shown: Timestamp) -> Anchor {
        Anchor { clock, wall: shown, monotonic: clock.monotonic(truth) }
    }

    /// Now.
    pub fn now(&self, truth: u64) -> Timestamp {
        let elapsed = self.clock.monotonic(truth).saturating_sub(self.monotonic);
        self.wall + Duration::from_millis(elapsed / MILLI)
    }

    /// How long ago it was anchored.
    pub fn age(&self, truth: u64) -> Duration {
        Duration::from_nanos(self.clock.monotonic(truth).saturating_sub(self.monotonic))
    }

    /// The true time at which [`Anchor::now`] will show `at`.
    pub fn truth_of(&self, at: Timestamp) -> u64 {
        let ahead = u64::try_from(at.0.saturating_sub(self.wall.0)).unwrap_or(0);
        self.clock.truth_of(self.monotonic.saturating_add(ahead.saturating_mul(MILLI)))
    }
}
