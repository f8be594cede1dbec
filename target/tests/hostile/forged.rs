//! Paths and names that are none, in every field that has one: the bytes of a frame are changed, and its checksum with them.

use crate::common::*;
use crate::scene::{Scene, attackers_hello, every_operation};
use bytes::Bytes;
use platform::wire::write_message;
use protocol::{
    Ask, Fetch, Frame, Hello, LaneHello, Message, Op, Phase, PieceOp, Record, RefusalCode, SeqNo, VERSION, frame,
};
use replfs_target::TargetError;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

type Pipe = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>, JoinHandle<Result<(), TargetError>>);

/// A path of eight bytes that is one.
const GOOD: &str = "AAAAAAAA";

/// None of these is a path or a name; nine bytes are never made of eight.
const PATHS: [&[u8; 8]; 10] = [
    b"../../xx",
    b"/AAAAAAA",
    b"AAA//AAA",
    b"AA/../AA",
    b"AAAAA/..",
    b"./AAAAAA",
    b"AAAAAA/.",
    b"AAAAAAA/",
    b"AAA\0AAAA",
    b"AA/./AAA",
];

/// Of a name also what only leads below.
const NAMES: [&[u8; 8]; 2] = [b"AAA/AAAA", b"AAAA/AAA"];

/// The frame of a message with other bytes in place of some, and the checksum that belongs to them.
fn forged(message: &Message, good: &[u8], evil: &[u8]) -> Vec<u8> {
    assert_eq!(good.len(), evil.len());
    let frame = Frame::encode(message);
    let mut bytes = frame.front.to_vec();
    let mut found = 0;
    let mut at = frame::HEAD_BYTES;
    while at + good.len() <= bytes.len() {
        if &bytes[at..at + good.len()] == good {
            bytes[at..at + good.len()].copy_from_slice(evil);
            found += 1;
        }
        at += 1;
    }
    assert!(found > 0, "{message:?} has no {good:?}");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..44]), &bytes[frame::HEAD_BYTES..]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&frame.payload);
    bytes
}

