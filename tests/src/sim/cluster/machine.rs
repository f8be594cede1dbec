//! The machines of both sides: one time that goes on when it is said to, a clock of each side that jumps, boots, disks that fail, and daemons that end at one of the
//! places of what ships.

use super::schedule::Side;
use super::world::World;
use platform::killpoint::{ALL, KillPoint, Killed};
use platform::machine::{Disk, Machine};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::rc::Weak;
use std::time::{Duration, Instant};

/// See the module.
pub(super) struct Sim {
    began: Instant,
    passed: Cell<Duration>,
    /// Which side runs now.
    pub side: Cell<Side>,
    pub skew_secs: Cell<i64>,
    pub boots: [Cell<u8>; 2],
    /// Goes up with each end of a daemon.
    pub epochs: [Cell<u64>; 2],
    /// Kill points until the end.
    armed: [Cell<Option<u64>>; 2],
    pub dying: Cell<bool>,
    faults: RefCell<Vec<(Disk, Errno, u64)>>,
    pub failed: RefCell<BTreeSet<Disk>>,
    /// SRC's disk failed since this was last taken.
    pub unsynced: Cell<bool>,
    pub ends: RefCell<BTreeSet<KillPoint>>,
    /// For the source time goes half as fast: a mistake.
    slow_source: bool,
    pub world: RefCell<Weak<World>>,
}

pub(super) fn index(side: Side) -> usize {
    usize::from(side == Side::Target)
}

pub(super) fn side_of(point: KillPoint) -> Side {
    let name = ALL.iter().find(|(known, _)| *known == point).map_or("", |(_, name)| name);
    if name.starts_with("target") { Side::Target } else { Side::Source }
}

/// A daemon ends here.
pub(super) fn end_here() -> ! {
    resume_unwind(Box::new(Killed(KillPoint::Sent)))
}

impl Sim {
    pub fn new(slow_source: bool) -> Self {
        Self {
            began: Instant::now(),
            passed: Cell::default(),
            side: Cell::new(Side::Source),
            skew_secs: Cell::default(),
            boots: [Cell::new(1), Cell::new(1)],
            epochs: [Cell::new(0), Cell::new(0)],
            armed: [Cell::new(None), Cell::new(None)],
            dying: Cell::new(false),
            faults: RefCell::default(),
            failed: RefCell::default(),
            unsynced: Cell::default(),
            ends: RefCell::default(),
            slow_source,
            world: RefCell::default(),
        }
    }

    pub fn time(&self) -> Instant {
        self.began + self.passed.get()
    }

    pub fn advance(&self, by: Duration) {
        self.passed.set(self.passed.get() + by);
    }

    pub fn passed(&self) -> Duration {
        self.passed.get()
    }

    pub fn fail(&self, disk: Disk, errno: Errno, times: u64) {
        self.faults.borrow_mut().push((disk, errno, times));
    }

    pub fn mend(&self) {
        self.faults.borrow_mut().clear();
        self.armed.iter().for_each(|armed| armed.set(None));
    }

    pub fn arm(&self, side: Side, points: u64) {
        self.armed[index(side)].set(Some(points));
    }

    /// A kill point is passed. Whether the daemon ends here.
    pub fn reach(&self, point: KillPoint) -> bool {
        if self.dying.get() {
            return false;
        }
        let side = side_of(point);
        let world = self.world.borrow().upgrade();
        if let Some(world) = &world {
            world.passes(point);
        }
        let armed = &self.armed[index(side)];
        let Some(left) = armed.get() else { return false };
        armed.set(Some(left - 1).filter(|left| *left > 0));
        if left > 1 {
            return false;
        }
        self.ends.borrow_mut().insert(point);
        self.dying.set(true);
        if let Some(world) = world {
            world.dies(side);
        }
        true
    }
}

impl Machine for Sim {
    fn now(&self) -> Instant {
        let slow = self.slow_source && self.side.get() == Side::Source;
        if slow { self.began + self.passed.get() / 2 } else { self.time() }
    }

    fn wall_ns(&self) -> u64 {
        let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let skew = if self.side.get() == Side::Target { self.skew_secs.get() } else { 0 };
        u64::try_from(real.as_nanos()).unwrap_or(u64::MAX).saturating_add_signed(skew * 1_000_000_000)
    }

    fn boot(&self) -> [u8; 16] {
        [self.boots[index(self.side.get())].get(); 16]
    }

    fn wait(&self, most: Duration, locked: bool) {
        let side = self.side.get();
        let epoch = self.epochs[index(side)].get();
        if let Some(world) = self.world.borrow().upgrade() {
            world.waited(most, locked);
        }
        self.side.set(side);
        if self.epochs[index(side)].get() != epoch {
            // Who waited has come to its end meanwhile.
            self.dying.set(true);
            end_here();
        }
    }

    fn disk(&self, disk: Disk) -> Option<Errno> {
        let mut faults = self.faults.borrow_mut();
        let at = faults.iter().position(|(failing, _, _)| *failing == disk)?;
        let (_, errno, times) = &mut faults[at];
        let errno = *errno;
        *times -= 1;
        if *times == 0 {
            faults.remove(at);
        }
        self.failed.borrow_mut().insert(disk);
        self.unsynced.set(self.unsynced.get() || disk == Disk::SourceSync);
        Some(errno)
    }
}
