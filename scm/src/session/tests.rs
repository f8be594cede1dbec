//! When the sending half of a connection sends what is queued: at once, or with what comes next (decision 31).
#![allow(clippy::unwrap_used)]

use super::*;
use crate::outlet::tests::{frame, handing};
use crate::packing::Packers;
use platform::pack::Mode;
use protocol::{Draft, Features, MAX_BLOCK_BYTES, Mark, Op};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What it has to say, and whether more of it is to come in a moment.
#[derive(Default)]
struct Queued {
    frames: Mutex<VecDeque<Frame>>,
    gathers: AtomicBool,
}

impl Queued {
    fn with(frames: usize, gathers: bool) -> Self {
        let frames = (0..frames).map(|_| frame(10)).collect();
        Self { frames: Mutex::new(frames), gathers: gathers.into() }
    }

    fn left(&self) -> usize {
        self.frames.lock().unwrap().len()
    }
}

impl Feed for Queued {
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    fn hello(&self) -> (Hello, u64) {
        unreachable!("it is greeted")
    }

    fn welcomed(&self, _: u64, _: &HelloAck) -> Result<(), Option<String>> {
        unreachable!("it is greeted")
    }

    fn gathers(&self) -> bool {
        self.gathers.load(Ordering::SeqCst)
    }

    fn next_frame(&self, _: u64) -> Result<Option<Frame>, Again> {
        Ok(self.frames.lock().unwrap().pop_front())
    }

    fn wants_bye(&self) -> bool {
        false
    }

    fn farewell(&self, _: Ack) {}
    fn acknowledged(&self, _: Ack) {}
    fn answered(&self, _: SeqNo, _: Answer) {}
    fn trouble(&self, _: &Trouble) {}
    fn busy(&self, _: Busy) {}
    fn refused(&self, _: &Refused) {}
    fn wrong_key(&self, _: &ScmError) {}
    fn lost(&self, _: &str) {}
}

#[tokio::test]
async fn on_an_idle_line_what_is_queued_leaves_at_once() {
    let (feed, wake) = (Queued::with(3, false), Notify::new());
    let (mut outlet, kept) = handing();
    let sender = Sender { feed: &feed, generation: 1, wake: &wake };
    // One look at it, before any time has passed.
    tokio::select! {
        biased;
        _ = sender.run(Sending::new(Features::BESIDE, None), &mut outlet) => panic!("it goes on"),
        () = std::future::ready(()) => {}
    }
    assert_eq!((feed.left(), kept.lock().chunks.len()), (0, 1), "together, and without waiting");
}

#[tokio::test]
async fn what_is_gathered_leaves_together_when_its_time_has_come() {
    let (feed, wake) = (Queued::with(3, true), Notify::new());
    let (mut outlet, kept) = handing();
    let sender = Sender { feed: &feed, generation: 1, wake: &wake };
    let begun = Instant::now();
    tokio::select! {
        _ = sender.run(Sending::new(Features::BESIDE, None), &mut outlet) => panic!("it goes on"),
        () = async { while feed.left() > 0 { tokio::task::yield_now().await } } => {}
    }
    // Nothing came from the target.
    assert!(begun.elapsed() >= GATHER, "{:?}", begun.elapsed());
    assert_eq!(kept.lock().chunks.len(), 1, "together");
}

#[tokio::test]
async fn what_is_gathered_leaves_when_the_target_has_spoken() {
    let (feed, wake) = (Queued::with(3, true), Notify::new());
    let (mut outlet, kept) = handing();
    let sender = Sender { feed: &feed, generation: 1, wake: &wake };
    let mut running = std::pin::pin!(sender.run(Sending::new(Features::BESIDE, None), &mut outlet));
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(running.as_mut().poll(&mut nobody).is_pending(), "it goes on");
    assert_eq!((feed.left(), kept.lock().chunks.len()), (3, 0), "nothing leaves yet");
    feed.frames.lock().unwrap().push_back(frame(10));
    feed.gathers.store(false, Ordering::SeqCst);
    wake.notify_one();
    assert!(running.as_mut().poll(&mut nobody).is_pending(), "it goes on");
    assert_eq!((feed.left(), kept.lock().chunks.len()), (0, 1), "all of it, at once");
}

#[tokio::test]
async fn what_comes_while_something_is_packed_is_packed_too() {
    let (feed, wake) = (Queued::default(), Notify::new());
    // The first block of it shows how long it takes, and so the second is packed beside.
    let text = (0..).flat_map(|n: u32| format!("{n} and on\n").into_bytes()).take(2 * MAX_BLOCK_BYTES).collect();
    let long = Draft::new(&Op::Mark(Mark::Barrier), text).number(SeqNo::new(1), 0, false);
    feed.frames.lock().unwrap().push_back(long);
    let packing = Packing::new(Mode::Zstd(19), Some(Packers::new(NonZeroUsize::new(1))));
    packing.agree(Features::PACKED);
    // Nobody reads: what is packed cannot leave.
    let (mut ours, _theirs) = tokio::io::duplex(1);
    let goodput: Goodput = Box::new(|| None);
    let mut outlet = packing::writer(&mut ours, &goodput, Some(&packing), None);
    let sender = Sender { feed: &feed, generation: 1, wake: &wake };
    let mut running = std::pin::pin!(sender.run(Sending::new(Features::BESIDE, None), &mut *outlet));
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(running.as_mut().poll(&mut nobody).is_pending(), "it goes on");
    feed.frames.lock().unwrap().push_back(frame(1000));
    wake.notify_one();
    assert!(running.as_mut().poll(&mut nobody).is_pending(), "it goes on");
    assert_eq!(feed.left(), 0, "it was taken");
}
