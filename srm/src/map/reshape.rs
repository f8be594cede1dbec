//! From what was remembered while nothing was sent to the operations that bring the target's names back to the source's:
//! renames first, in an order in which nothing overwrites what is still needed; a node that blocks others in a circle waits
//! under a name of its own. What is left are names to look at and nodes to mend.

use super::held::{Dirt, Held, There, Was};
use super::{Handle, slot};
use protocol::{Name, RelPath};
use std::collections::{HashMap, HashSet};

/// One operation on the target's names.
#[derive(Clone, Debug)]
pub enum Step<H> {
    /// The directory, which the source has under this path and the target not at all, is to exist.
    Make(H),
    /// A node moves; its new place is right then.
    Move {
        /// What.
        node: H,
        /// Where the target has it.
        from: RelPath,
        /// The directory of that, where the source still has it.
        from_dir: Option<H>,
        /// Where the source has it; `None`: it waits under [`waiting_path`]. Nothing is there.
        to: Option<(H, Name)>,
    },
    /// What is there is out of the way afterwards.
    Aside {
        /// Where.
        path: RelPath,
        /// Its directory.
        dir: H,
    },
    /// What was deleted goes.
    Remove {
        /// Where.
        path: RelPath,
        /// A directory, empty by now as far as is known.
        directory: bool,
        /// Its directory, where the source still has it.
        dir: Option<H>,
    },
}

/// What is to be done after the steps.
#[derive(Debug)]
pub struct Rest<H> {
    /// Names to look at, and what the target has there.
    pub names: Vec<(H, Name, There)>,
    /// Directories that the target has in the right place, and whose whole content is to be looked at.
    pub folded: Vec<H>,
    /// What changed of files was forgotten with their names in marked directories, wherever those are now: for [`super::Pass::doubts`].
    pub doubts: bool,
    /// Nodes that the target has in the right place.
    pub files: Vec<(H, Dirt)>,
    /// Ids of files without a name that the target need not keep any more.
    pub reaped: Vec<u64>,
    /// Files with several names, for [`super::Pass::keep`].
    pub linked: Vec<H>,
}

/// A name in the replica's root for a node that is in the way.
pub fn waiting_path<H: Handle>(node: &H) -> RelPath {
    RelPath::new(format!(".replfs-moving-{}", node.id()).as_bytes()).expect("a valid path")
}

struct Reshape<H> {
    held: Held<H>,
    /// Names that stand in a directory, by its id.
    within: HashMap<u64, Vec<Name>>,
    /// Nodes that wait under a name of their own.
    waiting: HashSet<u64>,
    /// Directories that a step has made.
    made: HashSet<u64>,
    /// Deleted directories that could not go, by id, and what was made in their place.
    taken_over: HashMap<u64, H>,
    /// The same the other way: of which one each was made.
    made_of: HashMap<u64, u64>,
    /// Nodes that a step has moved to where they belong.
    moved: HashSet<u64>,
    steps: Vec<Step<H>>,
}

impl<H: Handle> Held<H> {
    /// The steps, and what is left after them. Names stand still until the steps are taken. `None`: there is no way, all is
    /// to be compared (a path is too long to be named).
    pub fn reshape(mut self) -> Option<(Vec<Step<H>>, Rest<H>)> {
        self.purge();
        let mut within: HashMap<u64, Vec<Name>> = HashMap::new();
        for (dir, name) in self.names.keys() {
            within.entry(*dir).or_default().push(name.clone());
        }
        for names in within.values_mut() {
            names.sort();
        }
        let mut work = Reshape {
            held: self,
            within,
            waiting: HashSet::new(),
            made: HashSet::new(),
            taken_over: HashMap::new(),
            made_of: HashMap::new(),
            moved: HashSet::new(),
            steps: Vec::new(),
        };
        if !work.move_all() {
            return None;
        }
        work.clear_all();
        Some(work.finish())
    }
}

