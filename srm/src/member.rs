//! Who belongs to the replication set (S1), and what follows when that changes. A node is replicated if one of its names is;
//! of what is not, nothing is told.

use crate::map::{Departure, Gate, Handle, Held, Lost};
use crate::names::path_in;
use crate::set::{Kind, Set};
use crate::{Again, OnRemove, Srm, Ticket};
use bytes::Bytes;
use platform::tree::{Filter, Names, Node};
use protocol::{At, Draft, Entry, Name, NodeKind, Op, Place, RelPath, Time};
use rustix::fs::FileType;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// As a rule names it.
pub(crate) fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// The filter that the nodes' names go through; none where everything is replicated.
pub(crate) fn filter(set: &Arc<Set>) -> Option<Arc<Filter>> {
    if set.is_everything() {
        return None;
    }
    let set = Arc::clone(set);
    Some(Arc::new(move |path: &RelPath, kind: FileType, size: u64| set.takes(path, kind_of(kind), size)))
}

/// The size of a file after an operation, where that says so: exactly, or that it reaches at least so far.
pub(crate) fn note_size(node: &Node, op: &Op, payload: usize) {
    match op {
        Op::SetAttr { size: Some(size), .. } => node.set_size(*size),
        Op::Write { offset, .. } => node.grow(offset + payload as u64),
        Op::CopyRange { to_offset, len, .. } => node.grow(to_offset + len),
        Op::Allocate { mode: protocol::AllocateMode::Allocate | protocol::AllocateMode::Zero, offset, len, .. } => {
            node.grow(offset + len);
        }
        _ => {}
    }
}

/// What a change of a node's data means for its place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// It is replicated.
    In,
    /// It is not.
    Out,
    /// None of its known names is replicated, and it may have others.
    Unknown,
    /// It has just become so small or so large that it is.
    Entered,
}

impl Srm {
    /// Whether some of SRC is left out.
    pub(crate) fn is_filtered(&self) -> bool {
        self.filtered.load(Ordering::Relaxed)
    }

    /// Whether a name of a node is replicated.
    pub(crate) fn takes_name(&self, names: &Names, dir: &Node, name: &Name, node: &Node) -> bool {
        !self.is_filtered()
            || dir
                .path(names)
                .and_then(|path| path.join(name).ok())
                .is_some_and(|path| self.set().takes(&path, kind_of(node.kind()), node.size()))
    }

    /// As [`Srm::takes_name`], by the size that the file has now: it may have changed behind the mount. The caller has locked
    /// the node.
    pub(crate) fn takes_now(&self, names: &Names, dir: &Node, name: &Name, node: &Node) -> bool {
        if self.is_filtered()
            && node.kind() == FileType::RegularFile
            && self.set().depends_on_size()
            && let Ok(stat) = self.tree.stat(names, node)
        {
            node.set_size(stat.st_size.cast_unsigned());
        }
        self.takes_name(names, dir, name, node)
    }

    /// Whether what the target has under this name would be replicated, a file with any size: it may have grown before it went.
    pub(crate) fn takes_entry(&self, names: &Names, dir: &Node, name: &Name, entry: Option<&Entry>) -> bool {
        let kind = match entry.map(|entry| &entry.kind) {
            Some(NodeKind::Directory) => Kind::Directory,
            Some(NodeKind::Symlink(_)) => Kind::Symlink,
            Some(NodeKind::File) | None => Kind::File,
            Some(_) => Kind::Special,
        };
        let takes = |path: &RelPath| match kind {
            Kind::File => self.set().takes_some_size(path),
            kind => self.set().takes(path, kind, 0),
        };
        !self.is_filtered() || dir.path(names).and_then(|path| path.join(name).ok()).is_some_and(|path| takes(&path))
    }

    /// Notes what an operation does to a file's size, and says whether the file is replicated.
    pub(crate) fn membership(&self, names: &Names, node: &Arc<Node>, op: &Op, payload: usize) -> Membership {
        if !self.is_filtered() || node.is_root() {
            // A set that comes later may ask for it.
            note_size(node, op, payload);
            return Membership::In;
        }
        let links = |node: &Arc<Node>| Handle::links(node).len();
        let sizes = self.set().depends_on_size();
        // Without any known name it is nobody's business here.
        let is_named = node.has_name();
        // One name may come in while another is there already.
        let before = sizes.then(|| links(node));
        note_size(node, op, payload);
        let after = links(node);
        if before.is_some_and(|before| before > after) {
            // Names left with its size; others, that are not known, may not.
            self.straddling.may_lack_some();
        }
        match before {
            _ if is_named && after == 0 => self.beyond(names, node),
            Some(before) if before < after => Membership::Entered,
            _ => Membership::In,
        }
    }

