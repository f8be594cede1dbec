//! A target that keeps failing: after the retry bound the stream goes on without what it cannot carry out, says so, and brings it
//! when it can.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::tool;
use replfs_tests::in_both_modes;
use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, NAME, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::{Defer, PATIENCE, until};
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

in_both_modes!(
    a_full_target_goes_on_without_what_has_no_room_and_heals,
    what_moves_while_it_is_flagged_is_mended_where_it_is,
    a_read_only_replica_is_one_flag_and_catches_up_in_order,
    many_flags_stay_bounded_and_what_needs_no_room_goes_on,
    many_flags_heal_while_applications_go_on_in_those_places,
    a_target_killed_while_something_is_flagged_heals,
    a_source_killed_while_something_is_flagged_heals,
);

const MIB: usize = 1 << 20;

fn setup() -> Setup {
    Setup::default().option(&["--retry-after", "1s", "--degrade-after", "2s", "--connect-timeout", "3s"])
}

/// A rig whose ROOT is a file system of eight MiB, with a few files on both sides.
fn small(commit: Commit) -> Rig {
    on_tmpfs(commit, "size=8m,mode=755")
}

fn on_tmpfs(commit: Commit, options: &str) -> Rig {
    let mut rig = Rig::bare(commit, setup());
    let root = rig.root();
    rig.mount_other("tmpfs", options, &root);
    rig.start_target();
    rig.mount();
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    for n in 0..20 {
        fs::write(rig.mnt().join(format!("dir/file{n}")), format!("content {n}")).unwrap();
    }
    rig.assert_equal();
    rig
}

fn resize(rig: &Rig, size: &str) {
    tool(rig.home(), "mount", ["-o", &format!("remount,size={size}"), &rig.root().to_string_lossy()]);
}

/// Much more than there is room for.
fn big() -> Vec<u8> {
    Random::new(4).bytes(20 * MIB)
}

/// Waits until this path is flagged, and only what may be.
fn wait_flagged(rig: &Rig, path: &str) -> Source {
    let shown = rig.wait_status("it to be flagged", |s| s.target().flagged.iter().any(|flag| flag.path == path));
    let target = shown.target();
    assert!(!target.coherent && target.incoherent_from.is_some(), "{shown:?}");
    shown
}

fn wait_for(rig: &Rig, what: &str, there: impl Fn(&Path) -> bool) {
    let replica = rig.replica();
    until(what, PATIENCE, || there(&replica).then_some(()));
}

/// Both sides are equal, nothing is flagged, the mode that was asked for is in force.
fn healed(rig: Rig) {
    rig.assert_equal();
    let shown = rig.status();
    let target = shown.target();
    assert_eq!((target.flagged_count, target.incoherent_from, target.coherent), (0, None, true), "{shown:?}");
    assert!(target.flagged.is_empty() && !target.degraded, "{shown:?}");
    rig.finish();
}

// claim: A170, A172
fn a_full_target_goes_on_without_what_has_no_room_and_heals(commit: Commit) {
    let rig = small(commit);
    let mnt = rig.mnt();
    fs::write(mnt.join("big"), big()).unwrap();
    fs::remove_file(mnt.join("dir/file1")).unwrap();
    fs::rename(mnt.join("dir/file2"), mnt.join("dir/moved")).unwrap();
    fs::set_permissions(mnt.join("dir/file3"), Permissions::from_mode(0o600)).unwrap();
    wait_for(&rig, "what has room to arrive", |replica| {
        let mode = |name: &str| fs::metadata(replica.join(name)).map_or(0, |there| there.permissions().mode() & 0o777);
        !replica.join("dir/file1").exists() && replica.join("dir/moved").exists() && mode("dir/file3") == 0o600
    });
    let shown = wait_flagged(&rig, "big");
    let target = shown.target();
    assert_eq!(target.flagged_count, 1, "nothing but that is flagged: {shown:?}");
    assert!(target.flagged[0].reason.contains("no space left"), "{shown:?}");
    assert_eq!(target.degraded, commit == Commit::Sync, "no reply says that the target has it: {shown:?}");
    let human = rig.replfs("status", &[]).ok().to_owned();
    assert!(human.contains("incoherent from") && human.contains("big: write: no space left"), "{human}");
    let outcome = rig.replfs("sync", &[&mnt.to_string_lossy(), "--timeout", "1s"]);
    assert!(outcome.code != 0, "not everything is on the target: {}", outcome.stdout);
    // One by one, without the bound each.
    let begun = Instant::now();
    for n in 0..10 {
        fs::write(mnt.join(format!("big{n}")), vec![7; MIB]).unwrap();
    }
    fs::remove_file(mnt.join("dir/file4")).unwrap();
    wait_for(&rig, "what comes after them", |replica| !replica.join("dir/file4").exists());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let before = rig.status();
    resize(&rig, "64m");
    rig.assert_equal();
    let after = rig.status();
    assert_eq!(after.target().reconnects, before.target().reconnects, "{after:?}");
    healed(rig);
}

