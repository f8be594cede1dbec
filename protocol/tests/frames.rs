//! Frames against hostile bytes, and the frozen samples that later versions must read.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use replfs_protocol::frame::HEAD_BYTES;
use replfs_protocol::{
    Ack, Answer, Ask, At, Attrs, Busy, Content, Draft, Ensure, Entry, FailedKind, Features, Fetch, FetchAck, Frame,
    FrameError, Head, Hello, HelloAck, Hole, Incarnation, LaneAck, LaneHello, Mark, Message, Name, NodeId, NodeKind,
    Op, Own, Owner, Page, Pair, PairAck, Phase, PieceAnswer, PieceOp, Place, Position, Record, RefusalCode, Refused,
    RelPath, RenameKind, Replaced, ReplicaId, Seen, SeqNo, StageId, Time, Told, Trouble, TroubleKind, Verdict,
};
use std::path::PathBuf;

fn time(n: i64) -> Time {
    Time { secs: n, nanos: 7 }
}

fn attrs() -> Attrs {
    Attrs { mode: 0o4755, owner: Owner { uid: 1000, gid: 100 }, mtime: time(-1) }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn place() -> Place {
    Place { node: NodeId::new(9), at: At::Path(path("a/b")) }
}

fn record(op: Op, payload: &'static [u8]) -> Message {
    let record = Record {
        seq: SeqNo::new(42),
        stamp: 1_700_000_000_000_000_000,
        tolerant: true,
        phase: Phase::Plain,
        beside: 0,
        op,
    };
    Message::Record(record, Bytes::from_static(payload))
}

/// One message of every kind, and the records whose shape is not obvious.
fn samples() -> Vec<(&'static str, Message)> {
    let incarnation = Incarnation::from_bytes([1; 16]);
    let replica = ReplicaId::from_bytes([2; 16]);
    let ack = Ack { applied: SeqNo::new(41), durable: SeqNo::new(40) };
    let hello = Hello {
        version: 1,
        software: "0.1.0".into(),
        name: name("mail"),
        incarnation,
        oldest: SeqNo::new(3),
        newest: SeqNo::new(42),
        replica: Some(replica),
        adopt: false,
        retry_ms: None,
        features: Features::default(),
        set: None,
    };
    let bounded = Hello { retry_ms: Some(60_000), ..hello.clone() };
    let welcome = HelloAck {
        version: 1,
        software: "0.1.0".into(),
        replica,
        position: Some(Position { incarnation, applied: ack.applied, durable: ack.durable }),
        clean: true,
        empty: false,
        damaged: false,
        power_lost: false,
        features: Features::default(),
    };
    let damaged = HelloAck { damaged: true, ..welcome.clone() };
    let power_lost = HelloAck { power_lost: true, ..damaged.clone() };
    let look = Op::Look { path: path("a"), name: name("b"), hash: true };
    let ensure = Ensure {
        path: path("a/b"),
        node: NodeId::new(9),
        kind: NodeKind::File,
        fresh: true,
        attrs: attrs(),
        atime: time(5),
        size: 3,
        content: Content::Whole,
        xattrs: vec![(b"user.x".to_vec().into(), vec![0, 255].into())],
        parent_mtime: Some(time(6)),
    };
    let staged = Ensure { content: Content::Staged(StageId::new(77, 3)), ..ensure.clone() };
    let rename = Op::Rename {
        from: path("a"),
        to: path("b"),
        kind: RenameKind::Exchange,
        node: NodeId::new(9),
        replaced: Some(Replaced { node: NodeId::new(10), orphan: true }),
        from_parent_mtime: time(1),
        to_parent_mtime: time(2),
    };
    let featured = features(&hello, &welcome);
    vec![
        ("hello", Message::Hello(hello)),
        ("hello-bounded", Message::Hello(bounded)),
        ("hello-ack", Message::HelloAck(welcome)),
        ("hello-ack-damaged", Message::HelloAck(damaged)),
        ("hello-ack-power-lost", Message::HelloAck(power_lost)),
        ("record-look", record(look, b"")),
        ("refused", Message::Refused(Refused { code: RefusalCode::Owned, text: "no".into() })),
        (
            "record-write",
            record(
                Op::Write { place: place(), offset: 1 << 40, mtime: time(3), mode: Some(0o644), durable: true },
                b"data",
            ),
        ),
        ("record-rename", record(rename, b"")),
        ("record-ensure", record(Op::Ensure(Box::new(ensure)), b"abc")),
        ("record-mark", record(Op::Mark(Mark::Barrier), b"")),
        ("record-mark-restarted", record(Op::Mark(Mark::Restarted), b"")),
        ("ack", Message::Ack(ack)),
        ("answer-differs", Message::Answer(SeqNo::new(6), Answer::Differs(vec![0, 63]))),
        (
            "trouble",
            Message::Trouble(Trouble {
                seq: SeqNo::new(7),
                kind: TroubleKind::Blocked,
                path: Some(path("full")),
                text: "no space".into(),
            }),
        ),
        ("heartbeat", Message::Heartbeat),
        ("bye", Message::Bye),
        ("bye-ack", Message::ByeAck(ack)),
        ("record-ensure-staged", record(Op::Ensure(Box::new(staged)), b"")),
    ]
    .into_iter()
    .chain(featured)
    .chain(pages())
    .chain(pairing())
    .chain(bounded_troubles())
    .chain(lane_samples())
    .chain(proposals())
    .chain(reading())
    .collect()
}

fn pairing() -> Vec<(&'static str, Message)> {
    let software = || "0.1.0".to_owned();
    let pair = Pair { version: 1, software: software(), name: "web1".into(), invitation: 1 << 63, secret: [0xa5; 16] };
    let ack = PairAck { version: 1, software: software(), name: "backup".into(), dir: name("mail1") };
    vec![("pair", Message::Pair(pair)), ("pair-ack", Message::PairAck(ack))]
}

/// What ends say that can do more than the first ones.
fn features(hello: &Hello, welcome: &HelloAck) -> Vec<(&'static str, Message)> {
    let able = Hello { features: Features::BUSY, ..hello.clone() };
    let packed = Features::BUSY.and(Features::PACKED);
    vec![
        ("hello-features", Message::Hello(able.clone())),
        ("hello-set", Message::Hello(Hello { set: Some([6; 16]), ..able })),
        ("hello-ack-features", Message::HelloAck(HelloAck { features: Features::BUSY, ..welcome.clone() })),
        ("hello-packed", Message::Hello(Hello { features: packed, ..hello.clone() })),
        ("hello-ack-packed", Message::HelloAck(HelloAck { features: packed, ..welcome.clone() })),
        ("busy", Message::Busy(Busy { seq: SeqNo::new(42), for_ms: 12_000 })),
    ]
}

fn proposals() -> Vec<(&'static str, Message)> {
    let write = |phase: Phase, payload: &'static [u8]| {
        let op = Op::Write { place: place(), offset: 4096, mtime: time(3), mode: None, durable: false };
        let record =
            Record { seq: SeqNo::new(43), stamp: 1_700_000_000_000_000_000, tolerant: false, phase, beside: 0, op };
        Message::Record(record, Bytes::from_static(payload))
    };
    let beside = |beside| match write(Phase::Plain, b"data") {
        Message::Record(record, payload) => Message::Record(Record { beside, ..record }, payload),
        other => other,
    };
    let verdict = |errno, unchanged| Message::Answer(SeqNo::new(43), Answer::Verdict(Verdict { errno, unchanged }));
    vec![
        ("record-proposed", write(Phase::Proposed, b"data")),
        ("record-settled", write(Phase::Settled, b"")),
        ("record-beside", beside(300)),
        ("answer-verdict-done", verdict(0, false)),
        ("answer-verdict-refused", verdict(28, true)),
    ]
}

