//! Cores that stay awake while calls wait (C4): what the kernel is told by whom, and when it is taken back.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;

/// Told by the daemons, and read here: the lowest that anybody on this machine wants, in microseconds.
const DEVICE: &str = "/dev/cpu_dma_latency";

/// `None`: this machine has no such device, or does not let us.
fn wanted() -> Option<i32> {
    let mut bytes = [0; 4];
    match File::open(DEVICE).and_then(|mut device| device.read_exact(&mut bytes)) {
        Ok(()) => Some(i32::from_le_bytes(bytes)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => None,
        Err(e) => panic!("{DEVICE}: {e}"),
    }
}

/// Appends, each a call that waits for the target, until `there`, or so many.
fn append(rig: &Rig, most: u64, there: impl Fn() -> bool) -> bool {
    let file = File::create(rig.mnt().join("file")).unwrap();
    (0..most).any(|n| {
        file.write_all_at(b"line\n", n * 5).unwrap();
        there()
    })
}

fn is_awake() -> bool {
    wanted() == Some(0)
}

fn until_asleep(when: &str) {
    until(&format!("cores that may sleep, {when}"), PATIENCE, || (!is_awake()).then_some(()));
}

/// Which side is asked to keep cores awake.
fn setup(source: &str, target: &str) -> Setup {
    Setup::default().option(&["--low-latency", source]).target_option(&["--low-latency", target])
}

// claim: A281
#[test]
fn cores_stay_awake_while_calls_wait_and_not_longer() {
    if wanted().is_none() {
        // Nothing is there to be told: who insists is refused, for anybody else it is as if it were off.
        let mut rig = Rig::prepare(Commit::Sync, Setup::default());
        let refused = rig.try_mount(&["--low-latency", "on"]);
        assert!(refused.code != 0 && refused.stderr.contains(DEVICE), "{refused:?}");
        rig.mount();
        append(&rig, 100, || false);
        return rig.finish();
    }
    until_asleep("before anything was started");
    for (source, target) in [("on", "off"), ("off", "on")] {
        let mut rig = Rig::with(Commit::Sync, setup(source, target));
        assert!(append(&rig, 100_000, is_awake), "source {source}, target {target}: cores sleep");
        until_asleep("after the last call");
        // Whoever dies meanwhile takes that back, too.
        assert!(append(&rig, 100_000, is_awake));
        if source == "on" {
            rig.kill_source();
            until_asleep("after the source was killed");
            continue;
        }
        rig.kill_target();
        until_asleep("after the target was killed");
        rig.start_target();
        rig.finish();
    }
    let rig = Rig::with(Commit::Sync, setup("off", "off"));
    assert!(!append(&rig, 2000, is_awake), "somebody was told to keep cores awake");
    rig.finish();
}

// claim: A281
#[test]
fn other_words_are_refused() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    let refused = rig.try_mount(&["--low-latency", "sometimes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("auto, on, off"), "{refused:?}");
}
