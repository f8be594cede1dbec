//! A `PostgreSQL` cluster, made once and copied, and a server on it for the time of a unit.

use super::case::{Done, Place, Timed};
use super::fixture::Fixture;
use anyhow::{Context, Result};
use replfs_tests::postgres::{self, Server, USER, output};
use std::path::Path;
use std::process::Command;

/// Whether W7 can be measured here.
pub fn is_there() -> bool {
    postgres::is_there()
}

/// Copies the cluster, which is made the first time.
pub fn copy_cluster(scratch: &Path, to: &Path) -> Result<()> {
    let cluster = scratch.join("cluster");
    if !cluster.exists() {
        postgres::give(scratch)?;
        postgres::make_cluster(&cluster, &[])?;
        let _server = Server::start(&cluster, scratch)?;
        output(postgres::client("pgbench", scratch)?.args(["-i", "-q", "-s", "2", USER]))?;
    }
    output(Command::new("cp").arg("-a").arg(&cluster).arg(to)).map(drop)
}

/// The server on the cluster of this place; the timed part is one run of pgbench.
pub fn prepare(place: &Place) -> Result<Timed> {
    let server = Server::start(&place.fixture(Fixture::Cluster), &place.scratch)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few seconds
    let seconds = match (place.counted, place.scale < 1.0) {
        (true, _) => (15.0 * place.scale).max(1.0) as u64,
        (false, true) => 1,
        (false, false) => 2,
    }
    .to_string();
    let mut bench = postgres::client("pgbench", &place.scratch)?;
    bench.args(["-n", "-c", "2", "-T", &seconds, USER]);
    Ok(Box::new(move || {
        let _runs = &server;
        let text = output(&mut bench)?;
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.map(Done::Rate).with_context(|| format!("pgbench gave no rate:\n{text}"))
    }))
}
