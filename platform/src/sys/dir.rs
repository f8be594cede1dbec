//! Names of a directory.

use super::proc_path;
use protocol::Name;
use rustix::fs::{Dir, Mode, OFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Opens the directory that `fd` (an `O_PATH` descriptor will do) stands for, with a position of its own. Not as `.` in it: one
/// that may be read need not be one that may be searched.
pub fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(proc_path(fd), flags, Mode::empty())?)
}

/// All names in the directory, in byte order, without `.` and `..`.
pub fn names(fd: BorrowedFd<'_>) -> io::Result<Vec<Name>> {
    let mut out = Vec::new();
    for entry in Dir::new(reopen(fd)?)? {
        let entry = entry?;
        // The kernel hands out nothing else that is not a name.
        if let Ok(name) = Name::new(entry.file_name().to_bytes()) {
            out.push(name);
        }
    }
    out.sort();
    Ok(out)
}

/// Whether the directory has no names.
pub fn is_empty(fd: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::new(reopen(fd)?)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
