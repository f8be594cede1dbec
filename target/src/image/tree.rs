//! Cloning a tree within one file system: names, attributes, hard links, and of each file all data, shared (`FICLONE`).

use crate::apply::make;
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, dir, proc_path, xattr};
use protocol::{Name, NodeKind, RelPath};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Between two questions whether to go on, in entries.
const ASK_EVERY: u64 = 256;

/// Why there is no clone.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The file system cannot share data between files.
    Unsupported,
    /// It was not to go on.
    Stopped,
    /// The system refused.
    System(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

struct Work<'a> {
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    /// Where files with several names were cloned to, by inode number.
    linked: HashMap<u64, RelPath>,
    /// Directories that are made and still empty.
    dirs: Vec<RelPath>,
}

/// Clones all that is in the directory `from` into the empty directory `to`.
pub(super) fn clone(from: BorrowedFd<'_>, to: BorrowedFd<'_>, go_on: &mut dyn FnMut() -> bool) -> Result<(), Failed> {
    let mut work = Work { from, to, linked: HashMap::new(), dirs: vec![RelPath::root()] };
    let mut filled = Vec::new();
    let mut entries: u64 = 0;
    while let Some(path) = work.dirs.pop() {
        let (mine, theirs) = work.both(&path)?;
        for name in dir::names(mine.as_fd())? {
            entries += 1;
            if entries.is_multiple_of(ASK_EVERY) && !go_on() {
                return Err(Failed::Stopped);
            }
            work.entry(&path, &name, mine.as_fd(), theirs.as_fd())?;
        }
        filled.push(path);
    }
    // Only now: permissions could lock us out, an ACL would be inherited, and each new name changes the time.
    for path in filled.into_iter().rev() {
        let (mine, theirs) = work.both(&path)?;
        settle(mine.as_fd(), theirs.as_fd(), &attr::stat(&mine)?)?;
    }
    Ok(())
}

impl Work<'_> {
    fn both(&self, path: &RelPath) -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((open_beneath(self.from, path, flags)?, open_beneath(self.to, path, flags)?))
    }

    fn entry(
        &mut self,
        path: &RelPath,
        name: &Name,
        mine: BorrowedFd<'_>,
        theirs: BorrowedFd<'_>,
    ) -> Result<(), Failed> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(mine, name.as_bytes(), flags, Mode::empty())?;
        let stat = attr::stat(&node)?;
        let kind = attr::kind(node.as_fd(), &stat)?;
        let here = path.join(name).map_err(|e| io::Error::other(e.to_string()))?;
        if kind == NodeKind::Directory {
            rustix::fs::mkdirat(theirs, name.as_bytes(), Mode::RWXU)?;
            self.dirs.push(here);
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&stat.st_ino) {
                rustix::fs::linkat(self.to, first.as_bytes(), theirs, name.as_bytes(), AtFlags::empty())?;
                return Ok(());
            }
            self.linked.insert(stat.st_ino, here);
        }
        let made = make(theirs, name, &kind, 0o600)?;
        if kind == NodeKind::File && stat.st_size > 0 {
            let data = rustix::fs::open(proc_path(node.as_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::ioctl_ficlone(&made, &data).map_err(|e| match e {
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL => Failed::Unsupported,
                e => Failed::System(e.into()),
            })?;
        }
        Ok(settle(node.as_fd(), made.as_fd(), &stat)?)
    }
}

/// Gives a clone everything but data and names, in the order in which nothing undoes what came before.
fn settle(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    match attr::chown(to, Some(stat.st_uid), Some(stat.st_gid)) {
        // Who is not root cannot give files away, and the replica's are his own then.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {}
        result => result?,
    }
    for (name, value) in xattr::all(from)? {
        match xattr::set(to, &name, &value, XattrFlags::empty()) {
            // A label of this machine's.
            Err(_) if name.starts_with(b"security.") => {}
            result => result?,
        }
    }
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Symlink {
        attr::chmod(to, attr::perm(stat))?;
    }
    attr::set_times(to, Some(attr::atime(stat)), Some(attr::mtime(stat)))
}
