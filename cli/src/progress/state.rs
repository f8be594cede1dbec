//! How far something is, in numbers.

use serde::{Deserialize, Serialize};

/// What one byte's worth of work a file is beside its content: opening, naming and settling it take as long as so many bytes.
const BYTES_PER_FILE: u64 = 16 << 10;

/// How far something is that goes through files. Totals may grow while it scans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What is being done, in a word: "restoring".
    pub phase: String,
    /// Files that are dealt with.
    pub files_done: u64,
    /// Files that were found so far.
    pub files_total: u64,
    /// Bytes of content that are dealt with.
    pub bytes_done: u64,
    /// Bytes of content that were found so far.
    pub bytes_total: u64,
    /// More may be found.
    pub scanning: bool,
    /// What was set aside.
    pub aside: u64,
    /// What could not be done.
    pub errors: u64,
}

impl State {
    /// Work that is done, and all work that is known, in bytes.
    pub fn work(&self) -> (u64, u64) {
        let work = |bytes: u64, files: u64| bytes.saturating_add(files.saturating_mul(BYTES_PER_FILE));
        let done = work(self.bytes_done, self.files_done);
        (done, work(self.bytes_total, self.files_total).max(done))
    }

    /// The part that is done in whole percent: at most 99, because what is still running is not at its end.
    pub fn percent(&self) -> u8 {
        let (done, all) = self.work();
        let percent = if all == 0 { 0 } else { u128::from(done) * 100 / u128::from(all) };
        u8::try_from(percent).map_or(99, |percent| percent.min(99))
    }
}
