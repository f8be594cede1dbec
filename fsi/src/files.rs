//! Open files and directories, by the number the kernel knows them under. What is done with them stands elsewhere.

use crate::fs::Caller;
use parking_lot::RwLock;
use platform::tree::Node;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Handles by number. Bounded by the kernel: one for each open file of the mount.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    open: RwLock<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { open: RwLock::default(), next: AtomicU64::new(1) }
    }
}

impl<T> Handles<T> {
    /// Keeps a handle; its number.
    pub fn insert(&self, handle: T) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().insert(number, Arc::new(handle));
        number
    }

    /// The handle with this number; `EBADF` where there is none.
    pub fn get(&self, number: u64) -> io::Result<Arc<T>> {
        self.open.read().get(&number).cloned().ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    /// Gives up a handle.
    pub fn remove(&self, number: u64) -> Option<Arc<T>> {
        self.open.write().remove(&number)
    }

    /// Any handle for which `wanted` holds.
    pub fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.open.read().values().find(|handle| wanted(handle)).cloned()
    }

    /// Does something with every handle.
    pub fn for_each(&self, then: impl Fn(&T)) {
        self.open.read().values().for_each(|handle| then(handle));
    }

    /// The numbers of all handles.
    pub fn numbers(&self) -> Vec<u64> {
        self.open.read().keys().copied().collect()
    }
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// On the backing file; without `O_APPEND`, which would make `pwrite` ignore its offset.
    pub fd: OwnedFd,
    /// The node, counted as open.
    pub node: Arc<Node>,
    /// Who opened it.
    pub opener: Caller,
    /// The kernel keeps its pages; otherwise every call comes here.
    pub cached: bool,
    /// It may be written.
    pub writes: bool,
    /// It was removed and is not expected to be closed soon.
    pub stays: AtomicBool,
}

impl OpenFile {
    /// `flags` as `open(2)` had them.
    pub fn new(fd: OwnedFd, node: Arc<Node>, opener: Caller, (flags, cached): (i32, bool)) -> Self {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        Self { fd, node, opener, cached, writes, stays: AtomicBool::new(false) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_is_valid_until_it_is_given_up() {
        let handles = Handles::default();
        let (a, b) = (handles.insert("a"), handles.insert("b"));
        assert_ne!(a, b);
        assert_eq!(*handles.get(a).unwrap(), "a");
        assert!(handles.find(|h| *h == "b").is_some());
        assert!(handles.remove(a).is_some());
        assert_eq!(handles.get(a).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert!(handles.remove(a).is_none());
        assert_eq!(handles.numbers(), [b]);
    }
}
