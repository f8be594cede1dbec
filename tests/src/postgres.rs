//! `PostgreSQL` where it is installed: its programs, and a server on a cluster. It must not run as root, so it runs as the user
//! `postgres`. What is measured with it, or asked of it, is not known here.

use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Who runs it, and who may do everything in it.
pub const USER: &str = "postgres";

/// Names the socket; nothing listens on the network.
pub const PORT: &str = "54399";

/// Whether it can be used here.
pub fn is_there() -> bool {
    programs().is_some() && user().is_some()
}

/// Where the newest version's programs are; Debian keeps them out of `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
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

/// One of its programs, as its user. Errors: it is not installed.
pub fn program(name: &str) -> Result<Command> {
    let (Some(bin), Some((uid, gid))) = (programs(), user()) else { bail!("PostgreSQL is not installed") };
    let mut command = Command::new(bin.join(name));
    command.uid(uid).gid(gid).current_dir("/").stdin(Stdio::null());
    Ok(command)
}

/// The same as a client of the server whose socket is in `socket`.
pub fn client(name: &str, socket: &Path) -> Result<Command> {
    let mut command = program(name)?;
    command.arg("-h").arg(socket).args(["-p", PORT, "-U", USER]);
    Ok(command)
}

/// Gives a directory to its user: it writes its log and its socket there. Errors: there is no such user.
pub fn give(dir: &Path) -> Result<()> {
    let (uid, gid) = user().context("there is no user postgres")?;
    chown(dir, Some(uid), Some(gid)).with_context(|| format!("cannot give {} to postgres", dir.display()))
}

/// Makes a cluster. Errors: what initdb says.
pub fn make_cluster(cluster: &Path, words: &[&str]) -> Result<()> {
    output(program("initdb")?.arg("-D").arg(cluster).args(["-A", "trust", "--no-sync"]).args(words)).map(drop)
}

/// What a command prints. Errors: it fails; all that it printed.
pub fn output(command: &mut Command) -> Result<String> {
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
#[derive(Debug)]
pub struct Server {
    data: PathBuf,
    postmaster: Option<Child>,
    /// Of System V shared memory, which outlives whoever is killed.
    memory: Option<String>,
}

impl Server {
    /// On a cluster; socket and log are in `scratch`. Errors: it does not start; its log.
    pub fn start(data: &Path, scratch: &Path) -> Result<Self> {
        let log = scratch.join("postgres.log");
        let said = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut start = program("postgres")?;
        start.arg("-D").arg(data).args(["-p", PORT, "-c", "listen_addresses=", "-k"]).arg(scratch);
        let postmaster = start.stdout(said.try_clone()?).stderr(said).process_group(0).spawn()?;
        let mut server = Self { data: data.to_owned(), postmaster: Some(postmaster), memory: None };
        let ready = until("PostgreSQL to start or to end", PATIENCE, || {
            let ended = server.postmaster.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|end| end.is_some()));
            let answers = || client("psql", scratch).and_then(|mut psql| output(psql.args(["-c", "select 1"])));
            (ended || answers().is_ok()).then_some(!ended)
        });
        ensure!(ready, "PostgreSQL does not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        // The seventh line: a key and an id.
        server.memory = pid.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned);
        Ok(server)
    }

    /// Everything of it is killed at once, as when its machine is lost.
    pub fn kill(mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        let pids: Vec<u32> = children(postmaster.id()).into_iter().chain([postmaster.id()]).collect();
        for pid in &pids {
            crate::rig::watchdog::kill(*pid, Signal::KILL);
        }
        let _ended = postmaster.wait();
        until("the server's processes to end", PATIENCE, || {
            (!pids.iter().any(|pid| crate::rig::watchdog::is_running(*pid))).then_some(())
        });
        if let Some(id) = &self.memory {
            let _none = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
        }
    }
}

/// Processes that a process has started, and that have not ended.
fn children(parent: u32) -> Vec<u32> {
    let of = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let started_by: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (started_by == parent).then_some(pid)
    };
    fs::read_dir("/proc").map(|all| all.flatten().filter_map(of).collect()).unwrap_or_default()
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        let stop = |mode| -> Result<String> {
            output(program("pg_ctl")?.args(["stop", "-w", "-s", "-m", mode, "-D"]).arg(&self.data))
        };
        if let Err(error) = stop("fast").or_else(|_| stop("immediate")) {
            eprintln!("cannot stop PostgreSQL in {}: {error:#}", self.data.display());
            let _gone = postmaster.kill();
        }
        let _ended = postmaster.wait();
    }
}
