//! Whichever side is killed at whatever moment.

use super::{TIMEOUT, linked, resumable, rig, target_back};
use replfs_tests::rig::Setup;
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{self, Random};
use replfs_tests::wait::{PATIENCE, until};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

// claim: A179
#[test]
fn a_source_killed_before_its_own_change_leaves_nothing_on_the_target() {
    let mut rig = linked("30s");
    let content = Random::new(4).bytes(2 << 20);
    fs::write(rig.mnt().join("file"), &content).unwrap();
    let replica = rig.replica();
    for round in 0..3 {
        rig.settle();
        resumable(&rig);
        rig.link().deafen();
        let mnt = rig.mnt();
        let there = || match round {
            0 => replica.join("new").exists(),
            1 => !replica.join("file").exists(),
            _ => fs::read(replica.join("file")).unwrap()[100..103] == *b"new",
        };
        let waiting = std::thread::spawn(move || match round {
            0 => fs::create_dir(mnt.join("new")),
            1 => fs::remove_file(mnt.join("file")),
            _ => File::options().write(true).open(mnt.join("file")).unwrap().write_all_at(b"new", 100),
        });
        until("the target to have done it", PATIENCE, || there().then_some(()));
        rig.kill_source();
        assert!(waiting.join().unwrap().is_err());
        rig.link().mend();
        rig.mount();
        rig.assert_equal();
        assert!(rig.source_log().contains("journal-resumed"), "round {round}");
        assert!(!replica.join("new").exists());
        assert_eq!(fs::read(replica.join("file")).unwrap(), content, "round {round}");
    }
    rig.finish();
}

// claim: A179
#[test]
fn killed_beside_writers_what_was_acknowledged_is_on_both() {
    let seed = seed::chosen();
    let mut random = Random::new(seed);
    let mut rig = rig(Setup::default());
    for round in 0..5 {
        let dirs: Vec<String> = (0..3).map(|n| format!("round{round}-{n}")).collect();
        for dir in &dirs {
            fs::create_dir(rig.mnt().join(dir)).unwrap();
        }
        let shared = rig.mnt().join(format!("shared{round}"));
        fs::create_dir(&shared).unwrap();
        let roamers = Roamers::start(&shared, 2, seed + round);
        let stop = AtomicBool::new(false);
        let (mnt, goal) = (rig.mnt(), rig.status().sequence + 100 + random.below(2000));
        let told = std::thread::scope(|scope| {
            let (mnt, stop) = (&mnt, &stop);
            let write = |dir| scope.spawn(move || acknowledged(&mnt.join(dir), stop));
            let writers: Vec<_> = dirs.iter().map(write).collect();
            rig.wait_status("some operations", |status| status.sequence >= goal);
            rig.kill_source();
            stop.store(true, Ordering::SeqCst);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        roamers.stop();
        rig.mount();
        rig.assert_equal();
        for (dir, told) in dirs.iter().zip(told) {
            for side in [rig.src(), rig.replica()] {
                let there = fs::read_dir(side.join(dir)).unwrap().count();
                for n in 0..told {
                    let content = fs::read(side.join(dir).join(format!("named{n}")));
                    assert!(
                        content.as_ref().is_ok_and(|content| *content == n.to_le_bytes()),
                        "seed {seed}, round {round}: {dir}/named{n} of {told} is {content:?} on {} ({there} names)",
                        side.display()
                    );
                }
            }
        }
    }
    rig.finish();
}

/// Makes, writes and renames files until something fails; how many were acknowledged.
fn acknowledged(dir: &Path, stop: &AtomicBool) -> u64 {
    let mut n: u64 = 0;
    while !stop.load(Ordering::SeqCst) {
        let (made, named) = (dir.join(format!("made{n}")), dir.join(format!("named{n}")));
        if fs::write(&made, n.to_le_bytes()).and_then(|()| fs::rename(&made, &named)).is_err() {
            break;
        }
        n += 1;
    }
    n
}

// claim: A179
#[test]
fn a_target_killed_beside_writers_leaves_both_the_same() {
    let seed = seed::chosen();
    let mut rig = rig(Setup::default().option(&["--remote-timeout", TIMEOUT]));
    let roamers = Roamers::start(&rig.mnt(), 3, seed);
    for _ in 0..3 {
        roamers.roam(300);
        let before = rig.status().target().reconnects;
        rig.kill_target();
        target_back(&mut rig, before);
    }
    roamers.roam(100);
    roamers.stop();
    rig.finish();
}
