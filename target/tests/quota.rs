//! Quotas (T8): what is counted is what a walk finds, and what would pass the bound is refused before it takes anything.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use protocol::{
    AllocateMode, Content, Ensure, Hello, Mark, NodeId, NodeKind, Op, Owner, PieceAnswer, PieceOp, StageId, TroubleKind,
};
use replfs_target::{Limits, QuotaStatus, Target, TargetConfig};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn target(dir: &Path, limits: Limits) -> Arc<Target> {
    Target::open(TargetConfig { root: dir.join("root"), software: "test".to_owned(), limits }).unwrap()
}

fn limits(quota: u64, files: u64) -> Limits {
    Limits { quota: Some(quota), quota_files: Some(files), ..Limits::default() }
}

fn quota(target: &Target) -> QuotaStatus {
    target.status().sources[0].quota.clone().unwrap()
}

/// What is below ROOT/NAME, with it, and below what replfs keeps: each inode once.
fn walked(dir: &Path) -> (u64, u64) {
    let own = dir.join("root/.replfs").join(NAME);
    let mut todo = vec![dir.join("root").join(NAME)];
    let mut seen = HashSet::new();
    let (mut bytes, mut files) = (0, 0);
    for place in ["orphan", "aside", "stage", "undo/kept"] {
        todo.extend(fs::read_dir(own.join(place)).into_iter().flatten().map(|entry| entry.unwrap().path()));
    }
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if seen.insert(meta.ino()) {
            bytes += meta.blocks() * 512;
            files += 1;
        }
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    (bytes, files)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn name(&mut self) -> String {
        let dir = ["", "", "d/", "e/", "d/f/"][usize::try_from(self.below(5)).unwrap()];
        format!("{dir}{}", ["a", "b", "c", "d", "e", "f"][usize::try_from(self.below(6)).unwrap()])
    }

    fn op(&mut self) -> (Op, Vec<u8>) {
        let (name, other) = (self.name(), self.name());
        let node = 10 + self.below(12);
        let offset = self.below(300_000);
        let op = match self.below(22) {
            0 | 1 => create(node, &name),
            2 => mkdir(node, &name),
            3..=6 => {
                return (write(at(node, &name), offset), vec![1; usize::try_from(1 + self.below(100_000)).unwrap()]);
            }
            7 => Op::SetAttr {
                place: at(node, &name),
                size: Some(offset),
                owner: None,
                mode: None,
                atime: None,
                mtime: Some(T),
            },
            8 | 9 => {
                let modes =
                    [AllocateMode::Allocate, AllocateMode::KeepSize, AllocateMode::Punch, AllocateMode::ZeroKeepSize];
                let mode = modes[usize::try_from(self.below(4)).unwrap()];
                Op::Allocate {
                    place: at(node, &name),
                    mode,
                    offset,
                    len: 1 + self.below(200_000),
                    mtime: T,
                    perm: None,
                }
            }
            10 => {
                let (from, to) = (at(node, &name), at(node + 1, &other));
                Op::CopyRange { from, from_offset: 0, to, to_offset: offset, len: 4096, mtime: T, perm: None }
            }
            11 => link(at(node, &name), &other),
            12 => Op::Unlink {
                path: path(&name),
                gone: gone(node, self.below(2) == 0),
                directory: false,
                parent_mtime: D,
            },
            13 => rmdir(node, &name),
            14 => rename(node, &name, &other, None),
            15 => rename(node, &name, &other, Some(gone(node + 1, self.below(2) == 0))),
            16 => exchange(node, &name, &other),
            17 => Op::Reap { node: NodeId::new(node) },
            18 => Op::SetAside { path: path(&name), parent_mtime: D },
            19 => make(node, &name, NodeKind::Symlink(b"to".to_vec()), 0o777),
            20 => {
                let payload = vec![2; usize::try_from(self.below(60_000)).unwrap()];
                return (self.ensure(node, &name, payload.len() as u64, Content::Whole), payload);
            }
            _ => self.ensure(node, &name, offset, Content::Keep),
        };
        (op, Vec::new())
    }

    fn ensure(&mut self, node: u64, name: &str, size: u64, content: Content) -> Op {
        Op::Ensure(Box::new(Ensure {
            path: path(name),
            node: NodeId::new(node),
            kind: NodeKind::File,
            fresh: self.below(3) == 0,
            attrs: attrs(0o644),
            atime: D,
            size,
            content,
            xattrs: Vec::new(),
            parent_mtime: Some(D),
        }))
    }
}

async fn in_any_case(source: &mut Source, op: Op, payload: &[u8], tolerant: bool) {
    source.seq += 1;
    source.send_as(source.seq, tolerant, op, payload).await;
    source.applied(source.seq).await;
    source.troubles.clear();
}

