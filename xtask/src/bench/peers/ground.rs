//! Where peers are measured: a process in namespaces of its own (network, mounts, processes), with a /tmp, a /run and directories of
//! `GlusterFS` that are there for it alone. Whatever ends it, the kernel then ends everything that was started in it and removes mounts
//! and interfaces; the one directory that is left on the disk is removed like a rig.

use crate::{run, signals};
use anyhow::{Context, Result, ensure};
use replfs_tests::command;
use replfs_tests::rig::{PARENT, PREFIX, leftovers};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};
use rustix::process::Signal;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

/// How the inner process knows that it is one, and where its directory is.
const VARIABLE: &str = "REPLFS_BENCH_GROUND";

/// What becomes the inner process's /tmp.
const TMP: &str = "tmp";

/// What both processes have: below the directory, and in the inner process's /tmp.
const OUT: &str = "out";

/// Where each machine has its own: what to bind there, and from which of its directories.
pub const BOUND: [(&str, &str); 2] = [("lib", "/var/lib/glusterd"), ("log", "/var/log/glusterfs")];

/// Size of the file system in memory; it takes memory only where it is written.
const IMAGE_BYTES: u64 = 12 << 30;

/// The directory, seen from outside. Dropping it removes it.
pub struct Ground {
    dir: TempDir,
}

impl Ground {
    /// A new one. Errors: something that is needed inside would be hidden there.
    pub fn new(binary: &Path) -> Result<Self> {
        for path in [run::root(), binary] {
            ensure!(
                !path.starts_with(PARENT),
                "{} is below {PARENT}, which --peers puts a directory of its own over: work elsewhere",
                path.display()
            );
        }
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(PARENT);
        let dir = dir.with_context(|| format!("cannot make a directory in {PARENT}"))?;
        leftovers::claim(dir.path());
        let tmp = dir.path().join(TMP);
        for path in [&tmp, &dir.path().join(OUT)] {
            fs::create_dir(path)?;
        }
        // Servers of databases are other users'.
        fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))?;
        Ok(Self { dir })
    }

    /// A file that both processes have; [`handed`] is where the inner one has it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(OUT).join(name)
    }

    /// Runs this program again, inside, with the same words; how it ended. Ctrl-C reaches it from the terminal, SIGTERM is handed on.
    pub fn run(&self) -> Result<ExitStatus> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
        // Whatever ends this process ends the inner one, and with it everything that was started there.
        let mut unshare = Command::new("setpriv");
        unshare
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(namespaces)
            .arg("--")
            .arg(own)
            .args(std::env::args_os().skip(1));
        unshare.env(VARIABLE, self.dir.path());
        let mut child = unshare.spawn().context("cannot start setpriv (util-linux)")?;
        let mut told = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if signals::enough() && !told {
                told = true;
                tell(&child);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// SIGTERM to the inner process, which is unshare's only child.
fn tell(child: &Child) {
    let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
    for pid in list.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        replfs_tests::rig::watchdog::kill(pid, Signal::TERM);
    }
}

/// Whether this is the inner process: its directory, seen from outside.
pub fn inside() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// A file that both processes have, in the inner one.
pub fn handed(name: &str) -> PathBuf {
    Path::new(PARENT).join(OUT).join(name)
}

/// Puts the inner process's own directories in place. `in_memory`: on an ext4 file system in memory instead of on the disk.
pub fn settle(ground: &Path, in_memory: bool) -> Result<()> {
    let tmp = ground.join(TMP);
    if in_memory {
        in_image(ground, &tmp)?;
    }
    // Under its own /tmp the directory is out of sight.
    fs::create_dir(tmp.join(OUT))?;
    mount_bind(ground.join(OUT), tmp.join(OUT)).with_context(|| format!("cannot bind {OUT}"))?;
    mount_bind_recursive(&tmp, PARENT).with_context(|| format!("cannot bind {PARENT}"))?;
    mount("replfs-bench", "/run", "tmpfs", MountFlags::empty(), c"mode=755").context("cannot mount /run")?;
    fs::create_dir("/run/gluster")?;
    for (name, at) in BOUND {
        let from = Path::new(PARENT).join("near").join(name);
        fs::create_dir_all(&from)?;
        if Path::new(at).is_dir() {
            mount_bind(&from, at).with_context(|| format!("cannot bind {at}"))?;
        }
    }
    command::run(Command::new("ip").args(["link", "set", "lo", "up"])).ok();
    Ok(())
}

/// An ext4 file system in memory over a directory.
fn in_image(ground: &Path, over: &Path) -> Result<()> {
    let memory = ground.join("memory");
    fs::create_dir(&memory)?;
    mount("replfs-bench", &memory, "tmpfs", MountFlags::empty(), c"size=13g").context("cannot mount a tmpfs")?;
    let image = memory.join("image");
    File::create(&image)?.set_len(IMAGE_BYTES)?;
    let words = ["-q".as_ref(), "-E".as_ref(), "lazy_itable_init=0,lazy_journal_init=0".as_ref(), image.as_os_str()];
    command::tool(&memory, "mkfs.ext4", words);
    command::run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(over)).ok();
    fs::set_permissions(over, fs::Permissions::from_mode(0o1777))?;
    Ok(())
}
