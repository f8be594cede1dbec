//! The workers of a pass: each step is what the real ones do under one hold of the locks, or one wait.

use super::bug::Bug;
use super::node::{H, path_in};
use super::record::{Answer, Entry, Rec};
use super::source::Source;
use protocol::Name;
use srm::map::{Dirt, Gate, Handle, Hint, Known, Source as From, Work};
use std::collections::VecDeque;

/// Work in hand.
pub struct Task {
    /// What.
    pub work: Work<H>,
    /// How far it is.
    pub state: State,
}

/// How far a piece of work is.
pub enum State {
    /// Not begun.
    Start,
    /// The target was asked about a name.
    Asked(Question),
    /// Content is on its way.
    Staging(super::copy::Staging),
    /// A directory is compared.
    Listing(super::list::Listing),
    /// Content is copied.
    Copying(super::copy::Copying),
    /// Ranges are sent again, in blocks.
    Mending(VecDeque<(usize, usize)>, super::record::At),
}

/// A question about a name.
#[derive(Clone, Copy)]
pub struct Question {
    seq: u64,
    turn: u64,
    /// The hint said that what is there was deleted.
    deleted: bool,
}

/// What comes of a step.
pub enum Step {
    /// It goes on.
    On(State),
    /// It waits.
    Wait(State),
    /// It is done.
    Done,
    /// It is put back to be done later.
    Later,
}

/// What a question has come to.
pub enum Asked {
    /// No answer yet.
    Open,
    /// The answer was lost.
    Lost,
    /// This.
    Answer(Answer),
}

/// What is known of a name on the target when it is looked at.
#[derive(Clone, Copy)]
pub enum There<'a> {
    /// As the target had it.
    Entry(Option<&'a Entry>),
    /// Anything may be there.
    Anything,
}

impl Task {
    /// Work that was just taken.
    pub fn new(work: Work<H>) -> Self {
        Self { work, state: State::Start }
    }
}

impl Source {
    /// Advances a worker; whether anything happened.
    pub fn advance(&mut self, index: usize) -> bool {
        let Task { work, state } = self.tasks.remove(index);
        let step = match &work {
            Work::Name(dir, name) => self.name_step(dir, name, state),
            Work::List(dir) => self.list_step(dir, state),
            Work::Copy(node, source) => self.copy_step(node, *source, state),
            Work::Mend(node, dirt) => self.mend_step(node, dirt, state),
        };
        let Gate::Pass(pass) = &mut self.gate else { return true };
        match step {
            Step::On(state) => self.tasks.insert(index, Task { work, state }),
            Step::Wait(state) => {
                self.tasks.insert(index, Task { work, state });
                return false;
            }
            Step::Done => {
                crate::say!(self, "    done {work:?}");
                pass.finished(&work);
            }
            Step::Later => pass.failed(work, super::source::now()),
        }
        true
    }

    /// Whether the pass may send something now.
    pub fn has_room(&self) -> bool {
        self.queue.len() * 3 <= self.bounds.queue
    }

    /// Asks the target.
    pub fn ask(&mut self, rec: Rec) -> Option<u64> {
        let seq = self.push(rec)?;
        self.questions.insert(seq, None);
        Some(seq)
    }

    /// What came of a question.
    pub fn answer(&mut self, seq: u64) -> Asked {
        match self.questions.get(&seq) {
            None => Asked::Lost,
            Some(None) => Asked::Open,
            Some(Some(_)) => match self.questions.remove(&seq).flatten() {
                Some(answer) => Asked::Answer(answer),
                None => Asked::Lost,
            },
        }
    }

    pub(super) fn is_alive(&self, dir: &H) -> bool {
        self.tree.is_current(&self.disk, dir) && dir.has_name()
    }

    fn name_step(&mut self, dir: &H, name: &Name, state: State) -> Step {
        let (alive, room, bug) = (self.is_alive(dir), self.has_room(), self.bug);
        let Some(pass) = self.passing() else { return Step::Done };
        if let State::Staging(staging) = state {
            return self.staging_step(dir, name, staging);
        }
        if !pass.is_pending(dir, name) {
            return Step::Done;
        }
        if !alive || !pass.is_right(dir) {
            pass.not_pending(dir, name);
            return Step::Done;
        }
        if !room {
            return Step::Wait(state);
        }
        match state {
            State::Asked(question) => {
                let Question { seq, turn, deleted } = question;
                let untouched = pass.is_untouched(dir, name, turn) || bug == Some(Bug::StaleAnswer);
                match self.answer(seq) {
                    Asked::Open => Step::Wait(State::Asked(question)),
                    Asked::Lost if bug == Some(Bug::LostAnswer) => self.resolve(dir, name, There::Entry(None), deleted),
                    Asked::Answer(Answer::Page(entries, _)) if untouched => {
                        self.resolve(dir, name, There::Entry(entries.first()), deleted)
                    }
                    _ => Step::On(State::Start),
                }
            }
            _ => self.first_look(dir, name),
        }
    }

