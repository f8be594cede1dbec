//! Everything that is no directory: files, links, pipes, sockets, devices.

use super::content::Filling;
use super::directory::{Directory, stat_name};
use super::engine::Engine;
use super::fault::Fault;
use super::links::Turn;
use super::partial;
use super::tally::{Counted, What};
use platform::sys::attr;
use platform::sys::content::open_to_read;
use protocol::{Entry, Name, NodeKind, RelPath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// How often a file that changes on the target while it is read is read again.
const TRIES: usize = 5;

/// A name that is worked on.
#[derive(Clone, Copy)]
struct Work<'a> {
    at: &'a OwnedFd,
    path: &'a RelPath,
    entry: &'a Entry,
}

/// What was noted of a file: once, however often it is tried.
#[derive(Default)]
struct Said {
    what: bool,
    /// What was there is set aside.
    kept: bool,
}

/// How a file gets its content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As a new file, where nothing is.
    New,
    /// As a new file that begins as a copy of the one that is there, which keeps its other names and is set aside.
    Beside,
    /// The same, with nothing to be set aside: its content is the right one, but it is another file's name too.
    Apart,
}

impl Engine {
    /// One name of a directory: goes into a directory, restores anything else.
    pub fn entry(&self, parent: &Arc<Directory>, entry: &Entry) {
        let path = match parent.path.join(&entry.name) {
            Ok(path) => path,
            Err(e) => return self.failed(&parent.path, Fault::Node(e.to_string())),
        };
        if entry.kind == NodeKind::Directory {
            let entered = self.enter(parent, entry).and_then(|(dir, _)| {
                let dir = Arc::new(dir);
                let listed = self.list(&dir);
                self.leave(dir);
                listed
            });
            return entered.unwrap_or_else(|fault| self.failed(&path, fault));
        }
        let turn = self.links.turn(parent, entry);
        if let Turn::Link(leader) = turn {
            return self.link(parent, entry, &leader);
        }
        match turn {
            Turn::Later => return,
            Turn::Full => {
                let text = "too many files with several names: no more of them can be remembered".to_owned();
                return self.failed(&path, Fault::Node(text));
            }
            Turn::First | Turn::Link(_) => {}
        }
        let mut counted = Counted::new(&self.tally, entry.size);
        let restored = self.restore(parent, &path, entry, &mut counted);
        drop(counted);
        let done = restored.is_ok();
        self.queue.push(self.links.led(entry, done.then_some(&path)));
        if let Err(fault) = restored {
            self.failed(&path, fault);
        }
    }

    fn restore(
        &self,
        parent: &Directory,
        path: &RelPath,
        entry: &Entry,
        counted: &mut Counted<'_>,
    ) -> Result<(), Fault> {
        let Some(at) = &parent.fd else {
            self.tally.note(What::New, path, None);
            return Ok(());
        };
        if entry.kind != NodeKind::File {
            return self.other(Work { at, path, entry });
        }
        // What it is now, where it has changed since it was listed.
        let mut newer: Option<Entry> = None;
        let mut said = Said::default();
        for _ in 0..TRIES {
            let entry = newer.as_ref().unwrap_or(entry);
            match self.file(Work { at, path, entry }, counted, &mut said) {
                Err(Fault::Moved) => {}
                Err(fault @ Fault::Node(_)) => {
                    partial::forget(at, &entry.name);
                    return Err(fault);
                }
                result => return result,
            }
            newer = match self.remote.stat(path)? {
                Some(entry) if entry.kind == NodeKind::File => Some(entry),
                _ => {
                    partial::forget(at, &entry.name);
                    return Err(Fault::Node("it is gone from the target meanwhile".to_owned()));
                }
            };
        }
        partial::forget(at, &entry.name);
        Err(Fault::Moved)
    }

    fn file(&self, work: Work<'_>, counted: &mut Counted<'_>, said: &mut Said) -> Result<(), Fault> {
        let Work { at, path, entry } = work;
        let Some(stat) = stat_name(at, &entry.name)? else { return self.as_new(work, counted, Way::New, said) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.set_aside(at, &entry.name, path)?;
            return self.as_new(work, counted, Way::New, said);
        }
        let several = stat.st_nlink > 1;
        let same = u64::try_from(stat.st_size).ok() == Some(entry.size) && attr::mtime(&stat) == entry.attrs.mtime;
        let node = open_node(at, &entry.name)?;
        if !same || self.manner.checksum {
            if !several && !self.manner.dry_run && self.in_place(work, &stat, counted, said)? {
                return Ok(());
            }
            if self.content_differs(work, &node, &stat, counted)? {
                self.say(said, What::Changed, path);
                return if self.manner.dry_run { Ok(()) } else { self.as_new(work, counted, Way::Beside, said) };
            }
        }
        // With a name elsewhere it would be somebody else's file that is changed: it keeps what it has, this name gets a file of its own.
        if several && !self.manner.dry_run && (!self.links.claim(&stat, entry) || self.differs(node.as_fd(), entry)?) {
            return self.as_new(work, counted, Way::Apart, said);
        }
        self.only_attributes(work, node.as_fd())
    }

    fn say(&self, said: &mut Said, what: What, path: &RelPath) {
        if !std::mem::replace(&mut said.what, true) {
            self.tally.note(what, path, None);
        }
    }

    /// The content is right, or what it is to be; what else is not is put right.
    fn only_attributes(&self, work: Work<'_>, node: std::os::fd::BorrowedFd<'_>) -> Result<(), Fault> {
        if !self.differs(node, work.entry)? {
            return Ok(());
        }
        self.tally.note(What::Attributes, work.path, None);
        if self.manner.dry_run { Ok(()) } else { self.settle(node, work.entry, work.path) }
    }

