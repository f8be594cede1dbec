//! What was measured, as a document: JSON for programs, Markdown for people.

use super::case::Case;
use super::floors;
use super::machine::Machine;
use super::measure::{Measured, Unit};
use super::state::State;
use super::statistic::Spread;
use super::table;
use crate::run;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Version of the document.
const VERSION: u32 = 1;

/// The whole document.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: u32,
    pub date: String,
    pub command: String,
    pub machine: Machine,
    pub scale: f64,
    pub rows: Vec<Row>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// One case in one state. Rates are medians, in bytes or operations per second.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub state: &'static str,
    pub case: &'static str,
    pub about: &'static str,
    pub unit: &'static str,
    pub bare: Option<f64>,
    pub mount: Option<f64>,
    pub ratio: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The ratio of work per second of processor time; that of the daemons counts on the mount's side.
    pub effort: Option<f64>,
    /// Reads by the source daemon for each operation or MiB.
    pub reads: Option<f64>,
    pub floor: Option<f64>,
    pub met: Option<bool>,
    /// Rates of each pair, bare and mount, in the order in which they were measured.
    pub pairs: Vec<(f64, f64)>,
    /// What the state had become when a pair did not count.
    pub discarded: Vec<String>,
}

impl Row {
    /// What the pairs of a case come to.
    pub fn of(state: State, case: &Case, measured: &Measured) -> Self {
        let ratio = Spread::of(measured.pairs.iter().map(|pair| pair.ratio()));
        let effort = Spread::of(measured.pairs.iter().map(|pair| pair.effort()));
        let floor = floors::floor(case.name, state);
        let median = |rates: Vec<f64>| Spread::of(rates).map(|spread| spread.median);
        Self {
            state: state.name(),
            case: case.name,
            about: case.about,
            unit: match measured.unit {
                Unit::Operations => "operations",
                Unit::Bytes => "bytes",
            },
            bare: median(measured.pairs.iter().map(|pair| pair.bare.per_second).collect()),
            mount: median(measured.pairs.iter().map(|pair| pair.mount.per_second).collect()),
            ratio: ratio.map(|ratio| ratio.median),
            low: ratio.map(|ratio| ratio.low),
            high: ratio.map(|ratio| ratio.high),
            effort: effort.map(|effort| effort.median).filter(|effort| effort.is_finite()),
            reads: median(measured.pairs.iter().map(|pair| pair.mount.reads).collect()),
            floor,
            met: floor.map(|floor| ratio.is_some_and(|ratio| ratio.median >= floor)),
            pairs: measured.pairs.iter().map(|pair| (pair.bare.per_second, pair.mount.per_second)).collect(),
            discarded: measured.discarded.clone(),
        }
    }
}

impl Report {
    /// An empty one for a run that begins.
    pub fn begin(machine: Machine, date: String, scale: f64) -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo xtask {}", words.join(" "));
        Self { version: VERSION, date, command, machine, scale, rows: vec![], failures: vec![], notes: vec![] }
    }

    /// Writes JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        fs::write(path, self.json()?).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes `docs/benchmarks/DATE-NAME.json` and `.md`.
    pub fn save(&self, name: &str) -> Result<()> {
        save(&self.json()?, &self.markdown(), &self.date, name)
    }

    /// The whole, as text.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn markdown(&self) -> String {
        let mut out = format!("# {}\n\nMade by `{}`.\n\n{}.\n", self.date, self.command, self.machine);
        out += "\nRatios are throughput in the mount by throughput in a bare directory on the same file system: higher is better.\n\n";
        out += &table::overview(&self.rows);
        out += &table::details(&self.rows);
        for (title, lines) in [("Failed", &self.failures), ("Left out", &self.notes)] {
            if !lines.is_empty() {
                out.extend(["\n## ", title, "\n\n"]);
                out.extend(lines.iter().map(|line| format!("- {}\n", line.replace('\n', "\n  "))));
            }
        }
        out
    }
}

/// Writes `docs/benchmarks/DATE-NAME.json` and `.md`.
pub fn save(json: &str, markdown: &str, date: &str, name: &str) -> Result<()> {
    for (kind, text) in [("json", json), ("md", markdown)] {
        let path = run::root().join("docs/benchmarks").join(format!("{date}-{name}.{kind}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
