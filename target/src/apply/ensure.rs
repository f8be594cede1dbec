//! Repair: making sure that at a path there is a node as the source has it. Can be done any number of times; what is in
//! the way is set aside, never deleted (I7).

use super::data::{read_size, replace_content};
use super::fault::FaultKind;
use super::node::{open_name, stat_name};
use super::{Applier, Fault, Manner};
use platform::killpoint::{self, KillPoint};
use platform::parts::Parts;
use platform::sys::attr;
use protocol::{Content, Ensure, NodeKind, RelPath, StageId, Time};
use rustix::fs::AtFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

impl Applier {
    pub(super) fn ensure(&mut self, wanted: &Ensure, payload: &Parts, manner: Manner) -> Result<(), Fault> {
        if wanted.path.is_root() {
            let tree = self.home.clone();
            return self.settle_all(tree.tree.as_fd(), wanted);
        }
        self.files.remove(wanted.node);
        if let Content::Staged(stage) = wanted.content {
            return self.place(wanted, stage, manner);
        }
        let (dir, name) = self.parent(&wanted.path)?;
        let there = self.usable(wanted, manner)?;
        let existed = there.is_some();
        let node = if let Some(node) = there {
            node
        } else {
            self.make(dir.as_fd(), &name, &wanted.kind, wanted.attrs.owner, wanted.attrs.mode)?
        };
        let filled = self.fill(node, existed, wanted, payload);
        if !existed && filled.as_ref().is_err_and(|fault| fault.kind == FaultKind::Retry) {
            // Tried again it would be in its own way, and be set aside each time.
            let flags = if wanted.kind == NodeKind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            // Where that fails it is set aside once more.
            let _ = self.home.undo.unlink(dir.as_fd(), name.as_bytes(), flags);
        }
        filled?;
        settle_parent(dir.as_fd(), wanted)
    }

    /// Content, if any is brought, and everything else of a node that is at its place.
    fn fill(&mut self, node: OwnedFd, existed: bool, wanted: &Ensure, payload: &Parts) -> Result<(), Fault> {
        if wanted.kind != NodeKind::File {
            return self.settle_all(node.as_fd(), wanted);
        }
        let fd = if existed { self.reopen(node.as_fd())? } else { node };
        match wanted.content {
            Content::Whole => replace_content(fd.as_fd(), payload)?,
            Content::Keep | Content::Staged(_) => set_size(fd.as_fd(), wanted.size)?,
        }
        self.settle_all(fd.as_fd(), wanted)?;
        self.files.insert(wanted.node, Arc::new(fd));
        Ok(())
    }

    /// Gives a staging file its name, its size and everything else.
    fn place(&mut self, wanted: &Ensure, stage: StageId, manner: Manner) -> Result<(), Fault> {
        let (dir, name) = self.parent(&wanted.path)?;
        let there = stat_name(&dir, name.as_bytes())?.map(|stat| stat.st_ino);
        let fd = if self.home.stages.inode(stage)?.is_some() {
            let fd = self.home.stages.get(stage)?;
            set_size(fd.as_fd(), wanted.size)?;
            // Replaced in one step where it is a file too, so that a reader never sees neither.
            self.usable(wanted, manner)?;
            let (dir, name) = self.parent(&wanted.path)?;
            killpoint::pass(KillPoint::TargetPlacing);
            self.made(fd.as_fd());
            self.home.undo.replacing(dir.as_fd(), name.as_bytes(), false)?;
            let placed = self.home.stages.place(stage, &dir, name.as_bytes());
            self.home.undo.replaced()?;
            placed?;
            killpoint::pass(KillPoint::TargetPlaced);
            fd
        } else if manner.redo.is_some_and(|[staged, _]| staged != 0 && there == Some(staged)) {
            // Placed by an earlier try.
            let fd = self.reopen(open_name(&dir, name.as_bytes())?.as_fd())?;
            set_size(fd.as_fd(), wanted.size)?;
            Arc::new(fd)
        } else {
            return Err(Fault::damage("its staging file is not there"));
        };
        self.settle_all(fd.as_fd(), wanted)?;
        self.files.insert(wanted.node, fd);
        let (dir, _) = self.parent(&wanted.path)?;
        settle_parent(dir.as_fd(), wanted)
    }

    /// Makes sure that nothing is at a path.
    pub(super) fn set_aside_at(&mut self, path: &RelPath, parent_mtime: Time, manner: Manner) -> Result<(), Fault> {
        let (dir, name) = match self.parent(path) {
            // With its directory gone, the name is gone.
            Err(_) if self.is_missing(path)? => return Ok(()),
            result => result?,
        };
        if stat_name(&dir, name.as_bytes())?.is_some() {
            self.set_aside(dir.as_fd(), &name, path, manner.seq)?;
        }
        attr::set_times(dir.as_fd(), None, Some(parent_mtime))?;
        Ok(())
    }

    /// What is there, if it can become what is wanted; otherwise it is out of the way afterwards.
    fn usable(&mut self, wanted: &Ensure, manner: Manner) -> Result<Option<OwnedFd>, Fault> {
        let (dir, name) = self.parent(&wanted.path)?;
        let Some(stat) = stat_name(&dir, name.as_bytes())? else { return Ok(None) };
        let node = open_name(&dir, name.as_bytes())?;
        let kind = self.kind_of(node.as_fd(), &stat)?;
        // Equal kinds: the same target of a link, the same number of a device.
        if kind == wanted.kind
            && !(wanted.fresh && kind != NodeKind::Directory)
            && self.can_hold(node.as_fd(), &kind, wanted.attrs.owner)?
        {
            return Ok(Some(node));
        }
        self.set_aside(dir.as_fd(), &name, &wanted.path, manner.seq)?;
        Ok(None)
    }

    /// Owner, extended attributes, permissions, times: in this order, because the earlier change the later.
    fn settle_all(&self, fd: BorrowedFd<'_>, wanted: &Ensure) -> Result<(), Fault> {
        self.settle(fd, wanted.attrs.owner, wanted.attrs.mode)?;
        let xattrs: Vec<_> = wanted.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        self.settle_xattrs(fd, &xattrs)?;
        self.settle(fd, wanted.attrs.owner, wanted.attrs.mode)?;
        attr::set_times(fd, Some(wanted.atime), Some(wanted.attrs.mtime))?;
        Ok(())
    }
}

fn set_size(fd: BorrowedFd<'_>, size: u64) -> Result<(), Fault> {
    if read_size(fd)? != size {
        rustix::fs::ftruncate(fd, size)?;
    }
    Ok(())
}

fn settle_parent(dir: BorrowedFd<'_>, wanted: &Ensure) -> Result<(), Fault> {
    if let Some(mtime) = wanted.parent_mtime {
        attr::set_times(dir, None, Some(mtime))?;
    }
    Ok(())
}
