//! How repair begins and ends: a pass over everything or over what was remembered, with the steps that bring the target's names
//! back.

use super::bug::Bug;
use super::node::{H, path_in};
use super::record::{Content, Ensure, Gone, Rec};
use super::source::{Source, now};
use super::work::Task;
use protocol::RenameKind;
use srm::map::{Gate, Handle, Hint, Next, Pass, Scope, Step, There, Work, waiting_path};
use std::collections::{HashMap, HashSet};

impl Source {
    /// A pass begins, if it is time for one.
    pub fn begin(&mut self, target_empty: bool) {
        if !self.greeted || self.bypass || self.queue.len() * 2 > self.bounds.queue {
            return;
        }
        match std::mem::replace(&mut self.gate, Gate::Due) {
            Gate::Due => self.begin_full(target_empty),
            Gate::Held(held) => match held.reshape() {
                Some((steps, rest)) => {
                    self.pass += 1;
                    self.counts.partial += 1;
                    crate::say!(self, "    pass {} over what was remembered: {steps:?} {rest:?}", self.pass);
                    let mut pass = Pass::new(self.pass, Scope::Some(HashMap::new()));
                    for (dir, name, there) in &rest.names {
                        pass.add_name(dir, name, hint(*there));
                    }
                    pass.doubts = rest.doubts;
                    if !self.has(Bug::ForgetFolded) {
                        rest.folded.iter().for_each(|dir| pass.set_listing(dir));
                    }
                    self.counts.folded += rest.folded.len() as u64;
                    for (node, dirt) in rest.files {
                        pass.add(Work::Mend(node, dirt));
                    }
                    pass.keep(rest.linked);
                    self.gate = Gate::Pass(Box::new(pass));
                    self.mark_incoherent();
                    for step in steps {
                        if matches!(self.gate, Gate::Pass(_)) {
                            self.counts.steps += 1;
                            self.take(step);
                        }
                    }
                }
                None => self.all_dirty("there is no way to bring the names back"),
            },
            gate => self.gate = gate,
        }
    }

    fn mark_incoherent(&mut self) {
        self.coherent_at = None;
        if !self.has(Bug::NoMark) {
            self.push(Rec::Coherent(false));
        }
    }

    fn begin_full(&mut self, target_empty: bool) {
        self.pass += 1;
        self.counts.full += 1;
        crate::say!(self, "    pass {} over everything", self.pass);
        let mut pass = Pass::new(self.pass, Scope::All(HashSet::new()));
        pass.target_empty = target_empty;
        pass.by_content = !target_empty;
        self.gate = Gate::Pass(Box::new(pass));
        self.mark_incoherent();
        let root = self.tree.root();
        self.ensure_directories(&root);
    }

    /// A step that brings the target's names back.
    fn take(&mut self, step: Step<H>) {
        match step {
            Step::Make(dir) => self.make_directory(&dir),
            Step::Move { node, from, from_dir, to } => {
                let target = match &to {
                    Some((dir, name)) => path_in(dir, name),
                    None => Some(waiting_path(&node)),
                };
                let Some(target) = target else { return };
                let to_dir = to.as_ref().map_or_else(|| self.tree.root(), |(dir, _)| dir.clone());
                // What waits does so in the root; the time of a directory that is gone does not matter.
                let from_mtime = self.mtime_of(&from_dir.unwrap_or_else(|| self.tree.root()));
                let mtimes = (from_mtime, self.mtime_of(&to_dir));
                let kind = RenameKind::NoReplace;
                // In a directory that took the place of a deleted one it may be in its place already.
                if from != target {
                    self.push(Rec::Rename { from, to: target, kind, replaced: None, mtimes });
                }
                let several = self.nlink(&node) > 1 && !node.is_dir();
                if let (Some((dir, name)), Some(pass)) = (&to, self.passing()) {
                    pass.set_right(&node, Some((dir, name)), several);
                }
            }
            Step::Aside { path, dir } => {
                let parent_mtime = self.mtime_of(&dir);
                self.push(Rec::SetAside { path, parent_mtime });
            }
            Step::Remove { path, directory, dir } => {
                let parent_mtime = dir.map_or(0, |dir| self.mtime_of(&dir));
                let gone = Gone { node: self.tree.fresh_id(), orphan: false };
                self.push(Rec::Unlink { path, gone, directory, parent_mtime });
            }
        }
    }

    /// The next piece of work of the pass, taken in hand if there is a worker for it.
    pub fn next_work(&mut self) -> bool {
        if self.tasks.len() >= self.bounds.workers {
            return false;
        }
        let Some(pass) = self.passing() else { return false };
        match pass.next(now()) {
            Next::Work(work) => {
                crate::say!(self, "    begins {work:?}");
                self.tasks.push(Task::new(work));
                true
            }
            Next::Wait(_) => false,
            Next::Finished => {
                pass.assert_finished();
                self.gate = Gate::Clean;
                if let Some(seq) = self.push(Rec::Coherent(true)) {
                    self.coherent_at = Some(seq);
                } else {
                    self.all_dirty("there is no room for the mark");
                }
                true
            }
        }
    }

    /// Makes a directory and those above it exist on the target, where they are not right. A pass runs.
    pub fn ensure_directories(&mut self, dir: &H) {
        for node in dir.chain() {
            if !self.gate.sends(&node) {
                self.make_directory(&node);
            }
        }
    }

    /// Sends a directory and puts its names on the list.
    pub fn make_directory(&mut self, node: &H) {
        let Some(path) = node.path() else { return };
        let inode = self.disk.at(node.ino());
        let (mode, mtime) = (inode.mode, inode.mtime);
        let link = node.link();
        let parent_mtime = link.as_ref().map(|(dir, _)| self.mtime_of(dir));
        let wanted = Ensure {
            path,
            node: node.id(),
            directory: true,
            fresh: false,
            mode,
            mtime,
            size: 0,
            content: Content::Keep,
            parent_mtime,
        };
        self.push(Rec::Ensure(wanted));
        let lists = !self.has(Bug::NoListing) || node.is_root();
        if let Some(pass) = self.passing() {
            pass.set_right(node, link.as_ref().map(|(dir, name)| (dir, name)), false);
            if lists {
                pass.set_listing(node);
            }
        }
    }
}

fn hint(there: There) -> Hint {
    match there {
        There::Nothing => Hint::Nothing,
        There::Deleted { directory: false } => Hint::Deleted,
        There::Deleted { directory: true } | There::Moved | There::Unknown => Hint::Ask,
    }
}
