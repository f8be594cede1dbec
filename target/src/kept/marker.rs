//! Whether anything of a replica is kept in extended attributes: a file in ROOT/.replfs/NAME, made before the first of them. Without it nobody has to
//! look for any, so that a target which keeps nothing loses no time with it.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

const ANY: &str = "kept";
/// Among what is kept are capabilities of files, which go when the file is written.
const CAPABILITIES: &str = "kept-capabilities";

/// See the module.
#[derive(Debug)]
pub(crate) struct Marker {
    any: AtomicBool,
    capabilities: AtomicBool,
}

impl Marker {
    /// As it is on the disk; `meta`: ROOT/.replfs/NAME.
    pub fn read(meta: BorrowedFd<'_>) -> io::Result<Self> {
        let there = |name: &str| match rustix::fs::statat(meta, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(AtomicBool::new(true)),
            Err(Errno::NOENT) => Ok(AtomicBool::new(false)),
            Err(e) => Err(io::Error::from(e)),
        };
        Ok(Self { any: there(ANY)?, capabilities: there(CAPABILITIES)? })
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub fn capabilities(&self) -> bool {
        self.capabilities.load(Ordering::Relaxed)
    }

    /// Something is about to be kept.
    pub fn note(&self, meta: BorrowedFd<'_>) -> io::Result<()> {
        make(&self.any, meta, ANY)
    }

    /// Capabilities of a file are about to be kept.
    pub fn note_capabilities(&self, meta: BorrowedFd<'_>) -> io::Result<()> {
        make(&self.any, meta, ANY)?;
        make(&self.capabilities, meta, CAPABILITIES)
    }
}

fn make(flag: &AtomicBool, meta: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    if flag.load(Ordering::Relaxed) {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(meta, name, flags, Mode::RUSR | Mode::WUSR)?;
    // It must not be lost where what it speaks of is not.
    rustix::fs::fsync(file)?;
    rustix::fs::fsync(meta.as_fd())?;
    flag.store(true, Ordering::Relaxed);
    Ok(())
}
