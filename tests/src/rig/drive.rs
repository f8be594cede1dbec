//! What a test does to a rig: mount, kill, restart, wait, compare; and how a rig is taken down.

use super::status::{Document, Source, VERSION};
use super::watchdog::{is_running, kill};
use super::{NAME, PEER, Rig, Target};
use crate::command::{self, Outcome};
use crate::compare;
use crate::link::Link;
use crate::wait::{PATIENCE, until};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;

/// Exit code of an unmount that failed.
const BUSY: i32 = 32;

impl Rig {
    /// This node's fingerprint, as `replfs key` has it.
    #[track_caller]
    pub fn key(&self, state: &Path) -> String {
        let outcome = command::run(self.program().args(["key", "--state"]).arg(state));
        let key = outcome.ok().split_whitespace().find(|word| word.starts_with("SHA256:"));
        let Some(key) = key else { panic!("{} printed no fingerprint: {}", outcome.line, outcome.stdout) };
        key.to_owned()
    }

    /// Starts the target, again on the port it had; behind the link where there is one.
    #[track_caller]
    pub fn start_target(&mut self) {
        if self.setup.local || self.setup.bypassed {
            return;
        }
        if self.setup.paired {
            let first = self.target_address.is_none();
            self.start_target_allowing(None, "127.0.0.1:0");
            if first {
                let invitation = self.invite(&["--dir", NAME]);
                self.replfs("pair", &[&invitation, "--name", PEER]).ok();
            }
            return;
        }
        let allow = self.key(&self.source_state());
        self.start_target_allowing(Some(&allow), "127.0.0.1:0");
    }

    /// What `replfs target invite` prints, for the place where the source finds this rig's target.
    #[track_caller]
    pub fn invite(&self, words: &[&str]) -> String {
        let at = self.link.as_ref().map_or_else(|| self.target_address(), Link::address);
        let mut command = self.program();
        command.args(["target", "invite", "--address", &at.to_string(), "--state"]).arg(self.target_state());
        command::run(command.args(words)).ok().to_owned()
    }

    /// Runs `replfs` on the target's side: a command, then `--state`, then its arguments.
    #[track_caller]
    pub fn replfs_of_target(&self, command: &str, args: &[&str]) -> Outcome {
        command::run(self.program().args([command, "--state"]).arg(self.target_state()).args(args))
    }

