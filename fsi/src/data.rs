//! Open files: open, read, write, fsync, release. Allocation and copying stand in `space`.

use crate::files::OpenFile;
use crate::fs::{Caller, Done, Failed, Fs};
use crate::written_back::keep_time;
use platform::sys::attr;
use platform::sys::creds::writing_as;
use platform::tree::{Names, Node};
use protocol::Op;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use srm::{Asked, Ticket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What of an application's open flags the backing file is opened with. The rest is the kernel's affair (`O_NOFOLLOW`),
/// comes as requests of its own (`O_TRUNC`, `O_SYNC`) or would falsify what is recorded (`O_APPEND`).
/// Who gathers writes reads what is around them.
pub(crate) fn backing_flags(flags: i32, gathers: bool) -> OFlags {
    let kept = OFlags::RDWR | OFlags::WRONLY | OFlags::NOATIME;
    let flags = OFlags::from_bits_truncate(flags.cast_unsigned()) & kept;
    if gathers && flags.contains(OFlags::WRONLY) { (flags - OFlags::WRONLY) | OFlags::RDWR } else { flags }
}

/// Whether the kernel keeps the pages of a file that is opened so. One that cannot be read cannot be mapped, and where nothing is gathered its writes are better
/// passed on whole.
pub(crate) fn is_cached(flags: i32, gathers: bool) -> bool {
    gathers || flags & libc::O_ACCMODE != libc::O_WRONLY
}

/// What a write makes durable before it returns (R11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    No,
    /// `O_DSYNC`.
    Data,
    /// `O_SYNC`.
    All,
}

impl Durable {
    /// As the open file's flags say.
    pub(crate) fn from_flags(flags: i32) -> Self {
        // O_SYNC contains O_DSYNC.
        match flags & libc::O_SYNC {
            libc::O_SYNC => Self::All,
            0 => Self::No,
            _ => Self::Data,
        }
    }

    fn make(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::No => Ok(()),
            Self::Data => Ok(rustix::fs::fdatasync(fd)?),
            Self::All => Ok(rustix::fs::fsync(fd)?),
        }
    }
}

/// A write that is waited for is carried out and sent in such pieces.
const PIECE_BYTES: usize = 256 << 10;

/// How a write comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Setuid and setgid are to be cleared, because of its caller.
    pub kills: bool,
    pub durable: Durable,
    /// Pages that the kernel writes back: nothing is waited for.
    pub written_back: bool,
}

impl Fs {
    /// Opens a regular file; its handle. `flags` as `open(2)` has them.
    pub(crate) fn open(&self, ino: u64, flags: i32, caller: Caller) -> io::Result<u64> {
        let node = self.node(ino)?;
        let names = self.tree.names().read();
        self.open_file(&names, &node, flags, caller)
    }

    pub(crate) fn open_file(&self, names: &Names, node: &Arc<Node>, flags: i32, caller: Caller) -> io::Result<u64> {
        // All other kinds are opened in the kernel; opening a pipe here could wait forever.
        if node.kind() != FileType::RegularFile {
            return Err(Errno::STALE.into());
        }
        let mut cached = is_cached(flags, self.gathers());
        let fd = match self.open_node(names, node, backing_flags(flags, self.gathers())) {
            // An ordinary user's daemon may write it and not read it: nothing of it is gathered.
            Err(error) if !is_cached(flags, false) && Errno::from_io_error(&error) == Some(Errno::ACCESS) => {
                cached = false;
                self.open_node(names, node, backing_flags(flags, false))?
            }
            opened => opened?,
        };
        // Under the node's lock: the last close of an orphan ends it.
        let _lock = node.lock.lock();
        node.opened();
        Ok(self.files.insert(OpenFile::new(fd, Arc::clone(node), caller, (flags, cached))))
    }

    /// Closes a file. The last close of an orphan ends it on the target.
    pub(crate) fn release(&self, number: u64) {
        let Some(file) = self.files.remove(number) else { return };
        let node = Arc::clone(&file.node);
        // Nobody else has the file any more, unless its last write is just being answered.
        drop(file);
        if !node.has_name() {
            self.removed.was_let_go();
        }
        {
            let names = self.tree.names().read();
            let _lock = node.lock.lock();
            if node.closed().0 == 0 {
                if let Some(written_back) = &self.written_back {
                    written_back.closed(node.ino());
                }
                self.reap(&names, &node);
            }
        }
        self.tree.settle(node);
    }

