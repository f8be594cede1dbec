//! `cargo xtask bench --peers`: the reference workloads W1 to W9 in the mount and beside other ways of having a replica, all in one run, each against
//! the bare directory that is measured alternately with it. Here is the order of things: outside, what is needed is installed and built; inside, in
//! namespaces of its own (`ground`), each peer is started (`peer` and its kinds) and measured (`unit`, `lag`), and the rows are held to what is promised (`reach`).

mod difference;
mod far;
mod gluster;
mod ground;
mod kind;
mod lag;
mod peer;
mod reach;
mod ready;
mod replfs;
mod report;
mod round;
mod row;
pub mod spent;
mod stream;
mod unit;
mod watched;
mod workload;

pub use kind::Kind;

use super::case::Case;
use super::machine::{Machine, today};
use super::options::Options;
use super::{cases, compare, postgres};
use crate::{packages, run, signals, test};
use anyhow::{Context, Result, bail};
use far::Far;
use ground::Ground;
use reach::Verdict;
use replfs_tests::rig::PARENT;
use report::{About, Report};
use row::Row;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use unit::Bench;

/// What the inner process is told of what could not be had: reasons by name.
const LEFT_OUT: &str = "left-out.json";

/// What it leaves.
const JSON: &str = "report.json";
const MARKDOWN: &str = "report.md";

/// What stands for W7 among what was left out.
const PGBENCH: &str = "W7-pgbench";

/// Rounds of each case unless asked for otherwise.
const ROUNDS: usize = 3;

/// Measures what was asked for; whether nothing broke and, with `--check`, no promise was missed.
pub fn run(options: &Options, asked: &[Kind], before: Option<&compare::Run>) -> Result<bool> {
    let kinds = Kind::of(asked);
    match ground::inside() {
        None => outside(options, &kinds, before),
        Some(ground) => inside(options, &kinds, &ground),
    }
}

