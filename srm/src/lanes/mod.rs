//! Lanes: content of files that travels beside the ordered stream into staging files on the target, where an ordered record
//! ([`protocol::Content::Staged`]) finds it. What lives here is the pool of pieces between the pass, which blocks, and the
//! connections, which pull (`feed`); no files, no QUIC, no order.
//!
//! Nothing here may be called with the lock of a node or of the names held: [`Lanes::data`] waits for room, and room comes
//! from the network. Read under the lock, release it, then call. The lock in here is the last of the order; what is woken
//! must not call back.
//!
//! Pieces are in no order among themselves: two that overlap need a [`Lanes::settle`] between them. A piece of a lane that
//! breaks goes out again once the target has let that lane in anew, which it does when nothing of the old one is under
//! way any more.

mod chunks;
mod feed;
mod piece;
mod state;
#[cfg(test)]
mod tests;

pub use chunks::{Chunk, CopyFrom};
pub use feed::{Over, Seat};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use protocol::{CHUNK_BYTES, Incarnation, MAX_LANES, PieceAnswer, PieceOp, StageId};
use state::State;
use std::sync::OnceLock;

/// Lanes at most, unless something else is asked for.
pub const DEFAULT_LANES: usize = 4;
/// Bytes that are queued or under way, over all lanes.
pub const WINDOW_BYTES: usize = 16 << 20;

/// Why something did not get into a staging file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The pass is over.
    #[error("the pass is over")]
    Over,
    /// The target could not do it, or no lane can be had. The ordered stream can still be tried.
    #[error("{0}")]
    Failed(String),
}

/// The pool of pieces.
#[derive(Debug)]
pub struct Lanes {
    state: Mutex<State>,
    /// Something changed that a caller may wait for.
    changed: Condvar,
    /// Wakes the connections.
    wake: OnceLock<Wake>,
}

struct Wake(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

/// A question that is under way.
#[derive(Debug)]
#[must_use = "an answer comes to who waits for it"]
pub struct Asked {
    pass: u64,
    n: u64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { state: Mutex::new(State::new(DEFAULT_LANES)), changed: Condvar::new(), wake: OnceLock::new() }
    }
}

impl Lanes {
    /// How many lanes there may be, 1 to 16. Those above it end when they are done.
    pub fn set_limit(&self, lanes: usize) {
        self.state.lock().limit = lanes.clamp(1, MAX_LANES.into());
        self.wake();
    }

    /// Lanes that are open now.
    pub fn open_lanes(&self) -> usize {
        self.state.lock().open_lanes()
    }

