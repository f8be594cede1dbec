//! Attributes: size, owner, permissions, times, in the order in which they do not undo each other.

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
        if let Some(size) = size {
            mode = self.keep_mode(fd, mode)?;
            rustix::fs::ftruncate(fd, size)?;
        }
        if let Some(owner) = owner {
            self.chown(fd, owner)?;
        }
        if let Some(mode) = mode {
            chmod(fd, mode)?;
        }
        if atime.is_some() || mtime.is_some() {
            attr::set_times(fd, atime, mtime)?;
        }
        Ok(())
    }

    /// Owner and permissions where they are not what they should be. Times are the caller's, and come after this.
    pub(super) fn settle(&self, fd: BorrowedFd<'_>, owner: Owner, mode: u32) -> Result<(), Fault> {
        let stat = attr::stat(fd)?;
        if (stat.st_uid, stat.st_gid) != (owner.uid, owner.gid) {
            self.chown(fd, owner)?;
        }
        settle_mode(fd, mode)
    }

    /// The permissions that a change of data leaves: `mode`, or where the source says nothing of them, those of now. Only
    /// for who is not root does the kernel take setuid and setgid away here.
    pub(super) fn keep_mode(&self, fd: BorrowedFd<'_>, mode: Option<u32>) -> Result<Option<u32>, Fault> {
        if self.root || mode.is_some() {
            return Ok(mode);
        }
        Ok(Some(attr::perm(&attr::stat(fd)?)).filter(|perm| perm & 0o6000 != 0))
    }

    /// Owner and group. Who is not root cannot give files away: that is counted, and everything else goes on.
    fn chown(&self, fd: BorrowedFd<'_>, owner: Owner) -> Result<(), Fault> {
        match attr::chown(fd, Some(owner.uid), Some(owner.gid)) {
            Err(e) if !self.root && matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => {
                self.facts.update(|s| {
                    s.owners_not_set += 1;
                    if s.owners_not_set == 1 {
                        s.last_error = Some("owners are not set: this target does not run as root".to_owned());
                    }
                });
                Ok(())
            }
            // An id that does not exist in this user namespace: no repair changes that.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                Err(Fault::retry(format!("owner {}:{} does not exist here", owner.uid, owner.gid)))
            }
            result => Ok(result?),
        }
    }
}

/// Permissions; symbolic links have none.
pub(super) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Fault> {
    match attr::chmod(fd, mode) {
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) && is_link(fd)? => Ok(()),
        result => Ok(result?),
    }
}

pub(super) fn is_link(fd: BorrowedFd<'_>) -> Result<bool, Fault> {
    Ok(FileType::from_raw_mode(attr::stat(fd)?.st_mode) == FileType::Symlink)
}

/// Permissions where they are not what they should be.
pub(super) fn settle_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Fault> {
    // Looked at only now: setting an owner takes setuid and setgid away, setting an ACL changes permissions.
    let stat = attr::stat(fd)?;
    if attr::perm(&stat) != mode && FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmod(fd, mode)?;
    }
    Ok(())
}

/// What follows data: permissions where the operation changed them, and the time.
pub(super) fn after_data(fd: BorrowedFd<'_>, (mtime, mode): (Time, Option<u32>)) -> Result<(), Fault> {
    if let Some(mode) = mode {
        chmod(fd, mode)?;
    }
    attr::set_times(fd, None, Some(mtime))?;
    Ok(())
}
