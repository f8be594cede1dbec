//! Mirror passes under operations at random, one after the other: the daemon is killed or unmounted, SRC is changed behind
//! its back or not, and what happens while the next pass runs touches what is not yet compared. Directories are moved in and
//! out of what has been, hard links are made across the border, files are exchanged.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::seed;
use replfs_tests::{in_both_modes, tree};

in_both_modes!(passes_under_random_operations_end_exact);

// claim: A14, A25
fn passes_under_random_operations_end_exact(commit: Commit) {
    let seed = seed();
    let mut rig = Rig::prepare(commit, Setup::default());
    tree::sources(&rig.src(), 1500);
    rig.mount();
    for round in 0..5 {
        let roamers = Roamers::start(&rig.mnt(), 3, seed.wrapping_add(round * 10));
        roamers.roam(2000);
        if round % 2 == 0 {
            roamers.stop();
            rig.assert_equal();
            rig.unmount();
        } else {
            // In the middle of what they do.
            rig.kill_source();
            roamers.stop();
        }
        if round % 3 == 0 {
            let behind = Roamers::start(&rig.src(), 1, seed.wrapping_add(round * 10 + 5));
            behind.roam(300);
            behind.stop();
        }
        rig.mount();
    }
    rig.finish();
}
