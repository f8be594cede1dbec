//! Daemons killed, links cut, targets full: nothing needs a manual step, and both sides are equal in the end.
#![allow(clippy::unwrap_used)]

use replfs_tests::in_both_modes;
use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup, watchdog};
use replfs_tests::seed::{Random, seed};
use replfs_tests::wait::{PATIENCE, until};
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

in_both_modes!(
    a_killed_source_needs_no_manual_step,
    a_killed_target_needs_no_manual_step,
    both_killed_need_no_manual_step,
    a_cut_link_hangs_nobody_and_heals,
    a_backlog_that_overflows_remembers_what_changes,
    a_full_target_blocks_visibly_and_goes_on,
    a_target_that_is_away_at_a_later_mount_is_no_obstacle,
);

/// Rounds of each kind of kill.
const ROUNDS: u64 = 3;

/// Short enough for a test, long enough for a slow machine.
const DEGRADE_AFTER: Duration = Duration::from_secs(2);

fn quick(setup: Setup) -> Setup {
    setup.option(&["--degrade-after", "2s", "--connect-timeout", "3s"])
}

// claim: A25
fn a_killed_source_needs_no_manual_step(commit: Commit) {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut rig = Rig::with(commit, quick(Setup::default()));
    for round in 0..ROUNDS {
        let load = Load::start(&rig.mnt(), 4, seed.wrapping_add(round));
        load.wait_for(50 + random.below(1500));
        rig.kill_source();
        load.stop();
        rig.mount();
        rig.assert_equal();
    }
    rig.finish();
}

fn a_killed_target_needs_no_manual_step(commit: Commit) {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut rig = Rig::with(commit, quick(Setup::default()));
    for round in 0..ROUNDS {
        let load = Load::start(&rig.mnt(), 4, seed.wrapping_add(round));
        load.wait_for(50 + random.below(1500));
        rig.kill_target();
        load.wait_for(load.done() + random.below(300));
        rig.start_target();
        load.wait_for(load.done() + random.below(300));
        load.stop_clean();
        rig.assert_equal();
    }
    rig.finish();
}

fn both_killed_need_no_manual_step(commit: Commit) {
    let seed = seed();
    let mut rig = Rig::with(commit, quick(Setup::default()));
    let load = Load::start(&rig.mnt(), 4, seed);
    load.wait_for(50 + Random::new(seed).below(1500));
    rig.kill_target();
    load.wait_for(load.done() + 20);
    rig.kill_source();
    load.stop();
    rig.mount();
    assert_eq!(rig.status().target().state, "accumulating");
    rig.start_target();
    rig.finish();
}

// claim: A19
fn a_cut_link_hangs_nobody_and_heals(commit: Commit) {
    let rig = Rig::with(commit, quick(Setup::default().linked()));
    let load = Load::start(&rig.mnt(), 4, seed());
    load.wait_for(300);
    rig.link().cut();
    rig.wait_status("the loss to be seen", |s| s.target().state == "accumulating");
    if commit == Commit::Sync {
        rig.wait_status("the mode to degrade", |s| s.target().degraded);
    }
    load.wait_for(load.done() + 300);
    rig.link().mend();
    rig.wait_status("the connection to return", |s| matches!(s.target().state.as_str(), "connected" | "mirroring"));
    load.wait_for(load.done() + 100);
    let summary = load.stop_clean();
    let bound = DEGRADE_AFTER + Duration::from_secs(5);
    assert!(summary.slowest < bound, "the slowest call took {:?}, the bound is {bound:?}", summary.slowest);
    rig.assert_equal();
    let healed = rig.status();
    assert!(!healed.target().degraded && healed.target().reconnects >= 1, "{healed:?}");
    rig.finish();
}

// claim: A24
fn a_backlog_that_overflows_remembers_what_changes(commit: Commit) {
    let setup = quick(Setup::default().linked()).option(&["--backlog", "8MiB"]);
    let rig = Rig::with(commit, setup);
    let mnt = rig.mnt();
    fs::create_dir(mnt.join("before")).unwrap();
    rig.settle();
    rig.link().cut();
    let mut random = Random::new(3);
    for n in 0..60 {
        fs::write(mnt.join(format!("before/file{n}")), random.bytes(200_000)).unwrap();
    }
    fs::rename(mnt.join("before"), mnt.join("after")).unwrap();
    fs::remove_file(mnt.join("after/file7")).unwrap();
    let due = rig.wait_status("held", |s| s.target().held.entries > 0);
    assert_eq!(due.target().state, "accumulating");
    assert!(!due.target().mirror_due, "what changed is known one by one: {due:?}");
    assert!(due.backlog_bytes <= due.backlog_limit, "the backlog is bounded: {due:?}");
    assert!((7 << 20..=8 << 20).contains(&due.backlog_limit), "headers of segments count too: {due:?}");
    let human = rig.replfs("status", &[]);
    assert!(human.ok().contains("remembered"), "{}", human.stdout);
    rig.link().mend();
    rig.assert_equal();
    rig.finish();
}

