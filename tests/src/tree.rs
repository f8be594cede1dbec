//! Generators of trees: what a source looks like when a test begins, and what programs put through a mount. The same call
//! makes the same tree, times aside.
#![allow(clippy::unwrap_used)] // a generator that fails is a failed test

use crate::seed::Random;
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, XattrFlags, makedev, mknodat};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;

/// Files that [`sources`] makes beside directories and links.
pub const SOURCES: usize = 15_000;

/// A tree like that of a large program: `files` small files in nested directories, some executable, some long, a symbolic
/// link and a hard link here and there.
pub fn sources(root: &Path, files: usize) {
    let mut random = Random::new(15);
    let text = random.bytes(256 << 10);
    fs::create_dir_all(root).unwrap();
    let mut made = 0;
    for package in 0.. {
        if made >= files {
            return;
        }
        let mut dir = root.join(format!("package{package:03}"));
        for level in 0..=random.below(5) {
            dir.push(format!("level{level}"));
        }
        fs::create_dir_all(&dir).unwrap();
        let here = usize::try_from(10 + random.below(60)).unwrap().min(files - made);
        for file in 0..here {
            let path = dir.join(format!("file{file}.rs"));
            let bound = if random.once_in(100) { 200 << 10 } else { 6 << 10 };
            let (start, len) = (random.below(50 << 10), random.below(bound));
            let (start, len) = (usize::try_from(start).unwrap(), usize::try_from(len).unwrap());
            fs::write(&path, &text[start..start + len]).unwrap();
            if random.once_in(20) {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            if random.once_in(100) {
                symlink(format!("file{file}.rs"), dir.join(format!("symlink{file}"))).unwrap();
            }
            if random.once_in(200) {
                fs::hard_link(&path, dir.join(format!("hardlink{file}"))).unwrap();
            }
        }
        made += here;
    }
}

/// One of everything that is rare: holes, reserved space, xattrs, ACLs, special files, odd owners, modes and names. Needs root.
pub fn oddities(root: &Path) {
    fs::create_dir_all(root).unwrap();
    holes(&root.join("holes"));
    names(&root.join("names"));

    let attributes = root.join("attributes");
    fs::create_dir(&attributes).unwrap();
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2755), ("none", 0), ("sticky", 0o1777)] {
        let path = attributes.join(name);
        fs::write(&path, name).unwrap();
        chown(&path, Some(1234), Some(4321)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("nowhere at all", attributes.join("dangling")).unwrap();
    rustix::fs::chownat(
        CWD,
        attributes.join("dangling"),
        Some(rustix::fs::Uid::from_raw(77)),
        Some(rustix::fs::Gid::from_raw(78)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    for (name, value) in [("user.empty", &b""[..]), ("user.binary", b"\0\xff\n"), ("user.long", &[b'x'; 2000])] {
        rustix::fs::lsetxattr(attributes.join("setgid"), name, value, XattrFlags::empty()).unwrap();
    }
    rustix::fs::lsetxattr(attributes.join("dangling"), "trusted.link", b"on a link", XattrFlags::empty()).unwrap();
    let shared = attributes.join("shared");
    fs::create_dir(&shared).unwrap();
    acl(&shared, "system.posix_acl_access", 65534, 7);
    acl(&shared, "system.posix_acl_default", 65534, 5);
    fs::write(shared.join("inherits"), "an ACL").unwrap();
    fs::create_dir(shared.join("inherits too")).unwrap();

    let special = root.join("special");
    fs::create_dir(&special).unwrap();
    fifo(&special.join("fifo"));
    device(&special.join("null"), 1, 3);
    device(&special.join("zero"), 1, 5);
    mknodat(CWD, special.join("socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    for name in ["one", "two", "three"] {
        fs::create_dir(special.join(name)).unwrap();
        if name == "one" {
            fs::write(special.join("one/file"), "three names").unwrap();
        } else {
            fs::hard_link(special.join("one/file"), special.join(name).join("link")).unwrap();
            fs::hard_link(special.join("fifo"), special.join(name).join("fifo")).unwrap();
        }
    }
}

/// Files with holes at the start, in the middle and at the end, nothing but a hole, and reserved space.
pub fn holes(root: &Path) {
    fs::create_dir_all(root).unwrap();
    for (name, data) in [("start", 3 << 20), ("middle", 1 << 20), ("end", 0)] {
        let file = File::create(root.join(name)).unwrap();
        file.write_all_at(&[7; 10_000], data).unwrap();
        if name != "start" {
            file.set_len(5 << 20).unwrap();
        }
        if name == "middle" {
            file.write_all_at(&[8; 5000], 4 << 20).unwrap();
        }
    }
    File::create(root.join("all")).unwrap().set_len((1 << 30) + 1).unwrap();
    let many = File::create(root.join("many")).unwrap();
    for block in 0..64 {
        many.write_all_at(&[9; 4096], block * 65536).unwrap();
    }
    let reserved = File::create(root.join("reserved")).unwrap();
    rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    reserved.write_all_at(b"written", 500_000).unwrap();
}

/// Names that break programs: not UTF-8, line feeds, quotes, 255 bytes, leading dashes, only blanks, deep paths.
pub fn names(root: &Path) {
    fs::create_dir_all(root).unwrap();
    let long = [b'n'; 255];
    let odd: [&[u8]; 10] = [
        b"\xff\xfe\x80",
        b"line\nfeed",
        b"quote'\"`$(x)",
        &long,
        b"-rf",
        b"  ",
        b"tab\there",
        b"...",
        b"\\back\\slash",
        b".replfs",
    ];
    for name in odd {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut deep = root.join("deep");
    for level in 0..12 {
        deep.push(format!("{level}-{}", "d".repeat(100)));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "reached").unwrap();
    symlink(OsStr::from_bytes(b"\xff/\n/.."), root.join("odd link")).unwrap();
}

/// A named pipe.
pub fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
}

/// A character device; needs root.
pub fn device(path: &Path, major: u32, minor: u32) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor)).unwrap();
}

/// Sets an ACL (`system.posix_acl_access` or `system.posix_acl_default`) of the value of [`acl_value`].
pub fn acl(path: &Path, name: &str, uid: u32, perm: u16) {
    rustix::fs::lsetxattr(path, name, &acl_value(uid, perm), XattrFlags::empty()).unwrap();
}

/// An ACL that gives one user the rights `perm` (0 to 7) beside owner rwx, group r-x, other none. Layout: acl(5) as
/// `linux/posix_acl_xattr.h` has it.
pub fn acl_value(uid: u32, perm: u16) -> Vec<u8> {
    const NOBODY_IN_PARTICULAR: u32 = u32::MAX;
    let entries = [
        (0x01, 7, NOBODY_IN_PARTICULAR),
        (0x02, perm, uid),
        (0x04, 5, NOBODY_IN_PARTICULAR),
        (0x10, 7, NOBODY_IN_PARTICULAR),
        (0x20, 0, NOBODY_IN_PARTICULAR),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        value.extend_from_slice(&u16::to_le_bytes(tag));
        value.extend_from_slice(&u16::to_le_bytes(perm));
        value.extend_from_slice(&u32::to_le_bytes(id));
    }
    value
}

/// One of six things that happen to the name of a file while it is copied: it is renamed, moved, deleted, replaced, linked, emptied. The files are named after
/// what becomes of them.
#[track_caller]
pub fn change_name(root: &Path, round: u64, random: &mut Random) {
    let at = |name: &str| root.join(name);
    match round {
        1 => fs::rename(at("renamed"), at("another name")).unwrap(),
        2 => {
            fs::create_dir(at("dir")).unwrap();
            fs::rename(at("another name"), at("dir/moved")).unwrap();
        }
        3 => fs::remove_file(at("deleted")).unwrap(),
        4 => {
            fs::write(at("new"), random.bytes(3 << 20)).unwrap();
            fs::rename(at("new"), at("replaced")).unwrap();
        }
        5 => fs::hard_link(at("linked"), at("dir/link")).unwrap(),
        _ => fs::write(at("emptied"), "").unwrap(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;

    fn differences(make: impl Fn(&Path)) -> Vec<compare::Difference> {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        make(&a);
        make(&b);
        let report = compare::trees(&a, &b).unwrap();
        report.differences.into_iter().filter(|d| d.class != compare::Class::Mtime).collect()
    }

    #[test]
    fn the_same_call_makes_the_same_tree() {
        assert_eq!(differences(|root| sources(root, 500)), []);
        assert_eq!(differences(oddities), []);
    }
}
