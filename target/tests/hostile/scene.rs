//! A target with something outside that must stay as it is, another source that must go on, and every operation on a path.

use crate::common::*;
use protocol::{AllocateMode, Content, Ensure, Hello, NodeId, NodeKind, Op, Place};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Names that are at both ends of every lure: in a directory of the replica, and outside.
pub const VICTIMS: [&str; 4] = ["victim", "dir", "dir/victim", "link"];

pub struct Scene {
    pub rig: Rig,
    outside: PathBuf,
    before: Vec<String>,
    witness: Source,
    wrote: u64,
}

impl Scene {
    pub async fn new() -> Self {
        let rig = Rig::in_memory();
        let outside = rig.dir.path().join("outside");
        fill(&outside);
        let before = fingerprint(&outside);
        let mut witness = Source::let_in(&rig.target, Hello { name: name("witness"), ..hello(1) }).await;
        witness.ok(create(1, "alive")).await;
        Self { rig, outside, before, witness, wrote: 0 }
    }

    /// A directory that is no replica's, filled as [`fill`] does.
    pub fn outside(&self) -> &Path {
        &self.outside
    }

    /// A source that is told at once what cannot be done.
    pub async fn attacker(&self) -> Source {
        Source::let_in(&self.rig.target, attackers_hello(1)).await
    }

    /// Nothing outside has changed, and the other source goes on.
    pub async fn holds(&mut self, what: &str) {
        assert_eq!(fingerprint(&self.outside), self.before, "outside, after {what}");
        let offset = self.wrote;
        self.wrote += 1;
        self.witness.ok_with(write(at(1, "alive"), offset), b"x").await;
        let alive = self.rig.dir.path().join("root/witness/alive");
        assert_eq!(fs::metadata(alive).unwrap().len(), self.wrote, "the other source, after {what}");
    }
}

pub fn attackers_hello(run: u8) -> Hello {
    Hello { retry_ms: Some(1), ..hello(run) }
}

/// The victims.
pub fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("dir")).unwrap();
    fs::write(dir.join("victim"), "precious").unwrap();
    fs::write(dir.join("dir/victim"), "precious too").unwrap();
    symlink("victim", dir.join("link")).unwrap();
}

/// Everything about a tree that a change would leave a trace in.
fn fingerprint(root: &Path) -> Vec<String> {
    let mut lines = snapshot(root);
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let ctime = (meta.ctime(), meta.ctime_nsec());
        lines.push(format!("{} {ctime:?} {} {}", path.display(), meta.nlink(), meta.blocks()));
        if meta.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines
}

pub fn ensure(node: u64, text: &str, kind: NodeKind, content: Content, size: u64) -> Op {
    Op::Ensure(Box::new(Ensure {
        path: path(text),
        node: NodeId::new(node),
        kind,
        fresh: false,
        attrs: attrs(0o6777),
        atime: D,
        size,
        content,
        xattrs: vec![(b"user.x".to_vec().into(), b"y".to_vec().into())],
        parent_mtime: Some(D),
    }))
}

/// What a source can say of a path, each with its payload. `other` is a file in the replica that is nothing special.
pub fn every_operation(text: &str, other: &str) -> Vec<(Op, Vec<u8>)> {
    // Numbers that no descriptor is kept under.
    let place = |n: u64| at(1_000 + n, text);
    let from = || at(2_000, other);
    let no = Vec::new;
    let mut all = vec![
        (write(place(1), 3), b"written".to_vec()),
        (set(place(2), Some(0)), no()),
        (set(place(3), None), no()),
        (copy(from(), place(6)), no()),
        (copy(place(7), from()), no()),
        (Op::SetXattr { place: place(8), name: b"user.x".to_vec(), mode: Some(0o777) }, b"y".to_vec()),
        (Op::SetXattr { place: place(8), name: b"trusted.x".to_vec(), mode: None }, b"y".to_vec()),
        (Op::RemoveXattr { place: place(9), name: b"user.x".to_vec(), mode: Some(0o777) }, no()),
        (link(from(), text), no()),
        (link(place(10), "linked"), no()),
        (rename(11, other, text, None), no()),
        (rename(11, other, text, Some(gone(12, true))), no()),
        (rename(13, text, "renamed", None), no()),
        (exchange(14, text, other), no()),
        (unlink(15, text), no()),
        (rmdir(16, text), no()),
        (Op::Unlink { path: path(text), gone: gone(17, true), directory: false, parent_mtime: D }, no()),
        (Op::Fsync { place: place(18), data_only: false }, no()),
        (Op::SetAside { path: path(text), parent_mtime: D }, no()),
        (Op::Remove { path: path(text), parent_mtime: D }, no()),
        (Op::List { path: path(text), after: None, last: None, hash: true }, no()),
        (Op::Look { path: path(text), name: name("victim"), hash: true }, no()),
    ];
    for mode in [AllocateMode::Allocate, AllocateMode::Punch, AllocateMode::Zero] {
        all.push((Op::Allocate { place: place(5), mode, offset: 0, len: 4096, mtime: T, perm: Some(0o6777) }, no()));
    }
    for as_read in [false, true] {
        let hashes = vec![0; 16];
        all.push((Op::Compare { place: place(19), offset: 0, len: 8, block_bytes: 8, hashes, as_read }, no()));
    }
    for kind in every_kind() {
        all.push((make(20, text, kind.clone(), 0o6777), no()));
        all.push((ensure(21, text, kind, Content::Keep, 0), no()));
    }
    all.push((ensure(22, text, NodeKind::File, Content::Whole, 5), b"whole".to_vec()));
    all.push((ensure(23, text, NodeKind::File, Content::Staged(STAGE), 5), no()));
    all
}

pub fn every_kind() -> [NodeKind; 7] {
    [
        NodeKind::File,
        NodeKind::Directory,
        NodeKind::Symlink(b"/etc/passwd".to_vec()),
        NodeKind::Fifo,
        NodeKind::Socket,
        NodeKind::CharDevice(rustix::fs::makedev(1, 3)),
        NodeKind::BlockDevice(rustix::fs::makedev(7, 200)),
    ]
}

pub fn set(place: Place, size: Option<u64>) -> Op {
    Op::SetAttr { place, size, owner: Some(me()), mode: Some(0o6777), atime: Some(T), mtime: Some(T) }
}

pub fn copy(from: Place, to: Place) -> Op {
    Op::CopyRange { from, from_offset: 0, to, to_offset: 0, len: 2, mtime: T, perm: Some(0o6777) }
}

/// Sends an operation and waits until the target is through with it, whatever it says to that.
pub async fn whatever(source: &mut Source, tolerant: bool, op: Op, payload: &[u8]) {
    source.seq += 1;
    source.send_as(source.seq, tolerant, op, payload).await;
    source.applied(source.seq).await;
}
