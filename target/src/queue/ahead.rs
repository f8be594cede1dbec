//! Which of the records that wait are looked at before it is their turn, and who waits for one. What is looked at is `crate::ahead`'s.

use super::{Inner, Item, Queue};
use protocol::Op;

/// Records that are looked at before it is their turn: more would be out of memory again by then.
const MAX_AHEAD: usize = 256;

/// What is looked at before it is its turn.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Of the items that wait, so many, from the first on, were looked at.
    pub(super) looked: usize,
    /// So many more are worth it.
    worth: usize,
    /// Who waits for one to look at.
    waiting: usize,
    over: bool,
}

impl Inner {
    /// Whether there is a record to look at ahead.
    fn is_worth_a_look(&self) -> bool {
        let Ahead { looked, worth, over, .. } = self.ahead;
        !over && worth > 0 && looked < MAX_AHEAD.min(self.items.len())
    }

    pub(super) fn needs_a_looker(&self) -> bool {
        self.ahead.waiting > 0 && self.is_worth_a_look()
    }
}

impl Queue {
    /// So many of the records to come are worth a look ahead.
    pub fn look_ahead(&self, records: usize) {
        self.inner.lock().ahead.worth = records;
        self.looking.notify_all();
    }

    /// The next record to look at ahead, with the bytes of its payload, if there is one.
    pub fn next_ahead(&self) -> Option<(Op, u64)> {
        let mut inner = self.inner.lock();
        while inner.is_worth_a_look() {
            let next = inner.ahead.looked;
            inner.ahead.looked += 1;
            if let Item::Record { record, payload, .. } = &inner.items[next] {
                let found = (record.op.clone(), payload.len() as u64);
                inner.ahead.worth -= 1;
                return Some(found);
            }
        }
        None
    }

    /// Waits until there is one to look at ahead. `false`: nothing is looked at any more.
    pub fn wait_ahead(&self) -> bool {
        let mut inner = self.inner.lock();
        while !inner.ahead.over && !inner.is_worth_a_look() {
            inner.ahead.waiting += 1;
            self.looking.wait(&mut inner);
            inner.ahead.waiting -= 1;
        }
        !inner.ahead.over
    }

    /// Nothing is looked at ahead any more.
    pub fn end_ahead(&self) {
        self.inner.lock().ahead.over = true;
        self.looking.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Popped;
    use crate::queue::tests::item;
    use std::time::Duration;

    #[tokio::test]
    async fn records_are_looked_at_once_each_and_only_where_it_is_worth_it() {
        let queue = Queue::default();
        for _ in 0..MAX_AHEAD + 3 {
            queue.push(item(1)).await;
        }
        assert!(queue.next_ahead().is_none());
        queue.look_ahead(2);
        assert!(queue.next_ahead().is_some() && queue.next_ahead().is_some() && queue.next_ahead().is_none());
        // The applier has passed one of those and two more.
        queue.look_ahead(usize::MAX);
        for _ in 0..3 {
            assert!(matches!(queue.pop(Duration::ZERO), Popped::Item(_, true)));
        }
        assert_eq!(std::iter::from_fn(|| queue.next_ahead()).count(), MAX_AHEAD);
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Item(_, true)));
        queue.push(Item::Bye).await;
        assert!(queue.wait_ahead() && queue.next_ahead().is_none(), "there is nothing to look at in a goodbye");
        queue.end_ahead();
        assert!(!queue.wait_ahead() && queue.next_ahead().is_none());
    }
}
