//! The last coherent state of a replica can be brought back where its file system cannot share data: `replfs roll-back` (S3, T7, I2).
#![allow(clippy::unwrap_used)]

use replfs_tests::command::{Outcome, tool};
use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup, Side, binary};
use replfs_tests::seed::{Random, seed};
use replfs_tests::volatile::VolatileDisk;
use replfs_tests::{compare, tree, wait};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A mount with something of everything, whose target keeps undo logs.
fn rig(prepare: impl FnOnce(&mut Rig)) -> Rig {
    let target = vec!["--keep-image".to_owned(), "auto".to_owned()];
    let mut rig = Rig::bare(Commit::Real, Setup { target, ..Setup::default().linked() });
    prepare(&mut rig);
    rig.start_target();
    let src = rig.src();
    tree::sources(&src, 200);
    fs::write(src.join("big"), Random::new(1).bytes(8 << 20)).unwrap();
    fs::hard_link(src.join("big"), src.join("package000/also big")).unwrap();
    std::os::unix::fs::symlink("nowhere", src.join("link")).unwrap();
    tool(rig.home(), "mkfifo", [src.join("pipe").as_os_str()]);
    let sparse = fs::File::create(src.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(&vec![3; 70_000], 20 << 20).unwrap();
    attribute(&rig, "b", &src.join("big"));
    let acl = ["-m", "d:u:1:rx,u:2:rwx"].map(AsRef::as_ref);
    tool(rig.home(), "setfacl", [acl[0], acl[1], src.join("package001").as_os_str()]);
    rig.mount();
    rig.assert_equal();
    rig
}

fn attribute(rig: &Rig, value: &str, of: &Path) {
    let words = ["-n", "user.a", "-v", value].map(AsRef::as_ref);
    tool(rig.home(), "setfattr", [words[0], words[1], words[2], words[3], of.as_os_str()]);
}

fn bypass(rig: &Rig, how: &str) {
    rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), how]).ok();
}

/// Everything that can change does, by chance, while replication is off.
fn change(rig: &Rig, seed: u64) {
    let (mnt, mut random) = (rig.mnt(), Random::new(seed));
    fs::rename(mnt.join("package001"), mnt.join("renamed")).unwrap();
    fs::remove_dir_all(mnt.join("package002")).unwrap();
    fs::rename(mnt.join("package003"), mnt.join("renamed/inner")).unwrap();
    // Like what it was, at other places: its content comes into a file of its own.
    let shifted = [&b"something in front"[..], &fs::read(mnt.join("big")).unwrap()].concat();
    fs::write(mnt.join("big"), shifted).unwrap();
    fs::OpenOptions::new().write(true).open(mnt.join("sparse")).unwrap().write_all_at(&[4; 9000], 40 << 20).unwrap();
    fs::File::options().write(true).open(mnt.join("sparse")).unwrap().set_len(50 << 20).unwrap();
    fs::remove_file(mnt.join("link")).unwrap();
    fs::create_dir(mnt.join("link")).unwrap();
    fs::remove_file(mnt.join("pipe")).unwrap();
    fs::write(mnt.join("pipe"), "a file").unwrap();
    attribute(rig, "c", &mnt.join("big"));
    fs::remove_file(mnt.join("package000/also big")).unwrap();
    for large in ["package000/also big", "large"] {
        fs::write(mnt.join(large), Random::new(seed + 2).bytes(3 << 20)).unwrap();
    }
    let mut files = Vec::new();
    find(&mnt, &mut files);
    for n in 0..120 {
        let path = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
        if !path.is_file() {
            continue;
        }
        match random.below(7) {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::rename(path, mnt.join(format!("moved{n}"))).unwrap(),
            2 => fs::hard_link(path, mnt.join(format!("linked{n}"))).unwrap(),
            3 => fs::set_permissions(path, fs::Permissions::from_mode(0o604)).unwrap(),
            4 => fs::File::options().write(true).open(path).unwrap().set_len(random.below(3000)).unwrap(),
            5 => fs::write(path, random.bytes(5000)).unwrap(),
            _ => fs::write(mnt.join(format!("new{n}")), random.bytes(90_000)).unwrap(),
        }
    }
}

