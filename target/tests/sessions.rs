//! Who is let in, what is resumed, what ends a connection, and what a clean end is worth.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use platform::wire::write_message;
use protocol::{
    Frame, Hello, Mark, Message, NodeKind, Op, Phase, Record, RefusalCode, ReplicaId, SeqNo, Time, TroubleKind,
};
use replfs_target::{ErrorKind, TargetError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_replica_is_for_its_owner_only() {
    let rig = Rig::new();
    let source = rig.connect().await;
    let replica = source.welcome.replica;
    source.hang_up().await;
    assert_eq!(refusal_code(&rig.target, "SHA256:other", hello(1)).await, RefusalCode::Owned);
    assert_eq!(refusal_code(&rig.target, "SHA256:other", Hello { adopt: true, ..hello(1) }).await, RefusalCode::Owned);
    let again = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert_eq!(again.welcome.replica, replica);
    again.hang_up().await;
    let rig = rig.restart().await;
    assert_eq!(rig.target.status().sources[0].owner, PEER);
    assert_eq!(refusal_code(&rig.target, "SHA256:other", hello(1)).await, RefusalCode::Owned);
    assert_eq!(Source::let_in(&rig.target, hello_with(1, replica)).await.welcome.replica, replica);
}

#[tokio::test]
async fn foreign_files_are_adopted_only_when_asked_for() {
    let rig = Rig::new();
    fs::create_dir(rig.tree()).unwrap();
    fs::write(rig.at("theirs"), "precious").unwrap();
    assert_eq!(refusal_code(&rig.target, PEER, hello(1)).await, RefusalCode::NotEmpty);
    assert!(rig.target.status().sources.is_empty(), "a refused source leaves nothing");
    let source = Source::let_in(&rig.target, Hello { adopt: true, ..hello(1) }).await;
    assert!(!source.welcome.empty && !source.welcome.clean);
    assert_eq!(fs::read(rig.at("theirs")).unwrap(), b"precious");
    source.hang_up().await;
    // It has an owner now: no adoption any more.
    Source::let_in(&rig.target, hello(1)).await.hang_up().await;
    // A file where the directory should be is nobody's to take.
    fs::write(rig.dir.path().join("root/file"), "").unwrap();
    let hello_file = Hello { name: name("file"), adopt: true, ..hello(1) };
    assert_eq!(refusal_code(&rig.target, PEER, hello_file).await, RefusalCode::NotEmpty);
    for own in [".replfs", ".replfs-x"] {
        let refused = refusal(&rig.target, PEER, Hello { name: name(own), ..hello(1) }).await;
        assert_eq!(refused.code, RefusalCode::Other, "{}", refused.text);
    }
    assert_eq!(refusal_code(&rig.target, PEER, Hello { version: 99, ..hello(1) }).await, RefusalCode::Version);
}

#[tokio::test]
async fn a_replica_that_is_not_there_never_looks_like_an_empty_one() {
    let rig = Rig::new();
    let replica = ReplicaId::from_bytes([9; 16]);
    assert_eq!(refusal_code(&rig.target, PEER, hello_with(1, replica)).await, RefusalCode::Changed);
    assert!(!rig.tree().exists() && !rig.meta().exists(), "nothing was made");
    let source = rig.connect().await;
    let replica = source.welcome.replica;
    source.hang_up().await;
    assert_eq!(
        refusal_code(&rig.target, PEER, hello_with(1, ReplicaId::from_bytes([9; 16]))).await,
        RefusalCode::Changed
    );
    // Another directory under the same name.
    fs::rename(rig.tree(), rig.dir.path().join("moved")).unwrap();
    assert_eq!(refusal_code(&rig.target, PEER, hello_with(1, replica)).await, RefusalCode::Changed);
    fs::create_dir(rig.tree()).unwrap();
    for hello in [hello(1), hello_with(1, replica)] {
        let refused = refusal(&rig.target, PEER, hello).await;
        assert_eq!(refused.code, RefusalCode::Changed);
        assert!(refused.text.contains("is the disk mounted?"), "{}", refused.text);
    }
    fs::remove_dir(rig.tree()).unwrap();
    std::os::unix::fs::symlink(rig.dir.path().join("moved"), rig.tree()).unwrap();
    assert_eq!(refusal_code(&rig.target, PEER, hello_with(1, replica)).await, RefusalCode::Changed);
    fs::remove_file(rig.tree()).unwrap();
    fs::rename(rig.dir.path().join("moved"), rig.tree()).unwrap();
    Source::let_in(&rig.target, hello_with(1, replica)).await;
}

#[tokio::test]
async fn one_daemon_has_a_root_and_a_copied_root_is_noticed() {
    let rig = Rig::new();
    let error = open(rig.dir.path()).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::InUse, 42));
    assert_eq!(fs::metadata(rig.dir.path().join("root/.replfs")).unwrap().permissions().mode() & 0o7777, 0o700);
    let Rig { dir, target } = rig;
    drop(target);
    fs::rename(dir.path().join("root"), dir.path().join("old")).unwrap();
    let status = start(Command::new("cp").arg("-a").args(["old", "root"]).current_dir(dir.path())).wait();
    assert!(status.unwrap().success());
    let error = open(dir.path()).unwrap_err();
    assert_eq!(error.kind().exit_code(), 45, "{error}");
    let missing = replfs_target::TargetConfig {
        root: dir.path().join("no/where"),
        software: String::new(),
        limits: replfs_target::Limits::default(),
    };
    let error = replfs_target::Target::open(missing).unwrap_err();
    assert!(matches!(error, TargetError::System { .. }), "only the last part is made: {error}");
    let dev = replfs_target::TargetConfig {
        root: "/proc/replfs".into(),
        software: String::new(),
        limits: replfs_target::Limits::default(),
    };
    let error = replfs_target::Target::open(dev).unwrap_err();
    assert!(error.to_string().contains("/proc/replfs"), "{error}");
}

