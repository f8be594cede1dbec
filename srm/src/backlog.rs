//! What is numbered and not yet applied by the target: frames in order, within a bound (S3, S5). With a journal each of them is appended to
//! it before it counts; those that are sent next are in memory besides, and the rest is read back when its turn comes. Without one all are in memory only.

use journal::{AppendError, Journal, ReadError, Reader, Syncer};
use platform::killpoint::{self, KillPoint};
use platform::machine::{self, Disk};
use protocol::{Draft, Frame, Incarnation, SeqNo};
use std::collections::VecDeque;
use std::io;

/// What one frame costs in memory beyond its bytes.
const FRAME_OVERHEAD_BYTES: u64 = 96;

/// Frames that are kept in memory where a journal has them too, in bytes, while a target takes them; at least what may be in flight. What is beyond it is read back, until all of that
/// is sent: an eighth of what a source spends on a stream of large writes (docs/decisions/0032).
const KEPT_BYTES: u64 = 64 << 20;

/// The same while none does: memory that is used for the first time costs a write more than what is used again and again.
const KEPT_IDLE_BYTES: u64 = 16 << 20;

/// Frames that are read back at once, in bytes.
const READ_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct Queued {
    frame: Frame,
    stamp: u64,
}

/// Why a record was not queued.
#[derive(Debug)]
pub enum Full {
    /// It is beyond the bound.
    Bound,
    /// The journal could not take it.
    Journal(String),
}

/// The queue of one target. Numbers in it are contiguous.
pub struct Backlog {
    /// The oldest, as many as are in memory.
    frames: VecDeque<Queued>,
    /// The oldest number that can still be sent; `next` where there is none.
    oldest: SeqNo,
    /// The number that is given out next.
    next: SeqNo,
    bytes: u64,
    /// Bytes that were ever queued, but for what was given up.
    queued_bytes: u64,
    /// Of `bytes`, in memory.
    kept_bytes: u64,
    /// The most that was since it was last asked for.
    most_kept_bytes: u64,
    /// The bound where there is no journal, which has its own.
    limit_bytes: u64,
    /// The number that is sent next; between the oldest and `next`.
    cursor: SeqNo,
    /// The newest number that was ever handed out to be sent, by an earlier daemon perhaps.
    sent: SeqNo,
    in_flight_bytes: u64,
    /// Something was taken to be sent since the connection was last lost.
    is_taken: bool,
    store: Option<Store>,
}

/// Where frames are that are not in memory.
struct Store {
    journal: Journal,
    /// Stands behind the frames in memory.
    reader: Option<Reader>,
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backlog").field("oldest", &self.oldest).field("next", &self.next).finish_non_exhaustive()
    }
}

/// A place behind the newest record of a moment.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    next: SeqNo,
    queued_bytes: u64,
    journal: Option<journal::Place>,
}

impl Place {
    /// The newest number before it.
    pub fn newest(&self) -> SeqNo {
        self.next.prev()
    }
}

/// Bounds on what is sent and not yet applied (S3).
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Bytes.
    pub bytes: u64,
    /// Operations.
    pub operations: u64,
}

fn cost(frame: &Frame) -> u64 {
    frame.len() as u64 + FRAME_OVERHEAD_BYTES
}

impl Backlog {
    /// An empty queue of at most `limit_bytes` in memory, whose first number is 1.
    pub fn new(limit_bytes: u64) -> Self {
        let first = SeqNo::ZERO.next();
        Self {
            frames: VecDeque::new(),
            oldest: first,
            next: first,
            bytes: 0,
            queued_bytes: 0,
            kept_bytes: 0,
            most_kept_bytes: 0,
            limit_bytes,
            cursor: first,
            sent: SeqNo::ZERO,
            in_flight_bytes: 0,
            is_taken: false,
            store: None,
        }
    }

    /// A queue in a journal, with what is there already where `resumed`; `limit_bytes` counts if the journal is given up. An error: not all that the journal has
    /// can be read.
    pub fn journaled(journal: Journal, resumed: bool, limit_bytes: u64) -> Result<Self, ReadError> {
        let mut backlog = Self::new(limit_bytes);
        let (oldest, next) = (journal.oldest(), journal.next());
        if resumed {
            let mut reader = journal.reader(oldest);
            while let Some(entry) = reader.read()? {
                backlog.bytes += cost(&entry.frame);
            }
            (backlog.oldest, backlog.next, backlog.cursor) = (oldest, next, oldest);
            // How much of it the daemon before this one sent is not known.
            backlog.sent = next.prev();
        }
        backlog.store = Some(Store { journal, reader: None });
        if resumed {
            // How old the oldest is may be asked before any of it is sent.
            backlog.load()?;
        }
        Ok(backlog)
    }

