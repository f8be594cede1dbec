//! One loss of power of both machines: their disks as they are then, what has to be on them, and what the daemons make of it.

use super::history::{Bounds, Calls, Moment, Promise, Side, bounds};
use super::machine::{SOURCE, TARGET};
use super::moments::{Clock, Watch};
use super::observe::{self, Seen};
use super::record::{Cut, Record};
use crate::blocklog::Layer;
use crate::blocklog::image::{Fate, rebuilt, save};
use crate::compare::{self, Class, Difference};
use crate::rig::Rig;
use crate::seed::Random;
use crate::volatile::VolatileDisk;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where disks are that are only there for one look: in memory.
pub const MEMORY: &str = "memory";

/// What all writers may see on a side after a cut.
pub fn allowed(writers: &[Calls], side: Side, at: Moment, promise: Promise) -> Vec<Vec<Bounds>> {
    writers.iter().map(|calls| bounds(calls, side, at, promise)).collect()
}

/// What all writers see in a tree; panics where that is not allowed.
#[track_caller]
pub fn looked(what: &str, tree: &Path, allowed: &[Vec<Bounds>], whole: bool) -> Vec<Seen> {
    let look = |(number, bounds): (usize, &Vec<Bounds>)| {
        let seen = observe::writer(tree, number, bounds, whole);
        let seen = seen.unwrap_or_else(|e| panic!("{what}, writer {number}: {e:#}"));
        observe::within(&seen, bounds).unwrap_or_else(|e| panic!("{what}, writer {number}: {e:#}"));
        seen
    };
    allowed.iter().enumerate().map(look).collect()
}

/// What a cut leaves of the disk of a side.
fn left(record: &Record, side: Side, cut: &Cut) -> Vec<u8> {
    let bytes = record.told.plan.file_system.mib << 20;
    let (log, fate, seed) = match side {
        Side::Source => (&record.source, cut.source, cut.seed),
        Side::Target => (&record.target, cut.target, !cut.seed),
    };
    rebuilt(vec![0; bytes], log, cut.at.of(side), fate, &mut Random::new(seed))
}

/// The machine of a side is switched on with a disk; the file that is its disk now.
#[track_caller]
fn boot_with(rig: &mut Rig, record: &Record, side: Side, disk: &[u8]) -> PathBuf {
    let (machine, name) = match side {
        Side::Source => (SOURCE, "source"),
        Side::Target => (TARGET, "target"),
    };
    let file = rig.home().join(MEMORY).join(format!("{name}.image"));
    save(disk, &file).unwrap_or_else(|e| panic!("{e:#}"));
    machine.on(rig, &file, &record.told.plan.file_system);
    file
}

/// The machine of a side is switched on with what its disk was left with at a cut; the file that is its disk now.
#[track_caller]
pub fn boot(rig: &mut Rig, record: &Record, side: Side, cut: &Cut) -> PathBuf {
    boot_with(rig, record, side, &left(record, side, cut))
}

/// Goes through one cut; `number` is of the boots, of which it takes two, and which have to differ. Panics where something promised is missing.
#[track_caller]
pub fn judge(rig: &mut Rig, record: &Record, cut: &Cut, number: u64) {
    let told = &record.told;
    let mode = told.plan.mode;
    let on_source = allowed(&told.writers, Side::Source, cut.at, mode.durable(Side::Source));
    let promise = if told.in_force { mode.durable(Side::Target) } else { Promise::None };
    let on_target = allowed(&told.writers, Side::Target, cut.at, promise);
    let mut disks = [left(record, Side::Source, cut), left(record, Side::Target, cut)];
    let mut kept = None;
    if cut.again {
        let (seen, after) = lost_again(rig, record, cut, disks, number, [&on_source, &on_target]);
        (kept, disks) = (Some(seen), after);
    }
    let files = [boot_with(rig, record, Side::Source, &disks[0]), boot_with(rig, record, Side::Target, &disks[1])];
    let seen = looked("SRC after the cut", &rig.src(), &on_source, false);
    let kept = kept.unwrap_or_else(|| seen.clone());
    assert!(seen == kept, "a second loss of power took what was there after the first: {kept:?}, and now {seen:?}");
    if !cut.again {
        looked("the replica after the cut", &rig.replica(), &on_target, false);
    }
    start(rig, number + 1);
    well_again(rig, record);
    let seen = looked("SRC when all is well again", &rig.src(), &on_source, false);
    assert!(seen == kept, "the mount changed what the source's disk had kept: {kept:?}, and now {seen:?}");
    rig.kill_source();
    rig.kill_target();
    off(rig);
    for file in files {
        let _kept_in_memory = fs::remove_file(file);
    }
}

