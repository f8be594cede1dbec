//! Everything of the SRM that changes, under one lock: numbers, backlog, gate, waiting replies, what is known of the
//! connection. Transitions stand here; reading, sending and waiting do not.

use crate::Config;
use crate::away::Away;
use crate::backlog::{Backlog, Full};
use crate::commit::{Commit, Marks};
use crate::hot::{Checkpoint, Hot};
use crate::incoherent::Incoherent;
use crate::lanes::Lanes;
use crate::map::Progress;
use crate::map::{Gate, Held, Lost, Pass, Scope, Touch};
use crate::pass::Share;
use crate::remote::Remote;
use crate::replies::{Replies, Reply};
use crate::sending::Sending;
use crate::stand::StandFile;
use crate::status::CommitMode;
use bytes::Bytes;
use platform::tree::Node;
use platform::{machine, random, sys};
use protocol::{Answer, Draft, Incarnation, Mark, Op, Phase, Position, ReplicaId, SeqNo};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// What a submitted operation waits for: a number, or nothing where it was absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a ticket is committed, or the application is never answered"]
pub struct Ticket {
    pub(crate) seq: Option<SeqNo>,
    /// The application asked for what it did to be durable.
    pub(crate) syncs: bool,
}

impl Ticket {
    /// Waits for nothing.
    pub const NONE: Self = Self { seq: None, syncs: false };

    pub(crate) fn of(seq: SeqNo) -> Self {
        Self { seq: Some(seq), syncs: false }
    }

    /// The same of an operation that asks for durability.
    pub(crate) fn syncing(self, syncs: bool) -> Self {
        Self { syncs: syncs && self.seq.is_some(), ..self }
    }
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
    /// The newest number of which an application that asked for it to be durable was answered (R11).
    pub synced: Arc<AtomicU64>,
    pub gate: Gate<Arc<Node>>,
    pub replies: Replies,
    /// Replies that the clock thread gives because their mode degraded under somebody's lock.
    pub released: Vec<Reply>,
    pub incarnation: Incarnation,
    /// What the next daemon is to know if this one is killed; with a journal only.
    pub stand: Option<StandFile>,
    /// What is known of what is queued since the connection was lost, while everything is clean.
    pub away: Option<Box<Away>>,
    /// Changes whenever the connection must begin anew.
    pub generation: u64,
    pub link: Link,
    pub replica: Option<ReplicaId>,
    pub applied: SeqNo,
    pub durable: SeqNo,
    /// The replica is coherent once this is applied; `None` while nobody knows.
    pub coherent_at: Option<SeqNo>,
    /// Where the replica is not a prefix.
    pub incoherent: Incoherent,
    pub commit: Commit,
    /// What may be sent now, and what is held.
    pub sending: Sending,
    /// What `near` measures by.
    pub marks: Marks,
    pub degraded: bool,
    /// What the target is asked to do first.
    pub remote: Remote,
    /// Questions to the target that a pass, or a proposal, waits for.
    pub questions: HashMap<SeqNo, SyncSender<Answer>>,
    /// Questions that were acknowledged and not answered, since a pass began.
    pub unanswered: usize,
    /// When the last pass began.
    pub pass_began: Instant,
    pub passes_begun: u64,
    pub passes_done: u64,
    /// Content is to be compared, whatever attributes say.
    pub by_content: bool,
    /// While everything is dirty: what has not changed since (seconds since 1970) is known to be on the target, as long as
    /// that has what it acknowledged.
    pub same_before: Option<i64>,
    /// The runs of numbers in one of which the target is, if it has what it is to have, and what it is to have of each.
    pub left: Vec<(Incarnation, SeqNo)>,
    /// What may be half-written after a power cut.
    pub hot: Arc<Hot>,
    /// There was one: what is hot is compared by content too.
    pub power_was_lost: bool,
    /// The user switched replication off (S16): what changes is remembered, and nothing is repaired.
    pub bypass: bool,
    /// A thread is about to begin catching up.
    pub catching_up: bool,
    /// What the target found damaged lately.
    pub damages: crate::damage::Damages,
    /// What the target could not carry out.
    pub flags: crate::flags::Flags,
    /// How much the target has had written to the log lately.
    pub loudness: crate::said::Loudness,
    /// What is beside the ordered stream; locked after this.
    lanes: Arc<Lanes>,
    /// The next pass begins no sooner (a replica that damages again and again is not compared without pause).
    pub not_before: Option<Instant>,
    pub pause: Duration,
    pub progress: Progress,
    pub blocked: Option<String>,
    /// What the target's applier is long at, by its own word.
    pub slow: Option<Slow>,
    /// The target has tried for the retry bound and can carry out nothing at all.
    pub halted: Option<crate::flags::Flag>,
    pub last_error: Option<String>,
    pub connections: u64,
    pub operations: BTreeMap<&'static str, u64>,
    pub sent_operations: BTreeMap<&'static str, u64>,
    pub sent_bytes: u64,
    /// When something was last taken to be sent.
    pub sent_at: Option<Instant>,
    pub written_bytes: u64,
    /// Operations that were absorbed since everything became dirty, and since when.
    pub absorbed: u64,
    pub absorbed_bytes: u64,
    pub absorbed_since: Option<u64>,
    /// Most bytes of live operations that may be queued while a degraded mode comes back, or a pass starves; see `room`.
    pub pace: Option<u64>,
    /// What a pass has queued.
    pub share: Share,
    /// The number with which the present repair, or the last one, began.
    pub repair_began: SeqNo,
    /// No more operations come; the connection says goodbye when everything is sent.
    pub closing: bool,
    /// The target has said goodbye: everything is there and durable.
    pub finished: bool,
    /// When an acknowledgement last moved on.
    pub progress_at: Instant,
    /// The daemon ends: threads stop.
    pub stopped: bool,
}

