//! A file that grew or shrank at its beginning or in its middle (S7): no block is where it was, and yet the target has nearly
//! all of it. It is made anew in a staging file there, from content-defined chunks of what the target has, and what it has
//! not. Here: which files that is tried for, and the new file chunk by chunk; `stage` has what comes before and after.
//!
//! The target checks every copy by its hash, so what it told may be out of date: then the bytes are sent.

use super::index::Index;
use super::look::path_of;
use super::stage::{Failed, STAGED_ABOVE_BYTES};
use super::{Stop, is_gone, unreadable};
use crate::Srm;
use crate::lanes::{Asked, CopyFrom};
use platform::machine;
use platform::sys::content::hash;
use platform::sys::cut::Cutter;
use platform::sys::{attr, content, extent};
use platform::tree::Node;
use protocol::{Answer, At, CHUNK_BYTES, Entry, Name, NodeId, Op, Place, RelPath, StageId};
use rustix::fs::{OFlags, Stat};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Places at which old and new are compared to find out whether the content moved, and how much at each.
const SAMPLES: u64 = 32;
const SAMPLE_BYTES: usize = 4096;
/// What moved differs everywhere behind some place, by chance it does not here and there: one in so many.
const ODD: usize = 10;
/// Behind that place there are so many samples at least: for the end of a file it is not worth it.
const MIN_BEHIND: usize = 2;

/// What the target has not is sent when there is so much of it.
const SEND_BYTES: u64 = 4 << 20;
/// Copies under way at once.
const COPIES: usize = 64;

/// What the target has under a name.
#[derive(Debug)]
pub(super) struct Old {
    pub path: RelPath,
    pub size: u64,
}

/// Whether it can be that content moved: a file with one name on both sides, of another size, and more data than holes.
pub(super) fn candidate(path: &RelPath, mine: &Stat, theirs: &Entry, min_size: u64) -> Option<Old> {
    let size = mine.st_size.cast_unsigned();
    let enough = |size: u64, blocks: u64| {
        size > STAGED_ABOVE_BYTES.max(min_size.saturating_sub(1)) && blocks.saturating_mul(512) >= size / 2
    };
    let fits = size != theirs.size
        && (mine.st_nlink, theirs.links) == (1, 1)
        && enough(size, mine.st_blocks.cast_unsigned())
        && enough(theirs.size, theirs.blocks);
    fits.then(|| Old { path: path.clone(), size: theirs.size })
}

/// A stretch of the new file that the target has in one piece, or that it has not.
struct Run {
    range: Range<u64>,
    /// Where, and the hash of it so far.
    from: Option<(u64, blake3::Hasher)>,
}

impl Run {
    /// Whether a chunk that comes next, and is found there, belongs to it.
    fn goes_on(&self, from: Option<u64>, len: u64) -> bool {
        let so_far = self.range.end - self.range.start;
        match (&self.from, from) {
            (None, None) => so_far < SEND_BYTES,
            (Some((start, _)), Some(from)) => start + so_far == from && so_far + len <= CHUNK_BYTES,
            _ => false,
        }
    }
}

/// One copy under way.
struct Copying<'a> {
    number: u64,
    fd: &'a OwnedFd,
    stage: StageId,
    path: &'a RelPath,
    /// How long an interrupted copy left the staging file.
    there: u64,
    asked: VecDeque<(Range<u64>, Asked)>,
}

impl Srm {
    /// Whether the content moved, by samples: from some place on nothing is where it was. `false` too where nobody knows.
    pub(super) fn is_shifted(
        &self,
        number: u64,
        (dir, name): (&Arc<Node>, &Name),
        node: &Arc<Node>,
        old: &Old,
    ) -> Result<bool, Stop> {
        let samples = match self.samples(node, old) {
            Ok(samples) => samples,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(unreadable(node, &self.tree.names().read(), error)),
        };
        self.wait_for_room(number)?;
        let mut answers = Vec::new();
        {
            let names = self.tree.names().read();
            let Some(path) = path_of(&names, dir, name) else { return Ok(false) };
            for (offset, hash) in samples {
                let place = Place { node: NodeId::new(node.id().get()), at: At::Path(path.clone()) };
                let (len, block_bytes) = (SAMPLE_BYTES as u64, 4096);
                let op = Op::Compare { place, offset, len, block_bytes, hashes: hash.to_vec(), as_read: true };
                answers.push(self.question(number, &op)?);
            }
        }
        let mut differs = Vec::new();
        for answer in answers {
            match machine::receive(&answer, None, false) {
                Some(Answer::Differs(blocks)) => differs.push(!blocks.is_empty()),
                Some(Answer::Page(_) | Answer::Verdict(_)) => {
                    self.core.lock().doubted("the target answered a question that was not asked", machine::now());
                    return Err(Stop::Over);
                }
                // Lost with the connection.
                None => return Ok(false),
            }
        }
        Ok(moved(&differs))
    }

