//! The commit modes under simulation: every moment of a schedule, with every end that a daemon, a machine or the connection can come to; and schedules from
//! seeds. What is real in it, and what is not, stands in docs/sim.md.

use platform::killpoint::KillPoint;
use replfs_tests::seed;
use replfs_tests::sim::modes::bug::Bug;
use replfs_tests::sim::modes::moments::Place;
use replfs_tests::sim::modes::search::{MODES, caught, every_moment, seeds};
use srm::status::CommitMode;
use std::io;
use std::path::Path;

/// Random schedules for each mode.
const SEEDS: u64 = 80;

/// Places of what ships that every run comes to.
const ALWAYS: [KillPoint; 12] = [
    KillPoint::Changed,
    KillPoint::Numbered,
    KillPoint::Journaled,
    KillPoint::JournalTorn,
    KillPoint::JournalTrim,
    KillPoint::JournalRoll,
    KillPoint::StandBefore,
    KillPoint::StandAfter,
    KillPoint::PassEnd,
    KillPoint::Sent,
    KillPoint::Acknowledged,
    KillPoint::TargetApplied,
];

/// Tries them, and sees to it that ends came to these places too.
fn try_every_moment(mode: CommitMode, places: &[KillPoint]) -> io::Result<()> {
    let tried = every_moment(mode, None)?.unwrap_or_else(|found| panic!("{found}"));
    println!("{mode}: {tried:?}");
    assert!(tried.moments > 50 && tried.runs > 7 * tried.moments, "{tried:?}");
    assert!(
        tried.answered > tried.runs && tried.failed > 0 && tried.resumed > 0,
        "the simulation saw too little: {tried:?}"
    );
    let missing = ALWAYS.iter().chain(places).find(|place| !tried.places.contains(&Place::Point(**place)));
    assert!(missing.is_none(), "no end came at {missing:?}: {tried:?}");
    Ok(())
}

// claim: A195
#[test]
fn sync_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Sync, &[])
}

// claim: A195
#[test]
fn near_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Near, &[])
}

// claim: A195
#[test]
fn real_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Real, &[KillPoint::JournalUnsynced, KillPoint::JournalSynced])
}

// claim: A195
#[test]
fn local_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(CommitMode::Local, &[KillPoint::LocalGathered, KillPoint::LocalSynced])
}

// claim: A195
#[test]
fn remote_keeps_its_promise_at_every_moment() -> io::Result<()> {
    try_every_moment(
        CommitMode::Remote,
        &[
            KillPoint::Proposed,
            KillPoint::Decided,
            KillPoint::PutBack,
            KillPoint::TargetJudged,
            KillPoint::TargetSettling,
        ],
    )
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
fn deliberate_mistakes_are_noticed_as_the_table_says() -> io::Result<()> {
    let table = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sim.md"))?;
    for bug in Bug::ALL {
        let (runs, promise) = caught(*bug)?.unwrap_or_else(|| panic!("{bug} is not noticed"));
        println!("{bug}: {promise}, {runs} runs");
        let row = format!("| {bug} | {} | {} | {promise} |", bug.mode(), bug.what());
        assert!(table.lines().any(|line| line == row), "docs/sim.md does not say: {row}");
    }
    Ok(())
}
