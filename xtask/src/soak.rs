//! `cargo xtask soak`: one mount for hours, with everything on and a fault each minute. Figures go to the terminal, a table and a JSON file.

use crate::{run, torture};
use anyhow::{Context, Result, anyhow};
use replfs_tests::seed;
use replfs_tests::torture::events::Events;
use replfs_tests::torture::plan::MODES;
use replfs_tests::torture::soak;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What to run.
#[derive(clap::Args)]
pub struct Options {
    /// For so long
    #[arg(long, default_value_t = 120.0)]
    minutes: f64,
    /// What the faults are drawn from
    #[arg(long)]
    seed: Option<u64>,
    /// The commit mode
    #[arg(long, default_value = "sync")]
    mode: String,
}

/// Runs; whether every promise was kept and nothing grew.
pub fn run(options: &Options) -> Result<bool> {
    torture::prepare()?;
    let seed = options.seed.unwrap_or_else(seed::chosen);
    let length = Duration::try_from_secs_f64(options.minutes * 60.0)?;
    let mode = MODES.into_iter().find(|known| known.as_str() == options.mode);
    let mode = mode.ok_or_else(|| anyhow!("there is no mode {:?}", options.mode))?;
    let events = Events::to(&torture::place(seed, "soak"), true);
    let (csv, json) =
        (torture::place(seed, "soak").with_extension("csv"), torture::place(seed, "soak").with_extension("json"));
    println!("seed {seed}; samples go to {}", csv.display());
    // The rig reports what goes wrong by panicking with the reason, which is on the terminal then.
    let Ok(report) = catch_unwind(AssertUnwindSafe(|| soak::run(length, seed, mode, &csv, &events))) else {
        println!("FAILED; what happened: {}", events.place().display());
        return Ok(false);
    };
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(&json, text).with_context(|| format!("cannot write {}", json.display()))?;
    println!(
        "{}figures: {} and {}",
        report.text(),
        csv.display(),
        json.strip_prefix(run::root()).unwrap_or(&json).display()
    );
    Ok(report.grew.is_empty())
}