fn pages() -> Vec<(&'static str, Message)> {
    let entry = Entry {
        name: name("ä"),
        kind: NodeKind::Symlink(b"to".to_vec()),
        attrs: attrs(),
        size: 0,
        blocks: 8,
        links: 2,
        inode: 77,
        xattrs: [3; 16],
        suspect: true,
        content: Some([4; 16]),
    };
    let page = Page { exists: true, entries: vec![entry], complete: false, own: None };
    let own = Page { own: Some(Own { attrs: attrs(), xattrs: [3; 16] }), ..Page::default() };
    vec![
        ("answer-page", Message::Answer(SeqNo::new(5), Answer::Page(page))),
        ("answer-page-own", Message::Answer(SeqNo::new(8), Answer::Page(own))),
    ]
}

/// What is said only to a source that gave a bound.
fn bounded_troubles() -> Vec<(&'static str, Message)> {
    let trouble = |seq, kind, path, text: &str| {
        Message::Trouble(Trouble { seq: SeqNo::new(seq), kind, path, text: text.to_owned() })
    };
    vec![
        ("trouble-skipped", trouble(8, TroubleKind::Skipped, Some(path("full")), "no space")),
        ("trouble-halted", trouble(9, TroubleKind::Halted, None, "read-only file system")),
    ]
}

