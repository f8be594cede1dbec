//! New and found names: lookup, create, mkdir, mknod, symlink, link. Names that go or move stand in `moves`.

use crate::data::{backing_flags, is_cached};
use crate::files::OpenFile;
use crate::fs::{Caller, Done, Entry, Failed, Fs, name};
use platform::killpoint::{self, KillPoint};
use platform::sys::creds::creating_as;
use platform::sys::{attr, proc_path};
use platform::tree::{Names, Node};
use protocol::{Name, NodeKind, Owner, Time};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use srm::{Proposed, Ticket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// A new node: who makes it, and with which mode before the umask or a default ACL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    pub caller: Caller,
    /// `st_mode`, with the type for mknod.
    pub mode: u32,
    pub umask: u32,
}

impl New {
    fn perm(&self) -> Mode {
        Mode::from_raw_mode(self.mode & 0o7777)
    }

    /// Makes a node as the caller would.
    fn make<T>(&self, dir: BorrowedFd<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        creating_as(self.caller.ids(), self.umask, self.keeps_setgid(dir)?, make)
    }

    /// Whether a setgid file may be made in a setgid directory: only by a member of its group.
    fn keeps_setgid(&self, dir: BorrowedFd<'_>) -> io::Result<bool> {
        let executed = libc::S_ISGID | libc::S_IXGRP;
        if self.mode & executed != executed || self.caller.uid == 0 {
            return Ok(false);
        }
        let dir = attr::stat(dir)?;
        Ok(dir.st_mode & libc::S_ISGID != 0 && self.caller.in_group(dir.st_gid))
    }
}

