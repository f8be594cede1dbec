//! `cargo xtask scale`: many files in one mount, by hand; the figures go to `docs/benchmarks/`. What is measured stands in
//! `replfs_tests::scale`, which a suite uses with fewer files.

use crate::bench::{Machine, today};
use crate::{packages, run, test};
use anyhow::{Context, Result};
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::scale;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How often everything is walked and forgotten.
const ROUNDS: usize = 5;

/// Measures with the optimized binary and writes the figures down; whether all bounds were kept.
pub fn run(files: usize) -> Result<bool> {
    test::require_fuse()?;
    packages::require(&["tar", "mount"])?;
    test::remove_leftovers()?;
    let binary = run::build_release()?;
    let machine = Machine::here(&binary, false);
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("REPLFS_BIN", binary) };
    // The rig reports what goes wrong by panicking with the reason, which is on the terminal then; it cleans up as it goes.
    let measured = catch_unwind(AssertUnwindSafe(|| {
        let mut rig = Rig::prepare(Commit::Real, Setup::default());
        rig.without_watchdog();
        scale::measure(rig, files, ROUNDS)
    }));
    let Ok(figures) = measured else { return Ok(false) };
    let broken = figures.broken();
    let place = run::root().join("docs/benchmarks");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let write = |name: &str, text: String| {
        let path = place.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let source = format!("{}, {machine}; `cargo xtask scale --files {files}`", today());
    write("scale.json", scale::json(&source, &figures))?;
    let verdict = if broken.is_empty() { "All bounds were kept.".to_owned() } else { broken.join("; ") };
    write("scale.md", format!("# Many files in one mount\n\n{source}.\n\n{}\n{figures}\n{verdict}\n", scale::WHAT))?;
    println!("\n{figures}\n{verdict}");
    Ok(broken.is_empty())
}
