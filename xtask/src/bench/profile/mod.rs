//! `cargo xtask bench --profile`: what source and target daemon spend their time with while an application writes, in samples of perf: the functions that were
//! seen most often, and flame graphs.

mod flame;
mod fold;
mod record;

use super::link::Mount;
use super::machine::{Machine, today};
use super::{fixture, options::Options};
use crate::{packages, run, signals, test};
use anyhow::{Context, Result, bail, ensure};
use fold::Stacks;
use record::Recording;
use replfs_tests::rig::{Commit, Setup};
use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How long each is looked at, at scale 1.
const TIME: Duration = Duration::from_secs(8);

/// Functions that are named.
const MOST: usize = 10;

/// Bytes of a file at most; there is one after the other.
const FILE: usize = 64 << 20;

/// A way of writing.
struct Case {
    name: &'static str,
    commit: Commit,
    /// Bytes of a write.
    piece: usize,
}

const CASES: [Case; 4] = [
    Case { name: "real-1M", commit: Commit::Real, piece: 1 << 20 },
    Case { name: "real-4K", commit: Commit::Real, piece: 4 << 10 },
    Case { name: "sync-1M", commit: Commit::Sync, piece: 1 << 20 },
    Case { name: "sync-4K", commit: Commit::Sync, piece: 4 << 10 },
];

/// Looks at what was asked for; always true.
pub fn run(options: &Options) -> Result<bool> {
    let cases: Vec<&Case> = CASES.iter().filter(|case| options.names(case.name)).collect();
    ensure!(!cases.is_empty(), "the cases of a profile are {}", CASES.map(|case| case.name).join(", "));
    test::require_fuse()?;
    packages::require(&["perf"])?;
    test::remove_leftovers()?;
    let binary = run::optimized()?;
    signals::note();
    let machine = Machine::here(&binary, false);
    let mut text = format!("# Where the time goes, {}\n\n{machine}.\n", today());
    text += "\nSamples of the processor by perf (cpu-clock), in percent of those of the daemon. *Running*: the function itself; *within*: of functions of replfs and \
        of the crates that it hands its work to, it or what it called. Functions that the compiler inlined count as those that they are in. The target is not caged.\n";
    print!("{text}");
    for case in cases {
        let time = TIME.mul_f64(options.scale());
        let looked = catch_unwind(AssertUnwindSafe(|| look(case, time)));
        if signals::enough() {
            bail!("interrupted; everything was unmounted and removed");
        }
        let sides = looked.unwrap_or_else(|_| bail!("the rig failed")).context(case.name)?;
        for (side, stacks) in ["source", "target"].into_iter().zip(sides) {
            let table = table(&format!("{}, {side}", case.name), &stacks);
            print!("{table}");
            text += &table;
            if let Some(name) = &options.save {
                let file = format!("{}-{name}-{}-{side}.svg", today(), case.name);
                let path = run::root().join("docs/benchmarks").join(file);
                fs::write(&path, flame::graph(&stacks, &format!("{} {side}", case.name)))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    if let Some(name) = &options.save {
        let path = run::root().join("docs/benchmarks").join(format!("{}-{name}.md", today()));
        fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(true)
}

/// Writes for as long as both daemons are looked at.
fn look(case: &Case, time: Duration) -> Result<[Stacks; 2]> {
    // What a caged target runs, perf could not open.
    let mut mount = Mount::with(case.commit, Setup::default().target_option(&["--cage", "off"]));
    let mut block = fixture::noise(1 << 20);
    mount.write(&mut block, case.piece, FILE / 16)?;
    mount.quiet()?;
    let dir = mount.beside()?;
    let [source, target] = mount.daemons();
    let mut recordings = [
        Recording::begin(source, &dir.join("source.data"), time)?,
        Recording::begin(target, &dir.join("target.data"), time)?,
    ];
    while !(recordings[0].has_ended()? && recordings[1].has_ended()?) {
        mount.write(&mut block, case.piece, FILE / 4)?;
    }
    let [source, target] = recordings;
    Ok([source.end()?, target.end()?])
}

fn table(title: &str, stacks: &Stacks) -> String {
    let mut out = format!("\n## {title}\n\n{} samples\n\n| running | % | within | % |\n", stacks.samples());
    out += "| --- | ---: | --- | ---: |\n";
    for ((running, own), (within, all)) in stacks.running(MOST).iter().zip(stacks.within(MOST)) {
        let _ = writeln!(out, "| `{running}` | {:.1} | `{within}` | {:.1} |", own * 100.0, all * 100.0);
    }
    out
}
