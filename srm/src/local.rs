//! Commit mode `local` (S2): an application is answered when what it changed is durable on the source's own disk. Group commit: whoever waits
//! at the same time shares one `syncfs(2)` of SRC (decision 14). Nothing here waits for a target.

use crate::Srm;
use crate::replies::Reply;
use crate::status::CommitMode;
use parking_lot::{Condvar, Mutex};
use platform::killpoint::{self, KillPoint};
use platform::machine::{self, Disk};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often the thread looks whether the daemon ends.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a group is waited for at the most.
const LONGEST_GATHERING: Duration = Duration::from_millis(5);

/// Who waits for the disk.
#[derive(Default)]
pub(crate) struct Local {
    waiting: Mutex<Vec<Reply>>,
    filled: Condvar,
    /// How the last round was.
    last: Mutex<Round>,
    /// Times that the disk was waited for.
    syncs: AtomicU64,
    /// Applications that were answered so.
    answered: AtomicU64,
}

/// Who shared a wait for the disk, and how long it took.
#[derive(Clone, Copy, Default)]
struct Round {
    replies: usize,
    took: Duration,
}

impl Local {
    /// Who waits now. Those who were answered together will come back together: they are waited for, as long as the disk took at the most, and not
    /// at all where there was one.
    fn gather(&self) -> Vec<Reply> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            self.filled.wait_for(&mut waiting, LOOK_AGAIN);
        }
        if !waiting.is_empty() {
            let last = *self.last.lock();
            let until = Instant::now() + last.took.min(LONGEST_GATHERING);
            while waiting.len() < last.replies && !self.filled.wait_until(&mut waiting, until).timed_out() {}
        }
        std::mem::take(&mut *waiting)
    }

    /// Whether somebody waits.
    pub fn is_awaited(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Times that the disk was waited for, and applications that were answered after that.
    pub fn counts(&self) -> (u64, u64) {
        (self.syncs.load(Ordering::Relaxed), self.answered.load(Ordering::Relaxed))
    }
}

pub(crate) fn start(srm: &Arc<Srm>) -> io::Result<()> {
    let weak: Weak<Srm> = Arc::downgrade(srm);
    std::thread::Builder::new().name("local".to_owned()).spawn(move || {
        while let Some(srm) = weak.upgrade() {
            if !srm.commit_waiting() {
                return;
            }
        }
    })?;
    Ok(())
}

impl Srm {
    /// Keeps a reply until everything that was changed before is durable on SRC.
    pub(crate) fn wait_for_disk(&self, reply: Reply) {
        self.local.waiting.lock().push(reply);
        self.local.filled.notify_one();
    }

    /// One round; `false`: the daemon ends.
    pub(crate) fn commit_waiting(&self) -> bool {
        let due = self.local.gather();
        if !due.is_empty() {
            let start = Instant::now();
            killpoint::pass(KillPoint::LocalGathered);
            let synced = machine::disk(Disk::SourceSync).and_then(|()| Ok(rustix::fs::syncfs(self.tree.root_fd())?));
            *self.local.last.lock() = Round { replies: due.len(), took: start.elapsed() };
            self.judge_sync(synced);
            self.local.syncs.fetch_add(1, Ordering::Relaxed);
            killpoint::pass(KillPoint::LocalSynced);
            self.local.answered.fetch_add(due.len() as u64, Ordering::Relaxed);
            for reply in due {
                reply();
            }
        }
        let core = self.core.lock();
        !core.stopped || !self.local.waiting.lock().is_empty()
    }

    /// A disk that lost writes is said; the mode is in force again with the next sync that succeeds.
    fn judge_sync(&self, result: io::Result<()>) {
        let mut core = self.core.lock();
        if core.commit.mode != CommitMode::Local {
            return;
        }
        match result {
            Ok(()) => core.degraded = false,
            Err(error) => {
                tracing::error!(event = "degraded", %error, "the source's disk lost writes; what was acknowledged may not survive a crash");
                core.degraded = true;
                core.last_error = Some(format!("the source's disk lost writes: {error}"));
            }
        }
    }
}
