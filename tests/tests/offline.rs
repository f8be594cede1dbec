//! Offline for long (S3, S11): much is written, renamed and deleted while the target is away; with a journal that holds it all, and with one that does
//! not. `REPLFS_TEST_OFFLINE_MIB` makes it larger, for a run by hand.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

/// MiB that are written while the target is away.
fn size() -> u64 {
    std::env::var("REPLFS_TEST_OFFLINE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(48)
}

/// Writes, renames and deletes; the bytes that are new on the source.
fn work(rig: &Rig, mib: u64) -> u64 {
    let mut random = Random::new(11);
    let names = mib * 100;
    let small = rig.mnt().join("small");
    for n in 0..names {
        let (from, to) = (small.join(format!("file{n}")), small.join(format!("moved{n}")));
        if n % 2 == 0 {
            fs::rename(from, to).unwrap();
        } else {
            fs::remove_file(from).unwrap();
        }
    }
    let mut distinct = 0;
    for n in 0..8 {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(rig.mnt().join(format!("big{n}")))
            .unwrap();
        let mut at = 0;
        while at < mib << 17 {
            let data = random.bytes(64 << 10);
            file.write_all_at(&data, at).unwrap();
            at += data.len() as u64;
            distinct += data.len() as u64;
        }
    }
    distinct
}

fn away(journal: &[&str], folds: bool) {
    let mib = size();
    let mut rig = Rig::with(Commit::Real, Setup::default().linked().option(journal).option(&["--degrade-after", "2s"]));
    rig.without_watchdog();
    let small = rig.mnt().join("small");
    fs::create_dir(&small).unwrap();
    for n in 0..mib * 100 {
        fs::write(small.join(format!("file{n}")), format!("content {n}")).unwrap();
    }
    fs::write(rig.mnt().join("big3"), Random::new(12).bytes(1 << 20)).unwrap();
    rig.settle();
    let before = rig.link().bytes_there();
    rig.link().cut();
    let distinct = work(&rig, mib);
    let status = rig.status();
    assert_eq!(status.target().held.entries > 0, folds, "{status:?}");
    assert!(!status.target().mirror_due, "{status:?}");
    rig.link().mend();
    rig.settle();
    let sent = rig.link().bytes_there() - before;
    #[allow(clippy::cast_precision_loss)] // a ratio for people
    let ratio = sent as f64 / distinct as f64;
    println!("{mib} MiB, {journal:?}: {sent} bytes sent for {distinct} distinct ones, {ratio:.3}");
    // Names are small records beside: a hundred of them for each MiB.
    assert!(sent <= distinct + distinct / 10 + mib * 100 * 400, "{sent} bytes travelled for {distinct}");
    rig.finish();
}

// claim: A166
#[test]
fn with_a_journal_that_holds_it_everything_is_sent_in_order() {
    away(&["--backlog", "8MiB", "--journal-size", "4GiB"], false);
}

// claim: A166
#[test]
fn with_a_journal_that_does_not_only_what_changed_is_sent() {
    let journal = if size() > 256 { "64MiB" } else { "16MiB" };
    away(&["--backlog", "8MiB", "--journal-size", journal], true);
}

/// Writes a file whole, `times` over, each time with something else; the bytes that are written.
fn overwrite(rig: &Rig, name: &str, size: usize, times: u64) -> u64 {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(rig.mnt().join(name)).unwrap();
    for time in 0..times {
        let mut random = Random::new(100 + time);
        for at in (0..size).step_by(256 << 10) {
            file.write_all_at(&random.bytes((256 << 10).min(size - at)), at as u64).unwrap();
        }
    }
    size as u64 * times
}

/// A file is written over and over while the target is away, more than the journal holds; bytes that travel when it is back.
fn overwritten(journal: &[&str], size: usize, times: u64) -> u64 {
    let mut rig = Rig::with(Commit::Real, Setup::default().linked().option(journal).option(&["--degrade-after", "2s"]));
    rig.without_watchdog();
    overwrite(&rig, "disk", size, 1);
    fs::write(rig.mnt().join("beside"), "before").unwrap();
    rig.settle();
    let before = rig.link().bytes_there();
    rig.link().cut();
    rig.wait_status("the target is away", |s| s.target().state == "accumulating");
    let written = overwrite(&rig, "disk", size, times);
    fs::rename(rig.mnt().join("beside"), rig.mnt().join("renamed")).unwrap();
    let status = rig.status();
    let target = status.target();
    assert!(target.held.entries > 0 && !target.mirror_due, "{status:?}");
    assert!(status.backlog_bytes < size as u64, "the queue was given up: {status:?}");
    assert_eq!(target.incoherent_from, None, "the replica still is as it was: {status:?}");
    rig.link().mend();
    rig.settle();
    let sent = rig.link().bytes_there() - before;
    println!("{journal:?}: {written} bytes written over {size}, {sent} travelled");
    rig.assert_equal();
    rig.finish();
    sent
}

// claim: A181
#[test]
fn what_is_written_over_and_over_while_the_target_is_away_travels_once() {
    let size = 16 << 20;
    let sent = overwritten(&["--backlog", "8MiB", "--journal-size", "64MiB"], size, 20);
    assert!(sent < size as u64 * 11 / 10 + (1 << 20), "{sent} bytes travelled for {size}");
}

// claim: A182
#[test]
fn without_a_journal_on_disk_what_is_written_over_and_over_travels_once() {
    let size = 8 << 20;
    let sent = overwritten(&["--journal-size", "0"], size, 38);
    assert!(sent < size as u64 * 11 / 10 + (1 << 20), "{sent} bytes travelled for {size}");
}

// claim: A183
#[test]
fn a_daemon_that_is_killed_after_it_gave_its_queue_up_is_gone_on_with() {
    let setup = Setup::default().linked().option(&["--backlog", "8MiB", "--journal-size", "16MiB"]);
    let mut rig = Rig::with(Commit::Real, setup);
    rig.without_watchdog();
    let size = 4 << 20;
    overwrite(&rig, "disk", size, 1);
    for n in 0..50 {
        fs::write(rig.mnt().join(format!("file{n}")), vec![n; 50_000]).unwrap();
    }
    rig.settle();
    // Some of it is on its way when the link goes.
    fs::write(rig.mnt().join("file0"), "written last").unwrap();
    rig.link().cut();
    rig.wait_status("the target is away", |s| s.target().state == "accumulating");
    overwrite(&rig, "disk", size, 10);
    fs::rename(rig.mnt().join("file1"), rig.mnt().join("renamed")).unwrap();
    fs::remove_file(rig.mnt().join("file2")).unwrap();
    let status = rig.status();
    assert!(status.target().held.entries > 0 && status.backlog_bytes < size as u64, "{status:?}");
    let before = rig.link().bytes_there();
    rig.kill_source();
    rig.mount();
    fs::write(rig.mnt().join("after"), "the kill").unwrap();
    rig.link().mend();
    rig.settle();
    rig.assert_equal();
    let sent = rig.link().bytes_there() - before;
    assert!(sent < 2 * size as u64, "what did not change is not sent: {sent} bytes");
    rig.finish();
}
