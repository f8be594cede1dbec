//! What a node is at one moment: everything of it that is replicated but the content of a file.

use super::{Names, Node, Tree};
use crate::sys::{attr, xattr};
use protocol::NodeKind;
use rustix::fs::{OFlags, Stat};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A node's kind, attributes and extended attributes, read under its lock.
#[derive(Debug)]
pub struct Snapshot {
    /// As `fstat(2)` gave it.
    pub stat: Stat,
    /// The kind, with what only that kind has.
    pub kind: NodeKind,
    /// All extended attributes, ACLs included.
    pub xattrs: Vec<xattr::Pair>,
    /// The `O_PATH` descriptor it was read through.
    pub fd: OwnedFd,
}

impl Tree {
    /// Reads a node. The caller holds its lock.
    pub fn snapshot(&self, names: &Names, node: &Node) -> io::Result<Snapshot> {
        let fd = self.open(names, node, OFlags::PATH)?;
        let stat = attr::stat(&fd)?;
        Ok(Snapshot { kind: attr::kind(fd.as_fd(), &stat)?, xattrs: xattr::all(fd.as_fd())?, stat, fd })
    }
}
