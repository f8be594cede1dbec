//! Both sides, what is between them, and what happens to them, one event after the other. Whoever waits in what ships lets the next event happen, so operations,
//! passes, a target that is blocked and ends of daemons lie within each other as they do on threads.

use super::bug::Bug;
use super::counts::Counts;
use super::history::{Checked, Checker, History, Told};
use super::life::Disk;
use super::machine::{Sim, index};
use super::net::Net;
use super::schedule::{Event, Loss, Plan, Side};
use super::side::{Daemon, Kept, Places};
use super::snapshot::Snapshot;
use super::tamper::Tamper;
use protocol::ReplicaId;
use rustix::io::Errno;
use srm::set::Set;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use target::Target;

/// How deep events lie within each other.
const DEEPEST: usize = 4;
/// Waits of a run; more are waits without end.
const MOST_WAITS: u64 = 20_000;
/// While somebody waits and nothing moves, so much time passes.
const TICK: Duration = Duration::from_millis(100);

/// A check has found fault, which stands in the world: all of the run unwinds.
pub(super) struct Faulted;

/// See the module.
pub(super) struct World {
    pub plan: Plan,
    pub set: Set,
    pub bug: Option<Bug>,
    pub places: Places,
    pub sim: Rc<Sim>,
    pub source: RefCell<Option<Rc<Daemon>>>,
    pub target: RefCell<Option<Arc<Target>>>,
    pub net: RefCell<Net>,
    pub tamper: RefCell<Tamper>,
    pub history: RefCell<History>,
    pub events: RefCell<VecDeque<Event>>,
    pub counts: RefCell<Counts>,
    pub fault: RefCell<Option<(Checker, String)>>,
    pub trace: RefCell<Option<Vec<String>>>,
    pub replica: Cell<Option<ReplicaId>>,
    pub disks: [RefCell<Disk>; 2],
    pub losses: [Cell<Option<Loss>>; 2],
    pub kept: RefCell<Option<[Kept; 2]>>,
    pub old_position: RefCell<Option<Vec<u8>>>,
    pub answers: Arc<Mutex<Vec<Told>>>,
    pub heard: Cell<usize>,
    /// Replies that go out now were released, not earned.
    pub releasing: Arc<Mutex<bool>>,
    pub settling: Cell<bool>,
    pub depth: Cell<usize>,
    pub locked: Cell<bool>,
    pub frames: [Cell<usize>; 2],
    pub waits: Cell<u64>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Everything is up, and not connected.
    pub fn new(plan: &Plan, bug: Option<Bug>, places: Places, traced: bool) -> io::Result<Rc<Self>> {
        let src = places.src();
        std::fs::create_dir_all(src.join("d"))?;
        for (at, name) in ["a", "b", "d/c"].iter().enumerate() {
            std::fs::write(src.join(name), vec![u8::try_from(at).unwrap_or(0); 3000])?;
        }
        // Other permissions than a new replica has, whatever the umask is.
        std::fs::set_permissions(&src, Permissions::from_mode(0o750))?;
        let first = Snapshot::of(&src)?;
        let set =
            if plan.set.is_empty() { Set::everything() } else { Set::parse(plan.set).map_err(io::Error::other)? };
        let durable = Disk { durable: first.clone(), ..Disk::default() };
        let sim = Rc::new(Sim::new(bug == Some(Bug::LooseAge)));
        let world = Rc::new(Self {
            events: RefCell::new(plan.events.iter().copied().collect()),
            history: RefCell::new(History::new(plan.mode, plan.bounds, set.clone(), first)),
            set,
            plan: plan.clone(),
            bug,
            places,
            sim: Rc::clone(&sim),
            source: RefCell::default(),
            target: RefCell::default(),
            net: RefCell::default(),
            tamper: RefCell::new(Tamper::new(bug)),
            counts: RefCell::default(),
            fault: RefCell::default(),
            trace: RefCell::new(traced.then(Vec::new)),
            replica: Cell::new(None),
            disks: [RefCell::new(durable), RefCell::default()],
            losses: [Cell::new(None), Cell::new(None)],
            kept: RefCell::default(),
            old_position: RefCell::default(),
            answers: Arc::default(),
            heard: Cell::new(0),
            releasing: Arc::default(),
            settling: Cell::new(false),
            depth: Cell::new(0),
            locked: Cell::new(false),
            frames: [Cell::new(0), Cell::new(0)],
            waits: Cell::new(0),
        });
        sim.world.replace(Rc::downgrade(&world));
        Ok(world)
    }