    /// Starts the target for some source; `listen` counts the first time.
    #[track_caller]
    pub fn start_target_allowing(&mut self, allow: Option<&str>, listen: &str) {
        self.try_start_target_allowing(allow, listen).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Starts the target again, as a service manager would. Errors: what it said instead of coming up.
    pub fn try_start_target(&mut self) -> Result<(), String> {
        let allow = self.key(&self.source_state());
        self.try_start_target_allowing(Some(&allow), "127.0.0.1:0")
    }

    fn try_start_target_allowing(&mut self, allow: Option<&str>, listen: &str) -> Result<(), String> {
        let listen = self.setup.target_by.as_ref().map_or(listen, |(_, listen)| listen.as_str());
        let before = self.target_address.map_or_else(|| listen.to_owned(), |address| address.to_string());
        let (root, state) = (self.root(), self.target_state());
        let target = Target::try_start(self.booted(1), &root, &state, allow, &before, &self.setup.target)?;
        self.watchdog.add(target.pid());
        self.target_address = Some(target.address);
        self.target_key.clone_from(&target.fingerprint);
        if self.setup.linked && self.link.is_none() {
            let link = Link::to(target.address).unwrap_or_else(|e| panic!("cannot open the link: {e}"));
            self.link = Some(link);
        }
        self.target = Some(target);
        Ok(())
    }

    /// The target daemon is started anew as another user, or with other options, from now on.
    #[track_caller]
    pub fn change_target(&mut self, user: Option<u32>, words: &[&str]) {
        if self.target.is_some() {
            self.kill_target();
        }
        self.setup.target_user = user;
        self.setup.target = words.iter().map(|word| (*word).to_owned()).collect();
        self.start_target();
    }

    fn booted(&self, side: usize) -> Command {
        let user = if side == 1 { self.setup.target_user.or(self.setup.user) } else { self.setup.user };
        let mut command = self.program_of(user);
        if let (1, Some((by, _))) = (side, &self.setup.target_by) {
            let program = command.get_program().to_owned();
            command = Command::new(&by[0]);
            command.args(&by[1..]).arg(program);
        }
        command.envs(self.setup.environment[side].iter().map(|(name, value)| (name, value)));
        if let Some(boot) = &self.boots[side] {
            command.env("REPLFS_BOOT_ID", boot);
        }
        command
    }

    /// What the environment of the daemons of one side (0: source, 1: target) has beside this process's, from now on.
    pub fn set_environment(&mut self, side: usize, variables: Vec<(String, String)>) {
        self.setup.environment[side] = variables;
    }

    /// The source's daemons find another boot from now on.
    pub fn reboot_source(&mut self, boot: u64) {
        self.boots[0] = Some(format!("{boot:032x}"));
    }

    /// The target's daemons find another boot from now on.
    pub fn reboot_target(&mut self, boot: u64) {
        self.boots[1] = Some(format!("{boot:032x}"));
    }

    /// `kill -9` of the target daemon.
    #[track_caller]
    pub fn kill_target(&mut self) {
        self.assert_memory();
        let Some(target) = self.target.take() else { panic!("no target runs in this rig") };
        self.watchdog.remove(target.pid());
        target.kill();
    }

    /// The words of `replfs mount` for this rig.
    pub fn mount_words(&self) -> Vec<String> {
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let mut words = vec![text(self.src()), text(self.mnt()), "--target".into(), self.target_argument()];
        if !self.setup.local && !self.setup.bypassed && !self.setup.paired {
            words.extend(["--target-key".into(), self.target_key.clone()]);
        }
        words.extend(["--name".into(), NAME.into(), "--state".into(), text(self.source_state())]);
        words.extend(["--commit".into(), self.commit.as_str().into()]);
        let has = |option: &str| self.setup.mount.iter().any(|word| word == option);
        if has("--backlog") && !has("--journal-size") {
            // A bound that is to be reached is that of all.
            words.extend(["--journal-size".into(), "0".into()]);
        }
        words.extend(self.setup.mount.iter().cloned());
        words
    }

    /// Mounts with further words at the end, and gives how that ended.
    #[track_caller]
    pub fn try_mount(&mut self, more: &[&str]) -> Outcome {
        let mut words = self.mount_words();
        words.extend(more.iter().map(|w| (*w).to_owned()));
        let mut command = self.booted(0);
        self.mounted(command.arg("mount").args(words))
    }

    /// Runs a command that mounts this rig, and knows the daemon from then on if it succeeded.
    #[track_caller]
    pub fn mounted(&mut self, command: &mut Command) -> Outcome {
        let outcome = command::run(command);
        if outcome.code == 0
            && let Some(source) = self.try_status()
        {
            self.watchdog.add(source.pid);
            self.source_pid = Some(source.pid);
        }
        outcome
    }

    /// Mounts; panics unless that succeeded.
    #[track_caller]
    pub fn mount(&mut self) {
        let outcome = self.try_mount(&[]);
        assert!(
            outcome.code == 0,
            "{}: exit {}\n{}\nlog:\n{}",
            outcome.line,
            outcome.code,
            outcome.stderr,
            self.source_log()
        );
        assert!(
            self.source_pid.is_some(),
            "mounted, but `replfs status` does not show it: {:?}",
            self.replfs("status", &[])
        );
    }

    /// `kill -9` of the source daemon; returns once it is gone. The dead mount stays.
    #[track_caller]
    pub fn kill_source(&mut self) {
        let pid = self.source_pid();
        kill(pid, Signal::KILL);
        self.wait_for_end(pid);
    }

    /// A signal to the source daemon.
    #[track_caller]
    pub fn signal_source(&self, signal: Signal) {
        kill(self.source_pid(), signal);
    }

    /// Waits until the source daemon has ended.
    #[track_caller]
    pub fn wait_for_end(&mut self, pid: u32) {
        until("the end of the source daemon", PATIENCE, || (!is_running(pid)).then_some(()));
        self.watchdog.remove(pid);
        self.source_pid = None;
    }

    /// `replfs umount`; panics unless everything reached the target.
    #[track_caller]
    pub fn unmount(&mut self) {
        let pid = self.source_pid();
        // A process that another test has just made holds copies of all descriptors until it runs its program.
        let outcome = until("nobody to use the mount any more", PATIENCE, || {
            let outcome = self.replfs("umount", &[&self.mnt().to_string_lossy()]);
            (outcome.code != BUSY || !outcome.stderr.contains("programs use it")).then_some(outcome)
        });
        outcome.ok();
        self.wait_for_end(pid);
    }

    /// The status of the mount, or `None` where nothing answers.
    pub fn try_status(&self) -> Option<Source> {
        let outcome = self.replfs("status", &["--json"]);
        let document: Document = serde_json::from_str(&outcome.stdout).ok()?;
        assert_eq!(document.version, VERSION, "version of the status document");
        document.sources.into_iter().find(|source| source.name == NAME)
    }

    /// What the target daemon says of this rig's replica; `None` where nothing answers.
    pub fn replica_status(&self) -> Option<serde_json::Value> {
        let outcome = command::run(self.program().args(["status", "--json", "--state"]).arg(self.target_state()));
        let document: Document = serde_json::from_str(&outcome.stdout).ok()?;
        let replicas = document.targets.first()?.get("sources")?.as_array()?.clone();
        replicas.into_iter().find(|replica| replica.get("name").is_some_and(|name| name == NAME))
    }

    /// The status of the mount.
    #[track_caller]
    pub fn status(&self) -> Source {
        let Some(status) = self.try_status() else {
            panic!("no status: {:?}\nlog:\n{}", self.replfs("status", &["--json"]), self.source_log())
        };
        status
    }

    /// Waits until the status shows something.
    #[track_caller]
    pub fn wait_status(&self, what: &str, mut shows: impl FnMut(&Source) -> bool) -> Source {
        let start = std::time::Instant::now();
        loop {
            let last = self.try_status();
            if let Some(status) = last.as_ref().filter(|s| shows(s)) {
                return status.clone();
            }
            let log = || self.source_log();
            assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}\nlast status: {last:#?}\nlog:\n{}", log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Waits until everything so far is durable on the target and the replica coherent.
    #[track_caller]
    pub fn settle(&self) {
        self.wait_status("connected, coherent, nothing waiting", Source::is_settled);
        self.replfs("sync", &[&self.mnt().to_string_lossy(), "--timeout", "60s"]).ok();
    }

    /// Settles, then compares SRC with the replica exactly.
    #[track_caller]
    pub fn assert_equal(&self) {
        self.settle();
        self.assert_replica_equals(&self.src());
    }

    /// Compares a tree with the replica exactly.
    #[track_caller]
    pub fn assert_replica_equals(&self, tree: &Path) {
        let root = self.setup.user.is_none() && self.setup.target_user.is_none();
        let compared = if root { compare::trees } else { compare::with_replica }(tree, &self.replica());
        let report = compared.unwrap_or_else(|e| panic!("cannot compare: {e:#}"));
        assert!(
            report.differences.is_empty(),
            "the replica differs:\n{}\nlog:\n{}",
            report.text(20),
            self.source_log()
        );
    }

    /// Compares at the end of a test: through the mount, and once more after it has been unmounted, when no daemon can
    /// change anything.
    #[track_caller]
    pub fn finish(mut self) {
        self.assert_equal();
        self.assert_memory();
        let src = self.src();
        self.unmount();
        self.assert_replica_equals(&src);
    }

    /// Mounts something else below the rig's directory; it is unmounted with the rig.
    #[track_caller]
    pub fn mount_other(&mut self, kind: &str, options: &str, at: &Path) {
        self.mount_from(Path::new("replfs-test"), kind, options, at);
    }

    /// The same from a device, an image or a directory.
    #[track_caller]
    pub fn mount_from(&mut self, what: &Path, kind: &str, options: &str, at: &Path) {
        let words = ["-t".as_ref(), kind.as_ref(), "-o".as_ref(), options.as_ref(), what.as_os_str(), at.as_os_str()];
        command::tool(self.home(), "mount", words);
        self.unmounts(at);
    }

    /// Unmounts what would be unmounted with the rig, once nobody uses it any more.
    #[track_caller]
    pub fn unmount_now(&mut self, at: &Path) {
        until("nobody to use it any more", PATIENCE, || match rustix::mount::unmount(at, UnmountFlags::empty()) {
            Err(rustix::io::Errno::BUSY) => None,
            Ok(()) => Some(()),
            Err(error) => panic!("cannot unmount {}: {error}", at.display()),
        });
        self.mounts.retain(|mount| mount != at);
    }

    /// What is mounted there is unmounted with the rig.
    pub fn unmounts(&mut self, at: &Path) {
        self.mounts.push(at.to_owned());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("source log:\n{}", self.source_log());
            let log = std::fs::read_to_string(self.target_state().with_extension("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("target log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        // The daemon first: with it gone, nothing that looks at the mount can hang.
        for pid in self.watchdog.pids() {
            kill(pid, Signal::KILL);
        }
        self.target = None;
        let mnt = self.mnt();
        while rustix::mount::unmount(&mnt, UnmountFlags::DETACH).is_ok() {}
        for path in self.mounts.iter().rev() {
            if let Err(error) = rustix::mount::unmount(path, UnmountFlags::DETACH) {
                eprintln!("cannot unmount {}: {error}", path.display());
            }
        }
        if let Some(home) = self.home.take() {
            if std::thread::panicking() && std::env::var_os("REPLFS_KEEP").is_some() {
                eprintln!("kept for a look: {}; the next `cargo xtask test` removes it", home.keep().display());
                return;
            }
            let place = home.path().to_owned();
            if let Err(error) = home.close() {
                eprintln!("cannot remove {}: {error}; `cargo xtask test` will", place.display());
            }
        }
    }
}