fn lane_samples() -> Vec<(&'static str, Message)> {
    let stage = StageId::new(0x1234_5678_9abc_def0, 7);
    let hello = LaneHello { version: 1, name: name("mail"), incarnation: Incarnation::from_bytes([1; 16]), lane: 3 };
    let data = PieceOp::Data { stage, offset: 1 << 40 };
    let compare = PieceOp::Compare { stage, offset: 5, len: 9, block_bytes: 8, hashes: vec![7; 32] };
    let chunks = PieceOp::Chunks { stage, path: path("a/b"), offset: 1 << 33 };
    let from = PieceOp::CopyFrom { stage, offset: 5, len: 1 << 20, path: path("a/b"), from: 1 << 40, hash: [7; 16] };
    let failed = PieceAnswer::Failed { text: "no space".into(), retry: true };
    let none = Bytes::new;
    vec![
        ("lane", Message::Lane(hello)),
        ("lane-ack", Message::LaneAck(LaneAck { version: 1 })),
        ("piece-open", Message::Piece(1, PieceOp::Open { stage, size: 12 }, none())),
        ("piece-data", Message::Piece(2, data, Bytes::from_static(b"data"))),
        ("piece-hole", Message::Piece(3, PieceOp::Hole { stage, offset: 4096, len: 8192 }, none())),
        ("piece-compare", Message::Piece(4, compare, none())),
        ("piece-drop", Message::Piece(5, PieceOp::Drop { stage }, none())),
        ("piece-done", Message::PieceDone(2, PieceAnswer::Done)),
        ("piece-done-there", Message::PieceDone(1, PieceAnswer::There { len: 1 << 33 })),
        ("piece-done-differs", Message::PieceDone(4, PieceAnswer::Differs(vec![1]))),
        ("piece-done-failed", Message::PieceDone(3, failed)),
        ("piece-chunks", Message::Piece(6, chunks, none())),
        ("piece-copy-from", Message::Piece(7, from, none())),
        (
            "piece-done-chunks",
            Message::PieceDone(6, PieceAnswer::Chunks { lens: vec![1 << 17, 3], hashes: vec![9; 32] }),
        ),
        ("piece-done-unlike", Message::PieceDone(7, PieceAnswer::Unlike)),
    ]
}

