//! Both sides, a schedule, and the end of somebody in the middle of it; then everything is brought up again.

use super::bug::Bug;
use super::check::{self, Checked, Known, Promise, Told, View};
use super::line::Line;
use super::moments::{Fate, Files, Moments, Place};
use super::source::{Action, Host, Refusal, Source, What, is_to_begin_anew};
use platform::killpoint::{self, Killed};
use srm::Ticket;
use srm::status::{CommitMode, NearBounds};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Files that are always there, and those that can be removed.
const WRITTEN: u64 = 3;
const REMOVED: u64 = 6;
/// Passes one behind the other, at the most.
const ROUNDS: usize = 8;
/// Rounds until nothing more happens: what is queued is applied, and what follows from that.
const TURNS: usize = 3;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    /// An application does something.
    App(Action),
    /// The target gets and applies a record.
    Deliver,
    /// What it has applied comes back.
    Ack,
    /// The source's threads have a round.
    Turn,
    /// What the target has is durable.
    TargetSync,
    /// The connection is lost.
    Cut,
    /// It is made again.
    Connect,
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In which mode.
    pub mode: CommitMode,
    /// The bounds of `near`.
    pub bounds: NearBounds,
    /// What happens.
    pub events: Vec<Event>,
    /// The moment of the end, counted from 1, and whose it is.
    pub end: Option<(u64, Fate)>,
    /// Another end, while all comes to be the same again after the first.
    pub again: Option<(u64, Fate)>,
    /// The mistake.
    pub bug: Option<Bug>,
}

/// A run without a fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Moments of it.
    pub moments: u64,
    /// Operations that were answered.
    pub answered: u64,
    /// Operations that failed.
    pub failed: u64,
    /// The next daemon went on with the journal.
    pub resumed: u64,
    /// Where the end came.
    pub at: Option<Place>,
}

/// A run with one.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was not kept.
    pub promise: Promise,
    /// How.
    pub text: String,
    /// Where the end had come.
    pub at: Option<Place>,
}

type Answers = Arc<Mutex<Vec<Told>>>;

/// Both sides.
pub(super) struct World {
    pub(super) host: Host,
    pub(super) moments: Rc<Moments>,
    pub(super) line: Rc<Line>,
    pub(super) source: Option<Source>,
    pub(super) known: Vec<Known>,
    pub(super) answers: Answers,
    /// Replies say nothing from here on.
    pub(super) out_of_force: Arc<AtomicBool>,
    pub(super) history: Vec<Files>,
    pub(super) shown: usize,
    pub(super) end: Option<(u64, Fate)>,
    pub(super) again: Option<(u64, Fate)>,
    pub(super) bug: Option<Bug>,
    pub(super) resumed: u64,
}

pub(super) fn host_fault(error: &io::Error) -> (Promise, String) {
    (Promise::Recovery, format!("the simulated host fails: {error}"))
}

/// Runs a plan in a directory of its own.
pub fn run(plan: &Plan, top: &Path) -> Result<Passed, Failure> {
    let mut world = World::new(plan, top);
    let result = guarded(|| world.play(&plan.events));
    killpoint::unwatch();
    Line::forget_who_asked();
    result.map_err(|(promise, text)| Failure { promise, text, at: world.moments.hit() })?;
    let told = |told| world.known.iter().filter(|known| known.told == told).count() as u64;
    let (answered, failed) = (told(Told::Done), told(Told::Failed));
    let (moments, resumed, at) = (world.moments.passed(), world.resumed, world.moments.hit());
    Ok(Passed { moments, answered, failed, resumed, at })
}

/// A panic that is no end of a source is a check that failed.
fn guarded(run: impl FnOnce() -> Checked) -> Checked {
    crate::sim::search::quietly(|| catch_unwind(AssertUnwindSafe(run))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err((Promise::Assertion, text.unwrap_or_else(|| "a panic without words".to_owned())))
    })
}

