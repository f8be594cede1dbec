//! What one side cannot do neither does.

use super::{refused, rig, target_back};
use replfs_tests::command::tool;
use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use rustix::fs::{CWD, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

pub(super) fn attribute(flag: &str, path: &Path) {
    tool(path.parent().unwrap(), "chattr", [OsStr::new(flag), path.as_os_str()]);
}

/// A rig of which one side is on a small disk.
pub(super) fn on_disk(side: impl Fn(&Rig) -> PathBuf, format: &[&str]) -> (Rig, Disk) {
    on_disk_with(Setup::default(), side, format)
}

/// The same with something else that is special.
pub(super) fn on_disk_with(setup: Setup, side: impl Fn(&Rig) -> PathBuf, format: &[&str]) -> (Rig, Disk) {
    let mut rig = Rig::bare(Commit::Remote, setup);
    let disk = Disk::new(&rig, "disk", 24, format);
    let at = side(&rig);
    disk.mount(&mut rig, &at);
    // It cannot be compared.
    let _none = fs::remove_dir(at.join("lost+found"));
    rig.start_target();
    rig.mount();
    rig.settle();
    (rig, disk)
}

// claim: A176
#[test]
fn what_cannot_be_done_is_refused_as_below_and_nothing_is_put_back() {
    let rig = rig(Setup::default());
    let at = |name: &str| rig.mnt().join(name);
    fs::create_dir_all(at("full/inside")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("file"), b"content").unwrap();
    refused(fs::remove_dir(at("full")), Errno::NOTEMPTY);
    refused(fs::rename(at("empty"), at("full")), Errno::NOTEMPTY);
    refused(fs::create_dir(at("file")), Errno::EXIST);
    refused(fs::hard_link(at("file"), at("empty")), Errno::EXIST);
    refused(fs::remove_file(at("nothing")), Errno::NOENT);
    refused(fs::rename(at("file"), at("empty")), Errno::ISDIR);
    let missing = rustix::fs::removexattr(at("file"), "user.none");
    refused(missing.map_err(Into::into), Errno::NODATA);
    let replace = rustix::fs::setxattr(at("file"), "user.none", b"x", XattrFlags::REPLACE);
    refused(replace.map_err(Into::into), Errno::NODATA);
    let moved = rustix::fs::renameat_with(CWD, at("file"), CWD, at("empty"), RenameFlags::NOREPLACE);
    refused(moved.map_err(Into::into), Errno::EXIST);
    rig.assert_replica_equals(&rig.src());
    assert_eq!(rig.status().target().passes, 1);
    rig.finish();
}

// claim: A176
#[test]
fn a_full_target_refuses_and_the_source_keeps_what_it_had() {
    let (rig, _disk) = on_disk(Rig::root, &["-m", "0"]);
    let path = rig.mnt().join("file");
    fs::write(&path, vec![1; 100_000]).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let piece = vec![2; 1 << 20];
    let mut at = 0;
    let error = loop {
        match file.write_all_at(&piece, at) {
            Ok(()) => at += 1 << 20,
            Err(error) => break error,
        }
        assert!(at < 30 << 20, "a disk of 24 MiB is full at some time");
    };
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC), "{error}");
    assert_eq!(fs::metadata(rig.src().join("file")).unwrap().len(), at.max(100_000), "what was refused is not there");
    rig.assert_equal();
    // There is room for less.
    file.set_len(1 << 20).unwrap();
    fs::write(rig.mnt().join("other"), b"room again").unwrap();
    rig.assert_replica_equals(&rig.src());
    drop(file);
    rig.finish();
}

