//! Both sides and what is between them; a run from a list of events; what is checked.

use super::apps::{Args, Call, Opened};
use super::bug::Bug;
use super::check::{Checked, Checker, EXTRA_MODE};
use super::replica::Replica;
use super::source::{Bounds, Counts, Source};
use super::work::State;
use crate::seed::Random;
use protocol::Name;
use srm::map::Gate;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    App(Call, Args),
    /// A worker of the pass goes on.
    Work(u32),
    /// The target gets and applies so many records.
    Deliver(u32),
    /// What it acknowledged and answered comes back.
    Ack,
    /// A piece of content comes to the target, in any order.
    Lane(u32),
    Cut,
    Connect,
    Bypass(bool),
    RestartTarget,
    /// The target has lost its place; somebody has put something there.
    LoseTarget(u32),
    RestartSource,
    /// A pass begins if it is time.
    Begin,
    /// Nothing but replication goes on for so many rounds.
    Run(u32),
}

/// A check failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub checker: Checker,
    /// How.
    pub text: String,
    /// The trace, where it was asked for.
    pub trace: Vec<String>,
}

/// See the module.
pub struct World {
    /// The source.
    pub source: Source,
    /// The target.
    pub target: Replica,
    open: Vec<Opened>,
    up: bool,
    pub(super) extras: Vec<u32>,
}

impl World {
    /// Both sides empty, and connected.
    pub fn new(bounds: Bounds, bug: Option<Bug>, traced: bool) -> Self {
        let mut source = Source::new(bounds, bug, traced);
        source.note();
        let target = Replica::default();
        Self { source, target, open: Vec::new(), up: true, extras: Vec::new() }
    }

    /// Something happens, and everything that can be checked at any time is.
    pub fn happen(&mut self, event: Event) -> Checked {
        crate::say!(self.source, "{event:?}");
        match event {
            Event::App(call, args) => self.source.call(call, args, &mut self.open),
            Event::Work(number) => {
                self.work(number);
            }
            Event::Deliver(count) => {
                self.deliver(count)?;
            }
            Event::Ack => {
                self.acknowledge();
            }
            Event::Lane(number) => {
                self.lane(number);
            }
            Event::Cut => self.cut(),
            Event::Connect => self.up = true,
            Event::Bypass(on) => self.bypass(on),
            Event::RestartTarget => {
                self.cut();
                self.target.restart();
            }
            Event::LoseTarget(number) => self.lose_target(number),
            Event::RestartSource => {
                self.cut();
                self.source.restart(&mut self.open);
            }
            Event::Begin => {
                self.begin();
            }
            Event::Run(rounds) => {
                self.rounds(rounds, &mut Random::new(u64::from(rounds)))?;
            }
        }
        self.source.tree.sweep(&self.source.disk);
        self.check()
    }

    fn work(&mut self, number: u32) -> bool {
        let begun = self.source.next_work();
        let count = self.source.tasks.len();
        (count > 0 && self.source.advance(number as usize % count)) || begun
    }

    fn deliver(&mut self, count: u32) -> Result<bool, (Checker, String)> {
        if !self.up || !self.source.greeted {
            return Ok(false);
        }
        let mut any = false;
        for _ in 0..count {
            let next = self.target.applied + 1;
            let Some(queued) = self.source.queue.iter().find(|queued| queued.seq == next) else { break };
            any = true;
            let answer = match self.target.apply(&queued.rec, queued.tolerant) {
                Ok(answer) => answer,
                Err(fault) => {
                    return Err((Checker::Applicable, format!("record {next}: {fault} ({:?})", queued.rec)));
                }
            };
            self.target.applied = next;
            let shows = queued.shows.clone();
            crate::say!(self.source, "    applied {next}");
            if let (Some(answer), Some(open)) = (answer, self.source.questions.get_mut(&next)) {
                *open = Some(answer);
            }
            self.check_prefix(shows.as_deref())?;
        }
        Ok(any)
    }

    fn acknowledge(&mut self) -> bool {
        if !self.up || !self.source.greeted || self.target.applied <= self.source.applied {
            return false;
        }
        self.source.applied = self.target.applied;
        let applied = self.source.applied;
        self.source.queue.retain(|queued| queued.seq > applied);
        true
    }

    fn lane(&mut self, number: u32) -> bool {
        if !self.up || !self.source.greeted || self.source.lane.is_empty() {
            return false;
        }
        let index = number as usize % self.source.lane.len();
        let piece = self.source.lane.remove(index);
        crate::say!(self.source, "    lane {piece:?}");
        self.target.stage(&piece);
        true
    }

