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
    fn live_room(&self) -> u64 {
        data_room(self.backlog.limit_bytes()) - if matches!(self.gate, Gate::Pass(_)) { self.pass_room() } else { 0 }
    }
}

/// What of a backlog is for data.
fn data_room(limit: u64) -> u64 {
    limit - RESERVE_BYTES.min(limit / 4)
}

/// What data of these bytes may take of a journal, at the most: where a record begins a segment, less than the record takes is left unused of the one before.
fn in_journal(bytes: u64) -> u64 {
    2 * bytes
}

/// Whether data of so many bytes fits a backlog of which so many are used, after all that was let in and is not in it.
fn fits(used: u64, let_in: u64, bytes: u64, limit: u64) -> bool {
    used + in_journal(let_in) + bytes <= data_room(limit)
}

/// What waits.
#[derive(Default)]
pub(crate) struct Room {
    queue: Mutex<VecDeque<(u64, Job)>>,
    filled: Condvar,
    /// Bytes of operations that were let in and are not in the backlog yet.
    admitted: AtomicU64,
    /// The same of what a pass is about to send.
    of_pass: AtomicU64,
}

impl Room {
    /// Bytes that were let in and are not in the backlog yet.
    fn let_in(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed) + self.of_pass()
    }

    pub fn of_pass(&self) -> u64 {
        self.of_pass.load(Ordering::Relaxed)
    }
}

/// An operation was let in: the room it needs is kept for it until this is dropped, when its record is in the backlog.
#[must_use]
pub struct Admission<'a> {
    srm: &'a Srm,
    counted: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let Srm { room, core, changed, .. } = self.srm;
        self.counted.fetch_sub(self.bytes, Ordering::Relaxed);
        if !room.queue.lock().is_empty() {
            // Who waits for it has looked before, or looks after this.
            drop(core.lock());
            changed.notify_all();
        }
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
        let core = self.core.lock();
        self.has_room(&core, bytes).then(|| self.let_in(&core, bytes))
    }

    /// Counted under the core's lock, so that two of them do not take the same room.
    fn let_in(&self, _core: &Core, bytes: u64) -> Admission<'_> {
        self.keep_for(&self.room.admitted, bytes)
    }

    /// The same for a pass, which looks at the room itself.
    pub(crate) fn let_pass_in(&self, _core: &Core, bytes: u64) -> Admission<'_> {
        self.keep_for(&self.room.of_pass, bytes)
    }

    fn keep_for<'a>(&'a self, counted: &'a AtomicU64, bytes: u64) -> Admission<'a> {
        counted.fetch_add(bytes, Ordering::Relaxed);
        Admission { srm: self, counted, bytes }
    }

    /// Whether so many bytes of data have room in the backlog, whoever sends them.
    pub(crate) fn fits(&self, core: &Core, bytes: u64) -> bool {
        fits(core.backlog.used_bytes(), self.room.let_in(), bytes, core.backlog.limit_bytes())
    }

    fn has_room(&self, core: &Core, bytes: u64) -> bool {
        if self.config.bypassed || core.stopped {
            return true;
        }
        let waits_for_nothing = !matches!(core.link, Link::Up)
            || core.halted.is_some()
            || core.is_held_back()
            || matches!(core.gate, Gate::Due | Gate::Held(_))
            || machine::since(core.progress_at) >= self.config.degrade_after;
        let (admitted, used) = (self.room.admitted.load(Ordering::Relaxed), core.backlog.used_bytes());
        if waits_for_nothing {
            // No more at once than a catch-up that begins meanwhile has room for.
            return admitted == 0 || in_journal(self.room.let_in()) + bytes <= core.backlog.limit_bytes() / 4;
        }
        let paced = core.pace.is_none_or(|pace| core.live_bytes() + admitted + bytes <= pace);
        paced && used + admitted + bytes <= core.live_room() && self.fits(core, bytes)
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
            let admission = {
                let mut core = self.core.lock();
                while !self.has_room(&core, bytes) {
                    self.changed.wait_until(&mut core, machine::now() + LOOK_AGAIN);
                }
                self.let_in(&core, bytes)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::backlog::Backlog;
    use bytes::Bytes;
    use protocol::{Draft, Incarnation, Mark, Op};

    /// Whatever was let in at once fits: records of just over half a segment leave half of each unused.
    #[test]
    fn what_is_let_in_at_once_fits_the_smallest_journal() {
        const SIZES: [u64; 5] = [1 << 20, (1 << 20) - 16, 700_000, 100_000, 16];
        for (first, size) in (0..12).flat_map(|first| SIZES.map(|size| (first, size))) {
            let dir = tempfile::tempdir().unwrap();
            let area = journal::AreaConfig::new(journal::AreaKind::Memory, dir.path(), 8 << 20);
            let config = journal::Config { boot: [1; 16], areas: vec![area] };
            let (journal, _) = journal::Journal::open(Arc::new(journal::RealDisk), config).unwrap();
            let mut backlog = Backlog::journaled(journal, false, 0).unwrap();
            backlog.begin(Incarnation::from_bytes([1; 16])).unwrap();
            let limit = backlog.limit_bytes();
            let mut push = |bytes: u64| {
                let draft = Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(vec![0; usize::try_from(bytes).unwrap()]));
                backlog.push(draft, 1, false).map(|_| backlog.used_bytes())
            };
            let used = (0..first).try_fold(0, |_, _| push(600_000)).unwrap_or(limit);
            let mut admitted = 0;
            while fits(used, admitted, size, limit) && admitted < 64 * size {
                admitted += size;
            }
            for _ in 0..admitted / size {
                assert!(push(size).is_ok(), "{first} before, {} of {size} at once", admitted / size);
            }
        }
    }
}
