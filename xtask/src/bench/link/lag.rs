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

/// Seconds of many: the median, and what one in a hundred is longer than.
#[derive(Clone, Copy)]
struct Times {
    p50: f64,
    p99: f64,
}

/// What one side of a round gave.
struct Gave {
    /// Of 4 KiB, or of the writes.
    plain: Times,
    /// Bare: of the sizes of the writes at their rate, one after the other. replfs: of the calls of the writes, which is part of the lag.
    other: Times,
}

impl Times {
    fn of(times: &[Duration]) -> Result<Self> {
        Ok(Self { p50: seconds(times, 0.5)?, p99: seconds(times, 0.99)? })
    }
}

/// The rows of the median and of what one in a hundred is longer than, each beside the median of small and of equal questions: whichever were asked for.
pub fn measure(floors: &[&'static Floor], ground: &Ground) -> Result<Vec<Found>> {
    let mut mount = Mount::start(Commit::Real, &[]);
    let bare = Bare::new()?;
    let line = bare.connect(bare.accept(Far::Answers(ANSWER))?, Manner::Ordered)?;
    let (sizes, count) = (pace::sizes(ground.bytes(MIB)), ground.count(COUNT));
    let rounds = alternately(ground.rounds, |side| {
        mount.quiet()?;
        let given: Given<[Vec<Duration>; 2]> = match side {
            Side::Bare => {
                let small = line.ask(vec![WRITE; count], ANSWER, None)?;
                Ok([small, line.ask(sizes.clone(), ANSWER, Some(RATE))?])
            }
            Side::Mount => mount.plainly(|mount| lags(mount, &sizes))?,
        };
        Ok(match given {
            Ok([plain, other]) => Ok(Gave { plain: Times::of(&plain)?, other: Times::of(&other)? }),
            Err(why) => Err(why),
        })
    })?;
    let found = floors.iter().map(|floor| {
        let (equal, tail) = (floor.name.contains("equal"), floor.name.ends_with("p99"));
        let of = |times: Times| if tail { times.p99 } else { times.p50 };
        let beside = |bare: &Gave| if equal { bare.other } else { bare.plain };
        let more = vec![
            ("bare p99 us", rounds.each(|bare, _| beside(bare).p99 * 1e6)),
            ("of it the call us", rounds.each(|_, replfs| of(replfs.other) * 1e6)),
        ];
        let speeds = rounds.speeds(|bare| 1.0 / beside(bare).p50, |replfs| 1.0 / of(replfs.plain));
        Found { floor, speeds, more }
    });
    Ok(found.collect())
}

/// Writes at the rate; how long after the beginning of each write the target had applied it, and how long each call took.
fn lags(mount: &mut Mount, sizes: &[usize]) -> Result<[Vec<Duration>; 2]> {
    let new = mount.create()?;
    let ends: Vec<u64> = sizes
        .iter()
        .scan(0, |end, size| {
            *end += *size as u64;
            Some(*end)
        })
        .collect();
    let (calls, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch::wait(&new.replica, &ends));
        let calls = writes(&new.file, sizes, &ends);
        let seen = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok((calls?, seen?))
    })?;
    new.remove()?;
    let lags = calls.iter().zip(&seen).map(|((begun, _), seen)| seen.saturating_duration_since(*begun)).collect();
    Ok([lags, calls.into_iter().map(|(_, took)| took).collect()])
}

/// When each write began, and how long the call took. A write that is late is made at once.
fn writes(file: &std::fs::File, sizes: &[usize], ends: &[u64]) -> Result<Vec<(Instant, Duration)>> {
    let mut block = fixture::noise(sizes.iter().max().copied().context("nothing to write")?);
    let (start, mut calls) = (Instant::now(), Vec::with_capacity(sizes.len()));
    for (size, end) in sizes.iter().zip(ends) {
        let before = *end - *size as u64;
        let due = start + pace::due(usize::try_from(before)?, RATE);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let write = &mut block[..*size];
        watch::mark(write, *end);
        let begun = Instant::now();
        file.write_all_at(write, before)?;
        calls.push((begun, begun.elapsed()));
    }
    Ok(calls)
}
