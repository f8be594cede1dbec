//! Renames where some of SRC is left out of the set (S1): within it, out of it, into it, and beyond it.

use crate::map::{Departure, Handle};
use crate::names::Renamed;
use crate::{Again, Srm, Ticket};
use platform::tree::{Names, Node};
use protocol::Name;
use std::sync::Arc;

/// One name of a rename, with what has it now or had it.
#[derive(Clone, Copy)]
struct End<'a> {
    dir: &'a Arc<Node>,
    name: &'a Name,
    mtime: protocol::Time,
}

impl Srm {
    /// A rename or an exchange. What leaves the set is set aside on the target, what comes into it is brought over; a
    /// directory that moves within it is compared below, because rules may name places.
    pub(crate) fn renamed_in_set(self: &Arc<Self>, names: &mut Names, rename: &Renamed<'_>) -> Ticket {
        let from = End { dir: rename.from_dir, name: rename.from, mtime: rename.from_parent_mtime };
        let to = End { dir: rename.to_dir, name: rename.to, mtime: rename.to_parent_mtime };
        let moved: Vec<(&Arc<Node>, End<'_>, End<'_>)> = match rename.other {
            Some(other) => vec![(rename.node, from, to), (other, to, from)],
            None => vec![(rename.node, from, to)],
        };
        let takes = |end: End<'_>, node: &Arc<Node>| self.takes_name(names, end.dir, end.name, node);
        let within = moved.iter().all(|(node, old, new)| takes(*old, node) && takes(*new, node))
            && rename.replaced.as_ref().is_none_or(|gone| self.took_name(names, to.dir, to.name, gone));
        if within {
            let ticket = self.renamed_within(names, rename);
            for (node, _, new) in moved.iter().filter(|(node, ..)| node.is_dir()) {
                self.sweep();
                self.enter_names(names, node, &[Again::Name(Arc::clone(new.dir), new.name.clone())]);
            }
            return ticket;
        }
        let states: Vec<_> = moved.iter().map(|(node, old, new)| (takes(*old, node), takes(*new, node))).collect();
        if let Some(gone) = rename.replaced {
            let _the_last_counts = self.unlinked(names, to.dir, to.name, gone, to.mtime);
        }
        let mut ticket = Ticket::NONE;
        for ((node, old, _), (was_in, _)) in moved.iter().zip(&states) {
            if *was_in {
                ticket = self.leave(names, old.dir, old.name, node, old.mtime);
            } else {
                let links_left = Handle::links(*node).len() as u64;
                let gone = Departure { ino: node.ino(), links_left, orphan: false, directory: node.is_dir() };
                ticket = self.forsake(names, old.dir, old.name, gone, old.mtime);
            }
        }
        for ((node, _, new), (_, is_in)) in moved.iter().zip(&states) {
            self.stamp(names, new.dir, new.mtime);
            if *is_in {
                self.enter_names(names, node, &[Again::Name(Arc::clone(new.dir), new.name.clone())]);
            }
        }
        ticket
    }
}
