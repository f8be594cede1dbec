//! Loss of power at random moments of recorded workloads, a slice of what `cargo xtask powerloss` does for as long as one likes (docs/powerloss.md).
#![allow(clippy::unwrap_used)]

use replfs_tests::blocklog::FileSystem;
use replfs_tests::powerloss::plan::{Mode, Plan, Recorded};
use replfs_tests::powerloss::round;
use replfs_tests::seed::seed;

/// Few cuts: each is two machines that start again.
const CUTS: usize = 3;

fn plan(mode: Mode, file_system: FileSystem) -> Plan {
    let (seed, recorded) = (seed(), Recorded::Here);
    Plan {
        seed,
        mode,
        recorded,
        file_system,
        writers: 3,
        steps: 240,
        away: false,
        roamer: true,
        lying: false,
        cuts: CUTS,
    }
}

fn loses_power(mode: Mode, file_system: FileSystem) {
    let plan = plan(mode, file_system);
    let done = round::run(&plan, &round::place(plan.seed));
    println!("{done:?}");
    assert!(done.moments > 1 && done.syncs > 0 && done.cuts == CUTS, "{done:?}");
}

// claim: A264, A265
#[test]
fn sync_keeps_its_promises_whenever_power_is_lost() {
    loses_power(Mode::Sync, FileSystem::new("ext4", ""));
}

// claim: A264, A265
#[test]
fn local_keeps_its_promises_whenever_power_is_lost() {
    loses_power(Mode::Local, FileSystem::new("ext4", "data=writeback,commit=1"));
}

// claim: A264, A265
#[test]
fn remote_keeps_its_promises_whenever_power_is_lost() {
    loses_power(Mode::Remote, FileSystem::new("ext4", ""));
}

#[test]
fn a_disk_that_lies_about_what_is_durable_is_noticed() {
    let mut plan = plan(Mode::Real, FileSystem::new("ext4", ""));
    plan.lying = true;
    let keep = tempfile::tempdir().unwrap();
    let outcome = std::panic::catch_unwind(|| round::run(&plan, keep.path()));
    let reason = outcome.expect_err("what was synced was lost, and nobody noticed");
    let reason = reason.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(reason.contains("SRC after its machine was lost") && reason.contains("and has to be from"), "{reason}");
    // What is needed to look at it again is there.
    let record = replfs_tests::powerloss::record::Record::load(keep.path()).unwrap();
    assert_eq!(record.told.plan.seed, plan.seed);
}
