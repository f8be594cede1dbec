//! What a pass has queued of the backlog, and when applications leave it too little of what the target takes. Pure; `room` keeps applications to what is said
//! here.

use protocol::SeqNo;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Share {
    queued: VecDeque<(SeqNo, u64)>,
    bytes: u64,
    starves: bool,
}

impl Share {
    /// A pass begins; what an earlier one has queued still is.
    pub fn begin(&mut self) {
        self.starves = false;
    }

    /// A record of the pass takes so many bytes.
    pub fn queued(&mut self, seq: SeqNo, bytes: u64) {
        self.queued.push_back((seq, bytes));
        self.bytes += bytes;
    }

    /// All up to this one is done with.
    pub fn applied(&mut self, applied: SeqNo) {
        let done = self.queued.partition_point(|(seq, _)| *seq <= applied);
        self.bytes -= self.queued.drain(..done).map(|(_, bytes)| bytes).sum::<u64>();
    }

    /// What is newer than this was taken out of the backlog.
    pub fn cut(&mut self, newest: SeqNo) {
        let left = self.queued.partition_point(|(seq, _)| *seq <= newest);
        self.bytes -= self.queued.drain(left..).map(|(_, bytes)| bytes).sum::<u64>();
    }

    /// Bytes of the pass that are queued.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Applications left it too little.
    pub fn starve(&mut self) {
        self.starves = true;
    }

    /// Whether they did since it began.
    pub fn starves(&self) -> bool {
        self.starves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_is_not_counted_any_more() {
        let mut share = Share::default();
        for n in 1..=3 {
            share.queued(SeqNo::new(2 * n), n);
        }
        share.applied(SeqNo::new(3));
        assert_eq!(share.bytes(), 5);
        share.cut(SeqNo::new(5));
        assert_eq!(share.bytes(), 2);
        share.applied(SeqNo::new(6));
        assert_eq!(share.bytes(), 0);
    }
}
