//! Daemons that die at every step of the way of a write, not at any moment: `REPLFS_KILL_AT` makes them kill themselves there, at the count that
//! the seed says. Nobody does anything but to start them again; then both sides are equal, and in `sync` what was acknowledged before is on the target.
#![allow(clippy::unwrap_used)]

use replfs_tests::rig::{Commit, Rig, Setup, Side};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{Random, seed};
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

in_both_modes!(
    a_source_that_dies_at_any_step_goes_on,
    a_target_that_dies_at_any_step_goes_on,
    a_source_that_dies_while_it_gives_its_queue_up_goes_on,
    a_source_that_dies_at_a_wait_for_the_journals_disk_goes_on,
    s6_the_operation_reached_only_the_directory,
    s6_the_operation_reached_both_directory_and_journal,
    s6_the_operation_reached_only_the_journal,
);

/// What makes a daemon come to a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Live operations.
    Live,
    /// A mount that has something to repair.
    Mount,
    /// Much data.
    Bulk,
    /// Replication that was switched off, and names that moved meanwhile.
    Bypass,
    /// Operations that end, and a checkpoint after that.
    Quiet,
}

/// Places of the source, up to which count, and how to come there.
const SOURCE: [(&str, u64, Way); 16] = [
    ("changed", 200, Way::Live),
    ("pass-step", 30, Way::Mount),
    ("numbered", 200, Way::Live),
    ("stand-before", 2, Way::Mount),
    ("journaled", 200, Way::Live),
    ("stand-after", 2, Way::Mount),
    ("journal-torn", 200, Way::Live),
    ("pass-end", 1, Way::Mount),
    ("journal-roll", 2, Way::Bulk),
    ("journal-trim", 100, Way::Live),
    ("sent", 100, Way::Live),
    ("acknowledged", 100, Way::Live),
    ("catch-up-step", 5, Way::Bypass),
    ("heated", 4, Way::Live),
    ("hot-written", 2, Way::Quiet),
    ("hot-renamed", 2, Way::Quiet),
];

/// Those of the target.
const TARGET: [(&str, u64, Way); 7] = [
    ("target-intended", 100, Way::Live),
    ("target-applied", 200, Way::Live),
    ("target-positioned", 200, Way::Live),
    ("target-captured", 2, Way::Live),
    ("target-synced", 2, Way::Live),
    ("target-placing", 3, Way::Bypass),
    ("target-placed", 3, Way::Bypass),
];

/// Operations of the roamers beside each death.
const ROAM: u64 = 400;
/// And beside one that comes when there are none.
const ROAM_FIRST: u64 = 50;

fn setup(commit: Commit) -> Setup {
    let setup = Setup::default().option(&["--backlog", "8MiB", "--journal-size", "64MiB"]);
    // What is acknowledged while the target is dead would promise nothing.
    if commit == Commit::Sync { setup.option(&["--strict"]) } else { setup }
}

/// Where roamers roam, and where what is promised lies.
fn places(top: &Path) -> [PathBuf; 2] {
    ["roam", "promised"].map(|name| top.join(name))
}

fn prepared(commit: Commit) -> Rig {
    let rig = Rig::prepare(commit, setup(commit));
    for dir in places(&rig.src()) {
        fs::create_dir(dir).unwrap();
    }
    tree::sources(&rig.src().join("roam"), 100);
    rig
}

// claim: A160
fn a_source_that_dies_at_any_step_goes_on(commit: Commit) {
    let mut random = Random::new(seed());
    let mut rig = prepared(commit);
    for (place, most, way) in (0..rounds()).flat_map(|_| SOURCE) {
        let at = format!("{place}:{}", 1 + random.below(most));
        if way == Way::Mount {
            roam_alone(&places(&rig.src())[0], random.bits());
        }
        rig.start_dying(Side::Source, &at);
        if rig.is_equal_before_death(Side::Source) {
            let writers = die(&mut rig, Side::Source, &at, way, random.bits());
            writers.join();
        }
    }
    rig.mount();
    rig.finish();
}

