//! Attributes of a node by descriptor, `O_PATH` descriptors included: stat, chmod, chown, times.

use super::proc_path;
use protocol::{Attrs, Name, NodeKind, Owner, Time};
use rustix::fs::{AtFlags, FileType, Mode, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::path::Arg;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// `fstat(2)`.
pub fn stat(fd: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(fd)?)
}

/// `fstatat(2)` of a name in a directory, symbolic links not followed.
pub fn stat_at(dir: impl AsFd, name: impl Arg) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The permission bits of a mode: the lowest twelve.
pub fn perm(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Modification time.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the kernel gives 0 to 999,999,999
pub fn mtime(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

/// Access time.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the kernel gives 0 to 999,999,999
pub fn atime(stat: &Stat) -> Time {
    Time { secs: stat.st_atime, nanos: stat.st_atime_nsec as u32 }
}

/// Change time.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the kernel gives 0 to 999,999,999
pub fn ctime(stat: &Stat) -> Time {
    Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 }
}

/// Blocks of 512 bytes that hold a regular file's content, as far as that can be told: without the block that extended attributes may have beside the inode (ext4).
/// Whether they do depends on what was set before, in which order, and on what a target keeps; it says nothing of the content. It is counted out only of a file that is
/// full but for it, so that one block allocated behind the end of a file with attributes is not told from it; of sparse files it cannot be told.
pub fn content_blocks(stat: &Stat, has_xattrs: bool) -> u64 {
    const BLOCK: u64 = 4096 / 512;
    // The kernel shows no negative sizes or blocks.
    let [blocks, size] = [stat.st_blocks, stat.st_size].map(|n| u64::try_from(n).unwrap_or(0));
    let full = size.div_ceil(4096) * BLOCK;
    if has_xattrs && blocks == full + BLOCK { full } else { blocks }
}

/// Owner, permission bits, modification time.
pub fn attrs(stat: &Stat) -> Attrs {
    Attrs { mode: perm(stat), owner: Owner { uid: stat.st_uid, gid: stat.st_gid }, mtime: mtime(stat) }
}

/// The kind of a node; a symbolic link is read through `fd`, which must be a descriptor of the link itself.
pub fn kind(fd: BorrowedFd<'_>, stat: &Stat) -> io::Result<NodeKind> {
    kind_by(stat, || rustix::fs::readlinkat(fd, c"", Vec::new()))
}

/// As [`kind`], of what is under a name in a directory.
pub fn kind_at(dir: BorrowedFd<'_>, name: &Name, stat: &Stat) -> io::Result<NodeKind> {
    kind_by(stat, || rustix::fs::readlinkat(dir, name.as_os_str(), Vec::new()))
}

fn kind_by(stat: &Stat, target: impl FnOnce() -> rustix::io::Result<CString>) -> io::Result<NodeKind> {
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink(target()?.into_bytes()),
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::CharacterDevice => NodeKind::CharDevice(stat.st_rdev),
        FileType::BlockDevice => NodeKind::BlockDevice(stat.st_rdev),
        FileType::Unknown => return Err(io::Error::other("a node of unknown type")),
    })
}

/// Sets permission bits. Not for symbolic links, which have none.
pub fn chmod(fd: BorrowedFd<'_>, perm: u32) -> io::Result<()> {
    Ok(rustix::fs::chmod(proc_path(fd), Mode::from_raw_mode(perm))?)
}

/// Sets owner and group; `None` leaves one as it is.
pub fn chown(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let uid = uid.map(rustix::fs::Uid::from_raw);
    let gid = gid.map(rustix::fs::Gid::from_raw);
    Ok(rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)?)
}

fn timespec(time: Option<Time>) -> Timespec {
    match time {
        Some(t) => Timespec { tv_sec: t.secs, tv_nsec: t.nanos.into() },
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    }
}

/// Sets times exactly; `None` leaves one as it is.
pub fn set_times(fd: BorrowedFd<'_>, atime: Option<Time>, mtime: Option<Time>) -> io::Result<()> {
    let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
    Ok(rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_attributes_is_no_content() {
        let blocks = |size, blocks, has_xattrs| {
            let mut stat = stat(std::fs::File::open("/").unwrap()).unwrap();
            (stat.st_size, stat.st_blocks) = (size, blocks);
            content_blocks(&stat, has_xattrs)
        };
        assert_eq!(blocks(5000, 24, true), 16, "full but for the one");
        assert_eq!(blocks(5000, 24, false), 24, "allocated behind the end");
        assert_eq!(blocks(5000, 32, true), 32);
        assert_eq!(blocks(5000, 8, true), 8, "sparse");
        assert_eq!(blocks(0, 8, true), 0);
        assert_eq!(blocks(-1, -1, true), 0);
    }
}
