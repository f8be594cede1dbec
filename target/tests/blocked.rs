//! No room, no rights: the stream stands where it is, says so, and goes on by itself. Needs root for a small file system
//! of its own.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use protocol::{
    Attrs, Content, Ensure, Mark, NodeId, NodeKind, Op, Owner, PieceAnswer, PieceOp, RefusalCode, TroubleKind,
};
use replfs_target::{Limits, Target, TargetConfig};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system of one MiB, mounted as long as this lives.
struct Small {
    dir: tempfile::TempDir,
    target: Option<Arc<Target>>,
}

impl Small {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(c"size=1m,mode=755"))
            .expect("mounting a tmpfs: run the tests as root");
        let target = open_at(dir.path()).unwrap();
        Self { dir, target: Some(target) }
    }

    fn target(&self) -> &Arc<Target> {
        self.target.as_ref().unwrap()
    }

    fn at(&self, text: &str) -> PathBuf {
        self.dir.path().join(NAME).join(text)
    }
}

fn open_at(root: &Path) -> Result<Arc<Target>, replfs_target::TargetError> {
    Target::open(TargetConfig { root: root.to_owned(), software: "test".to_owned(), limits: Limits::default() })
}

impl Drop for Small {
    fn drop(&mut self) {
        self.target = None;
        // What keeps it busy ends with the test.
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_stream_at_that_record_until_there_is_room() {
    let small = Small::new();
    let mut source = Source::let_in(small.target(), hello(1)).await;
    source.ok(create(2, "f")).await;
    fs::write(small.dir.path().join("ballast"), vec![1; 800 << 10]).unwrap();
    let blocked = source.send(write(at(2, "f"), 0), &vec![7; 600 << 10]).await;
    let after = source.send(create(3, "later"), b"").await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    let trouble = source.troubles.remove(0);
    assert_eq!((trouble.kind, trouble.seq.get()), (TroubleKind::Blocked, blocked));
    assert_eq!((trouble.path, trouble.text.as_str()), (Some(path("f")), "no space left on device"));
    let entry = small.target().status().sources.remove(0);
    assert_eq!(entry.blocked.unwrap().path, "f");
    // Nothing that comes later overtakes, and what was applied stays acknowledged.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(!small.at("later").exists());
    assert_eq!(small.target().status().sources[0].applied, blocked - 1);
    fs::remove_file(small.dir.path().join("ballast")).unwrap();
    source.applied(after).await;
    assert_eq!(source.troubles.iter().map(|t| t.kind).collect::<Vec<_>>(), [TroubleKind::Over]);
    assert_eq!(fs::metadata(small.at("f")).unwrap().len(), 600 << 10);
    assert!(small.at("later").exists());
    assert_eq!(small.target().status().sources[0].blocked, None);
}

#[tokio::test]
async fn what_a_blocked_repair_replaces_is_set_aside_once_however_often_it_is_tried() {
    let small = Small::new();
    let mut source = Source::let_in(small.target(), hello(1)).await;
    source.ok(create(2, "f")).await;
    fs::write(small.dir.path().join("ballast"), vec![1; 800 << 10]).unwrap();
    let attrs = Attrs { mode: 0o644, owner: Owner { uid: 0, gid: 0 }, mtime: T };
    let wanted = Ensure {
        path: path("f"),
        node: NodeId::new(2),
        kind: NodeKind::File,
        fresh: true,
        attrs,
        atime: T,
        size: 600 << 10,
        content: Content::Whole,
        xattrs: Vec::new(),
        parent_mtime: None,
    };
    let blocked = source.send(Op::Ensure(Box::new(wanted)), &vec![7; 600 << 10]).await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    // It is tried once a second.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    fs::remove_file(small.dir.path().join("ballast")).unwrap();
    source.applied(blocked).await;
    assert_eq!(fs::read(small.at("f")).unwrap(), vec![7; 600 << 10]);
    assert_eq!(small.target().status().sources[0].aside_entries, 1);
}

#[tokio::test]
async fn after_the_bound_the_stream_goes_on_and_what_hangs_on_it_is_no_damage() {
    let small = Small::new();
    let bounded = protocol::Hello { retry_ms: Some(100), ..hello(1) };
    let mut source = Source::let_in(small.target(), bounded).await;
    source.ok(create(2, "f")).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    fs::write(small.dir.path().join("ballast"), vec![1; 800 << 10]).unwrap();
    let passed = source.send(write(at(2, "f"), 0), &vec![7; 600 << 10]).await;
    let later = source.send(create(3, "later"), b"").await;
    // Neither waits for the bound again.
    let again = source.send(write(at(3, "later"), 0), &vec![7; 600 << 10]).await;
    let follows = source.send(write(at(4, "nothing"), 0), b"x").await;
    source.applied(follows).await;
    let told: Vec<_> = source.troubles.drain(..).map(|t| (t.kind, t.seq.get(), t.path.unwrap().to_string())).collect();
    let skipped = |seq, path: &str| (TroubleKind::Skipped, seq, path.to_owned());
    let blocked = |kind| (kind, passed, "f".to_owned());
    assert_eq!(
        told,
        [
            blocked(TroubleKind::Blocked),
            blocked(TroubleKind::Over),
            skipped(passed, "f"),
            skipped(again, "later"),
            skipped(follows, "nothing")
        ]
    );
    assert!(small.at("later").exists(), "{later}");
    let coherent = || small.target().status().sources[0].coherent;
    assert!(!coherent());
    // A repair that had begun before does not make it good, and one after it does.
    source.ok(Op::Mark(Mark::Coherent)).await;
    assert!(!coherent());
    fs::remove_file(small.dir.path().join("ballast")).unwrap();
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok_with(write(at(2, "f"), 0), &vec![7; 300 << 10]).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    assert!(coherent());
    // From then on what is missing is damage again.
    source.damaged(false, write(at(4, "nothing"), 0), b"x").await;
}

#[tokio::test]
async fn of_what_a_read_only_replica_is_sent_nothing_is_passed_over() {
    let small = Small::new();
    let replica = small.at("");
    fs::create_dir(&replica).unwrap();
    mount(&replica, &replica, "none", MountFlags::BIND, None::<&std::ffi::CStr>).unwrap();
    let bounded = protocol::Hello { retry_ms: Some(100), ..hello(1) };
    let mut source = Source::let_in(small.target(), bounded).await;
    source.ok(mkdir(2, "before")).await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    mount_remount(&replica, MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let first = source.send(mkdir(3, "d"), b"").await;
    source.send(mkdir(4, "d/e"), b"").await;
    source.until(|s| s.troubles.len() == 2).await.unwrap();
    mount_remount(&replica, MountFlags::BIND, c"").unwrap();
    let seq = source.seq;
    source.applied(seq).await;
    let told: Vec<_> = source.troubles.drain(..).map(|trouble| (trouble.kind, trouble.seq.get())).collect();
    assert_eq!(told, [TroubleKind::Blocked, TroubleKind::Halted, TroubleKind::Over].map(|kind| (kind, first)));
    assert!(small.at("d/e").is_dir() && small.target().status().sources[0].coherent);
    source.hang_up().await;
    unmount(&replica, UnmountFlags::DETACH).unwrap();
}

#[tokio::test]
async fn a_create_without_room_is_done_when_there_is_some() {
    let small = Small::new();
    let mut source = Source::let_in(small.target(), hello(1)).await;
    source.ok(mkdir(2, "d")).await;
    let dir = small.dir.path();
    let used = rustix::fs::statvfs(dir).unwrap();
    let inodes = std::ffi::CString::new(format!("nr_inodes={}", used.f_files - used.f_ffree)).unwrap();
    mount_remount(dir, MountFlags::empty(), inodes.as_c_str()).unwrap();
    source.send(create(3, "d/f"), b"").await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    assert_eq!(source.troubles.remove(0).kind, TroubleKind::Blocked);
    mount_remount(dir, MountFlags::empty(), c"nr_inodes=1000").unwrap();
    let seq = source.seq;
    source.applied(seq).await;
    assert_eq!((mode(&small.at("d/f")), mtime(&small.at("d"))), (0o644, D));
}

#[tokio::test]
async fn a_blocked_session_ends_when_its_connection_does_and_resumes() {
    let small = Small::new();
    let mut source = Source::let_in(small.target(), hello(1)).await;
    let replica = source.welcome.replica;
    source.ok(create(2, "f")).await;
    fs::write(small.dir.path().join("ballast"), vec![1; 800 << 10]).unwrap();
    let blocked = source.send(write(at(2, "f"), 0), &vec![7; 600 << 10]).await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    source.hang_up().await;
    let mut source = Source::let_in(small.target(), hello_with(1, replica)).await;
    assert_eq!(source.welcome.position.unwrap().applied.get(), blocked - 1);
    source.send(write(at(2, "f"), 0), &vec![7; 600 << 10]).await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    // A newer connection takes over from a blocked one.
    let mut newer = Source::let_in(small.target(), hello_with(1, replica)).await;
    fs::remove_file(small.dir.path().join("ballast")).unwrap();
    newer.ok_with(write(at(2, "f"), 0), &vec![7; 600 << 10]).await;
    newer.ok(Op::Mark(protocol::Mark::Coherent)).await;
}

#[tokio::test]
async fn a_root_that_cannot_be_written_is_refused_in_clear_words() {
    let mut small = Small::new();
    let source = Source::let_in(small.target(), hello(1)).await;
    let replica = source.welcome.replica;
    source.hang_up().await;
    fs::write(small.dir.path().join("ballast"), vec![1; 2 << 20]).unwrap_err();
    let full = protocol::Hello { name: name("other"), ..hello(1) };
    assert_eq!(refusal_code(small.target(), PEER, full).await, RefusalCode::Unwritable);
    // The one that is there is served: it may be deletions that come.
    Source::let_in(small.target(), hello_with(1, replica)).await.hang_up().await;
    while Arc::strong_count(small.target()) > 1 {
        tokio::task::yield_now().await;
    }
    small.target = None;
    mount_remount(small.dir.path(), MountFlags::RDONLY, c"").unwrap();
    let error = open_at(small.dir.path()).unwrap_err();
    assert_eq!(error.kind().exit_code(), 40, "{error}");
}

#[tokio::test]
async fn a_lane_without_room_says_so_and_goes_on() {
    let small = Small::new();
    let mut source = Source::let_in(small.target(), hello(1)).await;
    let mut lane = Lane::open(small.target(), 0).await;
    lane.make(STAGE).await;
    let piece = vec![7; 1 << 20];
    let full = lane.ask(PieceOp::Data { stage: STAGE, offset: 0 }, &piece).await;
    assert!(matches!(&full, PieceAnswer::Failed { retry: true, text } if text.contains("space")), "{full:?}");
    assert_eq!(lane.ask(PieceOp::Drop { stage: STAGE }, b"").await, PieceAnswer::Done);
    lane.make(STAGE).await;
    lane.data(STAGE, 0, b"less").await;
    source.tolerant(place(9, "f", STAGE, 4), b"").await;
    assert_eq!(fs::read(small.at("f")).unwrap(), b"less");
}
