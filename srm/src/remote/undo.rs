//! Putting back what the target did and the source did not. Where it is known that the target did all of it, the inverse follows in the stream, and nothing travels
//! twice: what lost its name is kept there until then. Otherwise names are looked at again, by content, after the inverse where that does no harm, and of data and attributes
//! what the source has is sent.

use super::Undecided;
use super::decide::{Change, Proposed};
use crate::ensure::mtime_of;
use crate::map::{Dirt, Gate, Ranges, Touch};
use crate::names::{Gone, Renamed};
use crate::{Again, Srm};
use bytes::Bytes;
use platform::killpoint::{self, KillPoint};
use platform::tree::{Names, Node};
use protocol::{At, Draft, Name, NodeId, Op, Place, RelPath, RenameKind, Replaced};
use std::sync::Arc;

/// What the target has done of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// All of it.
    Whole,
    /// Some of it.
    InPart,
    /// Nobody knows.
    Unknown,
}

/// A name in its directory.
type Spot = (Arc<Node>, Name);

/// The inverse of one change of names.
#[derive(Clone, Debug)]
enum Step {
    /// The name that was made goes.
    Remove { at: Spot, node: NodeId, directory: bool },
    /// What moved from one name to the other goes back.
    MoveBack { from: Spot, to: Spot, kind: RenameKind, node: NodeId },
    /// What is kept without a name gets it again.
    Restore { at: Spot, node: NodeId },
}

/// How a change of names is put back.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    /// Where all of it was done: in this order.
    steps: Vec<Step>,
    /// And then these names are looked at, because what was under them is not kept.
    rest: Vec<Again>,
    /// Where less is known: these are looked at.
    looks: Vec<Again>,
    /// What the target may keep without a name.
    kept: Option<NodeId>,
}

fn spot((dir, name): (&Arc<Node>, &Name)) -> Spot {
    (Arc::clone(dir), name.clone())
}

/// A look at a name, and at what its directory is itself.
fn looks(at: &Spot, made: bool) -> [Again; 2] {
    let (dir, name) = at.clone();
    let times = Again::Directory(Arc::clone(&dir));
    [if made { Again::Made(dir, name) } else { Again::Name(dir, name) }, times]
}

impl Undo {
    /// A name was made.
    pub fn made(at: (&Arc<Node>, &Name), node: NodeId, directory: bool) -> Self {
        let at = spot(at);
        let looks = looks(&at, true).to_vec();
        Self { steps: vec![Step::Remove { at, node, directory }], looks, ..Self::default() }
    }

    /// A name went.
    pub fn gone(at: (&Arc<Node>, &Name), gone: &Gone) -> Self {
        let mut undo = Self::default();
        undo.took(&spot(at), gone);
        undo.looks.extend(looks(&spot(at), false));
        undo
    }

    /// A rename that was to be.
    pub fn moved(rename: &Renamed<'_>) -> Self {
        let (from, to) = (spot((rename.from_dir, rename.from)), spot((rename.to_dir, rename.to)));
        let looks = [&from, &to].into_iter().flat_map(|at| looks(at, false)).collect();
        let mut undo = Self { looks, ..Self::default() };
        let kind = match rename.kind {
            RenameKind::Exchange => RenameKind::Exchange,
            RenameKind::Replace | RenameKind::NoReplace => RenameKind::NoReplace,
        };
        undo.steps.push(Step::MoveBack { from, to: to.clone(), kind, node: rename.node.id() });
        if let Some(gone) = &rename.replaced {
            undo.took(&to, gone);
        }
        undo
    }

    /// Whether the inverse does nothing where the target has not done it, in a pass: what it takes away is not there then.
    fn is_harmless(&self) -> bool {
        match self.steps.as_slice() {
            [Step::MoveBack { kind, .. }] => *kind != RenameKind::Exchange,
            [Step::Remove { .. } | Step::Restore { .. }] => true,
            _ => false,
        }
    }

    /// A name went, or what was under it was replaced. An empty directory is not kept.
    fn took(&mut self, at: &Spot, gone: &Gone) {
        if gone.directory {
            self.rest.extend(looks(at, false));
        } else {
            self.steps.push(Step::Restore { at: at.clone(), node: gone.node });
            self.kept = Some(gone.node);
        }
    }
}

