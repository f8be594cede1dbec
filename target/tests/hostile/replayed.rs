//! An earlier conversation, byte for byte, once more.

use crate::common::*;
use crate::scene::Scene;
use protocol::{Frame, Message, Op, Phase, Record, SeqNo};
use std::fs;
use tokio::io::AsyncWriteExt;

fn frame(message: &Message) -> Vec<u8> {
    let frame = Frame::encode(message);
    [&frame.front[..], &frame.payload[..]].concat()
}

fn record(seq: u64, op: Op, payload: &'static [u8]) -> Vec<u8> {
    let record = Record { seq: SeqNo::new(seq), stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op };
    frame(&Message::Record(record, payload.into()))
}

/// Sends bytes and waits until everything up to a number is acknowledged.
async fn play(scene: &Scene, bytes: &[u8], last: u64) {
    let (mut reader, mut writer, served) = pipe(&scene.rig.target, PEER);
    writer.write_all(bytes).await.unwrap();
    writer.flush().await.unwrap();
    loop {
        match receive(&mut reader).await.expect("an answer") {
            Message::Ack(ack) if ack.applied.get() >= last => break,
            Message::HelloAck(welcome) if welcome.position.is_some_and(|p| p.applied.get() >= last) => break,
            Message::HelloAck(_) | Message::Ack(_) => {}
            other => panic!("{other:?}"),
        }
    }
    drop((reader, writer));
    tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap().unwrap();
}

// claim: A211
#[tokio::test]
async fn a_conversation_that_is_played_again_changes_nothing() {
    let mut scene = Scene::new().await;
    let mut first = frame(&Message::Hello(hello(1)));
    first.extend(record(1, create(1, "file"), b""));
    first.extend(record(2, write(at(1, "file"), 0), b"old"));
    first.extend(record(3, create(2, "gone"), b""));
    play(&scene, &first, 3).await;
    let mut second = frame(&Message::Hello(hello(1)));
    second.extend(record(4, write(at(1, "file"), 0), b"new"));
    second.extend(record(5, unlink(2, "gone"), b""));
    play(&scene, &second, 5).await;
    let now = snapshot(&scene.rig.tree());
    for again in [&first, &second, &first] {
        play(&scene, again, 5).await;
        assert_eq!(snapshot(&scene.rig.tree()), now);
    }
    assert_eq!(fs::read(scene.rig.at("file")).unwrap(), b"new");
    // Somebody else has them, but not the key.
    let (mut reader, mut writer, _served) = pipe(&scene.rig.target, "SHA256:other");
    writer.write_all(&first).await.unwrap();
    assert!(matches!(receive(&mut reader).await, Some(Message::Refused(_))));
    assert_eq!(snapshot(&scene.rig.tree()), now);
    scene.holds("a replay").await;
}

#[tokio::test]
async fn what_is_out_of_turn_ends_the_connection_and_nothing_of_it_is_done() {
    let mut scene = Scene::new().await;
    let hello = || frame(&Message::Hello(hello(1)));
    let create = |seq| record(seq, create(1, "file"), b"");
    for (what, bytes) in [
        ("a gap", [create(1), record(3, mkdir(2, "late"), b"")].concat()),
        ("no number", record(0, mkdir(2, "late"), b"")),
        ("a second hello", [create(1), hello()].concat()),
        ("after a goodbye", [create(1), frame(&Message::Bye), record(2, mkdir(2, "late"), b"")].concat()),
        ("two goodbyes", [create(1), frame(&Message::Bye), frame(&Message::Bye)].concat()),
        ("an answer", frame(&Message::Ack(protocol::Ack { applied: SeqNo::new(9), durable: SeqNo::new(9) }))),
        ("a piece", frame(&Message::Piece(1, protocol::PieceOp::Drop { stage: STAGE }, bytes::Bytes::new()))),
        ("a question", frame(&Message::Ask(SeqNo::new(1), protocol::Ask::Stat { path: path("") }))),
    ] {
        let (mut reader, mut writer, served) = pipe(&scene.rig.target, PEER);
        writer.write_all(&[hello(), bytes].concat()).await.unwrap();
        loop {
            match receive(&mut reader).await.unwrap_or_else(|| panic!("no reason: {what}")) {
                Message::Refused(why) => {
                    assert_eq!(why.code, protocol::RefusalCode::Protocol, "{what}: {}", why.text);
                    break;
                }
                Message::HelloAck(_) | Message::Ack(_) => {}
                // What it says to a goodbye is its last word.
                Message::ByeAck(_) if what.contains("goodbye") => break,
                other => panic!("{what}: {other:?}"),
            }
        }
        drop((reader, writer));
        let _refused = tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap();
        assert!(!scene.rig.at("late").exists(), "{what}");
    }
    scene.holds("what is out of turn").await;
}
