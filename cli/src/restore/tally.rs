//! What was done, as it is counted and listed; shared by all that work.

use crate::progress::State;
use parking_lot::Mutex;
use protocol::RelPath;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Nothing was there.
    New,
    /// Its content or target was another.
    Changed,
    /// Only attributes differed.
    Attributes,
    /// What was there is set aside.
    Aside,
    /// The replica does not have it; it stays.
    Extra,
}

impl What {
    pub const ALL: [Self; 5] = [Self::New, Self::Changed, Self::Attributes, Self::Aside, Self::Extra];

    /// As lists have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Attributes => "attributes",
            Self::Aside => "aside",
            Self::Extra => "extra",
        }
    }
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub path: RelPath,
    pub what: What,
    /// Where it was put.
    pub to: Option<PathBuf>,
}

/// Bytes that a list may take: a replica that is a lie may have no end.
const LIST_BYTES: usize = 64 << 20;

/// A list within a bound, and how many did not fit.
#[derive(Debug)]
struct List<T> {
    all: Vec<T>,
    bytes: usize,
    left_out: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { all: Vec::new(), bytes: 0, left_out: 0 }
    }
}

impl<T> List<T> {
    fn push(&mut self, item: T, text: usize) {
        let bytes = size_of::<T>() + text;
        if self.bytes + bytes > LIST_BYTES {
            self.left_out += 1;
        } else {
            self.bytes += bytes;
            self.all.push(item);
        }
    }
}

/// Counts and lists.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: [AtomicU64; What::ALL.len()],
    /// Dealt with, and found, of files.
    pub files: [AtomicU64; 2],
    /// The same of their bytes.
    pub bytes: [AtomicU64; 2],
    /// Bytes of content that came over.
    pub received: AtomicU64,
    /// Pages of directories that are still to come.
    pub listing: AtomicU64,
    /// A dry run lists everything; otherwise what was set aside is listed.
    list_all: bool,
    items: Mutex<List<Item>>,
    failures: Mutex<List<(RelPath, String)>>,
    notes: Mutex<BTreeSet<&'static str>>,
}

impl Tally {
    pub fn new(list_all: bool) -> Self {
        Self { list_all, ..Self::default() }
    }

    /// Counts what became of a path.
    pub fn note(&self, what: What, path: &RelPath, to: Option<PathBuf>) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
        if self.list_all || what == What::Aside {
            let text = path.as_bytes().len() + to.as_ref().map_or(0, |to| to.as_os_str().len());
            self.items.lock().push(Item { path: path.clone(), what, to }, text);
        }
    }

    pub fn count(&self, what: What) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// A path that could not be restored.
    pub fn failed(&self, path: &RelPath, why: String) {
        let text = path.as_bytes().len() + why.len();
        self.failures.lock().push((path.clone(), why), text);
    }

    /// Something that is said once, however often it happened.
    pub fn once(&self, note: &'static str) {
        self.notes.lock().insert(note);
    }

    /// The list, by path.
    pub fn items(&self) -> Vec<Item> {
        let mut items = self.items.lock().all.clone();
        items.sort();
        items
    }

    /// How many of that list there was no room for.
    pub fn items_left_out(&self) -> u64 {
        self.items.lock().left_out
    }

    /// What could not be restored, by path.
    pub fn failures(&self) -> Vec<(RelPath, String)> {
        let mut failures = self.failures.lock().all.clone();
        failures.sort();
        failures
    }

    /// How many could not be restored, with those that there was no room to list.
    pub fn failed_count(&self) -> u64 {
        let failures = self.failures.lock();
        failures.all.len() as u64 + failures.left_out
    }

    /// What is said once.
    pub fn notes(&self) -> Vec<&'static str> {
        self.notes.lock().iter().copied().collect()
    }

    /// For showing.
    pub fn state(&self, phase: &str) -> State {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        State {
            phase: phase.to_owned(),
            files_done: get(&self.files[0]),
            files_total: get(&self.files[1]),
            bytes_done: get(&self.bytes[0]),
            bytes_total: get(&self.bytes[1]),
            scanning: get(&self.listing) > 0,
            aside: self.count(What::Aside),
            errors: self.failed_count(),
        }
    }
}

/// How much of one file was counted: in the end exactly its size, however often parts of it were read.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    tally: &'a Tally,
    left: u64,
}

impl<'a> Counted<'a> {
    pub fn new(tally: &'a Tally, size: u64) -> Self {
        Self { tally, left: size }
    }

    /// So many bytes more are dealt with.
    pub fn add(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.tally.bytes[0].fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.add(u64::MAX);
        self.tally.files[0].fetch_add(1, Ordering::Relaxed);
    }
}
