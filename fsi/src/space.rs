//! Space: allocation, holes, copying from file to file.

use crate::files::OpenFile;
use crate::fs::{Caller, Done, Failed, Fs};
use platform::sys::creds::writing_as;
use platform::sys::{attr, extent};
use platform::tree::{Names, Node};
use protocol::{AllocateMode, CHUNK_BYTES, Op};
use rustix::fs::{FallocateFlags, OFlags, Stat};
use rustix::io::Errno;
use srm::{Proposed, Ticket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Longest copy in one step, in bytes: both files are locked, and no name can change, while it lasts. Applications go on
/// with the rest.
const COPY_BYTES: u64 = 16 << 20;

/// What `fallocate(2)` is asked for; `EOPNOTSUPP` for what has no record (collapse, insert, unshare).
fn allocate_mode(mode: i32) -> io::Result<(AllocateMode, FallocateFlags)> {
    let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
    let keep = FallocateFlags::KEEP_SIZE;
    let mode = match flags {
        f if f.is_empty() => AllocateMode::Allocate,
        f if f == keep => AllocateMode::KeepSize,
        f if f == FallocateFlags::PUNCH_HOLE | keep => AllocateMode::Punch,
        f if f == FallocateFlags::ZERO_RANGE => AllocateMode::Zero,
        f if f == FallocateFlags::ZERO_RANGE | keep => AllocateMode::ZeroKeepSize,
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    Ok((mode, flags))
}

/// Where bytes are read that are to be shipped.
struct Content<'a> {
    fd: BorrowedFd<'a>,
    offset: u64,
}

impl Fs {
    /// `fallocate(2)`; `mode` as it has it.
    pub(crate) fn fallocate(
        &self,
        caller: Caller,
        file: &OpenFile,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<Done<()>, Failed> {
        let (mode, flags) = allocate_mode(mode)?;
        let (node, fd) = (&file.node, file.fd.as_fd());
        self.preheat(file);
        let names = self.tree.names().read();
        let _lock = node.lock.lock();
        self.srm.heat_content(&names, node);
        let before = attr::stat(fd)?;
        let op = |place, mtime, perm| Op::Allocate { place, mode, offset, len, mtime, perm };
        let proposed = self.propose(&names, node, &[], |place| op(place, srm::now(), None))?;
        let asked = proposed.is_some();
        let result = writing_as(caller.ids(), || rustix::fs::fallocate(fd, flags, offset, len));
        let result = self.decided(&names, proposed, result.and_then(|done| Ok(done?)));
        let stat = attr::stat(fd)?;
        if let Err(error) = result {
            if asked {
                return Err(error.into());
            }
            let ticket = self.half_allocated(&names, file, (&before, &stat), mode, offset, len);
            return Err(Failed { error, ticket });
        }
        let perm = self.killed(node, fd, &stat, caller.loses_privilege(), Some(attr::perm(&before)));
        let ticket = self.record(&names, node, &stat, &[], |place| op(place, attr::mtime(&stat), perm));
        Ok(Done { value: (), ticket })
    }

    /// A call that failed half-way has changed the size, or zeroed a part: the result is shipped.
    fn half_allocated(
        &self,
        names: &Names,
        file: &OpenFile,
        (before, stat): (&Stat, &Stat),
        mode: AllocateMode,
        offset: u64,
        len: u64,
    ) -> Ticket {
        let same = before.st_size == stat.st_size
            && attr::mtime(before) == attr::mtime(stat)
            && attr::ctime(before) == attr::ctime(stat);
        if same {
            return Ticket::NONE;
        }
        let zeroes = matches!(mode, AllocateMode::Punch | AllocateMode::Zero | AllocateMode::ZeroKeepSize);
        if zeroes {
            let end = offset.saturating_add(len).min(stat.st_size.cast_unsigned());
            let shipped = self.open_node(names, &file.node, OFlags::RDONLY).and_then(|reader| {
                let content = Content { fd: reader.as_fd(), offset };
                self.ship(names, file, stat, &content, offset, end.saturating_sub(offset))
            });
            if let Err(error) = shipped {
                let ino = file.node.ino();
                tracing::error!(ino, %error, "a file that fallocate left half-changed could not be read");
                self.srm.lost_track("a file was left half-changed and could not be read; all will be compared");
            }
        }
        self.resized(names, &file.node, stat)
    }

    fn resized(&self, names: &Names, node: &Arc<Node>, stat: &Stat) -> Ticket {
        self.record(names, node, stat, &[], |place| Op::SetAttr {
            place,
            size: Some(stat.st_size.cast_unsigned()),
            owner: None,
            mode: None,
            atime: None,
            mtime: Some(attr::mtime(stat)),
        })
    }

    /// A write that failed, for want of room for instance, has moved times all the same, may have taken setuid and setgid away, made data of holes, and given
    /// back what was reserved behind the end of the file: what resulted is shipped. Nobody waits for that, because nobody is told that anything was done; so
    /// such a write may be begun anew. The caller holds the node's lock.
    pub(crate) fn refused(
        &self,
        names: &Names,
        file: &OpenFile,
        before: Option<u32>,
        (offset, len): (u64, u64),
        why: &io::Error,
    ) {
        // Blocks are looked for, and found for a part, where there is too little room only.
        let looked = matches!(Errno::from_io_error(why), Some(Errno::NOSPC | Errno::DQUOT));
        if let Err(error) = self.ship_refused(names, file, before, (offset, len), looked) {
            let ino = file.node.ino();
            tracing::error!(ino, %error, "a file that could not be written could not be looked at");
            self.srm.lost_track("a file was touched and could not be looked at; all will be compared");
        }
    }

    fn ship_refused(
        &self,
        names: &Names,
        file: &OpenFile,
        before: Option<u32>,
        (offset, len): (u64, u64),
        looked: bool,
    ) -> io::Result<Ticket> {
        let (node, stat) = (&file.node, attr::stat(&file.fd)?);
        let mode = self.killed(node, file.fd.as_fd(), &stat, None, before);
        let (size, mtime) = (stat.st_size.cast_unsigned(), attr::mtime(&stat));
        let end = offset.saturating_add(len);
        if looked && offset < size {
            let reader = self.open_node(names, node, OFlags::RDONLY)?;
            for segment in extent::segments(file.fd.as_fd(), offset, end.min(size) - offset)? {
                // Data that was there before is as it was; what was a hole is zeros.
                let mut data = vec![0; usize::try_from(segment.len.min(CHUNK_BYTES)).unwrap_or(0)];
                let mut at = segment.offset;
                while !segment.hole && at < segment.offset + segment.len {
                    let got = rustix::io::pread(&reader, &mut data[..], at)?;
                    let piece = &data[..got.min(usize::try_from(segment.offset + segment.len - at).unwrap_or(got))];
                    if piece.is_empty() {
                        break;
                    }
                    if piece.iter().all(|byte| *byte == 0) {
                        let op = |place| Op::Write { place, offset: at, mtime, mode: None, durable: false };
                        let _later = self.record(names, node, &stat, piece, op);
                    }
                    at += piece.len() as u64;
                }
            }
        }
        // A write beyond the end that fails is cut off there.
        let size = (end > size).then_some(size);
        let op = |place| Op::SetAttr { place, size, owner: None, mode, atime: None, mtime: Some(mtime) };
        Ok(self.record(names, node, &stat, &[], op))
    }

    /// `copy_file_range(2)`; how much was copied. Where the input is not clean on the target the bytes are shipped (R9).
    pub(crate) fn copy(
        &self,
        caller: Caller,
        from: &OpenFile,
        from_offset: u64,
        to: &OpenFile,
        to_offset: u64,
        len: u64,
    ) -> Result<Done<u32>, Failed> {
        self.preheat(to);
        let names = self.tree.names().read();
        let _locks = Node::lock_both(&from.node, &to.node);
        self.srm.heat_content(&names, &to.node);
        let before = self.perm_before(to.fd.as_fd())?;
        let read_before = attr::atime(&attr::stat(&from.fd)?);
        let most = if self.srm.takes_copies() { COPY_BYTES } else { CHUNK_BYTES };
        let (len, proposed) = self.propose_copy(&names, (from, from_offset), (to, to_offset), len.min(most))?;
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        let (mut read_at, mut write_at) = (from_offset, to_offset);
        let copy = || rustix::fs::copy_file_range(&from.fd, Some(&mut read_at), &to.fd, Some(&mut write_at), wanted);
        let asked = proposed.is_some();
        let result = writing_as(caller.ids(), copy).and_then(|done| Ok(done?));
        let decided = self.decided(&names, proposed, result);
        if let (Err(error), false) = (&decided, asked) {
            self.refused(&names, to, before, (to_offset, len), error);
        }
        let (copied, mut proposed) = decided?;
        if copied < wanted {
            self.srm.put_back(&names, proposed.take());
        }
        if copied == 0 {
            return Ok(Done { value: 0, ticket: Ticket::NONE });
        }
        let stat = attr::stat(&to.fd)?;
        // The kernel does not know that its input was read here.
        if attr::atime(&attr::stat(&from.fd)?) != read_before {
            self.attributes_changed(&from.node);
        }
        let perm = self.killed(&to.node, to.fd.as_fd(), &stat, caller.loses_privilege(), before);
        let len = copied as u64;
        let mtime = attr::mtime(&stat);
        let sent = self.srm.on_copy(&names, &from.node, &to.node, |from, to| Op::CopyRange {
            from,
            from_offset,
            to,
            to_offset,
            len,
            mtime,
            perm,
        });
        let ticket = if let Ok(ticket) = sent {
            ticket
        } else {
            let content = Content { fd: from.fd.as_fd(), offset: from_offset };
            self.ship(&names, to, &stat, &content, to_offset, len).inspect_err(|_| {
                self.srm.lost_track("what was copied into a file could not be read; all will be compared");
            })?
        };
        Ok(Done { value: u32::try_from(copied).unwrap_or(u32::MAX), ticket })
    }

    /// Proposes a copy; how much is to be copied then. Of what cannot be described as a copy the bytes are proposed. Both files are locked.
    fn propose_copy(
        &self,
        names: &Names,
        (from, from_offset): (&OpenFile, u64),
        (to, to_offset): (&OpenFile, u64),
        len: u64,
    ) -> io::Result<(u64, Option<Proposed>)> {
        if !self.srm.proposes() {
            return Ok((len, None));
        }
        let there = attr::stat(&from.fd)?.st_size.cast_unsigned().saturating_sub(from_offset);
        let len = len.min(there);
        if len == 0 {
            return Ok((0, None));
        }
        let mtime = srm::now();
        if self.srm.takes_copies() && from.node.has_name() && (to.node.has_name() || to.node.is_orphan()) {
            let op = |from, to| Op::CopyRange { from, from_offset, to, to_offset, len, mtime, perm: None };
            return Ok((len, self.srm.propose_copy(names, &from.node, &to.node, op)?));
        }
        let mut data = vec![0; usize::try_from(len.min(CHUNK_BYTES)).unwrap_or(0)];
        let got = rustix::io::pread(&from.fd, &mut data[..], from_offset)?;
        data.truncate(got);
        let op = |place| Op::Write { place, offset: to_offset, mtime, mode: None, durable: false };
        Ok((got as u64, self.propose(names, &to.node, &data, op)?))
    }

    /// Records what a stretch of a file holds now as writes and holes. `content` reads the same bytes, maybe elsewhere.
    /// The caller holds the node's lock.
    fn ship(
        &self,
        names: &Names,
        to: &OpenFile,
        stat: &Stat,
        content: &Content<'_>,
        offset: u64,
        len: u64,
    ) -> io::Result<Ticket> {
        let mtime = attr::mtime(stat);
        let mut ticket = Ticket::NONE;
        for segment in extent::segments(to.fd.as_fd(), offset, len)? {
            if segment.hole {
                ticket = self.record(names, &to.node, stat, &[], |place| Op::Allocate {
                    place,
                    mode: AllocateMode::Punch,
                    offset: segment.offset,
                    len: segment.len,
                    mtime,
                    perm: None,
                });
                continue;
            }
            let mut at = segment.offset;
            let end = segment.offset + segment.len;
            while at < end {
                let piece = usize::try_from((end - at).min(CHUNK_BYTES)).unwrap_or(usize::MAX);
                let mut data = vec![0; piece];
                let got = rustix::io::pread(content.fd, &mut data[..], content.offset + (at - offset))?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                data.truncate(got);
                let mode = Some(attr::perm(stat));
                ticket = self.record(names, &to.node, stat, &data, |place| Op::Write {
                    place,
                    offset: at,
                    mtime,
                    mode,
                    durable: false,
                });
                at += got as u64;
            }
        }
        // A hole at the end makes no file longer.
        if offset + len == stat.st_size.cast_unsigned() {
            ticket = self.resized(names, &to.node, stat);
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_has_no_record_is_not_supported() {
        for mode in [libc::FALLOC_FL_COLLAPSE_RANGE, libc::FALLOC_FL_INSERT_RANGE, libc::FALLOC_FL_PUNCH_HOLE] {
            assert_eq!(allocate_mode(mode).unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        }
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        assert_eq!(allocate_mode(punch).unwrap().0, AllocateMode::Punch);
    }
}
