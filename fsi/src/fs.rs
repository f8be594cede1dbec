//! The file system behind the adapter: what it holds, how nodes are found and opened, how a change is recorded. The
//! operations themselves stand in files of their own.

use crate::dirs::OpenDir;
use crate::files::{Handles, OpenFile};
use crate::removed::Removed;
use crate::written_back::WrittenBack;
use platform::killpoint::{self, KillPoint};
use platform::sys::{attr, proc_path};
use platform::tree::{Names, Node, Tree};
use protocol::{Name, Op, PathError, Place};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use srm::status::CacheMode;
use srm::{Srm, Ticket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

/// FUSE's number for the root of a mount, whatever its inode number is.
const ROOT: u64 = 1;

/// Called with the FUSE number of a node whose attributes changed without the kernel's knowledge.
type Changed = Box<dyn Fn(u64) + Send + Sync>;

/// The file system of one mount.
pub(crate) struct Fs {
    pub(crate) srm: Arc<Srm>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) files: Handles<OpenFile>,
    pub(crate) dirs: Handles<OpenDir>,
    /// This process is root: the backing file system leaves setuid and setgid alone when it writes, and clearing them is
    /// up to the kernel's flags. Otherwise it clears them by itself.
    privileged: bool,
    pub(crate) removed: Removed,
    /// Where the kernel gathers writes.
    pub(crate) written_back: Option<WrittenBack>,
    changed: OnceLock<Changed>,
}

/// A result with what its reply waits for.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub value: T,
    pub ticket: Ticket,
}

/// An error with what its reply waits for: an operation that failed may have changed something.
#[derive(Debug)]
pub(crate) struct Failed {
    pub error: io::Error,
    pub ticket: Ticket,
}

impl<E: Into<io::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { error: error.into(), ticket: Ticket::NONE }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// Process id; 0 where the kernel acts by itself.
    pub pid: u32,
}