/// The target said that it has been at one record for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    /// What it said.
    pub said: protocol::Busy,
    /// When.
    pub heard: Instant,
}

/// What is known when a pass over everything begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Nothing is on the target.
    pub target_empty: bool,
    /// The target was left after a clean end.
    pub target_clean: bool,
    /// The target has what it had acknowledged.
    pub continuous: bool,
    /// When the source last ended clean.
    pub clean_end_secs: Option<i64>,
}

/// The most entries that are remembered while nothing is sent.
const MOST_HELD: usize = 1 << 16;
/// What each of them takes of the backlog at the most, when the target's names are brought back.
const HELD_BYTES: u64 = 1024;

pub(crate) fn held_limit(backlog_bytes: u64) -> usize {
    usize::try_from(backlog_bytes / HELD_BYTES / 2).unwrap_or(MOST_HELD).min(MOST_HELD)
}

/// Now, on the source's clock, since 1970.
pub(crate) fn seconds() -> i64 {
    i64::try_from(sys::now_ns() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// The pause before a pass after the first damage; doubled with each one that follows soon.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Core {
    pub fn new(config: &Config, lanes: Arc<Lanes>) -> io::Result<Self> {
        Ok(Self {
            backlog: Backlog::new(config.backlog_bytes),
            synced: Arc::default(),
            gate: Gate::Due,
            replies: Replies::default(),
            released: Vec::new(),
            incarnation: new_incarnation()?,
            stand: None,
            away: None,
            generation: 1,
            link: Link::Setup,
            replica: config.replica,
            applied: SeqNo::ZERO,
            durable: SeqNo::ZERO,
            coherent_at: None,
            incoherent: Incoherent::default(),
            commit: config.commit,
            sending: Sending::default(),
            marks: Marks::default(),
            degraded: false,
            remote: Remote::default(),
            questions: HashMap::new(),
            unanswered: 0,
            pass_began: machine::now(),
            passes_begun: 0,
            passes_done: 0,
            by_content: config.clean_end_secs.is_none(),
            same_before: None,
            left: Vec::new(),
            hot: Arc::default(),
            power_was_lost: false,
            bypass: false,
            catching_up: false,
            damages: crate::damage::Damages::default(),
            flags: crate::flags::Flags::default(),
            loudness: crate::said::Loudness::default(),
            lanes,
            not_before: None,
            pause: FIRST_PAUSE,
            progress: Progress::default(),
            blocked: None,
            slow: None,
            halted: None,
            last_error: None,
            connections: 0,
            operations: BTreeMap::new(),
            sent_operations: BTreeMap::new(),
            sent_bytes: 0,
            sent_at: None,
            written_bytes: 0,
            absorbed: 0,
            absorbed_bytes: 0,
            absorbed_since: None,
            pace: None,
            share: Share::default(),
            repair_began: SeqNo::ZERO,
            closing: false,
            finished: false,
            progress_at: machine::now(),
            stopped: false,
        })
    }

    /// Numbers and queues a record, whatever the gate says. `None`: the backlog was full. While everything was sent, what
    /// comes from now on is remembered instead (the caller's own operation too, by the caller); during a pass everything is
    /// dirty now.
    pub fn push(&mut self, draft: Draft) -> Option<SeqNo> {
        let tolerant = matches!(self.gate, Gate::Pass(_));
        let word = if draft.phase() == Phase::Proposed { "propose" } else { draft.word() };
        let (now, before) = (sys::now_ns(), self.backlog.bytes());
        let synced = SeqNo::new(self.synced.load(Ordering::SeqCst));
        let draft = draft.after(synced, self.backlog.newest().next());
        let (bound, full) = match self.backlog.push(draft, now, tolerant) {
            Ok(seq) => {
                // A clock that is put back makes nothing younger.
                self.marks.numbered(seq, self.backlog.bytes() - before, machine::steady_ns());
                self.count_held(self.backlog.bytes() - before);
                *self.sent_operations.entry(word).or_default() += 1;
                return Some(seq);
            }
            Err(Full::Bound) => (true, "the backlog is full".to_owned()),
            Err(Full::Journal(error)) => {
                self.last_error = Some(error.clone());
                (false, error)
            }
        };
        match self.gate {
            Gate::Clean => {
                if !(bound && self.swallow()) {
                    self.hold(&format!("{full}; what changes from here on is remembered, and mended later"));
                }
            }
            Gate::Held(_) => {}
            Gate::Due | Gate::Pass(_) => self.lose(&format!("{full}; source and target will be compared")),
        }
        None
    }

    /// Nothing more is sent; what is queued still is, and what changes from now on is remembered one by one.
    pub fn hold(&mut self, why: &str) {
        assert!(matches!(self.gate, Gate::Clean), "only what is clean can be held");
        tracing::warn!(event = "held", why, "changes are remembered");
        let held = Box::new(Held::new(held_limit(self.backlog.limit_bytes())));
        self.hold_as(held, seconds() - 2);
    }

    /// What changes is remembered from now on beside what is remembered already. `same_before`: what has not changed since (seconds since 1970) is known to be
    /// on the target once it has what is queued.
    pub fn hold_as(&mut self, held: Box<Held<Arc<Node>>>, same_before: i64) {
        self.away = None;
        self.gate = Gate::Held(held);
        self.same_before = Some(same_before);
        self.coherent_at = None;
        // What was noted last stays: an operation that is under way may have changed something before now, and is not queued.
        self.release_replies();
    }

    /// An operation is not sent: what it changed is dirty.
    pub fn absorb(&mut self, bytes: usize) -> Ticket {
        self.absorbed += 1;
        self.absorbed_bytes += bytes as u64;
        self.absorbed_since.get_or_insert_with(sys::now_ns);
        self.count_held(bytes as u64);
        Ticket::NONE
    }

    /// A change of a node's data or attributes is not sent.
    pub fn absorb_touch(&mut self, node: &Arc<Node>, touch: Touch, bytes: usize) -> Ticket {
        let remembered = self.gate.absorb(node, touch);
        self.settle_held(remembered);
        self.absorb(bytes)
    }

    /// What follows when something could not be remembered.
    pub fn settle_held(&mut self, remembered: Result<(), Lost>) {
        match remembered {
            Ok(()) => {}
            Err(Lost::Full) => self.lose("too much has changed to remember it one by one; all will be compared"),
            Err(Lost::Nameless) => self.lose("a file was changed through no known name; all will be compared"),
        }
    }

    /// What was remembered is given up, or what was clean is doubted by name only: everything is to be compared, but what did
    /// not change since is known to be right where the target has it.
    pub fn lose(&mut self, why: &str) {
        let (by_content, power_was_lost) = (self.by_content, self.power_was_lost);
        // What was queued before may not be there either.
        let queued = self.backlog.oldest_stamp().map(|ns| i64::try_from(ns / 1_000_000_000).unwrap_or(0) - 2);
        let held = match self.gate {
            Gate::Held(_) => self.same_before,
            // One that trusts what is older: so does the next.
            Gate::Pass(_) if !by_content => self.same_before,
            Gate::Clean if self.is_coherent() => Some(seconds() - 2),
            _ => None,
        };
        let since = held.map(|secs| queued.map_or(secs, |queued| queued.min(secs)));
        if since.is_none() {
            return self.all_dirty(why);
        }
        self.begin_anew(why);
        (self.same_before, self.by_content, self.power_was_lost) = (since, by_content, power_was_lost);
    }

    /// The target's machine has lost power: what changed since the last checkpoint, of which it has all, is compared. `false`: there is no such
    /// checkpoint, or more than that is in doubt.
    pub fn target_lost_power(&mut self, position: Position) -> bool {
        let certain = match &self.gate {
            Gate::Clean | Gate::Held(_) => true,
            Gate::Pass(pass) => pass.is_over_all() && pass.trusts_target && !pass.by_content && !pass.doubts,
            Gate::Due => false,
        };
        let checkpoint = self.hot.checkpoint().filter(|checkpoint| self.goes_back_to(checkpoint, position));
        let Some(checkpoint) = checkpoint.filter(|_| certain) else { return false };
        self.begin_anew("the target's machine has lost power; what changed since the last checkpoint is compared");
        self.go_back_to(&checkpoint);
        true
    }

    fn goes_back_to(&self, checkpoint: &Checkpoint, position: Position) -> bool {
        let run = position.incarnation;
        (run == checkpoint.incarnation && position.applied >= checkpoint.seq) || self.hot.runs().contains(&run)
    }

    /// Everything is dirty: what has not changed since this checkpoint, and is not hot, is known to be on the target.
    pub fn go_back_to(&mut self, checkpoint: &Checkpoint) {
        (self.same_before, self.by_content, self.power_was_lost) = (Some(checkpoint.secs - 2), false, true);
        self.left = vec![(checkpoint.incarnation, checkpoint.seq)];
        self.left.extend(self.hot.runs().into_iter().map(|run| (run, SeqNo::ZERO)));
    }

    /// The journal cannot be read: what was queued may be missing on the target.
    pub fn journal_failed(&mut self, error: &journal::ReadError) {
        tracing::error!(event = "journal-damaged", %error, "the journal is damaged");
        self.all_dirty(&format!("the journal is damaged ({error}); source and target will be compared"));
    }

    /// Writes down what the next daemon is to know: since when changes may be nowhere but on the source. `None`: that is not known, and content is to be
    /// compared.
    pub fn note_stand(&mut self, since: Option<i64>) {
        let Some(file) = &mut self.stand else { return };
        if let Err(error) = file.note(self.incarnation, since) {
            tracing::error!(event = "journal-stand", %error, "the journal serves no later daemon any more");
            self.stand = None;
        }
    }

    /// Continuity is lost, and so is all that was known of the target.
    pub fn all_dirty(&mut self, why: &str) {
        // A daemon that comes after a power cut is not to believe it either.
        self.hot.forget(why);
        self.begin_anew(why);
    }

    /// Continuity is lost: the whole backlog is swallowed (R1) and a new run of numbers begins with the next greeting
    /// (R2). The connection is to begin anew.
    fn begin_anew(&mut self, why: &str) {
        tracing::warn!(event = "mirror-due", why, "everything is to be compared");
        self.last_error = Some(why.to_owned());
        let swallowed = self.backlog.operations();
        if swallowed > 0 {
            let since = self.backlog.oldest_stamp();
            self.absorbed += swallowed;
            self.absorbed_bytes += self.backlog.bytes();
            self.absorbed_since = self.absorbed_since.or(since);
        }
        // Before anything of it may be used again.
        self.note_stand(None);
        self.away = None;
        self.backlog.clear();
        self.share = Share::default();
        self.marks = Marks::default();
        if !matches!(self.gate, Gate::Due) {
            self.left = vec![(self.incarnation, self.applied)];
        }
        self.gate = Gate::Due;
        self.coherent_at = None;
        self.incoherent.is_cut(self.applied);
        self.by_content = true;
        self.same_before = None;
        self.power_was_lost = false;
        self.blocked = None;
        self.halted = None;
        self.flags.clear();
        // The senders are dropped: who waits for an answer, or a verdict, learns that none comes.
        self.questions.clear();
        self.lanes.end_generation();
        self.generation += 1;
        self.release_replies();
    }

    /// Content beside the stream stands still, or goes on.
    pub fn hold_lanes(&self, hold: bool) {
        self.lanes.hold(hold);
    }

    /// The replica turned out not to be what it should be.
    pub fn damaged(&mut self, why: &str, now: Instant) {
        self.all_dirty(why);
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// The target said what cannot be: nothing that it told before counts. What it says until the connection begins anew changes nothing.
    pub fn doubted(&mut self, why: &str, now: Instant) {
        if !self.stopped && !matches!(self.gate, Gate::Due) {
            self.damaged(&format!("{why}; all will be compared"), now);
        }
    }

    /// Whether one more line of the log may be about what the target says.
    pub fn may_log(&mut self) -> bool {
        self.loudness.admits(machine::now())
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
        self.hot.run(self.incarnation);
        match self.backlog.begin(self.incarnation) {
            Ok(()) => self.note_stand(None),
            Err(error) => {
                tracing::error!(event = "journal", %error, "the journal cannot begin anew; the backlog is in memory only");
                self.last_error =
                    Some(format!("the journal cannot begin anew ({error}); the backlog is in memory only"));
                self.stand = None;
                self.backlog.without_journal();
            }
        }
    }

    /// A pass over everything begins. `continuous`: the target has what it had acknowledged.
    pub fn begin_pass_over_all(&mut self, known: Known) -> u64 {
        let mut pass = Pass::new(self.passes_begun + 1, Scope::All(HashSet::new()));
        pass.target_empty = known.target_empty;
        if let Some(secs) = self.same_before.filter(|_| known.continuous && !self.by_content) {
            (pass.source_clean_secs, pass.trusts_target) = (secs, true);
            pass.hot = self.power_was_lost.then(|| self.hot.set());
        } else {
            // Content decides from here on: what a daemon after a power cut would believe is not enough.
            self.hot.forget("source and target are compared by content");
            pass.by_content = self.by_content || !known.target_clean;
            pass.source_clean_secs = known.clean_end_secs.unwrap_or(i64::MIN);
        }
        self.begin_pass(pass)
    }

    /// Numbers the mark after which the replica is not a prefix until repair is over. The target sees it before anything that makes it so. `None`: the
    /// backlog was full.
    pub fn push_incoherent(&mut self) -> Option<SeqNo> {
        let seq = self.push(Draft::new(&Op::Mark(Mark::Incoherent), Bytes::new()))?;
        self.incoherent.begins(seq, self.applied);
        self.repair_began = seq;
        Some(seq)
    }

    /// A pass begins; what it finds out about is no longer counted as absorbed.
    pub fn begin_pass(&mut self, pass: Pass<Arc<Node>>) -> u64 {
        self.passes_begun += 1;
        self.pass_began = machine::now();
        self.share.begin();
        self.unanswered = 0;
        assert!(pass.number == self.passes_begun, "passes are numbered in their order");
        self.away = None;
        self.gate = Gate::Pass(Box::new(pass));
        self.lanes.begin_generation(self.passes_begun, self.incarnation);
        self.progress = Progress::default();
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
        match self.commit.mode {
            // What is waited for is on both sides: a target that goes away holds nobody up.
            CommitMode::Remote => self.can_propose(),
            mode => mode.waits() && !self.degraded && self.is_coherent(),
        }
    }

    /// What must be applied before the reply to this number may go out, in the mode that is asked for.
    pub fn needed(&self, seq: SeqNo) -> SeqNo {
        match self.commit.mode {
            CommitMode::Sync | CommitMode::Remote => seq,
            CommitMode::Near => self.marks.needed(seq, machine::steady_ns(), self.commit.near),
            CommitMode::Real | CommitMode::Local => SeqNo::ZERO,
        }
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
