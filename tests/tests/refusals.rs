//! What is refused, with which exit code, and that a refusal changes nothing on either side.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{Outcome, run, shell, tool};
use replfs_tests::compare;
use replfs_tests::rig::{Commit, NAME, Rig, Setup, binary};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODE: Commit = Commit::Sync;

/// One line on standard error that says something, and the exit code.
#[track_caller]
fn refused(outcome: &Outcome, code: i32) {
    outcome.expect(code);
    assert!(!outcome.stderr.trim().is_empty(), "{} ended with {code} and said nothing", outcome.line);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
}

/// A copy to compare with later.
fn copy(rig: &Rig, of: &Path, name: &str) -> PathBuf {
    let to = rig.home().join(name);
    tool(rig.home(), "cp", ["-a", &of.to_string_lossy(), &to.to_string_lossy()]);
    to
}

#[track_caller]
fn unchanged(before: &Path, now: &Path) {
    let report = compare::trees(before, now).unwrap();
    assert!(report.differences.is_empty(), "the refusal changed {}:\n{}", now.display(), report.text(20));
}

/// A source with something in it.
fn filled() -> Rig {
    let rig = Rig::prepare(MODE, Setup::default().option(&["--connect-timeout", "2s"]));
    fs::write(rig.src().join("file"), "of the source").unwrap();
    rig
}

#[test]
fn usage_errors_are_1() {
    let mut rig = Rig::prepare(MODE, Setup::default());
    refused(&rig.try_mount(&["--no-such-option"]), 1);
    refused(&rig.try_mount(&["--commit", "never"]), 1);
    refused(&rig.try_mount(&["--target", "localhost:1"]), 1);
    refused(&rig.try_mount(&["--backlog", "much"]), 1);
    refused(&binary::replfs(["mount"]), 1);
    refused(&binary::replfs(["no-such-command"]), 1);
    refused(&binary::replfs(["target"]), 1);
}

#[test]
fn a_source_that_is_no_directory_is_33() {
    let mut rig = Rig::prepare(MODE, Setup::default());
    fs::remove_dir(rig.src()).unwrap();
    refused(&rig.try_mount(&[]), 33);
    fs::write(rig.src(), "a file").unwrap();
    refused(&rig.try_mount(&[]), 33);
}

#[test]
fn a_mount_point_that_is_no_directory_is_34() {
    let mut rig = Rig::prepare(MODE, Setup::default());
    fs::remove_dir(rig.mnt()).unwrap();
    refused(&rig.try_mount(&[]), 34);
    fs::write(rig.mnt(), "a file").unwrap();
    refused(&rig.try_mount(&[]), 34);
}

#[test]
fn a_source_mounted_twice_and_a_name_in_use_are_35() {
    let mut rig = filled();
    rig.mount();
    let words = |src: &Path, name: &str| {
        let second = rig.home().join("second");
        fs::create_dir_all(&second).unwrap();
        let mut words = rig.mount_words();
        words[0] = src.to_string_lossy().into_owned();
        words[1] = second.to_string_lossy().into_owned();
        let at = words.iter().position(|w| w == NAME).unwrap();
        words[at] = name.to_owned();
        run(Command::new(binary::path()).arg("mount").args(words))
    };
    refused(&words(&rig.src(), "other"), 35);
    let other = rig.home().join("other");
    fs::create_dir(&other).unwrap();
    refused(&words(&other, NAME), 35);
    rig.finish();
}

#[test]
fn an_unreachable_target_at_the_first_mount_is_36() {
    let mut rig = filled();
    rig.kill_target();
    // The address stays, nobody listens there.
    let address = rig.target_address().to_string();
    let outcome = rig.replfs(
        "mount",
        &[
            &rig.src().to_string_lossy(),
            &rig.mnt().to_string_lossy(),
            "--target",
            &address,
            "--target-key",
            rig.target_key(),
            "--name",
            NAME,
            "--connect-timeout",
            "1s",
        ],
    );
    refused(&outcome, 36);
    assert!(rig.try_status().is_none(), "nothing stays behind");
    rig.start_target();
    rig.mount();
    rig.finish();
}

