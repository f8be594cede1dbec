//! Replication switched off and on again (S16), and a backlog that overflows (S3): what changes meanwhile is remembered one by
//! one, and caught up with beside operations that go on; names come back as renames, and only changed ranges are sent.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{Random, seed};
use replfs_tests::{in_both_modes, tree};
use srm::map::Ranges;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

in_both_modes!(catching_up_under_random_operations_ends_exact, overflows_under_random_operations_end_exact);

// claim: A180
#[test]
fn ranges_that_overlap_or_lie_nearer_than_a_packet_are_one() {
    let of = |list: [std::ops::Range<u64>; 2]| {
        let mut ranges = Ranges::with_packets(512);
        for range in list {
            ranges.add(range);
        }
        ranges.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>()
    };
    assert_eq!(of([20..60, 40..100]), [(20, 100)]);
    assert_eq!(of([20..60, 1040..1100]), [(20, 60), (1040, 1100)]);
    assert_eq!(of([20..60, 571..600]), [(20, 600)]);
}

fn switch(rig: &Rig, how: &str) {
    rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), how]).ok();
}

// claim: A110
fn catching_up_under_random_operations_ends_exact(commit: Commit) {
    // The tree grows with each, and so does the time of a step.
    const ROUNDS: u64 = 4;
    let seed = seed();
    let mut rig = Rig::prepare(commit, Setup::default());
    tree::sources(&rig.src(), 300);
    rig.mount();
    rig.assert_equal();
    let passes = rig.status().target().passes;
    for round in 0..ROUNDS {
        let roamers = Roamers::start(&rig.mnt(), 3, seed.wrapping_add(round * 10));
        roamers.roam(200);
        switch(&rig, "on");
        roamers.roam(1500);
        switch(&rig, "off");
        roamers.roam(1000);
        roamers.stop();
        rig.assert_equal();
    }
    let status = rig.status();
    assert!(status.target().passes >= passes + ROUNDS, "each round caught up: {status:?}");
    assert_eq!(status.target().reconnects, 0, "nothing was given up: {status:?}");
    rig.finish();
}

fn overflows_under_random_operations_end_exact(commit: Commit) {
    let seed = seed();
    let setup = Setup::default().linked().option(&["--backlog", "8MiB", "--degrade-after", "1s"]);
    let rig = Rig::with(commit, setup);
    for round in 0..3 {
        let roamers = Roamers::start(&rig.mnt(), 3, seed.wrapping_add(round * 10));
        roamers.roam(200);
        rig.link().cut();
        let big = Random::new(round).bytes(9 << 20);
        fs::write(rig.mnt().join(format!("big{round}")), &big).unwrap();
        roamers.roam(800);
        rig.wait_status("held", |s| s.target().held.entries > 0);
        rig.link().mend();
        roamers.roam(500);
        roamers.stop();
        rig.assert_equal();
    }
    rig.finish();
}

/// Of a file with two names, of which only one was used, that one is written through and goes; `much`: with so many others in its directory that only that is remembered.
#[test]
fn a_file_keeps_what_was_written_through_a_name_that_is_gone() {
    for much in [false, true] {
        let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&["--backlog", "8MiB"]));
        fs::create_dir(rig.src().join("dir")).unwrap();
        fs::write(rig.src().join("dir/name"), "before").unwrap();
        fs::hard_link(rig.src().join("dir/name"), rig.src().join("other")).unwrap();
        rig.mount();
        rig.assert_equal();
        switch(&rig, "on");
        let name = rig.mnt().join("dir/name");
        fs::write(&name, "written through the other name").unwrap();
        fs::remove_file(&name).unwrap();
        for number in 0..if much { 6000 } else { 0 } {
            fs::write(rig.mnt().join(format!("dir/new{number}")), "new").unwrap();
        }
        switch(&rig, "off");
        rig.assert_equal();
        rig.finish();
    }
}

// claim: A156
#[test]
fn too_much_below_one_directory_has_only_that_directory_compared() {
    // Room for 4096 changes one by one.
    let rig = Rig::with(Commit::Real, Setup::default().option(&["--backlog", "8MiB"]));
    let mnt = rig.mnt();
    for dir in ["much", "much/deep", "beside"] {
        fs::create_dir(mnt.join(dir)).unwrap();
    }
    for number in 0..50 {
        fs::write(mnt.join(format!("much/deep/old{number}")), format!("old {number}")).unwrap();
    }
    fs::write(mnt.join("beside/moves"), vec![1; 6 << 20]).unwrap();
    rig.settle();
    switch(&rig, "on");
    let before = rig.status();
    for number in 0..6000 {
        fs::write(mnt.join(format!("much/deep/new{number}")), format!("new {number}")).unwrap();
    }
    fs::write(mnt.join("much/deep/old7"), "changed").unwrap();
    fs::remove_file(mnt.join("much/deep/old8")).unwrap();
    fs::rename(mnt.join("much/deep/old9"), mnt.join("out")).unwrap();
    fs::rename(mnt.join("beside/moves"), mnt.join("beside/moved")).unwrap();
    assert!(rig.status().target().held.entries < 4200, "{:?}", rig.status());
    switch(&rig, "off");
    rig.assert_equal();
    let after = rig.status();
    let (before, after) = (before.target(), after.target());
    assert_eq!(after.reconnects, before.reconnects, "not everything was given up: {}", rig.source_log());
    assert!(after.sent_bytes - before.sent_bytes < 5 << 20, "what lies beside was moved, not sent");
    rig.finish();
}

