//! `cargo xtask powerloss`: losses of power at random moments of recorded workloads, for as long as somebody likes, and one of them again.

use crate::{packages, run, signals, test};
use anyhow::{Context, Result, ensure};
use replfs_tests::blocklog::qemu;
use replfs_tests::powerloss::plan::{Plan, Recorded};
use replfs_tests::powerloss::record::Record;
use replfs_tests::powerloss::round::{self, Done};
use replfs_tests::seed;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is run.
#[derive(clap::Args)]
pub struct Options {
    /// For so long: the last round is ended
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Of all that is random
    #[arg(long)]
    seed: Option<u64>,
    /// Losses of power in each round
    #[arg(long, default_value_t = 25)]
    cuts: usize,
    /// By what the disks are recorded: `here`, `qemu`, or one after the other
    #[arg(long, default_value = "both")]
    layer: Layer,
    /// Only this round of the seed's
    #[arg(long)]
    round: Option<u64>,
    /// A round that failed, as it was kept
    #[arg(long, requires = "cut")]
    log: Option<PathBuf>,
    /// Which loss of power of it
    #[arg(long, requires = "log")]
    cut: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Layer {
    Here,
    Qemu,
    Both,
}

/// Runs; whether every promise was kept.
pub fn run(options: &Options) -> Result<bool> {
    test::require_fuse()?;
    packages::require(&["mount", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs"])?;
    test::remove_leftovers()?;
    let binary = run::build()?;
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("REPLFS_BIN", binary) };
    signals::note();
    if let (Some(dir), Some(number)) = (&options.log, options.cut) {
        let record = Record::load(dir)?;
        ensure!(number < record.told.cuts.len(), "that round has {} cuts, from 0 on", record.told.cuts.len());
        return Ok(catch_unwind(AssertUnwindSafe(|| round::again(&record, number))).is_ok());
    }
    let there = run::find(qemu::PROGRAM).is_some();
    let layer = match options.layer {
        Layer::Qemu => {
            ensure!(there, "{} is not installed (Debian: qemu-utils or qemu-system-common)", qemu::PROGRAM);
            Layer::Qemu
        }
        Layer::Both if !there => {
            println!("{} is not installed: all rounds are recorded by ours", qemu::PROGRAM);
            Layer::Here
        }
        other => other,
    };
    rounds(options, layer)
}

fn rounds(options: &Options, layer: Layer) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(seed::chosen);
    println!("seed {seed}");
    let end = Instant::now() + Duration::try_from_secs_f64(options.minutes * 60.0).context("not so long")?;
    let (mut all, mut ran, mut in_force) = (Done::default(), 0_u64, 0_u64);
    let mut number = options.round.unwrap_or(0);
    while !signals::enough() && (ran == 0 || (options.round.is_none() && Instant::now() < end)) {
        let recorded = match layer {
            Layer::Here => Recorded::Here,
            Layer::Qemu => Recorded::Qemu,
            Layer::Both => [Recorded::Here, Recorded::Qemu][usize::from(number % 2 == 1)],
        };
        let plan = Plan::of(seed, number, recorded, options.cuts);
        let start = Instant::now();
        // The reason is on the terminal then.
        let Ok(done) = catch_unwind(AssertUnwindSafe(|| round::run(&plan, &round::place(plan.seed)))) else {
            println!("to run the round again: cargo xtask powerloss --seed {seed} --round {number}");
            println!("{ran} rounds passed before, with {} cuts", all.cuts);
            return Ok(false);
        };
        println!("round {number}: {:.1} s, {done:?}", start.elapsed().as_secs_f64());
        all.calls += done.calls;
        all.syncs += done.syncs;
        all.moments += done.moments;
        all.cuts += done.cuts;
        all.twice += done.twice;
        all.written += done.written;
        in_force += u64::from(done.in_force);
        ran += 1;
        number += 1;
    }
    println!(
        "{ran} rounds, the mode in force to the end in {in_force}: {} cuts of both machines, {} of them once more on the way back, and {ran} of the source alone, out of {} \
         moments; {} calls, {} of them syncs; {} MiB written. Every promise was kept",
        all.cuts,
        all.twice,
        all.moments,
        all.calls,
        all.syncs,
        all.written >> 20
    );
    Ok(true)
}
