//! Counting what a replica takes: each inode once, whatever names it has.

use crate::home::Home;
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, dir};
use protocol::RelPath;
use rustix::fs::{FileType, OFlags};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What of ROOT/.replfs/NAME is counted beside the tree.
const PLACES: [&str; 4] = ["orphan", "aside", "stage", "undo/kept"];

/// Bytes and inodes; `None` where it was not to go on.
pub(super) fn walk(home: &Home, go_on: &mut dyn FnMut() -> bool) -> io::Result<Option<(i64, i64)>> {
    let stat = attr::stat(&home.tree)?;
    let mut sum = Sum { bytes: bytes_of(&stat), files: 1, several: HashSet::new() };
    if !sum.below(home.tree.as_fd(), &RelPath::root(), go_on)? {
        return Ok(None);
    }
    for place in PLACES {
        let path = RelPath::new(place.as_bytes()).map_err(|e| io::Error::other(e.to_string()))?;
        if !sum.below(home.meta.as_fd(), &path, go_on)? {
            return Ok(None);
        }
    }
    Ok(Some((sum.bytes, sum.files)))
}

/// What a node takes on the disk.
pub(crate) fn bytes_of(stat: &rustix::fs::Stat) -> i64 {
    stat.st_blocks.saturating_mul(512)
}

struct Sum {
    bytes: i64,
    files: i64,
    /// Inodes with several names that were counted.
    several: HashSet<u64>,
}

impl Sum {
    /// What is below a directory, without it.
    fn below(&mut self, base: BorrowedFd<'_>, path: &RelPath, go_on: &mut dyn FnMut() -> bool) -> io::Result<bool> {
        let mut dirs = vec![path.clone()];
        while let Some(path) = dirs.pop() {
            if !go_on() {
                return Ok(false);
            }
            let fd = match open_beneath(base, &path, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(fd) => fd,
                // It went, or moved, meanwhile.
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => continue,
                Err(e) => return Err(e),
            };
            for name in dir::names(fd.as_fd())? {
                let Ok(stat) = attr::stat_at(&fd, name.as_os_str()) else { continue };
                let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if !is_dir && stat.st_nlink > 1 && !self.several.insert(stat.st_ino) {
                    continue;
                }
                self.bytes += bytes_of(&stat);
                self.files += 1;
                if is_dir && let Ok(below) = path.join(&name) {
                    dirs.push(below);
                }
            }
        }
        Ok(true)
    }
}
