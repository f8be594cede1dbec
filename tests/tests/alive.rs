//! Who is dead and who is only slow: a peer that is gone is noticed soon, on both sides and however it went; one whose disk hangs is not taken for gone.
#![allow(clippy::unwrap_used)]

use replfs_tests::disk::{Disk, Frozen};
use replfs_tests::in_both_modes;
use replfs_tests::rig::watchdog::kill;
use replfs_tests::rig::{Commit, Rig, Setup};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

in_both_modes!(a_target_whose_disk_hangs_is_slow_and_not_dead);

/// The promise is four seconds; a loaded machine may be late with looking.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

// claim: A224
fn a_target_whose_disk_hangs_is_slow_and_not_dead(commit: Commit) {
    let mut rig = Rig::bare(commit, Setup::default().option(&["--degrade-after", "2s"]));
    let root = rig.root();
    Disk::new(&rig, "root", 64, &[]).mount(&mut rig, &root);
    rig.start_target();
    rig.mount();
    fs::write(rig.mnt().join("before"), "there").unwrap();
    rig.assert_equal();
    let before = rig.status();
    assert_eq!(before.target().slow.map(|slow| slow.sequence), None);
    let frozen = Frozen::at(&root);
    fs::write(rig.mnt().join("waits"), "for the disk").unwrap();
    // Longer than anybody is silent without being taken for dead, and than a target said nothing about it once.
    let slow = rig.wait_status("the target to be slow for 12 s", |source| {
        let target = source.target();
        assert_eq!(target.state, "connected", "it is not gone: {target:?}");
        target.slow.is_some_and(|slow| slow.millis >= 12_000)
    });
    let target = slow.target();
    let at = target.slow.unwrap().sequence;
    assert!(at > before.sequence && at <= slow.sequence, "{at} is one of those that it has not applied");
    assert_eq!(target.reconnects, before.target().reconnects, "{target:?}");
    assert!(target.applied < at && target.blocked.is_none() && target.last_error.is_none(), "{target:?}");
    assert_eq!(target.degraded, commit == Commit::Sync, "nobody waits for a disk that hangs");
    let human = rig.replfs("status", &[]).ok().to_owned();
    assert!(human.contains(&format!("slow: the target is alive, and has been applying operation {at} for")), "{human}");
    drop(frozen);
    rig.wait_status("nothing to be slow", |source| source.target().slow.is_none());
    rig.assert_equal();
    assert_eq!(rig.status().target().reconnects, before.target().reconnects);
    rig.finish();
}

/// How long it takes from now until `noticed`, which must be in time.
fn takes(what: &str, mut noticed: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !noticed() {
        assert!(begun.elapsed() < NOTICED_WITHIN, "{what} was not noticed within {NOTICED_WITHIN:?}");
        std::thread::yield_now();
    }
    println!("{what}: noticed after {:.1} s", begun.elapsed().as_secs_f64());
}

fn source_sees_none(rig: &Rig) -> bool {
    rig.status().target().state == "accumulating"
}

fn target_sees_none(rig: &Rig) -> bool {
    rig.replica_status().unwrap()["connected"] == false
}

fn goes_on(rig: &Rig, name: &str) {
    fs::write(rig.mnt().join(name), name).unwrap();
    rig.assert_equal();
    assert_eq!(rig.replica_status().unwrap()["connected"], true);
}

// claim: A225
#[test]
fn a_peer_that_is_gone_is_noticed_within_four_seconds_on_either_side() {
    let mut rig = Rig::with(Commit::Real, Setup::default().linked());
    goes_on(&rig, "first");

    rig.link().cut();
    takes("a link that was cut, by the source", || source_sees_none(&rig));
    takes("a link that was cut, by the target after that", || target_sees_none(&rig));
    rig.link().mend();
    goes_on(&rig, "mended");

    kill(rig.target_pid(), Signal::STOP);
    takes("a target that was stopped (SIGSTOP), by the source", || source_sees_none(&rig));
    kill(rig.target_pid(), Signal::CONT);
    goes_on(&rig, "continued");

    rig.signal_source(Signal::STOP);
    takes("a source that was stopped (SIGSTOP), by the target", || target_sees_none(&rig));
    rig.signal_source(Signal::CONT);
    goes_on(&rig, "continued too");

    rig.kill_target();
    takes("a target that was killed (SIGKILL), by the source", || source_sees_none(&rig));
    rig.start_target();
    goes_on(&rig, "started");

    rig.kill_source();
    takes("a source that was killed (SIGKILL), by the target", || target_sees_none(&rig));
    unmount_dead(&rig.mnt());
    rig.mount();
    goes_on(&rig, "mounted");
    rig.finish();
}

fn unmount_dead(mnt: &Path) {
    rustix::mount::unmount(mnt, rustix::mount::UnmountFlags::DETACH).unwrap();
}
