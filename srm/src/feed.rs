//! What a connection to the target pulls from the SRM and reports to it. One connection at a time; it runs elsewhere.

use crate::Srm;
use crate::backlog::Window;
use crate::core::{Core, Known, Link};
use crate::map::Gate;
use crate::replies::Reply;
use crate::status::CommitMode;
use platform::killpoint::{self, KillPoint};
use platform::sys;
use protocol::{Ack, Answer, Frame, Hello, HelloAck, Refused, SeqNo, Trouble, TroubleKind, VERSION};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bounds on what is sent and not yet applied.
const WINDOW: Window = Window { bytes: 8 << 20, operations: 8192 };

/// Recovered from a degraded mode when no more than this many operations are behind.
const CAUGHT_UP_OPERATIONS: u64 = 64;

/// The target's greeting cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Greet again at once: the source has to begin a new run of numbers.
    Again,
    /// The target is not the one that was there before.
    Replica(String),
}

/// The connection has to begin anew: the run of numbers it greeted with is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Restart;

impl Srm {
    /// How long to wait before greeting; zero most of the time.
    pub fn pause_before_hello(&self) -> Duration {
        let until = self.core.lock().not_before;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
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
        };
        (hello, core.generation)
    }

    /// The target lets the source in: sending goes on where the target stands, or a pass begins.
    pub fn welcomed(self: &Arc<Self>, generation: u64, ack: &HelloAck) -> Result<(), Rejected> {
        let mut core = self.core.lock();
        if core.generation != generation {
            return Err(Rejected::Again);
        }
        if let Some(known) = core.replica
            && known != ack.replica
        {
            let text = format!("the target has replica {}, this source had {known}", ack.replica);
            return Err(Rejected::Replica(text));
        }
        core.replica = Some(ack.replica);
        let mut pass = None;
        if matches!(core.gate, Gate::Due) && core.bypass {
            // Switching on again begins the connection anew.
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
            let number = core.begin_pass_over_all(known);
            if core.push_incoherent().is_none() {
                return Err(Rejected::Again);
            }
            pass = Some(number);
        } else {
            if ack.power_lost && ack.position.is_some_and(|position| core.target_lost_power(position)) {
                return Err(Rejected::Again);
            }
            let position = ack.position.filter(|position| {
                position.incarnation == core.incarnation
                    && position.applied >= core.backlog.oldest().prev()
                    && position.applied <= core.backlog.newest()
            });
            let Some(position) = position else {
                core.all_dirty("the target does not have what it had acknowledged; all will be compared");
                return Err(Rejected::Again);
            };
            if let Err(error) = core.backlog.rewind(position.applied) {
                core.journal_failed(&error);
                return Err(Rejected::Again);
            }
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
        core.progress_at = Instant::now();
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

    /// The next frame to send; `None` while there is nothing, or no room in the window.
    pub fn next_frame(&self, generation: u64) -> Result<Option<Frame>, Restart> {
        let mut core = self.core.lock();
        if core.generation != generation {
            return Err(Restart);
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
        }
        Ok(frame)
    }

    /// Nothing more will come and everything has been applied: it is time to say goodbye.
    pub fn wants_bye(&self) -> bool {
        let core = self.core.lock();
        core.closing && core.backlog.operations() == 0 && matches!(core.gate, Gate::Clean) && core.flags.is_empty()
    }

    /// The target said goodbye: everything is there and durable.
    pub fn farewell(&self, ack: Ack) {
        self.acknowledged(ack);
        self.core.lock().finished = true;
        self.changed.notify_all();
    }

    /// An acknowledgement. One that claims what was never sent counts only as far as numbers were given out.
    pub fn acknowledged(&self, ack: Ack) {
        let mut core = self.core.lock();
        let applied = ack.applied.min(core.backlog.newest());
        if applied > core.applied {
            core.applied = applied;
            core.progress_at = Instant::now();
            if let Err(error) = core.backlog.acknowledge(applied) {
                core.journal_failed(&error);
            }
            core.marks.applied(applied);
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
        let path = trouble.path.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let text = format!("{path}, {}", trouble.text);
        let mut core = self.core.lock();
        match trouble.kind {
            TroubleKind::Blocked => {
                if core.blocked.as_ref() != Some(&text) {
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
                tracing::info!(event = "unblocked", "the target goes on");
                (core.blocked, core.halted) = (None, None);
            }
            TroubleKind::Skipped => {
                drop(core);
                return self.passed_over(trouble);
            }
            TroubleKind::Halted => core.halt(trouble, sys::now_ns() / 1_000_000),
            TroubleKind::Damaged => {
                drop(core);
                let why = format!("the replica is not what it should be at {text}; it will be compared");
                return self.mend_damage(trouble.path.as_ref(), &why);
            }
        }
        drop(core);
        self.wake();
        self.changed.notify_all();
    }

    /// The target refuses this source.
    pub fn refused(&self, refused: &Refused) {
        tracing::warn!(event = "refused", code = ?refused.code, text = refused.text, "the target refuses this source");
        let mut core = self.core.lock();
        core.link = Link::Refused;
        core.give_up_proposals();
        core.last_error = Some(refused.text.clone());
        drop(core);
        self.lanes.link(false);
        self.changed.notify_all();
    }

    /// The connection is lost, or could not be made.
    pub fn lost(&self, reason: &str) {
        let mut core = self.core.lock();
        match core.link {
            Link::Up | Link::Setup | Link::Refused => {
                tracing::warn!(event = "link-down", reason, "no connection to the target");
                core.link = Link::Down(Instant::now());
                core.give_up_proposals();
                if core.commit.mode == CommitMode::Remote {
                    // They wait for times only: what they changed is on both sides.
                    core.release_replies();
                }
                core.begin_away();
            }
            Link::Down(_) => {}
        }
        core.last_error = Some(reason.to_owned());
        (core.blocked, core.halted) = (None, None);
        drop(core);
        self.lanes.link(false);
        self.changed.notify_all();
    }

    /// The generation of the connection; it changes when the connection has to begin anew.
    pub fn generation(&self) -> u64 {
        self.core.lock().generation
    }
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
