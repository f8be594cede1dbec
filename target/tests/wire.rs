//! Frames that are damaged, cut off, too long, or come when they may not: in every state of every conversation they end it, or are passed over where that is
//! what is promised, and nothing is applied because of them (C5, I6).
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::{read_message, write_message};
use protocol::frame::HEAD_BYTES;
use protocol::{
    Features, Fetch, Frame, Hello, MAX_NUMBER, Message, Op, Phase, Record, RefusalCode, ReplicaId, SeqNo, VERSION,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

type Ends = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

fn frame_of(seq: u64, op: Op, payload: &'static [u8]) -> Vec<u8> {
    let record = Record { seq: SeqNo::new(seq), stamp: 5, tolerant: false, phase: Phase::Plain, beside: 0, op };
    let frame = Frame::encode(&Message::Record(record, Bytes::from_static(payload)));
    [frame.front, frame.payload].concat()
}

/// One frozen frame of every shape, with its name.
fn samples() -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/samples/v1");
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension().is_none())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Sends these bytes and nothing after them, and hears all that comes back.
async fn last_words(ends: Ends, bytes: &[u8]) -> Vec<Message> {
    let (mut reader, mut writer) = ends;
    let said = async {
        // The target may have closed before all of it was sent.
        let _closed = writer.write_all(bytes).await;
        let _closed = writer.shutdown().await;
    };
    let hear = async {
        let mut heard = Vec::new();
        while let Ok(Some(message)) = read_message(&mut reader).await {
            heard.push(message);
        }
        heard
    };
    let both = async { tokio::join!(said, hear).1 };
    tokio::time::timeout(TIMEOUT, both).await.expect("the target ends what cannot be understood")
}

fn refusal_in(heard: &[Message]) -> Option<RefusalCode> {
    heard.iter().find_map(|message| match message {
        Message::Refused(refused) => Some(refused.code),
        _ => None,
    })
}

/// A session that has applied one record, and the connection's ends.
async fn session(rig: &Rig, replica: Option<ReplicaId>) -> (Ends, ReplicaId) {
    let source = Source::let_in(&rig.target, Hello { replica, ..hello(1) }).await;
    let Source { reader, writer, welcome, .. } = source;
    ((reader, writer), welcome.replica)
}

/// A replica at record 1, which made `there`.
async fn begun() -> (Rig, ReplicaId) {
    let rig = Rig::in_memory();
    let mut source = rig.connect().await;
    source.ok(create(1, "there")).await;
    let replica = source.welcome.replica;
    source.hang_up().await;
    (rig, replica)
}

fn assert_untouched(rig: &Rig, what: &str) {
    let names: Vec<_> = fs::read_dir(rig.tree()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["there"], "{what}");
    let status = rig.target.status();
    assert_eq!(status.sources[0].applied, 1, "{what}");
    assert_eq!(fs::read(rig.at("there")).unwrap(), b"", "{what}");
}

#[tokio::test]
async fn a_record_with_any_bit_flipped_is_not_applied() {
    let (rig, replica) = begun().await;
    let good = frame_of(2, write(at(1, "there"), 0), b"changed");
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (ends, _) = session(&rig, Some(replica)).await;
        let heard = last_words(ends, &bad).await;
        let acked = heard.iter().any(|message| matches!(message, Message::Ack(ack) if ack.applied.get() > 1));
        assert!(!acked && !heard.iter().any(|m| matches!(m, Message::Trouble(_))), "bit {bit}: {heard:?}");
        // Only where a length has grown the target waits for more, and then finds the end.
        let longer = (8..16).contains(&(bit / 8));
        let code = refusal_in(&heard);
        let expected = if (16..24).contains(&bit) { RefusalCode::Version } else { RefusalCode::Protocol };
        assert!(code == Some(expected) || longer && code.is_none(), "bit {bit}: {code:?}");
    }
    assert_untouched(&rig, "flipped");
    let (ends, _) = session(&rig, Some(replica)).await;
    last_words(ends, &good).await;
    assert_eq!(fs::read(rig.at("there")).unwrap(), b"changed", "the frame itself was a good one");
}

#[tokio::test]
async fn a_record_that_is_cut_off_anywhere_is_not_applied() {
    let (rig, replica) = begun().await;
    let good = frame_of(2, write(at(1, "there"), 0), b"changed");
    for len in 0..good.len() {
        let (ends, _) = session(&rig, Some(replica)).await;
        let heard = last_words(ends, &good[..len]).await;
        assert_eq!(refusal_in(&heard), None, "cut at {len}: the connection was lost, and nobody is to blame");
    }
    assert_untouched(&rig, "cut off");
}

