//! What travels together, and what is sent before all of it is there (C4).
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

const APPENDS: u64 = 2000;

// claim: A280
#[test]
fn on_a_line_that_is_busy_what_nobody_waits_for_leaves_together() {
    let rig = Rig::with(Commit::Real, Setup::default().linked());
    rig.settle();
    rig.link().delay(Duration::from_millis(20));
    let before = (rig.link().forwarded(), rig.status().target().operations.values().sum::<u64>());
    // When it leaves is held to in scm/src/session/tests.rs; here: that it is few datagrams in the end.
    let mut file = File::create(rig.mnt().join("log")).unwrap();
    for line in 0..APPENDS {
        file.write_all(format!("line {line}\n").as_bytes()).unwrap();
    }
    drop(file);
    rig.settle();
    let records = rig.status().target().operations.values().sum::<u64>() - before.1;
    let datagrams = rig.link().forwarded() - before.0;
    println!("{records} records in {datagrams} datagrams, both ways");
    assert!(records >= APPENDS, "each append is a record: {records}");
    assert!(datagrams < records / 2, "{datagrams} datagrams for {records} records");
    rig.finish();
}

// claim: A280
#[test]
fn a_large_write_that_is_waited_for_goes_in_pieces_and_another_one_whole() {
    // The kernel makes two requests of it where its buffer begins within a page.
    for (commit, records) in [(Commit::Sync, 4..=5), (Commit::Real, 1..=2)] {
        let rig = Rig::with(commit, Setup::default());
        let file = rig.mnt().join("file");
        fs::write(&file, "one").unwrap();
        rig.settle();
        let before = rig.status().target().operations["write"];
        let bytes = Random::new(1).bytes(1 << 20);
        let file = File::options().write(true).open(&file).unwrap();
        assert_eq!((&file).write(&bytes).unwrap(), bytes.len());
        drop(file);
        rig.settle();
        let sent = rig.status().target().operations["write"] - before;
        assert!(records.contains(&sent), "{commit:?}: {sent}");
        rig.finish();
    }
}

// claim: A283
#[test]
fn beside_its_payload_a_record_takes_few_bytes() {
    /// Of Ethernet, IPv4 and UDP.
    const HEADS: u64 = 14 + 20 + 8;
    for compress in ["off", "auto"] {
        let rig = Rig::with(Commit::Real, Setup::default().linked().option(&["--compress", compress]));
        for number in 0..APPENDS {
            fs::write(rig.mnt().join(format!("before-{number}")), "").unwrap();
        }
        rig.settle();
        let before = rig.status().target().operations.values().sum::<u64>();
        // What is sent together does not depend on how fast this machine is.
        rig.link().cut();
        let mut file = File::create(rig.mnt().join("log")).unwrap();
        let mut payload = 0;
        for line in 0..APPENDS {
            payload += 100;
            file.write_all(format!("{line:-99}\n").as_bytes()).unwrap();
            fs::rename(rig.mnt().join(format!("before-{line}")), rig.mnt().join(format!("after-{line}"))).unwrap();
        }
        drop(file);
        let sent = (rig.link().bytes_there(), rig.link().forwarded());
        rig.link().mend();
        rig.settle();
        let records = rig.status().target().operations.values().sum::<u64>() - before;
        let bytes = rig.link().bytes_there() - sent.0 + HEADS * (rig.link().forwarded() - sent.1);
        println!("compress {compress}: {bytes} bytes for {records} records with {payload} bytes");
        assert!(records > 2 * APPENDS, "{records}");
        assert!(bytes < payload * 11 / 10 + 64 * records, "{bytes} bytes for {records} records with {payload} bytes");
        rig.finish();
    }
}

// claim: A282
#[test]
fn datagrams_become_as_large_as_the_line_carries() {
    const MIB: usize = 1 << 20;
    let rig = Rig::with(Commit::Real, Setup::default().linked());
    rig.settle();
    let file = File::create(rig.mnt().join("file")).unwrap();
    let bytes = Random::new(2).bytes(MIB);
    let deadline = Instant::now() + Duration::from_secs(60);
    // It is probed while something is sent. Datagrams of Ethernet's usual size would be more than 700 for a MiB, without what answers them.
    loop {
        let before = rig.link().forwarded();
        (&file).write_all(&bytes).unwrap();
        rig.settle();
        let datagrams = rig.link().forwarded() - before;
        println!("{datagrams} datagrams for a MiB, both ways");
        if datagrams < 500 {
            break;
        }
        assert!(Instant::now() < deadline, "{datagrams} datagrams for a MiB");
    }
    drop(file);
    rig.finish();
}
