//! What replication takes of the processors, for both daemons, beside both ends of a bare stream: a table, nothing is promised.

use super::bare::{Bare, Far};
use super::floor::Floor;
use super::ground::Ground;
use super::mount::Mount;
use super::rounds::{Found, alternately};
use super::text;
use crate::bench::effort::Effort;
use crate::bench::peers::spent;
use crate::bench::quic::Manner;
use crate::bench::scene::Side;
use anyhow::{Context, Result};
use replfs_tests::rig::Commit;
use std::fs;

/// What is written, in MiB: it takes long enough for ticks of 10 ms.
const LARGE: usize = 512;
const SMALL: usize = 128;

/// Bytes that repeat.
const BLOCK: usize = 8 << 20;

/// Processor seconds of one round.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    source: f64,
    target: f64,
}

/// `1M` or `4K` in the name is the size of a write, what follows is how it is packed.
pub fn measure(floor: &'static Floor, ground: &Ground) -> Result<Found> {
    let words = floor.name.strip_prefix("cpu-").and_then(|rest| rest.split_once('-'));
    let (size, packing) = words.with_context(|| format!("{} names no size and no packing", floor.name))?;
    let (piece, mib) = if size == "1M" { (1 << 20, LARGE) } else { (4 << 10, SMALL) };
    let mut mount = Mount::start(Commit::Real, &["--compress", packing]);
    let bare = Bare::new()?;
    let kept = mount.beside()?.join("kept");
    let line = bare.connect(bare.accept(Far::Keeps(kept.clone()))?, Manner::Ordered)?;
    let (mut block, bytes) = (text::block(BLOCK), ground.bytes(mib));
    let daemons = mount.daemons();
    let so_far = || daemons.map(|pid| spent::so_far(&[pid]).as_secs_f64());
    let rounds = alternately(ground.rounds, |side| {
        mount.quiet()?;
        Ok(match side {
            Side::Bare => {
                let before = Effort::so_far(&[])?;
                line.send(&block[..piece], bytes)?;
                // Both ends are in this process; one figure for both.
                let spent = Effort::so_far(&[])?.since(&before).as_secs_f64();
                fs::remove_file(&kept)?;
                Ok(Spent { source: spent, target: 0.0 })
            }
            Side::Mount => mount.plainly(|mount| {
                let before = so_far();
                mount.write(&mut block, piece, bytes)?;
                mount.quiet()?;
                let now = so_far();
                Ok(Spent { source: now[0] - before[0], target: now[1] - before[1] })
            })?,
        })
    })?;
    #[allow(clippy::cast_precision_loss)] // a rate
    let (bytes, gib) = (bytes as f64, bytes as f64 / f64::from(1 << 30));
    let worked = |spent: &Spent| bytes / (spent.source + spent.target);
    let more = vec![
        ("source s/GiB", rounds.each(|_, replfs| replfs.source / gib)),
        ("target s/GiB", rounds.each(|_, replfs| replfs.target / gib)),
    ];
    Ok(Found { floor, speeds: rounds.speeds(worked, worked), more })
}
