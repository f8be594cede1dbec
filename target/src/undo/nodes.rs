//! Taking nodes back, once they have their names: data, size, room, then owner, extended attributes, permissions, times. Each can be done
//! again.

use super::find::{Area, Areas, Spot, depth};
use super::log::{Entry, Node, read_at};
use super::report::RollBackError;
use crate::apply::settle_xattrs;
use platform::killpoint::{self, KillPoint};
use platform::sys::content::write_all;
use platform::sys::{attr, extent, proc_path};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// No block is larger.
const BLOCK_BYTES: u64 = 64 << 10;

/// Where a record about a file's data is: the segment and the place in it.
pub(super) type At = (u64, u64);

/// All that is known of a node.
#[derive(Debug)]
pub(super) struct Known {
    pub was: Node,
    /// Records about its data, as they were written.
    pub data: Vec<At>,
    /// Where it had room that was never written. `None`: its data has not been touched.
    pub room: Option<Vec<(u64, u64)>>,
}

/// Takes the nodes of the replica back; answers how many, and how many bytes of data.
pub(super) fn take_back(
    areas: &Areas,
    nodes: &HashMap<u64, Known>,
    segments: &HashMap<u64, File>,
) -> Result<(u64, u64), RollBackError> {
    let spots = areas.find(&[Area::Tree], &nodes.keys().copied().collect())?;
    let one = |(inode, spots): (&u64, &Vec<Spot>)| Some((*inode, spots.first()?.clone()));
    let mut order: Vec<_> = spots.iter().filter_map(one).collect();
    // Permissions of a directory could lock us out of what is below.
    order.sort_by_key(|(_, spot)| std::cmp::Reverse(depth(&spot.path)));
    let (mut count, mut bytes) = (0, 0);
    for (inode, spot) in order {
        let Some(known) = nodes.get(&inode) else { continue };
        killpoint::pass(KillPoint::TargetApplied);
        let fd = areas.open(&spot)?;
        let stat = attr::stat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::from_raw_mode(known.was.mode) {
            return Err(RollBackError::Damaged(format!("'{}' is another kind of node than it was", spot.path)));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && (known.room.is_some() || size(&stat) != known.was.size)
        {
            bytes += data(fd.as_fd(), known, segments)?;
        }
        attributes(fd.as_fd(), &known.was)?;
        count += 1;
    }
    Ok((count, bytes))
}

fn size(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn open_to_write(path: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    if FileType::from_raw_mode(attr::stat(path)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("something that is no file has the inode number of one that is to go back"));
    }
    let open = || rustix::fs::open(proc_path(path), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            // The owner's own permissions; they are set afterwards.
            attr::chmod(path, attr::perm(&attr::stat(path)?) | 0o600)?;
            Ok(open()?)
        }
        result => Ok(result?),
    }
}

fn data(path: BorrowedFd<'_>, known: &Known, segments: &HashMap<u64, File>) -> Result<u64, RollBackError> {
    let fd = open_to_write(path)?;
    let end = known.was.size;
    // Also where it has this size: room behind the end goes.
    rustix::fs::ftruncate(&fd, end).map_err(io::Error::from)?;
    let mut bytes = 0;
    // Backwards: where a range was saved again, what was saved first comes last.
    for (segment, at) in known.data.iter().rev() {
        let file = segments.get(segment).ok_or_else(|| RollBackError::Damaged(format!("no segment {segment}")))?;
        match read_at(file, *at)? {
            Entry::Data { offset, bytes: content, .. } => {
                let within = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(content.len());
                write_all(&fd, &content[..within], offset)?;
                bytes += within as u64;
            }
            Entry::Hole { offset, len, .. } => {
                let within = len.min(end.saturating_sub(offset));
                if within > 0 {
                    // The block in which the file ends is a hole, too.
                    let behind = if offset + within == end { BLOCK_BYTES } else { 0 };
                    hole(fd.as_fd(), offset, within + behind, within)?;
                }
            }
            _ => return Err(RollBackError::Damaged("a record that is not about data".to_owned())),
        }
    }
    for (offset, len) in known.room.iter().flatten() {
        match rustix::fs::fallocate(&fd, FallocateFlags::KEEP_SIZE, *offset, *len) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
    }
    Ok(bytes)
}

/// Where that cannot be, `within` zeros.
fn hole(fd: BorrowedFd<'_>, offset: u64, len: u64, within: u64) -> io::Result<()> {
    match extent::punch(fd, offset, len) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            while at < within {
                let piece = (within - at).min(zeros.len() as u64);
                write_all(fd, &zeros[..usize::try_from(piece).unwrap_or(0)], offset + at)?;
                at += piece;
            }
            Ok(())
        }
        result => result,
    }
}

fn attributes(fd: BorrowedFd<'_>, was: &Node) -> Result<(), RollBackError> {
    let stat = attr::stat(fd)?;
    if (stat.st_uid, stat.st_gid) != (was.uid, was.gid) {
        attr::chown(fd, Some(was.uid), Some(was.gid))?;
    }
    let xattrs: Vec<_> = was.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let settled = match settle_xattrs(fd, &xattrs) {
        // The owner's own permissions; they are set below.
        Err(fault) if fault.errno == Some(Errno::ACCESS) => {
            attr::chmod(fd, attr::perm(&stat) | 0o600)?;
            settle_xattrs(fd, &xattrs)
        }
        settled => settled,
    };
    settled.map_err(|fault| io::Error::other(fault.text))?;
    let perm = was.mode & 0o7777;
    let is_link = FileType::from_raw_mode(was.mode) == FileType::Symlink;
    if !is_link && attr::perm(&attr::stat(fd)?) != perm {
        attr::chmod(fd, perm)?;
    }
    Ok(attr::set_times(fd, Some(was.atime), Some(was.mtime))?)
}