impl World {
    fn new(plan: &Plan, top: &Path) -> Self {
        let host =
            Host { top: top.to_owned(), boot: 1, replica: None, mode: plan.mode, bounds: plan.bounds, bug: plan.bug };
        let moments = Rc::new(Moments::new(host.small(), plan.end));
        Self {
            line: Rc::new(Line::new(Rc::clone(&moments), plan.bug)),
            host,
            moments,
            source: None,
            known: Vec::new(),
            answers: Answers::default(),
            out_of_force: Arc::default(),
            history: Vec::new(),
            shown: 0,
            end: plan.end,
            again: plan.again,
            bug: plan.bug,
            resumed: 0,
        }
    }

    fn play(&mut self, events: &[Event]) -> Checked {
        self.set_up().map_err(|error| host_fault(&error))?;
        self.moments.count(true);
        let first = |world: &mut Self| world.bring_together().and_then(|()| world.settle());
        if self.lives_through(first)? {
            for event in events {
                if !self.lives_through(|world| world.happen(*event))? {
                    break;
                }
                self.check()?;
            }
        }
        self.moments.count(false);
        self.recover()
    }

    /// Lets something happen. `false`: the source came to its end.
    pub(super) fn lives_through(&mut self, run: impl FnOnce(&mut Self) -> Checked) -> Result<bool, (Promise, String)> {
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(checked) => checked.map(|()| true),
            Err(panic) if panic.is::<Killed>() => Ok(false),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn set_up(&mut self) -> io::Result<()> {
        let src = self.host.src();
        std::fs::create_dir_all(&src)?;
        let files = |what, count| (0..count).map(move |file| Action { what, file, refusal: Refusal::None }.name());
        for name in files(What::Write, WRITTEN).chain(files(What::Remove, REMOVED)) {
            std::fs::write(src.join(&name), 0_u64.to_le_bytes())?;
            self.moments.disk(|disk| disk.now.insert(name, 0));
        }
        self.moments.disk(|disk| disk.durable = disk.now.clone());
        self.history.push(self.moments.disk(|disk| disk.now.clone()));
        let moments = Rc::clone(&self.moments);
        killpoint::watch(move |point| moments.reach(Place::Point(point)));
        self.source = Some(self.host.start(Rc::clone(&self.moments))?);
        Ok(())
    }

    pub(super) fn srm(&self) -> Arc<srm::Srm> {
        Arc::clone(&self.source.as_ref().expect("the source is up").srm)
    }

    fn happen(&mut self, event: Event) -> Checked {
        let srm = self.srm();
        self.line.notice(&srm);
        match event {
            Event::App(action) => self.app(action),
            Event::Deliver => _ = self.line.deliver(&srm),
            Event::Ack => self.line.acknowledge(&srm),
            Event::Turn => srm.turn(),
            Event::TargetSync if self.moments.is_target_dead() => {}
            Event::TargetSync => self.line.target.borrow_mut().sync(),
            Event::Cut => self.moments.cut(true),
            Event::Connect if self.moments.hit().is_none() => {
                self.moments.cut(false);
                self.line.connect(&srm)?;
            }
            Event::Connect => {}
        }
        self.line.notice(&srm);
        if srm.is_in_pass() {
            self.bring_together()?;
        }
        self.hear();
        match self.line.fault.borrow_mut().take() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    pub(super) fn app(&mut self, action: Action) {
        let srm = self.srm();
        let number = self.known.len() as u64 + 1;
        self.known.push(Known { number, action, told: Told::Nothing });
        lock(&self.answers).push(Told::Nothing);
        self.line.target.borrow_mut().full = action.refusal == Refusal::Target && srm.proposes();
        let early = self.bug == Some(Bug::HastyAnswer) || self.bug == Some(Bug::EarlySync);
        if early {
            srm.commit(Ticket::NONE, self.reply(number));
            srm.turn();
            self.moments.step("answered");
        }
        let source = self.source.as_ref().expect("the source is up");
        let line = Rc::clone(&self.line);
        let result = loop {
            match line.at_once(&srm, || source.act(action, number)) {
                Err(error) if is_to_begin_anew(&error) => {}
                result => break result,
            }
        };
        let now = self.moments.disk(|disk| disk.now.clone());
        if self.history.last() != Some(&now) {
            self.history.push(now);
        }
        match result {
            Ok(_) if early => {}
            Ok(ticket) if matches!(self.bug, Some(Bug::EarlyAnswer | Bug::UnsyncedAnswer | Bug::Unasked)) => {
                self.reply(number)();
                srm.commit(ticket, || {});
            }
            Ok(ticket) => srm.commit(ticket, self.reply(number)),
            Err(_) => self.tell(number, Told::Failed),
        }
        self.moments.step("the operation is over");
    }

    fn tell(&self, number: u64, told: Told) {
        if let Some(slot) = lock(&self.answers).get_mut(index(number)) {
            *slot = told;
        }
    }

    fn reply(&self, number: u64) -> impl FnOnce() + Send + 'static {
        let (answers, out_of_force) = (Arc::clone(&self.answers), Arc::clone(&self.out_of_force));
        let in_force = self.srm().is_in_force();
        move || {
            let told = if !in_force || out_of_force.load(Ordering::SeqCst) { Told::Released } else { Told::Done };
            if let Some(slot) = lock(&answers).get_mut(index(number)) {
                *slot = told;
            }
        }
    }

    /// What applications have been told by now.
    pub(super) fn hear(&mut self) {
        for (known, told) in self.known.iter_mut().zip(lock(&self.answers).iter()) {
            known.told = *told;
        }
    }

    /// The work of a pass, in one step: the target is what the source is.
    pub(super) fn bring_together(&mut self) -> Checked {
        let srm = self.srm();
        self.line.notice(&srm);
        if self.moments.is_link_down() {
            return Ok(());
        }
        if !srm.is_up() {
            self.line.connect(&srm)?;
        }
        for _ in 0..ROUNDS {
            if !srm.is_in_pass() {
                return Ok(());
            }
            while self.line.deliver(&srm) {}
            if self.moments.is_link_down() || self.moments.is_target_dead() {
                return Ok(());
            }
            let source = self.moments.disk(|disk| disk.now.clone());
            self.line.target.borrow_mut().store.bring_over(&srm.pass_work(), &source);
            srm.brought_together();
            self.line.run(&srm);
        }
        Err((Promise::Recovery, "one pass follows the other".to_owned()))
    }

    /// Everything that can still happen does.
    pub(super) fn settle(&mut self) -> Checked {
        let srm = self.srm();
        for _ in 0..TURNS {
            self.line.run(&srm);
            srm.turn();
            self.bring_together()?;
        }
        self.hear();
        match self.line.fault.borrow_mut().take() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    pub(super) fn view<T>(&self, check: impl FnOnce(&[Known], &View<'_>) -> T) -> T {
        let source = self.moments.disk(|disk| disk.now.clone());
        let target = self.line.target.borrow().store.files.clone();
        check(&self.known, &View { source: &source, target: &target, cost: self.line.cost() })
    }

    /// What holds at any moment.
    fn check(&mut self) -> Checked {
        if let Some(fault) = self.line.fault.borrow_mut().take() {
            return Err(fault);
        }
        self.hear();
        let (mode, bounds) = (self.host.mode, self.host.bounds);
        self.view(|known, view| check::check(mode, bounds, known, view))?;
        let target = self.line.target.borrow();
        // In `remote` it is ahead by what is proposed.
        if !target.coherent || mode == CommitMode::Remote {
            return Ok(());
        }
        let place = self.history[self.shown..].iter().position(|shown| *shown == target.store.files);
        let Some(later) = place else {
            let text = format!("the target shows what the source did not, or not since: {:?}", target.store.files);
            return Err((Promise::Prefix, text));
        };
        self.shown += later;
        Ok(())
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).map_or(usize::MAX, |number| number - 1)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