    /// No known name of a node is replicated.
    fn beyond(&self, names: &Names, node: &Arc<Node>) -> Membership {
        if self.straddling.is_complete() || !self.has_unknown_names(names, node) {
            return Membership::Out;
        }
        match &self.core.lock().gate {
            // It knows another one, by which the target has it.
            Gate::Pass(pass) if pass.right_link(node).is_some() => Membership::In,
            _ => Membership::Unknown,
        }
    }

    fn has_unknown_names(&self, names: &Names, node: &Node) -> bool {
        !node.is_dir() && self.tree.stat(names, node).is_ok_and(|stat| stat.st_nlink > node.all_links().len() as u64)
    }

    /// How many names of a node are replicated, or are not known and may be.
    pub(crate) fn names_in_set(&self, names: &Names, node: &Arc<Node>) -> u64 {
        let taken = node.taken_links().len();
        if node.is_dir() {
            return taken as u64;
        }
        let left_out = node.all_links().len().saturating_sub(taken) as u64;
        // Where that cannot be found out, there may be others.
        let count = |stat: rustix::fs::Stat| stat.st_nlink.saturating_sub(left_out).max(taken as u64);
        self.tree.stat(names, node).map_or(u64::MAX, count)
    }

    /// Names of a file have come, gone or moved where some are left out.
    pub(crate) fn note_straddling(&self, names: &Names, node: &Arc<Node>) {
        if !self.is_filtered() || node.is_dir() {
            return;
        }
        let Ok(stat) = self.tree.stat(names, node) else { return self.straddling.may_lack_some() };
        self.straddling.note(node, stat.st_nlink);
        if Handle::links(node).is_empty() && stat.st_nlink > node.all_links().len() as u64 {
            self.straddling.may_lack_some();
        }
    }

    /// A file changed through a name that is left out, and nobody knows whether it is replicated under another one.
    pub(crate) fn doubt_names(&self, node: &Node, len: usize) -> Ticket {
        let ino = node.ino();
        self.absorb_unknown(len, |core| {
            core.lose(&format!(
                "inode {ino} changed through a name that is left out, and may have others; what changed is looked for"
            ));
        })
    }

    /// What has come into the set is looked at, under all names that it has there. The caller has locked its node, or names.
    pub(crate) fn enter(self: &Arc<Self>, names: &Names, node: &Arc<Node>) {
        if self.has_unknown_names(names, node) {
            let why = format!(
                "inode {} came into the set, and has names that are not known; they are looked for",
                node.ino()
            );
            let mut core = self.core.lock();
            if !matches!(core.gate, Gate::Due) {
                core.lose(&why);
            }
            drop(core);
            self.wake();
            self.changed.notify_all();
            return;
        }
        if let Gate::Pass(pass) = &mut self.core.lock().gate {
            // What was done to it while it was out was not sent, even if the pass had seen to it before.
            pass.set_gone(node.ino());
        }
        let again: Vec<Again> = Handle::links(node).into_iter().map(|(dir, name)| Again::Name(dir, name)).collect();
        self.enter_names(names, node, &again);
    }

    /// As [`Srm::enter`], under these names.
    pub(crate) fn enter_names(self: &Arc<Self>, names: &Names, node: &Arc<Node>, again: &[Again]) {
        loop {
            let mut core = self.core.lock();
            if let Gate::Held(held) = &mut core.gate {
                let mut remembered: Result<(), Lost> = Ok(());
                for again in again {
                    if let Again::Name(dir, name) = again {
                        remembered = remembered.and(held.named(dir, name, node));
                    }
                }
                core.settle_held(remembered);
                return;
            }
            drop(core);
            // Unless things are held from just now on.
            if self.look_again(names, again, true) {
                return;
            }
        }
    }

    /// A name that is not replicated changed in a directory that is: its time is told.
    pub(crate) fn stamp(self: &Arc<Self>, names: &Names, dir: &Arc<Node>, mtime: Time) {
        if self.is_taken(dir) {
            let _no_reply_waits = self.on_node(names, dir, &[], |place| Op::SetAttr {
                place,
                size: None,
                owner: None,
                mode: None,
                atime: None,
                mtime: Some(mtime),
            });
        }
    }

