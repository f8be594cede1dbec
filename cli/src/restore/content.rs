//! Content of a file: compared by blocks as far as there is something to compare with, and only what differs is fetched and
//! written. Holes stay holes. Several parts are asked for ahead.

use super::engine::Engine;
use super::fault::Fault;
use super::remote::{self, Answered, Data, Part};
use super::tally::Counted;
use crate::exit::reason;
use platform::sys::content::{HASH_BYTES, HOLE, block_hashes, hash, write_all};
use platform::sys::{attr, extent};
use protocol::{CHUNK_BYTES, Entry, Hole, RelPath};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Parts of one file that are asked for ahead.
const AHEAD: usize = 4;
/// A hole from this length on is passed over instead of being asked about part by part.
const WORTH_SKIPPING: u64 = 8 * CHUNK_BYTES;
/// Blocks of 512 bytes by which the space of two files may differ without anything being reserved in one of them.
const SAME_BLOCKS: u64 = 64;
/// Zeros are written in pieces of so many bytes where a file system cannot make holes.
const ZEROS: usize = 64 << 10;

/// A file whose content is brought over.
pub(super) struct Filling<'a> {
    pub engine: &'a Engine,
    pub path: &'a RelPath,
    pub entry: &'a Entry,
    /// Open for reading and, unless nothing is to be written, for writing.
    pub fd: &'a OwnedFd,
    /// Bytes that it had: they are compared.
    pub had: u64,
}

/// What was learned of a part.
enum Learned {
    Hashes(u64, Answered<Vec<[u8; HASH_BYTES]>>),
    Data(u64, Answered<Data>),
    Hole(Range<u64>),
}

/// What is asked about a part.
enum Asked {
    Hashes(Part),
    Data(Part),
}

/// Blocks that differ, and whether bytes do, or only what is a hole.
struct Different {
    runs: Vec<Range<u64>>,
    loses: bool,
}

