//! Flow control (S3): operations that carry data wait for room in the backlog before they begin, on a thread of their own,
//! in order, for a bounded time. What waits is bounded too.

use crate::Srm;
use crate::core::Link;
use crate::gate::Gate;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Begins an operation.
type Job = Box<dyn FnOnce() + Send>;

/// Room that is left in the backlog for what does not wait, in bytes: at most a quarter of it.
const RESERVE_BYTES: u64 = 8 << 20;

/// Operations that may wait. The kernel holds each of their callers, so there are as many as threads that write.
const WAITING: usize = 256;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What waits.
#[derive(Default)]
pub(crate) struct Room {
    queue: Mutex<VecDeque<Job>>,
    filled: Condvar,
}

pub(crate) fn start(srm: &Arc<Srm>) -> io::Result<()> {
    let weak: Weak<Srm> = Arc::downgrade(srm);
    std::thread::Builder::new().name("room".to_owned()).spawn(move || {
        while let Some(srm) = weak.upgrade() {
            if !srm.admit_one() {
                return;
            }
        }
    })?;
    Ok(())
}

impl Srm {
    /// Whether an operation with data may begin now. A full backlog makes it wait only while the target takes things:
    /// otherwise the backlog overflows, and source and target are compared later.
    pub fn has_room(&self) -> bool {
        if self.config.bypassed {
            return true;
        }
        if !self.room.queue.lock().is_empty() {
            return false;
        }
        self.fits()
    }

    fn fits(&self) -> bool {
        let core = self.core.lock();
        let limit = core.backlog.limit_bytes();
        let reserve = RESERVE_BYTES.min(limit / 4);
        core.backlog.bytes() < limit - reserve
            || !matches!(core.link, Link::Up)
            || matches!(core.gate, Gate::Due)
            || core.progress_at.elapsed() >= self.config.degrade_after
            || core.stopped
    }

    /// Begins an operation when there is room, after those that came before it.
    pub fn when_room(&self, job: Box<dyn FnOnce() + Send>) {
        let mut queue = self.room.queue.lock();
        if queue.len() < WAITING {
            queue.push_back(job);
            drop(queue);
            self.room.filled.notify_one();
        } else {
            // Too many wait: this one goes ahead, and the backlog overflows if it must.
            drop(queue);
            job();
        }
    }

    /// Waits for a job and for room, and begins it. `false`: the daemon ends.
    fn admit_one(&self) -> bool {
        let mut queue = self.room.queue.lock();
        if queue.is_empty() {
            self.room.filled.wait_for(&mut queue, LOOK_AGAIN);
        }
        let waiting = !queue.is_empty();
        drop(queue);
        if waiting {
            while !self.fits() {
                let mut core = self.core.lock();
                self.changed.wait_until(&mut core, Instant::now() + LOOK_AGAIN);
            }
            // It stays in the queue while it runs, so that nothing overtakes it.
            let job = self.room.queue.lock().front_mut().map(|job| std::mem::replace(job, Box::new(|| {})));
            if let Some(job) = job {
                job();
                self.room.queue.lock().pop_front();
            }
        }
        !self.core.lock().stopped
    }
}