#[test]
fn a_wrong_key_is_37_at_every_mount() {
    let mut rig = filled();
    let stranger = rig.key(&rig.home().join("stranger"));
    let mut words = rig.mount_words();
    let at = words.iter().position(|w| w == rig.target_key()).unwrap();
    words[at].clone_from(&stranger);
    let with_wrong_key = |words: &[String]| run(Command::new(binary::path()).arg("mount").args(words));
    refused(&with_wrong_key(&words), 37);
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    refused(&with_wrong_key(&words), 37);
    // The other way round: the target does not know this source any more.
    rig.kill_target();
    rig.start_target_allowing(Some(&stranger), "127.0.0.1:0");
    refused(&rig.try_mount(&[]), 37);
}

#[test]
fn a_replica_of_another_source_is_38_with_and_without_adopt() {
    let mut rig = filled();
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    rig.kill_target();
    let other_state = rig.home().join("other-state");
    let other = rig.key(&other_state);
    rig.start_target_allowing(Some(&other), "127.0.0.1:0");
    let before = copy(&rig, &rig.replica(), "before");
    let mut words = rig.mount_words();
    let at = words.iter().position(|w| *w == rig.source_state().to_string_lossy()).unwrap();
    words[at] = other_state.to_string_lossy().into_owned();
    refused(&run(Command::new(binary::path()).arg("mount").args(&words)), 38);
    refused(&run(Command::new(binary::path()).arg("mount").args(&words).arg("--adopt")), 38);
    unchanged(&before, &rig.replica());
}

#[test]
fn a_directory_of_nobody_is_39_until_it_is_adopted_and_loses_nothing() {
    let mut rig = filled();
    let replica = rig.replica();
    fs::create_dir(&replica).unwrap();
    fs::write(replica.join("extra"), "the only copy").unwrap();
    fs::write(replica.join("file"), "an older state").unwrap();
    let before = copy(&rig, &replica, "before");
    refused(&rig.try_mount(&[]), 39);
    unchanged(&before, &replica);
    rig.try_mount(&["--adopt"]).ok();
    rig.assert_equal();
    let aside = shell(&rig.root(), "grep -rl 'the only copy' .replfs");
    assert!(!aside.is_empty(), "what was extra is set aside below ROOT/.replfs");
    rig.finish();
}

#[test]
fn a_root_that_cannot_be_written_is_40() {
    let mut rig = Rig::bare(MODE, Setup { local: true, ..Setup::default() });
    let root = rig.root();
    rig.mount_other("tmpfs", "ro,size=8m,mode=755", &root);
    refused(&rig.try_mount(&[]), 40);
}

#[test]
fn a_root_that_is_full_is_40() {
    let mut rig = Rig::bare(MODE, Setup::default());
    let root = rig.root();
    rig.mount_other("tmpfs", "size=1m,mode=755", &root);
    rig.start_target();
    shell(&root, "! dd if=/dev/zero of=filler bs=4k status=none 2>/dev/null");
    refused(&rig.try_mount(&[]), 40);
}

#[test]
fn a_state_directory_that_cannot_be_used_is_41() {
    let mut rig = Rig::prepare(MODE, Setup::default());
    let file = rig.home().join("file");
    fs::write(&file, "no directory").unwrap();
    refused(&rig.try_mount(&["--state", &file.to_string_lossy()]), 41);
    let below = file.join("below");
    refused(&binary::replfs(["key".as_ref(), "--state".as_ref(), below.as_os_str()]), 41);
}

#[test]
fn a_port_in_use_is_42() {
    let rig = Rig::prepare(MODE, Setup::default());
    let address = rig.target_address().to_string();
    let second = rig.home().join("second");
    fs::create_dir(&second).unwrap();
    let outcome = run(Command::new(binary::path())
        .args(["target", "--allow", &rig.key(&rig.source_state()), "--listen", &address, "--root"])
        .arg(&second)
        .arg("--state")
        .arg(rig.home().join("second-state")));
    refused(&outcome, 42);
}

