//! Lanes: content comes beside the stream into staging files, and shows only when a record places it.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use protocol::{
    Ensure, LaneHello, Mark, Message, NodeKind, Op, PieceAnswer, PieceOp, RefusalCode, StageId, TroubleKind,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

const OTHER: StageId = StageId::new(78, 3);

fn file_of(rig: &Rig, stage: StageId) -> PathBuf {
    rig.meta().join("stage").join(stage.to_string())
}

#[tokio::test]
async fn pieces_of_two_lanes_become_one_file_when_it_is_placed() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let (mut one, mut two) = (Lane::open(&rig.target, 0).await, Lane::open(&rig.target, 15).await);
    assert_eq!(rig.target.status().sources[0].lanes, 2);
    assert_eq!(one.make(STAGE).await, 0);
    assert_eq!(fs::metadata(file_of(&rig, STAGE)).unwrap().permissions().mode() & 0o7777, 0o600);
    // The later half first, and more than the file will have.
    two.data(STAGE, 5, b"world, and more").await;
    one.data(STAGE, 0, b"hello").await;
    assert_eq!(two.make(STAGE).await, 20, "what is there is told");
    assert_eq!(fs::read_dir(rig.tree()).unwrap().count(), 0, "nothing shows yet");
    source.tolerant(place(9, "f", STAGE, 10), b"").await;
    let meta = fs::metadata(rig.at("f")).unwrap();
    assert_eq!(fs::read(rig.at("f")).unwrap(), b"helloworld");
    assert_eq!((meta.permissions().mode() & 0o7777, meta.mtime()), (0o640, T.secs));
    assert!(!file_of(&rig, STAGE).exists());
    // The descriptor that is kept is the placed file's.
    source.ok_with(write(at(9, "f"), 10), b"!").await;
    assert_eq!(fs::read(rig.at("f")).unwrap(), b"helloworld!");
    // A lane that still names it finds nothing.
    let late = one.ask(PieceOp::Data { stage: STAGE, offset: 0 }, b"late").await;
    assert!(matches!(late, PieceAnswer::Failed { retry: false, .. }), "{late:?}");
    assert_eq!(fs::read(rig.at("f")).unwrap(), b"helloworld!");
}

#[tokio::test]
async fn what_stands_where_a_staging_file_goes_is_replaced_or_set_aside() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let mut lane = Lane::open(&rig.target, 0).await;
    fs::write(rig.at("old"), "older content").unwrap();
    fs::write(rig.at("fresh"), "of another file").unwrap();
    fs::create_dir(rig.at("dir")).unwrap();
    fs::write(rig.at("dir/in"), "precious").unwrap();
    for (text, fresh) in [("old", false), ("fresh", true), ("dir", false), ("new", false)] {
        lane.make(STAGE).await;
        lane.data(STAGE, 0, text.as_bytes()).await;
        let wanted = Ensure { fresh, ..staged(9, text, STAGE, text.len() as u64) };
        source.tolerant(Op::Ensure(Box::new(wanted)), b"").await;
        assert_eq!(fs::read_to_string(rig.at(text)).unwrap(), text);
    }
    let aside = rig.aside();
    assert_eq!(aside.iter().map(|(path, _)| &path[..]).collect::<Vec<_>>(), ["fresh", "dir"]);
    assert_eq!(fs::read(aside[0].1.clone()).unwrap(), b"of another file");
    assert_eq!(fs::read(aside[1].1.join("in")).unwrap(), b"precious");
}

#[tokio::test]
async fn a_staging_file_that_is_not_there_is_damage() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    fs::write(rig.at("f"), "old").unwrap();
    let trouble = source.damaged(true, place(9, "f", STAGE, 3), b"").await;
    assert_eq!(trouble.kind, TroubleKind::Damaged);
    assert!(trouble.text.contains("staging file"), "{}", trouble.text);
    assert_eq!(fs::read(rig.at("f")).unwrap(), b"old");
}

