//! One case with one peer: bare, peer, bare in each round, and what the peer takes for it until its replica is equal.

use super::far::Traffic;
use super::lag::{self, End, Lag, Outcome};
use super::peer::Peer;
use super::round::Round;
use super::spent;
use super::workload;
use crate::bench::caches;
use crate::bench::case::{Case, Done, Place};
use crate::signals;
use anyhow::{Context, Result, ensure};
use replfs_tests::compare;
use replfs_tests::rig::watchdog::kill;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest time of one unit: what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(1200);

/// How long the exact comparison waits for what a replica is given after its content.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// What there is to measure with.
pub struct Bench {
    pub peer: Box<dyn Peer>,
    /// The bare directory.
    pub bare: PathBuf,
    /// What units share.
    pub scratch: PathBuf,
    /// Of the reference size.
    pub scale: f64,
    pub units: u64,
}

impl Bench {
    /// Lays what the cases need, on both sides.
    pub fn lay(&self, cases: &[&Case]) -> Result<()> {
        for side in [&self.bare, &self.peer.app()] {
            let dir = side.join("fixtures");
            if !dir.exists() {
                fs::create_dir(&dir)?;
            }
            for fixture in cases.iter().flat_map(|case| case.fixtures) {
                let path = dir.join(fixture.name());
                if !path.exists() {
                    fixture.make(&path, &self.scratch)?;
                }
            }
        }
        lag::equal(&*self.peer, &["fixtures".into()])
    }

    /// One round. Errors: a call failed on either side, or Ctrl-C.
    pub fn round(&mut self, case: &Case) -> Result<Round> {
        let mut round = Round::default();
        round.bare[0] = self.bare_unit(case).context("bare")?;
        self.peer_unit(case, &mut round).context("with the peer")?;
        round.bare[1] = self.bare_unit(case).context("bare")?;
        Ok(round)
    }

    fn place(&mut self, side: &Path, case: &Case) -> Result<Place> {
        ensure!(!signals::enough(), "interrupted");
        self.units += 1;
        let dir = side.join(format!("unit-{}", self.units));
        fs::create_dir(&dir)?;
        let scale = workload::reference(case).map_or(1.0, |(scale, _)| scale) * self.scale;
        Ok(Place { dir, fixtures: side.join("fixtures"), scratch: self.scratch.clone(), scale, counted: true })
    }

    fn bare_unit(&mut self, case: &Case) -> Result<f64> {
        let place = self.place(&self.bare.clone(), case)?;
        let mut timed = (case.prepare)(&place)?;
        caches::write_back(&self.bare)?;
        let start = Instant::now();
        let done = timed()?;
        drop(timed);
        let each = each(done, start.elapsed());
        fs::remove_dir_all(&place.dir)?;
        Ok(each)
    }

    fn peer_unit(&mut self, case: &Case, round: &mut Round) -> Result<()> {
        let place = self.place(&self.peer.app(), case)?;
        let unit = place.dir.file_name().map(PathBuf::from).unwrap_or_default();
        let fixtures = case.fixtures.iter().map(|fixture| Path::new("fixtures").join(fixture.name()));
        let paths: Vec<PathBuf> = [unit.clone()].into_iter().chain(fixtures).collect();
        let hang = Hang::watch(self.peer.processes());
        let mut timed = (case.prepare)(&place)?;
        // A database server that runs writes as it likes.
        let still = case.name != "W7-pgbench";
        if still {
            lag::equal(&*self.peer, &paths)?;
        }
        self.peer.rest();
        caches::write_back(&self.bare)?;
        self.peer.begin();

        let records = self.peer.records();
        let (roots, target) = (self.peer.processes(), self.peer.target_processes());
        let before = Mark::now(&roots, &target)?;
        let start = Instant::now();
        let done = timed()?;
        // Closing files is the application's too.
        drop(timed);
        let (end, took) = (End::now(), start.elapsed());
        let after = Mark::now(&roots, &target)?;
        self.peer.ended();
        round.peer = each(done, took);
        round.seconds = took.as_secs_f64();
        round.work = match done {
            Done::Operations(work) | Done::Bytes(work) => Some(work),
            Done::Rate(_) => None,
        };
        round.payload = after.written - before.written;
        round.target_processor = (after.target.saturating_sub(before.target)).as_secs_f64();

        self.wait(&paths, end, round)?;
        let equal = Mark::now(&self.peer.processes(), &[])?;
        let traffic = equal.traffic.since(before.traffic);
        (round.there, round.back) = (traffic.there, traffic.back);
        round.there_after = equal.traffic.since(after.traffic).there;
        round.processor = equal.peer.saturating_sub(before.peer).as_secs_f64();
        if self.peer.writes_behind()
            && let Some(what) = lag::as_seen(&*self.peer, &paths)?
        {
            // It was still on its way below: what was measured is too short.
            round.doubt = Some(format!("equal below, but not as the application sees it: {what}"));
        }
        self.peer.rest();
        let sent = self.peer.records().zip(records).map(|(after, before)| after.saturating_sub(before));
        round.records = sent;
        round.doubt = self.peer.doubt().or_else(|| round.doubt.take());
        drop(hang);

        fs::remove_dir_all(&place.dir)?;
        if round.never.is_none() {
            lag::equal(&*self.peer, &[unit])?;
        }
        Ok(())
    }

