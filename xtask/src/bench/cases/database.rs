//! Databases: `SQLite` with a write-ahead log, `PostgreSQL`.

use crate::bench::case::{Caches, Case, Done, Place, Timed};
use crate::bench::fixture::Fixture;
use crate::bench::postgres;
use anyhow::{Result, ensure};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

/// Transactions of a unit.
const TRANSACTIONS: usize = 1000;

pub fn cases() -> Vec<Case> {
    let sqlite = Case {
        name: "W6-sqlite-wal",
        about: "sqlite3, transactions of one insert, WAL, synchronous=full",
        fixtures: &[],
        caches: Caches::AsPrepared,
        kept_bytes: 64 << 20,
        prepare: transactions,
    };
    let pgbench = Case {
        name: "W7-pgbench",
        about: "pgbench with 2 clients",
        fixtures: &[Fixture::Cluster],
        caches: Caches::AsPrepared,
        kept_bytes: 256 << 20,
        prepare: postgres::prepare,
    };
    if postgres::is_there() { vec![sqlite, pgbench] } else { vec![sqlite] }
}

fn transactions(place: &Place) -> Result<Timed> {
    let count = place.count(TRANSACTIONS);
    let script = place.scratch.join("transactions.sql");
    let mut file = File::create(&script)?;
    writeln!(
        file,
        "pragma journal_mode=wal; pragma synchronous=full; create table t(id integer primary key, v text);"
    )?;
    for n in 0..count {
        writeln!(file, "insert into t(v) values('{}{n}');", "x".repeat(80))?;
    }
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg("-bail").arg(place.dir.join("t.db")).stdout(Stdio::null());
    Ok(Box::new(move || {
        ensure!(sqlite.stdin(File::open(&script)?).status()?.success(), "sqlite3 failed; its message is above");
        Ok(Done::Operations(count as u64))
    }))
}