impl Srm {
    /// Puts back what was proposed. The operation's locks are still held.
    pub(super) fn undo(self: &Arc<Self>, names: &Names, mut proposed: Proposed, done: Done) {
        killpoint::pass(KillPoint::PutBack);
        self.core.lock().remote.pending.remove(&proposed.seq);
        let begun = match proposed.change.take() {
            Some(Change::Names(undo)) => self.undo_names(names, &undo, done),
            Some(Change::Node(node, touch)) => self.undo_node(names, &node, &touch),
            None => true,
        };
        if !begun {
            self.lost_track("what the target did first cannot be put back now; all will be compared");
        }
        let mut core = self.core.lock();
        // Else all that puts it back is numbered.
        if !core.is_coherent() {
            let (paths, slot) = (std::mem::take(&mut proposed.paths), proposed.slot.take());
            let silent = (done == Done::Unknown).then_some(core.connections);
            core.remote.undecided.push(Undecided { paths, silent, _slot: slot });
        }
        drop(core);
        self.changed.notify_all();
    }

    fn undo_names(self: &Arc<Self>, names: &Names, undo: &Undo, done: Done) -> bool {
        if done == Done::Whole
            && let Some(inverse) = self.inverse(names, undo)
            && self.send_back(inverse)
        {
            return undo.rest.is_empty() || self.look_again(names, &undo.rest, false);
        }
        let begun = self.look_again(names, &undo.looks, false);
        // Numbered before any question of that, because names stand still until the operation is over.
        let inverse = if done == Done::Unknown && undo.is_harmless() { self.inverse(names, undo) } else { None };
        let reap = || undo.kept.map(|node| Op::Reap { node }).into_iter().collect();
        let mut core = self.core.lock();
        if matches!(core.gate, Gate::Pass(_)) {
            for op in inverse.unwrap_or_else(reap) {
                let _no_reply_waits = self.queue(&mut core, Draft::new(&op, Bytes::new()), 0);
            }
        }
        begun
    }

    /// The records that put back all of it; `None` where they cannot be told.
    fn inverse(&self, names: &Names, undo: &Undo) -> Option<Vec<Op>> {
        let path = |(dir, name): &Spot| -> Option<RelPath> { dir.path(names)?.join(name).ok() };
        let time = |(dir, _): &Spot| mtime_of(self, names, dir).ok();
        let mut ops = Vec::new();
        for step in &undo.steps {
            match step {
                Step::Remove { at, node, directory } => {
                    let gone = Replaced { node: *node, orphan: false };
                    let (path, parent_mtime) = (path(at)?, time(at)?);
                    ops.push(Op::Unlink { path, gone, directory: *directory, parent_mtime });
                }
                Step::MoveBack { from, to, kind, node } => ops.push(Op::Rename {
                    from: path(to)?,
                    to: path(from)?,
                    kind: *kind,
                    node: *node,
                    replaced: None,
                    from_parent_mtime: time(to)?,
                    to_parent_mtime: time(from)?,
                }),
                Step::Restore { at, node } => {
                    let from = Place { node: *node, at: At::Orphan };
                    ops.push(Op::Link { from, to: path(at)?, parent_mtime: time(at)? });
                    ops.push(Op::Reap { node: *node });
                }
            }
        }
        Some(ops)
    }

    /// Queues them, one behind the other. `false`: things have to be looked at.
    fn send_back(&self, ops: Vec<Op>) -> bool {
        let mut core = self.core.lock();
        let all = ops
            .into_iter()
            .all(|op| matches!(core.gate, Gate::Clean) && core.push(Draft::new(&op, Bytes::new())).is_some());
        drop(core);
        self.wake();
        all
    }

    /// `false`: it cannot be put back by itself.
    fn undo_node(self: &Arc<Self>, names: &Names, node: &Arc<Node>, touch: &Touch) -> bool {
        if !node.has_name() {
            // Nobody will see it on the target again.
            self.reap(names, node);
            node.set_orphan(false);
            return true;
        }
        let mut dirt = Dirt { data: Ranges::default(), attributes: true };
        if let Touch::Data(range) = touch {
            dirt.data.add(range.clone());
        }
        if self.look_again(names, &[Again::Node(Arc::clone(node), dirt)], false) {
            return true;
        }
        let mut core = self.core.lock();
        let is_held = matches!(core.gate, Gate::Held(_));
        let _absorbed = core.absorb_touch(node, touch.clone(), 0);
        is_held
    }
}