/// One message of every kind of the reading conversation, and every question.
fn reading() -> Vec<(&'static str, Message)> {
    let seen = Seen { size: 1 << 40, mtime: time(8), inode: 77 };
    let number = SeqNo::new(12);
    let ask = |ask| Message::Ask(number, ask);
    let told = |told| Message::Told(number, told, Bytes::new());
    let incarnation = Incarnation::from_bytes([1; 16]);
    let position = Position { incarnation, applied: SeqNo::new(41), durable: SeqNo::new(40) };
    let entry = Entry {
        name: name("f"),
        kind: NodeKind::File,
        attrs: attrs(),
        size: 9,
        blocks: 8,
        links: 1,
        inode: 77,
        xattrs: [3; 16],
        suspect: false,
        content: None,
    };
    let ack = FetchAck {
        version: 1,
        software: "0.1.0".into(),
        replica: ReplicaId::from_bytes([2; 16]),
        coherent: true,
        position: Some(position),
    };
    let hashes = vec![5; 32].into();
    let holes = vec![Hole { offset: 4096, len: 8192 }];
    vec![
        ("fetch", Message::Fetch(Fetch { version: 1, software: "0.1.0".into(), name: name("mail") })),
        ("fetch-ack", Message::FetchAck(ack)),
        ("ask-stat", ask(Ask::Stat { path: RelPath::root() })),
        ("ask-list", ask(Ask::List { path: path("a"), after: Some(name("b")) })),
        ("ask-xattrs", ask(Ask::Xattrs { path: path("a") })),
        ("ask-hashes", ask(Ask::Hashes { path: path("a"), offset: 1 << 40, len: 1 << 20, block_bytes: 512 })),
        ("ask-reserved", ask(Ask::Reserved { path: path("a") })),
        ("ask-read", ask(Ask::Read { path: path("a"), offset: 0, len: 3 })),
        ("told-entry", told(Told::Entry(Box::new(entry.clone())))),
        ("told-page", told(Told::Page(Page { exists: true, entries: vec![entry], complete: true, own: None }))),
        ("told-xattrs", told(Told::Xattrs(vec![(b"user.x".to_vec().into(), vec![0, 255].into())]))),
        ("told-hashes", told(Told::Hashes { seen, hashes, hole_after: 0 })),
        (
            "told-data",
            Message::Told(number, Told::Data { seen, len: 3, holes, hole_after: 1 << 30 }, Bytes::from_static(b"abc")),
        ),
        ("told-reserved", told(Told::Reserved(vec![Hole { offset: 0, len: 1 << 20 }]))),
        ("told-failed", told(Told::Failed { kind: FailedKind::Missing, text: "gone".into() })),
    ]
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let frame = Frame::encode(message);
    [&frame.front[..], &frame.payload[..]].concat()
}

fn parse(bytes: &[u8]) -> Result<Message, FrameError> {
    let head = Head::parse(bytes[..HEAD_BYTES].try_into().unwrap())?;
    let (header, payload) = bytes[HEAD_BYTES..].split_at(head.header_len().min(bytes.len() - HEAD_BYTES));
    if header.len() != head.header_len() || payload.len() != head.payload_len() {
        return Err(FrameError::Length(bytes.len()));
    }
    head.message(header, Bytes::copy_from_slice(payload))
}

#[test]
fn every_message_comes_back_as_it_was() {
    for (what, message) in samples() {
        assert_eq!(parse(&bytes_of(&message)).unwrap(), message, "{what}");
    }
}

/// The samples are written once (`REPLFS_WRITE_SAMPLES=1` writes those that are missing) and never changed: a new format
/// gets new ones beside them.
#[test]
fn frozen_samples_of_version_1_are_read() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/v1");
    if std::env::var_os("REPLFS_WRITE_SAMPLES").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        for (what, message) in samples() {
            let file = dir.join(what);
            // Only what has none yet: those that are there are frozen.
            if !file.exists() {
                std::fs::write(file, bytes_of(&message)).unwrap();
            }
        }
    }
    for (what, message) in samples() {
        let frozen = std::fs::read(dir.join(what)).unwrap();
        assert_eq!(parse(&frozen).unwrap(), message, "{what}");
        assert_eq!(frozen, bytes_of(&message), "{what} is still written as it was");
    }
}