fn a_target_that_dies_at_any_step_goes_on(commit: Commit) {
    let mut random = Random::new(seed());
    let mut rig = prepared(commit);
    rig.mount();
    rig.assert_equal();
    rig.kill_target();
    let mut before: Option<Writers> = None;
    for (place, most, way) in (0..rounds()).flat_map(|_| TARGET) {
        let at = format!("{place}:{}", 1 + random.below(most));
        rig.start_dying(Side::Target, &at);
        let alive = rig.is_settled_before_death(Side::Target);
        if !alive {
            rig.start_target();
            rig.settle();
        }
        // They waited for it.
        before.take().into_iter().for_each(Writers::join);
        if !alive {
            rig.assert_equal();
            rig.kill_target();
        } else if rig.is_equal_before_death(Side::Target) {
            before = Some(die(&mut rig, Side::Target, &at, way, random.bits()));
        }
    }
    rig.start_target();
    rig.settle();
    before.into_iter().for_each(Writers::join);
    rig.finish();
}

fn a_source_that_dies_while_it_gives_its_queue_up_goes_on(commit: Commit) {
    let mut random = Random::new(seed());
    let mut rig =
        Rig::prepare(commit, Setup::default().linked().option(&["--backlog", "8MiB", "--degrade-after", "200ms"]));
    tree::sources(&rig.src(), 50);
    for place in ["swallow-noted:1", "swallowed:1"] {
        die_while_away(&mut rig, place, &mut random);
    }
    rig.mount();
    rig.finish();
}

// claim: A193
fn a_source_that_dies_at_a_wait_for_the_journals_disk_goes_on(commit: Commit) {
    let mut random = Random::new(seed());
    let sizes = ["--backlog", "8MiB", "--journal-size", "64MiB", "--degrade-after", "200ms"];
    let mut rig = Rig::prepare(commit, Setup::default().linked().option(&sizes));
    tree::sources(&rig.src(), 50);
    for place in ["journal-unsynced", "journal-synced"] {
        die_while_away(&mut rig, &format!("{place}:{}", 1 + random.below(2)), &mut random);
    }
    rig.mount();
    rig.finish();
}

/// Queues more and more for a target that is away, until the source dies.
fn die_while_away(rig: &mut Rig, place: &str, random: &mut Random) {
    rig.start_dying(Side::Source, place);
    assert!(rig.is_equal_before_death(Side::Source), "nothing has come to {place} yet");
    rig.link().cut();
    // Otherwise it would be held for another reason, with the queue as it is.
    rig.wait_status("the loss of the target to be noticed", |status| status.target().state == "accumulating");
    let roamers = Roamers::start(&rig.mnt(), 2, random.bits());
    roamers.roam(50);
    roamers.stop();
    let begun = Instant::now();
    for n in 0.. {
        if rig.has_died(Side::Source) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing died at {place}: {:?}", rig.try_status());
        // It may die meanwhile.
        let _dead = fs::write(rig.mnt().join(format!("big{}", n % 4)), random.bytes(1 << 20));
    }
    rig.link().mend();
}