    fn wait(&self, paths: &[PathBuf], end: End, round: &mut Round) -> Result<()> {
        match lag::wait(&*self.peer, paths, end)? {
            Outcome::Equal(_) if self.peer.replica().is_none() => {}
            Outcome::Equal(Lag { low, high }) => round.lag = Some((low, high)),
            Outcome::Never(what) => round.never = Some(what),
        }
        Ok(())
    }

    /// What a replica of a case's work still differs in when it counts as equal, by the exact comparison: kinds of differences and how many.
    pub fn kept(&mut self, case: &Case) -> Result<BTreeMap<String, usize>> {
        let Some(replica) = self.peer.replica() else { return Ok(BTreeMap::new()) };
        let place = self.place(&self.peer.app(), case)?;
        let unit = place.dir.file_name().map(PathBuf::from).unwrap_or_default();
        let mut timed = (case.prepare)(&place)?;
        timed()?;
        drop(timed);
        lag::equal(&*self.peer, std::slice::from_ref(&unit))?;
        self.peer.rest();
        std::thread::sleep(AFTERWARDS);
        let report = compare::trees(&self.peer.below().join(&unit), &replica.join(&unit))?;
        let mut classes = BTreeMap::new();
        // What a peer notes for itself beside a file is no matter.
        let own = |detail: &str| detail.starts_with("trusted.");
        for difference in report.differences.iter().filter(|difference| !own(&difference.detail)) {
            *classes.entry(format!("{:?}", difference.class)).or_default() += 1;
        }
        fs::remove_dir_all(&place.dir)?;
        lag::equal(&*self.peer, &[unit])?;
        Ok(classes)
    }
}

/// Seconds for each operation or byte.
#[allow(clippy::cast_precision_loss)] // a rate
fn each(done: Done, took: Duration) -> f64 {
    match done {
        Done::Operations(work) | Done::Bytes(work) => took.as_secs_f64() / work as f64,
        Done::Rate(rate) => 1.0 / rate,
    }
}

/// Counters at one moment.
struct Mark {
    traffic: Traffic,
    peer: Duration,
    target: Duration,
    written: u64,
}

impl Mark {
    fn now(peer: &[u32], target: &[u32]) -> Result<Self> {
        Ok(Self {
            traffic: Traffic::so_far()?,
            written: written()?,
            peer: spent::so_far(peer),
            target: spent::so_far(target),
        })
    }
}

/// Bytes that this process and the programs that it ran and that have ended have handed to write(2) and its like (`wchar` in `/proc/self/io`).
fn written() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("cannot read /proc/self/io")?;
    let count = text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
    count.context("/proc/self/io has no wchar")
}

/// Kills a peer that hangs: calls in its mount then return with an error.
struct Hang(Option<std::sync::mpsc::Sender<()>>);

impl Hang {
    fn watch(pids: Vec<u32>) -> Self {
        let (alive, unit) = channel::<()>();
        std::thread::spawn(move || {
            if unit.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!("xtask: a unit takes longer than {LIMIT:?}: the peer is killed");
                for pid in pids {
                    kill(pid, Signal::KILL);
                }
            }
        });
        Self(Some(alive))
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_writes_are_counted_when_it_has_ended() {
        let before = written().unwrap();
        let dd = "dd if=/dev/zero of=/dev/null bs=1000 count=50 status=none";
        assert!(std::process::Command::new("bash").args(["-c", dd]).status().unwrap().success());
        assert!(written().unwrap() - before >= 50_000);
    }
}
