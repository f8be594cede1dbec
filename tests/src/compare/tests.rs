//! The comparer sees every class of difference, and none where there is none.
#![allow(clippy::unwrap_used)]

use super::{Class, trees};
use crate::mapping::Mapping;
use crate::tree;
use rustix::fs::{AtFlags, Timespec, Timestamps, XattrFlags};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Two equal trees with one node of each kind.
fn twins() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    for root in [&a, &b] {
        fs::create_dir(root).unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("dir/file"), b"content").unwrap();
        fs::write(root.join("other"), b"other").unwrap();
        fs::hard_link(root.join("other"), root.join("link")).unwrap();
        symlink("dir/file", root.join("symlink")).unwrap();
        tree::fifo(&root.join("fifo"));
        tree::device(&root.join("null"), 1, 3);
        let sparse = fs::File::create(root.join("sparse")).unwrap();
        sparse.write_all_at(&[1; 8192], 1 << 20).unwrap();
        sparse.set_len(4 << 20).unwrap();
        rustix::fs::lsetxattr(root.join("other"), "user.colour", b"blue", XattrFlags::empty()).unwrap();
        tree::acl(&root.join("dir"), "system.posix_acl_default", 65534, 6);
        for path in ["dir/file", "other", "link", "symlink", "fifo", "null", "sparse", "dir", ""] {
            touch(&root.join(path), 1_000_000_000, 5);
        }
    }
    (home, a, b)
}

