//! Threads that pack blocks, for all streams of a mount, which take turns. What becomes of a block, and in which order blocks leave, is the writer's.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use platform::pack::{Codec, Method};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// As many by default, on a machine with more cores.
const MOST_BY_DEFAULT: usize = 8;

/// See the module. Threads begin when they are needed, and end when this is dropped.
pub struct Packers {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Turns<Job>,
    /// Lanes there have been.
    lanes: u64,
    /// Threads there are.
    threads: usize,
    /// Those of them that wait for something to do.
    idle: usize,
    /// Nothing more comes.
    ended: bool,
}

/// What is to be done for each stream that has something: one thing for one, then for the next. Every second turn is the session's, for which applications may wait.
struct Turns<T> {
    session: VecDeque<T>,
    lanes: VecDeque<(u64, VecDeque<T>)>,
    len: usize,
    /// The last turn was the session's.
    was_session: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// The ordered stream.
    Session,
    /// Another one.
    Lane(u64),
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { session: VecDeque::new(), lanes: VecDeque::new(), len: 0, was_session: false }
    }
}

impl<T> Turns<T> {
    fn push(&mut self, stream: Stream, job: T) {
        self.len += 1;
        let Stream::Lane(number) = stream else { return self.session.push_back(job) };
        match self.lanes.iter_mut().find(|(other, _)| *other == number) {
            Some((_, jobs)) => jobs.push_back(job),
            None => self.lanes.push_back((number, VecDeque::from([job]))),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let is_session = !self.session.is_empty() && (!self.was_session || self.lanes.is_empty());
        let job = if is_session { self.session.pop_front() } else { self.pop_lane() };
        self.was_session = is_session;
        self.len -= usize::from(job.is_some());
        job
    }

    fn pop_lane(&mut self) -> Option<T> {
        let (number, mut jobs) = self.lanes.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            self.lanes.push_back((number, jobs));
        }
        job
    }
}

struct Job {
    raw: Bytes,
    method: Method,
    made: oneshot::Sender<Made>,
}

/// A block.
pub(super) struct Made {
    /// Its head, and what was packed.
    pub block: Bytes,
    /// The bytes are in it; otherwise they follow it as they are.
    pub is_packed: bool,
    /// What packing took.
    pub took: Duration,
}

impl std::fmt::Debug for Packers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packers").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Packers {
    /// So many threads at most; `None`: as many as suit this machine.
    pub fn new(most: Option<NonZeroUsize>) -> Self {
        let cores = || thread::available_parallelism().map_or(1, usize::from).min(MOST_BY_DEFAULT);
        Self { shared: Arc::default(), most: most.map_or_else(cores, usize::from) }
    }

    /// How many there are at most.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// One more lane.
    pub(super) fn lane(&self) -> Stream {
        let mut state = self.shared.state.lock();
        state.lanes += 1;
        Stream::Lane(state.lanes)
    }

    /// Has a block made of these bytes. `None`: there is no thread for it, and none can be had. A thread that does not come to its end never answers.
    pub(super) fn give(&self, stream: Stream, method: Method, raw: Bytes) -> Option<oneshot::Receiver<Made>> {
        let (made, receiver) = oneshot::channel();
        let mut state = self.shared.state.lock();
        // Whoever was called and has not come yet counts as idle still.
        if state.idle <= state.jobs.len && state.threads < self.most {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().name("packer".to_owned()).spawn(move || run(&shared)) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads > 0 => {}
                Err(_) => return None,
            }
        }
        state.jobs.push(stream, Job { raw, method, made });
        drop(state);
        self.shared.more.notify_one();
        Some(receiver)
    }
}

impl Drop for Packers {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.ended = true;
        state.jobs = Turns::default();
        drop(state);
        self.shared.more.notify_all();
    }
}

/// One thread fewer, however it ends.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads -= 1;
        if state.threads == 0 {
            // Nobody is there to do it, and who waits is to hear of that.
            state.jobs = Turns::default();
        }
    }
}

fn run(shared: &Shared) {
    let _leaving = Leaving(shared);
    let mut codec = Codec::default();
    while let Some(job) = next(shared) {
        // The stream is gone that wanted it.
        if job.made.is_closed() {
            continue;
        }
        let begun = Instant::now();
        let is_packed = codec.pack(job.method, &job.raw);
        let block = Bytes::copy_from_slice(codec.block());
        let _nobody_waits = job.made.send(Made { block, is_packed, took: begun.elapsed() });
    }
}

fn next(shared: &Shared) -> Option<Job> {
    let mut state = shared.state.lock();
    loop {
        if state.ended {
            return None;
        }
        if let Some(job) = state.jobs.pop() {
            return Some(job);
        }
        state.idle += 1;
        shared.more.wait(&mut state);
        state.idle -= 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(len: usize) -> Bytes {
        (0..).flat_map(|n: u32| format!("{n} and on\n").into_bytes()).take(len).collect()
    }

    fn threads(packers: &Packers) -> usize {
        packers.shared.state.lock().threads
    }

    #[tokio::test]
    async fn there_are_no_more_threads_than_allowed_and_none_before_something_is_to_be_done() {
        let packers = Packers::new(NonZeroUsize::new(2));
        assert_eq!(threads(&packers), 0);
        let texts: Vec<_> = (1..=20).map(|n| text(n * 10_000)).collect();
        let give = |text: Bytes| packers.give(Stream::Session, Method::Zstd(12), text).unwrap();
        let waited: Vec<_> = texts.into_iter().map(give).collect();
        assert_eq!(threads(&packers), 2);
        for (made, n) in waited.into_iter().zip(1..) {
            let made = made.await.unwrap();
            assert!(made.is_packed && made.block.len() < n * 5000, "{} of {n}", made.block.len());
        }
        let shared = Arc::clone(&packers.shared);
        drop(packers);
        while shared.state.lock().threads > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn streams_take_turns() {
        let mut turns = Turns::default();
        for (lane, job) in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e"), (3, "f")] {
            turns.push(Stream::Lane(lane), job);
        }
        assert_eq!((turns.pop(), turns.pop()), (Some("a"), Some("d")));
        turns.push(Stream::Lane(2), "g");
        for job in ["v", "w", "x", "y", "z"] {
            turns.push(Stream::Session, job);
        }
        let rest: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(rest, ["v", "e", "w", "b", "x", "g", "y", "f", "z", "c"]);
        assert_eq!((turns.len, turns.lanes.len()), (0, 0));
        for job in ["x", "y"] {
            turns.push(Stream::Session, job);
        }
        assert_eq!([turns.pop(), turns.pop(), turns.pop()], [Some("x"), Some("y"), None], "alone it has all turns");
    }

    #[tokio::test]
    async fn what_does_not_shrink_is_said_so() {
        let packers = Packers::new(NonZeroUsize::new(1));
        let noise = Bytes::from_static(b"\x01\x9f\x33\xe0\x7c");
        for method in [Method::Lz4, Method::Zstd(1), Method::Plain] {
            let made = packers.give(packers.lane(), method, noise.clone()).unwrap().await.unwrap();
            assert!(!made.is_packed && made.block.len() == protocol::BLOCK_HEAD_BYTES, "{method}");
        }
    }
}
