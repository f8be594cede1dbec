//! Applying records to the replica's directory. One record at a time, one thread; all paths are resolved beneath the
//! replica's root, no symbolic link is followed.

mod attrs;
mod compare;
mod data;
mod descriptors;
mod ensure;
mod fault;
mod force;
mod list;
mod names;
mod node;
mod refit;
mod remove;
mod rename;
mod save;
mod seen;
mod weight;
mod xattrs;

pub(crate) use compare::differing;
pub(crate) use data::{punch, read_size};
pub(crate) use fault::{Fault, FaultKind};
pub(crate) use list::{MAX_ENTRIES, MAX_TEXT_BYTES, entry};
pub(crate) use names::make;
pub(crate) use xattrs::settle_xattrs;

use crate::aside::Aside;
use crate::home::Home;
use crate::limits::Limits;
use crate::status::Facts;
use crate::syncs::Unsynced;
use descriptors::{Files, Parents};
use list::Listing;
use platform::parts::Parts;
use protocol::{Answer, At, Mark, Name, Op, Phase, Place, Record, RelPath};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Applies records to one replica.
pub(crate) struct Applier {
    home: Arc<Home>,
    facts: Arc<Facts>,
    files: Files,
    parents: Parents,
    aside: Aside,
    listing: Option<Listing>,
    /// Owners can be set, for all that is known before it is tried.
    root: bool,
    limits: Limits,
    /// What a record asks to be durable is left to the worker.
    pub leaves_syncs: bool,
    /// What was left to it.
    unsynced: Option<Unsynced>,
}

/// How a record that changes names is to be applied.
#[derive(Clone, Copy)]
struct Manner {
    seq: u64,
    /// What stands in the way is set aside; what should go may be gone.
    tolerant: bool,
    /// An earlier try of this very record may have done all or some of it; what [`Applier::inodes`] was before.
    redo: Option<[u64; 2]>,
    /// Whether the source has done it, and who was first.
    phase: Phase,
}

impl Applier {
    pub fn new(home: Arc<Home>, facts: Arc<Facts>) -> Self {
        let aside = Aside::new(home.clone());
        let root = rustix::process::geteuid().is_root();
        let limits = home.limits;
        let (files, parents) = (Files::default(), Parents::default());
        Self { home, facts, files, parents, aside, listing: None, root, limits, leaves_syncs: false, unsynced: None }
    }

    /// What the last record asked to be durable and is not, where that is left to the worker.
    pub fn take_unsynced(&mut self) -> Option<Unsynced> {
        self.unsynced.take()
    }

    /// Makes durable, or leaves it.
    fn sync(&mut self, file: Arc<OwnedFd>, data_only: bool) -> Result<(), Fault> {
        let unsynced = Unsynced { file, data_only };
        if self.leaves_syncs {
            self.unsynced = Some(unsynced);
            return Ok(());
        }
        unsynced.sync().map_err(|error| self.lost(error))
    }

    /// What was written is lost.
    fn lost(&self, error: Errno) -> Fault {
        self.home.lost();
        Fault::lost(error)
    }

    /// Whether doing a record again, after nobody knows how much of it was done, needs to know that it was begun.
    pub fn needs_intent(op: &Op) -> bool {
        matches!(op, Op::Create { .. } | Op::Link { .. } | Op::Unlink { .. } | Op::Rename { .. } | Op::Ensure(_))
    }

    /// Applies a record. `redo`: it was begun before, when its names (of a rename) had these inodes.
    pub fn apply(&mut self, record: &Record, payload: &Parts, redo: Option<[u64; 2]>) -> Result<Option<Answer>, Fault> {
        if !self.home.quota.is_set() {
            return self.apply_any(record, payload, redo);
        }
        // What was proposed has what it takes.
        if record.phase != Phase::Settled {
            self.admit(&record.op, payload.len() as u64)?;
        }
        let weight = self.weigh(&record.op);
        let done = self.apply_any(record, payload, redo);
        self.count(&record.op, &weight);
        done
    }

    fn apply_any(&mut self, record: &Record, payload: &Parts, redo: Option<[u64; 2]>) -> Result<Option<Answer>, Fault> {
        let manner = Manner { seq: record.seq.get(), tolerant: record.tolerant, redo, phase: record.phase };
        if self.is_lost_orphan(&record.op)? {
            return Ok(None);
        }
        if record.phase == Phase::Settled {
            return self.settle_proposed(&record.op, manner).map(|()| None);
        }
        self.carry_out(record, payload, manner)
    }

