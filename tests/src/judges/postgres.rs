//! `PostgreSQL` with pgbench beside the clients that count.

use super::client::{Client, QUESTION, TABLES};
use crate::postgres::{self, Server, output};
use crate::rig::Rig;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// What pgbench does: both tables or neither change.
const LOAD: &str = "\\set a random(1, 100)\n\\set d random(-50, 50)\nbegin;\nupdate account set balance = balance + :d where id = :a;\n\
                    insert into movement values (:a, :d);\ncommit;\n";

const LOAD_TABLES: &str = "create table account(id integer primary key, balance integer);
     insert into account select n, 0 from generate_series(1, 100) n;
     create table movement(id integer, amount integer);\n";

/// A cluster with the tables, of which each round has a copy.
#[derive(Debug)]
pub struct Template(TempDir);

impl Template {
    /// Makes it. Errors: `PostgreSQL` is not installed, or does not start.
    pub fn make() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        postgres::give(dir.path())?;
        std::fs::write(dir.path().join("load.sql"), LOAD)?;
        let cluster = dir.path().join("cluster");
        postgres::make_cluster(&cluster, &["--wal-segsize=1"])?;
        let server = Server::start(&cluster, dir.path())?;
        output(postgres::client("psql", dir.path())?.args(["-q", "-c", TABLES, "-c", LOAD_TABLES]))?;
        drop(server);
        Ok(Self(dir))
    }

    /// Copies it. Errors: what cp says.
    pub fn copy(&self, to: &Path) -> Result<()> {
        output(Command::new("cp").arg("-a").arg(self.0.path().join("cluster")).arg(to)).map(drop)
    }
}

/// A server in the mount, and pgbench on it.
#[derive(Debug)]
pub struct Running {
    server: Option<Server>,
    load: Child,
    socket: PathBuf,
}

impl Running {
    /// Starts both. Errors: they do not start.
    pub fn start(rig: &Rig, template: &Template, data: &Path) -> Result<Self> {
        let socket = scratch(rig, "socket")?;
        let server = Server::start(data, &socket)?;
        let mut load = postgres::client("pgbench", &socket)?;
        load.args(["-n", "-c", "2", "-T", "3600", "-f"]).arg(template.0.path().join("load.sql")).arg(postgres::USER);
        let load = load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start pgbench")?;
        Ok(Self { server: Some(server), load, socket })
    }

    /// A client of it. Errors: there is no psql.
    pub fn client(&self, number: u64) -> Result<Client> {
        let mut shell = postgres::client("psql", &self.socket)?;
        Ok(Client::start(number, "begin", shell.args(["-q", "-A", "-t", "-X", "-v", "ON_ERROR_STOP=1"])))
    }

    /// Everything of it is killed.
    pub fn kill(mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.load.kill();
        let _ended = self.load.wait();
    }
}

fn scratch(rig: &Rig, name: &str) -> Result<PathBuf> {
    let dir = rig.home().join(name);
    std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    postgres::give(&dir)?;
    Ok(dir)
}

/// What is in it, once it has recovered. Errors: it does not start, or what pgbench did is torn.
pub fn judge(rig: &Rig, data: &Path) -> Result<String> {
    let socket = scratch(rig, "judge")?;
    let _server = Server::start(data, &socket)?;
    let ask = |question: &str| {
        let mut psql = postgres::client("psql", &socket)?;
        output(psql.args(["-q", "-A", "-t", "-X", "-v", "ON_ERROR_STOP=1", "-c", question]))
    };
    let sums = ask("select (select sum(balance) from account), (select coalesce(sum(amount), 0) from movement)")?;
    let (balances, movements) = sums.trim().split_once('|').context("no sums")?;
    anyhow::ensure!(balances == movements, "what pgbench did is torn: {balances} in accounts, {movements} moved");
    let (tables, indexes) = (ask(QUESTION)?, ask(&format!("set enable_seqscan = off; {QUESTION}"))?);
    anyhow::ensure!(tables == indexes, "the indexes say {indexes}, the tables {tables}");
    Ok(tables)
}
