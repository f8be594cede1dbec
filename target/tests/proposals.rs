//! What is proposed is done once and judged, whatever comes of it; what settles it changes nothing but what resulted (R13).

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::write_message;
use protocol::{
    Answer, At, Mark, Message, NodeId, NodeKind, Op, Phase, Place, Record, RefusalCode, Refused, SeqNo, Time, Verdict,
};
use std::fs;
use std::process::{Command, Stdio};

const DONE: Verdict = Verdict { errno: 0, unchanged: false };
const LATER: Time = Time { secs: T.secs + 7, nanos: 3 };

/// Sends one operation in a phase, and waits until it is dealt with; the verdict on a proposal.
async fn send(source: &mut Source, phase: Phase, op: Op, payload: &[u8]) -> Option<Verdict> {
    source.seq += 1;
    let record = Record { seq: SeqNo::new(source.seq), stamp: 0, tolerant: false, phase, beside: 0, op };
    send_record(source, record, payload).await;
    source.applied(source.seq).await;
    assert_eq!(source.troubles, [], "no trouble");
    match source.answers.remove(&source.seq)? {
        Answer::Verdict(verdict) => Some(verdict),
        other => panic!("{other:?}"),
    }
}

async fn send_record(source: &mut Source, record: Record, payload: &[u8]) {
    let message = Message::Record(record, Bytes::copy_from_slice(payload));
    write_message(&mut source.writer, &message).await.unwrap();
}

async fn propose(source: &mut Source, op: Op, payload: &[u8]) -> Verdict {
    send(source, Phase::Proposed, op, payload).await.expect("a verdict")
}

async fn settle(source: &mut Source, op: Op) {
    assert_eq!(send(source, Phase::Settled, op, b"").await, None);
}

#[tokio::test]
async fn what_is_done_is_settled_with_what_resulted() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let made = |node| make(node, "f", NodeKind::File, 0o640);
    assert_eq!(propose(&mut source, made(100), b"").await, DONE);
    assert!(rig.at("f").exists());
    // The number that a proposal had is nobody's.
    settle(&mut source, made(2)).await;
    assert_eq!((mode(&rig.at("f")), mtime(&rig.at("f"))), (0o640, T));
    assert_eq!(propose(&mut source, write(at(2, "f"), 5), b"data").await, DONE);
    assert_eq!(fs::read(rig.at("f")).unwrap(), b"\0\0\0\0\0data");
    let op = Op::Write { place: at(2, "f"), offset: 5, mtime: LATER, mode: Some(0o600), durable: false };
    settle(&mut source, op).await;
    assert_eq!(fs::read(rig.at("f")).unwrap(), b"\0\0\0\0\0data", "content stays");
    assert_eq!((mode(&rig.at("f")), mtime(&rig.at("f"))), (0o600, LATER));
    let grown = Op::SetAttr { place: at(2, "f"), size: Some(20), owner: None, mode: None, atime: None, mtime: Some(D) };
    assert_eq!(propose(&mut source, grown.clone(), b"").await, DONE);
    settle(&mut source, grown).await;
    assert_eq!((fs::metadata(rig.at("f")).unwrap().len(), mtime(&rig.at("f"))), (20, D));
    for op in [link(at(2, "f"), "g"), rename(2, "f", "h", None), exchange(2, "h", "g"), rename(2, "g", "i", None)] {
        assert_eq!(propose(&mut source, op.clone(), b"").await, DONE, "{op:?}");
        settle(&mut source, op).await;
    }
    let names: Vec<_> = ["f", "g", "h", "i"].into_iter().filter(|name| rig.at(name).exists()).collect();
    assert_eq!(names, ["h", "i"], "each was done once");
    source.ok(Op::Mark(Mark::Coherent)).await;
    let state = &rig.target.status().sources[0];
    assert!(state.coherent && state.blocked.is_none(), "{state:?}");
}

#[tokio::test]
async fn what_loses_its_name_is_kept_until_that_is_settled() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for (node, text) in [(2, "a"), (3, "b"), (4, "c")] {
        source.ok(create(node, text)).await;
        source.ok_with(write(at(node, text), 0), text.as_bytes()).await;
    }
    let kept = |node: u64| rig.meta().join("orphan").join(node.to_string());
    let gone_but_kept = |node, text: &str| match unlink(node, text) {
        Op::Unlink { path, directory, parent_mtime, .. } => {
            Op::Unlink { path, gone: gone(node, true), directory, parent_mtime }
        }
        other => other,
    };
    assert_eq!(propose(&mut source, gone_but_kept(2, "a"), b"").await, DONE);
    assert!(!rig.at("a").exists() && kept(2).exists());
    // The source could not: it is as it was.
    source.ok(link(Place { node: NodeId::new(2), at: At::Orphan }, "a")).await;
    source.ok(Op::Reap { node: NodeId::new(2) }).await;
    assert_eq!((fs::read(rig.at("a")).unwrap(), kept(2).exists()), (b"a".to_vec(), false));
    // It could, and it is not open there.
    assert_eq!(propose(&mut source, gone_but_kept(2, "a"), b"").await, DONE);
    settle(&mut source, unlink(2, "a")).await;
    assert!(!rig.at("a").exists() && !kept(2).exists());
    // What a rename replaces.
    assert_eq!(propose(&mut source, rename(3, "b", "c", Some(gone(4, true))), b"").await, DONE);
    assert_eq!((fs::read(rig.at("c")).unwrap(), fs::read(kept(4)).unwrap()), (b"b".to_vec(), b"c".to_vec()));
    settle(&mut source, rename(3, "b", "c", Some(gone(4, false)))).await;
    assert!(!kept(4).exists());
}

#[tokio::test]
async fn what_cannot_be_done_is_no_trouble() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(mkdir(2, "d")).await;
    source.ok(create(3, "d/f")).await;
    let io = Verdict { errno: 5, unchanged: false };
    // The replica is not what the source took it for, and the source is to look.
    assert_eq!(propose(&mut source, rmdir(2, "d"), b"").await, io);
    assert_eq!(propose(&mut source, create(9, "d/f"), b"").await, io);
    assert_eq!(propose(&mut source, write(at(9, "none"), 0), b"x").await, io);
    if is_root() {
        // As `chattr +i` does, which not every file system can.
        let set = |flag: &str| {
            start(Command::new("chattr").arg(flag).arg(rig.at("d")).stderr(Stdio::null())).wait().unwrap().success()
        };
        if set("+i") {
            let refused = propose(&mut source, create(9, "d/new"), b"").await;
            assert!(set("-i"));
            assert_eq!(refused, Verdict { errno: 1, unchanged: true });
        }
    }
    // The stream goes on.
    source.ok(create(4, "after")).await;
    assert!(rig.target.status().sources[0].blocked.is_none());
}

#[tokio::test]
async fn only_operations_can_be_proposed() {
    for (phase, op, payload) in [
        (Phase::Proposed, Op::Mark(Mark::Coherent), &b""[..]),
        (Phase::Proposed, Op::Reap { node: NodeId::new(2) }, b""),
        (Phase::Settled, Op::Fsync { place: at(2, "f"), data_only: false }, b""),
        (Phase::Settled, write(at(2, "f"), 0), b"content"),
        (Phase::Proposed, write(at(2, "f"), 0), b""),
    ] {
        let rig = Rig::new();
        let mut source = rig.connect().await;
        let record = Record { seq: SeqNo::new(1), stamp: 0, tolerant: false, phase, beside: 0, op };
        send_record(&mut source, record, payload).await;
        let Refused { code, text } = source.refused().await;
        assert_eq!(code, RefusalCode::Protocol, "{text}");
    }
}
