//! The source is lost with a database in its mount, and the replica is started as a database: a slice of `cargo xtask judges` (docs/judges.md).
#![allow(clippy::unwrap_used)]

use replfs_tests::judges::round::{Case, Database, run};
use replfs_tests::powerloss::plan::Mode;
use replfs_tests::seed::seed;

/// A machine that stands still for seconds loses the connection, and with it what a mode promises: then once more.
fn judged(database: Database, mode: Mode) {
    let seed = seed();
    let in_force = (0..5).any(|round| {
        let verdict = run(&Case { database, mode, seed: seed.wrapping_add(round) }, None);
        println!("{database:?} {mode:?}: {verdict:?}");
        verdict.in_force
    });
    assert!(in_force, "{mode:?} was never in force when the source was lost");
}

// claim: A266
#[test]
fn sync_loses_no_transaction_that_a_client_saw_committed() {
    judged(Database::SqliteFull, Mode::Sync);
    judged(Database::SqliteNormal, Mode::Sync);
}

// claim: A267
#[test]
fn near_loses_no_more_transactions_than_its_bound_and_leaves_no_gap() {
    judged(Database::SqliteNormal, Mode::Near);
}

// claim: A267
#[test]
fn real_leaves_a_database_without_a_gap() {
    judged(Database::SqliteFull, Mode::Real);
}
