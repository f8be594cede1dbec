//! One mount for long: all workloads, a fault each minute, and what both daemons take, sampled all the time. Whether that grows is decided at the end.

use super::events::Events;
use super::fault::{Fault, KINDS};
use super::judge;
use super::machine::Machine;
use super::plan::{Plan, Planned};
use super::round::{Driver, Work};
use super::sample::{Sample, disk_kib};
use super::workload::Kind;
use crate::rig::{Commit, NAME, Rig};
use crate::seed::Random;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(10);
/// Of a minute a fault lasts so long, and what follows has the rest.
const MINUTE: Duration = Duration::from_secs(60);
/// So long applications go on while the mode is degraded after a fault.
const PATIENT: Duration = Duration::from_secs(15);
/// What is set aside on the target is for people; here nobody looks at it, so it goes when it is more.
const ASIDE_KIB: u64 = 60 << 10;

/// What is sampled, in the order of the table's columns.
const COLUMNS: [&str; 11] = [
    "source_rss_kib",
    "source_anon_kib",
    "source_descriptors",
    "source_threads",
    "target_rss_kib",
    "target_anon_kib",
    "target_descriptors",
    "target_threads",
    "state_disk_kib",
    "journal_disk_kib",
    "replfs_disk_kib",
];

/// How much a median of the last quarter may be above that of the second: a quarter more, and this much.
const SLACK: [u64; 11] = [16 << 10, 16 << 10, 64, 8, 16 << 10, 16 << 10, 64, 8, 4 << 10, 72 << 10, 16 << 10];

/// What a soak was.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it began.
    pub seed: u64,
    /// The mode.
    pub commit: &'static str,
    /// How long.
    pub minutes: f64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was done.
    pub done: BTreeMap<&'static str, u64>,
    /// Failures that applications saw because of faults.
    pub failures: u64,
    /// Verifications beside the workloads, all without a false alarm.
    pub verifications: u64,
    /// How long it took after a fault until the replica was coherent again, in seconds: the longest.
    pub recovered_after: f64,
    /// How often applications had to pause, so that a mode that had degraded came to be in force again.
    pub pauses: u64,
    /// Samples.
    pub samples: usize,
    /// By column: the medians of the quarters, and the most.
    pub quarters: BTreeMap<&'static str, [u64; 5]>,
    /// What grew.
    pub grew: Vec<String>,
}

/// Takes samples until it is dropped.
struct Sampler {
    stop: Arc<AtomicBool>,
    rows: Arc<Mutex<Vec<[u64; 11]>>>,
    thread: Option<JoinHandle<()>>,
}

/// Daemons by their processes; zero: none.
type Pids = Arc<[AtomicU32; 2]>;

