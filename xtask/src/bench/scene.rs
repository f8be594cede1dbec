//! A rig brought into one state and kept there: between units it is drained, settled and looked at, so that what was measured
//! is what the state's name says.

use super::caches;
use super::case::{Case, Place};
use super::disk;
use super::fixture::Fixture;
use super::state::{AskedCommit, State};
use anyhow::{Context, Result};
use replfs_tests::rig::status::Source;
use replfs_tests::rig::watchdog;
use replfs_tests::rig::{Rig, Setup};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The backlog that keeps everything of several units.
const LARGE_BACKLOG: &str = "1GiB";

/// The smallest one, to be overflowed.
const SMALL_BACKLOG: &str = "8MiB";

/// Longest time of one unit: what takes longer hangs.
const UNIT_LIMIT: Duration = Duration::from_secs(120);

/// One of the two directories that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Bare,
    Mount,
}

impl Side {
    /// Who is first in a round and who second: that alternates.
    pub fn order(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) { [Self::Bare, Self::Mount] } else { [Self::Mount, Self::Bare] }
    }
}

/// A journal in memory alone: what it has no room for is waited for, as it is without one.
const MEMORY_JOURNAL: [&str; 2] = ["--journal-size", "0"];

/// Without a journal: nothing can be made at this place, and nothing may be on the disk.
const NO_JOURNAL: [&str; 4] = ["--journal-memory", "/proc/none", "--journal-size", "0"];

/// A mount in a state, and a bare directory on the same file system as its source; or a second mount in its place.
pub struct Scene {
    rig: Rig,
    other: Option<Rig>,
    state: State,
    scratch: PathBuf,
    units: u64,
}

impl Scene {
    /// Starts everything. Panics where the rig does, with the reason.
    pub fn set(state: State, cases: &[&Case], scratch: &Path, in_memory: bool) -> Result<Self> {
        let setup = match state {
            State::Bypassed => Setup { bypassed: true, ..Setup::default() },
            State::Accumulating => Setup::default().option(&["--backlog", LARGE_BACKLOG]),
            State::MirrorDue => Setup::default().option(&["--backlog", SMALL_BACKLOG]),
            State::Attached(_) => Setup::default(),
            State::Journal => Setup::default().option(&MEMORY_JOURNAL),
        };
        let begin = |setup| {
            let mut rig = Rig::bare(state.commit(), setup);
            rig.without_watchdog();
            if in_memory {
                disk::put_in_memory(&mut rig)?;
            }
            anyhow::Ok(rig)
        };
        let rig = begin(setup)?;
        let other = (state == State::Journal).then(|| begin(Setup::default().option(&NO_JOURNAL))).transpose()?;
        let mut scene = Self { rig, other, state, scratch: scratch.to_owned(), units: 0 };
        scene.lay_fixtures(cases)?;
        for rig in [&mut scene.rig].into_iter().chain(&mut scene.other) {
            rig.start_target();
            rig.mount();
        }
        scene.enter()?;
        Ok(scene)
    }

    fn lay_fixtures(&self, cases: &[&Case]) -> Result<()> {
        let fixtures: BTreeSet<Fixture> = cases.iter().flat_map(|case| case.fixtures).copied().collect();
        fs::create_dir_all(self.below(Side::Bare))?;
        for side in [self.below(Side::Mount), self.below(Side::Bare)] {
            let dir = side.join("fixtures");
            fs::create_dir(&dir)?;
            for fixture in &fixtures {
                fixture.make(&dir.join(fixture.name()), &self.scratch)?;
            }
        }
        self.write_back()?;
        // What was written in large pieces lies in large pieces of memory, which the mount's never does: both sides read it.
        caches::forget()
    }

    /// The directory that a unit on this side ends up in.
    fn below(&self, side: Side) -> PathBuf {
        match (side, &self.other) {
            (Side::Mount, _) => self.rig.src(),
            (Side::Bare, Some(other)) => other.src(),
            (Side::Bare, None) => self.rig.home().join("bare"),
        }
    }

    fn write_back(&self) -> Result<()> {
        caches::write_back(&self.rig.src())?;
        self.other.as_ref().map_or(Ok(()), |other| caches::write_back(&other.src()))
    }

