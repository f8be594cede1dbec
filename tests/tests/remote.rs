//! Commit mode `remote` (S2, R13): the target is asked first; what one side cannot do neither does, and what was acknowledged is on both.
#![allow(clippy::unwrap_used)]

use replfs_tests::model::bench::Bench;
use replfs_tests::model::{lanes, search, strategy};
use replfs_tests::rig::{Commit, Rig, Setup};
use std::fs;

/// A rig in which operations can be made.
fn rig(setup: Setup) -> Rig {
    let rig = Rig::with(Commit::Remote, setup);
    rig.settle();
    rig
}

// claim: A175
#[test]
fn what_returned_is_on_both_sides_and_exact() {
    let rig = rig(Setup::default());
    let exact = || rig.assert_replica_equals(&rig.src());
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    exact();
    fs::write(rig.mnt().join("dir/file"), b"content").unwrap();
    exact();
    fs::rename(rig.mnt().join("dir/file"), rig.mnt().join("file")).unwrap();
    exact();
    fs::remove_dir(rig.mnt().join("dir")).unwrap();
    exact();
    rig.finish();
}

// claim: A175
#[test]
fn random_sequences_are_exact_at_each_return() {
    let mut bench = Bench::new(Commit::Remote);
    let show = |steps: &Vec<_>| steps.iter().map(|step| format!("{step:?}")).collect();
    search::assert_none(&strategy::sequence(60, true), 60, |steps| bench.one_after_the_other(steps), show);
    bench.finish();
    let mut bench = Bench::new(Commit::Remote);
    let show = |all: &Vec<_>| lanes::show(all);
    search::assert_none(&lanes::lanes(40), 25, |all| bench.at_the_same_time(all), show);
    bench.finish();
}
