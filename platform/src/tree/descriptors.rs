//! Descriptors of directories in recent use, so that an operation on a name need not open its directory first.

use protocol::NodeId;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// At most `most` descriptors. What was used since the last change of generations survives the next one.
#[derive(Debug)]
pub(super) struct Descriptors {
    young: HashMap<NodeId, Arc<OwnedFd>>,
    old: HashMap<NodeId, Arc<OwnedFd>>,
    most: usize,
}

impl Descriptors {
    /// An empty cache of at most `most` descriptors, and at least two.
    pub fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    /// The descriptor of a directory.
    pub fn get(&mut self, node: NodeId) -> Option<Arc<OwnedFd>> {
        if let Some(fd) = self.young.get(&node) {
            return Some(Arc::clone(fd));
        }
        let fd = self.old.remove(&node)?;
        self.insert(node, Arc::clone(&fd));
        Some(fd)
    }

    /// Keeps a descriptor, for a while.
    pub fn insert(&mut self, node: NodeId, fd: Arc<OwnedFd>) {
        if self.young.len() >= (self.most / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(node, fd);
    }

    /// The directory is gone, or nobody refers to it.
    pub fn remove(&mut self, node: NodeId) {
        self.young.remove(&node);
        self.old.remove(&node);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fd() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut cache = Descriptors::new(8);
        let used = NodeId::new(1000);
        cache.insert(used, fd());
        for n in 0..100 {
            cache.insert(NodeId::new(n), fd());
            assert!(cache.get(used).is_some(), "lost after {n}");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.get(NodeId::new(1)).is_none());
        cache.remove(used);
        assert!(cache.get(used).is_none());
    }
}
