//! What a connection to the target pulls from the SRM and reports to it. One connection at a time; it runs elsewhere.

use crate::Srm;
use crate::backlog::Window;
use crate::core::{Core, Known, Link, Slow};
use crate::map::Gate;
use crate::replies::Reply;
use crate::said::words;
use crate::status::CommitMode;
use platform::killpoint::{self, KillPoint};
use platform::{machine, sys};
use protocol::{
    Ack, Answer, Busy, Features, Frame, Hello, HelloAck, Refused, RelPath, SeqNo, Trouble, TroubleKind, VERSION,
};
use std::sync::Arc;
use std::time::Duration;

/// Bounds on what is sent and not yet applied.
const WINDOW: Window = Window { bytes: 8 << 20, operations: 8192 };

/// Recovered from a degraded mode when no more than this many operations are behind.
const CAUGHT_UP_OPERATIONS: u64 = 64;

/// So much is not held back to be sent with what comes next, while something is on its way.
const GATHERED_BYTES: u64 = 64 << 10;

/// So much is not held back on a line that carries nothing now. The heads of its packet are little beside it.
const LITTLE_BYTES: u64 = 4 << 10;

/// A line that something was sent on so long ago is idle.
const IDLE_AFTER: Duration = Duration::from_millis(1);

/// A target that is long at a record says so once a second: what it said so long ago does not hold any more.
const SLOW_HOLDS: Duration = Duration::from_secs(3);

/// Questions that may be acknowledged without an answer before all is compared; whoever waits for one asks again, or takes everything for different.
const MOST_UNANSWERED: usize = 64;

/// Bytes that a target's release may have.
const MOST_SOFTWARE_BYTES: usize = 256;

/// The target's greeting cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Greet again at once: the source has to begin a new run of numbers.
    Again,
    /// The target is not the one that was there before, or its greeting makes no sense.
    Replica(String),
}

/// The connection has to begin anew: the run of numbers it greeted with is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Restart;

impl Core {
    /// See [`Srm::gathers`].
    pub fn gathers(&self) -> bool {
        let nobody_waits = match self.commit.mode {
            CommitMode::Real | CommitMode::Local => true,
            CommitMode::Near => self.replies.is_empty(),
            CommitMode::Sync | CommitMode::Remote => false,
        };
        if !nobody_waits || self.closing || !matches!(self.gate, Gate::Clean) {
            return false;
        }
        let unsent = self.backlog.unsent_bytes();
        if self.backlog.in_flight() > 0 {
            return unsent < GATHERED_BYTES;
        }
        let sent = || self.sent_at.is_some_and(|at| machine::now().saturating_duration_since(at) < IDLE_AFTER);
        unsent < LITTLE_BYTES && sent()
    }
}