fn touch(path: &Path, secs: i64, nanos: i64) {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What is found after `change` was made to the second of two equal trees, times aside.
fn found(change: impl FnOnce(&Path)) -> Vec<(Class, String)> {
    let (_home, a, b) = twins();
    change(&b);
    let report = trees(&a, &b).unwrap();
    report
        .differences
        .into_iter()
        .filter(|d| d.class != Class::Mtime)
        .map(|d| (d.class, String::from_utf8_lossy(&d.path).into_owned()))
        .collect()
}

fn one(class: Class, path: &str) -> Vec<(Class, String)> {
    vec![(class, path.to_owned())]
}

#[test]
fn equal_trees_have_no_differences() {
    let (_home, a, b) = twins();
    let report = trees(&a, &b).unwrap();
    assert_eq!(report.text(10), "0 differences in 9 entries");
}

#[test]
fn names_and_kinds_are_seen() {
    assert_eq!(found(|b| fs::remove_file(b.join("dir/file")).unwrap()), one(Class::Missing, "dir/file"));
    assert_eq!(found(|b| fs::write(b.join("new"), "").unwrap()), one(Class::Extra, "new"));
    let fifo_to_file = found(|b| {
        fs::remove_file(b.join("fifo")).unwrap();
        fs::write(b.join("fifo"), "").unwrap();
    });
    assert_eq!(fifo_to_file, one(Class::Type, "fifo"));
}

#[test]
fn attributes_are_seen() {
    let mode = |b: &Path| fs::set_permissions(b.join("dir/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(found(mode), one(Class::Mode, "dir/file"));
    assert_eq!(found(|b| chown(b.join("dir"), None, Some(12)).unwrap()), one(Class::Owner, "dir"));
    let device = |b: &Path| {
        fs::remove_file(b.join("null")).unwrap();
        tree::device(&b.join("null"), 1, 5);
    };
    assert_eq!(found(device), one(Class::Device, "null"));
    let link = |b: &Path| {
        fs::remove_file(b.join("symlink")).unwrap();
        symlink("dir/fil", b.join("symlink")).unwrap();
    };
    assert_eq!(found(link), one(Class::Symlink, "symlink"));
}

#[test]
fn one_nanosecond_is_seen_on_every_kind() {
    for path in ["dir/file", "dir", "symlink", "fifo", ""] {
        let (_home, a, b) = twins();
        touch(&b.join(path), 1_000_000_000, 6);
        let report = trees(&a, &b).unwrap();
        assert_eq!(report.differences.len(), 1, "{}", report.text(10));
        assert_eq!(
            (report.differences[0].class, report.differences[0].path.as_slice()),
            (Class::Mtime, path.as_bytes())
        );
    }
}

#[test]
fn hard_links_are_seen() {
    let broken = found(|b| {
        fs::remove_file(b.join("link")).unwrap();
        fs::write(b.join("link"), b"other").unwrap();
        rustix::fs::lsetxattr(b.join("link"), "user.colour", b"blue", XattrFlags::empty()).unwrap();
    });
    assert_eq!(broken, [one(Class::HardLink, "link"), one(Class::HardLink, "other")].concat());
}

#[test]
fn xattrs_and_acls_are_seen() {
    let set = |path: &'static str, name: &'static str| {
        found(move |b| rustix::fs::lsetxattr(b.join(path), name, b"red", XattrFlags::empty()).unwrap())
    };
    assert_eq!(set("dir/file", "user.x"), one(Class::Xattr, "dir/file"));
    assert_eq!(set("symlink", "trusted.x"), one(Class::Xattr, "symlink"));
    assert_eq!(set("other", "user.colour").first(), Some(&(Class::Xattr, "link".to_owned())));
    let acl = |b: &Path| tree::acl(&b.join("dir"), "system.posix_acl_default", 65534, 7);
    assert_eq!(found(acl), one(Class::Acl, "dir"));
}

#[test]
fn holes_and_allocation_are_seen() {
    let filled = |b: &Path| {
        fs::OpenOptions::new().write(true).open(b.join("sparse")).unwrap().write_all_at(&[0; 4096], 0).unwrap();
    };
    assert_eq!(found(filled), one(Class::Holes, "sparse"));
    let reserved = found(|b| {
        let file = fs::OpenOptions::new().write(true).open(b.join("dir/file")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
    });
    assert_eq!(reserved, one(Class::Allocation, "dir/file"));
}

#[test]
fn what_was_reserved_and_read_is_no_data() {
    let (_home, a, b) = twins();
    let mut kept = Vec::new();
    for (root, reads) in [(&a, true), (&b, false)] {
        let path = root.join("reserved");
        let file = fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 409_600).unwrap();
        if reads {
            // What is mapped stays in the page cache.
            let mut mapping = Mapping::shared(&file, 409_600).unwrap();
            assert!(mapping.bytes().iter().all(|byte| *byte == 0));
            kept.push(mapping);
        }
        touch(&path, 5, 5);
        touch(root, 5, 5);
    }
    let report = trees(&a, &b).unwrap();
    assert!(report.differences.is_empty(), "{}", report.text(5));
}

#[test]
fn content_and_size_are_seen() {
    let one_byte = |b: &Path| {
        fs::OpenOptions::new()
            .write(true)
            .open(b.join("sparse"))
            .unwrap()
            .write_all_at(&[2], (1 << 20) + 8191)
            .unwrap();
    };
    let (_home, a, b) = twins();
    one_byte(&b);
    touch(&b.join("sparse"), 1_000_000_000, 5);
    let report = trees(&a, &b).unwrap();
    assert_eq!(report.differences.len(), 1, "{}", report.text(10));
    assert_eq!(report.differences[0].detail, format!("differs at byte {}", (1 << 20) + 8191));

    let longer =
        |b: &Path| fs::OpenOptions::new().append(true).open(b.join("dir/file")).unwrap().write_all(b"!").unwrap();
    assert_eq!(found(longer), one(Class::Size, "dir/file"));
}

#[test]
fn a_symbolic_link_to_a_difference_is_not_followed() {
    let (home, a, b) = twins();
    fs::write(home.path().join("outside"), "x").unwrap();
    for root in [&a, &b] {
        symlink("../outside", root.join("out")).unwrap();
        touch(&root.join("out"), 1, 1);
        touch(root, 1, 1);
    }
    assert_eq!(trees(&a, &b).unwrap().text(10), "0 differences in 10 entries");
}

#[test]
fn a_difference_in_any_stretch_of_data_is_seen_and_a_hole_of_terabytes_costs_nothing() {
    for at in [0, (1 << 30) + 5000, (1 << 42) + 8000, (1 << 43) - 1] {
        let (_home, a, b) = twins();
        for root in [&a, &b] {
            let file = fs::File::create(root.join("huge")).unwrap();
            file.set_len(1 << 43).unwrap();
            for start in [0, (1 << 30) + 4096, 1 << 42, (1 << 43) - 4096] {
                file.write_all_at(&[3; 4096 * 2][..usize::try_from(((1_u64 << 43) - start).min(8192)).unwrap()], start)
                    .unwrap();
            }
            touch(&root.join("huge"), 1_000_000_000, 5);
            touch(root, 1_000_000_000, 5);
        }
        assert_eq!(trees(&a, &b).unwrap().differences, []);
        fs::OpenOptions::new().write(true).open(b.join("huge")).unwrap().write_all_at(&[4], at).unwrap();
        let report = trees(&a, &b).unwrap();
        let content: Vec<_> = report.differences.iter().filter(|d| d.class != Class::Mtime).collect();
        assert_eq!(content.len(), 1, "{content:?}");
        assert_eq!(
            (content[0].class, content[0].detail.as_str()),
            (Class::Content, format!("differs at byte {at}").as_str())
        );
    }
}
