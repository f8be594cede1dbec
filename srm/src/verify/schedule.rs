//! Verification by itself: so long after the mount, and so long after the end of the last one.

use super::{VerifyOptions, VerifyRefused};
use crate::Srm;
use protocol::RelPath;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How soon the end of the mount is seen, and how soon one that could not begin is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Srm {
    /// Verifies everything each time that so long has passed since a verification ended, or since this call.
    pub fn verify_every(self: &Arc<Self>, every: Duration, rate: Option<u64>) -> io::Result<()> {
        let weak: Weak<Self> = Arc::downgrade(self);
        std::thread::Builder::new().name("verify-schedule".to_owned()).spawn(move || {
            let mut ended = Instant::now();
            let mut was_running = false;
            while let Some(srm) = weak.upgrade() {
                {
                    let core = srm.core.lock();
                    if core.stopped || core.closing {
                        return;
                    }
                }
                let running = {
                    let mut state = srm.verifier.state.lock();
                    let until = (ended + every).min(Instant::now() + LOOK_AGAIN);
                    srm.verifier.changed.wait_until(&mut state, until);
                    state.running
                };
                if was_running && !running {
                    ended = Instant::now();
                }
                was_running = running;
                if !running && Instant::now() >= ended + every {
                    was_running = srm.verify_by_itself(rate);
                    if !was_running {
                        ended = (Instant::now() + LOOK_AGAIN).checked_sub(every).unwrap_or(ended);
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Whether one runs now.
    fn verify_by_itself(self: &Arc<Self>, rate: Option<u64>) -> bool {
        let options = VerifyOptions { path: RelPath::root(), repair: false, sample: 100, rate };
        match self.begin_verify(options, false) {
            Ok(_) | Err(VerifyRefused::Running(_)) => true,
            Err(refused) => {
                tracing::debug!(event = "verify-later", %refused, "verification is due and cannot begin yet");
                false
            }
        }
    }
}