fn find(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            find(&path, out);
        } else if path.is_file() && !path.is_symlink() {
            out.push(path);
        }
    }
}

fn copy(rig: &Rig, name: &str) -> PathBuf {
    let to = rig.home().join(name);
    tool(rig.home(), "cp", ["-a".as_ref(), "--sparse=auto".as_ref(), rig.replica().as_os_str(), to.as_os_str()]);
    to
}

fn undo(rig: &Rig) -> PathBuf {
    rig.root().join(".replfs/tree/undo")
}

fn roll_back(rig: &Rig, more: &[&str], dying: Option<&str>) -> Outcome {
    let mut command = rig.program();
    command.arg("roll-back").arg(rig.root()).arg("tree").args(more);
    if let Some(at) = dying {
        command.env("REPLFS_KILL_AT", at);
    }
    replfs_tests::command::run(&mut command)
}

fn assert_same(before: &Path, replica: &Path, what: &str) {
    let report = compare::trees(before, replica).unwrap();
    assert!(report.differences.is_empty(), "{what}: the replica is not what it was:\n{}", report.text(20));
}

fn status(rig: &Rig) -> Value {
    let state = rig.target_state();
    let words = ["status".as_ref(), "--json".as_ref(), "--state".as_ref(), state.as_os_str()];
    let document: Value = serde_json::from_str(binary::replfs(words).ok()).unwrap();
    document.pointer("/targets/0/sources/0").unwrap_or_else(|| panic!("no replica in {document}")).clone()
}

/// The catch-up is cut by the target's death there; the replica is taken back, in `deaths` more tries, and then all is brought over.
fn is_taken_back(at: &str, deaths: &[&str], seed: u64) {
    let mut rig = rig(|_| {});
    let before = copy(&rig, "before");
    bypass(&rig, "on");
    change(&rig, seed);
    rig.kill_target();
    rig.start_dying(Side::Target, at);
    bypass(&rig, "off");
    rig.wait_for_death(Side::Target, at);
    rig.link().cut();
    assert!(undo(&rig).join("log-00000001").exists(), "{at}");
    let would: Value = serde_json::from_str(roll_back(&rig, &["--json", "--dry-run"], None).ok()).unwrap();
    assert_eq!(would["dry_run"], true, "{would}");
    for death in deaths {
        let killed = roll_back(&rig, &[], Some(death));
        assert!(killed.stderr.contains("killed at"), "{death}: {killed:?}");
    }
    let done: Value = serde_json::from_str(roll_back(&rig, &["--json"], None).ok()).unwrap();
    assert_eq!((&done["number"], &done["taken"]), (&would["number"], &would["taken"]), "{done}");
    assert_same(&before, &rig.replica(), at);
    let index = fs::read_to_string(rig.root().join(".replfs/tree/aside/index")).unwrap_or_default();
    assert!(index.contains("rolled\\x20back") || !at.ends_with(":220"), "what had come since is set aside: {index}");
    assert!(!undo(&rig).exists(), "{at}");
    let again = roll_back(&rig, &[], None);
    assert_eq!(again.code, 53, "{again:?}");
    rig.start_target();
    let shown = status(&rig);
    assert_eq!((&shown["coherent"], &shown["applied"]), (&Value::Bool(true), &done["number"]), "{shown}");
    rig.link().mend();
    rig.settle();
    rig.assert_equal();
    wait::until("the undo log's end", wait::PATIENCE, || (!undo(&rig).exists()).then_some(()));
    rig.finish();
}

// claim: A197, A199
#[test]
fn a_catch_up_that_was_cut_early_is_taken_back() {
    is_taken_back("target-applied:9", &["target-applied:1", "target-applied:4"], 3);
}

