//! What is restored, and what becomes of what is there.

use super::{assert_same, at_rest, counts, document, lines, restore};
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::tree;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

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