    /// A new run of numbers begins. An error: what was in the journal before may come back after a crash.
    pub fn begin(&mut self, incarnation: Incarnation) -> io::Result<()> {
        assert!(self.operations() == 0, "a new run of numbers begins with nothing queued");
        match &mut self.store {
            Some(store) => {
                store.reader = None;
                store.journal.begin(incarnation, self.next)
            }
            None => Ok(()),
        }
    }

    /// The journal is given up: what is queued from now on is in memory only. What was queued is gone.
    pub fn without_journal(&mut self) {
        self.clear();
        self.store = None;
    }

    /// The handle that does the journal's slow work beside.
    pub fn syncer(&self) -> Option<Syncer> {
        self.store.as_ref().map(|store| store.journal.syncer())
    }

    /// Where the journal's records are.
    pub fn areas(&self) -> Vec<journal::AreaStatus> {
        self.store.as_ref().map(|store| store.journal.areas()).unwrap_or_default()
    }

    /// Numbers a record and queues it. An error: it does not fit; nothing happened.
    pub fn push(&mut self, draft: Draft, stamp: u64, tolerant: bool) -> Result<SeqNo, Full> {
        let seq = self.next;
        let frame = draft.number(seq, stamp, tolerant);
        let cost = cost(&frame);
        let mut keeps = true;
        match &mut self.store {
            Some(store) => {
                machine::disk(Disk::Journal).map_err(|error| Full::Journal(error.to_string()))?;
                store.journal.append(&frame, seq, stamp).map_err(|error| match error {
                    AppendError::Full => Full::Bound,
                    error => Full::Journal(error.to_string()),
                })?;
                killpoint::pass(KillPoint::Journaled);
                // What is sent next must be read without a gap.
                let most = if self.is_taken { KEPT_BYTES } else { KEPT_IDLE_BYTES };
                keeps = self.loaded() == seq && self.kept_bytes + cost <= most;
            }
            None if self.bytes + cost > self.limit_bytes => return Err(Full::Bound),
            None => {}
        }
        self.bytes += cost;
        self.queued_bytes += cost;
        self.next = seq.next();
        if keeps {
            self.keep(Queued { frame, stamp });
        }
        Ok(seq)
    }

    fn keep(&mut self, queued: Queued) {
        self.kept_bytes += cost(&queued.frame);
        self.most_kept_bytes = self.most_kept_bytes.max(self.kept_bytes);
        self.frames.push_back(queued);
    }

    /// The first number that is not in memory.
    fn loaded(&self) -> SeqNo {
        SeqNo::new(self.oldest.get() + self.frames.len() as u64)
    }

    /// The oldest number that can still be sent; the next number where there is none.
    pub fn oldest(&self) -> SeqNo {
        self.oldest
    }

    /// The newest number given out.
    pub fn newest(&self) -> SeqNo {
        self.next.prev()
    }

    /// The newest number that a target can have.
    pub fn sent(&self) -> SeqNo {
        self.sent
    }

    /// The number that is sent next.
    pub fn next_to_send(&self) -> SeqNo {
        self.cursor
    }

    /// Everything up to `applied` is done with. Numbers that were never given out are ignored. An error: the journal cannot be read.
    pub fn acknowledge(&mut self, applied: SeqNo) -> Result<(), ReadError> {
        while self.oldest <= applied && self.oldest < self.next {
            if self.frames.is_empty() {
                self.load()?;
            }
            let Some(done) = self.frames.pop_front() else { break };
            let cost = cost(&done.frame);
            self.bytes -= cost;
            self.kept_bytes -= cost;
            if self.oldest < self.cursor {
                self.in_flight_bytes -= cost;
            }
            self.oldest = self.oldest.next();
        }
        self.cursor = self.cursor.max(self.oldest);
        if let Some(store) = &mut self.store {
            store.journal.trim(self.oldest.prev());
        }
        Ok(())
    }

    /// Sending goes on after `applied`, which must be at least the number before the oldest.
    pub fn rewind(&mut self, applied: SeqNo) -> Result<(), ReadError> {
        self.acknowledge(applied)?;
        self.cursor = self.oldest;
        self.in_flight_bytes = 0;
        Ok(())
    }

