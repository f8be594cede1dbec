//! The other machine: a network namespace and a table of mounts of its own, at the other end of a pair of interfaces that counts what passes.

use super::ground::BOUND;
use anyhow::{Context, Result, ensure};
use replfs_tests::command;
use std::fs;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the application works.
pub const NEAR: &str = "10.99.0.1";

/// Where the replica is.
pub const FAR: &str = "10.99.0.2";

/// This side's interface.
const INTERFACE: &str = "near0";

/// What the interfaces of this thread's network have counted.
const TABLE: &str = "/proc/thread-self/net/dev";

/// Longest time until the namespaces are there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What passed between both machines so far, in bytes of frames as the interfaces count them. A train of segments that the kernel hands on
/// whole counts the heads of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// To the other machine.
    pub there: u64,
    /// From it.
    pub back: u64,
}

impl Traffic {
    /// Up to now. Errors: there is no other machine.
    pub fn so_far() -> Result<Self> {
        let text = fs::read_to_string(TABLE).with_context(|| format!("cannot read {TABLE}"))?;
        counted(&text, INTERFACE).with_context(|| format!("there is no interface {INTERFACE}"))
    }

    /// Since an earlier moment.
    pub fn since(self, before: Self) -> Self {
        Self { there: self.there.saturating_sub(before.there), back: self.back.saturating_sub(before.back) }
    }
}

/// The machine. It lasts as long as one process in it, which ends with this.
pub struct Far {
    holder: Child,
    _line: ChildStdin,
}

impl Far {
    /// Makes it and joins both.
    ///
    /// What it has of its own on the disk is below `home`.
    pub fn new(home: &Path) -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut holder = unshare.spawn().context("cannot start unshare (util-linux)")?;
        let line = holder.stdin.take().context("no pipe to the holder of the namespaces")?;
        let far = Self { holder, _line: line };
        let start = Instant::now();
        // It becomes `cat` once it is where it belongs.
        while fs::read_to_string(format!("/proc/{}/comm", far.holder.id())).unwrap_or_default().trim() != "cat" {
            ensure!(start.elapsed() < PATIENCE, "the other machine's namespaces do not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        far.join()?;
        far.bind(home)?;
        Ok(far)
    }

    fn join(&self) -> Result<()> {
        let holder = self.holder.id().to_string();
        let ip = |words: &[&str]| done(Command::new("ip").args(words));
        let there = |words: &[&str]| done(self.command("ip").args(words));
        ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "far0", "netns", &holder])?;
        ip(&["addr", "add", &format!("{NEAR}/24"), "dev", INTERFACE])?;
        ip(&["link", "set", INTERFACE, "up"])?;
        there(&["addr", "add", &format!("{FAR}/24"), "dev", "far0"])?;
        there(&["link", "set", "far0", "up"])?;
        there(&["link", "set", "lo", "up"])
    }

    /// Its own /run and directories of `GlusterFS`.
    fn bind(&self, home: &Path) -> Result<()> {
        done(self.command("mount").args(["-t", "tmpfs", "-o", "mode=755", "replfs-bench", "/run"]))?;
        done(self.command("mkdir").arg("/run/gluster"))?;
        for (name, at) in BOUND {
            let from = home.join(name);
            fs::create_dir_all(&from)?;
            if Path::new(at).is_dir() {
                done(self.command("mount").arg("--bind").arg(&from).arg(at))?;
            }
        }
        Ok(())
    }

    /// The words before a program that is to run there.
    pub fn words(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        ["nsenter", "--target", &holder, "--net", "--mount", "--"].map(str::to_owned).into()
    }

    /// A program that runs there.
    pub fn command(&self, program: &str) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program);
        command
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // One that has ended is what is wanted.
        let _ended = self.holder.kill();
        let _ended = self.holder.wait();
    }
}

/// Runs a command. Errors: it says why it failed.
fn done(command: &mut Command) -> Result<()> {
    let outcome = command::run(command);
    ensure!(outcome.code == 0, "{}: {}", outcome.line, outcome.stderr.trim());
    Ok(())
}

/// The line of an interface (proc(5)): received bytes are the first number, sent ones the ninth.
fn counted(table: &str, interface: &str) -> Option<Traffic> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let mut numbers = line.split_whitespace().map(str::parse::<u64>);
    let back = numbers.next()?.ok()?;
    let there = numbers.nth(7)?.ok()?;
    Some(Traffic { there, back })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_other_machine_is_counted() {
        let alone = std::thread::spawn(|| {
            // SAFETY: takes this thread alone to a network of its own; nothing of the other threads changes.
            let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(done, 0, "root is needed: {}", std::io::Error::last_os_error());
            let home = tempfile::tempdir().unwrap();
            let far = Far::new(home.path()).unwrap();
            let holder = far.holder.id();
            let socket = std::net::UdpSocket::bind((NEAR, 0)).unwrap();
            let before = Traffic::so_far().unwrap();
            socket.send_to(&[0; 1000], (FAR, 9)).unwrap();
            replfs_tests::wait::until("a datagram to be counted", PATIENCE, || {
                (Traffic::so_far().unwrap().since(before).there >= 1000).then_some(())
            });
            let said = command::run(far.command("ip").args(["-o", "addr"]));
            assert!(said.ok().contains(FAR) && !said.ok().contains(NEAR), "{said:?}");
            drop(far);
            assert!(!Path::new(&format!("/proc/{holder}")).exists());
        });
        alone.join().unwrap();
    }

    #[test]
    fn both_directions_are_read() {
        let table = "Inter-|   Receive          |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n    \
            lo:  1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n near0: 531084 1758 0 0 0 0 0 0 586605 1773 0 0 0 0 0 0\n";
        let traffic = counted(table, "near0").unwrap();
        assert_eq!((traffic.there, traffic.back), (586_605, 531_084));
        assert!(counted(table, "near").is_none());
        assert_eq!(traffic.since(Traffic { there: 586_600, back: 0 }).there, 5);
    }
}
