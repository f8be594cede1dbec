//! Live operations on names: create, link, unlink, rename. The namespace lock is held exclusive, so nothing else happens
//! meanwhile.
//!
//! During a pass the directories concerned are made to exist on the target first, so that every operation on names can
//! be sent; a node that is not done and got a new name is looked at under it.

use crate::Srm;
use crate::core::{Core, Ticket};
use crate::gate::{Gate, Pass, Work};
use bytes::Bytes;
use platform::tree::{Names, Node};
use protocol::{At, Attrs, Draft, Name, NodeId, NodeKind, Op, Place, RelPath, RenameKind, Replaced, Time};
use std::sync::Arc;

/// A node that lost a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The node.
    pub node: NodeId,
    /// Its inode number.
    pub ino: u64,
    /// Names it still has, known or not.
    pub links_left: u64,
    /// It lost its last known name and is still open, or has links that are not known: the target keeps it (R8).
    pub orphan: bool,
    /// It was a directory.
    pub directory: bool,
}

/// A rename that was carried out.
#[derive(Debug)]
pub struct Renamed<'a> {
    /// Directory of the old name.
    pub from_dir: &'a Arc<Node>,
    /// Old name.
    pub from: &'a Name,
    /// Directory of the new name.
    pub to_dir: &'a Arc<Node>,
    /// New name.
    pub to: &'a Name,
    /// How.
    pub kind: RenameKind,
    /// The node that moved from the old name to the new one.
    pub node: &'a Arc<Node>,
    /// Of an exchange, the node that moved from the new name to the old one.
    pub other: Option<&'a Arc<Node>>,
    /// What stood at the new name and is replaced.
    pub replaced: Option<Gone>,
    /// Resulting modification time of the old name's directory.
    pub from_parent_mtime: Time,
    /// Resulting modification time of the new name's directory.
    pub to_parent_mtime: Time,
}

fn path_in(names: &Names, dir: &Node, name: &Name) -> Option<RelPath> {
    dir.path(names)?.join(name).ok()
}

impl Pass {
    /// Notes that a node lost a name; says whether the target is to keep it as an orphan.
    fn lost_name(&mut self, dir: &Node, name: &Name, gone: &Gone) -> bool {
        let left_clean = self.remove_shared(gone.ino, dir.ino(), name);
        if gone.links_left == 0 || gone.directory {
            let orphan = gone.orphan && self.is_done(gone.ino);
            if !orphan {
                self.set_undone(gone.ino);
            }
            return orphan;
        }
        // It lives on under other names. If none of them is right on the target yet, the pass brings it over anew.
        if left_clean.unwrap_or(0) == 0 {
            self.set_undone(gone.ino);
        }
        false
    }

    /// A look at a name, if the node there is not done.
    fn look_at(&mut self, dir: &Arc<Node>, name: &Name, node: &Node) {
        if !self.is_done(node.ino()) {
            self.add(Work::Name(Arc::clone(dir), name.clone()));
        }
    }
}

impl Srm {
    /// A new node was made under a new name.
    #[allow(clippy::too_many_arguments)] // the facts of one system call
    pub fn created(
        &self,
        names: &mut Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        kind: NodeKind,
        attrs: Attrs,
        parent_mtime: Time,
    ) -> Ticket {
        let Some(path) = self.open_names(names, &[dir], dir, name) else { return self.absorb(0) };
        let op = Op::Create { path, node: node.id(), kind, attrs, parent_mtime };
        let draft = Draft::new(&op, Bytes::new());
        let mut core = self.core.lock();
        core.count(draft.word());
        if let Gate::Pass(pass) = &mut core.gate {
            pass.set_done(node.ino(), None);
        }
        self.send_names(&mut core, draft)
    }

    /// A node got one more name, which its links already contain.
    pub fn linked(
        &self,
        names: &mut Names,
        node: &Arc<Node>,
        dir: &Arc<Node>,
        name: &Name,
        parent_mtime: Time,
    ) -> Ticket {
        let Some(to) = self.open_names(names, &[dir], dir, name) else { return self.absorb(0) };
        let other = node.other_link(dir, name);
        let from = {
            let mut core = self.core.lock();
            match &mut core.gate {
                Gate::Pass(pass) if !pass.is_done(node.ino()) => {
                    pass.add(Work::Name(Arc::clone(dir), name.clone()));
                    self.changed.notify_all();
                    return core.absorb(0);
                }
                Gate::Pass(pass) => {
                    let clean = pass.shared(node.ino()).map_or(other, |names| names.first().cloned());
                    if let Some((d, n)) = &clean {
                        pass.add_shared(node.ino(), (d, n));
                    }
                    pass.add_shared(node.ino(), (dir, name));
                    clean
                }
                _ => other,
            }
        };
        let at = match from.and_then(|(d, n)| path_in(names, &d, &n)) {
            Some(path) => At::Path(path),
            None if node.is_orphan() => At::Orphan,
            None => return self.nameless(node, 0),
        };
        let op = Op::Link { from: Place { node: node.id(), at }, to, parent_mtime };
        let draft = Draft::new(&op, Bytes::new());
        let mut core = self.core.lock();
        core.count(draft.word());
        self.send_names(&mut core, draft)
    }

