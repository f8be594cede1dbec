//! Attributes, times, extended attributes, ACLs.

use crate::rig::{NOBODY, Rig, child, errno, permissions};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

fn set_times(path: &Path, atime: (i64, i64), mtime: (i64, i64)) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: atime.0, tv_nsec: atime.1 },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: mtime.1 },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn modes_and_owners_are_set_of_everything_that_has_them() {
    let rig = Rig::new();
    fs::write(rig.at("f"), "").unwrap();
    fs::create_dir(rig.at("d")).unwrap();
    symlink("f", rig.at("l")).unwrap();
    fs::set_permissions(rig.at("f"), permissions(0o1640)).unwrap();
    fs::set_permissions(rig.at("d"), permissions(0o2711)).unwrap();
    chown(rig.at("d"), Some(5), Some(6)).unwrap();
    lchown(rig.at("l"), Some(7), None).unwrap();
    for side in [&rig.mnt, &rig.src] {
        let meta = |name: &str| fs::symlink_metadata(side.join(name)).unwrap();
        assert_eq!(meta("f").mode() & 0o7777, 0o1640);
        assert_eq!((meta("d").mode() & 0o7777, meta("d").uid(), meta("d").gid()), (0o2711, 5, 6));
        assert_eq!((meta("l").uid(), meta("l").gid(), meta("f").uid()), (7, 0, 0));
    }
}

#[test]
fn times_are_exact_to_the_nanosecond_before_1970_too() {
    let rig = Rig::new();
    fs::write(rig.at("f"), "").unwrap();
    symlink("f", rig.at("l")).unwrap();
    for name in ["f", "l"] {
        for mtime in [(1_600_000_000, 123_456_789), (-1, 999_999_999), (-5, 300_000_000), (0, 0), (1 << 33, 1)] {
            set_times(&rig.at(name), (77, 5), mtime);
            for side in [&rig.mnt, &rig.src] {
                let meta = fs::symlink_metadata(side.join(name)).unwrap();
                assert_eq!((meta.mtime(), meta.mtime_nsec()), mtime);
                assert_eq!((meta.atime(), meta.atime_nsec()), (77, 5));
            }
        }
    }
    set_times(&rig.at("f"), (0, UTIME_OMIT), (0, UTIME_NOW));
    let meta = fs::metadata(rig.at("f")).unwrap();
    assert_eq!(meta.atime(), 77);
    assert!(meta.mtime() > 1_600_000_000);
}

#[test]
fn extended_attributes_are_set_listed_and_removed() {
    let rig = Rig::new();
    fs::write(rig.at("f"), "").unwrap();
    let path = rig.at("f");
    let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
    set("user.one", b"1", XattrFlags::CREATE).unwrap();
    set("user.big", &[b'x'; 3000], XattrFlags::empty()).unwrap();
    set("user.empty", b"", XattrFlags::empty()).unwrap();
    set("trusted.t", b"t", XattrFlags::empty()).unwrap();
    assert_eq!(errno(set("user.one", b"2", XattrFlags::CREATE)), libc::EEXIST);
    assert_eq!(errno(set("user.two", b"2", XattrFlags::REPLACE)), libc::ENODATA);
    let mut value = [0_u8; 4096];
    assert_eq!(rustix::fs::getxattr(&path, "user.big", &mut value[..]).unwrap(), 3000);
    assert_eq!(errno(rustix::fs::getxattr(&path, "user.big", &mut value[..10])), libc::ERANGE);
    assert_eq!(rustix::fs::getxattr_query(&path, "user.big").unwrap(), 3000);
    assert_eq!(rustix::fs::getxattr(&path, "user.empty", &mut value[..]).unwrap(), 0);
    let len = rustix::fs::listxattr(&path, &mut value[..]).unwrap();
    let mut names: Vec<_> = value[..len].split(|b| *b == 0).filter(|n| !n.is_empty()).collect();
    names.sort();
    assert_eq!(names, [&b"trusted.t"[..], b"user.big", b"user.empty", b"user.one"]);
    rustix::fs::removexattr(&path, "user.one").unwrap();
    assert_eq!(errno(rustix::fs::removexattr(&path, "user.one")), libc::ENODATA);
    assert_eq!(errno(rustix::fs::getxattr(rig.below("f"), "user.one", &mut value[..])), libc::ENODATA);
    let seen = child("names:", &path).uid(NOBODY).output().unwrap();
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(text.contains("user.big") && !text.contains("trusted."), "{seen:?}");
}

/// `system.posix_acl_*`: version 2, then tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const MASK: u16 = 16;
const OTHER: u16 = 32;
const NO_ID: u32 = u32::MAX;

#[test]
fn an_acl_is_enforced_and_shows_in_the_mode() {
    let rig = Rig::new();
    fs::write(rig.at("f"), "secret").unwrap();
    fs::set_permissions(rig.at("f"), permissions(0o600)).unwrap();
    assert!(!rig.as_nobody("cat f").status.success());
    let value =
        acl(&[(USER_OBJ, 6, NO_ID), (USER, 4, NOBODY), (GROUP_OBJ, 0, NO_ID), (MASK, 4, NO_ID), (OTHER, 0, NO_ID)]);
    rustix::fs::setxattr(rig.at("f"), "system.posix_acl_access", &value, XattrFlags::empty()).unwrap();
    assert_eq!(rig.as_nobody("cat f").stdout, b"secret");
    assert!(!rig.as_nobody("echo >> f").status.success());
    assert_eq!(fs::metadata(rig.at("f")).unwrap().mode() & 0o777, 0o640);
    rustix::fs::removexattr(rig.at("f"), "system.posix_acl_access").unwrap();
    assert!(!rig.as_nobody("cat f").status.success());
}

#[test]
fn a_default_acl_takes_the_place_of_the_umask() {
    let rig = Rig::new();
    for dir in ["with", "without"] {
        fs::create_dir(rig.at(dir)).unwrap();
        fs::set_permissions(rig.at(dir), permissions(0o777)).unwrap();
    }
    let value = acl(&[(USER_OBJ, 7, NO_ID), (USER, 7, 1), (GROUP_OBJ, 7, NO_ID), (MASK, 7, NO_ID), (OTHER, 5, NO_ID)]);
    rustix::fs::setxattr(rig.at("with"), "system.posix_acl_default", &value, XattrFlags::empty()).unwrap();
    let output = rig.as_nobody("umask 077; for d in with without; do : > $d/f; mkdir $d/d; mkfifo $d/p; done");
    assert!(output.status.success(), "{output:?}");
    let mode = |path: &str| fs::metadata(rig.below(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("with/f"), mode("with/d"), mode("with/p")), (0o664, 0o775, 0o664));
    assert_eq!((mode("without/f"), mode("without/d"), mode("without/p")), (0o600, 0o700, 0o600));
    let mut buffer = [0_u8; 256];
    assert!(rustix::fs::getxattr(rig.below("with/f"), "system.posix_acl_access", &mut buffer[..]).is_ok());
    assert!(rustix::fs::getxattr(rig.below("with/d"), "system.posix_acl_default", &mut buffer[..]).is_ok());
}
