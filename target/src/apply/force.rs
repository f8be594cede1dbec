//! Putting in force what a node is to be, as far as this target can and may (T5, T8). What is not in force is kept in attributes of the node (`crate::kept`), so that
//! whoever asks is told what the source has.
//!
//! Not in force are: owners that this target cannot give, and then setuid and setgid of the file, which would be another user's; these and capabilities of any file
//! with `--setuid=strip`; permissions that would lock a target out that is not root (it can always go into its directories and read its files); devices
//! that it cannot make, or is not to (`--devices=refuse`), and pipes and sockets whose owner it cannot give; attributes that are for root.

use super::names::make;
use super::node::open_name;
use super::xattrs::remove;
use super::{Applier, Fault};
use crate::kept::{Kept, STAT, Truth, takes};
use platform::sys::{attr, xattr};
use protocol::{Name, NodeKind, Owner};
use rustix::fs::{FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const SETID: u32 = 0o6000;
/// Permissions of the file that stands for what cannot be made.
const PLACEHOLDER: u32 = 0o600;
const NOT_SET: &str =
    "owners are not set: this target does not run as root, and they cannot be kept in extended attributes here";

impl Applier {
    /// Everything is in force: nothing is kept, and nothing has to be.
    pub(super) fn is_exact(&self) -> bool {
        self.root && !self.limits.strip_setuid && !self.home.kept.any()
    }

    /// What a node is to its source, and what is kept for that.
    pub(super) fn truth(&self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<(Truth, Option<Kept>), Fault> {
        let kept = if self.home.kept.any() { self.with_access(fd, || Kept::read(fd, stat))? } else { None };
        Ok((Truth::of(stat, kept.as_ref()), kept))
    }

    /// The kind that a node has for its source.
    pub(super) fn kind_of(&self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<NodeKind, Fault> {
        let (truth, _) = self.truth(fd, stat)?;
        Ok(truth.special.map_or_else(|| attr::kind(fd, stat), Ok)?)
    }

    /// Gives a node an owner, permissions, or both.
    pub(super) fn put(&self, fd: BorrowedFd<'_>, owner: Option<Owner>, mode: Option<u32>) -> Result<(), Fault> {
        let stat = attr::stat(fd)?;
        let (mut truth, kept) = self.truth(fd, &stat)?;
        truth.owner = owner.unwrap_or(truth.owner);
        truth.mode = mode.unwrap_or(truth.mode);
        if self.force(fd, &stat, &truth, kept.as_ref())? {
            return Ok(());
        }
        let Owner { uid, gid } = truth.owner;
        if self.root {
            return Err(Fault::retry(format!("owner {uid}:{gid} does not exist here, or cannot be given")));
        }
        self.not_set();
        Ok(())
    }

    /// What cannot be set, nor kept, is counted, and everything else goes on.
    pub(super) fn not_set(&self) {
        self.facts.update(|s| {
            s.owners_not_set += 1;
            if s.owners_not_set == 1 {
                s.last_error = Some(NOT_SET.to_owned());
            }
        });
    }

    /// Puts in force what can be, and keeps the rest. `false`: it cannot be kept of this node.
    pub(super) fn force(
        &self,
        fd: BorrowedFd<'_>,
        stat: &Stat,
        truth: &Truth,
        had: Option<&Kept>,
    ) -> Result<bool, Fault> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut now = *stat;
        let mut owned = owner_of(stat) == truth.owner;
        if !owned {
            owned = gave(attr::chown(fd, Some(truth.owner.uid), Some(truth.owner.gid)))?;
            // It takes setuid and setgid away.
            now = attr::stat(fd)?;
        }
        if kind == FileType::Symlink {
            return Ok(owned);
        }
        let here = self.here(kind, truth, owned);
        if attr::perm(&now) != here {
            attr::chmod(fd, here)?;
            // Setgid of a group that is not ours goes without an error.
            now = attr::stat(fd)?;
        }
        let here = attr::perm(&now);
        if owned && here == truth.mode && truth.special.is_none() {
            if had.is_some() {
                self.with_access(fd, || remove(fd, STAT))?;
            }
            return Ok(true);
        }
        let kept = Kept { owner: truth.owner, mode: truth.mode, here, special: truth.special.clone() };
        self.keep_stat(fd, stat, &kept, had, owned)
    }

    /// The permissions that a node is to have here.
    pub(super) fn here(&self, kind: FileType, truth: &Truth, owned: bool) -> u32 {
        let mode = truth.mode;
        match kind {
            _ if truth.special.is_some() => PLACEHOLDER,
            FileType::Directory if !self.root => mode | 0o700,
            FileType::RegularFile => {
                let mode = if self.limits.strip_setuid || !owned { mode & !SETID } else { mode };
                if self.root { mode } else { mode | 0o400 }
            }
            _ => mode,
        }
    }

    fn keep_stat(
        &self,
        fd: BorrowedFd<'_>,
        stat: &Stat,
        kept: &Kept,
        had: Option<&Kept>,
        owned: bool,
    ) -> Result<bool, Fault> {
        if had == Some(kept) {
            return Ok(true);
        }
        if !takes(stat) {
            return Ok(false);
        }
        self.home.kept.note(self.home.meta.as_fd())?;
        let set = self.with_access(fd, || xattr::set(fd, STAT, kept.text().as_bytes(), XattrFlags::empty()));
        match set {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)) => return Ok(false),
            result => result?,
        }
        self.facts.update(|s| match &kept.special {
            Some(_) => s.kept.devices += u64::from(had.is_none()),
            None if owned => s.kept.permissions += 1,
            None => s.kept.owners += 1,
        });
        Ok(true)
    }

    /// Attributes of the namespace `user` ask for the file's own permissions, which do not bind root.
    pub(super) fn with_access<T>(&self, fd: BorrowedFd<'_>, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(e) if !self.root && e.raw_os_error() == Some(libc::EACCES) => {
                let perm = attr::perm(&attr::stat(fd)?);
                attr::chmod(fd, perm | 0o600)?;
                let done = act();
                attr::chmod(fd, perm)?;
                done
            }
            result => result,
        }
    }

    /// Makes a node under a name that must not exist, or the file that stands for it.
    pub(super) fn make(
        &self,
        dir: BorrowedFd<'_>,
        name: &Name,
        kind: &NodeKind,
        owner: Owner,
        mode: u32,
    ) -> Result<OwnedFd, Fault> {
        let node = match kind {
            NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) if self.limits.refuse_devices => None,
            NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) => match make(dir, name, kind, mode) {
                Err(Errno::PERM) => None,
                result => Some(result?),
            },
            NodeKind::Fifo | NodeKind::Socket => {
                let node = make(dir, name, kind, mode)?;
                if gave(attr::chown(node.as_fd(), Some(owner.uid), Some(owner.gid)))? {
                    Some(node)
                } else {
                    rustix::fs::unlinkat(dir, name.as_bytes(), rustix::fs::AtFlags::empty())?;
                    None
                }
            }
            NodeKind::File | NodeKind::Directory | NodeKind::Symlink(_) => Some(make(dir, name, kind, mode)?),
        };
        let node = match node {
            Some(node) => node,
            None => self.placeholder(dir, name, kind, owner, mode)?,
        };
        self.made(node.as_fd());
        Ok(node)
    }

    fn placeholder(
        &self,
        dir: BorrowedFd<'_>,
        name: &Name,
        kind: &NodeKind,
        owner: Owner,
        mode: u32,
    ) -> Result<OwnedFd, Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name.as_bytes(), flags, Mode::from_raw_mode(PLACEHOLDER))?;
        let stat = attr::stat(&file)?;
        let kept = Kept { owner, mode, here: attr::perm(&stat), special: Some(kind.clone()) };
        if self.keep_stat(file.as_fd(), &stat, &kept, None, false)? {
            return Ok(open_name(dir, name.as_bytes())?);
        }
        rustix::fs::unlinkat(dir, name.as_bytes(), rustix::fs::AtFlags::empty())?;
        Err(Fault::retry("it cannot be made by this target, nor kept: the file system has no extended attributes"))
    }

    /// Whether a node can hold this owner, where it cannot keep one.
    pub(super) fn can_hold(&self, fd: BorrowedFd<'_>, kind: &NodeKind, owner: Owner) -> Result<bool, Fault> {
        let real = matches!(kind, NodeKind::Fifo | NodeKind::Socket) && !takes(&attr::stat(fd)?);
        Ok(!real || self.is_exact() || gave(attr::chown(fd, Some(owner.uid), Some(owner.gid)))?)
    }

    /// A file that stands for something else has no content.
    pub(super) fn check_file(&self, fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Fault> {
        if stat.st_size == 0 && self.truth(fd, stat)?.0.special.is_some() {
            return Err(Fault::damage("not a regular file"));
        }
        Ok(())
    }
}

fn owner_of(stat: &Stat) -> Owner {
    Owner { uid: stat.st_uid, gid: stat.st_gid }
}

/// Whether an owner was given. Who is not root cannot give files away, and some ids do not exist in a user namespace.
fn gave(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => Ok(false),
        result => result.map(|()| true),
    }
}
