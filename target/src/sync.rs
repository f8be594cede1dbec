//! Making durable: once a second while something is not, and at once for a barrier (R14). Runs beside the applier, which
//! never waits for it.

use crate::home::Home;
use crate::outbox::Outbox;
use crate::status::Facts;
use parking_lot::{Condvar, Mutex};
use protocol::{Message, SeqNo, Trouble, TroubleKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Wanted {
    now: bool,
    stop: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Syncer {
    home: Arc<Home>,
    outbox: Arc<Outbox>,
    facts: Arc<Facts>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
}

impl Syncer {
    pub fn new(home: Arc<Home>, outbox: Arc<Outbox>, facts: Arc<Facts>) -> Self {
        Self { home, outbox, facts, wanted: Mutex::default(), wake: Condvar::new() }
    }

    /// Everything applied before this call is to be durable soon.
    pub fn now(&self) {
        self.wanted.lock().now = true;
        self.wake.notify_one();
    }

    /// Ends [`Self::run`].
    pub fn stop(&self) {
        self.wanted.lock().stop = true;
        self.wake.notify_one();
    }

    /// Until stopped.
    pub fn run(&self) {
        loop {
            let deadline = Instant::now() + EVERY;
            {
                let mut wanted = self.wanted.lock();
                while !wanted.now && !wanted.stop && !self.wake.wait_until(&mut wanted, deadline).timed_out() {}
                if wanted.stop {
                    return;
                }
                wanted.now = false;
            }
            if !self.home.is_durable() {
                // An error is in the status and has been sent.
                let _ = self.sync();
            }
        }
    }

    /// Syncs now and tells the source.
    pub fn sync(&self) -> Result<(), ()> {
        let run = self.outbox.run_now();
        match self.home.make_durable() {
            Ok(seq) => {
                self.facts.update(|s| s.durable = seq);
                self.outbox.durable(seq, run);
                Ok(())
            }
            Err(e) => {
                self.facts.error(format!("not durable: {}", e.text));
                if e.first {
                    self.lost_writes(e.applied, &e.text);
                }
                Err(())
            }
        }
    }

    fn lost_writes(&self, seq: u64, text: &str) {
        tracing::error!(name = %self.home.name, "the disk lost writes: {text}");
        if let Err(e) = self.home.damaged(seq) {
            self.facts.error(format!("cannot write the position: {e}"));
        }
        let text = format!("the target's disk lost writes: {text}");
        let seq = SeqNo::new(seq);
        self.outbox.post(Message::Trouble(Trouble { seq, kind: TroubleKind::Damaged, path: None, text }));
    }
}
