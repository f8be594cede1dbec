//! What is recorded of each operation: itself, with its results, and nothing of what failed.

use crate::recorder::Recorder;
use crate::rig::{Rig, permissions};
use protocol::{AllocateMode, At, Op, Owner, Place, RenameKind, Time};
use rustix::fs::{CWD, FallocateFlags, RenameFlags, XattrFlags, fallocate, renameat_with};
use srm::status::CommitMode;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, chown, symlink};
use std::path::Path;

fn rig() -> (Rig, Recorder) {
    Rig::recorded(CommitMode::Sync, |_| {})
}

fn words(ops: &[Op]) -> Vec<&'static str> {
    ops.iter().map(Op::word).collect()
}

fn mtime(path: &Path) -> Time {
    let meta = fs::symlink_metadata(path).unwrap();
    Time { secs: meta.mtime(), nanos: u32::try_from(meta.mtime_nsec()).unwrap() }
}

fn at(place: &Place) -> String {
    match &place.at {
        At::Path(path) => path.to_string(),
        At::Orphan => "(orphan)".to_owned(),
    }
}

#[test]
fn every_operation_is_recorded_as_itself() {
    let (rig, recorder) = rig();
    fs::create_dir(rig.at("d")).unwrap();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(rig.at("d/f")).unwrap();
    file.write_all_at(b"hello", 0).unwrap();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 1, 2).unwrap();
    file.set_len(3).unwrap();
    file.sync_data().unwrap();
    fs::hard_link(rig.at("d/f"), rig.at("g")).unwrap();
    symlink("g", rig.at("l")).unwrap();
    rustix::fs::setxattr(rig.at("g"), "user.x", b"v", XattrFlags::empty()).unwrap();
    rustix::fs::removexattr(rig.at("g"), "user.x").unwrap();
    renameat_with(CWD, rig.at("g"), CWD, rig.at("l"), RenameFlags::EXCHANGE).unwrap();
    fs::rename(rig.at("d"), rig.at("e")).unwrap();
    fs::remove_file(rig.at("e/f")).unwrap();
    File::open(&rig.mnt).unwrap().sync_all().unwrap();
    fs::remove_dir(rig.at("e")).unwrap();
    let ops = recorder.ops();
    let expected = [
        "mkdir",
        "create",
        "write",
        "fallocate",
        "truncate",
        "fsync",
        "link",
        "symlink",
        "setxattr",
        "removexattr",
        "rename",
        "rename",
        "unlink",
        "fsync",
        "rmdir",
    ];
    assert_eq!(words(&ops), expected);
    let Op::Allocate { mode, offset: 1, len: 2, .. } = &ops[3] else { panic!("{:?}", ops[3]) };
    assert_eq!(*mode, AllocateMode::Punch);
    let Op::Fsync { data_only: true, .. } = &ops[5] else { panic!("{:?}", ops[5]) };
    let Op::Rename { kind: RenameKind::Exchange, replaced: None, .. } = &ops[10] else { panic!("{:?}", ops[10]) };
    let Op::Unlink { parent_mtime, .. } = &ops[14] else { panic!("{:?}", ops[14]) };
    assert_eq!(*parent_mtime, mtime(&rig.src));
}

#[test]
fn what_fails_is_not_recorded() {
    let (rig, recorder) = rig();
    fs::create_dir(rig.at("d")).unwrap();
    fs::write(rig.at("d/f"), "x").unwrap();
    recorder.ops();
    assert!(fs::create_dir(rig.at("d")).is_err());
    assert!(fs::remove_dir(rig.at("d")).is_err());
    assert!(fs::remove_file(rig.at("missing")).is_err());
    assert!(renameat_with(CWD, rig.at("d"), CWD, rig.at("d/f"), RenameFlags::NOREPLACE).is_err());
    assert!(fs::hard_link(rig.at("d"), rig.at("e")).is_err());
    assert!(rustix::fs::removexattr(rig.at("d/f"), "user.none").is_err());
    assert!(File::open(rig.at("d/f")).unwrap().set_len(0).is_err());
    assert!(!rig.as_nobody("echo >> d/f; mkdir d/g; chmod 777 d").status.success());
    let file = OpenOptions::new().write(true).open(rig.at("d/f")).unwrap();
    assert!(fallocate(&file, FallocateFlags::empty(), 0, 1 << 62).is_err());
    // Nothing happens here either.
    fs::hard_link(rig.at("d/f"), rig.at("same")).unwrap();
    recorder.ops();
    fs::rename(rig.at("d/f"), rig.at("same")).unwrap();
    assert_eq!(file.write_at(b"", 0).unwrap(), 0);
    assert_eq!(words(&recorder.ops()), Vec::<&str>::new());
}

