//! Live operations on names: create, link, unlink, rename. The namespace lock is held exclusive, so nothing else happens
//! meanwhile.
//!
//! During a pass the directories concerned are made to exist on the target first, so that every operation on names can
//! be sent; a node that is not done and got a new name is looked at under it.

use crate::core::{Core, Ticket};
use crate::map::{Bereft, Departure, Dirt, Gate, Held, Hint, Lost, Pass, Plan, Sides, Source, Work};
use crate::{Again, Srm};
use bytes::Bytes;
use platform::tree::{Names, Node};
use protocol::{At, Attrs, Draft, Name, NodeId, NodeKind, Op, Phase, Place, RelPath, RenameKind, Replaced, Time};
use rustix::fs::FileType;
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

pub(crate) fn path_in(names: &Names, dir: &Node, name: &Name) -> Option<RelPath> {
    dir.path(names)?.join(name).ok()
}

impl Srm {
    /// A new node was made under a new name.
    #[allow(clippy::too_many_arguments)] // the facts of one system call
    pub fn created(
        self: &Arc<Self>,
        names: &mut Names,
        dir: &Arc<Node>,
        name: &Name,
        node: &Arc<Node>,
        kind: NodeKind,
        attrs: Attrs,
        parent_mtime: Time,
    ) -> Ticket {
        if !self.takes_name(names, dir, name, node) {
            self.stamp(names, dir, parent_mtime);
            return Ticket::NONE;
        }
        let hold = |held: &mut Held<Arc<Node>>| held.named(dir, name, node);
        let Some(path) = self.open_names(names, &[dir], dir, name) else { return self.remember(hold) };
        let op = Op::Create { path, node: node.id(), kind, attrs, parent_mtime };
        let draft = Draft::new(&op, Bytes::new());
        let mut core = self.core.lock();
        core.count(draft.word());
        if let Gate::Pass(pass) = &mut core.gate {
            pass.made(dir, name, node);
        }
        self.send_names(&mut core, draft, hold)
    }