    /// Says how to wake the connections. Once. It is called with locks held and must only signal.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let first = self.wake.set(Wake(Box::new(wake))).is_ok();
        assert!(first, "the connections are attached once");
    }

    /// Nothing is sent from now on, and no lane opened, or both is again (S4). What is under way stays so.
    pub fn hold(&self, hold: bool) {
        if std::mem::replace(&mut self.state.lock().held, hold) != hold {
            self.wake();
        }
    }

    /// Whether the session that lanes belong to is being served.
    pub fn link(&self, up: bool) {
        self.state.lock().link(up);
        self.wake();
    }

    /// A pass begins, in this run of numbers. `pass` is in every later call: what an earlier pass still does is `Over`.
    pub fn begin_generation(&self, pass: u64, incarnation: Incarnation) {
        self.state.lock().begin(pass, incarnation);
        self.changed.notify_all();
        self.wake();
    }

    /// The pass is over, or continuity is lost: whoever waits is told so, what is queued goes nowhere.
    pub fn end_generation(&self) {
        self.state.lock().end();
        self.changed.notify_all();
        self.wake();
    }

    /// Makes a staging file, or takes the one that is there; how long it is already, in bytes. What lies below that may be
    /// old, torn or a hole (pieces come in any order): compare it. Waits until nothing of an earlier try is under way.
    pub fn open(&self, pass: u64, stage: StageId, size: u64) -> Result<u64, LaneError> {
        let mut pool = self.state.lock();
        self.wait(&mut pool, pass, |pool| (pool.outstanding(stage) == 0).then_some(Ok(())))?;
        pool.forgive(stage);
        let n = pool.ask(PieceOp::Open { stage, size });
        self.wake();
        match self.answer_to(pool, pass, n)? {
            PieceAnswer::There { len } => Ok(len),
            other => Err(LaneError::Failed(format!("the target answered {other:?} to an open"))),
        }
    }

    /// Content at a place. Returns when it is queued, having waited for room; an error says that a piece of this staging
    /// file has failed already.
    pub fn data(&self, pass: u64, stage: StageId, offset: u64, data: Bytes) -> Result<(), LaneError> {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)));
            let len = piece.len() as u64;
            self.push(pass, PieceOp::Data { stage, offset: at }, piece)?;
            at += len;
        }
        Ok(())
    }

    /// A hole over what the staging file may have there; not needed beyond the length that [`Self::open`] told.
    pub fn hole(&self, pass: u64, stage: StageId, offset: u64, len: u64) -> Result<(), LaneError> {
        if len == 0 {
            return Ok(());
        }
        self.push(pass, PieceOp::Hole { stage, offset, len }, Bytes::new())
    }

    /// Which blocks differ, ascending; `hashes` as in [`protocol::Op::Compare`], `len` at most
    /// [`protocol::CHUNK_BYTES`].
    pub fn compare(
        &self,
        pass: u64,
        stage: StageId,
        offset: u64,
        len: u64,
        block_bytes: u32,
        hashes: Vec<u8>,
    ) -> Result<Vec<u32>, LaneError> {
        self.answer(self.ask(pass, stage, offset, len, block_bytes, hashes)?)
    }

    /// As [`Self::compare`], without waiting for the answer: several may be under way.
    pub fn ask(
        &self,
        pass: u64,
        stage: StageId,
        offset: u64,
        len: u64,
        block_bytes: u32,
        hashes: Vec<u8>,
    ) -> Result<Asked, LaneError> {
        self.put(pass, PieceOp::Compare { stage, offset, len, block_bytes, hashes })
    }

    /// The answer to a comparison.
    #[allow(clippy::needless_pass_by_value)] // it comes once
    pub fn answer(&self, asked: Asked) -> Result<Vec<u32>, LaneError> {
        let Asked { pass, n } = asked;
        match self.answer_to(self.state.lock(), pass, n)? {
            PieceAnswer::Differs(list) => Ok(list),
            other => Err(LaneError::Failed(format!("the target answered {other:?} to a comparison"))),
        }
    }

    /// Waits until everything of this staging file is on the target; only then may a record place it. An error: some of it
    /// is not, and the file cannot be used.
    pub fn settle(&self, pass: u64, stage: StageId) -> Result<(), LaneError> {
        let mut pool = self.state.lock();
        self.wait(&mut pool, pass, |pool| match pool.verdict(stage) {
            Ok(()) => (pool.outstanding(stage) == 0).then_some(Ok(())),
            failed => Some(failed),
        })
    }

    /// The staging file is not wanted any more. Returns at once.
    pub fn discard(&self, pass: u64, stage: StageId) {
        let mut pool = self.state.lock();
        if pool.is_in(pass) {
            pool.push(PieceOp::Drop { stage }, Bytes::new());
            drop(pool);
            self.wake();
        }
    }

    /// Queues a question.
    fn put(&self, pass: u64, op: PieceOp) -> Result<Asked, LaneError> {
        let mut pool = self.room(pass, &op, 0)?;
        let n = pool.ask(op);
        drop(pool);
        self.wake();
        Ok(Asked { pass, n })
    }

    fn push(&self, pass: u64, op: PieceOp, data: Bytes) -> Result<(), LaneError> {
        let mut pool = self.room(pass, &op, data.len())?;
        pool.verdict(op.stage())?;
        pool.push(op, data);
        drop(pool);
        self.wake();
        Ok(())
    }

    /// Waits for room for a piece.
    fn room(&self, pass: u64, op: &PieceOp, data: usize) -> Result<MutexGuard<'_, State>, LaneError> {
        let mut pool = self.state.lock();
        let cost = piece::cost(op, data);
        self.wait(&mut pool, pass, |pool| pool.has_room(cost).then_some(Ok(())))?;
        Ok(pool)
    }

    fn answer_to(&self, mut pool: MutexGuard<'_, State>, pass: u64, n: u64) -> Result<PieceAnswer, LaneError> {
        self.wait(&mut pool, pass, |pool| pool.take_answer(n))
    }

    /// Waits until `ready`, or the pass is over, or lanes were given up.
    fn wait<T>(
        &self,
        pool: &mut MutexGuard<'_, State>,
        pass: u64,
        mut ready: impl FnMut(&mut State) -> Option<Result<T, LaneError>>,
    ) -> Result<T, LaneError> {
        let given_up = pool.given_up;
        loop {
            if !pool.is_in(pass) {
                return Err(LaneError::Over);
            }
            if let Some(result) = ready(pool) {
                return result;
            }
            if pool.given_up != given_up {
                return Err(LaneError::Failed(pool.last_error.clone()));
            }
            self.changed.wait(pool);
        }
    }

    fn wake(&self) {
        if let Some(Wake(wake)) = self.wake.get() {
            wake();
        }
    }
}
