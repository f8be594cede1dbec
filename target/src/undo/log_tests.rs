//! The format of the undo log: the frozen sample, a torn end, damage at every byte. What is saved and taken back is tested in `tests/undo.rs`.
#![allow(clippy::unwrap_used)] // a test that fails says where

use super::*;
use std::os::fd::AsFd;
use std::path::Path;

fn entries() -> Vec<Entry> {
    let time = Time { secs: -5, nanos: 7 };
    vec![
        Entry::Begin { number: 9, incarnation: Incarnation::from_bytes([3; 16]), taken: "20261126T060000Z".to_owned() },
        Entry::Node(Node {
            inode: 11,
            mode: 0o100_644,
            uid: 1,
            gid: 2,
            size: 3,
            atime: time,
            mtime: time,
            xattrs: vec![(b"user.a".to_vec(), b"b".to_vec())],
        }),
        Entry::Name { dir: 10, name: b"n\xff".to_vec(), inode: 11 },
        Entry::Room { inode: 11, ranges: vec![(4096, 8192)] },
        Entry::Data { inode: 11, offset: 1, bytes: b"xy".to_vec() },
        Entry::Hole { inode: 11, offset: 4, len: 5 },
        Entry::New { inode: 12 },
    ]
}

fn dir_of(path: &Path) -> File {
    File::open(path).unwrap()
}

/// All of them in one segment, on the disk after each of these numbers.
fn written(at: &Path, synced: &[usize]) -> Vec<u8> {
    let mut writer = Writer::begin(dir_of(at).as_fd(), 1, 1).unwrap();
    for (n, entry) in entries().iter().enumerate() {
        writer.append(entry).unwrap();
        if synced.contains(&(n + 1)) {
            writer.sync().unwrap();
        }
    }
    std::fs::read(at.join("log-00000001")).unwrap()
}

fn all(at: &Path) -> Result<(Vec<Entry>, u64), Unread> {
    let mut out = Vec::new();
    let next = read(dir_of(at).as_fd(), &mut |_, _, entry| out.push(entry))?;
    Ok((out, next))
}

#[test]
fn what_is_written_is_read_in_this_build_and_the_next_ones() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = written(dir.path(), &[1, 4]);
    assert_eq!(all(dir.path()).unwrap(), (entries(), 8));
    let frozen = include_bytes!("sample/log-00000001");
    assert_eq!(bytes, frozen, "the format has changed: a new version, and this one is still read");
}

#[test]
fn a_tail_that_was_torn_is_left_out_wherever_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = written(dir.path(), &[1]);
    for torn in 1..bytes.len() {
        std::fs::write(dir.path().join("log-00000001"), &bytes[..torn]).unwrap();
        match all(dir.path()) {
            Ok((read, next)) => {
                assert_eq!(read, entries()[..read.len()], "cut at {torn}");
                assert_eq!(next, read.len() as u64 + 1);
            }
            // Without its first record it is none.
            Err(Unread::Damaged(why)) => assert_eq!(why, "it does not begin", "cut at {torn}"),
            Err(Unread::Io(e)) => panic!("cut at {torn}: {e}"),
        }
    }
}

#[test]
fn a_segment_goes_on_behind_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = written(dir.path(), &[]);
    std::fs::write(dir.path().join("log-00000001"), &bytes[..bytes.len() - 1]).unwrap();
    let mut writer = Writer::begin(dir_of(dir.path()).as_fd(), 2, 7).unwrap();
    writer.append(&Entry::New { inode: 99 }).unwrap();
    let (read, next) = all(dir.path()).unwrap();
    assert_eq!((read.last(), next), (Some(&Entry::New { inode: 99 }), 8));
}

#[test]
fn any_damage_in_front_of_what_was_on_the_disk_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = written(dir.path(), &[6]);
    // The seventh record says that six were on the disk.
    let seventh = bytes.len() - (HEAD_BYTES + 12);
    for at in 0..seventh {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(dir.path().join("log-00000001"), &damaged).unwrap();
        assert!(matches!(all(dir.path()), Err(Unread::Damaged(_))), "byte {at}");
    }
    std::fs::write(dir.path().join("log-00000001"), &bytes).unwrap();
    std::fs::write(dir.path().join("log-00000003"), &bytes).unwrap();
    assert!(matches!(all(dir.path()), Err(Unread::Damaged(_))), "a segment that does not follow");
}

#[test]
fn no_bytes_at_all_make_it_fail_in_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut state: u64 = 5;
    for round in 0..300_usize {
        let mut bytes = written(dir.path(), &[3]);
        for _ in 0..=round % 7 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).unwrap() % bytes.len();
            bytes[at] = state.to_le_bytes()[3];
        }
        std::fs::write(dir.path().join("log-00000001"), &bytes).unwrap();
        // Either is right; what is read is what was written.
        if let Ok((read, _)) = all(dir.path()) {
            assert_eq!(read, entries()[..read.len()]);
        }
        std::fs::remove_file(dir.path().join("log-00000001")).unwrap();
    }
}
