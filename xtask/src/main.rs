//! `cargo xtask`: what is done with this repository, as commands. Each command has a file; none of them is part of replfs.

mod bench;
mod check;
mod demo;
mod install;
mod judges;
mod mirror;
mod packages;
mod powerloss;
mod run;
mod scale;
mod signals;
mod sim;
mod soak;
mod test;
mod tools;
mod torture;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Automation of the replfs repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, mount on this machine, run real programs in the mount, compare both sides, stay mounted until Ctrl-C
    Demo {
        /// End by itself: exit code 0 if both sides are equal, else 1
        #[arg(long)]
        once: bool,
    },
    /// Run every test; installs the Debian packages that the tests need
    Test {
        /// Only tests whose name contains one of these
        filter: Vec<String>,
    },
    /// Measure the mount against a bare directory: ratios, floors, JSON
    Bench(bench::Options),
    /// Measure mirrors beside rsync: first, changed blocks, nothing changed
    BenchMirror(mirror::Options),
    /// Build optimized, install the binary and the links for mount(8)
    Install {
        /// Where `bin/replfs` goes
        #[arg(long, default_value = "/usr/local")]
        prefix: PathBuf,
    },
    /// Measure many files in one mount: memory, descriptors, walks; figures in docs/benchmarks
    Scale {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        files: usize,
    },
    /// Simulate the map of clean and dirty from seeds: one, or random ones for a while
    Sim(sim::Options),
    /// Losses of power at random moments of recorded workloads: every promise of every commit mode
    Powerloss(powerloss::Options),
    /// Databases in the mount of a source that is lost: the replica is started as a database
    Judges(judges::Options),
    /// Break real daemons, links and disks beside real programs, round after round: exit code 0 if every promise was kept
    Torture(torture::Options),
    /// The same in one mount for long, sampling what the daemons take: exit code 0 if that does not grow
    Soak(soak::Options),
    /// Check format, lints, licences and sources of dependencies
    Check,
    /// Compare two trees exactly: exit code 0 if they are equal, else 1
    Compare {
        /// The one
        a: PathBuf,
        /// The other
        b: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo { once } => demo::run(once),
        Command::Test { filter } => test::run(&filter),
        Command::Bench(options) => bench::run(&options),
        Command::BenchMirror(options) => mirror::run(&options),
        Command::Install { prefix } => install::run(&prefix),
        Command::Scale { files } => scale::run(files),
        Command::Sim(options) => sim::run(&options),
        Command::Powerloss(options) => powerloss::run(&options),
        Command::Judges(options) => judges::run(&options),
        Command::Torture(options) => torture::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Check => check::run(),
        Command::Compare { a, b } => compare(&a, &b),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(a: &std::path::Path, b: &std::path::Path) -> Result<bool> {
    let report = replfs_tests::compare::trees(a, b)?;
    println!("{}", report.text(200));
    Ok(report.differences.is_empty())
}
