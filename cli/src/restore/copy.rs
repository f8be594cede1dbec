//! Copying within this machine, with attributes: for what is set aside on another file system, and to begin a file with the
//! content of another.

use super::directory::open_dir;
use platform::sys::content::{open_to_read, read_up_to, write_all};
use platform::sys::{attr, dir, extent, xattr};
use protocol::{Name, NodeKind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PIECE_BYTES: usize = 1 << 20;

/// Directories within one another that are copied, or removed; each has a place on the stack.
const MOST_DEEP: usize = 1000;

/// Copies a name with everything below it; `to` must not exist. Hard links within become files of their own.
pub(super) fn tree(from_dir: &OwnedFd, from: &Name, to_dir: &OwnedFd, to: &Name) -> io::Result<()> {
    tree_at(from_dir, from, to_dir, to, 0)
}

fn deeper(depth: usize) -> io::Result<usize> {
    if depth < MOST_DEEP {
        return Ok(depth + 1);
    }
    Err(io::Error::other(format!(
        "more than {MOST_DEEP} directories lie within one another, and they are copied between file systems"
    )))
}

fn tree_at(from_dir: &OwnedFd, from: &Name, to_dir: &OwnedFd, to: &Name, depth: usize) -> io::Result<()> {
    let node = open(from_dir, from)?;
    let stat = attr::stat(&node)?;
    let kind = attr::kind(node.as_fd(), &stat)?;
    let special = |file_type, device| rustix::fs::mknodat(to_dir, to.as_bytes(), file_type, Mode::RUSR, device);
    match &kind {
        NodeKind::File => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to_dir, to.as_bytes(), flags, Mode::RUSR | Mode::WUSR)?;
            content(&open_to_read(node.as_fd())?, &copy)?;
        }
        NodeKind::Directory => {
            rustix::fs::mkdirat(to_dir, to.as_bytes(), Mode::RWXU)?;
            let copy = open_dir(to_dir, to)?;
            for name in dir::names(node.as_fd())? {
                tree_at(&node, &name, &copy, &name, deeper(depth)?)?;
            }
        }
        NodeKind::Symlink(target) => rustix::fs::symlinkat(&target[..], to_dir, to.as_bytes())?,
        NodeKind::Fifo => special(FileType::Fifo, 0)?,
        NodeKind::Socket => special(FileType::Socket, 0)?,
        NodeKind::CharDevice(device) => special(FileType::CharacterDevice, *device)?,
        NodeKind::BlockDevice(device) => special(FileType::BlockDevice, *device)?,
    }
    attributes(node.as_fd(), open(to_dir, to)?.as_fd())
}

/// Copies content with its holes, to the end of what is there.
pub(super) fn content(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let size = u64::try_from(attr::stat(from)?.st_size).unwrap_or(0);
    let mut buffer = vec![0; PIECE_BYTES.min(usize::try_from(size).unwrap_or(PIECE_BYTES))];
    for segment in extent::segments(from.as_fd(), 0, size)?.into_iter().filter(|segment| !segment.hole) {
        let (mut at, end) = (segment.offset, segment.offset + segment.len);
        while at < end {
            let piece = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let got = read_up_to(from, &mut buffer[..piece], at)?;
            if got == 0 {
                break;
            }
            write_all(to, &buffer[..got], at)?;
            at += got as u64;
        }
    }
    Ok(rustix::fs::ftruncate(to, size)?)
}

/// Owner, extended attributes, permissions, times, as far as this user can.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = attr::stat(from)?;
    let privileged = rustix::process::geteuid().is_root();
    let possible = |result: io::Result<()>| match result {
        Err(e) if !privileged && matches!(e.raw_os_error(), Some(libc::EPERM)) => Ok(()),
        // The other file system may know less.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        result => result,
    };
    possible(attr::chown(to, Some(stat.st_uid), Some(stat.st_gid)))?;
    for (name, value) in xattr::all(from)? {
        possible(xattr::set(to, &name, &value, XattrFlags::empty()))?;
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        attr::chmod(to, attr::perm(&stat))?;
    }
    attr::set_times(to, Some(attr::atime(&stat)), Some(attr::mtime(&stat)))
}

/// Removes a name with everything below it.
pub(super) fn remove(at: &OwnedFd, name: &Name) -> io::Result<()> {
    remove_at(at, name, 0)
}

fn remove_at(at: &OwnedFd, name: &Name, depth: usize) -> io::Result<()> {
    let stat = attr::stat_at(at, name.as_bytes())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(rustix::fs::unlinkat(at, name.as_bytes(), AtFlags::empty())?);
    }
    let directory = open_dir(at, name)?;
    for below in dir::names(directory.as_fd())? {
        remove_at(&directory, &below, deeper(depth)?)?;
    }
    Ok(rustix::fs::unlinkat(at, name.as_bytes(), AtFlags::REMOVEDIR)?)
}

fn open(at: &OwnedFd, name: &Name) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name.as_bytes(), flags, Mode::empty())?)
}
