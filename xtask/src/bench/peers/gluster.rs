//! `GlusterFS` with two replicas: a glusterd and a brick on each machine, mounted where the application works.

use super::far::{FAR, Far, NEAR};
use super::peer::Peer;
use super::ready;
use anyhow::{Result, bail, ensure};
use replfs_tests::command::{self, Outcome};
use replfs_tests::rig::PARENT;
use replfs_tests::rig::watchdog::kill;
use rustix::mount::UnmountFlags;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The volume's name.
const VOLUME: &str = "peers";

/// A mounted volume.
pub struct Gluster {
    dir: PathBuf,
    commands: Vec<String>,
    daemons: Vec<Child>,
}

impl Gluster {
    /// Starts all of it, and waits until a file is on both bricks.
    pub fn start(far: &Far) -> Result<Self> {
        let dir = Path::new(PARENT).join("gluster");
        for name in ["near", "far", "mnt"] {
            fs::create_dir_all(dir.join(name))?;
        }
        let mut gluster = Self { dir, commands: Vec::new(), daemons: Vec::new() };
        for mut daemon in [Command::new("glusterd"), far.command("glusterd")] {
            daemon.arg("-N").stdin(Stdio::null()).stdout(Stdio::null());
            gluster.daemons.push(daemon.spawn()?);
            gluster.commands.push("glusterd -N".to_owned());
        }
        gluster.ask(&["peer", "probe", FAR], |said| said.code == 0)?;
        gluster.ask(&["peer", "status"], |said| said.stdout.contains("Peer in Cluster (Connected)"))?;
        let bricks = [(NEAR, "near"), (FAR, "far")].map(|(at, name)| format!("{at}:{}", gluster.at(name).display()));
        let create = ["volume", "create", VOLUME, "replica", "2", &bricks[0], &bricks[1], "force"];
        gluster.ask(&create, |said| said.code == 0)?;
        gluster.ask(&["volume", "start", VOLUME], |said| said.code == 0)?;
        gluster.mount()?;
        ready::wait(&gluster)?;
        ready::appears(&gluster.app(), &gluster.below())?;
        Ok(gluster)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Asks glusterd until it says what is wanted: it takes a while to be up, and to know the other.
    fn ask(&mut self, words: &[&str], wanted: impl Fn(&Outcome) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let said = command::run(Command::new("gluster").arg("--mode=script").args(words));
            if wanted(&said) {
                self.commands.push(format!("gluster --mode=script {}", words.join(" ")));
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("{}: {} {}", said.line, said.stdout.trim(), said.stderr.trim());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn mount(&mut self) -> Result<()> {
        let words = [format!("--volfile-server={NEAR}"), format!("--volfile-id=/{VOLUME}")];
        let said = command::run(Command::new("glusterfs").args(&words).arg(self.at("mnt")));
        ensure!(said.code == 0, "{}: {}{}", said.line, said.stdout, said.stderr);
        self.commands.push(format!("glusterfs {} {}", words.join(" "), self.at("mnt").display()));
        Ok(())
    }
}

impl Peer for Gluster {
    fn app(&self) -> PathBuf {
        self.at("mnt")
    }

    fn below(&self) -> PathBuf {
        self.at("near")
    }

    fn replica(&self) -> Option<PathBuf> {
        Some(self.at("far"))
    }

    fn writes_behind(&self) -> bool {
        true
    }

    fn processes(&self) -> Vec<u32> {
        super::spent::named("gluster")
    }

    fn commands(&self) -> Vec<String> {
        self.commands.clone()
    }
}

impl Drop for Gluster {
    fn drop(&mut self) {
        // Bricks and clients are nobody's children, but no others can be in this namespace of processes.
        for pid in self.processes() {
            kill(pid, Signal::KILL);
        }
        for daemon in &mut self.daemons {
            let _ended = daemon.wait();
        }
        if let Err(error) = rustix::mount::unmount(self.at("mnt"), UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.at("mnt").display());
        }
    }
}
