//! Commit mode `remote` (S2, R13): an operation is proposed to the target, which carries it out and gives its verdict, before the source does anything. The
//! locks of the operation are held until it is decided.
//!
//! `propose` says what of an operation is proposed; `decide` sends it and waits for the verdict; `undo` puts back what one side has and the other has not; `slots`
//! lets the next daemon know of what a kill left undecided. Here: what is under way, and whether anything can be proposed now.

mod decide;
mod propose;
mod slots;
mod undo;

pub use decide::{Asked, Proposed};
pub use propose::now;
pub(crate) use slots::{Found, Slots, left_in, slot_of};

use crate::Srm;
use crate::core::{Core, Link};
use crate::map::Gate;
use crate::status::CommitMode;
use parking_lot::MutexGuard;
use platform::machine;
use protocol::{NodeId, RelPath, SeqNo};
use rustix::io::Errno;
use slots::Slot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What an operation is refused with that is to be begun anew, after [`Srm::wait_until_proposable`]: the kernel's `ERESTARTSYS`, which no program sees.
pub const BEGIN_ANEW: Errno = Errno::from_raw_os_error(512);

/// A look at whether something changed that nobody signals.
const TICK: Duration = Duration::from_millis(100);

/// Paths of which the target's state is unknown that are shown at most.
const MOST_SHOWN: usize = 20;

/// Which record settles a proposal. Locks see to it that there is one of each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The next one that changes names.
    Names,
    /// The next one that changes this node's data or attributes.
    Node(NodeId),
    /// None: nothing results.
    Nothing,
}

/// A proposal that is not settled.
#[derive(Debug)]
struct Pending {
    key: Key,
    /// Of the connection: with another everything is compared.
    generation: u64,
    /// The target has carried it out.
    agreed: bool,
}

/// What one side may have and the other has not, until it is put back.
#[derive(Debug)]
struct Undecided {
    paths: Vec<RelPath>,
    /// What the target did is not known: it was silent on this connection.
    silent: Option<u64>,
    /// Kept for the next daemon.
    _slot: Option<Slot>,
}

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    pending: BTreeMap<SeqNo, Pending>,
    undecided: Vec<Undecided>,
    /// With a journal only: without one the next daemon compares everything.
    slots: Option<Arc<Slots>>,
}

impl Remote {
    /// Where to write down what is proposed.
    pub fn keep_in(&mut self, slots: Arc<Slots>) {
        self.slots = Some(slots);
    }

    /// What an earlier daemon left is put back by this one; until then it is not forgotten.
    pub fn inherit(&mut self, found: Found) {
        let inherited = found.left.into_iter();
        self.undecided.extend(inherited.map(|(paths, slot)| Undecided { paths, silent: Some(0), _slot: Some(slot) }));
    }

    /// Source and target are a state that the source had: everything was put back.
    pub fn put_back(&mut self) {
        self.undecided.clear();
    }

    /// Whether the target was silent on this connection, and what it did is not known yet.
    pub fn is_silent(&self, connection: u64) -> bool {
        self.undecided.iter().any(|undecided| undecided.silent == Some(connection))
    }

    /// Some of the paths of which the target's state is unknown.
    pub fn unknown_paths(&self) -> Vec<String> {
        let unknown = self.undecided.iter().filter(|undecided| undecided.silent.is_some());
        let mut paths: Vec<String> = unknown.flat_map(|u| &u.paths).map(ToString::to_string).collect();
        paths.sort();
        paths.dedup();
        paths.truncate(MOST_SHOWN);
        paths
    }
}

impl Core {
    /// Whether the target can be asked now: R12, "acknowledged means applied on a coherent target".
    pub fn can_propose(&self) -> bool {
        self.is_listening() && self.is_coherent()
    }

    /// Whether the target is connected, and nothing stands in its way.
    fn is_listening(&self) -> bool {
        matches!(self.link, Link::Up) && self.blocked.is_none() && self.halted.is_none() && !self.bypass
    }

    /// Whether that may be so soon: something is put back, or looked at again, and that has not lasted long.
    fn can_propose_soon(&self, patience: Duration) -> bool {
        let soon = match &self.gate {
            Gate::Clean => true,
            Gate::Pass(pass) => !pass.is_over_all() || machine::since(self.pass_began) < patience,
            Gate::Due | Gate::Held(_) => false,
        };
        // One that was silent a moment ago is not waited for again and again.
        soon && self.is_listening() && !self.remote.is_silent(self.connections) && !self.stopped
    }

    /// The proposals that nobody has decided are given up, all at once (R13): who waits for one learns that no verdict comes.
    pub fn give_up_proposals(&mut self) {
        for seq in self.remote.pending.iter().filter(|(_, pending)| !pending.agreed).map(|(seq, _)| seq) {
            self.questions.remove(seq);
        }
    }

    /// Whether the record with this key, which is about to be numbered, settles what was proposed; `Some(false)`: it would, but the connection has begun
    /// anew since.
    fn take_settled(&mut self, key: Key) -> Option<bool> {
        let of = |pending: &Pending| pending.key == key && pending.agreed;
        let seq = self.remote.pending.iter().find(|(_, pending)| of(pending)).map(|(seq, _)| *seq)?;
        let pending = self.remote.pending.remove(&seq)?;
        Some(pending.generation == self.generation)
    }

    /// Whether a record of this node's data or attributes settles what was proposed: that holds whatever the gate says, because absolute values follow.
    pub fn settles_node(&mut self, node: NodeId) -> bool {
        self.take_settled(Key::Node(node)) == Some(true)
    }

    /// Whether a record of names settles what was proposed. What is held would be sent as if the target did not have it.
    pub fn settles_names(&mut self) -> bool {
        let Some(same) = self.take_settled(Key::Names) else { return false };
        let settles = same && matches!(self.gate, Gate::Clean);
        if !settles && !matches!(self.gate, Gate::Due) {
            self.all_dirty(
                "names were changed on the target first, and then nothing more was sent; all will be compared",
            );
        }
        settles
    }
}

impl Srm {
    /// Whether operations are proposed to the target before they are carried out.
    pub fn proposes(&self) -> bool {
        self.proposing.load(Ordering::Relaxed)
    }

    /// The mode is this one now.
    pub(crate) fn note_mode(&self, mode: CommitMode) {
        self.proposing.store(mode == CommitMode::Remote && !self.config.bypassed, Ordering::Relaxed);
    }

    /// Whether any proposal may be unsettled.
    pub(crate) fn has_proposals(&self) -> bool {
        self.proposals.load(Ordering::Relaxed) > 0
    }

    /// Waits until operations can be proposed, where the mode asks for it: `EIO` at once where the target is away or is being mirrored to, or after the time
    /// of the mode. To be called with nothing locked.
    pub fn wait_until_proposable(&self) -> Result<(), Errno> {
        let patience = self.config.remote_timeout;
        let deadline = machine::now() + patience;
        while self.proposes() {
            let mut core = self.core.lock();
            if core.can_propose() {
                return Ok(());
            }
            if !core.can_propose_soon(patience) || machine::now() >= deadline {
                return Err(Errno::IO);
            }
            if machine::is_simulated() {
                MutexGuard::unlocked(&mut core, || machine::wait(TICK, false));
            } else {
                self.changed.wait_until(&mut core, deadline.min(machine::now() + TICK));
            }
        }
        Ok(())
    }
}