impl Filling<'_> {
    /// Makes the content that of the replica. `before` is called before bytes that the file had are changed for the first
    /// time.
    pub fn fill(&self, counted: &mut Counted<'_>, before: &mut dyn FnMut() -> Result<(), Fault>) -> Result<(), Fault> {
        let size = self.entry.size;
        if self.had != size {
            before()?;
        }
        self.go_through(counted, |part| {
            match part {
                Learned::Data(offset, answer) => self.write(offset, &answer),
                Learned::Hashes(offset, answer) => {
                    let different = self.different(offset, &answer)?;
                    if different.loses {
                        before()?;
                    }
                    self.fetch(&different.runs)
                }
                Learned::Hole(range) => {
                    if self.has_data(&range)? {
                        before()?;
                        self.punch(range)?;
                    }
                    Ok(())
                }
            }
            .map(|()| true)
        })?;
        if u64::try_from(attr::stat(self.fd)?.st_size).unwrap_or(0) != size {
            rustix::fs::ftruncate(self.fd, size)?;
        }
        self.reserve()
    }

    /// Reserves the space that the replica has reserved, where it has more than this file. A file system that cannot has none.
    fn reserve(&self) -> Result<(), Fault> {
        let blocks = u64::try_from(attr::stat(self.fd)?.st_blocks).unwrap_or(0);
        if self.entry.blocks <= blocks.saturating_add(SAME_BLOCKS) {
            return Ok(());
        }
        for Hole { offset, len } in self.engine.remote.reserved(self.path, self.entry)? {
            match rustix::fs::fallocate(self.fd, FallocateFlags::KEEP_SIZE, offset, len) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                // Of this one: all the others may fit, and what it reserves is no content.
                Err(e @ (Errno::NOSPC | Errno::DQUOT)) => {
                    return Err(Fault::Node(format!("what it reserves cannot be reserved: {}", reason(&e.into()))));
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Whether bytes differ. Writes nothing.
    pub fn differs(&self, counted: &mut Counted<'_>) -> Result<bool, Fault> {
        let mut differs = self.had != self.entry.size;
        if !differs {
            self.go_through(counted, |part| {
                differs = match part {
                    // Of a file of the same size everything is compared.
                    Learned::Data(..) => true,
                    Learned::Hashes(offset, answer) => self.different(offset, &answer)?.loses,
                    Learned::Hole(range) => self.has_data(&range)?,
                };
                Ok(!differs)
            })?;
        }
        Ok(differs)
    }

    /// Asks about every part of the file, a few ahead, and hands over what was learned, in order, until that says no.
    fn go_through(
        &self,
        counted: &mut Counted<'_>,
        mut take: impl FnMut(Learned) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let size = self.entry.size;
        let mut asked: VecDeque<Asked> = VecDeque::new();
        // What is asked next, and up to where everything is known.
        let (mut next, mut known) = (0, 0);
        loop {
            while asked.len() < AHEAD && next < size {
                let len = CHUNK_BYTES.min(size - next);
                asked.push_back(self.ask(next, len));
                next += len;
            }
            let Some(first) = asked.pop_front() else { return Ok(()) };
            let (learned, end, hole_after) = self.learn(first)?;
            // Of what lies in a hole that was passed over, nothing need be known.
            if end <= known {
                continue;
            }
            counted.add(end - known);
            known = end;
            if !take(learned)? {
                return Ok(());
            }
            if hole_after >= WORTH_SKIPPING {
                counted.add(hole_after);
                known = end + hole_after;
                next = next.max(known);
                if !take(Learned::Hole(end..known))? {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for hashes where there is something to compare, else for content.
    fn ask(&self, offset: u64, len: u64) -> Asked {
        let Engine { remote, manner, .. } = self.engine;
        if offset < self.had {
            Asked::Hashes(remote.ask_hashes(self.path, offset, len, manner.block_bytes))
        } else {
            Asked::Data(remote.ask_data(self.path, offset, len))
        }
    }

    /// The answer, where its part ends, and how long a hole follows.
    fn learn(&self, asked: Asked) -> Result<(Learned, u64, u64), Fault> {
        Ok(match asked {
            Asked::Hashes(part) => {
                let offset = part.offset;
                let answer = remote::hashes(part, self.entry, self.engine.manner.block_bytes)?;
                let (end, hole_after) = (offset + answer.len, answer.hole_after);
                (Learned::Hashes(offset, answer), end, hole_after)
            }
            Asked::Data(part) => {
                let offset = part.offset;
                let answer = remote::data(part, self.entry)?;
                let (end, hole_after) = (offset + answer.len, answer.hole_after);
                (Learned::Data(offset, answer), end, hole_after)
            }
        })
    }

    /// Which blocks of a part are not what the replica has.
    fn different(&self, offset: u64, answer: &Answered<Vec<[u8; HASH_BYTES]>>) -> Result<Different, Fault> {
        let block = self.engine.manner.block_bytes;
        let here = block_hashes(self.fd.as_fd(), offset, answer.len, block)?;
        let mut different = Different { runs: Vec::new(), loses: false };
        for (index, theirs) in (0_u64..).zip(&answer.what) {
            let ours = usize::try_from(index).ok().and_then(|index| here.get(index));
            if ours == Some(theirs) {
                continue;
            }
            let start = offset + index * u64::from(block);
            let end = (start + u64::from(block)).min(offset + answer.len);
            match different.runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                _ => different.runs.push(start..end),
            }
            // Zeros on one side and a hole on the other are the same bytes. What the file does not have it cannot lose.
            let zeros = || hash(&vec![0; usize::try_from(end - start).unwrap_or(0)]);
            let same_bytes = ours.is_none_or(|ours| {
                *ours == HOLE && *theirs == zeros() || *theirs == HOLE && end <= self.had && *ours == zeros()
            });
            different.loses |= !same_bytes;
        }
        Ok(different)
    }

    /// Fetches and writes parts.
    fn fetch(&self, runs: &[Range<u64>]) -> Result<(), Fault> {
        // Together they are at most one part.
        let ask = |run: &Range<u64>| self.engine.remote.ask_data(self.path, run.start, run.end - run.start);
        let parts: Vec<Part> = runs.iter().map(ask).collect();
        for part in parts {
            let offset = part.offset;
            self.write(offset, &remote::data(part, self.entry)?)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, answer: &Answered<Data>) -> Result<(), Fault> {
        let Data { holes, bytes } = &answer.what;
        self.engine.tally.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let (mut at, mut rest) = (offset, &bytes[..]);
        for hole in holes {
            // Lengths were checked when the answer came.
            let (data, after) = rest.split_at(usize::try_from(hole.offset - at).unwrap_or(0).min(rest.len()));
            write_all(self.fd, data, at)?;
            rest = after;
            at = hole.offset + hole.len;
            let range = hole.offset..at;
            if self.has_data(&range)? {
                self.punch(range)?;
            }
        }
        Ok(write_all(self.fd, rest, at)?)
    }

    /// Whether the file had anything but a hole there.
    fn has_data(&self, range: &Range<u64>) -> Result<bool, Fault> {
        let end = range.end.min(self.had);
        if range.start >= end {
            return Ok(false);
        }
        // It may have become shorter.
        let size = u64::try_from(attr::stat(self.fd)?.st_size).unwrap_or(0).min(end);
        Ok(range.start < size && extent::hole_at(self.fd.as_fd(), range.start, size)? < size - range.start)
    }

    fn punch(&self, range: Range<u64>) -> Result<(), Fault> {
        let end = range.end.min(self.had);
        match extent::punch(self.fd.as_fd(), range.start, end - range.start) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                let zeros = vec![0; ZEROS];
                let mut at = range.start;
                while at < end {
                    let piece = usize::try_from(end - at).map_or(ZEROS, |left| left.min(ZEROS));
                    write_all(self.fd, &zeros[..piece], at)?;
                    at += piece as u64;
                }
                Ok(())
            }
            result => Ok(result?),
        }
    }
}
