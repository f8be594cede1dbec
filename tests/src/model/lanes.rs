//! Several sequences at a time. Each lane has a directory of its own, where nobody disturbs it: what it sees there must be what
//! the model sees. And all lanes meet in one shared directory, where the order is nobody's to know: there only errors
//! that no race explains are wrong, and in the end the trees must agree.

use super::agree::{self, Exactness};
use super::bench::{open_directory, side};
use super::op::{Step, fixture};
use super::side::Perform;
use super::strategy;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt;
use std::path::Path;

/// Lanes at a time.
pub const LANES: usize = 3;

/// The directory where lanes meet.
pub const SHARED: &str = "shared";

/// Where a step of a lane happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// In the lane's own directory.
    Own,
    /// Where all meet.
    Shared,
}

/// A step of a lane.
#[derive(Clone)]
pub struct Move {
    ground: Ground,
    step: Step,
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.ground, self.step)
    }
}

/// What one thread does.
pub type Lane = Vec<Move>;

/// [`LANES`] lanes of up to `longest` steps each.
pub fn lanes(longest: usize) -> impl Strategy<Value = Vec<Lane>> {
    let own = strategy::step(true).prop_map(|step| Move { ground: Ground::Own, step });
    let shared = strategy::step(false).prop_map(|step| Move { ground: Ground::Shared, step });
    vec(vec(prop_oneof![1 => own, 1 => shared], 0..=longest), LANES)
}

/// The lines that show lanes.
pub fn show(all: &[Lane]) -> Vec<String> {
    let line =
        |(number, lane): (usize, &Lane)| lane.iter().map(|step| format!("lane {number}: {step:?}")).collect::<Vec<_>>();
    all.iter().enumerate().flat_map(line).collect()
}

/// The directory of a lane.
pub fn own(number: usize) -> String {
    format!("lane-{number}")
}

/// Runs all lanes, each on a thread of its own; how exactly the directory of each is to be compared. Errors: what the first of
/// them saw that is wrong.
pub(super) fn run(model: &Path, mount: &Path, all: &[Lane]) -> Result<Vec<Exactness>, String> {
    let shared = mount.join(SHARED);
    open_directory(&shared)?;
    let mut first = side(&shared)?;
    for step in fixture() {
        agree::explained(&step, &mut first)?;
    }
    drop(first);
    for number in 0..all.len() {
        open_directory(&model.join(own(number)))?;
        open_directory(&mount.join(own(number)))?;
    }
    std::thread::scope(|scope| {
        let shared = &shared;
        let start = |(number, lane): (usize, &'_ Lane)| {
            let (model, mount, lane) = (model.join(own(number)), mount.join(own(number)), lane.clone());
            scope.spawn(move || {
                let (mut model, mut mount, mut shared) = (side(&model)?, side(&mount)?, side(shared)?);
                travel(&lane, &mut model, &mut mount, &mut shared).map_err(|error| format!("lane {number}: {error}"))
            })
        };
        let threads: Vec<_> = all.iter().enumerate().map(start).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

fn travel(
    lane: &[Move],
    model: &mut dyn Perform,
    mount: &mut dyn Perform,
    shared: &mut dyn Perform,
) -> Result<Exactness, String> {
    agree::outcomes(&fixture(), model, mount)?;
    for Move { ground, step } in lane {
        match ground {
            Ground::Own => agree::outcomes(std::slice::from_ref(step), model, mount)?,
            Ground::Shared => agree::explained(step, shared)?,
        }
    }
    Ok(Exactness::after(model))
}