    /// A check found this: nothing goes on.
    pub fn fail(&self, checker: Checker, text: String) -> ! {
        self.fault.borrow_mut().get_or_insert((checker, text));
        // What unwinds passes kill points.
        self.sim.dying.set(true);
        resume_unwind(Box::new(Faulted))
    }

    pub fn check(&self, checked: Checked) {
        if let Err((checker, text)) = checked {
            self.fail(checker, text);
        }
    }

    pub fn host<T>(&self, result: io::Result<T>) -> T {
        result.unwrap_or_else(|error| self.fail(Checker::Assertion, format!("the simulated host fails: {error}")))
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(format!("{:7.3} {}{}", self.sim.passed().as_secs_f64(), "  ".repeat(self.depth.get()), text()));
        }
    }

    /// Lets an event happen.
    pub fn happen(&self, event: Event) {
        self.note(|| format!("{event:?}"));
        match event {
            Event::App(action) => self.app(&action),
            Event::Flow => self.flow(false),
            Event::Dial => self.dial(),
            Event::Send(many) => self.send(many),
            Event::Up(part) => self.up(part),
            Event::Apply(many) => (0..many).for_each(|_| _ = self.apply()),
            Event::Back => self.back(),
            Event::Down(part) => self.down(part, false),
            Event::Sync => self.sync(),
            Event::EndSync(which) => _ = self.end_sync(which),
            Event::Turn => self.turn(),
            // It could wait for what the target comes to only once this returns.
            Event::Pass if self.frames[1].get() > 0 => {}
            Event::Pass => {
                let worked = self.on_source(|daemon| daemon.srm.work_at_pass());
                self.counts.borrow_mut().pass_steps += u64::from(worked == Some(true));
            }
            Event::Time(millis) => self.pass_time(Duration::from_millis(millis)),
            Event::Partition(up, down) => {
                let mut net = self.net.borrow_mut();
                (net.cut_up, net.cut_down) = (up, down);
                self.counts.borrow_mut().partitions += u64::from(up != down);
            }
            Event::Heal => {
                let mut net = self.net.borrow_mut();
                (net.cut_up, net.cut_down) = (false, false);
            }
            Event::Lose { up, down, source, target } => self.lose(up, down, source, target),
            Event::Stale => self.stale(),
            Event::Again => self.again(),
            Event::Corrupt(bits) => self.corrupt(bits),
            Event::Kill(side, points, loss) => {
                self.sim.arm(side, points);
                self.losses[index(side)].set(loss);
            }
            Event::Restart(side) => self.restart(side),
            Event::Fault(disk, full, times) => {
                self.sim.fail(disk, if full { Errno::NOSPC } else { Errno::IO }, times);
            }
            Event::Bypass(on) => {
                let switched = self.on_source(|daemon| daemon.srm.bypass(on)) == Some(true);
                self.counts.borrow_mut().bypasses += u64::from(switched && on);
            }
            Event::Jump(_, secs) => {
                self.sim.skew_secs.set(secs);
                self.counts.borrow_mut().jumps += 1;
            }
        }
        self.hear();
    }

    /// Somebody waits.
    pub fn waited(&self, most: Duration, locked: bool) {
        self.waits.set(self.waits.get() + 1);
        self.counts.borrow_mut().waits += 1;
        if self.waits.get() > MOST_WAITS {
            self.fail(Checker::Convergence, "somebody waits without end".to_owned());
        }
        // What lies within somebody who waits with locks takes none either.
        let before = self.locked.get();
        let locked = self.locked.replace(before || locked) || locked;
        self.depth.set(self.depth.get() + 1);
        let next = if locked || self.settling.get() || self.depth.get() > DEEPEST {
            None
        } else {
            self.events.borrow_mut().pop_front()
        };
        let result = catch_unwind(AssertUnwindSafe(|| match next {
            Some(event) => {
                self.happen(event);
                if self.sim.side.get() == Side::Target {
                    // One that is blocked tries again after a while.
                    self.pass_time(most.min(TICK * 5));
                }
            }
            None => {
                if !self.progress(locked) {
                    self.pass_time(most.min(TICK));
                }
            }
        }));
        self.depth.set(self.depth.get() - 1);
        self.locked.set(before);
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }

    /// Time passes; a source that hears nothing for long takes its connection for lost.
    pub fn pass_time(&self, by: Duration) {
        self.sim.advance(by);
        self.notice_silence();
    }
}