#[test]
fn a_backlog_left_at_the_time_out_is_43_and_says_how_much() {
    let mut rig = Rig::prepare(MODE, Setup::default().option(&["--drain-timeout", "3s"]));
    rig.mount();
    rig.settle();
    rig.kill_target();
    rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
    fs::write(rig.mnt().join("late"), "not there yet").unwrap();
    let pid = rig.source_pid();
    refused(&rig.replfs("sync", &[&rig.mnt().to_string_lossy(), "--timeout", "1s"]), 43);
    let outcome = rig.replfs("umount", &[&rig.mnt().to_string_lossy(), "--timeout", "1s"]);
    refused(&outcome, 43);
    assert!(outcome.stderr.chars().any(|c| c.is_ascii_digit()), "it says how much is left: {}", outcome.stderr);
    rig.wait_for_end(pid);
    rig.start_target();
    rig.mount();
    rig.finish();
}

#[test]
fn a_mount_that_does_not_exist_is_44() {
    let rig = Rig::prepare(MODE, Setup::default());
    for command in ["status", "sync", "umount"] {
        refused(&rig.replfs(command, &[&rig.mnt().to_string_lossy()]), 44);
        refused(&rig.replfs(command, &["no-such-name"]), 44);
    }
    assert_eq!(rig.replfs("status", &[]).code, 0, "nothing at all is not an error");
}

#[test]
fn a_source_that_is_another_directory_now_is_45_and_deletes_nothing() {
    let mut rig = filled();
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    let before = copy(&rig, &rig.replica(), "before");
    // As if the source's disk were not mounted: an empty directory in its place.
    fs::rename(rig.src(), rig.home().join("disk")).unwrap();
    fs::create_dir(rig.src()).unwrap();
    refused(&rig.try_mount(&[]), 45);
    unchanged(&before, &rig.replica());
    fs::remove_dir(rig.src()).unwrap();
    fs::rename(rig.home().join("disk"), rig.src()).unwrap();
    rig.mount();
    rig.finish();
}

#[test]
fn a_root_that_is_another_directory_now_is_45() {
    let mut rig = filled();
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    rig.kill_target();
    fs::rename(rig.root(), rig.home().join("disk")).unwrap();
    fs::create_dir(rig.root()).unwrap();
    let allow = rig.key(&rig.source_state());
    let address = rig.target_address().to_string();
    let target = run(Command::new("timeout")
        .args(["5"])
        .arg(binary::path())
        .args(["target", "--allow", &allow, "--listen", &address, "--root"])
        .arg(rig.root())
        .arg("--state")
        .arg(rig.target_state()));
    // Either the target itself sees that ROOT is another directory, or the source does when it mounts.
    if target.code != 45 {
        rig.start_target();
        refused(&rig.try_mount(&[]), 45);
    }
    let names = fs::read_dir(rig.root()).unwrap().flatten().filter(|e| e.file_name() != ".replfs").count();
    assert_eq!(names, 0, "nothing was mirrored into a directory that is not the replica's");
}

#[test]
fn directories_inside_one_another_are_refused_before_anything_is_touched() {
    let mut rig = Rig::bare(MODE, Setup { local: true, ..Setup::default() });
    fs::write(rig.src().join("file"), "x").unwrap();
    let src = rig.src();
    let before = copy(&rig, &src, "before");
    let mut attempt = |target: &Path, state: &Path| {
        let mut words = rig.mount_words();
        let place = |words: &[String], after: &str| words.iter().position(|w| w == after).unwrap() + 1;
        let (t, s) = (place(&words, "--target"), place(&words, "--state"));
        words[t] = format!("{}/", target.display());
        words[s] = state.to_string_lossy().into_owned();
        let outcome = rig.mounted(Command::new(binary::path()).arg("mount").args(words));
        assert!((1..=45).contains(&outcome.code) && !outcome.stderr.trim().is_empty(), "{outcome:?}");
    };
    let state = src.parent().unwrap().join("source");
    attempt(&src.join("root"), &state);
    attempt(src.parent().unwrap(), &state);
    attempt(&src, &state);
    attempt(&src.parent().unwrap().join("root"), &src.join("state"));
    unchanged(&before, &src);
}
