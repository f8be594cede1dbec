//! A `PostgreSQL` cluster, made once and copied, and a server on it for the time of a unit. It must not run as root, so it
//! runs as the user `postgres`.

use super::case::{Done, Place, Timed};
use super::fixture::Fixture;
use crate::run;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const USER: &str = "postgres";

/// Names the socket; nothing listens on the network.
const PORT: &str = "54399";

/// Whether W7 can be measured here.
pub fn is_there() -> bool {
    programs().is_some() && user().is_some()
}

/// Where the newest version's programs are; Debian keeps them out of `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.extend(run::find("initdb").and_then(|program| program.parent().map(Path::to_owned)));
    found.retain(|bin| ["initdb", "pg_ctl", "pgbench"].iter().all(|program| bin.join(program).is_file()));
    found.sort();
    found.pop()
}

/// Numbers of the user and of its group, as passwd(5) has them.
fn user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == USER)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// One of its programs, as its user, quiet unless it fails.
fn pg(program: &str) -> Result<Command> {
    let (Some(bin), Some((uid, gid))) = (programs(), user()) else { bail!("PostgreSQL is not installed") };
    let mut command = Command::new(bin.join(program));
    command.uid(uid).gid(gid).current_dir("/").stdin(Stdio::null());
    Ok(command)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// A server that runs until this is dropped.
struct Server {
    data: PathBuf,
}

impl Server {
    fn start(data: &Path, scratch: &Path) -> Result<Self> {
        let options = format!("-p {PORT} -k '{}' -c listen_addresses=''", scratch.display());
        let log = scratch.join("postgres.log");
        let mut start = pg("pg_ctl")?;
        start.args(["start", "-w", "-s", "-D"]).arg(data).arg("-l").arg(&log).args(["-o", &options]);
        // Not `output`: the server would hold the pipe.
        let status = start.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        let server = Self { data: data.to_owned() };
        ensure!(status.success(), "PostgreSQL does not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        Ok(server)
    }

    fn pgbench(scratch: &Path) -> Result<Command> {
        let mut command = pg("pgbench")?;
        command.arg("-h").arg(scratch).args(["-p", PORT]);
        Ok(command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = |mode| -> Result<String> {
            output(pg("pg_ctl")?.args(["stop", "-w", "-s", "-m", mode, "-D"]).arg(&self.data))
        };
        if let Err(error) = stop("fast").or_else(|_| stop("immediate")) {
            eprintln!("xtask: cannot stop PostgreSQL in {}: {error:#}", self.data.display());
        }
    }
}

/// Copies the cluster, which is made the first time.
pub fn copy_cluster(scratch: &Path, to: &Path) -> Result<()> {
    let cluster = scratch.join("cluster");
    if !cluster.exists() {
        let (uid, gid) = user().context("there is no user postgres")?;
        // It writes its log and its socket beside the cluster.
        chown(scratch, Some(uid), Some(gid))?;
        output(pg("initdb")?.arg("-D").arg(&cluster).args(["-A", "trust", "--no-sync"]))?;
        let _server = Server::start(&cluster, scratch)?;
        output(Server::pgbench(scratch)?.args(["-i", "-q", "-s", "2", USER]))?;
    }
    output(Command::new("cp").arg("-a").arg(&cluster).arg(to)).map(drop)
}

/// The server on the cluster of this place; the timed part is one run of pgbench.
pub fn prepare(place: &Place) -> Result<Timed> {
    let server = Server::start(&place.fixture(Fixture::Cluster), &place.scratch)?;
    let seconds = if place.scale < 1.0 { "1" } else { "2" };
    let mut bench = Server::pgbench(&place.scratch)?;
    bench.args(["-n", "-c", "2", "-T", seconds, USER]);
    Ok(Box::new(move || {
        let _runs = &server;
        let text = output(&mut bench)?;
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.map(Done::Rate).with_context(|| format!("pgbench gave no rate:\n{text}"))
    }))
}
