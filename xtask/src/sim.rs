//! `cargo xtask sim`: the simulators by hand, of the map, of the commit modes, or of whole clusters. One seed with its trace, or random seeds for a while.

use anyhow::{Context, Result, anyhow};
use replfs_tests::seed;
use replfs_tests::sim::bug::Bug;
use replfs_tests::sim::cluster;
use replfs_tests::sim::modes::search::{Found, MODES, Tried, every_moment, seeds};
use replfs_tests::sim::search::{STEPS, caught, try_seed};
use std::time::{Duration, Instant};

/// What is simulated.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools)] // switches
pub struct Options {
    /// This seed only; a failure is made small and shown with all that happened
    #[arg(long)]
    seed: Option<u64>,
    /// Events of a run; as many as the tests have without
    #[arg(long)]
    steps: Option<usize>,
    /// Random seeds for so long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Switch a deliberate bug on
    #[arg(long)]
    bug: Option<String>,
    /// Show the deliberate bugs
    #[arg(long)]
    list_bugs: bool,
    /// The commit modes instead of the map: every moment of each, and then random schedules; with --seed that one alone
    #[arg(long)]
    modes: bool,
    /// Whole clusters, both sides as they ship: random seeds, or that of --seed; --table prints what notices each deliberate bug
    #[arg(long)]
    cluster: bool,
    /// Switch each deliberate bug on and write into docs/sim.md what notices it, after how many seeds
    #[arg(long)]
    table: bool,
}

/// Random schedules of a mode before the next one has its turn.
const TOGETHER: u64 = 200;
/// A bug is looked for with so many seeds.
const SEEDS: u64 = 3000;
/// In docs/sim.md, what stands after this is made here.
const MARKER: &str = "<!-- cargo xtask sim --table -->";

/// Runs; whether every seed passed.
pub fn run(options: &Options) -> Result<bool> {
    if options.cluster {
        return clusters(options);
    }
    if options.list_bugs {
        for bug in Bug::ALL {
            println!("{:18} {}", bug.name(), bug.what());
        }
        return Ok(true);
    }
    if options.table {
        return table();
    }
    if options.modes {
        return modes(options);
    }
    let bug = options.bug.as_deref().map(str::parse).transpose().map_err(|error: String| anyhow!(error))?;
    if let Some(seed) = options.seed {
        return Ok(report(seed, options.steps.unwrap_or(STEPS), bug));
    }
    let first = seed::chosen();
    let end = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let mut ran: u64 = 0;
    while Instant::now() < end {
        if !report(first.wrapping_add(ran), options.steps.unwrap_or(STEPS), bug) {
            println!("{ran} seeds passed before");
            return Ok(false);
        }
        ran += 1;
    }
    println!("{ran} seeds from {first} passed");
    Ok(true)
}

fn modes(options: &Options) -> Result<bool> {
    let told = |mode, tried: Result<Tried, Box<Found>>| match tried {
        Ok(tried) => {
            println!("{mode}: {} runs passed, with ends at {} places", tried.runs, tried.places.len());
            true
        }
        Err(found) => {
            println!("{found}");
            false
        }
    };
    if let Some(seed) = options.seed {
        let mut passed = true;
        for mode in MODES {
            passed &= told(mode, seeds(mode, seed..=seed, None)?);
        }
        return Ok(passed);
    }
    let end = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0)?;
    for mode in MODES {
        if !told(mode, every_moment(mode, None)?) {
            return Ok(false);
        }
    }
    let mut first = seed::chosen();
    while Instant::now() < end {
        for mode in MODES {
            if !told(mode, seeds(mode, first..first.saturating_add(TOGETHER), None)?) {
                return Ok(false);
            }
        }
        first = first.saturating_add(TOGETHER);
    }
    Ok(true)
}

fn clusters(options: &Options) -> Result<bool> {
    use cluster::bug::Bug;
    use cluster::search::{Bench, Counts};
    let bench = Bench::new()?;
    let named = |name: &String| Bug::ALL.iter().copied().find(|bug| bug.name() == name).context("no such bug");
    let bug = options.bug.as_ref().map(named).transpose()?;
    if options.list_bugs || options.table {
        for bug in Bug::ALL {
            let found = if options.table { bench.caught(*bug, SEEDS) } else { None };
            let found = found.map_or_else(String::new, |(seeds, checker)| format!(" {checker} | {seeds} |"));
            println!("| {bug} | {} |{found}", bug.what());
        }
        return Ok(true);
    }
    let steps = options.steps.unwrap_or(cluster::search::STEPS);
    let mode = bug.and_then(Bug::mode);
    let mut all = Counts::default();
    let mut report = |seed| match bench.try_seed(seed, steps, mode, bug) {
        Ok(counts) => {
            all.add(&counts);
            true
        }
        Err(found) => {
            println!("{found}");
            false
        }
    };
    let (mut passed, mut seed) = (true, options.seed.unwrap_or_else(seed::chosen));
    let end = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0)?;
    while passed {
        passed = report(seed);
        seed = seed.wrapping_add(1);
        if options.seed.is_some() || Instant::now() >= end {
            break;
        }
    }
    println!("{} seeds passed: {:?}", all.runs, all.all());
    println!("ends at {:?}; disks that failed: {:?}", all.ends, all.disks);
    Ok(passed)
}

fn report(seed: u64, steps: usize, bug: Option<Bug>) -> bool {
    match try_seed(seed, steps, bug) {
        Ok(_) => true,
        Err(found) => {
            println!("{found}");
            false
        }
    }
}

fn table() -> Result<bool> {
    let place = crate::run::root().join("docs/sim.md");
    let before = std::fs::read_to_string(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let (head, _) = before.split_once(MARKER).with_context(|| format!("no {MARKER} in {}", place.display()))?;
    let mut text =
        format!("{head}{MARKER}\n\n| bug | what it does | noticed by | seeds |\n| --- | --- | --- | --- |\n");
    let mut all = true;
    for bug in Bug::ALL {
        let found = caught(*bug, SEEDS);
        all &= found.is_some();
        let (by, after) = found.map_or(("nothing".to_owned(), format!("more than {SEEDS}")), |(seeds, checker)| {
            (checker.to_string(), seeds.to_string())
        });
        let row = format!("| {bug} | {} | {by} | {after} |\n", bug.what());
        print!("{row}");
        text.push_str(&row);
    }
    std::fs::write(&place, text).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(all)
}
