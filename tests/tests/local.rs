//! Commit mode `local` (S2): what was acknowledged is on the source's disk, whatever happens to the machine and wherever the target is.
#![allow(clippy::unwrap_used)]

use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup, Side};
use replfs_tests::seed::{Random, seed};
use replfs_tests::volatile::VolatileDisk;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

/// What is on a copy of a disk, taken now: what a machine that loses power now would find, if its disk keeps what it was given.
fn after_a_power_cut<T>(rig: &mut Rig, disk: &Disk, round: usize, look: impl FnOnce(&Path) -> T) -> T {
    let copy = disk.copy(rig, &format!("copy{round}"));
    let at = rig.home().join(format!("after{round}"));
    fs::create_dir(&at).unwrap();
    copy.mount(rig, &at);
    look(&at)
}

// claim: A164
#[test]
fn what_was_acknowledged_survives_the_machine() {
    let mut rig = Rig::bare(Commit::Real, Setup::default().linked().option(&["--commit", "local"]));
    let disk = Disk::new(&rig, "src", 64, &[]);
    let src = rig.src();
    disk.mount(&mut rig, &src);
    rig.start_target();
    rig.mount();
    rig.settle();
    rig.link().cut();
    let mnt = rig.mnt();
    fs::create_dir(mnt.join("dir")).unwrap();
    for round in 0..4 {
        let (first, last) = (mnt.join(format!("dir/first{round}")), mnt.join(format!("dir/last{round}")));
        let file = File::create(&first).unwrap();
        file.write_all_at(&vec![b'a' + u8::try_from(round).unwrap(); 100_000], 0).unwrap();
        fs::rename(&first, &last).unwrap();
        file.write_all_at(b"at the end", 200_000).unwrap();
        let expected = fs::read(src.join(format!("dir/last{round}"))).unwrap();
        drop(file);
        after_a_power_cut(&mut rig, &disk, round, |at| {
            assert!(!at.join(format!("dir/first{round}")).exists());
            assert_eq!(fs::read(at.join(format!("dir/last{round}"))).unwrap(), expected, "round {round}");
        });
    }
    // The same in a mode that does not promise it: otherwise this test shows nothing.
    rig.replfs("commit", &[mnt.to_str().unwrap(), "real"]).ok();
    fs::write(mnt.join("dir/real"), vec![1; 100_000]).unwrap();
    let there = after_a_power_cut(&mut rig, &disk, 9, |at| {
        fs::read(at.join("dir/real")).is_ok_and(|data| data.len() == 100_000)
    });
    assert!(!there, "it was on the disk at once");
    assert!(!rig.status().target().degraded, "nobody waits for the target, so nothing is degraded");
    rig.link().mend();
    rig.finish();
}

// claim: A165
#[test]
fn who_waits_at_the_same_time_shares_one_wait_for_the_disk() {
    const WRITERS: usize = 16;
    const WRITES: u64 = 40;
    let mut rig = Rig::bare(Commit::Real, Setup::default().option(&["--commit", "local"]));
    let disk = VolatileDisk::format(&mut rig, "disk", 64);
    let src = rig.src();
    disk.mount(&mut rig, &src, "");
    rig.start_target();
    rig.mount();
    // Slower than a busy machine is at letting all of them ask.
    disk.flush_takes(Duration::from_millis(20));
    let files: Vec<File> = (0..WRITERS).map(|n| File::create(rig.mnt().join(format!("file{n}"))).unwrap()).collect();
    rig.settle();
    let before = rig.status();
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for file in &files {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                (0..WRITES).for_each(|n| file.write_all_at(b"x", n).unwrap());
            });
        }
    });
    let after = rig.status();
    let (syncs, answered) = (after.local_syncs - before.local_syncs, after.local_answered - before.local_answered);
    println!("{answered} writes of {WRITERS} writers were answered after {syncs} waits for the disk");
    assert_eq!(answered, WRITES * WRITERS as u64);
    assert!(syncs * 5 <= answered, "{answered} after {syncs}");
    drop(files);
    rig.finish();
}

// claim: A193
#[test]
fn a_source_that_dies_at_a_wait_for_its_disk_has_what_it_acknowledged() {
    let mut random = Random::new(seed());
    let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&["--commit", "local"]));
    let mut told = Vec::new();
    for (round, place) in ["local-gathered", "local-synced"].into_iter().enumerate() {
        let at = format!("{place}:{}", 1 + random.below(40));
        rig.start_dying(Side::Source, &at);
        assert!(rig.is_equal_before_death(Side::Source), "nobody has waited for the disk yet");
        for n in 0.. {
            let name = format!("file{round}-{n}");
            match fs::write(rig.mnt().join(&name), &name) {
                Ok(()) => told.push(name),
                Err(_) => break,
            }
        }
        rig.wait_for_death(Side::Source, &at);
    }
    rig.mount();
    rig.assert_equal();
    for name in told {
        assert_eq!(fs::read_to_string(rig.src().join(&name)).unwrap(), name);
    }
    rig.finish();
}
