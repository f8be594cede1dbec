//! The commit modes under simulation: every moment of a schedule, with every end that a daemon, a machine or the connection can come to; and schedules from
//! seeds. What is real in it, and what is not, stands in docs/sim.md.

use replfs_tests::seed;
use replfs_tests::sim::modes::bug::Bug;
use replfs_tests::sim::modes::search::{MODES, Tried, caught, every_moment, seeds};
use srm::status::CommitMode;
use std::io;

/// Random schedules for each mode.
const SEEDS: u64 = 40;

fn try_every_moment(mode: CommitMode) -> io::Result<Tried> {
    let tried = every_moment(mode, None)?.unwrap_or_else(|found| panic!("{found}"));
    println!("{mode}: {tried:?}");
    assert!(tried.moments > 50 && tried.runs > 7 * tried.moments, "{tried:?}");
    assert!(
        tried.answered > tried.runs && tried.failed > 0 && tried.resumed > 0,
        "the simulation saw too little: {tried:?}"
    );
    Ok(tried)
}

// claim: A195
#[test]
fn sync_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Sync).map(drop)
}

// claim: A195
#[test]
fn near_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Near).map(drop)
}

// claim: A195
#[test]
fn real_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Real).map(drop)
}

// claim: A195
#[test]
fn local_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Local).map(drop)
}

// claim: A195
#[test]
fn remote_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Remote).map(drop)
}

// claim: A195
#[test]
fn random_schedules_keep_the_promises() -> io::Result<()> {
    let first = seed::seed();
    for mode in MODES {
        let tried =
            seeds(mode, (1..=SEEDS).map(|n| first.wrapping_add(n)), None)?.unwrap_or_else(|found| panic!("{found}"));
        assert!(tried.answered > tried.runs, "{mode}: the simulation saw too little: {tried:?}");
    }
    Ok(())
}

#[test]
fn deliberate_mistakes_are_noticed() -> io::Result<()> {
    for bug in Bug::ALL {
        let found = caught(*bug)?;
        println!("{bug}: {found:?}");
        assert!(found.is_some(), "{bug} is not noticed");
    }
    Ok(())
}
