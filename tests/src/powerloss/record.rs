//! All that is needed to come back to a moment of a round: in memory, and in a directory where a round failed.

use super::history::{Calls, Moment};
use super::plan::Plan;
use crate::blocklog::image::Fate;
use crate::blocklog::log::Log;
use crate::seed::Random;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Both machines lose power.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// When.
    pub at: Moment,
    /// What becomes of what was not flushed on the source.
    pub source: Fate,
    /// On the target.
    pub target: Fate,
    /// Of what is random in that.
    pub seed: u64,
    /// Both lose power once more while they are brought together.
    pub again: bool,
}

/// What is said of a round in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// What it was.
    pub plan: Plan,
    /// What its writers did.
    pub writers: Vec<Calls>,
    /// The mode was in force all the time.
    pub in_force: bool,
    /// The source's alone, at the end.
    pub last: Cut,
    /// Those of both that are gone through.
    pub cuts: Vec<Cut>,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Record {
    /// In words.
    pub told: Told,
    /// What the source's disk was given.
    pub source: Log,
    /// The target's.
    pub target: Log,
}

/// Chooses from the moments of a round, which are some: the loss of the source at the end of all, and those of both.
pub fn choose(moments: &[Moment], plan: &Plan) -> (Cut, Vec<Cut>) {
    let mut random = Random::new(plan.seed ^ 0xC07);
    let mut one = |at: Option<Moment>| Cut {
        at: at.unwrap_or_else(|| *random.pick(moments)),
        source: if plan.lying { Fate::Dropped } else { Fate::any(&mut random) },
        target: Fate::any(&mut random),
        seed: random.bits(),
        again: random.once_in(3),
    };
    (one(moments.last().copied()), (0..plan.cuts).map(|_| one(None)).collect())
}

const FILES: [&str; 3] = ["round.json", "source.log", "target.log"];

impl Record {
    /// Writes it into a directory. Errors: that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let told = serde_json::to_vec(&self.told)?;
        for (name, bytes) in FILES.into_iter().zip([&told[..], self.source.bytes(), self.target.bytes()]) {
            fs::write(dir.join(name), bytes).with_context(|| format!("cannot write {name} in {}", dir.display()))?;
        }
        Ok(())
    }

    /// Reads one. Errors: there is none in that directory.
    pub fn load(dir: &Path) -> Result<Self> {
        let read = |name| fs::read(dir.join(name)).with_context(|| format!("cannot read {name} in {}", dir.display()));
        let told = serde_json::from_slice(&read(FILES[0])?).context("round.json is not what this version writes")?;
        Ok(Self { told, source: Log::parse(read(FILES[1])?)?, target: Log::parse(read(FILES[2])?)? })
    }
}
