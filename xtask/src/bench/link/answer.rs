//! One small write in `sync` beside a bare question and its answer.

use super::bare::{Bare, Far};
use super::floor::Floor;
use super::ground::Ground;
use super::mount::Mount;
use super::rounds::{Found, alternately};
use crate::bench::fixture;
use crate::bench::quic::Manner;
use crate::bench::scene::Side;
use crate::bench::statistic::percentile;
use anyhow::{Context, Result};
use replfs_tests::rig::Commit;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Bytes of a write, and of a question.
pub const WRITE: usize = 4 << 10;

/// Bytes of an answer: as many as an acknowledgement of replfs has, about.
pub const ANSWER: usize = 32;

/// How many.
const COUNT: usize = 4000;

/// What one side of a round gave, in seconds.
struct Times {
    p50: f64,
    p99: f64,
    /// The median where the bare answer is as long as the question.
    long_answer: f64,
}

/// Medians, and what one in a hundred is longer than.
pub fn measure(floor: &'static Floor, ground: &Ground) -> Result<Found> {
    let mut mount = Mount::start(Commit::Sync, &[]);
    let bare = Bare::new()?;
    let line = bare.connect(bare.accept(Far::Answers(ANSWER))?, Manner::Ordered)?;
    let long = bare.connect(bare.accept(Far::Answers(WRITE))?, Manner::Ordered)?;
    let (block, count) = (fixture::noise(WRITE), ground.count(COUNT));
    let rounds = alternately(ground.rounds, |side| {
        mount.quiet()?;
        let mut long_answer = f64::NAN;
        let times = match side {
            Side::Bare => {
                long_answer = seconds(&long.ask(vec![WRITE; count], WRITE, None)?, 0.5)?;
                Ok(line.ask(vec![WRITE; count], ANSWER, None)?)
            }
            Side::Mount => mount.plainly(|mount| writes(mount, &block, count))?,
        };
        Ok(match times {
            Ok(times) => Ok(Times { p50: seconds(&times, 0.5)?, p99: seconds(&times, 0.99)?, long_answer }),
            Err(why) => Err(why),
        })
    })?;
    let more = vec![
        ("bare p99 us", rounds.each(|bare, _| bare.p99 * 1e6)),
        ("bare with answers of 4 KiB us", rounds.each(|bare, _| bare.long_answer * 1e6)),
        ("replfs p99 us", rounds.each(|_, replfs| replfs.p99 * 1e6)),
    ];
    Ok(Found { floor, speeds: rounds.speeds(|bare| 1.0 / bare.p50, |replfs| 1.0 / replfs.p50), more })
}

/// Such a share of them is no longer than this.
pub fn seconds(times: &[Duration], share: f64) -> Result<f64> {
    percentile(times.iter().map(Duration::as_secs_f64), share).context("nothing was measured")
}

/// The time of each of several writes, one after the other.
fn writes(mount: &mut Mount, block: &[u8], count: usize) -> Result<Vec<Duration>> {
    let new = mount.create()?;
    let mut times = Vec::with_capacity(count);
    for at in 0..count {
        let start = Instant::now();
        new.file.write_all_at(block, (at * block.len()) as u64)?;
        times.push(start.elapsed());
    }
    new.remove()?;
    Ok(times)
}
