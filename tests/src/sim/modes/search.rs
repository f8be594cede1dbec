//! Every moment of a schedule with every end, schedules from seeds, and which mistake is noticed by what.

use super::bug::Bug;
use super::check::Promise;
use super::moments::{Fate, Place};
use super::source::{Action, Refusal, What};
use super::world::{Event, Failure, Passed, Plan, run};
use crate::seed::Random;
use srm::status::{CommitMode, NearBounds};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The modes.
pub const MODES: [CommitMode; 5] =
    [CommitMode::Sync, CommitMode::Near, CommitMode::Real, CommitMode::Local, CommitMode::Remote];

/// Events of a schedule from a seed.
const EVENTS: usize = 24;
/// Files that are refused have higher numbers than those that are made.
const REFUSED: u64 = 100;

/// What was tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Runs.
    pub runs: u64,
    /// Moments of the longest.
    pub moments: u64,
    /// Operations that were answered.
    pub answered: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Daemons that went on with the journal of another.
    pub resumed: u64,
    /// Where ends came.
    pub places: BTreeSet<Place>,
}

/// A plan that fails.
#[derive(Clone, Debug)]
pub struct Found {
    /// It.
    pub plan: Plan,
    /// How.
    pub failure: Failure,
    /// Runs until then.
    pub runs: u64,
    /// Where it is from one.
    pub seed: Option<u64>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.plan.events {
            writeln!(f, "  {event:?}")?;
        }
        let Failure { promise, text, at } = &self.failure;
        let at = at.map_or_else(|| "nowhere".to_owned(), |at| at.to_string());
        if let Some(seed) = self.seed {
            writeln!(f, "to repeat: cargo xtask sim --modes --seed {seed}")?;
        }
        let Plan { mode, end, again, .. } = &self.plan;
        write!(f, "{mode} mode, end {end:?}, again {again:?}, the last at {at}: {promise}: {text}")
    }
}

const fn act(what: What, file: u64) -> Event {
    Event::App(Action { what, file, refusal: Refusal::None })
}

const fn refused(what: What, file: u64, refusal: Refusal) -> Event {
    Event::App(Action { what, file, refusal })
}

/// The schedule of which every moment is tried.
const SCHEDULE: [Event; 25] = [
    act(What::Write, 0),
    act(What::Create, 0),
    act(What::Write, 1),
    act(What::Write, 0),
    Event::Deliver,
    Event::Turn,
    Event::Ack,
    act(What::Remove, 0),
    refused(What::Write, 1, Refusal::Source),
    Event::Deliver,
    Event::Deliver,
    Event::Ack,
    refused(What::Create, 1, Refusal::Source),
    refused(What::Remove, 1, Refusal::Source),
    Event::TargetSync,
    refused(What::Create, 2, Refusal::Target),
    Event::Deliver,
    Event::Turn,
    act(What::Write, 2),
    Event::Deliver,
    Event::Deliver,
    Event::Deliver,
    Event::Ack,
    Event::Turn,
    Event::Ack,
];

/// Bounds of `near` of which one counts at a time: of operations, of bytes.
const BOUNDS: [NearBounds; 2] = [
    NearBounds { operations: 2, bytes: 1 << 30, millis: 1 << 40 },
    NearBounds { operations: 1 << 30, bytes: 600, millis: 1 << 40 },
];

fn plan(mode: CommitMode, bounds: NearBounds, bug: Option<Bug>) -> Plan {
    Plan { mode, bounds, events: SCHEDULE.to_vec(), end: None, again: None, bug }
}

/// A directory that is emptied for each run.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        dir.map(Self)
    }

    fn run(&self, plan: &Plan) -> Result<Passed, Failure> {
        let top: PathBuf = self.0.path().join("run");
        let result = run(plan, &top);
        // What stays is in the way of the next one, which says so.
        let _stays = std::fs::remove_dir_all(&top);
        result
    }
}

