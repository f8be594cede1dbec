//! What was measured beside bare QUIC, as a document: JSON for programs, Markdown for people. What belongs together in JSON is as in
//! the other documents, so that `--compare` reads it.

use super::floor::Unit;
use super::rounds::Found;
use crate::bench::machine::Machine;
use crate::bench::statistic::Spread;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Version of the document.
const VERSION: u32 = 1;

/// What stands for the state in the rows.
const STATE: &str = "link";

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
}

/// One thing that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub state: &'static str,
    pub case: &'static str,
    pub about: &'static str,
    pub unit: Unit,
    /// Medians of the speeds; `None` where no pair counts.
    pub bare: Option<f64>,
    pub replfs: Option<f64>,
    /// Of each pair: a part of the speed, or of answers a multiple of the time.
    pub ratio: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// In words.
    pub promise: String,
    pub met: Option<bool>,
    /// Speeds of each pair, bare and replfs, in the order in which they were measured.
    pub pairs: Vec<(f64, f64)>,
    /// Why others do not count.
    pub discarded: Vec<String>,
    /// Medians of further figures.
    pub more: BTreeMap<&'static str, f64>,
}

impl Row {
    /// What the rounds come to. A promise of which nothing counts is missed.
    pub fn of(found: &Found) -> Self {
        let (floor, pairs) = (found.floor, &found.speeds.pairs);
        let median = |speeds: Vec<f64>| Spread::of(speeds).map(|spread| spread.median);
        let ratio = Spread::of(pairs.iter().map(|(bare, replfs)| floor.ratio(replfs / bare)));
        let more = found.more.iter().filter_map(|(name, values)| Some((*name, median(values.clone())?)));
        Self {
            state: STATE,
            case: floor.name,
            about: floor.about,
            unit: floor.unit,
            bare: median(pairs.iter().map(|pair| pair.0).collect()),
            replfs: median(pairs.iter().map(|pair| pair.1).collect()),
            ratio: ratio.map(|ratio| ratio.median),
            low: ratio.map(|ratio| ratio.low),
            high: ratio.map(|ratio| ratio.high),
            promise: floor.promise.to_string(),
            met: floor.promise.is_kept(ratio.map_or(f64::NAN, |ratio| ratio.median)),
            pairs: pairs.clone(),
            discarded: found.speeds.discarded.clone(),
            more: more.collect(),
        }
    }

    fn spread(&self) -> String {
        self.low.zip(self.high).map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2} - {high:.2}"))
    }

    fn verdict(&self) -> String {
        let met = self.met.map_or("", |met| if met { "met" } else { "MISSED" });
        format!("{} {met}", self.promise).trim().to_owned()
    }

    fn figure(&self, speed: Option<f64>) -> String {
        let Some(speed) = speed else { return "-".to_owned() };
        match self.unit {
            Unit::Bytes => format!("{:.1} MB/s", speed / 1e6),
            Unit::Operations => format!("{speed:.0} /s"),
            Unit::Answers => format!("{:.0} us", 1e6 / speed),
            Unit::Worked => format!("{:.2} s/GiB", f64::from(1 << 30) / speed),
        }
    }

    fn further(&self) -> String {
        let each = self.more.iter().map(|(name, value)| match value {
            100.0.. => format!("{name} {value:.0}"),
            _ => format!("{name} {value:.2}"),
        });
        let mut all: Vec<String> = each.collect();
        if !self.discarded.is_empty() {
            all.push(format!(
                "{} of {} pairs discarded",
                self.discarded.len(),
                self.discarded.len() + self.pairs.len()
            ));
        }
        all.join(", ")
    }
}

