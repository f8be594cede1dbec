//! How much of everything a run does.

use std::time::Duration;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// Pairs of each.
    pub rounds: usize,
    /// Sizes, counts and times are multiplied by this.
    pub scale: f64,
}

impl Ground {
    /// Bytes in whole MiB, at least one.
    pub fn bytes(&self, mib_at_scale_one: usize) -> usize {
        self.times(mib_at_scale_one, 1) << 20
    }

    /// How many, at least a hundred.
    pub fn count(&self, at_scale_one: usize) -> usize {
        self.times(at_scale_one, 100)
    }

    /// How long.
    pub fn time(&self, at_scale_one: Duration) -> Duration {
        at_scale_one.mul_f64(self.scale)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small counts
    fn times(&self, at_scale_one: usize, least: usize) -> usize {
        ((at_scale_one as f64 * self.scale) as usize).max(least)
    }
}
