//! How far behind the target is at a steady rate of writes of many sizes, in `real`, beside the round trip of bare QUIC.

use super::answer::{ANSWER, WRITE, seconds};
use super::bare::{Bare, Far};
use super::floor::Floor;
use super::ground::Ground;
use super::mount::Mount;
use super::rounds::{Found, Given, alternately};
use super::{pace, watch};
use crate::bench::fixture;
use crate::bench::quic::Manner;
use crate::bench::scene::Side;
use anyhow::{Context, Result};
use replfs_tests::rig::Commit;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Bytes per second.
const RATE: f64 = 20e6;

/// What is written at that rate, in MiB: ten seconds.
const MIB: usize = 190;

/// Bare round trips.
const COUNT: usize = 4000;

/// What one side of a round gave, in seconds.
struct Times {
    p50: f64,
    p99: f64,
    /// Of the same sizes at the same rate over a bare stream, one after the other.
    mixed: Option<(f64, f64)>,
}

/// The rows of the median, and of what one in a hundred is longer than: whichever was asked for.
pub fn measure(floors: &[&'static Floor], ground: &Ground) -> Result<Vec<Found>> {
    let mut mount = Mount::start(Commit::Real, &[]);
    let bare = Bare::new()?;
    let line = bare.connect(bare.accept(Far::Answers(ANSWER))?, Manner::Ordered)?;
    let (sizes, count) = (pace::sizes(ground.bytes(MIB)), ground.count(COUNT));
    let rounds = alternately(ground.rounds, |side| {
        mount.quiet()?;
        let given: Given<Times> = match side {
            Side::Bare => {
                let times = line.ask(vec![WRITE; count], ANSWER, None)?;
                let mixed = line.ask(sizes.clone(), ANSWER, Some(RATE))?;
                let mixed = Some((seconds(&mixed, 0.5)?, seconds(&mixed, 0.99)?));
                Ok(Times { p50: seconds(&times, 0.5)?, p99: seconds(&times, 0.99)?, mixed })
            }
            Side::Mount => match mount.plainly(|mount| lags(mount, &sizes))? {
                Ok(times) => Ok(Times { p50: seconds(&times, 0.5)?, p99: seconds(&times, 0.99)?, mixed: None }),
                Err(why) => Err(why),
            },
        };
        Ok(given)
    })?;
    let found = floors.iter().map(|floor| {
        let tail = floor.name == "lag-p99";
        let speeds = rounds.speeds(|bare| 1.0 / bare.p50, |replfs| 1.0 / if tail { replfs.p99 } else { replfs.p50 });
        let mixed = |of: fn((f64, f64)) -> f64| rounds.each(|bare, _| bare.mixed.map_or(f64::NAN, of) * 1e6);
        let more = if tail {
            vec![("bare p99 us", rounds.each(|bare, _| bare.p99 * 1e6)), ("bare mixed p99 us", mixed(|times| times.1))]
        } else {
            vec![("bare mixed p50 us", mixed(|times| times.0))]
        };
        Found { floor, speeds, more }
    });
    Ok(found.collect())
}

/// Writes at the rate; how long after the beginning of each write the target had applied it.
fn lags(mount: &mut Mount, sizes: &[usize]) -> Result<Vec<Duration>> {
    let new = mount.create()?;
    let ends: Vec<u64> = sizes
        .iter()
        .scan(0, |end, size| {
            *end += *size as u64;
            Some(*end)
        })
        .collect();
    let (begun, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch::wait(&new.replica, &ends));
        let begun = writes(&new.file, sizes, &ends);
        let seen = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok((begun?, seen?))
    })?;
    new.remove()?;
    Ok(begun.iter().zip(&seen).map(|(begun, seen)| seen.saturating_duration_since(*begun)).collect())
}

/// When each write began. A write that is late is made at once.
fn writes(file: &std::fs::File, sizes: &[usize], ends: &[u64]) -> Result<Vec<Instant>> {
    let mut block = fixture::noise(sizes.iter().max().copied().context("nothing to write")?);
    let (start, mut begun) = (Instant::now(), Vec::with_capacity(sizes.len()));
    for (size, end) in sizes.iter().zip(ends) {
        let before = *end - *size as u64;
        let due = start + pace::due(usize::try_from(before)?, RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let write = &mut block[..*size];
        watch::mark(write, *end);
        begun.push(Instant::now());
        file.write_all_at(write, before)?;
    }
    Ok(begun)
}
