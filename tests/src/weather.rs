//! What a network does to datagrams: which of them it loses or doubles, and when one arrives. Nothing is sent here and no clock is read.

use crate::seed::Random;
use std::time::{Duration, Instant};

/// The weather of a link, the same in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand datagrams so many are lost.
    pub lost_permille: u64,
    /// Of a thousand so many arrive twice.
    pub doubled_permille: u64,
    /// Each takes this long in each direction,
    pub delay: Duration,
    /// and up to this much longer, each for itself: so they overtake each other.
    pub jitter: Duration,
    /// Bytes in a second, each direction; zero: as many as there are. What has to wait for that waits in the link.
    pub bytes_per_second: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Lane {
    random: Random,
    /// When what is before has left.
    free: Option<Instant>,
}

/// When a datagram arrives, once or twice; not at all where it is lost.
pub type Arrivals = Vec<Instant>;

impl Lane {
    /// A direction whose chances are those of a seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), free: None }
    }

    /// When a datagram of so many bytes that leaves now arrives.
    pub fn arrivals(&mut self, weather: &Weather, bytes: usize, now: Instant) -> Arrivals {
        if self.random.below(1000) < weather.lost_permille {
            return Vec::new();
        }
        let leaves = self.leaves(weather, bytes, now);
        let copies = 1 + usize::from(self.random.below(1000) < weather.doubled_permille);
        (0..copies).map(|_| leaves + weather.delay + self.jitter(weather)).collect()
    }

    fn leaves(&mut self, weather: &Weather, bytes: usize, now: Instant) -> Instant {
        if weather.bytes_per_second == 0 {
            self.free = None;
            return now;
        }
        let micros = (bytes as u64).saturating_mul(1_000_000) / weather.bytes_per_second;
        let leaves = self.free.map_or(now, |free| free.max(now)) + Duration::from_micros(micros);
        self.free = Some(leaves);
        leaves
    }

    fn jitter(&mut self, weather: &Weather) -> Duration {
        let most = u64::try_from(weather.jitter.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(if most == 0 { 0 } else { self.random.below(most) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(weather: &Weather, datagrams: usize) -> Vec<Arrivals> {
        let (mut lane, now) = (Lane::new(3), Instant::now());
        (0..datagrams).map(|_| lane.arrivals(weather, 1000, now)).collect()
    }

    #[test]
    fn about_as_many_are_lost_and_doubled_as_was_asked_for() {
        let weather = Weather { lost_permille: 200, doubled_permille: 100, ..Weather::default() };
        let arrived = all(&weather, 10_000);
        let lost = arrived.iter().filter(|times| times.is_empty()).count();
        let doubled = arrived.iter().filter(|times| times.len() == 2).count();
        assert!((1800..2200).contains(&lost), "{lost} of 10000");
        assert!((700..900).contains(&doubled), "{doubled} of what is left");
        assert!(all(&Weather::default(), 100).iter().all(|times| times.len() == 1));
    }

    #[test]
    fn jitter_lets_them_overtake_each_other() {
        let weather = Weather { jitter: Duration::from_millis(10), ..Weather::default() };
        let arrived: Vec<_> = all(&weather, 100).concat();
        assert!(arrived.windows(2).any(|pair| pair[1] < pair[0]));
        assert!(arrived.iter().all(|time| *time < arrived[0] + Duration::from_millis(20)));
    }

    #[test]
    fn a_rate_makes_them_leave_one_after_the_other() {
        let weather = Weather { bytes_per_second: 1_000_000, ..Weather::default() };
        let arrived = all(&weather, 101).concat();
        assert_eq!(arrived[100] - arrived[0], Duration::from_millis(100));
    }
}