    /// A node got one more name, which its links already contain.
    pub fn linked(
        self: &Arc<Self>,
        names: &mut Names,
        node: &Arc<Node>,
        dir: &Arc<Node>,
        name: &Name,
        parent_mtime: Time,
    ) -> Ticket {
        if !self.takes_name(names, dir, name, node) {
            if let Gate::Pass(pass) = &mut self.core.lock().gate {
                pass.confine(node, None);
            }
            self.note_straddling(names, node);
            self.stamp(names, dir, parent_mtime);
            return Ticket::NONE;
        }
        self.note_straddling(names, node);
        let is_told = {
            let core = self.core.lock();
            matches!(core.gate, Gate::Held(_)) || core.away.is_some()
        };
        let links = if is_told { self.names_in_set(names, node) } else { u64::MAX };
        let hold = |held: &mut Held<Arc<Node>>| held.linked(dir, name, node, links);
        let Some(to) = self.open_names(names, &[dir], dir, name) else { return self.remember(hold) };
        let other = self.other_taken_link(node, dir, name);
        if other.is_none() && node.other_link(dir, name).is_some() && matches!(self.core.lock().gate, Gate::Clean) {
            // It comes into the set by this name.
            self.enter_names(names, node, &[Again::Name(Arc::clone(dir), name.clone())]);
            return self.core.lock().absorb(0);
        }
        let from = {
            let mut core = self.core.lock();
            match &mut core.gate {
                Gate::Pass(pass) => {
                    if self.is_filtered() {
                        pass.confine(node, Some((dir, name)));
                    }
                    let from = pass.linked(dir, name, node, other);
                    if from.is_none() && (pass.is_pending(dir, name) || !node.is_orphan()) {
                        pass.add_name(dir, name, Hint::Ask);
                        self.changed.notify_all();
                        return core.absorb(0);
                    }
                    from
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
        self.send_names(&mut core, draft, hold)
    }

    /// A name is gone.
    pub fn unlinked(
        self: &Arc<Self>,
        names: &mut Names,
        dir: &Arc<Node>,
        name: &Name,
        gone: Gone,
        parent_mtime: Time,
    ) -> Ticket {
        let before = self.core.lock().backlog.newest();
        let ticket = self.unlinked_one(names, dir, name, gone, parent_mtime);
        if self.is_filtered()
            && !gone.directory
            && let Some(node) = self.tree.get(gone.ino).filter(|node| node.id() == gone.node)
        {
            self.straddling.note(&node, gone.links_left);
        }
        self.note_left(names, (dir, name), &gone, before);
        ticket
    }

    fn unlinked_one(
        self: &Arc<Self>,
        names: &mut Names,
        dir: &Arc<Node>,
        name: &Name,
        gone: Gone,
        parent_mtime: Time,
    ) -> Ticket {
        if !self.took_name(names, dir, name, &gone) {
            // The target has nothing of it that it is to keep without a name.
            self.settle_orphan(&gone, false);
            return self.forsake(names, dir, name, gone.departure(), parent_mtime);
        }
        let last = self.is_last(names, &gone);
        let hold = |held: &mut Held<Arc<Node>>| {
            let node = self.hold_gone(held, &gone)?;
            held.unnamed(dir, name, &node, last, gone.directory)
        };
        let Some(path) = self.open_names(names, &[dir], dir, name) else { return self.remember(hold) };
        let mut core = self.core.lock();
        let orphan = match &mut core.gate {
            Gate::Pass(pass) => pass.lost_name(dir, name, &gone.departure()),
            _ => gone.orphan,
        };
        self.settle_orphan(&gone, orphan);
        let gone_node = Replaced { node: gone.node, orphan };
        let op = Op::Unlink { path, gone: gone_node, directory: gone.directory, parent_mtime };
        let draft = Draft::new(&op, Bytes::new());
        core.count(draft.word());
        let ticket = self.send_names(&mut core, draft, hold);
        self.bereaved(&mut core, &gone);
        ticket
    }

    /// A name has moved, replaced another or changed places with it.
    pub fn renamed(self: &Arc<Self>, names: &mut Names, rename: &Renamed<'_>) -> Ticket {
        let before = self.core.lock().backlog.newest();
        let ticket =
            if self.is_filtered() { self.renamed_in_set(names, rename) } else { self.renamed_within(names, rename) };
        if let Some(gone) = &rename.replaced {
            self.note_left(names, (rename.to_dir, rename.to), gone, before);
        }
        self.note_renamed(names, rename, before);
        ticket
    }

    /// A rename of which both ends, and all that has them, are in the set.
    pub(crate) fn renamed_within(&self, names: &mut Names, rename: &Renamed<'_>) -> Ticket {
        let last = rename.replaced.as_ref().is_some_and(|gone| self.is_last(names, gone));
        let hold = |held: &mut Held<Arc<Node>>| self.hold_renamed(held, rename, last);
        let dirs = [rename.from_dir, rename.to_dir];
        let from = self.open_names(names, &dirs, rename.from_dir, rename.from);
        let to = path_in(names, rename.to_dir, rename.to);
        let (Some(from), Some(to)) = (from, to) else { return self.remember(hold) };
        let mut core = self.core.lock();
        core.count("rename");
        let Gate::Pass(pass) = &mut core.gate else {
            let replaced = rename.replaced.map(|gone| Replaced { node: gone.node, orphan: gone.orphan });
            let draft = Draft::new(&rename.op(from, to, rename.kind, replaced), Bytes::new());
            return self.send_names(&mut core, draft, hold);
        };
        let kept = rename.replaced.map(|gone| pass.lost_name(rename.to_dir, rename.to, &gone.departure()));
        let plan = pass.renamed(&rename.sides());
        let send = |core: &mut Core, op: &Op| self.send_names(core, Draft::new(op, Bytes::new()), |_| Ok(()));
        if let (Some(gone), Some(orphan)) = (&rename.replaced, kept) {
            self.settle_orphan(gone, orphan);
            // In a record of its own: where the target has not yet what moves, what is replaced goes all the same; and of two
            // names of one file there, which are two files here, a rename would leave both.
            let (gone, directory) = (Replaced { node: gone.node, orphan }, gone.directory);
            let parent_mtime = rename.to_parent_mtime;
            let _the_last_counts = send(&mut core, &Op::Unlink { path: to.clone(), gone, directory, parent_mtime });
        }
        let ticket = match plan {
            Plan::Move => send(&mut core, &rename.op(from, to, rename.kind, None)),
            Plan::MoveOne => send(&mut core, &rename.op(from, to, RenameKind::Replace, None)),
            Plan::MoveOther => send(&mut core, &rename.other_op(from, to)),
            Plan::LinkAndUnlink(clean) => {
                let ticket = self.link_and_unlink(names, &mut core, rename, (from, to), &clean);
                if let Gate::Pass(pass) = &mut core.gate
                    && pass.doubt(rename.node)
                {
                    compare(pass, rename.node);
                }
                ticket
            }
            Plan::Nothing => {
                let times = [(rename.from_dir, rename.from_parent_mtime), (rename.to_dir, rename.to_parent_mtime)];
                for (dir, mtime) in times {
                    if let Some(path) = dir.path(names) {
                        let _no_reply_waits = send(&mut core, &touched(dir, path, mtime));
                    }
                }
                core.absorb(0)
            }
        };
        if let Some(gone) = &rename.replaced {
            self.bereaved(&mut core, gone);
        }
        self.changed.notify_all();
        ticket
    }

    /// During a pass a node has lost a name, and may lack something that only that name was known by.
    fn bereaved(&self, core: &mut Core, gone: &Gone) {
        let node = self.tree.get(gone.ino).filter(|node| node.id() == gone.node && !gone.directory);
        if let Some(node) = node {
            self.bereave(core, &node, gone.links_left);
        }
    }

    /// As [`Srm::bereaved`], of a node that has so many names left, known or not.
    pub(crate) fn bereave(&self, core: &mut Core, node: &Arc<Node>, links_left: u64) {
        let Gate::Pass(pass) = &mut core.gate else { return };
        match pass.bereft(node, links_left) {
            Bereft::Nothing => return,
            Bereft::Compare => compare(pass, node),
            Bereft::Lost => {
                let ino = node.ino();
                core.all_dirty(&format!("inode {ino} changed and lost its last known name; all will be compared"));
                self.wake();
            }
        }
        self.changed.notify_all();
    }

    /// A rename of a node whose old name is not right on the target: a link from a name that is, and the old name away.
    fn link_and_unlink(
        &self,
        names: &Names,
        core: &mut Core,
        rename: &Renamed<'_>,
        (from, to): (RelPath, RelPath),
        (dir, name): &(Arc<Node>, Name),
    ) -> Ticket {
        let Some(path) = path_in(names, dir, name) else { return core.absorb(0) };
        let place = Place { node: rename.node.id(), at: At::Path(path) };
        let link = Op::Link { from: place, to, parent_mtime: rename.to_parent_mtime };
        let _the_last_counts = self.send_names(core, Draft::new(&link, Bytes::new()), |_| Ok(()));
        let gone = Replaced { node: self.tree.fresh_id(), orphan: false };
        let unlink = Op::Unlink { path: from, gone, directory: false, parent_mtime: rename.from_parent_mtime };
        self.send_names(core, Draft::new(&unlink, Bytes::new()), |_| Ok(()))
    }

    /// Makes the directories of a name operation exist on the target, where a pass has not come to them yet, and gives the
    /// path of `dir/name`. `None`: nothing is to be sent.
    pub(crate) fn open_names(
        &self,
        names: &mut Names,
        dirs: &[&Arc<Node>],
        dir: &Arc<Node>,
        name: &Name,
    ) -> Option<RelPath> {
        let passing = match &self.core.lock().gate {
            Gate::Due | Gate::Held(_) => return None,
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

    /// A known name of a node other than this one, in the set.
    pub(crate) fn other_taken_link(&self, node: &Arc<Node>, dir: &Arc<Node>, name: &Name) -> Option<(Arc<Node>, Name)> {
        if !self.is_filtered() {
            return node.other_link(dir, name);
        }
        node.taken_links().into_iter().find(|(d, n)| !(Arc::ptr_eq(d, dir) && n == name))
    }

    /// Whether a name that is gone was in the set.
    pub(crate) fn took_name(&self, names: &Names, dir: &Node, name: &Name, gone: &Gone) -> bool {
        // What is not known any more was as it was: told of, it does no harm.
        !self.is_filtered() || self.tree.get(gone.ino).is_none_or(|node| self.takes_name(names, dir, name, &node))
    }

    /// The target keeps no orphan of a node after all: it has none of it, or has it under another name.
    pub(crate) fn settle_orphan(&self, gone: &Gone, kept: bool) {
        if gone.orphan
            && !kept
            && let Some(node) = self.tree.get(gone.ino)
        {
            node.set_orphan(false);
        }
    }

    /// Sends a record of names; `hold` remembers the operation where things are held.
    pub(crate) fn send_names(
        &self,
        core: &mut Core,
        draft: Draft,
        hold: impl FnOnce(&mut Held<Arc<Node>>) -> Result<(), Lost>,
    ) -> Ticket {
        let settles = self.has_proposals() && core.settles_names();
        let draft = if settles { draft.in_phase(Phase::Settled) } else { draft };
        if matches!(core.gate, Gate::Clean | Gate::Pass(_))
            && let Some(seq) = core.push(draft)
        {
            // What is remembered of the queue takes the target to be as it was before it: of this it is not. Then the queue is not given up.
            if !settles {
                core.tell(hold);
            }
            self.wake_for(core);
            return Ticket::of(seq);
        }
        self.changed.notify_all();
        if settles && matches!(core.gate, Gate::Held(_)) {
            core.all_dirty(
                "names were changed on the target first, and then nothing more was sent; all will be compared",
            );
        }
        hold_names(core, hold)
    }

    /// An operation on names is not sent.
    pub(crate) fn remember(&self, hold: impl FnOnce(&mut Held<Arc<Node>>) -> Result<(), Lost>) -> Ticket {
        let mut core = self.core.lock();
        core.count("absorbed");
        hold_names(&mut core, hold)
    }

    /// What lost a name, and is not kept for that by the target from here on.
    fn hold_gone(&self, held: &mut Held<Arc<Node>>, gone: &Gone) -> Result<Arc<Node>, Lost> {
        let node = self.tree.get(gone.ino).filter(|node| node.id() == gone.node);
        let kept = gone.orphan && node.as_ref().is_some_and(|node| held.keeps(node));
        // The target hears nothing of it, and keeps nothing.
        self.settle_orphan(gone, kept);
        node.ok_or(Lost::Nameless)
    }

    /// Whether what is gone was the last name that the target could have it by. Under such names as are left out, and remain, it changes without a word.
    fn is_last(&self, names: &Names, gone: &Gone) -> bool {
        let beyond = |node: Arc<Node>| node.id() == gone.node && self.names_in_set(names, &node) == 0;
        gone.is_last() || self.is_filtered() && self.tree.get(gone.ino).is_some_and(beyond)
    }

    /// `last`: what is replaced had no other name that the target could have it by.
    fn hold_renamed(&self, held: &mut Held<Arc<Node>>, rename: &Renamed<'_>, last: bool) -> Result<(), Lost> {
        if let Some(gone) = &rename.replaced {
            let node = self.hold_gone(held, gone)?;
            held.replaced(rename.to_dir, rename.to, &node, last, gone.directory)?;
        }
        let (from, to) = ((rename.from_dir, rename.from), (rename.to_dir, rename.to));
        match rename.other {
            Some(other) => held.exchanged(rename.node, from, other, to),
            None => held.moved(rename.node, from, to),
        }
    }
}

/// A node that is right is compared in its place.
fn compare(pass: &mut Pass<Arc<Node>>, node: &Arc<Node>) {
    pass.add(Work::Mend(Arc::clone(node), Dirt { attributes: true, ..Dirt::default() }));
    if node.kind() == FileType::RegularFile {
        pass.add(Work::Copy(Arc::clone(node), Source::Unknown));
    }
}

/// An operation on names is not sent, and remembered where things are held.
fn hold_names(core: &mut Core, hold: impl FnOnce(&mut Held<Arc<Node>>) -> Result<(), Lost>) -> Ticket {
    if let Gate::Held(held) = &mut core.gate {
        let remembered = hold(held);
        core.settle_held(remembered);
    }
    core.absorb(0)
}

impl Gone {
    fn is_last(&self) -> bool {
        self.links_left == 0 || self.directory
    }

    fn departure(&self) -> Departure {
        Departure { ino: self.ino, links_left: self.links_left, orphan: self.orphan, directory: self.directory }
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

    /// Of an exchange, the move of the other node alone.
    fn other_op(&self, from: RelPath, to: RelPath) -> Op {
        Op::Rename {
            from: to,
            to: from,
            kind: RenameKind::Replace,
            node: self.other.unwrap_or(self.node).id(),
            replaced: None,
            from_parent_mtime: self.to_parent_mtime,
            to_parent_mtime: self.from_parent_mtime,
        }
    }

    fn sides(&self) -> Sides<'_, Arc<Node>> {
        Sides { from: (self.from_dir, self.from), to: (self.to_dir, self.to), node: self.node, other: self.other }
    }
}

/// A directory's time changed, by names that are looked at later.
pub(crate) fn touched(dir: &Node, path: RelPath, mtime: Time) -> Op {
    let place = Place { node: dir.id(), at: At::Path(path) };
    Op::SetAttr { place, size: None, owner: None, mode: None, atime: None, mtime: Some(mtime) }
}
