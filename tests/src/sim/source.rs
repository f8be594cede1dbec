//! The source: its disk, what is known of it, the map, the queue of records. Transitions of the gate stand here.

use super::bug::Bug;
use super::node::{H, Tree};
use super::record::{Answer, At, Content, Ensure, Piece, Rec};
use super::store::{Snapshot, Store};
use super::work::Task;
use protocol::{Name, SeqNo};
use srm::map::{Gate, Handle, Held, Lost, Pass, Shadow};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Instant;

/// Bounds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records that the queue takes.
    pub queue: usize,
    /// Entries that are remembered while nothing is sent.
    pub held: usize,
    /// Workers of a pass.
    pub workers: usize,
    /// Files of at least so many blocks are staged.
    pub staged: usize,
}

/// A record that is numbered and not known to be applied.
pub struct Queued {
    /// Its number.
    pub seq: u64,
    /// What.
    pub rec: Rec,
    /// The replica is under repair.
    pub tolerant: bool,
    /// What the target is to show after it, where that is known.
    pub shows: Option<Rc<Snapshot>>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Blocks of content that were sent.
    pub blocks: u64,
    /// Passes over everything.
    pub full: u64,
    /// Passes over what was remembered.
    pub partial: u64,
    /// Steps of reshaping.
    pub steps: u64,
    /// Records.
    pub records: u64,
    /// Directories whose whole content was looked at because too much was remembered below them.
    pub folded: u64,
    /// Files that were staged and put in place.
    pub staged: u64,
    /// Queues that were given up for what changed.
    pub swallowed: u64,
}

/// See the module.
pub struct Source {
    /// SRC.
    pub disk: Store,
    /// Known nodes.
    pub tree: Tree,
    /// The map.
    pub gate: Gate<H>,
    /// Numbered records that are not known to be applied.
    pub queue: VecDeque<Queued>,
    /// What is queued since the link was cut, as if it were held, and the number that it begins behind.
    pub shadow: Option<(Shadow<H>, u64)>,
    /// The number that is given out next.
    pub next_seq: u64,
    /// As acknowledged.
    pub applied: u64,
    /// The greeting has been answered.
    pub greeted: bool,
    /// The next greeting begins a new run of numbers.
    pub anew: bool,
    /// Nothing is to be sent.
    pub bypass: bool,
    /// The target is coherent once this is applied.
    pub coherent_at: Option<u64>,
    /// Number of the last pass.
    pub pass: u64,
    /// Answers that are waited for.
    pub questions: BTreeMap<u64, Option<Answer>>,
    /// Pieces of content on their way.
    pub lane: Vec<Piece>,
    /// Work in hand.
    pub tasks: Vec<Task>,
    /// Nodes whose content is being staged, by inode number.
    pub staging: BTreeSet<u64>,
    /// Keys for staging that were given out.
    pub keys: u64,
    /// Digests of all states that the source had.
    pub history: BTreeSet<u64>,
    /// What was counted.
    pub counts: Counts,
    /// Bounds.
    pub bounds: Bounds,
    /// A bug that is switched on.
    pub bug: Option<Bug>,
    /// What happened, if somebody wants to know.
    pub trace: Option<Vec<String>>,
    /// The clock that times come from.
    pub clock: u64,
    /// Numbers for what is written.
    pub writes: u32,
}

/// Adds a line to the trace.
#[macro_export]
macro_rules! say {
    ($source:expr, $($arg:tt)*) => {
        if let Some(trace) = &mut $source.trace {
            trace.push(format!($($arg)*));
        }
    };
}

/// The time that nothing in the simulation depends on.
pub fn now() -> Instant {
    Instant::now()
}

impl Source {
    /// A source that begins, with nothing on it.
    pub fn new(bounds: Bounds, bug: Option<Bug>, traced: bool) -> Self {
        let disk = Store::default();
        Self {
            tree: Tree::new(&disk),
            disk,
            gate: Gate::Due,
            queue: VecDeque::new(),
            shadow: None,
            next_seq: 1,
            applied: 0,
            greeted: false,
            anew: true,
            bypass: false,
            coherent_at: None,
            pass: 0,
            questions: BTreeMap::new(),
            lane: Vec::new(),
            tasks: Vec::new(),
            staging: BTreeSet::new(),
            keys: 0,
            history: BTreeSet::new(),
            counts: Counts::default(),
            bounds,
            bug,
            trace: traced.then(Vec::new),
            clock: 1,
            writes: 0,
        }
    }

    /// Whether this bug is on.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// A new time.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Notes the state that the source has now.
    pub fn note(&mut self) {
        let digest = self.disk.snapshot().digest();
        self.history.insert(digest);
    }