// claim: A23
#[test]
fn a_full_backlog_makes_writers_wait_while_the_target_takes_things() {
    const LIMIT: u64 = 8 << 20;
    let setup = Setup::default().linked().option(&["--backlog", "8MiB", "--degrade-after", "30s"]);
    let rig = Rig::with(Commit::Real, setup);
    rig.settle();
    rig.link().delay(Duration::from_millis(10));
    let before = rig.status();
    let done = AtomicU64::new(0);
    let fullest = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let bytes = Random::new(6).bytes(1 << 20);
            for n in 0..24 {
                fs::write(rig.mnt().join(format!("file{n}")), &bytes).unwrap();
            }
            done.store(1, Ordering::SeqCst);
        });
        let mut fullest = 0;
        while done.load(Ordering::SeqCst) == 0 && !writer.is_finished() {
            let now = rig.status();
            fullest = fullest.max(now.backlog_bytes);
            assert!(now.backlog_bytes <= LIMIT, "the backlog is bounded: {now:?}");
            assert!(!now.target().mirror_due && now.target().coherent, "nothing is given up: {now:?}");
        }
        writer.join().unwrap();
        fullest
    });
    println!("at most {fullest} bytes were waiting");
    assert!(fullest > LIMIT / 2, "the backlog was never full: {fullest} bytes");
    rig.link().delay(Duration::ZERO);
    rig.settle();
    assert_eq!(rig.status().target().passes, before.target().passes, "no mirror pass was needed");
    rig.finish();
}

// claim: A22
fn a_full_target_blocks_visibly_and_goes_on(commit: Commit) {
    let mut rig = Rig::bare(commit, quick(Setup::default()));
    let root = rig.root();
    rig.mount_other("tmpfs", "size=8m,mode=755", &root);
    rig.start_target();
    rig.mount();
    let mnt = rig.mnt();
    fs::write(mnt.join("small"), "fits").unwrap();
    rig.assert_equal();
    let large = Random::new(4).bytes(20 << 20);
    fs::write(mnt.join("large"), &large).unwrap();
    fs::rename(mnt.join("small"), mnt.join("renamed")).unwrap();
    let blocked = rig.wait_status("blocked", |s| s.target().state == "blocked");
    let reason = blocked.target().blocked.clone().unwrap_or_default();
    assert!(reason.contains("large"), "the path is named: {reason:?}");
    assert!(rig.replfs("status", &[]).ok().contains("large"));
    // The application has what the source has, whatever the target says.
    assert_eq!(fs::read(mnt.join("large")).unwrap().len(), large.len());
    assert!(rig.replica().join("small").exists(), "nothing overtakes the record that is blocked");
    replfs_tests::command::tool(rig.home(), "mount", ["-o", "remount,size=64m", &root.to_string_lossy()]);
    rig.finish();
}

fn a_target_that_is_away_at_a_later_mount_is_no_obstacle(commit: Commit) {
    let mut rig = Rig::with(commit, quick(Setup::default()));
    fs::write(rig.mnt().join("first"), "1").unwrap();
    rig.assert_equal();
    rig.unmount();
    rig.kill_target();
    let outcome = rig.try_mount(&[]);
    outcome.ok();
    assert!(!outcome.stderr.trim().is_empty(), "a warning says that the target is away");
    fs::write(rig.mnt().join("second"), "2").unwrap();
    assert_eq!(rig.status().target().state, "accumulating");
    rig.start_target();
    rig.finish();
}

// claim: A15
#[test]
fn what_sync_acknowledged_is_on_the_target_when_the_source_dies() {
    const THREADS: usize = 4;
    let mut random = Random::new(seed());
    let mut rig = Rig::start(Commit::Sync);
    rig.settle();
    for round in 0..ROUNDS {
        let acknowledged: &[AtomicU64] = &[const { AtomicU64::new(0) }; THREADS];
        let enough = 100 + random.below(1000);
        std::thread::scope(|scope| {
            for (n, counter) in acknowledged.iter().enumerate() {
                let path = rig.mnt().join(format!("round{round}-{n}"));
                scope.spawn(move || {
                    let Ok(file) = fs::File::create(path) else { return };
                    for record in 0_u64.. {
                        if file.write_all_at(&record.to_le_bytes(), record * 8).is_err() {
                            return;
                        }
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let total = || acknowledged.iter().map(|c| c.load(Ordering::SeqCst)).sum::<u64>();
            until("writes", PATIENCE, || (total() >= enough).then_some(()));
            rig.kill_source();
        });
        // Nothing has been repaired yet: this is what the target had.
        for (n, counter) in acknowledged.iter().enumerate() {
            let name = format!("round{round}-{n}");
            let there = fs::read(rig.replica().join(&name)).unwrap_or_default();
            let count = counter.load(Ordering::SeqCst);
            assert!(there.len() as u64 / 8 >= count, "{name}: {count} records acknowledged, {} there", there.len() / 8);
            let right = there.chunks_exact(8).zip(0_u64..).all(|(record, n)| record == n.to_le_bytes());
            assert!(right, "{name} has records that were never written");
        }
        rig.mount();
        rig.assert_equal();
    }
    rig.finish();
}

// claim: A19
#[test]
fn a_writer_in_sync_mode_waits_no_longer_than_degrade_after() {
    let mut rig = Rig::with(Commit::Sync, quick(Setup::default()));
    fs::write(rig.mnt().join("file"), "x").unwrap();
    rig.settle();
    watchdog::stop(rig.target_pid());
    let start = Instant::now();
    fs::write(rig.mnt().join("file"), "while the target does not answer").unwrap();
    let took = start.elapsed();
    assert!(took < DEGRADE_AFTER * 2 + Duration::from_secs(3), "open, truncate, write took {took:?}");
    assert!(rig.status().target().degraded, "visible before the reply: {:?}", rig.status());
    let start = Instant::now();
    fs::write(rig.mnt().join("another"), "x").unwrap();
    assert!(start.elapsed() < DEGRADE_AFTER, "nobody waits in degraded mode: {:?}", start.elapsed());
    watchdog::resume(rig.target_pid());
    rig.assert_equal();
    rig.kill_target();
    rig.start_target();
    rig.finish();
}
