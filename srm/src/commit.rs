//! When an application is answered (S2): the mode, the bounds of `near`, and how far the target must be before a reply may go
//! out. Pure: numbers and stamps are given; who waits stands in `replies`.

use crate::status::{CommitMode, NearBounds};
use protocol::SeqNo;
use std::collections::VecDeque;

/// Places in the stream that are remembered; beyond this every other one is forgotten, and `near` is as strict as it
/// must be to be sure.
const MOST_MARKS: usize = 4096;

/// What is asked of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The mode.
    pub mode: CommitMode,
    /// How far behind the target may be in `near`.
    pub near: NearBounds,
    /// An application waits for a target that does not answer, however long.
    pub strict: bool,
}

impl Commit {
    /// A mode with the default bounds, which degrades.
    pub fn new(mode: CommitMode) -> Self {
        Self { mode, near: NearBounds::default(), strict: false }
    }
}

/// What was numbered up to a place in the stream.
#[derive(Clone, Copy, Debug)]
struct Mark {
    seq: SeqNo,
    /// Bytes numbered since the start, this record included.
    bytes: u64,
    /// When it was numbered: nanoseconds on a clock that only goes on.
    stamp: u64,
}

/// How much was numbered, and when, as far back as the target is behind.
#[derive(Debug, Default)]
pub struct Marks {
    seen: VecDeque<Mark>,
    bytes: u64,
    /// Of those, on the target.
    applied_bytes: u64,
    /// Records from one mark to the next.
    step: u64,
}

impl Marks {
    /// A record of so many bytes was numbered.
    pub fn numbered(&mut self, seq: SeqNo, bytes: u64, stamp: u64) {
        self.bytes += bytes;
        if self.seen.back().is_some_and(|last| seq.since(last.seq) < self.step) {
            return;
        }
        if self.seen.len() >= MOST_MARKS {
            let mut keep = false;
            self.seen.retain(|_| {
                keep = !keep;
                keep
            });
            self.step = (self.step * 2).max(2);
        }
        self.seen.push_back(Mark { seq, bytes: self.bytes, stamp });
    }

    /// Everything up to `applied` is on the target.
    pub fn applied(&mut self, applied: SeqNo) {
        while let Some(mark) = self.seen.front().filter(|mark| mark.seq <= applied) {
            self.applied_bytes = mark.bytes;
            self.seen.pop_front();
        }
        if self.seen.is_empty() {
            self.step = 0;
        }
    }

    /// What must be applied before the reply to `newest` may go out, all of it within the bounds.
    pub fn needed(&self, newest: SeqNo, now: u64, bounds: NearBounds) -> SeqNo {
        let by_operations = SeqNo::new(newest.get().saturating_sub(bounds.operations));
        let first = |index: usize| self.seen.get(index).map_or(newest, |mark| mark.seq.min(newest));
        let enough = self.bytes.saturating_sub(bounds.bytes);
        let by_bytes = match enough {
            enough if enough <= self.applied_bytes => SeqNo::ZERO,
            enough => first(self.seen.partition_point(|mark| mark.bytes < enough)),
        };
        let old = now.saturating_sub(u64::try_from(bounds.age().as_nanos()).unwrap_or(u64::MAX));
        let young = self.seen.partition_point(|mark| mark.stamp <= old);
        // What lies between two marks is as old as the first of them may be.
        let by_age = if young == 0 { SeqNo::ZERO } else { first(young).prev() };
        by_operations.max(by_bytes).max(by_age).min(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bounds(operations: u64, bytes: u64, millis: u64) -> NearBounds {
        NearBounds { operations, bytes, millis }
    }

    /// `n` records of 100 bytes, one in a second.
    fn marks(n: u64) -> Marks {
        let mut marks = Marks::default();
        (1..=n).for_each(|seq| marks.numbered(SeqNo::new(seq), 100, seq * SECOND));
        marks
    }

    #[test]
    fn each_bound_alone_holds_the_application() {
        let marks = marks(10);
        let (newest, now) = (SeqNo::new(10), 10 * SECOND);
        assert_eq!(marks.needed(newest, now, bounds(3, 1 << 30, 1 << 30)), SeqNo::new(7));
        assert_eq!(marks.needed(newest, now, bounds(100, 300, 1 << 30)), SeqNo::new(7));
        assert_eq!(marks.needed(newest, now, bounds(100, 250, 1 << 30)), SeqNo::new(8));
        assert_eq!(marks.needed(newest, now, bounds(100, 1 << 30, 4000)), SeqNo::new(6));
        assert_eq!(marks.needed(newest, now, bounds(100, 1 << 30, 1 << 30)), SeqNo::ZERO);
    }

    #[test]
    fn nothing_but_none_behind_is_sync() {
        assert_eq!(marks(10).needed(SeqNo::new(10), 10 * SECOND, bounds(0, 0, 0)), SeqNo::new(10));
    }

    #[test]
    fn what_is_applied_is_forgotten_and_counts_no_more() {
        let mut marks = marks(10);
        marks.applied(SeqNo::new(9));
        let needed = |bytes| marks.needed(SeqNo::new(10), 10 * SECOND, bounds(100, bytes, 1 << 30));
        assert_eq!((needed(100), needed(99)), (SeqNo::ZERO, SeqNo::new(10)));
        assert_eq!(marks.seen.len(), 1);
    }

    #[test]
    fn with_few_marks_for_many_records_the_bounds_still_hold() {
        let n = 100_000;
        let marks = marks(n);
        assert!(marks.seen.len() <= MOST_MARKS);
        let newest = SeqNo::new(n);
        for (operations, bytes, millis) in
            [(5000, 1 << 40, 1 << 50), (1 << 40, 500_000, 1 << 50), (1 << 40, 1 << 40, 5_000_000)]
        {
            let needed = marks.needed(newest, n * SECOND, bounds(operations, bytes, millis));
            assert!(needed.get() >= n - 5001, "{needed} leaves more than the bound behind");
        }
    }
}
