//! Numbers at their ends, and much of everything: what is refused, what is trouble, and that memory stays within its bound.

use crate::common::*;
use crate::scene::{Scene, attackers_hello, every_kind, whatever};
use protocol::{AllocateMode, Ask, Attrs, Hello, MAX_NUMBER, Message, NodeId, Op, Owner, PieceOp, SeqNo, Time};
use std::time::Duration;

const LAST: u64 = i64::MAX as u64;

#[tokio::test]
async fn a_hello_with_absurd_numbers_is_answered() {
    let mut scene = Scene::new().await;
    let ends = [0, 1, 2, MAX_NUMBER - 1, MAX_NUMBER, MAX_NUMBER + 1, u64::MAX - 1, u64::MAX];
    for oldest in ends {
        for newest in ends {
            let (oldest, newest) = (SeqNo::new(oldest), SeqNo::new(newest));
            let hello = Hello { oldest, newest, retry_ms: Some(u64::MAX), ..hello(1) };
            match greet(&scene.rig.target, PEER, hello).await {
                (Message::HelloAck(_), reader, writer, served) => {
                    assert!(oldest.get() <= newest.get() + 1 && newest.get() <= MAX_NUMBER, "{oldest} {newest}");
                    drop((reader, writer));
                    tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap().unwrap();
                }
                (Message::Refused(why), ..) => {
                    assert!(oldest > newest || newest.get() > MAX_NUMBER, "{oldest} {newest}: {}", why.text);
                    assert!(why.text.contains("hello"), "{}", why.text);
                }
                (other, ..) => panic!("{other:?}"),
            }
        }
    }
    let talkative = Hello { software: "x".repeat(1 << 20), ..hello(1) };
    Source::let_in(&scene.rig.target, talkative).await.hang_up().await;
    scene.holds("absurd numbers").await;
}

#[tokio::test]
async fn the_last_number_there_is_is_a_number() {
    let mut scene = Scene::new().await;
    let newest = SeqNo::new(MAX_NUMBER);
    let mut source = Source::let_in(&scene.rig.target, Hello { newest, ..attackers_hello(1) }).await;
    source.seq = MAX_NUMBER - 2;
    source.ok(create(1, "before")).await;
    source.ok(create(2, "last")).await;
    // What comes after it has a number of before, and is dropped.
    source.send_as(MAX_NUMBER, false, create(3, "again"), b"").await;
    source.send_as(1, false, create(4, "first"), b"").await;
    source.until(|s| s.ack.applied.get() == MAX_NUMBER).await.unwrap();
    source.hang_up().await;
    scene.holds("the last number").await;
    assert!(scene.rig.at("last").exists() && !scene.rig.at("again").exists() && !scene.rig.at("first").exists());
}

// claim: A211
#[tokio::test]
async fn places_beyond_the_largest_file_are_refused() {
    let mut scene = Scene::new().await;
    let mut run = 1;
    let place = || at(1, "file");
    let write_at = |offset| write(place(), offset);
    let allocate = |offset, len| {
        let mode = AllocateMode::Allocate;
        Op::Allocate { place: place(), mode, offset, len, mtime: T, perm: None }
    };
    let copy = |from_offset, to_offset, len| {
        let (from, to) = (place(), at(2, "other"));
        Op::CopyRange { from, from_offset, to, to_offset, len, mtime: T, perm: None }
    };
    let size =
        |size| Op::SetAttr { place: place(), size: Some(size), owner: None, mode: None, atime: None, mtime: None };
    let compare = |offset, len, block_bytes, hashes: usize| {
        let hashes = vec![0; hashes];
        Op::Compare { place: place(), offset, len, block_bytes, hashes, as_read: true }
    };
    let owner = |uid, gid| Op::SetAttr {
        place: place(),
        size: None,
        owner: Some(Owner { uid, gid }),
        mode: None,
        atime: None,
        mtime: None,
    };
    let time = |nanos| write_with_time(place(), Time { secs: i64::MIN, nanos });
    for (op, payload) in [
        (write_at(LAST), &b"x"[..]),
        (write_at(u64::MAX), b"x"),
        (write_at(0), b""),
        (allocate(LAST, 1), b""),
        (allocate(1, u64::MAX), b""),
        (allocate(0, 0), b""),
        (copy(0, LAST, 1), b""),
        (copy(u64::MAX, 0, 1), b""),
        (copy(0, 0, 1 << 40), b""),
        (size(LAST + 1), b""),
        (compare(0, u64::MAX, 1, 16), b""),
        (compare(0, 1 << 20, 0, 16), b""),
        (compare(0, 64, 8, 16), b""),
        (owner(u32::MAX, 0), b""),
        (owner(0, u32::MAX), b""),
        (time(1_000_000_000), b"x"),
        (make(1, "odd", protocol::NodeKind::Symlink(Vec::new()), 0o777), b""),
        (make(1, "odd", protocol::NodeKind::Symlink(b"a\0b".to_vec()), 0o777), b""),
        (make(1, "odd", protocol::NodeKind::Symlink(vec![b'x'; 5000]), 0o777), b""),
        (make(1, "odd", protocol::NodeKind::File, 0o17777), b""),
        (Op::SetXattr { place: place(), name: Vec::new(), mode: None }, b"x"),
        (Op::SetXattr { place: place(), name: vec![b'x'; 256], mode: None }, b"x"),
        (Op::SetXattr { place: place(), name: b"user.\0".to_vec(), mode: None }, b"x"),
        (Op::SetXattr { place: place(), name: b"user.x".to_vec(), mode: None }, &vec![0; 65_537]),
        (many_xattrs(40_000), b""),
    ] {
        run = run % 200 + 1;
        let mut source = Source::let_in(&scene.rig.target, attackers_hello(run)).await;
        source.send_as(1, false, op, payload).await;
        let why = source.refused().await;
        assert_eq!(why.code, protocol::RefusalCode::Protocol, "{}", why.text);
    }
    scene.holds("what cannot be").await;
}

