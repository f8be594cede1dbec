//! Names that go or move: unlink, rmdir, rename.

use crate::fs::{Caller, Done, Failed, Fs, name};
use platform::killpoint::{self, KillPoint};
use platform::sys::creds::creating_as;
use platform::sys::{attr, dir};
use platform::tree::{Names, Node};
use protocol::{Name, NodeKind, Op, RenameKind, Time};
use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;
use srm::{Gone, Proposed, Renamed, Ticket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A name in its directory, and the node that has it.
struct Found {
    node: Arc<Node>,
    stat: Stat,
    /// The node was known before.
    known: bool,
}

impl Found {
    /// Without this name the node has none.
    fn is_last_name(&self) -> bool {
        self.node.is_dir() || self.stat.st_nlink == 1
    }
}

/// One side of an operation on names.
struct Side {
    dir: Arc<Node>,
    fd: Arc<OwnedFd>,
    name: Name,
}

/// A time that is not known yet.
const UNKNOWN: Time = Time { secs: 0, nanos: 0 };

/// What it is for a node to lose this name; `found` is as it is before.
fn departing(side: &Side, found: &Found) -> Gone {
    let node = &found.node;
    let last = node.other_link(&side.dir, &side.name).is_none();
    let directory = node.is_dir();
    let links_left = if directory { 0 } else { found.stat.st_nlink.saturating_sub(1) };
    let orphan = last && !directory && (node.is_open() || (found.known && links_left > 0));
    Gone { node: node.id(), ino: node.ino(), links_left, orphan, directory }
}

/// `renameat2(2)`'s flags; `EINVAL` for others.
fn rename_kind(flags: u32) -> io::Result<(RenameKind, RenameFlags)> {
    const WHITEOUT_NOREPLACE: u32 = libc::RENAME_WHITEOUT | libc::RENAME_NOREPLACE;
    match flags {
        libc::RENAME_WHITEOUT => Ok((RenameKind::Replace, RenameFlags::WHITEOUT)),
        WHITEOUT_NOREPLACE => Ok((RenameKind::NoReplace, RenameFlags::WHITEOUT | RenameFlags::NOREPLACE)),
        0 => Ok((RenameKind::Replace, RenameFlags::empty())),
        libc::RENAME_NOREPLACE => Ok((RenameKind::NoReplace, RenameFlags::NOREPLACE)),
        libc::RENAME_EXCHANGE => Ok((RenameKind::Exchange, RenameFlags::EXCHANGE)),
        _ => Err(Errno::INVAL.into()),
    }
}

impl Fs {
    /// Removes a name that is no directory's.
    pub(crate) fn unlink(&self, parent: u64, text: &OsStr) -> Result<Done<()>, Failed> {
        self.remove(parent, text, AtFlags::empty())
    }

    /// Removes an empty directory.
    pub(crate) fn rmdir(&self, parent: u64, text: &OsStr) -> Result<Done<()>, Failed> {
        self.remove(parent, text, AtFlags::REMOVEDIR)
    }

    fn remove(&self, parent: u64, text: &OsStr, flags: AtFlags) -> Result<Done<()>, Failed> {
        let name = name(text)?;
        let dir = self.node(parent)?;
        self.srm.preheat_names(&dir);
        let mut names = self.tree.names().write();
        let side = Side { fd: self.directory(&names, &dir)?, dir, name };
        let found = self.find(&names, &side)?;
        if found.is_last_name() {
            self.keep(&found.node, side.fd.as_fd(), &side.name);
        }
        let result = self.remove_found(&mut names, &side, &found, flags);
        if result.is_err() {
            self.removed.let_go(found.node.ino());
        }
        drop(names);
        self.tree.settle(found.node);
        result
    }

    fn remove_found(&self, names: &mut Names, side: &Side, found: &Found, flags: AtFlags) -> Result<Done<()>, Failed> {
        self.srm.heat_names(names, &side.dir);
        let proposed = self.propose_gone(names, side, found, flags)?;
        let removed = rustix::fs::unlinkat(&side.fd, side.name.as_os_str(), flags);
        let ((), _proposed) = self.decided(names, proposed, removed.map_err(Into::into))?;
        let parent_mtime = self.parent_mtime(side.fd.as_fd())?;
        let gone = self.lost_name(names, side, found);
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.unlinked(names, &side.dir, &side.name, gone, parent_mtime);
        killpoint::pass(KillPoint::Numbered);
        Ok(Done { value: (), ticket })
    }

    /// Proposes that a name goes. What cannot go is not.
    fn propose_gone(&self, names: &Names, side: &Side, found: &Found, flags: AtFlags) -> io::Result<Option<Proposed>> {
        let directory = flags.contains(AtFlags::REMOVEDIR);
        if !self.srm.proposes() || directory != found.node.is_dir() || !self.can_go(names, found)? {
            return Ok(None);
        }
        Ok(self.srm.propose_unlink(names, &side.dir, &side.name, &departing(side, found))?)
    }

    /// Whether it is no directory, or an empty one.
    fn can_go(&self, names: &Names, found: &Found) -> io::Result<bool> {
        Ok(!found.node.is_dir() || dir::is_empty(self.directory(names, &found.node)?.as_fd())?)
    }

    fn find(&self, names: &Names, side: &Side) -> io::Result<Found> {
        let (node, stat, known) = self.tree.find_at(names, side.fd.as_fd(), &side.dir, &side.name)?;
        self.adopt(names, &node);
        Ok(Found { node, stat, known })
    }

    /// Moves a name: `renameat2(2)` with its flags.
    pub(crate) fn rename(
        &self,
        caller: Caller,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: u32,
    ) -> Result<Done<()>, Failed> {
        let (kind, flags) = rename_kind(flags)?;
        let (from_name, to_name) = (name(from.1)?, name(to.1)?);
        let (from_dir, to_dir) = (self.node(from.0)?, self.node(to.0)?);
        for dir in [&from_dir, &to_dir] {
            self.srm.preheat_names(dir);
        }
        let mut names = self.tree.names().write();
        let from = Side { fd: self.directory(&names, &from_dir)?, dir: from_dir, name: from_name };
        let to = Side { fd: self.directory(&names, &to_dir)?, dir: to_dir, name: to_name };
        self.check_path(&names, &to.dir, &to.name)?;
        let moved = self.find(&names, &from)?;
        let there = match self.find(&names, &to) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let replaced = there.as_ref().filter(|found| kind != RenameKind::Exchange && found.is_last_name());
        if let Some(found) = replaced {
            self.keep(&found.node, to.fd.as_fd(), &to.name);
        }
        let result = self.rename_found(&mut names, caller, (&from, &to), (&moved, there.as_ref()), kind, flags);
        if let (Some(found), Err(_)) = (replaced, &result) {
            self.removed.let_go(found.node.ino());
        }
        drop(names);
        for found in [Some(moved), there].into_iter().flatten() {
            self.tree.settle(found.node);
        }
        result
    }

    fn rename_found(
        &self,
        names: &mut Names,
        caller: Caller,
        (from, to): (&Side, &Side),
        (moved, there): (&Found, Option<&Found>),
        kind: RenameKind,
        flags: RenameFlags,
    ) -> Result<Done<()>, Failed> {
        for side in [from, to] {
            self.srm.heat_names(names, &side.dir);
        }
        self.srm.heat_moved(names, &moved.node);
        if let (RenameKind::Exchange, Some(there)) = (kind, there) {
            self.srm.heat_moved(names, &there.node);
        }
        let exchanged = if kind == RenameKind::Exchange { there } else { None };
        let replaced = if exchanged.is_some() { None } else { there };
        let mut renamed = Renamed {
            from_dir: &from.dir,
            from: &from.name,
            to_dir: &to.dir,
            to: &to.name,
            kind,
            node: &moved.node,
            other: exchanged.map(|found| &found.node),
            replaced: replaced.map(|found| departing(to, found)),
            from_parent_mtime: UNKNOWN,
            to_parent_mtime: UNKNOWN,
        };
        let rename =
            || Ok(rustix::fs::renameat_with(&from.fd, from.name.as_os_str(), &to.fd, to.name.as_os_str(), flags)?);
        let proposed = self.propose_rename(names, &renamed, moved, there)?;
        let whiteout = flags.contains(RenameFlags::WHITEOUT);
        // A whiteout belongs to who makes it.
        let result = if whiteout { creating_as(caller.ids(), 0, false, rename) } else { rename() };
        let ((), _proposed) = self.decided(names, proposed, result)?;
        if there.is_some_and(|there| Arc::ptr_eq(&there.node, &moved.node)) {
            // Two names of one node: a rename leaves both, an exchange changes nothing but the times of the directories.
            let ticket = match kind {
                RenameKind::Exchange => self.touched(names, [from, to])?,
                RenameKind::Replace | RenameKind::NoReplace => Ticket::NONE,
            };
            return Ok(Done { value: (), ticket });
        }
        renamed.from_parent_mtime = self.parent_mtime(from.fd.as_fd())?;
        renamed.to_parent_mtime = self.parent_mtime(to.fd.as_fd())?;
        renamed.replaced = replaced.map(|found| self.lost_name(names, to, found));
        if let Some(other) = exchanged {
            other.node.move_link(names, (&to.dir, &to.name), (&from.dir, &from.name));
        }
        moved.node.move_link(names, (&from.dir, &from.name), (&to.dir, &to.name));
        killpoint::pass(KillPoint::Changed);
        let ticket = self.srm.renamed(names, &renamed);
        killpoint::pass(KillPoint::Numbered);
        let ticket = if whiteout {
            self.left_whiteout(names, from).inspect_err(|_| {
                self.srm.lost_track("a whiteout that a rename left could not be read; all will be compared");
            })?
        } else {
            ticket
        };
        Ok(Done { value: (), ticket })
    }

    /// Proposes a rename. What cannot be, or changes nothing, is not.
    fn propose_rename(
        &self,
        names: &Names,
        renamed: &Renamed<'_>,
        moved: &Found,
        there: Option<&Found>,
    ) -> io::Result<Option<Proposed>> {
        if !self.srm.proposes() {
            return Ok(None);
        }
        let can = match (renamed.kind, there) {
            (_, Some(there)) if Arc::ptr_eq(&there.node, &moved.node) => false,
            (RenameKind::Exchange, there) => there.is_some(),
            (RenameKind::NoReplace, there) => there.is_none(),
            (RenameKind::Replace, None) => true,
            (RenameKind::Replace, Some(there)) => {
                there.node.is_dir() == moved.node.is_dir() && self.can_go(names, there)?
            }
        };
        if can { Ok(self.srm.propose_rename(names, renamed)?) } else { Ok(None) }
    }

    /// A rename left a whiteout (a device 0:0) under the old name.
    fn left_whiteout(&self, names: &mut Names, from: &Side) -> io::Result<Ticket> {
        let (node, stat) = self.tree.lookup_at(names, from.fd.as_fd(), &from.dir, &from.name, 0)?;
        let parent_mtime = self.parent_mtime(from.fd.as_fd())?;
        let kind = NodeKind::CharDevice(stat.st_rdev);
        let attrs = attr::attrs(&stat);
        let ticket = self.srm.created(names, &from.dir, &from.name, &node, kind, attrs, parent_mtime);
        self.tree.settle(node);
        Ok(ticket)
    }

    fn touched(&self, names: &Names, sides: [&Side; 2]) -> io::Result<Ticket> {
        let mut ticket = Ticket::NONE;
        for side in sides {
            let stat = attr::stat(&side.fd)?;
            let mtime = Some(attr::mtime(&stat));
            ticket = self.record(names, &side.dir, &stat, &[], |place| Op::SetAttr {
                place,
                size: None,
                owner: None,
                mode: None,
                atime: None,
                mtime,
            });
        }
        Ok(ticket)
    }

    /// A name is gone: notes it, and decides whether the target is to keep the node as an orphan (R8). `found` is as it was
    /// before.
    fn lost_name(&self, names: &mut Names, side: &Side, found: &Found) -> Gone {
        let node = &found.node;
        let gone = departing(side, found);
        node.remove_link(names, &side.dir, &side.name);
        if gone.directory {
            self.tree.close_directory(node);
        }
        if gone.orphan {
            node.set_orphan(true);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unknown_rename_flags_are_invalid() {
        assert_eq!(rename_kind(libc::RENAME_EXCHANGE).unwrap().0, RenameKind::Exchange);
        let exchange = libc::RENAME_EXCHANGE;
        for flags in [exchange | libc::RENAME_WHITEOUT, exchange | libc::RENAME_NOREPLACE, 1 << 20] {
            assert_eq!(rename_kind(flags).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }
}
