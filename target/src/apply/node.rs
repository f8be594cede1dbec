//! From a place to a descriptor. Regular files only are ever opened for data: opening a device or a pipe has effects.

use super::{Applier, Fault};
use platform::sys::attr;
use platform::sys::proc_path;
use platform::sys::resolve::open_beneath;
use protocol::{At, Name, NodeId, Place, RelPath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The name under which an orphan is kept.
pub(super) fn orphan_name(node: NodeId) -> String {
    node.get().to_string()
}

/// `fstatat(2)`; `None` where the name does not exist.
pub(super) fn stat_name(dir: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Opens a name for what it is, a symbolic link included.
pub(super) fn open_name(dir: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

impl Applier {
    /// The directory that holds a path, and the path's last name.
    pub(super) fn parent(&mut self, path: &RelPath) -> Result<(Arc<OwnedFd>, Name), Fault> {
        // Records with the root as a name were refused when they came.
        let (dir, name) = path.split_last().ok_or_else(|| Fault::damage("the root has no name"))?;
        if let Some(fd) = self.parents.get(&dir) {
            return Ok((fd, name));
        }
        let fd = Arc::new(open_beneath(self.tree(), &dir, OFlags::PATH | OFlags::DIRECTORY)?);
        self.parents.insert(dir, fd.clone());
        Ok((fd, name))
    }

    /// A node for what it is: enough for attributes of whatever kind of node.
    pub(super) fn node(&mut self, place: &Place) -> Result<Arc<OwnedFd>, Fault> {
        if let Some(fd) = self.files.get(place.node) {
            return Ok(fd);
        }
        Ok(Arc::new(match &place.at {
            At::Orphan => open_name(&self.home.orphans, orphan_name(place.node).as_bytes())?,
            At::Path(path) if path.is_root() => open_beneath(self.tree(), path, OFlags::PATH)?,
            At::Path(path) => {
                let (dir, name) = self.parent(path)?;
                open_name(dir, name.as_bytes())?
            }
        }))
    }

    /// A regular file, for reading and writing; kept open.
    pub(super) fn file(&mut self, place: &Place) -> Result<Arc<OwnedFd>, Fault> {
        if let Some(fd) = self.files.get(place.node) {
            return Ok(fd);
        }
        let path = self.node(place)?;
        let fd = Arc::new(self.reopen(path.as_fd())?);
        self.files.insert(place.node, fd.clone());
        Ok(fd)
    }

    /// Opens what `path` stands for, which must be a regular file, for reading and writing.
    pub(super) fn reopen(&self, path: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
        let stat = attr::stat(path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Fault::damage("not a regular file"));
        }
        self.check_file(path, &stat)?;
        let open = || rustix::fs::open(proc_path(path), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        match open() {
            Err(Errno::ACCESS) if !self.root => {
                // The owner's own permissions do not bind root, whose files these are on the source.
                let perm = attr::perm(&stat);
                attr::chmod(path, perm | 0o600)?;
                let fd = open();
                attr::chmod(path, perm)?;
                Ok(fd?)
            }
            result => Ok(result?),
        }
    }
}
