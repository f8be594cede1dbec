//! The thread that applies a session's records, one after the other. What becomes of one that cannot be applied is `unapplied`'s. Nothing here waits
//! for another record (R6).

use crate::ahead::{Ahead, Reads};
use crate::apply::{Applier, Fault};
use crate::clean::Clean;
use crate::home::Home;
use crate::outbox::Outbox;
use crate::passed::{Passed, may_be_left};
use crate::queue::{Item, Popped, Queue};
use crate::status::Facts;
use crate::sync::Syncer;
use crate::syncs::{Job as SyncJob, Syncs, Waited};
use platform::killpoint::{self, KillPoint};
use platform::machine::{self, Disk};
use platform::parts::Parts;
use protocol::{Answer, Incarnation, Mark, Message, Op, Phase, Record, SeqNo};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// After this long without a record, files are closed (T1); also how often an idle applier shows that it is alive.
const IDLE: Duration = Duration::from_secs(1);
/// While more records are waiting, what was applied is acknowledged this often.
const ACK_EVERY: Duration = Duration::from_micros(500);
/// From so many records on that came alone, their source is taken to wait for each.
const LONE: u32 = 8;

/// What a session gives its threads.
pub(crate) struct Job {
    pub home: Arc<Home>,
    pub facts: Arc<Facts>,
    pub queue: Arc<Queue>,
    pub outbox: Arc<Outbox>,
    /// The source's run of numbers.
    pub incarnation: Incarnation,
    /// The newest number that the source had given out when it said Hello.
    pub newest: u64,
    /// How long a record is tried that meets what may pass; `None`: for ever.
    pub retry: Option<Duration>,
    /// The source goes on where the replica is.
    pub resumed: bool,
    /// Dropped when nothing is applied any more.
    pub ended: Option<watch::Sender<()>>,
}

pub(crate) struct Worker {
    job: Job,
    applier: Applier,
    syncer: Arc<Syncer>,
    /// What is made durable beside the records behind it.
    syncs: Arc<Syncs>,
    /// What is read before it is needed.
    ahead: Ahead,
    reads: Reads,
    passed: Passed,
    /// Nothing was applied in this session yet.
    untouched: bool,
    /// When an acknowledgement was last asked for.
    acked: Instant,
    /// So many records have come with nothing behind them, one after the other.
    lone: u32,
    /// Records that wait and have been looked at for the undo log.
    saved_ahead: usize,
}

/// Whether a worker goes on, or its session is over.
type Flow = Option<()>;

/// Starts the threads of a session. They end when its queue does.
pub(crate) fn start(job: Job) -> io::Result<()> {
    thread::Builder::new().name("target-apply".into()).spawn(move || {
        let mut job = job;
        // Dropped last: who waits for the end may then touch the replica.
        let _ended = job.ended.take();
        // A thread may have been given another umask by the one that started it.
        rustix::process::umask(rustix::fs::Mode::empty());
        // Also when it panics: the session must not go on without anybody who applies.
        let _finish = Finish(job.queue.clone());
        Worker::new(job).run();
    })?;
    Ok(())
}

struct Finish(Arc<Queue>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finish();
    }
}

struct StopSync(Arc<Syncer>);

impl Drop for StopSync {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Worker {
    pub fn new(job: Job) -> Self {
        let syncer = Arc::new(Syncer::new(job.home.clone(), job.outbox.clone(), job.facts.clone()));
        let applier = Applier::new(job.home.clone(), job.facts.clone());
        let damaged = job.resumed && job.home.state().is_some_and(|state| state.damage != 0);
        let passed = Passed::new(job.retry, if damaged { job.newest } else { 0 });
        let syncs = Syncs::new(job.outbox.clone());
        let ahead = Ahead::new(job.home.clone(), job.queue.clone(), job.facts.clone());
        Self {
            job,
            applier,
            syncer,
            syncs,
            ahead,
            reads: Reads::default(),
            passed,
            untouched: true,
            acked: machine::now(),
            lone: 0,
            saved_ahead: 0,
        }
    }

    /// Before the first record.
    pub fn begin(&self) {
        self.job.home.quota.undo(self.job.home.undo.size());
        self.job.home.count();
        if self.job.resumed {
            self.report_old_damage();
        }
    }

    /// After the last one.
    pub fn end(&self) {
        self.ahead.end();
        let noted = if self.syncs.end() {
            self.job.home.synced()
        } else {
            // Nobody is left who tries again.
            self.job.home.damaged(self.syncs.oldest())
        };
        if let Err(e) = noted {
            self.job.facts.error(format!("cannot write the position: {}", crate::error::text(&e)));
        }
        // After a take-over the next session syncs; waiting for the disk here would only hold it up.
        if !self.job.queue.is_cancelled() && !self.job.home.is_durable() {
            // An error is in the status.
            let _ = self.syncer.sync();
        }
    }

