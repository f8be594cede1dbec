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
    away(&["--backlog", "8MiB", "--journal-size", "16MiB"], true);
}
