//! One round: a plan carried out, and judged. It panics with what was broken; the rig goes with it, or stays for a look (`REPLFS_KEEP`).

use super::events::Events;
use super::fault::Fault;
use super::judge::{self, Before, Workloads};
use super::machine::Machine;
use super::plan::Plan;
use super::running::Running;
use super::workload::Workload;
use crate::wait::{PATIENCE, until};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where nothing is tried for so long, the next thing happens all the same: the writers may be waiting for just that.
const STALL: Duration = Duration::from_millis(1500);
/// How often what is going on is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// What a round was.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What each workload has done.
    pub done: BTreeMap<&'static str, u64>,
    /// Failures that applications saw, each explained.
    pub failed: u64,
    /// Faults.
    pub faults: usize,
    /// Passes of the last daemon.
    pub passes: u64,
    /// From the end of the faults to both sides being the same.
    pub settled_after: Duration,
    /// Of all.
    pub took: Duration,
}

/// Workloads at work on a machine. Dropping it asks them to stop.
pub struct Work {
    /// What they share.
    pub running: Arc<Running>,
    /// With the names of their directories.
    pub workloads: Vec<(String, Arc<dyn Workload>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    /// Starts what a plan has.
    #[track_caller]
    pub fn start(plan: &Plan, machine: &Machine) -> Self {
        let running = Arc::new(Running::default());
        let workloads: Vec<_> =
            plan.workloads.iter().flat_map(|kind| kind.start(&machine.rig, plan.seed ^ plan.round << 8)).collect();
        let mnt = machine.rig.mnt();
        for (name, _) in &workloads {
            fs::create_dir(mnt.join(name)).unwrap_or_else(|e| panic!("cannot make {name} in {}: {e}", mnt.display()));
        }
        let threads = workloads
            .iter()
            .map(|(name, workload)| {
                let (at, workload, running) = (mnt.join(name), Arc::clone(workload), Arc::clone(&running));
                std::thread::spawn(move || workload.run(&at, &running))
            })
            .collect();
        Self { running, workloads, threads }
    }

    /// Waits until so much was tried, or nothing is any more; whether it was.
    pub fn wait_for(&self, attempts: u64, stall: Duration) -> bool {
        let (mut last, mut since) = (self.running.attempts(), Instant::now());
        loop {
            let now = self.running.attempts();
            if now >= attempts {
                return true;
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > stall {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// All stop, and have.
    #[track_caller]
    pub fn end(&mut self) {
        self.running.stop();
        until("all workloads to end", PATIENCE, || self.threads.iter().all(JoinHandle::is_finished).then_some(()));
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "a workload panicked");
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.running.stop();
    }
}

/// What is waited for in a round: something begins or ends.
struct Step {
    at: u64,
    begins: bool,
    fault: Fault,
}

/// Faults that were looked at when they began, until they end.
struct Look {
    before: Option<Before>,
    prefix: Result<Vec<u64>, String>,
}

/// Begins and ends faults on a machine at work, and judges what can be judged at once.
pub struct Driver<'a> {
    /// The round.
    pub plan: &'a Plan,
    /// What happens.
    pub events: &'a Events,
    /// Faults that have begun.
    pub begun: Vec<Fault>,
    look: Option<Look>,
}

impl<'a> Driver<'a> {
    /// Nothing has begun.
    pub fn new(plan: &'a Plan, events: &'a Events) -> Self {
        Self { plan, events, begun: Vec::new(), look: None }
    }

    /// A fault begins.
    #[track_caller]
    pub fn begin(&mut self, fault: Fault, machine: &mut Machine, work: &Work) {
        machine.assert_alive();
        let workloads: &Workloads = &work.workloads;
        let asked = matches!(fault, Fault::KillSource | Fault::StopTarget);
        let before = if asked { judge::before(machine) } else { None };
        let done = machine.begin(fault, &work.running);
        self.events.say(work.running.attempts(), format!("{fault}: {done}"));
        match fault {
            Fault::KillSource => {
                let said = judge::promise(self.plan, machine, workloads, before.as_ref(), &self.begun);
                self.events.say(work.running.attempts(), said);
            }
            Fault::StopTarget if before.is_some() => {
                self.look = Some(Look { before, prefix: judge::prefix(machine, workloads) });
            }
            _ => {}
        }
        self.begun.push(fault);
    }

    /// A fault ends.
    #[track_caller]
    pub fn end(&mut self, fault: Fault, machine: &mut Machine, work: &Work) {
        let done = machine.end(fault);
        self.events.say(work.running.attempts(), format!("{fault}: {done}"));
        if fault == Fault::StopTarget
            && let Some(Look { before: Some(before), prefix }) = self.look.take()
        {
            let coherent = machine.is_up() && judge::was_coherent(&before, machine);
            self.events.say(work.running.attempts(), format!("coherent: {coherent}; versions {prefix:?}"));
            let tampered = self.begun.iter().any(|fault| matches!(fault, Fault::Tamper(_)));
            if let (true, false, Err(why)) = (coherent, tampered, prefix) {
                panic!("a replica that calls itself coherent is no state that the source had: {why}");
            }
        }
    }

    #[track_caller]
    fn all(&mut self, machine: &mut Machine, work: &Work) {
        let mut steps: Vec<Step> = Vec::new();
        for planned in &self.plan.faults {
            steps.push(Step { at: planned.at, begins: true, fault: planned.fault });
            steps.push(Step { at: planned.until, begins: false, fault: planned.fault });
        }
        steps.sort_by_key(|step| (step.at, step.begins));
        for step in steps {
            if !work.wait_for(step.at, STALL) {
                self.events.say(work.running.attempts(), "nothing is tried for a while");
            }
            if step.begins { self.begin(step.fault, machine, work) } else { self.end(step.fault, machine, work) }
        }
    }
}

/// Carries a round out.
#[track_caller]
pub fn run(plan: &Plan, events: &Events) -> Figures {
    let begin = Instant::now();
    events.say(0, plan.to_string());
    let mut machine = Machine::start(plan);
    let mut work = Work::start(plan, &machine);
    events.say(0, format!("at work in {}", machine.rig.home().display()));
    let mut driver = Driver::new(plan, events);
    driver.all(&mut machine, &work);
    machine.mend();
    let end = work.running.attempts() + 20;
    let goes_on = work.wait_for(end.max(plan.operations), PATIENCE);
    assert!(goes_on, "the writers do not go on, with all faults over");
    machine.assert_alive();
    work.end();
    events.say(work.running.attempts(), "all faults are over, all workloads have ended");
    let over = Instant::now();
    machine.rig.settle();
    let settled_after = over.elapsed();
    events.say(work.running.attempts(), "settled");
    judge::failures(plan, &work.running);
    if plan.verifies || machine.tampered {
        judge::verified(&machine);
        events.say(work.running.attempts(), "verified");
    }
    machine.rig.assert_equal();
    judge::acknowledged(&machine.rig, &work.workloads);
    machine.rig.assert_equal();
    judge::remains(&machine.rig);
    let figures = Figures {
        done: work.running.counts(),
        failed: work.running.failures().iter().map(|(_, failure)| failure.times).sum(),
        faults: driver.begun.len(),
        passes: machine.rig.status().target().passes,
        settled_after,
        took: begin.elapsed(),
    };
    machine.finish();
    events.say(work.running.attempts(), format!("passed: {figures:?}"));
    figures
}
