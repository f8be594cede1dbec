//! A first mirror over a long, lossy line beside as many bare connections as it has lanes, through the same kind of relay.

use super::bare::{Bare, Far, SHARED};
use super::floor::Floor;
use super::ground::Ground;
use super::rounds::{Found, alternately};
use crate::bench::caches;
use crate::bench::scene::Side;
use anyhow::{Result, ensure};
use replfs_tests::link::Link;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::weather::Weather;
use std::time::{Duration, Instant};

/// The line, each way: 50 ms there and back, 100 Mbit/s, one in a thousand datagrams lost.
const LINE: Weather = Weather {
    lost_permille: 1,
    doubled_permille: 0,
    delay: Duration::from_millis(25),
    jitter: Duration::ZERO,
    bytes_per_second: 12_500_000,
};

/// Lanes (as replfs has them unless told otherwise), and bare connections; files as well.
const LANES: usize = 4;

/// Bytes of all files together, in MiB.
const MIB: usize = 64;

/// Between two looks at the status, each a few ms of work.
const LOOK: Duration = Duration::from_millis(50);

/// How long a mirror may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Bytes per second.
pub fn measure(floor: &'static Floor, ground: &Ground) -> Result<Found> {
    let pieces = ground.bytes(MIB).div_ceil(LANES * SHARED) * LANES;
    let bytes = pieces / LANES * SHARED;
    let contents: Vec<Vec<u8>> = (0..LANES as u64).map(|seed| Random::new(seed).bytes(bytes)).collect();
    #[allow(clippy::cast_precision_loss)] // a rate
    let rate = |took: Duration| (bytes * LANES) as f64 / took.as_secs_f64();
    let speeds = alternately(ground.rounds, |side| {
        Ok(Ok(rate(match side {
            Side::Bare => share(pieces)?,
            Side::Mount => mirror(&contents)?,
        })))
    })?;
    Ok(Found { floor, speeds, more: Vec::new() })
}

/// From the first datagram until the far end has said that it has all.
fn share(pieces: usize) -> Result<Duration> {
    let bare = Bare::new()?;
    let link = Link::to(bare.accept(Far::Counts)?)?;
    link.set_weather(LINE);
    bare.share(link.address(), LANES, pieces)
}

/// From the mount command until source and target are the same.
fn mirror(contents: &[Vec<u8>]) -> Result<Duration> {
    let mut rig = Rig::prepare(Commit::Real, Setup::default().linked());
    for (at, content) in contents.iter().enumerate() {
        std::fs::write(rig.src().join(format!("file{at}")), content)?;
    }
    caches::write_back(&rig.src())?;
    rig.link().set_weather(LINE);
    let start = Instant::now();
    rig.mount();
    while !rig.try_status().is_some_and(|status| status.target().coherent) {
        ensure!(start.elapsed() < PATIENCE, "source and target are not the same after {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
    Ok(start.elapsed())
}
