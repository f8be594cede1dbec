//! What lets go of what is held (S4), as it is said to a mount. Pure; reading it from a command line is not here.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Minutes of a day.
const DAY: u32 = 24 * 60;

/// When it may be sent. Of several rules each lets go by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// At once.
    Now,
    /// Once so many bytes are held.
    SizeBytes(u64),
    /// Once the oldest of what is held is so old, in milliseconds.
    AgeMs(u64),
    /// From one minute of the day up to another one, which may be that of the next day.
    Window(u32, u32),
}

impl Rule {
    /// How old the oldest may be, where that is the rule.
    pub fn age(self) -> Option<Duration> {
        if let Self::AgeMs(millis) = self { Some(Duration::from_millis(millis)) } else { None }
    }

    /// How long it is from this minute of the day to the next beginning of the window, in minutes: 1 to 1440.
    pub(super) fn opens_in(self, minute: u32) -> Option<u32> {
        let Self::Window(from, _) = self else { return None };
        Some(match (from % DAY + DAY - minute % DAY) % DAY {
            0 => DAY,
            rest => rest,
        })
    }
}

/// Whether a minute of the day is in a window.
pub fn is_within((from, to): (u32, u32), minute: u32) -> bool {
    if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_over_midnight() {
        let (night, day) = ((22 * 60, 6 * 60), (8 * 60, DAY));
        for (minute, in_night, in_day) in
            [(0, true, false), (359, true, false), (360, false, false), (480, false, true), (1319, false, true)]
        {
            assert_eq!((is_within(night, minute), is_within(day, minute)), (in_night, in_day), "{minute}");
        }
        assert!(is_within(night, 1320) && is_within(day, 1439));
    }

    #[test]
    fn the_next_beginning_is_at_most_a_day_away() {
        let night = Rule::Window(22 * 60, 6 * 60);
        for (minute, rest) in [(0, 1320), (1319, 1), (1320, DAY), (1321, DAY - 1)] {
            assert_eq!(night.opens_in(minute), Some(rest), "{minute}");
        }
        assert_eq!(Rule::Window(DAY, 60).opens_in(60), Some(DAY - 60));
        assert_eq!(Rule::Now.opens_in(0), None);
    }
}