#[tokio::test]
async fn holes_and_comparisons_are_of_the_staging_file() {
    let rig = Rig::new();
    let _source = rig.connect().await;
    let mut lane = Lane::open(&rig.target, 0).await;
    lane.make(STAGE).await;
    let block = vec![7u8; 16 << 10];
    lane.data(STAGE, 0, &block.repeat(3)).await;
    let len = block.len() as u64;
    assert_eq!(lane.ask(PieceOp::Hole { stage: STAGE, offset: len, len }, b"").await, PieceAnswer::Done);
    // Beyond the end there is nothing to do, and the file does not grow.
    assert_eq!(lane.ask(PieceOp::Hole { stage: STAGE, offset: 9 * len, len }, b"").await, PieceAnswer::Done);
    assert_eq!(fs::metadata(file_of(&rig, STAGE)).unwrap().len(), 3 * len);
    let hash = blake3::hash(&block);
    let hashes = hash.as_bytes()[..16].repeat(4);
    let block_bytes = u32::try_from(len).unwrap();
    let compare = PieceOp::Compare { stage: STAGE, offset: 0, len: 4 * len, block_bytes, hashes };
    assert_eq!(lane.ask(compare, b"").await, PieceAnswer::Differs(vec![1, 3]), "a hole and what is not there");
    assert_eq!(lane.ask(PieceOp::Drop { stage: STAGE }, b"").await, PieceAnswer::Done);
    assert_eq!(lane.ask(PieceOp::Drop { stage: STAGE }, b"").await, PieceAnswer::Done);
    assert!(!file_of(&rig, STAGE).exists());
    let answer = lane.ask(PieceOp::Data { stage: OTHER, offset: 0 }, b"x").await;
    assert!(matches!(answer, PieceAnswer::Failed { retry: false, .. }), "never opened: {answer:?}");
    // What somebody put there is no staging file.
    std::os::unix::fs::symlink(rig.at("victim"), file_of(&rig, OTHER)).unwrap();
    assert_eq!(lane.make(OTHER).await, 0);
    lane.data(OTHER, 0, b"x").await;
    assert!(!rig.at("victim").exists());
}

/// Bytes that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    blake3::hash(bytes).as_bytes()[..16].try_into().unwrap()
}

#[tokio::test]
async fn chunks_of_a_file_are_told_page_by_page() {
    let rig = Rig::new();
    let _source = rig.connect().await;
    let mut lane = Lane::open(&rig.target, 0).await;
    fs::create_dir(rig.at("d")).unwrap();
    let content = noise((40 << 20) + 77);
    fs::write(rig.at("d/f"), &content).unwrap();
    let (mut at, mut pages) = (0, 0);
    loop {
        let ask = PieceOp::Chunks { stage: STAGE, path: path("d/f"), offset: at as u64 };
        let PieceAnswer::Chunks { lens, hashes } = lane.ask(ask, b"").await else { panic!("no chunks") };
        assert_eq!(hashes.len(), lens.len() * 16);
        if lens.is_empty() {
            break;
        }
        assert!(lens.len() <= protocol::MAX_CHUNKS);
        for (len, hash) in lens.into_iter().zip(hashes.chunks(16)) {
            assert!((1..=protocol::CUT_MAX_BYTES).contains(&len));
            assert_eq!(digest(&content[at..at + len as usize]), hash, "at {at}");
            at += len as usize;
        }
        pages += 1;
    }
    assert_eq!(at, content.len());
    assert!(pages >= 2, "an answer is bounded");
}

#[tokio::test]
async fn a_copy_from_the_replica_is_what_its_hash_says_or_nothing() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let mut lane = Lane::open(&rig.target, 0).await;
    let content = noise(1 << 20);
    fs::write(rig.at("f"), &content).unwrap();
    lane.make(STAGE).await;
    let copy = |text, offset, len: usize, from, hash| PieceOp::CopyFrom {
        stage: STAGE,
        offset,
        len: len as u64,
        path: path(text),
        from,
        hash,
    };
    let hash = digest(&content[1000..]);
    let rest = content.len() - 1000;
    assert_eq!(lane.ask(copy("f", 3, rest, 1000, hash), b"").await, PieceAnswer::Done);
    lane.data(STAGE, 0, b"new").await;
    for (from, hash) in [(1001, hash), (999, hash), (1000, digest(b"")), (1 << 40, hash)] {
        assert_eq!(lane.ask(copy("f", 3, rest, from, hash), b"").await, PieceAnswer::Unlike, "from {from}");
    }
    // From the file into its own successor, whatever becomes of it meanwhile.
    source.tolerant(place(9, "f", STAGE, 3 + rest as u64), b"").await;
    assert_eq!(fs::read(rig.at("f")).unwrap(), [b"new", &content[1000..]].concat());
    lane.make(STAGE).await;
    assert_eq!(lane.ask(copy("f", 0, rest, 1000, hash), b"").await, PieceAnswer::Unlike, "it is another file now");
    assert_eq!(fs::metadata(file_of(&rig, STAGE)).unwrap().len(), 0, "nothing was written");
}