#[tokio::test]
async fn lengths_and_numbers_at_their_bounds() {
    let (rig, replica) = begun().await;
    let good = frame_of(2, write(at(1, "there"), 0), b"changed");
    for (at, value, refused) in [
        (8, (4_u32 << 20) + 1, true),
        (8, u32::MAX, true),
        (12, (4 << 20) + 1, true),
        (12, u32::MAX, true),
        // Within the bound: more is waited for.
        (8, 4 << 20, false),
        (8, 0, true),
        (12, 0, true),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let (ends, _) = session(&rig, Some(replica)).await;
        let heard = last_words(ends, &bad).await;
        assert_eq!(refusal_in(&heard), refused.then_some(RefusalCode::Protocol), "{value} at {at}");
    }
    // Gaps, the greatest number there is, and none.
    for seq in [3, MAX_NUMBER, 0] {
        let (ends, _) = session(&rig, Some(replica)).await;
        let heard = last_words(ends, &frame_of(seq, create(2, "gap"), b"")).await;
        assert_eq!(refusal_in(&heard), Some(RefusalCode::Protocol), "number {seq}");
    }
    assert_untouched(&rig, "bounds");
    // What was applied before is dropped without a word, however often it comes.
    let again = frame_of(1, unlink(1, "there"), b"");
    let (ends, _) = session(&rig, Some(replica)).await;
    assert_eq!(refusal_in(&last_words(ends, &again.repeat(50)).await), None);
    assert_untouched(&rig, "duplicates");
    for (oldest, newest) in [(1, u64::MAX), (u64::MAX, u64::MAX), (MAX_NUMBER + 1, 1)] {
        let bad = Hello { oldest: SeqNo::new(oldest), newest: SeqNo::new(newest), ..hello_with(1, replica) };
        assert_eq!(refusal_code(&rig.target, PEER, bad).await, RefusalCode::Protocol);
    }
}

#[tokio::test]
async fn a_greeting_that_is_old_or_of_another_run_rolls_nothing_back() {
    let (rig, replica) = begun().await;
    let old = Hello { newest: SeqNo::ZERO, ..hello_with(1, replica) };
    for replayed in [old, hello_with(2, replica), Hello { oldest: SeqNo::new(7), ..hello_with(1, replica) }] {
        let source = Source::let_in(&rig.target, replayed).await;
        let position = source.welcome.position.unwrap();
        assert_eq!((position.incarnation, position.applied.get()), (incarnation(1), 1), "it is told what is there");
        source.hang_up().await;
        assert_untouched(&rig, "an old greeting");
    }
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    source.ok(create(2, "goes on")).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Session,
    SaidBye,
    Lane,
    Reading,
}

impl State {
    /// What may come now.
    fn takes(self, sample: &str) -> bool {
        let kind = sample.split('-').next().unwrap();
        match self {
            Self::First => {
                matches!(kind, "hello" | "lane" | "fetch") && !sample.ends_with("-ack") && !is_answer(sample)
            }
            Self::Session => matches!(sample, "heartbeat" | "bye") || kind == "record",
            Self::SaidBye => sample == "heartbeat",
            Self::Lane => sample == "heartbeat" || kind == "piece" && !sample.starts_with("piece-done"),
            Self::Reading => kind == "ask",
        }
    }
}

fn is_answer(sample: &str) -> bool {
    ["hello-ack", "lane-ack", "fetch-ack"].iter().any(|answer| sample.starts_with(answer))
}

/// A conversation in this state; with what is held for as long.
async fn in_state(rig: &Rig, state: State, replica: ReplicaId) -> (Ends, Option<Source>) {
    match state {
        State::First => {
            let (reader, writer, _) = pipe(&rig.target, PEER);
            ((reader, writer), None)
        }
        State::Session => (session(rig, Some(replica)).await.0, None),
        State::SaidBye => {
            let (mut ends, _) = session(rig, Some(replica)).await;
            write_message(&mut ends.1, &Message::Bye).await.unwrap();
            (ends, None)
        }
        State::Lane => {
            let source = Source::let_in(&rig.target, hello_with(1, replica)).await;
            let lane = Lane::open(&rig.target, 0).await;
            ((lane.reader, lane.writer), Some(source))
        }
        State::Reading => {
            let (mut reader, mut writer, _) = pipe(&rig.target, PEER);
            let fetch = Fetch { version: VERSION, software: "test".to_owned(), name: name(NAME) };
            write_message(&mut writer, &Message::Fetch(fetch)).await.unwrap();
            assert!(matches!(receive(&mut reader).await, Some(Message::FetchAck(_))));
            ((reader, writer), None)
        }
    }
}

