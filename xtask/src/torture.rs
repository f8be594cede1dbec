//! `cargo xtask torture`: real daemons and programs with everything done to them that goes wrong, round after round, from a seed. What a round is stands in
//! `replfs_tests::torture`.

use crate::{packages, run, signals, test};
use anyhow::{Result, anyhow};
use replfs_tests::seed;
use replfs_tests::torture::events::Events;
use replfs_tests::torture::fault::KINDS;
use replfs_tests::torture::plan::{Choice, MODES, Plan};
use replfs_tests::torture::round::{self, Figures};
use replfs_tests::torture::workload::Kind;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to do.
#[derive(clap::Args)]
pub struct Options {
    /// For so long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// What the rounds are drawn from; chosen by the clock, and printed, where it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// This round of the seed alone
    #[arg(long)]
    round: Option<u64>,
    /// At most so many rounds
    #[arg(long)]
    rounds: Option<u64>,
    /// Faults of this kind alone; may be repeated
    #[arg(long, value_name = "FAULT")]
    only_fault: Vec<String>,
    /// This workload alone, beside the writers; may be repeated
    #[arg(long, value_name = "WORKLOAD")]
    only_workload: Vec<Kind>,
    /// This commit mode alone
    #[arg(long)]
    mode: Option<String>,
    /// Go on after a round that failed
    #[arg(long)]
    go_on: bool,
    /// Show faults, workloads and modes
    #[arg(long)]
    list: bool,
}

/// The programs that rounds use.
pub const NEEDED: [&str; 8] = ["mount", "sqlite3", "git", "tar", "mkfs.ext4", "ip", "tc", "faketime"];

/// Runs; whether no round failed.
pub fn run(options: &Options) -> Result<bool> {
    if options.list {
        list();
        return Ok(true);
    }
    let choice = choice(options)?;
    prepare()?;
    let seed = options.seed.unwrap_or_else(seed::chosen);
    let end = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let (mut sum, mut failed, mut rounds) = (Sum::default(), Vec::new(), 0);
    let first = options.round.unwrap_or(0);
    let last = options.round.map_or(options.rounds.unwrap_or(u64::MAX), |round| round + 1);
    signals::note();
    for round in first..last {
        if signals::enough() || options.round.is_none() && Instant::now() >= end {
            break;
        }
        rounds += 1;
        let plan = Plan::draw(seed, round, &choice);
        match one(&plan, options.round.is_some()) {
            Some(figures) => sum.add(&plan, &figures),
            None => failed.push(round),
        }
        if !failed.is_empty() && !options.go_on {
            break;
        }
    }
    println!("seed {seed}: {rounds} rounds, {} failed {failed:?}\n{}", failed.len(), sum.text());
    Ok(failed.is_empty())
}

/// What the rig needs before its first round.
pub fn prepare() -> Result<()> {
    test::require_fuse()?;
    packages::require(&NEEDED)?;
    test::remove_leftovers()?;
    let binary = match std::env::var_os("REPLFS_BIN") {
        Some(given) => given.into(),
        None => run::build()?,
    };
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe {
        std::env::set_var("REPLFS_BIN", binary);
        std::env::set_var("REPLFS_KEEP", "1");
    }
    Ok(())
}

/// Where the events of a round are kept.
pub fn place(seed: u64, name: &str) -> PathBuf {
    run::root().join(format!("build/torture/{seed}-{name}.log"))
}

/// One round; what it was, or `None` where it failed.
fn one(plan: &Plan, aloud: bool) -> Option<Figures> {
    let events = Events::to(&place(plan.seed, &plan.round.to_string()), aloud);
    // The rig reports what goes wrong by panicking with the reason, which is on the terminal then.
    let Ok(figures) = catch_unwind(AssertUnwindSafe(|| round::run(plan, &events))) else {
        let (seed, round) = (plan.seed, plan.round);
        println!("FAILED; what happened, also in {}:\n{}", events.place().display(), events.text());
        println!("to repeat: cargo xtask torture --seed {seed} --round {round}, with the same --only-... and --mode");
        return None;
    };
    let seconds = |time: Duration| time.as_secs_f64();
    println!(
        "round {}: passed, {}, {} faults, {} failures explained, settled after {:.1} s, {:.1} s in all",
        plan.round,
        plan.commit.as_str(),
        figures.faults,
        figures.failed,
        seconds(figures.settled_after),
        seconds(figures.took)
    );
    Some(figures)
}

fn choice(options: &Options) -> Result<Choice> {
    let mut choice = Choice::all();
    if !options.only_fault.is_empty() {
        let known = |name: &String| KINDS.iter().map(|(kind, _)| *kind).find(|kind| kind == name);
        let faults = options
            .only_fault
            .iter()
            .map(|name| known(name).ok_or_else(|| anyhow!("there is no fault {name:?}; --list shows all")));
        choice.faults = faults.collect::<Result<_>>()?;
    }
    if !options.only_workload.is_empty() {
        choice.workloads = options.only_workload.iter().copied().filter(|kind| *kind != Kind::Writers).collect();
    }
    if let Some(mode) = &options.mode {
        let found = MODES.into_iter().find(|known| known.as_str() == mode);
        choice.modes = vec![found.ok_or_else(|| anyhow!("there is no mode {mode:?}; --list shows all"))?];
    }
    Ok(choice)
}

fn list() {
    println!("faults:");
    for (name, what) in KINDS {
        println!("  {name:16} {what}");
    }
    println!("workloads:");
    for kind in Kind::ALL {
        println!("  {:16} {}", kind.name(), kind.what());
    }
    println!("modes: {}", MODES.map(replfs_tests::rig::Commit::as_str).join(", "));
}

/// Figures of all rounds.
#[derive(Default)]
struct Sum {
    faults: BTreeMap<String, u64>,
    done: BTreeMap<&'static str, u64>,
    modes: BTreeMap<&'static str, u64>,
    slowest: Duration,
}

impl Sum {
    fn add(&mut self, plan: &Plan, figures: &Figures) {
        for planned in &plan.faults {
            let text = planned.fault.to_string();
            *self.faults.entry(text.split([' ', '(']).next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        for (name, count) in &figures.done {
            *self.done.entry(name).or_default() += count;
        }
        *self.modes.entry(plan.commit.as_str()).or_default() += 1;
        self.slowest = self.slowest.max(figures.settled_after);
    }

    fn text(&self) -> String {
        let (faults, done) = (&self.faults, &self.done);
        let all: u64 = faults.values().sum();
        format!(
            "modes {:?}\n{all} faults {faults:?}\ndone {done:?}\nsettled after {:.1} s at most",
            self.modes,
            self.slowest.as_secs_f64()
        )
    }
}