    /// A name is gone.
    pub fn unlinked(&self, names: &mut Names, dir: &Arc<Node>, name: &Name, gone: Gone, parent_mtime: Time) -> Ticket {
        let Some(path) = self.open_names(names, &[dir], dir, name) else { return self.absorb(0) };
        let mut core = self.core.lock();
        let orphan = match &mut core.gate {
            Gate::Pass(pass) => pass.lost_name(dir, name, &gone),
            _ => gone.orphan,
        };
        self.settle_orphan(&gone, orphan);
        let gone_node = Replaced { node: gone.node, orphan };
        let op = Op::Unlink { path, gone: gone_node, directory: gone.directory, parent_mtime };
        let draft = Draft::new(&op, Bytes::new());
        core.count(draft.word());
        self.send_names(&mut core, draft)
    }

    /// A name has moved, replaced another or changed places with it.
    pub fn renamed(&self, names: &mut Names, rename: &Renamed<'_>) -> Ticket {
        let dirs = [rename.from_dir, rename.to_dir];
        let from = self.open_names(names, &dirs, rename.from_dir, rename.from);
        let to = path_in(names, rename.to_dir, rename.to);
        let (Some(from), Some(to)) = (from, to) else { return self.absorb(0) };
        let mut core = self.core.lock();
        core.count("rename");
        let mut replaced = rename.replaced.map(|gone| Replaced { node: gone.node, orphan: gone.orphan });
        let Gate::Pass(pass) = &mut core.gate else {
            let draft = Draft::new(&rename.op(from, to, rename.kind, replaced), Bytes::new());
            return self.send_names(&mut core, draft);
        };
        if let (Some(gone), Some(replaced)) = (&rename.replaced, &mut replaced) {
            replaced.orphan = pass.lost_name(rename.to_dir, rename.to, gone);
            self.settle_orphan(gone, replaced.orphan);
        }
        let plan = plan(pass, rename);
        let ticket = match plan {
            Plan::Move => {
                let draft = Draft::new(&rename.op(from, to, rename.kind, replaced), Bytes::new());
                self.send_names(&mut core, draft)
            }
            Plan::MoveOne => {
                let draft = Draft::new(&rename.op(from, to, RenameKind::Replace, None), Bytes::new());
                self.send_names(&mut core, draft)
            }
            Plan::MoveOther(other) => {
                let op = Op::Rename {
                    from: to,
                    to: from,
                    kind: RenameKind::Replace,
                    node: other,
                    replaced: None,
                    from_parent_mtime: rename.to_parent_mtime,
                    to_parent_mtime: rename.from_parent_mtime,
                };
                self.send_names(&mut core, Draft::new(&op, Bytes::new()))
            }
            Plan::LinkAndUnlink(clean) => self.link_and_unlink(names, &mut core, rename, (from, to), replaced, &clean),
            Plan::Nothing => {
                let times = [(rename.from_dir, rename.from_parent_mtime), (rename.to_dir, rename.to_parent_mtime)];
                for (dir, mtime) in times {
                    if let Some(path) = dir.path(names) {
                        let _no_reply_waits = self.send_names(&mut core, touched(dir, path, mtime));
                    }
                }
                core.absorb(0)
            }
        };
        if let Gate::Pass(pass) = &mut core.gate {
            pass.look_at(rename.to_dir, rename.to, rename.node);
            if let Some(other) = rename.other {
                pass.look_at(rename.from_dir, rename.from, other);
            }
        }
        self.changed.notify_all();
        ticket
    }

    /// A rename of a node whose old name is not right on the target: a link from a name that is, and the old name away.
    fn link_and_unlink(
        &self,
        names: &Names,
        core: &mut Core,
        rename: &Renamed<'_>,
        (from, to): (RelPath, RelPath),
        replaced: Option<Replaced>,
        (dir, name): &(Arc<Node>, Name),
    ) -> Ticket {
        let Some(path) = path_in(names, dir, name) else { return core.absorb(0) };
        if let (Some(gone), Some(replaced)) = (rename.replaced, replaced) {
            let parent_mtime = rename.to_parent_mtime;
            let op = Op::Unlink { path: to.clone(), gone: replaced, directory: gone.directory, parent_mtime };
            let _the_last_counts = self.send_names(core, Draft::new(&op, Bytes::new()));
        }
        let place = Place { node: rename.node.id(), at: At::Path(path) };
        let link = Op::Link { from: place, to, parent_mtime: rename.to_parent_mtime };
        let _the_last_counts = self.send_names(core, Draft::new(&link, Bytes::new()));
        let gone = Replaced { node: self.tree.fresh_id(), orphan: false };
        let unlink = Op::Unlink { path: from, gone, directory: false, parent_mtime: rename.from_parent_mtime };
        self.send_names(core, Draft::new(&unlink, Bytes::new()))
    }

