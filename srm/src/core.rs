//! Everything of the SRM that changes, under one lock: numbers, backlog, gate, waiting replies, what is known of the
//! connection. Transitions stand here; reading, sending and waiting do not.

use crate::Config;
use crate::backlog::Backlog;
use crate::gate::{Gate, Pass};
use crate::replies::{Replies, Reply};
use crate::status::{CommitMode, PassProgress};
use platform::{random, sys};
use protocol::{Answer, Draft, Incarnation, ReplicaId, SeqNo};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// What a submitted operation waits for: a number, or nothing where it was absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a ticket is committed, or the application is never answered"]
pub struct Ticket(pub(crate) Option<SeqNo>);

impl Ticket {
    /// Waits for nothing.
    pub const NONE: Self = Self(None);
}

/// What is known of the connection.
#[derive(Debug)]
pub(crate) enum Link {
    /// None yet.
    Setup,
    /// Up: the target answered the greeting.
    Up,
    /// Lost at this time.
    Down(Instant),
    /// The target said no.
    Refused,
}

#[allow(clippy::struct_excessive_bools)] // independent facts, each named where it stands
pub(crate) struct Core {
    pub backlog: Backlog,
    pub gate: Gate,
    pub replies: Replies,
    /// Replies that the clock thread gives because their mode degraded under somebody's lock.
    pub released: Vec<Reply>,
    pub incarnation: Incarnation,
    /// Changes whenever the connection must begin anew.
    pub generation: u64,
    pub link: Link,
    pub replica: Option<ReplicaId>,
    pub applied: SeqNo,
    pub durable: SeqNo,
    /// The replica is coherent once this is applied; `None` while nobody knows.
    pub coherent_at: Option<SeqNo>,
    pub mode: CommitMode,
    pub degraded: bool,
    /// Questions to the target that a pass waits for.
    pub questions: HashMap<SeqNo, SyncSender<Answer>>,
    pub passes_begun: u64,
    pub passes_done: u64,
    /// Content is to be compared, whatever attributes say.
    pub by_content: bool,
    /// The next pass begins no sooner (a replica that damages again and again is not compared without pause).
    pub not_before: Option<Instant>,
    pub pause: Duration,
    pub progress: PassProgress,
    pub blocked: Option<String>,
    pub last_error: Option<String>,
    pub connections: u64,
    pub operations: BTreeMap<&'static str, u64>,
    pub sent_operations: BTreeMap<&'static str, u64>,
    pub sent_bytes: u64,
    pub written_bytes: u64,
    /// Operations that were absorbed since everything became dirty, and since when.
    pub absorbed: u64,
    pub absorbed_bytes: u64,
    pub absorbed_since: Option<u64>,
    /// No more operations come; the connection says goodbye when everything is sent.
    pub closing: bool,
    /// The target has said goodbye: everything is there and durable.
    pub finished: bool,
    /// When an acknowledgement last moved on.
    pub progress_at: Instant,
    /// The daemon ends: threads stop.
    pub stopped: bool,
}

