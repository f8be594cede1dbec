//! Syncs of the target's that run beside the records behind them: when each ends, and what may be applied meanwhile (docs/decisions/0030).

use super::history::Checker;
use super::world::World;

impl World {
    /// One that is under way ends. `false`: there is none.
    pub(super) fn end_sync(&self, which: usize) -> bool {
        let aside = self.net.borrow().conns.iter().rev().find_map(|conn| conn.aside.clone());
        let Some(aside) = aside else { return false };
        let before = aside.syncing().0;
        let Some(ended) = self.on_target(|_| aside.end_sync(which)) else { return false };
        let overtook = ended && before.first() == aside.syncing().0.first();
        self.counts.borrow_mut().overtaken += u64::from(overtook);
        ended
    }

    /// A record was applied: no sync may be under way of which its source had heard when it was numbered.
    pub(super) fn look_at_syncs(&self, at: usize) {
        let (under_way, applied, beside) = {
            let net = self.net.borrow();
            let conn = &net.conns[at];
            let Some(aside) = &conn.aside else { return };
            let (under_way, applied) = aside.syncing();
            (under_way, applied, conn.besides.get(&applied).copied().unwrap_or(0))
        };
        let passed = under_way.iter().filter(|seq| **seq < applied);
        self.counts.borrow_mut().beside += u64::from(passed.clone().next().is_some());
        if let Some(seq) = passed.clone().find(|seq| **seq < applied.saturating_sub(beside)) {
            let text = format!("record {applied} is applied while {seq} is synced, and may only be beside {beside}");
            self.fail(Checker::Syncs, text);
        }
    }
}
