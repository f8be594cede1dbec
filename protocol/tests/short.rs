//! Short fronts: they come back as they were, are as short as is promised, and hostile ones are refused. Frozen samples that later versions must read.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use replfs_protocol::frame::HEAD_BYTES;
use replfs_protocol::short::{Begins, Fronts, MAX_KEPT_BYTES, SLOTS, ShortError, Shortener};
use replfs_protocol::{
    At, Attrs, Content, Ensure, Frame, Head, Mark, Message, NodeId, NodeKind, Op, Owner, Phase, PieceOp, Place, Record,
    RelPath, RenameKind, Replaced, SeqNo, StageId, Time,
};
use std::path::PathBuf;

/// What is sent of frames, and which of them were short.
fn coded(frames: &[Frame]) -> (Vec<u8>, usize) {
    let (mut shortener, mut out, mut short) = (Shortener::default(), BytesMut::new(), 0);
    for frame in frames {
        let at = out.len();
        shortener.put(&frame.front, &mut out);
        short += usize::from(matches!(Begins::of(out[at]), Begins::Short(_)));
        out.extend_from_slice(&frame.payload);
    }
    (out.to_vec(), short)
}

/// The frames that it expands to, one after the other.
fn expanded(mut bytes: &[u8]) -> Result<Vec<u8>, ShortError> {
    let (mut fronts, mut out) = (Fronts::default(), Vec::new());
    let whole = |bytes: &[u8]| {
        let head = Head::parse(bytes.first_chunk().unwrap()).unwrap();
        (HEAD_BYTES + head.header_len(), head.payload_len())
    };
    while !bytes.is_empty() {
        let (front, taken) = match Begins::of(bytes[0]) {
            Begins::Whole => (bytes[..whole(bytes).0].to_vec(), whole(bytes).0),
            Begins::Keep(slot) => {
                let front = bytes[1..][..whole(&bytes[1..]).0].to_vec();
                fronts.keep(slot, &front)?;
                let taken = 1 + front.len();
                (front, taken)
            }
            Begins::Short(slot) => {
                let len = usize::from(bytes[1]);
                (fronts.expand(slot, &bytes[2..][..len])?, 2 + len)
            }
        };
        let (_, payload_len) = whole(&front);
        out.extend_from_slice(&front);
        out.extend_from_slice(&bytes[taken..][..payload_len]);
        bytes = &bytes[taken + payload_len..];
    }
    Ok(out)
}

fn plain(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| [&frame.front[..], &frame.payload].concat()).collect()
}

/// Numbers that are not chosen by anybody.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Of all magnitudes.
    fn any(&mut self) -> u64 {
        let bits = self.next() % 64;
        self.next() >> bits
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    fn path(&mut self) -> RelPath {
        let depth = 1 + self.below(3);
        let name = |dice: &mut Self| format!("{:0len$}", dice.any(), len = usize::try_from(dice.below(200)).unwrap());
        RelPath::new((0..depth).map(|_| name(self)).collect::<Vec<_>>().join("/").as_bytes()).unwrap()
    }

    fn time(&mut self) -> Time {
        Time { secs: self.any().cast_signed() >> 1, nanos: u32::try_from(self.below(1_000_000_000)).unwrap() }
    }

    fn node(&mut self) -> NodeId {
        NodeId::new(self.any())
    }

    fn place(&mut self) -> Place {
        let at = if self.below(4) == 0 { At::Orphan } else { At::Path(self.path()) };
        Place { node: self.node(), at }
    }

    fn op(&mut self) -> Op {
        let mode = |dice: &mut Self| (dice.below(2) == 0).then_some(0o644);
        match self.below(8) {
            0 | 1 => Op::Write {
                place: self.place(),
                offset: self.any() >> 1,
                mtime: self.time(),
                mode: mode(self),
                durable: self.below(2) == 0,
            },
            2 => Op::SetAttr {
                place: self.place(),
                size: (self.below(2) == 0).then(|| self.any()),
                owner: (self.below(2) == 0).then_some(Owner { uid: 7, gid: 1 << 20 }),
                mode: mode(self),
                atime: (self.below(2) == 0).then(|| self.time()),
                mtime: (self.below(2) == 0).then(|| self.time()),
            },
            3 => Op::Rename {
                from: self.path(),
                to: self.path(),
                kind: RenameKind::Replace,
                node: self.node(),
                replaced: (self.below(2) == 0).then(|| Replaced { node: self.node(), orphan: self.below(2) == 0 }),
                from_parent_mtime: self.time(),
                to_parent_mtime: self.time(),
            },
            4 => Op::Fsync { place: self.place(), data_only: true },
            5 => Op::Mark(Mark::Barrier),
            6 => Op::Compare {
                place: self.place(),
                offset: 0,
                len: 1 << 20,
                block_bytes: 1 << 14,
                hashes: vec![7; usize::try_from(self.below(1024)).unwrap()],
                as_read: self.below(2) == 0,
            },
            _ => Op::Ensure(Box::new(Ensure {
                path: self.path(),
                node: self.node(),
                kind: NodeKind::Symlink(b"somewhere".to_vec()),
                fresh: false,
                attrs: Attrs { mode: 0o777, owner: Owner { uid: 0, gid: 0 }, mtime: self.time() },
                atime: self.time(),
                size: 0,
                content: Content::Keep,
                xattrs: (0..self.below(60)).map(|n| (vec![7; 9].into(), vec![n.to_le_bytes()[0]].into())).collect(),
                parent_mtime: Some(self.time()),
            })),
        }
    }

    fn frame(&mut self, seq: &mut u64) -> Frame {
        *seq = match self.below(10) {
            0 => self.any() >> 1,
            _ => *seq + 1,
        };
        let payload = Bytes::from(vec![9; self.one(&[0, 0, 100, 300])]);
        match self.below(8) {
            0 => Frame::encode(&Message::Heartbeat),
            1 => {
                let op = PieceOp::Data { stage: StageId::new(3, self.any()), offset: self.any() >> 1 };
                Frame::piece(*seq, &op, payload)
            }
            _ => {
                let phase = self.one(&[Phase::Plain, Phase::Plain, Phase::Proposed, Phase::Settled]);
                let record = Record {
                    seq: SeqNo::new(*seq),
                    stamp: self.any(),
                    tolerant: self.below(2) == 0,
                    phase,
                    beside: u16::try_from(self.any() & 0xffff).unwrap(),
                    op: self.op(),
                };
                Frame::record(&record, payload)
            }
        }
    }
}