/// Whether there is something under a name.
fn is_taken(dir: BorrowedFd<'_>, name: &Name) -> bool {
    rustix::fs::statat(dir, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// The directory of a name operation, with the namespace lock held exclusively.
struct Place<'a> {
    names: &'a mut Names,
    dir: Arc<Node>,
    fd: Arc<OwnedFd>,
    name: Name,
}

impl Fs {
    /// Finds a name and counts a reference of the kernel to its node.
    pub(crate) fn lookup(&self, parent: u64, text: &OsStr) -> io::Result<Entry> {
        let name = name(text)?;
        let parent = self.node(parent)?;
        let names = self.tree.names().read();
        let (node, stat) = self.tree.lookup(&names, &parent, &name, 1)?;
        self.adopt(&names, &node);
        Ok(Entry::new(&node, stat))
    }

    /// Finds a name through its directory's descriptor, as [`Fs::lookup`] does.
    pub(crate) fn lookup_at(&self, dir: BorrowedFd<'_>, parent: &Arc<Node>, name: &Name) -> io::Result<Entry> {
        let names = self.tree.names().read();
        let (node, stat) = self.tree.lookup_at(&names, dir, parent, name, 1)?;
        self.adopt(&names, &node);
        Ok(Entry::new(&node, stat))
    }

    /// Creates and opens a regular file; its handle. One that the kernel did not know of is opened, unless `flags` has
    /// `O_EXCL`.
    pub(crate) fn create(&self, new: New, parent: u64, text: &OsStr, flags: i32) -> Result<Done<(Entry, u64)>, Failed> {
        let name = name(text)?;
        let dir = self.node(parent)?;
        self.srm.preheat_names(&dir);
        let mut names = self.tree.names().write();
        self.check_path(&names, &dir, &name)?;
        let fd = self.directory(&names, &dir)?;
        self.srm.heat_names(&names, &dir);
        let proposed = self.propose_made(&names, (&dir, fd.as_fd(), &name), &NodeKind::File, &new)?;
        let how =
            backing_flags(flags, self.gathers()) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = new.make(fd.as_fd(), || Ok(rustix::fs::openat(&fd, name.as_os_str(), how, new.perm())?));
        let created = self.decided(&names, proposed, created);
        let mut place = Place { names: &mut names, dir, fd, name };
        match created {
            Ok((file, _proposed)) => {
                let found = self.tree.made(place.names, file.as_fd(), &place.dir, &place.name, 1)?;
                let (node, entry, ticket) = self.made(&mut place, found, NodeKind::File)?;
                node.opened();
                let handle =
                    self.files.insert(OpenFile::new(file, node, new.caller, (flags, is_cached(flags, self.gathers()))));
                Ok(Done { value: (entry, handle), ticket })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && flags & libc::O_EXCL == 0 => {
                self.open_existing(&place, flags, new.caller)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The file appeared behind the kernel's back. Where it would have to be truncated, or is none, the kernel is sent to
    /// look again (`ESTALE`).
    fn open_existing(&self, place: &Place<'_>, flags: i32, caller: Caller) -> Result<Done<(Entry, u64)>, Failed> {
        if flags & libc::O_TRUNC != 0 {
            return Err(Errno::STALE.into());
        }
        let (node, stat) = self.tree.lookup_at(place.names, place.fd.as_fd(), &place.dir, &place.name, 1)?;
        match self.open_file(place.names, &node, flags, caller) {
            Ok(handle) => {
                self.adopt(place.names, &node);
                Ok(Done { value: (Entry::new(&node, stat), handle), ticket: Ticket::NONE })
            }
            Err(error) => {
                drop(node);
                self.tree.forget(stat.st_ino, 1);
                Err(error.into())
            }
        }
    }

    /// Makes a directory.
    pub(crate) fn mkdir(&self, new: New, parent: u64, text: &OsStr) -> Result<Done<Entry>, Failed> {
        self.make(new, parent, text, NodeKind::Directory, |dir, name| {
            Ok(rustix::fs::mkdirat(dir, name.as_os_str(), new.perm())?)
        })
    }

    /// Makes a file, pipe, socket or device; `rdev` as the kernel encodes it.
    pub(crate) fn mknod(&self, new: New, parent: u64, text: &OsStr, rdev: u32) -> Result<Done<Entry>, Failed> {
        let kind = FileType::from_raw_mode(new.mode);
        let rdev = u64::from(rdev);
        let what = match kind {
            FileType::RegularFile => NodeKind::File,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::CharacterDevice => NodeKind::CharDevice(rdev),
            FileType::BlockDevice => NodeKind::BlockDevice(rdev),
            _ => return Err(Errno::INVAL.into()),
        };
        self.make(new, parent, text, what, |dir, name| {
            Ok(rustix::fs::mknodat(dir, name.as_os_str(), kind, new.perm(), rdev)?)
        })
    }

    /// Makes a symbolic link.
    pub(crate) fn symlink(&self, caller: Caller, parent: u64, text: &OsStr, to: &OsStr) -> Result<Done<Entry>, Failed> {
        let new = New { caller, mode: 0o777, umask: 0 };
        self.make(new, parent, text, NodeKind::Symlink(to.as_bytes().to_vec()), |dir, name| {
            Ok(rustix::fs::symlinkat(to, dir, name.as_os_str())?)
        })
    }

    fn make(
        &self,
        new: New,
        parent: u64,
        text: &OsStr,
        kind: NodeKind,
        make: impl FnOnce(BorrowedFd<'_>, &Name) -> io::Result<()>,
    ) -> Result<Done<Entry>, Failed> {
        let name = name(text)?;
        let dir = self.node(parent)?;
        self.srm.preheat_names(&dir);
        let mut names = self.tree.names().write();
        self.check_path(&names, &dir, &name)?;
        let fd = self.directory(&names, &dir)?;
        self.srm.heat_names(&names, &dir);
        let proposed = self.propose_made(&names, (&dir, fd.as_fd(), &name), &kind, &new)?;
        let result = new.make(fd.as_fd(), || make(fd.as_fd(), &name));
        let ((), _proposed) = self.decided(&names, proposed, result)?;
        let found = self.tree.lookup_at(&names, fd.as_fd(), &dir, &name, 1)?;
        let (_, entry, ticket) = self.made(&mut Place { names: &mut names, dir, fd, name }, found, kind)?;
        Ok(Done { value: entry, ticket })
    }

    /// Proposes a new node. One that cannot be made because its name is taken is not.
    fn propose_made(
        &self,
        names: &Names,
        (dir, fd, name): (&Arc<Node>, BorrowedFd<'_>, &Name),
        kind: &NodeKind,
        new: &New,
    ) -> io::Result<Option<Proposed>> {
        if !self.srm.proposes() || is_taken(fd, name) {
            return Ok(None);
        }
        let (uid, gid) = new.caller.ids();
        Ok(self.srm.propose_create(names, dir, name, kind, (Owner { uid, gid }, new.mode & !new.umask))?)
    }

    /// A node was made and is known: describes it.
    fn made(
        &self,
        place: &mut Place<'_>,
        (node, stat): (Arc<Node>, Stat),
        kind: NodeKind,
    ) -> io::Result<(Arc<Node>, Entry, Ticket)> {
        let Place { names, dir, fd, name } = place;
        self.srm.born(&node);
        let parent_mtime = self.parent_mtime(fd.as_fd())?;
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.created(names, dir, name, &node, kind, attr::attrs(&stat), parent_mtime);
        killpoint::pass(KillPoint::Numbered);
        let entry = Entry::new(&node, stat);
        Ok((node, entry, ticket))
    }

    /// The modification time of a directory in which a name was changed, for the record.
    pub(crate) fn parent_mtime(&self, dir: BorrowedFd<'_>) -> io::Result<Time> {
        if self.srm.is_bypassed() {
            return Ok(Time { secs: 0, nanos: 0 });
        }
        Ok(attr::mtime(&attr::stat(dir)?))
    }

    /// Gives a node one more name.
    pub(crate) fn link(&self, ino: u64, parent: u64, text: &OsStr) -> Result<Done<Entry>, Failed> {
        let name = name(text)?;
        let node = self.node(ino)?;
        let dir = self.node(parent)?;
        self.srm.preheat_names(&dir);
        let mut names = self.tree.names().write();
        self.check_path(&names, &dir, &name)?;
        let fd = self.directory(&names, &dir)?;
        self.srm.heat_names(&names, &dir);
        let file = self.path_fd(&names, &node)?;
        // By way of /proc, because AT_EMPTY_PATH asks for a capability that ordinary users do not have.
        let path = proc_path(file.as_fd());
        let asks = self.srm.proposes() && !is_taken(fd.as_fd(), &name);
        let proposed = if asks { self.srm.propose_link(&names, &node, &dir, &name)? } else { None };
        let linked = rustix::fs::linkat(rustix::fs::CWD, path, &fd, name.as_os_str(), AtFlags::SYMLINK_FOLLOW);
        let ((), _proposed) = self.decided(&names, proposed, linked.map_err(Into::into))?;
        let (node, stat) = self.tree.lookup_at(&names, fd.as_fd(), &dir, &name, 1)?;
        let parent_mtime = self.parent_mtime(fd.as_fd())?;
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.linked(&mut names, &node, &dir, &name, parent_mtime);
        killpoint::pass(KillPoint::Numbered);
        self.adopt(&names, &node);
        Ok(Done { value: Entry::new(&node, stat), ticket })
    }
}
