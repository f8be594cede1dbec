//! Bringing nodes and their content over: in the record, piece by piece, or by staging.

use super::bug::Bug;
use super::node::{H, path_in};
use super::record::{Answer, At, Content, Ensure, Piece, Rec};
use super::source::Source;
use super::store::BLOCK_BYTES;
use super::work::{Asked, Brought, State, Step, There, Verdict};
use protocol::{Name, RelPath};
use srm::map::{Dirt, Gate, Handle, Ranges, Source as From, Work};
use std::collections::VecDeque;

/// Blocks that are sent at once.
const PIECE: usize = 2;

/// Content that travels with its record.
const WHOLE: usize = 2;

/// Content on its way.
pub struct Staging {
    node: H,
    pub(super) key: u64,
    /// Pieces to be sent.
    pub(super) todo: VecDeque<(usize, usize)>,
    /// Blocks that the staging file may have.
    longest: usize,
    tries: u8,
    /// Where the file was when it began.
    path: RelPath,
}

/// A copy.
pub struct Copying {
    offset: usize,
    asked: Option<(u64, usize, usize)>,
    /// Read, and not sent yet: only by mistake.
    read: Option<(usize, Vec<u32>)>,
    path: Option<RelPath>,
}

/// Pieces of ranges, as far as the file goes.
pub fn pieces(ranges: &Ranges, size: usize) -> VecDeque<(usize, usize)> {
    let mut out = VecDeque::new();
    for range in ranges.iter() {
        let block = |bytes: u64| usize::try_from(bytes / BLOCK_BYTES).unwrap_or(usize::MAX);
        let mut from = block(range.start);
        let to = block(range.end.saturating_add(BLOCK_BYTES - 1)).min(size);
        while from < to {
            out.push_back((from, to.min(from + PIECE)));
            from += PIECE;
        }
    }
    out
}

fn everything() -> Ranges {
    let mut all = Ranges::default();
    all.add(0..u64::MAX);
    all
}

impl Source {
    /// Sees to it that a node is right under a name.
    pub(super) fn bring(&mut self, dir: &H, name: &Name, node: &H, there: There<'_>) -> Brought {
        let as_copy = self.has(Bug::LinkAsCopy);
        let Gate::Pass(pass) = &mut self.gate else { return Brought::Done };
        if pass.is_right_at(dir, name, node.ino()) {
            return Brought::Done;
        }
        if pass.is_right(node) && !as_copy {
            if let Some(clean) = pass.right_link(node) {
                self.link(dir, name, node, &clean);
            }
            return Brought::Done;
        }
        if self.staging.contains(&node.ino()) {
            return Brought::Wait;
        }
        let nlink = self.nlink(node);
        if let Gate::Pass(pass) = &self.gate
            && !node.is_dir()
            && !pass.may_send_anew(node, u64::from(nlink))
        {
            self.all_dirty("a file has names that are not known");
            return Brought::Done;
        }
        let mut verdict = self.source_of(node, there);
        if let (
            There::Entry(Some(theirs)),
            Verdict::Content(From::Unknown, _) | Verdict::Same | Verdict::Attributes(false),
        ) = (there, verdict)
            && !node.is_dir()
            && theirs.links > 1
            && let Some(pass) = self.passing()
            && (theirs.links > nlink || !pass.claim(theirs.inode, node.ino()))
        {
            verdict = Verdict::Content(From::Fresh, true);
        }
        let size = self.disk.at(node.ino()).blocks().len();
        if matches!(verdict, Verdict::Content(From::Fresh, _)) && size >= self.bounds.staged {
            return Brought::Stage;
        }
        crate::say!(self, "    {node:?} at {} is {verdict:?}", super::source::text(dir, name));
        self.send_verdict(dir, name, node, verdict);
        Brought::Done
    }

    fn send_verdict(&mut self, dir: &H, name: &Name, node: &H, verdict: Verdict) {
        let blocks = self.disk.at(node.ino()).blocks().to_vec();
        let (fresh, source) = match verdict {
            Verdict::Same => {
                self.came_right(dir, name, node);
                return;
            }
            Verdict::Attributes(fresh) => (fresh, None),
            Verdict::Content(source, fresh) => (fresh, Some(source)),
        };
        let whole = source.is_some() && blocks.len() <= WHOLE && !blocks.contains(&0);
        let content = if whole { Content::Whole(blocks) } else { Content::Keep };
        self.send_ensure(dir, name, node, fresh, content);
        self.came_right(dir, name, node);
        if let (Some(source), false, Some(pass)) = (source, whole, self.passing()) {
            pass.add(Work::Copy(node.clone(), source));
        }
    }

