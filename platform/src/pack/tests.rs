//! Blocks that come back, blocks that nobody may believe, and what is chosen when.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use protocol::{BLOCK_HEAD_BYTES, BlockError, BlockHead, BlockKind, MAX_BLOCK_BYTES};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

const MIB: usize = 1 << 20;

/// Gives at most so many bytes at once.
struct Dripping<'a>(&'a [u8], usize);

impl AsyncRead for Dripping<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(self.1).min(buf.remaining()));
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

/// All that the blocks expand to, and how that ended.
fn unpacked(blocks: &[u8], step: usize) -> (Vec<u8>, io::Result<()>) {
    let (mut unpacker, mut out) = (Unpacker::new(Dripping(blocks, step), true), Vec::new());
    let ended = match pin!(unpacker.read_to_end(&mut out)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => ended.map(drop),
        Poll::Pending => panic!("bytes in memory are there at once"),
    };
    (out, ended)
}

fn refused(blocks: &[u8]) -> BlockError {
    let error = unpacked(blocks, usize::MAX).1.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    error.downcast().unwrap()
}

fn none() -> Duration {
    Duration::ZERO
}

fn random(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn text(len: usize) -> Vec<u8> {
    (0..len / 4).flat_map(|n| format!("line {n} of a log that says nothing new\n").into_bytes()).take(len).collect()
}

/// What a stream sends of these bytes.
fn packed(packer: &mut Packer, bytes: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for raw in bytes.chunks(MAX_BLOCK_BYTES) {
        let shrunk = packer.pack(raw, none);
        sent.extend_from_slice(packer.block());
        if !shrunk {
            sent.extend_from_slice(raw);
        }
    }
    sent
}

fn block(kind: BlockKind, raw_len: usize, bytes: &[u8]) -> Vec<u8> {
    let lens = [raw_len, bytes.len()].map(|len| u32::try_from(len).unwrap().to_le_bytes());
    [&[kind as u8][..], &lens[0], &lens[1], bytes].concat()
}

#[test]
fn what_was_packed_comes_back_however_it_arrives() {
    for mode in ["off", "auto", "lz4", "zstd", "zstd:3", "zstd:19"] {
        let mode: Mode = mode.parse().unwrap();
        let bytes = [text(700_000), random(300_000), text(10), text(MIB)].concat();
        let sent = packed(&mut Packer::new(mode), &bytes);
        assert_eq!(sent.len() < bytes.len() / 2, matches!(mode, Mode::Lz4 | Mode::Zstd(_)), "{mode}: {}", sent.len());
        for step in [1, 7, 9, 4096, usize::MAX] {
            let (back, ended) = unpacked(&sent, step);
            ended.unwrap();
            assert!(back == bytes, "{mode}, {step} bytes at once");
        }
    }
}

#[test]
fn what_does_not_shrink_goes_as_it_is() {
    for mode in [Mode::Lz4, Mode::Zstd(3)] {
        let bytes = random(MIB);
        assert_eq!(packed(&mut Packer::new(mode), &bytes).len(), MIB + 4 * BLOCK_HEAD_BYTES);
        assert!(!Packer::new(mode).pack(&text(200), none), "too small to be worth it");
    }
}

#[test]
fn a_stream_without_blocks_is_read_as_it_is() {
    let (bytes, mut out) = (random(100_000), Vec::new());
    let mut unpacker = Unpacker::new(&bytes[..], false);
    let read = pin!(unpacker.read_to_end(&mut out)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(read, Poll::Ready(Ok(100_000))) && out == bytes);
}

#[test]
fn a_block_beyond_its_bounds_is_refused_before_any_of_it_is_read() {
    let bytes = text(100);
    for kind in [BlockKind::Plain, BlockKind::Lz4, BlockKind::Zstd] {
        for (raw, packed) in [(0, 0), (100, 0), (0, 100), (99, 100), (MAX_BLOCK_BYTES + 1, 100), (1 << 31, 1 << 31)] {
            let mut block = block(kind, raw, &bytes);
            block[5..9].copy_from_slice(&u32::to_le_bytes(packed));
            assert!(matches!(refused(&block), BlockError::Length { .. }), "{kind:?}, {raw}, {packed}");
        }
    }
    assert!(matches!(refused(&block(BlockKind::Plain, 101, &bytes)), BlockError::Length { .. }));
    for kind in 3..=u8::MAX {
        let mut block = block(BlockKind::Plain, 100, &bytes);
        block[0] = kind;
        assert_eq!(refused(&block), BlockError::Kind(kind));
    }
}

#[test]
fn a_block_that_expands_to_more_or_less_than_it_says_is_refused() {
    let bomb = vec![0; 64 * MIB];
    let bombs = [
        (BlockKind::Zstd, zstd::bulk::compress(&bomb, 1).unwrap()),
        (BlockKind::Lz4, lz4_flex::block::compress(&bomb[..MIB])),
    ];
    for (kind, bomb) in bombs {
        assert!(bomb.len() <= MAX_BLOCK_BYTES);
        for says in [bomb.len(), MAX_BLOCK_BYTES] {
            assert_eq!(refused(&block(kind, says, &bomb)), BlockError::Content(says), "{kind:?}");
        }
    }
    let bytes = text(5000);
    for (kind, good) in [
        (BlockKind::Zstd, zstd::bulk::compress(&bytes, 1).unwrap()),
        (BlockKind::Lz4, lz4_flex::block::compress(&bytes)),
    ] {
        for says in [4999, 5001] {
            assert_eq!(refused(&block(kind, says, &good)), BlockError::Content(says), "{kind:?}");
        }
        assert_eq!(refused(&block(kind, 5000, &good[..good.len() - 1])), BlockError::Content(5000), "{kind:?}");
        assert_eq!(refused(&block(kind, 5000, &random(good.len()))), BlockError::Content(5000), "{kind:?}");
        assert_eq!(unpacked(&block(kind, 5000, &good), 100).0, bytes);
    }
}

#[test]
fn a_block_that_is_cut_off_is_no_end() {
    let sent = packed(&mut Packer::new(Mode::Zstd(1)), &[text(5000), random(50)].concat());
    let whole = unpacked(&sent, usize::MAX);
    whole.1.unwrap();
    for len in 1..sent.len() {
        let error = unpacked(&sent[..len], usize::MAX).1.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len} of {}", sent.len());
    }
}

