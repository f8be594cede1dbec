//! The source's backing directory: which nodes are known, under which names, and how to reach them.
//!
//! The namespace lock stands here ([`Tree::names`]). Whoever holds it shared may rely on names standing still; whoever
//! holds it exclusive may change them. A node's own lock ([`Node::lock`]) comes after it. Lock order: namespace, node (two nodes: by
//! inode number), node table, a node's links. No lock of this module is held while anything waits for the network.

mod descriptors;
mod links;
mod node;
mod snapshot;

pub use links::Link;
pub use node::{Filter, Node, OpenCount};
pub use snapshot::{Opened, Snapshot};

use crate::sys::handle::Handle;
use crate::sys::{attr, descriptor_limit, dir, give_back_memory, resolve};
use descriptors::Descriptors;
use parking_lot::{Mutex, RwLock};
use protocol::{Name, NodeId};
use rustix::fs::{Mode, OFlags, Stat};
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bound on directories that are kept open, and the part of this process's descriptors that they may take.
const DIRECTORIES: usize = 1024;
const DIRECTORIES_PART: u64 = 8;

/// A table with room for so many nodes gives it back when an eighth is left.
const LARGE_TABLE: usize = 1 << 16;

/// Proof that the namespace lock is held: `&Names` that names stand still, `&mut Names` that they may be changed.
#[derive(Debug)]
pub struct Names(());

/// The backing directory and its nodes.
#[derive(Debug)]
pub struct Tree {
    /// SRC itself, readable; also what file handles are opened against.
    root_fd: Arc<OwnedFd>,
    root: Arc<Node>,
    device: u64,
    /// Nodes can be opened by handle; without it they are opened by path.
    by_handle: bool,
    names: RwLock<Names>,
    /// Known nodes by inode number. Held for moments only, never during a system call.
    table: Mutex<HashMap<u64, Arc<Node>>>,
    /// Directories in recent use. Held for moments only.
    directories: Mutex<Descriptors>,
    next_id: AtomicU64,
}

impl Tree {
    /// Takes the directory that `root` (an `O_PATH` descriptor will do) stands for.
    pub fn new(root: BorrowedFd<'_>) -> io::Result<Self> {
        let root_fd =
            rustix::fs::openat(root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = attr::stat(&root_fd)?;
        let handle = Handle::of(root_fd.as_fd()).ok();
        let by_handle = handle.as_ref().is_some_and(|h| h.open(root_fd.as_fd(), OFlags::PATH).is_ok());
        let most = usize::try_from(descriptor_limit() / DIRECTORIES_PART).map_or(DIRECTORIES, |n| n.min(DIRECTORIES));
        let root = Arc::new(Node::new(&stat, NodeId::new(1), handle));
        root.set_root();
        Ok(Self {
            root_fd: Arc::new(root_fd),
            table: Mutex::new(HashMap::from([(root.ino(), Arc::clone(&root))])),
            root,
            device: stat.st_dev,
            by_handle,
            names: RwLock::new(Names(())),
            directories: Mutex::new(Descriptors::new(most)),
            next_id: AtomicU64::new(2),
        })
    }

    /// The namespace lock.
    pub fn names(&self) -> &RwLock<Names> {
        &self.names
    }

    /// SRC.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// What is replicated of what lies below SRC, as [`Node::taken_links`] is to have it; `None`: everything.
    pub fn set_filter(&self, _names: &mut Names, filter: Option<Arc<Filter>>) {
        self.root.set_filter(filter);
    }

    /// SRC's descriptor.
    pub fn root_fd(&self) -> BorrowedFd<'_> {
        self.root_fd.as_fd()
    }

    /// Whether nodes can be opened by handle, whatever happened to their names.
    pub fn opens_by_handle(&self) -> bool {
        self.by_handle
    }

    /// How many nodes are known.
    pub fn known(&self) -> usize {
        self.table.lock().len()
    }

    /// The known node with this inode number.
    pub fn get(&self, ino: u64) -> Option<Arc<Node>> {
        self.table.lock().get(&ino).cloned()
    }

