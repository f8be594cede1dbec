//! The last coherent state of a replica is kept on the target while a catch-up makes it another, where its file system can share data (S3, T7, I2).
#![allow(clippy::unwrap_used)]

use replfs_tests::command::tool;
use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup, binary};
use replfs_tests::seed::Random;
use replfs_tests::{compare, tree, wait};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A rig whose target's ROOT is on a disk of this kind, with something in it.
fn rig(kind: &str, format: &[&str]) -> Rig {
    let target = vec!["--keep-image".to_owned(), "auto".to_owned()];
    let mut rig = Rig::bare(Commit::Real, Setup { target, ..Setup::default().linked() });
    let disk = Disk::of_kind(kind, &rig, "root", 512, format);
    let root = rig.root();
    disk.mount(&mut rig, &root);
    rig.start_target();
    tree::sources(&rig.src(), 300);
    let src = rig.src();
    fs::write(src.join("big"), Random::new(1).bytes(24 << 20)).unwrap();
    fs::hard_link(src.join("big"), src.join("package000/also big")).unwrap();
    std::os::unix::fs::symlink("nowhere", src.join("link")).unwrap();
    tool(rig.home(), "mkfifo", [src.join("pipe").as_os_str()]);
    tool(
        rig.home(),
        "setfattr",
        ["-n".as_ref(), "user.a".as_ref(), "-v".as_ref(), "b".as_ref(), src.join("big").as_os_str()],
    );
    let acl = ["-m", "d:u:1:rx,u:2:rwx"].map(AsRef::as_ref);
    tool(rig.home(), "setfacl", [acl[0], acl[1], src.join("package001").as_os_str()]);
    rig.mount();
    rig.assert_equal();
    rig
}

/// Much is changed while replication is off.
fn change(rig: &Rig) {
    rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), "on"]).ok();
    let mnt = rig.mnt();
    fs::rename(mnt.join("package001"), mnt.join("renamed")).unwrap();
    fs::remove_dir_all(mnt.join("package002")).unwrap();
    fs::write(mnt.join("big"), Random::new(2).bytes(24 << 20)).unwrap();
    for n in 0..200 {
        fs::write(mnt.join(format!("new{n}")), vec![7; 100_000]).unwrap();
    }
}

fn replica(rig: &Rig) -> Value {
    let state = rig.target_state();
    let words = ["status".as_ref(), "--json".as_ref(), "--state".as_ref(), state.as_os_str()];
    let document: Value = serde_json::from_str(binary::replfs(words).ok()).unwrap();
    document.pointer("/targets/0/sources/0").unwrap_or_else(|| panic!("no replica in {document}")).clone()
}

fn images(rig: &Rig) -> PathBuf {
    rig.root().join(".replfs/tree/image")
}

/// The image that is there under its name.
fn image(rig: &Rig) -> Option<PathBuf> {
    let entries = fs::read_dir(images(rig)).ok()?;
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
}

fn assert_same(before: &Path, image: &Path) {
    let report = compare::trees(before, image).unwrap();
    assert!(report.differences.is_empty(), "the image is not what was there before:\n{}", report.text(20));
}

fn keeps(kind: &str, format: &[&str]) {
    let mut rig = rig(kind, format);
    let before = rig.home().join("before");
    tool(rig.home(), "cp", ["-a".as_ref(), rig.src().as_os_str(), before.as_os_str()]);
    change(&rig);
    assert_eq!(image(&rig), None, "the replica still is what it was");
    rig.link().delay(Duration::from_millis(15));
    rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), "off"]).ok();
    let kept = wait::until("an image of the replica", wait::PATIENCE, || image(&rig));
    rig.link().cut();
    let status = wait::until("what the target says of it", wait::PATIENCE, || {
        let status = replica(&rig);
        status["image"].is_object().then_some(status)
    });
    assert_eq!(status["coherent"], false, "{status}");
    let shown = rig.status();
    let from = shown.target().incoherent_from.unwrap_or_else(|| panic!("no prefix from where on? {shown:?}"));
    assert_eq!(Some(from - 1), status["image"]["number"].as_u64(), "the image is what is before: {status} {shown:?}");
    let number = status["image"]["number"].as_u64().unwrap();
    assert!(number > 0 && number <= status["applied"].as_u64().unwrap(), "{status}");
    assert!(
        kept.ends_with(format!("{number}-{}", status["image"]["taken"].as_str().unwrap())),
        "{} {status}",
        kept.display()
    );
    assert_same(&before, &kept);
    // It is there also for the next daemon, which goes on with the catch-up.
    rig.kill_target();
    rig.start_target();
    assert_eq!(replica(&rig)["image"], status["image"]);
    assert_same(&before, &kept);
    let human = binary::replfs(["status".as_ref(), "--state".as_ref(), rig.target_state().as_os_str()]);
    assert!(human.ok().contains(&format!("image: all up to {number}, taken ")), "{human:?}");
    rig.link().delay(Duration::ZERO);
    rig.link().mend();
    rig.settle();
    rig.assert_equal();
    wait::until("the image's end", wait::PATIENCE, || (!images(&rig).exists()).then_some(()));
    assert_eq!(replica(&rig)["image"], Value::Null);
    rig.finish();
}

// claim: A184, A186
#[test]
fn on_xfs_the_replica_is_kept_as_it_was_until_it_is_coherent_again() {
    keeps("xfs", &["-m", "reflink=1"]);
}

// claim: A184
#[test]
fn on_btrfs_the_replica_is_kept_as_it_was_until_it_is_coherent_again() {
    keeps("btrfs", &[]);
}

// claim: A185
#[test]
fn where_data_cannot_be_shared_the_catch_up_goes_on_without_an_image() {
    let rig = rig("ext4", &["-F"]);
    change(&rig);
    rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), "off"]).ok();
    rig.settle();
    rig.assert_equal();
    assert_eq!((image(&rig), replica(&rig)["image"].clone()), (None, Value::Null));
    rig.finish();
}