#[test]
fn a_head_comes_back() {
    let head = BlockHead { kind: BlockKind::Zstd, raw_len: MAX_BLOCK_BYTES, packed_len: 77 };
    assert_eq!(BlockHead::parse(&head.encode()), Ok(head));
    assert_eq!(head.encode(), [2, 0, 0, 4, 0, 77, 0, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..4, raw in 0_u32..600) {
        unpacked(&bytes, 5).1.ok();
        let mut framed = vec![kind];
        framed.extend_from_slice(&raw.to_le_bytes());
        framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        framed.extend_from_slice(&bytes);
        let (back, ended) = unpacked(&framed, 50);
        prop_assert!(ended.is_err() || back.len() == raw as usize || framed.len() == BLOCK_HEAD_BYTES);
    }

    #[test]
    fn any_bytes_come_back(parts in prop::collection::vec((any::<u8>(), 0_usize..3000), 0..30), lz4 in any::<bool>()) {
        let bytes: Vec<u8> = parts.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte, *len)).collect();
        let sent = packed(&mut Packer::new(if lz4 { Mode::Lz4 } else { Mode::Zstd(2) }), &bytes);
        let (back, ended) = unpacked(&sent, 1000);
        prop_assert!(ended.is_ok() && back == bytes);
    }
}

/// A choice that heard what trying gave: ratio and MB/s of LZ4 and Zstandard.
fn tried(choice: &mut Choice, lz4: (usize, u64), zstd: (usize, u64)) {
    let seen = |(ratio, speed): (usize, u64)| (64_000 / ratio, Duration::from_nanos(64_000 * 1000 / speed));
    while choice.wants_probe(64_000) {
        choice.probed(64_000, [seen(lz4), seen(zstd)]);
    }
}

const MB: u64 = 1_000_000;

#[test]
fn auto_packs_where_the_line_is_slow_and_by_what_costs_less_time() {
    for (line, expected) in [
        (None, Method::Plain),
        (Some(MB / 2), Method::Zstd(1)),
        (Some(20 * MB), Method::Zstd(1)),
        (Some(60 * MB), Method::Lz4),
        (Some(80 * MB), Method::Plain),
        (Some(1000 * MB), Method::Plain),
    ] {
        let mut choice = Choice::new(Mode::Auto);
        choice.path(line);
        assert_eq!(choice.wants_probe(MIB), line.is_some_and(|line| line < 80 * MB), "{line:?}");
        tried(&mut choice, (3, 200), (5, 120));
        assert_eq!(choice.decide(MIB), expected, "{line:?}");
        assert_eq!(choice.decide(100), Method::Plain, "a heartbeat");
        assert_eq!(choice.now(), expected, "{line:?}");
    }
    // A machine that packs more slowly than the line takes it.
    let mut choice = Choice::new(Mode::Auto);
    choice.path(Some(60 * MB));
    tried(&mut choice, (3, 50), (5, 30));
    assert_eq!(choice.decide(MIB), Method::Plain);
}

#[test]
fn auto_leaves_alone_what_does_not_shrink_and_tries_again() {
    let mut choice = Choice::new(Mode::Auto);
    choice.path(Some(MB));
    tried(&mut choice, (1, 2000), (1, 2000));
    let mut plain = 0;
    while !choice.wants_probe(MIB) {
        assert_eq!(choice.decide(MIB), Method::Plain);
        plain += 1;
    }
    assert_eq!(plain, 16, "MiB until it is tried again");
    tried(&mut choice, (2, 200), (2, 100));
    // Both wait for the line: the one that was tried first.
    assert_eq!(choice.decide(MIB), Method::Lz4);
    // What comes now is of another kind.
    choice.packed(Method::Lz4, MIB, MIB, Duration::from_millis(1));
    assert_eq!(choice.decide(MIB), Method::Plain);
}

#[test]
fn what_the_line_was_waited_for_counts_beside_what_the_path_says() {
    let mut choice = Choice::new(Mode::Auto);
    choice.path(Some(500 * MB));
    tried(&mut choice, (3, 200), (5, 120));
    assert_eq!(choice.decide(MIB), Method::Plain);
    let second = Duration::from_secs(1);
    // A limit: a megabyte in a second.
    choice.passed(MB, second, second / 2);
    assert!(choice.wants_probe(MIB));
    tried(&mut choice, (3, 200), (5, 120));
    assert_eq!(choice.decide(MIB), Method::Zstd(1));
    // It is lifted.
    for _ in 0..7 {
        choice.passed(2 * MB, second / 1000, Duration::ZERO);
    }
    assert_eq!(choice.decide(MIB), Method::Plain);
}

#[test]
fn a_choice_is_written_as_it_is_read() {
    for text in ["off", "auto", "lz4", "zstd:1", "zstd:19"] {
        assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
    }
    assert_eq!("zstd".parse(), Ok(Mode::Zstd(1)));
    for wrong in ["", "zstd:", "zstd:0", "zstd:20", "zstd:x", "gzip", "LZ4"] {
        assert!(wrong.parse::<Mode>().unwrap_err().contains(&format!("'{wrong}'")), "{wrong}");
    }
}