#[test]
fn a_record_is_not_proposed_and_settled_at_once() {
    let (_, message) = proposals().remove(0);
    let mut bad = bytes_of(&message);
    bad[5] |= 4;
    let header = u32::from_le_bytes(bad[8..12].try_into().unwrap()) as usize;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bad[..44]), &bad[HEAD_BYTES..HEAD_BYTES + header]);
    bad[44..48].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(parse(&bad).unwrap_err(), FrameError::Flags(6));
}

#[test]
fn any_flipped_bit_of_any_message_is_detected() {
    for (what, message) in samples() {
        let good = bytes_of(&message);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "{what}: bit {bit} went unnoticed");
        }
    }
}

/// A frame whose checksums are right, whatever else is wrong with it.
fn summed(mut frame: Vec<u8>) -> Vec<u8> {
    let header = u32::from_le_bytes(frame[8..12].try_into().unwrap()) as usize;
    let payload = crc32c::crc32c(&frame[HEAD_BYTES + header..]);
    frame[40..44].copy_from_slice(&payload.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..44]), &frame[HEAD_BYTES..HEAD_BYTES + header]);
    frame[44..48].copy_from_slice(&crc.to_le_bytes());
    frame
}

#[test]
fn a_frame_says_nothing_that_its_kind_does_not_have() {
    let message = |what: &str| bytes_of(&samples().into_iter().find(|(name, _)| *name == what).unwrap().1);
    let with = |what: &str, at: usize, byte: u8| {
        let mut frame = message(what);
        frame[at] = byte;
        parse(&summed(frame)).unwrap_err()
    };
    for at in 6..8 {
        assert_eq!(with("ack", at, 1), FrameError::Field("place for records beside it"));
    }
    assert_eq!(with("record-write", 5, 8), FrameError::Flags(8));
    assert_eq!(with("ack", 5, 1), FrameError::Flags(1));
    assert_eq!(with("ack", 16, 1), FrameError::Field("number"));
    assert_eq!(with("record-write", 23, 0x80), FrameError::Field("number"));
    assert_eq!(with("ack", 24, 1), FrameError::Field("offset"));
    assert_eq!(with("record-write", 24, 1), FrameError::Field("offset"), "another one than the header's");
    assert_eq!(with("piece-data", 24, 1), FrameError::Field("offset"));
    assert_eq!(with("ack", 32, 1), FrameError::Field("time stamp"));
    // One byte more than the head has.
    let longer = |what: &str, at: usize| {
        let mut frame = message(what);
        frame[at] += 1;
        frame.push(0xc0);
        parse(&summed(frame)).unwrap_err()
    };
    assert_eq!(longer("ack", 12), FrameError::Field("payload"));
    assert_eq!(longer("heartbeat", 8), FrameError::Field("header"));
    assert_eq!(longer("ack", 8), FrameError::Header("1 bytes behind it".to_owned()));
}

#[test]
fn a_greeting_of_a_newer_end_is_understood_as_far_as_this_one_knows_it() {
    let newer = |what: &str| {
        let (_, message) = samples().into_iter().find(|(name, _)| *name == what).unwrap();
        let mut frame = bytes_of(&message);
        // Four more at the end: nothing, as far as this build can tell.
        frame[HEAD_BYTES] += 4;
        frame.extend([0xc0, 0xc3, 7, 0xa1, b'x'][..].iter());
        frame[8] += 5;
        (parse(&summed(frame)), message)
    };
    for what in ["hello-set", "hello-ack-features"] {
        let (parsed, message) = newer(what);
        assert_eq!(parsed.unwrap(), message, "{what}");
    }
}

