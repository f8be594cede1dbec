//! Source and target of a round, on small disks of their own, and how each fault begins and ends.

use super::fault::{Fault, Tampering};
use super::network::Network;
use super::plan::Plan;
use super::running::Running;
use super::tamper::tamper;
use crate::command;
use crate::disk::Disk;
use crate::rig::{Rig, Setup, watchdog};
use crate::seed::Random;
use crate::wait::{PATIENCE, until};
use crate::weather::Weather;
use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of each disk.
const MIB: u64 = 300;
/// `--near-operations`.
pub const NEAR_OPERATIONS: usize = 300;
/// Where libfaketime is in Debian.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// In the state directory of each side: what its clock is ahead.
const CLOCK: &str = "clock";

/// The three disks, by what is on them.
const DISKS: [(&str, &str); 3] = [("disk-src", "src"), ("disk-state", "source"), ("disk-root", "root")];

/// Both sides.
pub struct Machine {
    /// Daemons and directories.
    pub rig: Rig,
    network: Option<Network>,
    random: Random,
    /// Daemons that stand still.
    stopped: Vec<u32>,
    /// Daemons that are to run, and do not yet.
    source_due: bool,
    target_due: bool,
    /// Files were changed behind the target's back.
    pub tampered: bool,
}

impl Machine {
    /// Everything is there and equal, nothing is wrong yet.
    #[track_caller]
    pub fn start(plan: &Plan) -> Self {
        let network = plan.has(|fault| matches!(fault, Fault::Bandwidth(_))).then(Network::new);
        let mut setup = setup(plan);
        setup.target_by = network.as_ref().map(Network::target_by);
        let mut rig = Rig::bare(plan.commit, setup);
        rig.without_watchdog();
        for (disk, dir) in DISKS {
            let (at, part) = (rig.home().join(disk), rig.home().join(disk).join(dir));
            fs::create_dir(&at).unwrap_or_else(|e| panic!("cannot make {}: {e}", at.display()));
            Disk::new(&rig, disk, MIB, &["-m", "0"]).mount(&mut rig, &at);
            fs::create_dir(&part).unwrap_or_else(|e| panic!("cannot make {}: {e}", part.display()));
            rig.mount_from(&part, "none", "bind", &rig.home().join(dir));
        }
        // While nothing is mounted, nobody writes into what is below.
        // The rig takes down whatever is mounted there.
        let mnt = rig.mnt().to_string_lossy().into_owned();
        command::tool(rig.home(), "mount", ["-t", "tmpfs", "-o", "ro,size=4k", "replfs-test", &mnt]);
        set_environment(&mut rig, plan);
        rig.start_target();
        rig.mount();
        rig.settle();
        let random = Random::new(plan.seed ^ plan.round);
        Self { rig, network, random, stopped: Vec::new(), source_due: false, target_due: false, tampered: false }
    }

    /// Begins a fault; what was done.
    #[track_caller]
    pub fn begin(&mut self, fault: Fault, running: &Running) -> String {
        match fault {
            Fault::KillSource => self.kill_source(),
            Fault::KillTarget => self.kill_target(),
            Fault::StopSource => return self.stop((!self.source_due).then(|| self.rig.source_pid())),
            Fault::StopTarget => return self.stop((!self.target_due).then(|| self.rig.target_pid())),
            Fault::Cut => self.rig.link().cut(),
            Fault::Mute => self.rig.link().silence(),
            Fault::Deafen => self.rig.link().deafen(),
            Fault::Weather(weather) => self.rig.link().set_weather(weather),
            Fault::Bandwidth(mbit) => self.bound(Some(mbit)),
            Fault::SourceFull => return self.fill(0),
            Fault::StateFull => return self.fill(1),
            Fault::RootFull => return self.fill(2),
            Fault::SourceReadOnly => return self.read_only(0, running),
            Fault::RootReadOnly => {
                self.kill_target();
                let said = self.read_only(2, running);
                return format!("{said}; {}", self.restart_target());
            }
            Fault::SourceClock(seconds) => set_clock(&self.rig.source_state(), seconds),
            Fault::TargetClock(seconds) => set_clock(&self.rig.target_state(), seconds),
            Fault::Tamper(how) => return self.tamper(how),
        }
        "begins".to_owned()
    }

