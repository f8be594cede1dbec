//! Where a file has data and where it has holes.

use rustix::fs::{FallocateFlags, SeekFrom, seek};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

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

/// How long a hole is that begins at `offset` in a file of `size` bytes; zero where there is data. Uses the descriptor's own
/// position.
pub fn hole_at(fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<u64> {
    if offset >= size {
        return Ok(0);
    }
    match seek(fd, SeekFrom::Data(offset)) {
        Ok(data) => Ok(data.min(size).saturating_sub(offset)),
        Err(Errno::NXIO) => Ok(size - offset),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(0),
        Err(e) => Err(e.into()),
    }
}

/// Makes a hole of a range within the file; the size stays.
pub fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(fd, flags, offset, len)?)
}

/// Ranges that are allocated and were never written: they read as zeros, like holes, but take space (`fallocate(2)`).
/// Empty where the file system does not tell. What was written there and not yet to the disk may be among them: allocating
/// it again does no harm.
pub fn unwritten(fd: BorrowedFd<'_>) -> io::Result<Vec<Segment>> {
    let mut out: Vec<Segment> = Vec::new();
    let mut start = 0;
    loop {
        let mut map = FieMap { start, len: u64::MAX - start, ..FieMap::EMPTY };
        // SAFETY: the request reads and writes a `struct fiemap` followed by `extent_count` extents, which `FieMap` is.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) };
        if result < 0 {
            return match io::Error::last_os_error() {
                e if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY)) => Ok(Vec::new()),
                e => Err(e),
            };
        }
        let found = map.extents.get(..map.mapped as usize).unwrap_or(&map.extents);
        for extent in found.iter().filter(|extent| extent.flags & FIEMAP_EXTENT_UNWRITTEN != 0) {
            match out.last_mut() {
                Some(last) if last.offset + last.len == extent.logical => last.len += extent.len,
                _ => out.push(Segment { offset: extent.logical, len: extent.len, hole: true }),
            }
        }
        match found.last() {
            Some(last) if last.flags & FIEMAP_EXTENT_LAST == 0 => start = last.logical + last.len,
            _ => return Ok(out),
        }
    }
}

/// `_IOWR('f', 11, struct fiemap)`, with the size of the structure without extents.
const FS_IOC_FIEMAP: libc::Ioctl = 0xC020_660B_u32 as libc::Ioctl;
const FIEMAP_EXTENT_LAST: u32 = 1;
const FIEMAP_EXTENT_UNWRITTEN: u32 = 0x800;
const EXTENTS: usize = 128;

/// `struct fiemap` of linux/fiemap.h with room for extents.
#[repr(C)]
struct FieMap {
    start: u64,
    len: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [FieExtent; EXTENTS],
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FieExtent {
    logical: u64,
    physical: u64,
    len: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved32: [u32; 3],
}

impl FieMap {
    const EMPTY: Self = Self {
        start: 0,
        len: 0,
        flags: 0,
        mapped: 0,
        count: 128,
        reserved: 0,
        extents: [FieExtent { logical: 0, physical: 0, len: 0, reserved64: [0; 2], flags: 0, reserved32: [0; 3] };
            EXTENTS],
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_data_and_unwritten_space_are_told_apart() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        let size = (1 << 20) + 4096;
        let found = segments(file.as_fd(), 0, size).unwrap();
        assert_eq!(found.iter().map(|s| s.hole).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(found.iter().map(|s| s.len).sum::<u64>(), size);
        // What is on its way to the disk counts as unwritten until it is there.
        file.sync_all().unwrap();
        assert_eq!(unwritten(file.as_fd()).unwrap(), []);
        rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 2 << 20, 8192).unwrap();
        assert_eq!(
            unwritten(file.as_fd()).unwrap(),
            [Segment { offset: 2 << 20, len: 8192, hole: true }],
            "allocated beyond the end"
        );
        punch(file.as_fd(), 0, 4096).unwrap();
        assert!(segments(file.as_fd(), 0, 4096).unwrap()[0].hole);
    }
}
