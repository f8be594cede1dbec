//! What of an operation is proposed (R13): the operation as it is asked for, with resulting times that are near what they will be. What the set leaves out, or
//! what crosses its border, is not proposed: it goes as in `real`.

use super::Key;
use super::decide::{Asked, Change, Proposal, Proposed};
use super::undo::Undo;
use crate::Srm;
use crate::map::{Handle, Touch};
use crate::names::{Gone, Renamed};
use crate::set::Kind;
use bytes::Bytes;
use platform::sys;
use platform::tree::{Names, Node};
use protocol::{At, Attrs, Name, NodeKind, Op, Owner, Place, RelPath, Replaced, Time};
use rustix::io::Errno;
use std::sync::Arc;

/// Permission bits of a new node until those that resulted are known: nobody else is let in meanwhile.
const FIRST_MODE: u32 = 0o700;

/// The time now, on the source's clock.
pub fn now() -> Time {
    let ns = sys::now_ns();
    let nanos = u32::try_from(ns % 1_000_000_000).unwrap_or(0);
    Time { secs: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX), nanos }
}

fn path_in(names: &Names, dir: &Node, name: &Name) -> Option<RelPath> {
    dir.path(names)?.join(name).ok()
}

/// Asks the target to keep what loses its name until that is settled.
fn kept(gone: &Gone) -> Replaced {
    Replaced { node: gone.node, orphan: !gone.directory }
}

fn names_proposal(op: Op, undo: Undo, paths: Vec<RelPath>) -> Proposal {
    Proposal { op, payload: Bytes::new(), change: Change::Names(undo), key: Key::Names, paths }
}

impl Srm {
    /// Proposes a new node under a name that does not exist. `None`, here and below: there is nothing to propose. The locks of the operation are held.
    pub fn propose_create(
        self: &Arc<Self>,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        kind: &NodeKind,
        (owner, mode): (Owner, u32),
    ) -> Result<Option<Proposed>, Errno> {
        if !self.proposes() {
            return Ok(None);
        }
        // What has no path any more is refused by the file system below.
        let Some(path) = path_in(names, dir, name) else { return Ok(None) };
        if self.is_filtered() && !self.set().takes(&path, Kind::of(kind), 0) {
            return Ok(None);
        }
        let (paths, parent_mtime) = (vec![path.clone()], now());
        let attrs = Attrs { mode: mode & FIRST_MODE, owner, mtime: parent_mtime };
        let (node, directory) = (self.tree.fresh_id(), *kind == NodeKind::Directory);
        let op = Op::Create { path, node, kind: kind.clone(), attrs, parent_mtime };
        self.propose(names, names_proposal(op, Undo::made((dir, name), node, directory), paths)).map(Some)
    }

    /// Proposes one more name for a node.
    pub fn propose_link(
        self: &Arc<Self>,
        names: &Names,
        node: &Arc<Node>,
        dir: &Arc<Node>,
        name: &Name,
    ) -> Result<Option<Proposed>, Errno> {
        if !self.proposes() {
            return Ok(None);
        }
        let Some(to) = path_in(names, dir, name) else { return Ok(None) };
        if !self.takes_name(names, dir, name, node) || !self.is_taken(node) && node.has_name() {
            return Ok(None);
        }
        let from = self.place_to_propose(names, node).ok_or(Errno::IO)?;
        let paths = vec![to.clone()];
        let op = Op::Link { from, to, parent_mtime: now() };
        self.propose(names, names_proposal(op, Undo::made((dir, name), Node::id(node), false), paths)).map(Some)
    }

    /// Proposes that a name goes; `gone` as it will be then.
    pub fn propose_unlink(
        self: &Arc<Self>,
        names: &Names,
        dir: &Arc<Node>,
        name: &Name,
        gone: &Gone,
    ) -> Result<Option<Proposed>, Errno> {
        if !self.proposes() || !self.took_name(names, dir, name, gone) {
            return Ok(None);
        }
        let Some(path) = path_in(names, dir, name) else { return Ok(None) };
        let paths = vec![path.clone()];
        let op = Op::Unlink { path, gone: kept(gone), directory: gone.directory, parent_mtime: now() };
        self.propose(names, names_proposal(op, Undo::gone((dir, name), gone), paths)).map(Some)
    }

