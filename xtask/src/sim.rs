//! `cargo xtask sim`: the simulator of the map by hand. One seed with its trace, or random seeds for a while.

use anyhow::{Result, anyhow};
use replfs_tests::seed;
use replfs_tests::sim::bug::Bug;
use replfs_tests::sim::search::{STEPS, try_seed};
use std::time::{Duration, Instant};

/// What is simulated.
#[derive(clap::Args)]
pub struct Options {
    /// This seed only; a failure is made small and shown with all that happened
    #[arg(long)]
    seed: Option<u64>,
    /// Events of a run
    #[arg(long, default_value_t = STEPS)]
    steps: usize,
    /// Random seeds for so long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Switch a deliberate bug on
    #[arg(long)]
    bug: Option<String>,
    /// Show the deliberate bugs
    #[arg(long)]
    list_bugs: bool,
}

/// Runs; whether every seed passed.
pub fn run(options: &Options) -> Result<bool> {
    if options.list_bugs {
        for bug in Bug::ALL {
            println!("{:18} {}", bug.name(), bug.what());
        }
        return Ok(true);
    }
    let bug = options.bug.as_deref().map(str::parse).transpose().map_err(|error: String| anyhow!(error))?;
    if let Some(seed) = options.seed {
        return Ok(report(seed, options.steps, bug));
    }
    let first = seed::chosen();
    let end = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let mut ran: u64 = 0;
    while Instant::now() < end {
        if !report(first.wrapping_add(ran), options.steps, bug) {
            println!("{ran} seeds passed before");
            return Ok(false);
        }
        ran += 1;
    }
    println!("{ran} seeds from {first} passed");
    Ok(true)
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
