//! What one round of a case with a peer gave.

use serde::Serialize;

/// Bare, peer, bare.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    /// Seconds of the application for each operation or byte in the bare directory, before and after.
    pub bare: [f64; 2],
    /// With the peer.
    pub peer: f64,
    /// Operations or bytes with the peer; `None` where the program counts by itself.
    pub work: Option<u64>,
    /// Seconds that the application took with the peer.
    pub seconds: f64,
    /// Seconds until the replica was equal: at least, at most.
    pub lag: Option<(f64, f64)>,
    /// A difference, where it never was.
    pub never: Option<String>,
    /// Bytes that the application wrote.
    pub payload: u64,
    /// Bytes to the other machine, until the replica was equal.
    pub there: u64,
    /// Of those, after the application had ended.
    pub there_after: u64,
    /// Bytes from it.
    pub back: u64,
    /// Operations sent.
    pub records: Option<u64>,
    /// Processor seconds of all the peer's processes until the replica was equal.
    pub processor: f64,
    /// Those of the target's processes while the application worked.
    pub target_processor: f64,
    /// What was not as the peer's name says.
    pub doubt: Option<String>,
}

impl Round {
    /// The application's time as a multiple of the bare directory's.
    pub fn ratio(&self) -> f64 {
        self.peer / self.native()
    }

    /// The same without the time that the target's processes had a processor: on a machine of its own they take none of the application's.
    pub fn ratio_without_target(&self) -> f64 {
        let share = (1.0 - self.target_processor / self.seconds.max(f64::MIN_POSITIVE)).max(0.0);
        self.ratio() * share
    }

    fn native(&self) -> f64 {
        f64::midpoint(self.bare[0], self.bare[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp)] // exact by construction
    fn a_ratio_is_to_the_mean_of_both_bare_units() {
        let round = Round { bare: [1.0, 3.0], peer: 8.0, seconds: 4.0, target_processor: 1.0, ..Round::default() };
        assert_eq!(round.ratio(), 4.0);
        assert_eq!(round.ratio_without_target(), 3.0);
    }
}
