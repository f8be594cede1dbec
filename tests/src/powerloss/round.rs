//! A round from its beginning to its last cut.

use super::cut::{self, MEMORY, allowed, boot, detach, looked};
use super::history::{Calls, Moment, Promise, Side, gap, missing};
use super::machine::{SOURCE, TARGET};
use super::moments::{Clock, Watch};
use super::observe::Seen;
use super::plan::{Mode, NEAR_OPERATIONS, Plan, Recorded};
use super::record::{Record, Told, choose};
use super::work::{self, Work};
use crate::blocklog::Layer;
use crate::blocklog::qemu::QemuDisk;
use crate::rig::{Rig, watchdog};
use crate::roam::Roamers;
use crate::volatile::VolatileDisk;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All time.
const ALWAYS: Moment = Moment { source: u64::MAX, target: u64::MAX };

/// What a round went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Calls of the writers that were answered.
    pub calls: usize,
    /// Of those, calls to make something durable.
    pub syncs: usize,
    /// Moments that were written down.
    pub moments: usize,
    /// Cuts that were gone through.
    pub cuts: usize,
    /// Of those, with a second one.
    pub twice: usize,
    /// What both disks were given, in bytes.
    pub written: u64,
    /// The mode was in force all the time.
    pub in_force: bool,
}

/// Runs one. Panics where something promised is missing; the record is then in `keep`, which is named.
pub fn run(plan: &Plan, keep: &Path) -> Done {
    println!("{plan}");
    let mut rig = start(plan);
    let (record, moments, disk) = recorded(&mut rig, plan);
    let calls = record.told.writers.iter().flatten().filter(|event| event.answered.is_some());
    let syncs = calls.clone().filter(|event| matches!(event.act, super::history::Act::Sync { .. }));
    let done = Done {
        calls: calls.clone().count(),
        syncs: syncs.count(),
        moments,
        cuts: record.told.cuts.len(),
        twice: record.told.cuts.iter().filter(|cut| cut.again).count(),
        written: (record.source.bytes().len() + record.target.bytes().len()) as u64,
        in_force: record.told.in_force,
    };
    kept_if_it_fails(&record, keep, None, || source_lost(&mut rig, &record));
    rig.unmount_now(&disk.place());
    drop(disk);
    for number in 0..record.told.cuts.len() {
        kept_if_it_fails(&record, keep, Some(number), || {
            cut::judge(&mut rig, &record, &record.told.cuts[number], 1000 + 2 * number as u64);
        });
    }
    done
}

/// One cut of a record that was kept.
pub fn again(record: &Record, number: usize) {
    let mut rig = start(&record.told.plan);
    println!("{}: {:?}", record.told.plan, record.told.cuts[number]);
    cut::judge(&mut rig, record, &record.told.cuts[number], 1000);
}

fn start(plan: &Plan) -> Rig {
    let mut rig = Rig::bare(plan.mode.commit(), plan.setup());
    let memory = rig.home().join(MEMORY);
    fs::create_dir(&memory).unwrap_or_else(|e| panic!("cannot make {}: {e}", memory.display()));
    rig.mount_other("tmpfs", "size=4g", &memory);
    rig
}

fn kept_if_it_fails(record: &Record, keep: &Path, number: Option<usize>, check: impl FnOnce()) {
    let Err(reason) = catch_unwind(AssertUnwindSafe(check)) else { return };
    match record.save(keep) {
        Ok(()) => eprintln!("kept in {}", keep.display()),
        Err(error) => eprintln!("could not be kept: {error:#}"),
    }
    match number {
        Some(number) => eprintln!("to repeat: cargo xtask powerloss --log {} --cut {number}", keep.display()),
        None => eprintln!("it failed at the loss of the source, which only the whole round repeats"),
    }
    resume_unwind(reason);
}

fn disk(rig: &mut Rig, name: &str, plan: &Plan) -> Arc<dyn Layer> {
    match plan.recorded {
        Recorded::Here => Arc::new(VolatileDisk::recorded(rig, name, &plan.file_system)),
        Recorded::Qemu => Arc::new(QemuDisk::recorded(rig, &rig.home().join(MEMORY), name, &plan.file_system)),
    }
}

