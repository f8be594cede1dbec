//! The mark of a clean end: ROOT/.replfs/NAME/clean. It is there from the end of one session to the first record of the
//! next, and tells since when a change in the replica is somebody else's.

use protocol::Incarnation;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

const FILE: &str = "clean";
const FILE_NEW: &str = "clean.new";
const VERSION: u32 = 1;
const MAX_BYTES: u64 = 4096;

/// A change time this much before the mark is still taken for a change after it: file systems stamp changes with a
/// clock that lags behind.
const SLACK_NS: u64 = 1_000_000_000;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clean {
    version: u32,
    /// Nanoseconds since 1970 on this machine's clock.
    at_ns: u64,
    incarnation: String,
    /// Everything up to this was applied and durable.
    applied: u64,
}

impl Clean {
    pub fn new(at_ns: u64, incarnation: Incarnation, applied: u64) -> Self {
        Self { version: VERSION, at_ns, incarnation: incarnation.to_string(), applied }
    }

    /// Whether the replica is still at the place where this mark was set.
    pub fn is_of(&self, incarnation: Incarnation, applied: u64) -> bool {
        self.incarnation == incarnation.to_string() && self.applied == applied
    }

    /// Whether something that changed at this time may have changed after the mark.
    pub fn suspects(&self, changed: protocol::Time) -> bool {
        // Before 1970 is before any mark.
        let secs = u64::try_from(changed.secs).unwrap_or(0);
        secs.saturating_mul(1_000_000_000).saturating_add(changed.nanos.into()) >= self.at_ns.saturating_sub(SLACK_NS)
    }

    /// Reads the mark; `None` where there is none, or none that this build can read: then nothing is claimed.
    pub fn read(dir: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(dir, FILE, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok().filter(|clean: &Self| clean.version == VERSION))
    }

    /// Sets the mark and waits for the disk.
    pub fn write(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::openat(dir, FILE_NEW, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        rustix::fs::renameat(dir, FILE_NEW, dir, FILE)?;
        Ok(rustix::fs::fsync(dir.as_fd())?)
    }

    /// Takes the mark away, durably: a power cut right after must not bring it back.
    pub fn remove(dir: BorrowedFd<'_>) -> io::Result<()> {
        match rustix::fs::unlinkat(dir, FILE, AtFlags::empty()) {
            Ok(()) => Ok(rustix::fs::fsync(dir.as_fd())?),
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
