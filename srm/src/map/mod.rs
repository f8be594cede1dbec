//! The map of clean and dirty for one target (design: "one rule for everything that is not the plain stream"): which live
//! operations are sent, which are absorbed and what of them is remembered, and what repair has to do. A state machine without
//! I/O: it is told what happened and says what follows. Reading, sending and waiting are the pass's and the live layer's; the
//! simulator drives the same code.
//!
//! `held` remembers what changes while nothing is sent, `shadow` what is queued as if it were; `fold` keeps that within a bound; `reshape` turns the target's names back into the source's; `pass`
//! knows what is right on the target while repair runs beside live operations, `border` what that is worth where not all is replicated; `plan` says what is sent of a live operation
//! on names; `ranges` are the parts of a file.
//!
//! The invariant behind all of it: what is absorbed is either remembered here or has work waiting that will come to it.

mod border;
mod fold;
mod held;
mod pass;
mod plan;
mod progress;
mod ranges;
mod reshape;
mod shadow;

pub use held::{Dirt, Held, Lost, There, Touch};
pub use pass::{Bereft, Hint, Known, Next, Pass, Scope, Source, Work};
pub use plan::{Departure, Move, Plan, Sides};
pub use progress::Progress;
pub use ranges::Ranges;
pub use reshape::{Rest, Step, waiting_path};
pub use shadow::{Shadow, Taken};

use protocol::Name;

/// A node of the source, as the map names it. Kept alive by whoever has one.
pub trait Handle: Clone {
    /// Never given out twice.
    fn id(&self) -> u64;
    /// The inode number; may be used again after the node's end.
    fn ino(&self) -> u64;
    /// Whether this is SRC.
    fn is_root(&self) -> bool;
    /// The names that are known of it now, and are replicated, in any order.
    fn links(&self) -> Vec<(Self, Name)>;
    /// Whether this name of it, known or not, is replicated.
    fn takes(&self, _dir: &Self, _name: &Name) -> bool {
        true
    }
}

/// A name in a directory: the directory's id and the name.
pub(crate) type Slot = (u64, Name);

pub(crate) fn slot<H: Handle>(dir: &H, name: &Name) -> Slot {
    (dir.id(), name.clone())
}

/// What one target lacks.
#[derive(Debug)]
pub enum Gate<H> {
    /// Everything is dirty: all is absorbed, nothing is remembered one by one.
    Due,
    /// Nothing is sent; what changes is remembered one by one.
    Held(Box<Held<H>>),
    /// Repair runs beside live operations.
    Pass(Box<Pass<H>>),
    /// Everything is clean: all is sent.
    Clean,
}

impl<H: Handle> Gate<H> {
    /// Whether what happens to this node is to be sent. Names stand still.
    pub fn sends(&self, node: &H) -> bool {
        match self {
            Self::Due | Self::Held(_) => false,
            Self::Pass(pass) => pass.is_right(node),
            Self::Clean => true,
        }
    }

    /// The pass, if this one runs.
    pub fn pass(&mut self, number: u64) -> Option<&mut Pass<H>> {
        match self {
            Self::Pass(pass) if pass.number == number => Some(pass),
            _ => None,
        }
    }

    /// A change of a node's data or attributes is absorbed. The error: it cannot be remembered, all is to be compared.
    pub fn absorb(&mut self, node: &H, touch: Touch) -> Result<(), Lost> {
        match self {
            Self::Due | Self::Clean => Ok(()),
            Self::Held(held) => held.touched(node, touch),
            Self::Pass(pass) => {
                pass.touched(node, &touch);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