    /// Hashes of some of what a file has where the target's has something too. Zeros are everywhere, and say nothing.
    fn samples(&self, node: &Arc<Node>, old: &Old) -> io::Result<Vec<(u64, [u8; 16])>> {
        let fd = self.tree.open(&self.tree.names().read(), node, OFlags::RDONLY)?;
        let size = attr::stat(&fd)?.st_size.cast_unsigned().min(old.size);
        let mut buffer = vec![0; SAMPLE_BYTES];
        let mut out = Vec::new();
        for index in 0..SAMPLES {
            let offset = size / SAMPLES * index;
            if content::read_up_to(&fd, &mut buffer, offset)? == SAMPLE_BYTES && buffer.iter().any(|byte| *byte != 0) {
                out.push((offset, hash(&buffer)));
            }
        }
        Ok(out)
    }

    /// Fills a staging file with what the target has of a file elsewhere, and with the rest.
    pub(super) fn stage_shifted(&self, number: u64, fd: &OwnedFd, stage: StageId, old: &Old) -> Result<u64, Failed> {
        let size = attr::stat(fd)?.st_size.cast_unsigned();
        let mut known = Index::new(&self.lanes, number, stage, old);
        known.come_to(0)?;
        if !known.has_much_of(fd, size)? {
            return Err(Failed::Unlike);
        }
        let there = self.lanes.open(number, stage, size)?;
        let mut copying = Copying { number, fd, stage, path: &old.path, there, asked: VecDeque::new() };
        let mut run: Option<Run> = None;
        let mut cutter = Cutter::new(fd.as_fd(), 0);
        let mut end = 0;
        while end < size
            && let Some(chunk) = cutter.next()?
        {
            known.come_to(chunk.offset)?;
            let len = chunk.data.len() as u64;
            let from = known.find(hash(chunk.data));
            if let Some(done) = run.take_if(|run| !run.goes_on(from, len)) {
                self.copy_run(&mut copying, done)?;
            }
            let begin = || Run { range: chunk.offset..chunk.offset, from: from.map(|at| (at, blake3::Hasher::new())) };
            let run = run.get_or_insert_with(begin);
            run.range.end += len;
            if let Some((_, hasher)) = &mut run.from {
                hasher.update(chunk.data);
            }
            end = run.range.end;
        }
        if let Some(done) = run {
            self.copy_run(&mut copying, done)?;
        }
        // It became shorter meanwhile, and an earlier copy was longer.
        self.lanes.hole(number, stage, end, there.saturating_sub(end))?;
        while let Some((range, asked)) = copying.asked.pop_front() {
            self.copied(&copying, range, asked)?;
        }
        Ok(end.max(size))
    }

    /// Sees to a stretch of the new file.
    fn copy_run(&self, copying: &mut Copying<'_>, run: Run) -> Result<(), Failed> {
        let Run { range, from } = run;
        let (number, fd, stage) = (copying.number, copying.fd, copying.stage);
        let Some((from, hasher)) = from else {
            return self.send_over(number, fd, stage, range, copying.there);
        };
        let mut whole = [0; 16];
        whole.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        // What is a hole on this side is one on the other, whatever is copied around it.
        for segment in extent::segments(fd.as_fd(), range.start, range.end - range.start)? {
            let (offset, len) = (segment.offset, segment.len);
            if segment.hole {
                self.lanes.hole(number, stage, offset, len.min(copying.there.saturating_sub(offset)))?;
                continue;
            }
            let hash = if (offset, offset + len) == (range.start, range.end) {
                whole
            } else {
                hash(&self.read_staged(fd, offset, len)?)
            };
            if copying.asked.len() >= COPIES
                && let Some((range, asked)) = copying.asked.pop_front()
            {
                self.copied(copying, range, asked)?;
            }
            let copy = CopyFrom { path: copying.path, from: from + (offset - range.start), offset, len, hash };
            copying.asked.push_back((offset..offset + len, self.lanes.copy_from(number, stage, copy)?));
        }
        self.core.lock().progress.advance(range.end - range.start);
        Ok(())
    }

    /// Sends what the target turned out not to have.
    fn copied(&self, copying: &Copying<'_>, range: Range<u64>, asked: Asked) -> Result<(), Failed> {
        if !self.lanes.copied(asked)? {
            self.send_staged(copying.number, copying.fd, copying.stage, range, true)?;
        }
        Ok(())
    }
}

/// Whether samples that differ, in the order of their places, are those of content that moved from some place on.
fn moved(differs: &[bool]) -> bool {
    let behind = differs.iter().position(|differs| *differs).map_or(&[][..], |first| &differs[first..]);
    let same = behind.iter().filter(|differs| !**differs).count();
    behind.len() >= MIN_BEHIND && same * ODD <= behind.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_differs_everywhere_behind_some_place() {
        let samples = |text: &str| text.bytes().map(|byte| byte == b'x').collect::<Vec<_>>();
        for (text, is) in [
            ("xxxxxxxxxxxxxxxx", true),
            (".......xxxxxxxxx", true),
            ("..xxxxxxxxxx.xxx", true),
            ("x.x.xx..x.x.x.xx", false),
            ("..............xx", true),
            // Something was added at the end.
            ("...............x", false),
            ("................", false),
            ("x...............", false),
            ("xxxx....xxxx....", false),
            ("", false),
        ] {
            assert_eq!(moved(&samples(text)), is, "{text}");
        }
    }
}