    fn came_right(&mut self, dir: &H, name: &Name, node: &H) {
        let several = !node.is_dir() && self.nlink(node) > 1;
        let lists = node.is_dir() && !self.has(Bug::NoListing);
        if let Some(pass) = self.passing() {
            pass.set_right(node, Some((dir, name)), several);
            if lists {
                pass.set_listing(node);
            }
        }
    }

    fn send_ensure(&mut self, dir: &H, name: &Name, node: &H, fresh: bool, content: Content) {
        if let Some(path) = path_in(dir, name) {
            self.send_ensure_at(path, dir, node, fresh, content);
        }
    }

    fn send_ensure_at(&mut self, path: RelPath, dir: &H, node: &H, fresh: bool, content: Content) {
        let inode = self.disk.at(node.ino());
        let (mode, mtime, size) = (inode.mode, inode.mtime, inode.blocks().len());
        let parent_mtime = Some(self.mtime_of(dir));
        let directory = node.is_dir();
        let node = node.id();
        self.push(Rec::Ensure(Ensure { path, node, directory, fresh, mode, mtime, size, content, parent_mtime }));
    }

    /// One more name of a node that is right.
    fn link(&mut self, dir: &H, name: &Name, node: &H, clean: &(H, Name)) {
        let (Some(from), Some(to)) = (path_in(&clean.0, &clean.1), path_in(dir, name)) else { return };
        let parent_mtime = self.mtime_of(dir);
        self.push(Rec::Link { node: node.id(), at: At::Path(from), to, parent_mtime });
        if let Some(pass) = self.passing() {
            pass.set_right(node, Some((dir, name)), true);
            // Right by a name that nobody has looked at: it is compared in its place.
            if pass.doubt(node) {
                pass.add(Work::Mend(node.clone(), Dirt { attributes: true, ..Dirt::default() }));
                pass.add(Work::Copy(node.clone(), From::Unknown));
            }
        }
    }

    /// Content goes ahead of its record.
    pub(super) fn begin_staging(&mut self, dir: &H, name: &Name, node: &H) -> Step {
        let Some(path) = path_in(dir, name) else { return Step::Done };
        self.keys += 1;
        self.staging.insert(node.ino());
        if let Some(pass) = self.passing() {
            pass.stage(node);
        }
        let longest = self.disk.at(node.ino()).blocks().len();
        let mut todo = pieces(&everything(), longest);
        // The staging file is made, whatever becomes of the content.
        todo.push_back((0, 0));
        Step::On(State::Staging(Staging { node: node.clone(), key: self.keys, todo, longest, tries: 0, path }))
    }

    pub(super) fn staging_step(&mut self, dir: &H, name: &Name, mut staging: Staging) -> Step {
        let node = staging.node.clone();
        let found = self.tree.lookup(&self.disk, dir, name);
        let same = found.is_some_and(|found| found.id() == node.id());
        let Gate::Pass(pass) = &mut self.gate else { return Step::Done };
        let right = pass.is_right(&node) && self.bug != Some(Bug::LinkAsCopy);
        let wanted = same && pass.is_pending(dir, name) && !right && pass.is_right(dir);
        let by_mistake = self.bug == Some(Bug::OldName) && self.tree.is_current(&self.disk, &node);
        if !wanted && !by_mistake {
            pass.staged(&node);
            self.staging.remove(&node.ino());
            return Step::On(State::Start);
        }
        let inode = self.disk.at(node.ino());
        let size = inode.blocks().len();
        if let Some((from, to)) = staging.todo.pop_front() {
            let mut data = inode.blocks()[from.min(size)..to.min(size)].to_vec();
            // What is cut off is a hole, or it would be seen again if the file grows before it is placed.
            data.resize(to - from, 0);
            self.count_blocks(&data);
            // In a file that was just made holes are there already.
            if staging.tries > 0 || data.iter().any(|block| *block != 0) || data.is_empty() {
                self.lane.push(Piece { key: staging.key, block: from, data });
            }
            return Step::On(State::Staging(staging));
        }
        if self.lane.iter().any(|piece| piece.key == staging.key) {
            return Step::Wait(State::Staging(staging));
        }
        staging.tries += 1;
        if staging.tries < 2 {
            let touched = pass.take_touched(&node);
            if !touched.is_empty() && self.bug != Some(Bug::LateChunk) {
                staging.todo = pieces(&touched, size.max(staging.longest));
                staging.longest = staging.longest.max(size);
                return Step::On(State::Staging(staging));
            }
        }
        if !self.has_room() {
            staging.tries -= 1;
            return Step::Wait(State::Staging(staging));
        }
        self.put_in_place(dir, name, &node, staging);
        Step::Done
    }

