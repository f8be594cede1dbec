//! Restores that end before their end.

use super::{DESTINATION, LOST, assert_same, at_rest, document, from, partial_of, restore};
use replfs_tests::disk::Disk;
use replfs_tests::rig::watchdog::kill;
use replfs_tests::rig::{Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::tree;
use replfs_tests::wait::{PATIENCE, until};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Runs a restore and kills it when `seen` says so.
fn interrupted(rig: &Rig, to: &Path, seen: impl Fn() -> bool) {
    let mut command = rig.program();
    command.arg("restore").arg("--state").arg(rig.source_state()).args(from(rig)).arg("--to").arg(to);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    rig.watch(child.id());
    until("the restore is in its middle", PATIENCE, || seen().then_some(()));
    kill(child.id(), Signal::KILL);
    assert!(!child.wait().unwrap().success(), "it was over before it could be interrupted");
}

// claim: A100
#[test]
fn an_interrupted_restore_goes_on_where_it_stopped() {
    const SIZE: usize = 24 << 20;
    let rig = at_rest(Setup::default().linked(), |src| {
        fs::write(src.join("big"), Random::new(2).bytes(SIZE)).unwrap();
        tree::sources(&src.join("small"), 200);
    });
    let to = rig.home().join("to");
    rig.link().delay(Duration::from_millis(10));
    interrupted(&rig, &to, || partial_of(&to).is_some_and(|path| fs::metadata(path).is_ok_and(|m| m.len() >= 6 << 20)));
    rig.link().delay(Duration::ZERO);
    assert!(!to.join("big").exists(), "a file has its name when it is whole");
    let had = fs::metadata(partial_of(&to).unwrap()).unwrap().len();
    let done = document(&rig, &to, &[]);
    let received = done["bytes_received"].as_u64().unwrap();
    let rest = SIZE as u64 - had;
    assert!(received < rest + (6 << 20), "{received} bytes came over where {had} of {SIZE} were there");
    assert_same(&rig.replica(), &to);
    assert_eq!(partial_of(&to), None);
}

// claim: A100
#[test]
fn a_target_that_ends_and_a_disk_that_fills_end_a_restore_with_a_word_and_it_goes_on_later() {
    let mut rig = at_rest(Setup::default().linked(), |src| {
        for n in 0..24 {
            fs::write(src.join(format!("f{n:02}")), Random::new(n).bytes(1 << 20)).unwrap();
        }
    });
    // A disk on which not all of it fits.
    let to = rig.home().join("to");
    fs::create_dir(&to).unwrap();
    let disk = Disk::new(&rig, "small", 16, &["-O", "^has_journal", "-m", "0"]);
    disk.mount(&mut rig, &to);
    let full = restore(&rig, &to, &[]);
    full.expect(DESTINATION);
    assert!(full.stderr.contains("no space left") && full.stderr.contains("run the same command again"), "{full:?}");
    let there = fs::read_dir(&to).unwrap().count();
    assert!(there > 3, "what fitted is there: {there}");
    rustix::mount::unmount(&to, rustix::mount::UnmountFlags::DETACH).unwrap();
    rig.mount_other("tmpfs", "size=64m", &to);
    // The target goes in the middle.
    rig.link().delay(Duration::from_millis(20));
    let mut command = rig.program();
    command.arg("restore").arg("--state").arg(rig.source_state()).args(from(&rig)).arg("--to").arg(&to);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    rig.watch(child.id());
    until("something is there", PATIENCE, || (fs::read_dir(&to).unwrap().count() > 1).then_some(()));
    rig.kill_target();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(LOST), "{stderr}");
    assert!(stderr.contains("lost") && stderr.contains("run the same command again"), "{stderr}");
    rig.link().delay(Duration::ZERO);
    restore(&rig, &to, &["--connect-timeout", "1s"]).expect(LOST);
    rig.start_target();
    restore(&rig, &to, &[]).ok();
    for n in 0..24 {
        let name = format!("f{n:02}");
        assert!(fs::read(rig.replica().join(&name)).unwrap() == fs::read(to.join(&name)).unwrap(), "{name}");
    }
}
