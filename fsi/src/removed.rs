//! Removed nodes that are still held here: for whom, and what of a full disk's room they take until they are let go.
//!
//! The kernel closes a file (`RELEASE`) and forgets a removed node (`FORGET`) without waiting for an answer, so a program
//! that removed a file may ask for its room before this process let go of it. On the file system below it would have had
//! that room: an operation that finds none waits for what is on its way, and is tried again.

use crate::files::{Handles, OpenFile};
use parking_lot::{Condvar, Mutex, RwLock};
use platform::sys::descriptor_limit;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bound on removed nodes that are held until the kernel forgets them, and the part of this process's descriptors that they
/// may take.
const KEPT: usize = 4096;
const KEPT_PART: u64 = 4;

/// How long an operation without room waits for removed nodes that are held here. What is held for longer is held by an
/// application, and not waited for again.
const WAIT: Duration = Duration::from_millis(500);

/// A removed node, held until the kernel forgets it.
#[derive(Debug)]
struct Kept {
    fd: OwnedFd,
    stays: AtomicBool,
}

/// Removed nodes by inode number, held until the kernel forgets them: for whoever still works in a directory, and so that the
/// file system does not give the number to another node while requests for this one are on their way.
#[derive(Debug)]
pub(crate) struct Removed {
    kept: RwLock<HashMap<u64, Kept>>,
    most: usize,
    /// How many removed nodes were let go, ever.
    let_go: Mutex<u64>,
    changed: Condvar,
}

impl Default for Removed {
    fn default() -> Self {
        Self {
            kept: RwLock::default(),
            most: usize::try_from(descriptor_limit() / KEPT_PART).map_or(KEPT, |part| part.min(KEPT)),
            let_go: Mutex::new(0),
            changed: Condvar::new(),
        }
    }
}

impl Removed {
    /// Holds a node that is about to lose its last name, as `open` opens it; not where too many are held.
    pub(crate) fn keep(&self, ino: u64, open: impl FnOnce() -> rustix::io::Result<OwnedFd>) {
        let mut kept = self.kept.write();
        if kept.len() < self.most
            && let Ok(fd) = open()
        {
            kept.insert(ino, Kept { fd, stays: AtomicBool::new(false) });
        }
    }

    /// What `then` makes of the descriptor of a node that is held.
    pub(crate) fn with<T>(&self, ino: u64, then: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        self.kept.read().get(&ino).map(|kept| then(kept.fd.as_fd()))
    }

    /// Nobody can ask for a removed node any more, or it was not removed.
    pub(crate) fn let_go(&self, ino: u64) {
        let held = self.kept.write().remove(&ino);
        if held.is_some() {
            // Its room is free before anybody is told.
            drop(held);
            self.was_let_go();
        }
    }

    /// Something that held a removed node was closed.
    pub(crate) fn was_let_go(&self) {
        *self.let_go.lock() += 1;
        self.changed.notify_all();
    }

    /// How many removed nodes were let go, ever.
    pub(crate) fn count(&self) -> u64 {
        *self.let_go.lock()
    }

    /// Waits until more than `seen` removed nodes were let go: whether there may be room now. Nothing is locked.
    pub(crate) fn wait(&self, files: &Handles<OpenFile>, seen: u64, until: Instant) -> bool {
        let mut count = self.let_go.lock();
        if *count == seen && !self.is_held(files) {
            return false;
        }
        while *count == seen {
            if self.changed.wait_until(&mut count, until).timed_out() && *count == seen {
                drop(count);
                self.stays(files);
                return false;
            }
        }
        Instant::now() < until
    }

    /// Whether a removed node is held that may be let go soon.
    fn is_held(&self, files: &Handles<OpenFile>) -> bool {
        let open = |file: &OpenFile| !file.node.has_name() && !file.stays.load(Ordering::Relaxed);
        self.kept.read().values().any(|kept| !kept.stays.load(Ordering::Relaxed)) || files.find(open).is_some()
    }

    /// What is held now is not waited for again.
    fn stays(&self, files: &Handles<OpenFile>) {
        for kept in self.kept.read().values() {
            kept.stays.store(true, Ordering::Relaxed);
        }
        files.for_each(|file| {
            if !file.node.has_name() {
                file.stays.store(true, Ordering::Relaxed);
            }
        });
    }
}

/// For one operation: when it gives up waiting for room.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    /// Whether an operation that failed like this may find room now; it waited for that.
    pub(crate) fn found_room(
        &mut self,
        error: &io::Error,
        removed: &Removed,
        files: &Handles<OpenFile>,
        seen: u64,
    ) -> bool {
        let full = matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT));
        full && removed.wait(files, seen, *self.0.get_or_insert_with(|| Instant::now() + WAIT))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::File;
    use std::sync::Arc;

    fn full() -> io::Error {
        Errno::NOSPC.into()
    }

    #[test]
    fn room_is_waited_for_while_a_removed_node_is_held() {
        let (removed, files) = (Arc::new(Removed::default()), Handles::default());
        let seen = removed.count();
        assert!(!Patience::default().found_room(&full(), &removed, &files, seen), "nothing is held");
        removed.keep(7, || Ok(File::open("/dev/null").unwrap().into()));
        let other = Arc::clone(&removed);
        let forgets = std::thread::spawn(move || other.let_go(7));
        assert!(Patience::default().found_room(&full(), &removed, &files, seen));
        forgets.join().unwrap();
        assert!(!Patience::default().found_room(&Errno::IO.into(), &removed, &files, seen), "another error");
    }

    #[test]
    fn what_an_application_holds_is_waited_for_once() {
        let (removed, files) = (Removed::default(), Handles::default());
        removed.keep(7, || Ok(File::open("/dev/null").unwrap().into()));
        let mut patience = Patience::default();
        assert!(!patience.found_room(&full(), &removed, &files, removed.count()));
        let again = Instant::now();
        assert!(!Patience::default().found_room(&full(), &removed, &files, removed.count()));
        assert!(again.elapsed() < WAIT);
        assert!(removed.with(7, |_| ()).is_some(), "it is held all the same");
    }
}
