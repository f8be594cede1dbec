//! The undo log: whatever comes after the mark that repair begins, the replica is brought back to exactly what it was, wherever
//! that was cut.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use platform::sys::extent;
use protocol::record::Content;
use protocol::{
    AllocateMode, Attrs, Ensure, Mark, NodeId, NodeKind, Op, Owner, PieceAnswer, PieceOp, Place, RenameKind, Replaced,
    StageId, Time,
};
use replfs_target::{RollBack, RollBackError, Target, TargetConfig, roll_back};
use rustix::fs::{FallocateFlags, XattrFlags};
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    fn path(&mut self) -> String {
        let dir = self.pick(&["", "", "d/", "d/e/", "f/", "d/e/g/", "n/"]);
        format!("{dir}{}", self.pick(&["a", "b", "c", "d", "e", "f", "g", "n", "o"]))
    }

    fn time(&mut self) -> Time {
        Time { secs: 1_000_000_000 + i64::try_from(self.below(9999)).unwrap(), nanos: 5 }
    }

    fn node(&mut self) -> u64 {
        20 + self.below(12)
    }

    fn place(&mut self) -> Place {
        let node = self.node();
        if self.below(5) == 0 { orphan(node) } else { at(node, &self.path()) }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.pick(&[1_u64, 10, 5000, 70_000]);
        let byte = u8::try_from(self.below(255)).unwrap();
        vec![byte; usize::try_from(len).unwrap()]
    }

    fn offset(&mut self) -> u64 {
        self.pick(&[0, 1, 4096, 5000, 8192, 100_000, 300_000])
    }

    fn kind(&mut self) -> NodeKind {
        match self.below(7) {
            0 | 1 => NodeKind::Directory,
            2 => NodeKind::Symlink(b"there".to_vec()),
            3 => NodeKind::Fifo,
            _ => NodeKind::File,
        }
    }

    fn owner(&mut self) -> Owner {
        if is_root() { Owner { uid: 7, gid: 8 } } else { me() }
    }

    fn ensure(&mut self) -> (Op, Vec<u8>) {
        let kind = self.kind();
        let path_text = self.path();
        let payload = if kind == NodeKind::File && self.below(2) == 0 { self.bytes() } else { Vec::new() };
        let is_file = kind == NodeKind::File;
        let size = if payload.is_empty() && is_file { self.offset() } else { payload.len() as u64 };
        let content = if payload.is_empty() { Content::Keep } else { Content::Whole };
        let fresh = self.below(3) == 0;
        let atime = self.time();
        let xattrs = if matches!(kind, NodeKind::File | NodeKind::Directory) {
            vec![(b"user.x".to_vec().into(), b"ensured".to_vec().into())]
        } else {
            Vec::new()
        };
        let node = NodeId::new(self.node());
        let attrs = Attrs { mode: 0o700 + u32::try_from(self.below(64)).unwrap(), owner: self.owner(), mtime: T };
        let parent_mtime = Some(D);
        let path = path(&path_text);
        (Op::Ensure(Box::new(Ensure { path, node, kind, fresh, attrs, atime, size, content, xattrs, parent_mtime })), payload)
    }

    /// Any operation, whether or not it is possible.
    fn op(&mut self) -> (Op, Vec<u8>) {
        let none = Vec::new();
        let (node, orphaned) = (self.node(), self.below(3) == 0);
        let op = match self.below(20) {
            0 | 1 => return (write(self.place(), self.offset()), self.bytes()),
            2 => Op::SetAttr {
                place: self.place(),
                size: Some(self.offset()),
                owner: None,
                mode: None,
                atime: None,
                mtime: Some(self.time()),
            },
            3 => Op::SetAttr {
                place: self.place(),
                size: None,
                owner: Some(self.owner()),
                mode: Some(0o755),
                atime: Some(self.time()),
                mtime: Some(self.time()),
            },
            4 => {
                use AllocateMode::{Allocate, KeepSize, Punch, Zero, ZeroKeepSize};
                let mode = self.pick(&[Allocate, KeepSize, Punch, Zero, ZeroKeepSize]);
                let (offset, len) = (self.offset(), 1 + self.offset());
                Op::Allocate { place: self.place(), mode, offset, len, mtime: T, perm: None }
            }
            5 => Op::CopyRange {
                // Places of one node are one file.
                from: Place { node: NodeId::new(40 + node), ..self.place() },
                from_offset: 0,
                to: self.place(),
                to_offset: self.offset(),
                len: 1,
                mtime: T,
                perm: None,
            },
            6 => {
                let name = self.pick(&[&b"user.x"[..], b"user.new"]).to_vec();
                return (Op::SetXattr { place: self.place(), name: name.into(), mode: None }, b"other".to_vec());
            }
            7 => Op::RemoveXattr { place: self.place(), name: b"user.x".to_vec().into(), mode: None },
            8 | 9 => make(node, &self.path(), self.kind(), 0o640),
            10 => link(self.place(), &self.path()),
            11 | 12 => Op::Unlink {
                path: path(&self.path()),
                gone: gone(node, orphaned),
                directory: self.below(3) == 0,
                parent_mtime: D,
            },
            13 | 14 => {
                use RenameKind::{Exchange, NoReplace, Replace};
                let kind = self.pick(&[Replace, Replace, NoReplace, Exchange]);
                let replaces = kind == Replace && self.below(3) > 0;
                let replaced = replaces.then(|| Replaced { node: NodeId::new(self.node()), orphan: orphaned });
                let (from_parent_mtime, to_parent_mtime) = (D, D);
                let (from, to) = (path(&self.path()), path(&self.path()));
                Op::Rename { from, to, kind, node: NodeId::new(node), replaced, from_parent_mtime, to_parent_mtime }
            }
            15 => Op::Reap { node: NodeId::new(node) },
            16 => Op::SetAside { path: path(&self.path()), parent_mtime: D },
            17 if self.below(3) == 0 => Op::Remove { path: path(&self.path()), parent_mtime: D },
            18 if self.below(8) == 0 => Op::Mark(Mark::Restarted),
            _ => return self.ensure(),
        };
        (op, none)
    }
}

