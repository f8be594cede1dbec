//! What returned is on both sides, and they are exactly equal.

use super::{mode, rig};
use replfs_tests::extents;
use replfs_tests::load::Load;
use replfs_tests::model::bench::Bench;
use replfs_tests::model::{lanes, search, strategy};
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed;
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, RenameFlags, XattrFlags};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

// claim: A175
#[test]
fn every_kind_of_operation_is_on_both_sides_when_it_returns() {
    let rig = rig(Setup::default());
    let (mnt, exact) = (rig.mnt(), || rig.assert_replica_equals(&rig.src()));
    let done = |result: io::Result<()>| {
        result.unwrap();
        exact();
    };
    let at = |name: &str| mnt.join(name);
    done(fs::create_dir(at("dir")));
    done(fs::write(at("dir/file"), b"content"));
    done(rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).map_err(Into::into));
    done(symlink("somewhere", at("symlink")));
    done(fs::hard_link(at("dir/file"), at("link")));
    let file = File::options().read(true).write(true).open(at("dir/file")).unwrap();
    done(file.write_all_at(&vec![7; 3 << 20], 100));
    done(file.set_len(1 << 20));
    let allocate = |flags, offset, len| rustix::fs::fallocate(&file, flags, offset, len).map_err(io::Error::from);
    done(allocate(FallocateFlags::empty(), 1 << 20, 1 << 20));
    done(allocate(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 8192));
    done(allocate(FallocateFlags::ZERO_RANGE, 20_000, 30_000));
    let copy = File::options().read(true).write(true).create_new(true).open(at("copy")).unwrap();
    exact();
    let copied = rustix::fs::copy_file_range(&file, Some(&mut 0), &copy, Some(&mut 5000), 2 << 20);
    assert!(copied.unwrap() > 0);
    exact();
    done(fs::set_permissions(at("copy"), fs::Permissions::from_mode(0o4711)));
    done(std::os::unix::fs::chown(at("copy"), Some(1000), Some(100)));
    done(file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)));
    let attribute = |value: &[u8], flags| rustix::fs::setxattr(at("copy"), "user.x", value, flags);
    done(attribute(b"one", XattrFlags::CREATE).map_err(Into::into));
    done(attribute(b"two", XattrFlags::REPLACE).map_err(Into::into));
    done(rustix::fs::removexattr(at("copy"), "user.x").map_err(Into::into));
    done(fs::rename(at("copy"), at("dir/copy")));
    let rename = |from, to, flags| rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags).map_err(Into::into);
    done(rename("dir/copy", "copy", RenameFlags::NOREPLACE));
    done(rename("copy", "dir", RenameFlags::EXCHANGE));
    done(rename("copy", "dir", RenameFlags::EXCHANGE));
    done(rename("copy", "link", RenameFlags::empty()));
    done(fs::remove_file(at("dir/file")));
    done(file.write_all_at(b"nobody sees it", 0));
    done(file.sync_all());
    drop((file, copy));
    done(fs::write(at("link"), b"truncated when opened"));
    done(fs::remove_dir(at("dir")));
    done(File::open(&mnt).unwrap().sync_all());
    let status = rig.status();
    assert!(status.target().operations["propose"] > 30, "{status:?}");
    assert_eq!(status.target().passes, 1, "nothing was put back: {status:?}");
    rig.finish();
}

// claim: A175
#[test]
fn random_sequences_are_exact_at_each_return() {
    let mut bench = Bench::new(Commit::Remote);
    let show = |steps: &Vec<_>| steps.iter().map(|step| format!("{step:?}")).collect();
    search::assert_none(&strategy::sequence(60, true), 60, |steps| bench.one_after_the_other(steps), show);
    bench.finish();
}

// claim: A175
#[test]
fn random_sequences_that_meet_are_exact_too() {
    let mut bench = Bench::new(Commit::Remote);
    let show = |all: &Vec<_>| lanes::show(all);
    search::assert_none(&lanes::lanes(40), 25, |all| bench.at_the_same_time(all), show);
    bench.finish();
}

