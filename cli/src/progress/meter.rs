//! How fast it goes, over the last while, and how long the rest takes at that.

use super::State;
use std::collections::VecDeque;
use std::time::Duration;

/// The while that counts.
const WINDOW: Duration = Duration::from_secs(10);
/// Samples that are kept: five a second.
const SAMPLES: usize = 51;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    bytes: u64,
    files: u64,
    work: u64,
}

/// What was seen lately.
#[derive(Debug, Default)]
pub(super) struct Meter(VecDeque<Sample>);

/// Rates and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Bytes each second.
    pub bytes: u64,
    /// Files each second.
    pub files: u64,
    /// How long the rest takes; `None` while that cannot be told.
    pub left: Option<Duration>,
}

impl Meter {
    /// Notes how far it is at a time since the beginning.
    pub fn note(&mut self, at: Duration, state: &State) {
        let sample = Sample { at, bytes: state.bytes_done, files: state.files_done, work: state.work().0 };
        self.0.push_back(sample);
        let old = |first: &Sample| at.saturating_sub(first.at) > WINDOW;
        while self.0.len() > SAMPLES || self.0.len() > 2 && self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
    }

    /// The pace now. Nothing is said of the rest while more is found.
    pub fn pace(&self, state: &State) -> Pace {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return Pace::default() };
        let millis = (last.at.saturating_sub(first.at)).as_millis();
        let each_second = |from: u64, to: u64| {
            let rate = (u128::from(to.saturating_sub(from)) * 1000).checked_div(millis).unwrap_or(0);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let (done, all) = state.work();
        let left = match each_second(first.work, last.work) {
            0 => None,
            _ if state.scanning => None,
            rate => Some(Duration::from_secs((all - done).div_ceil(rate))),
        };
        Pace { bytes: each_second(first.bytes, last.bytes), files: each_second(first.files, last.files), left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: u64, total: u64) -> State {
        State { bytes_done: bytes, bytes_total: total, ..State::default() }
    }

    #[test]
    fn a_rate_is_that_of_the_last_while_and_tells_when_the_rest_is_done() {
        let mut meter = Meter::default();
        assert_eq!(meter.pace(&at(0, 100)), Pace::default(), "nothing was seen");
        meter.note(Duration::ZERO, &at(0, 100_000));
        assert_eq!(meter.pace(&at(0, 100_000)).left, None, "nothing moved");
        for second in 1..=60 {
            meter.note(Duration::from_secs(second), &at(second * 1000, 100_000));
        }
        assert_eq!(
            meter.pace(&at(60_000, 100_000)),
            Pace { bytes: 1000, files: 0, left: Some(Duration::from_secs(40)) }
        );
        // It has become faster: after the window nothing of the slow time counts.
        for second in 61..=75 {
            meter.note(Duration::from_secs(second), &at(60_000 + (second - 60) * 2000, 100_000));
        }
        assert_eq!(meter.pace(&at(90_000, 100_000)).bytes, 2000);
        assert_eq!(meter.pace(&State { scanning: true, ..at(90_000, 100_000) }).left, None, "more may be found");
    }

    #[test]
    fn numbers_that_go_back_or_overflow_are_no_rate() {
        let mut meter = Meter::default();
        meter.note(Duration::ZERO, &at(500, 10));
        meter.note(Duration::from_secs(1), &at(100, 10));
        assert_eq!(meter.pace(&at(100, 10)), Pace::default());
        meter.note(Duration::from_secs(2), &at(u64::MAX, 10));
        assert_eq!(meter.pace(&at(u64::MAX, 10)).left, Some(Duration::ZERO));
    }
}