    /// Reads into `buffer`; how much there was.
    pub(crate) fn read(&self, number: u64, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.files.get(number)?;
        Ok(rustix::io::pread(&file.fd, buffer, offset)?)
    }

    /// The next data or hole at or after `offset`: `lseek(2)` with `SEEK_DATA` or `SEEK_HOLE`.
    pub(crate) fn lseek(&self, number: u64, offset: i64, whence: i32) -> io::Result<u64> {
        let file = self.files.get(number)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let to = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL.into()),
        };
        Ok(rustix::fs::seek(&file.fd, to)?)
    }

    /// Writes at `offset`; how much was written.
    pub(crate) fn write(
        &self,
        caller: Caller,
        file: &OpenFile,
        offset: u64,
        data: &[u8],
        Manner { kills, durable, written_back }: Manner,
    ) -> Result<Done<u32>, Failed> {
        if data.is_empty() {
            return Ok(Done { value: 0, ticket: Ticket::NONE });
        }
        self.preheat(file);
        let names = self.tree.names().read();
        let lock = file.node.lock.lock();
        self.srm.heat_content(&names, &file.node);
        // What somebody waits for is on its way while the rest is being written.
        let whole = durable != Durable::No || written_back || !self.srm.is_waited_for();
        let manner = Manner { kills, durable, written_back };
        let mut done = Done { value: 0, ticket: Ticket::NONE };
        for piece in data.chunks(if whole { data.len() } else { PIECE_BYTES }) {
            match self.write_piece(caller, &names, file, offset + u64::from(done.value), piece, manner) {
                Ok(next) => {
                    done = Done { value: done.value + next.value, ticket: next.ticket };
                    if (next.value as usize) < piece.len() {
                        break;
                    }
                }
                Err(failed) if done.value == 0 => return Err(failed),
                // As any write that comes to the end of the room: the next one is told.
                Err(failed) => {
                    done.ticket = if failed.ticket == Ticket::NONE { done.ticket } else { failed.ticket };
                    break;
                }
            }
        }
        drop(lock);
        drop(names);
        durable.make(file.fd.as_fd()).map_err(|error| Failed { error, ticket: done.ticket })?;
        Ok(done)
    }

    /// One record's part of a write; the caller holds both locks.
    fn write_piece(
        &self,
        caller: Caller,
        names: &Names,
        file: &OpenFile,
        offset: u64,
        data: &[u8],
        Manner { kills, durable, written_back }: Manner,
    ) -> Result<Done<u32>, Failed> {
        let fd = file.fd.as_fd();
        let before = self.perm_before(fd)?;
        let kept = if written_back && self.gathers() { Some(attr::stat(fd)?) } else { None };
        let op = |place, mtime, mode| Op::Write { place, offset, mtime, mode, durable: durable != Durable::No };
        let first = |place| op(place, srm::now(), None);
        let proposed = if written_back { None } else { self.propose(names, &file.node, data, first)? };
        let asked = proposed.is_some();
        let result = writing_as(caller.ids(), || rustix::io::pwrite(fd, data, offset)).and_then(|done| Ok(done?));
        let decided = self.decided(names, proposed, result);
        if let Some(kept) = kept {
            keep_time(&file.node, fd, &kept);
        }
        if let (Err(error), false) = (&decided, asked) {
            self.refused(names, file, before, (offset, data.len() as u64), error);
        }
        let (written, mut proposed) = decided?;
        if written < data.len() {
            self.srm.put_back(names, proposed.take());
        }
        let ticket = if before.is_none() && !kills && self.srm.is_bypassed() {
            Ticket::NONE
        } else {
            let stat = attr::stat(fd)?;
            let mode = self.killed(&file.node, fd, &stat, kills.then_some(caller), before);
            self.record(names, &file.node, &stat, &data[..written], |place| op(place, attr::mtime(&stat), mode))
        };
        if let (Some(late), true) = (&self.written_back, written_back) {
            late.add(file.node.ino(), ticket);
        }
        drop(proposed);
        // A request carries at most 1 MiB.
        let value = u32::try_from(written).unwrap_or(u32::MAX);
        Ok(Done { value, ticket })
    }

    /// Clears setuid and setgid if `kill` says so; the resulting permission bits if they changed, by this or since `before`.
    pub(crate) fn killed(
        &self,
        node: &Node,
        fd: BorrowedFd<'_>,
        stat: &Stat,
        kill: Option<Caller>,
        before: Option<u32>,
    ) -> Option<u32> {
        let perm = attr::perm(stat);
        let safe = kill.map_or(perm, |caller| without_privilege(perm, || caller.in_group(stat.st_gid)));
        if safe != perm {
            match rustix::fs::fchmod(fd, Mode::from_raw_mode(safe)) {
                Ok(()) => {
                    self.attributes_changed(node);
                    return Some(safe);
                }
                Err(error) => {
                    let ino = node.ino();
                    tracing::error!(ino, %error, "setuid and setgid could not be cleared after a write");
                }
            }
        }
        let changed = before.is_some_and(|before| before != perm);
        if changed {
            self.attributes_changed(node);
        }
        changed.then_some(perm)
    }

    /// Makes a file durable.
    pub(crate) fn fsync(&self, number: u64, data_only: bool) -> Result<Done<()>, Failed> {
        let file = self.files.get(number)?;
        self.sync(&file.node, file.fd.as_fd(), data_only)
    }

    /// Numbered under the lock, executed outside it (R11).
    pub(crate) fn sync(&self, node: &Arc<Node>, fd: BorrowedFd<'_>, data_only: bool) -> Result<Done<()>, Failed> {
        let (ticket, asked) = {
            let names = self.tree.names().read();
            let _lock = node.lock.lock();
            // Without a look at the file: one that is asked for its times writes them with every write (Linux 6.13).
            if !node.has_name() && !node.is_orphan() {
                (Ticket::NONE, None)
            } else if let Some(asked) = self.srm.propose_fsync(&names, node, data_only)? {
                (Ticket::NONE, Some(asked))
            } else {
                (self.srm.on_node(&names, node, &[], |place| Op::Fsync { place, data_only }), None)
            }
        };
        let result = if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) };
        // Nothing is locked any more.
        asked.map_or(Ok(()), Asked::wait)?;
        match result {
            Ok(()) => Ok(Done { value: (), ticket }),
            Err(error) => Err(Failed { error: error.into(), ticket }),
        }
    }
}