impl<H: Handle> Reshape<H> {
    /// Where the target has a directory or a node.
    fn path(&self, node: &H) -> Option<RelPath> {
        if node.is_root() {
            return Some(RelPath::root());
        }
        if self.waiting.contains(&node.id()) {
            return Some(waiting_path(node));
        }
        let (dir, name) = match self.held.was.get(&node.id()) {
            Some(was) => (was.dir.clone(), was.name.clone()),
            None => node.links().into_iter().next()?,
        };
        self.path(&dir)?.join(&name).ok()
    }

    /// Whether a directory is on the target where the source has it, and all above it too, or can be made there now.
    fn is_settled(&self, dir: &H) -> bool {
        if dir.is_root() {
            return true;
        }
        if self.held.was.contains_key(&dir.id()) {
            return false;
        }
        let Some((above, name)) = dir.links().into_iter().next() else { return false };
        self.is_settled(&above) && self.is_free(&above, &name)
    }

    /// Whether nothing stands under a name that is still needed.
    fn is_free(&self, dir: &H, name: &Name) -> bool {
        self.needed_at(dir, name).is_none()
    }

    /// The node that stands under a name and is still needed: also one in a deleted directory that stands where this one is to be, and may have to be used.
    fn needed_at(&self, dir: &H, name: &Name) -> Option<u64> {
        let stands = |dir: u64| self.held.at.get(&(dir, name.clone())).copied();
        let needed = |id: &u64| self.held.was.get(id).is_some_and(|was| was.alive);
        stands(dir.id()).filter(needed).or_else(|| stands(self.beneath(dir)?).filter(needed))
    }

    /// The deleted directory that the target has where this one is to be, or that this one was made of.
    fn beneath(&self, dir: &H) -> Option<u64> {
        if let Some(over) = self.made_of.get(&dir.id()) {
            return Some(*over);
        }
        // What the target has elsewhere, or in its place, is not made.
        if dir.is_root() || self.made.contains(&dir.id()) || self.held.is_there(dir) {
            return None;
        }
        let (above, name) = dir.links().into_iter().next()?;
        let deleted = |id: &u64| self.held.was.get(id).is_some_and(|was| !was.alive);
        let stands = |dir: u64| self.held.at.get(&(dir, name.clone())).copied();
        stands(above.id()).or_else(|| stands(self.beneath(&above)?)).filter(deleted)
    }

    fn is_made(&self, dir: &H) -> bool {
        dir.is_root()
            || self.made.contains(&dir.id())
            || self.moved.contains(&dir.id())
            || dir.links().iter().any(|(above, name)| {
                // Of a directory that was made no name is remembered, and none is there.
                let was_there = !self.held.names.contains_key(&slot(above, name)) && !self.made.contains(&above.id());
                was_there && self.is_made(above)
            })
    }

    fn depth(node: &H) -> usize {
        if node.is_root() { 0 } else { node.links().first().map_or(0, |(dir, _)| 1 + Self::depth(dir)) }
    }

    fn move_all(&mut self) -> bool {
        let mut left: Vec<H> = self.held.was.values().filter(|was| was.alive).map(|was| was.node.clone()).collect();
        let several = left.iter().filter(|node| node.links().len() > 1);
        self.held.linked.extend(several.map(|node| (node.id(), node.clone())));
        // Its names are not known any more, or the target has one of them already: what is at the old one goes.
        let at_home = |held: &Held<H>, node: &H| node.links().iter().any(|(dir, name)| held.is_clean(dir, name));
        left.retain(|node| !(node.links().is_empty() || at_home(&self.held, node)) || !self.forget(node));
        left.sort_by_cached_key(|node| (Self::depth(node), node.id()));
        while !left.is_empty() {
            let before = left.len();
            left.retain(|node| !self.try_move(node));
            if left.len() == before && !self.put_aside(&left) {
                return false;
            }
        }
        true
    }

    fn forget(&mut self, node: &H) -> bool {
        if let Some(was) = self.held.was.remove(&node.id()) {
            let at = slot(&was.dir, &was.name);
            self.held.at.remove(&at);
            if let Some(entry) = self.held.names.get_mut(&at) {
                entry.there = There::Deleted { directory: false };
            }
        }
        true
    }