/// How often at each place.
fn rounds() -> u64 {
    std::env::var("REPLFS_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Who changes the mount until the daemon dies. What it was told before is on the target then.
fn die(rig: &mut Rig, side: Side, at: &str, way: Way, seed: u64) -> Writers {
    let mnt = rig.mnt();
    let [roam, promised] = places(&mnt);
    let writers = Writers { roamers: Roamers::start(&roam, 2, seed), promises: Promises::start(&promised) };
    let mut random = Random::new(seed);
    let begun = Instant::now();
    while !rig.has_died(side) {
        assert!(begun.elapsed() < PATIENCE, "nothing died at {at}: {:?}", rig.try_status());
        // The other goes on: nothing grows without bound.
        if writers.roamers.tried() > ROAM {
            writers.roamers.ask_to_stop();
        }
        match way {
            Way::Live => std::thread::yield_now(),
            Way::Quiet if writers.roamers.tried() < ROAM_FIRST => std::thread::yield_now(),
            Way::Quiet => {
                writers.ask_to_stop();
                let _dead = fs::write(roam.join("quiet"), random.bytes(100));
                wait_for_checkpoint(rig, side);
            }
            // It may die meanwhile.
            Way::Bulk => drop(fs::write(roam.join("bulk"), random.bytes(1 << 20))),
            // A mount with little to repair comes by not often enough.
            Way::Bypass | Way::Mount => switch_off_and_on(rig, side, &mut random),
        }
    }
    if rig.commit() == Commit::Sync && matches!(way, Way::Live | Way::Bulk) {
        writers.promises.check(&rig.replica(), at);
    }
    writers.ask_to_stop();
    writers
}

/// Waits until everything before now is in a checkpoint, or that daemon has died.
fn wait_for_checkpoint(rig: &mut Rig, side: Side) {
    until("a checkpoint, or the daemon to die", PATIENCE, || {
        let noted = rig.try_status().is_some_and(|status| status.checkpoint == Some(status.sequence));
        (noted || rig.has_died(side)).then_some(())
    });
}

/// Those who write beside a death.
struct Writers {
    roamers: Roamers,
    promises: Promises,
}

impl Writers {
    fn ask_to_stop(&self) {
        self.roamers.ask_to_stop();
        self.promises.stop.store(true, Ordering::SeqCst);
    }

    fn join(self) {
        self.ask_to_stop();
        self.roamers.stop();
        assert!(self.promises.thread.join().is_ok(), "the writer panicked");
    }
}

/// Gives a pass new names and big files, and waits for it.
fn switch_off_and_on(rig: &mut Rig, side: Side, random: &mut Random) {
    let mnt = rig.mnt();
    // It may die at any of this.
    let switch = |rig: &Rig, how: &str| drop(rig.replfs("bypass", &[&mnt.to_string_lossy(), how]));
    switch(rig, "on");
    for n in 0..3 {
        let _dead = fs::rename(mnt.join(format!("big{n}")), mnt.join(format!("moved{n}")));
        let _dead = fs::write(mnt.join(format!("big{n}")), random.bytes(3 << 20));
    }
    switch(rig, "off");
    rig.is_settled_before_death(side);
}

/// Changes what nobody replicates just now.
fn roam_alone(dir: &Path, seed: u64) {
    let roamers = Roamers::start(dir, 1, seed);
    roamers.roam(60);
    roamers.stop();
}

/// A thread that replaces one file after the other, in a ring, and knows the last that it was told is there.
struct Promises {
    stop: Arc<AtomicBool>,
    /// What was acknowledged: all up to this.
    kept: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// Files in the ring.
const RING: u64 = 20;

impl Promises {
    fn start(dir: &Path) -> Self {
        let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, dir) = (Arc::clone(&stop), Arc::clone(&kept), dir.to_owned());
        let before = (0..RING).filter_map(|slot| number_in(&dir, slot)).max().unwrap_or(0);
        let thread = std::thread::spawn(move || {
            for n in before + 1.. {
                let new = dir.join("new");
                let done = fs::write(&new, n.to_string()).and_then(|()| fs::rename(&new, slot(&dir, n % RING)));
                if done.is_err() || stopped.load(Ordering::SeqCst) {
                    return;
                }
                counted.store(n, Ordering::SeqCst);
            }
        });
        Self { stop, kept, thread }
    }

    /// All that was promised is in the replica as it is now.
    fn check(&self, replica: &Path, at: &str) {
        let kept = self.kept.load(Ordering::SeqCst);
        let there = (0..RING).filter_map(|slot| number_in(&replica.join("promised"), slot)).max().unwrap_or(0);
        assert!(there >= kept, "the replica has {there}, and {kept} was acknowledged before the death at {at}");
    }
}

fn slot(dir: &Path, slot: u64) -> PathBuf {
    dir.join(format!("slot{slot}"))
}

fn number_in(dir: &Path, at: u64) -> Option<u64> {
    fs::read_to_string(slot(dir, at)).ok()?.parse().ok()
}

// ---- S6: what a source that crashed between the two writes of an operation left ----

/// An operation, and how a directory would be without it.
struct Case {
    what: &'static str,
    run: fn(&Path),
    undo: fn(&Path),
}

const CASES: [Case; 5] = [
    Case {
        what: "write",
        run: |top| drop(fs::write(top.join("written"), "new")),
        undo: |top| fs::write(top.join("written"), "old").unwrap(),
    },
    Case {
        what: "create",
        run: |top| drop(fs::File::create(top.join("created"))),
        undo: |top| fs::remove_file(top.join("created")).unwrap(),
    },
    Case {
        what: "rename",
        run: |top| drop(fs::rename(top.join("here"), top.join("there"))),
        undo: |top| fs::rename(top.join("there"), top.join("here")).unwrap(),
    },
    Case {
        what: "unlink",
        run: |top| drop(fs::remove_file(top.join("removed"))),
        undo: |top| fs::write(top.join("removed"), "old").unwrap(),
    },
    Case {
        what: "mkdir",
        run: |top| drop(fs::create_dir(top.join("dir"))),
        undo: |top| fs::remove_dir(top.join("dir")).unwrap(),
    },
];

/// Runs each operation with a source that dies at that place before it can send anything, changes what it left, and starts it again.
fn crash_each(commit: Commit, place: &str, left: impl Fn(&Case, &Path)) -> Rig {
    let mut rig = Rig::prepare(commit, setup(commit).linked());
    for file in ["written", "here", "removed"] {
        fs::write(rig.src().join(file), "old").unwrap();
    }
    for case in &CASES {
        rig.start_dying(Side::Source, place);
        assert!(rig.is_equal_before_death(Side::Source), "nothing has come to {place} yet");
        until("the source to have noted that all is numbered", PATIENCE, || is_noted(&rig).then_some(()));
        let before = fs::read_dir(rig.replica()).unwrap().count();
        rig.link().cut();
        (case.run)(&rig.mnt());
        rig.wait_for_death(Side::Source, place);
        assert_eq!(fs::read_dir(rig.replica()).unwrap().count(), before, "{} has not been sent", case.what);
        left(case, &rig.src());
        rig.link().mend();
    }
    rig.mount();
    rig.assert_equal();
    assert!(rig.source_log().contains("journal-resumed"), "the last one went on with the journal");
    rig
}

/// Whether the next daemon goes on with the journal (`srm/src/stand.rs`).
fn is_noted(rig: &Rig) -> bool {
    let stand = fs::read(rig.source_state().join("run/journal/tree/stand"));
    stand.is_ok_and(|bytes| bytes.get(28) == Some(&1))
}

fn aside(rig: &Rig) -> usize {
    let entries = fs::read_to_string(rig.root().join(".replfs/tree/aside/index"));
    entries.map_or(0, |index| index.lines().count())
}

// claim: A160
fn s6_the_operation_reached_only_the_directory(commit: Commit) {
    let rig = crash_each(commit, "changed:1", |_, _| {});
    // Nothing but a comparison finds that a name is gone: what the target had under it is kept.
    assert!(aside(&rig) > 0);
    rig.finish();
}

// claim: A160
fn s6_the_operation_reached_both_directory_and_journal(commit: Commit) {
    let rig = crash_each(commit, "numbered:1", |_, _| {});
    // It was sent as what it was.
    assert_eq!(aside(&rig), 0);
    rig.finish();
}

/// The directory comes back without what the journal has, as after a file system that forgot it.
// claim: A160
fn s6_the_operation_reached_only_the_journal(commit: Commit) {
    let rig = crash_each(commit, "numbered:1", |case, src| (case.undo)(src));
    rig.finish();
}
