//! The one generator of a world.

use std::sync::Mutex;

use crate::exec::lock;

/// SplitMix64: small, and every seed gives a full-period sequence.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Seeds that follow one another give unrelated sequences.
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng(seed ^ 0x5eed_0000_1b0c_5000);
        rng.next();
        rng
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// 16 bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.next().to_le_bytes());
        out[8..].copy_from_slice(&self.next().to_le_bytes());
        out
    }
}

/// A generator that is shared: each draw locks it for itself, so that no draw can wait for another.
#[derive(Clone, Copy)]
pub struct Dice<'a>(pub &'a Mutex<Rng>);

impl Dice<'_> {
    /// A generator of its own.
    pub fn split(self) -> Rng {
        Rng::new(lock(self.0).next())
    }

    /// See [`Rng::below`].
    pub fn below(self, end: u64) -> u64 {
        lock(self.0).below(end)
    }

    /// See [`Rng::between`].
    pub fn between(self, low: u64, high: u64) -> u64 {
        lock(self.0).between(low, high)
    }

    /// See [`Rng::chance`].
    pub fn chance(self, permille: u64) -> bool {
        lock(self.0).chance(permille)
    }

    /// See [`Rng::pick`].
    pub fn pick<T: Copy>(self, of: &[T]) -> T {
        lock(self.0).pick(of)
    }

    /// See [`Rng::bytes16`].
    pub fn bytes16(self) -> [u8; 16] {
        lock(self.0).bytes16()
    }
}
