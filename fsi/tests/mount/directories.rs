//! Listings.

use crate::rig::Rig;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

const ENTRIES: usize = 10_000;

#[test]
fn a_large_directory_is_listed_whole_and_once() {
    let rig = Rig::with(|src| {
        for n in 0..ENTRIES {
            fs::write(src.join(format!("file-with-a-name-of-some-length-{n}")), "").unwrap();
        }
    });
    for _ in 0..2 {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&rig.mnt).unwrap() {
            let entry = entry.unwrap();
            assert!(entry.file_type().unwrap().is_file());
            assert!(names.insert(entry.file_name()), "{:?} came twice", entry.file_name());
        }
        assert_eq!(names.len(), ENTRIES);
        // With attributes, as `ls -l` asks for them.
        for entry in fs::read_dir(&rig.mnt).unwrap().take(100) {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().ino(), entry.ino());
        }
    }
}

#[test]
fn a_tree_is_removed_while_it_is_listed() {
    let rig = Rig::new();
    for n in 0..3000 {
        fs::create_dir_all(rig.at(&format!("t/d{}", n % 7))).unwrap();
        fs::write(rig.at(&format!("t/d{}/{n}", n % 7)), "x").unwrap();
    }
    fs::remove_dir_all(rig.at("t")).unwrap();
    assert_eq!(fs::read_dir(&rig.src).unwrap().count(), 0);
}

#[test]
fn a_listing_begun_anew_shows_what_happened_since() {
    let rig = Rig::new();
    fs::write(rig.at("a"), "").unwrap();
    let dir = fs::File::open(&rig.mnt).unwrap();
    let list = || {
        let mut names = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(&dir).unwrap() {
            names.insert(entry.unwrap().file_name().to_str().unwrap().to_owned());
        }
        names
    };
    assert_eq!(list().len(), 3);
    fs::write(rig.at("b"), "").unwrap();
    fs::remove_file(rig.at("a")).unwrap();
    rustix::fs::seek(&dir, rustix::fs::SeekFrom::Start(0)).unwrap();
    let names: Vec<_> = list().into_iter().collect();
    assert_eq!(names, [".", "..", "b"]);
}

#[test]
fn what_lies_on_another_file_system_is_not_crossed() {
    let temp = tempfile::tempdir().unwrap();
    let inner = temp.path().join("inner");
    let rig = Rig::with(|src| {
        fs::create_dir(src.join("below")).unwrap();
        fs::write(src.join("beside"), "").unwrap();
        rustix::mount::mount("tmpfs", src.join("below"), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    });
    let result = fs::metadata(rig.at("below"));
    let listed: Vec<_> = fs::read_dir(&rig.mnt).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    rustix::mount::unmount(rig.below("below"), rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(crate::rig::errno(result), libc::EXDEV);
    assert!(listed.contains(&"beside".into()));
    assert!(!inner.exists());
}
