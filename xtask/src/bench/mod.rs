//! `cargo xtask bench`: how fast the mount is, as ratios to a bare directory that is measured alternately with it. Here is the
//! order of things; what is measured is in `cases/`, in which state in `scene.rs`.

mod caches;
mod case;
mod cases;
mod compare;
mod disk;
mod effort;
mod fixture;
mod floors;
mod link;
mod machine;
mod measure;
mod options;
mod peers;
mod postgres;
mod profile;
mod quic;
mod report;
mod scene;
mod state;
mod statistic;
mod table;

pub use options::Options;

use crate::{packages, run, signals, test};
use anyhow::{Context, Result, bail};
use case::Case;
pub use machine::{Machine, today};
use report::{Report, Row};
use scene::Scene;
use state::State;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Measures what was asked for; whether nothing broke and, with `--check`, no floor was missed.
pub fn run(options: &Options) -> Result<bool> {
    let all = cases::all();
    if options.list && options.link {
        link::list();
        return Ok(true);
    }
    if options.list {
        for case in &all {
            println!("{:<24} {}", case.name, case.about);
        }
        return Ok(true);
    }
    // Before anything is measured for long.
    let before = options.compare.as_deref().map(compare::Run::read).transpose()?;
    if let Some(asked) = &options.peers {
        return peers::run(options, asked, before.as_ref());
    }
    if options.profile {
        return profile::run(options);
    }
    if options.link {
        return link::run(options, before.as_ref());
    }
    let cases = options.chosen(&all)?;
    test::require_fuse()?;
    packages::require(&["sqlite3", "tar", "mount"])?;
    if let Err(error) = test::remove_leftovers() {
        // They take up room, but they do not change what is measured.
        eprintln!("xtask: {error:#}");
    }
    let binary = run::optimized()?;
    signals::note();

    let mut report = Report::begin(Machine::here(&binary, options.in_memory), today(), options.scale());
    if !postgres::is_there() {
        report.notes.push("W7-pgbench: PostgreSQL (initdb, pg_ctl, pgbench) and a user postgres are not there".into());
    }
    println!("{}", report.machine);
    let scratch = scratch()?;
    for state in options.states() {
        println!("\n== {}: {}\n{}", state.name(), state.about(), table::head());
        // The rig reports what goes wrong by panicking with the reason, which is on the terminal then; it cleans up as it goes.
        let done =
            catch_unwind(AssertUnwindSafe(|| measure_state(state, &cases, options, scratch.path(), &mut report)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report.failures.push(format!("{}: {error:#}", state.name())),
            Err(_) => report.failures.push(format!("{}: the rig failed", state.name())),
        }
        if signals::enough() {
            bail!("interrupted; everything was unmounted and removed");
        }
    }
    finish(&report, options, before.as_ref())
}

/// A directory for what all states share. It is found and removed like a rig if this program is killed.
fn scratch() -> Result<tempfile::TempDir> {
    use replfs_tests::rig::{PARENT, PREFIX, leftovers};
    let scratch = tempfile::Builder::new().prefix(PREFIX).tempdir_in(PARENT);
    let scratch = scratch.with_context(|| format!("cannot make a directory in {PARENT}"))?;
    leftovers::claim(scratch.path());
    Ok(scratch)
}

fn measure_state(state: State, cases: &[&Case], options: &Options, scratch: &Path, report: &mut Report) -> Result<()> {
    let rounds = options.rounds();
    let mut scene = Scene::set(state, cases, scratch, options.in_memory)?;
    for case in cases {
        match measure::measure(&mut scene, case, rounds) {
            Ok(measured) => {
                let row = Row::of(state, case, &measured);
                println!("{}", table::line(&row));
                report.rows.push(row);
            }
            Err(error) => {
                println!("{:<24} failed: {error:#}", case.name);
                report.failures.push(format!("{} {}: {error:#}", state.name(), case.name));
            }
        }
        if signals::enough() {
            break;
        }
    }
    Ok(())
}

fn finish(report: &Report, options: &Options, before: Option<&compare::Run>) -> Result<bool> {
    println!("\n== ratios to the bare directory (throughput, higher is better)\n{}", table::overview(&report.rows));
    for note in &report.notes {
        println!("left out: {note}");
    }
    for failure in &report.failures {
        println!("failed: {failure}");
    }
    let missed = report.rows.iter().filter(|row| row.met == Some(false)).count();
    println!("floors missed: {missed} of {}", report.rows.iter().filter(|row| row.met.is_some()).count());
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    if let Some(name) = &options.save {
        report.save(name)?;
    }
    let as_fast = match before {
        Some(before) => compare::tell(before, &compare::Run::of(&report.json()?)?)?,
        None => true,
    };
    Ok(as_fast && report.failures.is_empty() && !(options.check && missed > 0))
}
