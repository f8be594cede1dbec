//! What is checked of a run, without asking the map: states that the source had, and what the target shows.

use super::store::{ROOT, Snapshot};
use super::world::World;
use srm::map::Gate;
use std::fmt;

/// Modes of what somebody put on the target begin here.
pub(super) const EXTRA_MODE: u32 = 1 << 30;

/// Where a check says no.
pub type Checked = Result<(), (Checker, String)>;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// The target can apply every record.
    Applicable,
    /// I2: a coherent target shows a state that the source had.
    Prefix,
    /// When faults stop, both sides become equal.
    Convergence,
    /// I7: what only the target had is kept.
    Kept,
    /// What is remembered is bounded.
    Bounds,
    /// What was not changed is not sent.
    Efficiency,
    /// An assertion of the map.
    Assertion,
}

impl fmt::Display for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applicable => "applicable",
            Self::Prefix => "I2 prefix",
            Self::Convergence => "convergence",
            Self::Kept => "I7 kept",
            Self::Bounds => "bounds",
            Self::Efficiency => "efficiency",
            Self::Assertion => "assertion",
        })
    }
}

impl World {
    pub(super) fn check_prefix(&self, shows: Option<&Snapshot>) -> Checked {
        if !self.target.coherent {
            return Ok(());
        }
        let now = self.target.store.snapshot();
        if let Some(shows) = shows
            && *shows != now
        {
            let text = format!("at {} (source / target): {}", self.target.applied, shows.differences(&now));
            return Err((Checker::Prefix, text));
        }
        if self.source.history.contains(&now.digest()) {
            return Ok(());
        }
        let mine = self.source.disk.snapshot();
        let text = format!(
            "at {} the target says coherent and shows what the source never had (source now / target): {}",
            self.target.applied,
            mine.differences(&now)
        );
        Err((Checker::Prefix, text))
    }

    pub(super) fn check(&self) -> Checked {
        // Files that were open without a name are bounded by that.
        if let Gate::Held(held) = &self.source.gate
            && held.entries() > self.source.bounds.held + held.reaped()
        {
            return Err((Checker::Bounds, format!("{} entries are remembered", held.entries())));
        }
        if let Gate::Pass(pass) = &self.source.gate {
            let known =
                self.source.disk.len() + self.source.tree.len() + self.target.store.len() + self.source.history.len();
            if pass.entries() > 8 * known {
                return Err((Checker::Bounds, format!("the pass has {} entries for {known} nodes", pass.entries())));
            }
        }
        if self.source.is_coherent() && !self.target.coherent {
            return Err((Checker::Prefix, "the status says coherent, the target does not".to_owned()));
        }
        Ok(())
    }

    pub(super) fn check_equal(&mut self) -> Checked {
        let (mine, theirs) = (self.source.disk.snapshot(), self.target.store.snapshot());
        if mine != theirs {
            let text = format!("(source / target): {}", mine.differences(&theirs));
            return Err((Checker::Convergence, text));
        }
        for mode in &self.extras {
            if !self.target.has_aside(*mode) && !self.target.holds(ROOT, *mode) {
                return Err((Checker::Kept, format!("x{} is neither in its place nor set aside", mode - EXTRA_MODE)));
            }
        }
        Ok(())
    }
}
