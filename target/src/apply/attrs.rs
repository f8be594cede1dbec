//! Attributes: size, owner, permissions, times, in the order in which they do not undo each other. What of them is put in force is decided in `force`.

use super::{Applier, Fault};
use platform::sys::attr;
use protocol::{Owner, Place, Time};
use rustix::fs::FileType;
use std::os::fd::{AsFd, BorrowedFd};

impl Applier {
    pub(super) fn set_attr(
        &mut self,
        place: &Place,
        size: Option<u64>,
        owner: Option<Owner>,
        mode: Option<u32>,
        (atime, mtime): (Option<Time>, Option<Time>),
    ) -> Result<(), Fault> {
        let fd = if size.is_some() { self.file(place)? } else { self.node(place)? };
        let fd = fd.as_fd();
        let mut mode = mode;
        if size.is_some() || owner.is_some() {
            self.drop_capability(fd)?;
        }
        if let Some(size) = size {
            mode = self.keep_mode(fd, mode)?;
            rustix::fs::ftruncate(fd, size)?;
        }
        if owner.is_some() || mode.is_some() {
            self.put(fd, owner, mode)?;
        }
        if atime.is_some() || mtime.is_some() {
            attr::set_times(fd, atime, mtime)?;
        }
        Ok(())
    }

    /// Owner and permissions where they are not what they should be. Times are the caller's, and come after this.
    pub(super) fn settle(&self, fd: BorrowedFd<'_>, owner: Owner, mode: u32) -> Result<(), Fault> {
        if !self.is_exact() {
            return self.put(fd, Some(owner), Some(mode));
        }
        let stat = attr::stat(fd)?;
        if (stat.st_uid, stat.st_gid) != (owner.uid, owner.gid) {
            self.put(fd, Some(owner), None)?;
        }
        // Looked at only now: setting an owner takes setuid and setgid away, setting an ACL changes permissions.
        let stat = attr::stat(fd)?;
        if attr::perm(&stat) != mode && FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            self.put(fd, None, Some(mode))?;
        }
        Ok(())
    }

    /// The permissions that a change of data leaves: `mode`, or where the source says nothing of them, those of now. Only
    /// for who is not root does the kernel take setuid and setgid away here.
    pub(super) fn keep_mode(&self, fd: BorrowedFd<'_>, mode: Option<u32>) -> Result<Option<u32>, Fault> {
        if self.root || mode.is_some() {
            return Ok(mode);
        }
        let stat = attr::stat(fd)?;
        if attr::perm(&stat) & 0o6000 == 0 {
            return Ok(None);
        }
        Ok(Some(self.truth(fd, &stat)?.0.mode))
    }

    /// What follows data: permissions where the operation changed them, and the time.
    pub(super) fn after_data(&self, fd: BorrowedFd<'_>, (mtime, mode): (Time, Option<u32>)) -> Result<(), Fault> {
        self.drop_capability(fd)?;
        if let Some(mode) = mode {
            self.put(fd, None, Some(mode))?;
        }
        attr::set_times(fd, None, Some(mtime))?;
        Ok(())
    }
}
