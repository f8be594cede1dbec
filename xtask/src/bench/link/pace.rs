//! A steady rate of writes of many sizes: what they are, and when each is due. Nothing is written here.

use replfs_tests::seed::Random;
use std::time::Duration;

/// The smallest write, in bytes; each further size is twice the one before.
const LEAST: usize = 4 << 10;

/// How many sizes there are: 4 KiB to 256 KiB.
const SIZES: u64 = 7;

/// Sizes of writes that are at least so many bytes together, each size as often as any other; the same in every run.
pub fn sizes(bytes: usize) -> Vec<usize> {
    let (mut random, mut sizes, mut sum) = (Random::new(8), Vec::new(), 0);
    while sum < bytes {
        let size = LEAST << random.below(SIZES);
        sum += size;
        sizes.push(size);
    }
    sizes
}

/// When a write is due that comes after so many bytes, at so many per second: so long after the first one.
#[allow(clippy::cast_precision_loss)] // a time
pub fn due(before: usize, bytes_per_second: f64) -> Duration {
    Duration::from_secs_f64(before as f64 / bytes_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_mixed_and_the_same_each_time() {
        let all = sizes(100 << 20);
        assert_eq!(all, sizes(100 << 20));
        for size in [4 << 10, 64 << 10, 256 << 10] {
            let share = all.iter().filter(|one| **one == size).count() * 7;
            assert!((all.len() * 8 / 10..all.len() * 12 / 10).contains(&share), "{size}: {share} of {}", all.len());
        }
        assert!((100 << 20..(100 << 20) + (256 << 10)).contains(&all.iter().sum::<usize>()));
    }

    #[test]
    fn a_write_is_due_when_those_before_it_have_had_their_time() {
        assert_eq!(due(0, 20e6), Duration::ZERO);
        assert_eq!(due(5_000_000, 20e6), Duration::from_millis(250));
    }
}
