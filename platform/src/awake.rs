//! Keeps the cores of this machine from going to sleep while calls wait for somebody who is woken on their behalf, one after the other. A core that sleeps is woken
//! in 25 µs or more where that means to leave a virtual machine, in 4 where it only looks busy. The kernel's own means for that is `/dev/cpu_dma_latency`: whoever has
//! written 0 there has idle cores wait awake until he takes it back, or ends. When that is worth it is known here; for whom, by the callers.

use crate::machine;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where the kernel is told; little-endian microseconds, for as long as the file is open.
pub const DEVICE: &str = "/dev/cpu_dma_latency";
/// Which driver puts idle cores to sleep.
const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// The one of virtual machines whose cores are given back to the host while they sleep.
const OF_GUESTS: &str = "haltpoll";
/// More cores than these would take more from the host than some calls are worth.
const MOST_CORES: usize = 8;

/// Cores stay awake, in the device's words, or sleep as the kernel likes (`PM_QOS_CPU_LATENCY_DEFAULT_VALUE`).
const AWAKE: i32 = 0;
const ASLEEP: i32 = 2_000_000_000;

/// So many calls, each of them so soon after the one before, are a run of them. A single one is not worth the telling.
const RUN: u64 = 4;
const SOON_US: u64 = 5_000;
/// When none came for so long, the cores may sleep.
const QUIET: Duration = Duration::from_millis(20);

/// Whether cores are kept awake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LowLatency {
    /// In a small virtual machine, where they can be.
    #[default]
    Auto,
    /// Wherever this is; it is an error if they cannot be.
    On,
    /// Never.
    Off,
}

impl FromStr for LowLatency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(format!("'{text}' is not one of auto, on, off")),
        }
    }
}

/// What calls tell that they wait. Of several daemons each has its own.
#[derive(Debug, Default)]
pub struct Awake(Option<Arc<Inner>>);

struct Inner {
    began: Instant,
    /// Microseconds after `began` of the last call.
    last: AtomicU64,
    /// Calls of the present run.
    run: AtomicU64,
    /// The device was told last that cores stay awake.
    awake: AtomicBool,
    state: Mutex<State>,
    told: Condvar,
}

struct State {
    device: File,
    /// Somebody lets cores sleep again.
    watched: bool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("awake", &self.awake).finish_non_exhaustive()
    }
}

impl Awake {
    /// What is needed for that is opened now: a daemon that is confined afterwards may not be able to. No thread is started.
    pub fn new(how: LowLatency) -> io::Result<Self> {
        let wanted = match how {
            LowLatency::Off => false,
            LowLatency::On => true,
            LowLatency::Auto => is_small_guest(),
        };
        if !wanted {
            return Ok(Self(None));
        }
        match Self::of_device(Path::new(DEVICE)) {
            Err(_) if how == LowLatency::Auto => Ok(Self(None)),
            opened => opened,
        }
    }

    fn of_device(path: &Path) -> io::Result<Self> {
        let device = OpenOptions::new().write(true).open(path)?;
        Ok(Self(Some(Arc::new(Inner {
            began: machine::now(),
            last: AtomicU64::new(0),
            run: AtomicU64::new(0),
            awake: AtomicBool::new(false),
            state: Mutex::new(State { device, watched: false }),
            told: Condvar::new(),
        }))))
    }

    /// Whether cores may be kept awake.
    pub fn is_in_use(&self) -> bool {
        self.0.is_some()
    }

