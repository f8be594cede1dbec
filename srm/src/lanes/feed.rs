//! What the lanes' connections pull from the pool and report to it. They run elsewhere; nothing here waits.

use super::Lanes;
use super::state::{Stand, State};
use protocol::{Frame, LaneHello, Name, PieceAnswer, VERSION};

/// A connection's right to a lane, until it ends or another one gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which lane.
    pub lane: u8,
    ticket: u64,
}

/// The connection has no lane any more: the run of numbers that it greeted with is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl Lanes {
    /// A lane to open now, if one is wanted; to be asked again whenever something changes.
    pub fn next_lane(&self) -> Option<Seat> {
        let (lane, ticket) = self.state.lock().next_lane()?;
        Some(Seat { lane: u8::try_from(lane).ok()?, ticket })
    }

    /// The greeting of a lane.
    pub fn hello(&self, seat: Seat, name: &Name) -> Result<LaneHello, Over> {
        let state = self.state.lock();
        let incarnation = state.incarnation.filter(|_| state.link_up && has(&state, seat)).ok_or(Over)?;
        Ok(LaneHello { version: VERSION, name: name.clone(), incarnation, lane: seat.lane })
    }

    /// The target takes pieces.
    pub fn opened(&self, seat: Seat) -> Result<(), Over> {
        let mut state = self.state.lock();
        if !has(&state, seat) {
            return Err(Over);
        }
        state.opened(seat.lane.into());
        drop(state);
        self.changed.notify_all();
        self.wake();
        Ok(())
    }

    /// The next frame to send, if there is one and it may be sent now.
    pub fn next_piece(&self, seat: Seat) -> Result<Option<Frame>, Over> {
        let mut state = self.state.lock();
        if !has(&state, seat) {
            return Err(Over);
        }
        let Some(piece) = state.take(seat.lane.into()) else {
            if state.wants_more() {
                drop(state);
                self.wake();
            }
            return Ok(None);
        };
        let (n, op, data) = (piece.n, piece.op.clone(), piece.data.clone());
        // Checksums are taken without the lock.
        drop(state);
        Ok(Some(Frame::piece(n, &op, data)))
    }

    /// Nothing is under way on this lane.
    pub fn is_idle(&self, seat: Seat) -> bool {
        let state = self.state.lock();
        !has(&state, seat) || state.lanes[usize::from(seat.lane)].under_way.is_empty()
    }

    /// An answer. `Ok(false)`: to a piece that was not sent.
    pub fn answered(&self, seat: Seat, n: u64, answer: PieceAnswer) -> Result<bool, Over> {
        let mut state = self.state.lock();
        if !has(&state, seat) {
            return Err(Over);
        }
        let known = state.answered(seat.lane.into(), n, answer);
        drop(state);
        self.changed.notify_all();
        // There may be room in the lane's window.
        self.wake();
        Ok(known)
    }

    /// A lane could not be opened, or its connection broke; before [`Self::ended`].
    pub fn lost(&self, seat: Seat, reason: &str) {
        let mut state = self.state.lock();
        if !has(&state, seat) {
            return;
        }
        let reason = crate::said::words(reason);
        state.close(seat.lane.into());
        state.failed(&reason);
        drop(state);
        tracing::debug!(event = "lane-down", lane = seat.lane, reason, "no lane");
        self.changed.notify_all();
    }

    /// The connection has ended, for whatever reason.
    pub fn ended(&self, seat: Seat) {
        let mut state = self.state.lock();
        if has(&state, seat) {
            state.close(seat.lane.into());
            drop(state);
            self.changed.notify_all();
            self.wake();
        }
    }
}

fn has(state: &State, seat: Seat) -> bool {
    let lane = &state.lanes[usize::from(seat.lane)];
    lane.ticket == seat.ticket && lane.stand != Stand::Closed
}
