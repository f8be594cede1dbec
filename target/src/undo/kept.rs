//! Taking names away while an undo log is written: a node of the coherent state that loses its last name is kept under
//! `undo/kept/<inode>`. A node has a name there only while it has none elsewhere, or at the moment when its own is
//! replaced: so how many names it has is what it would be without a log.

use super::{Active, Undo};
use platform::sys::{attr, dir, resolve};
use protocol::RelPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

impl Undo {
    /// `unlinkat(2)`, with the same errors.
    pub fn unlink(&self, dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<(), Errno> {
        if let Some(active) = self.0.lock().as_mut()
            && let Some(stat) = active.last_name(dir, name)?
            && is_dir(&stat) == flags.contains(AtFlags::REMOVEDIR)
            && (!is_dir(&stat) || is_empty(dir, name)?)
        {
            return active.keep(dir, name, &stat);
        }
        rustix::fs::unlinkat(dir, name, flags)
    }

    /// A name is about to be replaced in one step, by a directory or by something else. [`Self::replaced`] is to follow, whether that worked or not.
    pub fn replacing(&self, dir: BorrowedFd<'_>, name: &[u8], by_dir: bool) -> Result<(), Errno> {
        let mut inner = self.0.lock();
        let Some(active) = inner.as_mut() else { return Ok(()) };
        let Some(stat) = active.last_name(dir, name)? else { return Ok(()) };
        // The system refuses what does not fit.
        if is_dir(&stat) != by_dir {
            return Ok(());
        }
        if by_dir {
            // It cannot have a second name: for a moment there is nothing under this one.
            return if is_empty(dir, name)? { active.keep(dir, name, &stat) } else { Ok(()) };
        }
        match rustix::fs::linkat(dir, name, &active.kept, stat.st_ino.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => active.second = Some(stat.st_ino),
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => active.keep(dir, name, &stat)?,
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// See [`Self::replacing`].
    pub fn replaced(&self) -> io::Result<()> {
        self.with(|active| {
            let Some(inode) = active.second.take() else { return Ok(()) };
            settle_one(active.kept.as_fd(), inode.to_string().as_bytes())
        })
    }
}

impl Active {
    /// What is under a name, if it may be of the coherent state and has no other name.
    fn last_name(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat).filter(|s| !self.saved.is_new(s.st_ino) && (is_dir(s) || s.st_nlink == 1))),
            // The call that follows meets the same.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn keep(&self, dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> Result<(), Errno> {
        let keep = || rustix::fs::renameat(dir, name, &self.kept, stat.st_ino.to_string());
        match keep() {
            // A directory changes when it moves. What it may be is saved.
            Err(Errno::ACCESS) if is_dir(stat) => {
                // By descriptor: under the name there may be a link by now, and permissions are set on what it leads to.
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(dir, name, flags, Mode::empty())?;
                attr::chmod(directory.as_fd(), 0o700).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
                keep()
            }
            result => result,
        }
    }
}

/// Takes second names away, which were left when a daemon ended in the middle.
pub(super) fn settle(kept: BorrowedFd<'_>) -> io::Result<()> {
    for name in dir::names(kept)? {
        settle_one(kept, name.as_bytes())?;
    }
    Ok(())
}

fn settle_one(kept: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::statat(kept, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if !is_dir(&stat) && stat.st_nlink > 1 => Ok(rustix::fs::unlinkat(kept, name, AtFlags::empty())?),
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_empty(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let empty = || {
        let path = RelPath::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = resolve::open_beneath(dir, &path, OFlags::PATH | OFlags::DIRECTORY)?;
        let mode = attr::perm(&attr::stat(&fd)?);
        match dir::is_empty(fd.as_fd()) {
            Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
                attr::chmod(fd.as_fd(), mode | 0o700)?;
                let empty = dir::is_empty(fd.as_fd());
                attr::chmod(fd.as_fd(), mode)?;
                empty
            }
            result => result,
        }
    };
    empty().map_err(|e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