    /// Moves a node to one of its places, if that is possible now.
    fn try_move(&mut self, node: &H) -> bool {
        for (dir, name) in node.links() {
            let here = slot(&dir, &name);
            // The pass finds it there.
            if self.held.is_inside(&dir) {
                continue;
            }
            let taken = self.needed_at(&dir, &name).is_some_and(|id| id != node.id());
            if taken || !self.is_settled(&dir) {
                continue;
            }
            if !self.is_made(&dir) {
                self.make(&dir);
            }
            let there = self.held.names.get(&here).map(|entry| entry.there);
            if there == Some(There::Deleted { directory: true }) && !self.clear(&dir, &name) {
                continue;
            }
            let Some(from) = self.path(node) else { continue };
            let was = self.held.was.remove(&node.id());
            let from_dir = self.left_dir(was.as_ref()).filter(|_| !self.waiting.contains(&node.id()));
            self.leave(was.as_ref());
            self.waiting.remove(&node.id());
            if there == Some(There::Deleted { directory: false }) {
                // Not replaced: it may be another name of this very file, and renaming one to the other does nothing.
                self.remove_file(&dir, &name);
            }
            if there == Some(There::Unknown) {
                self.put_away(&dir, &name);
            }
            self.held.names.remove(&here);
            self.moved.insert(node.id());
            self.steps.push(Step::Move { node: node.clone(), from, from_dir, to: Some((dir, name)) });
            return true;
        }
        false
    }

    /// A deleted file goes, in a directory that the source has.
    fn remove_file(&mut self, dir: &H, name: &Name) {
        if let Some(path) = self.path(dir).and_then(|path| path.join(name).ok()) {
            self.steps.push(Step::Remove { path, directory: false, dir: Some(dir.clone()) });
        }
    }

    /// Whatever is there, in a directory that the source has.
    fn put_away(&mut self, dir: &H, name: &Name) {
        if let Some(path) = self.path(dir).and_then(|path| path.join(name).ok()) {
            self.steps.push(Step::Aside { path, dir: dir.clone() });
        }
    }

    /// The directory that a node leaves: what stands where the target has it, so that it keeps its time.
    fn left_dir(&self, was: Option<&Was<H>>) -> Option<H> {
        let dir = &was?.dir;
        Some(self.taken_over.get(&dir.id()).unwrap_or(dir).clone())
    }

    /// Nothing is at a node's old place any more.
    fn leave(&mut self, was: Option<&Was<H>>) {
        let Some(was) = was else { return };
        let at = slot(&was.dir, &was.name);
        if self.held.at.get(&at) == Some(&was.node.id()) {
            self.held.at.remove(&at);
            if let Some(entry) = self.held.names.get_mut(&at) {
                entry.there = There::Nothing;
            }
        }
    }

    /// A directory, and those above it, are made under their names.
    fn make(&mut self, dir: &H) {
        let mut chain = vec![dir.clone()];
        while let Some((above, _)) = chain.last().and_then(|dir| dir.links().into_iter().next()) {
            if self.is_made(&above) {
                break;
            }
            chain.push(above);
        }
        for dir in chain.into_iter().rev() {
            if let Some((above, name)) = dir.links().into_iter().next() {
                match self.held.names.get(&slot(&above, &name)).map(|entry| entry.there) {
                    // What cannot be cleared is used, and its names compared.
                    Some(There::Deleted { directory: true }) => {
                        let there = self.held.at.get(&slot(&above, &name)).copied();
                        if !self.clear(&above, &name)
                            && let Some(there) = there
                        {
                            self.taken_over.insert(there, dir.clone());
                            self.made_of.insert(dir.id(), there);
                        }
                    }
                    Some(There::Deleted { directory: false }) => self.remove_file(&above, &name),
                    Some(There::Unknown) => self.put_away(&above, &name),
                    _ => {}
                }
                self.held.names.remove(&slot(&above, &name));
            }
            self.made.insert(dir.id());
            self.steps.push(Step::Make(dir));
        }
    }

