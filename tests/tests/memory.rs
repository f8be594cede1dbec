//! What a source takes of memory for what is queued, and gives back.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;

const MIB: u64 = 1 << 20;

fn resident(pid: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

// claim: A287
#[test]
fn memory_of_what_was_queued_is_given_back() {
    let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&["--limit", "1MiB"]));
    rig.mount();
    rig.settle();
    let before = resident(rig.source_pid());
    for n in 0..48_u8 {
        fs::write(rig.mnt().join(format!("file{n}")), vec![n; 1 << 20]).unwrap();
    }
    let queued = resident(rig.source_pid());
    assert!(queued > before + 30 * MIB, "{} MiB, {} before", queued / MIB, before / MIB);
    rig.replfs("limit", &[&rig.mnt().to_string_lossy(), "none"]).ok();
    rig.settle();
    until("memory to be given back", PATIENCE, || (resident(rig.source_pid()) < before + 20 * MIB).then_some(()));
    rig.finish();
}
