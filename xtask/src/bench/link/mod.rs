//! `cargo xtask bench --link`: replfs beside bare QUIC on this machine, alternately in one run, held to what is promised of the link (issue 8). Here is the
//! order of things; what is promised is in `floor`, what is measured in a file each.

mod answer;
mod bare;
mod floor;
mod ground;
mod lag;
mod mount;
mod pace;
mod processor;
mod report;
mod rounds;
mod stream;
mod text;
mod wan;
mod watch;
mod writers;

pub use mount::Mount;

use super::compare;
use super::machine::{Machine, today};
use super::options::Options;
use crate::{packages, run, signals, test};
use anyhow::{Context, Result, bail, ensure};
use floor::{FLOORS, Floor, Group};
use ground::Ground;
use report::{Report, Row};
use rounds::Found;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Pairs of each unless asked for otherwise.
const ROUNDS: usize = 5;

/// What there is to be measured.
pub fn list() {
    for floor in &FLOORS {
        println!("{:<16} {} {}", floor.name, floor.about, floor.promise);
    }
}

/// Measures what was asked for; whether nothing broke and, with `--check`, no promise was missed.
pub fn run(options: &Options, before: Option<&compare::Run>) -> Result<bool> {
    let asked: Vec<&'static Floor> = FLOORS.iter().filter(|floor| options.names(floor.name)).collect();
    ensure!(!asked.is_empty(), "nothing of that name is measured beside bare QUIC; --link --list shows what is");
    test::require_fuse()?;
    packages::require(&["mount"])?;
    if let Err(error) = test::remove_leftovers() {
        // They take up room, but they do not change what is measured.
        eprintln!("xtask: {error:#}");
    }
    let binary = run::optimized()?;
    signals::note();
    let mut report = Report::begin(Machine::here(&binary, false), today(), options.scale());
    let ground = Ground { rounds: options.exactly().unwrap_or(ROUNDS), scale: options.scale() };
    println!("{}\n\n{}", report.machine, report::head());
    // What one run gives both rows of is measured once.
    for floors in asked.chunk_by(|one, next| one.group == Group::Lag && next.group == Group::Lag) {
        // The rig reports what goes wrong by panicking with the reason, which is on the terminal then; it cleans up as it goes.
        let found = catch_unwind(AssertUnwindSafe(|| measure(floors, &ground)));
        if signals::enough() {
            bail!("interrupted; everything was unmounted and removed");
        }
        let rows = found.unwrap_or_else(|_| bail!("the rig failed"));
        match rows {
            Ok(found) => {
                for row in found.iter().map(Row::of) {
                    println!("{}", report::line(&row));
                    report.rows.push(row);
                }
            }
            Err(error) => {
                println!("{:<16} failed: {error:#}", floors[0].name);
                report.failures.push(format!("{}: {error:#}", floors[0].name));
            }
        }
    }
    finish(&report, options, before)
}

fn measure(floors: &[&'static Floor], ground: &Ground) -> Result<Vec<Found>> {
    let floor = floors.first().context("nothing is asked for")?;
    let found = match floor.group {
        Group::Stream => stream::measure(floor, floor.name == "stream", ground),
        Group::Answer => answer::measure(floor, ground),
        Group::Writers => writers::measure(floor, if floor.name == "sync-16" { 16 } else { 64 }, ground),
        Group::Lag => return lag::measure(floors, ground),
        Group::Wan => wan::measure(floor, ground),
        Group::Processor => processor::measure(floor, ground),
    };
    Ok(vec![found?])
}

fn finish(report: &Report, options: &Options, before: Option<&compare::Run>) -> Result<bool> {
    for failure in &report.failures {
        println!("failed: {failure}");
    }
    let (missed, of) = report.missed();
    println!("promises missed: {missed} of {of}");
    let json = report.json()?;
    if let Some(path) = &options.json {
        std::fs::write(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(name) = &options.save {
        super::report::save(&json, &report.markdown(), &report.date, name)?;
    }
    let as_fast = match before {
        Some(before) => compare::tell(before, &compare::Run::of(&json)?)?,
        None => true,
    };
    Ok(as_fast && report.failures.is_empty() && !(options.check && missed > 0))
}
