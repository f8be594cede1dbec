//! What a bypass costs afterwards: names that moved are moved, not sent again; of data, what was written.

use super::apps::{Args, Call};
use super::check::{Checked, Checker};
use super::search::guarded;
use super::source::{Bounds, Counts};
use super::world::{Event, World};
use crate::seed::Random;

/// What happens during the bypass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum While {
    /// Files and directories are renamed, replaced and exchanged.
    Renames,
    /// Files are written to.
    Writes,
}

const BOUNDS: Bounds = Bounds { queue: 10_000, held: 10_000, workers: 2, staged: 4 };

fn number(random: &mut Random) -> u32 {
    u32::try_from(random.below(1 << 16)).unwrap_or(0)
}

/// Runs a seed.
pub fn run(seed: u64, what: While) -> Result<Counts, (Checker, String)> {
    let mut world = World::new(BOUNDS, None, false);
    guarded(|| play(&mut world, seed, what))?;
    Ok(world.counts())
}

fn play(world: &mut World, seed: u64, what: While) -> Checked {
    let mut random = Random::new(seed);
    let mut call = |call: Call| Event::App(call, Args(number(&mut random), number(&mut random), number(&mut random)));
    for index in 0..60 {
        world.happen(call(if index % 3 == 0 { Call::Mkdir } else { Call::Create }))?;
    }
    world.settle(&mut Random::new(1))?;
    let before = (world.counts(), world.source.writes);
    world.happen(Event::Bypass(true))?;
    for index in 0..40 {
        let what = match (what, index % 5) {
            (_, 0) => Call::Forget,
            (While::Renames, 1) => Call::Exchange,
            (While::Renames, _) => Call::Rename,
            (While::Writes, _) => Call::Write,
        };
        world.happen(call(what))?;
    }
    world.happen(Event::Bypass(false))?;
    world.settle(&mut Random::new(2))?;
    let after = (world.counts(), world.source.writes);
    let sent = after.0.blocks - before.0.blocks;
    let written = u64::from(after.1 - before.1);
    if sent > written {
        return Err((Checker::Efficiency, format!("{sent} blocks were sent, {written} were written")));
    }
    if after.0.full > before.0.full {
        return Err((Checker::Efficiency, "everything was compared".to_owned()));
    }
    Ok(())
}
