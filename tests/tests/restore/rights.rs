//! Who may restore what.

use super::{INCOMPLETE, NO_REPLICA, OWNED, USAGE, assert_same, at_rest, from, restore};
use replfs_tests::command::Outcome;
use replfs_tests::compare;
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::tree;
use replfs_tests::user::{USER, as_user, his_own};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
            fs::set_permissions(&some, fs::Permissions::from_mode(0o0)).unwrap();
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
