//! What a daemon takes at a moment: memory, descriptors, threads, and what lies below its directories on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Threads and descriptors that no daemon has more of when nothing is open (ARCHITECTURE.md, I5: directories in use 1024, and some for itself).
const MOST_THREADS: u64 = 64;
const MOST_DESCRIPTORS: u64 = 1400;

/// A process at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Resident, in KiB.
    pub resident_kib: u64,
    /// Of that, what is no file: grows with what is not given back.
    pub anonymous_kib: u64,
    /// Open.
    pub descriptors: u64,
    /// Of it.
    pub threads: u64,
}

impl Sample {
    /// Of a process; `None` where it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| -> Option<u64> {
            let text = status.lines().find_map(|line| line.strip_prefix(name))?;
            text.trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Self {
            resident_kib: number("VmRSS:")?,
            anonymous_kib: number("RssAnon:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            threads: number("Threads:")?,
        })
    }

    /// What is beyond its bound, if anything is.
    pub fn beyond(&self) -> Option<String> {
        let is = self.threads > MOST_THREADS || self.descriptors > MOST_DESCRIPTORS;
        is.then(|| format!("{self:?}, bounds {MOST_THREADS} threads and {MOST_DESCRIPTORS} descriptors"))
    }
}

/// KiB allocated below a directory, but for what lies below a name. What goes away meanwhile counts as nothing.
pub fn disk_kib(dir: &Path, but: &str) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.file_name() != but);
    let of = |entry: fs::DirEntry| {
        let Ok(meta) = entry.path().symlink_metadata() else { return 0 };
        let below = if meta.is_dir() { disk_kib(&entry.path(), but) } else { 0 };
        meta.blocks() / 2 + below
    };
    entries.map(of).sum()
}
