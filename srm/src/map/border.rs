//! What a pass knows of the border of what is replicated: a node has names beyond it too, under which the target has nothing, and a
//! directory crosses it with all that lies below. (A pass over some names goes by names, and need only know of directories that it is listing.)

use super::Handle;
use super::pass::{Pass, Scope, is_link};
use protocol::Name;

/// So many directories that have left are remembered before those that are gone are forgotten.
const MANY: usize = 1024;

impl<H: Handle> Pass<H> {
    /// A node has got, or had, a name beyond the border: it is right by its other names alone. `new`: one that it has just got, and that
    /// nothing was sent of.
    pub fn confine(&mut self, node: &H, new: Option<(&H, &Name)>) {
        let Scope::All(right) = self.scope() else { return };
        if !right.contains(&node.ino()) {
            return;
        }
        let told = |(d, n): &(H, Name)| {
            node.takes(d, n) && new.is_none_or(|(dir, name)| !is_link(&(d.clone(), n.clone()), dir, name))
        };
        let right: Vec<(H, Name)> = match self.shared(node.ino()) {
            Some(shared) => shared.iter().filter(|link| told(link)).cloned().collect(),
            // It had one name when it became right, and every later one on this side is among those that are told apart.
            None => node.links().into_iter().filter(told).collect(),
        };
        self.set_shared(node.ino(), right);
    }

    /// A directory leaves, with all that lies below.
    pub fn departs(&mut self, dir: &H, is_there: impl Fn(&H) -> bool) {
        let may_be_right_below = match self.scope() {
            Scope::All(right) => right.contains(&dir.ino()),
            // Names of directories that are being listed.
            Scope::Some(_) => self.is_scanning(),
        };
        if !may_be_right_below {
            return;
        }
        self.set_gone(dir.ino());
        self.departed.insert(dir.ino(), dir.clone());
        if self.departed.len().is_multiple_of(MANY) {
            self.departed.retain(|_, dir| is_there(dir));
        }
    }

    /// Whether something that had left is back: what lies below counts as right, and is not.
    pub fn has_returned(&self) -> bool {
        self.departed.values().any(|dir| !dir.links().is_empty())
    }

    /// All that lies below a directory, which may be right, is looked at once more when this pass is over.
    pub fn look_below(&mut self, dir: &H) {
        self.below.insert(dir.ino(), dir.clone());
    }

    /// Directories of which all that lies below is to be looked at, after this pass.
    pub fn take_below(&mut self) -> Vec<H> {
        std::mem::take(&mut self.below).into_values().collect()
    }

    /// Whether a node that counts as right is so by one of the names that it has on this side, or has none at all.
    pub(super) fn is_told_of(&self, node: &H) -> bool {
        if self.departed.is_empty() || node.is_root() {
            return true;
        }
        let any = |names: &[(H, Name)]| names.iter().any(|(dir, name)| node.takes(dir, name));
        node.links().is_empty() || self.shared(node.ino()).is_none_or(any)
    }

    /// Whether a name of a node is still on this side. Only what has left takes names along without a word.
    pub(super) fn is_held_by(&self, node: &H, (dir, name): &(H, Name)) -> bool {
        self.departed.is_empty() || node.takes(dir, name)
    }
}
