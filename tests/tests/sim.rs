//! The map of clean and dirty under simulation: random operations, faults and restarts from a seed, the real map in the middle.
//! What is checked stands in `replfs_tests::sim::world`; by hand, for longer: `cargo xtask sim --minutes 10`.

use replfs_tests::seed;
use replfs_tests::sim::bug::Bug;
use replfs_tests::sim::economy::{self, While};
use replfs_tests::sim::search::{STEPS, caught, try_seed};

/// Seeds that every run tries, and as many random ones.
const SEEDS: u64 = 800;
/// A deliberate bug is caught by one of so many seeds.
const BOUND: u64 = 3000;
/// Bypasses of each kind.
const BYPASSES: u64 = 100;

/// Whatever happens in them, it happens at least so often, weighted.
/// What was found once: a queue that was given up, with a file that was open without a name, when no more could be remembered; a directory made where a deleted one
/// still held what has to be elsewhere; a staged file that was cut and grew again.
const FOUND: [u64; 5] = [1_966_322_920, 1_731_681_291, 2_094_257_428, 2_007_679_730, 1_852_130_962];

fn assert_seeds(seeds: impl Iterator<Item = u64>, least: u64) {
    let (mut full, mut partial, mut folded, mut steps, mut staged, mut swallowed) = (0, 0, 0, 0, 0, 0);
    for seed in seeds {
        match try_seed(seed, STEPS, None) {
            Ok(counts) => {
                full += counts.full;
                partial += counts.partial;
                folded += counts.folded;
                steps += counts.steps;
                staged += counts.staged;
                swallowed += counts.swallowed;
            }
            Err(found) => panic!("{found}"),
        }
    }
    // Too much is remembered below one directory in fewer of them, and queues are given up in fewer still.
    let all = [full, partial, 2 * folded, steps, staged, 3 * swallowed];
    assert!(all.iter().all(|count| *count > least), "the simulation saw too little: {all:?}");
}

#[test]
fn the_same_seeds_as_always_pass() {
    assert_seeds(1..=SEEDS, SEEDS / 4);
    for seed in FOUND {
        try_seed(seed, STEPS, None).unwrap_or_else(|found| panic!("{found}"));
    }
}

#[test]
fn seeds_that_nobody_tried_before_pass() {
    let first = seed::seed();
    // Chance has a part in these: half of it is five standard deviations away.
    assert_seeds((0..SEEDS).map(|index| first.wrapping_add(index)), SEEDS / 8);
}

#[test]
fn every_deliberate_bug_is_caught() {
    let missed: Vec<_> = Bug::ALL.iter().filter(|bug| caught(**bug, BOUND).is_none()).collect();
    assert!(missed.is_empty(), "nothing noticed {missed:?} within {BOUND} seeds");
}

#[test]
fn renames_during_a_bypass_send_no_content_again() {
    for seed in 1..=BYPASSES {
        if let Err((checker, text)) = economy::run(seed, While::Renames) {
            panic!("seed {seed}: {checker}: {text}");
        }
    }
}

#[test]
fn what_is_written_again_while_the_target_is_away_is_sent_once() {
    for seed in 1..=BYPASSES {
        if let Err((checker, text)) = economy::away(seed) {
            panic!("seed {seed}: {checker}: {text}");
        }
    }
}

#[test]
fn writes_during_a_bypass_send_what_was_written() {
    for seed in 1..=BYPASSES {
        if let Err((checker, text)) = economy::run(seed, While::Writes) {
            panic!("seed {seed}: {checker}: {text}");
        }
    }
}
