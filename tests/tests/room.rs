//! Flow control (S3): a full backlog makes writers wait while the target takes things; it does not overflow.
#![allow(clippy::unwrap_used)]

use replfs_tests::in_both_modes;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use std::fs;
use std::os::unix::fs::FileExt;

in_both_modes!(many_writers_of_a_nearly_full_backlog_wait_and_nothing_is_compared_anew, copies_wait_for_room_too);

/// The smallest backlog there is.
fn narrow() -> Setup {
    Setup::default().option(&["--backlog", "8MiB"])
}

fn many_writers_of_a_nearly_full_backlog_wait_and_nothing_is_compared_anew(commit: Commit) {
    let rig = Rig::with(commit, narrow());
    rig.settle();
    let before = rig.status().target().passes;
    std::thread::scope(|scope| {
        for writer in 0..16_u64 {
            let path = rig.mnt().join(format!("file{writer}"));
            scope.spawn(move || {
                let file = fs::File::create(path).unwrap();
                let bytes = Random::new(writer).bytes(1 << 20);
                for n in 0..12 {
                    file.write_all_at(&bytes, n << 20).unwrap();
                }
            });
        }
    });
    rig.settle();
    assert_eq!(rig.status().target().passes, before, "the backlog overflowed: {}", rig.source_log());
    rig.finish();
}

fn copies_wait_for_room_too(commit: Commit) {
    let rig = Rig::with(commit, narrow());
    let (from, to) = (rig.mnt().join("from"), rig.mnt().join("to"));
    fs::write(&from, Random::new(7).bytes(24 << 20)).unwrap();
    rig.settle();
    let before = rig.status().target().passes;
    // fs::copy is copy_file_range on Linux.
    assert_eq!(fs::copy(&from, &to).unwrap(), 24 << 20);
    rig.settle();
    assert_eq!(rig.status().target().passes, before, "the backlog overflowed: {}", rig.source_log());
    rig.finish();
}
