//! Whole conversations, frozen as they were: what a source sent and what a target answered (`protocol/tests/captures/v1/`, a session, a lane and a
//! reading). Today's target understands the source's half of each and answers as that one did, and both halves are read by today's frames.
//!
//! `REPLFS_WRITE_SAMPLES=1` makes those that are missing, from a real run over the pipe in memory; those that are there are never changed.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::read_message;
use protocol::{
    Answer, Ask, Content, Ensure, Features, Fetch, Frame, Hello, LaneHello, Mark, Message, NodeId, NodeKind, Op, Phase,
    PieceOp, Record, RelPath, ReplicaId, SeqNo, Told, Trouble, VERSION,
};
use std::fs;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;

fn place_of(what: &str, half: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../protocol/tests/captures/v1/{what}.{half}"))
}

fn bytes_of(messages: &[Message]) -> Vec<u8> {
    messages.iter().map(Frame::encode).flat_map(|frame| [frame.front, frame.payload].concat()).collect()
}

async fn all_of(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some(message) = read_message(&mut bytes).await.unwrap() {
        found.push(message);
    }
    found
}

/// A source that begins with a repair, goes on with live operations, asks, proposes, and says goodbye.
fn session_script() -> Vec<Message> {
    let mut said = vec![Message::Hello(Hello {
        software: "0.1.0".to_owned(),
        newest: SeqNo::new(2),
        retry_ms: Some(60_000),
        features: Features::BUSY,
        set: Some([6; 16]),
        ..hello(1)
    })];
    let mut seq = 0;
    let mut record = |phase, tolerant, op, payload: &'static [u8]| {
        seq += 1;
        let stamp = 1_700_000_000_000_000_000 + seq;
        Message::Record(
            Record { seq: SeqNo::new(seq), stamp, tolerant, phase, beside: 0, op },
            Bytes::from_static(payload),
        )
    };
    let ensure = |text: &str, node, kind, size, content| {
        let time = attrs(0o644).mtime;
        let (path, node, attrs) = (path(text), NodeId::new(node), attrs(0o755));
        let parent_mtime = (!text.is_empty()).then_some(time);
        let (fresh, xattrs) = (false, Vec::new());
        Op::Ensure(Box::new(Ensure {
            path,
            node,
            kind,
            fresh,
            attrs,
            atime: time,
            size,
            content,
            xattrs,
            parent_mtime,
        }))
    };
    let plain = Phase::Plain;
    said.extend([
        record(plain, false, Op::Mark(Mark::Incoherent), b""),
        record(plain, true, ensure("", 1, NodeKind::Directory, 0, Content::Keep), b""),
        record(plain, true, ensure("old", 2, NodeKind::File, 3, Content::Whole), b"abc"),
        record(plain, false, Op::Mark(Mark::Coherent), b""),
        record(plain, false, mkdir(3, "dir"), b""),
        record(plain, false, create(4, "dir/new"), b""),
        record(plain, false, write(at(4, "dir/new"), 4096), b"data behind a hole"),
        record(plain, false, link(at(4, "dir/new"), "second"), b""),
        record(plain, false, rename(2, "old", "dir/moved", None), b""),
        record(plain, false, Op::List { path: path("dir"), after: None, last: None, hash: true }, b""),
        record(plain, false, Op::Look { path: path(""), name: name("none"), hash: false }, b""),
        record(plain, false, Op::Fsync { place: at(4, "dir/new"), data_only: true }, b""),
        record(Phase::Proposed, false, write(at(4, "dir/new"), 0), b"first"),
        record(Phase::Settled, false, write(at(4, "dir/new"), 0), b""),
        record(Phase::Proposed, false, rmdir(3, "dir"), b""),
        // There is none: damage.
        record(plain, false, unlink(9, "missing"), b""),
        record(plain, false, Op::Mark(Mark::Barrier), b""),
        Message::Heartbeat,
        Message::Bye,
    ]);
    said
}

fn lane_script() -> Vec<Message> {
    let said = |n, op, payload: &'static [u8]| Message::Piece(n, op, Bytes::from_static(payload));
    let compare = PieceOp::Compare { stage: STAGE, offset: 0, len: 4, block_bytes: 4, hashes: vec![7; 16] };
    vec![
        Message::Lane(LaneHello { ..lane_hello(1, 3) }),
        said(1, PieceOp::Open { stage: STAGE, size: 9000 }, b""),
        said(2, PieceOp::Data { stage: STAGE, offset: 5 }, b"content"),
        said(3, PieceOp::Hole { stage: STAGE, offset: 0, len: 2 }, b""),
        said(4, compare, b""),
        said(5, PieceOp::Chunks { stage: STAGE, path: path("missing"), offset: 0 }, b""),
        said(6, PieceOp::Drop { stage: STAGE }, b""),
    ]
}

