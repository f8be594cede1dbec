//! What watches a directory and calls rsync: lsyncd, and a loop over inotifywait. The replica is served by an rsync daemon on the other
//! machine.

use super::far::{FAR, Far};
use super::kind::Kind;
use super::peer::Peer;
use super::ready;
use anyhow::{Context, Result, ensure};
use replfs_tests::rig::PARENT;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of events in the loop: those that come within a fifth of a second, at most some thousands, are one run of rsync.
const LOOP: &str = "inotifywait -m -r -q -e modify,attrib,close_write,move,create,delete --format . \"$0\" | \
    while read -r _; do n=0; while ((n++ < 5000)) && read -r -t 0.2 _; do :; done; rsync -a --delete \"$0\" \"$1\"; done";

/// The watcher and the rsync daemon.
pub struct Watched {
    dir: PathBuf,
    commands: Vec<String>,
    running: Vec<Child>,
}

impl Watched {
    /// Starts both, and waits until a change arrives.
    pub fn start(kind: Kind, far: &Far) -> Result<Self> {
        let dir = Path::new(PARENT).join(kind.name());
        for name in ["src", "replica"] {
            fs::create_dir_all(dir.join(name))?;
        }
        let mut watched = Self { dir, commands: Vec::new(), running: Vec::new() };
        watched.serve(far)?;
        if kind == Kind::Lsyncd { watched.lsyncd() } else { watched.inotify() }?;
        ready::wait(&watched)?;
        Ok(watched)
    }

    /// The rsync daemon.
    fn serve(&mut self, far: &Far) -> Result<()> {
        let config = self.dir.join("rsyncd.conf");
        let replica = self.dir.join("replica");
        // Without a chroot the daemon would store symbolic links in another spelling.
        let text = format!(
            "use chroot = no\nmunge symlinks = no\nuid = 0\ngid = 0\n[replica]\npath = {}\nread only = no\n",
            replica.display()
        );
        fs::write(&config, text)?;
        let mut rsync = far.command("rsync");
        rsync.args(["--daemon", "--no-detach", &format!("--address={FAR}")]);
        rsync.arg(format!("--config={}", config.display()));
        rsync.arg(format!("--log-file={}", self.dir.join("rsyncd.log").display()));
        self.spawn(&mut rsync, "rsyncd")?;
        let start = Instant::now();
        while TcpStream::connect((FAR, 873)).is_err() {
            ensure!(start.elapsed() < PATIENCE, "the rsync daemon does not answer; {} says why", self.said("rsyncd"));
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn lsyncd(&mut self) -> Result<()> {
        let config = self.dir.join("lsyncd.lua");
        let text = format!(
            "settings {{ logfile = '{0}/lsyncd.log', nodaemon = true }}\n\
             sync {{ default.rsync, source = '{0}/src', target = 'rsync://{FAR}/replica', delay = 1,\n       \
             rsync = {{ archive = true }} }}\n",
            self.dir.display()
        );
        fs::write(&config, &text)?;
        self.commands.push(format!("lsyncd.lua: {}", text.split_whitespace().collect::<Vec<_>>().join(" ")));
        self.spawn(Command::new("lsyncd").arg("-nodaemon").arg(&config), "lsyncd")
    }

    fn inotify(&mut self) -> Result<()> {
        let source = format!("{}/", self.app().display());
        self.spawn(Command::new("bash").args(["-c", LOOP, &source, &format!("rsync://{FAR}/replica/")]), "loop")
    }

    /// Starts a program with what it says in a file, and writes down how.
    fn spawn(&mut self, command: &mut Command, name: &str) -> Result<()> {
        let log = File::create(self.dir.join(format!("{name}.out")))?;
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let line: Vec<String> =
            [command.get_program().to_string_lossy().into_owned()].into_iter().chain(words).collect();
        // How a program gets to the other machine is not what it is started with.
        let own = line.iter().position(|word| word == "--").map_or(0, |at| at + 1);
        self.commands.push(line[own..].join(" "));
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.push(child);
        Ok(())
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(format!("{name}.out"))).unwrap_or_default().trim().to_owned()
    }
}

impl Peer for Watched {
    fn app(&self) -> PathBuf {
        self.dir.join("src")
    }

    fn replica(&self) -> Option<PathBuf> {
        Some(self.dir.join("replica"))
    }

    fn processes(&self) -> Vec<u32> {
        self.running.iter().map(Child::id).collect()
    }

    fn target_processes(&self) -> Vec<u32> {
        self.running.first().map(Child::id).into_iter().collect()
    }

    fn doubt(&self) -> Option<String> {
        let alive = |pid: u32| replfs_tests::rig::watchdog::is_running(pid);
        let gone = self.processes().into_iter().any(|pid| !alive(pid));
        gone.then(|| format!("it has ended: {} {}", self.said("lsyncd"), self.said("loop")))
    }

    fn commands(&self) -> Vec<String> {
        self.commands.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for child in self.running.iter_mut().rev() {
            for pid in super::spent::family(&[child.id()]) {
                replfs_tests::rig::watchdog::kill(pid, rustix::process::Signal::KILL);
            }
            let _ended = child.wait();
        }
    }
}
