//! What a bypass costs afterwards: names that moved are moved, not sent again; of data, what was written. And what it costs that the target was
//! away for longer than the queue is: no more than what there is in the end.

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

/// Files are written over and over while the target is away, many times what is queued; for a seed.
pub fn away(seed: u64) -> Result<Counts, (Checker, String)> {
    let mut world = World::new(Bounds { queue: 30, ..BOUNDS }, None, false);
    guarded(|| play_away(&mut world, seed))?;
    Ok(world.counts())
}

fn play_away(world: &mut World, seed: u64) -> Checked {
    let mut random = Random::new(seed);
    let mut call = |call: Call| Event::App(call, Args(number(&mut random), number(&mut random), number(&mut random)));
    for _ in 0..10 {
        world.happen(call(Call::Create))?;
    }
    world.settle(&mut Random::new(1))?;
    let before = world.counts();
    world.happen(Event::Cut)?;
    for index in 0..300 {
        world.happen(call(if index % 7 == 0 { Call::Rename } else { Call::Write }))?;
    }
    let disk = &world.source.disk;
    let all: u64 = disk.files().iter().map(|file| disk.at(*file).blocks().len() as u64).sum();
    world.settle(&mut Random::new(2))?;
    let after = world.counts();
    if after.swallowed == before.swallowed {
        return Err((Checker::Efficiency, "the queue was not given up".to_owned()));
    }
    let sent = after.blocks - before.blocks;
    if sent > all {
        return Err((Checker::Efficiency, format!("{sent} blocks were sent, there are {all}")));
    }
    if after.full > before.full {
        return Err((Checker::Efficiency, "everything was compared".to_owned()));
    }
    Ok(())
}
