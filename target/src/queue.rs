//! Records between the network and the applier. Bounded by bytes and by count; when it is full, the network is not read.

use parking_lot::{Condvar, Mutex};
use platform::machine;
use platform::parts::Parts;
use protocol::{At, NodeKind, Op, Place, Record, RelPath};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Payload bytes and records that may wait. One record is let in whatever its size.
const MAX_BYTES: usize = 8 << 20;
const MAX_ITEMS: usize = 8192;
/// What a record costs beside what it holds, at the least.
const ITEM_BYTES: usize = 512;
/// What an attribute costs beside its name and value.
const PAIR_BYTES: usize = 64;

/// What the applier is to do.
#[derive(Debug)]
pub(crate) enum Item {
    /// Apply this.
    Record {
        /// The record.
        record: Record,
        /// Its payload.
        payload: Parts,
        /// A run of numbers begins with it.
        starts: bool,
    },
    /// The source has said goodbye.
    Bye,
}

/// What the applier finds.
#[derive(Debug)]
pub(crate) enum Popped {
    /// An item, and whether more are waiting.
    Item(Item, bool),
    /// Nothing came for a while.
    Idle,
    /// Nothing will come any more.
    Ended,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    /// Nothing comes after what is here.
    finished: bool,
    ahead: ahead::Ahead,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// Something was pushed, or it is over.
    filled: Condvar,
    /// There is something to look at ahead, or it is over.
    looking: Condvar,
    /// There is room again, or it is over.
    room: Notify,
    cancelled: AtomicBool,
    cancel: Notify,
}

fn cost(item: &Item) -> usize {
    match item {
        Item::Record { record, payload, .. } => payload.len() + held(&record.op) + ITEM_BYTES,
        Item::Bye => 0,
    }
}

/// Bytes that an operation itself holds: a source may put megabytes into what is no payload.
fn held(op: &Op) -> usize {
    let path = |path: &RelPath| path.as_bytes().len();
    let kind = |kind: &NodeKind| if let NodeKind::Symlink(to) = kind { to.len() } else { 0 };
    let at = |place: &Place| if let At::Path(at) = &place.at { path(at) } else { 0 };
    match op {
        Op::Compare { place, hashes, .. } => at(place) + hashes.len(),
        Op::Ensure(wanted) => {
            let pairs = wanted.xattrs.iter().map(|(name, value)| name.len() + value.len() + PAIR_BYTES);
            path(&wanted.path) + kind(&wanted.kind) + pairs.sum::<usize>()
        }
        Op::Create { path: new, kind: what, .. } => path(new) + kind(what),
        Op::Rename { from, to, .. } => path(from) + path(to),
        Op::Link { from, to, .. } => at(from) + path(to),
        Op::CopyRange { from, to, .. } => at(from) + at(to),
        _ => op.path().map_or(0, path),
    }
}

impl Queue {
    /// Adds an item, waiting for room. `false`: the session is over.
    pub async fn push(&self, item: Item) -> bool {
        let cost = cost(&item);
        loop {
            let room = self.room.notified();
            {
                let mut inner = self.inner.lock();
                if self.is_cancelled() || inner.finished {
                    return false;
                }
                if inner.items.is_empty() || (inner.bytes + cost <= MAX_BYTES && inner.items.len() < MAX_ITEMS) {
                    inner.bytes += cost;
                    inner.items.push_back(item);
                    self.filled.notify_one();
                    // The applier is about to take the first.
                    if inner.items.len() > 1 && inner.needs_a_looker() {
                        self.looking.notify_one();
                    }
                    return true;
                }
            }
            room.await;
        }
    }

