//! Syncs of several applications that run beside each other and beside the records behind them (R11).
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::write_message;
use protocol::{Message, Op, Phase, Record, SeqNo};

const FILES: u64 = 40;

/// Sends a record that may be applied beside so many before it.
async fn send_beside(source: &mut Source, beside: u16, op: Op, payload: &'static [u8]) {
    source.seq += 1;
    let seq = SeqNo::new(source.seq);
    let record = Record { seq, stamp: 0, tolerant: false, phase: Phase::Plain, beside, op };
    write_message(&mut source.writer, &Message::Record(record, Bytes::from_static(payload))).await.unwrap();
}

/// As many applications as files: each writes and syncs, and none waits for another.
async fn write_and_sync(source: &mut Source, round: &'static [u8]) {
    for file in 0..FILES {
        let place = || at(file + 2, &format!("file{file}"));
        let beside = u16::try_from(file * 2).unwrap();
        let op = Op::Write { place: place(), offset: 0, mtime: T, mode: None, durable: file % 3 == 0 };
        send_beside(source, beside, op, round).await;
        send_beside(source, beside + 1, Op::Fsync { place: place(), data_only: file % 2 == 0 }, b"").await;
    }
}

// claim: A279
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_beside_each_other_lose_nothing_whenever_the_session_ends() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for file in 0..FILES {
        source.send(create(file + 2, &format!("file{file}")), b"").await;
    }
    let read = |file: u64| std::fs::read(rig.at(&format!("file{file}"))).unwrap();
    for round in [&b"one"[..], b"two", b"six"] {
        write_and_sync(&mut source, round).await;
        source.applied(source.seq).await;
        assert!((0..FILES).all(|file| read(file) == round), "acknowledged, and there");
    }
    assert_eq!(source.troubles, []);
    // It is gone in the middle: what the next greeting says is applied is there.
    write_and_sync(&mut source, b"end").await;
    let first = source.seq - FILES * 2;
    drop(source);
    let again = rig.connect().await;
    let there = (0..FILES).take_while(|file| read(*file) == b"end").count() as u64;
    assert_eq!(there, again.seq.saturating_sub(first).div_ceil(2), "{} after {first}", again.seq);
}
