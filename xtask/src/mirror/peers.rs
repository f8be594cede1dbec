//! rsync over ssh and rsync to a daemon, both on this machine with keys, ports and files of their own in a directory that goes
//! with them.

use crate::run;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two servers. Dropping this ends them.
pub struct Peers {
    dir: TempDir,
    ssh_port: u16,
    rsync_port: u16,
    servers: Vec<Child>,
}

/// How rsync gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Ssh,
    Daemon,
}

impl Peers {
    /// Starts both.
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(replfs_tests::rig::PREFIX).tempdir_in(replfs_tests::rig::PARENT)?;
        replfs_tests::rig::leftovers::claim(dir.path());
        let mut peers = Self { ssh_port: free_port()?, rsync_port: free_port()?, dir, servers: Vec::new() };
        peers.start_sshd()?;
        peers.start_rsyncd()?;
        for port in [peers.ssh_port, peers.rsync_port] {
            let start = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                ensure!(start.elapsed() < PATIENCE, "the server on port {port} does not answer");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(peers)
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn start_sshd(&mut self) -> Result<()> {
        for key in ["host", "id"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &self.at(key)]).status()?;
            ensure!(made.success(), "ssh-keygen failed");
        }
        fs::copy(self.at("id.pub"), self.at("authorized"))?;
        fs::set_permissions(self.at("authorized"), fs::Permissions::from_mode(0o600))?;
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin yes\n",
            self.ssh_port,
            self.at("host"),
            self.at("authorized")
        );
        fs::write(self.at("sshd_config"), config)?;
        // Its own place, which the package makes at boot only.
        fs::create_dir_all("/run/sshd")?;
        let sshd = run::find("sshd").context("sshd is not there")?;
        let server = Command::new(sshd).args(["-D", "-q", "-f", &self.at("sshd_config")]).spawn()?;
        self.servers.push(server);
        Ok(())
    }

    fn start_rsyncd(&mut self) -> Result<()> {
        let config = "use chroot = no\nuid = 0\ngid = 0\naddress = 127.0.0.1\n[all]\npath = /\nread only = no\n";
        fs::write(self.at("rsyncd.conf"), config)?;
        let (port, config) = (format!("--port={}", self.rsync_port), format!("--config={}", self.at("rsyncd.conf")));
        let log = format!("--log-file={}", self.at("rsyncd.log"));
        let server = Command::new("rsync").args(["--daemon", "--no-detach", &port, &config, &log]).spawn()?;
        self.servers.push(server);
        Ok(())
    }

    /// Mirrors `from` into `to`; the bytes that were sent, as rsync counts them.
    pub fn rsync(&self, way: Way, from: &Path, to: &Path, more: &[&str]) -> Result<u64> {
        let mut command = Command::new("rsync");
        command.args(["-aHAX", "--stats"]).args(more).env("LC_ALL", "C");
        let from = format!("{}/", from.display());
        match way {
            Way::Ssh => {
                let ssh = format!(
                    "ssh -i {} -p {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
                    self.at("id"),
                    self.ssh_port
                );
                command.args(["-e", &ssh, &from, &format!("root@127.0.0.1:{}", to.display())]);
            }
            Way::Daemon => {
                let to = to.strip_prefix("/").unwrap_or(to).display();
                command.args([&from, &format!("rsync://127.0.0.1:{}/all/{to}", self.rsync_port)]);
            }
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("rsync ended with {}: {text}", output.status);
        }
        let sent = text.lines().find_map(|line| line.strip_prefix("Total bytes sent: "));
        sent.and_then(|number| number.replace(',', "").parse().ok()).with_context(|| format!("no sum in: {text}"))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // One that has ended is what is wanted.
            let _ended = server.kill();
            let _ended = server.wait();
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