/// After these bytes the target says why and hangs up.
async fn refused(pipe: Pipe, bytes: &[u8], what: &str) {
    let (mut reader, mut writer, served) = pipe;
    writer.write_all(bytes).await.unwrap();
    writer.flush().await.unwrap();
    loop {
        match receive(&mut reader).await.unwrap_or_else(|| panic!("no reason: {what}")) {
            Message::Refused(why) => {
                assert_eq!(why.code, RefusalCode::Protocol, "{what}: {}", why.text);
                assert!(why.text.contains("header does not parse"), "{what}: {}", why.text);
                break;
            }
            Message::Ack(_) | Message::Heartbeat => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    drop((reader, writer));
    let end = tokio::time::timeout(TIMEOUT, served).await.expect("the session ends").unwrap();
    assert!(matches!(end, Err(TargetError::Refused { .. })), "{what}: {end:?}");
}

fn record(op: Op, payload: Vec<u8>) -> Message {
    let record = Record { seq: SeqNo::new(1), stamp: 0, tolerant: true, phase: Phase::Plain, beside: 0, op };
    Message::Record(record, Bytes::from(payload))
}

async fn session(scene: &Scene, run: u8) -> Pipe {
    match greet(&scene.rig.target, PEER, attackers_hello(run)).await {
        (Message::HelloAck(_), reader, writer, served) => (reader, writer, served),
        (other, ..) => panic!("{other:?}"),
    }
}

// claim: A209
#[tokio::test]
async fn a_path_in_an_operation_leads_nowhere_else() {
    let mut scene = Scene::new().await;
    let mut run = 1;
    for (op, payload) in every_operation(GOOD, "other") {
        let message = record(op, payload);
        for evil in PATHS {
            run = run % 200 + 1;
            let what = format!("{message:?} with {}", evil.escape_ascii());
            refused(session(&scene, run).await, &forged(&message, GOOD.as_bytes(), evil), &what).await;
        }
    }
    scene.holds("forged paths").await;
    assert_eq!(std::fs::read_dir(scene.rig.tree()).unwrap().count(), 0, "nothing was done");
}

#[tokio::test]
async fn a_name_in_a_question_is_one_name() {
    let mut scene = Scene::new().await;
    let questions = [
        Op::Look { path: path("d"), name: name(GOOD), hash: true },
        Op::List { path: path("d"), after: Some(name(GOOD)), last: None, hash: false },
        Op::List { path: path("d"), after: None, last: Some(name(GOOD)), hash: false },
    ];
    for op in questions {
        for evil in PATHS.iter().chain(&NAMES) {
            let message = record(op.clone(), Vec::new());
            refused(session(&scene, 1).await, &forged(&message, GOOD.as_bytes(), *evil), "a question").await;
        }
    }
    // One name of 256 bytes, made of two.
    let (long, other) = (format!("{}/{}", "B".repeat(200), "B".repeat(55)), "B".repeat(256));
    let message = record(mkdir(1, &long), Vec::new());
    refused(session(&scene, 2).await, &forged(&message, long.as_bytes(), other.as_bytes()), "a long name").await;
    scene.holds("forged names").await;
}

// claim: A209
#[tokio::test]
async fn a_replica_is_one_name_below_root() {
    let mut scene = Scene::new().await;
    // A replica that would be there.
    Source::let_in(&scene.rig.target, Hello { name: name(GOOD), ..hello(1) }).await.hang_up().await;
    let fetch = Fetch { version: VERSION, software: String::new(), name: name(GOOD) };
    let lane = LaneHello { version: VERSION, name: name(GOOD), incarnation: incarnation(1), lane: 0 };
    let first = [Message::Hello(Hello { name: name(GOOD), ..hello(1) }), Message::Fetch(fetch), Message::Lane(lane)];
    for message in first {
        for evil in PATHS.iter().chain(&NAMES) {
            let what = format!("{message:?} with {}", evil.escape_ascii());
            let bytes = forged(&message, GOOD.as_bytes(), *evil);
            refused(pipe(&scene.rig.target, PEER), &bytes, &what).await;
        }
    }
    for (good, evil) in [("BB", &b".."[..]), ("B", b"."), ("B", b"/"), ("B", b"\0")] {
        // Only where the name stands: nothing else has a capital B.
        let bytes = forged(&Message::Hello(Hello { name: name(good), ..hello(1) }), good.as_bytes(), evil);
        refused(pipe(&scene.rig.target, PEER), &bytes, good).await;
    }
    scene.holds("forged replicas").await;
}

// claim: A209
#[tokio::test]
async fn lanes_and_readers_are_given_paths_of_the_replica_only() {
    let mut scene = Scene::new().await;
    let source = scene.attacker().await;
    let pieces = [
        PieceOp::Chunks { stage: STAGE, path: path(GOOD), offset: 0 },
        PieceOp::CopyFrom { stage: STAGE, offset: 0, len: 8, path: path(GOOD), from: 0, hash: [0; 16] },
    ];
    let asks = [
        Ask::Stat { path: path(GOOD) },
        Ask::List { path: path(GOOD), after: None },
        Ask::List { path: path("d"), after: Some(name(GOOD)) },
        Ask::Xattrs { path: path(GOOD) },
        Ask::Reserved { path: path(GOOD) },
        Ask::Hashes { path: path(GOOD), offset: 0, len: 512, block_bytes: 512 },
        Ask::Read { path: path(GOOD), offset: 0, len: 512 },
    ];
    for evil in PATHS {
        for op in &pieces {
            let lane = Lane::open(&scene.rig.target, 0).await;
            let bytes = forged(&Message::Piece(1, op.clone(), Bytes::new()), GOOD.as_bytes(), evil);
            refused((lane.reader, lane.writer, lane.served), &bytes, "a piece").await;
        }
        for ask in &asks {
            let (mut reader, mut writer, served) = pipe(&scene.rig.target, PEER);
            let fetch = Fetch { version: VERSION, software: String::new(), name: name(NAME) };
            write_message(&mut writer, &Message::Fetch(fetch)).await.unwrap();
            assert!(matches!(receive(&mut reader).await, Some(Message::FetchAck(_))));
            let bytes = forged(&Message::Ask(SeqNo::new(1), ask.clone()), GOOD.as_bytes(), evil);
            refused((reader, writer, served), &bytes, "an ask").await;
        }
    }
    source.hang_up().await;
    scene.holds("forged pieces and questions").await;
}