// claim: A171
fn what_moves_while_it_is_flagged_is_mended_where_it_is(commit: Commit) {
    let rig = small(commit);
    let mnt = rig.mnt();
    let large = big();
    fs::create_dir(mnt.join("one")).unwrap();
    fs::write(mnt.join("one/big"), &large).unwrap();
    // Behind the record that is tried, before anybody knows.
    fs::rename(mnt.join("one"), mnt.join("two")).unwrap();
    fs::hard_link(mnt.join("two/big"), mnt.join("link")).unwrap();
    fs::remove_file(mnt.join("two/big")).unwrap();
    fs::write(mnt.join("two/big"), "another").unwrap();
    wait_flagged(&rig, "link");
    // While it is known.
    fs::rename(mnt.join("link"), mnt.join("dir/elsewhere")).unwrap();
    rig.wait_status("the flag to move", |s| s.target().flagged.iter().any(|flag| flag.path == "dir/elsewhere"));
    fs::rename(mnt.join("dir"), mnt.join("renamed")).unwrap();
    wait_flagged(&rig, "renamed/elsewhere");
    // It is not the same content with the same size and time by which it is found.
    let file = fs::OpenOptions::new().write(true).open(mnt.join("renamed/elsewhere")).unwrap();
    file.write_at(b"changed", 3).unwrap();
    drop(file);
    resize(&rig, "64m");
    healed(rig);
}

