//! How fast content may be read: so many bytes in a second on average, and no more at once than one piece.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes in a second; `None`: any number.
    rate: Option<u64>,
    /// When what was taken so far is paid for.
    paid: Instant,
}

impl Budget {
    pub fn new(rate: Option<u64>, now: Instant) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), paid: now }
    }

    /// Takes so many bytes; how long to wait before they are read.
    pub fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let begin = self.paid.max(now);
        // Pieces are at most a MiB, so this stays far below the largest duration even at a byte in a second.
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        self.paid = begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_before_the_next_are_read() {
        let now = Instant::now();
        let mut budget = Budget::new(Some(1000), now);
        assert_eq!(budget.take(500, now), Duration::ZERO);
        assert_eq!(budget.take(250, now), Duration::from_millis(500));
        assert_eq!(budget.take(1, now + Duration::from_millis(600)), Duration::from_millis(150));
        // What was not used is not saved up.
        let later = now + Duration::from_secs(100);
        assert_eq!(budget.take(1000, later), Duration::ZERO);
        assert_eq!(budget.take(1000, later), Duration::from_secs(1));
    }

    #[test]
    fn no_rate_is_no_bound() {
        let now = Instant::now();
        for rate in [None, Some(0)] {
            let mut budget = Budget::new(rate, now);
            assert_eq!((budget.take(1 << 40, now), budget.take(1, now)), (Duration::ZERO, Duration::ZERO));
        }
    }
}
