//! Work that is still to be done. The last that came in is taken first, so that a tree is gone through in depth and little
//! of it waits here.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// What takes memory while it waits.
pub(super) trait Weighs {
    /// How many bytes, at least about.
    fn weight(&self) -> usize;
}

/// Work for several threads.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    jobs: Vec<T>,
    /// Of all jobs that wait.
    weight: usize,
    busy: usize,
    stopped: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let inner = Inner { jobs: Vec::new(), weight: 0, busy: 0, stopped: false };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }
}

impl<T: Weighs> Queue<T> {
    /// Adds work; of what is added together, the first is done first.
    pub fn push(&self, jobs: impl IntoIterator<Item = T, IntoIter: DoubleEndedIterator>) {
        let mut inner = self.inner.lock();
        for job in jobs.into_iter().rev() {
            inner.weight += job.weight();
            inner.jobs.push(job);
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// The next, as soon as there is one; `None` when all is done or stopped. Each is to be ended with [`Queue::done`].
    pub fn next(&self) -> Option<T> {
        let mut inner = self.inner.lock();
        loop {
            if inner.stopped {
                return None;
            }
            if let Some(job) = inner.jobs.pop() {
                inner.busy += 1;
                inner.weight -= job.weight();
                return Some(job);
            }
            if inner.busy == 0 {
                return None;
            }
            self.changed.wait(&mut inner);
        }
    }

    /// Of all that waits, in bytes.
    pub fn weight(&self) -> usize {
        self.inner.lock().weight
    }

    /// One that was taken is done.
    pub fn done(&self) {
        self.inner.lock().busy -= 1;
        self.changed.notify_all();
    }

    /// Nothing more is handed out.
    pub fn stop(&self) {
        self.inner.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until all is done, for a while. Says whether it is, or is stopped and nobody works any more.
    pub fn wait(&self, most: Duration) -> bool {
        let mut inner = self.inner.lock();
        let over = |inner: &Inner<T>| inner.busy == 0 && (inner.stopped || inner.jobs.is_empty());
        if !over(&inner) {
            // Woken early is as good.
            let _ = self.changed.wait_for(&mut inner, most);
        }
        over(&inner)
    }
}
