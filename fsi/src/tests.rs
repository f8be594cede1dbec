//! The file system without FUSE: what the kernel would ask, asked directly.
#![allow(clippy::unwrap_used)]

use crate::attrs::Wanted;
use crate::data::{Durable, Manner};
use crate::fs::{Caller, Fs};
use crate::names::New;
use platform::tree::Tree;
use srm::Srm;
use srm::status::CacheMode;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

const ROOT: u64 = 1;
const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0 };

fn fs() -> (Fs, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::new(std::fs::File::open(dir.path()).unwrap().as_fd()).unwrap();
    (Fs::new(Srm::detached(Arc::new(tree)), CacheMode::Through), dir)
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn new(mode: u32) -> New {
    New { caller: CALLER, mode, umask: 0o022 }
}

#[test]
fn what_the_kernel_forgets_is_forgotten() {
    let (fs, _dir) = fs();
    let dir = fs.mkdir(new(0o755), ROOT, name("d")).unwrap().value.stat.st_ino;
    let (entry, handle) = fs.create(new(0o644), dir, name("f"), libc::O_RDWR).unwrap().value;
    let file = entry.stat.st_ino;
    fs.lookup(dir, name("f")).unwrap();
    assert_eq!(fs.tree.known(), 3);
    fs.forget(file, 2);
    assert_eq!(fs.tree.known(), 3, "it is still open");
    fs.release(handle);
    assert_eq!(fs.tree.known(), 2);
    fs.forget(dir, 1);
    assert_eq!(fs.tree.known(), 1);
    let stale = fs.getattr(file, None).unwrap_err();
    assert_eq!(stale.raw_os_error(), Some(libc::ESTALE));
}

#[test]
fn names_that_are_looked_at_in_passing_are_not_kept() {
    let (fs, dir) = fs();
    for file in ["a", "b", "c"] {
        std::fs::write(dir.path().join(file), "").unwrap();
    }
    fs.unlink(ROOT, name("a")).unwrap();
    fs.rename(CALLER, (ROOT, name("b")), (ROOT, name("c")), 0).unwrap();
    assert!(fs.rename(CALLER, (ROOT, name("b")), (ROOT, name("c")), 0).is_err());
    assert!(fs.rmdir(ROOT, name("c")).is_err());
    assert_eq!(fs.tree.known(), 1);
}

#[test]
fn an_orphan_is_one_until_its_last_close() {
    let (fs, _dir) = fs();
    let (entry, first) = fs.create(new(0o644), ROOT, name("f"), libc::O_RDWR).unwrap().value;
    let ino = entry.stat.st_ino;
    let second = fs.open(ino, libc::O_RDONLY, CALLER).unwrap();
    fs.unlink(ROOT, name("f")).unwrap();
    let node = fs.node(ino).unwrap();
    assert!(node.is_orphan());
    fs.release(first);
    fs.forget(ino, 1);
    assert!(node.is_orphan(), "it is still open");
    fs.release(second);
    assert!(!node.is_orphan());
}

#[test]
fn a_file_that_was_there_already_is_opened_by_create() {
    let (fs, dir) = fs();
    std::fs::write(dir.path().join("f"), "old").unwrap();
    let (entry, handle) = fs.create(new(0o600), ROOT, name("f"), libc::O_RDWR).unwrap().value;
    assert_eq!(entry.stat.st_size, 3);
    fs.release(handle);
    let error = |flags: i32| fs.create(new(0o600), ROOT, name("f"), flags).unwrap_err().error.raw_os_error();
    assert_eq!(error(libc::O_RDWR | libc::O_EXCL), Some(libc::EEXIST));
    assert_eq!(error(libc::O_RDWR | libc::O_TRUNC), Some(libc::ESTALE));
    fs.forget(entry.stat.st_ino, 1);
    assert_eq!(fs.tree.known(), 1);
}

#[test]
fn the_end_of_the_mount_closes_what_is_open() {
    let (fs, _dir) = fs();
    let (entry, handle) = fs.create(new(0o644), ROOT, name("f"), libc::O_RDWR).unwrap().value;
    fs.opendir(ROOT).unwrap();
    fs.unlink(ROOT, name("f")).unwrap();
    let node = fs.node(entry.stat.st_ino).unwrap();
    fs.close_all();
    assert!(!node.is_open() && !node.is_orphan());
    assert_eq!(fs.files.get(handle).unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn writing_nothing_does_nothing_and_a_size_needs_a_file() {
    let (fs, _dir) = fs();
    let (entry, handle) = fs.create(new(0o644), ROOT, name("f"), libc::O_WRONLY).unwrap().value;
    let file = fs.files.get(handle).unwrap();
    let manner = Manner { kills: false, durable: Durable::All, written_back: false };
    assert_eq!(fs.write(CALLER, &file, 1 << 40, &[], manner).unwrap().value, 0);
    assert_eq!(fs.getattr(entry.stat.st_ino, Some(handle)).unwrap().st_size, 0);
    let size = Wanted { size: Some(1), ..Wanted::default() };
    let error = fs.setattr(CALLER, ROOT, None, &size).unwrap_err().error;
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}
