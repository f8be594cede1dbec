//! How far a pass is, in numbers for people and programs; counting only, nothing is decided by it.

use serde::{Deserialize, Serialize};

/// What a pass has done and knows of (W2). Totals grow while the scan goes on; no share passes what it is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Directories compared.
    pub directories: u64,
    /// Names compared.
    pub entries: u64,
    /// Directories and names that are known and still wait.
    pub waiting: u64,
    /// Bytes of content sent.
    pub sent_bytes: u64,
    /// Entries that differed.
    pub repaired: u64,
    /// Bytes of files whose content was or is to be looked at, as far as is known.
    pub total_bytes: u64,
    /// Of those, looked at.
    pub done_bytes: u64,
    /// Directories are still being listed: totals may grow.
    pub scanning: bool,
    /// Names that could not be read and are tried again.
    pub unreadable: u64,
}

impl Progress {
    /// So many bytes more are known to be looked at.
    pub fn found(&mut self, bytes: u64) {
        self.total_bytes += bytes;
    }

    /// So many more have been. What a file has grown by meanwhile was not known.
    pub fn advance(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        self.total_bytes = self.total_bytes.max(self.done_bytes);
    }

    /// All has been: what a file has shrunk by meanwhile is not to come any more.
    pub fn complete(&mut self) {
        self.done_bytes = self.total_bytes;
        self.scanning = false;
    }
}