fn write_with_time(place: protocol::Place, mtime: Time) -> Op {
    Op::Write { place, offset: 0, mtime, mode: None, durable: false }
}

fn many_xattrs(count: usize) -> Op {
    let Op::Ensure(mut wanted) = crate::scene::ensure(1, "file", protocol::NodeKind::File, protocol::Content::Keep, 0)
    else {
        unreachable!()
    };
    wanted.xattrs = (0..count).map(|n| (format!("user.{n}").into_bytes().into(), b"".to_vec().into())).collect();
    Op::Ensure(wanted)
}

/// Each is a number that the protocol can carry; the system says what it thinks of it, and the session goes on.
// claim: A211
#[tokio::test]
async fn numbers_that_only_the_system_refuses_are_trouble_or_nothing() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    source.ok(create(1, "file")).await;
    source.ok(create(2, "other")).await;
    let place = || at(1, "file");
    let mut odd = Vec::new();
    for secs in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        odd.push((write_with_time(place(), Time { secs, nanos: 999_999_999 }), b"x".to_vec()));
    }
    for offset in [LAST - 1, LAST - 4096, 1 << 62, 1 << 50] {
        odd.push((write(place(), offset), b"x".to_vec()));
        let mode = AllocateMode::Punch;
        odd.push((Op::Allocate { place: place(), mode, offset, len: 1, mtime: T, perm: None }, Vec::new()));
        let size = Some(offset);
        odd.push((Op::SetAttr { place: place(), size, owner: None, mode: None, atime: None, mtime: None }, Vec::new()));
        let (from, to) = (place(), at(2, "other"));
        let copy = Op::CopyRange { from, from_offset: offset, to, to_offset: offset, len: 1, mtime: T, perm: None };
        odd.push((copy, Vec::new()));
        let hashes = vec![0; 16];
        odd.push((
            Op::Compare { place: place(), offset, len: 1, block_bytes: u32::MAX, hashes, as_read: false },
            Vec::new(),
        ));
    }
    for number in [u64::MAX, 1 << 32, 1 << 63, 0xffff_ffff] {
        odd.push((make(5, "char", protocol::NodeKind::CharDevice(number), 0o600), Vec::new()));
        odd.push((make(6, "block", protocol::NodeKind::BlockDevice(number), 0o600), Vec::new()));
    }
    let owner = Owner { uid: u32::MAX - 1, gid: u32::MAX - 1 };
    for kind in every_kind() {
        let attrs = Attrs { mode: 0o7777, owner, mtime: Time { secs: i64::MAX, nanos: 0 } };
        let parent_mtime = Time { secs: i64::MIN, nanos: 1 };
        let node = NodeId::new(u64::MAX);
        odd.push((Op::Create { path: path("made"), node, kind, attrs, parent_mtime }, Vec::new()));
    }
    odd.push((Op::Reap { node: NodeId::new(u64::MAX) }, Vec::new()));
    let deep = vec!["d"; 30_000].join("/");
    odd.push((mkdir(7, &deep), Vec::new()));
    odd.push((write(at(8, "x/".repeat(3000).trim_end_matches('/')), 0), b"x".to_vec()));
    // A directory into itself.
    odd.push((mkdir(9, "dir"), Vec::new()));
    odd.push((rename(9, "dir", "dir/dir", None), Vec::new()));
    odd.push((exchange(9, "dir", "dir"), Vec::new()));
    for tolerant in [false, true] {
        for (op, payload) in &odd {
            whatever(&mut source, tolerant, op.clone(), payload).await;
        }
    }
    whatever(&mut source, true, Op::Remove { path: path("alive"), parent_mtime: D }, b"").await;
    source.troubles.clear();
    source.ok(create(99, "alive")).await;
    source.ok_with(write(at(99, "alive"), 0), b"still here").await;
    source.hang_up().await;
    scene.holds("odd numbers").await;
}

