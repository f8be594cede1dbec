//! A tree of many files in a mount: what programs that walk all of it see, and what the daemon needs for it. Used by a suite
//! and, with more files, by `cargo xtask scale`.
#![allow(clippy::unwrap_used)] // a measurement that fails is a failed test

use crate::command::tool;
use crate::rig::Rig;
use crate::wait::{PATIENCE, until};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How it is measured, for people.
pub const WHAT: &str = "\
Three quarters of the files lie in SRC before the first mount and are mirrored; the source is unmounted and mounted again;
the last quarter is unpacked in the mount. Then `find` and `du` walk everything, so that the kernel knows every inode, and
the kernel is made to forget (`drop_caches`), several times. Memory is VmRSS of the source's daemon, bytes for each inode
are what it has grown by since it had an empty source. At the end both sides are compared exactly.
";

/// The bound: resident memory of the daemon for each inode that it knows.
pub const BYTES_PER_INODE: f64 = 400.0;

/// The bound on descriptors: 4096 removed files that the kernel still knows, 1024 directories, and what a daemon has anyway.
pub const DESCRIPTORS: u64 = 5500;

/// Files in one directory, and directories in the one above.
const FAN_OUT: usize = 100;

/// One file of so many is not empty.
const FILLED: usize = 4;

/// Of all files, one of so many is not there before the mount but unpacked in it.
const UNPACKED: usize = 4;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Files, directories left out.
    pub files: usize,
    /// Inodes that the daemon knew when everything had been walked.
    pub known: u64,
    /// Resident bytes of a daemon with an empty source.
    pub empty_bytes: u64,
    /// Resident bytes when the first mirror pass had brought all files to the target but those that are unpacked later.
    pub mirrored_bytes: u64,
    /// Resident bytes when everything was known, after each walk; of a daemon that had compared both sides and unpacked.
    pub known_bytes: Vec<u64>,
    /// Known inodes when the kernel had forgotten everything, after each walk.
    pub forgotten: Vec<u64>,
    /// Resident bytes then.
    pub forgotten_bytes: Vec<u64>,
    /// The most open descriptors of the daemon at any look.
    pub descriptors: u64,
    /// How long each step took.
    pub seconds: BTreeMap<String, f64>,
}

impl Figures {
    /// Memory for each known inode beyond what a daemon needs anyway, whatever it is for.
    pub fn bytes_per_inode(&self) -> f64 {
        let most = self.known_bytes.iter().copied().max().unwrap_or_default();
        number(most.saturating_sub(self.empty_bytes)) / number(self.known)
    }

    /// The same for each file of a first mirror pass.
    pub fn bytes_per_mirrored_file(&self) -> f64 {
        let mirrored = (self.files - self.files / UNPACKED) as u64;
        number(self.mirrored_bytes.saturating_sub(self.empty_bytes)) / number(mirrored)
    }

    /// What was promised and is not so.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut promise = |kept: bool, what: String| {
            if !kept {
                broken.push(what);
            }
        };
        for (what, each) in [("known inode", self.bytes_per_inode()), ("mirrored file", self.bytes_per_mirrored_file())]
        {
            promise(each < BYTES_PER_INODE, format!("{each:.0} bytes for each {what}, {BYTES_PER_INODE:.0} promised"));
        }
        let files = self.files as u64;
        promise(self.known >= files, format!("{} inodes known, of at least {files}", self.known));
        promise(self.descriptors <= DESCRIPTORS, format!("{} descriptors, {DESCRIPTORS} promised", self.descriptors));
        for nodes in &self.forgotten {
            promise(nodes * 100 < files, format!("{nodes} inodes still known after the kernel forgot them"));
        }
        // Each thread has a heap of its own, and which of them a node comes from changes from walk to walk: the first two
        // fill them. One node kept by mistake for each file would be far more than this.
        let (settled, last) = (self.known_bytes[1], self.known_bytes[self.known_bytes.len() - 1]);
        let what = format!("{settled} bytes after the second walk, {last} after the last");
        promise(number(last) < number(settled) * 1.1, what);
        broken
    }
}

