//! What a round is: drawn from a seed and a number, so that the same two give the same round.

use super::fault::{Fault, KINDS};
use super::workload::Kind;
use crate::rig::Commit;
use crate::seed::Random;
use std::fmt;

/// All modes.
pub const MODES: [Commit; 5] = [Commit::Sync, Commit::Near, Commit::Real, Commit::Local, Commit::Remote];

/// How what is sent is packed: as often not at all as somehow.
const PACKING: [&str; 8] = ["off", "off", "off", "off", "auto", "lz4", "zstd:3", "zstd:12"];

/// What rounds are drawn from.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Kinds of faults.
    pub faults: Vec<&'static str>,
    /// Workloads beside the writers.
    pub workloads: Vec<Kind>,
    /// Commit modes.
    pub modes: Vec<Commit>,
}

impl Choice {
    /// Everything.
    pub fn all() -> Self {
        Self {
            faults: KINDS.iter().map(|(name, _)| *name).collect(),
            workloads: Kind::ALL.into_iter().filter(|kind| *kind != Kind::Writers).collect(),
            modes: MODES.to_vec(),
        }
    }
}

/// A fault and when: counted in operations that the writers try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Begins then,
    pub at: u64,
    /// and ends then.
    pub until: u64,
    /// What.
    pub fault: Fault,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// The same.
    pub round: u64,
    /// Mode.
    pub commit: Commit,
    /// The journal's part on disk; `false`: all of it is in memory.
    pub journal_on_disk: bool,
    /// The least that there is, so that it is full soon.
    pub small_backlog: bool,
    /// How what is sent is packed.
    pub compress: &'static str,
    /// Files are open and unlocked on both sides at once while both are compared, in the end.
    pub verifies: bool,
    /// Workloads.
    pub workloads: Vec<Kind>,
    /// Faults, by when they begin.
    pub faults: Vec<Planned>,
    /// So many operations are tried at least.
    pub operations: u64,
}

impl Plan {
    /// Draws round `round` of `seed`.
    pub fn draw(seed: u64, round: u64, from: &Choice) -> Self {
        let mut random = Random::new(seed.wrapping_add(round.wrapping_mul(0x0001_0000_0001)));
        // Neighbouring seeds begin alike.
        let _first = (random.bits(), random.bits());
        let commit = *random.pick(&from.modes);
        let mut workloads = vec![Kind::Writers];
        for _ in 0..=random.below(2) {
            if !from.workloads.is_empty() {
                let one = *random.pick(&from.workloads);
                if !workloads.contains(&one) {
                    workloads.push(one);
                }
            }
        }
        let operations = 400 + random.below(800);
        let count = 2 + random.below(4);
        let mut faults: Vec<Planned> = Vec::new();
        for _ in 0..count {
            let Some(fault) = (!from.faults.is_empty()).then(|| *random.pick(&from.faults)) else { break };
            let Some(fault) = Fault::draw(fault, &mut random) else { continue };
            let at = 30 + random.below(operations);
            let until = at + 20 + random.below(200);
            // One at a time for each thing; of a daemon that is away nothing else is wrong.
            let clashes =
                |other: &Planned| other.fault.about() == fault.about() && at <= other.until && other.at <= until;
            if !faults.iter().any(clashes) {
                faults.push(Planned { at, until, fault });
            }
        }
        faults.sort_by_key(|planned| planned.at);
        let tampered = faults.iter().any(|planned| matches!(planned.fault, Fault::Tamper(_)));
        Self {
            seed,
            round,
            commit,
            journal_on_disk: random.once_in(2),
            small_backlog: random.once_in(2),
            verifies: tampered || random.once_in(3),
            workloads,
            faults,
            operations,
            // The last that is drawn: what rounds were before there was this they still are.
            compress: *random.pick::<&str>(&PACKING),
        }
    }

    /// Whether some fault of this round is so.
    pub fn has(&self, is: impl Fn(Fault) -> bool) -> bool {
        self.faults.iter().any(|planned| is(planned.fault))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.workloads.iter().map(|kind| kind.name()).collect();
        let journal = if self.journal_on_disk { "memory and disk" } else { "memory" };
        writeln!(
            f,
            "round {} of seed {}: {}, journal in {journal}{}, packing {}, {}, {} operations",
            self.round,
            self.seed,
            self.commit.as_str(),
            if self.small_backlog { " (8 MiB)" } else { "" },
            self.compress,
            names.join(" + "),
            self.operations
        )?;
        for Planned { at, until, fault } in &self.faults {
            writeln!(f, "  planned from {at} to {until}: {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_round_are_the_same_round() {
        let text = |seed, round| Plan::draw(seed, round, &Choice::all()).to_string();
        assert_eq!(text(5, 3), text(5, 3));
        assert_ne!(text(5, 3), text(5, 4));
    }

    #[test]
    fn a_few_rounds_have_everything() {
        let plans: Vec<Plan> = (0..60).map(|round| Plan::draw(1, round, &Choice::all())).collect();
        for mode in MODES {
            assert!(plans.iter().any(|plan| plan.commit == mode), "{mode:?}");
        }
        for kind in Kind::ALL {
            assert!(plans.iter().any(|plan| plan.workloads.contains(&kind)), "{kind:?}");
        }
        let bad = plans.iter().filter(|plan| plan.faults.is_empty()).count();
        assert_eq!(bad, 0, "each has a fault");
    }

    #[test]
    fn nothing_has_two_faults_at_once() {
        for round in 0..100 {
            let plan = Plan::draw(9, round, &Choice::all());
            for (n, one) in plan.faults.iter().enumerate() {
                for other in &plan.faults[n + 1..] {
                    assert!(one.fault.about() != other.fault.about() || one.until < other.at, "{plan}");
                }
            }
        }
    }
}
