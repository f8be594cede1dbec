//! Flow control (S3): operations that carry data wait for room in the backlog before they begin, on a thread of their own,
//! in order, for a bounded time. What waits is bounded too.
//!
//! A mode that has degraded comes back when the target has caught up. So that it does, however fast applications write, they get half of what the target
//! takes meanwhile: of each acknowledgement half the bytes come off what may be queued. Beside a pass that starves what they may have queued shrinks in the same
//! way, until it is what the pass may have queued (`pass/share.rs`): from then on each gets half.

use crate::Srm;
use crate::core::{Core, Link};
use crate::map::Gate;
use parking_lot::{Condvar, Mutex};
use platform::machine;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Begins an operation.
type Job = Box<dyn FnOnce() + Send>;

/// Room that is left in the backlog for what does not wait, in bytes: at most a quarter of it.
const RESERVE_BYTES: u64 = 8 << 20;

/// Operations that may wait. The kernel holds each of their callers, so there are as many as threads that write.
const WAITING: usize = 256;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Core {
    /// Something was acknowledged; `before`: bytes that were queued then. A mode that nothing but the backlog keeps from being in force sets the pace, and a pass
    /// that starves.
    pub(crate) fn pace(&mut self, before: u64) {
        let returns = self.degraded
            && self.commit.mode.waits()
            && matches!(self.link, Link::Up)
            && self.blocked.is_none()
            && self.is_coherent();
        let starves = matches!(self.gate, Gate::Pass(_)) && self.share.starves();
        let taken = before.saturating_sub(self.backlog.bytes());
        let least = if starves { self.pass_room() } else { 0 };
        let slower = |pace: u64| pace.saturating_sub(taken / 2).max(least);
        self.pace = (returns || starves).then(|| slower(self.pace.unwrap_or(before)));
    }

    /// Bytes that may be in the backlog when an operation with data is let in. Beside a pass some is left for that.
    pub(crate) fn live_room(&self) -> u64 {
        let limit = self.backlog.limit_bytes();
        let of_pass = if matches!(self.gate, Gate::Pass(_)) { self.pass_room() } else { 0 };
        limit - RESERVE_BYTES.min(limit / 4) - of_pass
    }
}

/// What waits.
#[derive(Default)]
pub(crate) struct Room {
    queue: Mutex<VecDeque<(u64, Job)>>,
    filled: Condvar,
    /// Bytes of operations that were let in and are not in the backlog yet.
    admitted: AtomicU64,
}

/// An operation was let in: the room it needs is kept for it until this is dropped, when its record is in the backlog.
#[derive(Debug)]
pub struct Admission<'a> {
    admitted: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.admitted.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
    /// Lets an operation with so many bytes of data begin now, if there is room and none waits before it. A full backlog
    /// makes it wait only while the target takes things: otherwise the backlog overflows, and source and target are
    /// compared later.
    pub fn admit(&self, bytes: u64) -> Option<Admission<'_>> {
        if !self.config.bypassed && !self.room.queue.lock().is_empty() {
            return None;
        }
        self.fits(bytes)
    }

    fn fits(&self, bytes: u64) -> Option<Admission<'_>> {
        let admission = || {
            self.room.admitted.fetch_add(bytes, Ordering::Relaxed);
            Admission { admitted: &self.room.admitted, bytes }
        };
        if self.config.bypassed {
            return Some(admission());
        }
        let core = self.core.lock();
        let coming = self.room.admitted.load(Ordering::Relaxed) + bytes;
        let paced = core.pace.is_none_or(|pace| core.live_bytes() + coming <= pace);
        let fits = core.backlog.used_bytes() + coming <= core.live_room() && paced
            || !matches!(core.link, Link::Up)
            || core.halted.is_some()
            || matches!(core.gate, Gate::Due | Gate::Held(_))
            || machine::since(core.progress_at) >= self.config.degrade_after
            || core.stopped;
        // Counted under the core's lock, so that two of them do not take the same room.
        fits.then(admission)
    }

    /// Begins an operation with so many bytes of data when there is room, after those that came before it.
    pub fn when_room(&self, bytes: u64, job: Box<dyn FnOnce() + Send>) {
        let mut queue = self.room.queue.lock();
        if queue.len() < WAITING {
            queue.push_back((bytes, job));
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
        let waiting = queue.front().map(|(bytes, _)| *bytes);
        drop(queue);
        if let Some(bytes) = waiting {
            let admission = loop {
                if let Some(admission) = self.fits(bytes) {
                    break admission;
                }
                let mut core = self.core.lock();
                self.changed.wait_until(&mut core, machine::now() + LOOK_AGAIN);
            };
            // It stays in the queue while it runs, so that nothing overtakes it.
            let job = self.room.queue.lock().front_mut().map(|(_, job)| std::mem::replace(job, Box::new(|| {})));
            if let Some(job) = job {
                job();
                self.room.queue.lock().pop_front();
            }
            drop(admission);
        }
        !self.core.lock().stopped
    }
}