    pub fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    pub fn syncs(&self) -> &Arc<Syncs> {
        &self.syncs
    }

    fn run(mut self) {
        self.begin();
        let syncing = thread::scope(|scope| {
            let syncer = self.syncer.clone();
            let handle = thread::Builder::new().name("target-sync".into()).spawn_scoped(scope, move || syncer.run());
            // Also when applying panics: the scope waits for that thread.
            let _stop = StopSync(self.syncer.clone());
            let started = handle.map(drop);
            if started.is_ok() {
                self.apply_all();
            }
            started
        });
        if let Err(e) = syncing {
            self.job.facts.error(format!("cannot start a thread: {e}"));
        }
        self.end();
    }

    fn apply_all(&mut self) {
        while self.step(IDLE).is_some() {}
    }

    /// What waits first is done, or what is due where nothing comes for so long. `None`: the session is over.
    pub fn step(&mut self, wait: Duration) -> Flow {
        if let Some(failed) = self.syncs.failed() {
            self.sync_failed(&failed)?;
            self.job.outbox.at_rest();
        }
        match self.job.queue.pop(wait) {
            Popped::Item(Item::Record { record, payload, starts }, more) => {
                self.keep_awake(more);
                let begun = machine::now();
                let flow = self.record(&record, &payload, starts);
                if !machine::is_simulated() && self.reads.waited(machine::since(begun)) {
                    self.ahead.worth();
                }
                self.job.outbox.at_rest();
                if !more || machine::since(self.acked) >= ACK_EVERY {
                    self.acked = machine::now();
                    self.job.outbox.poke();
                }
                flow
            }
            Popped::Item(Item::Bye, _) => {
                self.job.outbox.at(SeqNo::ZERO);
                self.finish_syncs(u64::MAX)?;
                self.bye();
                self.job.outbox.at_rest();
                Some(())
            }
            Popped::Idle => {
                self.job.outbox.at(SeqNo::ZERO);
                self.applier.idle();
                self.job.home.count_again(false);
                self.job.outbox.at_rest();
                Some(())
            }
            Popped::Ended => None,
        }
    }

    /// Whoever sends one record after the other, each alone, sends the next when the one before is acknowledged: somebody waits.
    fn keep_awake(&mut self, more: bool) {
        self.lone = if more { 0 } else { self.lone.saturating_add(1) };
        if self.lone >= LONE {
            self.job.home.awake.waits();
        }
    }

    fn record(&mut self, record: &Record, payload: &Parts, starts: bool) -> Flow {
        let mut starts = starts;
        let mut verdict = None;
        let seq = record.seq.get();
        // What its application had heard to be durable is so before anything that it did then (R11).
        let alone = starts || record.phase != Phase::Plain || matches!(record.op, Op::Mark(_));
        let beside = if alone { 0 } else { u64::from(record.beside) };
        self.finish_syncs((seq - 1).saturating_sub(beside))?;
        self.applier.leaves_syncs = !alone && self.leaves_syncs();
        let outcome = if record.phase == Phase::Proposed {
            self.job.outbox.at(record.seq);
            verdict = Some(self.judge(record, payload, &mut starts));
            killpoint::pass(KillPoint::TargetJudged);
            Ok(None)
        } else {
            self.insist(record, may_be_left(&record.op), |worker| worker.attempt(record, payload, &mut starts))?
        };
        let unsynced = self.applier.take_unsynced();
        let damage = match outcome {
            Ok(answer) => {
                if let Some(unsynced) = unsynced {
                    self.syncs.begin(SyncJob { record: record.clone(), unsynced });
                }
                if let Some(answer) = answer {
                    self.job.outbox.post(Message::Answer(record.seq, answer));
                }
                None
            }
            Err(left) => self.leave(record, left),
        };
        killpoint::pass(KillPoint::TargetApplied);
        // The effect is there: what is left is to say so, however often that takes.
        let repaired = self.ends_repair(&record.op);
        let syncing = self.syncs.oldest();
        let coherent = self.insist(record, false, |worker| {
            machine::disk(Disk::TargetNote)?;
            Ok(worker.job.home.applied(seq, |state| {
                state.syncing = syncing;
                if record.op == Op::Mark(Mark::Incoherent) {
                    state.coherent = false;
                } else if repaired {
                    (state.coherent, state.damage) = (true, 0);
                    (state.power_lost, state.lost) = (false, false);
                }
                if let Some(seq) = damage {
                    state.damage = state.damage.max(seq);
                    state.coherent = false;
                    state.power_lost = false;
                }
            })?)
        })?;
        killpoint::pass(KillPoint::TargetPositioned);
        // Not before: what was refused must not come again and be done, when its application has been told.
        if let Some(verdict) = verdict {
            self.job.outbox.post(Message::Answer(record.seq, Answer::Verdict(verdict)));
        }
        match record.op {
            Op::Mark(Mark::Incoherent) => self.passed.repair_begins(seq),
            Op::Mark(Mark::Coherent) if repaired => self.passed.repaired(),
            _ => {}
        }
        let coherent = coherent.unwrap_or(false);
        self.job.facts.applied(record.op.word(), seq, coherent);
        if coherent && record.op == Op::Mark(Mark::Coherent) {
            self.forget_image();
        }
        self.syncs.applied(seq);
        if record.op == Op::Mark(Mark::Barrier) {
            self.syncer.now();
        }
        Some(())
    }