/// Both machines with these disks lose power once more, while their daemons bring them together: what SRC held before, and the disks after.
#[track_caller]
fn lost_again(
    rig: &mut Rig,
    record: &Record,
    cut: &Cut,
    disks: [Vec<u8>; 2],
    number: u64,
    [on_source, on_target]: [&[Vec<Bounds>]; 2],
) -> (Vec<Seen>, [Vec<u8>; 2]) {
    let mut random = Random::new(cut.seed ^ 0xA6A1);
    let kind = &record.told.plan.file_system;
    let [source, target] = [("source", &disks[0]), ("target", &disks[1])]
        .map(|(name, disk)| Arc::new(VolatileDisk::recorded_on(rig, &format!("{name}-again{number}"), disk.clone())));
    SOURCE.on(rig, &Layer::path(&*source), kind);
    TARGET.on(rig, &Layer::path(&*target), kind);
    let kept = looked("SRC after the first cut", &rig.src(), on_source, false);
    looked("the replica after the first cut", &rig.replica(), on_target, false);
    let clock = Clock::new(source.clone(), target.clone());
    let watch = Watch::start(&clock);
    start(rig, number);
    well_again(rig, record);
    // Any moment of that.
    let moments = watch.stop();
    let at = *random.pick(&moments);
    let logs = [&source, &target].map(|disk| disk.log().unwrap_or_else(|e| panic!("{e:#}")));
    rig.kill_source();
    rig.kill_target();
    off(rig);
    for disk in [source, target] {
        rig.unmount_now(&Layer::place(&*disk));
    }
    let mut after =
        |disk, log, side| rebuilt(disk, log, at.of(side), Fate::any(&mut random), &mut Random::new(cut.seed));
    let [source, target] = disks;
    let source = after(source, &logs[0], Side::Source);
    (kept, [source, after(target, &logs[1], Side::Target)])
}

/// Both daemons, in a boot of their own.
#[track_caller]
fn start(rig: &mut Rig, boot: u64) {
    rig.reboot_source(boot);
    rig.reboot_target(boot);
    rig.start_target();
    rig.mount();
}

/// Waits until both sides are the same by themselves; panics where they are not exactly that.
#[track_caller]
pub fn well_again(rig: &Rig, record: &Record) {
    rig.settle();
    let report = compare::trees(&rig.src(), &rig.replica()).unwrap_or_else(|e| panic!("cannot compare: {e:#}"));
    // XFS and Btrfs have space of their own behind a file's end, and a loss of power leaves it there.
    let only_ext4 = record.told.plan.file_system.kind == "ext4";
    let differs = |found: &&Difference| only_ext4 || found.class != Class::Allocation;
    let differences: Vec<String> = report.differences.iter().filter(differs).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "the replica differs: {differences:#?}\nlog:\n{}", rig.source_log());
}

/// Takes both machines down, whose daemons are gone.
#[track_caller]
pub fn off(rig: &mut Rig) {
    detach(rig);
    SOURCE.off(rig);
    TARGET.off(rig);
}

/// Removes the mount of a daemon that is gone.
#[track_caller]
pub fn detach(rig: &Rig) {
    let gone = rustix::mount::unmount(rig.mnt(), rustix::mount::UnmountFlags::DETACH);
    gone.unwrap_or_else(|e| panic!("cannot unmount {}: {e}", rig.mnt().display()));
}
