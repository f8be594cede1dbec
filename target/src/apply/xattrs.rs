//! Extended attributes, ACLs included, which are attributes that change permissions; those that cannot, or may not, be in force are kept under another name
//! (`crate::kept`).

use super::{Applier, Fault};
use crate::kept::{CAPABILITY, STAT, is_own, under};
use platform::sys::{attr, xattr};
use protocol::Place;
use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Namespace of labels that belong to the machine as much as to the file.
const SECURITY: &[u8] = b"security.";

impl Applier {
    /// Sets (`Some`) or removes one attribute; then permissions where it changed them.
    pub(super) fn set_xattr(
        &mut self,
        place: &Place,
        name: &[u8],
        value: Option<&[u8]>,
        mode: Option<u32>,
    ) -> Result<(), Fault> {
        let fd = self.node(place)?;
        let mut mode = mode;
        if mode.is_none() && !self.is_exact() && name.starts_with(b"system.") {
            // An ACL has permissions in it, which are not to be in force where others are.
            let stat = attr::stat(&fd)?;
            mode = (FileType::from_raw_mode(stat.st_mode) != FileType::Symlink)
                .then_some(self.truth(fd.as_fd(), &stat)?.0.mode);
        }
        let result = self.put_xattr(fd.as_fd(), name, value);
        if result.is_err() && name.starts_with(b"user.") && !takes_user_attributes(fd.as_fd())? {
            // The source did it, so there it is another kind of node.
            return Err(Fault::damage("not a file or directory"));
        }
        result?;
        mode.map_or(Ok(()), |mode| self.put(fd.as_fd(), None, Some(mode)))
    }

    /// Permissions where an attribute that is set already changed them.
    pub(super) fn settle_xattr(&mut self, place: &Place, mode: Option<u32>) -> Result<(), Fault> {
        let fd = self.node(place)?;
        mode.map_or(Ok(()), |mode| self.put(fd.as_fd(), None, Some(mode)))
    }

    /// Sets (`Some`) or removes an attribute of the source's. Answers the names that it has here.
    pub(super) fn put_xattr(&self, fd: BorrowedFd<'_>, name: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
        let Some(value) = value else {
            if !is_own(name) {
                self.with_access(fd, || remove(fd, name))?;
            }
            if self.home.kept.any() {
                self.with_access(fd, || remove(fd, &under(name)))?;
            }
            return Ok(());
        };
        let in_force = self.store_xattr(fd, name, value)?;
        let other = if in_force { under(name) } else { name.to_vec() };
        if self.home.kept.any() && !is_own(name) {
            self.with_access(fd, || remove(fd, &other))?;
        }
        Ok(())
    }

    /// Whether an attribute is never in force here.
    pub(super) fn keeps_xattr(&self, name: &[u8]) -> bool {
        is_own(name) || self.limits.strip_setuid && name == CAPABILITY
    }

    /// Sets an attribute, or keeps it (`false`).
    fn store_xattr(&self, fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<bool, Fault> {
        if !self.keeps_xattr(name) {
            match self.with_access(fd, || xattr::set(fd, name, value, XattrFlags::empty())) {
                Err(e) if is_for_root(name) && e.raw_os_error() == Some(libc::EPERM) => {}
                result => {
                    result?;
                    return Ok(true);
                }
            }
        }
        if name == CAPABILITY {
            self.home.kept.note_capabilities(self.home.meta.as_fd())?;
        } else {
            self.home.kept.note(self.home.meta.as_fd())?;
        }
        match self.with_access(fd, || xattr::set(fd, &under(name), value, XattrFlags::empty())) {
            Err(e) if !self.root && matches!(e.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)) => {
                self.not_set();
                return Ok(false);
            }
            result => result?,
        }
        self.facts.update(|s| s.kept.attributes += 1);
        Ok(false)
    }

    /// Makes a node's attributes exactly those of the source.
    pub(super) fn settle_xattrs(&self, fd: BorrowedFd<'_>, wanted: &[(&[u8], &[u8])]) -> Result<(), Fault> {
        let simple = !wanted.iter().any(|(name, _)| self.keeps_xattr(name));
        if self.is_exact() && simple {
            match settle_xattrs(fd, wanted) {
                Err(fault) if fault.errno == Some(Errno::PERM) => {}
                result => return result,
            }
        }
        let present = xattr::all(fd)?;
        let of =
            |stored: &[u8]| wanted.iter().find(|(name, _)| *name == stored && !is_own(name) || under(name) == stored);
        for (name, _) in present.iter().filter(|(name, _)| name != STAT && of(name).is_none()) {
            match self.with_access(fd, || remove(fd, name)) {
                // A label that the target's machine insists on.
                Err(_) if name.starts_with(b"security.") => {}
                result => result?,
            }
        }
        let has = |name: &[u8], value: &[u8]| present.iter().any(|(n, v)| n == name && v == value);
        for (name, value) in wanted {
            let kept = has(&under(name), value);
            let there = has(name, value) && !self.keeps_xattr(name);
            // What is kept of an attribute that could be in force is tried once more.
            if !there && !(kept && (self.keeps_xattr(name) || !self.root)) {
                self.put_xattr(fd, name, Some(value))?;
            }
        }
        Ok(())
    }

    /// Content or owner of a file changes: its capabilities go, as they do in the kernel where they are in force.
    pub(super) fn drop_capability(&self, fd: BorrowedFd<'_>) -> Result<(), Fault> {
        if self.home.kept.capabilities() {
            self.with_access(fd, || remove(fd, &under(CAPABILITY)))?;
        }
        Ok(())
    }
}

/// Makes the attributes that a node has here exactly these.
pub(crate) fn settle_xattrs(fd: BorrowedFd<'_>, wanted: &[(&[u8], &[u8])]) -> Result<(), Fault> {
    let present = xattr::all(fd)?;
    for (name, _) in &present {
        if !wanted.iter().any(|(w, _)| *w == &name[..]) {
            match remove(fd, name) {
                // A label that the target's machine insists on.
                Err(_) if name.starts_with(SECURITY) => {}
                result => result?,
            }
        }
    }
    for (name, value) in wanted {
        if !present.iter().any(|(n, v)| n == name && v == value) {
            xattr::set(fd, name, value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn takes_user_attributes(fd: BorrowedFd<'_>) -> Result<bool, Fault> {
    let kind = FileType::from_raw_mode(attr::stat(fd)?.st_mode);
    Ok(matches!(kind, FileType::RegularFile | FileType::Directory))
}

fn is_for_root(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

/// Removes an attribute; one that is not there, or cannot be, is fine.
pub(super) fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match xattr::remove(fd, name) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(()),
        // Kept names may be longer than any attribute's.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ERANGE | libc::EPERM)) && is_own(name) => Ok(()),
        // Whoever may not have set it has not.
        Err(e) if is_for_root(name) && e.raw_os_error() == Some(libc::EPERM) => Ok(()),
        result => result,
    }
}
