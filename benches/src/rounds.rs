//! Interleaved rounds: each round of one side is followed by a round of the other, and the best round of each
//! counts, so that a busy moment of the machine counts against nobody.

use std::time::{Duration, Instant};

/// How much is measured for a row.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Rounds of each side.
    pub rounds: u32,
    /// Calls of a round.
    pub calls: u32,
}

/// The least time of one call, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Nanos(pub f64);

impl Nanos {
    const NEVER: Nanos = Nanos(f64::INFINITY);

    fn or_less(&mut self, round: Duration, calls: u32) {
        self.0 = self.0.min(round.as_nanos() as f64 / f64::from(calls));
    }

    /// Octets a nanosecond, which are GB a second.
    pub fn rate(self, octets: usize) -> f64 {
        octets as f64 / self.0
    }
}

fn round(calls: u32, call: &mut impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..calls).for_each(|_| call());
    begun.elapsed()
}

/// The best rounds of two sides.
pub fn best_of_two(plan: Plan, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (Nanos, Nanos) {
    let (mut our_best, mut their_best) = (Nanos::NEVER, Nanos::NEVER);
    for _ in 0..plan.rounds {
        our_best.or_less(round(plan.calls, &mut ours), plan.calls);
        their_best.or_less(round(plan.calls, &mut theirs), plan.calls);
    }
    (our_best, their_best)
}

/// The best rounds of several sides that are called by their number.
pub fn best_of_many<const N: usize>(plan: Plan, mut call: impl FnMut(usize)) -> [Nanos; N] {
    let mut best = [Nanos::NEVER; N];
    for _ in 0..plan.rounds {
        for (side, best) in best.iter_mut().enumerate() {
            best.or_less(round(plan.calls, &mut || call(side)), plan.calls);
        }
    }
    best
}