    fn first_look(&mut self, dir: &H, name: &Name) -> Step {
        let Some(pass) = self.passing() else { return Step::Done };
        let (known, turn) = pass.look(dir, name);
        match known {
            Known::Hint(Hint::Nothing) => self.resolve(dir, name, There::Entry(None), false),
            Known::Anything => self.resolve(dir, name, There::Anything, false),
            Known::Hint(hint) => {
                let Some(path) = dir.path() else { return Step::Done };
                let deleted = hint == Hint::Deleted;
                match self.ask(Rec::List { path, after: None, only: Some(name.clone()) }) {
                    Some(seq) => Step::On(State::Asked(Question { seq, turn, deleted })),
                    None => Step::Done,
                }
            }
        }
    }

    /// Sees to a name.
    fn resolve(&mut self, dir: &H, name: &Name, there: There<'_>, deleted: bool) -> Step {
        let node = self.tree.lookup(&self.disk, dir, name);
        if let Some(node) = &node {
            match self.bring(dir, name, node, there) {
                Brought::Done => {}
                Brought::Stage => return self.begin_staging(dir, name, node),
                Brought::Wait => return Step::Wait(State::Start),
            }
        } else if !matches!(there, There::Entry(None)) {
            self.clear_name(dir, name, there, deleted);
        }
        if let Some(pass) = self.passing() {
            pass.not_pending(dir, name);
        }
        Step::Done
    }

    /// The source has nothing under a name.
    pub(super) fn clear_name(&mut self, dir: &H, name: &Name, there: There<'_>, deleted: bool) {
        let Some(path) = path_in(dir, name) else { return };
        let parent_mtime = self.mtime_of(dir);
        let directory = matches!(there, There::Entry(Some(entry)) if entry.directory);
        if deleted || self.has(Bug::EraseExtra) {
            let gone = super::record::Gone { node: self.tree.fresh_id(), orphan: false };
            self.push(Rec::Unlink { path, gone, directory, parent_mtime });
        } else {
            self.push(Rec::SetAside { path, parent_mtime });
        }
    }

    fn mend_step(&mut self, node: &H, dirt: &Dirt, state: State) -> Step {
        if self.nlink(node) == 0 {
            return Step::Done;
        }
        let Gate::Pass(pass) = &self.gate else { return Step::Done };
        if !pass.is_right(node) {
            return Step::Later;
        }
        if !self.has_room() {
            return Step::Wait(state);
        }
        let Some(at) = self.place(node) else {
            self.all_dirty("a node without a known name is to be mended");
            return Step::Done;
        };
        let inode = self.disk.at(node.ino());
        let (mode, mtime, size) = (inode.mode, inode.mtime, inode.blocks().len());
        let State::Mending(mut ranges, first) = state else {
            // The size first: what lies past it on the target must not come back if the file grows again meanwhile.
            if !dirt.data.is_empty() {
                let (at, size) = (at.clone(), Some(size));
                self.push(Rec::SetAttr { node: node.id(), at, size, mode: None, mtime: None });
            }
            return Step::On(State::Mending(super::copy::pieces(&dirt.data, size), at));
        };
        let at = if self.has(Bug::OldPlace) { first.clone() } else { at };
        let Some((from, to)) = ranges.pop_front() else {
            let size = (!dirt.data.is_empty()).then_some(size);
            self.push(Rec::SetAttr { node: node.id(), at, size, mode: Some(mode), mtime: Some(mtime) });
            return Step::Done;
        };
        let to = to.min(size);
        if from < to {
            let data = inode.blocks()[from..to].to_vec();
            self.push(Rec::Write { node: node.id(), at, block: from, data, mtime });
        }
        Step::On(State::Mending(ranges, first))
    }

    /// What is to be done to a name under which the source has this node.
    pub fn source_of(&self, node: &H, there: There<'_>) -> Verdict {
        let inode = self.disk.at(node.ino());
        let file = !inode.is_dir();
        let anew = |fresh| if file { Verdict::Content(From::Fresh, fresh) } else { Verdict::Attributes(fresh) };
        let theirs = match there {
            There::Anything => return anew(true),
            There::Entry(Some(entry)) if entry.directory != file => entry,
            There::Entry(_) => return anew(false),
        };
        let Gate::Pass(pass) = &self.gate else { return Verdict::Same };
        let attributes = (theirs.mode, theirs.mtime) == (inode.mode, inode.mtime);
        if !file {
            return if attributes { Verdict::Same } else { Verdict::Attributes(false) };
        }
        let content = if pass.by_content {
            theirs.blocks == inode.blocks()
        } else {
            theirs.mtime == inode.mtime && theirs.blocks.len() == inode.blocks().len()
        };
        match (content, attributes) {
            (true, true) => Verdict::Same,
            (true, false) => Verdict::Attributes(false),
            (false, _) => Verdict::Content(From::Unknown, false),
        }
    }
}

/// What has to be done to a name.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Nothing.
    Same,
    /// Everything but content; whether not to what is there.
    Attributes(bool),
    /// Content too.
    Content(From, bool),
}

/// What became of a name.
#[derive(Clone, Copy, Debug)]
pub enum Brought {
    /// It is right.
    Done,
    /// The content is to be staged.
    Stage,
    /// The content is being staged for another name.
    Wait,
}
