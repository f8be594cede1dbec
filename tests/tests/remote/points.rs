//! Whichever side dies at whatever step between a proposal and what settles it.

use super::refused::{attribute, on_disk};
use super::target_back;
use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, Rig, Setup, Side};
use replfs_tests::seed::{Random, seed};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;
use std::io;
use std::path::Path;

/// Places of the source that live operations come to.
const SOURCE: [&str; 4] = ["proposed", "decided", "changed", "numbered"];

/// Those of the target.
const TARGET: [&str; 3] = ["target-judged", "target-settling", "target-applied"];

/// Proposals before a death, at the most.
const MOST: u64 = 60;

/// Operations that an application was told the end of.
#[derive(Default)]
struct Told {
    /// Names that are there.
    done: Vec<String>,
    /// Names that are not.
    failed: Vec<String>,
}

impl Told {
    /// Makes, writes and renames files until something fails.
    fn until_it_fails(&mut self, top: &Path, round: usize) {
        for n in 0.. {
            let (made, named) = (format!("made{round}-{n}"), format!("named{round}-{n}"));
            let written =
                fs::write(top.join(&made), &named).and_then(|()| fs::rename(top.join(made), top.join(&named)));
            match written {
                Ok(()) => self.done.push(named),
                Err(_) => return,
            }
        }
    }

    /// What was answered is on both sides, and what was refused on none.
    fn check(&self, rig: &Rig, at: &str) {
        for side in [rig.src(), rig.replica()] {
            for name in &self.done {
                let content = fs::read_to_string(side.join(name));
                assert!(
                    content.as_ref().is_ok_and(|content| content == name),
                    "{at}: {name} is {content:?} in {}",
                    side.display()
                );
            }
            for name in &self.failed {
                assert!(!side.join(name).exists(), "{at}: {name} was refused, and is in {}", side.display());
            }
        }
    }
}

// claim: A194
#[test]
fn a_source_that_dies_at_any_step_of_a_proposal_leaves_both_the_same() {
    let mut random = Random::new(seed());
    let mut rig = Rig::prepare(Commit::Remote, Setup::default());
    let mut told = Told::default();
    for (round, place) in SOURCE.into_iter().enumerate() {
        let at = format!("{place}:{}", 1 + random.below(MOST));
        rig.start_dying(Side::Source, &at);
        assert!(rig.is_settled_before_death(Side::Source), "nothing has come to {at} yet");
        told.until_it_fails(&rig.mnt(), round);
        rig.wait_for_death(Side::Source, &at);
        told.check(&rig, &at);
    }
    rig.mount();
    rig.assert_equal();
    told.check(&rig, "the end");
    rig.finish();
}

// claim: A194
#[test]
fn a_source_that_dies_when_it_is_to_put_back_leaves_the_next_one_to_it() {
    let (mut rig, _disk) = on_disk(Rig::src, &[]);
    let dir = rig.mnt().join("dir");
    fs::create_dir(&dir).unwrap();
    for name in ["held", "other"] {
        fs::write(dir.join(name), name).unwrap();
    }
    rig.settle();
    let told = Told { done: Vec::new(), failed: vec!["dir/new".to_owned(), "dir/moved".to_owned()] };
    let operations: [fn(&Path) -> io::Result<()>; 3] = [
        |dir| fs::create_dir(dir.join("new")),
        |dir| fs::remove_file(dir.join("held")),
        |dir| fs::rename(dir.join("other"), dir.join("moved")),
    ];
    for operation in operations {
        rig.kill_source();
        rig.start_dying(Side::Source, "put-back:1");
        assert!(rig.is_settled_before_death(Side::Source), "nothing was to be put back yet");
        attribute("+i", &rig.src().join("dir"));
        assert!(operation(&dir).is_err(), "nobody answers for who has died");
        rig.wait_for_death(Side::Source, "put-back");
        attribute("-i", &rig.src().join("dir"));
        rig.mount();
        rig.assert_equal();
        told.check(&rig, "put-back");
        for name in ["held", "other"] {
            assert_eq!(fs::read_to_string(rig.replica().join("dir").join(name)).unwrap(), name);
        }
    }
    rig.finish();
}

/// Waits until the source has found the target. `false`: that died before.
fn is_back_before_death(rig: &mut Rig, reconnects: u64) -> bool {
    until("the target to be back, or to die", PATIENCE, || {
        if rig.has_died(Side::Target) {
            return Some(false);
        }
        let back = |status: Source| status.target().reconnects > reconnects && status.target().coherent;
        rig.try_status().is_some_and(back).then_some(true)
    })
}

// claim: A194
#[test]
fn a_target_that_dies_at_any_step_of_a_proposal_leaves_both_the_same() {
    let mut random = Random::new(seed());
    let mut rig = Rig::prepare(Commit::Remote, Setup::default());
    rig.mount();
    rig.settle();
    let mut told = Told::default();
    for (round, place) in TARGET.into_iter().enumerate() {
        let at = format!("{place}:{}", 1 + random.below(MOST));
        let before = rig.status().target().reconnects;
        rig.kill_target();
        rig.start_dying(Side::Target, &at);
        if is_back_before_death(&mut rig, before) {
            told.until_it_fails(&rig.mnt(), round);
            rig.wait_for_death(Side::Target, &at);
        }
        told.check(&rig, &at);
        let before = rig.status().target().reconnects;
        target_back(&mut rig, before);
        rig.assert_equal();
    }
    told.check(&rig, "the end");
    rig.finish();
}
