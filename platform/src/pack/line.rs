//! How fast a stream's line is: what the path is said to carry, and what was seen while the line was in the way.

use std::time::Duration;

/// Bytes per second from which on packing costs more time than it saves.
pub const FAST: f64 = 80e6;

/// So much is looked at together, whichever is reached first.
const WINDOW_BYTES: u64 = 1 << 20;
const WINDOW_TIME: Duration = Duration::from_millis(250);

/// Goodput of one stream, in bytes per second as they travel.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By the congestion window and the round trip.
    path: Option<f64>,
    /// By what was sent while the line was waited for.
    seen: Option<f64>,
    bytes: u64,
    busy: Duration,
    waited: Duration,
}

impl Line {
    /// What the path carries, as far as known.
    pub fn path(&mut self, bytes_per_second: Option<u64>) {
        #[allow(clippy::cast_precision_loss)] // a rate
        let rate = bytes_per_second.map(|rate| rate as f64);
        self.path = rate;
    }

    /// So many bytes were handed on within `busy`, of which the line was waited for during `waited`.
    pub fn passed(&mut self, bytes: u64, busy: Duration, waited: Duration) {
        self.bytes += bytes;
        self.busy += busy;
        self.waited += waited;
        if self.bytes < WINDOW_BYTES && self.busy < WINDOW_TIME {
            return;
        }
        let rate = super::choice::rate(self.bytes, self.busy);
        self.seen = if self.waited * 4 >= self.busy {
            Some(rate)
        } else {
            // The line was not in the way: it carries this at least, and may have become faster.
            self.seen.map(|seen| rate.max(seen * 2.0)).filter(|seen| *seen < FAST)
        };
        (self.bytes, self.busy, self.waited) = Default::default();
    }

    /// Bytes per second; `None`: nothing is known of it.
    pub fn goodput(&self) -> Option<f64> {
        match (self.path, self.seen) {
            (Some(path), Some(seen)) => Some(path.min(seen)),
            (path, seen) => path.or(seen),
        }
    }
}
