//! Quotas of a target (T8): a source that takes more is blocked, says so, and goes on once there is room.
#![allow(clippy::unwrap_used)]

use replfs_tests::compare;
use replfs_tests::in_both_modes;
use replfs_tests::load::Load;
use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{Random, seed};
use replfs_tests::tree;
use replfs_tests::wait::{PATIENCE, until};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

in_both_modes!(
    what_passes_the_quota_is_blocked_until_it_is_raised,
    room_made_on_the_source_is_room_on_the_target,
    what_is_counted_stays_what_a_walk_finds,
);

const MIB: u64 = 1 << 20;

fn setup(quota: &str) -> Setup {
    let quick = ["--degrade-after", "2s", "--connect-timeout", "3s", "--retry-after", "2s"];
    Setup::default().option(&quick).target_option(&["--quota", quota])
}

/// The replica's status on the target.
fn replica(rig: &Rig) -> Value {
    let state = rig.target_state();
    let outcome = replfs_tests::command::run(rig.program().args(["status", "--json", "--state"]).arg(state));
    let document: Value = serde_json::from_str(outcome.ok()).unwrap();
    document["targets"][0]["sources"][0].clone()
}

fn used(rig: &Rig) -> (u64, u64) {
    let quota = replica(rig)["quota"].clone();
    (quota["used_bytes"].as_u64().unwrap(), quota["used_files"].as_u64().unwrap())
}

/// Bytes and inodes of the tree and of what replfs keeps beside it.
fn walked(rig: &Rig) -> (u64, u64) {
    let own = rig.root().join(".replfs/tree");
    let mut todo: Vec<PathBuf> = vec![rig.replica()];
    for place in ["orphan", "aside", "stage", "undo/kept"] {
        todo.extend(below(&own.join(place)));
    }
    let mut seen = HashSet::new();
    let (mut bytes, mut files) = (0, 0);
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if seen.insert(meta.ino()) {
            bytes += meta.blocks() * 512;
            files += 1;
        }
        if meta.is_dir() {
            todo.extend(below(&path));
        }
    }
    (bytes, files)
}

fn below(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn says_quota(shown: &Source) -> bool {
    let target = shown.target();
    let blocked = target.blocked.as_ref().is_some_and(|text| text.contains("quota of tree"));
    blocked || target.flagged.iter().any(|flag| flag.reason.contains("quota of tree"))
}

// claim: A217, A218
fn what_passes_the_quota_is_blocked_until_it_is_raised(commit: Commit) {
    let mut rig = Rig::with(commit, setup("8MiB"));
    let mnt = rig.mnt();
    fs::write(mnt.join("first"), Random::new(1).bytes(5 << 20)).unwrap();
    rig.assert_equal();
    // Holes cost nothing.
    fs::File::create(mnt.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    rig.assert_equal();
    fs::write(mnt.join("second"), Random::new(2).bytes(20 << 20)).unwrap();
    fs::write(mnt.join("third"), "small").unwrap();
    let shown = rig.wait_status("the quota to be named", says_quota);
    assert!(rig.replfs("status", &[]).ok().contains("quota of tree"), "{shown:?}");
    let state = rig.target_state();
    let text = replfs_tests::command::run(rig.program().args(["status", "--state"]).arg(state));
    assert!(text.ok().contains("quota: ") && text.stdout.contains("used of 8.0 MiB"), "{text:?}");
    let (bytes, _) = walked(&rig);
    assert!(bytes <= 9 * MIB, "{bytes} bytes with a quota of 8 MiB");
    rig.change_target(None, &["--quota", "64MiB"]);
    rig.wait_status("all to be there", |shown| !says_quota(shown) && shown.is_settled());
    rig.finish();
}

// claim: A218
fn room_made_on_the_source_is_room_on_the_target(commit: Commit) {
    let rig = Rig::with(commit, setup("8MiB"));
    let mnt = rig.mnt();
    fs::write(mnt.join("first"), Random::new(1).bytes(6 << 20)).unwrap();
    rig.assert_equal();
    // With a lane where it comes to that.
    fs::write(mnt.join("second"), Random::new(2).bytes(5 << 20)).unwrap();
    rig.wait_status("the quota to be named", says_quota);
    fs::remove_file(mnt.join("first")).unwrap();
    rig.wait_status("all to be there", |shown| !says_quota(shown) && shown.is_settled());
    rig.assert_equal();
    let (bytes, _) = walked(&rig);
    assert!(bytes <= 9 * MIB, "{bytes} bytes with a quota of 8 MiB");
    rig.finish();
}

// claim: A216
fn what_is_counted_stays_what_a_walk_finds(commit: Commit) {
    let seed = seed();
    let mut rig = Rig::bare(commit, setup("1GiB"));
    let root = rig.root();
    rig.mount_other("tmpfs", "size=512m,mode=755", &root);
    tree::sources(&rig.src().join("before"), 200);
    fs::write(rig.src().join("big"), Random::new(3).bytes(6 << 20)).unwrap();
    rig.start_target();
    rig.mount();
    rig.settle();
    let (load, roam) = (rig.mnt().join("load"), rig.mnt().join("roam"));
    fs::create_dir(&load).unwrap();
    tree::names(&roam);
    for round in 0..2 {
        let writers = Load::start(&load, 3, seed + round);
        writers.wait_for(300);
        writers.stop_clean();
        let roamers = Roamers::start(&roam, 3, seed + 10 + round);
        roamers.roam(300);
        roamers.stop();
        rig.settle();
        // What was away from the counter (a pass that ends, an undo log that goes) is counted again when nothing else is to do.
        let mut last = None;
        until("the counter to be what is there", PATIENCE, || {
            let now = (used(&rig), walked(&rig));
            last = Some(now);
            (now.0 == now.1).then_some(())
        });
        println!("{last:?}");
    }
    rig.unmount();
    // What is a hole and what was reserved is another thing on tmpfs than on the source's file system.
    let report = compare::trees(&rig.src(), &rig.replica()).unwrap();
    let exact = |d: &&compare::Difference| !matches!(d.class, compare::Class::Holes | compare::Class::Allocation);
    assert_eq!(report.differences.iter().filter(exact).count(), 0, "{}", report.text(20));
}
