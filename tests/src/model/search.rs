//! Looks for a value on which a check fails, makes it as small as it can, and says how to repeat that. Each case has a seed of its
//! own, so that one number repeats one case.
//!
//! `REPLFS_SEED` is the seed of the first case (else the clock decides), `REPLFS_MODEL_CASES` how many there are.

use super::lanes::Lane;
use super::op::Step;
use crate::seed;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How many cases, where a run by hand wants more or less than CI.
pub const CASES: &str = "REPLFS_MODEL_CASES";

/// Longest time spent on making a failure small.
const SHRINKING: Duration = Duration::from_secs(120);

/// A failure.
#[derive(Debug)]
pub struct Found<T> {
    /// Of the case.
    pub seed: u64,
    /// Cases that passed before it.
    pub passed: u64,
    /// The smallest value that still fails.
    pub least: T,
    /// How it fails.
    pub reason: String,
    /// Values tried to make it smaller.
    pub tried: u32,
}

/// A value that can do with one part less. proptest removes parts before it simplifies those that are left, and what has
/// been simplified often makes another part needless.
pub trait Prune: Sized {
    /// The value without one part, for each part.
    fn pruned(&self) -> Vec<Self>;
}

impl Prune for Vec<Step> {
    fn pruned(&self) -> Vec<Self> {
        without_one(self)
    }
}

impl Prune for Vec<Lane> {
    fn pruned(&self) -> Vec<Self> {
        let shorter = |(number, lane): (usize, &Lane)| {
            let with = |lane| {
                let mut all = self.clone();
                all[number] = lane;
                all
            };
            without_one(lane).into_iter().map(with).collect::<Vec<_>>()
        };
        self.iter().enumerate().flat_map(shorter).collect()
    }
}

fn without_one<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    (0..all.len()).map(|gone| [&all[..gone], &all[gone + 1..]].concat()).collect()
}

/// How many cases to run: as the environment says, else `usual`.
pub fn cases(usual: u64) -> u64 {
    std::env::var(CASES).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Runs `check` on `cases` values; the first failure, made small.
pub fn search<S: Strategy>(
    strategy: &S,
    first_seed: u64,
    cases: u64,
    mut check: impl FnMut(&S::Value) -> Result<(), String>,
) -> Option<Found<S::Value>>
where
    S::Value: Prune,
{
    for passed in 0..cases {
        let seed = first_seed.wrapping_add(passed);
        let mut tree = match strategy.new_tree(&mut runner(seed)) {
            Ok(tree) => tree,
            Err(reason) => panic!("no value can be made: {reason}"),
        };
        let value = tree.current();
        if let Err(reason) = check(&value) {
            let first = Found { seed, passed, least: value, reason, tried: 0 };
            return Some(shrink(&mut tree, first, check));
        }
    }
    None
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// As proptest's own runner does it: simpler while it fails, back a little when it passes. Then part by part.
fn shrink<T: Prune>(
    tree: &mut impl ValueTree<Value = T>,
    mut found: Found<T>,
    mut check: impl FnMut(&T) -> Result<(), String>,
) -> Found<T> {
    let start = Instant::now();
    let mut fails = |value: T, found: &mut Found<T>| {
        found.tried += 1;
        let result = check(&value);
        let failed = result.is_err();
        if let Err(reason) = result {
            (found.least, found.reason) = (value, reason);
        }
        failed
    };
    let mut failed = true;
    while start.elapsed() < SHRINKING && if failed { tree.simplify() } else { tree.complicate() } {
        failed = fails(tree.current(), &mut found);
    }
    loop {
        let mut shorter = found.least.pruned().into_iter();
        if !shorter.any(|value| start.elapsed() < SHRINKING && fails(value, &mut found)) {
            return found;
        }
    }
}

/// Searches, with the environment's seed and number of cases, and panics with what was found. `show` gives the lines of a
/// value. To be called from the test's own thread, which has the test's name.
#[track_caller]
pub fn assert_none<S: Strategy>(
    strategy: &S,
    usual: u64,
    check: impl FnMut(&S::Value) -> Result<(), String>,
    show: impl Fn(&S::Value) -> Vec<String>,
) where
    S::Value: Debug + Prune,
{
    let (seed, cases) = (seed::chosen(), cases(usual));
    let start = Instant::now();
    let Some(found) = search(strategy, seed, cases, check) else {
        println!("{cases} cases from seed {seed} in {:?}", start.elapsed());
        return;
    };
    let test = std::thread::current().name().unwrap_or("TEST").to_owned();
    let lines = show(&found.least).join("\n  ");
    panic!(
        "{}\n\nthe smallest sequence that fails ({} tried, {} cases passed before):\n  {lines}\n\nto repeat: \
         REPLFS_SEED={} {CASES}=1 cargo xtask test {test}\n",
        found.reason, found.tried, found.passed, found.seed
    );
}