#[test]
fn whatever_is_sent_comes_back_as_it_was() {
    let mut total = (0, 0);
    for seed in 1..=200 {
        let (mut dice, mut seq) = (Dice(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed)), 0);
        // Few that come again, among many.
        let few: Vec<Frame> = (0..6).map(|_| dice.frame(&mut seq)).collect();
        let frames: Vec<Frame> =
            (0..200).map(|_| if dice.below(2) == 0 { dice.frame(&mut seq) } else { dice.one(&few) }).collect();
        let (bytes, short) = coded(&frames);
        assert!(expanded(&bytes).unwrap() == plain(&frames), "seed {seed}");
        total = (total.0 + frames.len(), total.1 + short);
    }
    println!("{} of {} fronts were short", total.1, total.0);
    assert!(total.1 > total.0 / 4, "{} of {}", total.1, total.0);
}

fn record(seq: u64, stamp: u64, beside: u16, op: Op) -> Record {
    Record { seq: SeqNo::new(seq), stamp, tolerant: false, phase: Phase::Plain, beside, op }
}

/// A moment as the kernel tells it: 4 ms long.
fn tick(stamp: u64) -> Time {
    let tick = stamp / 4_000_000 * 4_000_000;
    Time { secs: (tick / 1_000_000_000).cast_signed(), nanos: u32::try_from(tick % 1_000_000_000).unwrap() }
}

const BEGAN: u64 = 1_764_230_000_123_456_789;

fn appends() -> Vec<Frame> {
    let place = Place { node: NodeId::new(123_456), at: At::Path(RelPath::new(b"var/log/mail.log").unwrap()) };
    let append = |n: u64| {
        let stamp = BEGAN + n * 31_234;
        let op = Op::Write { place: place.clone(), offset: n * 100, mtime: tick(stamp), mode: None, durable: false };
        Frame::record(&record(n + 1, stamp, u16::try_from(n).unwrap(), op), Bytes::from_static(&[8; 100]))
    };
    (0..2000).map(append).collect()
}

fn renames() -> Vec<Frame> {
    let rename = |n: u64| {
        let stamp = BEGAN + n * 131_234;
        let path =
            |name: &str| RelPath::new(format!("W8/d{}/{name}{:05}", n / 500, n * 7919 % 10_000).as_bytes()).unwrap();
        let op = Op::Rename {
            from: path("f"),
            to: path("renamed-"),
            kind: RenameKind::Replace,
            node: NodeId::new(500_000 + n),
            replaced: None,
            from_parent_mtime: tick(stamp),
            to_parent_mtime: tick(stamp),
        };
        Frame::record(&record(n + 1, stamp, 0, op), Bytes::new())
    };
    (0..2000).map(rename).collect()
}

#[test]
fn what_is_like_what_went_before_takes_few_bytes() {
    for (what, frames, most) in [("appends", appends(), 24), ("renames", renames(), 40)] {
        let payload: usize = frames.iter().map(|frame| frame.payload.len()).sum();
        let (bytes, short) = coded(&frames);
        assert_eq!(short, frames.len() - 1, "{what}: all but the first");
        let (each, whole) = ((bytes.len() - payload) / frames.len(), (plain(&frames).len() - payload) / frames.len());
        println!("{what}: {each} bytes each, {whole} whole");
        assert!(each <= most, "{what}: {each} bytes each");
    }
}

