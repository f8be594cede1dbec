//! Everything at once: files that the source may not change, a link that is cut or deaf, daemons that die, beside random operations. What is left in the end
//! counts: both sides are exactly equal, and nothing is undecided.

use super::refused::on_disk_with;
use super::target_back;
use replfs_tests::command;
use replfs_tests::rig::{Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{self, Random};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Rounds of trouble.
const ROUNDS: u64 = 12;
/// Operations tried in each.
const OPERATIONS: u64 = 150;

/// Something below SRC, if there is anything.
fn some(rig: &Rig, random: &mut Random) -> Option<PathBuf> {
    let mut path = rig.src();
    for _ in 0..3 {
        let Ok(entries) = fs::read_dir(&path) else { break };
        // Links would lead elsewhere.
        let all: Vec<_> =
            entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_file() || t.is_dir())).collect();
        if all.is_empty() {
            break;
        }
        path = random.pick(&all).path();
        if random.once_in(2) {
            break;
        }
    }
    (path != rig.src()).then_some(path)
}

// claim: A177, A179
#[test]
fn in_the_end_both_are_equal_whatever_happened() {
    let seed = seed::chosen();
    let mut random = Random::new(seed);
    let setup = Setup::default().linked().option(&["--remote-timeout", "500ms"]);
    let (mut rig, _disk) = on_disk_with(setup, Rig::src, &[]);
    let roamers = Roamers::start(&rig.mnt(), 3, seed);
    let mut passes = 0;
    for _ in 0..ROUNDS {
        roamers.roam(OPERATIONS);
        for _ in 0..3 {
            if let Some(path) = some(&rig, &mut random)
                && path.exists()
            {
                // It may be gone by now.
                let _raced = command::run(Command::new("chattr").arg("+i").arg(path));
            }
        }
        roamers.roam(OPERATIONS);
        match random.below(5) {
            0 => rig.link().cut(),
            1 => rig.link().deafen(),
            2 => {
                let before = rig.status().target().reconnects;
                rig.kill_target();
                roamers.roam(20);
                target_back(&mut rig, before);
            }
            3 => {
                rig.kill_source();
                rig.mount();
            }
            _ => {}
        }
        roamers.roam(20);
        rig.link().mend();
        let _raced = command::run(Command::new("chattr").args(["-R", "-f", "-i"]).arg(rig.src()));
        let status = rig.wait_status("the target to be coherent again", |status| status.target().coherent);
        passes = passes.max(status.target().passes);
    }
    roamers.stop();
    let _links_have_none = command::run(Command::new("chattr").args(["-R", "-f", "-i"]).arg(rig.src()));
    rig.assert_equal();
    let put_back = rig.whole_source_log().matches("put-back").count();
    println!("{passes} passes, {put_back} put back");
    assert!(put_back > 0, "seed {seed}: something was put back");
    assert!(rig.status().target().undecided.is_empty(), "seed {seed}");
    rig.finish();
}
