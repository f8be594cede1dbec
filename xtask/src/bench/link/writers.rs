//! Many writers in `sync`, a file each, beside one: their waiting is to overlap.

use super::answer::WRITE;
use super::floor::Floor;
use super::ground::Ground;
use super::mount::{Mount, New};
use super::rounds::{Found, alternately};
use crate::bench::fixture;
use crate::bench::scene::Side;
use anyhow::Result;
use replfs_tests::rig::Commit;
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long they write.
const TIME: Duration = Duration::from_secs(2);

/// Bytes of a file, which is written again from its beginning then.
const FILE: u64 = 4 << 20;

/// Writes per second, of one and of so many.
pub fn measure(floor: &'static Floor, writers: usize, ground: &Ground) -> Result<Found> {
    let mut mount = Mount::start(Commit::Sync, &[]);
    let time = ground.time(TIME);
    let speeds = alternately(ground.rounds, |side| {
        mount.quiet()?;
        mount.plainly(|mount| rate(mount, if side == Side::Bare { 1 } else { writers }, time))
    })?;
    Ok(Found { floor, speeds, more: Vec::new() })
}

fn rate(mount: &mut Mount, writers: usize, time: Duration) -> Result<f64> {
    let files = (0..writers).map(|_| mount.create()).collect::<Result<Vec<New>>>()?;
    let (block, begin) = (fixture::noise(WRITE), Barrier::new(writers));
    let counts = std::thread::scope(|scope| {
        let writing = files.iter().map(|new| scope.spawn(|| writes(new, &block, &begin, time))).collect::<Vec<_>>();
        let ended = writing.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<f64>>>()
    })?;
    files.into_iter().try_for_each(New::remove)?;
    Ok(counts.iter().sum())
}

/// Writes per second of one of them.
fn writes(new: &New, block: &[u8], begin: &Barrier, time: Duration) -> Result<f64> {
    begin.wait();
    let (start, mut done) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        new.file.write_all_at(block, u64::from(done) * block.len() as u64 % FILE)?;
        done += 1;
    }
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}
