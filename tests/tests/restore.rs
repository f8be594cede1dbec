//! Bringing a replica back: exactly, only what differs, without losing what is there, from where it was interrupted.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::Outcome;
use replfs_tests::compare;
use replfs_tests::disk::Disk;
use replfs_tests::rig::watchdog::kill;
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::tree;
use replfs_tests::user::{USER, as_user, his_own};
use replfs_tests::wait::{PATIENCE, until};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Exit codes.
const USAGE: i32 = 1;
const LOST: i32 = 36;
const OWNED: i32 = 38;
const INCOMPLETE: i32 = 50;
const DESTINATION: i32 = 51;
const NO_REPLICA: i32 = 52;

/// The words that name a rig's replica.
fn from(rig: &Rig) -> Vec<String> {
    let mut words = vec!["--from".to_owned(), rig.target_argument(), "--name".to_owned(), NAME.to_owned()];
    if !rig.target_argument().contains('/') {
        words.extend(["--target-key".to_owned(), rig.target_key().to_owned()]);
    }
    words
}

/// Restores this rig's replica to `to`.
#[track_caller]
fn restore(rig: &Rig, to: &Path, more: &[&str]) -> Outcome {
    let mut words = from(rig);
    words.extend(["--to".to_owned(), to.to_str().unwrap().to_owned()]);
    words.extend(more.iter().map(|word| (*word).to_owned()));
    rig.replfs("restore", &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Restores and gives the document that says what was done.
#[track_caller]
fn document(rig: &Rig, to: &Path, more: &[&str]) -> Value {
    let outcome = restore(rig, to, &[&["--json"], more].concat());
    serde_json::from_str(outcome.ok()).unwrap()
}

fn counts(document: &Value) -> [u64; 5] {
    ["new", "changed", "attributes", "aside", "extra"].map(|what| document["counts"][what].as_u64().unwrap())
}

#[track_caller]
fn assert_same(a: &Path, b: &Path) {
    let report = compare::trees(a, b).unwrap();
    assert!(report.differences.is_empty(), "{} against {}:\n{}", a.display(), b.display(), report.text(20));
}

/// A rig whose replica was made, with nothing mounted any more.
fn at_rest(setup: Setup, make: impl FnOnce(&Path)) -> Rig {
    let mut rig = Rig::prepare(Commit::Real, setup);
    make(&rig.src());
    rig.mount();
    rig.settle();
    rig.unmount();
    rig
}

fn lines(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome.ok().lines().map(ToOwned::to_owned).collect();
    lines.pop();
    lines
}

// claim: A98
#[test]
fn a_machine_with_a_new_disk_and_the_old_key_gets_everything_back() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    tree::oddities(&rig.src());
    tree::sources(&rig.src().join("sources"), 1000);
    rig.mount();
    rig.settle();
    let changed = rig.mnt().join("sources/late");
    fs::write(&changed, "through the mount").unwrap();
    rig.kill_source();
    let _dead = rustix::mount::unmount(rig.mnt(), rustix::mount::UnmountFlags::DETACH);
    fs::remove_dir_all(rig.src()).unwrap();
    // Of the old machine only the key is left.
    let state = rig.home().join("new-state");
    fs::create_dir(&state).unwrap();
    fs::copy(rig.source_state().join("key.pem"), state.join("key.pem")).unwrap();
    fs::remove_dir_all(rig.source_state()).unwrap();
    fs::rename(&state, rig.source_state()).unwrap();
    restore(&rig, &rig.src(), &[]).ok();
    assert_same(&rig.replica(), &rig.src());
    // Nothing is left to do, and nothing of ours is left.
    let again = document(&rig, &rig.src(), &["--dry-run"]);
    assert_eq!(again["complete"], true);
    assert_eq!(counts(&again), [0; 5], "{again}");
    assert_eq!(again["bytes_received"], 0);
    // It goes on from there.
    rig.mount();
    rig.finish();
}

// claim: A99
#[test]
fn only_what_differs_travels_and_what_would_be_lost_is_set_aside() {
    let rig = at_rest(Setup::default(), |src| {
        tree::sources(src, 300);
        fs::write(src.join("big"), Random::new(1).bytes(8 << 20)).unwrap();
        fs::write(src.join("kind"), "a file").unwrap();
        fs::create_dir(src.join("place")).unwrap();
        fs::write(src.join("place/inside"), "inside").unwrap();
        fs::write(src.join("shared"), "replica").unwrap();
        fs::write(src.join("mode"), "mode").unwrap();
    });
    let to = rig.home().join("to");
    restore(&rig, &to, &[]).ok();
    assert_same(&rig.replica(), &to);
    // Two blocks of a large file, a file in place of a directory, a directory in place of a file, a link out of DIR, ...
    File::options().write(true).open(to.join("big")).unwrap().write_all_at(&[0; 100], 5 << 20).unwrap();
    File::options().write(true).open(to.join("big")).unwrap().write_all_at(&[0; 100], 7 << 20).unwrap();
    fs::remove_file(to.join("kind")).unwrap();
    fs::create_dir(to.join("kind")).unwrap();
    fs::write(to.join("kind/mine"), "mine").unwrap();
    let outside = rig.home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(to.join("place")).unwrap();
    symlink(&outside, to.join("place")).unwrap();
    fs::set_permissions(to.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    // ... a file that has a second name outside of DIR, and one that the replica does not have.
    fs::hard_link(to.join("shared"), outside.join("second")).unwrap();
    File::options().append(true).open(to.join("shared")).unwrap().write_all_at(b"!", 7).unwrap_or(());
    fs::write(to.join("shared"), "mine too").unwrap();
    fs::write(to.join("only here"), "only here").unwrap();

    let before = fs::metadata(to.join("big")).unwrap();
    let dry = restore(&rig, &to, &["--dry-run"]);
    let mut expected = [
        "aside kind",
        "aside place",
        "attributes .",
        "attributes mode",
        "changed big",
        "changed shared",
        "extra only here",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    expected.extend(["new kind", "new place", "new place/inside"].map(ToOwned::to_owned));
    let mut told = lines(&dry);
    told.sort();
    assert_eq!(told, expected, "{}", dry.stdout);
    assert!(to.join("kind/mine").exists() && !rig.source_state().join("aside").exists(), "a dry run touches nothing");

    let aside = rig.home().join("kept");
    let done = document(&rig, &to, &["--aside", aside.to_str().unwrap()]);
    assert_eq!(fs::metadata(to.join("big")).unwrap().ino(), before.ino(), "written in place");
    let received = done["bytes_received"].as_u64().unwrap();
    assert!(received <= 2 * (16 << 10) + 1000, "two blocks of the large file travelled: {done}");
    assert_eq!(fs::read_to_string(aside.join("kind/mine")).unwrap(), "mine");
    assert_eq!(fs::read_link(aside.join("place")).unwrap(), outside);
    assert_eq!(fs::read_to_string(aside.join("shared")).unwrap(), "mine too");
    assert_eq!(fs::metadata(aside.join("big")).unwrap().mtime(), before.mtime(), "a copy has the attributes");
    assert_eq!(fs::read_to_string(outside.join("second")).unwrap(), "mine too", "nothing outside of DIR is touched");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::metadata(&aside).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(to.join("only here")).unwrap(), "only here");
    assert_eq!(counts(&done)[4], 1, "what only DIR has is counted: {done}");

    let outcome = restore(&rig, &to, &["--exact"]);
    let kept: PathBuf = lines(&outcome)[0].split(" -> ").nth(1).unwrap().into();
    assert!(kept.starts_with(rig.source_state().join("aside")), "{outcome:?}");
    assert_eq!(fs::read_to_string(kept).unwrap(), "only here");
    assert_same(&rig.replica(), &to);
    // Content that attributes do not show is found when asked for.
    let secret = to.join("mode");
    let stamp = fs::metadata(&secret).unwrap().modified().unwrap();
    fs::write(&secret, "MODE").unwrap();
    File::options().write(true).open(&secret).unwrap().set_modified(stamp).unwrap();
    assert_eq!(counts(&document(&rig, &to, &[])), [0; 5]);
    assert_eq!(counts(&document(&rig, &to, &["--checksum"])), [0, 1, 0, 1, 0]);
    assert_same(&rig.replica(), &to);
}

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

fn partial_of(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    names.into_iter().find(|path| path.file_name().unwrap().to_str().is_some_and(|n| n.starts_with(".replfs-restore-")))
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

// claim: A101
#[test]
fn a_restore_into_a_mount_is_replicated_and_one_beside_a_session_does_not_disturb_it() {
    let from = Rig::start(Commit::Sync);
    tree::oddities(&from.mnt().join("odd"));
    tree::sources(&from.mnt().join("sources"), 300);
    fs::write(from.mnt().join("big"), Random::new(3).bytes(3 << 20)).unwrap();
    from.settle();
    let into = Rig::start(Commit::Sync);
    let behind = restore(&from, &into.src().join("x"), &[]);
    behind.expect(USAGE);
    assert!(behind.stderr.contains(into.mnt().to_str().unwrap()), "it says where to: {behind:?}");
    fs::write(into.mnt().join("big"), Random::new(4).bytes(2 << 20)).unwrap();
    fs::write(into.mnt().join("mine"), "mine").unwrap();
    // While a session of its source goes on.
    let sessions = from.status();
    restore(&from, &into.mnt(), &["--exact"]).ok();
    fs::write(from.mnt().join("after"), "after").unwrap();
    assert_eq!(fs::read(from.replica().join("after")).unwrap(), b"after", "the session is as it was");
    assert_eq!(from.status().pid, sessions.pid);
    fs::remove_file(from.mnt().join("after")).unwrap();
    restore(&from, &into.mnt(), &[]).ok();
    into.settle();
    assert_same(&from.replica(), &into.src());
    assert_same(&from.replica(), &into.replica());
    from.finish();
    into.finish();
}

// claim: A101
#[test]
fn a_file_that_changes_while_it_is_read_is_never_a_mixture() {
    const SIZE: u64 = 4 << 20;
    let rig = Rig::with(Commit::Sync, Setup::default().linked());
    let file = File::options().read(true).write(true).create_new(true).open(rig.mnt().join("f")).unwrap();
    file.write_all_at(&Random::new(5).bytes(4 << 20), 0).unwrap();
    let both = |n: u64| [0, SIZE - 8].map(|at| file.write_all_at(&n.to_le_bytes(), at).unwrap());
    both(0);
    rig.settle();
    rig.link().delay(Duration::from_millis(2));
    let to = rig.home().join("to");
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1.. {
                both(n);
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..3 {
            let outcome = restore(&rig, &to, &[]);
            assert!([0, INCOMPLETE].contains(&outcome.code), "{outcome:?}");
            if outcome.code == INCOMPLETE {
                assert!(outcome.stderr.contains("f: it changes on the target while it is read"), "{outcome:?}");
                continue;
            }
            let content = fs::read(to.join("f")).unwrap();
            let [first, last] =
                [0, content.len() - 8].map(|at| u64::from_le_bytes(content[at..at + 8].try_into().unwrap()));
            assert!(first == last || first == last + 1, "{first} in front, {last} at the end");
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    });
    rig.settle();
    restore(&rig, &to, &[]).ok();
    assert_same(&rig.replica(), &to);
    assert_eq!(partial_of(&to), None);
    rig.link().delay(Duration::ZERO);
    drop(file);
    rig.finish();
}

// claim: A102
#[test]
fn parts_of_a_replica_come_alone_and_hard_links_stay_links() {
    let mut rig = at_rest(Setup { local: true, ..Setup::default() }, |src| {
        for dir in ["a/b/c", "a/other", "z"] {
            fs::create_dir_all(src.join(dir)).unwrap();
        }
        fs::write(src.join("a/b/c/file"), "file").unwrap();
        fs::hard_link(src.join("a/b/c/file"), src.join("a/b/second")).unwrap();
        fs::hard_link(src.join("a/b/c/file"), src.join("z/third")).unwrap();
        fs::write(src.join("a/other/file"), "other").unwrap();
        fs::set_permissions(src.join("a"), fs::Permissions::from_mode(0o751)).unwrap();
    });
    // A mount that has the ROOT makes no difference.
    rig.mount();
    rig.settle();
    let to = rig.home().join("to");
    restore(&rig, &to, &["a/b/", "./a/b/c"]).ok();
    assert_same(&rig.replica().join("a/b/c"), &to.join("a/b/c"));
    let ino = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    assert_eq!(ino("a/b/c/file"), ino("a/b/second"));
    assert!(!to.join("a/other").exists() && !to.join("z").exists());
    assert_eq!(fs::metadata(to.join("a")).unwrap().permissions().mode() & 0o7777, 0o751, "made as the replica has it");
    // Links that were broken or are of others become what they are.
    restore(&rig, &to, &[]).ok();
    assert_same(&rig.replica(), &to);
    fs::remove_file(to.join("a/b/second")).unwrap();
    fs::copy(to.join("a/b/c/file"), to.join("a/b/second")).unwrap();
    fs::remove_file(to.join("a/other/file")).unwrap();
    fs::hard_link(to.join("z/third"), to.join("a/other/file")).unwrap();
    restore(&rig, &to, &["--exact"]).ok();
    assert_same(&rig.replica(), &to);
    let missing = restore(&rig, &to, &["a/none", "z"]);
    missing.expect(NO_REPLICA);
    assert!(missing.stderr.contains("a/none"), "{missing:?}");
    for bad in ["/a", "../a", "a/../b"] {
        restore(&rig, &to, &[bad]).expect(USAGE);
    }
    rig.finish();
}

/// A restore of any rig's user from anywhere.
fn restore_as(rig: &Rig, state: &Path, words: &[&str], to: &Path) -> Outcome {
    let mut command = rig.program();
    replfs_tests::command::run(command.arg("restore").arg("--state").arg(state).args(words).arg("--to").arg(to))
}

// claim: A103
#[test]
fn nobody_but_its_owner_gets_a_replica_and_refusals_say_what_to_do() {
    let rig = at_rest(Setup::default(), |src| fs::write(src.join("f"), "f").unwrap());
    let to = rig.home().join("to");
    // A second source that the target lets in, and that owns nothing there.
    let setup = Setup { target: vec!["--allow".into(), rig.key(&rig.source_state())], ..Setup::default() };
    let other = Rig::with(Commit::Sync, setup);
    let address = other.target_argument();
    let words = |name| ["--from", &address, "--target-key", other.target_key(), "--name", name];
    let none = restore_as(&other, &other.source_state(), &words("none"), &to);
    none.expect(NO_REPLICA);
    assert!(none.stderr.contains("replfs status"), "{none:?}");
    let owned = restore_as(&other, &rig.source_state(), &words(NAME), &to);
    owned.expect(OWNED);
    assert!(owned.stderr.contains("--state"), "{owned:?}");
    let local = format!("{}/", other.root().display());
    restore_as(&other, &rig.source_state(), &["--from", &local, "--name", NAME], &to).expect(OWNED);
    restore_as(&other, &rig.source_state(), &["--from", "/proc/", "--name", NAME], &to).expect(NO_REPLICA);
    assert!(!to.exists(), "nothing was made");
    // Places that would contain each other.
    let local = format!("{}/", rig.root().display());
    restore_as(&rig, &rig.source_state(), &["--from", &local, "--name", NAME], &rig.root().join("x")).expect(USAGE);
    restore(&rig, &to, &["--exact", "--aside", to.join("x").to_str().unwrap()]).expect(USAGE);
    restore(&rig, &to, &["--block-size", "100"]).expect(USAGE);
    restore_as(&rig, &rig.source_state(), &["--from", "none", "--name", NAME], &to).expect(USAGE);
    assert!(!to.exists() && !rig.root().join("x").exists(), "nothing was made");
    restore_as(&rig, &rig.source_state(), &["--from", &local, "--name", NAME], &to).ok();
    assert_same(&rig.replica(), &to);
    other.finish();
}

// claim: A104
#[test]
fn an_ordinary_user_gets_what_he_may_have_and_the_rest_is_said() {
    let rig = at_rest(Setup::default(), |src| {
        fs::write(src.join("file"), "file").unwrap();
        fs::create_dir(src.join("closed")).unwrap();
        fs::write(src.join("closed/inside"), "inside").unwrap();
        fs::set_permissions(src.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
        tree::device(&src.join("null"), 1, 3);
        fs::write(src.join("setuid"), "setuid").unwrap();
        fs::set_permissions(src.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    });
    let home = rig.home().join("his");
    fs::create_dir(&home).unwrap();
    // The key is his now.
    let state = home.join("state");
    fs::create_dir(&state).unwrap();
    fs::copy(rig.source_state().join("key.pem"), state.join("key.pem")).unwrap();
    for path in [&home, &state, &state.join("key.pem")] {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
    }
    replfs_tests::rig::binary::lend(rig.home());
    let run = || {
        as_user(USER, &[], || {
            let mut command = std::process::Command::new(rig.home().join(replfs_tests::rig::binary::LENT));
            command.current_dir(&home).env("HOME", &home);
            command.arg("restore").arg("--state").arg(&state).args(from(&rig)).arg("--to").arg(home.join("to"));
            replfs_tests::command::run(&mut command)
        })
    };
    for _ in 0..2 {
        let outcome = run();
        outcome.expect(INCOMPLETE);
        assert_eq!(outcome.stderr.matches("owners and groups").count(), 1, "said once: {outcome:?}");
        assert!(outcome.stderr.contains("null: it cannot be made"), "{outcome:?}");
    }
    let to = home.join("to");
    assert_eq!(fs::read_to_string(to.join("closed/inside")).unwrap(), "inside");
    assert_eq!(fs::metadata(to.join("closed")).unwrap().permissions().mode() & 0o7777, 0o500);
    let setuid = fs::metadata(to.join("setuid")).unwrap();
    assert_eq!((setuid.uid(), setuid.permissions().mode() & 0o7777), (USER, 0o755), "nobody else's setuid");
}

// claim: A104
#[test]
fn an_ordinary_users_own_replica_comes_back_whole() {
    his_own(
        Commit::Sync,
        |src| tree::sources(src, 100),
        |rig| {
            rig.settle();
            let to = rig.home().join("to");
            fs::create_dir(&to).unwrap();
            std::os::unix::fs::chown(&to, Some(USER), Some(USER)).unwrap();
            restore(&rig, &to, &[]).ok();
            assert_same(&rig.replica(), &to);
            // What cannot be read is said, and the rest is there.
            let locked = rig.replica().join("package000");
            let some = until("a file", PATIENCE, || first_file(&locked));
            fs::set_permissions(&some, fs::Permissions::from_mode(0)).unwrap();
            let empty = rig.home().join("empty");
            fs::create_dir(&empty).unwrap();
            std::os::unix::fs::chown(&empty, Some(USER), Some(USER)).unwrap();
            let outcome = restore(&rig, &empty, &[]);
            outcome.expect(INCOMPLETE);
            assert!(outcome.stderr.contains("the target cannot read it"), "{outcome:?}");
            assert!(outcome.stderr.contains("1 of it was not restored"), "{outcome:?}");
            let report = compare::trees(&rig.replica(), &empty).unwrap();
            assert_eq!(report.differences.len(), 1, "{}", report.text(20));
        },
    );
}

fn first_file(dir: &Path) -> Option<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths
        .iter()
        .find(|path| fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0))
        .cloned()
        .or_else(|| paths.iter().filter(|path| path.is_dir()).find_map(|path| first_file(path)))
}
