//! What `sync` mode promises beyond equal trees: nobody waits for a neighbour, and fsync means the same on both sides.
#![allow(clippy::unwrap_used)]

use replfs_tests::extents;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::tree;
use replfs_tests::wait::{Defer, PATIENCE, until};
use replfs_tests::weather::Weather;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

// claim: A15
#[test]
fn sixty_four_writers_keep_their_operations_in_flight() {
    const WRITES: u32 = 10;
    let rig = Rig::with(Commit::Sync, Setup::default().linked());
    let files: Vec<File> = (0..64).map(|n| File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    rig.link().delay(Duration::from_millis(20));
    let alone = per_second(&files[..1], WRITES);
    let together = per_second(&files, WRITES);
    println!("one writer {alone:.1} writes/s, 64 writers {together:.1} writes/s, ratio {:.1}", together / alone);
    assert!(alone < 30.0, "a write takes a round trip of 40 ms, but {alone:.1} were made in a second");
    assert!(together / alone > 8.0, "64 writers made {together:.1} writes/s, one alone {alone:.1}");
    assert!(!rig.status().target().degraded);
    rig.link().delay(Duration::ZERO);
    drop(files);
    rig.finish();
}

/// Writes per second of one thread per file.
fn per_second(files: &[File], writes: u32) -> f64 {
    let start = Barrier::new(files.len() + 1);
    std::thread::scope(|scope| {
        let work = |file: &File| {
            start.wait();
            for n in 0..writes {
                file.write_all_at(&n.to_le_bytes(), u64::from(n) * 4).unwrap();
            }
        };
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(move || work(file))).collect();
        start.wait();
        let clock = Instant::now();
        for thread in threads {
            thread.join().unwrap();
        }
        f64::from(u32::try_from(files.len()).unwrap() * writes) / clock.elapsed().as_secs_f64()
    })
}

// claim: A19
#[test]
fn a_degraded_mode_comes_back_although_applications_write_faster_than_the_link_takes() {
    let options = ["--degrade-after", "1s", "--backlog", "8MiB", "--journal-size", "24MiB"];
    let rig = Rig::with(Commit::Sync, Setup::default().linked().option(&options));
    let files: Vec<File> = (0..4).map(|n| File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    let (done, mended, written) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| {
                for n in (0..u64::MAX).take_while(|_| !done.load(Ordering::SeqCst)) {
                    // No more than can be queued while nothing is taken.
                    while n > 25 && !mended.load(Ordering::SeqCst) && !done.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    // What does not shrink by compression.
                    file.write_all_at(&Random::new(n).bytes(64 << 10), (n % 64) << 16).unwrap();
                    written.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Whatever fails ends the writers.
        let _end = Defer(&done);
        rig.link().cut();
        rig.wait_status("the mode to degrade", |source| source.target().degraded);
        until("the queue to grow", PATIENCE, || (written.load(Ordering::SeqCst) > 100).then_some(()));
        rig.link().set_weather(Weather { bytes_per_second: 12 << 20, ..Weather::default() });
        let applied = rig.status().target().applied;
        rig.link().mend();
        rig.wait_status("the target to go on", |source| source.target().applied > applied);
        mended.store(true, Ordering::SeqCst);
        rig.wait_status("the mode to be in force again", |source| !source.target().degraded);
    });
    rig.link().set_weather(Weather::default());
    drop(files);
    rig.finish();
}

// claim: A15
#[test]
fn a_write_returns_after_the_target_has_it() {
    let rig = Rig::with(Commit::Sync, Setup::default().linked());
    rig.settle();
    rig.link().delay(Duration::from_millis(5));
    for n in 0..50 {
        let name = format!("file{n}");
        std::fs::write(rig.mnt().join(&name), &name).unwrap();
        // No waiting: it is there, or the promise is broken.
        assert_eq!(std::fs::read_to_string(rig.replica().join(&name)).unwrap(), name);
        std::fs::rename(rig.mnt().join(&name), rig.mnt().join("now")).unwrap();
        assert!(!rig.replica().join(&name).exists());
        std::fs::remove_file(rig.mnt().join("now")).unwrap();
        assert!(!rig.replica().join("now").exists());
    }
    rig.finish();
}

// claim: A18
#[test]
fn real_mode_does_not_wait_for_the_target() {
    let rig = Rig::with(Commit::Real, Setup::default().linked());
    let file = File::create(rig.mnt().join("file")).unwrap();
    rig.settle();
    rig.link().delay(Duration::from_millis(100));
    let start = Instant::now();
    for n in 0..20 {
        file.write_all_at(b"x", n).unwrap();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "20 writes over a link of 200 ms took {took:?}");
    rig.link().delay(Duration::ZERO);
    drop(file);
    rig.finish();
}

// claim: A16
#[test]
fn fsync_and_synchronous_writes_reach_both_disks() {
    let rig = Rig::start(Commit::Sync);
    rig.settle();
    let waits = |dir: &Path, name: &str| extents::wait_for_disk(&dir.join(name)).unwrap();
    let both = |name: &str| (waits(&rig.src(), name), waits(&rig.replica(), name));
    let file = File::create(rig.mnt().join("fsync")).unwrap();
    file.write_all_at(&vec![1; 300_000], 0).unwrap();
    let before = both("fsync");
    file.sync_all().unwrap();
    assert_eq!(both("fsync"), (false, false), "after fsync; before it: {before:?}");
    file.write_all_at(&vec![1; 300_000], 300_000).unwrap();
    file.sync_data().unwrap();
    assert_eq!(both("fsync"), (false, false), "after fdatasync");
    drop(file);
    for (name, flag) in [("o_sync", libc::O_SYNC), ("o_dsync", libc::O_DSYNC)] {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flag).open(rig.mnt().join(name));
        file.unwrap().write_all_at(&vec![2; 300_000], 0).unwrap();
        assert_eq!(both(name), (false, false), "after a write to a file opened with {name}");
    }
    // A directory can be synced too.
    File::open(rig.mnt()).unwrap().sync_all().unwrap();
    rig.finish();
}

// claim: A13, A20
#[test]
fn sync_is_degraded_until_the_replica_is_coherent() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default().linked());
    tree::sources(&rig.src(), 1500);
    rig.link().delay(Duration::from_millis(5));
    rig.mount();
    let mut incoherent = 0;
    let mut named = 0;
    loop {
        let status = rig.status();
        let target = status.target();
        if target.coherent {
            break;
        }
        assert!(target.degraded, "a replica that is no state of the source, and a promise about it: {status:?}");
        incoherent += 1;
        named += u32::from(target.incoherent_until.is_some());
    }
    assert!(incoherent > 0, "the first mirror was over before anybody could look");
    assert!(named > 0, "it says until which number: {incoherent} looks");
    rig.link().delay(Duration::ZERO);
    rig.finish();
}