#[tokio::test]
async fn what_was_applied_is_dropped_when_it_comes_again() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    source.ok(create(2, "f")).await;
    source.ok_with(write(at(2, "f"), 0), b"once").await;
    source.ok(rename(2, "f", "g", None)).await;
    source.hang_up().await;
    let before = snapshot(&rig.tree());
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    let position = source.welcome.position.unwrap();
    assert_eq!((position.incarnation, position.applied.get()), (incarnation(1), 3));
    source.send_as(1, false, create(2, "f"), b"").await;
    source.send_as(2, false, write(at(2, "f"), 0), b"once").await;
    source.send_as(3, false, rename(2, "f", "g", None), b"").await;
    source.ok(create(3, "h")).await;
    assert_eq!(source.seq, 4);
    assert_eq!(snapshot(&rig.tree())[1..before.len()], before[1..]);
    source.hang_up().await;
    // Also after the daemon was started anew.
    let rig = rig.restart().await;
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert_eq!(source.welcome.position.unwrap().applied.get(), 4);
    source.send_as(4, false, create(3, "h"), b"").await;
    source.ok(unlink(3, "h")).await;
}

#[tokio::test]
async fn a_gap_ends_the_connection_and_what_follows_it_is_not_applied() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    source.ok(create(2, "f")).await;
    source.send_as(3, false, create(3, "g"), b"").await;
    let refused = source.refused().await;
    assert_eq!(refused.code, RefusalCode::Protocol);
    assert!(refused.text.contains("operation 3 came after 1"), "{}", refused.text);
    assert!(!rig.at("g").exists());
    assert_eq!(rig.target.status().sources[0].applied, 1);
}

