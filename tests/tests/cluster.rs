//! Whole clusters under simulation: random operations, a network, disks, clocks and ends of daemons from a seed, with both sides as they ship. What is real in it, and
//! what is checked, stands in docs/sim.md; by hand, for longer: `cargo xtask sim --cluster --minutes 10`.

use platform::machine::Disk;
use replfs_tests::seed;
use replfs_tests::sim::cluster::bug::Bug;
use replfs_tests::sim::cluster::schedule::{Action, Event, Plan, Side, What};
use replfs_tests::sim::cluster::search::{Bench, Counts, STEPS};
use replfs_tests::sim::cluster::wire::{Part, Wire};
use srm::status::{CommitMode, NearBounds};
use std::io;
use std::path::Path;

/// Seeds that every run tries, and random ones.
const SEEDS: u64 = 300;
const RANDOM: u64 = 200;
/// One of few of which an end cuts a sync off.
const CUT_OFF: u64 = 459;
/// A deliberate mistake is noticed by one of so many seeds.
const BOUND: u64 = 300;

fn try_seeds(seeds: impl Iterator<Item = u64>) -> io::Result<Counts> {
    let bench = Bench::new()?;
    let mut all = Counts::default();
    for seed in seeds {
        let counts = bench.try_seed(seed, STEPS, None, None).unwrap_or_else(|found| panic!("{found}"));
        all.add(&counts);
    }
    println!("{} runs: {:?}", all.runs, all.all());
    Ok(all)
}

fn app(what: What, client: usize, a: u64, b: u64) -> Event {
    Event::App(Action { what, client, a, b })
}

/// What was found once, made small.
fn run_again(mode: CommitMode, events: Vec<Event>) -> io::Result<Counts> {
    let bounds = NearBounds { operations: 1 << 30, bytes: 1 << 30, millis: 2000 };
    let plan = Plan { mode, bounds, retry_ms: Some(1200), journal: true, wire: Wire::default(), set: "", events };
    Ok(Bench::new()?.run(&plan, None, true).unwrap_or_else(|found| panic!("{found:#?}")))
}

// claim: A253, A254, A255, A256
#[test]
fn the_same_seeds_as_always_keep_all_promises_and_come_to_every_state() -> io::Result<()> {
    let counts = try_seeds((1..=SEEDS).chain([CUT_OFF]))?;
    let missing: Vec<_> = counts.all().into_iter().filter(|(_, count)| *count == 0).collect();
    assert!(missing.is_empty(), "nothing came to {missing:?}");
    Ok(())
}

/// A target that passed a change over, and came to its end before it said so, greets with a position behind it. Found by seed 1681318315.
// claim: A253
#[test]
fn what_the_target_passed_over_is_not_answered_by_its_next_greeting() -> io::Result<()> {
    let events = vec![
        app(What::Symlink, 2, 744_226_595, 1_386_594_954),
        app(What::Unlink, 1, 4_288_324_725, 1_068_651_865),
        Event::Flow,
        Event::Pass,
        Event::Pass,
        Event::Pass,
        app(What::Mkdir, 0, 1_092_833_017, 4_013_931_869),
        Event::Flow,
        Event::Fault(Disk::TargetApply, false, 4),
        app(What::Chmod, 1, 4_254_259_930, 150_383_349),
        app(What::Create, 0, 2_383_749_658, 3_455_891_382),
        app(What::Rmdir, 0, 2_492_444_614, 766_599_285),
        app(What::Write, 2, 2_829_178_089, 1_195_653_488),
        app(What::Write, 2, 3_785_507_058, 3_630_889_107),
        Event::Kill(Side::Target, 12, None),
        Event::Flow,
        Event::Flow,
        Event::Send(2),
        app(What::Write, 2, 2_665_900_104, 2_361_365_563),
    ];
    let counts = run_again(CommitMode::Sync, events)?;
    assert!(counts.ends.len() == 1 && counts.disks.len() == 1 && counts.welcomed > 1, "{counts:?}");
    Ok(())
}