    /// Proposes a rename that is as `rename` will be; its times do not count.
    pub fn propose_rename(self: &Arc<Self>, names: &Names, rename: &Renamed<'_>) -> Result<Option<Proposed>, Errno> {
        if !self.proposes() || !self.is_within(names, rename) {
            return Ok(None);
        }
        let ends = [(rename.from_dir, rename.from), (rename.to_dir, rename.to)];
        let [Some(from), Some(to)] = ends.map(|(dir, name)| path_in(names, dir, name)) else { return Ok(None) };
        let moves_directory = [Some(rename.node), rename.other].into_iter().flatten().any(|node| node.is_dir());
        if self.is_filtered() && moves_directory && !self.set().is_same_below(&from, &to) {
            // The target does it before this daemon is told, and may end.
            self.sweep.want();
        }
        let paths = vec![from.clone(), to.clone()];
        let (node, kind, time) = (Node::id(rename.node), rename.kind, now());
        let replaced = rename.replaced.as_ref().map(kept);
        let (from_parent_mtime, to_parent_mtime) = (time, time);
        let op = Op::Rename { from, to, kind, node, replaced, from_parent_mtime, to_parent_mtime };
        self.propose(names, names_proposal(op, Undo::moved(rename), paths)).map(Some)
    }

    /// Whether both ends of a rename that is to be made, and all that has them, are in the set.
    fn is_within(&self, names: &Names, rename: &Renamed<'_>) -> bool {
        let ends = [(rename.from_dir, rename.from), (rename.to_dir, rename.to)];
        let takes = |node: &Node| ends.iter().all(|(dir, name)| self.takes_name(names, dir, name, node));
        takes(rename.node)
            && rename.other.is_none_or(|other| takes(other))
            && rename.replaced.as_ref().is_none_or(|gone| self.took_name(names, rename.to_dir, rename.to, gone))
    }

    /// Proposes an operation on a node's data or attributes. Payloads are at most 1 MiB.
    pub fn propose_node(
        self: &Arc<Self>,
        names: &Names,
        node: &Arc<Node>,
        payload: &[u8],
        make: impl FnOnce(Place) -> Op,
    ) -> Result<Option<Proposed>, Errno> {
        self.propose_change(names, node, payload, |place| Some(make(place)))
    }

    /// Proposes a `copy_file_range` of files that both have a name; [`Srm::takes_copies`] has said that it can be described as such.
    pub fn propose_copy(
        self: &Arc<Self>,
        names: &Names,
        from: &Arc<Node>,
        to: &Arc<Node>,
        make: impl FnOnce(Place, Place) -> Op,
    ) -> Result<Option<Proposed>, Errno> {
        self.propose_change(names, to, &[], |to| Some(make(self.place_to_propose(names, from)?, to)))
    }

    fn propose_change(
        self: &Arc<Self>,
        names: &Names,
        node: &Arc<Node>,
        payload: &[u8],
        make: impl FnOnce(Place) -> Option<Op>,
    ) -> Result<Option<Proposed>, Errno> {
        if !self.proposes() || !self.is_taken(node) && node.has_name() {
            return Ok(None);
        }
        let place = self.place_to_propose(names, node).ok_or(Errno::IO)?;
        let paths = match &place.at {
            At::Path(path) => vec![path.clone()],
            // The next daemon forgets it, and so does the target.
            At::Orphan => vec![RelPath::root()],
        };
        let op = make(place).ok_or(Errno::IO)?;
        let touch = Touch::of(&op, payload.len());
        let (change, key) = (Change::Node(Arc::clone(node), touch), Key::Node(Node::id(node)));
        let payload = Bytes::copy_from_slice(payload);
        self.propose(names, Proposal { op, payload, change, key, paths }).map(Some)
    }

    /// Asks the target to make a file or directory durable. What it has of it is waited for without any lock.
    pub fn propose_fsync(
        self: &Arc<Self>,
        names: &Names,
        node: &Arc<Node>,
        data_only: bool,
    ) -> Result<Option<Asked>, Errno> {
        if !self.proposes() || !self.is_taken(node) && node.has_name() {
            return Ok(None);
        }
        let place = self.place_to_propose(names, node).ok_or(Errno::IO)?;
        let op = Op::Fsync { place, data_only };
        let change = Change::Node(Arc::clone(node), Touch::Nothing);
        let proposal = Proposal { op, payload: Bytes::new(), change, key: Key::Nothing, paths: Vec::new() };
        self.send_proposal(proposal).map(Some)
    }

    /// Where a node is on a coherent target.
    fn place_to_propose(&self, names: &Names, node: &Arc<Node>) -> Option<Place> {
        let link = if self.is_filtered() { Handle::links(node).into_iter().next() } else { None };
        crate::live::place_by(names, node, link.as_ref())
    }
}
