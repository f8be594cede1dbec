//! How fast it must at least be: ratios to the bare directory (issue 3), or to a mount without a journal.

use super::state::State;

/// Cases and their floors while bypassed.
const BYPASSED: [(&str, f64); 8] = [
    ("seq-write-1M", 0.50),
    ("seq-read-1M-warm", 0.90),
    ("rand-read-4K-warm", 0.65),
    ("rand-write-4K", 0.45),
    ("W3-write-4K-fdatasync", 0.90),
    ("W4-create-4K", 0.28),
    ("stat-cached", 0.50),
    ("unlink", 0.30),
];

/// What a journal in memory must leave of the throughput without one (issue 5).
const JOURNAL: [(&str, f64); 2] = [("W2-rand-write-fsync", 0.9), ("W4-create-4K", 0.9)];

/// What of it must remain while changes accumulate, whether they are kept or not.
const ACCUMULATING: f64 = 0.7;

/// The floor of a case in a state, where there is one.
pub fn floor(case: &str, state: State) -> Option<f64> {
    let floors = if state == State::Journal { &JOURNAL[..] } else { &BYPASSED[..] };
    let (_, floor) = floors.iter().copied().find(|(name, _)| *name == case)?;
    match state {
        State::Bypassed | State::Journal => Some(floor),
        State::Accumulating | State::MirrorDue => Some(floor * ACCUMULATING),
        State::Attached(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases;

    #[test]
    fn every_floor_is_that_of_a_case() {
        let cases = cases::all();
        for (name, _) in BYPASSED.into_iter().chain(JOURNAL) {
            assert!(cases.iter().any(|case| case.name == name), "{name}");
        }
    }
}