fn reading_script() -> Vec<Message> {
    let ask = |n, ask| Message::Ask(SeqNo::new(n), ask);
    vec![
        Message::Fetch(Fetch { version: VERSION, software: "0.1.0".to_owned(), name: name(NAME) }),
        ask(1, Ask::Stat { path: RelPath::root() }),
        ask(2, Ask::List { path: path("dir"), after: None }),
        ask(3, Ask::Read { path: path("dir/new"), offset: 0, len: 8192 }),
        ask(4, Ask::Hashes { path: path("dir/new"), offset: 0, len: 8192, block_bytes: 4096 }),
        ask(5, Ask::Xattrs { path: path("dir/moved") }),
        ask(6, Ask::Reserved { path: path("dir/new") }),
        ask(7, Ask::Stat { path: path("missing") }),
    ]
}

/// Says all of this to a target, and hears what it says: up to the end of the stream, or of a lane to the answer to its last piece.
async fn converse(rig: &Rig, said: &[u8]) -> Vec<Message> {
    let (mut reader, mut writer, served) = pipe(&rig.target, PEER);
    let last_piece =
        all_of(said).await.iter().rev().find_map(|m| if let Message::Piece(n, ..) = m { Some(*n) } else { None });
    let mut heard = Vec::new();
    writer.write_all(said).await.unwrap();
    if last_piece.is_none() {
        writer.shutdown().await.unwrap();
    }
    while let Some(message) = receive(&mut reader).await {
        if matches!(message, Message::PieceDone(n, _) if Some(n) == last_piece) {
            writer.shutdown().await.unwrap();
        }
        heard.push(message);
    }
    // A session that met damage ends in order all the same.
    served.await.unwrap().unwrap();
    heard
}

/// What is different in each run: ids, inode numbers, room on a disk, when something became durable, words for people.
fn steady(messages: Vec<Message>) -> Vec<Message> {
    let entry = |entry: &mut protocol::Entry| (entry.inode, entry.blocks) = (0, 0);
    let mut out = Vec::new();
    for mut message in messages {
        match &mut message {
            // How many there are is a matter of time.
            Message::Ack(_) | Message::Busy(_) | Message::Heartbeat => continue,
            Message::HelloAck(ack) => (ack.replica, ack.software) = (ReplicaId::from_bytes([0; 16]), String::new()),
            Message::FetchAck(ack) => (ack.replica, ack.software) = (ReplicaId::from_bytes([0; 16]), String::new()),
            Message::Answer(_, Answer::Page(page)) | Message::Told(_, Told::Page(page), _) => {
                page.entries.iter_mut().for_each(entry);
            }
            Message::Told(_, Told::Entry(told), _) => entry(told),
            Message::Told(_, Told::Data { seen, .. } | Told::Hashes { seen, .. }, _) => seen.inode = 0,
            Message::Told(_, Told::Failed { text, .. }, _)
            | Message::Trouble(Trouble { text, .. })
            | Message::PieceDone(_, protocol::PieceAnswer::Failed { text, .. }) => text.clear(),
            _ => {}
        }
        out.push(message);
    }
    out
}

/// The frozen half of a source, and of the target that answered. The first to ask has them made where they are missing.
fn frozen(what: &str, half: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let place = place_of(what, half);
    if !place.exists() && std::env::var_os("REPLFS_WRITE_SAMPLES").is_some() {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, make()).unwrap();
    }
    fs::read(place).unwrap()
}

/// Replays one conversation and compares what is answered.
async fn replay(rig: &Rig, what: &str, script: Vec<Message>) -> Vec<Message> {
    let said = frozen(what, "source", || bytes_of(&script));
    assert_eq!(all_of(&said).await, script, "{what}: the source's half is read as it was meant");
    assert_eq!(said, bytes_of(&script), "{what}: and is still written as it was");
    let answered = converse(rig, &said).await;
    let before = all_of(&frozen(what, "target", || bytes_of(&answered))).await;
    assert_eq!(steady(answered), steady(before.clone()), "{what}: answered as then");
    before
}

#[tokio::test]
async fn frozen_conversations_are_understood_and_answered_as_they_were() {
    let rig = Rig::in_memory();
    let heard = replay(&rig, "session", session_script()).await;
    let kinds = ["HelloAck", "Answer", "Trouble", "Ack", "ByeAck"];
    let has = |kind: &str| heard.iter().any(|message| format!("{message:?}").starts_with(kind));
    assert!(kinds.iter().all(|kind| has(kind)), "the capture has one of each: {heard:?}");
    assert_eq!(fs::read(rig.at("dir/moved")).unwrap(), b"abc");
    let content = fs::read(rig.at("second")).unwrap();
    assert!(content.starts_with(b"first\0") && content.ends_with(b"data behind a hole") && content.len() == 4114);

    replay(&rig, "reading", reading_script()).await;

    let source = Source::let_in(&rig.target, hello(1)).await;
    replay(&rig, "lane", lane_script()).await;
    source.hang_up().await;
}
