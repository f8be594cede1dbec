//! How much a peer can make a reader allocate by announcing what it does not send.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use protocol::frame::HEAD_BYTES;
use protocol::{Frame, MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, Mark, Message, Op, Phase, Record, SeqNo};
use replfs_platform::wire::{WireError, read_message};
use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// Counts what is allocated, and the most at any time.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system's allocator's; beside that numbers are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Reads one message of bytes that are all that ever comes; what came of it, and the most that was allocated for it.
fn reading(bytes: &[u8]) -> (Result<Option<Message>, WireError>, usize) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let mut stream = bytes;
    let read = match pin!(read_message(&mut stream)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("bytes in memory are there at once"),
    };
    (read, MOST.load(Ordering::Relaxed) - before)
}

fn record(payload: usize) -> Vec<u8> {
    let (seq, op) = (SeqNo::new(1), Op::Mark(Mark::Barrier));
    let record = Record { seq, stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op };
    let frame = Frame::encode(&Message::Record(record, Bytes::from(vec![7; payload])));
    [frame.front, frame.payload].concat()
}

/// One test, because there is one allocator.
#[test]
fn what_is_announced_is_allocated_as_it_arrives() {
    const LITTLE: usize = 4 << 10;
    const FIRST_HEADER: usize = 64 << 10;
    const FIRST_PAYLOAD: usize = 1 << 20;

    // A header of the greatest length that is let in, of which nothing comes.
    let mut head = record(0)[..HEAD_BYTES].to_vec();
    head[8..12].copy_from_slice(&u32::try_from(MAX_HEADER_BYTES).unwrap().to_le_bytes());
    let (read, most) = reading(&head);
    assert!(matches!(read, Err(WireError::Io(_))), "{read:?}");
    assert!(most <= FIRST_HEADER + LITTLE, "{most} bytes for a header of which nothing came");
    // Some of it comes. While it grows there are an old and a new buffer.
    let arrived = 300 << 10;
    let (_, most) = reading(&[&head[..], &vec![0; arrived]].concat());
    assert!(most <= 4 * arrived, "{most} bytes for {arrived} that came");

    // A payload of the greatest length, of which nothing, or some, comes.
    let whole = record(MAX_PAYLOAD_BYTES);
    let front = whole.len() - MAX_PAYLOAD_BYTES;
    for arrived in [0, 1, 1 << 19, 1 << 20, 3 << 20] {
        let (read, most) = reading(&whole[..front + arrived]);
        assert!(matches!(read, Err(WireError::Io(_))));
        assert!(most <= FIRST_PAYLOAD + 3 * arrived + LITTLE, "{most} bytes for {arrived} that came");
    }
    let (read, _) = reading(&whole);
    assert!(matches!(read, Ok(Some(Message::Record(_, payload))) if payload.len() == MAX_PAYLOAD_BYTES));

    // A length of the payload that the header's checksum does not cover: nothing is allocated for it.
    let mut wrong = whole;
    wrong[12] ^= 1;
    let (read, most) = reading(&wrong);
    assert!(matches!(read, Err(WireError::Frame(_))), "{read:?}");
    assert!(most < FIRST_HEADER, "{most} bytes for a payload that nobody meant");

    // Over the bound: nothing at all.
    for at in [8, 12] {
        let mut over = head.clone();
        over[at..at + 4].copy_from_slice(&((4_u32 << 20) + 1).to_le_bytes());
        let (read, most) = reading(&over);
        assert!(matches!(read, Err(WireError::Frame(_))) && most < LITTLE, "{read:?}, {most} bytes");
    }
}
