//! Renames where some of SRC is left out of the set (S1): within it, out of it, into it, and beyond it.

use crate::map::{Departure, Gate, Handle};
use crate::names::{Renamed, path_in};
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

/// A node, its old name and its new one.
type Crossing<'a> = (&'a Arc<Node>, End<'a>, End<'a>);

impl Srm {
    /// A rename or an exchange. What leaves the set is set aside on the target, what comes into it is brought over; a
    /// directory that moves within it is compared below, because rules may name places.
    pub(crate) fn renamed_in_set(self: &Arc<Self>, names: &mut Names, rename: &Renamed<'_>) -> Ticket {
        let from = End { dir: rename.from_dir, name: rename.from, mtime: rename.from_parent_mtime };
        let to = End { dir: rename.to_dir, name: rename.to, mtime: rename.to_parent_mtime };
        let moved: Vec<Crossing<'_>> = match rename.other {
            Some(other) => vec![(rename.node, from, to), (other, to, from)],
            None => vec![(rename.node, from, to)],
        };
        let takes = |end: End<'_>, node: &Arc<Node>| self.takes_name(names, end.dir, end.name, node);
        let within = moved.iter().all(|(node, old, new)| takes(*old, node) && takes(*new, node))
            && rename.replaced.as_ref().is_none_or(|gone| self.took_name(names, to.dir, to.name, gone));
        if within {
            let differ = |(node, old, new): &&Crossing<'_>| node.is_dir() && self.rules_differ(names, *old, *new);
            let among: Vec<_> = moved.iter().filter(differ).collect();
            if !among.is_empty() {
                // Before the target hears of it: this daemon may end there.
                self.sweep.want();
                self.straddling.may_lack_some();
                self.begin_looking(names, among.iter().map(|(_, _, new)| *new));
            }
            let ticket = self.renamed_within(names, rename);
            for (node, _, new) in among {
                self.moved_among_rules(names, node, *new);
            }
            self.see_to_returned();
            return ticket;
        }
        let states: Vec<_> = moved.iter().map(|(node, old, new)| (takes(*old, node), takes(*new, node))).collect();
        self.begin_crossing(names, rename, &moved, &states);
        if let Some(gone) = rename.replaced {
            let _the_last_counts = self.unlinked(names, to.dir, to.name, gone, to.mtime);
        }
        let mut ticket = Ticket::NONE;
        for ((node, old, new), (was_in, _)) in moved.iter().zip(&states) {
            if *was_in {
                ticket = self.leave(names, old.dir, old.name, node, old.mtime);
            } else {
                let links_left = self.names_in_set(names, node);
                let gone = Departure { ino: node.ino(), links_left, orphan: false, directory: node.is_dir() };
                ticket = self.forsake(names, old.dir, old.name, gone, old.mtime);
                self.came_from_beyond(node, *new);
            }
        }
        for (node, ..) in &moved {
            self.note_straddling(names, node);
        }
        for ((node, _, new), (was_in, is_in)) in moved.iter().zip(&states) {
            if *is_in && !was_in && self.has_another(node, *new) {
                // The target has it: it gets one more name there.
                ticket = self.linked(names, node, new.dir, new.name, new.mtime);
                continue;
            }
            self.stamp(names, new.dir, new.mtime);
            if *is_in {
                self.enter_names(names, node, &[Again::Name(Arc::clone(new.dir), new.name.clone())]);
            }
        }
        self.see_to_returned();
        ticket
    }

    /// Whether a file has a name in the set beside this one.
    fn has_another(&self, node: &Arc<Node>, new: End<'_>) -> bool {
        !node.is_dir() && self.other_taken_link(node, new.dir, new.name).is_some()
    }

    /// Where a rename takes several records, or content that is still to be brought, half of that is no state of the source's: the target is told so
    /// before the first of them.
    fn begin_crossing(
        self: &Arc<Self>,
        names: &Names,
        rename: &Renamed<'_>,
        moved: &[Crossing<'_>],
        states: &[(bool, bool)],
    ) {
        let records = |((node, old, new), (was_in, is_in)): (&Crossing<'_>, &(bool, bool))| {
            let goes = usize::from(*was_in || self.left_something(names, old.dir, old.name));
            goes + match is_in {
                true if !was_in && self.has_another(node, *new) => 1,
                true => 2,
                false => 0,
            }
        };
        let replaces = rename.replaced.as_ref().is_some_and(|gone| {
            let (_, _, new) = moved[0];
            self.took_name(names, new.dir, new.name, gone) || self.left_something(names, new.dir, new.name)
        });
        if usize::from(replaces) + moved.iter().zip(states).map(records).sum::<usize>() > 1 {
            self.begin_looking(names, moved.iter().map(|(_, _, new)| *new));
        }
    }

    /// A pass over these names begins, where everything is clean.
    fn begin_looking<'a>(self: &Arc<Self>, names: &Names, at: impl Iterator<Item = End<'a>>) {
        if matches!(self.core.lock().gate, Gate::Clean) {
            let again: Vec<Again> = at.map(|end| Again::Name(Arc::clone(end.dir), end.name.clone())).collect();
            // Where it cannot begin any more, things are held or due, and nothing is told.
            let _begun = self.look_again(names, &again, true);
        }
    }

    /// What had a name that is left out has this one now, of which nothing was sent.
    fn came_from_beyond(&self, node: &Arc<Node>, new: End<'_>) {
        if let Gate::Pass(pass) = &mut self.core.lock().gate {
            if node.is_dir() {
                pass.departs(node, |dir| dir.has_name());
            } else {
                pass.confine(node, Some((new.dir, new.name)));
            }
        }
    }

    /// Whether rules may say otherwise of what lies below a directory that has moved, which is to be found out by looking.
    fn rules_differ(&self, names: &Names, old: End<'_>, new: End<'_>) -> bool {
        match (path_in(names, old.dir, old.name), path_in(names, new.dir, new.name)) {
            (Some(old), Some(new)) => !self.set().is_same_below(&old, &new),
            _ => true,
        }
    }

    /// A directory has moved within the set, to where what lies below may belong to it that did not, or the other way, and is looked at.
    fn moved_among_rules(self: &Arc<Self>, names: &Names, node: &Arc<Node>, new: End<'_>) {
        loop {
            let mut core = self.core.lock();
            match &mut core.gate {
                Gate::Held(held) => {
                    let remembered = held.look_below(node);
                    return core.settle_held(remembered);
                }
                Gate::Pass(pass) if pass.is_over_all() => {
                    // Where it is not right, the pass comes to all of it.
                    if pass.is_right(node) {
                        pass.look_below(node);
                    }
                    return;
                }
                Gate::Due | Gate::Pass(_) | Gate::Clean => {}
            }
            drop(core);
            // Unless things are held from just now on.
            if self.look_again(names, &[Again::Name(Arc::clone(new.dir), new.name.clone())], true) {
                return;
            }
        }
    }

    /// A directory that left while everything is compared, and came back, has nothing below it on the target that counts as right by now.
    fn see_to_returned(&self) {
        let mut core = self.core.lock();
        if matches!(&core.gate, Gate::Pass(pass) if pass.has_returned()) {
            core.lose("a directory left the replication set and came back while it was compared; all is compared anew");
            drop(core);
            self.wake();
            self.changed.notify_all();
        }
    }
}