    fn carry_out(&mut self, record: &Record, payload: &Parts, manner: Manner) -> Result<Option<Answer>, Fault> {
        match &record.op {
            Op::Write { place, offset, mtime, mode, durable } => {
                self.write(place, *offset, payload, (*mtime, *mode), *durable)?;
            }
            Op::SetAttr { place, size, owner, mode, atime, mtime } => {
                self.set_attr(place, *size, *owner, *mode, (*atime, *mtime))?;
            }
            Op::Allocate { place, mode, offset, len, mtime, perm } => {
                self.allocate(place, *mode, *offset..*offset + *len, (*mtime, *perm))?;
            }
            Op::CopyRange { from, from_offset, to, to_offset, len, mtime, perm } => {
                self.copy_range((from, *from_offset), (to, *to_offset), *len, (*mtime, *perm))?;
            }
            Op::SetXattr { place, name, mode } => self.set_xattr(place, name, Some(&payload.whole()), *mode)?,
            Op::RemoveXattr { place, name, mode } => self.set_xattr(place, name, None, *mode)?,
            Op::Create { path, node, kind, attrs, parent_mtime } => {
                self.create(path, *node, kind, *attrs, *parent_mtime, manner)?;
            }
            Op::Link { from, to, parent_mtime } => self.link(from, to, *parent_mtime, manner)?,
            Op::Unlink { path, gone, directory, parent_mtime } => {
                self.unlink(path, *gone, *directory, *parent_mtime, manner)?;
            }
            Op::Rename { from, to, kind, replaced, from_parent_mtime, to_parent_mtime, .. } => {
                let move_ = rename::Move { from, to, kind: *kind, replaced: *replaced };
                self.rename(&move_, (*from_parent_mtime, *to_parent_mtime), manner)?;
            }
            Op::Reap { node } => self.reap(*node)?,
            Op::Fsync { place, data_only } => self.fsync(place, *data_only)?,
            Op::Ensure(ensure) => self.ensure(ensure, payload, manner)?,
            Op::SetAside { path, parent_mtime } => self.set_aside_at(path, *parent_mtime, manner)?,
            Op::List { path, after, last, hash } => {
                return self.list(path, after.as_ref(), last.as_ref(), *hash).map(|page| Some(Answer::Page(page)));
            }
            Op::Remove { path, parent_mtime } => self.remove_at(path, *parent_mtime)?,
            Op::Look { path, name, hash } => {
                return self.look(path, name, *hash).map(|page| Some(Answer::Page(page)));
            }
            Op::Compare { place, offset, len, block_bytes, hashes, as_read } => {
                let range = *offset..*offset + *len;
                let differs = if *as_read {
                    self.compare_as_read(place, range, *block_bytes, hashes)
                } else {
                    self.compare(place, range, *block_bytes, hashes)?
                };
                return Ok(Some(Answer::Differs(differs)));
            }
            // A copy that was not placed by now is not wanted. What stays takes room, and nothing else.
            Op::Mark(Mark::Coherent) => {
                if let Err(error) = self.home.stages.clear() {
                    tracing::warn!(name = %self.home.name, %error, "cannot remove staging files");
                }
            }
            Op::Mark(Mark::Restarted) => {
                self.idle();
                self.home.forget_orphans()?;
            }
            // These change the position only.
            Op::Mark(Mark::Incoherent | Mark::Barrier) => {}
        }
        Ok(None)
    }

    /// The source has done what was proposed and is done here: the times and attributes that resulted.
    fn settle_proposed(&mut self, op: &Op, manner: Manner) -> Result<(), Fault> {
        // What is found done is right.
        let manner = Manner { redo: Some([0; 2]), ..manner };
        match op {
            Op::Write { place, mtime, mode, durable, .. } => self.settle_data(place, (*mtime, *mode), *durable),
            Op::Allocate { place, mtime, perm, .. } | Op::CopyRange { to: place, mtime, perm, .. } => {
                self.settle_data(place, (*mtime, *perm), false)
            }
            // The size is what it is to be. Set once more it would give back what is allocated behind the end.
            Op::SetAttr { place, owner, mode, atime, mtime, .. } => {
                self.set_attr(place, None, *owner, *mode, (*atime, *mtime))
            }
            Op::SetXattr { place, mode, .. } | Op::RemoveXattr { place, mode, .. } => self.settle_xattr(place, *mode),
            Op::Create { path, node, kind, attrs, parent_mtime } => {
                self.create(path, *node, kind, *attrs, *parent_mtime, manner)
            }
            Op::Link { from, to, parent_mtime } => self.link(from, to, *parent_mtime, manner),
            Op::Unlink { path, gone, directory, parent_mtime } => {
                self.unlink(path, *gone, *directory, *parent_mtime, manner)
            }
            Op::Rename { from, to, kind, replaced, from_parent_mtime, to_parent_mtime, .. } => {
                let move_ = rename::Move { from, to, kind: *kind, replaced: *replaced };
                self.rename(&move_, (*from_parent_mtime, *to_parent_mtime), manner)
            }
            // Refused when they came.
            _ => Err(Fault::damage("what cannot be proposed is not settled")),
        }
    }

    /// A change of an orphan that is not here: it was deleted on the source before this run of numbers began, and nobody
    /// will ever see it again.
    fn is_lost_orphan(&mut self, op: &Op) -> Result<bool, Fault> {
        if matches!(op, Op::Compare { .. }) {
            return Ok(false);
        }
        let Some(Place { node, at: At::Orphan }) = op.place() else { return Ok(false) };
        let name = node::orphan_name(*node);
        Ok(self.files.get(*node).is_none() && node::stat_name(&self.home.orphans, name.as_bytes())?.is_none())
    }

    /// Closes all descriptors and forgets all names: no record came for a while, and others may want to unmount or to
    /// move directories; or something was found that was not expected.
    pub fn idle(&mut self) {
        self.files.clear();
        self.directories_moved();
    }

    /// Directories may now have other paths.
    fn directories_moved(&mut self) {
        self.parents.clear();
        self.listing = None;
    }

    /// Moves what is at a name out of the way, whatever it is. A name of a file that has others just goes: its content is
    /// under those, and set aside it would still share its inode with the replica.
    fn set_aside(&mut self, dir: BorrowedFd<'_>, name: &Name, path: &RelPath, seq: u64) -> Result<(), Fault> {
        if node::stat_name(dir, name.as_bytes())?.is_some_and(|stat| !node::is_dir(&stat) && stat.st_nlink > 1) {
            self.home.undo.unlink(dir, name.as_bytes(), AtFlags::empty())?;
            self.idle();
            return Ok(());
        }
        self.aside.take(dir, name, path, seq)?;
        self.facts.update(|s| s.aside_entries += 1);
        // What stands at a path, and where a node is, is not what it was.
        self.idle();
        Ok(())
    }

    fn tree(&self) -> BorrowedFd<'_> {
        self.home.tree.as_fd()
    }
}