/// Exit code of an unmount that leaves something behind.
const BACKLOG_LEFT: i32 = 43;

// claim: A150
#[test]
fn an_unmount_while_replication_is_off_names_what_is_left_and_the_next_mount_brings_it() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    tree::sources(&rig.src(), 200);
    rig.mount();
    rig.assert_equal();
    switch(&rig, "on");
    let mnt = rig.mnt();
    fs::write(mnt.join("new"), "new").unwrap();
    fs::create_dir(mnt.join("made")).unwrap();
    fs::rename(mnt.join("package000"), mnt.join("made/moved")).unwrap();
    fs::remove_dir_all(mnt.join("package001")).unwrap();
    assert!(rig.status().target().held.entries > 0);
    let pid = rig.source_pid();
    // Long before the time is over: nothing more will be sent.
    let outcome = rig.replfs("umount", &["--timeout", "10m", &mnt.to_string_lossy()]);
    outcome.expect(BACKLOG_LEFT);
    assert!(outcome.stderr.contains("source and target are still to be compared"), "{outcome:?}");
    rig.wait_for_end(pid);
    assert!(!rig.replica().join("new").exists(), "nothing was sent");

    rig.mount();
    let status = rig.status();
    assert_ne!(status.target().state, "bypass", "a mount begins with replication on: {status:?}");
    rig.finish();
}

// claim: A110
#[test]
fn renames_while_replication_is_off_send_no_content() {
    let rig = Rig::with(Commit::Real, Setup::default());
    let mnt = rig.mnt();
    let mut random = Random::new(7);
    for dir in ["a", "a/b", "c", "d"] {
        fs::create_dir(mnt.join(dir)).unwrap();
    }
    for file in ["a/1", "a/b/2", "c/3", "d/4", "5", "6"] {
        fs::write(mnt.join(file), random.bytes(2 << 20)).unwrap();
    }
    rig.settle();
    switch(&rig, "on");
    let sent = rig.status().target().sent_bytes;
    let mv = |from: &str, to: &str| fs::rename(mnt.join(from), mnt.join(to)).unwrap();
    // Two files change places, three directories go round in a circle, a directory moves below what was its child, a
    // deleted directory's contents live on elsewhere.
    mv("5", "x");
    mv("6", "5");
    mv("x", "6");
    mv("a/b", "b");
    mv("a", "b/a");
    mv("c", "y");
    mv("d", "c");
    mv("y", "d");
    mv("d/3", "3");
    fs::remove_dir(mnt.join("d")).unwrap();
    mv("c", "d");
    fs::hard_link(mnt.join("3"), mnt.join("also")).unwrap();
    switch(&rig, "off");
    rig.assert_equal();
    let sent = rig.status().target().sent_bytes - sent;
    assert!(sent < 100_000, "{sent} bytes for names alone");
    rig.finish();
}

// claim: A110
#[test]
fn only_ranges_that_changed_while_replication_was_off_are_sent() {
    const SIZE: usize = 16 << 20;
    let rig = Rig::with(Commit::Real, Setup::default());
    fs::write(rig.mnt().join("big"), Random::new(8).bytes(SIZE)).unwrap();
    rig.settle();
    switch(&rig, "on");
    assert_eq!(rig.status().target().state, "bypass");
    let sent = rig.status().target().sent_bytes;
    let file = OpenOptions::new().write(true).open(rig.mnt().join("big")).unwrap();
    for n in 0..16_u64 {
        file.write_all_at(&[3; 4096], n << 20).unwrap();
    }
    file.set_len(SIZE as u64 - 5000).unwrap();
    drop(file);
    File::create(rig.mnt().join("new")).unwrap();
    switch(&rig, "off");
    rig.assert_equal();
    let sent = rig.status().target().sent_bytes - sent;
    assert!(sent < 16 * 4096 * 2, "{sent} bytes for 64 KiB of changes");
    rig.finish();
}