#[tokio::test]
async fn another_run_of_numbers_starts_over_and_only_with_its_first_record() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    source.ok(create(2, "f")).await;
    source.ok(Op::Unlink { path: path("f"), gone: gone(2, true), directory: false, parent_mtime: D }).await;
    source.hang_up().await;
    let mut source = Source::let_in(&rig.target, Hello { oldest: SeqNo::new(70), ..hello_with(2, replica) }).await;
    assert_eq!(source.welcome.position.unwrap().incarnation, incarnation(1));
    assert!(rig.meta().join("orphan/2").exists());
    // Until then nothing is acknowledged in its name.
    assert_eq!(source.until(|s| s.ack.applied > SeqNo::ZERO).await_briefly().await, None);
    source.seq = 70;
    source.ok(create(3, "g")).await;
    source.until(|s| s.ack.durable.get() >= 71).await.unwrap();
    assert!(!rig.meta().join("orphan/2").exists());
    let entry = rig.target.status().sources.remove(0);
    assert_eq!((entry.incarnation, entry.applied), (Some(incarnation(2).to_string()), 71));
    source.hang_up().await;
    // The same run, but what would come next cannot be sent any more.
    let late = Hello { oldest: SeqNo::new(100), newest: SeqNo::new(120), ..hello_with(2, replica) };
    let mut source = Source::let_in(&rig.target, late).await;
    source.seq = 120;
    source.ok(create(4, "h")).await;
}

trait Briefly: Future<Output = Option<()>> + Sized {
    /// `None` where nothing happens within a second and a half: a heartbeat and more.
    async fn await_briefly(self) -> Option<()> {
        tokio::time::timeout(std::time::Duration::from_millis(1500), self).await.unwrap_or(None)
    }
}

impl<F: Future<Output = Option<()>>> Briefly for F {}

#[tokio::test]
async fn a_newer_connection_of_the_same_source_takes_over() {
    let rig = Rig::new();
    let mut old = rig.connect().await;
    let replica = old.welcome.replica;
    old.ok(create(2, "f")).await;
    let mut new = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert_eq!(new.welcome.position.unwrap().applied.get(), 1);
    new.ok(create(3, "g")).await;
    tokio::time::timeout(TIMEOUT, old.served).await.unwrap().unwrap().unwrap();
    assert_eq!(rig.target.status().sources[0].sessions, 2);
    // Somebody else does not.
    assert_eq!(refusal_code(&rig.target, "SHA256:other", hello(1)).await, RefusalCode::Owned);
    new.ok(create(4, "h")).await;
}

