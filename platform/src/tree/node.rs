//! A node of the backing directory: identity, lock, and what refers to it.

use super::links::Links;
use crate::sys::handle::Handle;
use parking_lot::{Mutex, MutexGuard, RwLock};
use protocol::{NodeId, RelPath};
use rustix::fs::{FileType, Stat};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Says of a path below SRC, what is there and its size in bytes whether it is replicated.
pub type Filter = dyn Fn(&RelPath, FileType, u64) -> bool + Send + Sync;

/// What only SRC itself has.
#[derive(Default)]
pub(super) struct Root {
    filter: RwLock<Option<Arc<Filter>>>,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("filtered", &self.filter.read().is_some()).finish_non_exhaustive()
    }
}

/// A file, directory, link or special file that the kernel, an open file or a mirror pass refers to.
#[derive(Debug)]
pub struct Node {
    ino: u64,
    id: NodeId,
    kind: FileType,
    handle: Option<Handle>,
    /// Data and attribute operations on this node happen under this lock, with the namespace lock held.
    pub lock: Mutex<()>,
    pub(super) links: Mutex<Links>,
    lookups: AtomicU64,
    opens: AtomicU32,
    /// The size in bytes after the last operation that was told of; only rules that ask for sizes look at it. Changed under
    /// `lock` only: what is replicated before and after an operation has to differ by that operation.
    size: AtomicU64,
    /// What the hot set of the SRM knows of it; zero: nothing.
    heat: AtomicU32,
    root: OnceLock<Box<Root>>,
}

/// How many open files a node has after a change of their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenCount(pub u32);

impl Node {
    pub(super) fn new(stat: &Stat, id: NodeId, handle: Option<Handle>) -> Self {
        Self {
            ino: stat.st_ino,
            id,
            kind: FileType::from_raw_mode(stat.st_mode),
            handle,
            lock: Mutex::new(()),
            links: Mutex::new(Links::default()),
            lookups: AtomicU64::new(0),
            opens: AtomicU32::new(0),
            size: AtomicU64::new(stat.st_size.cast_unsigned()),
            heat: AtomicU32::new(0),
            root: OnceLock::new(),
        }
    }

    pub(super) fn set_root(&self) {
        let _first = self.root.set(Box::default());
    }

    /// What is replicated of all that lies below this, which is SRC; `None`: everything.
    pub(super) fn set_filter(&self, filter: Option<Arc<Filter>>) {
        if let Some(root) = self.root.get() {
            *root.filter.write() = filter;
        }
    }

    pub(super) fn filter(&self) -> Option<Arc<Filter>> {
        self.root.get().and_then(|root| root.filter.read().clone())
    }

    /// The size in bytes, as it was noted last.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// The size is this now. The caller holds the node's lock, or the names exclusively.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// The file reaches at least this far now. The caller holds the node's lock.
    pub fn grow(&self, size: u64) {
        self.size.fetch_max(size, Ordering::Relaxed);
    }

    /// What was last set by [`Self::set_heat`]; zero before.
    pub fn heat(&self) -> u32 {
        self.heat.load(Ordering::Acquire)
    }

    /// Remembers what is known of it elsewhere.
    pub fn set_heat(&self, heat: u32) {
        self.heat.store(heat, Ordering::Release);
    }

    /// Whether this is SRC itself.
    pub fn is_root(&self) -> bool {
        self.root.get().is_some()
    }

    /// Inode number on the backing file system.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// Its name in records.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// A regular file, a directory, ...
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// Differs, in all likelihood, between two nodes that had the same inode number.
    pub fn generation(&self) -> u64 {
        self.handle.as_ref().map_or(0, Handle::generation)
    }

    pub(super) fn remember(&self, lookups: u64) {
        self.lookups.fetch_add(lookups, Ordering::Relaxed);
    }

    pub(super) fn forget(&self, count: u64) {
        let result = self.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(count)));
        debug_assert!(result.is_ok(), "the update always yields a value");
    }

    /// Whether the kernel refers to this node.
    pub fn is_known_to_kernel(&self) -> bool {
        self.lookups.load(Ordering::Relaxed) > 0
    }

    pub(super) fn take_lookups(&self) -> u64 {
        self.lookups.swap(0, Ordering::Relaxed)
    }

    /// An open file more.
    pub fn opened(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    /// An open file less; how many are left.
    pub fn closed(&self) -> OpenCount {
        let before = self.opens.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "every close belongs to an open");
        OpenCount(before - 1)
    }

    /// Whether it has open files.
    pub fn is_open(&self) -> bool {
        self.opens.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.is_open() || self.is_known_to_kernel()
    }

    /// Locks two nodes in the order of their inode numbers; one guard where they are the same.
    pub fn lock_both<'a>(a: &'a Self, b: &'a Self) -> (MutexGuard<'a, ()>, Option<MutexGuard<'a, ()>>) {
        match a.ino.cmp(&b.ino) {
            std::cmp::Ordering::Less => {
                let first = a.lock.lock();
                (first, Some(b.lock.lock()))
            }
            std::cmp::Ordering::Greater => {
                let first = b.lock.lock();
                (first, Some(a.lock.lock()))
            }
            std::cmp::Ordering::Equal => (a.lock.lock(), None),
        }
    }
}
