//! What was measured beside peers, as a document: JSON for programs, Markdown for people.

use super::kind::Kind;
use super::reach::{Reach, Verdict};
use super::row::Row;
use crate::bench::machine::Machine;
use serde::Serialize;
use std::fmt::Write as _;

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
    /// Bytes per second of a bare quinn stream.
    pub stream: f64,
    pub peers: Vec<About>,
    pub rows: Vec<Row>,
    pub reaches: Vec<Reach>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// A peer that took part.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    pub name: &'static str,
    /// What that is.
    pub means: &'static str,
    pub version: String,
    pub commands: Vec<String>,
}

impl Report {
    /// An empty one for a run that begins.
    pub fn begin(machine: Machine, date: String, scale: f64) -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo xtask {}", words.join(" "));
        let (peers, rows, reaches) = (Vec::new(), Vec::new(), Vec::new());
        let (failures, notes) = (Vec::new(), Vec::new());
        Self { version: VERSION, date, command, machine, scale, stream: 0.0, peers, rows, reaches, failures, notes }
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut out = format!("# Beside peers, {}\n\nMade by `{}`.\n\n{}.\n", self.date, self.command, self.machine);
        if (self.scale - 1.0).abs() > f64::EPSILON {
            let _ = write!(out, "\n**Units are {} of the reference sizes that the tables name.**\n", self.scale);
        }
        let _ = write!(out, "\nA bare quinn stream on loopback: {} MB/s.\n", (self.stream / 1e6).round());
        out += "\n## The application's time\n\nAs a multiple of the bare directory's, median (lowest - highest); lower is better.\n\n";
        out += &self.overview(|row| format!("{:.2} ({:.2} - {:.2})", row.ratio, row.low, row.high));
        out += "\n## Seconds until the replica is equal\n\nAfter the last operation: at least - at most.\n\n";
        out += &self.overview(lag);
        out += &self.details();
        out += &self.promises();
        out += &self.how();
        for (title, lines) in [("Failed", &self.failures), ("Left out", &self.notes)] {
            if !lines.is_empty() {
                out.extend(["\n## ", title, "\n\n"]);
                out.extend(lines.iter().map(|line| format!("- {}\n", line.replace('\n', "\n  "))));
            }
        }
        out
    }

    fn overview(&self, cell: impl Fn(&Row) -> String) -> String {
        let peers: Vec<&str> = self.peers.iter().map(|peer| peer.name).collect();
        let mut out =
            format!("| case | size | {} |\n| --- | --- |{}\n", peers.join(" | "), " --- |".repeat(peers.len()));
        for first in
            self.rows.iter().enumerate().filter(|(at, row)| self.rows[..*at].iter().all(|r| r.case != row.case))
        {
            let case = first.1.case;
            let _ = write!(out, "| {case} | {} |", first.1.size);
            for peer in &peers {
                let row = self.rows.iter().find(|row| row.case == case && row.peer == *peer);
                let _ = write!(out, " {} |", row.map_or_else(|| "-".to_owned(), &cell));
            }
            out.push('\n');
        }
        out
    }

    fn details(&self) -> String {
        let mut out = "\n## What it takes\n\nBytes in MB, until the replica is equal; processor seconds of all the peer's processes, and \
            of the target's while the application worked; what an equal replica still differs in.\n\n"
            .to_owned();
        out += "| peer | case | seconds | payload | sent | of it afterwards | came back | records | cpu s | target's | differs in |\n";
        out += "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n";
        for row in &self.rows {
            let mb = |bytes: f64| format!("{:.2}", bytes / 1e6);
            let records = row.records.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"));
            let differs: Vec<String> = row.differs.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let cells = [
                row.peer.to_owned(),
                row.case.to_owned(),
                format!("{:.2}", row.seconds),
                mb(row.payload),
                mb(row.there),
                mb(row.there_after),
                mb(row.back),
                records,
                format!("{:.2}", row.processor),
                format!("{:.2}", row.target_processor),
                differs.join(", "),
            ];
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out
    }

    fn promises(&self) -> String {
        if self.reaches.is_empty() {
            return String::new();
        }
        let mut out = "\n## What is promised\n\n| peer | case | what | measured | at most | |\n".to_owned();
        out += "| --- | --- | --- | ---: | ---: | --- |\n";
        for reach in &self.reaches {
            let _ = writeln!(out, "| {} | {} | {} |", reach.peer, reach.case, cells(reach));
        }
        out
    }

    fn how(&self) -> String {
        let mut out = "\n## How each was started\n".to_owned();
        for peer in &self.peers {
            let _ = write!(
                out,
                "\n{}: {}. {}\n\n```\n{}\n```\n",
                peer.name,
                peer.means,
                peer.version,
                peer.commands.join("\n")
            );
        }
        out
    }
}

/// One promise, for a terminal.
pub fn line(reach: &Reach) -> String {
    format!("{:<12} {:<22} {}", reach.peer, reach.case, cells(reach).replace(" | ", "  "))
}

fn cells(reach: &Reach) -> String {
    let verdict = match reach.verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::Open => "open",
    };
    let number = |value: f64| match value {
        1e5.. => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    };
    format!("{} | {} | {} | {verdict}", reach.what, number(reach.value), number(reach.bound))
}

/// The head over [`progress`].
pub fn head() -> String {
    format!(
        "{:<24} {:>7}  {:<16} {:>8}  {:<15} {:>9} {:>9} {:>7} {:>7}",
        "case", "ratio", "low - high", "seconds", "lag", "payload", "sent", "cpu s", "target"
    )
}

/// One row, for a terminal.
pub fn progress(row: &Row) -> String {
    let spread = format!("{:.2} - {:.2}", row.low, row.high);
    let mut out = format!("{:<24} {:>7.2}  {spread:<16} {:>8.2}  {:<15} ", row.case, row.ratio, row.seconds, lag(row));
    let mb = |bytes: f64| format!("{:.2} MB", bytes / 1e6);
    let (processor, target) = (row.processor, row.target_processor);
    let _ = write!(out, "{:>9} {:>9} {processor:>7.2} {target:>7.2}", mb(row.payload), mb(row.there));
    for round in &row.rounds {
        for (word, what) in [("never equal", &round.never), ("doubt", &round.doubt)] {
            if let Some(what) = what {
                let _ = write!(out, "\n    {word}: {what}");
            }
        }
    }
    out
}

fn lag(row: &Row) -> String {
    match row.lag {
        Some((low, high)) => format!("{low:.2} - {high:.2}"),
        None if row.never().is_some() => "never".to_owned(),
        None => "-".to_owned(),
    }
}

/// The version of a peer, of its packages as Debian has them.
pub fn version(kind: Kind, commit: &str) -> String {
    if kind.is_replfs() {
        return format!("replfs {commit}");
    }
    let each = kind.packages().iter().map(|package| {
        let mut query = std::process::Command::new("dpkg-query");
        let output = query.args(["-W", "-f", "${Package} ${Version}", package]).output();
        output.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
    });
    each.collect::<Vec<_>>().join(", ")
}
