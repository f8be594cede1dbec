//! Randomness that can be repeated: every random test takes its seed from here, and a failed one prints it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (xorshift64*); not for keys.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        // Spreads neighbouring seeds; zero is the one state that xorshift never leaves.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        self.bits() % bound
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// An element of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }

    /// So many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.bits().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// The seed of this run: `REPLFS_SEED` where it is set, else the clock. Whoever takes it from here says how to repeat.
pub fn chosen() -> u64 {
    std::env::var("REPLFS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    })
}

/// The seed of this run, as [`chosen`]. It is printed, and the test harness shows that when the test fails.
pub fn seed() -> u64 {
    let seed = chosen();
    let test = std::thread::current().name().unwrap_or("TEST").to_owned();
    println!("to repeat: REPLFS_SEED={seed} cargo test -p replfs-tests {test} -- --exact");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let first = Random::new(7).bytes(100);
        assert_eq!(first, Random::new(7).bytes(100));
        assert_ne!(first, Random::new(8).bytes(100));
    }
}
