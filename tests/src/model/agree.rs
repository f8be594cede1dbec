//! One sequence on two sides, step by step: what each program saw, and what is left. The first side is the model.

use super::op::{On, Op, Path as Name, SLOTS, Slot, Step, step};
use super::outcome::{Outcome, When};
use super::side::Perform;
use super::user::User;
use crate::compare::{self, Class, Difference};
use crate::extents;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Carries out all steps on both sides. Errors: the first step whose outcome differs.
pub fn outcomes(steps: &[Step], model: &mut dyn Perform, other: &mut dyn Perform) -> Result<(), String> {
    for (number, step) in steps.iter().enumerate() {
        same(step, model, other).map_err(|error| format!("step {number}, {error}"))?;
        if step.look {
            for look in looks(&step.op) {
                same(&look, model, other).map_err(|error| format!("after step {number}, {step:?}, {error}"))?;
            }
        }
    }
    Ok(())
}

fn same(step: &Step, model: &mut dyn Perform, other: &mut dyn Perform) -> Result<(), String> {
    let expected = model.perform(step);
    let seen = other.perform(step);
    if expected == seen || is_undecided(&step.op, &*model) {
        return Ok(());
    }
    Err(format!("{step:?}\n  model: {expected:?}\n  other: {seen:?}"))
}

/// Attributes of the names that an operation was about, and of what is above them; attributes and content of what is open.
fn looks(op: &Op) -> Vec<Step> {
    let mut looks = Vec::new();
    for path in op.paths() {
        let above = path.0.rsplit_once('/').map_or(".", |(above, _)| above);
        looks.push(Op::Stat { on: On::Link(path.clone()) });
        looks.push(Op::Stat { on: On::Link(Name(above.to_owned())) });
    }
    for slot in (0..SLOTS).map(Slot) {
        looks.push(Op::Stat { on: On::Open(slot) });
        looks.push(Op::Read { slot, at: Some(0), len: 20_000 });
    }
    looks.into_iter().map(|op| step(User::Root, op)).collect()
}

/// Whether the file systems need not say the same. Space that is allocated but not written counts as data while somebody's reading
/// has put it into the page cache, and a mount and an ordinary directory read at different times. And a write by way of
/// memory fills as much of a hole as the file system has in one piece in its page cache: ext4 16 KiB and more, FUSE a page.
fn is_undecided(op: &Op, model: &dyn Perform) -> bool {
    let (Op::FindData { slot, .. } | Op::FindHole { slot, .. }) = op else { return false };
    // Where there is no map of extents (a pipe, a directory) the answer is decided.
    let unwritten = |file| extents::has_unwritten(file).unwrap_or(false);
    model.has_mapped() || model.open_file(*slot).is_some_and(unwritten)
}

/// What is to be the same of two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// All but times that the clock made.
    ButClock,
    /// The same, without the map of holes: for a tree that is seen through a mount, where the page cache below decides what
    /// counts as data. The directory below the mount has the true map. And for a sequence that wrote by way of memory.
    ButClockAndHoles,
    /// Everything.
    All,
}

impl Exactness {
    /// What is the same of an ordinary directory and SRC after a sequence in which the ordinary directory was `model`.
    pub fn after(model: &dyn Perform) -> Self {
        if model.has_mapped() { Self::ButClockAndHoles } else { Self::ButClock }
    }
}

/// Compares two trees. Errors: how they differ.
pub fn trees(what: &str, a: &Path, b: &Path, exactness: Exactness) -> Result<(), String> {
    let report = compare::trees(a, b).map_err(|e| format!("{what}: {e:#}"))?;
    let counts = |difference: &&Difference| match difference.class {
        Class::Mtime if exactness != Exactness::All => !both_by_clock(a, b, &difference.path),
        Class::Holes | Class::Allocation => exactness != Exactness::ButClockAndHoles,
        _ => true,
    };
    let differences: Vec<String> = report.differences.iter().filter(counts).map(ToString::to_string).collect();
    if differences.is_empty() { Ok(()) } else { Err(format!("{what}:\n  {}", differences.join("\n  "))) }
}

fn both_by_clock(a: &Path, b: &Path, path: &[u8]) -> bool {
    let by_clock = |root: &Path| {
        let path = root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
        let time = path.symlink_metadata().map(|stat| When::new(stat.mtime(), stat.mtime_nsec().unsigned_abs()));
        time.is_ok_and(|time| time == When::Clock)
    };
    by_clock(a) && by_clock(b)
}

/// Carries out a step where others do the same at the same time. Errors: an answer that no race explains.
pub fn explained(step: &Step, side: &mut dyn Perform) -> Result<(), String> {
    let looks = if step.look { looks(&step.op) } else { Vec::new() };
    for step in std::iter::once(step).chain(&looks) {
        if let Outcome::Failed(errno) = side.perform(step)
            && !super::outcome::is_explained(errno)
        {
            return Err(format!("in the shared part, {step:?}: {:?}", Outcome::Failed(errno)));
        }
    }
    Ok(())
}
