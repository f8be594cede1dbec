//! The undo log: whatever comes after the mark that repair begins, the replica is brought back to exactly what it was, wherever
//! that was cut.

#![allow(clippy::unwrap_used, clippy::similar_names)]

mod common;

use common::*;
use platform::sys::extent;
use protocol::record::Content;
use protocol::{
    AllocateMode, Attrs, Ensure, Mark, NodeId, NodeKind, Op, Owner, PieceAnswer, PieceOp, Place, RenameKind, Replaced,
    StageId, Time,
};
use replfs_target::{Limits, RollBack, RollBackError, Target, TargetConfig, roll_back};
use rustix::fs::{FallocateFlags, XattrFlags};
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// Numbers from a seed.
struct Dice {
    state: u64,
    /// Nodes have numbers of their own: nothing depends on what is kept open.
    fresh: Option<u64>,
    /// How many copies were staged.
    staged: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, fresh: None, staged: 0 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
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
        if let Some(fresh) = &mut self.fresh {
            *fresh += 1;
            return 1000 + *fresh;
        }
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
        let attrs = Attrs { mode: 0o700 + u32::try_from(self.below(64)).unwrap(), owner: other(), mtime: T };
        let parent_mtime = Some(D);
        let path = path(&path_text);
        (
            Op::Ensure(Box::new(Ensure { path, node, kind, fresh, attrs, atime, size, content, xattrs, parent_mtime })),
            payload,
        )
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
                owner: Some(other()),
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
                return (Op::SetXattr { place: self.place(), name, mode: None }, b"other".to_vec());
            }
            7 => Op::RemoveXattr { place: self.place(), name: b"user.x".to_vec(), mode: None },
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
                let gone = replaces.then(|| Replaced { node: NodeId::new(self.node()), orphan: orphaned });
                let (from_parent_mtime, to_parent_mtime) = (D, D);
                let (from, to) = (path(&self.path()), path(&self.path()));
                let (node, replaced) = (NodeId::new(node), gone);
                Op::Rename { from, to, kind, node, replaced, from_parent_mtime, to_parent_mtime }
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

/// Another owner, where that can be.
fn other() -> Owner {
    if is_root() { Owner { uid: 7, gid: 8 } } else { me() }
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
    TargetConfig { root: rig.join("root"), software: "test".to_owned(), limits: Limits::default() }
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
    // As a source does it: no number is used again while the record that places it may be on its way.
    dice.staged += 1;
    let stage = StageId::new(77, dice.staged);
    let mut lane = Lane::open(target, 0).await;
    lane.make(stage).await;
    let done = lane.ask(PieceOp::Data { stage, offset: 0 }, &[b's'; 3000]).await;
    assert_eq!(done, PieceAnswer::Done);
    (place(dice.node(), &dice.path(), stage, 3000), Vec::new())
}

async fn one(seed: u64, operations: u64) {
    let mut dice = Dice::new(seed);
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
    let seeds = first.map_or(1..61, |seed| seed..seed + 1);
    for seed in seeds {
        one(seed, 10 + seed * 7 % 160).await;
    }
}

/// The tree after so many operations, with or without an undo log; without inode numbers.
async fn after(seed: u64, operations: u64, keep: bool) -> Vec<String> {
    let mut dice = Dice { fresh: Some(0), ..Dice::new(seed) };
    let rig = Rig::new();
    let mut source = filled(&rig).await;
    rig.target.keep_images(keep);
    source.hang_up().await;
    source = Source::let_in(&rig.target, hello_again(1)).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    assert_eq!(rig.meta().join("undo").exists(), keep);
    for _ in 0..operations {
        let (op, payload) = if dice.below(12) == 0 { stage(&rig.target, &mut dice).await } else { dice.op() };
        source.seq += 1;
        source.send_as(source.seq, dice.below(3) > 0, op, &payload).await;
    }
    source.applied(source.seq).await;
    let without = |line: String| {
        let words = line.split(' ').collect::<Vec<_>>();
        let at = words.iter().position(|word| *word == "inode").unwrap();
        // Of some nodes the time is that of the operation itself.
        let (head, tail) = (words[..at].to_vec(), words[at + 2..].to_vec());
        let head = head.iter().filter(|word| !word.contains('.') || word.starts_with("1234567890") || word.len() < 9);
        format!("{} {}", head.copied().collect::<Vec<_>>().join(" "), tail.join(" "))
    };
    snapshot(&rig.tree()).into_iter().map(without).collect()
}

// claim: A203
#[tokio::test(flavor = "multi_thread")]
async fn with_an_undo_log_the_replica_becomes_what_it_would_without() {
    for seed in 1..31 {
        let (with, without) = (after(seed, 120, true).await, after(seed, 120, false).await);
        assert_same(&without, &with, seed);
    }
}

fn log_bytes(rig: &Rig) -> u64 {
    let files = fs::read_dir(rig.meta().join("undo")).unwrap().map(Result::unwrap);
    files.filter(|file| file.file_type().unwrap().is_file()).map(|file| file.metadata().unwrap().len()).sum()
}