    /// Whether the content of a file is another one, by its size or its blocks.
    fn content_differs(
        &self,
        work: Work<'_>,
        node: &OwnedFd,
        stat: &Stat,
        counted: &mut Counted<'_>,
    ) -> Result<bool, Fault> {
        let Work { path, entry, .. } = work;
        let had = u64::try_from(stat.st_size).unwrap_or(0);
        if had != entry.size {
            return Ok(true);
        }
        // One that this user cannot read is written anew.
        let Ok(fd) = open_to_read(node.as_fd()) else { return Ok(true) };
        Filling { engine: self, path, entry, fd: &fd, had }.differs(counted)
    }

    /// Writes what differs into the file that is there; before that, a copy of it is set aside. `false`: it cannot be written,
    /// and nothing was done.
    fn in_place(&self, work: Work<'_>, stat: &Stat, counted: &mut Counted<'_>, said: &mut Said) -> Result<bool, Fault> {
        let Work { at, path, entry } = work;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match rustix::fs::openat(at, entry.name.as_bytes(), flags, Mode::empty()) {
            Ok(fd) => fd,
            // Denied, or a program that runs.
            Err(Errno::ACCESS | Errno::PERM | Errno::TXTBSY) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let now = attr::stat(&fd)?;
        if (now.st_ino, now.st_dev) != (stat.st_ino, stat.st_dev) {
            return Err(Fault::Node("somebody else changes it meanwhile".to_owned()));
        }
        let had = u64::try_from(now.st_size).unwrap_or(0);
        let filling = Filling { engine: self, path, entry, fd: &fd, had };
        filling.fill(counted, &mut || {
            if !said.kept {
                let to = self.aside.copy(at, &entry.name, path)?;
                self.tally.note(What::Aside, path, Some(to));
                said.kept = true;
                self.say(said, What::Changed, path);
            }
            Ok(())
        })?;
        if !said.kept && self.differs(fd.as_fd(), entry)? {
            self.say(said, What::Attributes, path);
        }
        self.settle(fd.as_fd(), entry, path)?;
        Ok(true)
    }

    /// Restores into a partial file and gives that its name when it is whole.
    fn as_new(&self, work: Work<'_>, counted: &mut Counted<'_>, way: Way, said: &mut Said) -> Result<(), Fault> {
        let Work { at, path, entry } = work;
        if way == Way::New {
            self.say(said, What::New, path);
            if self.manner.dry_run {
                return Ok(());
            }
        }
        let fd = partial::open(at, entry)?;
        let mut had = u64::try_from(attr::stat(&fd)?.st_size).unwrap_or(0);
        if way != Way::New && had == 0 {
            // Without it everything is fetched, which is as good.
            let seed = open_node(at, &entry.name).and_then(|node| Ok(open_to_read(node.as_fd())?));
            if let Ok(seed) = seed {
                super::copy::content(&seed, &fd)?;
                had = u64::try_from(attr::stat(&fd)?.st_size).unwrap_or(0);
            }
        }
        Filling { engine: self, path, entry, fd: &fd, had }.fill(counted, &mut || Ok(()))?;
        self.settle(fd.as_fd(), entry, path)?;
        if way == Way::Beside {
            self.set_aside(at, &entry.name, path)?;
        }
        if way == Way::Apart {
            self.tally.note(What::Changed, path, None);
        }
        partial::finish(at, &entry.name, way == Way::Apart)
    }

    /// A symbolic link, a pipe, a socket, a device.
    fn other(&self, work: Work<'_>) -> Result<(), Fault> {
        let Work { at, path, entry } = work;
        if stat_name(at, &entry.name)?.is_some() {
            let node = open_node(at, &entry.name)?;
            let stat = attr::stat(&node)?;
            if attr::kind(node.as_fd(), &stat)? == entry.kind {
                let ours =
                    stat.st_nlink == 1 || self.links.claim(&stat, entry) && !self.differs(node.as_fd(), entry)?;
                if ours || self.manner.dry_run {
                    return self.only_attributes(work, node.as_fd());
                }
                // Its other name keeps it.
                rustix::fs::unlinkat(at, entry.name.as_bytes(), AtFlags::empty())?;
            } else {
                self.set_aside(at, &entry.name, path)?;
            }
        }
        self.tally.note(What::New, path, None);
        if self.manner.dry_run {
            return Ok(());
        }
        let made = make(at, &entry.name, &entry.kind);
        made.map_err(|e| Fault::node("it cannot be made", &e.into()))?;
        self.settle(open_node(at, &entry.name)?.as_fd(), entry, path)
    }
}

fn make(at: &OwnedFd, name: &Name, kind: &NodeKind) -> Result<(), Errno> {
    let (file_type, device) = match kind {
        NodeKind::Symlink(to) => return rustix::fs::symlinkat(&to[..], at, name.as_bytes()),
        NodeKind::Fifo => (FileType::Fifo, 0),
        NodeKind::Socket => (FileType::Socket, 0),
        NodeKind::CharDevice(device) => (FileType::CharacterDevice, *device),
        NodeKind::BlockDevice(device) => (FileType::BlockDevice, *device),
        NodeKind::File | NodeKind::Directory => return Err(Errno::INVAL),
    };
    rustix::fs::mknodat(at, name.as_bytes(), file_type, Mode::RUSR | Mode::WUSR, device)
}

/// A name for what it is, a symbolic link included.
fn open_node(at: &OwnedFd, name: &Name) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name.as_bytes(), flags, Mode::empty())?)
}
