//! One thing that is measured: prepared, done by each of the three in turn, put in a row.

use super::peers::{Peers, Way};
use super::sources;
use anyhow::{Result, ensure};
use replfs_tests::rig::{Commit, Rig, Setup};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A case.
pub struct Case {
    pub name: &'static str,
    about: &'static str,
    /// Makes the source, at a scale of one in so many.
    make: fn(&Path, u64) -> Result<()>,
    what: What,
    /// What is promised against rsync over ssh: of the time, of the bytes.
    promised: (f64, Option<f64>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// The target is empty.
    First,
    /// One in a hundred blocks of a file changed while nothing was mounted.
    Changed,
    /// Everything is there.
    Nothing,
}

/// What is measured, in this order.
pub const CASES: &[Case] = &[
    Case {
        name: "first-tree",
        about: "first mirror, 20,000 files, 180 MB",
        make: |src, scale| sources::tree(src, 20_000 / scale),
        what: What::First,
        promised: (1.0, None),
    },
    Case {
        name: "first-file",
        about: "first mirror, one file of 1 GiB",
        make: |src, scale| sources::file(&src.join("large"), 1024 / scale),
        what: What::First,
        promised: (1.0, None),
    },
    Case {
        name: "changed-blocks",
        about: "1 % of the 4 KiB blocks of a 1 GiB file changed",
        make: |src, scale| sources::file(&src.join("large"), 1024 / scale),
        what: What::Changed,
        promised: (0.3, Some(0.4)),
    },
    Case {
        name: "nothing-changed",
        about: "nothing changed in 200,000 files",
        make: |src, scale| sources::tree(src, 200_000 / scale),
        what: What::Nothing,
        promised: (0.7, None),
    },
];

/// Medians of one of the things that replfs does, beside rsync.
pub struct Measured {
    about: String,
    replfs: Sample,
    ssh: Sample,
    daemon: Sample,
    promised: Option<(f64, Option<f64>)>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f64,
    bytes: u64,
}

impl Measured {
    /// Whether what is promised was kept.
    pub fn kept(&self) -> bool {
        let Some((time, bytes)) = self.promised else { return true };
        self.time() <= time && bytes.is_none_or(|bytes| self.bytes() <= bytes)
    }

    fn time(&self) -> f64 {
        self.replfs.seconds / self.ssh.seconds
    }

    #[allow(clippy::cast_precision_loss)] // a ratio
    fn bytes(&self) -> f64 {
        self.replfs.bytes as f64 / self.ssh.bytes.max(1) as f64
    }
}

/// The head of the table.
pub fn head() -> &'static str {
    "| what | replfs s | rsync ssh s | rsync daemon s | time to ssh | to daemon | replfs MB | rsync MB | bytes | promised |\n\
     | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
}

/// A row of it.
#[allow(clippy::cast_precision_loss)] // figures for people
pub fn line(row: &Measured) -> String {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let kept = if row.kept() { "kept" } else { "MISSED" };
    let promised = row.promised.map_or("nothing".to_owned(), |(time, bytes)| {
        let bytes = bytes.map(|bytes| format!(", bytes {bytes:.1}")).unwrap_or_default();
        format!("time {time:.1}{bytes}: {kept}")
    });
    format!(
        "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.2} | {promised} |",
        row.about,
        row.replfs.seconds,
        row.ssh.seconds,
        row.daemon.seconds,
        row.time(),
        row.replfs.seconds / row.daemon.seconds,
        mb(row.replfs.bytes),
        mb(row.ssh.bytes),
        row.bytes()
    )
}