impl Sampler {
    #[track_caller]
    fn start(rig: &Rig, pids: &Pids, csv: &Path) -> Self {
        let (stop, rows) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut file = File::create(csv).unwrap_or_else(|e| panic!("cannot make {}: {e}", csv.display()));
        let places =
            [rig.source_state(), rig.source_state().join("run/journal"), rig.root().join(".replfs").join(NAME)];
        let _full = writeln!(file, "seconds,{}", COLUMNS.join(","));
        let (ends, all, pids) = (Arc::clone(&stop), Arc::clone(&rows), Arc::clone(pids));
        let thread = std::thread::spawn(move || {
            let (begin, mut next) = (Instant::now(), Instant::now());
            while !ends.load(Ordering::SeqCst) {
                if Instant::now() < next {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                next += EVERY;
                if let Some(row) = row(&pids, &places) {
                    let text = row.map(|number| number.to_string()).join(",");
                    let _full = writeln!(file, "{},{text}", begin.elapsed().as_secs());
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            }
        });
        Self { stop, rows, thread: Some(thread) }
    }

    fn rows(&self) -> Vec<[u64; 11]> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// A sample of both; `None` while one of them is away.
fn row(pids: &Pids, places: &[PathBuf; 3]) -> Option<[u64; 11]> {
    let [source, target] = [0, 1].map(|side: usize| Sample::of(pids[side].load(Ordering::SeqCst)));
    let processes = [source?, target?];
    let disk = |n: usize, but: &str| disk_kib(&places[n], but);
    let journal = disk(1, "") + disk_kib(&places[0].join("sources").join(NAME).join("journal"), "");
    let state = disk(0, "run").saturating_sub(disk_kib(&places[0].join("sources").join(NAME).join("journal"), ""));
    let of = |sample: Sample| [sample.resident_kib, sample.anonymous_kib, sample.descriptors, sample.threads];
    let all = processes.into_iter().flat_map(of).chain([state, journal, disk(2, "aside")]);
    let mut row = [0; 11];
    row.iter_mut().zip(all).for_each(|(column, value)| *column = value);
    Some(row)
}

/// Runs for `length`. It panics with what was broken.
#[track_caller]
pub fn run(length: Duration, seed: u64, commit: Commit, csv: &Path, events: &Events) -> Report {
    let mut random = Random::new(seed);
    let plan = everything(seed, commit, &mut random);
    let mut machine = Machine::start(&plan);
    let pids: Pids = Arc::new([AtomicU32::new(machine.rig.source_pid()), AtomicU32::new(machine.rig.target_pid())]);
    let sampler = Sampler::start(&machine.rig, &pids, csv);
    let mut work = Work::start(&plan, &machine);
    let mut report = Report::of(seed, commit);
    let begin = Instant::now();
    let mut minutes = 0;
    while begin.elapsed() < length {
        minutes += 1;
        let end = begin + MINUTE * minutes;
        let (kind, _) = *random.pick(&KINDS);
        let Some(fault) = Fault::draw(kind, &mut random) else { continue };
        minute(fault, &plan, &mut machine, &work, events, &pids, &mut report);
        *report.faults.entry(kind).or_default() += 1;
        if disk_kib(&machine.rig.root().join(".replfs").join(NAME).join("aside"), "") > ASIDE_KIB {
            events.say(work.running.attempts(), "what was set aside is removed");
            empty(&machine.rig.root().join(".replfs").join(NAME).join("aside"));
        }
        // Beside the workloads, without pause: nothing may be found.
        while Instant::now() < end.min(begin + length) {
            verify(&mut machine, &mut report);
        }
    }
    work.end();
    machine.rig.settle();
    judge::failures(&plan, &work.running);
    machine.rig.assert_equal();
    judge::acknowledged(&machine.rig, &work.workloads);
    judge::remains(&machine.rig);
    report.minutes = begin.elapsed().as_secs_f64() / 60.0;
    report.done = work.running.counts();
    report.failures = work.running.failures().iter().map(|(_, failure)| failure.times).sum();
    report.judge(&sampler.rows());
    machine.finish();
    report
}

/// One fault, its end, the recovery, and a verification beside the workloads.
#[track_caller]
fn minute(
    fault: Fault,
    plan: &Plan,
    machine: &mut Machine,
    work: &Work,
    events: &Events,
    pids: &Pids,
    report: &mut Report,
) {
    let mut driver = Driver::new(plan, events);
    driver.begin(fault, machine, work);
    let attempts = work.running.attempts();
    work.wait_for(attempts + 300, Duration::from_secs(3));
    driver.end(fault, machine, work);
    machine.mend();
    machine.assert_alive();
    pids[0].store(machine.rig.source_pid(), Ordering::SeqCst);
    pids[1].store(machine.rig.target_pid(), Ordering::SeqCst);
    let over = Instant::now();
    machine.rig.wait_status("the replica to be coherent again", |status| {
        let target = status.target();
        target.state == "connected" && target.coherent
    });
    let took = over.elapsed().as_secs_f64();
    report.recovered_after = report.recovered_after.max(took);
    events.say(work.running.attempts(), format!("coherent after {took:.1} s"));
    in_force(machine, work, events, report);
    verify(machine, report);
}

/// The mode is in force again. Where applications write faster than the target applies that takes them to pause: it is counted.
#[track_caller]
fn in_force(machine: &Machine, work: &Work, events: &Events, report: &mut Report) {
    let (begin, mut paused) = (Instant::now(), false);
    machine.rig.wait_status("the mode to be in force again", |status| {
        if status.target().degraded && !paused && begin.elapsed() > PATIENT {
            paused = true;
            events.say(work.running.attempts(), format!("still degraded, {:?}: a pause", status.target().lag));
            work.running.shut(true);
        }
        !status.target().degraded
    });
    report.pauses += u64::from(paused);
    if paused {
        work.running.shut(false);
        events.say(work.running.attempts(), "in force again");
    }
}

/// What was meddled with is mended; there is no false alarm.
#[track_caller]
fn verify(machine: &mut Machine, report: &mut Report) {
    let place = machine.rig.mnt().to_string_lossy().into_owned();
    let words: &[&str] = if machine.tampered { &[&place, "--repair"] } else { &[&place] };
    let outcome = machine.rig.replfs("verify", words);
    assert!(outcome.code == 0, "verification: {}\n{}{}", outcome.line, outcome.stdout, outcome.stderr);
    machine.tampered = false;
    report.verifications += 1;
}

/// A plan that has every workload and allows every fault.
fn everything(seed: u64, commit: Commit, random: &mut Random) -> Plan {
    let faults = KINDS.iter().filter_map(|(kind, _)| Fault::draw(kind, random));
    Plan {
        seed,
        round: 0,
        commit,
        journal_on_disk: true,
        small_backlog: true,
        compress: "auto",
        verifies: true,
        workloads: Kind::ALL.to_vec(),
        faults: faults.map(|fault| Planned { at: 0, until: 0, fault }).collect(),
        operations: 0,
    }
}

fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let _gone = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
    }
}

impl Report {
    fn of(seed: u64, commit: Commit) -> Self {
        Self {
            seed,
            commit: commit.as_str(),
            minutes: 0.0,
            faults: BTreeMap::new(),
            done: BTreeMap::new(),
            failures: 0,
            verifications: 0,
            recovered_after: 0.0,
            pauses: 0,
            samples: 0,
            quarters: BTreeMap::new(),
            grew: Vec::new(),
        }
    }