#[test]
fn an_open_file_that_loses_its_name_is_an_orphan_until_it_is_closed() {
    let (rig, recorder) = rig();
    let file = File::create(rig.at("f")).unwrap();
    fs::write(rig.at("new"), "1").unwrap();
    fs::rename(rig.at("new"), rig.at("f")).unwrap();
    file.write_all_at(b"still here", 0).unwrap();
    let ops = recorder.ops();
    let Some(Op::Rename { replaced: Some(replaced), .. }) = ops.iter().find(|op| op.word() == "rename") else {
        panic!("{ops:?}")
    };
    assert!(replaced.orphan);
    let Some(Op::Write { place, .. }) = ops.last() else { panic!("{ops:?}") };
    assert_eq!((at(place), place.node), ("(orphan)".to_owned(), replaced.node));
    drop(file);
    recorder.wait_for(|op| *op == Op::Reap { node: replaced.node });
    recorder.ops();
    fs::remove_file(rig.at("f")).unwrap();
    let ops = recorder.ops();
    let [Op::Unlink { gone, .. }] = &ops[..] else { panic!("{ops:?}") };
    assert!(!gone.orphan, "nobody has it open");
}

#[test]
fn an_orphan_with_an_unknown_name_ends_when_that_name_is_found() {
    let (rig, recorder) = Rig::recorded(CommitMode::Real, |src| {
        fs::write(src.join("a"), "x").unwrap();
        fs::hard_link(src.join("a"), src.join("b")).unwrap();
    });
    let file = OpenOptions::new().write(true).open(rig.at("a")).unwrap();
    fs::remove_file(rig.at("a")).unwrap();
    file.write_all_at(b"1", 0).unwrap();
    let ops = recorder.ops();
    let Op::Unlink { gone, .. } = &ops[0] else { panic!("{ops:?}") };
    let Some(Op::Write { place, .. }) = ops.last() else { panic!("{ops:?}") };
    if gone.orphan {
        assert_eq!(at(place), "(orphan)");
        assert!(rig.at("b").exists());
        recorder.wait_for(|op| matches!(op, Op::Reap { .. }));
    }
    assert!(rig.at("b").exists());
    recorder.ops();
    file.write_all_at(b"2", 0).unwrap();
    let ops = recorder.ops();
    let [Op::Write { place, .. }] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!(at(place), "b");
    drop(file);
    assert_eq!(words(&recorder.ops()), Vec::<&str>::new());
}

#[test]
fn attributes_are_recorded_as_they_resulted() {
    let (rig, recorder) = rig();
    fs::write(rig.at("f"), "0123456789").unwrap();
    fs::set_permissions(rig.at("f"), permissions(0o4755)).unwrap();
    recorder.ops();
    let one = |recorder: &Recorder| {
        let mut ops = recorder.ops();
        assert_eq!(ops.len(), 1, "{ops:?}");
        match ops.remove(0) {
            Op::SetAttr { size, owner, mode, atime, mtime, .. } => (size, owner, mode, atime, mtime),
            op => panic!("{op:?}"),
        }
    };
    chown(rig.at("f"), None, Some(9)).unwrap();
    // A change of owner clears setuid.
    assert_eq!(one(&recorder), (None, Some(Owner { uid: 0, gid: 9 }), Some(0o755), None, None));
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = rustix::fs::Timestamps { last_access: omit, last_modification: now };
    rustix::fs::utimensat(CWD, rig.at("f"), &times, rustix::fs::AtFlags::empty()).unwrap();
    assert_eq!(one(&recorder), (None, None, None, None, Some(mtime(&rig.below("f")))));
    OpenOptions::new().write(true).open(rig.at("f")).unwrap().set_len(4).unwrap();
    assert_eq!(one(&recorder), (Some(4), None, None, None, Some(mtime(&rig.below("f")))));
    fs::set_permissions(rig.at("f"), permissions(0o600)).unwrap();
    assert_eq!(one(&recorder), (None, None, Some(0o600), None, None));
}

#[test]
fn writes_carry_what_they_did_to_times_and_modes() {
    let (rig, recorder) = rig();
    fs::write(rig.at("f"), "x").unwrap();
    fs::set_permissions(rig.at("f"), permissions(0o6777)).unwrap();
    recorder.ops();
    assert!(rig.as_nobody("echo y >> f").status.success());
    let ops = recorder.ops();
    let [Op::Write { offset: 1, mode: Some(0o777), mtime: time, durable: false, .. }] = &ops[..] else {
        panic!("{ops:?}")
    };
    assert_eq!(*time, mtime(&rig.below("f")));
    for flag in [libc::O_SYNC, libc::O_DSYNC] {
        let file = OpenOptions::new().write(true).custom_flags(flag).open(rig.at("f")).unwrap();
        file.write_all_at(b"z", 0).unwrap();
        let ops = recorder.ops();
        assert!(matches!(&ops[..], [Op::Write { durable: true, mode: None, .. }]), "{ops:?}");
    }
}

#[test]
fn a_copy_is_recorded_as_a_copy_of_what_was_copied() {
    let (rig, recorder) = rig();
    fs::write(rig.at("a"), vec![b'a'; 10_000]).unwrap();
    let to = File::create(rig.at("b")).unwrap();
    recorder.ops();
    let from = File::open(rig.at("a")).unwrap();
    let (mut read_at, mut write_at) = (9_000, 5);
    let n = rustix::fs::copy_file_range(&from, Some(&mut read_at), &to, Some(&mut write_at), 50_000).unwrap();
    assert_eq!(n, 1000);
    let ops = recorder.ops();
    let [Op::CopyRange { from, from_offset: 9000, to, to_offset: 5, len: 1000, .. }] = &ops[..] else {
        panic!("{ops:?}")
    };
    assert_eq!((at(from), at(to)), ("a".to_owned(), "b".to_owned()));
}
