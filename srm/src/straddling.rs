//! Files of which the set takes some names and leaves out others. They stay known, so that what is done through a name that is left out reaches the
//! target under one that is taken, whether anybody has asked for that one lately or not. What follows from it is decided in `member`.

use parking_lot::Mutex;
use platform::tree::Node;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Straddling {
    /// By inode number.
    files: Mutex<HashMap<u64, Arc<Node>>>,
    /// No other file has names of both kinds.
    complete: AtomicBool,
}

impl Straddling {
    /// A file has so many names, known or not. The caller holds the namespace lock.
    pub fn note(&self, file: &Arc<Node>, names: u64) {
        if file.is_dir() {
            return;
        }
        let taken = file.taken_links().len() as u64;
        let mut files = self.files.lock();
        if taken > 0 && taken < names {
            files.insert(file.ino(), Arc::clone(file));
        } else {
            files.remove(&file.ino());
        }
    }

    /// Everything is about to be looked at.
    pub fn begins_anew(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }

    /// Names were left out that may be other names of files which are replicated.
    pub fn may_lack_some(&self) {
        self.complete.store(false, Ordering::Relaxed);
    }

    /// Whether a file without a known name that is taken has none.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}
