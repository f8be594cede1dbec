//! A target's disk that loses what was written to it, says so once, and keeps it in memory: what was lost is brought again.
#![allow(clippy::unwrap_used)]

use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

const LEN: usize = 2 << 20;

/// Takes all room that is left there.
fn fill(dir: &Path) {
    let mut ballast = File::create(dir.join("ballast")).unwrap();
    let piece = [1; 4096];
    let error = std::iter::repeat_with(|| ballast.write_all(&piece)).find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

/// What the disk has.
fn on_disk(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    // The first may tell of what was lost long ago.
    let _told = file.sync_all();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    fs::read(path).unwrap()
}

fn is_brought_again(sync: fn(&File)) {
    let mut rig = Rig::bare(Commit::Sync, Setup::default());
    // A disk that promises more than it has: what is written where it has no room fails when it is written back.
    let small = rig.home().join("small");
    fs::create_dir_all(&small).unwrap();
    rig.mount_other("tmpfs", "size=24m", &small);
    let disk = Disk::new(&rig, "small/disk", 64, &["-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"]);
    let root = rig.root();
    fs::create_dir_all(&root).unwrap();
    disk.mount(&mut rig, &root);
    rig.start_target();
    rig.mount();
    fs::write(rig.mnt().join("before"), vec![1; LEN]).unwrap();
    rig.settle();
    fill(&small);
    let content = vec![7; LEN];
    let file = File::create(rig.mnt().join("file")).unwrap();
    (&file).write_all(&content).unwrap();
    sync(&file);
    drop(file);
    rig.wait_status("the disk's loss is told", |source| {
        source.target().last_error.as_ref().is_some_and(|text| text.contains("the replica is not what it should be"))
    });
    fs::remove_file(small.join("ballast")).unwrap();
    rig.settle();
    assert!(on_disk(&rig.replica().join("file")) == content, "it is on the disk, not in memory alone");
    rig.finish();
}

// claim: A286
#[test]
fn what_a_disk_lost_when_an_application_synced_is_brought_again() {
    is_brought_again(|file| file.sync_data().unwrap());
}

// claim: A286
#[test]
fn what_a_disk_lost_when_nobody_synced_is_brought_again() {
    is_brought_again(|_| {});
}