impl std::fmt::Display for Figures {
    /// A table in Markdown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: &u64| format!("{:.1} MiB", number(*bytes) / f64::from(1 << 20));
        let all = |bytes: &[u64]| bytes.iter().map(mib).collect::<Vec<_>>().join(", ");
        writeln!(f, "| figure | value |\n| --- | --- |\n| files | {} |", self.files)?;
        writeln!(f, "| known inodes, most | {} |", self.known)?;
        let (each, mirrored) = (self.bytes_per_inode(), self.bytes_per_mirrored_file());
        writeln!(f, "| **bytes for each known inode** (bound {BYTES_PER_INODE:.0}) | **{each:.0}** |")?;
        writeln!(f, "| bytes for each file of the first mirror pass (bound {BYTES_PER_INODE:.0}) | {mirrored:.0} |")?;
        writeln!(f, "| descriptors of the daemon, most (bound {DESCRIPTORS}) | {} |", self.descriptors)?;
        writeln!(f, "| resident, empty source | {} |", mib(&self.empty_bytes))?;
        writeln!(f, "| resident, after the first mirror pass | {} |", mib(&self.mirrored_bytes))?;
        writeln!(f, "| resident, everything known, after each walk | {} |", all(&self.known_bytes))?;
        writeln!(f, "| resident, everything forgotten, after each walk | {} |", all(&self.forgotten_bytes))?;
        writeln!(f, "| known inodes, everything forgotten | {:?} |\n", self.forgotten)?;
        writeln!(f, "| step | seconds |\n| --- | --- |")?;
        self.seconds.iter().try_for_each(|(step, seconds)| writeln!(f, "| {step} | {seconds:.1} |"))
    }
}

#[allow(clippy::cast_precision_loss)] // of bytes and files there are fewer than 2^52
fn number(count: u64) -> f64 {
    count as f64
}

/// The figures and where they come from, for programs.
pub fn json(source: &str, figures: &Figures) -> String {
    let each = figures.bytes_per_inode().round();
    let value = serde_json::json!({ "source": source, "bytes_per_known_inode": each, "figures": figures });
    format!("{value:#}\n")
}

/// Makes files below `root`, by two threads: in directories of [`FAN_OUT`], two levels deep.
pub fn fill(root: &Path, files: usize) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for first in (half * FAN_OUT..files).step_by(2 * FAN_OUT) {
                    let number = first / FAN_OUT;
                    let dir = root.join(format!("group{}/directory{number}", number / FAN_OUT));
                    fs::create_dir_all(&dir).unwrap();
                    for file in first..files.min(first + FAN_OUT) {
                        let content = if file % FILLED == 0 { format!("the file {file}\n") } else { String::new() };
                        fs::write(dir.join(format!("some-file-{file}")), content).unwrap();
                    }
                }
            });
        }
    });
}

