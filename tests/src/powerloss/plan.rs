//! What a round is: its mode, its file system, how much is done, and what the mode promises.

use super::history::{Promise, Side};
use crate::blocklog::FileSystem;
use crate::rig::{Commit, Setup};
use crate::seed::Random;
use serde::{Deserialize, Serialize};

/// In `near` at most so many operations are not on the target.
pub const NEAR_OPERATIONS: usize = 20;

/// A commit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// What was answered is on source and target; what was synced is durable on both.
    Sync,
    /// As `Real`, but for a bound.
    Near,
    /// What was answered is on the source.
    Real,
    /// What was answered is durable on the source.
    Local,
    /// As `Sync`, the target first.
    Remote,
}

/// All of them.
pub const MODES: [Mode; 5] = [Mode::Sync, Mode::Near, Mode::Real, Mode::Local, Mode::Remote];

impl Mode {
    /// What is durable on one side's disk.
    pub fn durable(self, side: Side) -> Promise {
        match (self, side) {
            (Self::Local, Side::Source) => Promise::Answered,
            (_, Side::Source) | (Self::Sync | Self::Remote, Side::Target) => Promise::Synced,
            (Self::Near | Self::Real | Self::Local, Side::Target) => Promise::None,
        }
    }

    /// What a target has that goes on.
    pub fn on_target(self) -> Promise {
        if matches!(self, Self::Sync | Self::Remote) { Promise::Answered } else { Promise::None }
    }

    /// For a rig.
    pub fn commit(self) -> Commit {
        match self {
            Self::Sync => Commit::Sync,
            Self::Remote => Commit::Remote,
            Self::Near | Self::Real | Self::Local => Commit::Real,
        }
    }

    /// Further words of the mount.
    pub fn words(self) -> Vec<String> {
        let near = NEAR_OPERATIONS.to_string();
        let words: &[&str] = match self {
            Self::Sync => &["--strict"],
            Self::Near => &["--commit", "near", "--near-operations", &near, "--strict"],
            Self::Local => &["--commit", "local"],
            Self::Real | Self::Remote => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// What writes down what the disks are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recorded {
    /// [`crate::volatile::VolatileDisk`].
    Here,
    /// [`crate::blocklog::qemu::QemuDisk`].
    Qemu,
}

/// A round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Of everything random in it.
    pub seed: u64,
    /// The commit mode.
    pub mode: Mode,
    /// By what.
    pub recorded: Recorded,
    /// Of both machines.
    pub file_system: FileSystem,
    /// Applications.
    pub writers: usize,
    /// What they do together.
    pub steps: u64,
    /// The link is lost half way.
    pub away: bool,
    /// Somebody changes names, attributes and content elsewhere in the tree as well.
    pub roamer: bool,
    /// The source's disk has flushed nothing since the writers began, whatever it said, and keeps nothing of that: this has to be noticed.
    pub lying: bool,
    /// So many moments at which both lose power.
    pub cuts: usize,
}

impl Plan {
    /// The round of a number, of many that are to be unlike.
    pub fn of(seed: u64, number: u64, recorded: Recorded, cuts: usize) -> Self {
        let seed = seed.wrapping_add(number);
        let mut random = Random::new(seed);
        let file_systems = FileSystem::all();
        let at = |number: u64, of: usize| usize::try_from(number).unwrap_or(0) % of;
        let mode = MODES[at(number, MODES.len())];
        let file_system = file_systems[at(number / MODES.len() as u64 + number, file_systems.len())].clone();
        let may_be_away = matches!(mode, Mode::Real | Mode::Local);
        Self {
            seed,
            mode,
            recorded,
            file_system,
            writers: 3,
            steps: 300 + random.below(600),
            away: may_be_away && random.once_in(3),
            roamer: random.once_in(2),
            lying: false,
            cuts,
        }
    }

    /// For a rig.
    pub fn setup(&self) -> Setup {
        let words = self.mode.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Setup::default().linked().option(&words)
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, mode, recorded, file_system, .. } = self;
        write!(f, "{mode:?} on {file_system}, recorded by {recorded:?}, seed {seed}")?;
        write!(f, "{}{}", if self.away { ", link lost" } else { "" }, if self.roamer { ", roamer" } else { "" })
    }
}
