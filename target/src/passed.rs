//! What a session knows of the records that were passed over: whether one more is to be waited for, and which repair answers them.

use protocol::{At, Op, Place};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Passed {
    /// How long a record is tried; `None`: for ever.
    bound: Option<Duration>,
    /// A record was passed over, and no repair has made that good yet.
    pending: bool,
    /// A repair that began at or before this number is not the answer to damage that was there before the session.
    repair_after: u64,
    /// The number at which the last repair began.
    repair_began: u64,
}

impl Passed {
    /// `repair_after`: the newest number of the source when the session began, if the replica was damaged by then.
    pub fn new(bound: Option<Duration>, repair_after: u64) -> Self {
        Self { bound, pending: false, repair_after, repair_began: 0 }
    }

    /// How long a record is tried. The bound is waited for once: what fails while something is passed over already is passed over
    /// after one try, whether it hangs on that or has the same cause.
    pub fn bound(&self) -> Option<Duration> {
        self.bound.map(|bound| if self.pending { Duration::ZERO } else { bound })
    }

    /// Whether damage may follow from what was passed over.
    pub fn explains_damage(&self) -> bool {
        self.pending
    }

    /// A record was passed over.
    pub fn note(&mut self) {
        self.pending = true;
    }

    /// A repair begins.
    pub fn repair_begins(&mut self, seq: u64) {
        self.repair_began = seq;
    }

    /// Whether a repair that ends now, and has been told of nothing since it began, makes good damage of this number. What was
    /// damaged while it went on may be something that it had looked at before.
    pub fn is_repaired(&self, damage: u64) -> bool {
        damage == 0 || (damage < self.repair_began && self.repair_after < self.repair_began)
    }

    /// The replica is as it should be.
    pub fn repaired(&mut self) {
        self.pending = false;
    }
}

/// Whether the stream can go on without a record. Marks change nothing of the replica; without them nobody knows where it stands.
pub(crate) fn may_be_left(op: &Op) -> bool {
    !matches!(op, Op::Mark(_))
}

/// Whether nobody will ever see what a record changes: a file without a name, which the target keeps until it is closed.
pub(crate) fn is_unseen(op: &Op) -> bool {
    matches!(op, Op::Reap { .. }) || matches!(op.place(), Some(Place { at: At::Orphan, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Mark, NodeId};

    #[test]
    fn the_bound_is_waited_for_once() {
        let minute = Duration::from_secs(60);
        let mut passed = Passed::new(Some(minute), 0);
        assert_eq!(passed.bound(), Some(minute));
        passed.note();
        assert_eq!(passed.bound(), Some(Duration::ZERO));
        passed.repaired();
        assert_eq!(passed.bound(), Some(minute));
        let mut endless = Passed::new(None, 0);
        endless.note();
        assert_eq!(endless.bound(), None);
        assert!(may_be_left(&Op::Reap { node: NodeId::new(9) }) && !may_be_left(&Op::Mark(Mark::Barrier)));
    }

    #[test]
    fn only_a_repair_that_began_afterwards_makes_it_good() {
        let mut passed = Passed::new(None, 20);
        assert!(passed.is_repaired(0));
        passed.repair_begins(20);
        assert!(!passed.is_repaired(5), "it was numbered before the source knew");
        passed.repair_begins(30);
        assert!(passed.is_repaired(5) && passed.is_repaired(29));
        assert!(!passed.is_repaired(31), "damaged while it went on");
    }
}
