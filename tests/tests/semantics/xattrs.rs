//! Extended attributes: namespaces, sizes, who sees and sets which.

use replfs_tests::below::{Answer, as_below};
use replfs_tests::caller::{NOBODY, ROOT, User};
use replfs_tests::rig::Commit;
use replfs_tests::{in_both_modes, tree};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

in_both_modes!(xattrs_are_set_replaced_and_removed);

// claim: A9, A76
fn xattrs_are_set_replaced_and_removed(commit: Commit) {
    as_below(commit, |dir| {
        fs::write(dir.join("file"), "x").unwrap();
        let set = |name: &str, value: &[u8], flags| rustix::fs::lsetxattr(dir.join("file"), name, value, flags);
        let answers = [
            set("user.one", b"1", XattrFlags::CREATE),
            set("user.one", b"2", XattrFlags::CREATE),
            set("user.two", b"2", XattrFlags::REPLACE),
            set("user.one", b"\0\xff", XattrFlags::REPLACE),
            set("user.empty", b"", XattrFlags::empty()),
            set("user.large", &[b'l'; 3000], XattrFlags::empty()),
            set("trusted.t", b"t", XattrFlags::empty()),
            set("user.gone", b"g", XattrFlags::empty()),
            set("nonsense", b"g", XattrFlags::empty()),
            rustix::fs::lremovexattr(dir.join("file"), "user.gone"),
            rustix::fs::lremovexattr(dir.join("file"), "user.never"),
            rustix::fs::lsetxattr(dir, "user.of the directory", b"d", XattrFlags::empty()),
        ];
        let mut value = [0; 100];
        let len = rustix::fs::lgetxattr(dir.join("file"), "user.one", &mut value).unwrap();
        (answers, value[..len].to_vec())
    });
}

fn set(path: &Path, name: &str, value: &[u8]) -> Answer {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

fn get(path: &Path, name: &str, room: usize) -> Answer<Vec<u8>> {
    let mut value = vec![0; room];
    let len = rustix::fs::lgetxattr(path, name, &mut value)?;
    value.truncate(len);
    Ok(value)
}

/// In no order: the file system below has none either.
fn list(path: &Path) -> Answer<BTreeSet<String>> {
    let mut names = vec![0; 10_000];
    let len = rustix::fs::llistxattr(path, &mut names)?;
    let split = names[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    Ok(split.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

const NAMES: [&str; 9] = [
    "user.x",
    "trusted.x",
    "security.x",
    "security.capability",
    "system.x",
    "system.posix_acl_access",
    "system.posix_acl_default",
    "other.x",
    "user.",
];

// claim: A72, A73, A75
#[test]
fn namespaces_are_open_to_the_same_users_and_nodes_as_below() {
    as_below(Commit::Sync, |dir| {
        let owner = User::new(1001, 1001);
        let mut seen = Vec::new();
        for user in [ROOT, owner, NOBODY] {
            for node in ["file", "dir", "sticky", "link", "fifo", "null"] {
                let path = dir.join(format!("{node} {user:?}"));
                match node {
                    "file" => fs::write(&path, "x").unwrap(),
                    "link" => symlink("nowhere", &path).unwrap(),
                    "fifo" => tree::fifo(&path),
                    "null" => tree::device(&path, 1, 3),
                    _ => fs::create_dir(&path).unwrap(),
                }
                if node == "link" {
                    std::os::unix::fs::lchown(&path, Some(1001), Some(1001)).unwrap();
                } else {
                    chown(&path, Some(1001), Some(1001)).unwrap();
                    let bits = if node == "sticky" { 0o1777 } else { 0o755 };
                    fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
                }
                for name in ["user.there", "trusted.there", "security.there"] {
                    let _ = set(&path, name, b"there");
                }
                let acl = tree::acl_value(7, 5);
                seen.push(user.does(|| {
                    let names = NAMES.map(|name| {
                        let value = if name.contains("acl") { &acl } else { &b"v"[..] };
                        let set = set(&path, name, value);
                        (set, get(&path, name, 100), rustix::fs::lremovexattr(&path, name))
                    });
                    let there = ["user.there", "trusted.there", "security.there"].map(|name| get(&path, name, 100));
                    (path.file_name().unwrap().to_owned(), names, there, list(&path))
                }));
            }
        }
        seen
    });
}

// claim: A74
#[test]
fn sizes_of_names_values_and_buffers_are_as_below() {
    as_below(Commit::Sync, |dir| {
        let file = dir.join("file");
        fs::write(&file, "x").unwrap();
        let long = |len: usize| format!("user.{}", "n".repeat(len - 5));
        let answers = [
            set(&file, &long(255), b"x"),
            set(&file, &long(256), b"x"),
            set(&file, "user.most", &vec![b'm'; 60_000]),
            set(&file, "user.more", &vec![b'm'; 65_536]),
            set(&file, "user.too much", &vec![b'm'; 65_537]),
            set(&file, "user.fits", &[b'f'; 2000]),
            set(&file, "user.full", &[b'f'; 3500]),
            set(&file, "user.ten", b"0123456789"),
        ];
        let read = [
            get(&file, "user.ten", 10),
            get(&file, "user.ten", 9),
            get(&file, "user.fits", 2000),
            get(&file, "user.fits", 1),
            get(&file, &long(255), 10),
            get(&file, &long(256), 10),
            get(&file, "user.none", 10),
        ];
        let wanted: [Answer<usize>; 4] = [
            rustix::fs::lgetxattr(&file, "user.ten", &mut [0_u8; 0]),
            rustix::fs::llistxattr(&file, &mut [0_u8; 0]),
            rustix::fs::llistxattr(&file, &mut [0_u8; 5]),
            rustix::fs::llistxattr(dir, &mut [0_u8; 5]),
        ];
        assert_eq!(read[1], Err(Errno::RANGE));
        (answers, read, wanted, list(&file))
    });
}
