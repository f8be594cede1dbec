//! Descriptors that are kept open between records: files by node, directories by path. Bounded; nothing but speed depends
//! on what is kept.

use protocol::{NodeId, RelPath};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const MAX_FILES: usize = 256;
const MAX_PARENTS: usize = 64;

/// Regular files, open for reading and writing.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: HashMap<NodeId, (Arc<OwnedFd>, u64)>,
    /// Counts uses, to find the one longest unused.
    uses: u64,
}

impl Files {
    pub fn get(&mut self, node: NodeId) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let (fd, used) = self.open.get_mut(&node)?;
        *used = self.uses;
        Some(fd.clone())
    }

    pub fn insert(&mut self, node: NodeId, fd: Arc<OwnedFd>) {
        if self.open.len() >= MAX_FILES && !self.open.contains_key(&node) {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(node, _)| *node);
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
        self.uses += 1;
        self.open.insert(node, (fd, self.uses));
    }

    pub fn remove(&mut self, node: NodeId) {
        self.open.remove(&node);
    }

    pub fn clear(&mut self) {
        self.open.clear();
    }
}

/// Directories by path, `O_PATH`. To be cleared whenever a directory moves or goes.
#[derive(Debug, Default)]
pub(crate) struct Parents(HashMap<RelPath, Arc<OwnedFd>>);

impl Parents {
    pub fn get(&self, path: &RelPath) -> Option<Arc<OwnedFd>> {
        self.0.get(path).cloned()
    }

    pub fn insert(&mut self, path: RelPath, fd: Arc<OwnedFd>) {
        if self.0.len() >= MAX_PARENTS {
            self.0.clear();
        }
        self.0.insert(path, fd);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