/// The workload, and the end of the source's machine in the middle of it. Also how many moments there were, and the target's disk: it goes on.
fn recorded(rig: &mut Rig, plan: &Plan) -> (Record, usize, Arc<dyn Layer>) {
    let disks = ["source-disk", "target-disk"].map(|name| disk(rig, name, plan));
    SOURCE.on(rig, &disks[0].path(), &plan.file_system);
    TARGET.on(rig, &disks[1].path(), &plan.file_system);
    work::prepare(&rig.src(), plan.writers);
    crate::tree::sources(&rig.src().join("roamed"), 60);
    rig.start_target();
    rig.mount();
    rig.settle();
    SOURCE.sync(rig);
    TARGET.sync(rig);
    let clock = Clock::new(Arc::clone(&disks[0]), Arc::clone(&disks[1]));
    let begin = clock.exact();
    let connected = rig.status().target().reconnects;
    let watch = Watch::start(&clock);
    let roamers = plan.roamer.then(|| Roamers::start(&rig.mnt().join("roamed"), 1, plan.seed));
    let work = Work::start(&rig.mnt(), plan.writers, plan.seed, &clock);
    work.go_on(plan.steps / 2);
    if plan.away {
        rig.link().cut();
    }
    work.go_on(plan.steps / 2);
    let status = rig.status();
    let target = status.target();
    let in_force = target.coherent && !target.degraded && target.reconnects == connected;
    let moments = watch.stop();
    rig.kill_source();
    let writers = work.stop();
    if let Some(roamers) = roamers {
        roamers.stop();
    }
    let log = |disk: &Arc<dyn Layer>| disk.log().unwrap_or_else(|e| panic!("{e:#}"));
    let (mut source, target) = (log(&disks[0]), log(&disks[1]));
    if plan.lying {
        source.forget_flushes(begin.source);
    }
    live(rig, plan, &writers, in_force);
    detach(rig);
    SOURCE.off(rig);
    rig.unmount_now(&disks[0].place());
    let (last, cuts) = choose(&moments, plan);
    let record = Record { told: Told { plan: plan.clone(), writers, in_force, last, cuts }, source, target };
    let [_source, disk] = disks;
    (record, moments.len(), disk)
}

/// What the target has that goes on when the source's machine is lost for good.
#[track_caller]
fn live(rig: &Rig, plan: &Plan, writers: &[Calls], in_force: bool) {
    let promise = if in_force { plan.mode.on_target() } else { Promise::None };
    // It may be at something that nobody was told of.
    watchdog::stop(rig.target_pid());
    let bounds = allowed(writers, Side::Target, ALWAYS, promise);
    let seen = looked("the replica without its source", &rig.replica(), &bounds, true);
    watchdog::resume(rig.target_pid());
    if let Some(gap) = gap(writers, &seen) {
        panic!("the replica is no state that the source had: {gap}");
    }
    let lost: usize = writers.iter().zip(&seen).map(|(calls, seen): (&Calls, &Seen)| missing(calls, seen)).sum();
    assert!(
        plan.mode != Mode::Near || !in_force || lost <= NEAR_OPERATIONS,
        "{lost} operations were answered and are not there, and near allows {NEAR_OPERATIONS}"
    );
}

/// The source's machine comes back with what its disk was left with, to a target that went on.
#[track_caller]
fn source_lost(rig: &mut Rig, record: &Record) {
    let told = &record.told;
    let cut = &told.last;
    boot(rig, record, Side::Source, cut);
    let bounds = allowed(&told.writers, Side::Source, cut.at, told.plan.mode.durable(Side::Source));
    let kept = looked("SRC after its machine was lost", &rig.src(), &bounds, false);
    rig.reboot_source(1);
    if told.plan.away {
        rig.link().mend();
    }
    rig.mount();
    cut::well_again(rig, record);
    let seen = looked("SRC when all is well again", &rig.src(), &bounds, false);
    assert!(seen == kept, "the mount changed what the source's disk had kept: {kept:?}, and now {seen:?}");
    rig.kill_source();
    rig.kill_target();
    cut::off(rig);
}

/// Where a round's record goes that failed.
pub fn place(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("replfs-powerloss-{seed}"))
}