    fn cut(&mut self) {
        if self.up && self.source.greeted {
            self.source.watch();
        }
        self.up = false;
        self.source.greeted = false;
        // Answers and pieces on their way are lost.
        self.source.questions.retain(|_, answer| answer.is_none());
        for piece in std::mem::take(&mut self.source.lane) {
            for task in &mut self.source.tasks {
                if let State::Staging(staging) = &mut task.state
                    && staging.key == piece.key
                {
                    staging.todo.push_back((piece.block, piece.block + piece.data.len()));
                }
            }
        }
    }

    fn bypass(&mut self, on: bool) {
        self.source.bypass = on;
        if on {
            match self.source.gate {
                Gate::Clean => self.source.hold("bypass"),
                Gate::Pass(_) => self.source.all_dirty("bypass during a pass"),
                Gate::Due | Gate::Held(_) => {}
            }
        }
    }

    fn lose_target(&mut self, number: u32) {
        let all = self.target.store.directories();
        let (dir, _) = all[number as usize % all.len()];
        let mode = EXTRA_MODE + u32::try_from(self.extras.len()).unwrap_or(0);
        let name = Name::new(format!("x{}", self.extras.len()).as_bytes()).expect("a valid name");
        let ino = self.target.store.alloc(number.is_multiple_of(3), mode, 1);
        self.target.store.attach(dir, &name, ino);
        self.extras.push(mode);
        // What a power cut leaves: content that is not what the times say.
        if number.is_multiple_of(2)
            && let Some(file) = self.target.store.files().get(number as usize % 7).copied()
        {
            self.target.store.at_mut(file).write(0, &[u32::MAX]);
        }
        self.target.coherent = false;
        self.cut();
        self.source.all_dirty("the target has lost its place");
    }

    /// Greets, and begins a pass if it is time.
    fn begin(&mut self) -> bool {
        if !self.up {
            return false;
        }
        let mut any = false;
        if !self.source.greeted {
            any = true;
            if self.source.anew {
                self.source.anew = false;
                // What is still queued then is so by mistake.
                self.source.applied = self.source.queue.front().map_or(self.source.next_seq, |queued| queued.seq) - 1;
                self.target.begin(self.source.applied);
            } else {
                self.source.applied = self.target.applied;
            }
            let applied = self.source.applied;
            // All that is queued is sent from here on.
            self.source.shadow = None;
            self.source.queue.retain(|queued| queued.seq > applied);
            self.source.questions.retain(|seq, _| *seq > applied);
            self.source.greeted = true;
        }
        let before = self.source.pass;
        let empty = self.target.store.is_empty();
        self.source.begin(empty);
        any || self.source.pass != before
    }

    fn is_quiet(&self) -> bool {
        matches!(self.source.gate, Gate::Clean) && self.source.queue.is_empty() && self.source.is_coherent()
    }

    /// Faults stop: everything comes together.
    pub fn settle(&mut self, random: &mut Random) -> Checked {
        crate::say!(self.source, "faults stop");
        self.up = true;
        self.source.bypass = false;
        if self.rounds(20_000, random)? {
            return self.check_equal();
        }
        let gate = match &self.source.gate {
            Gate::Due => "everything is due".to_owned(),
            Gate::Held(_) => "held".to_owned(),
            Gate::Pass(pass) => format!("a pass waits for {} things", pass.waiting()),
            Gate::Clean => "clean".to_owned(),
        };
        Err((Checker::Convergence, format!("it does not come to an end: {gate}, {} queued", self.source.queue.len())))
    }

    /// Replication goes on; whether it comes to rest.
    fn rounds(&mut self, most: u32, random: &mut Random) -> Result<bool, (Checker, String)> {
        let mut idle = 0;
        for round in 0..most {
            if self.is_quiet() {
                return Ok(true);
            }
            let number = u32::try_from(random.below(1 << 20)).unwrap_or(0);
            let any = match round % 8 {
                0 => self.begin(),
                1 => self.deliver(3)?,
                2 => self.acknowledge(),
                3 => self.lane(number),
                _ => self.work(number),
            };
            self.source.tree.sweep(&self.source.disk);
            self.check()?;
            idle = if any { 0 } else { idle + 1 };
            if idle > 200 {
                break;
            }
        }
        Ok(false)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.source.counts
    }
}
