//! Flow control (S3): a full backlog makes writers wait while the target takes things; it does not overflow.
#![allow(clippy::unwrap_used)]

use replfs_tests::in_both_modes;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::Defer;
use replfs_tests::weather::Weather;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

in_both_modes!(
    many_writers_of_a_nearly_full_backlog_wait_and_nothing_is_compared_anew,
    copies_wait_for_room_too,
    a_catch_up_beside_many_writers_does_not_overflow,
    a_catch_up_ends_although_applications_write_faster_than_the_link_takes,
);

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

fn a_catch_up_beside_many_writers_does_not_overflow(commit: Commit) {
    let rig = Rig::with(commit, narrow().linked());
    let files: Vec<fs::File> = (0..16).map(|n| fs::File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| {
                let bytes = Random::new(1).bytes(1 << 20);
                for n in (0..u64::MAX).take_while(|_| !done.load(Ordering::SeqCst)) {
                    file.write_all_at(&bytes, (n % 4) << 20).unwrap();
                }
            });
        }
        let _end = Defer(&done);
        for _ in 0..3 {
            let passes = rig.status().target().passes;
            rig.link().cut();
            rig.wait_status("more than can be queued", |source| source.target().held.entries > 0);
            rig.link().mend();
            rig.wait_status("the catch-up", |source| source.target().coherent && source.target().passes > passes);
        }
    });
    assert!(!rig.source_log().contains("mirror-due"), "the backlog overflowed: {}", rig.source_log());
    drop(files);
    rig.finish();
}

// claim: A23
fn a_catch_up_ends_although_applications_write_faster_than_the_link_takes(commit: Commit) {
    let rig = Rig::with(commit, narrow().linked());
    let files: Vec<fs::File> = (0..4).map(|n| fs::File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    rig.link().set_weather(Weather { bytes_per_second: 12 << 20, ..Weather::default() });
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| {
                for n in (0..u64::MAX).take_while(|_| !done.load(Ordering::SeqCst)) {
                    // What does not shrink by compression.
                    file.write_all_at(&Random::new(n).bytes(64 << 10), (n % 64) << 16).unwrap();
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Whatever fails ends the writers.
        let _end = Defer(&done);
        let passes = rig.status().target().passes;
        rig.link().cut();
        rig.wait_status("more than can be queued", |source| source.target().held.entries > 0);
        for n in 0..40 {
            fs::write(rig.mnt().join(format!("other{n}")), Random::new(n).bytes(200_000)).unwrap();
        }
        rig.link().mend();
        let before = written.load(Ordering::SeqCst);
        rig.wait_status("the catch-up to end", |source| source.target().coherent && source.target().passes > passes);
        assert!(written.load(Ordering::SeqCst) > before, "applications go on meanwhile");
    });
    rig.link().set_weather(Weather::default());
    drop(files);
    rig.finish();
}
