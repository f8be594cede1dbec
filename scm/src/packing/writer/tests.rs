//! What arrives of what is written.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::outlet::Loader;
use crate::outlet::tests::{Kept, frame, uncopied};
use crate::packing::Packed;
use platform::pack::{Mode, Unpacker};
use protocol::Features;
use std::num::NonZeroUsize;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn agreed(mode: Mode) -> Arc<Packing> {
    agreed_by(mode, 0)
}

/// By so many threads beside, where there are any.
fn agreed_by(mode: Mode, packers: usize) -> Arc<Packing> {
    let packers = NonZeroUsize::new(packers).map(|most| Packers::new(Some(most)));
    let packing = Packing::new(mode, packers);
    packing.agree(Features::PACKED);
    packing
}

/// What arrives of these writes through a pipe that holds little, and what the far end makes of it.
async fn sent(packing: &Arc<Packing>, writes: &[Vec<u8>], goodput: Option<u64>) -> (usize, Vec<u8>) {
    let (mut ours, mut theirs) = duplex(1000);
    let goodput: Goodput = Box::new(move || goodput);
    let send = async {
        let mut to = writer(&mut ours, &goodput, Some(packing), None);
        for bytes in writes {
            to.write_all(bytes).await.unwrap();
        }
        to.flush().await.unwrap();
        to.shutdown().await.unwrap();
        packing.now().streams
    };
    let mut arrived = Vec::new();
    let (streams, _) = tokio::join!(send, theirs.read_to_end(&mut arrived));
    assert_eq!(streams.len(), usize::from(packing.is_agreed()));
    let mut back = Vec::new();
    Unpacker::new(&arrived[..], packing.is_agreed()).read_to_end(&mut back).await.unwrap();
    (arrived.len(), back)
}

fn writes() -> Vec<Vec<u8>> {
    let text = |len: usize| (0..).flat_map(|n: u32| format!("{n} and on\n").into_bytes()).take(len).collect();
    [1, 48, 255, 256, 5000, 70_000, 1 << 20, 3].map(text).to_vec()
}

#[tokio::test]
async fn what_is_written_arrives_packed_and_is_counted() {
    let raw = writes().concat();
    let ways = [(Mode::Lz4, None), (Mode::Zstd(3), None), (Mode::Auto, Some(1_000_000)), (Mode::Auto, None)];
    for ((mode, goodput), packers) in ways.into_iter().flat_map(|way| [0, 1, 3].map(|packers| (way, packers))) {
        let packing = agreed_by(mode, packers);
        let (arrived, back) = sent(&packing, &writes(), goodput).await;
        assert!(back == raw, "{mode}");
        let now = packing.now();
        assert_eq!((now.raw_bytes, now.sent_bytes), (raw.len() as u64, arrived as u64), "{mode}");
        let packs = mode != Mode::Auto || goodput.is_some();
        assert_eq!(arrived < raw.len() / 2, packs, "{mode}, {goodput:?}: {arrived} of {}", raw.len());
        assert!(now.streams.is_empty(), "{mode}: it is closed");
    }
}

#[tokio::test]
async fn a_payload_that_goes_plain_is_not_copied() {
    let payload = frame(600_000);
    let goodput: Goodput = Box::new(|| None);
    let mut kept = Kept::default();
    let mut loader = Loader::default();
    // Without a word of what the path carries nothing is packed.
    let packing = agreed(Mode::Auto);
    let mut to = writer(&mut kept, &goodput, Some(&packing), None);
    loader.push(payload.clone(), &mut *to).await.unwrap();
    to.flush().await.unwrap();
    drop(to);
    assert_eq!(uncopied(&kept, &payload.payload), payload.payload.len());
}

#[tokio::test]
async fn without_agreement_everything_goes_as_it_is() {
    let old = Packing::new(Mode::Lz4, None);
    old.agree(Features::BUSY);
    let off = agreed(Mode::Off);
    let short = Features::BUSY.and(Features::SHORT);
    assert_eq!((off.offer(Features::BUSY), old.offer(Features::BUSY)), (short, short.and(Features::PACKED)));
    for packing in [old, off] {
        let (arrived, back) = sent(&packing, &writes(), Some(1000)).await;
        assert!(back == writes().concat() && arrived == back.len() && packing.now() == Packed::default());
    }
}

/// Lines, none of them like another.
fn text(len: usize) -> Bytes {
    (0..).flat_map(|n: u32| format!("{n} and on\n").into_bytes()).take(len).collect()
}

#[tokio::test]
async fn more_is_taken_while_blocks_are_packed_and_not_without_bound() {
    let goodput: Goodput = Box::new(|| None);
    for (packers, most) in [(0, 1), (1, 4), (2, 6)] {
        let packing = agreed_by(Mode::Zstd(19), packers);
        // Nobody reads.
        let (mut ours, mut theirs) = duplex(1);
        let mut to = writer(&mut ours, &goodput, Some(&packing), None);
        let (whole, mut nobody) = (text(MAX_BLOCK_BYTES * 10), Context::from_waker(Waker::noop()));
        let mut chunk = whole.clone();
        while Pin::new(&mut *to).poll_hand(&mut nobody, &mut chunk).is_ready() {}
        assert_eq!((whole.len() - chunk.len()) / MAX_BLOCK_BYTES, most, "{packers}");
        // All of it comes, in its order.
        let send = async {
            while !chunk.is_empty() {
                std::future::poll_fn(|cx| Pin::new(&mut *to).poll_hand(cx, &mut chunk)).await.unwrap();
            }
            to.shutdown().await.unwrap();
            drop(to);
        };
        let mut arrived = Vec::new();
        tokio::join!(send, async { theirs.read_to_end(&mut arrived).await.unwrap() });
        let mut back = Vec::new();
        Unpacker::new(&arrived[..], true).read_to_end(&mut back).await.unwrap();
        assert!(back == whole, "{packers}: {} bytes", back.len());
    }
}

#[tokio::test]
async fn what_is_small_goes_behind_what_is_packed_beside() {
    let writes: Vec<Vec<u8>> = (1..30).map(|n| text(if n % 3 == 0 { n } else { n * 7000 }).to_vec()).collect();
    let packing = agreed_by(Mode::Zstd(12), 2);
    let (_, back) = sent(&packing, &writes, None).await;
    assert!(back == writes.concat());
}
