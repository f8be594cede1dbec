//! Flow rules (S4): what changes is held until a size, an age or a time of day is reached, and whoever waits for the target does not wait for that. Nothing that is
//! held is lost.
#![allow(clippy::unwrap_used)]

use platform::sys;
use replfs_tests::rig::status::Source;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::Random;
use replfs_tests::wait::{PATIENCE, until};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// What is held so long would have been sent many times over.
const LONG: u64 = 1500;

/// A time of day that begins in two hours and lasts one.
fn not_now() -> String {
    let minute = sys::minute_of_day().unwrap();
    let clock = |in_hours: u32| {
        let minute = (minute + 60 * in_hours) % (24 * 60);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    format!("{}-{}", clock(2), clock(3))
}

/// A rig that has mirrored an empty SRC, and holds what changes from now on.
fn held_by(commit: Commit, setup: Setup, rules: &[&str]) -> Rig {
    let words: Vec<_> = rules.iter().flat_map(|rule| ["--send", rule]).collect();
    let mut rig = Rig::prepare(commit, setup.option(&words));
    rig.mount();
    // Also where a window is not open: somebody waits for it.
    sync(&rig);
    rig
}

fn mnt(rig: &Rig) -> String {
    rig.mnt().to_string_lossy().into_owned()
}

fn sync(rig: &Rig) {
    rig.replfs("sync", &[&mnt(rig), "--timeout", "60s"]).ok();
}

fn send(rig: &Rig, rules: &[&str]) -> String {
    let name = mnt(rig);
    let mut words = vec![name.as_str()];
    words.extend(rules);
    rig.replfs("send", &words).ok().to_owned()
}

/// Waits until something has been held for long, and nothing but what `applied` says has arrived.
#[track_caller]
fn assert_held(rig: &Rig, applied: u64) -> Source {
    let status = rig.wait_status("something to be held for long", |s| s.target().send.millis >= LONG);
    let target = status.target();
    assert!(target.send.holding && target.send.operations > 0 && target.send.bytes > 0, "{target:#?}");
    assert_eq!((target.applied, target.state.as_str(), target.coherent), (applied, "accumulating", true));
    assert!(target.lag.operations >= target.send.operations, "{target:#?}");
    status
}

/// Waits until all is there by itself: nobody asks for it.
#[track_caller]
fn assert_arrives(rig: &Rig) {
    rig.wait_status("everything on the target", Source::is_settled);
    rig.assert_replica_equals(&rig.src());
}

fn applied(rig: &Rig) -> u64 {
    rig.status().target().applied
}

/// Waits until next to nothing travels to the target for a while.
fn wait_for_silence(rig: &Rig) {
    until("silence on the link", PATIENCE, || {
        let (begun, before) = (Instant::now(), rig.link().bytes_there());
        until("a second", PATIENCE, || (begun.elapsed() >= Duration::from_secs(1)).then_some(()));
        // Heartbeats and what QUIC says by itself.
        (rig.link().bytes_there() - before < 4000).then_some(())
    });
}

// claim: A273
#[test]
fn nothing_is_sent_until_a_size_is_reached_and_then_all_is() {
    let rig = held_by(Commit::Real, Setup::default(), &["size=1MiB"]);
    for round in 0..2 {
        let before = applied(&rig);
        for n in 0..3 {
            fs::write(rig.mnt().join(format!("small{round}-{n}")), vec![1; 200 << 10]).unwrap();
        }
        let held = assert_held(&rig, before);
        assert!((600 << 10..1 << 20).contains(&held.target().send.bytes), "{:?}", held.target().send);
        assert!(!rig.replica().join(format!("small{round}-0")).exists());
        let shown = rig.replfs("status", &[]).stdout;
        assert!(shown.contains("  send     size=1.0 MiB; held: ") && shown.contains(" more\n"), "{shown}");
        // One operation, and the last.
        fs::write(rig.mnt().join(format!("enough{round}")), vec![2; 500 << 10]).unwrap();
        assert_arrives(&rig);
    }
    rig.finish();
}

// claim: A273
#[test]
fn what_is_as_old_as_the_rule_says_is_sent_by_itself() {
    let rig = held_by(Commit::Local, Setup::default(), &["size=1GiB", "age=2s"]);
    let mut n = 0;
    // On a slow machine the status may come too late for one of them.
    let held = until("the status to say that it is held", PATIENCE, || {
        n += 1;
        fs::write(rig.mnt().join(format!("file{n}")), b"text").unwrap();
        Some(rig.status()).filter(|status| status.target().send.holding)
    });
    let send = &held.target().send;
    assert!(send.opens_in_ms.is_some_and(|rest| rest <= 2000) && send.rules.len() == 2, "{send:?}");
    assert_arrives(&rig);
    rig.finish();
}

// claim: A274
#[test]
fn outside_of_its_window_nothing_is_sent_and_another_rule_lets_go() {
    let window = not_now();
    let rig = held_by(Commit::Real, Setup::default(), &[&window]);
    let before = applied(&rig);
    fs::create_dir(rig.mnt().join("dir")).unwrap();
    fs::write(rig.mnt().join("dir/file"), b"text").unwrap();
    fs::rename(rig.mnt().join("dir"), rig.mnt().join("moved")).unwrap();
    let held = assert_held(&rig, before);
    let opens = held.target().send.opens_in_ms.unwrap();
    assert!((3_500_000..=7_200_000).contains(&opens), "{opens} ms until {window}");
    let shown = send(&rig, &[]);
    assert!(shown.starts_with(&format!("{window}; held: ")) && shown.contains("; goes in 1:"), "{shown}");
    assert_eq!(send(&rig, &["now"]), "now");
    assert_arrives(&rig);

    // And back again.
    assert!(send(&rig, &[&window, "size=1GiB"]).starts_with(&format!("{window} or size=1.0 GiB; nothing is held")));
    let before = applied(&rig);
    fs::write(rig.mnt().join("more"), b"text").unwrap();
    assert_held(&rig, before);
    send(&rig, &["size=1KiB", &window]);
    assert_eq!(assert_held(&rig, before).target().send.rules.len(), 2, "it is not enough");
    send(&rig, &["age=1s"]);
    assert_arrives(&rig);
    rig.finish();
}

// claim: A274
#[test]
fn a_window_opens_and_closes_when_the_clock_says_so() {
    let clock = |minute: u32| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    let opening = held_by(Commit::Real, Setup::default(), &[&not_now()]);
    let closing = held_by(Commit::Real, Setup::default(), &["now"]);
    // The next full minute, but not one that has come before this is set up.
    let (now, edge) = until("a minute with some of it left", PATIENCE, || {
        let left = 60 - sys::now_ns() / 1_000_000_000 % 60;
        let now = sys::minute_of_day().unwrap();
        (left > 25).then_some((now, now + 1))
    });
    send(&opening, &[&format!("{}-{}", clock(edge), clock(edge + 60))]);
    send(&closing, &[&format!("{}-{}", clock(now + 24 * 60 - 60), clock(edge))]);
    let before = applied(&opening);
    for rig in [&opening, &closing] {
        fs::write(rig.mnt().join("file"), b"text").unwrap();
    }
    let opens = assert_held(&opening, before).target().send.opens_in_ms.unwrap();
    assert!(opens <= 60_000, "{opens} ms until {}", clock(edge));
    assert_arrives(&closing);
    assert!(sys::minute_of_day().unwrap() != edge % (24 * 60), "all of that was within a minute");

    until("the next minute", Duration::from_secs(70), || {
        (sys::minute_of_day().unwrap() == edge % (24 * 60)).then_some(())
    });
    assert_arrives(&opening);
    // The daemon looks at the clock some times in a second.
    until("something to be held", PATIENCE, || {
        fs::write(closing.mnt().join("more"), b"text").unwrap();
        closing.status().target().send.holding.then_some(())
    });
    fs::write(closing.mnt().join("held"), b"text").unwrap();
    closing.wait_status("it to be held for long", |s| s.target().send.millis >= LONG);
    assert!(!closing.replica().join("held").exists());
    opening.finish();
    send(&closing, &["now"]);
    assert_arrives(&closing);
    closing.finish();
}

// claim: A274
#[test]
fn a_first_mirror_waits_for_the_window_and_stops_when_it_closes() {
    let window = not_now();
    let setup = Setup::default().linked().option(&["--send", &window, "--limit", "1MiB", "--lanes", "4"]);
    let mut rig = Rig::prepare(Commit::Real, setup);
    let bytes = Random::new(1).bytes(8 << 20);
    for n in 0..4 {
        fs::write(rig.src().join(format!("file{n}")), &bytes).unwrap();
    }
    rig.mount();
    wait_for_silence(&rig);
    let status = rig.status();
    let target = status.target();
    assert!(target.mirror_due && target.send.holding && target.state == "accumulating", "{target:#?}");
    assert_eq!((target.passes, target.pass.entries), (0, 0));

    // Lanes bring it, until it closes.
    send(&rig, &["00:00-24:00"]);
    rig.wait_status("lanes", |source| source.target().lanes > 0 && source.target().pass.sent_bytes > 0);
    fs::write(rig.mnt().join("live"), b"text").unwrap();
    send(&rig, &[&window]);
    let before = rig.link().bytes_there();
    wait_for_silence(&rig);
    let status = rig.status();
    let target = status.target();
    assert!(target.send.holding && target.state == "accumulating" && target.passes == 0, "{target:#?}");
    // At most what each lane had in hand comes after it has closed.
    let sent = rig.link().bytes_there() - before;
    assert!(sent < 6 << 20, "{sent} bytes were sent beside the window");
    rig.replfs("limit", &[&mnt(&rig), "none"]).ok();
    send(&rig, &["now"]);
    assert_arrives(&rig);
    rig.finish();
}

// claim: A274
#[test]
fn who_waits_for_the_target_waits_for_no_rule() {
    for (n, rule) in [not_now().as_str(), "size=1GiB", "age=1d"].into_iter().enumerate() {
        let rig = held_by(Commit::Real, Setup::default(), &[rule]);
        let hold = |name: &str| {
            let before = applied(&rig);
            fs::write(rig.mnt().join(name), b"text").unwrap();
            if n == 0 {
                assert_held(&rig, before);
            } else {
                rig.wait_status("something to be held", |s| s.target().send.operations > 0);
            }
        };
        hold("synced");
        sync(&rig);
        rig.assert_replica_equals(&rig.src());
        hold("verified");
        rig.replfs("verify", &[&mnt(&rig)]).ok();
        rig.assert_replica_equals(&rig.src());
        hold("mirrored");
        rig.replfs("mirror", &[&mnt(&rig), "mirrored"]).ok();
        assert_arrives(&rig);
        // Held again after each of them, until the end.
        hold("last");
        let (src, mut rig) = (rig.src(), rig);
        rig.unmount();
        rig.assert_replica_equals(&src);
    }
}

// claim: A274
#[test]
fn an_unmount_waits_for_the_mirror_and_not_for_its_window() {
    let mut rig = Rig::prepare(Commit::Real, Setup::default().option(&["--send", &not_now()]));
    fs::write(rig.src().join("file"), vec![7; 300_000]).unwrap();
    rig.mount();
    rig.wait_status("the mirror to be held", |s| s.target().send.holding && s.target().mirror_due);
    let src = rig.src();
    rig.unmount();
    rig.assert_replica_equals(&src);
}

// claim: A274
#[test]
fn nothing_is_held_in_a_mode_in_which_applications_wait() {
    let mut rig = Rig::prepare(Commit::Sync, Setup::default());
    for mode in ["sync", "near", "remote"] {
        let refused = rig.try_mount(&["--commit", mode, "--send", "age=5m"]);
        assert!(refused.code == 1 && refused.stderr.contains("--send") && refused.stderr.contains(mode), "{refused:?}");
    }
    rig.mount();
    let name = mnt(&rig);
    let refused = rig.replfs("send", &[&name, "size=1MiB"]);
    assert!(refused.code == 1 && refused.stderr.contains("replfs commit MNT real"), "{refused:?}");
    assert_eq!(send(&rig, &["now"]), "now");
    rig.replfs("commit", &[&name, "real"]).ok();
    send(&rig, &[&not_now()]);
    for mode in ["sync", "near", "remote"] {
        let refused = rig.replfs("commit", &[&name, mode]);
        assert!(refused.code == 1 && refused.stderr.contains("replfs send MNT now"), "{refused:?}");
    }
    rig.replfs("commit", &[&name, "local"]).ok();
    let before = applied(&rig);
    fs::write(rig.mnt().join("file"), b"text").unwrap();
    assert_held(&rig, before);
    send(&rig, &["now"]);
    rig.replfs("commit", &[&name, "sync"]).ok();
    let unread = rig.replfs("send", &[&name, "speed=3"]);
    assert!(unread.code == 1 && unread.stderr.contains("speed"), "{unread:?}");
    rig.finish();
}

// claim: A275
#[test]
fn what_is_held_survives_a_kill_of_the_source_and_is_held_again() {
    let mut rig = held_by(Commit::Real, Setup::default(), &[&not_now()]);
    fs::write(rig.mnt().join("old"), b"old").unwrap();
    sync(&rig);
    let before = applied(&rig);
    fs::write(rig.mnt().join("file"), vec![7; 300_000]).unwrap();
    fs::rename(rig.mnt().join("old"), rig.mnt().join("new")).unwrap();
    assert_held(&rig, before);
    rig.kill_source();
    rig.mount();
    let held = |s: &Source| s.target().send.holding && s.target().send.operations > 0 && s.target().send.millis >= LONG;
    let status = rig.wait_status("what was queued before to be held", held);
    assert_eq!((status.target().state.as_str(), status.target().applied), ("accumulating", before));
    assert!(rig.replica().join("old").exists() && !rig.replica().join("file").exists());
    fs::write(rig.mnt().join("after"), b"text").unwrap();
    send(&rig, &["now"]);
    assert_arrives(&rig);
    rig.finish();
}

// claim: A275
#[test]
fn what_is_held_survives_a_lost_connection_and_a_killed_target() {
    let mut rig = held_by(Commit::Real, Setup::default().linked(), &["size=8MiB", &not_now()]);
    let before = applied(&rig);
    fs::write(rig.mnt().join("file"), vec![7; 300_000]).unwrap();
    assert_held(&rig, before);
    rig.link().cut();
    rig.wait_status("the target to be missed", |s| s.target().last_error.is_some());
    fs::write(rig.mnt().join("meanwhile"), vec![7; 300_000]).unwrap();
    rig.kill_target();
    rig.link().mend();
    rig.start_target();
    rig.wait_status("another connection", |s| s.target().reconnects > 0);
    fs::write(rig.mnt().join("later"), vec![7; 300_000]).unwrap();
    assert_held(&rig, before);
    // Operations of some hundred KiB each, the last of which is the one that is enough.
    for n in 0..15 {
        fs::write(rig.mnt().join(format!("more{n}")), vec![7; 500_000]).unwrap();
    }
    assert_arrives(&rig);
    rig.finish();
}

// claim: A275
#[test]
fn a_backlog_that_is_full_of_what_is_held_is_given_up_for_what_changed() {
    // An application that waited for room would wait for longer than this test does.
    let setup = Setup::default().option(&["--backlog", "8MiB", "--degrade-after", "10m"]);
    let rig = held_by(Commit::Real, setup, &[&not_now()]);
    fs::write(rig.mnt().join("first"), b"text").unwrap();
    sync(&rig);
    let before = rig.status();
    let file = File::create(rig.mnt().join("file")).unwrap();
    let mut random = Random::new(3);
    for _ in 0..20 {
        file.write_all_at(&random.bytes(1 << 20), 0).unwrap();
    }
    drop(file);
    fs::rename(rig.mnt().join("first"), rig.mnt().join("second")).unwrap();
    let status = rig.wait_status("changes to be remembered", |s| s.target().held.entries > 0);
    let target = status.target();
    assert_eq!((target.applied, target.state.as_str()), (before.target().applied, "accumulating"));
    assert!(target.send.holding && target.send.bytes > 20 << 20 && !target.mirror_due, "{target:#?}");
    assert!(rig.replica().join("first").exists());
    send(&rig, &["now"]);
    assert_arrives(&rig);
    let sent = rig.status().target().sent_bytes - before.target().sent_bytes;
    assert!(sent < 3 << 20, "{sent} bytes were sent for 1 MiB that was written twenty times");
    rig.finish();
}

// claim: A275
#[test]
fn a_backlog_that_is_full_waits_for_the_size_all_the_same() {
    let rig = held_by(Commit::Real, Setup::default().option(&["--backlog", "8MiB"]), &["size=20MiB"]);
    let mut random = Random::new(4);
    for n in 0..30 {
        fs::write(rig.mnt().join(format!("file{n}")), random.bytes(500_000)).unwrap();
    }
    let status = rig.wait_status("changes to be remembered", |s| s.target().held.entries > 0);
    assert!(status.target().send.holding, "{:#?}", status.target());
    // The last is the one that is enough.
    for n in 30..42 {
        fs::write(rig.mnt().join(format!("file{n}")), random.bytes(500_000)).unwrap();
    }
    assert_arrives(&rig);
    rig.finish();
}
