//! What the control socket of a source's daemon answers.

use crate::control::{Control, Left, Status, Unfinished};
use crate::exit::Failure;
use parking_lot::Mutex;
use srm::Srm;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A source's daemon, as commands see it.
pub struct SourceDaemon {
    srm: Arc<Srm>,
    /// Commands that wait for the drain want the daemon to go on until then.
    until: Mutex<Option<Instant>>,
}

impl SourceDaemon {
    /// The daemon around `srm`.
    pub fn new(srm: Arc<Srm>) -> Arc<Self> {
        Arc::new(Self { srm, until: Mutex::new(None) })
    }

    /// The mount is gone: sends what is left until it is all there, or until `timeout` is over and nobody waits any longer.
    pub fn finish(&self, timeout: Duration) -> Result<(), Left> {
        self.srm.close();
        let own = Instant::now() + timeout;
        loop {
            let until = self.until.lock().map_or(own, |asked| asked.max(own));
            match self.srm.drain(until.saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                Err(left) if self.until.lock().is_none_or(|asked| asked <= Instant::now()) => return Err(left.into()),
                Err(_) => {}
            }
        }
    }
}

impl Control for SourceDaemon {
    fn status(&self) -> Status {
        Status::Source(self.srm.status())
    }

    fn bypass(&self, on: bool) -> Result<(), Unfinished> {
        if self.srm.is_bypassed() {
            return Err(Unfinished::Failed(Failure::usage(
                "this mount has no target, so there is nothing to switch; mount it with --target",
            )));
        }
        self.srm.bypass(on);
        Ok(())
    }

    fn sync(&self, timeout: Duration) -> Result<(), Unfinished> {
        Ok(self.srm.sync(timeout)?)
    }

    fn drain(&self, timeout: Duration) -> Result<(), Unfinished> {
        let until = Instant::now() + timeout;
        {
            let mut asked = self.until.lock();
            *asked = Some(asked.map_or(until, |before| before.max(until)));
        }
        Ok(self.srm.drain(timeout)?)
    }
}
