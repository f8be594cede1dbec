//! Open directories: their entries, with positions that stay valid as the backing file system's own do.

use crate::fs::{Done, Failed, Fs};
use parking_lot::Mutex;
use platform::sys::dir;
use platform::tree::Node;
use rustix::fs::{FileType, RawDir, SeekFrom};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// Bytes of entries read from the backing directory at a time.
const READ_BYTES: usize = 32 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<MaybeUninit<u8>>> = RefCell::new(vec![MaybeUninit::uninit(); READ_BYTES]);
}

/// One entry of a directory, `.` and `..` included.
#[derive(Debug, Clone)]
pub(crate) struct DirEntry {
    pub ino: u64,
    /// Where the entry after this one is.
    pub next: u64,
    pub kind: FileType,
    pub name: OsString,
}

impl DirEntry {
    /// `.` or `..`.
    pub(crate) fn is_dots(&self) -> bool {
        self.name == "." || self.name == ".."
    }
}

/// Entries read and not yet handed out.
#[derive(Debug, Default)]
struct Stream {
    /// Position of the first of them.
    at: u64,
    ahead: VecDeque<DirEntry>,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct OpenDir {
    pub fd: OwnedFd,
    pub node: Arc<Node>,
    stream: Mutex<Stream>,
}

impl OpenDir {
    pub(crate) fn new(fd: OwnedFd, node: Arc<Node>) -> Self {
        Self { fd, node, stream: Mutex::default() }
    }

    /// Hands out entries from `offset` on until `take` wants no more (that entry is handed out again next time).
    pub(crate) fn entries(&self, offset: u64, mut take: impl FnMut(&DirEntry) -> bool) -> io::Result<()> {
        let mut stream = self.stream.lock();
        // From the start anew: what was read ahead does not show what happened since.
        if offset != stream.at || offset == 0 {
            rustix::fs::seek(&self.fd, SeekFrom::Start(offset))?;
            stream.ahead.clear();
            stream.at = offset;
        }
        loop {
            while let Some(entry) = stream.ahead.front() {
                if !take(entry) {
                    return Ok(());
                }
                stream.at = entry.next;
                stream.ahead.pop_front();
            }
            read_ahead(self.fd.as_fd(), &mut stream.ahead)?;
            if stream.ahead.is_empty() {
                return Ok(());
            }
        }
    }
}

fn read_ahead(fd: BorrowedFd<'_>, ahead: &mut VecDeque<DirEntry>) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut raw = RawDir::new(fd, buffer.as_mut_slice());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            ahead.push_back(DirEntry {
                ino: entry.ino(),
                next: entry.next_entry_cookie(),
                kind: entry.file_type(),
                name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
            });
            if raw.is_buffer_empty() {
                break;
            }
        }
        Ok(())
    })
}

impl Fs {
    /// Opens a directory; its handle.
    pub(crate) fn opendir(&self, ino: u64) -> io::Result<u64> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        let path = self.directory(&names, &node)?;
        let fd = dir::reopen(path.as_fd())?;
        Ok(self.dirs.insert(OpenDir::new(fd, node)))
    }

    /// Closes a directory.
    pub(crate) fn releasedir(&self, number: u64) {
        if let Some(dir) = self.dirs.remove(number) {
            let node = Arc::clone(&dir.node);
            drop(dir);
            self.tree.settle(node);
        }
    }

    /// Makes a directory durable.
    pub(crate) fn fsyncdir(&self, number: u64, data_only: bool) -> Result<Done<()>, Failed> {
        let dir = self.dirs.get(number)?;
        self.sync(&dir.node, dir.fd.as_fd(), data_only)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use platform::tree::Tree;
    use std::collections::BTreeSet;

    fn open(path: &std::path::Path) -> OpenDir {
        let file = std::fs::File::open(path).unwrap();
        let tree = Tree::new(file.as_fd()).unwrap();
        OpenDir::new(dir::reopen(file.as_fd()).unwrap(), Arc::clone(tree.root()))
    }

    #[test]
    fn positions_stay_valid_while_names_come_and_go() {
        let temp = tempfile::tempdir().unwrap();
        for n in 0..1000 {
            std::fs::write(temp.path().join(format!("keep{n}")), "").unwrap();
        }
        let dir = open(temp.path());
        let (mut offset, mut seen, mut round) = (0, BTreeSet::new(), 0);
        loop {
            let mut left = 7;
            let mut next = offset;
            dir.entries(offset, |entry| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                next = entry.next;
                assert!(seen.insert(entry.name.clone()), "{:?} came twice", entry.name);
                true
            })
            .unwrap();
            if next == offset {
                break;
            }
            offset = next;
            round += 1;
            std::fs::write(temp.path().join(format!("new{round}")), "").unwrap();
            let _ = std::fs::remove_file(temp.path().join(format!("new{}", round - 1)));
            if round % 5 == 0 {
                // Another reader's position: this one begins anew where it was.
                dir.entries(0, |_| false).unwrap();
            }
        }
        for n in 0..1000 {
            assert!(seen.contains(&OsString::from(format!("keep{n}"))), "keep{n} was not seen");
        }
        assert!(seen.contains(&OsString::from(".")) && seen.contains(&OsString::from("..")));
    }
}