    /// Takes the next item, waiting up to `wait` for one.
    pub fn pop(&self, wait: Duration) -> Popped {
        let deadline = Instant::now() + wait;
        let mut inner = self.inner.lock();
        loop {
            if self.is_cancelled() {
                return Popped::Ended;
            }
            if let Some(item) = inner.items.pop_front() {
                inner.bytes -= cost(&item);
                inner.ahead.looked = inner.ahead.looked.saturating_sub(1);
                let more = !inner.items.is_empty();
                if inner.needs_a_looker() {
                    self.looking.notify_one();
                }
                drop(inner);
                self.room.notify_one();
                return Popped::Item(item, more);
            }
            if inner.finished {
                return Popped::Ended;
            }
            if self.filled.wait_until(&mut inner, deadline).timed_out() {
                return Popped::Idle;
            }
        }
    }

    /// Whether the record that waits first may be applied while the one before it is synced.
    pub fn next_is_beside(&self) -> bool {
        let inner = self.inner.lock();
        matches!(inner.items.front(), Some(Item::Record { record, .. }) if record.beside > 0)
    }

    /// The first records that wait, with the bytes of their payloads.
    pub fn waiting(&self, most: usize) -> Vec<(Op, u64)> {
        let inner = self.inner.lock();
        let op = |item: &Item| match item {
            Item::Record { record, payload, .. } => Some((record.op.clone(), payload.len() as u64)),
            Item::Bye => None,
        };
        inner.items.iter().take(most).filter_map(op).collect()
    }

    /// Lets `time` pass, less when the session ends. Answers whether it goes on.
    pub fn pause(&self, time: Duration) -> bool {
        if machine::wait(time, false) {
            return !self.is_ended();
        }
        let deadline = Instant::now() + time;
        let mut inner = self.inner.lock();
        loop {
            if self.is_cancelled() || inner.finished {
                return false;
            }
            if self.filled.wait_until(&mut inner, deadline).timed_out() {
                return true;
            }
        }
    }

    /// Nothing comes after what is here; that is still applied.
    pub fn finish(&self) {
        self.inner.lock().finished = true;
        self.wake();
    }

    /// The session ends now; what waits here is dropped, the source sends it again.
    pub fn cancel(&self) {
        {
            // Under the lock, so that nobody who found the session going on misses the waking.
            let mut inner = self.inner.lock();
            self.cancelled.store(true, Ordering::Release);
            inner.items.clear();
            inner.bytes = 0;
            inner.ahead.looked = 0;
        }
        self.wake();
        self.cancel.notify_waiters();
        self.cancel.notify_one();
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The connection has ended, or is to end.
    pub fn is_ended(&self) -> bool {
        self.is_cancelled() || self.inner.lock().finished
    }

    /// Returns when the session is to end.
    pub async fn cancelled(&self) {
        loop {
            let cancel = self.cancel.notified();
            if self.is_cancelled() {
                return;
            }
            cancel.await;
        }
    }

    fn wake(&self) {
        self.filled.notify_all();
        self.room.notify_waiters();
        self.room.notify_one();
    }
}

mod ahead;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::{Mark, Op, Phase, SeqNo};
    use std::sync::Arc;

    pub(super) fn item(bytes: usize) -> Item {
        let record = Record {
            seq: SeqNo::new(1),
            stamp: 0,
            tolerant: false,
            phase: Phase::Plain,
            beside: 0,
            op: Op::Mark(Mark::Barrier),
        };
        Item::Record { record, payload: Bytes::from(vec![0; bytes]).into(), starts: false }
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_network_wait_and_never_the_applier() {
        let queue = Arc::new(Queue::default());
        assert!(queue.push(item(MAX_BYTES * 2)).await, "one item always fits");
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.push(item(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Item(_, false)));
        assert!(waiting.await.unwrap());
        queue.cancel();
        assert!(!queue.push(item(1)).await);
        assert!(matches!(queue.pop(Duration::from_secs(60)), Popped::Ended));
        queue.cancelled().await;
    }

    #[tokio::test]
    async fn what_was_received_before_the_end_is_still_handed_out() {
        let queue = Queue::default();
        queue.push(item(1)).await;
        queue.finish();
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Item(_, false)));
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Ended));
    }
}
