//! A target that dies between applying a record and writing that down, or the machine with it: every operation, in each
//! of the states in which it can be found again. The position files are forged to look like that moment.

#![allow(clippy::unwrap_used)] // a test that fails says where

use crate::common::*;
use crate::position::{Boot, SlotFile, State};
use protocol::{Content, Ensure, Mark, NodeId, NodeKind, Op, RenameKind, SeqNo, TroubleKind};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// What is in the replica before the operation.
fn setup() -> Vec<(Op, &'static [u8])> {
    vec![
        (mkdir(2, "d"), b""),
        (create(3, "d/a"), b""),
        (write(at(3, "d/a"), 0), b"a"),
        (create(4, "d/b"), b""),
        (write(at(4, "d/b"), 0), b"b"),
        (mkdir(5, "e"), b""),
        (mkdir(6, "e/sub"), b""),
        (make(7, "s", NodeKind::Symlink(b"to".to_vec()), 0o777), b""),
        (link(at(3, "d/a"), "a2"), b""),
    ]
}

fn orphaned(node: u64, text: &str) -> Op {
    Op::Unlink { path: path(text), gone: gone(node, true), directory: false, parent_mtime: D }
}

fn no_replace(node: u64, from: &str, to: &str) -> Op {
    Op::Rename {
        from: path(from),
        to: path(to),
        kind: RenameKind::NoReplace,
        node: NodeId::new(node),
        replaced: None,
        from_parent_mtime: D,
        to_parent_mtime: D,
    }
}

fn ensure(kind: NodeKind, text: &str) -> Op {
    Op::Ensure(Box::new(Ensure {
        path: path(text),
        node: NodeId::new(60),
        size: if kind == NodeKind::File { 5 } else { 0 },
        kind,
        fresh: false,
        attrs: attrs(0o704),
        atime: D,
        content: Content::Keep,
        xattrs: vec![(b"user.x".to_vec().into(), b"y".to_vec().into())],
        parent_mtime: Some(D),
    }))
}

/// Operations that cannot simply be done again, and some that can.
fn operations() -> Vec<(Op, &'static [u8])> {
    let mut all: Vec<(Op, &'static [u8])> = vec![
        (create(50, "d/new"), b""),
        (mkdir(50, "d/new"), b""),
        (make(50, "new", NodeKind::Symlink(b"there".to_vec()), 0o777), b""),
        (make(50, "new", NodeKind::Fifo, 0o6711), b""),
        (link(at(3, "d/a"), "e/linked"), b""),
        (unlink(4, "d/b"), b""),
        (unlink(3, "a2"), b""),
        (orphaned(4, "d/b"), b""),
        (rmdir(6, "e/sub"), b""),
        (rename(4, "d/b", "e/b", None), b""),
        (no_replace(4, "d/b", "e/b"), b""),
        (rename(4, "d/b", "d/a", Some(gone(3, false))), b""),
        (rename(4, "d/b", "d/a", Some(gone(3, true))), b""),
        (rename(2, "d", "e/d", None), b""),
        (rename(2, "d", "e/sub", Some(gone(6, false))), b""),
        (exchange(3, "d/a", "d/b"), b""),
        (exchange(2, "d", "s"), b""),
        (write(at(4, "d/b"), 1), b"more"),
        (Op::Reap { node: NodeId::new(77) }, b""),
        (Op::SetAside { path: path("e"), parent_mtime: D }, b""),
        (ensure(NodeKind::Directory, "d"), b""),
        (ensure(NodeKind::File, "d/b"), b""),
        (ensure(NodeKind::File, "e"), b""),
    ];
    all.push((Op::Mark(Mark::Incoherent), b""));
    all
}

fn forge(rig: &Rig, change: impl FnOnce(&mut State)) {
    let meta = fs::File::open(rig.meta()).unwrap();
    let (mut file, state) = SlotFile::open(meta.as_fd(), "position").unwrap();
    let mut state = state.unwrap();
    change(&mut state);
    file.store(&state).unwrap();
}

fn inode(rig: &Rig, text: &protocol::RelPath) -> u64 {
    fs::symlink_metadata(rig.tree().join(text.as_os_str())).map_or(0, |meta| meta.ino())
}

/// Without the inode numbers, which a new node has of its own.
fn shape(rig: &Rig) -> Vec<String> {
    let strip = |line: String| {
        let (front, back) = line.split_once(" inode ").unwrap();
        format!("{front} {}", back.split_once(' ').unwrap().1)
    };
    let mut lines: Vec<_> = snapshot(&rig.tree()).into_iter().map(strip).collect();
    let mut orphans: Vec<_> =
        fs::read_dir(rig.meta().join("orphan")).unwrap().map(|e| format!("{:?}", e.unwrap().file_name())).collect();
    orphans.sort();
    lines.append(&mut orphans);
    lines
}

