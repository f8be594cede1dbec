//! A mount without a target (S16, `--target none`): the file system layer alone. Nothing is replicated, and the next mount
//! with a target knows that.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_mount_without_a_target_says_so_and_replicates_nothing() {
    let mut rig = Rig::with(Commit::Sync, Setup { bypassed: true, ..Setup::default() });
    fs::write(rig.mnt().join("file"), "written").unwrap();
    fs::rename(rig.mnt().join("file"), rig.mnt().join("renamed")).unwrap();
    assert_eq!(fs::read(rig.src().join("renamed")).unwrap(), b"written");
    assert!(rig.replfs("status", &[]).ok().contains("bypass, nothing is replicated"));
    assert!(rig.status().targets.is_empty());
    let sync = rig.replfs("sync", &[NAME, "--timeout", "30s"]);
    assert_ne!(sync.code, 0, "nothing is durable on a target that does not exist: {sync:?}");
    rig.unmount();
}

#[test]
fn what_changed_without_a_target_is_found_by_the_next_mount_with_one() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    rig.mount();
    let file = rig.mnt().join("file");
    fs::write(&file, "before").unwrap();
    let before = file.metadata().unwrap();
    rig.assert_equal();
    rig.unmount();

    let (src, mnt) = (rig.src(), rig.mnt());
    let places = [&src, &mnt].map(|path| path.to_string_lossy());
    rig.replfs("mount", &["--target", "none", "--name", NAME, &places[0], &places[1]]).ok();
    // Same length, same time: only a comparison of content finds it.
    fs::write(&file, "after!").unwrap();
    let time = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, &file, &times, AtFlags::empty()).unwrap();
    rig.replfs("umount", &[&places[1]]).ok();

    rig.mount();
    rig.finish();
}