    /// From "just mounted" or "attached" into the state.
    fn enter(&mut self) -> Result<()> {
        if self.state == State::Bypassed {
            return Ok(());
        }
        self.rig.settle();
        if let Some(other) = &self.other {
            other.settle();
        }
        if matches!(self.state, State::Attached(_) | State::Journal) {
            return Ok(());
        }
        self.rig.kill_target();
        self.rig.wait_status("the target's absence", |status| status.target().state == "accumulating");
        if self.state == State::MirrorDue {
            let file = self.rig.mnt().join("overflow");
            fs::write(&file, vec![1; 16 << 20]).with_context(|| format!("cannot write {}", file.display()))?;
            fs::remove_file(&file)?;
            self.rig.wait_status("the backlog to overflow", has_overflowed);
        }
        Ok(())
    }

    /// What a case finds when it is prepared, in a new directory.
    pub fn place(&mut self, side: Side, scale: f64) -> Result<Place> {
        self.units += 1;
        let top = match side {
            Side::Bare => self.other.as_ref().map_or_else(|| self.below(side), Rig::mnt),
            Side::Mount => self.rig.mnt(),
        };
        let dir = top.join(format!("unit{}", self.units));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Place { dir, fixtures: top.join("fixtures"), scratch: self.scratch.clone(), scale, counted: false })
    }

    /// Waits until nothing of what came before goes on in the background, and makes room in the backlog.
    pub fn quiet(&mut self, case: &Case, scale: f64) -> Result<()> {
        match self.state {
            State::Bypassed | State::MirrorDue => {}
            State::Attached(_) | State::Journal => {
                self.rig.settle();
                if let Some(other) = &self.other {
                    other.settle();
                }
            }
            State::Accumulating => {
                let status = self.rig.status();
                #[allow(clippy::cast_precision_loss)] // an estimate
                let needed = status.backlog_bytes as f64 + case.kept_bytes as f64 * scale.max(1.0);
                #[allow(clippy::cast_precision_loss)]
                if has_overflowed(&status) || needed > status.backlog_limit as f64 {
                    self.rig.start_target();
                    self.enter()?;
                }
            }
        }
        self.write_back()
    }

    /// Reads below the mount what the case reads through it.
    pub fn warm_below(&self, side: Side, case: &Case) -> Result<()> {
        let top = self.below(side);
        case.fixtures.iter().try_for_each(|fixture| caches::read(&top.join("fixtures").join(fixture.name())))
    }

    /// Why what was just measured is not what the state's name says, if so.
    pub fn doubt(&self) -> Option<String> {
        if self.state == State::Bypassed {
            return None;
        }
        let status = self.rig.status();
        let target = status.target();
        let is_as_named = match self.state {
            State::Bypassed => true,
            State::Accumulating => target.state == "accumulating" && !has_overflowed(&status),
            State::MirrorDue => has_overflowed(&status),
            State::Attached(AskedCommit::Sync) => is_attached(&status) && !target.degraded,
            State::Attached(AskedCommit::Real) => is_attached(&status),
            State::Journal => {
                let journaled = |rig: &Rig| !rig.status().journal.is_empty();
                is_attached(&status) && journaled(&self.rig) && self.other.as_ref().is_some_and(|rig| !journaled(rig))
            }
        };
        let seen = || format!("{}, mirror due: {}, degraded: {}", target.state, target.mirror_due, target.degraded);
        (!is_as_named).then(seen)
    }

    /// The source daemon.
    pub fn source_daemon(&self) -> u32 {
        self.rig.source_pid()
    }

    /// The daemons that work for this side at present.
    pub fn daemons(&self, side: Side) -> Vec<u32> {
        let rig = match side {
            Side::Mount => &self.rig,
            Side::Bare => match &self.other {
                Some(other) => other,
                None => return Vec::new(),
            },
        };
        let target = matches!(self.state, State::Attached(_) | State::Journal).then(|| rig.target_pid());
        target.into_iter().chain([rig.source_pid()]).collect()
    }

    /// Does something that uses the mount; if it hangs, the daemon is killed, and the calls return with an error.
    pub fn guarded<T>(&self, work: impl FnOnce() -> T) -> T {
        let pid = self.rig.source_pid();
        let (alive, guard) = channel::<()>();
        std::thread::spawn(move || {
            if guard.recv_timeout(UNIT_LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("xtask: a unit takes longer than {UNIT_LIMIT:?}: the source daemon is killed");
                watchdog::kill(pid, rustix::process::Signal::KILL);
            }
        });
        let result = work();
        drop(alive);
        result
    }
}

/// The queue was given up for what changed: that is remembered, or all is to be compared.
fn has_overflowed(status: &Source) -> bool {
    status.target().mirror_due || status.target().held.entries > 0
}

fn is_attached(status: &Source) -> bool {
    let target = status.target();
    target.state == "connected" && target.coherent && !target.mirror_due
}