async fn prepared() -> (Rig, Source) {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for (op, payload) in setup() {
        source.ok_with(op, payload).await;
    }
    (rig, source)
}

/// The daemon was killed while it applied `op`; `done`: after it had done it.
async fn killed_while_applying(op: &Op, payload: &[u8], done: bool) -> Vec<String> {
    let (rig, mut source) = prepared().await;
    let replica = source.welcome.replica;
    let inodes = match op {
        Op::Rename { from, to, .. } => [inode(&rig, from), inode(&rig, to)],
        Op::Create { path, .. } => [inode(&rig, path), 0],
        _ => [0; 2],
    };
    let seq = source.seq + 1;
    if done {
        source.ok_with(op.clone(), payload).await;
    }
    source.hang_up().await;
    forge(&rig, |state| {
        state.applied = seq - 1;
        state.applying = seq;
        state.inodes = inodes;
    });
    let rig = rig.restart().await;
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert_eq!(source.welcome.position.unwrap().applied.get(), seq - 1);
    source.seq = seq - 1;
    source.ok_with(op.clone(), payload).await;
    source.hang_up().await;
    shape(&rig)
}

#[tokio::test]
async fn a_record_that_was_being_applied_when_the_daemon_died_is_done_once() {
    for (op, payload) in operations() {
        let (rig, mut source) = prepared().await;
        source.ok_with(op.clone(), payload).await;
        source.hang_up().await;
        let expected = shape(&rig);
        for done in [false, true] {
            let found = killed_while_applying(&op, payload, done).await;
            assert_eq!(found, expected, "done before: {done}, {op:?}");
        }
    }
}

#[tokio::test]
async fn a_record_that_was_half_done_is_finished() {
    // A node that was made and has no attributes yet; a replaced file that has its second name already.
    let (rig, mut source) = prepared().await;
    let replica = source.welcome.replica;
    source.ok(make(50, "new", NodeKind::File, 0o4711)).await;
    source.ok(rename(4, "d/b", "d/a", Some(gone(3, true)))).await;
    source.hang_up().await;
    let expected = shape(&rig);

    let (rig, source) = prepared().await;
    let replica_2 = source.welcome.replica;
    let seq = source.seq + 1;
    source.hang_up().await;
    fs::write(rig.at("new"), "").unwrap();
    forge(&rig, |state| state.applying = seq);
    let mut source = Source::let_in(&rig.target, hello_with(1, replica_2)).await;
    source.ok(make(50, "new", NodeKind::File, 0o4711)).await;
    source.hang_up().await;
    fs::hard_link(rig.at("d/a"), rig.meta().join("orphan/3")).unwrap();
    let inodes = [inode(&rig, &path("d/b")), inode(&rig, &path("d/a"))];
    forge(&rig, |state| {
        state.applying = seq + 1;
        state.inodes = inodes;
    });
    let mut source = Source::let_in(&rig.target, hello_with(1, replica_2)).await;
    source.ok(rename(4, "d/b", "d/a", Some(gone(3, true)))).await;
    assert_eq!(shape(&rig), expected);
    assert_ne!(replica, replica_2);
}

#[tokio::test]
async fn what_stood_there_before_is_not_what_was_being_made() {
    for made in [false, true] {
        let (rig, source) = prepared().await;
        let replica = source.welcome.replica;
        let seq = source.seq + 1;
        source.hang_up().await;
        // A repair makes a file where another one still stands.
        let before = inode(&rig, &path("d/b"));
        if made {
            fs::rename(rig.at("d/b"), rig.at("elsewhere")).unwrap();
            fs::write(rig.at("d/b"), "").unwrap();
        }
        forge(&rig, |state| {
            state.applying = seq;
            state.inodes = [before, 0];
        });
        let rig = rig.restart().await;
        let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
        source.tolerant(create(50, "d/b"), b"").await;
        assert_eq!(fs::read(rig.at("d/b")).unwrap(), b"", "made before: {made}");
        assert_eq!(rig.aside().len(), usize::from(!made));
    }
    // Where nothing may be in the way it is damage.
    let (rig, source) = prepared().await;
    let (replica, seq, before) = (source.welcome.replica, source.seq + 1, inode(&rig, &path("d/b")));
    source.hang_up().await;
    forge(&rig, |state| (state.applying, state.inodes) = (seq, [before, 0]));
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    source.damaged(false, create(50, "d/b"), b"").await;
    assert_eq!(fs::read(rig.at("d/b")).unwrap(), b"b");
}

