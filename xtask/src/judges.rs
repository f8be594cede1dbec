//! `cargo xtask judges`: databases in the mount of a source that is lost, and what is in the replica.

use crate::{packages, run, signals, test};
use anyhow::Result;
use replfs_tests::judges::postgres::Template;
use replfs_tests::judges::round::{self, Case, Database, Verdict};
use replfs_tests::powerloss::plan::Mode;
use replfs_tests::seed;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is run.
#[derive(clap::Args)]
pub struct Options {
    /// So many
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Of all that is random; round N has seed + N
    #[arg(long)]
    seed: Option<u64>,
    /// Only this database
    #[arg(long)]
    database: Option<Only>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Sqlite,
    Postgres,
}

const SQLITE: [Database; 2] = [Database::SqliteFull, Database::SqliteNormal];
const ALL: [Database; 3] = [Database::SqliteFull, Database::SqliteNormal, Database::Postgres];
/// `sync` is what loses nothing, so most rounds are its.
const MODES: [Mode; 5] = [Mode::Sync, Mode::Sync, Mode::Near, Mode::Sync, Mode::Real];

/// Runs; whether every round's replica was what it had to be.
pub fn run(options: &Options) -> Result<bool> {
    test::require_fuse()?;
    let databases = match options.database {
        Some(Only::Sqlite) => &SQLITE[..],
        Some(Only::Postgres) => &[Database::Postgres],
        None => &ALL,
    };
    packages::require(&["mount", "sqlite3"])?;
    if databases.contains(&Database::Postgres) && !replfs_tests::postgres::is_there() {
        packages::require(&["psql"])?;
    }
    test::remove_leftovers()?;
    let binary = run::build()?;
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("REPLFS_BIN", binary) };
    signals::note();
    let seed = options.seed.unwrap_or_else(seed::chosen);
    println!("seed {seed}");
    let template = databases.contains(&Database::Postgres).then(Template::make).transpose()?;
    let mut table: BTreeMap<String, (u64, Verdict)> = BTreeMap::new();
    let mut passed = true;
    for number in 0..options.rounds {
        if signals::enough() {
            break;
        }
        let pick = |of: usize, number: u64| usize::try_from(number).unwrap_or(0) % of;
        let database = databases[pick(databases.len(), number)];
        let mode = MODES[pick(MODES.len(), number / databases.len() as u64)];
        let template = template.as_ref().filter(|_| database == Database::Postgres);
        let case = Case { database, mode, seed: seed.wrapping_add(number) };
        // The reason is on the terminal then.
        let Ok(verdict) = catch_unwind(AssertUnwindSafe(|| round::run(&case, template))) else {
            println!("round {number}, {case:?}: FAILED");
            passed = false;
            continue;
        };
        println!("round {number}, {database:?} {mode:?}: {verdict:?}");
        let (rounds, sum) = table
            .entry(format!("{database:?} | {mode:?}{}", if verdict.in_force { "" } else { ", not in force" }))
            .or_default();
        *rounds += 1;
        sum.committed += verdict.committed;
        sum.lost += verdict.lost;
        sum.more += verdict.more;
    }
    println!("| database | mode | rounds | committed | lost | more |\n| --- | --- | --- | --- | --- | --- |");
    for (name, (rounds, sum)) in table {
        println!("| {name} | {rounds} | {} | {} | {} |", sum.committed, sum.lost, sum.more);
    }
    Ok(passed)
}