#[tokio::test]
async fn every_kind_that_may_not_come_now_ends_the_conversation() {
    let (rig, replica) = begun().await;
    let mut tried = 0;
    for state in [State::First, State::Session, State::SaidBye, State::Lane, State::Reading] {
        for (sample, bytes) in samples().into_iter().filter(|(sample, _)| !state.takes(sample)) {
            let (ends, held) = in_state(&rig, state, replica).await;
            let heard = last_words(ends, &bytes).await;
            let code = refusal_in(&heard);
            // A goodbye that was answered meanwhile is an end too.
            let ended = state == State::SaidBye && heard.iter().any(|message| matches!(message, Message::ByeAck(_)));
            assert!(code == Some(RefusalCode::Protocol) || ended, "{sample} in {state:?}: {heard:?}");
            if let Some(source) = held {
                source.hang_up().await;
            }
            tried += 1;
        }
    }
    assert!(tried > 150, "{tried} tried");
    assert_untouched(&rig, "out of turn");
}

#[tokio::test]
async fn another_version_is_refused_by_name_whichever_way_it_is_said() {
    let (rig, replica) = begun().await;
    for version in [0, 2, 255] {
        let both = |text: &str| {
            text.contains(&format!("protocol {version}"))
                && text.contains(&VERSION.to_string())
                && text.contains("same release")
        };
        let refused = refusal(&rig.target, PEER, Hello { version, ..hello_with(1, replica) }).await;
        assert!(refused.code == RefusalCode::Version && both(&refused.text), "{refused:?}");
        // In the head of the frame: nothing behind it can be understood.
        let mut frame = frame_bytes(&Message::Hello(hello_with(1, replica)));
        frame[2] = version;
        let (reader, writer, _) = pipe(&rig.target, PEER);
        let heard = last_words((reader, writer), &frame).await;
        let text = heard.iter().find_map(|m| if let Message::Refused(r) = m { Some(r.text.clone()) } else { None });
        let text = text.unwrap();
        assert_eq!(refusal_in(&heard), Some(RefusalCode::Version));
        assert!(text.contains(&format!("version {version}")) && text.contains("same release"), "{text}");
    }
    let demanding = Hello { features: Features::from_bits(1 << 40 | 1), ..hello_with(1, replica) };
    let refused = refusal(&rig.target, PEER, demanding).await;
    assert!(refused.code == RefusalCode::Version && refused.text.contains("feature 40"), "{refused:?}");
    let offering = Hello { features: Features::from_bits(0xffff_ffff), set: Some([6; 16]), ..hello_with(1, replica) };
    let source = Source::let_in(&rig.target, offering).await;
    assert_eq!(source.welcome.features, Features::OURS);
    assert_eq!(rig.target.status().sources[0].set.as_deref(), Some("06".repeat(16).as_str()));
    source.hang_up().await;
    // One from before there were features is answered with what it knows.
    let old = Hello { features: Features::default(), ..hello_with(1, replica) };
    let frame = frame_bytes(&Message::Hello(old));
    assert_eq!(frame[HEAD_BYTES] & 0x0f, 8, "eight fields, as ever");
    let (mut reader, mut writer, _) = pipe(&rig.target, PEER);
    writer.write_all(&frame).await.unwrap();
    assert!(matches!(receive(&mut reader).await, Some(Message::HelloAck(ack)) if ack.features == Features::default()));
    assert_untouched(&rig, "versions");
}

fn frame_bytes(message: &Message) -> Vec<u8> {
    let frame = Frame::encode(message);
    [frame.front, frame.payload].concat()
}

/// Whoever says nothing, or next to nothing, holds nobody up.
#[tokio::test]
async fn a_connection_that_stays_silent_does_not_keep_others_out() {
    let (rig, replica) = begun().await;
    let silent: Vec<_> = (0..64).map(|_| pipe(&rig.target, "SHA256:somebody")).collect();
    let (mut half, mut halves) = (Arc::new(frame_bytes(&Message::Hello(hello_with(1, replica)))), Vec::new());
    Arc::make_mut(&mut half).truncate(20);
    for _ in 0..64 {
        let (reader, mut writer, served) = pipe(&rig.target, PEER);
        writer.write_all(&half).await.unwrap();
        halves.push((reader, writer, served));
    }
    let source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    source.hang_up().await;
    drop((silent, halves));
}