#[tokio::test]
async fn two_sources_have_a_directory_each() {
    let rig = Rig::new();
    let mut one = rig.connect().await;
    let other = Hello { name: name("other"), ..hello(1) };
    let (answer, _reader, mut writer, _served) = greet(&rig.target, "SHA256:other", other).await;
    assert!(matches!(answer, Message::HelloAck(_)));
    let record =
        Record { seq: SeqNo::new(1), stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op: create(2, "f") };
    write_message(&mut writer, &Message::Record(record, Bytes::new())).await.unwrap();
    one.ok(create(2, "mine")).await;
    let file = rig.dir.path().join("root/other/f");
    for _ in 0..200 {
        if file.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(file.exists() && rig.at("mine").exists() && !rig.at("f").exists());
    assert_eq!(rig.target.status().sources.len(), 2);
}

#[tokio::test]
async fn a_clean_end_is_remembered_until_the_next_change() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    source.ok(create(2, "f")).await;
    source.ok(create(3, "g")).await;
    let ack = source.bye().await;
    assert_eq!((ack.applied.get(), ack.durable.get()), (3, 3));
    // Long ago: the change times of what is there now are long before the end.
    let clean = rig.meta().join("clean");
    let text = fs::read_to_string(&clean).unwrap();
    let now = platform::sys::now_ns();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ended = value["at_ns"].as_u64().unwrap();
    assert!(ended <= now && now - ended < 60_000_000_000);
    fs::write(&clean, text.replace(&ended.to_string(), &(ended + 5_000_000_000).to_string())).unwrap();

    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert!(source.welcome.clean && !source.welcome.empty);
    assert!(clean.exists(), "a session that changes nothing leaves it");
    let page = source.list("", None, None, false).await;
    assert!(page.entries.iter().all(|e| !e.suspect), "nothing was changed since");
    assert!(!clean.exists(), "the first record takes it away");
    source.hang_up().await;
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert!(!source.welcome.clean);
    assert!(source.list("", None, None, false).await.entries.iter().all(|e| e.suspect));
    let ack = source.bye().await;

    // What was changed behind our back after the end is told by its change time.
    let text = fs::read_to_string(&clean).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ended = value["at_ns"].as_u64().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    fs::write(&clean, text.replace(&ended.to_string(), &(ended + 2_100_000_000).to_string())).unwrap();
    fs::set_permissions(rig.at("g"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert!(source.welcome.clean);
    assert_eq!(source.welcome.position.unwrap().applied, ack.applied);
    let page = source.list("", None, None, false).await;
    let suspects: Vec<_> = page.entries.iter().filter(|e| e.suspect).map(|e| e.name.to_string()).collect();
    assert_eq!(suspects, ["g"]);
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_repair_is_not_clean() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok(create(2, "f")).await;
    write_message(&mut source.writer, &Message::Bye).await.unwrap();
    loop {
        if let Message::ByeAck(ack) = receive(&mut source.reader).await.unwrap() {
            assert_eq!(ack.durable.get(), 2);
            break;
        }
    }
    source.hang_up().await;
    let source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    assert!(!source.welcome.clean);
    assert!(!rig.target.status().sources[0].coherent);
}

#[tokio::test]
async fn frames_that_do_not_parse_end_the_connection_and_touch_nothing() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    source.ok(create(2, "f")).await;
    source.hang_up().await;
    let before = snapshot(&rig.tree());
    let record = |op| Record { seq: SeqNo::new(2), stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op };
    let good = |op, payload: &'static [u8]| {
        let frame = Frame::record(&record(op), Bytes::from_static(payload));
        [&frame.front[..], &frame.payload[..]].concat()
    };
    let whole = good(write(at(2, "f"), 0), b"data");
    let mut attacks: Vec<Vec<u8>> =
        vec![b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: text/html, everything else\r\n\r\n".to_vec()];
    for at in [2, 3, 8, 44, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        attacks.push(bytes);
    }
    let bad_time = Time { secs: 0, nanos: 2_000_000_000 };
    for (op, payload) in [
        (write(at(2, "f"), 0), &b""[..]),
        (write(at(2, "f"), u64::MAX), b"x"),
        (write(at(2, "f"), i64::MAX.unsigned_abs()), b"x"),
        (Op::Write { place: at(2, "f"), offset: 0, mtime: bad_time, mode: None, durable: false }, b"x"),
        (Op::Write { place: at(2, "f"), offset: 0, mtime: T, mode: Some(0o100_644), durable: false }, b"x"),
        (create(3, "g"), b"payload"),
        (make(3, "l", NodeKind::Symlink(b"a\0b".to_vec()), 0o777), b""),
        (make(3, "l", NodeKind::Symlink(Vec::new()), 0o777), b""),
        (make(3, "l", NodeKind::Symlink(vec![b'x'; 5000]), 0o777), b""),
        (create(3, ""), b""),
        (rename(2, "", "x", None), b""),
        (Op::SetXattr { place: at(2, "f"), name: b"user.\0".to_vec(), mode: None }, b"v"),
        (Op::SetXattr { place: at(2, "f"), name: Vec::new(), mode: None }, b"v"),
        (
            Op::Compare { place: at(2, "f"), offset: 0, len: 100, block_bytes: 0, hashes: Vec::new(), as_read: false },
            b"",
        ),
        (
            Op::Compare {
                place: at(2, "f"),
                offset: 0,
                len: 100,
                block_bytes: 10,
                hashes: vec![0; 16],
                as_read: false,
            },
            b"",
        ),
        (
            Op::Compare {
                place: at(2, "f"),
                offset: 0,
                len: 1 << 40,
                block_bytes: 1 << 30,
                hashes: vec![0; 16384],
                as_read: false,
            },
            b"",
        ),
    ] {
        attacks.push(good(op, payload));
    }
    for attack in attacks {
        let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
        source.writer.write_all(&attack).await.unwrap();
        // A length that was made larger takes what follows for its own.
        source.writer.write_all(&[0; 1024]).await.unwrap();
        let refused = source.refused().await;
        assert!(matches!(refused.code, RefusalCode::Protocol | RefusalCode::Version), "{refused:?} for {attack:x?}");
        assert!(!refused.text.is_empty());
        assert_eq!(snapshot(&rig.tree()), before, "{refused:?}");
    }
    // Before the greeting as well, and others go on.
    let (mut reader, mut writer, served) = pipe(&rig.target, PEER);
    writer.write_all(&whole).await.unwrap();
    assert!(matches!(receive(&mut reader).await, Some(Message::Refused(r)) if r.code == RefusalCode::Protocol));
    drop((reader, writer));
    assert!(served.await.unwrap().is_err());
    let mut source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    source.ok_with(write(at(2, "f"), 0), b"data").await;
}

#[tokio::test]
async fn damage_is_told_again_until_it_is_repaired() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    source.ok(create(2, "f")).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    source.damaged(false, unlink(3, "gone"), b"").await;
    assert!(!rig.target.status().sources[0].coherent);
    source.hang_up().await;
    let rig = rig.restart().await;
    let now = Hello { newest: SeqNo::new(10), ..hello_with(1, replica) };
    let mut source = Source::let_in(&rig.target, now.clone()).await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    assert_eq!(source.troubles.remove(0).kind, TroubleKind::Damaged);
    // A repair that began before this was told does not count.
    for seq in 4..=10 {
        source.send_as(seq, false, Op::Mark(Mark::Coherent), b"").await;
    }
    source.applied(10).await;
    assert!(!rig.target.status().sources[0].coherent);
    source.seq = 10;
    source.ok(Op::Mark(Mark::Incoherent)).await;
    source.ok(Op::Mark(Mark::Coherent)).await;
    assert!(rig.target.status().sources[0].coherent);
    source.hang_up().await;
    let mut source = Source::let_in(&rig.target, Hello { newest: SeqNo::new(12), ..now }).await;
    source.ok(create(5, "x")).await;
}

