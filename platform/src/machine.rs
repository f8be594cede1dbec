//! What a simulator puts in place of the machine for one thread: time, the boot, disks that fail, and what happens while somebody waits. Without one
//! each question costs a relaxed load. Nothing here knows what is simulated, and nothing here decides anything.

use rustix::io::Errno;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// A disk that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    /// Target: a record is about to be carried out.
    TargetApply,
    /// Target: its place in the stream is about to be written down.
    TargetNote,
    /// Target: what was applied is about to be made durable.
    TargetSync,
    /// Source: a record is about to be put into the journal.
    Journal,
    /// Source: SRC is about to be made durable.
    SourceSync,
    /// Source: repair is about to read a file.
    SourceRead,
}

/// A machine of a simulator's.
pub trait Machine {
    /// The time that only goes on.
    fn now(&self) -> Instant;
    /// Nanoseconds since 1970 on its clock, which may jump.
    fn wall_ns(&self) -> u64;
    /// The id of its boot.
    fn boot(&self) -> [u8; 16];
    /// Somebody waits, up to this long: something may happen meanwhile. `locked`: with locks held, so that nothing may that takes any.
    fn wait(&self, most: Duration, locked: bool);
    /// What a disk says.
    fn disk(&self, disk: Disk) -> Option<Errno>;
}

static ANY: AtomicBool = AtomicBool::new(false);

thread_local! {
    static MACHINE: RefCell<Option<Rc<dyn Machine>>> = const { RefCell::new(None) };
}

/// This thread is on this machine from now on; on the real one without.
pub fn simulate(machine: Option<Rc<dyn Machine>>) {
    if machine.is_some() {
        ANY.store(true, Ordering::Release);
    }
    MACHINE.set(machine);
}

#[inline]
fn simulated() -> Option<Rc<dyn Machine>> {
    if ANY.load(Ordering::Relaxed) { MACHINE.with_borrow(Clone::clone) } else { None }
}

/// Whether this thread is on a simulated machine: who waits there waits with [`wait`].
#[inline]
pub fn is_simulated() -> bool {
    simulated().is_some()
}

/// The time that only goes on.
#[inline]
pub fn now() -> Instant {
    simulated().map_or_else(Instant::now, |machine| machine.now())
}

/// How long ago that was.
pub fn since(earlier: Instant) -> Duration {
    now().saturating_duration_since(earlier)
}

/// Nanoseconds on a clock that only goes on, since some moment of this process.
pub fn steady_ns() -> u64 {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // Not zero: what came before it has room.
    let first = *FIRST.get_or_init(Instant::now);
    u64::try_from(since(first).as_nanos()).unwrap_or(u64::MAX)
}

/// The simulated clock, where there is one.
pub(crate) fn wall_ns() -> Option<u64> {
    simulated().map(|machine| machine.wall_ns())
}

/// The simulated boot, where there is one.
pub(crate) fn boot() -> Option<[u8; 16]> {
    simulated().map(|machine| machine.boot())
}

/// Lets something happen while somebody waits, and answers `true`; `false` on the real machine, where others run meanwhile.
pub fn wait(most: Duration, locked: bool) -> bool {
    let Some(machine) = simulated() else { return false };
    machine.wait(most, locked);
    true
}

/// Waits for what is sent. `None`: nothing will be, or not in time.
pub fn receive<T>(from: &Receiver<T>, most: Option<Duration>, locked: bool) -> Option<T> {
    if !is_simulated() {
        return match most {
            Some(most) => from.recv_timeout(most).ok(),
            None => from.recv().ok(),
        };
    }
    let began = now();
    loop {
        match from.try_recv() {
            Ok(found) => return Some(found),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        let left = most.map(|most| most.saturating_sub(since(began)));
        if left == Some(Duration::ZERO) {
            return None;
        }
        wait(left.unwrap_or(Duration::MAX), locked);
    }
}

/// An error where a simulated disk fails now.
#[inline]
pub fn disk(disk: Disk) -> io::Result<()> {
    simulated().and_then(|machine| machine.disk(disk)).map_or(Ok(()), |errno| Err(errno.into()))
}
