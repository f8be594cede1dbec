//! The model finds faults: a side that lies is caught, and the sequence that shows it is a short one. Two honest ordinary
//! directories agree, so what is found in a mount is the mount's.
#![allow(clippy::unwrap_used)]

use super::agree::{self, Exactness};
use super::bench::{open_directory, side};
use super::op::{On, Op, SLOTS, Slot, Step, fixture, step};
use super::outcome::{Attributes, Outcome};
use super::search::{Found, search};
use super::side::{Perform, Side};
use super::user::User;
use super::{lanes, strategy};
use rustix::fs::{OFlags, RenameFlags};
use std::fs::File;

/// A side that does something else where `lie` knows an answer.
struct Liar<'a> {
    side: Side,
    lie: &'a dyn Fn(&mut Side, &Step) -> Option<Outcome>,
}

impl Perform for Liar<'_> {
    fn perform(&mut self, step: &Step) -> Outcome {
        (self.lie)(&mut self.side, step).unwrap_or_else(|| self.side.perform(step))
    }

    fn open_file(&self, slot: Slot) -> Option<&File> {
        self.side.open_file(slot)
    }

    fn has_mapped(&self) -> bool {
        self.side.has_mapped()
    }
}

/// An ordinary directory as the model, and another with a liar.
fn against_a_liar(steps: &[Step], lie: &dyn Fn(&mut Side, &Step) -> Option<Outcome>) -> Result<(), String> {
    let home = tempfile::tempdir().unwrap();
    let (model, other) = (home.path().join("model"), home.path().join("other"));
    open_directory(&model)?;
    open_directory(&other)?;
    let steps = [&fixture()[..], steps].concat();
    agree::outcomes(&steps, &mut side(&model)?, &mut Liar { side: side(&other)?, lie })?;
    agree::trees("model and liar", &model, &other, Exactness::ButClock)
}

/// Looks for a sequence that shows the lie.
#[track_caller]
fn caught(lie: &dyn Fn(&mut Side, &Step) -> Option<Outcome>) -> Found<Vec<Step>> {
    let found = search(&strategy::sequence(60, true), 1, 300, |steps| against_a_liar(steps, lie));
    let found = found.expect("a side that lies is found out");
    println!("{} after {} cases: {:?}", found.reason, found.passed, found.least);
    found
}

#[test]
fn two_ordinary_directories_agree() {
    let honest = |_: &mut Side, _: &Step| None;
    let found = search(&strategy::sequence(60, true), crate::seed::seed(), 100, |steps| against_a_liar(steps, &honest));
    assert!(found.is_none(), "{found:#?}");
}

#[test]
fn two_ordinary_directories_agree_lane_by_lane() {
    let found = search(&lanes::lanes(40), crate::seed::seed(), 25, |all| {
        let home = tempfile::tempdir().unwrap();
        let (model, other) = (home.path().join("model"), home.path().join("other"));
        open_directory(&model)?;
        open_directory(&other)?;
        lanes::run(&model, &other, all).map(drop)
    });
    assert!(found.is_none(), "{found:#?}");
}

/// Not a promise, a measure: of operations that mostly fail, random sequences would show little.
#[test]
fn most_steps_succeed() {
    let (mut done, mut failed) = (std::collections::BTreeMap::new(), 0);
    let mut tried = 0;
    search(&strategy::sequence(60, true), 1, 50, |steps| {
        let home = tempfile::tempdir().unwrap();
        open_directory(&home.path().join("model"))?;
        let mut side = side(&home.path().join("model"))?;
        for step in [&fixture()[..], steps].concat() {
            tried += 1;
            let name = format!("{:?}", step.op).split(' ').next().unwrap_or_default().to_owned();
            let count: &mut (u32, u32) = done.entry(name).or_default();
            count.1 += 1;
            match side.perform(&step) {
                Outcome::Failed(_) | Outcome::Nothing => failed += 1,
                _ => count.0 += 1,
            }
        }
        Ok(())
    });
    println!("successes and tries of each: {done:#?}");
    assert!(failed * 2 < tried, "{failed} of {tried} failed");
    assert!(done.values().all(|(succeeded, _)| *succeeded > 0), "some operation hardly ever succeeds: {done:#?}");
}

#[test]
fn a_rename_that_replaces_what_it_must_not_is_found_in_one_step() {
    let found = caught(&|side, asked| {
        let Op::Rename { from, to, flags: RenameFlags::NOREPLACE } = &asked.op else { return None };
        let op = Op::Rename { from: from.clone(), to: to.clone(), flags: RenameFlags::empty() };
        Some(side.perform(&step(asked.user, op)))
    });
    assert!(matches!(found.least.as_slice(), [Step { op: Op::Rename { .. }, .. }]), "{:?}", found.least);
}

#[test]
fn a_permission_that_is_not_checked_is_found_in_two_steps() {
    let found = caught(&|side, asked| {
        // What it changes belongs to the wrong user otherwise, and shows by that.
        let Op::Access { .. } = &asked.op else { return None };
        Some(side.perform(&step(User::Root, asked.op.clone())))
    });
    // Somebody's question, and at most what forbids it.
    assert!(matches!(found.least.last(), Some(Step { user: User::Alice | User::Bob, op: Op::Access { .. }, .. })));
    assert!(found.least.len() <= 2, "{:?}", found.least);
}

#[test]
fn a_change_that_is_claimed_and_not_made_is_found_in_the_tree() {
    let found = caught(&|_, step| matches!(step.op, Op::SetXattr { name: "user.two", .. }).then_some(Outcome::Done));
    assert_eq!(found.least.len(), 1, "{:?}", found.least);
}

#[test]
fn an_append_that_is_none_is_found_in_two_steps() {
    let found = caught(&|side, asked| {
        let Op::Open { slot, path, flags, mode } = &asked.op else { return None };
        let op = Op::Open { slot: *slot, path: path.clone(), flags: flags.difference(OFlags::APPEND), mode: *mode };
        Some(side.perform(&step(asked.user, op)))
    });
    assert!(matches!(found.least.as_slice(), [Step { op: Op::Open { .. }, .. }, _]), "{:?}", found.least);
}

#[test]
fn a_file_that_is_lost_with_its_name_is_found_in_three_steps() {
    // The open file ends when its name does, as on a file system that does not know deleted open files.
    let found = caught(&|side, asked| {
        let Op::Unlink { .. } = &asked.op else { return None };
        let done = side.perform(asked);
        let by_root = |op| step(User::Root, op);
        for slot in (0..SLOTS).map(Slot) {
            let stat = side.perform(&by_root(Op::Stat { on: On::Open(slot) }));
            if matches!(stat, Outcome::Attributes(Attributes { links: 0, .. })) {
                side.perform(&by_root(Op::Truncate { on: On::Open(slot), len: 0 }));
            }
        }
        Some(done)
    });
    assert!(found.least.len() <= 3, "{:?}", found.least);
}

#[test]
fn the_same_seed_fails_in_the_same_way() {
    let lie = |_: &mut Side, step: &Step| matches!(step.op, Op::Mknod { .. }).then_some(Outcome::Done);
    let first = caught(&lie);
    let again = search(&strategy::sequence(60, true), first.seed, 1, |steps| against_a_liar(steps, &lie)).unwrap();
    assert_eq!((first.least, first.reason), (again.least, again.reason));
}