    /// Makes the directories of a name operation exist on the target, where a pass has not come to them yet, and gives the
    /// path of `dir/name`. `None`: nothing is to be sent.
    fn open_names(&self, names: &mut Names, dirs: &[&Arc<Node>], dir: &Arc<Node>, name: &Name) -> Option<RelPath> {
        let passing = match &self.core.lock().gate {
            Gate::Due => return None,
            Gate::Pass(_) => true,
            Gate::Clean => false,
        };
        if passing {
            for dir in dirs {
                if let Err(error) = self.ensure_directories(names, dir) {
                    let mut core = self.core.lock();
                    core.all_dirty(&format!("a directory could not be read during a pass: {error}"));
                    self.wake();
                    return None;
                }
            }
        }
        let path = path_in(names, dir, name);
        if path.is_none() {
            let _absorbed = self.nameless(dir, 0);
        }
        path
    }

    /// The target keeps no orphan of a node after all: it has none of it, or has it under another name.
    fn settle_orphan(&self, gone: &Gone, kept: bool) {
        if gone.orphan
            && !kept
            && let Some(node) = self.tree.get(gone.ino)
        {
            node.set_orphan(false);
        }
    }

    fn send_names(&self, core: &mut Core, draft: Draft) -> Ticket {
        if matches!(core.gate, Gate::Due) {
            return core.absorb(0);
        }
        self.queue(core, draft, 0)
    }
}

impl Renamed<'_> {
    fn op(&self, from: RelPath, to: RelPath, kind: RenameKind, replaced: Option<Replaced>) -> Op {
        Op::Rename {
            from,
            to,
            kind,
            node: self.node.id(),
            replaced,
            from_parent_mtime: self.from_parent_mtime,
            to_parent_mtime: self.to_parent_mtime,
        }
    }
}

/// A directory's time changed, by names that are looked at later.
fn touched(dir: &Node, path: RelPath, mtime: Time) -> Draft {
    let place = Place { node: dir.id(), at: At::Path(path) };
    let op = Op::SetAttr { place, size: None, owner: None, mode: None, atime: None, mtime: Some(mtime) };
    Draft::new(&op, Bytes::new())
}

/// What is sent of a rename while a pass runs.
enum Plan {
    /// The rename.
    Move,
    /// Of an exchange, only the first move: what was at the other name is not done.
    MoveOne,
    /// Of an exchange, only the second.
    MoveOther(NodeId),
    /// The old name is not right on the target: a link from one that is, and the old name away.
    LinkAndUnlink((Arc<Node>, Name)),
    /// Neither is done.
    Nothing,
}

fn plan(pass: &mut Pass, rename: &Renamed<'_>) -> Plan {
    if let Some(other) = rename.other {
        return plan_exchange(pass, rename, other);
    }
    let ino = rename.node.ino();
    if !pass.is_done(ino) || pass.shared(ino).is_none() {
        return Plan::Move;
    }
    if pass.is_shared(ino, rename.from_dir.ino(), rename.from) {
        pass.remove_shared(ino, rename.from_dir.ino(), rename.from);
        pass.add_shared(ino, (rename.to_dir, rename.to));
        return Plan::Move;
    }
    match pass.shared(ino).and_then(|names| names.first()).cloned() {
        Some(clean) => {
            pass.add_shared(ino, (rename.to_dir, rename.to));
            Plan::LinkAndUnlink(clean)
        }
        None => Plan::Move,
    }
}

/// Nodes with several names are not moved but looked at under their new names, and linked there.
fn plan_exchange(pass: &mut Pass, rename: &Renamed<'_>, other: &Arc<Node>) -> Plan {
    let sides = [
        (rename.node, (rename.from_dir, rename.from), (rename.to_dir, rename.to)),
        (other, (rename.to_dir, rename.to), (rename.from_dir, rename.from)),
    ];
    let moves = sides.map(|(node, (old_dir, old), (new_dir, new))| {
        if pass.shared(node.ino()).is_none() {
            return pass.is_done(node.ino());
        }
        if pass.remove_shared(node.ino(), old_dir.ino(), old) == Some(0) {
            pass.set_undone(node.ino());
        }
        pass.add(Work::Name(Arc::clone(new_dir), new.clone()));
        false
    });
    match moves {
        [true, true] => Plan::Move,
        [true, false] => Plan::MoveOne,
        [false, true] => Plan::MoveOther(other.id()),
        [false, false] => Plan::Nothing,
    }
}
