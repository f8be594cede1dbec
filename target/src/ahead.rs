//! Reading ahead of the applier (R16): what records that wait will need of the disk - names, inodes, blocks that a write covers in part - is asked
//! for while the applier is at those before them, so that it does not wait for one read after the other. Nothing is changed here, nothing waits for
//! it, and no error is told: whoever applies the record meets it again.

use crate::apply::MAX_ENTRIES;
use crate::home::Home;
use crate::queue::Queue;
use crate::status::Facts;
use parking_lot::Mutex;
use platform::sys::content::open_to_read;
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, usage};
use protocol::{At, NodeId, Op, Place, RelPath};
use rustix::fs::{Advice, AtFlags, Dir, OFlags, fadvise};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Threads that look ahead, in each session: they wait for the disk for what cannot be asked for without waiting.
const THREADS: usize = 8;
/// Records that are looked at after the applier had to wait for a read.
const WORTH: usize = 1024;
/// What a record takes that did not wait for a disk, or not so long that looking ahead is worth what it costs.
const QUICK: Duration = Duration::from_micros(100);
/// What a file system says of its blocks is believed between these, in bytes: it may be how much to read at once.
const MIN_BLOCK: u64 = 4 << 10;
const MAX_BLOCK: u64 = 64 << 10;
/// The most that is asked for at once, in bytes: a source says how much it copies.
const MAX_ASK: u64 = 1 << 20;
/// Files that a thread has open.
const MAX_FILES: usize = 16;

/// See the module.
pub(crate) struct Ahead {
    home: Arc<Home>,
    queue: Arc<Queue>,
    facts: Arc<Facts>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the applier's thread has had read; it tells when that grows.
#[derive(Debug, Default)]
pub(crate) struct Reads(u64);

impl Reads {
    /// Whether something that took so long waited for a read.
    pub fn waited(&mut self, took: Duration) -> bool {
        if took < QUICK {
            return false;
        }
        let read = usage::blocks_read();
        std::mem::replace(&mut self.0, read) != read
    }
}

impl Ahead {
    pub fn new(home: Arc<Home>, queue: Arc<Queue>, facts: Arc<Facts>) -> Self {
        Self { home, queue, facts, threads: Mutex::default() }
    }

    /// The applier has waited for a read: it is worth looking at the records to come.
    pub fn worth(&self) {
        self.queue.look_ahead(WORTH);
        let mut threads = self.threads.lock();
        while threads.len() < THREADS {
            let (home, queue, facts) = (self.home.clone(), self.queue.clone(), self.facts.clone());
            let work = move || {
                while queue.wait_ahead() {
                    // Open while there is one record after the other, and no longer (T1).
                    let (mut files, mut looked_at) = (Files::default(), 0);
                    while let Some((op, len)) = queue.next_ahead() {
                        files.look_at(home.tree.as_fd(), &op, len);
                        looked_at += 1;
                    }
                    facts.update(|s| s.read_ahead += looked_at);
                }
            };
            match thread::Builder::new().name("target-ahead".into()).spawn(work) {
                Ok(handle) => threads.push(handle),
                // It goes on without, or with fewer.
                Err(_) => return,
            }
        }
    }

    /// No more is looked at; the threads have ended when this returns.
    pub fn end(&self) {
        self.queue.end_ahead();
        for thread in self.threads.lock().drain(..) {
            // What panicked was of no consequence.
            let _ended = thread.join();
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.end();
    }
}

/// A regular file, open for reading.
struct File {
    fd: OwnedFd,
    size: u64,
    /// What its file system reads to change a part of it.
    block: u64,
}

/// Files that were looked at in one run of records.
#[derive(Default)]
struct Files(HashMap<NodeId, Option<File>>);

impl Files {
    /// Asks for what this record, with so many bytes of payload, will need.
    fn look_at(&mut self, tree: BorrowedFd<'_>, op: &Op, len: u64) {
        match op {
            Op::Write { place, offset, .. } => self.edges(tree, place, *offset, len),
            Op::Allocate { place, offset, len, .. } => self.edges(tree, place, *offset, *len),
            Op::SetAttr { place, size: Some(size), .. } => self.edges(tree, place, *size, 0),
            Op::CopyRange { from, from_offset, to, to_offset, len, .. } => {
                if let Some(file) = self.open(tree, from) {
                    file.ask(*from_offset, *len);
                }
                self.edges(tree, to, *to_offset, *len);
            }
            Op::Rename { from, to, .. } => {
                look_up(tree, from);
                look_up(tree, to);
            }
            Op::Link { from, to, .. } => {
                if let At::Path(from) = &from.at {
                    look_up(tree, from);
                }
                look_up(tree, to);
            }
            // What follows of a directory is of names that are known by then.
            Op::List { path, after: None, .. } => drop(list(tree, path)),
            Op::Look { path, name, .. } => drop(path.join(name).ok().and_then(|path| look_up(tree, &path))),
            // What was written is waited for; a mark changes nothing here.
            Op::List { .. } | Op::Fsync { .. } | Op::Mark(_) | Op::Reap { .. } => {}
            _ => drop(op.path().and_then(|path| look_up(tree, path))),
        }
    }

    /// Orphans are open, or lately were.
    fn open(&mut self, tree: BorrowedFd<'_>, place: &Place) -> Option<&File> {
        let At::Path(path) = &place.at else { return None };
        if self.0.len() >= MAX_FILES && !self.0.contains_key(&place.node) {
            self.0.clear();
        }
        self.0.entry(place.node).or_insert_with(|| File::open(tree, path)).as_ref()
    }

    /// The first and the last block of a range, where the range covers them in part: what is to stay of them is read before they are written.
    fn edges(&mut self, tree: BorrowedFd<'_>, place: &Place, offset: u64, len: u64) {
        let Some(file) = self.open(tree, place) else { return };
        let block = |at: u64| (!at.is_multiple_of(file.block)).then_some(at / file.block * file.block);
        let (begins, ends) = (block(offset), block(offset.saturating_add(len)));
        for at in [begins, ends.filter(|_| ends != begins)].into_iter().flatten() {
            file.ask(at, file.block);
        }
    }
}

impl File {
    fn open(tree: BorrowedFd<'_>, path: &RelPath) -> Option<Self> {
        let fd = open_to_read(look_up(tree, path)?.as_fd()).ok()?;
        let stat = attr::stat(&fd).ok()?;
        let block = u64::try_from(stat.st_blksize).ok()?.clamp(MIN_BLOCK, MAX_BLOCK);
        Some(Self { fd, size: u64::try_from(stat.st_size).ok()?, block })
    }

    /// Has a range read, as far as there is one, without waiting for it.
    fn ask(&self, offset: u64, len: u64) {
        if let Some(len) = NonZeroU64::new(len.min(MAX_ASK).min(self.size.saturating_sub(offset))) {
            // Advice: nothing depends on it.
            let _asked = fadvise(&self.fd, offset, Some(len), Advice::WillNeed);
        }
    }
}

/// The directories on the way, the name, the inode.
fn look_up(tree: BorrowedFd<'_>, path: &RelPath) -> Option<OwnedFd> {
    open_beneath(tree, path, OFlags::PATH).ok()
}

/// The names of a directory, and the inodes of as many as one page of them has.
fn list(tree: BorrowedFd<'_>, path: &RelPath) -> Option<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOATIME;
    let names = Dir::new(open_beneath(tree, path, flags).ok()?).ok()?;
    let dir = look_up(tree, path)?;
    for entry in names.take(MAX_ENTRIES).flatten() {
        let _known = rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