/// Puts `files` files through a mount: mirrors, unpacks, walks, forgets and removes them, and compares both sides at
/// the end. They are walked and forgotten `rounds` times, at least three. The rig is prepared, and not mounted.
pub fn measure(mut rig: Rig, files: usize, rounds: usize) -> Figures {
    assert!(rounds >= 3, "growth shows after the second walk only");
    let mut steps = Steps::default();
    // A daemon that has compared two empty directories is what all others are measured against.
    rig.mount();
    rig.settle();
    let empty_bytes = resident_bytes(rig.source_pid());
    rig.unmount();

    let unpacked = files / UNPACKED;
    let archive = rig.home().join("unpacked.tar");
    let (src, mnt) = (rig.src(), rig.mnt());
    steps.time("make the files below the mount", || {
        fill(&src.join("there"), files - unpacked);
        let made = rig.home().join("made");
        fill(&made, unpacked);
        tool(&made, "tar", ["-cf".as_ref(), archive.as_os_str(), ".".as_ref()]);
        fs::remove_dir_all(&made).unwrap();
    });
    steps.time("mount, and mirror them", || {
        rig.mount();
        wait_settled(&rig);
    });
    let mirrored_bytes = resident_bytes(rig.source_pid());
    steps.time("unmount, mount again, and compare", || {
        rig.unmount();
        rig.mount();
        wait_settled(&rig);
    });
    let watch = Watch::over(rig.source_pid());
    steps.time("tar -x in the mount", || {
        fs::create_dir(mnt.join("unpacked")).unwrap();
        tool(&mnt, "tar", ["-C".as_ref(), "unpacked".as_ref(), "-xf".as_ref(), archive.as_os_str()]);
    });
    let (mut known, mut known_bytes, mut forgotten, mut forgotten_bytes) = (0, Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        walk(&mut steps, &src, &mnt, files, round);
        wait_settled(&rig);
        known = known.max(rig.status().fsi.nodes);
        known_bytes.push(resident_bytes(rig.source_pid()));
        steps.time(&format!("the kernel forgets, round {round}"), || forget(&rig, files));
        forgotten.push(rig.status().fsi.nodes);
        forgotten_bytes.push(resident_bytes(rig.source_pid()));
    }
    steps.time("rm -r of what was unpacked", || tool(&mnt, "rm", ["-r", "unpacked"]));
    wait_settled(&rig);
    let descriptors = watch.end();
    rig.unmount();
    steps.time("compare both sides exactly", || rig.assert_replica_equals(&src));
    Figures {
        files,
        known,
        empty_bytes,
        mirrored_bytes,
        known_bytes,
        forgotten,
        forgotten_bytes,
        descriptors,
        seconds: steps.0,
    }
}

/// Programs that look at everything see what is there.
fn walk(steps: &mut Steps, src: &Path, mnt: &Path, files: usize, round: usize) {
    let count = |dir: &Path| -> usize { tool(dir, "bash", ["-c", "find . -type f -size -2 | wc -l"]).parse().unwrap() };
    let found = steps.time(&format!("find, round {round}"), || count(mnt));
    assert_eq!(found, files, "files that find found in the mount");
    if round > 1 {
        return;
    }
    let sizes = |dir: &Path| tool(dir, "du", ["-s", "-B1", "."]);
    let mounted = steps.time("du", || sizes(mnt));
    assert_eq!(mounted, sizes(src), "what du counts in the mount (left) and below it (right)");
}

/// Makes the kernel forget all inodes, and waits until the daemon has noted it.
fn forget(rig: &Rig, files: usize) {
    until("the daemon to know few inodes", PATIENCE * 5, || {
        // What was used a moment ago is spared once.
        fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
        (rig.status().fsi.nodes * 100 < files as u64).then_some(())
    });
}

/// As [`Rig::settle`], for trees that take longer to mirror than any other test waits.
fn wait_settled(rig: &Rig) {
    let patience = PATIENCE * 20;
    until("connected, coherent, nothing waiting", patience, || {
        std::thread::sleep(Duration::from_millis(50));
        rig.status().is_settled().then_some(())
    });
}

/// Resident memory of a process.
fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// How long each step took, by its name.
#[derive(Default)]
struct Steps(BTreeMap<String, f64>);

impl Steps {
    fn time<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let seconds = (start.elapsed().as_secs_f64() * 100.0).round() / 100.0;
        println!("{seconds:8.2} s  {name}");
        self.0.insert(format!("{:02} {name}", self.0.len() + 1), seconds);
        result
    }
}

/// Looks at the descriptors of a process again and again.
struct Watch {
    enough: std::sync::Arc<(AtomicBool, AtomicU64)>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn over(pid: u32) -> Self {
        let enough = std::sync::Arc::new((AtomicBool::new(false), AtomicU64::new(0)));
        let shared = std::sync::Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            while !shared.0.load(Ordering::SeqCst) {
                let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64;
                shared.1.fetch_max(open, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { enough, thread }
    }

    /// The most there were.
    fn end(self) -> u64 {
        self.enough.0.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.enough.1.load(Ordering::SeqCst)
    }
}
