//! Rounds of torture from fixed seeds (`cargo xtask torture`, docs/torture.md), which together have every kind of fault and workload. What is looked for at random is
//! looked for by hand.

use replfs_tests::rig::Commit;
use replfs_tests::seed::Random;
use replfs_tests::torture::events::Events;
use replfs_tests::torture::fault::{Fault, KINDS};
use replfs_tests::torture::plan::{Plan, Planned};
use replfs_tests::torture::round;
use replfs_tests::torture::workload::Kind;
use std::path::Path;

/// The three rounds: mode, workloads, and faults with when they begin and end.
type Round = (Commit, &'static [Kind], &'static [(&'static str, u64, u64)]);
const ROUNDS: [Round; 3] = [
    (
        Commit::Sync,
        &[Kind::Writers, Kind::Sqlite, Kind::Storm],
        &[
            ("stop-target", 40, 60),
            ("kill-source", 80, 81),
            ("loss", 90, 130),
            ("target-clock", 100, 150),
            ("root-full", 140, 200),
            ("stop-source", 160, 180),
            ("mute", 190, 220),
        ],
    ),
    (
        Commit::Remote,
        &[Kind::Writers, Kind::Shadow, Kind::Git],
        &[
            ("jitter", 30, 80),
            ("kill-target", 60, 90),
            ("source-full", 100, 140),
            ("cut", 150, 160),
            ("kill-source", 170, 175),
            ("source-clock", 180, 220),
            ("duplicate", 180, 230),
            ("root-readonly", 190, 230),
        ],
    ),
    (
        Commit::Near,
        &[Kind::Writers, Kind::Untar, Kind::Shadow],
        &[
            ("bandwidth", 30, 100),
            ("tamper", 50, 51),
            ("state-full", 90, 200),
            ("source-readonly", 110, 150),
            ("kill-target", 140, 160),
            ("deafen", 170, 200),
            ("rate", 210, 250),
        ],
    ),
];

fn plan(number: usize) -> Plan {
    let (commit, workloads, faults) = ROUNDS[number];
    let mut random = Random::new(number as u64);
    let planned = |(kind, at, until): &(&str, u64, u64)| {
        let fault = Fault::draw(kind, &mut random).unwrap_or_else(|| panic!("there is no fault {kind}"));
        Planned { at: *at, until: *until, fault }
    };
    Plan {
        seed: 1,
        round: number as u64,
        commit,
        journal_on_disk: number == 2,
        small_backlog: number != 0,
        compress: ["off", "zstd:3", "auto"][number],
        verifies: number != 1,
        workloads: workloads.to_vec(),
        faults: faults.iter().map(planned).collect(),
        operations: 300,
    }
}

fn run(number: usize) {
    let plan = plan(number);
    let place = std::env::temp_dir().join(format!("replfs-torture-{}-{number}.log", std::process::id()));
    let events = Events::to(&place, true);
    round::run(&plan, &events);
    // Where it failed it stays.
    let _gone = std::fs::remove_file(Path::new(&place));
}

// claim: A260, A261, A263
#[test]
fn in_sync_nobody_has_to_do_anything_and_nothing_acknowledged_is_lost() {
    run(0);
}

// claim: A260, A261, A263
#[test]
fn in_remote_nobody_has_to_do_anything_and_nothing_acknowledged_is_lost() {
    run(1);
}

// claim: A260, A262, A263
#[test]
fn in_near_nobody_has_to_do_anything_and_what_was_meddled_with_is_mended() {
    run(2);
}

#[test]
fn the_rounds_have_every_fault_and_every_workload() {
    let missing = |kind: &str| !ROUNDS.iter().any(|(_, _, faults)| faults.iter().any(|(name, ..)| *name == kind));
    let faults: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).filter(|kind| missing(kind)).collect();
    assert!(faults.is_empty(), "{faults:?} are in no round");
    let workloads: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| !ROUNDS.iter().any(|(_, kinds, _)| kinds.contains(kind))).collect();
    assert!(workloads.is_empty(), "{workloads:?} are in no round");
}
