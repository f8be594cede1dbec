//! The states that a mount is measured in.

use clap::ValueEnum;
use replfs_tests::rig::Commit;

/// As the command line has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Asked {
    /// No target is configured: the FUSE layer alone
    Bypassed,
    /// The target is stopped; everything is kept in memory for it
    Accumulating,
    /// The target is stopped, and the backlog has overflowed: nothing is kept, all is compared when it is back
    MirrorDue,
    /// The target runs on this machine
    Attached,
    /// Two mounts, each with a target on this machine: one keeps its journal in memory, the other none
    Journal,
}

/// As `--commit` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AskedCommit {
    /// Calls wait for the target
    Sync,
    /// They do not
    Real,
}

/// A state of the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Bypassed,
    Accumulating,
    MirrorDue,
    Attached(AskedCommit),
    Journal,
}

impl State {
    /// The states that were asked for, in their order.
    pub fn of(asked: &[Asked], commits: &[AskedCommit]) -> Vec<Self> {
        let all = [Self::Bypassed, Self::Accumulating, Self::MirrorDue];
        let attached = [AskedCommit::Real, AskedCommit::Sync].map(Self::Attached);
        let is_asked = |state: &Self| match state {
            Self::Bypassed => asked.contains(&Asked::Bypassed),
            Self::Accumulating => asked.contains(&Asked::Accumulating),
            Self::MirrorDue => asked.contains(&Asked::MirrorDue),
            Self::Attached(commit) => asked.contains(&Asked::Attached) && commits.contains(commit),
            Self::Journal => asked.contains(&Asked::Journal),
        };
        all.into_iter().chain(attached).chain([Self::Journal]).filter(is_asked).collect()
    }

    /// In tables and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypassed => "bypassed",
            Self::Accumulating => "accumulating",
            Self::MirrorDue => "mirror-due",
            Self::Attached(AskedCommit::Sync) => "attached-sync",
            Self::Attached(AskedCommit::Real) => "attached-real",
            Self::Journal => "journal",
        }
    }

    /// What that means, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Bypassed => "no target configured: the FUSE layer alone",
            Self::Accumulating => "target stopped, everything kept in the backlog in memory (commit=real)",
            Self::MirrorDue => "target stopped, backlog overflowed: nothing queued, changes remembered (commit=real)",
            Self::Attached(AskedCommit::Sync) => "target on this machine, commit=sync",
            Self::Attached(AskedCommit::Real) => "target on this machine, commit=real",
            Self::Journal => {
                "journal in memory against none (\"bare\" is a mount without), targets on this machine, commit=real"
            }
        }
    }

    /// The mode that the rig is mounted with. With the target away `sync` would only be degraded to `real`.
    pub fn commit(self) -> Commit {
        match self {
            Self::Attached(AskedCommit::Sync) => Commit::Sync,
            _ => Commit::Real,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_mode_divides_only_the_attached_state() {
        let states = State::of(&[Asked::Attached, Asked::Bypassed], &[AskedCommit::Sync]);
        assert_eq!(states, [State::Bypassed, State::Attached(AskedCommit::Sync)]);
    }
}
