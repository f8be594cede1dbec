//! Where a file has data and where it has holes.

use rustix::fs::{FallocateFlags, SeekFrom, seek};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;

/// One stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Position in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// It is a hole: reads as zeros and takes no space.
    pub hole: bool,
}

/// The segments of `offset..offset + len`, which must lie within the file, in order and without gaps. Uses the
/// descriptor's own position.
pub fn segments(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<Vec<Segment>> {
    let end = offset + len;
    let mut out = Vec::new();
    let mut at = offset;
    while at < end {
        let data = match seek(fd, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            Err(Errno::NXIO) => end,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e.into()),
        };
        if data > at {
            out.push(Segment { offset: at, len: data - at, hole: true });
        }
        if data >= end {
            break;
        }
        let hole = match seek(fd, SeekFrom::Hole(data)) {
            Ok(hole) => hole.min(end),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => end,
            Err(e) => return Err(e.into()),
        };
        out.push(Segment { offset: data, len: hole - data, hole: false });
        at = hole;
    }
    Ok(out)
}

/// Makes a hole of a range within the file; the size stays.
pub fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(fd, flags, offset, len)?)
}
