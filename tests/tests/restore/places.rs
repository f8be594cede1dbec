//! Where from and where to: mounts, beside sessions, parts, a local ROOT.

use super::{INCOMPLETE, NO_REPLICA, USAGE, assert_same, at_rest, partial_of, restore};
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::tree;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::Duration;

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
