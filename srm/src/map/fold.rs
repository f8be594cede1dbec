//! When too much is held one by one: what is remembered below one directory becomes one mark, "its whole content is to be
//! looked at", and only where no directory has enough of it everything is.
//!
//! Of names in a marked directory nothing is remembered, and nothing that the target has below it counts as there: what moves out of
//! it is new where it comes to, what moves into it is found there by the pass, and what the target has of that elsewhere is out of
//! the way first. So nothing below a marked directory is ever renamed on the target.

use super::held::{DirtyName, Held, Lost, There};
use super::{Handle, Slot};
use std::collections::{HashMap, HashSet};

/// A directory is marked that has this share of all entries at least; marking goes on until this share of the bound is free.
const SHARE: usize = 4;

impl<H: Handle> Held<H> {
    /// Keeps the bound, by marking directories where that helps.
    pub(super) fn check(&mut self) -> Result<(), Lost> {
        if self.entries() <= self.limit {
            return Ok(());
        }
        while self.entries() > self.limit - self.limit / SHARE {
            let before = self.entries();
            let Some(dir) = self.heaviest() else { break };
            self.folded.insert(dir.id(), dir);
            self.purge();
            if self.entries() >= before {
                break;
            }
        }
        if self.entries() > self.limit { Err(Lost::Full) } else { Ok(()) }
    }

    /// All that lies below a directory is to be looked at, whatever is remembered of it.
    pub fn look_below(&mut self, dir: &H) -> Result<(), Lost> {
        if self.is_there(dir) && !self.is_inside(dir) {
            self.folded.insert(dir.id(), dir.clone());
            self.purge();
        }
        self.check()
    }

    /// Whether names in this directory are not remembered one by one.
    pub(super) fn is_folded(&self, dir: &H) -> bool {
        self.folded.contains_key(&dir.id())
    }

    /// Whether this directory is a marked one on the source, or lies below one.
    pub(super) fn is_inside(&self, dir: &H) -> bool {
        if self.folded.is_empty() {
            return false;
        }
        let mut dir = dir.clone();
        loop {
            if self.is_folded(&dir) {
                return true;
            }
            match dir.links().into_iter().next() {
                Some((above, _)) => dir = above,
                None => return false,
            }
        }
    }

    /// The directories above an entry and its own that could be marked, the deepest first.
    fn above(&self, dir: &H) -> Vec<H> {
        let mut out = Vec::new();
        let mut dir = dir.clone();
        while !dir.is_root() {
            let above = dir.links().into_iter().next().map(|(above, _)| above);
            // What was deleted has no content that could be looked at; what is in it stands where the target has it.
            let above = above.or_else(|| self.was.get(&dir.id()).map(|was| was.dir.clone()));
            out.push(dir);
            match above {
                Some(above) => dir = above,
                None => break,
            }
        }
        out
    }

    /// The deepest directory, that the target has and that lives, which has its share of all entries.
    fn heaviest(&self) -> Option<H> {
        let mut counts: HashMap<u64, (usize, usize, H)> = HashMap::new();
        let names = self.names.values().map(|entry| entry.dir.clone());
        let nodes = self.files.values().map(|(node, _)| node).chain(self.linked.values());
        let dirs = nodes.filter_map(|node| node.links().into_iter().next()).map(|(dir, _)| dir);
        for dir in names.chain(dirs) {
            let above = self.above(&dir);
            let depth = above.len();
            for (index, dir) in above.into_iter().enumerate() {
                counts.entry(dir.id()).or_insert_with(|| (0, depth - index, dir)).0 += 1;
            }
        }
        let enough = (self.entries() / SHARE).max(2);
        counts
            .into_values()
            .filter(|(count, _, dir)| {
                *count >= enough && !self.is_folded(dir) && !dir.links().is_empty() && self.is_there(dir)
            })
            .max_by_key(|(count, depth, dir)| (*depth, *count, dir.id()))
            .map(|(_, _, dir)| dir)
    }

    /// Drops what is remembered of what nobody needs to know any more, or can use: what stands below a marked directory on either
    /// side.
    pub(super) fn purge(&mut self) {
        if self.folded.is_empty() {
            return;
        }
        let mut moved_in: HashSet<Slot> = HashSet::new();
        loop {
            let lost: Vec<u64> = self.was.iter().filter(|(_, was)| !self.is_usable(was)).map(|(id, _)| *id).collect();
            if lost.is_empty() {
                break;
            }
            for id in lost {
                if let Some(was) = self.was.remove(&id) {
                    let at = (was.dir.id(), was.name);
                    self.at.remove(&at);
                    moved_in.insert(at);
                }
            }
        }
        // Found out first: whether a directory is known depends on the names.
        let useless = |entry: &DirtyName<H>| self.is_folded(&entry.dir) || !self.is_known(&entry.dir);
        let gone: Vec<Slot> = self.names.iter().filter(|(_, entry)| useless(entry)).map(|(at, _)| at.clone()).collect();
        for at in gone {
            self.names.remove(&at);
        }
        for at in moved_in {
            if let Some(entry) = self.names.get_mut(&at) {
                entry.there = There::Unknown;
            }
        }
        let mut files = std::mem::take(&mut self.files);
        // Of one without a known name the target may have it under one that nobody has looked up: only that one's note says what changed.
        files.retain(|_, (node, _)| self.is_there(node) || node.links().is_empty());
        self.files = files;
        let mut linked = std::mem::take(&mut self.linked);
        linked.retain(|_, node| !node.links().iter().all(|(dir, _)| self.is_inside(dir)));
        self.linked = linked;
    }

    /// Whether it is known where the target has this node, and it can be moved from there to where the source has it.
    fn is_usable(&self, was: &super::held::Was<H>) -> bool {
        let links = was.node.links();
        let moved_in = was.alive && !links.is_empty() && links.iter().all(|(dir, _)| self.is_inside(dir));
        !moved_in && !self.is_folded(&was.dir) && self.is_known(&was.dir)
    }

    /// Whether it is known where the target has this directory.
    fn is_known(&self, dir: &H) -> bool {
        if dir.is_root() {
            return true;
        }
        match self.was.get(&dir.id()) {
            Some(was) => !self.is_folded(&was.dir) && self.is_known(&was.dir),
            None => dir.links().iter().any(|(above, name)| self.is_clean(above, name) && self.is_known(above)),
        }
    }
}
