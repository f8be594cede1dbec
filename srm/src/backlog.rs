//! What is numbered and not yet applied by the target: frames in order, in memory, within a bound (S3). Pure.

use protocol::{Draft, Frame, SeqNo};
use std::collections::VecDeque;

/// What one frame costs in memory beyond its bytes.
const FRAME_OVERHEAD_BYTES: u64 = 96;

#[derive(Debug)]
struct Queued {
    frame: Frame,
    stamp: u64,
}

/// The queue of one target. Numbers in it are contiguous.
#[derive(Debug)]
pub struct Backlog {
    frames: VecDeque<Queued>,
    /// The number that is given out next.
    next: SeqNo,
    bytes: u64,
    limit_bytes: u64,
    /// The number that is sent next; between the oldest and `next`.
    cursor: SeqNo,
    in_flight_bytes: u64,
}

/// Bounds on what is sent and not yet applied (S3).
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Bytes.
    pub bytes: u64,
    /// Operations.
    pub operations: u64,
}

fn cost(frame: &Frame) -> u64 {
    frame.len() as u64 + FRAME_OVERHEAD_BYTES
}

impl Backlog {
    /// An empty queue of at most `limit_bytes`, whose first number is 1.
    pub fn new(limit_bytes: u64) -> Self {
        let first = SeqNo::ZERO.next();
        Self { frames: VecDeque::new(), next: first, bytes: 0, limit_bytes, cursor: first, in_flight_bytes: 0 }
    }

    /// Numbers a record and queues it. `None`: it does not fit; nothing happened.
    pub fn push(&mut self, draft: Draft, stamp: u64, tolerant: bool) -> Option<SeqNo> {
        let seq = self.next;
        let frame = draft.number(seq, stamp, tolerant);
        if self.bytes + cost(&frame) > self.limit_bytes {
            return None;
        }
        self.bytes += cost(&frame);
        self.frames.push_back(Queued { frame, stamp });
        self.next = seq.next();
        Some(seq)
    }

    /// The oldest number that can still be sent; the next number where there is none.
    pub fn oldest(&self) -> SeqNo {
        SeqNo::new(self.next.get() - self.frames.len() as u64)
    }

    /// The newest number given out.
    pub fn newest(&self) -> SeqNo {
        self.next.prev()
    }

    /// Everything up to `applied` is done with. Numbers that were never given out are ignored.
    pub fn acknowledge(&mut self, applied: SeqNo) {
        while self.oldest() <= applied {
            let oldest = self.oldest();
            let Some(done) = self.frames.pop_front() else { break };
            self.bytes -= cost(&done.frame);
            if oldest < self.cursor {
                self.in_flight_bytes -= cost(&done.frame);
            }
        }
        self.cursor = self.cursor.max(self.oldest());
    }

    /// Sending goes on after `applied`, which must be at least the number before the oldest.
    pub fn rewind(&mut self, applied: SeqNo) {
        self.acknowledge(applied);
        self.cursor = self.oldest();
        self.in_flight_bytes = 0;
    }

    /// The next frame to send, if there is one and the window has room for it. One frame always fits an empty window.
    pub fn take(&mut self, window: Window) -> Option<Frame> {
        let index = usize::try_from(self.cursor.since(self.oldest())).ok()?;
        let queued = self.frames.get(index)?;
        let full = index as u64 >= window.operations || self.in_flight_bytes + cost(&queued.frame) > window.bytes;
        if full && index > 0 {
            return None;
        }
        self.in_flight_bytes += cost(&queued.frame);
        self.cursor = self.cursor.next();
        Some(queued.frame.clone())
    }

    /// Throws everything away; numbers go on (R1: a backlog is swallowed whole or not at all).
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
        self.in_flight_bytes = 0;
        self.cursor = self.next;
    }

    /// Bytes queued, as counted against the bound.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bound in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Operations queued.
    pub fn operations(&self) -> u64 {
        self.frames.len() as u64
    }

    /// When the oldest queued operation was numbered: nanoseconds since 1970 on the source's clock.
    pub fn oldest_stamp(&self) -> Option<u64> {
        self.frames.front().map(|queued| queued.stamp)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::{Mark, Op};

    const WIDE: Window = Window { bytes: 1 << 30, operations: 1 << 20 };

    fn draft(len: usize) -> Draft {
        Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(vec![0; len]))
    }

    #[test]
    fn numbers_are_contiguous_and_sent_once_each() {
        let mut backlog = Backlog::new(1 << 20);
        for n in 1..=3 {
            assert_eq!(backlog.push(draft(10), n, false), Some(SeqNo::new(n)));
        }
        assert_eq!((0..5).filter_map(|_| backlog.take(WIDE)).count(), 3);
        backlog.acknowledge(SeqNo::new(2));
        assert_eq!((backlog.oldest(), backlog.operations()), (SeqNo::new(3), 1));
        backlog.rewind(SeqNo::new(2));
        assert!(backlog.take(WIDE).is_some() && backlog.take(WIDE).is_none());
        backlog.acknowledge(SeqNo::new(3));
        assert_eq!((backlog.bytes(), backlog.oldest_stamp()), (0, None));
    }

    #[test]
    fn the_bound_holds_and_refusing_changes_nothing() {
        let mut backlog = Backlog::new(2000);
        assert!(backlog.push(draft(1000), 1, false).is_some());
        let before = backlog.bytes();
        assert_eq!(backlog.push(draft(1000), 2, false), None);
        assert_eq!((backlog.bytes(), backlog.newest()), (before, SeqNo::new(1)));
    }

    #[test]
    fn the_window_bounds_what_is_in_flight_but_lets_one_pass() {
        let mut backlog = Backlog::new(1 << 30);
        for n in 1..=3 {
            backlog.push(draft(1000), n, false).unwrap();
        }
        let narrow = Window { bytes: 100, operations: 10 };
        assert!(backlog.take(narrow).is_some());
        assert!(backlog.take(narrow).is_none());
        backlog.acknowledge(SeqNo::new(1));
        assert!(backlog.take(narrow).is_some());
    }

    #[test]
    fn clearing_keeps_the_numbers_going() {
        let mut backlog = Backlog::new(1 << 20);
        backlog.push(draft(1), 1, false).unwrap();
        backlog.clear();
        assert_eq!(backlog.oldest(), SeqNo::new(2));
        assert_eq!(backlog.push(draft(1), 2, false), Some(SeqNo::new(2)));
        assert!(backlog.take(WIDE).is_some());
    }
}