#[tokio::test]
async fn only_regular_files_of_the_replica_are_read() {
    let rig = Rig::new();
    let _source = rig.connect().await;
    let mut lane = Lane::open(&rig.target, 0).await;
    lane.make(STAGE).await;
    fs::write(rig.meta().join("secret"), "secret").unwrap();
    fs::create_dir(rig.at("dir")).unwrap();
    std::os::unix::fs::symlink(rig.meta().join("secret"), rig.at("link")).unwrap();
    std::os::unix::fs::symlink(rig.meta(), rig.at("out")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, rig.at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for text in ["dir", "link", "out/secret", "fifo", "nothing"] {
        let (stage, hash) = (STAGE, digest(b"secret"));
        let list = PieceOp::Chunks { stage, path: path(text), offset: 0 };
        let copy = PieceOp::CopyFrom { stage, offset: 0, len: 6, path: path(text), from: 0, hash };
        for op in [list, copy] {
            let answer = lane.ask(op, b"").await;
            assert!(matches!(answer, PieceAnswer::Failed { retry: false, .. }), "{text}: {answer:?}");
        }
    }
    let (stage, hash) = (OTHER, digest(b""));
    let never_opened = PieceOp::CopyFrom { stage, offset: 0, len: 1, path: path("f"), from: 0, hash };
    fs::write(rig.at("f"), "x").unwrap();
    assert!(matches!(lane.ask(never_opened, b"").await, PieceAnswer::Failed { retry: false, .. }));
    assert_eq!(fs::metadata(file_of(&rig, STAGE)).unwrap().len(), 0);
}

#[tokio::test]
async fn staging_files_survive_a_new_run_and_a_restart_and_go_when_the_pass_is_over() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    let mut lane = Lane::open(&rig.target, 0).await;
    lane.make(STAGE).await;
    lane.data(STAGE, 0, b"half").await;
    source.hang_up().await;
    lane.ended().await;
    let rig = rig.restart().await;
    let mut source = Source::let_in(&rig.target, hello(2)).await;
    source.seq = 0;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    let mut lane = Lane::try_open(&rig.target, PEER, lane_hello(2, 0)).await.unwrap();
    assert_eq!(lane.make(STAGE).await, 4, "an interrupted copy goes on");
    let stage = rig.meta().join("stage");
    fs::write(stage.join("junk"), "").unwrap();
    fs::create_dir(stage.join("dir")).unwrap();
    source.ok(Op::Mark(Mark::Coherent)).await;
    assert_eq!(fs::read_dir(stage).unwrap().count(), 0);
}

#[tokio::test]
async fn a_lane_needs_a_session_of_its_source_and_its_run_of_numbers() {
    let rig = Rig::new();
    let refusal =
        async |peer: &str, hello: LaneHello| Lane::try_open(&rig.target, peer, hello).await.err().unwrap().code;
    assert_eq!(refusal(PEER, lane_hello(1, 0)).await, RefusalCode::Busy, "nobody is there");
    assert!(rig.target.status().sources.is_empty() && !rig.meta().exists(), "nothing was made");
    let source = rig.connect().await;
    assert_eq!(refusal("SHA256:other", lane_hello(1, 0)).await, RefusalCode::Busy);
    assert_eq!(refusal(PEER, lane_hello(2, 0)).await, RefusalCode::Busy, "another run of numbers");
    assert_eq!(refusal(PEER, lane_hello(1, 16)).await, RefusalCode::Protocol);
    assert_eq!(refusal(PEER, LaneHello { version: 9, ..lane_hello(1, 0) }).await, RefusalCode::Version);
    assert_eq!(refusal(PEER, LaneHello { name: name("x"), ..lane_hello(1, 0) }).await, RefusalCode::Busy);
    let lane = Lane::open(&rig.target, 0).await;
    source.hang_up().await;
    lane.ended().await;
    assert_eq!(refusal(PEER, lane_hello(1, 0)).await, RefusalCode::Busy, "the session is over");
    // A lane of the earlier session has ended when the next one begins.
    let first = rig.connect().await;
    let lane = Lane::open(&rig.target, 0).await;
    let _second = rig.connect().await;
    lane.ended().await;
    drop(first);
    assert_eq!(rig.target.status().sources[0].lanes, 0);
}

