//! What is refused before anything is touched: with the documented exit code, in one line that says what to do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, NOBODY, replfs, run};
use rustix::fs::FlockOperation;
use std::os::unix::fs::symlink;

#[test]
fn usage_errors_end_with_1() {
    let home = Home::new();
    run(&mut replfs()).is(1, &["--help"]);
    run(replfs().arg("frobnicate")).is(1, &["frobnicate"]);
    home.mount(&["--commit", "sideways"]).is(1, &["unknown commit mode"]);
    home.mount(&["--journal-size", "1MiB"]).is(1, &["at least 8MiB"]);
    home.mount(&["--journal-extend", "/nowhere:1GiB"]).is(1, &["is not a directory"]);
    home.mount(&["--target", "second"]).is(1, &["more than one target"]);
    home.mount(&["--backlog", "12potatoes"]).is(1, &["12potatoes"]);
    home.mount(&["--name", "a/b"]).is(1, &["a/b"]);
    home.mount(&["-o", "frobnicate"]).is(1, &["'frobnicate'"]);
    home.mount(&["--target-key", NOBODY]).is(1, &["--target-key"]);
    run(home.command("mount").arg(home.at("src")).arg(home.at("mnt"))).is(1, &["--target"]);
    run(home.command("mount").arg(home.at("src")).arg(home.at("mnt")).args(["--target", "host"]))
        .is(1, &["replfs target invite", "replfs key"]);
    assert!(!home.at("state").exists(), "nothing was made");
    assert!(!home.at("root").exists(), "nothing was made");
}

#[test]
fn help_and_version_end_with_0() {
    for words in [vec!["--help"], vec!["--version"], vec!["help", "exit-codes"], vec!["mount", "--help"]] {
        let outcome = run(replfs().args(&words));
        outcome.is(0, &[]);
        assert!(!outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome:?}");
    }
}

#[test]
fn a_source_that_is_not_a_directory_ends_with_33() {
    let home = Home::new();
    std::fs::write(home.at("file"), "").unwrap();
    for src in ["missing", "file", "file/below"] {
        home.mount_of(&home.at(src), &home.at("mnt"), &["--name", "n"]).is(33, &[src]);
    }
    assert!(!home.at("root").exists(), "the target was not touched");
}

#[test]
fn a_mount_point_that_is_not_a_directory_ends_with_34() {
    let home = Home::new();
    std::fs::write(home.at("file"), "").unwrap();
    for mnt in ["missing", "file"] {
        home.mount_of(&home.at("src"), &home.at(mnt), &[]).is(34, &[mnt]);
    }
}

#[test]
fn places_inside_one_another_end_with_1_and_are_not_touched() {
    let home = Home::new();
    let (src, mnt) = (home.at("src"), home.at("mnt"));
    let mount = |target: &str, state: &str| {
        run(replfs()
            .arg("mount")
            .args([&src, &mnt])
            .arg("--target")
            .arg(home.at(target))
            .arg("--state")
            .arg(home.at(state)))
    };
    mount("src/root", "state").is(1, &["inside the source"]);
    mount(".", "../state").is(1, &["inside the target's ROOT"]);
    mount("root", "src/state").is(1, &["state", "inside the source"]);
    mount("root", "mnt/state").is(1, &["state", "inside the mount point"]);
    symlink(&src, home.at("link")).unwrap();
    mount("link/root", "state").is(1, &["inside the source"]);
    assert_eq!(std::fs::read_dir(&src).unwrap().count() + std::fs::read_dir(&mnt).unwrap().count(), 0);
    assert!(!home.at("state").exists());
    std::fs::create_dir(home.at("src/mnt")).unwrap();
    home.mount_of(&src, &home.at("src/mnt"), &[]).is(1, &["inside the source"]);
}

#[test]
fn a_source_in_use_ends_with_35() {
    let home = Home::new();
    let held = std::fs::File::open(home.at("src")).unwrap();
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    home.mount(&["-f"]).is(35, &["src", "in use"]);
}

#[test]
fn a_name_in_use_ends_with_35() {
    let home = Home::new();
    let dir = home.at("state/sources/taken");
    std::fs::create_dir_all(&dir).unwrap();
    let held = std::fs::File::create(dir.join("lock")).unwrap();
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    home.mount(&["-f", "--name", "taken"]).is(35, &["'taken'", "--name"]);
    home.mount(&["-f", "--name", "free"]).is(0, &[]);
}

#[test]
fn a_source_that_is_another_directory_than_it_was_ends_with_45() {
    let home = Home::new();
    let dir = home.at("state/sources/src");
    std::fs::create_dir_all(&dir).unwrap();
    let recorded = r#"{"version":1,"inode":1,"fsid":2,"born":null,"filesystem":3,"device":4}"#;
    std::fs::write(dir.join("source.json"), recorded).unwrap();
    for more in [&["-f"][..], &[]] {
        home.mount(more).is(45, &["--accept-changed-source", "is the disk mounted"]);
    }
    home.mount(&["-f", "--accept-changed-source"]).is(0, &[]);
    assert!(!home.at("root").exists(), "the target was not touched");
}

#[test]
fn a_state_that_cannot_be_used_ends_with_41() {
    let home = Home::new();
    std::fs::write(home.at("state"), "a file").unwrap();
    home.mount(&[]).is(41, &["state"]);
    run(&mut home.command("key")).is(41, &["state"]);
}

#[test]
fn a_broken_key_ends_with_37() {
    let home = Home::new();
    run(&mut home.command("key")).is(0, &[]);
    std::fs::write(home.at("state/key.pem"), "no key").unwrap();
    run(&mut home.command("key")).is(37, &["key.pem"]);
}

#[test]
fn commands_on_what_is_not_mounted_end_with_44() {
    let home = Home::new();
    for command in ["umount", "sync", "status"] {
        run(home.command(command).arg(home.at("mnt"))).is(44, &["mnt", "replfs status"]);
    }
    run(home.command("status").arg("no-such-name")).is(44, &["no-such-name"]);
}