/// Permission bits after a change of content by somebody who may not keep setuid and setgid. Setgid without execution for
/// the group stays for members of the group, as in the kernel (`setattr_should_drop_sgid`).
pub(crate) fn without_privilege(perm: u32, member: impl FnOnce() -> bool) -> u32 {
    let keeps = perm & libc::S_ISGID != 0 && perm & libc::S_IXGRP == 0 && member();
    let setgid = if keeps { 0 } else { libc::S_ISGID };
    perm & !(libc::S_ISUID | setgid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_access_mode_reaches_the_backing_file() {
        let all = libc::O_RDWR | libc::O_APPEND | libc::O_DIRECT | libc::O_SYNC | libc::O_TRUNC | libc::O_CREAT;
        assert_eq!(backing_flags(all | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_NONBLOCK, false), OFlags::RDWR);
        assert_eq!(backing_flags(libc::O_WRONLY | libc::O_NOATIME, false), OFlags::WRONLY | OFlags::NOATIME);
        assert_eq!(backing_flags(libc::O_WRONLY | libc::O_NOATIME, true), OFlags::RDWR | OFlags::NOATIME);
        assert_eq!(backing_flags(libc::O_RDONLY, true), OFlags::RDONLY);
        assert!(is_cached(libc::O_WRONLY, true) && !is_cached(libc::O_WRONLY, false) && is_cached(libc::O_RDWR, false));
    }

    #[test]
    fn sync_flags_are_told_apart() {
        assert_eq!(Durable::from_flags(libc::O_RDWR), Durable::No);
        assert_eq!(Durable::from_flags(libc::O_DSYNC), Durable::Data);
        assert_eq!(Durable::from_flags(libc::O_SYNC | libc::O_WRONLY), Durable::All);
    }

    #[test]
    fn setgid_without_group_execution_is_no_privilege() {
        assert_eq!(without_privilege(0o6755, || true), 0o755);
        assert_eq!(without_privilege(0o6745, || true), 0o2745);
        assert_eq!(without_privilege(0o6745, || false), 0o745);
        assert_eq!(without_privilege(0o1644, || false), 0o1644);
    }
}