impl Report {
    /// An empty one for a run that begins.
    pub fn begin(machine: Machine, date: String, scale: f64) -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo xtask {}", words.join(" "));
        Self { version: VERSION, date, command, machine, scale, rows: Vec::new(), failures: Vec::new() }
    }

    /// How many promises are missed, of how many.
    pub fn missed(&self) -> (usize, usize) {
        let count = |is: fn(bool) -> bool| self.rows.iter().filter(|row| row.met.is_some_and(is)).count();
        (count(|met| !met), count(|_| true))
    }

    /// For programs.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut out =
            format!("# Beside bare QUIC, {}\n\nMade by `{}`.\n\n{}.\n", self.date, self.command, self.machine);
        if (self.scale - 1.0).abs() > f64::EPSILON {
            let _ = write!(out, "\n**Sizes, counts and times are {} of the usual ones.**\n", self.scale);
        }
        out += "\nMedians; low - high are those of the ratio of each pair: of the speeds, or of the times where times are told. README.md says what is compared.\n\n";
        out += "| case | what | bare | replfs | ratio | low - high | pairs | promised | also |\n";
        out += "| --- | --- | ---: | ---: | ---: | --- | ---: | --- | --- |\n";
        for row in self.rows.iter().filter(|row| row.unit != Unit::Worked) {
            let (bare, replfs) = (row.figure(row.bare), row.figure(row.replfs));
            let (case, about, ratio, pairs) = (row.case, row.about, two(row.ratio), row.pairs.len());
            let (spread, verdict, more) = (row.spread(), row.verdict(), row.further());
            let _ = writeln!(
                out,
                "| {case} | {about} | {bare} | {replfs} | {ratio} | {spread} | {pairs} | {verdict} | {more} |"
            );
        }
        let worked: Vec<&Row> = self.rows.iter().filter(|row| row.unit == Unit::Worked).collect();
        if !worked.is_empty() {
            out += "\n## Processor seconds for each GiB\n\nUser and system, of both ends of a bare stream into a file, and of the daemons; the last \
                column is bare by both daemons together.\n\n";
            out += "| case | what | bare | source | target | both | ratio | low - high | pairs |\n";
            out += "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |\n";
        }
        for row in worked {
            let of = |name: &str| two(row.more.get(name).copied());
            let seconds = |speed: Option<f64>| two(speed.map(|speed| f64::from(1 << 30) / speed));
            let cells = [
                row.case.to_owned(),
                row.about.to_owned(),
                seconds(row.bare),
                of("source s/GiB"),
                of("target s/GiB"),
                seconds(row.replfs),
                two(row.ratio),
                row.spread(),
                row.pairs.len().to_string(),
            ];
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        if !self.failures.is_empty() {
            out += "\n## Failed\n\n";
            out.extend(self.failures.iter().map(|line| format!("- {}\n", line.replace('\n', "\n  "))));
        }
        out
    }
}

/// The head over [`line`]s.
pub fn head() -> String {
    format!(
        "{:<16} {:>14} {:>14} {:>7}  {:<16} {:<18} also",
        "case", "bare", "replfs", "ratio", "low - high", "promised"
    )
}

/// One row, for a terminal.
pub fn line(row: &Row) -> String {
    let (bare, replfs, ratio) = (row.figure(row.bare), row.figure(row.replfs), two(row.ratio));
    let (spread, verdict, more) = (row.spread(), row.verdict(), row.further());
    let line = format!("{:<16} {bare:>14} {replfs:>14} {ratio:>7}  {spread:<16} {verdict:<18} {more}", row.case);
    line.trim_end().to_owned()
}

fn two(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::super::floor::FLOORS;
    use super::super::rounds::Rounds;
    use super::*;
    use crate::bench::compare::Run;

    fn row(name: &str, pairs: Vec<(f64, f64)>) -> Row {
        let floor = FLOORS.iter().find(|floor| floor.name == name).unwrap();
        Row::of(&Found { floor, speeds: Rounds { pairs, discarded: Vec::new() }, more: vec![("x", vec![1.0, 3.0])] })
    }

    #[test]
    fn a_row_is_held_to_its_promise_by_the_median_of_its_pairs() {
        let row = row("sync-4k", vec![(10.0, 5.0), (10.0, 4.0), (10.0, 1.0)]);
        assert_eq!((row.ratio, row.low, row.high), (Some(2.5), Some(2.0), Some(10.0)));
        assert_eq!((row.met, row.more["x"]), (Some(true), 2.0));
        assert_eq!(self::row("stream", vec![(10.0, 7.0)]).met, Some(false));
        assert_eq!(self::row("stream-discard", vec![(10.0, 1.0)]).met, None);
    }

    #[test]
    fn a_promise_of_which_nothing_counts_is_missed() {
        assert_eq!(row("wan", Vec::new()).met, Some(false));
        assert!(line(&row("wan", Vec::new())).contains("MISSED"));
    }

    #[test]
    fn the_document_is_one_that_can_be_compared() {
        let mut report = Report::begin(Machine::here(std::path::Path::new("x"), false), "2026-11-27".to_owned(), 1.0);
        report.rows.push(row("sync-4k", vec![(10.0, 5.0); 3]));
        let before = Run::of(&report.json().unwrap()).unwrap();
        report.rows[0] = row("sync-4k", vec![(10.0, 2.0); 3]);
        let now = Run::of(&report.json().unwrap()).unwrap();
        assert!(now.since(&before)[0].is_slower(None));
        assert!(!before.since(&now)[0].is_slower(None));
        assert_eq!(report.missed(), (1, 1));
        assert!(report.markdown().contains("| sync-4k |"));
    }
}