impl Srm {
    /// How long to wait before greeting; zero most of the time.
    pub fn pause_before_hello(&self) -> Duration {
        let until = self.core.lock().not_before;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(machine::now()))
    }

    /// The greeting, and the generation of the connection it begins.
    pub fn hello(&self) -> (Hello, u64) {
        let mut core = self.core.lock();
        if matches!(core.gate, Gate::Due) {
            core.begin_incarnation();
        }
        let hello = Hello {
            version: VERSION,
            software: self.config.software.clone(),
            name: self.config.name.clone(),
            incarnation: core.incarnation,
            oldest: core.backlog.oldest(),
            newest: core.backlog.newest(),
            replica: core.replica,
            adopt: self.config.adopt,
            retry_ms: self.config.retry_after.map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
            // Whoever packs what is sent adds that he does.
            features: Features::BUSY.and(Features::BESIDE),
            set: self.set().digest(),
        };
        (hello, core.generation)
    }

    /// The target lets the source in: sending goes on where the target stands, or a pass begins.
    pub fn welcomed(self: &Arc<Self>, generation: u64, ack: &HelloAck) -> Result<(), Rejected> {
        let mut core = self.core.lock();
        if core.generation != generation {
            return Err(Rejected::Again);
        }
        if ack.version != VERSION || ack.software.len() > MOST_SOFTWARE_BYTES {
            let text =
                format!("the target greets in version {} of the protocol, this build speaks {VERSION}", ack.version);
            return Err(Rejected::Replica(text));
        }
        if let Some(known) = core.replica
            && known != ack.replica
        {
            let text = format!("the target has replica {}, this source had {known}", ack.replica);
            return Err(Rejected::Replica(text));
        }
        core.replica = Some(ack.replica);
        let mut pass = None;
        if matches!(core.gate, Gate::Due) && (core.bypass || !core.sending.lets_repair()) {
            // Switching on again, or what lets go of it, begins the connection anew.
            core.link = Link::Up;
            core.connections += 1;
            return Ok(());
        }
        if matches!(core.gate, Gate::Due) {
            let left = std::mem::take(&mut core.left);
            let known = Known {
                target_empty: ack.empty,
                target_clean: ack.clean,
                continuous: (!ack.damaged || ack.power_lost && core.power_was_lost)
                    && ack.position.is_some_and(|position| {
                        let has = |(run, applied): &_| position.incarnation == *run && position.applied >= *applied;
                        left.iter().any(has)
                    }),
                clean_end_secs: self.config.clean_end_secs,
            };
            self.straddling.begins_anew();
            let number = core.begin_pass_over_all(known);
            if core.push_incoherent().is_none() {
                return Err(Rejected::Again);
            }
            pass = Some(number);
        } else {
            if ack.power_lost && ack.position.is_some_and(|position| core.target_lost_power(position)) {
                return Err(Rejected::Again);
            }
            let ours = ack.position.filter(|position| position.incarnation == core.incarnation);
            if ours.is_some_and(|position| position.applied > core.backlog.sent()) {
                core.doubted("the target says that it has what it was never sent", machine::now());
                return Err(Rejected::Again);
            }
            if ack.damaged && ours.is_some() {
                // What it has is not what it acknowledges with this greeting: no reply says otherwise (R12).
                core.doubted("the replica was damaged earlier, or its machine lost power", machine::now());
                return Err(Rejected::Again);
            }
            let position = ours.filter(|position| position.applied >= core.backlog.oldest().prev());
            let Some(position) = position else {
                core.all_dirty("the target does not have what it had acknowledged; all will be compared");
                return Err(Rejected::Again);
            };
            if let Err(error) = core.backlog.rewind(position.applied) {
                core.journal_failed(&error);
                return Err(Rejected::Again);
            }
            core.share.applied(position.applied);
            core.applied = position.applied;
            core.durable = core.durable.max(position.durable).min(position.applied);
            // Their answers were sent before the acknowledgement that was lost with them.
            core.questions.retain(|seq, _| *seq > position.applied);
        }
        // What is queued is sent from here on.
        core.away = None;
        core.link = Link::Up;
        core.connections += 1;
        (core.blocked, core.halted) = (None, None);
        core.pace = None;
        core.progress_at = machine::now();
        let due = take_applied(&mut core);
        let by = match &core.gate {
            Gate::Pass(pass) if pass.trusts_target => "attributes, and content of what changed",
            Gate::Pass(pass) if !pass.by_content => "attributes",
            _ => "content",
        };
        drop(core);
        run(due);
        self.lanes.link(true);
        if let Some(number) = pass {
            tracing::info!(event = "pass-begin", number, by, "comparing source and target");
            self.start_pass(number);
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Whether what is queued is better sent with what comes next: nobody waits for it, something is on its way whose acknowledgement is a good moment, and it
    /// is little. An idle line sends at once, a busy one packs.
    pub fn gathers(&self) -> bool {
        self.core.lock().gathers()
    }

    /// The next frame to send; `None` while there is nothing, no room in the window, or a rule that holds it.
    pub fn next_frame(&self, generation: u64) -> Result<Option<Frame>, Restart> {
        let mut core = self.core.lock();
        let moved = core.look_at_sending();
        if moved.let_go {
            self.changed.notify_all();
        }
        if core.generation != generation {
            return Err(Restart);
        }
        if core.is_held_back() {
            return Ok(None);
        }
        let frame = match core.backlog.take(WINDOW) {
            Ok(frame) => frame,
            Err(error) => {
                core.journal_failed(&error);
                drop(core);
                self.changed.notify_all();
                return Err(Restart);
            }
        };
        if let Some(frame) = &frame {
            core.sent_bytes += frame.len() as u64;
            core.sent_at = Some(machine::now());
        }
        Ok(frame)
    }

    /// Nothing more will come and everything has been applied: it is time to say goodbye.
    pub fn wants_bye(&self) -> bool {
        let core = self.core.lock();
        core.closing && core.backlog.operations() == 0 && matches!(core.gate, Gate::Clean) && core.flags.is_empty()
    }

    /// The target said goodbye: everything is there and durable, if that is what was asked for.
    pub fn farewell(&self, ack: Ack) {
        let asked = self.wants_bye();
        self.acknowledged(ack);
        self.core.lock().finished |= asked;
        self.changed.notify_all();
    }

    /// An acknowledgement. One of what was never sent makes everything be compared, as questions do that are acknowledged and not answered.
    pub fn acknowledged(&self, ack: Ack) {
        let mut core = self.core.lock();
        if ack.applied > core.backlog.sent() {
            core.doubted("the target acknowledged what it was never sent", machine::now());
        }
        let applied = ack.applied.min(core.backlog.sent());
        let before = core.backlog.bytes();
        if applied > core.applied {
            core.applied = applied;
            core.progress_at = machine::now();
            if let Err(error) = core.backlog.acknowledge(applied) {
                core.journal_failed(&error);
            }
            core.share.applied(applied);
            core.marks.applied(applied);
            let asked = core.questions.len();
            core.questions.retain(|seq, _| *seq > applied);
            let unanswered = asked - core.questions.len();
            core.unanswered += unanswered;
            if core.unanswered > MOST_UNANSWERED {
                core.doubted("the target does not answer what it is asked", machine::now());
            }
            if core.flags.applied(applied) {
                tracing::info!(event = "healed", "the target has what it could not carry out before");
            }
        }
        core.durable = core.durable.max(ack.durable.min(applied));
        if core.degraded
            && core.commit.mode.waits()
            && matches!(core.link, Link::Up)
            && core.blocked.is_none()
            && core.is_coherent()
            && core.backlog.operations() <= CAUGHT_UP_OPERATIONS
        {
            core.degraded = false;
            tracing::info!(event = "recovered", "the target has caught up; the commit mode is in force again");
        }
        core.pace(before);
        if core.is_coherent() {
            core.remote.put_back();
        }
        let due = take_applied(&mut core);
        let closing = core.closing;
        drop(core);
        killpoint::pass(KillPoint::Acknowledged);
        run(due);
        // There may be room in the window, or in the backlog.
        self.wake();
        self.changed.notify_all();
        if closing {
            self.wake();
        }
    }

    /// An answer to a question of a pass.
    pub fn answered(&self, seq: SeqNo, answer: Answer) {
        if let Some(asker) = self.core.lock().questions.remove(&seq) {
            // A pass that ended meanwhile does not listen any more.
            let _not_listening = asker.try_send(answer);
        }
    }

    /// The target could not carry out a record.
    pub fn trouble(self: &Arc<Self>, trouble: &Trouble) {
        let trouble = &Trouble { text: words(&trouble.text), ..trouble.clone() };
        let path = trouble.path.as_ref().map_or_else(|| "-".to_owned(), words_of);
        let text = format!("{path}, {}", trouble.text);
        let mut core = self.core.lock();
        // Only what is under way can stand in the way.
        let under_way = trouble.seq > core.applied && trouble.seq <= core.backlog.sent();
        match trouble.kind {
            TroubleKind::Blocked | TroubleKind::Over | TroubleKind::Halted if !under_way => return,
            TroubleKind::Skipped if !under_way => {
                core.doubted("the target says that it passed over what it was not sent", machine::now());
            }
            TroubleKind::Blocked => {
                if core.blocked.as_ref() != Some(&text) && core.may_log() {
                    tracing::warn!(
                        event = "blocked",
                        seq = trouble.seq.get(),
                        path,
                        reason = trouble.text,
                        "the target cannot go on and tries again"
                    );
                }
                core.last_error = Some(format!("blocked: {text}"));
                core.blocked = Some(text);
            }
            TroubleKind::Over => {
                if (core.blocked.is_some() || core.halted.is_some()) && core.may_log() {
                    tracing::info!(event = "unblocked", "the target goes on");
                }
                (core.blocked, core.halted) = (None, None);
            }
            TroubleKind::Skipped => {
                drop(core);
                return self.passed_over(trouble);
            }
            TroubleKind::Halted => core.halt(trouble, sys::now_ns() / 1_000_000),
            TroubleKind::Damaged => {
                // A question about it is not answered; whoever waits asks again.
                core.questions.remove(&trouble.seq);
                drop(core);
                let why = format!("the replica is not what it should be at {text}");
                return self.mend_damage(trouble.path.as_ref(), &why);
            }
        }
        drop(core);
        self.wake();
        self.changed.notify_all();
    }

    /// The target's applier is alive and has been at one record for a while.
    pub fn busy(&self, busy: Busy) {
        let mut core = self.core.lock();
        let new = core.slow.is_none_or(|slow| slow.said.seq != busy.seq || machine::since(slow.heard) > SLOW_HOLDS);
        core.slow = Some(Slow { said: busy, heard: machine::now() });
        drop(core);
        if new {
            let (seq, for_ms) = (busy.seq.get(), busy.for_ms);
            tracing::warn!(event = "slow", seq, for_ms, "the target is alive and takes long over one operation");
        }
        self.changed.notify_all();
    }

    /// The target refuses this source.
    pub fn refused(&self, refused: &Refused) {
        let text = words(&refused.text);
        tracing::warn!(event = "refused", code = ?refused.code, text, "the target refuses this source");
        let mut core = self.core.lock();
        core.link = Link::Refused;
        core.give_up_proposals();
        core.last_error = Some(text);
        drop(core);
        self.lanes.link(false);
        self.changed.notify_all();
    }

    /// The connection is lost, or could not be made.
    pub fn lost(&self, reason: &str) {
        let reason = words(reason);
        let mut core = self.core.lock();
        match core.link {
            Link::Up | Link::Setup | Link::Refused => {
                tracing::warn!(event = "link-down", reason, "no connection to the target");
                core.link = Link::Down(machine::now());
                core.give_up_proposals();
                if core.commit.mode == CommitMode::Remote {
                    // They wait for times only: what they changed is on both sides.
                    core.release_replies();
                }
                core.begin_away();
            }
            Link::Down(_) => {}
        }
        core.last_error = Some(reason);
        (core.blocked, core.halted) = (None, None);
        core.backlog.lost();
        drop(core);
        self.lanes.link(false);
        self.changed.notify_all();
    }

    /// The generation of the connection; it changes when the connection has to begin anew.
    pub fn generation(&self) -> u64 {
        self.core.lock().generation
    }
}

/// What the target is long at, if that holds now.
pub(crate) fn slow_now(core: &Core) -> Option<crate::status::Slow> {
    let slow = core.slow.filter(|slow| matches!(core.link, Link::Up) && machine::since(slow.heard) <= SLOW_HOLDS)?;
    // What it has said to be applied since is done.
    let still = slow.said.seq == SeqNo::ZERO || slow.said.seq > core.applied;
    let since = u64::try_from(machine::since(slow.heard).as_millis()).unwrap_or(u64::MAX);
    still.then(|| crate::status::Slow { sequence: slow.said.seq.get(), millis: slow.said.for_ms.saturating_add(since) })
}

/// A path that a target names, for the status: it may be 64 KiB long.
fn words_of(path: &RelPath) -> String {
    words(&String::from_utf8_lossy(path.as_bytes()))
}

fn take_applied(core: &mut Core) -> Vec<Reply> {
    let applied = core.applied;
    core.replies.applied(applied)
}

fn run(due: Vec<Reply>) {
    for reply in due {
        reply();
    }
}

#[cfg(test)]
mod tests;
