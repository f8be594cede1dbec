//! What the file system's own map says of the blocks of a file. Whether they are on disk: file systems that allocate late (ext4, xfs, btrfs) say of a freshly written
//! file that its place is not decided yet (`FIEMAP_EXTENT_DELALLOC`), and fsync decides it.

use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

const FS_IOC_FIEMAP: libc::c_ulong = 0xC020_660B;
const EXTENT_LAST: u32 = 1;
const EXTENT_DELALLOC: u32 = 4;
const EXTENT_UNWRITTEN: u32 = 0x800;
const MOST: u32 = 64;

/// `struct fiemap` with room for a few extents (`linux/fiemap.h`).
#[repr(C)]
struct Map {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [Extent; MOST as usize],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// Whether one of the first extents of a file waits for its place on disk. Errors: the file system has no FIEMAP.
pub fn wait_for_disk(path: &Path) -> io::Result<bool> {
    let file = std::fs::File::open(path)?;
    Ok(flags(&file)?.iter().any(|flags| flags & EXTENT_DELALLOC != 0))
}

/// Whether a file has space that is allocated and was never written; or so many extents that this cannot be told. Errors: it
/// has no such map.
pub fn has_unwritten(file: &std::fs::File) -> io::Result<bool> {
    let flags = flags(file)?;
    Ok(flags.len() == MOST as usize || flags.iter().any(|flags| flags & EXTENT_UNWRITTEN != 0))
}

/// The stretches of a file that were written, ascending, whatever the page cache holds. Errors: it has no such map.
pub fn written(file: &std::fs::File) -> io::Result<Vec<Range<u64>>> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        let extents = extents(file, at)?;
        let Some(last) = extents.last() else { return Ok(found) };
        at = last.logical + last.length;
        let is_last = last.flags & EXTENT_LAST != 0;
        let written = extents.iter().filter(|extent| extent.flags & EXTENT_UNWRITTEN == 0);
        found.extend(written.map(|extent| extent.logical..extent.logical + extent.length));
        if is_last {
            return Ok(found);
        }
    }
}

/// The flags of the first extents.
fn flags(file: &std::fs::File) -> io::Result<Vec<u32>> {
    Ok(extents(file, 0)?.iter().map(|extent| extent.flags).collect())
}

/// The first extents from `start` on.
fn extents(file: &std::fs::File, start: u64) -> io::Result<Vec<Extent>> {
    let mut map = Map {
        start,
        length: u64::MAX - start,
        flags: 0,
        mapped: 0,
        room: MOST,
        reserved: 0,
        extents: [Extent::default(); MOST as usize],
    };
    // SAFETY: `map` has the layout that the kernel expects and room for `MOST` extents, as it says.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let mapped = map.mapped.min(MOST) as usize;
    Ok(map.extents[..mapped].to_vec())
}