#[tokio::test]
async fn one_connection_has_a_lane() {
    let rig = Rig::new();
    let _source = rig.connect().await;
    let mut lanes = Vec::new();
    for number in 0..16 {
        lanes.push(Lane::open(&rig.target, number).await);
    }
    let earlier = lanes.remove(3);
    let mut later = Lane::open(&rig.target, 3).await;
    earlier.ended().await;
    later.make(STAGE).await;
    assert_eq!(rig.target.status().sources[0].lanes, 16);
    rig.target.shutdown().await;
    later.ended().await;
    for lane in lanes {
        lane.ended().await;
    }
    assert_eq!(rig.target.status().sources[0].lanes, 0);
}

#[tokio::test]
async fn hostile_pieces_end_the_lane_and_touch_nothing() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let (stage, big) = (STAGE, vec![0; (1 << 20) + 1]);
    let compare =
        |len, block_bytes, hashes| PieceOp::Compare { stage, offset: 0, len, block_bytes, hashes: vec![0; hashes] };
    let chunks = |text, offset| PieceOp::Chunks { stage, path: path(text), offset };
    let copy = |offset, len, from| PieceOp::CopyFrom { stage, offset, len, path: path("f"), from, hash: [0; 16] };
    let hostile: [(PieceOp, &[u8]); 18] = [
        (PieceOp::Data { stage, offset: u64::MAX }, b"x"),
        (PieceOp::Data { stage, offset: i64::MAX.cast_unsigned() }, b"x"),
        (PieceOp::Data { stage, offset: 0 }, b""),
        (PieceOp::Data { stage, offset: 0 }, &big),
        (PieceOp::Hole { stage, offset: 1, len: u64::MAX }, b""),
        (PieceOp::Hole { stage, offset: 1, len: 0 }, b""),
        (PieceOp::Open { stage, size: u64::MAX }, b""),
        (compare(2 << 20, 16 << 10, 16 * 128), b""),
        (compare(1 << 20, 0, 16), b""),
        (compare(1 << 20, 16 << 10, 16), b""),
        (chunks("f", u64::MAX), b""),
        (chunks("", 0), b""),
        (chunks("f", 0), b"x"),
        (copy(0, 0, 0), b""),
        (copy(0, (1 << 20) + 1, 0), b""),
        (copy(u64::MAX, 1, 0), b""),
        (copy(0, 1, u64::MAX), b""),
        (copy(0, 1, 0), b"x"),
    ];
    for (op, payload) in hostile {
        let refused = Lane::open(&rig.target, 0).await.refused(op.clone(), payload).await;
        assert_eq!(refused.code, RefusalCode::Protocol, "{op:?}");
    }
    let mut lane = Lane::open(&rig.target, 0).await;
    platform::wire::write_message(&mut lane.writer, &Message::Bye).await.unwrap();
    assert!(matches!(lane.next().await, Some(Message::Refused(_))));
    assert_eq!(fs::read_dir(rig.meta().join("stage")).unwrap().count(), 0);
    // The session does not mind; what it is asked for is checked as well.
    source.ok(create(2, "f")).await;
    let wanted = Ensure { kind: NodeKind::Fifo, size: 0, ..staged(3, "p", STAGE, 0) };
    source.send(Op::Ensure(Box::new(wanted)), b"").await;
    assert_eq!(source.refused().await.code, RefusalCode::Protocol);
}
