//! What was put in force, or kept, under other rights or options than the target has now is brought to what it puts in force today, when a comparison comes to it. What the
//! source is told of it does not change. A node with several names that would have to become another one stays as it is.

use super::node::open_name;
use super::{Applier, Fault};
use crate::kept::{CAPABILITY, Kept, STAT, Truth, plain, shown, takes};
use platform::sys::attr;
use platform::sys::xattr::Pair;
use protocol::{Name, NodeKind};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Beside the orphans, which have numbers for names.
const NEW: &str = "refit";

impl Applier {
    /// Whether something was changed.
    pub(super) fn refit(&self, dir: BorrowedFd<'_>, name: &Name, stat: &Stat, pairs: &[Pair]) -> bool {
        if self.is_exact() && !self.limits.refuse_devices {
            return false;
        }
        let kept = pairs.iter().find(|(name, _)| name == STAT).and_then(|(_, value)| Kept::parse(value));
        let done = self.refit_node(dir, name, stat, kept.as_ref(), pairs);
        done.unwrap_or_else(|fault| {
            // It is as good as it was.
            tracing::debug!(name = %self.home.name, entry = %name, "cannot be put in force: {}", fault.text);
            false
        })
    }

    fn refit_node(
        &self,
        dir: BorrowedFd<'_>,
        name: &Name,
        stat: &Stat,
        kept: Option<&Kept>,
        pairs: &[Pair],
    ) -> Result<bool, Fault> {
        let truth = Truth::of(stat, kept);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_device = |kind: &NodeKind| matches!(kind, NodeKind::CharDevice(_) | NodeKind::BlockDevice(_));
        let node = open_name(dir, name.as_bytes())?;
        let fd = node.as_fd();
        match &truth.special {
            Some(special) if self.root && !(is_device(special) && self.limits.refuse_devices) => {
                return self.swap(dir, name, stat, special, &truth, pairs);
            }
            Some(_) => return Ok(false),
            None => {}
        }
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            let kind = attr::kind(fd, stat)?;
            return if self.limits.refuse_devices {
                self.swap(dir, name, stat, &kind, &truth, pairs)
            } else {
                Ok(false)
            };
        }
        if !takes(stat) {
            return Ok(false);
        }
        let mut changed = false;
        let exposed = self.limits.strip_setuid && kind == FileType::RegularFile && attr::perm(stat) & 0o6000 != 0;
        let owned = kept.is_none_or(|kept| (kept.owner.uid, kept.owner.gid) == (stat.st_uid, stat.st_gid));
        let holds_back = kept.is_some_and(|kept| self.root && (!owned || self.here(kind, &truth, true) != kept.here));
        if exposed || holds_back {
            self.save_node(fd)?;
            self.force(fd, stat, &truth, kept)?;
            changed = true;
        }
        for (stored, value) in pairs {
            let name = match plain(stored) {
                Some(kept) if self.root && !self.keeps_xattr(kept) => kept,
                None if stored == CAPABILITY && self.limits.strip_setuid => CAPABILITY,
                _ => continue,
            };
            self.save_node(fd)?;
            self.put_xattr(fd, name, Some(value))?;
            changed = true;
        }
        Ok(changed)
    }

    fn save_node(&self, fd: BorrowedFd<'_>) -> Result<(), Fault> {
        self.home.undo.node(fd)?;
        Ok(self.home.undo.sync()?)
    }

    /// Another node takes a node's place in one step, with everything that the source knows of it.
    fn swap(
        &self,
        dir: BorrowedFd<'_>,
        name: &Name,
        stat: &Stat,
        kind: &NodeKind,
        truth: &Truth,
        pairs: &[Pair],
    ) -> Result<bool, Fault> {
        if stat.st_nlink > 1 {
            return Ok(false);
        }
        let place = self.home.orphans.as_fd();
        match rustix::fs::unlinkat(place, NEW, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let above = attr::stat(dir)?;
        let new = Name::new(NEW.as_bytes()).map_err(|e| Fault::damage(e.to_string()))?;
        let node = self.make(place, &new, kind, truth.owner, truth.mode)?;
        let fd = node.as_fd();
        if takes(&attr::stat(fd)?) && takes(stat) {
            // It could not be made this time either.
            rustix::fs::unlinkat(place, NEW, AtFlags::empty())?;
            return Ok(false);
        }
        self.settle(fd, truth.owner, truth.mode)?;
        let (pairs, _) = shown(pairs.to_vec(), attr::perm(stat));
        let wanted: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        self.settle_xattrs(fd, &wanted)?;
        self.settle(fd, truth.owner, truth.mode)?;
        attr::set_times(fd, Some(attr::atime(stat)), Some(attr::mtime(stat)))?;
        let undo = &self.home.undo;
        undo.name(dir, name.as_bytes())?;
        undo.sync()?;
        undo.replacing(dir, name.as_bytes(), false)?;
        let placed = rustix::fs::renameat(place, NEW, dir, name.as_bytes());
        undo.replaced()?;
        placed?;
        attr::set_times(dir, Some(attr::atime(&above)), Some(attr::mtime(&above)))?;
        Ok(true)
    }
}
