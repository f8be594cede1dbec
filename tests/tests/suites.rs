//! The public suites on a mount with a target attached, and on the bare directory: the mount fails nothing that the directory
//! passes, and afterwards the replica equals the source, extents included. CONTRIBUTING.md says how they are run by hand.

use replfs_tests::rig::Commit;
use replfs_tests::suite::{Sides, fio, fsx, pjdfstest, stress};

/// glibc's pathconf(3) knows the limit of links by the type of the file system, and has none for FUSE, so pjdfstest does not try.
const NO_LINK_MAX: &str = "link::link_count_max";

/// The kernel passes `FS_IOC_FIEMAP` to no FUSE file system.
const NO_FIEMAP: &str = "fiemap";

/// Parts that the stressors are run in: each part takes less than the longest life of a rig.
const PARTS: usize = 3;

#[test]
fn pjdfstest_fails_nothing_that_passes_below() {
    let mut sides = Sides::start(Commit::Sync);
    let other = sides.tmpfs("other");
    let passed =
        sides.compare(&[NO_LINK_MAX], |dir, beside| pjdfstest::run(pjdfstest::Cases::All, dir, beside, &other));
    assert!(passed > 350, "only {passed} cases pass on the bare directory: is this machine fit for the suite?");
    sides.finish();
}

#[test]
fn pjdfstest_finds_a_mount_that_is_remounted_read_only_as_such() {
    let mut sides = Sides::start(Commit::Real);
    let other = sides.tmpfs("other");
    // The bare directory's own file system must not become read-only.
    let bare = sides.tmpfs("bare-tmpfs");
    sides.move_bare_to(bare);
    let passed = sides.compare(&[], |dir, beside| pjdfstest::run(pjdfstest::Cases::ReadOnly, dir, beside, &other));
    assert!(passed > 10, "only {passed} cases pass on a tmpfs");
    sides.finish();
}

#[test]
fn fsx_passes_with_a_reply_after_the_target() {
    fsx_passes(Commit::Sync, 1);
}

#[test]
fn fsx_passes_with_a_reply_before_the_target() {
    fsx_passes(Commit::Real, 2);
}

/// By hand: `REPLFS_FSX_SEEDS=5 REPLFS_FSX_OPERATIONS=100000`. Each seed has a rig to itself.
fn fsx_passes(commit: Commit, first: u64) {
    let asked = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
    };
    let (seeds, operations) = (asked("REPLFS_FSX_SEEDS", 1), asked("REPLFS_FSX_OPERATIONS", 20_000));
    for seed in first..first + seeds {
        let mut sides = Sides::start(commit);
        if operations > 20_000 {
            sides.take_your_time();
        }
        let passed = sides.compare(&[], |dir, beside| fsx::run(seed, operations, dir, beside));
        assert_eq!(passed, 1, "fsx with seed {seed} fails on the bare directory");
        sides.finish();
    }
}

#[test]
fn fio_reads_what_it_wrote() {
    let sides = Sides::start(Commit::Sync);
    let passed = sides.compare(&[], fio::run);
    assert_eq!(passed, 6, "fio fails on the bare directory");
    sides.finish();
}

#[test]
fn stressors_fail_nothing_that_passes_below_part_1() {
    stressors_pass(0);
}

#[test]
fn stressors_fail_nothing_that_passes_below_part_2() {
    stressors_pass(1);
}

#[test]
fn stressors_fail_nothing_that_passes_below_part_3() {
    stressors_pass(2);
}

fn stressors_pass(part: usize) {
    let stressors: Vec<String> = stress::stressors().into_iter().skip(part).step_by(PARTS).collect();
    let sides = Sides::start(Commit::Real);
    let passed = sides.compare(&[NO_FIEMAP], |dir, _| stress::run(&stressors, dir));
    // Few need what a machine may lack (binderfs, verity, unusual privileges).
    assert!(passed + 3 > stressors.len(), "only {passed} of {} pass on the bare directory", stressors.len());
    sides.finish();
}