    fn put_in_place(&mut self, dir: &H, name: &Name, node: &H, staging: Staging) {
        let touched = self.passing().map(|pass| pass.staged(node)).unwrap_or_default();
        self.staging.remove(&node.ino());
        self.counts.staged += 1;
        let path = if self.has(Bug::OldName) { Some(staging.path) } else { path_in(dir, name) };
        let Some(path) = path else { return };
        self.send_ensure_at(path, dir, node, true, Content::Staged(staging.key));
        self.came_right(dir, name, node);
        let inode = self.disk.at(node.ino());
        let mtime = inode.mtime;
        let blocks = inode.blocks().to_vec();
        if self.has(Bug::BareStaged) || self.has(Bug::LateChunk) {
            return;
        }
        for (from, to) in pieces(&touched, blocks.len()) {
            if let Some(at) = self.place(node) {
                self.push(Rec::Write { node: node.id(), at, block: from, data: blocks[from..to].to_vec(), mtime });
            }
        }
    }

    pub(super) fn copy_step(&mut self, node: &H, source: From, state: State) -> Step {
        if self.nlink(node) == 0 {
            return Step::Done;
        }
        let Gate::Pass(pass) = &self.gate else { return Step::Done };
        if !pass.is_right(node) {
            return Step::Later;
        }
        let Some(at) = self.place(node) else { return Step::Later };
        let State::Copying(mut copying) = state else {
            let path = node.path();
            return Step::On(State::Copying(Copying { offset: 0, asked: None, read: None, path }));
        };
        if self.has(Bug::ForgetCopy) && copying.path != node.path() {
            return Step::Done;
        }
        if !self.has_room() {
            return Step::Wait(State::Copying(copying));
        }
        let inode = self.disk.at(node.ino());
        let (size, mtime) = (inode.blocks().len(), inode.mtime);
        let blocks = inode.blocks().to_vec();
        let read = |from: usize, to: usize| blocks[from.min(size)..to.min(size)].to_vec();
        if let Some((block, data)) = copying.read.take() {
            self.push(Rec::Write { node: node.id(), at, block, data, mtime });
            return Step::On(State::Copying(copying));
        }
        if let Some((seq, from, to)) = copying.asked.take() {
            let data = read(from, to);
            let differs = match self.answer(seq) {
                Asked::Open => {
                    copying.asked = Some((seq, from, to));
                    return Step::Wait(State::Copying(copying));
                }
                Asked::Answer(Answer::Differs(list)) => !list.is_empty(),
                _ => true,
            };
            if differs && !data.is_empty() {
                self.push(Rec::Write { node: node.id(), at, block: from, data, mtime });
            }
            return Step::On(State::Copying(copying));
        }
        if copying.offset >= size {
            self.push(Rec::SetAttr { node: node.id(), at, size: Some(size), mode: None, mtime: Some(mtime) });
            return Step::Done;
        }
        let (from, to) = (copying.offset, size.min(copying.offset + PIECE));
        let data = read(from, to);
        copying.offset = to;
        match source {
            From::Fresh if self.has(Bug::UnlockedRead) => copying.read = Some((from, data)),
            // What was just made has holes where nothing is written.
            From::Fresh => {
                for (block, data) in (from..to).zip(data).filter(|(_, data)| *data != 0) {
                    let at = at.clone();
                    self.push(Rec::Write { node: node.id(), at, block, data: vec![data], mtime });
                }
            }
            From::Unknown => {
                let asked = self.ask(Rec::Compare { node: node.id(), at, block: from, data });
                copying.asked = asked.map(|seq| (seq, from, to));
            }
        }
        Step::On(State::Copying(copying))
    }
}