#[tokio::test]
async fn shutdown_leaves_everything_applied_durable() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    let replica = source.welcome.replica;
    for node in 2..50 {
        source.send(create(node, &format!("f{node}")), b"").await;
    }
    let seq = source.seq;
    source.applied(seq).await;
    rig.target.shutdown().await;
    let entry = rig.target.status().sources.remove(0);
    assert_eq!((entry.applied, entry.durable, entry.connected), (seq, seq, false));
    assert_eq!(refusal_code(&rig.target, PEER, hello_with(1, replica)).await, RefusalCode::Busy);
    assert!(source.until(|_| false).await.is_none(), "the connection ends without a refusal");
    let rig = rig.restart().await;
    let source = Source::let_in(&rig.target, hello_with(1, replica)).await;
    let position = source.welcome.position.unwrap();
    assert_eq!((position.applied.get(), position.durable.get()), (seq, seq));
}

#[tokio::test]
async fn what_was_received_is_applied_although_the_source_is_gone() {
    let rig = Rig::new();
    let mut source = rig.connect().await;
    for node in 2..500 {
        source.send(create(node, &format!("f{node}")), b"").await;
    }
    let seq = source.seq;
    source.hang_up().await;
    let entry = rig.target.status().sources.remove(0);
    assert_eq!((entry.applied, entry.durable), (seq, seq));
    assert!(rig.at("f499").exists());
}