    /// Whether what the next record asks to be durable is left to threads of its own: somebody else's record waits that need not wait for it. For one
    /// application alone that would only be a longer way.
    fn leaves_syncs(&self) -> bool {
        self.job.queue.next_is_beside() && self.syncs.has_room()
    }

    /// Waits until all up to this number that asked for it is durable.
    fn finish_syncs(&mut self, seq: u64) -> Flow {
        loop {
            match self.syncs.wait(seq, IDLE) {
                Waited::Done => return Some(()),
                Waited::Failed(failed) => self.sync_failed(&failed)?,
                Waited::NotYet if self.job.queue.is_cancelled() => return None,
                Waited::NotYet => {}
            }
        }
    }

    /// Whether this marks the end of a repair that leaves the replica as it should be.
    fn ends_repair(&self, op: &Op) -> bool {
        let damage = self.job.home.state().map_or(0, |state| state.damage);
        *op == Op::Mark(Mark::Coherent) && self.passed.is_repaired(damage)
    }

    /// One try, and another one where the undo log was all that stood in its way.
    fn attempt(&mut self, record: &Record, payload: &Parts, starts: &mut bool) -> Result<Option<Answer>, Fault> {
        match self.attempt_once(record, payload, starts) {
            Err(fault) if self.job.home.make_room(&self.job.facts, &fault) => {
                self.applier.idle();
                self.attempt_once(record, payload, starts)
            }
            result => result,
        }
    }

    /// What comes before a first record, the note of what is about to be done, the record itself.
    fn attempt_once(&mut self, record: &Record, payload: &Parts, starts: &mut bool) -> Result<Option<Answer>, Fault> {
        let home = self.job.home.clone();
        let seq = record.seq.get();
        if self.untouched {
            Clean::remove(home.meta.as_fd())?;
            self.untouched = false;
        }
        // A new run of numbers knows nothing of what was before it.
        if record.op == Op::Mark(Mark::Incoherent) {
            self.keep_image()?;
        }
        if *starts {
            home.start(self.job.incarnation, seq - 1)?;
            self.job.outbox.begin();
            self.syncs.restart();
            self.job.facts.position(home.position(), false);
            *starts = false;
        }
        if record.phase == Phase::Settled {
            killpoint::pass(KillPoint::TargetSettling);
        }
        self.save(record, payload)?;
        machine::disk(Disk::TargetApply)?;
        if record.phase == Phase::Settled || !Applier::needs_intent(&record.op) {
            return self.applier.apply(record, payload, None);
        }
        let noted = home.state().filter(|state| state.applying == seq).map(|state| state.inodes);
        if noted.is_none() {
            let inodes = self.applier.inodes(&record.op);
            home.intend(seq, inodes)?;
            killpoint::pass(KillPoint::TargetIntended);
        }
        self.applier.apply(record, payload, noted)
    }

    /// The source has said goodbye: everything is made durable, and if the replica is whole, that is marked.
    fn bye(&mut self) {
        self.applier.idle();
        let begun = self.job.outbox.run_now() > 0;
        if begun
            && self.syncer.sync().is_ok()
            && (!self.untouched || self.job.home.clean.is_none())
            && let Some(state) = self.job.home.state().filter(|s| s.coherent && s.damage == 0)
        {
            let clean = Clean::new(platform::sys::now_ns(), state.incarnation, state.applied);
            if let Err(e) = clean.write(self.job.home.meta.as_fd()) {
                self.job.facts.error(format!("cannot mark the clean end: {}", crate::error::text(&e)));
            }
        }
        self.job.outbox.post(Message::ByeAck(self.job.outbox.ack()));
    }
}

mod going_back;
#[cfg(test)]
mod tests;
mod unapplied;