    /// Nothing can move: the one that lies deepest on the target waits elsewhere, so that nothing that is needed lies below.
    fn put_aside(&mut self, left: &[H]) -> bool {
        let deepest = left
            .iter()
            .filter(|node| !self.waiting.contains(&node.id()))
            .filter_map(|node| Some((self.path(node)?, node.clone())))
            .max_by_key(|(path, node)| (path.as_bytes().split(|byte| *byte == b'/').count(), node.id()));
        let Some((from, node)) = deepest else { return false };
        let was = self.held.was.get(&node.id()).cloned();
        self.leave(was.as_ref());
        let from_dir = self.left_dir(was.as_ref());
        self.waiting.insert(node.id());
        self.steps.push(Step::Move { node, from, from_dir, to: None });
        true
    }

    /// Deleted directories go, with what was deleted in them.
    fn clear_all(&mut self) {
        let mut dirs: Vec<(H, Name)> = self
            .held
            .names
            .iter()
            .filter(|(_, entry)| entry.there == There::Deleted { directory: true })
            .map(|((_, name), entry)| (entry.dir.clone(), name.clone()))
            .collect();
        dirs.sort_by_key(|(dir, name)| (dir.id(), name.clone()));
        for (dir, name) in dirs {
            // One that stands in another deleted one may have gone with it.
            if !dir.links().is_empty() || dir.is_root() {
                self.clear(&dir, &name);
            }
        }
    }

    /// Removes a deleted directory. `false`: something in it is still needed.
    fn clear(&mut self, dir: &H, name: &Name) -> bool {
        let here = slot(dir, name);
        let Some(id) = self.held.at.get(&here).copied() else { return true };
        let Some(was) = self.held.was.get(&id).cloned() else { return true };
        let mut gone = true;
        for inner in self.within.get(&id).cloned().unwrap_or_default() {
            let Some(entry) = self.held.names.get(&(id, inner.clone())) else { continue };
            let cleared = match entry.there {
                There::Nothing => true,
                There::Moved | There::Unknown => false,
                There::Deleted { directory: true } => self.clear(&was.node, &inner),
                There::Deleted { directory: false } => {
                    if let Some(path) = self.path(&was.node).and_then(|path| path.join(&inner).ok()) {
                        self.steps.push(Step::Remove { path, directory: false, dir: None });
                    }
                    true
                }
            };
            if cleared {
                self.held.names.remove(&(id, inner));
            }
            gone &= cleared;
        }
        if gone {
            if let Some(path) = self.path(&was.node) {
                let dir = (dir.is_root() || !dir.links().is_empty()).then(|| dir.clone());
                self.steps.push(Step::Remove { path, directory: true, dir });
            }
            self.held.was.remove(&id);
            self.held.at.remove(&here);
            if let Some(entry) = self.held.names.get_mut(&here) {
                entry.there = There::Nothing;
            }
        }
        gone
    }

    fn finish(self) -> (Vec<Step<H>>, Rest<H>) {
        let alive = |dir: &H| dir.is_root() || !dir.links().is_empty();
        let below = |dir: &H| dir.links().iter().any(|(above, _)| self.held.is_inside(above));
        let folded = self.held.folded.values().filter(|dir| alive(dir) && self.held.is_there(dir) && !below(dir));
        let mut folded: Vec<_> = folded.cloned().collect();
        let doubts = !self.held.folded.is_empty();
        folded.sort_by_key(Handle::id);
        let mut names: Vec<_> = self
            .held
            .names
            .into_iter()
            .filter(|(_, entry)| alive(&entry.dir))
            .map(|((_, name), entry)| (entry.dir, name, entry.there))
            .collect();
        names.sort_by_key(|(dir, name, _)| (dir.id(), name.clone()));
        let mut files: Vec<_> = self.held.files.into_values().collect();
        files.sort_by_key(|(node, _)| node.id());
        let linked = self.held.linked.into_values().collect();
        (self.steps, Rest { names, folded, doubts, files, reaped: self.held.reaped, linked })
    }
}