    /// The next frame to send, if there is one and the window has room for it. One frame always fits an empty window. An error: the
    /// journal cannot be read.
    pub fn take(&mut self, window: Window) -> Result<Option<Frame>, ReadError> {
        if self.cursor == self.loaded() && self.cursor < self.next {
            self.load()?;
        }
        let Ok(index) = usize::try_from(self.cursor.since(self.oldest)) else { return Ok(None) };
        let Some(queued) = self.frames.get(index) else { return Ok(None) };
        let full = index as u64 >= window.operations || self.in_flight_bytes + cost(&queued.frame) > window.bytes;
        if full && index > 0 {
            return Ok(None);
        }
        self.in_flight_bytes += cost(&queued.frame);
        self.is_taken = true;
        self.sent = self.sent.max(self.cursor);
        self.cursor = self.cursor.next();
        Ok(Some(queued.frame.clone()))
    }

    /// There is no connection any more that takes anything.
    pub fn lost(&mut self) {
        self.is_taken = false;
    }

    /// Reads back what comes after the frames in memory.
    fn load(&mut self) -> Result<(), ReadError> {
        let from = self.loaded();
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut reader = match store.reader.take() {
            Some(reader) if reader.next_seq() == from => reader,
            _ => store.journal.reader(from),
        };
        let mut read = 0;
        while read < READ_BYTES
            && let Some(entry) = reader.read()?
        {
            read += cost(&entry.frame);
            self.keep(Queued { frame: entry.frame, stamp: entry.stamp });
        }
        if let Some(store) = &mut self.store {
            store.reader = Some(reader);
        }
        Ok(())
    }

    /// Where the next record is queued.
    pub fn place(&self) -> Place {
        let journal = self.store.as_ref().map(|store| store.journal.place());
        Place { next: self.next, queued_bytes: self.queued_bytes, journal }
    }

    /// Gives up everything behind a place, of which nothing was sent; the next number is that place's again. `false`: it stays as it is. An error: the
    /// journal can take nothing more before a new run of numbers.
    pub fn cut(&mut self, place: &Place) -> Result<bool, AppendError> {
        if self.cursor > place.next || self.oldest > place.next || self.next <= place.next {
            return Ok(false);
        }
        match (&mut self.store, &place.journal) {
            (Some(store), Some(place)) => {
                if !store.journal.cut(place)? {
                    return Ok(false);
                }
                store.reader = None;
            }
            (None, None) => {}
            // The journal was given up meanwhile.
            (Some(_), None) | (None, Some(_)) => return Ok(false),
        }
        self.bytes -= std::mem::replace(&mut self.queued_bytes, place.queued_bytes) - place.queued_bytes;
        self.next = place.next;
        while self.loaded() > place.next
            && let Some(cut) = self.frames.pop_back()
        {
            self.kept_bytes -= cost(&cut.frame);
        }
        Ok(true)
    }

    /// Throws everything away; numbers go on (R1: a backlog is swallowed whole or not at all).
    pub fn clear(&mut self) {
        self.frames.clear();
        (self.bytes, self.kept_bytes, self.in_flight_bytes) = (0, 0, 0);
        (self.cursor, self.oldest) = (self.next, self.next);
        // Of the run that ends, which nobody can hold against anybody any more.
        self.sent = self.newest();
        if let Some(store) = &mut self.store {
            store.reader = None;
            store.journal.trim(self.next.prev());
        }
    }

    /// Bytes queued.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The most that was in memory since this was last asked.
    pub fn take_most_kept(&mut self) -> u64 {
        std::mem::replace(&mut self.most_kept_bytes, self.kept_bytes)
    }

    /// Bytes as counted against the bound: of a journal they are given back in larger pieces.
    pub fn used_bytes(&self) -> u64 {
        self.store.as_ref().map_or(self.bytes, |store| store.journal.bytes())
    }

    /// The bound in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.store.as_ref().map_or(self.limit_bytes, |store| store.journal.limit_bytes())
    }

    /// Operations queued.
    pub fn operations(&self) -> u64 {
        self.next.get() - self.oldest.get()
    }

    /// Operations that are sent and not applied.
    pub fn in_flight(&self) -> u64 {
        self.cursor.since(self.oldest)
    }

    /// Operations that are queued and not sent.
    pub fn unsent(&self) -> u64 {
        self.next.since(self.cursor)
    }

    /// Bytes that are queued and not sent.
    pub fn unsent_bytes(&self) -> u64 {
        self.bytes - self.in_flight_bytes
    }

    /// When the oldest of those was numbered, as below, where it is in memory.
    pub fn oldest_unsent_stamp(&self) -> Option<u64> {
        let index = usize::try_from(self.cursor.since(self.oldest)).ok()?;
        self.frames.get(index).map(|queued| queued.stamp)
    }

    /// When the oldest queued operation was numbered: nanoseconds since 1970 on the source's clock.
    pub fn oldest_stamp(&self) -> Option<u64> {
        self.frames.front().map(|queued| queued.stamp)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
