//! Content of one file, piece by piece: read under the file's lock and numbered there, so that a live write is either in
//! what was read or comes after it. Holes stay holes.

use super::{Stop, is_gone, unreadable};
use crate::Srm;
use crate::live::place_by;
use crate::map::Source;
use crate::said::are_blocks;
use bytes::Bytes;
use platform::machine;
use platform::sys::attr;
use platform::sys::content::hash;
use platform::sys::extent::{self, Segment};
use platform::tree::{Names, Node};
use protocol::{AllocateMode, Answer, At, CHUNK_BYTES, Draft, Op, Place, Time};
use rustix::fs::OFlags;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Largest block of a file system, in bytes.
const LARGEST_BLOCK: u64 = 64 << 10;

/// How many pieces of a file are compared at once.
const AHEAD: usize = 8;

/// Of larger blocks that differ only those parts of this size are sent that do.
const FINE_BYTES: u32 = 4096;
/// Where more of a piece differs than one block in so many, another question costs more than it saves.
const FEW: u64 = 4;

/// Reads `len` bytes at `offset`; they must be there.
pub(crate) fn read(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<Bytes> {
    machine::disk(machine::Disk::SourceRead)?;
    let mut data = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?];
    let mut done = 0;
    while done < data.len() {
        match rustix::io::pread(fd, &mut data[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => done += got,
        }
    }
    Ok(data.into())
}

/// A file under its lock, for one piece.
struct Piece {
    place: Place,
    size: u64,
    mtime: Time,
    atime: Time,
}

/// A piece whose comparison is under way.
struct Asked {
    offset: u64,
    len: u64,
    block_bytes: u32,
    /// It is part of a block that was found to differ.
    fine: bool,
    answer: Receiver<Answer>,
}

impl Srm {
    /// Opens a file to read its content; `None`: it is gone.
    pub(super) fn open_to_copy(&self, node: &Arc<Node>) -> Result<Option<OwnedFd>, Stop> {
        let names = self.tree.names().read();
        self.heat_content(&names, node);
        match self.tree.open(&names, node, OFlags::RDONLY) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(unreadable(node, &names, error)),
        }
    }

    /// Brings a file's content over.
    pub(super) fn copy(&self, number: u64, node: &Arc<Node>, source: Source) -> Result<(), Stop> {
        let Some(fd) = self.open_to_copy(node)? else { return Ok(()) };
        let mut offset = Some(0);
        let mut asked: VecDeque<Asked> = VecDeque::new();
        loop {
            if let Some(from) = offset
                && asked.len() < AHEAD
            {
                let before = asked.len();
                let coarse = self.config.compare.block_bytes;
                offset = self.piece(number, node, &fd, source, (from..from + CHUNK_BYTES, coarse), &mut asked)?;
                let waits: u64 = asked.range(before..).map(|piece| piece.len).sum();
                let passed = offset.map_or(0, |to| to - from);
                self.core.lock().progress.advance(passed.saturating_sub(waits));
                continue;
            }
            let Some(piece) = asked.pop_front() else { return self.complete(number, node, &fd) };
            self.mend(number, node, &fd, &piece, &mut asked)?;
            if !piece.fine {
                self.core.lock().progress.advance(piece.len);
            }
        }
    }

    /// Where the file is and how long, if it is still to be copied. The caller holds the namespace lock and the node's.
    fn piece_state(&self, number: u64, names: &Names, node: &Arc<Node>, fd: &OwnedFd) -> Result<Option<Piece>, Stop> {
        if node.has_name() && !self.is_taken(node) {
            // It left the set, and may have moved since, which the target was not told.
            return Ok(None);
        }
        let shared = {
            let mut core = self.core.lock();
            let pass = core.gate.pass(number).ok_or(Stop::Over)?;
            if !pass.is_right(node) {
                return Ok(None);
            }
            pass.right_link(node)
        };
        let Some(place) = place_by(names, node, shared.as_ref()) else { return Ok(None) };
        if let At::Path(path) = &place.at
            && self.core.lock().flags.is_in_vain(path)
        {
            // The target has no room for it: the rest is not sent before it is tried again.
            return Ok(None);
        }
        let stat = attr::stat(fd).map_err(|error| unreadable(node, names, error))?;
        let size = stat.st_size.cast_unsigned();
        Ok(Some(Piece { place, size, mtime: attr::mtime(&stat), atime: attr::atime(&stat) }))
    }

    /// Sends or asks about a range of at most a chunk, by blocks of this size; where the next one begins, `None` at the end.
    fn piece(
        &self,
        number: u64,
        node: &Arc<Node>,
        fd: &OwnedFd,
        source: Source,
        (range, block_bytes): (Range<u64>, u32),
        asked: &mut VecDeque<Asked>,
    ) -> Result<Option<u64>, Stop> {
        let offset = range.start;
        let data = if matches!(source, Source::Fresh) { range.end - offset } else { 0 };
        let _room = self.room_for(number, data)?;
        let names = self.tree.names().read();
        let _still = node.lock.lock();
        let Some(piece) = self.piece_state(number, &names, node, fd)? else { return Ok(None) };
        if offset >= piece.size {
            return Ok(None);
        }
        let len = (range.end - offset).min(piece.size - offset);
        let bad = |error| unreadable(node, &names, error);
        for segment in extent::segments(fd.as_fd(), offset, len).map_err(bad)? {
            let place = piece.place.clone();
            match (segment.hole, source) {
                (true, Source::Fresh) => {}
                (true, Source::Unknown) => self.push(number, punch(place, segment, &piece))?,
                (false, Source::Fresh) => {
                    let data = read(fd.as_fd(), segment.offset, segment.len).map_err(bad)?;
                    self.push_data(number, place, segment.offset, data, piece.mtime)?;
                }
                (false, Source::Unknown) => {
                    let data = read(fd.as_fd(), segment.offset, segment.len).map_err(bad)?;
                    let hashes = data.chunks(block_bytes as usize).flat_map(hash).collect();
                    let op = Op::Compare {
                        place,
                        offset: segment.offset,
                        len: segment.len,
                        block_bytes,
                        hashes,
                        as_read: false,
                    };
                    let answer = self.question(number, &op)?;
                    let fine = block_bytes < self.config.compare.block_bytes;
                    asked.push_back(Asked { offset: segment.offset, len: segment.len, block_bytes, fine, answer });
                }
            }
        }
        Ok(Some(offset + len))
    }

    /// Sends the blocks of a piece that differ, as they are now; where they are few and large, asks which parts of them do.
    fn mend(
        &self,
        number: u64,
        node: &Arc<Node>,
        fd: &OwnedFd,
        asked: &Asked,
        more: &mut VecDeque<Asked>,
    ) -> Result<(), Stop> {
        let block_bytes = u64::from(asked.block_bytes);
        let blocks = asked.len.div_ceil(block_bytes);
        let differing = match machine::receive(&asked.answer, None, false) {
            Some(Answer::Differs(list)) if are_blocks(&list, blocks) => list,
            Some(_) => {
                self.core.lock().doubted("the target answered a question that was not asked", machine::now());
                return Err(Stop::Over);
            }
            // The answer was lost with the connection: as if all differed.
            None => (0..u32::try_from(blocks).unwrap_or(u32::MAX)).collect(),
        };
        let few = differing.len() as u64 <= blocks / FEW;
        for (first, count) in runs(&differing) {
            let from = asked.offset + u64::from(first) * block_bytes;
            let to = (from + u64::from(count) * block_bytes).min(asked.offset + asked.len);
            if few && asked.block_bytes > FINE_BYTES {
                self.piece(number, node, fd, Source::Unknown, (from..to, FINE_BYTES), more)?;
            } else {
                self.send_range(number, node, fd, from..to)?;
            }
        }
        Ok(())
    }

    /// Sends a range of a file as it is now, at most a chunk. `false`: it is beyond the end, or the file is gone.
    pub(super) fn send_range(
        &self,
        number: u64,
        node: &Arc<Node>,
        fd: &OwnedFd,
        range: Range<u64>,
    ) -> Result<bool, Stop> {
        let _room = self.room_for(number, range.end - range.start)?;
        let names = self.tree.names().read();
        let _still = node.lock.lock();
        let Some(piece) = self.piece_state(number, &names, node, fd)? else { return Ok(false) };
        let (from, to) = (range.start, range.end.min(piece.size));
        if from >= to {
            return Ok(false);
        }
        let bad = |error| unreadable(node, &names, error);
        for segment in extent::segments(fd.as_fd(), from, to - from).map_err(bad)? {
            if segment.hole {
                self.push(number, punch(piece.place.clone(), segment, &piece))?;
            } else {
                let data = read(fd.as_fd(), segment.offset, segment.len).map_err(bad)?;
                self.push_data(number, piece.place.clone(), segment.offset, data, piece.mtime)?;
            }
        }
        Ok(true)
    }

    /// Space that is allocated and unwritten, then size and times, after all content.
    pub(super) fn complete(&self, number: u64, node: &Arc<Node>, fd: &OwnedFd) -> Result<(), Stop> {
        let names = self.tree.names().read();
        let _still = node.lock.lock();
        let Some(piece) = self.piece_state(number, &names, node, fd)? else { return Ok(()) };
        for range in extent::unwritten(fd.as_fd()).map_err(|error| unreadable(node, &names, error))? {
            let (place, mode) = (piece.place.clone(), AllocateMode::KeepSize);
            let op = Op::Allocate { place, mode, offset: range.offset, len: range.len, mtime: piece.mtime, perm: None };
            self.push(number, Draft::new(&op, Bytes::new()))?;
        }
        let op = Op::SetAttr {
            place: piece.place,
            size: Some(piece.size),
            owner: None,
            mode: None,
            atime: Some(piece.atime),
            mtime: Some(piece.mtime),
        };
        self.push(number, Draft::new(&op, Bytes::new()))
    }

    fn push_data(&self, number: u64, place: Place, offset: u64, data: Bytes, mtime: Time) -> Result<(), Stop> {
        let len = data.len() as u64;
        let op = Op::Write { place, offset, mtime, mode: None, durable: false };
        self.push(number, Draft::new(&op, data))?;
        self.core.lock().progress.sent_bytes += len;
        Ok(())
    }
}

/// A hole. At the end of the file it goes on to the end of the block: the part of a block would be zeroed and stay.
fn punch(place: Place, hole: Segment, piece: &Piece) -> Draft {
    let end = hole.offset + hole.len;
    let end = if end == piece.size { end.next_multiple_of(LARGEST_BLOCK) } else { end };
    let (mode, mtime) = (AllocateMode::Punch, piece.mtime);
    let op = Op::Allocate { place, mode, offset: hole.offset, len: end - hole.offset, mtime, perm: None };
    Draft::new(&op, Bytes::new())
}

/// Runs of consecutive numbers in an ascending list: first and count.
fn runs(list: &[u32]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for &n in list {
        match out.last_mut() {
            Some((first, count)) if *first + *count == n => *count += 1,
            _ => out.push((n, 1)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn neighbouring_blocks_travel_together() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), [(1, 3), (7, 1), (9, 2)]);
    }
}