#[tokio::test]
async fn lanes_and_readers_are_within_bounds() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    source.ok(create(1, "file")).await;
    let stage = STAGE;
    for (piece, payload) in [
        (PieceOp::Data { stage, offset: LAST }, &b"x"[..]),
        (PieceOp::Data { stage, offset: u64::MAX }, b"x"),
        (PieceOp::Data { stage, offset: 0 }, b""),
        (PieceOp::Hole { stage, offset: 1, len: u64::MAX }, b""),
        (PieceOp::Hole { stage, offset: 0, len: 0 }, b""),
        (PieceOp::Open { stage, size: u64::MAX }, b""),
        (PieceOp::Chunks { stage, path: path("file"), offset: u64::MAX }, b""),
        (PieceOp::Chunks { stage, path: path(""), offset: 0 }, b""),
        (PieceOp::CopyFrom { stage, offset: 0, len: 1 << 40, path: path("file"), from: 0, hash: [0; 16] }, b""),
        (PieceOp::CopyFrom { stage, offset: 0, len: 1, path: path("file"), from: u64::MAX, hash: [0; 16] }, b""),
    ] {
        let lane = Lane::open(&scene.rig.target, 0).await;
        let why = lane.refused(piece, payload).await;
        assert_eq!(why.code, protocol::RefusalCode::Protocol, "{}", why.text);
    }
    for number in [protocol::MAX_LANES, u8::MAX] {
        let why = Lane::try_open(&scene.rig.target, PEER, lane_hello(1, number)).await.map(|_| ()).unwrap_err();
        assert_eq!(why.code, protocol::RefusalCode::Protocol, "{}", why.text);
    }
    let mut lane = Lane::open(&scene.rig.target, 0).await;
    lane.make(stage).await;
    for offset in [LAST - 1, 1 << 62] {
        lane.ask(PieceOp::Data { stage, offset }, b"x").await;
        lane.ask(PieceOp::Hole { stage, offset, len: 1 }, b"").await;
    }
    let (mut reader, mut writer, served) = pipe(&scene.rig.target, PEER);
    let fetch = protocol::Fetch { version: protocol::VERSION, software: String::new(), name: name(NAME) };
    platform::wire::write_message(&mut writer, &Message::Fetch(fetch)).await.unwrap();
    assert!(matches!(receive(&mut reader).await, Some(Message::FetchAck(_))));
    for (offset, len, block_bytes) in [
        (u64::MAX, 1, 512),
        (LAST, 1, 512),
        (0, u64::MAX, 512),
        (0, 1 << 21, 512),
        (0, 512, 0),
        (LAST - 1, 1, u32::MAX),
    ] {
        for ask in [
            Ask::Read { path: path("file"), offset, len },
            Ask::Hashes { path: path("file"), offset, len, block_bytes },
        ] {
            platform::wire::write_message(&mut writer, &Message::Ask(SeqNo::new(MAX_NUMBER), ask)).await.unwrap();
            assert!(matches!(receive(&mut reader).await, Some(Message::Told(..))));
        }
    }
    drop((reader, writer));
    tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap().unwrap();
    source.hang_up().await;
    scene.holds("bounds of lanes and readers").await;
}

/// While one record cannot be carried out, others wait in memory: within a bound of bytes, whatever part of them is large.
// claim: A211
#[tokio::test]
async fn what_waits_is_bounded_whatever_is_large_in_it() {
    let mut scene = Scene::new().await;
    // Without a bound on how long it is tried.
    let mut source = Source::let_in(&scene.rig.target, hello(1)).await;
    source.ok(create(1, "file")).await;
    // No file system has attributes of that kind.
    source.send(Op::SetXattr { place: at(1, "file"), name: b"bogus.x".to_vec(), mode: None }, b"x").await;
    source.until(|s| !s.troubles.is_empty()).await.unwrap();
    // Half a megabyte each, none of it payload.
    let mut sent = 0;
    while sent < 500 {
        let Op::Ensure(mut wanted) = many_xattrs(8) else { unreachable!() };
        for (_, value) in &mut wanted.xattrs {
            *value = vec![0; 64 << 10].into();
        }
        let more = source.send(Op::Ensure(wanted), b"");
        if tokio::time::timeout(Duration::from_secs(1), more).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 40, "{sent} records of half a megabyte wait");
    scene.holds("much that waits").await;
}
