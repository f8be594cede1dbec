//! Checkpoints: now and then, while source and target are the same, both are made durable and what was hot before is not any more.

use super::Checkpoint;
use crate::Srm;
use crate::core::{Core, Link, seconds};
use crate::map::Gate;
use protocol::SeqNo;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Between two checkpoints. Writing back is what the kernel does by itself in this time.
const EVERY: Duration = Duration::from_secs(30);
/// By less than this a clock that is kept right may go back.
const CLOCK_SECS: i64 = 1;
/// Where nothing was changed for so many looks, there is one at once.
const QUIET: u32 = 2;
/// Between two looks at whether one is due.
const TICK: Duration = Duration::from_secs(1);
/// How long the namespace lock is waited for, so that nobody waits long behind this.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long the target is waited for.
const PATIENCE_WITH_TARGET: Duration = Duration::from_secs(60);

pub(crate) fn start(srm: &Arc<Srm>) -> io::Result<()> {
    if srm.config.bypassed || srm.config.journal.is_none() {
        return Ok(());
    }
    let weak: Weak<Srm> = Arc::downgrade(srm);
    std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
        let mut seen = Seen { last: None, newest: SeqNo::ZERO, quiet: 0, clock: seconds() };
        while let Some(srm) = weak.upgrade() {
            srm.hot.flush();
            let now = seconds();
            if now + CLOCK_SECS < seen.clock {
                srm.hot.forget("the clock was set back: change times do not tell what came later");
            }
            seen.clock = now;
            if srm.is_checkpoint_due(&mut seen)
                && let Some(seq) = srm.take_checkpoint()
            {
                seen.last = Some((Instant::now(), seq));
            }
            let mut core = srm.core.lock();
            if !core.stopped {
                srm.stopping.wait_for(&mut core, TICK);
            }
            if core.stopped {
                return;
            }
        }
    })?;
    Ok(())
}

/// What was seen at the last looks.
struct Seen {
    /// The last checkpoint.
    last: Option<(Instant, SeqNo)>,
    newest: SeqNo,
    /// Looks since the newest number changed.
    quiet: u32,
    /// Seconds since 1970.
    clock: i64,
}

/// Both sides are the same, or will be with what is on its way, and the connection stands.
fn is_possible(core: &Core) -> bool {
    let all_goes = core.sending.lets_go(core.backlog.newest());
    core.is_coherent() && matches!(core.link, Link::Up) && !core.stopped && all_goes
}

impl Srm {
    fn is_checkpoint_due(&self, seen: &mut Seen) -> bool {
        let valid = self.hot.checkpoint().is_some();
        let core = self.core.lock();
        let newest = core.backlog.newest();
        seen.quiet = if newest == seen.newest { seen.quiet.saturating_add(1) } else { 0 };
        seen.newest = newest;
        let due = match seen.last {
            // Nothing was changed since.
            Some((_, seq)) if valid && newest == seq => false,
            Some((at, _)) if valid => seen.quiet >= QUIET || at.elapsed() >= EVERY,
            _ => true,
        };
        due && is_possible(&core)
    }

    /// Makes both sides durable, and forgets what was hot before. Answers the number up to which; `None`: not now.
    fn take_checkpoint(&self) -> Option<SeqNo> {
        let (checkpoint, epoch) = {
            let _still = self.tree.names().try_write_for(PATIENCE)?;
            let core = self.core.lock();
            if !is_possible(&core) {
                return None;
            }
            let replica = core.replica?;
            let checkpoint =
                Checkpoint { incarnation: core.incarnation, seq: core.backlog.newest(), secs: seconds(), replica };
            (checkpoint, self.hot.begin_epoch())
        };
        let synced = rustix::fs::syncfs(self.tree.root_fd()).map_err(io::Error::from);
        if !self.wait_until_durable(&checkpoint) {
            return None;
        }
        match synced.and_then(|()| self.hot.complete(checkpoint, epoch)) {
            Ok(()) => {
                tracing::debug!(event = "checkpoint", seq = checkpoint.seq.get(), "source and target are durable");
                Some(checkpoint.seq)
            }
            Err(error) => {
                self.hot.forget(&format!("the source could not be made durable: {error}"));
                None
            }
        }
    }

    /// Waits until the target has made it durable; `false`: it does not, or something else is the case by now.
    fn wait_until_durable(&self, checkpoint: &Checkpoint) -> bool {
        let deadline = Instant::now() + PATIENCE_WITH_TARGET;
        let mut core = self.core.lock();
        loop {
            let same = core.incarnation == checkpoint.incarnation && !matches!(core.gate, Gate::Due);
            if core.stopped || !same || Instant::now() >= deadline {
                return false;
            }
            if core.durable >= checkpoint.seq {
                return true;
            }
            self.changed.wait_until(&mut core, deadline);
        }
    }
}
