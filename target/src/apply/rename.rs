//! Names that move. A rename replaces in one step, so that a reader of the replica never sees neither; an exchange is done
//! once, whatever is interrupted.

use super::node::{is_dir, orphan_name, stat_name};
use super::{Applier, Fault, Manner};
use platform::sys::attr;
use protocol::{Content, Name, NodeId, Op, Phase, RelPath, RenameKind, Replaced, Time};
use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// What moves where.
pub(super) struct Move<'a> {
    pub from: &'a RelPath,
    pub to: &'a RelPath,
    pub kind: RenameKind,
    pub replaced: Option<Replaced>,
}

impl Applier {
    /// The inodes that a rename's names have now, what stands where something is to be made, or the staging file that is to be placed, zero for none: noted
    /// before anything is done.
    pub fn inodes(&mut self, op: &Op) -> [u64; 2] {
        if let Op::Ensure(wanted) = op
            && let Content::Staged(stage) = wanted.content
        {
            return [self.home.stages.inode(stage).ok().flatten().unwrap_or(0), 0];
        }
        // What cannot be looked at is met again, and reported, when the record is applied.
        let mut inode = |path| self.inode_at(path).unwrap_or(0);
        match op {
            Op::Rename { from, to, .. } => [inode(from), inode(to)],
            Op::Create { path, .. } => [inode(path), 0],
            _ => [0; 2],
        }
    }

    pub(super) fn rename(&mut self, what: &Move<'_>, times: (Time, Time), manner: Manner) -> Result<(), Fault> {
        let (from_dir, from) = self.parent(what.from)?;
        let (to_dir, to) = self.parent(what.to)?;
        let at_from = stat_name(&from_dir, from.as_bytes())?;
        let at_to = stat_name(&to_dir, to.as_bytes())?;
        if manner.phase == Phase::Settled {
            if at_to.is_none() {
                return Err(Fault::damage("the new name is not there"));
            }
        } else if !manner.redo.is_some_and(|inodes| is_done(what.kind, inodes, at_from, at_to)) {
            if [at_from, at_to].iter().flatten().any(is_dir) {
                self.directories_moved();
            }
            if at_from.is_none() && !manner.tolerant {
                return Err(Fault::damage("the old name is not there"));
            }
            let ends = Ends { from_dir: from_dir.as_fd(), from: &from, to_dir: to_dir.as_fd(), to: &to };
            // In repair it may not have come here yet: both names are looked at after this.
            if at_from.is_some() {
                self.move_name(what, &ends, at_to, manner)?;
            }
        }
        if let Some(gone) = what.replaced
            && !gone.orphan
        {
            if manner.phase == Phase::Settled {
                // It was kept in case that the source could not do the same.
                self.reap(gone.node)?;
            }
            self.files.remove(gone.node);
        }
        attr::set_times(from_dir.as_fd(), None, Some(times.0))?;
        attr::set_times(to_dir.as_fd(), None, Some(times.1))?;
        Ok(())
    }

    fn move_name(
        &mut self,
        what: &Move<'_>,
        ends: &Ends<'_>,
        at_to: Option<Stat>,
        manner: Manner,
    ) -> Result<(), Fault> {
        if what.kind == RenameKind::Exchange {
            return Ok(ends.rename(RenameFlags::EXCHANGE)?);
        }
        match (what.replaced, at_to) {
            (Some(gone), Some(stat)) if gone.orphan && !is_dir(&stat) => self.keep(ends, &stat, gone.node)?,
            (None, Some(_)) if manner.tolerant => self.set_aside(ends.to_dir, ends.to, what.to, manner.seq)?,
            _ => {}
        }
        if what.replaced.is_some() && at_to.is_some() {
            let by_dir = stat_name(ends.from_dir, ends.from.as_bytes())?.as_ref().is_some_and(is_dir);
            self.home.undo.replacing(ends.to_dir, ends.to.as_bytes(), by_dir)?;
        }
        let moved = self.move_over(what, ends, manner);
        self.home.undo.replaced()?;
        moved
    }

    fn move_over(&mut self, what: &Move<'_>, ends: &Ends<'_>, manner: Manner) -> Result<(), Fault> {
        // Where nothing was replaced on the source, nothing may be replaced here.
        let flags = if what.replaced.is_none() { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        match ends.rename(flags) {
            // A file system without that flag; nothing is at the new name.
            Err(Errno::INVAL) if what.replaced.is_none() && stat_name(ends.to_dir, ends.to.as_bytes())?.is_none() => {
                Ok(ends.rename(RenameFlags::empty())?)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) if manner.tolerant => {
                self.set_aside(ends.to_dir, ends.to, what.to, manner.seq)?;
                Ok(ends.rename(flags)?)
            }
            result => Ok(result?),
        }
    }

    /// Gives what is about to be replaced, and is still in use, a name among the orphans, in addition: the replacing
    /// itself stays one step.
    fn keep(&mut self, ends: &Ends<'_>, stat: &Stat, node: NodeId) -> Result<(), Fault> {
        let kept = orphan_name(node);
        match stat_name(&self.home.orphans, kept.as_bytes())? {
            Some(there) if there.st_ino == stat.st_ino => return Ok(()),
            Some(_) => self.home.undo.unlink(self.home.orphans.as_fd(), kept.as_bytes(), AtFlags::empty())?,
            None => {}
        }
        let linked = rustix::fs::linkat(ends.to_dir, ends.to.as_bytes(), &self.home.orphans, &kept, AtFlags::empty());
        match linked {
            // It cannot have one more name: then it moves, and for a moment there is nothing under the old one.
            Err(Errno::MLINK | Errno::PERM) => Ok(self.orphan(ends.to_dir, ends.to, node)?),
            result => Ok(result?),
        }
    }
}

struct Ends<'a> {
    from_dir: BorrowedFd<'a>,
    from: &'a Name,
    to_dir: BorrowedFd<'a>,
    to: &'a Name,
}

impl Ends<'_> {
    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        rustix::fs::renameat_with(self.from_dir, self.from.as_bytes(), self.to_dir, self.to.as_bytes(), flags)
    }
}

/// Whether the names are already as they are after the rename, by the inodes that they had before it.
fn is_done(kind: RenameKind, [from, to]: [u64; 2], at_from: Option<Stat>, at_to: Option<Stat>) -> bool {
    let inode = |stat: Option<Stat>| stat.map_or(0, |stat| stat.st_ino);
    match kind {
        RenameKind::Exchange => from != to && from != 0 && to != 0 && [inode(at_to), inode(at_from)] == [from, to],
        RenameKind::Replace | RenameKind::NoReplace => from != 0 && at_from.is_none() && inode(at_to) == from,
    }
}
