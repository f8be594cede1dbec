//! The thread that watches time: a mode degrades when the target does not answer, what was held for a time is let go, and replies that were
//! released under somebody's lock go out.

use crate::Srm;
use crate::core::Link;
use platform::{machine, sys};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often time is looked at, and so how late a mode can degrade.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn start(srm: &Arc<Srm>) -> io::Result<()> {
    let weak: Weak<Srm> = Arc::downgrade(srm);
    std::thread::Builder::new().name("clock".to_owned()).spawn(move || {
        while let Some(srm) = weak.upgrade() {
            if !srm.tick() {
                return;
            }
            srm.catch_up_if_ready();
            srm.retry_if_due();
        }
    })?;
    Ok(())
}

impl Srm {
    pub(crate) fn tick(&self) -> bool {
        let mut core = self.core.lock();
        if core.released.is_empty() && !core.stopped {
            if self.stepped {
                drop(core);
                return self.look_at_time();
            }
            self.released.wait_for(&mut core, TICK);
        }
        drop(core);
        self.look_at_time()
    }

    /// What is due goes out, and a mode degrades whose time has come. `false`: the daemon ends.
    pub(crate) fn look_at_time(&self) -> bool {
        let mut core = self.core.lock();
        self.sweep.settle(core.applied);
        let now = machine::now();
        let after = self.config.degrade_after;
        let down = matches!(core.link, Link::Down(since) if now.saturating_duration_since(since) >= after);
        let waited = core.replies.longest_wait(now).is_some_and(|wait| wait >= after);
        if !core.commit.strict && (waited || (down && !core.replies.is_empty())) {
            core.degraded = true;
            core.release_replies();
            tracing::warn!(event = "degraded", "the target does not answer; changes are queued and not waited for");
        }
        if core.sending.has_windows() {
            core.sending.tell_time(sys::minute_of_day());
        }
        let moved = core.look_at_sending();
        let due = std::mem::take(&mut core.released);
        let stopped = core.stopped;
        drop(core);
        if moved.let_go {
            self.wake();
            self.changed.notify_all();
        }
        for reply in due {
            reply();
        }
        !stopped
    }
}
