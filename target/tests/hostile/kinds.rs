//! Pipes, devices and sockets where a file is expected: they are never opened, and nothing waits for them. inotify tells.

use crate::common::*;
use crate::races::Swapper;
use crate::scene::{Scene, every_operation, whatever};
use platform::wire::write_message;
use protocol::{Ask, Fetch, Message, Op, PieceOp, SeqNo, VERSION};
use rustix::fs::{CWD, FileType, Mode, inotify};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// What must not be opened.
struct Watch(OwnedFd);

impl Watch {
    fn on(paths: &[&Path]) -> Self {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        for path in paths {
            inotify::add_watch(&fd, *path, inotify::WatchFlags::OPEN).unwrap();
        }
        Self(fd)
    }

    #[track_caller]
    fn assert_never_opened(&self, after: &str) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        while let Ok(event) = events.next() {
            // It also tells that there is nothing to watch any more.
            assert!(!event.events().contains(inotify::ReadFlags::OPEN), "something was opened: {after}");
        }
    }
}

fn node(at: &Path, kind: FileType, device: u64) {
    let _nothing_there = fs::remove_file(at);
    rustix::fs::mknodat(CWD, at, kind, Mode::from_raw_mode(0o666), device).unwrap();
}

fn kinds() -> [(&'static str, FileType, u64); 4] {
    [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("char", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("block", FileType::BlockDevice, rustix::fs::makedev(7, 200)),
    ]
}

// claim: A210
#[tokio::test]
async fn what_is_no_file_is_never_opened_by_an_operation() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    // In memory no device may be refused as such: the kernel would open it.
    for (what, kind, device) in kinds() {
        for (op, payload) in every_operation("odd", "other") {
            let at = scene.rig.at("odd");
            for left in [&at, &scene.rig.at("other")] {
                // The one before may have made it anything.
                let _is_one = fs::remove_dir_all(left).or_else(|_| fs::remove_file(left));
            }
            fs::write(scene.rig.at("other"), "plain").unwrap();
            node(&at, kind, device);
            let watch = Watch::on(&[&at]);
            whatever(&mut source, true, op.clone(), &payload).await;
            watch.assert_never_opened(&format!("{what}: {op:?}"));
        }
    }
    scene.holds("odd nodes").await;
    source.hang_up().await;
}

// claim: A210
#[tokio::test]
async fn what_is_no_file_is_never_opened_by_a_reader_or_a_lane() {
    let mut scene = Scene::new().await;
    let source = scene.attacker().await;
    let mut lane = Lane::open(&scene.rig.target, 0).await;
    lane.make(STAGE).await;
    let (mut reader, mut writer, served) = pipe(&scene.rig.target, PEER);
    let fetch = Fetch { version: VERSION, software: String::new(), name: name(NAME) };
    write_message(&mut writer, &Message::Fetch(fetch)).await.unwrap();
    assert!(matches!(receive(&mut reader).await, Some(Message::FetchAck(_))));
    let mut number = 0;
    for (what, kind, device) in kinds() {
        let (odd, staged) = (scene.rig.at("odd"), scene.rig.meta().join("stage").join(other_stage().to_string()));
        node(&odd, kind, device);
        node(&staged, kind, device);
        let watch = Watch::on(&[&odd, &staged]);
        let path = || path("odd");
        for ask in [
            Ask::Stat { path: path() },
            Ask::List { path: path(), after: None },
            Ask::Xattrs { path: path() },
            Ask::Reserved { path: path() },
            Ask::Hashes { path: path(), offset: 0, len: 4096, block_bytes: 512 },
            Ask::Read { path: path(), offset: 0, len: 4096 },
        ] {
            number += 1;
            write_message(&mut writer, &Message::Ask(SeqNo::new(number), ask)).await.unwrap();
            assert!(matches!(receive(&mut reader).await, Some(Message::Told(..))), "{what}");
        }
        for piece in [
            PieceOp::Chunks { stage: STAGE, path: path(), offset: 0 },
            PieceOp::CopyFrom { stage: STAGE, offset: 0, len: 8, path: path(), from: 0, hash: [0; 16] },
            PieceOp::Hole { stage: other_stage(), offset: 0, len: 8 },
            PieceOp::Open { stage: other_stage(), size: 8 },
            PieceOp::Drop { stage: other_stage() },
        ] {
            lane.ask(piece, b"").await;
        }
        watch.assert_never_opened(what);
    }
    drop((reader, writer));
    tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap().unwrap();
    scene.holds("odd nodes that are read").await;
    source.hang_up().await;
}

fn other_stage() -> protocol::StageId {
    protocol::StageId::new(78, 4)
}

/// Between looking at a name and opening it, it becomes a pipe: opening that to read would wait for a writer for ever.
// claim: A210
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_a_pipe_is_not_waited_for() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    let (file, pipe) = (scene.rig.at("file"), scene.rig.at("pipe"));
    fs::write(&file, "content").unwrap();
    node(&pipe, FileType::Fifo, 0);
    let watch = Watch::on(&[&pipe]);
    let swapper = Swapper::start(file, pipe, || panic!("both names are there"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        for hash in [true, false] {
            whatever(&mut source, false, Op::Look { path: path(""), name: name("file"), hash }, b"").await;
        }
        let hashes = vec![0; 16];
        let place = at(50, "file");
        let compare = Op::Compare { place, offset: 0, len: 8, block_bytes: 8, hashes, as_read: true };
        whatever(&mut source, false, compare, b"").await;
        whatever(&mut source, true, write(at(51, "file"), 0), b"x").await;
    }
    watch.assert_never_opened("exchanges");
    assert!(swapper.swaps() > 1000, "{} swaps", swapper.swaps());
    drop(swapper);
    scene.holds("a file that became a pipe").await;
    source.hang_up().await;
}