fn outside(options: &Options, kinds: &[Kind], before: Option<&compare::Run>) -> Result<bool> {
    test::require_fuse()?;
    packages::require(&["sqlite3", "tar", "mount", "ip", "unshare", "setpriv", "mkfs.ext4"])?;
    let left_out = install(options, kinds);
    if let Err(error) = test::remove_leftovers() {
        // They take up room, but they do not change what is measured.
        eprintln!("xtask: {error:#}");
    }
    let binary = run::optimized()?;
    let ground = Ground::new(&binary)?;
    fs::write(ground.file(LEFT_OUT), serde_json::to_string(&left_out)?)?;
    signals::note();
    let status = ground.run()?;
    if signals::enough() {
        bail!("interrupted; everything was ended and removed");
    }
    let Ok(json) = fs::read_to_string(ground.file(JSON)) else { return Ok(false) };
    if let Some(path) = &options.json {
        fs::write(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(name) = &options.save {
        super::report::save(&json, &fs::read_to_string(ground.file(MARKDOWN))?, &today(), name)?;
    }
    let as_fast = match before {
        Some(before) => compare::tell(before, &compare::Run::of(&json)?)?,
        None => true,
    };
    Ok(as_fast && status.success())
}

/// Installs what the peers need; why those cannot be measured that are not there.
fn install(options: &Options, kinds: &[Kind]) -> BTreeMap<String, String> {
    let mut left_out = BTreeMap::new();
    for kind in kinds.iter().filter(|kind| !kind.programs().is_empty()) {
        if let Err(error) = packages::require(kind.programs()) {
            left_out.insert(kind.name().to_owned(), format!("{error:#}"));
        }
    }
    if options.names(PGBENCH) && !postgres::is_there() {
        let installed = packages::require(&["psql"]);
        if let Err(error) = installed {
            left_out.insert(PGBENCH.to_owned(), format!("{error:#}"));
        } else if !postgres::is_there() {
            left_out.insert(
                PGBENCH.to_owned(),
                "PostgreSQL (initdb, pg_ctl, pgbench) and a user postgres are not there".to_owned(),
            );
        }
    }
    left_out
}

fn inside(options: &Options, kinds: &[Kind], ground: &Path) -> Result<bool> {
    signals::note();
    // Where it lies is seen from outside only.
    let binary = PathBuf::from(std::env::var_os("REPLFS_BIN").unwrap_or_default());
    let machine = Machine::here(&binary, options.in_memory);
    ground::settle(ground, options.in_memory)?;
    let place = Path::new(PARENT);
    let left_out: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(ground::handed(LEFT_OUT))?)?;
    let all = cases::all();
    let mut chosen: Vec<&Case> =
        all.iter().filter(|case| workload::reference(case).is_some() && options.names(case.name)).collect();
    chosen.sort_by_key(|case| case.name);
    anyhow::ensure!(!chosen.is_empty(), "none of W1 to W9 was asked for; --list shows the cases");

    let mut report = Report::begin(machine, today(), options.scale());
    report.notes.extend(left_out.iter().map(|(name, why)| format!("{name}: {why}")));
    println!("{}", report.machine);
    report.stream = stream::rate().context("cannot measure a bare quinn stream")?;
    println!("a bare quinn stream on loopback: {:.0} MB/s", report.stream / 1e6);
    for name in ["bare", "scratch"] {
        fs::create_dir(place.join(name))?;
    }
    let far = Far::new(&place.join("far"))?;
    for kind in kinds.iter().filter(|kind| !left_out.contains_key(kind.name())) {
        println!("\n== {}: {}\n{}", kind.name(), kind.about(), report::head());
        // The rig reports what goes wrong by panicking with the reason, which is on the terminal then; it cleans up as it goes.
        let done = catch_unwind(AssertUnwindSafe(|| measure(*kind, &chosen, options, &far, &mut report)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report.failures.push(format!("{}: {error:#}", kind.name())),
            Err(_) => report.failures.push(format!("{}: the rig failed", kind.name())),
        }
        if signals::enough() {
            bail!("interrupted");
        }
    }
    report.reaches = reach::all(&report.rows, report.stream);
    finish(&report, options)
}

fn measure(kind: Kind, cases: &[&Case], options: &Options, far: &Far, report: &mut Report) -> Result<()> {
    let place = Path::new(PARENT);
    let peer = peer::start(kind, far)?;
    let version = report::version(kind, &report.machine.commit);
    report.peers.push(About { name: kind.name(), means: kind.about(), version, commands: peer.commands() });
    let (bare, scratch) = (place.join("bare"), place.join("scratch"));
    let mut bench = Bench { peer, bare, scratch, scale: options.scale(), units: report.rows.len() as u64 * 1000 };
    bench.lay(cases)?;
    for case in cases {
        let size = workload::reference(case).map_or("", |(_, size)| size);
        let rounds = options.exactly().unwrap_or(ROUNDS);
        let measured: Result<Vec<_>> = (0..rounds).map(|_| bench.round(case)).collect();
        let mut failed = |error: anyhow::Error| {
            println!("{:<24} failed: {error:#}", case.name);
            report.failures.push(format!("{} {}: {error:#}", kind.name(), case.name));
        };
        match measured.and_then(|rounds| Row::of(kind.name(), case, size, rounds).context("no rounds")) {
            Ok(mut row) => {
                println!("{}", report::progress(&row));
                if row.never().is_none() {
                    bench.kept(case).map_or_else(&mut failed, |differs| row.differs = differs);
                }
                report.rows.push(row);
            }
            Err(error) => failed(error),
        }
        if signals::enough() {
            break;
        }
    }
    Ok(())
}

fn finish(report: &Report, options: &Options) -> Result<bool> {
    println!("\n== what is promised");
    for reach in &report.reaches {
        println!("{}", report::line(reach));
    }
    for note in &report.notes {
        println!("left out: {note}");
    }
    for failure in &report.failures {
        println!("failed: {failure}");
    }
    let count = |verdict| report.reaches.iter().filter(|reach| reach.verdict == verdict).count();
    let missed = count(Verdict::Missed);
    println!("promises: {} met, {missed} missed, {} open", count(Verdict::Met), count(Verdict::Open));
    fs::write(ground::handed(JSON), serde_json::to_string_pretty(report)? + "\n")?;
    fs::write(ground::handed(MARKDOWN), report.markdown())?;
    Ok(report.failures.is_empty() && !(options.check && missed > 0))
}