    /// A number for a node that needs none in the table.
    pub fn fresh_id(&self) -> NodeId {
        NodeId::new(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Numbers of nodes begin here at the least: another process gave out those before.
    pub fn number_from(&self, first: u64) {
        self.next_id.fetch_max(first, Ordering::Relaxed);
    }

    /// A descriptor (`O_PATH`) of a directory, kept for a while. `ESTALE`: it is gone.
    pub fn directory(&self, names: &Names, node: &Node) -> io::Result<Arc<OwnedFd>> {
        if node.is_root() {
            return Ok(Arc::clone(&self.root_fd));
        }
        if let Some(fd) = self.directories.lock().get(node.id()) {
            return Ok(fd);
        }
        let fd = Arc::new(self.open(names, node, OFlags::PATH | OFlags::DIRECTORY)?);
        self.directories.lock().insert(node.id(), Arc::clone(&fd));
        Ok(fd)
    }

    /// Finds a name, notes it as one of its node's names, and counts `lookups` references of the kernel to the node.
    /// What lies on another file system (a btrfs subvolume) is answered with `EXDEV`.
    pub fn lookup(
        &self,
        names: &Names,
        parent: &Arc<Node>,
        name: &Name,
        lookups: u64,
    ) -> io::Result<(Arc<Node>, Stat)> {
        let dir = self.directory(names, parent)?;
        self.lookup_at(names, dir.as_fd(), parent, name, lookups)
    }

    /// As [`Tree::lookup`], with the parent's descriptor at hand.
    pub fn lookup_at(
        &self,
        names: &Names,
        dir: BorrowedFd<'_>,
        parent: &Arc<Node>,
        name: &Name,
        lookups: u64,
    ) -> io::Result<(Arc<Node>, Stat)> {
        let name_c = CString::new(name.as_bytes())?;
        let stat = attr::stat_at(dir, name_c.as_c_str())?;
        let handle = || Handle::at(dir, &name_c).ok();
        self.found(names, &stat, handle, (parent, name), lookups)
    }

    /// As [`Tree::lookup_at`], for a name that is about to go or to move: a node that is known under it is the one, without
    /// a look at its handle. Also whether the node was known before.
    pub fn find_at(
        &self,
        names: &Names,
        dir: BorrowedFd<'_>,
        parent: &Arc<Node>,
        name: &Name,
    ) -> io::Result<(Arc<Node>, Stat, bool)> {
        let stat = attr::stat_at(dir, name.as_os_str())?;
        if let Some(node) = self.get(stat.st_ino)
            && stat.st_dev == self.device
            && node.has_link(parent, name)
        {
            return Ok((node, stat, true));
        }
        let newest = self.fresh_id();
        let (node, stat) = self.lookup_at(names, dir, parent, name, 0)?;
        let known = node.id() < newest;
        Ok((node, stat, known))
    }

    /// Notes a file that was just made under a name and is open as `fd`.
    pub fn made(
        &self,
        names: &Names,
        fd: BorrowedFd<'_>,
        parent: &Arc<Node>,
        name: &Name,
        lookups: u64,
    ) -> io::Result<(Arc<Node>, Stat)> {
        let stat = attr::stat(fd)?;
        self.found(names, &stat, || Handle::of(fd).ok(), (parent, name), lookups)
    }

    fn found(
        &self,
        _names: &Names,
        stat: &Stat,
        handle: impl FnOnce() -> Option<Handle>,
        (parent, name): (&Arc<Node>, &Name),
        lookups: u64,
    ) -> io::Result<(Arc<Node>, Stat)> {
        if stat.st_dev != self.device {
            return Err(rustix::io::Errno::XDEV.into());
        }
        let node = self.insert(stat, handle(), lookups);
        node.add_link(parent, name);
        Ok((node, *stat))
    }

    /// `fstat(2)` of a node. `ESTALE`: it is gone.
    pub fn stat(&self, names: &Names, node: &Node) -> io::Result<Stat> {
        // Through its directory, where that still shows the same node: that needs no descriptor of its own.
        if let Some((parent, name)) = node.link()
            && let Ok(dir) = self.directory(names, &parent)
            && let Ok(stat) = attr::stat_at(&*dir, name.as_os_str())
            && stat.st_ino == node.ino()
            && stat.st_dev == self.device
        {
            return Ok(stat);
        }
        attr::stat(self.open(names, node, OFlags::PATH)?)
    }

    /// The node with this inode number and handle, made known if it is not. An inode number that the file system has used
    /// again makes a new node. Of one that is known nothing changes: `stat` was read without its lock.
    fn insert(&self, stat: &Stat, handle: Option<Handle>, lookups: u64) -> Arc<Node> {
        let mut table = self.table.lock();
        if let Some(node) = table.get(&stat.st_ino)
            && node.handle() == handle.as_ref()
        {
            node.remember(lookups);
            return Arc::clone(node);
        }
        let node = Arc::new(Node::new(stat, self.fresh_id(), handle));
        node.remember(lookups);
        if let Some(stale) = table.insert(stat.st_ino, Arc::clone(&node)) {
            // The kernel's references are counted by inode number, whichever node it got them for.
            node.remember(stale.take_lookups());
        }
        node
    }

    /// Opens a node. `flags` must not ask for creation; close-on-exec and no-follow are added. `ESTALE`: it is gone.
    pub fn open(&self, names: &Names, node: &Node, flags: OFlags) -> io::Result<OwnedFd> {
        if let (true, Some(handle)) = (self.by_handle, node.handle()) {
            return handle.open(self.root_fd(), flags | OFlags::NOFOLLOW);
        }
        let path = node.path(names).ok_or(rustix::io::Errno::STALE)?;
        let fd = resolve::open_beneath(self.root_fd(), &path, flags)?;
        let stat = attr::stat(&fd)?;
        // Somebody may have changed SRC behind the mount.
        if (stat.st_ino, stat.st_dev) == (node.ino(), self.device) {
            Ok(fd)
        } else {
            Err(rustix::io::Errno::STALE.into())
        }
    }

    /// A directory was removed: it is not kept open any longer.
    pub fn close_directory(&self, node: &Node) {
        self.directories.lock().remove(node.id());
    }

    /// Names in a directory, in byte order.
    pub fn list(&self, names: &Names, node: &Node) -> io::Result<Vec<Name>> {
        dir::names(self.directory(names, node)?.as_fd())
    }

    /// The kernel dropped `count` references to a node.
    pub fn forget(&self, ino: u64, count: u64) {
        let node = self.get(ino);
        if let Some(node) = node {
            node.forget(count);
            self.settle(node);
        }
    }

    /// Settles all nodes that nobody refers to: after something that held many was dropped as a whole.
    pub fn sweep(&self) {
        let idle: Vec<_> = {
            let table = self.table.lock();
            table.values().filter(|node| Arc::strong_count(node) == 1 && !node.is_in_use()).cloned().collect()
        };
        for node in idle {
            self.settle(node);
        }
    }

    /// The nodes without any name, known or not, that the target keeps ([`Node::is_orphan`]). Names stand still.
    pub fn orphans(&self, names: &Names) -> Vec<Arc<Node>> {
        let orphans: Vec<_> = self.table.lock().values().filter(|node| node.is_orphan()).cloned().collect();
        let nameless =
            |node: &Arc<Node>| !node.has_name() && self.stat(names, node).is_ok_and(|stat| stat.st_nlink == 0);
        orphans.into_iter().filter(nameless).collect()
    }

    /// Gives up a reference to a node; a node that nobody refers to any more leaves the table, and its parents with it
    /// where they were kept for it only.
    pub fn settle(&self, node: Arc<Node>) {
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            let mut table = self.table.lock();
            // The table's reference and this one; nobody can take another without the table.
            let in_table = table.get(&node.ino()).is_some_and(|known| Arc::ptr_eq(known, &node));
            let held = Arc::strong_count(&node) - usize::from(in_table);
            if held > 1 || node.is_in_use() || node.is_root() {
                continue;
            }
            let mut shrunk = false;
            if in_table {
                table.remove(&node.ino());
                shrunk = table.capacity() > LARGE_TABLE && table.len() < table.capacity() / 8;
                if shrunk {
                    let room = table.len() * 2;
                    table.shrink_to(room);
                }
            }
            drop(table);
            if shrunk {
                give_back_memory();
            }
            if node.is_dir() {
                self.close_directory(&node);
            }
            todo.extend(node.take_parents());
        }
    }
}

#[cfg(test)]
mod tests;
