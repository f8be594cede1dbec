//! Disks that write down each write and each flush, so that they can be rebuilt as of any moment, with what was not flushed kept or lost.
//! What is on them, and what anybody was promised, is not known here.

pub mod image;
pub mod log;
pub mod qemu;

use crate::command::run;
use crate::disk::admin;
use anyhow::Result;
use log::Log;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Written whole or not at all, as by disks of this century: ext4 relies on that for its superblock.
pub const SECTOR: usize = 4096;

/// A disk that writes down what happens to it.
pub trait Layer: Send + Sync {
    /// The file that is the disk.
    fn path(&self) -> PathBuf;

    /// How long its log is, in bytes: what was written, and what was flushed, has grown it.
    fn position(&self) -> u64;

    /// What happened so far. Errors: the log cannot be read.
    fn log(&self) -> Result<Log>;

    /// What has to be unmounted when the disk is done with.
    fn place(&self) -> PathBuf;
}

/// A file system to be put on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// As mount(8) calls it.
    pub kind: String,
    /// Of mount(8).
    pub options: String,
    /// Size in MiB.
    pub mib: usize,
}

impl FileSystem {
    /// Those that power is cut under.
    pub fn all() -> Vec<Self> {
        [("ext4", ""), ("ext4", "data=writeback,commit=1"), ("xfs", ""), ("btrfs", ""), ("ext4", "nodelalloc,commit=1")]
            .map(|(kind, options)| Self::new(kind, options))
            .to_vec()
    }

    /// One of them, as small as its mkfs makes it.
    pub fn new(kind: &str, options: &str) -> Self {
        let mib = match kind {
            "xfs" => 320,
            "btrfs" => 256,
            _ => 96,
        };
        Self { kind: kind.to_owned(), options: options.to_owned(), mib }
    }

    /// Makes it.
    #[track_caller]
    pub fn make(&self, on: &Path) {
        let words: &[&str] = match self.kind.as_str() {
            "ext4" => &["-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
            "xfs" => &["-K", "-s", "size=4096"],
            "btrfs" => &["-K"],
            _ => &[],
        };
        run(admin(&format!("mkfs.{}", self.kind)).arg("-q").args(words).arg(on)).ok();
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.kind, if self.options.is_empty() { "" } else { " " }, self.options)
    }
}
