//! Bytes of regular files by descriptor: opened without a trace, read and written whole.

use super::extent::segments;
use super::{attr, proc_path};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens for reading what `path` (an `O_PATH` descriptor) stands for, without leaving a trace in its access time where that
/// is allowed. `EINVAL`: it is no regular file; opening a device or a pipe has effects.
pub fn open_to_read(path: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    if FileType::from_raw_mode(attr::stat(path)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL.into());
    }
    let open = |flags| rustix::fs::open(proc_path(path), OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty());
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => Ok(open(OFlags::empty())?),
        result => Ok(result?),
    }
}

/// Reads until `buffer` is full or the file ends; answers how much there was.
pub fn read_up_to(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match rustix::io::pread(&fd, &mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(got)
}

/// Writes all of it.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes, offset) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more")),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Bytes of a block's hash.
pub const HASH_BYTES: usize = 16;

/// The hash of a block that is all hole.
pub const HOLE: [u8; HASH_BYTES] = [0; HASH_BYTES];

/// The first 16 bytes of BLAKE3.
pub fn hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..HASH_BYTES]);
    out
}

/// Hashes of the blocks of a range of a file, up to its end: [`hash`] of each, [`HOLE`] for one that is all hole. Takes `len`
/// bytes of memory. Uses the descriptor's own position.
pub fn block_hashes(fd: BorrowedFd<'_>, offset: u64, len: u64, block_bytes: u32) -> io::Result<Vec<[u8; HASH_BYTES]>> {
    let size = u64::try_from(attr::stat(fd)?.st_size).unwrap_or(0);
    let there = (offset + len).min(size).saturating_sub(offset);
    let segments = if there == 0 { Vec::new() } else { segments(fd, offset, there)? };
    let in_memory = |bytes: u64| usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
    let mut buffer = vec![0; in_memory(there)?];
    let mut got = buffer.len();
    for segment in segments.iter().filter(|segment| !segment.hole) {
        let at = in_memory(segment.offset - offset)?;
        let part = &mut buffer[at..at + in_memory(segment.len)?];
        let read = read_up_to(fd, part, segment.offset)?;
        if read < part.len() {
            // It has become shorter.
            got = at + read;
            break;
        }
    }
    let mut hashes = Vec::new();
    for (index, block) in (0u64..).zip(buffer[..got].chunks(block_bytes.max(1) as usize)) {
        let start = offset + index * u64::from(block_bytes);
        let end = start + block.len() as u64;
        let hole = segments.iter().any(|s| s.hole && s.offset <= start && end <= s.offset + s.len);
        hashes.push(if hole { HOLE } else { hash(block) });
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_for_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let open = |path: &std::path::Path| {
            let fd = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
            open_to_read(fd.as_fd())
        };
        let file = open(&path).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read_up_to(&file, &mut buffer, 1).unwrap(), 2);
        assert_eq!(&buffer[..2], b"bc");
        std::os::unix::fs::symlink(&path, dir.path().join("l")).unwrap();
        for other in [dir.path(), &dir.path().join("l"), std::path::Path::new("/dev/null")] {
            assert_eq!(open(other).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{}", other.display());
        }
    }
}