    /// Ends a fault; what was done.
    #[track_caller]
    pub fn end(&mut self, fault: Fault) -> String {
        match fault {
            Fault::KillSource => return self.restart_source(),
            Fault::KillTarget => return self.restart_target(),
            Fault::StopSource | Fault::StopTarget => self.resume(),
            Fault::Cut | Fault::Mute | Fault::Deafen => self.rig.link().mend(),
            Fault::Weather(_) => self.rig.link().set_weather(Weather::default()),
            Fault::Bandwidth(_) => self.bound(None),
            Fault::SourceFull => self.empty(0),
            Fault::StateFull => self.empty(1),
            Fault::RootFull => self.empty(2),
            Fault::SourceReadOnly => self.writable(0),
            Fault::RootReadOnly => {
                self.writable(2);
                return self.restart_target();
            }
            Fault::SourceClock(_) => set_clock(&self.rig.source_state(), 0),
            Fault::TargetClock(_) => set_clock(&self.rig.target_state(), 0),
            Fault::Tamper(_) => {}
        }
        "ends".to_owned()
    }

    /// Nothing is wrong any more, and daemons run as a service manager would see to it.
    #[track_caller]
    pub fn mend(&mut self) {
        until("both daemons to start", PATIENCE, || {
            let said = (self.restart_target(), self.restart_source());
            (!self.target_due && !self.source_due).then_some(()).or_else(|| {
                println!("{}; {}", said.0, said.1);
                None
            })
        });
    }

    /// Unmounts, compares once more, and takes everything down; nothing is left of the journal.
    #[track_caller]
    pub fn finish(mut self) {
        let src = self.rig.src();
        self.rig.unmount();
        self.rig.assert_replica_equals(&src);
        super::judge::no_journal(&self.rig.source_state());
        super::judge::logs(&self.rig);
    }

    /// Panics where a daemon ended that nobody killed.
    #[track_caller]
    pub fn assert_alive(&self) {
        let alive = |due: bool, pid: &dyn Fn() -> u32| due || watchdog::is_running(pid());
        assert!(alive(self.source_due, &|| self.rig.source_pid()), "the source's daemon ended by itself");
        assert!(alive(self.target_due, &|| self.rig.target_pid()), "the target ended by itself");
    }

    /// Whether both daemons run and answer.
    pub fn is_up(&self) -> bool {
        !self.source_due && !self.target_due && self.stopped.is_empty()
    }

    #[track_caller]
    fn kill_source(&mut self) {
        if !self.source_due {
            self.rig.kill_source();
            self.source_due = true;
        }
    }

    #[track_caller]
    fn kill_target(&mut self) {
        if !self.target_due {
            self.rig.kill_target();
            self.target_due = true;
        }
    }

    #[track_caller]
    fn restart_source(&mut self) -> String {
        if !self.source_due {
            return "runs already".to_owned();
        }
        let outcome = self.rig.try_mount(&[]);
        self.source_due = outcome.code != 0;
        if self.source_due { format!("not mounted: {}", outcome.stderr.trim_end()) } else { "mounted".to_owned() }
    }

    #[track_caller]
    fn restart_target(&mut self) -> String {
        if !self.target_due {
            return "runs already".to_owned();
        }
        match self.rig.try_start_target() {
            Ok(()) => {
                self.target_due = false;
                "target started".to_owned()
            }
            Err(why) => format!("target not started: {}", why.lines().last().unwrap_or_default()),
        }
    }

    fn stop(&mut self, pid: Option<u32>) -> String {
        let Some(pid) = pid else { return "does not run".to_owned() };
        watchdog::stop(pid);
        self.stopped.push(pid);
        format!("process {pid} stands still")
    }

