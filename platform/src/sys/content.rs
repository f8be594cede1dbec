//! Bytes of regular files by descriptor: opened without a trace, read and written whole.

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
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
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