// claim: A216
#[tokio::test]
async fn what_is_counted_is_what_a_walk_finds() {
    let seed = std::env::var("REPLFS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(std::process::id);
    println!("REPLFS_SEED={seed}");
    let mut random = Random(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // In memory, where nothing is allocated later.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = target(dir.path(), limits(1 << 40, 1 << 40));
    let mut source = Source::let_in(&target, hello(1)).await;
    in_any_case(&mut source, Op::Mark(Mark::Incoherent), b"", false).await;
    in_any_case(&mut source, Op::Mark(Mark::Coherent), b"", false).await;
    for name in ["d", "e", "d/f"] {
        source.ok(mkdir(5, name)).await;
    }
    let mut lane = Lane::open(&target, 0).await;
    for round in 0..1500_u64 {
        let stage = StageId::new(random.below(3), 1);
        match random.below(24) {
            0 => drop(lane.make(stage).await),
            1 => {
                let offset = random.below(100_000);
                lane.ask(PieceOp::Data { stage, offset }, &[3; 16_000]).await;
            }
            2 => drop(lane.ask(PieceOp::Hole { stage, offset: 0, len: 50_000 }, b"").await),
            3 => drop(lane.ask(PieceOp::Drop { stage }, b"").await),
            4 => {
                let (node, name, size) = (10 + random.below(12), random.name(), random.below(90_000));
                in_any_case(&mut source, place(node, &name, stage, size), b"", true).await;
            }
            5 if round % 3 == 0 => in_any_case(&mut source, Op::Mark(Mark::Coherent), b"", false).await,
            _ => {
                let (op, payload) = random.op();
                let tolerant = random.below(3) > 0;
                in_any_case(&mut source, op, &payload, tolerant).await;
            }
        }
        let quota = quota(&target);
        let (bytes, files) = walked(dir.path());
        assert_eq!((quota.used_bytes, quota.used_files), (bytes, files), "round {round}");
    }
    // The next session counts from the beginning.
    drop(lane);
    source.bye().await;
    let source = Source::let_in(&target, hello(1)).await;
    let (bytes, files) = walked(dir.path());
    let mut now = quota(&target);
    while now.counting || now.used_files == 0 {
        tokio::task::yield_now().await;
        now = quota(&target);
    }
    assert_eq!((now.used_bytes, now.used_files), (bytes, files));
    source.hang_up().await;
}

async fn passed_over(source: &mut Source, op: Op, payload: &[u8]) -> String {
    source.troubles.clear();
    source.send(op, payload).await;
    source.applied(source.seq).await;
    let skipped = source.troubles.iter().find(|trouble| trouble.kind == TroubleKind::Skipped);
    skipped.unwrap_or_else(|| panic!("not refused: {:?}", source.troubles)).text.clone()
}

// claim: A217
#[tokio::test]
async fn what_passes_the_bound_takes_nothing() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = target(dir.path(), limits(MIB, 20));
    let hello = Hello { retry_ms: Some(1), ..hello(1) };
    let mut source = Source::let_in(&target, hello).await;
    source.ok(create(1, "file")).await;
    source.ok_with(write(at(1, "file"), 0), &vec![1; 512 << 10]).await;
    // A file of any size takes what it has.
    let huge =
        Op::SetAttr { place: at(1, "file"), size: Some(1 << 42), owner: None, mode: None, atime: None, mtime: Some(T) };
    source.ok(huge).await;
    let before = quota(&target);
    assert_eq!(before.used_bytes, 512 * KIB);
    for (offset, len) in [(0, 1 << 41), (1 << 41, 1 << 40), (MIB, MIB)] {
        for mode in [AllocateMode::Allocate, AllocateMode::KeepSize, AllocateMode::Zero] {
            let op = Op::Allocate { place: at(1, "file"), mode, offset, len, mtime: T, perm: None };
            let text = passed_over(&mut source, op, b"").await;
            assert!(text.contains("quota of tree: 512.0 KiB used of 1.0 MiB"), "{text}");
        }
    }
    passed_over(&mut source, write(at(1, "file"), MIB), &vec![1; 600 << 10]).await;
    // What it has already may be written again.
    source.troubles.clear();
    source.ok_with(write(at(1, "file"), 0), &vec![2; 512 << 10]).await;
    source.ok_with(write(at(1, "file"), 512 * KIB), &vec![2; 512 << 10]).await;
    source.ok_with(write(at(1, "file"), 0), &vec![2; 1 << 20]).await;
    passed_over(&mut source, create(2, "other"), b"").await;
    let mut lane = Lane::open(&target, 0).await;
    let answer = lane.ask(PieceOp::Open { stage: StageId::new(1, 1), size: 5 }, b"").await;
    assert!(matches!(&answer, PieceAnswer::Failed { text, retry: true } if text.contains("quota")), "{answer:?}");
    assert_eq!(quota(&target).used_bytes, MIB);
    // What takes nothing goes on, and makes room.
    source.troubles.clear();
    source.ok(rename(1, "file", "moved", None)).await;
    source
        .ok(Op::SetAttr {
            place: at(1, "moved"),
            size: None,
            owner: Some(Owner { uid: 1, gid: 1 }),
            mode: None,
            atime: None,
            mtime: None,
        })
        .await;
    source.ok(unlink(1, "moved")).await;
    assert_eq!(quota(&target).used_bytes, 0);
    for n in 0..19 {
        source.ok(create(10 + n, &format!("n{n}"))).await;
    }
    let text = passed_over(&mut source, create(2, "one-too-many"), b"").await;
    assert!(text.contains("20 files of 20"), "{text}");
    drop(lane);
    source.hang_up().await;
    assert_eq!(walked(dir.path()), (0, 20));
}

#[tokio::test]
async fn an_undo_log_is_given_up_where_the_quota_has_no_room_for_it() {
    // In memory, where nothing can be cloned.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = target(dir.path(), limits(MIB, 100));
    target.keep_images(true);
    let mut source = Source::let_in(&target, hello(1)).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok(create(1, "file")).await;
    source.ok_with(write(at(1, "file"), 0), &vec![1; 600 << 10]).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok_with(write(at(1, "file"), 0), &vec![2; 100 << 10]).await;
    let status = target.status().sources[0].clone();
    let log = status.undo.is_some().then(|| quota(&target).used_bytes);
    assert!(log.is_some_and(|used| used > 700 * KIB), "what is overwritten is in the log: {status:?}");
    source.ok_with(write(at(1, "file"), 100 * KIB), &vec![2; 500 << 10]).await;
    let status = target.status().sources[0].clone();
    assert!(status.undo.is_none() && status.last_error.unwrap().contains("quota"), "it would have passed the bound");
    assert!(quota(&target).used_bytes <= MIB);
    source.hang_up().await;
}
