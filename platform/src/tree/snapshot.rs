//! What a node is at one moment: everything of it that is replicated but the content of a file.

use super::{Names, Node, Tree};
use crate::sys::{attr, xattr};
use protocol::{Name, NodeKind};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::ops::Deref;
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
}

/// A snapshot with what it was read through.
#[derive(Debug)]
pub struct Opened {
    snapshot: Snapshot,
    /// An `O_PATH` descriptor of the node.
    pub fd: OwnedFd,
}

impl Deref for Opened {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Opened {
    fn read(fd: OwnedFd) -> io::Result<Self> {
        let stat = attr::stat(&fd)?;
        let snapshot = Snapshot { kind: attr::kind(fd.as_fd(), &stat)?, xattrs: xattr::all(fd.as_fd())?, stat };
        Ok(Self { snapshot, fd })
    }
}

impl Tree {
    /// Reads a node. The caller holds its lock.
    pub fn snapshot(&self, names: &Names, node: &Node) -> io::Result<Snapshot> {
        match self.snapshot_by_name(names, node) {
            Some(snapshot) => Ok(snapshot),
            None => self.open_snapshot(names, node).map(|opened| opened.snapshot),
        }
    }

    /// As [`Tree::snapshot`], with a descriptor of the node.
    pub fn open_snapshot(&self, names: &Names, node: &Node) -> io::Result<Opened> {
        Opened::read(self.open(names, node, OFlags::PATH)?)
    }

    /// Through its directory, where that still shows the same node: that needs no descriptor of its own.
    fn snapshot_by_name(&self, names: &Names, node: &Node) -> Option<Snapshot> {
        let (parent, name) = node.link()?;
        let dir = self.directory(names, &parent).ok()?;
        let stat = attr::stat_at(&*dir, name.as_os_str()).ok()?;
        if stat.st_ino != node.ino() || stat.st_dev != self.device {
            return None;
        }
        let kind = attr::kind_at(dir.as_fd(), &name, &stat).ok()?;
        let xattrs = xattr::all_at(dir.as_fd(), &name).ok()?;
        Some(Snapshot { stat, kind, xattrs })
    }

    /// Reads what is under a name, without making it known: for a look that is not acted upon. `ENOENT`: nothing is there;
    /// `EXDEV`: it lies on another file system.
    pub fn peek(&self, names: &Names, dir: &Node, name: &Name) -> io::Result<Opened> {
        let dir = self.directory(names, dir)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = Opened::read(rustix::fs::openat(&dir, name.as_os_str(), flags, Mode::empty())?)?;
        if opened.stat.st_dev == self.device { Ok(opened) } else { Err(Errno::XDEV.into()) }
    }
}