// claim: A176
#[test]
fn a_target_that_may_not_be_changed_refuses() {
    let (mut rig, _disk) = on_disk(Rig::root, &[]);
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    fs::write(rig.mnt().join("dir/file"), b"content").unwrap();
    attribute("+i", &rig.replica().join("dir"));
    attribute("+i", &rig.replica().join("dir/file"));
    let passes = rig.status().target().passes;
    refused(fs::write(rig.mnt().join("dir/new"), b"x"), Errno::PERM);
    refused(fs::remove_file(rig.mnt().join("dir/file")), Errno::PERM);
    refused(fs::rename(rig.mnt().join("dir/file"), rig.mnt().join("file")), Errno::PERM);
    assert_eq!(rig.status().target().passes, passes, "nothing had changed, and the target knew");
    rig.assert_replica_equals(&rig.src());
    attribute("-i", &rig.replica().join("dir"));
    attribute("-i", &rig.replica().join("dir/file"));
    // One that knows the directory by another mount.
    let before = rig.status().target().reconnects;
    rig.kill_target();
    let dir = rig.replica().join("dir");
    tool(rig.home(), "mount", ["--bind".as_ref(), dir.as_os_str(), dir.as_os_str()]);
    tool(rig.home(), "mount", ["-o".as_ref(), "remount,bind,ro".as_ref(), dir.as_os_str()]);
    target_back(&mut rig, before);
    refused(fs::write(rig.mnt().join("dir/new"), b"x"), Errno::ROFS);
    refused(fs::write(rig.mnt().join("dir/file"), b"x"), Errno::ROFS);
    assert_eq!(fs::read(rig.src().join("dir/file")).unwrap(), b"content");
    assert_eq!(rig.status().target().passes, passes);
    tool(rig.home(), "umount", ["--lazy".as_ref(), dir.as_os_str()]);
    let before = rig.status().target().reconnects;
    rig.kill_target();
    target_back(&mut rig, before);
    fs::write(rig.mnt().join("dir/new"), b"x").unwrap();
    rig.assert_replica_equals(&rig.src());
    rig.finish();
}

// claim: A177
#[test]
fn what_the_source_cannot_do_is_put_back_on_the_target() {
    let (rig, _disk) = on_disk(Rig::src, &[]);
    let at = |name: &str| rig.mnt().join(name);
    fs::create_dir(at("dir")).unwrap();
    let content = Random::new(1).bytes(3 << 20);
    for name in ["file", "other", "dir/held"] {
        fs::write(at(name), &content).unwrap();
    }
    let file = File::options().write(true).open(at("file")).unwrap();
    let inside = |name: &str| rig.src().join(name);
    for name in ["file", "dir"] {
        attribute("+i", &inside(name));
    }
    let exact = || rig.assert_equal();
    refused(fs::remove_file(at("file")), Errno::PERM);
    exact();
    refused(fs::rename(at("other"), at("file")), Errno::PERM);
    exact();
    refused(fs::rename(at("file"), at("dir/file")), Errno::PERM);
    exact();
    refused(fs::rename(at("dir"), at("elsewhere")), Errno::PERM);
    exact();
    let exchange = rustix::fs::renameat_with(CWD, at("other"), CWD, at("dir"), RenameFlags::EXCHANGE);
    refused(exchange.map_err(Into::into), Errno::PERM);
    exact();
    refused(fs::hard_link(at("file"), at("link")), Errno::PERM);
    refused(fs::create_dir(at("dir/new")), Errno::PERM);
    refused(fs::write(at("dir/new"), b"x"), Errno::PERM);
    refused(symlink("x", at("dir/new")), Errno::PERM);
    refused(fs::remove_file(at("dir/held")), Errno::PERM);
    exact();
    refused(file.set_len(5), Errno::PERM);
    refused(file.write_all_at(b"x", 5), Errno::PERM);
    refused(fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600)), Errno::PERM);
    let set = rustix::fs::setxattr(at("file"), "user.x", b"x", XattrFlags::empty());
    refused(set.map_err(Into::into), Errno::PERM);
    exact();
    for name in ["file", "dir"] {
        attribute("-i", &inside(name));
    }
    drop(file);
    fs::rename(at("file"), at("dir/file")).unwrap();
    rig.assert_replica_equals(&rig.src());
    assert!(rig.status().target().undecided.is_empty());
    let aside = rig.root().join(".replfs/tree/aside");
    assert_eq!(fs::read_dir(aside).unwrap().count(), 0, "what was put back is not set aside");
    rig.finish();
}

// claim: A177
#[test]
fn a_full_source_leaves_nothing_on_the_target() {
    let (rig, _disk) = on_disk(Rig::src, &["-m", "0"]);
    let path = rig.mnt().join("file");
    let file = File::create(&path).unwrap();
    let piece = Random::new(2).bytes(300_000);
    let mut at = 0;
    let error = loop {
        match file.write_all_at(&piece, at) {
            Ok(()) => at += 300_000,
            Err(error) => break error,
        }
        assert!(at < 30 << 20, "a disk of 24 MiB is full at some time");
    };
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOSPC), "{error}");
    rig.assert_equal();
    // What can still be done is.
    file.set_len(10_000).unwrap();
    file.write_all_at(b"over it", 5).unwrap();
    rig.assert_replica_equals(&rig.src());
    drop(file);
    rig.finish();
}
