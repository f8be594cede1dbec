//! Ends what hangs: when a test has done nothing with its rig for long it kills the daemons, so that calls in the mount return with an error
//! and the test fails instead of standing still. A test that is slow, because the machine is, goes on. Also writes down the processes, for the cleaner of a run that was killed itself.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The file in a rig's directory that lists its processes, one number per line.
pub const PIDS: &str = "pids";

/// The longest that a rig lives without a sign of life from its test. Whatever waits within the rig has a shorter deadline of its own.
const LIFE: Duration = Duration::from_secs(300);

/// Watches the processes of one rig until it is dropped.
pub struct Watchdog {
    pids: Arc<Mutex<BTreeSet<u32>>>,
    file: PathBuf,
    alive: Option<Sender<()>>,
}

impl Watchdog {
    /// Watches a rig that lives in `home`.
    pub fn over(home: &Path) -> Self {
        let (alive, rig) = channel::<()>();
        let pids = Arc::new(Mutex::new(BTreeSet::new()));
        let (watched, place) = (Arc::clone(&pids), home.to_owned());
        std::thread::spawn(move || {
            let ended = loop {
                if let Err(ended) = rig.recv_timeout(LIFE) {
                    break ended;
                }
            };
            if ended == RecvTimeoutError::Timeout {
                eprintln!("nothing was done with the rig in {} for {LIFE:?}: its daemons are killed", place.display());
                for pid in watched.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    kill(*pid, Signal::KILL);
                }
            }
        });
        Self { pids, file: home.join(PIDS), alive: Some(alive) }
    }

    /// Stops watching the time; processes are still written down.
    pub fn rest(&mut self) {
        self.alive = None;
    }

    /// The test does something with its rig: its time begins anew.
    pub fn feed(&self) {
        if let Some(alive) = &self.alive {
            // Nobody listens any more where the daemons were killed: the test finds out by itself.
            let _killed = alive.send(());
        }
    }

    /// A process to watch.
    pub fn add(&self, pid: u32) {
        self.change(|pids| pids.insert(pid));
    }

    /// A process that has ended.
    pub fn remove(&self, pid: u32) {
        self.change(|pids| pids.remove(&pid));
    }

    /// All processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<u32>) -> bool) {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pids);
        let lines: Vec<String> = pids.iter().map(ToString::to_string).collect();
        if let Err(error) = std::fs::write(&self.file, lines.join("\n")) {
            eprintln!("cannot write {}: {error}; a later run will not find these processes", self.file.display());
        }
    }
}

/// Sends a signal; a process that is gone already is as good.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        && let Err(error) = kill_process(pid, signal)
        && error != rustix::io::Errno::SRCH
    {
        eprintln!("cannot signal process {pid:?}: {error}");
    }
}

/// `kill -STOP`; returns once every thread stands still.
pub fn stop(pid: u32) {
    kill(pid, Signal::STOP);
    crate::wait::until("every thread to stop", crate::wait::PATIENCE, || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        threads.flatten().all(|thread| matches!(state(&thread.path().join("stat")), None | Some('T'))).then_some(())
    });
}

/// `kill -CONT`.
pub fn resume(pid: u32) {
    kill(pid, Signal::CONT);
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub fn is_running(pid: u32) -> bool {
    // Of a process that was killed the first thread may be dead while others still hold its descriptors and locks.
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state(Path::new(&format!("/proc/{pid}/stat"))).is_some_and(|state| !matches!(state, 'Z' | 'X') || threads() > 1)
}

/// The state letter of a process or thread (proc(5)), or `None` where there is none.
fn state(stat: &Path) -> Option<char> {
    let text = std::fs::read_to_string(stat).ok()?;
    // It follows the name, which is in brackets and may itself contain brackets.
    text.rsplit_once(')')?.1.trim_start().chars().next()
}
