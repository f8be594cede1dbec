//! Questions of a verification: numbered under the locks of what the source was read under, only while the replica is a state
//! that the source had, and never where live operations would have to wait for them.

use super::run::{Ended, Run};
use super::status::VerifyState;
use crate::Srm;
use crate::core::{Core, Link};
use bytes::Bytes;
use protocol::{Answer, Draft, Op, Page};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Verification asks nothing while less than this is left of the backlog's bound. Its questions are small and few at a time; writers
/// leave more than this, so that it goes on, slowly, also while they fill the backlog.
const ROOM_BYTES: u64 = 1 << 20;

/// How soon an order to stop is seen by somebody who waits for the network.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Questions that were numbered together.
pub(super) struct Asked {
    answers: Vec<Receiver<Answer>>,
    /// The connection they were numbered in. A target that was away may come back with less than it had applied and more than
    /// it remembers: what it says before it has caught up is not about the question's moment.
    connections: u64,
}

fn is_ready(core: &Core) -> bool {
    core.is_coherent()
        && matches!(core.link, Link::Up)
        && !core.bypass
        && core.sending.lets_repair()
        && core.backlog.bytes() + ROOM_BYTES <= core.backlog.limit_bytes()
}

impl Srm {
    /// Numbers questions about this very moment; the caller holds the locks of what it has read. `None`: they cannot be put
    /// now; drop the locks, wait, and read again.
    pub(super) fn verify_ask(&self, ops: &[Op]) -> Option<Asked> {
        let mut core = self.core.lock();
        if !is_ready(&core) {
            return None;
        }
        let mut answers = Vec::with_capacity(ops.len());
        for op in ops {
            let seq = core.push(Draft::new(op, Bytes::new()))?;
            core.tell(|_| Ok(()));
            let (sender, receiver) = sync_channel(1);
            core.questions.insert(seq, sender);
            answers.push(receiver);
        }
        let connections = core.connections;
        drop(core);
        self.wake();
        Some(Asked { answers, connections })
    }
}

impl Run {
    /// Waits until questions can be put.
    pub(super) fn wait_ready(&mut self) -> Result<(), Ended> {
        let mut waits = false;
        loop {
            self.check()?;
            let mut core = self.srm.core.lock();
            if is_ready(&core) {
                break;
            }
            self.srm.changed.wait_for(&mut core, LOOK_AGAIN);
            // A full backlog is nothing to show.
            let held = !core.sending.lets_repair();
            let away = !core.is_coherent() || !matches!(core.link, Link::Up) || core.bypass || held;
            drop(core);
            if away && !waits {
                waits = true;
                self.note(|status| status.state = VerifyState::Waiting);
            }
        }
        if waits {
            self.note(|status| status.state = VerifyState::Running);
        }
        Ok(())
    }

    /// Waits for answers; `None`: they were lost with the connection, or are not about their moment. No lock is held.
    pub(super) fn answers(&self, asked: &Asked) -> Result<Option<Vec<Answer>>, Ended> {
        let mut out = Vec::with_capacity(asked.answers.len());
        for answer in &asked.answers {
            loop {
                match answer.recv_timeout(LOOK_AGAIN) {
                    Ok(answer) => {
                        out.push(answer);
                        break;
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                    Err(RecvTimeoutError::Timeout) => self.check()?,
                }
            }
        }
        let same = self.srm.core.lock().connections == asked.connections;
        Ok(same.then_some(out))
    }

    /// An answer of another kind than its question.
    pub(super) fn unasked<T>(&self) -> Option<T> {
        self.doubt_target("the target answered a question that was not asked")
    }

    /// The target said what cannot be.
    pub(super) fn doubt_target<T>(&self, why: &str) -> Option<T> {
        self.srm.core.lock().doubted(why, Instant::now());
        None
    }

    /// The page that answers a `List` or a `Look`; of the latter it has at most one entry.
    pub(super) fn page_of(&self, answer: Option<Answer>) -> Option<Page> {
        match answer {
            Some(Answer::Page(page)) => Some(page),
            _ => self.unasked(),
        }
    }
}