#[test]
fn demands_that_are_not_known_are_named_and_offers_are_not() {
    assert_eq!(Features::from_bits(0xffff_ffff).unknown_demands(), None);
    assert_eq!(Features::from_bits(1 << 32 | 1 << 63 | 1).unknown_demands().as_deref(), Some("32, 63"));
    assert!(Features::OURS.has(Features::BUSY) && !Features::default().has(Features::BUSY));
    // A target takes blocks from a source that sends them, and says nothing of anything to one that knows no features.
    let busy = Features::BUSY;
    assert_eq!(busy.answer(), busy);
    for feature in [Features::PACKED, Features::BESIDE, Features::SHORT] {
        assert_eq!(feature.answer(), busy.and(feature));
    }
    assert_eq!(Features::default().answer(), Features::default());
}

#[test]
fn a_record_for_a_target_that_knows_nothing_beside_it_is_the_same_without() {
    for (what, message) in samples() {
        let (frame, wanted) = (
            Frame::encode(&message),
            match message {
                Message::Record(record, payload) => Message::Record(Record { beside: 0, ..record }, payload),
                other => other,
            },
        );
        let plain = frame.without_beside();
        let (ours, theirs) = ([&plain.front[..], &plain.payload].concat(), bytes_of(&wanted));
        assert_eq!(ours, theirs, "{what}");
    }
}

#[test]
fn what_is_beside_a_record_is_what_came_after_the_last_that_was_said_to_be_durable() {
    let beside = |synced: u64, seq: u64| {
        let draft = Draft::new(&Op::Mark(Mark::Barrier), Bytes::new()).after(SeqNo::new(synced), SeqNo::new(seq));
        let frame = draft.number(SeqNo::new(seq), 0, false);
        u16::from_le_bytes([frame.front[6], frame.front[7]])
    };
    assert_eq!([beside(41, 42), beside(40, 42), beside(0, 42), beside(42, 42), beside(99, 42)], [0, 1, 41, 0, 0]);
    assert_eq!(beside(0, 1 << 20), u16::MAX);
}

#[test]
fn a_refusal_is_read_whatever_its_version_is() {
    let (_, message) = samples().into_iter().find(|(name, _)| *name == "refused").unwrap();
    for version in [0, 2, 255] {
        let mut frame = bytes_of(&message);
        frame[2] = version;
        assert_eq!(parse(&summed(frame)).unwrap(), message);
    }
}

#[test]
fn lengths_are_checked_before_anything_is_allocated() {
    let mut head: [u8; HEAD_BYTES] = bytes_of(&Message::Bye)[..HEAD_BYTES].try_into().unwrap();
    head[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Head::parse(&head).unwrap_err(), FrameError::Length(u32::MAX as usize));
}

#[test]
fn other_versions_kinds_and_protocols_are_named() {
    let good: [u8; HEAD_BYTES] = bytes_of(&Message::Bye)[..HEAD_BYTES].try_into().unwrap();
    let with = |at: usize, byte: u8| {
        let mut head = good;
        head[at] = byte;
        Head::parse(&head).unwrap_err()
    };
    assert_eq!(with(0, b'X'), FrameError::Magic([b'X', b'F']));
    assert_eq!(with(2, 9), FrameError::Version(9));
    assert_eq!(with(3, 200), FrameError::Kind(200));
    assert_eq!(with(4, 1), FrameError::Codec(1));
}

#[test]
fn a_path_from_the_wire_cannot_leave_its_directory() {
    let op = Op::List { path: path("xx/etc"), after: None, last: None, hash: false };
    let good = bytes_of(&record(op, b""));
    // The same frame with "xx" replaced by ".." and its checksum made right again.
    let at = good.windows(2).position(|pair| pair == b"xx").unwrap();
    let mut bad = good;
    bad[at..at + 2].copy_from_slice(b"..");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bad[..44]), &bad[HEAD_BYTES..]);
    bad[44..48].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(parse(&bad), Err(FrameError::Header(_))));
}
