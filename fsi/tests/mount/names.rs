//! Names: make, find, link, rename, remove.

use crate::rig::{Rig, errno};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

#[test]
fn every_kind_of_node_is_made() {
    let rig = Rig::new();
    fs::create_dir(rig.at("d")).unwrap();
    symlink("/no/where", rig.at("d/l")).unwrap();
    let node = |name: &str, kind, dev| mknodat(CWD, rig.at(name), kind, Mode::from_raw_mode(0o640), dev).unwrap();
    node("d/p", FileType::Fifo, 0);
    node("d/s", FileType::Socket, 0);
    node("d/c", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    node("d/b", FileType::BlockDevice, rustix::fs::makedev(259, 70_000));
    node("d/f", FileType::RegularFile, 0);
    for side in [&rig.mnt, &rig.src] {
        let meta = |name: &str| fs::symlink_metadata(side.join(name)).unwrap();
        assert!(meta("d").is_dir() && meta("d/l").is_symlink() && meta("d/f").is_file());
        assert!(meta("d/p").file_type().is_fifo() && meta("d/s").file_type().is_socket());
        assert!(meta("d/c").file_type().is_char_device() && meta("d/b").file_type().is_block_device());
        assert_eq!(meta("d/c").rdev(), rustix::fs::makedev(1, 3));
        assert_eq!(meta("d/b").rdev(), rustix::fs::makedev(259, 70_000));
        assert_eq!(fs::read_link(side.join("d/l")).unwrap().to_str(), Some("/no/where"));
    }
    // A device in the mount works, because `dev` is on.
    assert_eq!(fs::read(rig.at("d/c")).unwrap(), b"");
}

#[test]
fn inode_numbers_are_the_backing_ones_and_hard_links_share_them() {
    let rig = Rig::with(|src| {
        fs::write(src.join("a"), "1").unwrap();
        fs::hard_link(src.join("a"), src.join("b")).unwrap();
    });
    fs::hard_link(rig.at("a"), rig.at("c")).unwrap();
    let ino = fs::metadata(rig.below("a")).unwrap().ino();
    for name in ["a", "b", "c"] {
        let meta = fs::metadata(rig.at(name)).unwrap();
        assert_eq!((meta.ino(), meta.nlink()), (ino, 3));
    }
    fs::remove_file(rig.at("a")).unwrap();
    assert_eq!(fs::metadata(rig.at("c")).unwrap().nlink(), 2);
    fs::write(rig.at("b"), "22").unwrap();
    assert_eq!(fs::read(rig.at("c")).unwrap(), b"22");
    assert_eq!(fs::metadata(&rig.mnt).unwrap().ino(), fs::metadata(&rig.src).unwrap().ino());
    symlink("x", rig.at("l")).unwrap();
    rustix::fs::link(rig.at("l"), rig.at("m")).unwrap();
    assert!(fs::symlink_metadata(rig.at("m")).unwrap().is_symlink());
}

#[test]
fn renames_replace_refuse_and_exchange() {
    let rig = Rig::new();
    let rename = |from: &str, to: &str, flags| renameat_with(CWD, rig.at(from), CWD, rig.at(to), flags);
    let content = |name: &str| fs::read_to_string(rig.at(name)).unwrap();
    fs::create_dir_all(rig.at("d/sub")).unwrap();
    for name in ["a", "b", "d/c", "d/sub/deep"] {
        fs::write(rig.at(name), name).unwrap();
    }
    assert_eq!(errno(rename("a", "b", RenameFlags::NOREPLACE)), libc::EEXIST);
    rename("a", "b", RenameFlags::empty()).unwrap();
    assert_eq!((content("b").as_str(), rig.at("a").exists()), ("a", false));
    rename("b", "d/c", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((content("b").as_str(), content("d/c").as_str()), ("d/c", "a"));
    // Of a file and a directory.
    rename("b", "d/sub", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((content("b/deep").as_str(), content("d/sub").as_str()), ("d/sub/deep", "d/c"));
    assert_eq!(errno(rename("missing", "b", RenameFlags::EXCHANGE)), libc::ENOENT);
    assert_eq!(errno(rename("b", "missing", RenameFlags::EXCHANGE)), libc::ENOENT);
    assert_eq!(errno(rename("b", "b/inside", RenameFlags::empty())), libc::EINVAL);
    assert_eq!(errno(rename("d/c", "b", RenameFlags::empty())), libc::EISDIR);
    assert_eq!(errno(rename("b", "d/c", RenameFlags::empty())), libc::ENOTDIR);
    assert_eq!(errno(rename("d", "b", RenameFlags::empty())), libc::ENOTEMPTY);
    let both = RenameFlags::WHITEOUT | RenameFlags::EXCHANGE;
    assert_eq!(errno(rename("d/c", "b", both)), libc::EINVAL);
    rename("d/c", "d/w", RenameFlags::WHITEOUT).unwrap();
    assert_eq!(fs::symlink_metadata(rig.at("d/c")).unwrap().rdev(), 0);
    rename("d/w", "d/c", RenameFlags::empty()).unwrap();
    rename("d/c", "e", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(content("e"), "a");
}

#[test]
fn two_names_of_one_file_both_stay_when_one_is_renamed_to_the_other() {
    let rig = Rig::new();
    fs::write(rig.at("a"), "x").unwrap();
    fs::hard_link(rig.at("a"), rig.at("b")).unwrap();
    fs::rename(rig.at("a"), rig.at("b")).unwrap();
    renameat_with(CWD, rig.at("a"), CWD, rig.at("b"), RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::metadata(rig.at("a")).unwrap().ino(), fs::metadata(rig.at("b")).unwrap().ino());
    fs::remove_file(rig.at("a")).unwrap();
    fs::write(rig.at("b"), "y").unwrap();
    assert_eq!(fs::read(rig.below("b")).unwrap(), b"y");
}

#[test]
fn a_file_below_a_renamed_directory_stays_open() {
    let rig = Rig::new();
    fs::create_dir_all(rig.at("a/b")).unwrap();
    let file = File::create(rig.at("a/b/f")).unwrap();
    fs::rename(rig.at("a"), rig.at("z")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"through", 0).unwrap();
    assert_eq!(fs::read(rig.at("z/b/f")).unwrap(), b"through");
    fs::remove_file(rig.at("z/b/f")).unwrap();
    fs::remove_dir(rig.at("z/b")).unwrap();
    assert_eq!(errno(fs::metadata(rig.at("z/b"))), libc::ENOENT);
}

#[test]
fn errors_are_those_of_the_backing_file_system() {
    let rig = Rig::new();
    fs::create_dir_all(rig.at("d/e")).unwrap();
    fs::write(rig.at("f"), "").unwrap();
    assert_eq!(errno(fs::remove_dir(rig.at("d"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_dir(rig.at("f"))), libc::ENOTDIR);
    assert_eq!(errno(fs::remove_file(rig.at("d"))), libc::EISDIR);
    assert_eq!(errno(fs::create_dir(rig.at("d"))), libc::EEXIST);
    assert_eq!(errno(File::create_new(rig.at("f"))), libc::EEXIST);
    assert_eq!(errno(File::open(rig.at("missing"))), libc::ENOENT);
    assert_eq!(errno(fs::metadata(rig.at(&"n".repeat(256)))), libc::ENAMETOOLONG);
    assert_eq!(errno(File::create(rig.at(&"n".repeat(256)))), libc::ENAMETOOLONG);
    fs::write(rig.at(&"n".repeat(255)), "").unwrap();
    assert_eq!(errno(fs::hard_link(rig.at("d"), rig.at("g"))), libc::EPERM);
    // What was not there when first asked for is there once it is made.
    fs::write(rig.at("missing"), "").unwrap();
    assert!(File::open(rig.at("missing")).is_ok());
}

#[test]
fn a_removed_directory_is_nowhere_but_still_usable_by_its_descriptor() {
    let rig = Rig::new();
    fs::create_dir(rig.at("d")).unwrap();
    let dir = File::open(rig.at("d")).unwrap();
    fs::remove_dir(rig.at("d")).unwrap();
    dir.set_permissions(crate::rig::permissions(0o700)).unwrap();
    dir.sync_all().unwrap();
    assert_eq!(dir.metadata().unwrap().nlink(), 0);
    let made = rustix::fs::mkdirat(&dir, "x", Mode::RWXU);
    assert_eq!(errno(made), libc::ENOENT);
}

#[test]
fn a_process_may_work_in_a_removed_directory() {
    let rig = Rig::new();
    fs::create_dir(rig.at("d")).unwrap();
    let output = rig.sh("cd d && rmdir ../d && sync -f .. && stat -c %h . && ! ls x").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{output:?}");
    fs::create_dir(rig.at("d")).unwrap();
    fs::write(rig.at("d/f"), "").unwrap();
    assert!(fs::remove_dir(rig.at("d")).is_err());
    assert!(rig.at("d/f").exists());
}