// claim: A175
#[test]
fn the_mode_changes_under_load() {
    let seed = seed::chosen();
    let rig = rig(Setup::default());
    let load = Load::start(&rig.mnt(), 4, seed);
    for (n, to) in ["real", "remote", "sync", "remote", "near", "remote", "local", "remote"].iter().enumerate() {
        load.wait_for((n as u64 + 1) * 150);
        mode(&rig, to);
    }
    load.wait_for(1500);
    // A change of the mode is no error to anybody.
    load.stop_clean();
    assert_eq!(rig.status().commit, "remote");
    rig.assert_replica_equals(&rig.src());
    rig.finish();
}

// claim: A175
#[test]
fn a_local_root_is_asked_too() {
    let rig = rig(Setup { local: true, ..Setup::default() });
    let load = Load::start(&rig.mnt(), 3, seed::chosen());
    load.wait_for(400);
    load.stop_clean();
    rig.assert_replica_equals(&rig.src());
    assert!(rig.status().target().operations["propose"] > 100);
    rig.finish();
}

// claim: A175
#[test]
fn what_the_set_leaves_out_is_not_asked_for_and_borders_are_crossed() {
    let mut rig = Rig::prepare(Commit::Remote, Setup::default());
    let rules = rig.home().join("set.toml");
    fs::write(&rules, "version = 1\n[[rule]]\nexclude = \"*.tmp\"\n").unwrap();
    rig.try_mount(&["--set", rules.to_str().unwrap()]).ok();
    rig.settle();
    let (mnt, replica) = (rig.mnt(), rig.replica());
    let content = |name: &str| fs::read(replica.join(name)).ok();
    fs::write(mnt.join("a.tmp"), b"scratch").unwrap();
    assert_eq!(content("a.tmp"), None);
    // It comes in, and what follows finds it there.
    fs::rename(mnt.join("a.tmp"), mnt.join("a")).unwrap();
    fs::write(mnt.join("a"), b"in the set").unwrap();
    assert_eq!(content("a").unwrap(), b"in the set");
    fs::hard_link(mnt.join("a"), mnt.join("b")).unwrap();
    fs::hard_link(mnt.join("a"), mnt.join("b.tmp")).unwrap();
    let from = File::open(mnt.join("a")).unwrap();
    let to = File::create(mnt.join("copy")).unwrap();
    assert_eq!(rustix::fs::copy_file_range(&from, Some(&mut 0), &to, Some(&mut 3), 100).unwrap(), 10);
    assert_eq!(content("copy").unwrap(), b"\0\0\0in the set");
    drop((from, to));
    fs::rename(mnt.join("a"), mnt.join("c.tmp")).unwrap();
    fs::write(mnt.join("b"), b"written by its other name").unwrap();
    assert_eq!((content("a"), content("b").unwrap()), (None, b"written by its other name".to_vec()));
    fs::remove_file(mnt.join("b")).unwrap();
    fs::remove_file(mnt.join("c.tmp")).unwrap();
    fs::remove_file(mnt.join("b.tmp")).unwrap();
    rig.settle();
    let names: Vec<_> = fs::read_dir(&replica).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["copy"]);
    rig.finish();
}

// claim: A175
#[test]
fn fsync_reaches_both_disks() {
    let rig = rig(Setup::default());
    let waits = |dir: &Path| extents::wait_for_disk(&dir.join("file")).unwrap();
    let file = File::create(rig.mnt().join("file")).unwrap();
    file.write_all_at(&vec![1; 300_000], 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!((waits(&rig.src()), waits(&rig.replica())), (false, false), "after fsync");
    drop(file);
    let file = File::options().write(true).custom_flags(libc::O_DSYNC).open(rig.mnt().join("file")).unwrap();
    file.write_all_at(&vec![2; 300_000], 300_000).unwrap();
    assert_eq!((waits(&rig.src()), waits(&rig.replica())), (false, false), "after a write with O_DSYNC");
    drop(file);
    rig.finish();
}
