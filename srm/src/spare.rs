//! When memory is given back that what was queued took: once it has been little for a while, after it had been much. Pure; who measures and who gives it back is
//! elsewhere.

use std::time::{Duration, Instant};

/// So many bytes in memory are much.
const MUCH_BYTES: u64 = 16 << 20;

/// So many are little: what is queued and sent all the time.
const LITTLE_BYTES: u64 = 4 << 20;

/// So long it is to be little: what is taken again soon is better kept.
const QUIET: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    /// There was much, and it was not given back.
    owes: bool,
    /// Since when it is little.
    quiet: Option<Instant>,
}

impl Spare {
    /// At most so much was in memory since the last time that this was asked: whether it is to be given back now.
    pub fn gives_back(&mut self, most_bytes: u64, now: Instant) -> bool {
        self.owes |= most_bytes >= MUCH_BYTES;
        if most_bytes > LITTLE_BYTES {
            self.quiet = None;
            return false;
        }
        let quiet = *self.quiet.get_or_insert(now);
        self.owes && now.saturating_duration_since(quiet) >= QUIET && std::mem::take(&mut self.owes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_much_is_given_back_once_when_it_has_been_little_for_a_while() {
        let (mut spare, begun) = (Spare::default(), Instant::now());
        let mut given = Vec::new();
        for (second, bytes) in [
            (0, 0),
            (20, LITTLE_BYTES + 1),
            (21, 0),
            (31, 0), // It never was much.
            (40, MUCH_BYTES),
            (41, LITTLE_BYTES),
            (50, LITTLE_BYTES + 1),
            (51, 0),
            (60, 0),
            (61, 0), // Ten seconds.
            (80, 0),
        ] {
            if spare.gives_back(bytes, begun + Duration::from_secs(second)) {
                given.push(second);
            }
        }
        assert_eq!(given, [61]);
    }
}
