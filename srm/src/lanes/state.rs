//! The pool's state: what is queued, what is under way on which lane, what became of it. No waiting, no clock.

use super::piece::{Piece, judge};
use super::{LaneError, WINDOW_BYTES};
use bytes::Bytes;
use protocol::{CHUNK_BYTES, Incarnation, MAX_LANES, PieceAnswer, PieceOp, StageId};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Pieces under way on one lane.
const LANE_PIECES: usize = 256;
/// Attempts in a row, with no lane open, after which whoever waits is told that there are none.
pub(super) const GIVE_UP: u32 = 6;
/// Lanes that may break over one piece before it is taken for the reason.
pub(super) const MAX_TRIES: u32 = 6;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stand {
    #[default]
    Closed,
    /// A connection is being made.
    Opening,
    Open,
}

/// One lane. What is under way stays here when its connection breaks, until the next one of the same lane is let in.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub stand: Stand,
    /// The connection that has it.
    pub ticket: u64,
    pub under_way: BTreeMap<u64, Piece>,
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Stage {
    /// Pieces queued or under way.
    outstanding: usize,
    failed: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub limit: usize,
    pub link_up: bool,
    /// A rule holds what is queued.
    pub held: bool,
    pub incarnation: Option<Incarnation>,
    pub lanes: [Lane; MAX_LANES as usize],
    /// Counts how often whoever waits was told that there are no lanes.
    pub given_up: u64,
    pub last_error: String,
    pass: Option<u64>,
    /// The number of the last piece.
    last: u64,
    tickets: u64,
    queue: VecDeque<Piece>,
    /// Of everything that is queued or under way and wanted.
    bytes: usize,
    stages: HashMap<StageId, Stage>,
    /// Answers that somebody waits for; `None` until they come.
    answers: HashMap<u64, Option<Result<PieceAnswer, String>>>,
    /// Attempts in a row that opened no lane.
    failures: u32,
    /// Another lane is wanted, and that was said.
    more_wanted: bool,
}

