//! A state of the source, and what of it the replication set takes: that is what the target is to show.

use super::snapshot::{Kind, Snapshot};
use protocol::RelPath;
use srm::set::{self, Set};
use std::collections::BTreeSet;
use std::rc::Rc;

/// See the module.
#[derive(Clone, Debug)]
pub struct View {
    /// All there is.
    pub full: Rc<Snapshot>,
    /// What of it is in the set.
    pub shown: Rc<Snapshot>,
    /// Names of files that are left out for their size only: the target may still have there what it had when they were in.
    pub sized: BTreeSet<String>,
}

impl View {
    /// Of a state of the source.
    pub fn of(full: Snapshot, set: &Set) -> Self {
        let full = Rc::new(full);
        if set.is_everything() {
            return Self { shown: Rc::clone(&full), full, sized: BTreeSet::new() };
        }
        let (mut out, mut sized) = (BTreeSet::new(), BTreeSet::new());
        for (path, entry) in &full.0 {
            let (kind, size) = match &entry.kind {
                Kind::Dir => (set::Kind::Directory, 0),
                Kind::File(bytes) => (set::Kind::File, bytes.len() as u64),
                Kind::Link(_) => (set::Kind::Symlink, 0),
            };
            let Ok(below) = RelPath::new(path.as_bytes()) else { continue };
            if set.takes(&below, kind, size) {
                continue;
            }
            out.insert(path.clone());
            if kind == set::Kind::File && set.takes_some_size(&below) {
                sized.insert(path.clone());
            }
        }
        let shown = Rc::new(full.without(|path, _| out.contains(path)));
        Self { full, shown, sized }
    }

    /// What of a target's tree is to be this.
    fn part_of(&self, target: &Snapshot) -> Snapshot {
        target.without(|path, kind| matches!(kind, Kind::File(_)) && self.sized.contains(path))
    }

    /// Whether a target with this tree shows it.
    pub fn is_shown_by(&self, target: &Snapshot) -> bool {
        if self.sized.is_empty() { *self.shown == *target } else { *self.shown == self.part_of(target) }
    }

    /// The same, whatever times directories have.
    pub fn is_shown_but_for_times(&self, target: &Snapshot) -> bool {
        without_times(&self.shown) == without_times(&self.part_of(target))
    }

    /// What differs, in words.
    pub fn difference(&self, target: &Snapshot) -> String {
        self.shown.difference(&self.part_of(target))
    }

    /// Whether something of what has happened since `before` is to be seen on the target. Not times of directories: those follow what is left out as well, and
    /// nobody waits for them. Nor what left the set by its size: the target keeps that.
    pub fn differs(&self, before: &Self) -> bool {
        if [self, before].iter().all(|view| view.shown.0.len() == view.full.0.len()) {
            return self.shown != before.shown;
        }
        let told = |view: &Self| without_times(&view.shown.without(|path, _| self.sized.contains(path)));
        self.shown != before.shown && told(self) != told(before)
    }
}

/// Of directories.
fn without_times(tree: &Snapshot) -> Snapshot {
    let mut tree = tree.clone();
    tree.0.values_mut().filter(|entry| entry.kind == Kind::Dir).for_each(|entry| entry.mtime = (0, 0));
    tree
}
