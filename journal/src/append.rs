//! The handle that appends and trims: one per journal. An append is one `pwritev` into a segment that has its place already.

use crate::area::AreaStatus;
use crate::disk::Disk;
use crate::header::DATA_AT;
use crate::open::{Config, Recovered};
use crate::reader::Reader;
use crate::record;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::sync::Syncer;
use platform::killpoint::{self, KillPoint};
use protocol::frame::HEAD_BYTES as FRAME_HEAD_BYTES;
use protocol::{Frame, Incarnation, SeqNo};
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why a record was not appended. The journal is as it was before, and takes the next one with the same number.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No area has room for another segment: all are at their bound, or their file systems are full.
    #[error("the journal is full")]
    Full,
    /// Longer than the largest segment of any area.
    #[error("a record of {bytes} bytes does not fit any segment of the journal; its areas are too small")]
    TooLarge {
        /// What it takes in a segment.
        bytes: u64,
    },
    /// An fsync failed before. Nothing is known of what the disk holds until the journal begins anew.
    #[error("an earlier fsync of the journal failed; it has to begin anew")]
    Poisoned,
    /// The system refused.
    #[error("journal segment {path}: {cause}")]
    Io {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// An open journal: appends and trims.
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    /// What is appended to; `None`: the next record begins a segment.
    pub(crate) head: Option<Head>,
}

pub(crate) struct Head {
    pub segment: Arc<Segment>,
    pub file: Arc<dyn crate::disk::DiskFile>,
    pub at: u64,
}

impl Journal {
    /// Opens what is there, and says what that is and what is damaged. Reads all records once and checks them; nothing in the files makes it fail, only an
    /// area that is too small. Where nothing is found, or it is not to be continued, `begin` comes before the first `append`.
    pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<(Self, Recovered), crate::area::AreaError> {
        let opened = crate::open::open(disk, config)?;
        let head = opened.head.and_then(|segment| {
            let file = segment.file().ok()?;
            Some(Head { at: segment.end(), segment, file })
        });
        Ok((Self { shared: opened.shared, head }, opened.recovered))
    }

    /// Forgets everything and starts a new chain, whose first record has the number `first`. When this returns, what was there before does not come back, also
    /// after a power cut. After an error it may; nothing can be appended until this succeeds.
    pub fn begin(&mut self, incarnation: Incarnation, first: SeqNo) -> io::Result<()> {
        self.head = None;
        let shared = &self.shared;
        let _order = shared.headers.lock();
        {
            let mut state = shared.state.lock();
            while state.retire_front().is_some() {}
            state.incarnation = Some(incarnation);
            state.last_serial = 0;
        }
        shared.bytes.store(0, Ordering::Relaxed);
        shared.set_next(first);
        shared.set_oldest(first);
        shared.reset_durable(first.prev());
        let marked = shared.remark(first, &[]);
        shared.set_poisoned(marked.is_err());
        marked.map(|_| ())
    }

    /// Appends a frame that carries the number `seq`, the one after the last, and this time stamp. It is readable when this returns, survives a crash of this
    /// process, and is durable when [`Syncer`] says so.
    pub fn append(&mut self, frame: &Frame, seq: SeqNo, stamp: u64) -> Result<(), AppendError> {
        assert!(seq == self.shared.next(), "record {seq} after {}", self.shared.next().prev());
        if self.shared.is_poisoned() {
            return Err(AppendError::Poisoned);
        }
        let space = record::space(frame.len());
        let fits = self.head.as_ref().is_some_and(|head| head.at + space <= head.segment.identity.bytes);
        if !fits {
            self.roll(seq, stamp, space)?;
        }
        let Some(head) = &mut self.head else { return Err(AppendError::Full) };
        let salt = head.segment.identity.salt;
        let record_head = record::encode(salt, seq, frame.len(), &frame.front[..FRAME_HEAD_BYTES]);
        let parts = [IoSlice::new(&record_head), IoSlice::new(&frame.front), IoSlice::new(&frame.payload)];
        if killpoint::is_due(KillPoint::JournalTorn) {
            let _half = head.file.write(head.at + record_head.len() as u64, &parts[1..]);
            killpoint::die(KillPoint::JournalTorn);
        }
        head.file.write(head.at, &parts).map_err(|cause| AppendError::Io { path: head.segment.path.clone(), cause })?;
        head.at += space;
        head.segment.publish(head.at, seq.next());
        self.shared.bytes.fetch_add(space, Ordering::Relaxed);
        self.shared.set_next(seq.next());
        Ok(())
    }

    fn roll(&mut self, seq: SeqNo, stamp: u64, space: u64) -> Result<(), AppendError> {
        let segment = self.shared.claim(seq, stamp, space)?;
        killpoint::pass(KillPoint::JournalRoll);
        let file = segment.file().map_err(|cause| AppendError::Io { path: segment.path.clone(), cause });
        self.seal();
        self.head = Some(Head { file: file?, at: DATA_AT, segment });
        Ok(())
    }

    /// The next record begins a segment; what is left of this one counts as used.
    fn seal(&mut self) {
        if let Some(old) = self.head.take() {
            self.shared.bytes.fetch_add(old.segment.identity.bytes - old.at, Ordering::Relaxed);
            old.segment.seal();
        }
    }

    /// Everything up to `up_to` is not needed any more: segments that hold nothing else are free. No I/O.
    pub fn trim(&mut self, up_to: SeqNo) {
        self.free(up_to);
        killpoint::pass(KillPoint::JournalTrim);
        if self.can_move_forward(up_to) {
            self.seal();
            self.free(up_to);
        }
    }

    fn free(&self, up_to: SeqNo) {
        let mut state = self.shared.state.lock();
        while state.live.front().is_some_and(|front| front.is_sealed() && front.next() <= up_to.next()) {
            let Some(freed) = state.retire_front() else { break };
            self.shared.bytes.fetch_sub(freed.capacity(), Ordering::Relaxed);
        }
        self.shared.set_oldest(state.live.front().map_or(self.shared.next(), |front| front.identity.first));
    }

    /// Everything is done with, and an area before this one has room again.
    fn can_move_forward(&self, up_to: SeqNo) -> bool {
        let Some(head) = self.head.as_ref().filter(|head| head.segment.next() <= up_to.next()) else { return false };
        let state = self.shared.state.lock();
        let mut before = state.areas.iter().take_while(|area| area.id != head.segment.slot.area);
        before.any(|area| area.trouble.is_none() && area.has_room())
    }

    /// The oldest record that can be read; the next number where there is none.
    pub fn oldest(&self) -> SeqNo {
        self.shared.oldest()
    }

    /// The number that is appended next.
    pub fn next(&self) -> SeqNo {
        self.shared.next()
    }

    /// Reads on from `from`, beside what is appended meanwhile. A number that is trimmed is an error when it is read.
    pub fn reader(&self, from: SeqNo) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// The handle that makes durable. Any number of them, in any thread.
    pub fn syncer(&self) -> Syncer {
        Syncer::new(Arc::clone(&self.shared))
    }

    /// Everything up to here survives a power cut.
    pub fn durable(&self) -> SeqNo {
        self.shared.durable()
    }

    /// What of `limit_bytes` cannot be appended to any more, in bytes.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// What all areas together can hold, in bytes of records with their heads.
    pub fn limit_bytes(&self) -> u64 {
        self.shared.state.lock().areas.iter().map(crate::area::Area::limit_bytes).sum()
    }

    /// The areas, in the order in which they are used.
    pub fn areas(&self) -> Vec<AreaStatus> {
        self.shared.state.lock().areas.iter().map(crate::area::Area::status).collect()
    }
}
