//! The ordered stream beside a bare one: the same bytes, written a MiB at a time, until the other side has them.

use super::bare::{Bare, Far};
use super::floor::Floor;
use super::ground::Ground;
use super::mount::Mount;
use super::rounds::{Found, alternately};
use crate::bench::fixture;
use crate::bench::quic::Manner;
use crate::bench::scene::Side;
use anyhow::Result;
use replfs_tests::rig::Commit;
use std::fs;

/// What is sent, in MiB.
const MIB: usize = 256;

/// What the application writes at once.
const PIECE: usize = 1 << 20;

/// Beside an end that keeps what it gets, or one that does not.
pub fn measure(floor: &'static Floor, keeps: bool, ground: &Ground) -> Result<Found> {
    let mut mount = Mount::start(Commit::Real, &[]);
    let bare = Bare::new()?;
    let kept = mount.beside()?.join("kept");
    let far = if keeps { Far::Keeps(kept.clone()) } else { Far::Discards };
    let line = bare.connect(bare.accept(far)?, Manner::Ordered)?;
    let (mut block, bytes) = (fixture::noise(PIECE), ground.bytes(MIB));
    #[allow(clippy::cast_precision_loss)] // a rate
    let rate = |took: std::time::Duration| bytes as f64 / took.as_secs_f64();
    let speeds = alternately(ground.rounds, |side| {
        mount.quiet()?;
        Ok(match side {
            Side::Bare => {
                let took = line.send(&block, bytes)?;
                if keeps {
                    fs::remove_file(&kept)?;
                }
                Ok(rate(took))
            }
            Side::Mount => mount.plainly(|mount| mount.write(&mut block, PIECE, bytes))?.map(rate),
        })
    })?;
    Ok(Found { floor, speeds, more: Vec::new() })
}
