//! Replies that wait for the target (S2 `sync`): a table keyed by sequence number, no thread is blocked. Pure: time is given.

use protocol::SeqNo;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Answers an application.
pub type Reply = Box<dyn FnOnce() + Send>;

/// The table.
#[derive(Default)]
pub struct Replies {
    /// By number, then by order of arrival: one number may have several (a write and its fsync).
    waiting: BTreeMap<(SeqNo, u64), (Instant, Reply)>,
    arrivals: u64,
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replies").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Replies {
    /// Keeps a reply until `seq` is applied.
    pub fn wait(&mut self, seq: SeqNo, now: Instant, reply: Reply) {
        self.arrivals += 1;
        self.waiting.insert((seq, self.arrivals), (now, reply));
    }

    /// The replies that waited for numbers up to `applied`, in order.
    #[must_use]
    pub fn applied(&mut self, applied: SeqNo) -> Vec<Reply> {
        let rest = self.waiting.split_off(&(applied.next(), 0));
        std::mem::replace(&mut self.waiting, rest).into_values().map(|(_, reply)| reply).collect()
    }

    /// All replies, in order: the mode has degraded.
    #[must_use]
    pub fn release_all(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.waiting).into_values().map(|(_, reply)| reply).collect()
    }

    /// How long the reply that waits longest has waited.
    pub fn longest_wait(&self, now: Instant) -> Option<Duration> {
        self.waiting.values().map(|(since, _)| now.saturating_duration_since(*since)).max()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_reply_goes_out_when_its_number_is_applied_and_not_before() {
        let out = Arc::new(Mutex::new(Vec::new()));
        let mut replies = Replies::default();
        let now = Instant::now();
        for n in [3, 1, 2, 2] {
            let out = Arc::clone(&out);
            replies.wait(SeqNo::new(n), now, Box::new(move || out.lock().expect("not poisoned").push(n)));
        }
        let run = |due: Vec<Reply>| due.into_iter().for_each(|reply| reply());
        run(replies.applied(SeqNo::ZERO));
        assert_eq!(*out.lock().expect("not poisoned"), Vec::<u64>::new());
        run(replies.applied(SeqNo::new(2)));
        assert_eq!(*out.lock().expect("not poisoned"), [1, 2, 2]);
        assert_eq!(replies.longest_wait(now + Duration::from_secs(1)), Some(Duration::from_secs(1)));
        run(replies.release_all());
        assert_eq!(*out.lock().expect("not poisoned"), [1, 2, 2, 3]);
    }
}