    /// Compares the medians of the second and the last quarter.
    fn judge(&mut self, rows: &[[u64; 11]]) {
        self.samples = rows.len();
        let quarter = rows.len().div_ceil(4).max(1);
        for (n, column) in COLUMNS.iter().enumerate() {
            let values: Vec<u64> = rows.iter().map(|row| row[n]).collect();
            let mut of = [0; 5];
            for (median, part) in of.iter_mut().zip(values.chunks(quarter)) {
                let mut part = part.to_vec();
                part.sort_unstable();
                *median = part[part.len() / 2];
            }
            of[4] = values.iter().copied().max().unwrap_or(0);
            if of[3] > of[1] + of[1] / 4 + SLACK[n] {
                self.grew.push(format!("{column}: {} in the second quarter, {} in the last", of[1], of[3]));
            }
            self.quarters.insert(column, of);
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:.1} minutes of {}, seed {}: {} faults, {} verifications, coherent again after {:.1} s at most, {} pauses for the mode, {} failures explained\ndone {:?}\nfaults {:?}\n",
            self.minutes,
            self.commit,
            self.seed,
            self.faults.values().sum::<u64>(),
            self.verifications,
            self.recovered_after,
            self.pauses,
            self.failures,
            self.done,
            self.faults
        );
        let _infallible =
            writeln!(text, "| | 1st quarter | 2nd | 3rd | 4th | most |\n| --- | --- | --- | --- | --- | --- |");
        for (column, [a, b, c, d, most]) in &self.quarters {
            let _infallible = writeln!(text, "| {column} | {a} | {b} | {c} | {d} | {most} |");
        }
        let _infallible =
            writeln!(text, "{}", if self.grew.is_empty() { "flat".to_owned() } else { self.grew.join("\n") });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_named_and_what_jumps_about_is_not() {
        let row = |memory: u64, n: u64| {
            let mut row = [10; 11];
            (row[0], row[3]) = (memory, 5 + n % 7);
            row
        };
        let judged = |grows: u64| {
            let mut report = Report::of(1, Commit::Sync);
            report.judge(&(0..100).map(|n| row(50_000 + n * grows, n)).collect::<Vec<_>>());
            report.grew.len()
        };
        assert_eq!((judged(0), judged(10), judged(2000)), (0, 0, 1));
    }
}
