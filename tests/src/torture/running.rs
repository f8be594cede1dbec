//! What workloads and who drives them share: when to stop, when to wait, how much was tried, what failed. Knows no workload and no fault.

use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Who failed waits so long before he tries again.
const PAUSE: Duration = Duration::from_millis(10);

/// The same failure, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of a call; `None`: a program failed.
    pub errno: Option<Errno>,
    /// What was tried, and what was said the first time.
    pub text: String,
    /// So many times.
    pub times: u64,
}

/// Shared by all workloads of a round.
#[derive(Debug, Default)]
pub struct Running {
    stop: AtomicBool,
    shut: Mutex<bool>,
    opened: Condvar,
    attempts: AtomicU64,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<BTreeMap<(&'static str, Option<i32>), Failure>>,
}

impl Running {
    /// Between two operations, with nothing open: waits while the gate is shut. `false`: it is time to stop.
    pub fn goes_on(&self) -> bool {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_while(shut, |shut| *shut && !self.stops());
        drop(waited);
        !self.stops()
    }

    /// The same after a moment, without waiting at the gate: for who looks on while others work.
    pub fn goes_on_for_a_moment(&self) -> bool {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_timeout_while(shut, PAUSE, |shut| !*shut && !self.stops());
        drop(waited);
        !self.stops()
    }

    /// Whether somebody waits at the gate, or would.
    pub fn is_shut(&self) -> bool {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shuts or opens the gate.
    pub fn shut(&self, shut: bool) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = shut;
        self.opened.notify_all();
    }

    /// Whether it is time to stop.
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// From now on it is.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.shut(false);
    }

    /// One more operation was tried, of those by which faults are timed.
    pub fn tried(&self) {
        self.attempts.fetch_add(1, Ordering::SeqCst);
    }

    /// How many that are.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::SeqCst)
    }

    /// A workload has done something that succeeded.
    pub fn did(&self, workload: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(workload).or_default() += 1;
    }

    /// What each has done.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A call failed. Waits a little: what answers with errors does so fast.
    pub fn failed(&self, workload: &'static str, what: &str, error: &io::Error) {
        self.note(workload, Errno::from_io_error(error), format!("{what}: {error}"));
    }

    /// A program failed, as [`Self::failed`].
    pub fn program_failed(&self, workload: &'static str, said: &str) {
        self.note(workload, None, said.chars().take(2000).collect());
    }

    fn note(&self, workload: &'static str, errno: Option<Errno>, text: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (workload, errno.map(Errno::raw_os_error));
        failures.entry(key).or_insert(Failure { errno, text, times: 0 }).times += 1;
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(failures);
        if !self.stops() {
            shut = self.opened.wait_timeout(shut, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(shut);
    }

    /// What failed, by workload.
    pub fn failures(&self) -> Vec<(&'static str, Failure)> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().map(|((workload, _), failure)| (*workload, failure.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_gate_holds_until_it_is_opened_or_all_is_over() {
        let running = Running::default();
        assert!(running.goes_on());
        for stop in [false, true] {
            running.shut(true);
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| running.goes_on());
                if stop {
                    running.stop();
                } else {
                    running.shut(false);
                }
                assert_eq!(waits.join().unwrap_or(stop), !stop);
            });
        }
    }

    #[test]
    fn the_same_failure_is_counted() {
        let running = Running::default();
        for _ in 0..3 {
            running.failed("writer", "write", &Errno::NOSPC.into());
        }
        running.program_failed("git", "fatal");
        let failures = running.failures();
        assert_eq!((failures.len(), failures[1].1.times, failures[1].1.errno), (2, 3, Some(Errno::NOSPC)));
    }
}
