//! Runs schedules: one seed, many, and a failing one made as small as it gets.

use super::bug::Bug;
use super::check::{Checked, Checker};
use super::schedule::Schedule;
use super::source::Counts;
use super::world::{Event, Failure, World};
use crate::seed::Random;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Events of a run, where nobody says otherwise.
pub const STEPS: usize = 200;
/// Longest time spent on making a failure small.
const SHRINKING: Duration = Duration::from_secs(30);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics of a simulated run are caught and told with its trace.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
}

/// A seed that fails, made small.
#[derive(Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// Events of a run.
    pub steps: usize,
    /// The bug that was on.
    pub bug: Option<Bug>,
    /// The smallest schedule.
    pub schedule: Schedule,
    /// How it fails.
    pub failure: Failure,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { checker, text, trace } = &self.failure;
        for line in trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} fails, {checker}: {text}", self.seed)?;
        writeln!(f, "bounds {:?}, {} events after shrinking", self.schedule.bounds, self.schedule.events.len())?;
        let bug = self.bug.map_or_else(String::new, |bug| format!(" --bug {bug}"));
        write!(f, "to repeat: cargo xtask sim --seed {} --steps {}{bug}", self.seed, self.steps)
    }
}

/// Runs a schedule to its end.
pub fn run(schedule: &Schedule, bug: Option<Bug>, traced: bool) -> Result<Counts, Failure> {
    let mut world = World::new(schedule.bounds, bug, traced);
    let checked = guarded(|| play(&mut world, schedule));
    match checked {
        Ok(()) => Ok(world.counts()),
        Err((by, text)) => {
            let trace = world.source.trace.take().unwrap_or_default();
            Err(Failure { checker: by, text, trace })
        }
    }
}

/// Panics of this thread say nothing meanwhile.
pub(super) fn quietly<T>(run: impl FnOnce() -> T) -> T {
    hush();
    QUIET.set(true);
    let result = run();
    QUIET.set(false);
    result
}

/// A panic is a check that failed.
pub(super) fn guarded(run: impl FnOnce() -> Checked) -> Checked {
    quietly(|| catch_unwind(AssertUnwindSafe(run))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err((Checker::Assertion, text.unwrap_or_else(|| "a panic without words".to_owned())))
    })
}

fn play(world: &mut World, schedule: &Schedule) -> Checked {
    for event in &schedule.events {
        world.happen(*event)?;
    }
    world.settle(&mut Random::new(1))
}

/// Runs a seed; a failure is made small.
pub fn try_seed(seed: u64, steps: usize, bug: Option<Bug>) -> Result<Counts, Box<Found>> {
    let schedule = Schedule::of(seed, steps);
    match run(&schedule, bug, false) {
        Ok(counts) => Ok(counts),
        Err(failure) => Err(Box::new(shrink(seed, steps, bug, schedule, &failure))),
    }
}

/// The first of so many seeds, counted from 1, that catches a bug, and by what.
pub fn caught(bug: Bug, seeds: u64) -> Option<(u64, Checker)> {
    (1..=seeds).find_map(|seed| Some((seed, fails(seed, STEPS, Some(bug))?)))
}

/// Whether a seed fails, and by which checker, without making it small.
pub fn fails(seed: u64, steps: usize, bug: Option<Bug>) -> Option<Checker> {
    run(&Schedule::of(seed, steps), bug, false).err().map(|failure| failure.checker)
}

/// Leaves out events, in larger and smaller pieces, as long as the same checker still says no.
fn shrink(seed: u64, steps: usize, bug: Option<Bug>, mut schedule: Schedule, failure: &Failure) -> Found {
    let with = |events: &[Event]| Schedule { events: events.to_vec(), ..schedule.clone() };
    let fails = |events: &[Event]| run(&with(events), bug, false).is_err_and(|found| found.checker == failure.checker);
    schedule.events = smaller(schedule.events.clone(), fails);
    let failure = run(&schedule, bug, true).err().unwrap_or_else(|| failure.clone());
    Found { seed, steps, bug, schedule, failure }
}

/// Leaves out some of these, in larger and smaller pieces, as long as what is left still fails, and there is time.
pub(super) fn smaller<T: Clone>(mut all: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let begun = Instant::now();
    let mut size = all.len().div_ceil(2);
    while size > 0 && begun.elapsed() < SHRINKING {
        let mut at = 0;
        let mut any = false;
        while at < all.len() && begun.elapsed() < SHRINKING {
            let mut less = all.clone();
            less.drain(at..(at + size).min(all.len()));
            if fails(&less) {
                all = less;
                any = true;
            } else {
                at += size;
            }
        }
        size = if size == 1 && any { 1 } else { size / 2 };
    }
    all
}