/// A target that is killed where it is about to set aside what stands in the way of a file that it makes. Found by seed 1621554428.
// claim: A253
#[test]
fn what_stands_in_the_way_of_a_new_file_is_not_taken_for_it() -> io::Result<()> {
    let events = vec![
        app(What::Create, 0, 4_161_101_591, 3_845_947_030),
        Event::Flow,
        app(What::Create, 1, 1_055_859_141, 428_693_919),
        app(What::Create, 1, 2_547_889_512, 1_892_440_886),
        app(What::Link, 0, 938_708_112, 1_998_479_459),
        Event::Pass,
        Event::Pass,
        Event::Flow,
        Event::Kill(Side::Source, 1, None),
        app(What::Append, 1, 3_966_998_593, 2_386_993_158),
        Event::Restart(Side::Source),
        app(What::Rename, 2, 3_932_590_500, 2_507_866_889),
        Event::Flow,
        app(What::Create, 1, 368_325_062, 1_854_505_906),
        Event::Kill(Side::Target, 9, None),
        Event::Pass,
    ];
    let counts = run_again(CommitMode::Real, events)?;
    assert_eq!(counts.ends.len(), 2, "{counts:?}");
    Ok(())
}

/// A repair that is over before the source has heard what was passed over before it. Found by seed 1386688401.
// claim: A253
#[test]
fn a_repair_makes_good_only_what_the_source_knew_of() -> io::Result<()> {
    let events = vec![
        Event::Flow,
        Event::Pass,
        Event::Pass,
        Event::Send(6),
        Event::Up(Part::ALL),
        Event::Pass,
        Event::Apply(1),
        Event::Fault(Disk::Journal, false, 1),
        app(What::Write, 0, 3_525_932_259, 4_049_790_075),
        Event::Turn,
        Event::Pass,
        Event::Pass,
        Event::Fault(Disk::TargetApply, false, 4),
        Event::Flow,
        app(What::Symlink, 0, 3_473_839_865, 3_354_979_163),
        app(What::Rmdir, 0, 3_952_120_079, 2_167_498_013),
        app(What::Write, 1, 2_533_397_337, 195_433_512),
    ];
    let counts = run_again(CommitMode::Near, events)?;
    assert!(counts.skipped > 0 && counts.disks.len() == 2, "{counts:?}");
    Ok(())
}

// claim: A253, A292
#[test]
fn seeds_that_nobody_tried_before_keep_all_promises() -> io::Result<()> {
    let first = seed::seed();
    let counts = try_seeds((0..RANDOM).map(|index| first.wrapping_add(index)))?;
    assert!(counts.answered > RANDOM && counts.applied > RANDOM, "the simulation saw too little: {counts:?}");
    Ok(())
}

// claim: A257
#[test]
fn a_seed_is_the_same_run_each_time() -> io::Result<()> {
    let bench = Bench::new()?;
    for seed in 1..=6 {
        let run = || bench.try_seed(seed, STEPS, None, None).map(|counts| counts.all());
        let (first, second) = (run(), run());
        let (first, second) = (first.expect("it passes"), second.expect("it passes"));
        assert_eq!(first, second, "seed {seed}");
    }
    Ok(())
}

// claim: A258
#[test]
fn deliberate_mistakes_are_noticed_as_the_table_says() -> io::Result<()> {
    let bench = Bench::new()?;
    let table = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sim.md"))?;
    let mut wrong = Vec::new();
    for bug in Bug::ALL {
        let found = bench.caught(*bug, BOUND);
        let by = found.map_or_else(|| "nothing | -".to_owned(), |(seeds, checker)| format!("{checker} | {seeds}"));
        let row = format!("| {bug} | {} | {by} |", bug.what());
        println!("{row}");
        if found.is_none() || !table.lines().any(|line| line == row) {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "not noticed, or docs/sim.md does not say:\n{}", wrong.join("\n"));
    Ok(())
}