#[test]
fn there_are_as_many_kept_as_are_used_and_what_is_too_long_goes_whole() {
    let shape = |n: usize| {
        Op::Ensure(Box::new(Ensure {
            path: RelPath::new(b"a").unwrap(),
            node: NodeId::new(1),
            kind: NodeKind::File,
            fresh: n.is_multiple_of(2),
            attrs: Attrs { mode: 0o644, owner: Owner { uid: 0, gid: 0 }, mtime: tick(BEGAN) },
            atime: tick(BEGAN),
            size: 0,
            content: Content::Keep,
            xattrs: vec![<_>::default(); n / 2],
            parent_mtime: None,
        }))
    };
    // With one more than there are slots each is the oldest when it comes again.
    for (shapes, wanted) in [(SLOTS, 2 * SLOTS), (SLOTS + 1, 0)] {
        let frames: Vec<_> = (0..3 * shapes)
            .map(|n| Frame::record(&record(n as u64 + 1, BEGAN, 0, shape(n % shapes)), Bytes::new()))
            .collect();
        let (bytes, short) = coded(&frames);
        assert!(expanded(&bytes).unwrap() == plain(&frames));
        assert_eq!(short, wanted, "{shapes} shapes");
    }
    let long = |n: u64| {
        let op = Op::Compare {
            place: Place { node: NodeId::new(1), at: At::Orphan },
            offset: 0,
            len: 1 << 20,
            block_bytes: 1 << 14,
            hashes: vec![0; MAX_KEPT_BYTES],
            as_read: false,
        };
        Frame::record(&record(n, BEGAN, 0, op), Bytes::new())
    };
    let frames = [long(1), long(2)];
    let (bytes, short) = coded(&frames);
    assert!(short == 0 && bytes == plain(&frames), "not even kept");
}

#[test]
fn what_is_not_a_short_front_is_refused() {
    let first = &appends()[0].front;
    let kept = || {
        let mut fronts = Fronts::default();
        fronts.keep(3, first).unwrap();
        fronts
    };
    let (bytes, _) = coded(&appends()[..2]);
    let short = &bytes[1 + first.len() + 100 + 2..bytes.len() - 100];
    assert!(kept().expand(3, short).unwrap() == appends()[1].front[..]);
    assert_eq!(kept().expand(4, short), Err(ShortError::Empty(4)));
    for len in 0..short.len() {
        assert!(matches!(kept().expand(3, &short[..len]), Err(ShortError::Truncated(_))), "{len}");
    }
    assert_eq!(kept().expand(3, &[short, &[0]].concat()), Err(ShortError::Field("end")));
    assert_eq!(kept().expand(3, &[0x20]), Err(ShortError::Field("mask")));
    // A byte string that begins with more than there is, and one bit more than there are values.
    let with = |header: &[u8]| [&[0, 0, 1, 1, 1, 1], header, &[2, 2, 2, 2]].concat();
    assert!(kept().expand(3, &with(&[0])).is_ok());
    for header in [&[2, 200, 1, 0][..], &[0x80, 0x10], &[0xff; 11]] {
        assert_eq!(kept().expand(3, &with(header)), Err(ShortError::Field("header")), "{header:?}");
    }
    // What is kept does not grow without end.
    let mut fronts = kept();
    let header = [&[2, 16, 200, 1], &[7; 200][..]].concat();
    for n in 1..10 {
        // The path of a log begins with the 16 bytes that it had, whatever came behind them.
        assert_eq!(fronts.expand(3, &with(&header)).unwrap().len(), first.len() + 200, "{n}");
    }
    // What is kept has to be a front that others can be told by.
    let heartbeat = Frame::encode(&Message::Heartbeat).front;
    for front in [&heartbeat[..], &first[..40], &first[..first.len() - 1], &[&first[..], &[0]].concat()] {
        assert_eq!(kept().keep(0, front), Err(ShortError::Keep(front.len())));
    }
}

#[test]
fn the_frozen_samples_expand_to_what_they_were_made_of() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/short-v1");
    let frames: Vec<_> = appends()[..4].iter().chain(&renames()[4..8]).chain(&appends()[8..10]).cloned().collect();
    if std::env::var_os("REPLFS_WRITE_SAMPLES").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("whole"), plain(&frames)).unwrap();
        std::fs::write(dir.join("short"), coded(&frames).0).unwrap();
    }
    let read = |name| std::fs::read(dir.join(name)).unwrap();
    assert!(expanded(&read("short")).unwrap() == read("whole"));
    assert!(read("whole") == plain(&frames));
}