    /// Whether a node has a name that is replicated.
    pub(crate) fn is_taken(&self, node: &Arc<Node>) -> bool {
        !self.is_filtered() || node.is_root() || !Handle::links(node).is_empty()
    }

    /// A name went out of the set while its node lives on: what the target has under it is set aside.
    pub(crate) fn leave(
        &self,
        names: &mut Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        parent_mtime: Time,
    ) -> Ticket {
        // Also such names as are not known.
        let links_left = self.names_in_set(names, node);
        let last = links_left == 0;
        if node.is_dir() {
            // Files below may have other names.
            self.straddling.may_lack_some();
        }
        let hold = |held: &mut Held<Arc<Node>>| held.unnamed(dir, name, node, last, node.is_dir());
        let Some(path) = self.open_names(names, &[dir], dir, name) else { return self.remember(hold) };
        let mut core = self.core.lock();
        if let Gate::Pass(pass) = &mut core.gate {
            let gone = Departure { ino: node.ino(), links_left, orphan: false, directory: node.is_dir() };
            if node.is_dir() {
                pass.departs(node, |dir| dir.has_name());
            }
            pass.lost_name(dir, name, &gone);
        }
        let draft = Draft::new(&Op::SetAside { path, parent_mtime }, Bytes::new());
        core.count("left_set");
        let ticket = self.send_names(&mut core, draft, hold);
        if !node.is_dir() {
            self.bereave(&mut core, node, links_left);
        }
        ticket
    }

    /// A name that is gone was left out of the set: if only for the file's size, what the target has under it from when it was
    /// in, which nothing on the source answers to any more, is set aside. The directory's time is told in any case.
    pub(crate) fn forsake(
        self: &Arc<Self>,
        names: &mut Names,
        dir: &Arc<Node>,
        name: &Name,
        gone: Departure,
        parent_mtime: Time,
    ) -> Ticket {
        if gone.directory || !self.left_something(names, dir, name) {
            self.stamp(names, dir, parent_mtime);
            return Ticket::NONE;
        }
        let hold = |held: &mut Held<Arc<Node>>| held.forsaken(dir, name);
        let Some(path) = self.open_names(names, &[dir], dir, name) else { return self.remember(hold) };
        let mut core = self.core.lock();
        if let Gate::Pass(pass) = &mut core.gate {
            pass.lost_name(dir, name, &Departure { orphan: false, ..gone });
        }
        let draft = Draft::new(&Op::SetAside { path, parent_mtime }, Bytes::new());
        core.count("left_set");
        self.send_names(&mut core, draft, hold)
    }

    /// Whether the target may have something under a name that is left out, from when it was in.
    pub(crate) fn left_something(&self, names: &Names, dir: &Node, name: &Name) -> bool {
        self.set().depends_on_size() && path_in(names, dir, name).is_some_and(|path| self.set().takes_some_size(&path))
    }

    /// Replicates by another set from now on. What it brings in is mirrored by itself; what becomes of the replicas of what it
    /// takes out is said by `on_remove`. One that says the same, written otherwise, changes nothing else.
    pub fn change_set(&self, set: Set, on_remove: OnRemove) {
        let set = Arc::new(set);
        // Nothing is half in and half out: names and data stand still.
        let mut names = self.tree.names().write();
        let before = std::mem::replace(&mut *self.set.write(), Arc::clone(&set));
        if before == set {
            return;
        }
        self.filtered.store(!set.is_everything(), Ordering::Relaxed);
        self.straddling.may_lack_some();
        self.tree.set_filter(&mut names, filter(&set));
        if on_remove == OnRemove::Delete {
            self.dropping.store(true, Ordering::Relaxed);
        }
        tracing::info!(event = "set-changed", rules = set.rules().len(), ?on_remove, "the replication set changed");
        let mut core = self.core.lock();
        core.lose("the replication set changed; what comes in and goes out is looked for");
        drop(core);
        drop(names);
        self.wake();
        self.changed.notify_all();
    }

    /// A pass is over, and with it what it was to do about what is left out; the target has done it once it has applied this.
    pub(crate) fn swept(&self, applied: Option<protocol::SeqNo>) {
        self.dropping.store(false, Ordering::Relaxed);
        self.sweep.is_over(applied);
    }

    /// Whether the target is to lose what the set leaves out.
    pub(crate) fn is_dropping(&self) -> bool {
        self.dropping.load(Ordering::Relaxed)
    }
}

/// A place for a record that may never be sent.
pub(crate) fn nowhere(node: &Node) -> Place {
    Place { node: node.id(), at: At::Orphan }
}
