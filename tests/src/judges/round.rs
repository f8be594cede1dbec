//! One loss of a source with a database in its mount.

use super::client::{Client, Found, found};
use super::postgres::Template;
use super::{postgres, sqlite};
use crate::command::tool;
use crate::powerloss::plan::{Mode, NEAR_OPERATIONS};
use crate::rig::{Rig, Setup};
use crate::seed::Random;
use crate::wait::{PATIENCE, until};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// `SQLite` that syncs each commit.
    SqliteFull,
    /// `SQLite` that syncs each checkpoint.
    SqliteNormal,
    /// `PostgreSQL`.
    Postgres,
}

/// A round.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which database.
    pub database: Database,
    /// `Sync`, `Near` or `Real`.
    pub mode: Mode,
    /// Of everything random in it.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// Transactions that clients were told are committed.
    pub committed: u64,
    /// Of those, not in the replica.
    pub lost: u64,
    /// In the replica without that a client was told.
    pub more: u64,
    /// The mode was in force when the source was lost. Where it was not, because the connection was lost on a machine that
    /// stood still, nothing but the absence of gaps was promised.
    pub in_force: bool,
}

/// Clients of a round.
const CLIENTS: u64 = 3;

enum Running {
    Sqlite,
    Postgres(postgres::Running),
}

/// Runs one; `template`: for `PostgreSQL`. Panics where the replica is no database, has a gap, or lacks what the mode promises.
#[track_caller]
pub fn run(case: &Case, template: Option<&Template>) -> Verdict {
    assert_eq!(case.database == Database::Postgres, template.is_some(), "a template is for PostgreSQL");
    let mut random = Random::new(case.seed);
    let words = case.mode.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut rig = Rig::prepare(case.mode.commit(), Setup::default().option(&words));
    let (data, there) = (rig.src().join("data"), rig.mnt().join("data"));
    match template {
        Some(template) => template.copy(&data).unwrap_or_else(|e| panic!("{e:#}")),
        None => sqlite::create(&data),
    }
    rig.mount();
    rig.settle();
    let before = rig.status().target().reconnects;
    let running = template.map_or(Running::Sqlite, |template| {
        Running::Postgres(postgres::Running::start(&rig, template, &there).unwrap_or_else(|e| panic!("{e:#}")))
    });
    let client = |number| match &running {
        Running::Postgres(running) => running.client(number).unwrap_or_else(|e| panic!("{e:#}")),
        Running::Sqlite => sqlite::client(&there, number, case.database == Database::SqliteFull),
    };
    let clients: Vec<Client> = (0..CLIENTS).map(client).collect();
    let committed = || clients.iter().map(Client::committed).sum::<u64>();
    let enough = 3 + random.below(150);
    until("so many transactions", PATIENCE, || {
        assert!(!clients.iter().any(Client::ended), "a client ended by itself");
        (committed() >= enough).then_some(())
    });
    let status = rig.status();
    let target = status.target();
    let in_force = target.coherent && !target.degraded && target.reconnects == before;
    rig.kill_source();
    if let Running::Postgres(running) = running {
        running.kill();
    }
    let told: Vec<u64> = clients.into_iter().map(Client::kill).collect();
    // From here on nobody looks at the source.
    rig.kill_target();
    let replica = rig.home().join("replica");
    tool(rig.home(), "cp", ["-a".as_ref(), rig.replica().join("data").as_os_str(), replica.as_os_str()]);
    let answer = match case.database {
        Database::Postgres => postgres::judge(&rig, &replica).unwrap_or_else(|e| panic!("{e:#}")),
        Database::SqliteFull | Database::SqliteNormal => sqlite::judge(&replica),
    };
    let found = found(&answer, told.len()).unwrap_or_else(|reason| panic!("{reason}"));
    verdict(case, in_force, &told, &found)
}

#[track_caller]
fn verdict(case: &Case, in_force: bool, told: &[u64], found: &[Found]) -> Verdict {
    let mut verdict = Verdict { committed: told.iter().sum(), in_force, ..Verdict::default() };
    for (client, (told, found)) in told.iter().zip(found).enumerate() {
        verdict.lost += told.saturating_sub(found.last);
        let more = found.last.saturating_sub(*told);
        assert!(more <= 1, "client {client} was told of {told}, and {} are there", found.last);
        verdict.more += more;
    }
    let most = match case.mode {
        _ if !in_force => u64::MAX,
        // A transaction is one operation at least.
        Mode::Near => NEAR_OPERATIONS as u64,
        Mode::Real => u64::MAX,
        Mode::Sync | Mode::Local | Mode::Remote => 0,
    };
    assert!(verdict.lost <= most, "{case:?}: {verdict:?}; the mode allows {most}. Told {told:?}, found {found:?}");
    verdict
}