impl State {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            link_up: false,
            held: false,
            incarnation: None,
            lanes: Default::default(),
            given_up: 0,
            last_error: String::new(),
            pass: None,
            last: 0,
            tickets: 0,
            queue: VecDeque::new(),
            bytes: 0,
            stages: HashMap::new(),
            answers: HashMap::new(),
            failures: 0,
            more_wanted: false,
        }
    }

    pub fn link(&mut self, up: bool) {
        if std::mem::replace(&mut self.link_up, up) != up {
            // What failed, failed because the session was going.
            self.failures = 0;
        }
    }

    pub fn begin(&mut self, pass: u64, incarnation: Incarnation) {
        self.end();
        self.pass = Some(pass);
        self.failures = 0;
        if self.incarnation.replace(incarnation) == Some(incarnation) {
            return;
        }
        // Lanes end with their session: nothing of them is under way in the next one.
        for lane in 0..self.lanes.len() {
            self.close(lane);
            let gone = std::mem::take(&mut self.lanes[lane].under_way);
            self.lanes[lane].bytes = 0;
            for piece in gone.into_values() {
                self.leave(piece, Ok(PieceAnswer::Done));
            }
        }
    }

    pub fn end(&mut self) {
        self.pass = None;
        self.answers.clear();
        for mut piece in std::mem::take(&mut self.queue) {
            self.unwant(&mut piece);
            self.leave(piece, Ok(PieceAnswer::Done));
        }
        self.abandon(|_| true);
        self.stages.retain(|_, stage| {
            stage.failed = None;
            stage.outstanding > 0
        });
    }

    pub fn is_in(&self, pass: u64) -> bool {
        self.pass == Some(pass)
    }

    pub fn open_lanes(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.stand == Stand::Open).count()
    }

    /// Pieces of a staging file that may still be carried out.
    pub fn outstanding(&self, stage: StageId) -> usize {
        self.stages.get(&stage).map_or(0, |stage| stage.outstanding)
    }

    /// Whether everything of a staging file went well so far.
    pub fn verdict(&self, stage: StageId) -> Result<(), LaneError> {
        match self.stages.get(&stage).and_then(|stage| stage.failed.clone()) {
            Some(text) => Err(LaneError::Failed(text)),
            None => Ok(()),
        }
    }

    /// A staging file is begun anew.
    pub fn forgive(&mut self, stage: StageId) {
        self.stages.remove(&stage);
    }

    /// One piece fits whatever its size.
    pub fn has_room(&self, cost: usize) -> bool {
        self.bytes == 0 || self.bytes + cost <= WINDOW_BYTES
    }

    pub fn push(&mut self, op: PieceOp, data: Bytes) -> u64 {
        self.last += 1;
        let piece = Piece::new(self.last, op, data);
        self.bytes += piece.cost();
        self.stages.entry(piece.op.stage()).or_default().outstanding += 1;
        self.queue.push_back(piece);
        self.last
    }

    /// Queues a piece that somebody waits for.
    pub fn ask(&mut self, op: PieceOp) -> u64 {
        let n = self.push(op, Bytes::new());
        self.answers.insert(n, None);
        n
    }

    pub fn take_answer(&mut self, n: u64) -> Option<Result<PieceAnswer, LaneError>> {
        match self.answers.get(&n) {
            Some(None) => None,
            Some(Some(_)) => self.answers.remove(&n).flatten().map(|answer| answer.map_err(LaneError::Failed)),
            // Of a pass that is over.
            None => Some(Err(LaneError::Over)),
        }
    }

    /// A lane that is to be opened now: one whose earlier connection left something, or one more because those that are
    /// open have as much under way as they may.
    pub fn next_lane(&mut self) -> Option<(usize, u64)> {
        self.more_wanted = false;
        self.incarnation.filter(|_| self.link_up && !self.held)?;
        let left = self.lanes.iter().position(|lane| lane.stand == Stand::Closed && !lane.under_way.is_empty());
        let lane = left.or_else(|| self.one_more())?;
        self.tickets += 1;
        (self.lanes[lane].stand, self.lanes[lane].ticket) = (Stand::Opening, self.tickets);
        Some((lane, self.tickets))
    }

    fn one_more(&self) -> Option<usize> {
        self.queue.front().filter(|_| !self.held)?;
        let within = &self.lanes[..self.limit];
        // One at a time: the one that comes may be enough.
        let busy = within.iter().all(|lane| match lane.stand {
            Stand::Opening => false,
            Stand::Closed => true,
            Stand::Open => self.is_full(lane),
        });
        within.iter().position(|lane| busy && lane.stand == Stand::Closed)
    }

    /// Whether somebody is to be told that another lane is wanted; once, until [`Self::next_lane`] is asked.
    pub fn wants_more(&mut self) -> bool {
        !self.more_wanted && self.one_more().is_some() && !std::mem::replace(&mut self.more_wanted, true)
    }

    fn is_full(&self, lane: &Lane) -> bool {
        let Some(next) = self.queue.front() else { return false };
        let window = (WINDOW_BYTES / self.limit).max(2 * usize::try_from(CHUNK_BYTES).unwrap_or(1 << 20));
        !lane.under_way.is_empty() && (lane.bytes + next.cost() > window || lane.under_way.len() >= LANE_PIECES)
    }

    /// The target has let a lane in: nothing of its earlier connection is under way, and what is still wanted of that goes
    /// out first.
    pub fn opened(&mut self, lane: usize) {
        self.failures = 0;
        self.lanes[lane].stand = Stand::Open;
        self.lanes[lane].bytes = 0;
        for piece in std::mem::take(&mut self.lanes[lane].under_way).into_values().rev() {
            if piece.live && piece.tries < MAX_TRIES {
                self.queue.push_front(piece);
            } else {
                let text = format!("given up after {} lanes broke over it: {}", piece.tries, self.last_error);
                self.leave(piece, Err(text));
            }
        }
    }

    /// The next piece for a lane: its number, itself.
    pub fn take(&mut self, lane: usize) -> Option<&Piece> {
        if self.held || lane >= self.limit || self.is_full(&self.lanes[lane]) {
            return None;
        }
        let mut piece = self.queue.pop_front()?;
        piece.tries += 1;
        let lane = &mut self.lanes[lane];
        lane.bytes += piece.cost();
        let n = piece.n;
        Some(lane.under_way.entry(n).or_insert(piece))
    }

    /// What became of a piece. `false`: the target speaks of one that this lane did not send.
    pub fn answered(&mut self, lane: usize, n: u64, answer: PieceAnswer) -> bool {
        let Some(piece) = self.lanes[lane].under_way.remove(&n) else { return false };
        self.lanes[lane].bytes -= piece.cost();
        let result = judge(&piece.op, answer);
        self.leave(piece, result);
        true
    }

    /// A connection ended; what was under way on it stays until the lane is let in anew.
    pub fn close(&mut self, lane: usize) {
        self.lanes[lane].stand = Stand::Closed;
    }

    /// A lane could not be opened, or broke.
    pub fn failed(&mut self, reason: &str) {
        reason.clone_into(&mut self.last_error);
        if self.open_lanes() > 0 {
            return;
        }
        self.failures += 1;
        if self.failures < GIVE_UP {
            return;
        }
        let text = format!("no lane to the target: {reason}");
        self.given_up += 1;
        self.last_error.clone_from(&text);
        for piece in std::mem::take(&mut self.queue) {
            self.leave(piece, Err(text.clone()));
        }
        for stage in self.stages.values_mut() {
            stage.failed.get_or_insert_with(|| text.clone());
        }
        for answer in self.answers.values_mut() {
            answer.get_or_insert_with(|| Err(text.clone()));
        }
        self.abandon(|lane| lane.stand != Stand::Open);
    }

    /// What is under way on these lanes is not wanted any more.
    fn abandon(&mut self, which: impl Fn(&Lane) -> bool) {
        let mut freed = 0;
        for lane in self.lanes.iter_mut().filter(|lane| which(lane)) {
            for piece in lane.under_way.values_mut().filter(|piece| piece.live) {
                piece.live = false;
                freed += piece.cost();
            }
        }
        self.bytes -= freed;
    }

    fn unwant(&mut self, piece: &mut Piece) {
        if std::mem::take(&mut piece.live) {
            self.bytes -= piece.cost();
        }
    }

    /// A piece is over: nothing of it is queued or under way.
    fn leave(&mut self, mut piece: Piece, result: Result<PieceAnswer, String>) {
        let wanted = piece.live;
        self.unwant(&mut piece);
        let id = piece.op.stage();
        if let Some(stage) = self.stages.get_mut(&id) {
            stage.outstanding -= 1;
            match (&result, wanted) {
                (Err(text), true) => drop(stage.failed.get_or_insert_with(|| text.clone())),
                _ if stage.outstanding == 0 && stage.failed.is_none() => drop(self.stages.remove(&id)),
                _ => {}
            }
        }
        if let Some(answer) = self.answers.get_mut(&piece.n).filter(|_| wanted) {
            *answer = Some(result);
        }
    }
}