// claim: A197, A199
#[test]
fn a_catch_up_that_was_cut_in_the_middle_is_taken_back() {
    is_taken_back("target-applied:150", &["target-applied:40", "target-applied:90", "target-synced:1"], 4);
}

// claim: A197, A199, A203
#[test]
fn a_catch_up_that_was_cut_late_is_taken_back() {
    is_taken_back("target-applied:220", &["target-positioned:1"], 5);
}

// claim: A197
#[test]
fn a_catch_up_that_was_cut_with_a_record_begun_is_taken_back() {
    is_taken_back("target-intended:60", &[], 7);
}

// claim: A198
#[test]
fn a_target_that_lost_power_in_the_middle_is_taken_back() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut disks = Vec::new();
    let mut rig = rig(|rig| {
        let disk = VolatileDisk::format(rig, "disk0", 200);
        let root = rig.root();
        let options: &str = random.pick::<&str>(&["", "commit=1", "commit=1,data=writeback"]);
        disk.mount(rig, &root, options);
        disks.push(disk);
    });
    let before = copy(&rig, "before");
    bypass(&rig, "on");
    change(&rig, seed);
    rig.link().delay(Duration::from_millis(15));
    bypass(&rig, "off");
    let some = random.below(120);
    wait::until("some of the catch-up", wait::PATIENCE, || {
        let shown = status(&rig);
        let begun = shown["undo"]["number"].as_u64()?;
        (shown["applied"].as_u64()? >= begun + some || shown["coherent"] == true).then_some(())
    });
    let image = disks[0].cut(&mut random);
    rig.link().cut();
    rig.kill_target();
    let root = rig.root();
    rig.unmount_now(&root);
    rig.unmount_now(disks[0].place());
    disks.push(image.serve(&mut rig, "disk1"));
    disks[1].mount(&mut rig, &root, "");
    rig.reboot_target(1);
    let boot = format!("{:032x}", 1);
    let done =
        replfs_tests::command::run(rig.program().env("REPLFS_BOOT_ID", boot).arg("roll-back").arg(&root).arg("tree"));
    assert!(done.ok().contains("is as it was at"), "{done:?}");
    assert_same(&before, &rig.replica(), "after a power cut");
    rig.link().delay(Duration::ZERO);
    rig.start_target();
    rig.link().mend();
    rig.settle();
    rig.assert_equal();
    rig.finish();
}

// claim: A201
#[test]
fn a_damaged_undo_log_is_said_and_nothing_is_changed() {
    let mut rig = rig(|rig| {
        let disk = Disk::new(rig, "root", 512, &[]);
        let root = rig.root();
        disk.mount(rig, &root);
    });
    assert_eq!(roll_back(&rig, &[], None).code, 42, "a daemon has it");
    bypass(&rig, "on");
    change(&rig, 9);
    rig.kill_target();
    rig.start_dying(Side::Target, "target-applied:100");
    bypass(&rig, "off");
    rig.wait_for_death(Side::Target, "target-applied:100");
    rig.link().cut();
    let log = undo(&rig).join("log-00000001");
    let whole = fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let there = copy(&rig, "there");
    let refused = roll_back(&rig, &[], None);
    assert!(refused.code == 54 && refused.stderr.contains("the undo log is damaged (record "), "{refused:?}");
    assert_same(&there, &rig.replica(), "refused");
    let none = replfs_tests::command::run(rig.program().arg("roll-back").arg(rig.root()).arg("other"));
    assert_eq!(none.code, 52, "{none:?}");
    let nowhere = replfs_tests::command::run(rig.program().arg("roll-back").arg(rig.home().join("no")).arg("tree"));
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(!rig.home().join("no").exists());
    // A target goes on with it: what is not needed harms nobody.
    rig.start_target();
    rig.link().mend();
    rig.settle();
    rig.assert_equal();
    wait::until("the undo log's end", wait::PATIENCE, || (!undo(&rig).exists()).then_some(()));
    assert_eq!(roll_back(&rig, &[], None).code, 42);
    rig.kill_target();
    let nothing = roll_back(&rig, &[], None);
    assert!(nothing.code == 53 && nothing.stderr.contains("it is coherent"), "{nothing:?}");
    rig.start_target();
    rig.finish();
}

