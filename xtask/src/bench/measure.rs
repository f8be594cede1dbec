//! One case in one state: bare, mount, mount, bare, bare, mount, ... Each pair gives a ratio, so that whatever changes on the
//! machine from one minute to the next changes both of its halves.

use super::caches;
use super::case::{Caches, Case, Done};
use super::effort::{self, Effort};
use super::scene::{Scene, Side};
use crate::signals;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// How often.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// At least so many pairs.
    pub least: usize,
    /// At most so many.
    pub most: usize,
    /// Beyond `least`, no further pair begins after this time.
    pub share: Duration,
    /// Times and counts of the cases are multiplied by this.
    pub scale: f64,
}

/// What a throughput counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Operations,
    Bytes,
}

/// One unit on one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// Work per second.
    pub per_second: f64,
    /// Work per second of processor time, the daemons' included.
    pub per_effort: f64,
    /// Reads by the source daemon for each operation or MiB; none in the bare directory.
    pub reads: f64,
}

/// Both sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pair {
    pub bare: Rate,
    pub mount: Rate,
}

impl Pair {
    /// Throughput, bare directory = 1, higher is better.
    pub fn ratio(self) -> f64 {
        self.mount.per_second / self.bare.per_second
    }

    /// The same by processor time.
    pub fn effort(self) -> f64 {
        self.mount.per_effort / self.bare.per_effort
    }
}

/// All pairs of a case.
#[derive(Clone, Debug)]
pub struct Measured {
    pub unit: Unit,
    pub pairs: Vec<Pair>,
    /// Pairs that do not count, and why.
    pub discarded: Vec<String>,
}

/// Measures. Errors: a call failed on either side, or Ctrl-C.
pub fn measure(scene: &mut Scene, case: &Case, rounds: Rounds) -> Result<Measured> {
    let start = Instant::now();
    let mut measured = Measured { unit: Unit::Operations, pairs: Vec::new(), discarded: Vec::new() };
    for round in 0..rounds.most {
        if round >= rounds.least && start.elapsed() > rounds.share {
            break;
        }
        let mut pair = Pair::default();
        let mut doubt = None;
        for side in Side::order(round) {
            let (rate, unit) = unit(scene, case, side, rounds.scale).with_context(|| format!("{side:?}"))?;
            measured.unit = unit;
            match side {
                Side::Bare => pair.bare = rate,
                Side::Mount => {
                    pair.mount = rate;
                    doubt = scene.doubt();
                }
            }
        }
        match doubt {
            None => measured.pairs.push(pair),
            Some(seen) => measured.discarded.push(seen),
        }
    }
    Ok(measured)
}

/// One unit on one side: its rate.
fn unit(scene: &mut Scene, case: &Case, side: Side, scale: f64) -> Result<(Rate, Unit)> {
    ensure!(!signals::enough(), "interrupted");
    let place = scene.place(side, scale)?;
    let mut timed = scene.guarded(|| (case.prepare)(&place))?;
    scene.quiet(case, scale)?;
    if case.caches != Caches::AsPrepared {
        caches::forget()?;
    }
    if case.caches == Caches::ColdAbove {
        scene.warm_below(side, case)?;
    }
    let daemons = scene.daemons(side);
    let reads = effort::reads_of(scene.source_daemon())?;
    let before = Effort::so_far(&daemons)?;
    let (done, took) = scene.guarded(|| {
        let start = Instant::now();
        let done = timed();
        (done, start.elapsed())
    });
    let spent = Effort::so_far(&daemons)?.since(&before);
    let reads = effort::reads_of(scene.source_daemon())? - reads;
    let done = done?;
    drop(timed);
    scene.guarded(|| fs::remove_dir_all(&place.dir))?;
    Ok(rate(done, took, spent, reads))
}

#[allow(clippy::cast_precision_loss)] // a rate
fn rate(done: Done, took: Duration, spent: Duration, reads: u64) -> (Rate, Unit) {
    let (work, pieces, unit) = match done {
        Done::Operations(count) => (count as f64, count as f64, Unit::Operations),
        Done::Bytes(count) => (count as f64, count as f64 / f64::from(1 << 20), Unit::Bytes),
        // The server that did the work is not known here, so neither is its processor time.
        Done::Rate(rate) => {
            let reads = reads as f64 / (rate * took.as_secs_f64());
            return (Rate { per_second: rate, per_effort: f64::NAN, reads }, Unit::Operations);
        }
    };
    let per_effort = work / spent.as_secs_f64();
    (Rate { per_second: work / took.as_secs_f64(), per_effort, reads: reads as f64 / pieces }, unit)
}
