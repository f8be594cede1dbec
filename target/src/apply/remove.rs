//! Removing what the source does not replicate any more, where its user wants that: a name with all below it.

use super::node::{is_dir, stat_name};
use super::{Applier, Fault};
use crate::undo::Undo;
use platform::sys::{attr, dir, resolve};
use protocol::{Name, RelPath, Time};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Applier {
    /// Makes sure that nothing is at a path, nor below it.
    pub(super) fn remove_at(&mut self, path: &RelPath, parent_mtime: Time) -> Result<(), Fault> {
        let (parent, name) = match self.parent(path) {
            // With its directory gone, the name is gone.
            Err(_) if self.is_missing(path)? => return Ok(()),
            result => result?,
        };
        self.idle();
        remove(&self.home.undo, parent.as_fd(), &name)?;
        attr::set_times(parent.as_fd(), None, Some(parent_mtime))?;
        Ok(())
    }
}

/// A directory on the way down, with the names that are left in it.
struct Level {
    fd: OwnedFd,
    names: Vec<Name>,
    /// Its own name in the level above.
    name: Name,
}

/// Depth first, with a descriptor for each level; no link is followed.
fn remove(undo: &Undo, parent: BorrowedFd<'_>, name: &Name) -> Result<(), Fault> {
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some(name.clone());
    loop {
        if let Some(name) = next.take() {
            let at = levels.last().map_or(parent, |level| level.fd.as_fd());
            if let Some(level) = enter(undo, at, name)? {
                levels.push(level);
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        next = level.names.pop();
        if next.is_none()
            && let Some(done) = levels.pop()
        {
            let above = levels.last().map_or(parent, |level| level.fd.as_fd());
            unlink(undo, above, &done.name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Goes into a directory; what is none is removed at once.
fn enter(undo: &Undo, at: BorrowedFd<'_>, name: Name) -> Result<Option<Level>, Fault> {
    match stat_name(at, name.as_bytes())? {
        Some(stat) if is_dir(&stat) => {
            let path = RelPath::new(name.as_bytes()).map_err(|e| Fault::damage(e.to_string()))?;
            let fd = resolve::open_beneath(at, &path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let names = dir::names(fd.as_fd())?;
            Ok(Some(Level { fd, names, name }))
        }
        Some(_) => unlink(undo, at, &name, AtFlags::empty()).map(|()| None),
        None => Ok(None),
    }
}

/// Saves all names that go with what is under one, which must be a directory for there to be any, for the undo log.
pub(super) fn save(undo: &Undo, parent: BorrowedFd<'_>, name: &Name) -> io::Result<()> {
    let mut paths = vec![RelPath::root().join(name).map_err(|e| io::Error::other(e.to_string()))?];
    while let Some(path) = paths.pop() {
        let Ok(fd) = resolve::open_beneath(parent, &path, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
        for name in dir::names(fd.as_fd())? {
            undo.name(fd.as_fd(), name.as_bytes())?;
            paths.push(path.join(&name).map_err(|e| io::Error::other(e.to_string()))?);
        }
    }
    Ok(())
}

fn unlink(undo: &Undo, dir: BorrowedFd<'_>, name: &Name, flags: AtFlags) -> Result<(), Fault> {
    match undo.unlink(dir, name.as_bytes(), flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
