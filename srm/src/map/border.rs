//! What a pass over everything knows of the border of what is replicated: a node has names beyond it too, under which the target has
//! nothing, and a directory crosses it with all that lies below. (A pass over some names goes by names, and needs none of this.)

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
        let mut links = node.links();
        links.retain(|link| new.is_none_or(|(dir, name)| !is_link(link, dir, name)));
        let right: Vec<(H, Name)> = match self.shared(node.ino()) {
            Some(shared) => {
                shared.iter().filter(|(dir, name)| links.iter().any(|l| is_link(l, dir, name))).cloned().collect()
            }
            // It had one name when it became right, and every later one on this side is among those that are told apart.
            None => links,
        };
        self.set_shared(node.ino(), right);
    }

    /// A directory leaves, with all that lies below.
    pub fn departs(&mut self, dir: &H, is_there: impl Fn(&H) -> bool) {
        if !matches!(self.scope(), Scope::All(right) if right.contains(&dir.ino())) {
            return;
        }
        self.set_gone(dir.ino());
        let departed = self.departed_mut();
        departed.insert(dir.ino(), dir.clone());
        if departed.len() % MANY == 0 {
            departed.retain(|_, dir| is_there(dir));
        }
    }

    /// Whether something that had left is back: what lies below counts as right, and is not.
    pub fn has_returned(&self) -> bool {
        self.departed().values().any(|dir| !dir.links().is_empty())
    }

    /// Whether a node that counts as right is so by one of the names that it has on this side, or has none at all.
    pub(super) fn is_told_of(&self, node: &H) -> bool {
        if self.departed().is_empty() || node.is_root() {
            return true;
        }
        let links = node.links();
        let shared = self.shared(node.ino());
        links.is_empty()
            || shared.is_none_or(|names| names.iter().any(|(d, n)| links.iter().any(|link| is_link(link, d, n))))
    }

    /// Whether a name is one that the node still has on this side. Only what has left takes names along without a word.
    pub(super) fn is_held_by(&self, node: &H, (dir, name): &(H, Name)) -> bool {
        self.departed().is_empty() || node.links().iter().any(|link| is_link(link, dir, name))
    }
}
