//! Runs schedules of seeds, and makes a failing one small.

use super::bug::Bug;
pub use super::counts::Counts;
use super::history::{Checker, Told};
use super::schedule::{Event, Plan};
use super::side::Places;
use super::world::{Faulted, World};
use crate::sim::search::{quietly, smaller};
use platform::killpoint;
use platform::machine;
use srm::status::CommitMode;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

/// Events of a run, where nobody says otherwise.
pub const STEPS: usize = 220;

/// How a run failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What found fault.
    pub checker: Checker,
    /// With what.
    pub text: String,
    /// All that happened, where that was asked for.
    pub trace: Vec<String>,
}

/// A seed that fails, made small.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// Events of its run.
    pub steps: usize,
    /// The mode that was asked for.
    pub mode: Option<CommitMode>,
    /// The mistake that was on.
    pub bug: Option<Bug>,
    /// The smallest plan.
    pub plan: Plan,
    /// How that fails.
    pub failure: Failure,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { checker, text, trace } = &self.failure;
        for line in trace {
            writeln!(f, "{line}")?;
        }
        let Plan { mode, bounds, retry_ms, journal, wire, set, events } = &self.plan;
        writeln!(
            f,
            "{mode}, bounds {bounds:?}, retry {retry_ms:?}, journal {journal}, {wire:?}, {} events:",
            events.len()
        )?;
        if !set.is_empty() {
            writeln!(f, "with the set {set:?}")?;
        }
        for event in events {
            writeln!(f, "  {event:?}")?;
        }
        writeln!(f, "seed {} fails, {checker}: {text}", self.seed)?;
        let bug = self.bug.map_or_else(String::new, |bug| format!(" --bug {bug}"));
        write!(f, "to repeat: cargo xtask sim --cluster --seed {} --steps {}{bug}", self.seed, self.steps)
    }
}

/// A directory in memory that is emptied for each run.
#[derive(Debug)]
pub struct Bench(tempfile::TempDir);

impl Bench {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        dir.map(Self)
    }

    /// Runs a plan.
    pub fn run(&self, plan: &Plan, bug: Option<Bug>, traced: bool) -> Result<Counts, Failure> {
        let top = self.0.path().join("run");
        let result = run(plan, bug, Places { top: top.clone() }, traced);
        // What stays is in the way of the next one, which says so.
        let _stays = std::fs::remove_dir_all(&top);
        result
    }

    /// Runs a seed; a failure is made small.
    pub fn try_seed(
        &self,
        seed: u64,
        steps: usize,
        mode: Option<CommitMode>,
        bug: Option<Bug>,
    ) -> Result<Counts, Box<Found>> {
        let mut plan = if bug.is_none() { Plan::of(seed, steps, mode) } else { Plan::plain(seed, steps, mode) };
        let failure = match self.run(&plan, bug, false) {
            Ok(counts) => return Ok(counts),
            Err(failure) => failure,
        };
        let with = |events: &[Event]| Plan { events: events.to_vec(), ..plan.clone() };
        let fails =
            |events: &[Event]| self.run(&with(events), bug, false).is_err_and(|found| found.checker == failure.checker);
        plan.events = smaller(plan.events.clone(), fails);
        let failure = self.run(&plan, bug, true).err().unwrap_or(failure);
        Err(Box::new(Found { seed, steps, mode, bug, plan, failure }))
    }

    /// The first of so many seeds, counted from 1, that shows a mistake, and by what.
    pub fn caught(&self, bug: Bug, seeds: u64) -> Option<(u64, Checker)> {
        (1..=seeds).find_map(|seed| {
            let plan = Plan::plain(seed, STEPS, bug.mode());
            let failure = self.run(&plan, Some(bug), false).err()?;
            // Only what passes without it shows it.
            self.run(&plan, None, false).is_ok().then_some((seed, failure.checker))
        })
    }
}

fn run(plan: &Plan, bug: Option<Bug>, places: Places, traced: bool) -> Result<Counts, Failure> {
    let failed = |text: String| Failure { checker: Checker::Assertion, text, trace: Vec::new() };
    let world = World::new(plan, bug, places, traced).map_err(|error| failed(error.to_string()))?;
    let sim = Rc::clone(&world.sim);
    machine::simulate(Some(Rc::clone(&sim) as Rc<dyn machine::Machine>));
    let watched = Rc::clone(&sim);
    killpoint::watch(move |point| watched.reach(point));
    let played = quietly(|| catch_unwind(AssertUnwindSafe(|| play(&world))));
    killpoint::unwatch();
    let ended = match played {
        Ok(checked) => checked,
        Err(panic) if panic.is::<Faulted>() => Ok(()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err((Checker::Assertion, text.unwrap_or_else(|| "a panic without words".to_owned())))
        }
    };
    let ended = world.fault.take().map_or(ended, Err);
    let trace = world.trace.take().unwrap_or_default();
    let mut counts = world.counts.take();
    let history = world.history.borrow();
    (counts.answered, counts.released) = (history.count(Told::Done), history.count(Told::Released));
    counts.failed = history.count(Told::Failed);
    counts.sets = u64::from(!plan.set.is_empty());
    counts.ends = sim.ends.take();
    counts.disks = sim.failed.take();
    drop(history);
    // While it is still simulated: what goes now may ask for the time.
    drop(world);
    machine::simulate(None);
    ended.map(|()| counts).map_err(|(checker, text)| Failure { checker, text, trace })
}

fn play(world: &Rc<World>) -> super::history::Checked {
    use super::schedule::Side;
    world.restart(Side::Target);
    world.restart(Side::Source);
    loop {
        let next = world.events.borrow_mut().pop_front();
        match next {
            Some(event) => world.happen(event),
            None => return world.settle(),
        }
    }
}