/// The pause before a pass after the first damage; doubled with each one that follows soon.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Core {
    pub fn new(config: &Config) -> io::Result<Self> {
        Ok(Self {
            backlog: Backlog::new(config.backlog_bytes),
            gate: Gate::Due,
            replies: Replies::default(),
            released: Vec::new(),
            incarnation: new_incarnation()?,
            generation: 1,
            link: Link::Setup,
            replica: config.replica,
            applied: SeqNo::ZERO,
            durable: SeqNo::ZERO,
            coherent_at: None,
            mode: config.commit,
            degraded: false,
            questions: HashMap::new(),
            passes_begun: 0,
            passes_done: 0,
            by_content: config.clean_end_secs.is_none(),
            not_before: None,
            pause: FIRST_PAUSE,
            progress: PassProgress::default(),
            blocked: None,
            last_error: None,
            connections: 0,
            operations: BTreeMap::new(),
            sent_operations: BTreeMap::new(),
            sent_bytes: 0,
            written_bytes: 0,
            absorbed: 0,
            absorbed_bytes: 0,
            absorbed_since: None,
            closing: false,
            finished: false,
            progress_at: Instant::now(),
            stopped: false,
        })
    }

    /// Numbers and queues a record, whatever the gate says. `None`: the backlog was full, and everything is dirty now.
    pub fn push(&mut self, draft: Draft) -> Option<SeqNo> {
        let tolerant = matches!(self.gate, Gate::Pass(_));
        let word = draft.word();
        if let Some(seq) = self.backlog.push(draft, sys::now_ns(), tolerant) {
            *self.sent_operations.entry(word).or_default() += 1;
            return Some(seq);
        }
        self.all_dirty("the backlog is full; source and target will be compared");
        None
    }

    /// An operation is not sent: what it changed is dirty, and a pass will come to it.
    pub fn absorb(&mut self, bytes: usize) -> Ticket {
        self.absorbed += 1;
        self.absorbed_bytes += bytes as u64;
        self.absorbed_since.get_or_insert_with(sys::now_ns);
        Ticket::NONE
    }

    /// Continuity is lost: the whole backlog is swallowed (R1) and a new run of numbers begins with the next greeting
    /// (R2). The connection is to begin anew.
    pub fn all_dirty(&mut self, why: &str) {
        tracing::warn!(event = "mirror-due", why, "everything is to be compared");
        self.last_error = Some(why.to_owned());
        let swallowed = self.backlog.operations();
        if swallowed > 0 {
            let since = self.backlog.oldest_stamp();
            self.absorbed += swallowed;
            self.absorbed_bytes += self.backlog.bytes();
            self.absorbed_since = self.absorbed_since.or(since);
        }
        self.backlog.clear();
        self.gate = Gate::Due;
        self.coherent_at = None;
        self.by_content = true;
        self.blocked = None;
        // The senders are dropped: who waits for an answer learns that none comes.
        self.questions.clear();
        self.generation += 1;
        self.release_replies();
    }

    /// The replica turned out not to be what it should be.
    pub fn damaged(&mut self, why: &str, now: Instant) {
        self.all_dirty(why);
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Begins a new run of numbers for a connection that finds everything dirty.
    pub fn begin_incarnation(&mut self) {
        assert!(self.backlog.operations() == 0, "a dirty source has no backlog");
        match new_incarnation() {
            Ok(incarnation) => self.incarnation = incarnation,
            // The kernel has no random bytes: count on from the last ones, which are as unknown to the target.
            Err(_) => {
                self.incarnation =
                    Incarnation::from_bytes((u128::from_le_bytes(self.incarnation.to_bytes()) + 1).to_le_bytes());
            }
        }
        self.applied = self.backlog.newest();
        self.durable = self.backlog.newest();
    }

    /// A pass begins; what it finds out about is no longer counted as absorbed.
    pub fn begin_pass(&mut self, target_empty: bool, target_clean: bool, clean_end_secs: Option<i64>) -> u64 {
        self.passes_begun += 1;
        let by_content = self.by_content || !target_clean;
        let clean_secs = clean_end_secs.unwrap_or(i64::MIN);
        self.gate = Gate::Pass(Box::new(Pass::new(self.passes_begun, target_empty, by_content, clean_secs)));
        self.progress = PassProgress::default();
        self.absorbed = 0;
        self.absorbed_bytes = 0;
        self.absorbed_since = None;
        self.passes_begun
    }

    /// Replies wait for no target any more; the clock thread gives them.
    pub fn release_replies(&mut self) {
        let due = self.replies.release_all();
        self.released.extend(due);
    }

    /// Whether replies wait for the target now: R12, "acknowledged means applied on a coherent target".
    pub fn waits(&self) -> bool {
        self.mode == CommitMode::Sync && !self.degraded && self.is_coherent()
    }

    /// Whether the replica is a state that the source had.
    pub fn is_coherent(&self) -> bool {
        matches!(self.gate, Gate::Clean) && self.coherent_at.is_some_and(|at| at <= self.applied)
    }

    /// The replica is as it should be after a pass: the next damage is not held against it.
    pub fn forgive(&mut self) {
        self.pause = FIRST_PAUSE;
        self.not_before = None;
    }

    pub fn count(&mut self, word: &'static str) {
        *self.operations.entry(word).or_default() += 1;
    }
}

fn new_incarnation() -> io::Result<Incarnation> {
    Ok(Incarnation::from_bytes(random::bytes()?))
}
