//! Figures as text: a line per case while it runs, tables at the end.

use super::report::Row;
use std::fmt::Write;

/// The head over [`line`]s.
pub fn head() -> String {
    format!(
        "{:<24} {:>12} {:>12} {:>7}  {:<13} {:>5}  {}",
        "case", "bare", "mount", "ratio", "low - high", "cpu", "floor"
    )
}

/// One case, for a terminal.
pub fn line(row: &Row) -> String {
    let mut out = format!("{:<24} {:>12} {:>12} ", row.case, rate(row, row.bare), rate(row, row.mount));
    let (ratio, cpu, reads) = (two(row.ratio), two(row.effort), two(row.reads));
    let _ = write!(out, "{ratio:>7}  {:<13} {cpu:>5} {reads:>6}  {}", spread(row), verdict(row));
    if !row.discarded.is_empty() {
        let _ = write!(out, " ({} of {} discarded)", row.discarded.len(), row.discarded.len() + row.pairs.len());
    }
    out.trim_end().to_owned()
}

/// Cases by states, ratios only, in Markdown.
pub fn overview(rows: &[Row]) -> String {
    let (states, cases) = (distinct(rows, |row| row.state), distinct(rows, |row| row.case));
    let mut out = format!("| case | {} |\n| --- |{}\n", states.join(" | "), " --- |".repeat(states.len()));
    for case in cases {
        let _ = write!(out, "| {case} |");
        for state in &states {
            let row = rows.iter().find(|row| row.case == case && row.state == *state);
            let missed = if row.is_some_and(|row| row.met == Some(false)) { " (floor missed)" } else { "" };
            let _ = write!(out, " {}{missed} |", two(row.and_then(|row| row.ratio)));
        }
        out.push('\n');
    }
    out
}

/// Everything, a table per state, in Markdown.
pub fn details(rows: &[Row]) -> String {
    let mut out = String::new();
    for state in distinct(rows, |row| row.state) {
        let _ = write!(
            out,
            "\n## {state}\n\n| case | what | bare | mount | ratio | low - high | cpu | reads | pairs | floor |\n"
        );
        out += "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for row in rows.iter().filter(|row| row.state == state) {
            let (bare, mount) = (rate(row, row.bare), rate(row, row.mount));
            let _ = writeln!(
                out,
                "| {} | {} | {bare} | {mount} | {} | {} | {} | {} | {} | {} |",
                row.case,
                row.about,
                two(row.ratio),
                spread(row),
                two(row.effort),
                two(row.reads),
                row.pairs.len(),
                verdict(row)
            );
        }
    }
    out
}

fn distinct(rows: &[Row], key: impl Fn(&Row) -> &'static str) -> Vec<&'static str> {
    let mut keys = Vec::new();
    for key in rows.iter().map(key) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn two(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn spread(row: &Row) -> String {
    match (row.low, row.high) {
        (Some(low), Some(high)) => format!("{low:.2} - {high:.2}"),
        _ => String::new(),
    }
}

fn verdict(row: &Row) -> String {
    let met = if row.met == Some(true) { "met" } else { "MISSED" };
    row.floor.map_or_else(String::new, |floor| format!("{floor:.2} {met}"))
}

/// With a unit that suits its size.
fn rate(row: &Row, per_second: Option<f64>) -> String {
    let Some(rate) = per_second else { return "-".to_owned() };
    if row.unit == "bytes" {
        return format!("{:.0} MiB/s", rate / f64::from(1 << 20));
    }
    match rate {
        1e6.. => format!("{:.2} M/s", rate / 1e6),
        1e4.. => format!("{:.1} k/s", rate / 1e3),
        100.0.. => format!("{rate:.0} /s"),
        _ => format!("{rate:.2} /s"),
    }
}
