//! What `cargo xtask bench` can be asked.

use super::case::Case;
use super::measure::Rounds;
use super::peers::Kind;
use super::state::{Asked, AskedCommit, State};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// The words after `bench`.
#[derive(Args)]
#[allow(clippy::struct_excessive_bools)] // switches of a command line
pub struct Options {
    /// Only cases whose name contains one of these
    #[arg(long, visible_alias = "cases", value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Beside other ways of having a replica, W1 to W9 at their reference size, in namespaces of its own [default: all of them]
    #[arg(long, value_name = "PEER,...", value_delimiter = ',', num_args = 0.., conflicts_with_all = ["state", "commit"])]
    pub peers: Option<Vec<Kind>>,
    /// Beside bare QUIC: what is promised of the link, and what replication takes of the processors
    #[arg(long, conflicts_with_all = ["state", "commit", "peers", "in_memory"])]
    pub link: bool,
    /// What both daemons spend their time with while an application writes, seen by perf; with --save as flame graphs too
    #[arg(long, conflicts_with_all = ["state", "commit", "peers", "in_memory", "link", "json", "compare", "check", "rounds", "list"])]
    pub profile: bool,
    /// Only these states [default: all]
    #[arg(long, value_name = "STATE,...", value_delimiter = ',')]
    state: Vec<Asked>,
    /// Commit modes of the attached state [default: both]
    #[arg(long, value_name = "MODE,...", value_delimiter = ',')]
    commit: Vec<AskedCommit>,
    /// Exactly so many pairs of each case [default: 3 to 7, as time allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Times and sizes of the units are multiplied by this [default: 1; --quick: 0.5]
    #[arg(long, value_name = "X")]
    scale: Option<f64>,
    /// Two small pairs of each case: to see whether something is grossly wrong
    #[arg(long)]
    quick: bool,
    /// On an ext4 file system of its own in memory instead of on the disk of /tmp: steadier where others use the disk,
    /// but an fsync then costs nothing
    #[arg(long)]
    pub in_memory: bool,
    /// Exit code 1 if a floor is missed
    #[arg(long)]
    pub check: bool,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write docs/benchmarks/DATE-NAME.json and .md
    #[arg(long, value_name = "NAME")]
    pub save: Option<String>,
    /// Name what has become slower than in an earlier run, whose JSON this is, by more than the noise of both; exit code 1 if anything has
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Only list the cases
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// The cases that were asked for.
    pub fn chosen<'a>(&self, all: &'a [Case]) -> Result<Vec<&'a Case>> {
        let chosen: Vec<&Case> = all.iter().filter(|case| self.names(case.name)).collect();
        ensure!(!chosen.is_empty(), "no case's name contains {}; --list shows them", self.only.join(" or "));
        Ok(chosen)
    }

    /// Whether a case of this name was asked for.
    pub fn names(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| case.contains(part))
    }

    /// The states that were asked for.
    pub fn states(&self) -> Vec<State> {
        fn or_all<T: ValueEnum>(asked: &[T]) -> Vec<T> {
            if asked.is_empty() { T::value_variants().to_vec() } else { asked.to_vec() }
        }
        State::of(&or_all(&self.state), &or_all(&self.commit))
    }

    /// See `--scale`.
    pub fn scale(&self) -> f64 {
        self.scale.unwrap_or(if self.quick { 0.5 } else { 1.0 }).clamp(0.005, 100.0)
    }

    /// How many rounds of each case, where that was said.
    pub fn exactly(&self) -> Option<usize> {
        self.rounds.map(usize::from).or(self.quick.then_some(1))
    }

    /// How often.
    pub fn rounds(&self) -> Rounds {
        let (least, most) = match self.rounds {
            Some(exactly) => (exactly.into(), exactly.into()),
            None if self.quick => (2, 2),
            None => (3, 7),
        };
        Rounds { least, most, share: Duration::from_millis(1800), scale: self.scale() }
    }
}
