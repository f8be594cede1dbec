//! What is sent of a live operation on names while a pass runs. The directories concerned are right on the target; the
//! source has carried the operation out, and the nodes' links show it.

use super::pass::{Pass, Scope};
use super::{Handle, Hint};
use protocol::Name;

/// A node that lost a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its inode number.
    pub ino: u64,
    /// Names that it still has, known or not.
    pub links_left: u64,
    /// The target is to keep it without a name, if it has it (R8).
    pub orphan: bool,
    /// It was a directory.
    pub directory: bool,
}

/// A rename or an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a, H> {
    /// Old name.
    pub from: (&'a H, &'a Name),
    /// New name.
    pub to: (&'a H, &'a Name),
    /// What moved from the old name to the new one.
    pub node: &'a H,
    /// Of an exchange, what moved the other way.
    pub other: Option<&'a H>,
}

/// What is sent of it.
#[derive(Clone, Debug)]
pub enum Plan<H> {
    /// The rename, or the exchange. What a rename replaces goes first, in a record of its own: the target may not have what
    /// moves, or have the same file under both names, and then nothing would be replaced.
    Move,
    /// Of an exchange, only the first move: what was at the other name is not right.
    MoveOne,
    /// Of an exchange, only the second.
    MoveOther,
    /// The old name is not right on the target: a link from one that is, and the old name away.
    LinkAndUnlink((H, Name)),
    /// Neither is right.
    Nothing,
}

/// What was decided about one side of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It is moved.
    Sent {
        /// Its names are told apart.
        watched: bool,
    },
    /// It is looked at under its new name.
    Looked,
}

impl<H: Handle> Pass<H> {
    /// Notes that a node lost a name; says whether the target keeps it as an orphan. The removal of the name is sent.
    pub fn lost_name(&mut self, dir: &H, name: &Name, gone: &Departure) -> bool {
        let right = self.is_right_at(dir, name, gone.ino);
        let was_right = self.is_right_ino(gone.ino, right);
        self.left(dir, name);
        let left = self.remove_shared(gone.ino, dir, name);
        if gone.links_left == 0 || gone.directory {
            let orphan = gone.orphan && was_right;
            if !orphan {
                self.set_gone(gone.ino);
            }
            return orphan;
        }
        if self.is_over_all() {
            // It lives on under other names. If none of them is right yet, the pass brings it over anew.
            if left.unwrap_or(0) == 0 {
                self.set_gone(gone.ino);
            }
            return false;
        }
        if self.doubts && !right {
            self.set_absorbed(gone.ino);
        }
        gone.orphan && was_right
    }

    /// Whether a node is right by what is known without its names.
    fn is_right_ino(&self, ino: u64, right_here: bool) -> bool {
        match self.scope() {
            Scope::All(right) => right.contains(&ino),
            Scope::Some(_) => right_here,
        }
    }

    /// A node was made under a new name; its record is sent.
    pub fn made(&mut self, dir: &H, name: &Name, node: &H) {
        self.set_right(node, Some((dir, name)), false);
    }

    /// A node got one more name, which its links contain. A name to link it from, if the link is sent; without it the new name
    /// waits for a look. `other`: a name that is known of it otherwise.
    pub fn linked(&mut self, dir: &H, name: &Name, node: &H, other: Option<(H, Name)>) -> Option<(H, Name)> {
        let clean = match (self.scope(), self.shared(node.ino())) {
            (Scope::Some(_), _) => self.other_right_link(node, dir, name),
            (Scope::All(right), _) if !right.contains(&node.ino()) => None,
            (Scope::All(_), Some(names)) => names.first().cloned(),
            (Scope::All(_), None) => other,
        };
        let Some((from_dir, from)) = clean else {
            self.add_name(dir, name, Hint::Ask);
            return None;
        };
        self.add_shared(node.ino(), (&from_dir, &from));
        self.set_right(node, Some((dir, name)), true);
        Some((from_dir, from))
    }

    /// What is sent of a rename or an exchange; what is replaced was told before by [`Pass::lost_name`].
    pub fn renamed(&mut self, sides: &Sides<'_, H>) -> Plan<H> {
        match sides.other {
            Some(other) => self.exchanged(sides, other),
            None => self.moved(sides),
        }
    }

    fn moved(&mut self, sides: &Sides<'_, H>) -> Plan<H> {
        let ((from_dir, from), (to_dir, to)) = (sides.from, sides.to);
        let node = sides.node;
        let right = self.is_right_at(from_dir, from, node.ino());
        let elsewhere = if right { None } else { self.other_right_link(node, to_dir, to) };
        self.left(from_dir, from);
        if right {
            let watched = self.remove_shared(node.ino(), from_dir, from).is_some();
            self.set_right(node, Some((to_dir, to)), watched);
            return Plan::Move;
        }
        if let Some(clean) = elsewhere
            && self.is_watched(node)
        {
            if self.doubts && !self.is_over_all() {
                self.set_absorbed(node.ino());
            }
            self.add_shared(node.ino(), (&clean.0, &clean.1));
            self.set_right(node, Some((to_dir, to)), true);
            return Plan::LinkAndUnlink(clean);
        }
        // Whatever the target has there moves along and is looked at.
        self.add_name(to_dir, to, Hint::Ask);
        Plan::Move
    }

    /// Whether names of this node are told apart: in a pass over everything, those of nodes with several.
    fn is_watched(&self, node: &H) -> bool {
        !self.is_over_all() || self.shared(node.ino()).is_some()
    }

    fn exchanged(&mut self, sides: &Sides<'_, H>, other: &H) -> Plan<H> {
        let one = self.exchange_side(sides.node, sides.from);
        let two = self.exchange_side(other, sides.to);
        for (moved, node, (dir, name)) in [(one, sides.node, sides.to), (two, other, sides.from)] {
            match moved {
                Move::Sent { watched } => self.set_right(node, Some((dir, name)), watched),
                Move::Looked => self.add_name(dir, name, Hint::Ask),
            }
        }
        match (one, two) {
            (Move::Sent { .. }, Move::Sent { .. }) => Plan::Move,
            (Move::Sent { .. }, Move::Looked) => Plan::MoveOne,
            (Move::Looked, Move::Sent { .. }) => Plan::MoveOther,
            (Move::Looked, Move::Looked) => Plan::Nothing,
        }
    }

    /// What is right under its old name moves, and stays right: it may be the only name that is known to be.
    fn exchange_side(&mut self, node: &H, (old_dir, old): (&H, &Name)) -> Move {
        if !self.is_right_at(old_dir, old, node.ino()) {
            return Move::Looked;
        }
        Move::Sent { watched: self.remove_shared(node.ino(), old_dir, old).is_some() }
    }
}
