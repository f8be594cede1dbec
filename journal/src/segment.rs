//! A segment that is in use: what is known of it, and how far it is written. Shared by the one who appends, those who read and those who sync.

use crate::disk::{Disk, DiskFile};
use crate::header::{DATA_AT, Identity};
use parking_lot::Mutex;
use protocol::SeqNo;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file among those of all areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId {
    pub area: u32,
    pub index: u32,
}

pub struct Segment {
    pub identity: Identity,
    pub slot: SlotId,
    pub path: PathBuf,
    /// In memory: never durable.
    pub volatile: bool,
    disk: Arc<dyn Disk>,
    /// Open while it is written or not durable; readers keep a descriptor of their own.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Where the next record goes. What lies before it does not change any more.
    end: AtomicU64,
    /// The number after the last that is written.
    next: AtomicU64,
    /// The number after the last that is durable.
    synced: AtomicU64,
    sealed: AtomicBool,
    retired: AtomicBool,
}

impl Segment {
    pub fn new(identity: Identity, slot: SlotId, path: PathBuf, volatile: bool, disk: Arc<dyn Disk>) -> Self {
        let first = identity.first.get();
        Self {
            identity,
            slot,
            path,
            volatile,
            disk,
            file: Mutex::new(None),
            end: AtomicU64::new(DATA_AT),
            next: AtomicU64::new(first),
            synced: AtomicU64::new(first),
            sealed: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// The file, opened where it is not.
    pub fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let mut file = self.file.lock();
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = self.disk.open(&self.path)?;
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// What a segment of this size can hold, in bytes.
    pub fn capacity(&self) -> u64 {
        self.identity.bytes - DATA_AT
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub fn next(&self) -> SeqNo {
        SeqNo::new(self.next.load(Ordering::Acquire))
    }

    /// What was written up to `end` may be read, and made durable. `next` first: whoever sees the end sees the number.
    pub fn publish(&self, end: u64, next: SeqNo) {
        self.next.store(next.get(), Ordering::Release);
        self.end.store(end, Ordering::Release);
    }

    pub fn synced(&self) -> SeqNo {
        SeqNo::new(self.synced.load(Ordering::Acquire))
    }

    /// Found, not written: not even the header is known to be durable.
    pub fn set_unsynced(&self) {
        self.synced.store(0, Ordering::Release);
    }

    /// Everything below `next` is durable.
    pub fn set_synced(&self, next: SeqNo) {
        self.synced.fetch_max(next.get(), Ordering::AcqRel);
        self.close_if_done();
    }

    /// Nothing is appended any more.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
        self.close_if_done();
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Trimmed: its file may be given to another segment at any time.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.close();
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Keeps the number of open files independent of how many segments there are.
    pub fn close_if_done(&self) {
        if self.is_sealed() && (self.volatile || self.synced() >= self.next()) {
            self.close();
        }
    }

    pub fn close(&self) {
        *self.file.lock() = None;
    }
}