impl Caller {
    /// User and group, for acting as the caller.
    pub(crate) fn ids(self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// Whoever changes content as somebody ordinary takes setuid and setgid away. The kernel asks for that by itself, but by the permissions that it
    /// remembers, and setting an ACL changes them without its knowledge.
    pub(crate) fn loses_privilege(self) -> Option<Self> {
        (self.uid != 0).then_some(self)
    }

    /// Whether the caller belongs to a group. FUSE tells the primary one only, so the others are looked up; a caller that
    /// has gone belongs to none.
    pub(crate) fn in_group(self, gid: u32) -> bool {
        if self.gid == gid {
            return true;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
        groups.split_whitespace().any(|group| group.parse() == Ok(gid))
    }
}

/// A name that was found or made.
#[derive(Debug)]
pub(crate) struct Entry {
    pub stat: Stat,
    /// Differs between two nodes that had the same inode number.
    pub generation: u64,
}

impl Entry {
    pub(crate) fn new(node: &Node, stat: Stat) -> Self {
        Self { stat, generation: node.generation() }
    }
}

/// Whether something here may hold a node open.
fn is_held(node: &Node) -> bool {
    node.is_open() || !node.has_name()
}

/// The name an application gave. `ENAMETOOLONG` beyond 255 bytes.
pub(crate) fn name(text: &OsStr) -> io::Result<Name> {
    Name::new(text.as_bytes()).map_err(|error| match error {
        PathError::Long => Errno::NAMETOOLONG.into(),
        PathError::Empty | PathError::Dots | PathError::Byte => Errno::INVAL.into(),
    })
}

impl Fs {
    pub(crate) fn new(srm: Arc<Srm>, cache: CacheMode) -> Self {
        let tree = Arc::clone(srm.tree());
        Self {
            srm,
            tree,
            files: Handles::default(),
            dirs: Handles::default(),
            privileged: rustix::process::geteuid().is_root(),
            removed: Removed::default(),
            written_back: WrittenBack::of(cache),
            changed: OnceLock::new(),
        }
    }

    /// Says how to tell the kernel that a node's attributes changed. Once.
    pub(crate) fn on_changed(&self, changed: impl Fn(u64) + Send + Sync + 'static) {
        let first = self.changed.set(Box::new(changed)).is_ok();
        assert!(first, "a mount is made once");
    }

    /// The kernel is to forget the attributes it holds of this node.
    pub(crate) fn attributes_changed(&self, node: &Node) {
        if let Some(changed) = self.changed.get() {
            changed(if node.is_root() { ROOT } else { node.ino() });
        }
    }

    /// The node with this FUSE number; `ESTALE` for one that the kernel should not know.
    pub(crate) fn node(&self, ino: u64) -> io::Result<Arc<Node>> {
        if ino == ROOT {
            return Ok(Arc::clone(self.tree.root()));
        }
        self.tree.get(ino).ok_or_else(|| Errno::STALE.into())
    }

    /// Opens a node. One that cannot be opened any more, because it has no name or is below a directory that was closed to
    /// this process, is reached through what holds it open here.
    pub(crate) fn open_node(&self, names: &Names, node: &Arc<Node>, flags: OFlags) -> io::Result<OwnedFd> {
        match self.tree.open(names, node, flags) {
            Err(error) if is_held(node) => {
                let reopen =
                    |fd: BorrowedFd<'_>| Ok(rustix::fs::open(proc_path(fd), flags | OFlags::CLOEXEC, Mode::empty())?);
                if let Some(reopened) = self.removed.with(node.ino(), reopen) {
                    return reopened;
                }
                match self.files.find(|file| Arc::ptr_eq(&file.node, node)) {
                    Some(file) => reopen(file.fd.as_fd()),
                    None => Err(error),
                }
            }
            result => result,
        }
    }

    /// A node is about to lose its last name, this one.
    pub(crate) fn keep(&self, node: &Arc<Node>, dir: BorrowedFd<'_>, name: &Name) {
        if !node.is_known_to_kernel() {
            return;
        }
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.removed.keep(node.ino(), || rustix::fs::openat(dir, name.as_os_str(), how, Mode::empty()));
    }

    /// An `O_PATH` descriptor of a directory, for an operation on a name in it.
    pub(crate) fn directory(&self, names: &Names, node: &Arc<Node>) -> io::Result<Arc<OwnedFd>> {
        match self.tree.directory(names, node) {
            Err(_) if is_held(node) => Ok(Arc::new(self.path_fd(names, node)?)),
            result => result,
        }
    }

    /// `fstat(2)` of a node, a removed one that is still held included.
    pub(crate) fn stat(&self, names: &Names, node: &Arc<Node>) -> io::Result<Stat> {
        match self.tree.stat(names, node) {
            Err(_) if is_held(node) => attr::stat(self.path_fd(names, node)?),
            result => result,
        }
    }

    /// `ENAMETOOLONG` for a name whose path below SRC would be longer than a record can name.
    pub(crate) fn check_path(&self, names: &Names, dir: &Node, name: &Name) -> io::Result<()> {
        if self.srm.is_bypassed() {
            return Ok(());
        }
        match dir.path(names).map(|path| path.join(name)) {
            Some(Err(_)) => Err(Errno::NAMETOOLONG.into()),
            // A directory that was removed has none; the file system below has the right answer.
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// An `O_PATH` descriptor of a node.
    pub(crate) fn path_fd(&self, names: &Names, node: &Arc<Node>) -> io::Result<OwnedFd> {
        self.open_node(names, node, OFlags::PATH)
    }

    /// Describes a change to the SRM. The caller holds the node's lock; `stat` is the node's after the change. `data` is
    /// copied where it is sent.
    pub(crate) fn record(
        &self,
        names: &Names,
        node: &Arc<Node>,
        stat: &Stat,
        data: &[u8],
        make: impl FnOnce(Place) -> Op,
    ) -> Ticket {
        // What has no name, will never have one again and is not kept by the target is nothing to the replica.
        let gone = stat.st_nlink == 0 || node.is_dir();
        if gone && !node.has_name() && !node.is_orphan() {
            return Ticket::NONE;
        }
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.on_node(names, node, data, make);
        killpoint::pass(KillPoint::Numbered);
        ticket
    }

    /// The content of an open file is about to change: noted for the time after a power cut, before any lock is taken.
    pub(crate) fn preheat(&self, file: &OpenFile) {
        self.srm.preheat_content(&file.node, || attr::stat(&file.fd).map_or(true, |stat| stat.st_nlink > 1));
    }

    /// Permission bits before a write, where the backing file system may clear some of them by itself.
    pub(crate) fn perm_before(&self, fd: BorrowedFd<'_>) -> io::Result<Option<u32>> {
        if self.privileged { Ok(None) } else { Ok(Some(attr::perm(&attr::stat(fd)?))) }
    }

    /// An orphan that has a known name again is an orphan no longer: the target has it under that name.
    pub(crate) fn adopt(&self, names: &Names, node: &Arc<Node>) {
        if node.is_orphan() && node.has_name() {
            let _lock = node.lock.lock();
            self.reap(names, node);
        }
    }

    /// The target need not keep this orphan any more. The caller holds the node's lock, or the names exclusively.
    pub(crate) fn reap(&self, names: &Names, node: &Arc<Node>) {
        if node.is_orphan() {
            self.srm.reap(names, node);
            node.set_orphan(false);
        }
    }

    /// The kernel dropped `count` references to a node.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        if ino == ROOT {
            return;
        }
        if let Some(node) = self.tree.get(ino).filter(|node| node.is_orphan()) {
            // Without an open file only its unknown names are left: it is looked up anew when one of them is used.
            let names = self.tree.names().read();
            let _lock = node.lock.lock();
            if !node.is_open() {
                self.reap(&names, &node);
            }
        }
        self.tree.forget(ino, count);
        if self.tree.get(ino).is_none_or(|node| !node.is_known_to_kernel()) {
            self.removed.let_go(ino);
        }
    }

    /// The mount is gone: what is still open is closed.
    pub(crate) fn close_all(&self) {
        for number in self.files.numbers() {
            self.release(number);
        }
        for number in self.dirs.numbers() {
            self.releasedir(number);
        }
    }
}

impl std::fmt::Debug for Fs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fs").field("tree", &self.tree).finish_non_exhaustive()
    }
}