/// Tries every moment of the schedule with every end.
pub fn every_moment(mode: CommitMode, bug: Option<Bug>) -> io::Result<Result<Tried, Box<Found>>> {
    let bench = Bench::new()?;
    let mut tried = Tried::default();
    let bounds = if mode == CommitMode::Near { &BOUNDS[..] } else { &BOUNDS[..1] };
    let plans: Vec<Plan> = bounds.iter().map(|bounds| plan(mode, *bounds, bug)).collect();
    let all = plans.iter().try_for_each(|plan| note(&bench, plan.clone(), &mut tried).map(drop));
    let ended = all.and_then(|()| plans.iter().try_for_each(|plan| ends(&bench, plan, &mut tried)));
    Ok(ended.map(|()| tried))
}

fn ends(bench: &Bench, plan: &Plan, tried: &mut Tried) -> Result<(), Box<Found>> {
    let whole = note(bench, plan.clone(), tried)?;
    tried.moments = tried.moments.max(whole);
    for moment in 1..=whole {
        let fates = Fate::ALL.into_iter().filter(|fate| fate.tells(plan.mode));
        // They show a mistake as well as all do, and sooner.
        for fate in fates.filter(|fate| plan.bug.is_none() || fate.is_plain()) {
            note(bench, Plan { end: Some((moment, fate)), ..plan.clone() }, tried)?;
        }
    }
    Ok(())
}

fn note(bench: &Bench, plan: Plan, tried: &mut Tried) -> Result<u64, Box<Found>> {
    tried.runs += 1;
    match bench.run(&plan) {
        Ok(passed) => {
            tried.answered += passed.answered;
            tried.failed += passed.failed;
            tried.resumed += passed.resumed;
            tried.places.extend(passed.at);
            Ok(passed.moments)
        }
        Err(failure) => Err(Box::new(Found { plan, failure, runs: tried.runs, seed: None })),
    }
}

/// Tries schedules from these seeds, each with one end.
pub fn seeds(
    mode: CommitMode,
    seeds: impl Iterator<Item = u64>,
    bug: Option<Bug>,
) -> io::Result<Result<Tried, Box<Found>>> {
    let bench = Bench::new()?;
    let mut tried = Tried::default();
    for seed in seeds {
        if let Err(mut found) = note(&bench, of_seed(mode, seed, bug), &mut tried) {
            found.seed = Some(seed);
            return Ok(Err(found));
        }
    }
    Ok(Ok(tried))
}

fn of_seed(mode: CommitMode, seed: u64, bug: Option<Bug>) -> Plan {
    let mut random = Random::new(seed);
    let (mut created, mut gone) = (0, 0);
    let mut event = |random: &mut Random| match random.below(16) {
        0..=4 => act(What::Write, random.below(3)),
        5 => {
            created += 1;
            act(What::Create, created)
        }
        6 if gone < 6 => {
            gone += 1;
            act(What::Remove, gone - 1)
        }
        7 => {
            created += 1;
            let what = *random.pick(&[What::Write, What::Create]);
            let file = if what == What::Write { random.below(3) } else { REFUSED + created };
            refused(what, file, *random.pick(&[Refusal::Source, Refusal::Target]))
        }
        8..=10 => Event::Deliver,
        11 | 12 => Event::Ack,
        13 => Event::Turn,
        14 => *random.pick(&[Event::TargetSync, Event::Cut]),
        _ => Event::Connect,
    };
    let events: Vec<Event> = (0..EVENTS).map(|_| event(&mut random)).collect();
    let end = Some((1 + random.below(90), *random.pick(&Fate::ALL)));
    let again = Some((1 + random.below(30), *random.pick(&Fate::ALL))).filter(|_| random.once_in(2));
    Plan { mode, bounds: *random.pick(&BOUNDS), events, end, again, bug }
}

/// What notices a mistake, and after how many runs of every moment.
pub fn caught(bug: Bug) -> io::Result<Option<(u64, Promise)>> {
    Ok(every_moment(bug.mode(), Some(bug))?.err().map(|found| (found.runs, found.failure.promise)))
}