fn log_bytes(rig: &Rig) -> u64 {
    let Ok(files) = fs::read_dir(undo(rig)) else { return 0 };
    let files = files.map(Result::unwrap).filter(|file| file.file_name().to_string_lossy().starts_with("log-"));
    files.map(|file| file.metadata().unwrap().len()).sum()
}

// claim: A200
#[test]
fn the_undo_log_has_what_was_overwritten_once_whatever_daemons_write_it() {
    let mut rig = rig(|_| {});
    bypass(&rig, "on");
    let big = fs::File::options().write(true).open(rig.mnt().join("big")).unwrap();
    big.write_all_at(&Random::new(3).bytes(1 << 20), 3 << 20).unwrap();
    drop(big);
    rig.kill_target();
    bypass(&rig, "off");
    let mut most = 0;
    for _ in 0..40 {
        rig.start_dying(Side::Target, "target-applied:3");
        if rig.is_settled_before_death(Side::Target) {
            break;
        }
        most = most.max(log_bytes(&rig));
    }
    assert!((1 << 20..(1 << 20) + 65_536).contains(&most), "{most} bytes for 1 MiB that is overwritten");
    if !rig.has_died(Side::Target) {
        rig.kill_target();
    }
    rig.start_target();
    rig.settle();
    rig.assert_equal();
    rig.finish();
}

// claim: A202
#[test]
fn without_room_the_undo_log_is_given_up_and_the_catch_up_goes_on() {
    let rig = rig(|rig| {
        let disk = Disk::new(rig, "root", 40, &[]);
        let root = rig.root();
        disk.mount(rig, &root);
    });
    let mnt = rig.mnt();
    for n in 0..6 {
        fs::write(mnt.join(format!("piece{n}")), Random::new(n).bytes(2 << 20)).unwrap();
    }
    rig.settle();
    bypass(&rig, "on");
    for n in 0..6 {
        fs::write(mnt.join(format!("piece{n}")), Random::new(n + 10).bytes(2 << 20)).unwrap();
    }
    fs::write(mnt.join("big"), Random::new(30).bytes(8 << 20)).unwrap();
    bypass(&rig, "off");
    rig.settle();
    rig.assert_equal();
    let error = status(&rig)["last_error"].to_string();
    assert!(error.contains("is not kept any more: no space"), "{error}");
    assert!(!undo(&rig).exists());
    rig.finish();
}

// claim: A197
#[test]
fn a_replica_in_a_local_directory_is_taken_back_too() {
    let mut rig = Rig::bare(Commit::Real, Setup { local: true, ..Setup::default() }.option(&["--keep-image", "auto"]));
    tree::sources(&rig.src(), 200);
    rig.mount();
    rig.settle();
    rig.unmount();
    let before = copy(&rig, "before");
    let at = "target-applied:150";
    rig.start_dying(Side::Source, at);
    bypass(&rig, "on");
    let mut files = Vec::new();
    find(&rig.mnt(), &mut files);
    for (n, path) in files.iter().enumerate() {
        match n % 3 {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::write(path, "something else").unwrap(),
            _ => fs::rename(path, rig.mnt().join(format!("moved{n}"))).unwrap(),
        }
    }
    // It may die before it answers.
    drop(rig.replfs("bypass", &[&rig.mnt().to_string_lossy(), "off"]));
    rig.wait_for_death(Side::Source, at);
    assert!(undo(&rig).exists(), "{}", rig.source_log());
    roll_back(&rig, &[], None).ok();
    assert_same(&before, &rig.replica(), at);
    rig.mount();
    rig.settle();
    rig.finish();
}
