//! Whether what was promised was kept: at the moment that a daemon dies or stands still, and when a round is over. It panics with what was broken.

use super::fault::Fault;
use super::machine::{Machine, NEAR_OPERATIONS};
use super::plan::Plan;
use super::running::Running;
use super::sample::Sample;
use super::workload::{Workload, Writer};
use crate::rig::status::Source;
use crate::rig::{Commit, NAME, Rig};
use crate::wait::{PATIENCE, until};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Workloads with the names of their directories.
pub type Workloads = [(String, Arc<dyn Workload>)];

fn writers(workloads: &Workloads) -> impl Iterator<Item = (&str, &Writer)> {
    workloads.iter().filter_map(|(name, workload)| Some((name.as_str(), workload.as_writer()?)))
}

/// A status that was taken before something, with what had been said of the mode until then.
pub struct Before {
    status: Source,
    degraded: usize,
}

/// What has to be known before a daemon is killed or stopped, where the source can be asked.
pub fn before(machine: &Machine) -> Option<Before> {
    let status = machine.is_up().then(|| machine.rig.try_status()).flatten()?;
    Some(Before { status, degraded: degraded(&machine.rig) })
}

/// How often the log says so.
fn degraded(rig: &Rig) -> usize {
    let log = rig.source_state().join("sources").join(NAME).join("log");
    fs::read_to_string(log).unwrap_or_default().matches("degraded").count()
}

/// The source is dead and nothing has been repaired: what its mode promised is on the replica. `earlier`: faults that have begun before. Says what was looked at.
#[track_caller]
pub fn promise(
    plan: &Plan,
    machine: &Machine,
    workloads: &Workloads,
    before: Option<&Before>,
    earlier: &[Fault],
) -> String {
    // After these the replica may lack what nobody is told of call by call.
    let excused = |fault: &Fault| matches!(fault, Fault::Tamper(_) | Fault::RootFull | Fault::RootReadOnly);
    let held = before.is_some_and(|before| {
        let target = before.status.target();
        target.coherent && !target.degraded && before.degraded == 0 && degraded(&machine.rig) == 0
    });
    let bound = match plan.commit {
        _ if earlier.iter().any(excused) => None,
        Commit::Remote => Some(0),
        Commit::Sync if held => Some(0),
        Commit::Near if held => Some(NEAR_OPERATIONS),
        _ => None,
    };
    let Some(bound) = bound else { return "nothing was promised of the replica now".to_owned() };
    let behind: Vec<(&str, usize)> = writers(workloads)
        .map(|(name, writer)| (name, writer.history().behind(&machine.rig.replica().join(name))))
        .collect();
    let sum: usize = behind.iter().map(|(_, behind)| behind).sum();
    assert!(
        sum <= bound,
        "{} writes that were acknowledged in {} are not on the replica, {bound} may be: {behind:?}",
        sum,
        plan.commit.as_str()
    );
    format!("{sum} acknowledged writes are not on the replica, {bound} may be")
}

/// The target stands still: whether its replica is a state that the source had; what to think of that is known when it goes on ([`was_coherent`]).
pub fn prefix(machine: &Machine, workloads: &Workloads) -> Result<Vec<u64>, String> {
    let one = |(name, writer): (&str, &Writer)| writer.history().is_prefix(&machine.rig.replica().join(name));
    writers(workloads).map(one).collect()
}

/// Whether the replica was coherent all the time since.
pub fn was_coherent(before: &Before, machine: &Machine) -> bool {
    let Some(now) = machine.rig.try_status() else { return false };
    let same = |status: &Source| (status.pid, status.target().passes, status.target().coherent);
    before.status.target().coherent && same(&before.status) == same(&now) && !machine.tampered
}

/// Nothing failed but for what a fault explains.
#[track_caller]
pub fn failures(plan: &Plan, running: &Running) {
    for (workload, failure) in running.failures() {
        let explained = plan.faults.iter().any(|planned| planned.fault.explains(&failure, plan.commit));
        assert!(
            explained,
            "{workload}: {} ({} times), and no fault of this round explains that",
            failure.text, failure.times
        );
    }
}

/// What was acknowledged is there.
#[track_caller]
pub fn acknowledged(rig: &Rig, workloads: &Workloads) {
    for (side, tree) in [("source", rig.mnt()), ("replica", rig.replica())] {
        for (name, workload) in workloads {
            let scratch = tempfile::tempdir_in(rig.home()).unwrap_or_else(|e| panic!("cannot make a directory: {e}"));
            let lacking = workload.lacking(&tree.join(name), scratch.path());
            let shown = lacking.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
            assert!(
                lacking.is_empty(),
                "{name}: the {side} lacks {} of what was acknowledged:\n{shown}",
                lacking.len()
            );
        }
    }
}

/// What verification says when everything has settled, and what is mended.
#[track_caller]
pub fn verified(machine: &Machine) {
    let rig = &machine.rig;
    let place = rig.mnt().to_string_lossy().into_owned();
    if machine.tampered {
        rig.replfs("verify", &[&place, "--repair"]).ok();
        rig.settle();
    }
    // What differs now is a false alarm, or was not mended.
    rig.replfs("verify", &[&place]).ok();
}

/// No daemon panicked; memory, descriptors and threads are within their bounds; nothing is left of what is for a while only.
#[track_caller]
pub fn remains(rig: &Rig) {
    logs(rig);
    rig.assert_memory();
    for (side, pid) in [("source", rig.source_pid()), ("target", rig.target_pid())] {
        let beyond = Sample::of(pid).and_then(|sample| sample.beyond());
        assert!(beyond.is_none(), "the {side} daemon has {}", beyond.unwrap_or_default());
    }
    let kept = rig.root().join(".replfs").join(NAME);
    for dir in ["orphan", "stage", "image", "undo"] {
        let left = || fs::read_dir(kept.join(dir)).into_iter().flatten().flatten().map(|entry| entry.path());
        until(&format!("{dir} of the replica to be empty: {:?}", left().collect::<Vec<_>>()), PATIENCE, || {
            (left().count() == 0).then_some(())
        });
    }
}

/// No daemon has written of a panic.
#[track_caller]
pub fn logs(rig: &Rig) {
    let source = rig.source_state().join("sources").join(NAME).join("log");
    for log in [source, rig.target_state().with_extension("log")] {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("panicked at"));
        assert!(line.is_none(), "{}: {}", log.display(), line.unwrap_or_default());
    }
}

/// After an unmount that brought everything over: nothing of the journal.
#[track_caller]
pub fn no_journal(state: &Path) {
    for place in ["run/journal/tree/memory", "sources/tree/journal"] {
        let dir = state.join(place);
        let left = fs::read_dir(&dir).map_or(0, Iterator::count);
        assert!(left == 0, "{left} files of the journal are left in {}", dir.display());
    }
}