    /// Numbers a record. `None`: it did not fit, and the gate is another now.
    pub fn push(&mut self, rec: Rec) -> Option<u64> {
        if matches!(self.gate, Gate::Due) {
            return None;
        }
        if self.queue.len() >= self.bounds.queue {
            self.full();
            return None;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.counts.records += 1;
        self.counts.blocks += blocks(&rec);
        let clean = matches!(self.gate, Gate::Clean);
        let shows = clean.then(|| Rc::new(self.disk.snapshot()));
        let tolerant = matches!(self.gate, Gate::Pass(_));
        say!(self, "    {seq}{} {rec:?}", if tolerant { "~" } else { "" });
        self.queue.push_back(Queued { seq, rec, tolerant, shows });
        Some(seq)
    }

    /// Counts content that is sent.
    pub fn count_blocks(&mut self, data: &[u32]) {
        self.counts.blocks += written(data);
    }

    /// The queue is full.
    fn full(&mut self) {
        if !matches!(self.gate, Gate::Clean) {
            self.all_dirty("the queue is full");
        } else if !self.swallow() {
            self.hold("the queue is full");
        }
    }

    /// The link is cut: what is queued from now on is remembered as well.
    pub fn watch(&mut self) {
        if matches!(self.gate, Gate::Clean) && self.shadow.is_none() {
            let at = self.next_seq - 1;
            self.shadow = Some((Shadow::new(self.bounds.held, SeqNo::new(at)), at));
        }
    }

    /// Tells of the record that was numbered last, if it is to be told of.
    pub fn tell(&mut self, change: impl FnOnce(&mut Held<H>) -> Result<(), Lost>) {
        if let (Some((shadow, _)), Gate::Clean) = (&mut self.shadow, &self.gate) {
            shadow.tell(SeqNo::new(self.next_seq - 1), change);
        }
    }

    /// What is queued since the link was cut is given up for what changed. `false`: that is not known.
    fn swallow(&mut self) -> bool {
        let Some((shadow, at)) = self.shadow.take() else { return false };
        let Some(taken) = shadow.take(SeqNo::new(self.next_seq - 1)) else { return false };
        say!(self, "    swallowed behind {at}");
        self.counts.swallowed += 1;
        if self.has(Bug::FoldSent) {
            // As if the target had not got what it has not acknowledged.
            self.queue.clear();
            self.next_seq = self.applied + 1;
        } else if !self.has(Bug::KeepFolded) {
            let unsent = self.queue.iter().filter(|queued| queued.seq > at);
            self.counts.blocks -= unsent.map(|queued| blocks(&queued.rec)).sum::<u64>();
            self.queue.retain(|queued| queued.seq <= at);
            self.next_seq = at + 1;
        }
        self.questions.retain(|seq, _| *seq <= at);
        taken.forsaken.iter().for_each(|node| node.orphan.set(false));
        self.gate = Gate::Held(taken.held);
        true
    }

    /// Nothing is sent from now on, and what changes is remembered.
    pub fn hold(&mut self, why: &str) {
        say!(self, "    held: {why}");
        self.shadow = None;
        self.gate = Gate::Held(Box::new(Held::new(self.bounds.held)));
    }

    /// Everything is dirty.
    pub fn all_dirty(&mut self, why: &str) {
        say!(self, "    everything is dirty: {why}");
        if !self.has(Bug::ReplayAfterFold) {
            self.queue.clear();
        }
        self.shadow = None;
        self.gate = Gate::Due;
        self.coherent_at = None;
        self.questions.clear();
        self.tasks.clear();
        self.staging.clear();
        self.lane.clear();
        self.greeted = false;
        self.anew = true;
    }

    /// What could not be remembered makes everything dirty.
    pub fn remembered(&mut self, result: Result<(), Lost>) {
        if let Err(lost) = result
            && !(lost == Lost::Full && self.has(Bug::HeldTooMuch))
        {
            self.all_dirty(&format!("cannot be remembered: {lost:?}"));
        }
    }

    /// The pass that runs.
    pub fn passing(&mut self) -> Option<&mut Pass<H>> {
        match &mut self.gate {
            Gate::Pass(pass) => Some(pass),
            _ => None,
        }
    }

    /// Whether the status says that the replica is coherent.
    pub fn is_coherent(&self) -> bool {
        matches!(self.gate, Gate::Clean) && self.coherent_at.is_some_and(|at| at <= self.applied)
    }

    /// A node's modification time; of one that is gone whatever.
    pub fn mtime_of(&self, node: &H) -> u64 {
        self.disk.get(node.ino()).map_or(0, |inode| inode.mtime)
    }

    /// How many names a node has, known or not.
    pub fn nlink(&self, node: &H) -> u32 {
        if self.tree.is_current(&self.disk, node) { self.disk.at(node.ino()).links } else { 0 }
    }

    /// Where a node is on the target now, if it has a name there that is known.
    pub fn place(&self, node: &H) -> Option<At> {
        let right = match &self.gate {
            Gate::Pass(pass) => pass.right_link(node),
            _ => None,
        };
        let path = match right {
            Some((dir, name)) => super::node::path_in(&dir, &name),
            None => node.path(),
        };
        path.map(At::Path).or_else(|| node.orphan.get().then_some(At::Orphan))
    }
}

/// Blocks that are no holes.
fn written(data: &[u32]) -> u64 {
    data.iter().filter(|block| **block != 0).count() as u64
}

/// Blocks of content in a record.
fn blocks(rec: &Rec) -> u64 {
    match rec {
        Rec::Write { data, .. } | Rec::Ensure(Ensure { content: Content::Whole(data), .. }) => written(data),
        _ => 0,
    }
}

/// The path of a name.
pub fn text(dir: &H, name: &Name) -> String {
    super::node::path_in(dir, name).map_or_else(|| format!("?/{name}"), |path| path.to_string())
}
