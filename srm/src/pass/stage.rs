//! The content of a big file that is not on the target, or not as it is (`shift`): over the lanes into a staging file there,
//! beside the ordered stream (S8), which then puts it under its name in one record. Nothing is locked meanwhile; what touches the file is absorbed, and
//! sent again: a second time over the lanes, and what is touched after that in the ordered stream, once the file is in place.

use super::look::{Way, path_of};
use super::{Stop, is_gone, unreadable};
use crate::Srm;
use crate::ensure::{How, ensure, mtime_of};
use crate::lanes::{Asked, LaneError};
use crate::map::{Dirt, Ranges, Work};
use bytes::Bytes;
use platform::sys::attr;
use platform::sys::extent;
use platform::tree::Node;
use protocol::{CHUNK_BYTES, Content, Draft, Name, StageId};
use rustix::fs::OFlags;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Files up to this travel with their records.
pub(super) const STAGED_ABOVE_BYTES: u64 = CHUNK_BYTES;

/// Comparisons under way at once, while an interrupted copy is taken up.
const AHEAD: usize = 8;

/// Times that what was touched goes over the lanes again.
const TRIES: usize = 2;

/// How a copy over the lanes failed.
pub(super) enum Failed {
    /// The pass is over.
    Over,
    /// The lanes cannot do it: the ordered stream can, or says why not.
    Lanes(String),
    /// The file cannot be read.
    Read(io::Error),
    /// What the target has is no help.
    Unlike,
}

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Over => Self::Over,
            LaneError::Failed(text) => Self::Lanes(text),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Srm {
    /// Copies a file that waits for a look under this name, and puts it there. `false`: the lanes could not do it, or not in
    /// this way. `turn`: of the look that found out what the target has.
    pub(super) fn stage(
        &self,
        number: u64,
        (dir, name, turn): (&Arc<Node>, &Name, u64),
        node: &Arc<Node>,
        way: &Way,
    ) -> Result<bool, Stop> {
        let fd = {
            let names = self.tree.names().read();
            let _still = node.lock.lock();
            let fd = match self.tree.open(&names, node, OFlags::RDONLY) {
                Ok(fd) => fd,
                // Gone, and looked at again.
                Err(error) if is_gone(&error) => return Ok(true),
                Err(error) => return Err(unreadable(node, &names, error)),
            };
            // From here on what touches it is remembered.
            let begun = self.core.lock().gate.pass(number).ok_or(Stop::Over)?.stage(node);
            if begun { Some(fd) } else { None }
        };
        let Some(fd) = fd else { return self.wait_for_staged(number, node) };
        let stage = StageId::new(node.ino(), node.generation());
        let (outcome, turn) = match way {
            Way::Whole => (self.stage_whole(number, &fd, stage), None),
            Way::From(old) => (self.stage_shifted(number, &fd, stage, old), Some(turn)),
        };
        let failed = match outcome.and_then(|longest| self.stage_touched(number, node, &fd, stage, longest)) {
            Ok(()) => return self.place(number, (dir, name, turn), node, &fd, stage).map(|()| true),
            Err(failed) => failed,
        };
        self.core.lock().gate.pass(number).ok_or(Stop::Over)?.staged(node);
        self.changed.notify_all();
        self.lanes.discard(number, stage);
        match failed {
            Failed::Over => Err(Stop::Over),
            Failed::Lanes(text) => {
                tracing::warn!(event = "lanes", text, "a file is copied in the ordered stream instead");
                Ok(false)
            }
            Failed::Unlike => Ok(false),
            Failed::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Failed::Read(error) => Err(unreadable(node, &self.tree.names().read(), error)),
        }
    }

    /// Another thread copies it, for another of its names; after that it is right, and this name a link.
    fn wait_for_staged(&self, number: u64, node: &Arc<Node>) -> Result<bool, Stop> {
        let mut core = self.core.lock();
        while core.gate.pass(number).ok_or(Stop::Over)?.is_staging(node) {
            self.changed.wait_for(&mut core, super::AGAIN_AFTER);
        }
        Ok(true)
    }

    /// How long the staging file is then, at the most.
    fn stage_whole(&self, number: u64, fd: &OwnedFd, stage: StageId) -> Result<u64, Failed> {
        let size = attr::stat(fd)?.st_size.cast_unsigned();
        let there = self.lanes.open(number, stage, size)?;
        self.send_over(number, fd, stage, 0..size, there)?;
        // An earlier copy was longer.
        self.lanes.hole(number, stage, size, there.saturating_sub(size))?;
        Ok(size)
    }

    /// Sends a range to a staging file of which so much was there already.
    pub(super) fn send_over(
        &self,
        number: u64,
        fd: &OwnedFd,
        stage: StageId,
        range: Range<u64>,
        there: u64,
    ) -> Result<(), Failed> {
        let split = there.clamp(range.start, range.end);
        self.take_up(number, fd, stage, range.start..split)?;
        self.send_staged(number, fd, stage, split..range.end, false)
    }

    /// Waits until all is there, and sends again what was touched meanwhile. The staging file is at most so long: what is cut off of the file is a hole in it, or
    /// it would be seen again if the file grows before it is placed.
    fn stage_touched(
        &self,
        number: u64,
        node: &Arc<Node>,
        fd: &OwnedFd,
        stage: StageId,
        longest: u64,
    ) -> Result<(), Failed> {
        let mut longest = longest;
        self.lanes.settle(number, stage)?;
        for _ in 0..TRIES {
            let touched = match self.core.lock().gate.pass(number) {
                Some(pass) => pass.take_touched(node),
                None => return Err(Failed::Over),
            };
            if touched.is_empty() {
                break;
            }
            let size = attr::stat(fd)?.st_size.cast_unsigned();
            for range in touched.iter() {
                self.send_staged(number, fd, stage, range.start.min(size)..range.end.min(size), true)?;
                let cut = range.start.max(size)..range.end.min(longest);
                self.lanes.hole(number, stage, cut.start, cut.end.saturating_sub(cut.start))?;
            }
            longest = longest.max(size);
            self.lanes.settle(number, stage)?;
        }
        Ok(())
    }

    /// What an interrupted copy left is compared, and only what differs is sent.
    fn take_up(&self, number: u64, fd: &OwnedFd, stage: StageId, there: Range<u64>) -> Result<(), Failed> {
        let block_bytes = self.config.compare.block_bytes;
        let mut asked: VecDeque<(Range<u64>, Asked)> = VecDeque::new();
        let mut at = there.start;
        while at < there.end || !asked.is_empty() {
            if at < there.end && asked.len() < AHEAD {
                let range = at..there.end.min(at + CHUNK_BYTES);
                at = range.end;
                let data = super::copy::read(fd.as_fd(), range.start, range.end - range.start)?;
                let hashes = data.chunks(block_bytes as usize).flat_map(platform::sys::content::hash).collect();
                let question =
                    self.lanes.ask(number, stage, range.start, range.end - range.start, block_bytes, hashes)?;
                asked.push_back((range, question));
                continue;
            }
            let Some((range, question)) = asked.pop_front() else { break };
            let mut differs = Ranges::default();
            for block in self.lanes.answer(question)? {
                let from = range.start + u64::from(block) * u64::from(block_bytes);
                differs.add(from..range.end.min(from + u64::from(block_bytes)));
            }
            for part in differs.iter() {
                self.send_staged(number, fd, stage, part, true)?;
            }
            self.core.lock().progress.advance(range.end - range.start);
        }
        Ok(())
    }

    /// Sends a range as it is now. `over`: something may be there already, so holes are made.
    pub(super) fn send_staged(
        &self,
        number: u64,
        fd: &OwnedFd,
        stage: StageId,
        range: Range<u64>,
        over: bool,
    ) -> Result<(), Failed> {
        let mut at = range.start;
        while at < range.end {
            let len = CHUNK_BYTES.min(range.end - at);
            for segment in extent::segments(fd.as_fd(), at, len)? {
                if !segment.hole {
                    let data = self.read_staged(fd, segment.offset, segment.len)?;
                    let sent = data.len() as u64;
                    self.lanes.data(number, stage, segment.offset, data)?;
                    self.core.lock().progress.sent_bytes += sent;
                } else if over {
                    self.lanes.hole(number, stage, segment.offset, segment.len)?;
                }
            }
            if !over {
                self.core.lock().progress.advance(len);
            }
            at += len;
        }
        Ok(())
    }

    /// A file that became shorter meanwhile ends in zeros: it is cut when it is placed.
    #[allow(clippy::unused_self)] // beside its callers
    pub(super) fn read_staged(&self, fd: &OwnedFd, offset: u64, len: u64) -> io::Result<Bytes> {
        match super::copy::read(fd.as_fd(), offset, len) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(vec![0; usize::try_from(len).unwrap_or(0)].into())
            }
            result => result,
        }
    }

    /// The staged file gets its name, if it still has it on the source. `turn`: what the target had under this name then is
    /// the same file as it was, and is replaced; anything else is set aside.
    fn place(
        &self,
        number: u64,
        (dir, name, turn): (&Arc<Node>, &Name, Option<u64>),
        node: &Arc<Node>,
        fd: &OwnedFd,
        stage: StageId,
    ) -> Result<(), Stop> {
        self.wait_for_room(number)?;
        let names = self.tree.names().read();
        let still = node.lock.lock();
        let taken = self.takes_now(&names, dir, name, node);
        let mut core = self.core.lock();
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        let touched = pass.staged(node);
        // Looked at again, if there is need: under another name, or as one more link.
        let wanted = taken && pass.is_pending(dir, name) && node.has_link(dir, name) && pass.is_right(dir);
        let same = turn.is_some_and(|turn| pass.is_untouched(dir, name, turn));
        if !wanted || pass.is_right(node) {
            drop(core);
            self.lanes.discard(number, stage);
            self.changed.notify_all();
            return Ok(());
        }
        drop(core);
        let Some(path) = path_of(&names, dir, name) else { return Ok(()) };
        let its_time = dir.lock.lock();
        let read = self.tree.snapshot(&names, node).and_then(|read| Ok((read, mtime_of(self, &names, dir)?)));
        let (snapshot, parent_mtime) = match read {
            Ok(read) => read,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(unreadable(node, &names, error)),
        };
        let several = snapshot.stat.st_nlink > 1;
        let how = How { fresh: !same, content: Content::Staged(stage), parent_mtime: Some(parent_mtime) };
        self.push(number, Draft::new(&ensure(node, path, snapshot, how), Bytes::new()))?;
        drop(its_time);
        let mut core = self.core.lock();
        core.progress.repaired += 1;
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        pass.set_right(node, Some((dir, name)), several);
        if !touched.is_empty() {
            pass.add(Work::Mend(Arc::clone(node), Dirt { data: touched, attributes: false }));
        }
        drop(core);
        drop(still);
        drop(names);
        self.changed.notify_all();
        self.complete(number, node, fd)
    }
}
