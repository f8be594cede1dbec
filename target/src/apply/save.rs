//! What of the replica a record is about to change, for the undo log: before the record is applied, and also long before, while it waits. What a
//! path stands for now need not be what it will stand for then; then more is saved than needed, and what is missing is saved when it is its turn.

use super::{Applier, Fault};
use platform::sys::attr;
use protocol::{Content, Ensure, Op, Place, RelPath};
use rustix::fs::FileType;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

/// Data is saved ahead only where there is no more of it.
const AHEAD_BYTES: u64 = 4 << 20;

impl Applier {
    /// Saves what `op`, with so many bytes of payload, is about to change. Errors are of the undo log: what cannot be looked at is met again by who
    /// applies the record. `ahead`: it waits still.
    pub fn save(&mut self, op: &Op, payload: u64, ahead: bool) -> io::Result<()> {
        let data = |from: u64, len: u64| from..from.saturating_add(len);
        match op {
            Op::Write { place, offset, .. } => self.save_data(place, &data(*offset, payload), ahead),
            // Where there is a hole it may change for nothing but room.
            Op::Allocate { place, offset, len, .. } => self.save_data(place, &data(*offset, *len), ahead),
            Op::CopyRange { to, to_offset, len, .. } => self.save_data(to, &data(*to_offset, *len), ahead),
            Op::SetAttr { place, size: Some(size), .. } => self.save_data(place, &(*size..u64::MAX), ahead),
            Op::SetAttr { place, .. } | Op::SetXattr { place, .. } | Op::RemoveXattr { place, .. } => {
                match self.node(place) {
                    Ok(fd) => self.home.undo.node(fd.as_fd()),
                    Err(_) => Ok(()),
                }
            }
            Op::Create { path, .. }
            | Op::Link { to: path, .. }
            | Op::Unlink { path, .. }
            | Op::SetAside { path, .. } => self.save_path(path),
            Op::Remove { path, .. } => {
                self.save_path(path)?;
                match self.parent(path) {
                    Ok((dir, name)) if !ahead => super::remove::save(&self.home.undo, dir.as_fd(), &name),
                    _ => Ok(()),
                }
            }
            Op::Rename { from, to, .. } => {
                self.save_path(from)?;
                self.save_path(to)
            }
            Op::Ensure(wanted) => self.save_ensured(wanted, ahead),
            Op::Reap { .. }
            | Op::Fsync { .. }
            | Op::List { .. }
            | Op::Look { .. }
            | Op::Compare { .. }
            | Op::Mark(_) => Ok(()),
        }
    }

    fn save_ensured(&mut self, wanted: &Ensure, ahead: bool) -> io::Result<()> {
        if wanted.path.is_root() {
            return self.home.undo.node(self.home.tree.as_fd());
        }
        self.save_path(&wanted.path)?;
        let changed = match wanted.content {
            Content::Keep => wanted.size..u64::MAX,
            Content::Whole => 0..u64::MAX,
            // Another node takes its place.
            Content::Staged(_) => return Ok(()),
        };
        let Ok((dir, name)) = self.parent(&wanted.path) else { return Ok(()) };
        let Ok(node) = super::node::open_name(&dir, name.as_bytes()) else { return Ok(()) };
        self.save_range(node.as_fd(), &changed, ahead)
    }

    /// The name, and what is there.
    fn save_path(&mut self, path: &RelPath) -> io::Result<()> {
        let Ok((dir, name)) = self.parent(path) else { return Ok(()) };
        self.home.undo.name(dir.as_fd(), name.as_bytes())?;
        match super::node::open_name(&dir, name.as_bytes()) {
            Ok(node) => self.home.undo.node(node.as_fd()),
            Err(_) => Ok(()),
        }
    }

    fn save_data(&mut self, place: &Place, range: &Range<u64>, ahead: bool) -> io::Result<()> {
        match self.node(place) {
            Ok(fd) => self.save_range(fd.as_fd(), range, ahead),
            Err(_) => Ok(()),
        }
    }

    fn save_range(&self, node: BorrowedFd<'_>, range: &Range<u64>, ahead: bool) -> io::Result<()> {
        self.home.undo.node(node)?;
        let stat = attr::stat(node)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !self.home.undo.wants_data(&stat, range) {
            return Ok(());
        }
        let end = range.end.min(u64::try_from(stat.st_size).unwrap_or(0));
        if ahead && end.saturating_sub(range.start) > AHEAD_BYTES {
            return Ok(());
        }
        let quota = &self.home.quota;
        if quota.room().is_some_and(|room| end.saturating_sub(range.start) > room) {
            // Then there is no log, and that is said.
            return Err(io::Error::other("the quota leaves no room for it"));
        }
        let file = self.open_to_read(node).map_err(|fault: Fault| io::Error::other(fault.text))?;
        let saved = self.home.undo.data(file.as_fd(), range);
        quota.undo(self.home.undo.size());
        saved
    }
}
