//! Names that come and go: create, link, unlink. The resulting time of a directory is set after every change in it.

use super::node::{is_dir, open_name, orphan_name, stat_name};
use super::{Applier, Fault, Manner};
use platform::sys::attr;
use protocol::{At, Attrs, Name, NodeId, NodeKind, Phase, Place, RelPath, Replaced, Time};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

impl Applier {
    pub(super) fn create(
        &mut self,
        path: &RelPath,
        node: NodeId,
        kind: &NodeKind,
        attrs: Attrs,
        parent_mtime: Time,
        manner: Manner,
    ) -> Result<(), Fault> {
        let (dir, name) = self.parent(path)?;
        self.files.remove(node);
        let (fd, dir) = match self.make(dir.as_fd(), &name, kind, attrs.owner, attrs.mode) {
            Ok(fd) => (fd, dir),
            Err(Fault { errno: Some(Errno::EXIST), .. }) => {
                let there = open_name(&dir, name.as_bytes())?;
                let stat = attr::stat(&there)?;
                // What stood there before the earlier try is not what that made.
                let made = manner.redo.is_some_and(|[before, _]| before != stat.st_ino);
                if made && self.kind_of(there.as_fd(), &stat)? == *kind {
                    let fd = if *kind == NodeKind::File { self.reopen(there.as_fd())? } else { there };
                    (fd, dir)
                } else if manner.tolerant {
                    self.set_aside(dir.as_fd(), &name, path, manner.seq)?;
                    let (dir, name) = self.parent(path)?;
                    (self.make(dir.as_fd(), &name, kind, attrs.owner, attrs.mode)?, dir)
                } else {
                    return Err(Errno::EXIST.into());
                }
            }
            Err(fault) => return Err(fault),
        };
        self.settle(fd.as_fd(), attrs.owner, attrs.mode)?;
        attr::set_times(fd.as_fd(), None, Some(attrs.mtime))?;
        attr::set_times(dir.as_fd(), None, Some(parent_mtime))?;
        // The number in a proposal is nobody's: the node has none yet.
        if *kind == NodeKind::File && manner.phase != Phase::Proposed {
            self.files.insert(node, Arc::new(fd));
        }
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Place, to: &RelPath, parent_mtime: Time, manner: Manner) -> Result<(), Fault> {
        let (to_dir, to_name) = self.parent(to)?;
        let orphan;
        let (from_dir, from_name) = match &from.at {
            At::Path(path) => {
                let (dir, name) = self.parent(path)?;
                orphan = name;
                (dir.as_fd().try_clone_to_owned()?, orphan.as_bytes().to_vec())
            }
            At::Orphan => (self.home.orphans.try_clone()?, orphan_name(from.node).into_bytes()),
        };
        let source = match stat_name(&from_dir, &from_name)? {
            Some(source) => source,
            // Nothing was kept: the name was never taken away.
            None if manner.tolerant && from.at == At::Orphan => return Ok(()),
            None => return Err(Errno::NOENT.into()),
        };
        if is_dir(&source) {
            return Err(Fault::damage("a directory where a file should be"));
        }
        let link = |to_dir: BorrowedFd<'_>| {
            rustix::fs::linkat(&from_dir, &from_name[..], to_dir, to_name.as_bytes(), AtFlags::empty())
        };
        match link(to_dir.as_fd()) {
            Err(Errno::EXIST) if manner.tolerant || manner.redo.is_some() => {
                let there = stat_name(&to_dir, to_name.as_bytes())?;
                if there.is_none_or(|there| (there.st_ino, there.st_dev) != (source.st_ino, source.st_dev)) {
                    if !manner.tolerant {
                        return Err(Errno::EXIST.into());
                    }
                    self.set_aside(to_dir.as_fd(), &to_name, to, manner.seq)?;
                    link(to_dir.as_fd())?;
                }
            }
            result => result?,
        }
        attr::set_times(to_dir.as_fd(), None, Some(parent_mtime))?;
        Ok(())
    }

    pub(super) fn unlink(
        &mut self,
        path: &RelPath,
        gone: Replaced,
        directory: bool,
        parent_mtime: Time,
        manner: Manner,
    ) -> Result<(), Fault> {
        if manner.phase == Phase::Settled {
            return self.settle_unlink(path, gone, parent_mtime);
        }
        let may_be_gone = manner.tolerant || manner.redo.is_some();
        let (dir, name) = match self.parent(path) {
            // With its directory gone, the name is gone.
            Err(_) if manner.tolerant && self.is_missing(path)? => return Ok(()),
            result => result?,
        };
        if directory {
            self.directories_moved();
        }
        let result = if gone.orphan && !directory {
            self.orphan(dir.as_fd(), &name, gone.node)
        } else {
            self.files.remove(gone.node);
            let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            self.home.undo.unlink(dir.as_fd(), name.as_bytes(), flags)
        };
        match result {
            Err(Errno::NOENT) if may_be_gone => {}
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) if manner.tolerant => {
                self.set_aside(dir.as_fd(), &name, path, manner.seq)?;
            }
            result => result?,
        }
        attr::set_times(dir.as_fd(), None, Some(parent_mtime))?;
        Ok(())
    }

    /// The name is gone, and its node was kept in case that the source could not do the same.
    fn settle_unlink(&mut self, path: &RelPath, gone: Replaced, parent_mtime: Time) -> Result<(), Fault> {
        if !gone.orphan {
            self.reap(gone.node)?;
        }
        let (dir, _) = self.parent(path)?;
        attr::set_times(dir.as_fd(), None, Some(parent_mtime))?;
        Ok(())
    }

    /// Whether the directory of a path is not there.
    pub(super) fn is_missing(&self, path: &RelPath) -> Result<bool, Fault> {
        let Some((dir, _)) = path.split_last() else { return Ok(false) };
        match platform::sys::resolve::open_beneath(self.tree(), &dir, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(false),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// A node was made. That the undo log does not hear of it costs room, and nothing else.
    pub(super) fn made(&self, node: BorrowedFd<'_>) {
        if let Err(error) = attr::stat(node).and_then(|stat| self.home.undo.made(stat.st_ino)) {
            tracing::debug!(name = %self.home.name, %error, "a new node is not noted in the undo log");
        }
    }

    /// Moves the last known name of a file that is still in use to where it is kept without one.
    pub(super) fn orphan(&mut self, dir: BorrowedFd<'_>, name: &Name, node: NodeId) -> Result<(), Errno> {
        let orphans = self.home.orphans.as_fd();
        let kept = orphan_name(node);
        let stat = rustix::fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
        if is_dir(&stat) {
            return Err(Errno::ISDIR);
        }
        match rustix::fs::statat(orphans, &kept, AtFlags::SYMLINK_NOFOLLOW) {
            // Renaming one name of a file to another of its names does nothing at all.
            Ok(there) if there.st_ino == stat.st_ino => {
                return rustix::fs::unlinkat(dir, name.as_bytes(), AtFlags::empty());
            }
            Ok(_) => self.home.undo.unlink(orphans, kept.as_bytes(), AtFlags::empty())?,
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        rustix::fs::renameat(dir, name.as_bytes(), orphans, &kept)
    }
}

/// Makes a node under a name that must not exist. A regular file is open for reading and writing, others for what they
/// are. Owner and permissions are settled later; setuid, setgid and the sticky bit are not set here.
pub(crate) fn make(dir: BorrowedFd<'_>, name: &Name, kind: &NodeKind, mode: u32) -> Result<OwnedFd, Errno> {
    let (name, mode) = (name.as_bytes(), Mode::from_raw_mode(mode & 0o777));
    let special = |kind: FileType, number: u64| rustix::fs::mknodat(dir, name, kind, mode, number);
    match kind {
        NodeKind::File => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return rustix::fs::openat(dir, name, flags, mode);
        }
        NodeKind::Directory => rustix::fs::mkdirat(dir, name, mode)?,
        NodeKind::Symlink(to) => rustix::fs::symlinkat(&to[..], dir, name)?,
        NodeKind::Fifo => special(FileType::Fifo, 0)?,
        NodeKind::Socket => special(FileType::Socket, 0)?,
        NodeKind::CharDevice(number) => special(FileType::CharacterDevice, *number)?,
        NodeKind::BlockDevice(number) => special(FileType::BlockDevice, *number)?,
    }
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
