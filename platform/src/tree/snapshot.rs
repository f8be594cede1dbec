//! What a node is at one moment: everything of it that is replicated but the content of a file.

use super::{Names, Node, Tree};
use crate::sys::{attr, xattr};
use protocol::{Name, NodeKind};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
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
        Self::snapshot_of(self.open(names, node, OFlags::PATH)?)
    }

    /// Reads what is under a name, without making it known: for a look that is not acted upon. `ENOENT`: nothing is there;
    /// `EXDEV`: it lies on another file system.
    pub fn peek(&self, names: &Names, dir: &Node, name: &Name) -> io::Result<Snapshot> {
        let dir = self.directory(names, dir)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let snapshot = Self::snapshot_of(rustix::fs::openat(&dir, name.as_os_str(), flags, Mode::empty())?)?;
        if snapshot.stat.st_dev == self.device { Ok(snapshot) } else { Err(Errno::XDEV.into()) }
    }

    fn snapshot_of(fd: OwnedFd) -> io::Result<Snapshot> {
        let stat = attr::stat(&fd)?;
        Ok(Snapshot { kind: attr::kind(fd.as_fd(), &stat)?, xattrs: xattr::all(fd.as_fd())?, stat, fd })
    }
}
