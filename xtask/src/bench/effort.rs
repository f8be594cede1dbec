//! What work takes beside time: reads by the daemon, which show the requests that reach it, and processor time, which other users of the machine stretch less than they stretch the clock: of this process and what it
//! ran, and of the daemons.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Processor time so far.
#[derive(Clone, Debug, Default)]
pub struct Effort {
    time: Duration,
}

impl Effort {
    /// Of this process, its children that have ended, and other processes. What the kernel does later on its own (writing
    /// back) is in none of them.
    pub fn so_far(others: &[u32]) -> Result<Self> {
        let mut time = usage(libc::RUSAGE_SELF) + usage(libc::RUSAGE_CHILDREN);
        for pid in others {
            time += of_process(*pid).with_context(|| format!("process {pid}"))?;
        }
        Ok(Self { time })
    }

    /// What was spent since an earlier moment.
    pub fn since(&self, before: &Self) -> Duration {
        self.time.saturating_sub(before.time)
    }
}

fn usage(of: libc::c_int) -> Duration {
    // SAFETY: all-zero bytes are a valid `rusage`, which holds only integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `rusage` that lives here; the call writes no more than that.
    let done = unsafe { libc::getrusage(of, &raw mut usage) };
    assert!(done == 0, "getrusage fails only for arguments that do not exist");
    let time = |value: libc::timeval| {
        Duration::new(value.tv_sec.unsigned_abs(), 0) + Duration::from_micros(value.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Calls of read(2) and its like that a process has made (`syscr` in `/proc/PID/io`). The source daemon reads each request
/// once, and what an application reads once more.
pub fn reads_of(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("process {pid}"))?;
    let count = text.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok());
    count.with_context(|| format!("/proc/{pid}/io has no syscr"))
}

/// All threads that still run, to the nanosecond (`/proc/PID/task/TID/schedstat`).
fn of_process(pid: u32) -> Result<Duration> {
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        time +=
            text.split(' ').next().and_then(|first| first.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos);
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted() {
        let before = reads_of(std::process::id()).unwrap();
        fs::read("/proc/self/stat").unwrap();
        assert!(reads_of(std::process::id()).unwrap() > before);
    }

    #[test]
    fn work_takes_processor_time_and_waiting_does_not() {
        let own = of_process(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(50) {}
        assert!(of_process(std::process::id()).unwrap() > own);
        let before = Effort::so_far(&[]).unwrap();
        while Effort::so_far(&[]).unwrap().since(&before).is_zero() {}
    }
}
