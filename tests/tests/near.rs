//! Commit mode `near` and changing the mode of a mount (S2): an application goes on while the target is behind by less than the
//! bounds, and waits beyond them.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::{PATIENCE, until};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// An application that makes one small write after the other, and counts those that returned.
struct Application {
    returned: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Application {
    fn start(rig: &Rig, writes: u64) -> Self {
        let file = File::options().write(true).open(rig.mnt().join("file")).unwrap();
        let returned = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&returned);
        let thread = std::thread::spawn(move || {
            for n in 0..writes {
                file.write_all_at(b"x", n).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { returned, thread }
    }

    fn returned(&self) -> u64 {
        self.returned.load(Ordering::SeqCst)
    }

    fn ended(self) {
        until("the application's end", PATIENCE, || self.thread.is_finished().then_some(()));
        self.thread.join().unwrap();
    }
}

fn near(options: &[&str]) -> Rig {
    let words = ["--commit", "near", "--near-operations", "1000000", "--near-bytes", "1GiB", "--near-time", "1h"];
    let rig = Rig::with(Commit::Real, Setup::default().linked().option(&words).option(options));
    File::create(rig.mnt().join("file")).unwrap();
    rig.settle();
    rig
}

/// Operations that wait for the target, the one whose caller waits included.
fn waits_with(rig: &Rig, operations: u64) {
    rig.wait_status("so many operations behind", |status| status.target().lag.operations == operations);
}

// claim: A135
#[test]
fn beyond_the_bound_of_operations_the_application_waits() {
    let rig = near(&["--near-operations", "10", "--degrade-after", "60s"]);
    rig.link().cut();
    let application = Application::start(&rig, 30);
    waits_with(&rig, 11);
    assert_eq!(application.returned(), 10);
    rig.link().mend();
    application.ended();
    assert!(!rig.status().target().degraded);
    rig.finish();
}

// claim: A135
#[test]
fn beyond_the_bounds_of_bytes_and_time_too() {
    let rig = near(&["--near-bytes", "4KiB", "--degrade-after", "60s"]);
    rig.link().cut();
    let application = Application::start(&rig, 1000);
    let behind = rig.wait_status("a write that waits", |status| status.target().lag.bytes > 4096);
    assert!(application.returned() < behind.target().lag.operations, "the last of them is waiting");
    rig.link().mend();
    application.ended();
    let mode = |words: &[&str]| {
        let mnt = rig.mnt();
        let line: Vec<&str> = [mnt.to_str().unwrap(), "near"].iter().chain(words).copied().collect();
        rig.replfs("commit", &line).ok();
    };
    mode(&["--near-bytes", "1GiB", "--near-time", "1s"]);
    rig.settle();
    rig.link().cut();
    let file = File::options().write(true).open(rig.mnt().join("file")).unwrap();
    file.write_all_at(b"first", 0).unwrap();
    rig.wait_status("the first write to be a second old", |status| status.target().lag.millis > 1000);
    let application = Application::start(&rig, 1);
    waits_with(&rig, 2);
    assert_eq!(application.returned(), 0);
    rig.link().mend();
    application.ended();
    drop(file);
    rig.finish();
}

// claim: A136
#[test]
fn it_degrades_without_a_target_unless_it_is_strict() {
    let rig = near(&["--near-operations", "10", "--degrade-after", "300ms"]);
    rig.link().cut();
    Application::start(&rig, 30).ended();
    assert!(rig.status().target().degraded);
    rig.link().mend();
    rig.wait_status("the mode to be in force again", |status| !status.target().degraded);
    let mnt = rig.mnt();
    let mnt = mnt.to_str().unwrap();
    rig.replfs("commit", &[mnt, "near", "--near-operations", "10", "--strict"]).ok();
    rig.settle();
    rig.link().cut();
    let application = Application::start(&rig, 30);
    rig.wait_status("far more than degrade-after", |status| status.target().lag.millis > 2000);
    assert_eq!(application.returned(), 10);
    assert!(!rig.status().target().degraded);
    rig.link().mend();
    application.ended();
    rig.finish();
}

// claim: A137
#[test]
fn the_mode_is_shown_and_changed_while_mounted() {
    let rig = near(&["--near-operations", "5", "--degrade-after", "60s"]);
    let mnt = rig.mnt();
    let mnt = mnt.to_str().unwrap();
    let shown = rig.replfs("commit", &[mnt]);
    assert_eq!(shown.ok().trim(), "near (at most 5 operations, 1.0 GiB, 1:00:00 behind)");
    rig.link().cut();
    let application = Application::start(&rig, 30);
    waits_with(&rig, 6);
    assert_eq!(application.returned(), 5);
    // What waits need not any more.
    assert_eq!(rig.replfs("commit", &[mnt, "real"]).ok().trim(), "real");
    application.ended();
    let json = rig.replfs("commit", &[mnt, "sync", "--json"]);
    let json: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!((json["version"].as_u64(), json["commit"].as_str()), (Some(1), Some("sync")));
    assert_eq!(json["degraded"].as_bool(), Some(true), "the target is behind, and away");
    rig.link().mend();
    rig.wait_status("sync to be in force", |status| status.commit == "sync" && !status.target().degraded);
    // It is there when the call returns.
    std::fs::write(rig.mnt().join("now"), "now").unwrap();
    assert_eq!(std::fs::read_to_string(rig.replica().join("now")).unwrap(), "now");
    for (words, says) in
        [(vec!["sideways"], "unknown commit mode"), (vec!["--near-operations", "3"], "write 'near' before them")]
    {
        let line: Vec<&str> = [mnt].into_iter().chain(words).collect();
        let outcome = rig.replfs("commit", &line);
        assert!(outcome.code == 1 && outcome.stderr.contains(says), "{outcome:?}");
    }
    rig.finish();
}