/// Does it so often; a row for each of the ways in which replfs does it.
pub fn measure(case: &Case, peers: &Peers, scale: u64, rounds: u16) -> Result<Vec<Measured>> {
    let mut bench = Bench::new(case, scale)?;
    let (mut replfs, mut asked, mut ssh, mut daemon) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    if case.what != What::First {
        bench.rig.mount();
        bench.coherent()?;
        bench.rig.unmount();
        for way in [Way::Ssh, Way::Daemon] {
            peers.rsync(way, &bench.rig.src(), &bench.copy(way), &[])?;
        }
    }
    for round in 0..rounds {
        anyhow::ensure!(!crate::signals::enough(), "interrupted");
        if case.what == What::Changed {
            sources::change_blocks(&bench.rig.src().join("large"), round.into())?;
        }
        for (way, samples) in [(Way::Ssh, &mut ssh), (Way::Daemon, &mut daemon)] {
            bench.quiet()?;
            samples.push(bench.rsync(peers, way, case.what)?);
        }
        if case.what == What::First && round > 0 {
            bench.begin_anew()?;
        }
        bench.quiet()?;
        replfs.push(bench.mount()?);
        if case.what == What::Nothing {
            asked.push(bench.mirror()?);
        }
        bench.rig.unmount();
    }
    let row = |about: String, replfs: Vec<Sample>, promised| Measured {
        about,
        replfs: median(replfs),
        ssh: median(ssh.clone()),
        daemon: median(daemon.clone()),
        promised,
    };
    let promised = Some(case.promised);
    Ok(if asked.is_empty() {
        vec![row(case.about.to_owned(), replfs, promised)]
    } else {
        vec![
            row(format!("{}: mounted after a clean end", case.about), replfs, promised),
            // rsync reads no content there: this is more than it does.
            row(format!("{}: `replfs mirror`, by content", case.about), asked, None),
        ]
    })
}

/// The time in the middle, and what was sent then.
fn median(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    samples[samples.len() / 2]
}

struct Bench {
    rig: Rig,
    /// Where the journal's part in memory is, as it is on a machine with a /run.
    memory: TempDir,
}

impl Bench {
    fn new(case: &Case, scale: u64) -> Result<Self> {
        let memory = tempfile::tempdir_in("/dev/shm")?;
        let rig = Self::rig(&memory);
        (case.make)(&rig.src(), scale)?;
        Ok(Self { rig, memory })
    }

    fn rig(memory: &TempDir) -> Rig {
        let setup = Setup::default().option(&["--journal-memory", &memory.path().to_string_lossy()]);
        let mut rig = Rig::prepare(Commit::Real, setup);
        rig.without_watchdog();
        rig
    }

    fn copy(&self, way: Way) -> PathBuf {
        self.rig.home().join(format!("{way:?}"))
    }

    /// The same source with a target that has nothing.
    fn begin_anew(&mut self) -> Result<()> {
        let next = Self::rig(&self.memory);
        fs::remove_dir(next.src())?;
        fs::rename(self.rig.src(), next.src())?;
        fs::create_dir(self.rig.src())?;
        self.rig = next;
        Ok(())
    }

    /// Nothing is being written back, and the source is in memory.
    fn quiet(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(self.rig.home())?)?;
        read(&self.rig.src())
    }

    fn rsync(&self, peers: &Peers, way: Way, what: What) -> Result<Sample> {
        let copy = self.copy(way);
        if what == What::First && copy.exists() {
            fs::remove_dir_all(&copy)?;
            rustix::fs::syncfs(File::open(self.rig.home())?)?;
        }
        let more: &[&str] = if what == What::Changed { &["--no-whole-file"] } else { &[] };
        let start = Instant::now();
        let bytes = peers.rsync(way, &self.rig.src(), &copy, more)?;
        Ok(Sample { seconds: start.elapsed().as_secs_f64(), bytes })
    }

    /// From the mount command until source and target are the same.
    fn mount(&mut self) -> Result<Sample> {
        let start = Instant::now();
        self.rig.mount();
        self.coherent()?;
        let seconds = start.elapsed().as_secs_f64();
        let status = self.rig.status();
        let target = status.target();
        // Small files travel in the ordered stream, large ones beside it, and are not counted twice.
        let bytes = target.sent_bytes.max(target.pass.sent_bytes);
        Ok(Sample { seconds, bytes })
    }

    fn coherent(&self) -> Result<()> {
        let start = Instant::now();
        while !self.rig.try_status().is_some_and(|status| status.target().coherent) {
            ensure!(start.elapsed() < Duration::from_secs(900), "source and target are not the same after 15 minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn mirror(&self) -> Result<Sample> {
        let before = self.rig.status().target().sent_bytes;
        let start = Instant::now();
        let outcome = self.rig.replfs("mirror", &[&self.rig.mnt().to_string_lossy()]);
        ensure!(outcome.code == 0, "{}: {}", outcome.line, outcome.stderr);
        let seconds = start.elapsed().as_secs_f64();
        Ok(Sample { seconds, bytes: self.rig.status().target().sent_bytes - before })
    }
}

/// Reads everything below a directory.
fn read(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read(&entry.path())?;
        } else {
            std::io::copy(&mut File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}
