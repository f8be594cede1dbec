//! Waiting for an event with a deadline. No fixed sleeps elsewhere: a test waits for what it needs, and says what was
//! missing when it does not come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen by itself. Generous: on a loaded machine a slow success is
/// better than a wrong alarm, and a hang still ends.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Calls `probe` until it answers, at short intervals; panics with `what` after `patience`.
pub fn until<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sets it when it goes: whatever fails ends who looks at it.
#[derive(Debug)]
pub struct Defer<'a>(pub &'a AtomicBool);

impl Drop for Defer<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