// claim: A173
fn a_read_only_replica_is_one_flag_and_catches_up_in_order(commit: Commit) {
    // What is made read-only here is a mount and not a file system: a confined target has mounts of its own.
    let mut setup = setup().linked();
    setup.target = ["--cage", "off"].map(str::to_owned).to_vec();
    let mut rig = Rig::bare(commit, setup);
    let replica = rig.replica();
    fs::create_dir(&replica).unwrap();
    rig.mount_from(&replica, "none", "bind", &replica);
    rig.start_target();
    rig.mount();
    let mnt = rig.mnt();
    fs::write(mnt.join("before"), "1").unwrap();
    fs::write(mnt.join("kept"), Random::new(5).bytes(4 * MIB)).unwrap();
    rig.assert_equal();
    // The target keeps what it wrote to open for a moment.
    until("the replica to be read-only", PATIENCE, || remount(&replica, "ro").then_some(()));
    let (begun, sent) = (Instant::now(), rig.link().bytes_there());
    for n in 0..300 {
        fs::write(mnt.join(format!("file{n}")), format!("content {n}")).unwrap();
    }
    fs::rename(mnt.join("before"), mnt.join("after")).unwrap();
    fs::write(mnt.join("while-halted"), vec![7; MIB / 2]).unwrap();
    let shown = rig.wait_status("one flag for all of it", |s| s.target().flagged_count > 0);
    let target = shown.target();
    assert_eq!((target.flagged_count, target.flagged[0].path.as_str()), (1, "."), "{shown:?}");
    assert!(target.flagged[0].reason.contains("read-only") && target.flagged[0].operations > 300, "{shown:?}");
    assert_eq!((target.state.as_str(), target.degraded), ("accumulating", commit == Commit::Sync), "{shown:?}");
    assert!(target.coherent && target.incoherent_from.is_none(), "it is as it was, and old: {shown:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "not a bound for each: {:?}", begun.elapsed());
    assert!(replica.join("before").exists() && !replica.join("file0").exists());
    assert!(remount(&replica, "rw"));
    rig.assert_equal();
    let after = rig.status();
    assert_eq!((after.target().reconnects, after.target().passes), (target.reconnects, target.passes), "{after:?}");
    let sent = rig.link().bytes_there() - sent;
    assert!(sent < 2 * MIB as u64, "each operation travelled once: {sent}");
    assert_eq!(replica.file_name().unwrap(), NAME);
    healed(rig);
}

// claim: A173
fn many_flags_stay_bounded_and_what_needs_no_room_goes_on(commit: Commit) {
    let rig = on_tmpfs(commit, "size=64m,nr_inodes=60,mode=755");
    let mnt = rig.mnt();
    let begun = Instant::now();
    for n in 0..400 {
        fs::write(mnt.join(format!("file{n}")), format!("content {n}")).unwrap();
    }
    let shown = rig.wait_status("all to be tried", |s| s.target().flagged_count > 0 && s.target().lag.operations == 0);
    assert!(shown.target().flagged_count <= 256 && !shown.target().coherent, "bounded: {shown:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "not a bound for each: {:?}", begun.elapsed());
    fs::rename(mnt.join("dir"), mnt.join("elsewhere")).unwrap();
    fs::remove_file(mnt.join("elsewhere/file3")).unwrap();
    fs::rename(mnt.join("file399"), mnt.join("elsewhere/last")).unwrap();
    wait_for(&rig, "what needs no room to arrive", |replica| {
        replica.join("elsewhere/file2").exists() && !replica.join("elsewhere/file3").exists()
    });
    tool(rig.home(), "mount", ["-o", "remount,nr_inodes=2000", &rig.root().to_string_lossy()]);
    rig.assert_equal();
    let after = rig.status();
    assert_eq!(after.target().reconnects, shown.target().reconnects, "{after:?}");
    healed(rig);
}

fn many_flags_heal_while_applications_go_on_in_those_places(commit: Commit) {
    let rig = on_tmpfs(commit, "size=64m,nr_inodes=60,mode=755");
    let mnt = rig.mnt();
    let tree = |n: u64| mnt.join(format!("tree{}", n % 100));
    (0..100).for_each(|n| fs::create_dir(tree(n)).unwrap());
    let (done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..).take_while(|_| !done.load(Ordering::SeqCst)) {
                // Whatever is made of this is right only where the directory is there.
                let (made, moved) = (tree(n).join("made"), tree(n + 1).join("moved"));
                fs::write(&made, n.to_string()).unwrap();
                fs::rename(&made, &moved).unwrap();
                fs::create_dir_all(tree(n + 2).join("deep/deeper")).unwrap();
                fs::write(tree(n + 2).join("deep/deeper/file"), n.to_string()).unwrap();
                fs::remove_dir_all(tree(n + 51).join("deep")).ok();
                rounds.store(n, Ordering::SeqCst);
            }
        });
        let _end = Defer(&done);
        rig.wait_status("many to be flagged", |s| s.target().flagged_count >= 64);
        tool(rig.home(), "mount", ["-o", "remount,nr_inodes=20000", &rig.root().to_string_lossy()]);
        let before = rounds.load(Ordering::SeqCst);
        let shown = rig.wait_status("the replica to be coherent", |s| s.target().coherent);
        assert_eq!(shown.target().flagged_count, 0, "{shown:?}");
        until("applications to go on", PATIENCE, || (rounds.load(Ordering::SeqCst) > before).then_some(()));
    });
    healed(rig);
}

fn remount(place: &Path, how: &str) -> bool {
    let mut mount = std::process::Command::new("mount");
    mount.args(["-o", &format!("remount,bind,{how}")]).arg(place);
    mount.output().unwrap().status.success()
}

// claim: A174
fn a_target_killed_while_something_is_flagged_heals(commit: Commit) {
    let mut rig = small(commit);
    fs::write(rig.mnt().join("big"), big()).unwrap();
    wait_flagged(&rig, "big");
    rig.kill_target();
    fs::rename(rig.mnt().join("big"), rig.mnt().join("moved")).unwrap();
    rig.start_target();
    wait_flagged(&rig, "moved");
    resize(&rig, "64m");
    healed(rig);
}

// claim: A174
fn a_source_killed_while_something_is_flagged_heals(commit: Commit) {
    let mut rig = small(commit);
    fs::write(rig.mnt().join("big"), big()).unwrap();
    wait_flagged(&rig, "big");
    rig.kill_source();
    rig.mount();
    wait_flagged(&rig, "big");
    resize(&rig, "64m");
    healed(rig);
}