    /// Starts what lets cores sleep again. Until then nothing keeps them awake.
    pub fn start(&self) -> io::Result<()> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let watcher = Arc::clone(inner);
        inner.state.lock().watched = true;
        let started = thread::Builder::new().name("awake".to_owned()).spawn(move || watcher.watch());
        started.map(drop).inspect_err(|_| inner.state.lock().watched = false)
    }

    /// A call begins to wait for others.
    pub fn waits(&self) {
        let Some(inner) = &self.0 else { return };
        let now = inner.now();
        let soon = now.saturating_sub(inner.last.swap(now, Ordering::Relaxed)) <= SOON_US;
        if !soon {
            inner.run.store(0, Ordering::Relaxed);
        } else if inner.run.fetch_add(1, Ordering::Relaxed) + 1 >= RUN && !inner.awake.load(Ordering::Relaxed) {
            inner.keep_awake();
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(inner) = &self.0 {
            inner.state.lock().watched = false;
            inner.told.notify_all();
        }
    }
}

impl Inner {
    fn now(&self) -> u64 {
        u64::try_from(machine::since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn keep_awake(&self) {
        let mut state = self.state.lock();
        if state.watched && !self.awake.load(Ordering::Relaxed) {
            self.tell(&mut state, AWAKE);
            self.told.notify_all();
        }
    }

    /// Where the kernel does not take it calls are slower, and nothing else.
    fn tell(&self, state: &mut State, microseconds: i32) {
        let _told_or_not = state.device.write_all(&microseconds.to_le_bytes());
        self.awake.store(microseconds == AWAKE, Ordering::Relaxed);
    }

    /// Lets cores sleep when no call has waited for a while.
    fn watch(&self) {
        let mut state = self.state.lock();
        while state.watched {
            if !self.awake.load(Ordering::Relaxed) {
                self.told.wait(&mut state);
                continue;
            }
            self.told.wait_for(&mut state, QUIET);
            let quiet = self.now().saturating_sub(self.last.load(Ordering::Relaxed));
            if !state.watched || u128::from(quiet) >= QUIET.as_micros() {
                self.tell(&mut state, ASLEEP);
            }
        }
    }
}

/// Sleeping cores of this machine are given back to a host, and there are few of them.
fn is_small_guest() -> bool {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let driver = std::fs::read_to_string(DRIVER).unwrap_or_default();
    driver.trim() == OF_GUESTS && cores <= MOST_CORES
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What the device was told, one after the other.
    fn told(path: &Path) -> Vec<i32> {
        let bytes = std::fs::read(path).unwrap();
        bytes.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect()
    }

    fn until(path: &Path, wanted: &[i32], mut each: impl FnMut()) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while told(path) != wanted {
            assert!(Instant::now() < deadline, "{:?}, not {wanted:?}", told(path));
            each();
        }
    }

    #[test]
    fn a_run_of_calls_keeps_cores_awake_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device");
        std::fs::write(&path, "").unwrap();
        let awake = Awake::of_device(&path).unwrap();
        awake.start().unwrap();
        awake.waits();
        awake.waits();
        assert_eq!(told(&path), [], "two calls are no run");
        until(&path, &[AWAKE], || awake.waits());
        until(&path, &[AWAKE, ASLEEP], || thread::sleep(Duration::from_millis(1)));
        // Again, and to the end of it.
        until(&path, &[AWAKE, ASLEEP, AWAKE], || awake.waits());
        until(&path, &[AWAKE, ASLEEP, AWAKE, ASLEEP], || thread::sleep(Duration::from_millis(1)));
        let inner = Arc::downgrade(awake.0.as_ref().unwrap());
        drop(awake);
        let deadline = Instant::now() + Duration::from_secs(30);
        while inner.strong_count() > 0 {
            assert!(Instant::now() < deadline, "its thread ends");
            thread::yield_now();
        }
    }

    #[test]
    fn where_it_cannot_be_it_is_an_error_only_for_who_insists() {
        assert!(Awake::of_device(Path::new("/nonexistent/device")).is_err());
        let off = Awake::new(LowLatency::Off).unwrap();
        off.start().unwrap();
        off.waits();
        assert!(!off.is_in_use());
        Awake::new(LowLatency::Auto).unwrap();
        assert_eq!(("on".parse(), "sometimes".parse::<LowLatency>().is_err()), (Ok(LowLatency::On), true));
    }
}