/// A coherent replica with one of everything.
fn fill(tree: &Path) {
    let at = |text: &str| tree.join(text);
    for dir in ["d", "d/e", "d/e/g", "f"] {
        fs::create_dir(at(dir)).unwrap();
    }
    for (n, file) in ["a", "b", "d/a", "d/b", "d/e/a", "d/e/g/a", "d/e/g/b", "f/c"].iter().enumerate() {
        fs::write(at(file), vec![u8::try_from(n).unwrap() + 65; 9000 * n + 17]).unwrap();
    }
    fs::hard_link(at("a"), at("f/a")).unwrap();
    fs::hard_link(at("d/e/g/b"), at("o")).unwrap();
    symlink("where", at("d/c")).unwrap();
    symlink("where", at("c")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("f/g"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let sparse = fs::File::create(at("d/g")).unwrap();
    sparse.set_len(400_000).unwrap();
    sparse.write_all_at(&[1; 5000], 100_000).unwrap();
    let room = fs::File::create(at("f/b")).unwrap();
    room.write_all_at(&[2; 5000], 0).unwrap();
    rustix::fs::fallocate(&room, FallocateFlags::KEEP_SIZE, 8192, 65536).unwrap();
    for with in ["a", "d", "d/e/g", "f/c", ""] {
        let fd = fs::File::open(at(with)).unwrap();
        platform::sys::xattr::set(fd.as_fd(), b"user.x", with.as_bytes(), XattrFlags::empty()).unwrap();
    }
    for (mode, of) in [(0o4755, "b"), (0o500, "d/b"), (0o2711, "f"), (0o100, "d/e/g")] {
        fs::set_permissions(at(of), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// All that a reader sees, and where there is data and room.
fn look(tree: &Path) -> Vec<String> {
    rustix::fs::syncfs(fs::File::open(tree).unwrap()).unwrap();
    let mut out = snapshot(tree);
    extents(tree, &mut out);
    out
}

fn extents(at: &Path, out: &mut Vec<String>) {
    for entry in fs::read_dir(at).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            extents(&entry.path(), out);
        } else if kind.is_file() {
            let file = fs::File::open(entry.path()).unwrap();
            let mut line = format!("{}:", entry.path().display());
            let len = file.metadata().unwrap().len();
            for segment in extent::segments(file.as_fd(), 0, len).unwrap().iter().filter(|s| !s.hole) {
                write!(line, " {}+{}", segment.offset, segment.len).unwrap();
            }
            for room in extent::unwritten(file.as_fd()).unwrap() {
                write!(line, " room {}+{}", room.offset, room.len).unwrap();
            }
            out.push(line);
        }
    }
    out.sort();
}

fn hello_again(run: u8) -> protocol::Hello {
    protocol::Hello { retry_ms: Some(1), ..hello(run) }
}

/// A replica that is filled, and its source, which goes on.
async fn filled(rig: &Rig) -> Source {
    rig.target.keep_images(true);
    let mut source = Source::let_in(&rig.target, hello_again(1)).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    fill(&rig.tree());
    source
}

fn config(rig: &Path) -> TargetConfig {
    TargetConfig { root: rig.join("root"), software: "test".to_owned() }
}

/// Ends the daemon as a rig has it.
async fn stop(rig: Rig) -> tempfile::TempDir {
    let Rig { dir, target } = rig;
    target.shutdown().await;
    while Arc::strong_count(&target) > 1 {
        tokio::task::yield_now().await;
    }
    dir
}

fn back(dir: &Path, dry_run: bool) -> Result<RollBack, RollBackError> {
    roll_back(config(dir), &name(NAME), dry_run)
}

fn assert_same(before: &[String], after: &[String], seed: u64) {
    let missing: Vec<_> = before.iter().filter(|line| !after.contains(line)).map(|l| &l[..l.len().min(300)]).collect();
    let extra: Vec<_> = after.iter().filter(|line| !before.contains(line)).map(|l| &l[..l.len().min(300)]).collect();
    assert!(missing.is_empty() && extra.is_empty(), "seed {seed}\nwas: {missing:#?}\nis: {extra:#?}");
}

async fn stage(target: &Arc<Target>, dice: &mut Dice) -> (Op, Vec<u8>) {
    let stage = StageId::new(77, dice.below(1000));
    let mut lane = Lane::open(target, 0).await;
    lane.make(stage).await;
    let done = lane.ask(PieceOp::Data { stage, offset: 0 }, &[b's'; 3000]).await;
    assert_eq!(done, PieceAnswer::Done);
    (place(dice.node(), &dice.path(), stage, 3000), Vec::new())
}

async fn one(seed: u64, operations: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut rig = Rig::new();
    let mut source = filled(&rig).await;
    let before = look(&rig.tree());
    source.ok(Op::Mark(Mark::Incoherent)).await;
    let number = source.seq - 1;
    assert!(rig.meta().join("undo/log-00000001").exists());
    for n in 0..operations {
        let (op, payload) = match dice.below(12) {
            0 => stage(&rig.target, &mut dice).await,
            _ => dice.op(),
        };
        source.seq += 1;
        source.send_as(source.seq, dice.below(3) > 0, op, &payload).await;
        if dice.below(8) == 0 || n + 1 == operations {
            source.applied(source.seq).await;
        }
        if dice.below(60) == 0 {
            source.applied(source.seq).await;
            let seq = source.seq;
            source.hang_up().await;
            rig = rig.restart().await;
            source = Source::let_in(&rig.target, hello_again(1)).await;
            source.seq = seq;
        }
    }
    drop(source);
    let tree = rig.tree();
    let dir = stop(rig).await;
    let would = back(dir.path(), true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(would.dry_run && would.number == number, "{would:?}");
    let done = back(dir.path(), false).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert_eq!((done.number, done.dry_run), (number, false));
    assert_same(&before, &look(&tree), seed);
    assert!(!dir.path().join("root/.replfs/tree/undo").exists());
    assert!(matches!(back(dir.path(), false), Err(RollBackError::NotKept(_))));
    // Whoever comes compares everything, and the replica is coherent.
    let target = open(dir.path()).unwrap();
    let status = target.status();
    assert!(status.sources[0].coherent && status.sources[0].applied == number, "{status:?}");
    let source = Source::let_in(&target, hello(1)).await;
    let position = source.welcome.position.unwrap();
    assert_ne!(position.incarnation, incarnation(1));
    assert!(!source.welcome.clean);
}

// claim: A197
#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_done_is_taken_back() {
    let first = std::env::var("REPLFS_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(1..401, |seed| seed..seed + 1);
    for seed in seeds {
        one(seed, 10 + seed * 7 % 160).await;
    }
}