#[tokio::test]
async fn only_the_record_that_was_begun_is_forgiven() {
    let (rig, source) = prepared().await;
    let replica = source.welcome.replica;
    let seq = source.seq;
    source.hang_up().await;
    fs::write(rig.at("new"), "theirs").unwrap();
    fs::write(rig.at("newer"), "theirs").unwrap();
    forge(&rig, |state| state.applying = seq + 1);
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    // Of another kind: not what was begun.
    source.damaged(false, mkdir(50, "new"), b"").await;
    source.damaged(false, create(51, "newer"), b"").await;
    assert_eq!(fs::read(rig.at("newer")).unwrap(), b"theirs");
}

#[tokio::test]
async fn after_another_boot_only_the_durable_position_counts_and_the_rest_is_damage() {
    let (rig, mut source) = prepared().await;
    let replica = source.welcome.replica;
    let seq = source.send(Op::Mark(Mark::Coherent), b"").await;
    let barrier = source.send(Op::Mark(Mark::Barrier), b"").await;
    source.until(|s| s.ack.durable.get() >= barrier).await.unwrap();
    source.hang_up().await;
    // The power went after more was applied, and that was on its way to the disk.
    forge(&rig, |state| {
        state.boot = Boot::OTHER;
        state.applied = barrier + 30;
    });
    let rig = rig.restart().await;
    let hello = protocol::Hello { newest: SeqNo::new(barrier + 30), ..hello_with(1, replica) };
    let mut source = Source::let_in(&rig.target, hello).await;
    let position = source.welcome.position.unwrap();
    assert_eq!((position.applied.get(), position.durable.get()), (barrier, barrier));
    assert!(!source.welcome.clean);
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    assert_eq!(source.troubles.remove(0).kind, TroubleKind::Damaged);
    assert!(!rig.target.status().sources[0].coherent);
    assert!(seq < barrier);
    source.seq = barrier;
    source.ok(create(50, "new")).await;
}

#[tokio::test]
async fn another_boot_after_a_clean_end_is_no_damage() {
    let (rig, source) = prepared().await;
    let replica = source.welcome.replica;
    let ack = source.bye().await;
    forge(&rig, |state| state.boot = Boot::OTHER);
    let rig = rig.restart().await;
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert_eq!(source.welcome.position.unwrap().applied, ack.applied);
    assert!(source.welcome.clean && rig.target.status().sources[0].coherent);
    source.seq = ack.applied.get();
    source.ok(create(50, "new")).await;
}

/// The daemon was killed while it placed a staging file; `begun`: after it had noted that, `done`: after it was placed.
async fn killed_while_placing(begun: bool, done: bool) -> (Rig, Source, Op) {
    let (rig, source) = prepared().await;
    let replica = source.welcome.replica;
    let mut lane = Lane::open(&rig.target, 0).await;
    lane.make(STAGE).await;
    lane.data(STAGE, 0, b"staged content").await;
    let inode = fs::metadata(rig.meta().join("stage").join(STAGE.to_string())).unwrap().ino();
    let seq = source.seq + 1;
    source.hang_up().await;
    lane.ended().await;
    if done {
        fs::rename(rig.meta().join("stage").join(STAGE.to_string()), rig.at("d/b")).unwrap();
    }
    if begun {
        forge(&rig, |state| {
            state.applying = seq;
            state.inodes = [inode, 0];
        });
    }
    let rig = rig.restart().await;
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    source.seq = seq - 1;
    // Asked for as fresh: what an earlier try has placed is not in its own way.
    let wanted = Ensure { fresh: true, ..staged(60, "d/b", STAGE, 6) };
    (rig, source, Op::Ensure(Box::new(wanted)))
}

#[tokio::test]
async fn a_staging_file_that_was_being_placed_when_the_daemon_died_is_placed_once() {
    for done in [false, true] {
        let (rig, mut source, op) = killed_while_placing(true, done).await;
        source.ok(op).await;
        assert_eq!(fs::read(rig.at("d/b")).unwrap(), b"staged", "done before: {done}");
        assert_eq!(fs::metadata(rig.at("d/b")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(rig.aside().len(), usize::from(!done));
        source.ok_with(write(at(60, "d/b"), 0), b"S").await;
        assert_eq!(fs::read(rig.at("d/b")).unwrap(), b"Staged");
    }
    // Without that note the file that is there is somebody else's.
    let (_rig, mut source, op) = killed_while_placing(false, true).await;
    source.damaged(false, op, b"").await;
}
