//! What becomes of a record that cannot be applied: it is tried again for so long, or the stream goes on without it and the source is told (I4).

use super::{Flow, Worker};
use crate::apply::{Fault, FaultKind};
use crate::passed::is_unseen;
use crate::syncs::Failed;
use platform::machine;
use platform::parts::Parts;
use protocol::{Answer, Message, Op, Record, RelPath, SeqNo, Trouble, TroubleKind, Verdict};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use std::time::Duration;

/// Between two tries of a record that is blocked.
const RETRY: Duration = Duration::from_secs(1);

/// A record that the stream goes on without; why.
pub(super) enum Left {
    /// The replica is not what it should be.
    Damage(String),
    /// What stood in its way did not pass in time.
    PassedOver(String),
}

impl Worker {
    /// Damage that an earlier session may not have heard of is told again (I4).
    pub(super) fn report_old_damage(&self) {
        let Some(state) = self.job.home.state().filter(|s| s.damage != 0) else { return };
        let text = "the replica was damaged earlier, or its machine restarted without a clean end: it needs repair";
        self.trouble(state.damage, TroubleKind::Damaged, None, text);
    }

    fn trouble(&self, seq: u64, kind: TroubleKind, path: Option<&RelPath>, text: &str) {
        let trouble = Trouble { seq: SeqNo::new(seq), kind, path: path.cloned(), text: text.to_owned() };
        self.job.outbox.post(Message::Trouble(trouble));
    }

    /// What a sync beside other records could not make durable is lost, and to be repaired.
    pub(super) fn sync_failed(&mut self, failed: &Failed) -> Flow {
        let Failed { record, error } = failed;
        let left = Left::Damage(Fault::lost(*error).text);
        if let Some(seq) = self.leave(record, left) {
            self.insist(record, false, |worker| Ok(worker.job.home.damaged(seq)?))?.ok();
        }
        self.syncs.finished(record.seq.get());
        Some(())
    }

    /// Carries out what the source has not, once: what cannot be is the source's to know, and no trouble.
    pub(super) fn judge(&mut self, record: &Record, payload: &Parts, starts: &mut bool) -> Verdict {
        let before = self.applier.seen(&record.op);
        let Err(fault) = self.attempt(record, payload, starts) else { return Verdict { errno: 0, unchanged: false } };
        self.applier.idle();
        let (path, word) = (record.op.path(), record.op.word());
        tracing::info!(name = %self.job.home.name, seq = record.seq.get(), ?path, "not done: {word}: {}", fault.text);
        let shown = path.map(ToString::to_string).unwrap_or_default();
        self.job.facts.error(format!("refused: {shown}, {word}: {}", fault.text));
        match fault.kind {
            FaultKind::Retry => {
                let errno = fault.errno.unwrap_or(Errno::IO);
                let unchanged = before.is_same(&self.applier.seen(&record.op));
                Verdict { errno: errno.raw_os_error().unsigned_abs(), unchanged }
            }
            // The source does not have what this was made for, or the replica does not.
            FaultKind::Damage => Verdict { errno: Errno::IO.raw_os_error().unsigned_abs(), unchanged: false },
        }
    }

    /// Says that the stream goes on without this record. The number of the damage, if there is any.
    pub(super) fn leave(&mut self, record: &Record, left: Left) -> Option<u64> {
        let seq = record.seq.get();
        let op = &record.op;
        // What follows from a record that was passed over is mended with it.
        let (kind, text) = match left {
            Left::Damage(text) if !self.passed.explains_damage() => (TroubleKind::Damaged, text),
            Left::Damage(text) | Left::PassedOver(text) => (TroubleKind::Skipped, text),
        };
        let path = op.path();
        let text = format!("{}: {text}", op.word());
        let shown = path.map(ToString::to_string).unwrap_or_default();
        let what = if kind == TroubleKind::Damaged { "damaged" } else { "passed over" };
        tracing::warn!(name = %self.job.home.name, seq, ?path, "{what}: {text}");
        self.applier.idle();
        if kind == TroubleKind::Skipped && is_unseen(op) {
            return None;
        }
        self.job.facts.error(format!("{what}: {shown}, {text}"));
        // A question is answered whatever is wrong: all of it differs.
        if let Op::Compare { hashes, .. } = op {
            let blocks = u32::try_from(hashes.len() / 16).unwrap_or(u32::MAX);
            self.job.outbox.post(Message::Answer(record.seq, Answer::Differs((0..blocks).collect())));
        }
        if kind == TroubleKind::Skipped {
            self.passed.note();
            if let Op::Rename { from, .. } = op {
                self.trouble(seq, kind, Some(from), &text);
            }
        }
        self.trouble(seq, kind, path, &text);
        Some(seq)
    }

    /// Whether no record at all can be applied.
    fn is_read_only(&self) -> bool {
        let flags = rustix::fs::fstatvfs(&self.job.home.tree).map(|stat| stat.f_flag);
        flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY))
    }

    /// Tries until it works (`Ok`), is found to be damage or has been tried for so long (`Err`), or the session is over (`None`).
    /// Where the stream cannot go on without it (not `may_leave`), or would get no further, it is tried for ever.
    pub(super) fn insist<T>(
        &mut self,
        record: &Record,
        may_leave: bool,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Option<Result<T, Left>> {
        let seq = record.seq.get();
        let path = record.op.path();
        self.job.outbox.at(record.seq);
        let bound = self.passed.bound();
        let (mut said, mut halted): (Option<String>, bool) = (None, false);
        let begun = machine::now();
        let outcome = loop {
            match attempt(self) {
                Ok(done) => break Ok(done),
                Err(Fault { kind: FaultKind::Damage, text, .. }) => break Err(Left::Damage(text)),
                Err(Fault { kind: FaultKind::Retry, text, .. }) => {
                    let left = bound.map(|most| most.saturating_sub(machine::since(begun)));
                    let overdue = left == Some(Duration::ZERO);
                    if overdue && may_leave && !self.is_read_only() {
                        break Err(Left::PassedOver(text));
                    }
                    self.job.facts.blocked(path, &text);
                    if said.as_ref() != Some(&text) {
                        tracing::warn!(name = %self.job.home.name, seq, ?path, "blocked: {text}");
                        self.trouble(seq, TroubleKind::Blocked, path, &text);
                        said = Some(text.clone());
                    }
                    if overdue && !halted {
                        halted = true;
                        self.trouble(seq, TroubleKind::Halted, path, &format!("{}: {text}", record.op.word()));
                    }
                    // What was applied before is acknowledged, however long this takes.
                    self.job.outbox.poke();
                    let pause = left.filter(|left| !left.is_zero()).map_or(RETRY, |left| left.min(RETRY));
                    if !self.job.queue.pause(pause) {
                        return None;
                    }
                    self.job.outbox.alive();
                    self.applier.idle();
                    // What it waits for is said already; how long this try takes is another matter.
                    self.job.outbox.at(record.seq);
                }
            }
        };
        if said.is_some() {
            self.job.facts.update(|s| s.blocked = None);
            self.trouble(seq, TroubleKind::Over, path, "");
        }
        Some(outcome)
    }
}