    fn resume(&mut self) {
        for pid in self.stopped.drain(..) {
            watchdog::resume(pid);
        }
    }

    fn bound(&self, mbit: Option<u32>) {
        if let Some(network) = &self.network {
            network.bound(mbit);
        }
    }

    fn disk(&self, number: usize) -> PathBuf {
        self.rig.home().join(DISKS[number].0)
    }

    /// Takes all room there is.
    fn fill(&self, disk: usize) -> String {
        let hog = self.disk(disk).join("hog");
        let file = File::create(&hog).unwrap_or_else(|e| panic!("cannot make {}: {e}", hog.display()));
        let (mut size, mut step) = (0, 64 << 20);
        while step >= 4096 {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), size, step) {
                Ok(()) => size += step,
                Err(_) => step /= 2,
            }
        }
        format!("{} is full of a file of {} MiB", DISKS[disk].0, size >> 20)
    }

    fn empty(&self, disk: usize) {
        let hog = self.disk(disk).join("hog");
        if let Err(error) = fs::remove_file(&hog) {
            panic!("cannot remove {}: {error}", hog.display());
        }
    }

    /// Read-only, as soon as nothing there is open for writing. For SRC the workloads hold for a moment.
    fn read_only(&self, disk: usize, running: &Running) -> String {
        running.shut(disk == 0);
        let mut said = String::new();
        for _ in 0..300 {
            let outcome = remount(&self.disk(disk), "ro");
            said = outcome.stderr;
            if outcome.code == 0 {
                break;
            }
            running.goes_on_for_a_moment();
        }
        running.shut(false);
        if said.is_empty() {
            format!("{} is read-only", DISKS[disk].0)
        } else {
            format!("not done: {}", said.trim_end())
        }
    }

    #[track_caller]
    fn writable(&self, disk: usize) {
        remount(&self.disk(disk), "rw").ok();
    }

    fn tamper(&mut self, how: Tampering) -> String {
        match tamper(how, &self.rig.replica(), &mut self.random) {
            Ok(what) => {
                self.tampered = true;
                what
            }
            Err(error) => format!("not done: {error}"),
        }
    }
}

fn remount(at: &Path, how: &str) -> command::Outcome {
    command::run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(at))
}

fn set_clock(state: &Path, seconds: i64) {
    let place = state.join(CLOCK);
    // In place at once: a daemon reads it at any time.
    let next = state.join("clock.next");
    let written = fs::write(&next, format!("{seconds:+}\n")).and_then(|()| fs::rename(&next, &place));
    written.unwrap_or_else(|e| panic!("cannot write {}: {e}", place.display()));
}

fn setup(plan: &Plan) -> Setup {
    let mut setup = Setup::default().linked();
    let backlog = if plan.small_backlog { "8MiB" } else { "32MiB" };
    let journal = if plan.journal_on_disk { "64MiB" } else { "0" };
    let bound = NEAR_OPERATIONS.to_string();
    for words in [
        ["--degrade-after", "2s"],
        ["--connect-timeout", "3s"],
        ["--retry-after", "2s"],
        ["--remote-timeout", "1s"],
        ["--backlog", backlog],
        ["--journal-size", journal],
        ["--near-operations", &bound],
        ["--compress", plan.compress],
    ] {
        setup = setup.option(&words);
    }
    setup
}

/// A daemon whose clock is to jump has one that can.
fn set_environment(rig: &mut Rig, plan: &Plan) {
    let source = plan.has(|fault| matches!(fault, Fault::SourceClock(_)));
    let target = plan.has(|fault| matches!(fault, Fault::TargetClock(_)));
    for (side, jumps, state) in [(0, source, rig.source_state()), (1, target, rig.target_state())] {
        if !jumps {
            continue;
        }
        assert!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing: install the Debian package faketime");
        set_clock(&state, 0);
        let file = state.join(CLOCK).to_string_lossy().into_owned();
        let variables = [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            // What a file system says is not the daemon's clock.
            ("NO_FAKE_STAT", "1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        rig.set_environment(side, variables.into());
    }
}