// claim: A200
#[tokio::test]
async fn each_range_is_saved_once_whoever_writes_it_how_often() {
    const MIB: usize = 1 << 20;
    let mut rig = Rig::new();
    let mut source = filled(&rig).await;
    fs::write(rig.at("large"), vec![b'0'; 4 * MIB]).unwrap();
    source.ok(Op::Mark(Mark::Incoherent)).await;
    for round in 0..30_u8 {
        for mib in 0..2 {
            source.ok_with(write(at(9, "large"), mib * MIB as u64), &vec![round; MIB]).await;
        }
        source.ok_with(write(at(9, "large"), 5 * MIB as u64), b"behind the end").await;
        if round % 10 == 5 {
            let seq = source.seq;
            source.hang_up().await;
            rig = rig.restart().await;
            source = Source::let_in(&rig.target, hello_again(1)).await;
            source.seq = seq;
        }
    }
    let bytes = log_bytes(&rig);
    assert!((2 * MIB as u64..2 * MIB as u64 + 65_536).contains(&bytes), "{bytes} bytes for 2 MiB");
    drop(source);
    drop(rig);
}

// claim: A185
#[tokio::test]
async fn the_undo_log_is_there_from_the_mark_that_repair_begins_to_the_one_that_it_is_over() {
    let rig = Rig::new();
    let mut source = filled(&rig).await;
    let undo = rig.meta().join("undo");
    assert!(!undo.exists());
    source.ok(Op::Mark(Mark::Incoherent)).await;
    let status = rig.target.status().sources[0].undo.clone().unwrap();
    assert_eq!(status.number, source.seq - 1);
    source.ok(unlink(9, "b")).await;
    assert!(undo.join("kept").read_dir().unwrap().count() == 1 && !rig.at("b").exists());
    source.ok(Op::Mark(Mark::Incoherent)).await;
    assert_eq!(rig.target.status().sources[0].undo, Some(status));
    source.ok(Op::Mark(Mark::Coherent)).await;
    source.ok(Op::Mark(Mark::Barrier)).await;
    assert!(!undo.exists() && rig.target.status().sources[0].undo.is_none());
    let dir = stop(rig).await;
    let nothing = back(dir.path(), false);
    assert!(matches!(&nothing, Err(RollBackError::NotKept(why)) if why.contains("it is coherent")), "{nothing:?}");
}

// claim: A203
#[tokio::test]
async fn what_had_come_since_is_set_aside() {
    let rig = Rig::new();
    let mut source = filled(&rig).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok(mkdir(50, "came")).await;
    source.ok(create(51, "came/file")).await;
    source.ok_with(write(at(51, "came/file"), 0), b"of the source").await;
    source.ok(rename(52, "d", "came/d", None)).await;
    drop(source);
    let tree = rig.tree();
    let dir = stop(rig).await;
    let done = back(dir.path(), false).unwrap();
    let aside = dir.path().join("root").join(done.aside.unwrap());
    let came = fs::read_dir(&aside).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(came.join("file")).unwrap(), b"of the source");
    assert!(tree.join("d/e/g/a").exists() && !tree.join("came").exists() && !came.join("d").exists());
    let index = fs::read_to_string(dir.path().join("root/.replfs/tree/aside/index")).unwrap();
    assert!(index.contains(&format!("/{}", came.file_name().unwrap().display())), "{index}");
}

// claim: A201
#[tokio::test]
async fn what_was_set_aside_and_is_gone_is_named_and_nothing_is_changed() {
    let rig = Rig::new();
    let mut source = filled(&rig).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.tolerant(Op::SetAside { path: path("d"), parent_mtime: D }, b"").await;
    source.ok(unlink(9, "b")).await;
    drop(source);
    let tree = rig.tree();
    let dir = stop(rig).await;
    let aside = dir.path().join("root/.replfs/tree/aside");
    for entry in fs::read_dir(&aside).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_dir()) {
        fs::remove_dir_all(entry.path()).unwrap();
    }
    let now = look(&tree);
    let missing = back(dir.path(), false);
    assert!(matches!(&missing, Err(RollBackError::Missing { count: 1, first }) if first == "d"), "{missing:?}");
    assert_same(&now, &look(&tree), 0);
}

/// A file system of this size at ROOT, unmounted at the end.
struct Small(std::path::PathBuf);

impl Small {
    fn at(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        // No program is started for it: see `start`.
        let none = rustix::mount::MountFlags::empty();
        let done = rustix::mount::mount("none", path, "tmpfs", none, Some(c"size=8m"));
        assert_eq!(done, Ok(()), "a tmpfs of 8 MiB at {}", path.display());
        Self(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

// claim: A202
#[tokio::test]
async fn without_room_the_undo_log_is_given_up_and_the_catch_up_goes_on() {
    // Is removed after what is mounted in it.
    let around = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir_in(around.path()).unwrap();
    let _small = Small::at(&dir.path().join("root"));
    let target = open(dir.path()).unwrap();
    let rig = Rig { dir, target };
    rig.target.keep_images(true);
    let mut source = Source::let_in(&rig.target, hello_again(1)).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    fs::write(rig.at("large"), vec![b'0'; 5 << 20]).unwrap();
    source.ok(Op::Mark(Mark::Incoherent)).await;
    for mib in 0..5 {
        source.ok_with(write(at(9, "large"), mib << 20), &vec![b'1'; 1 << 20]).await;
    }
    assert_eq!(fs::read(rig.at("large")).unwrap(), vec![b'1'; 5 << 20]);
    let status = rig.target.status().sources[0].clone();
    assert!(status.undo.is_none() && !rig.meta().join("undo").exists(), "{status:?}");
    assert!(status.last_error.as_ref().unwrap().contains("not kept any more: no space left"), "{status:?}");
    let dir = stop(rig).await;
    assert!(matches!(back(dir.path(), false), Err(RollBackError::NotKept(_))));
}
