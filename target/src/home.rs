//! One replica while a session has it: its directories, its place in the stream, what of that is durable.

use crate::apply::Fault;
use crate::clean::Clean;
use crate::kept::Marker;
use crate::limits::Limits;
use crate::position::{Boot, SlotFile, State};
use crate::quota::Quota;
use crate::stages::Stages;
use crate::status::Facts;
use crate::undo::Undo;
use parking_lot::Mutex;
use platform::awake::Awake;
use platform::killpoint::{self, KillPoint};
use platform::machine::{self, Disk};
use protocol::{Incarnation, Name, Position, ReplicaId, SeqNo};
use rustix::fs::{Advice, AtFlags};
use rustix::io::Errno;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The kernel keeps content of files in pieces of up to so many bytes, and forgets a piece whole or not.
const CACHED_BYTES: u64 = 2 << 20;

/// The position as it is written with every record.
#[derive(Debug)]
pub(crate) struct Book {
    file: SlotFile,
    state: Option<State>,
}

/// The position that survives a power cut.
#[derive(Debug)]
struct Durable {
    file: SlotFile,
    state: Option<State>,
}

/// A replica's directories and books.
#[derive(Debug)]
pub(crate) struct Home {
    pub name: Name,
    pub replica: ReplicaId,
    /// ROOT/NAME.
    pub tree: OwnedFd,
    /// ROOT/.replfs/NAME.
    pub meta: OwnedFd,
    /// ROOT/.replfs/NAME/orphan.
    pub orphans: OwnedFd,
    /// ROOT/.replfs/NAME/aside.
    pub aside: OwnedFd,
    /// ROOT/.replfs/NAME/stage.
    pub stages: Stages,
    /// The mark of a clean end as it was when the session began.
    pub clean: Option<Clean>,
    /// Nothing was in the replica when the session began.
    pub empty: bool,
    /// The last coherent state is kept while there is none.
    pub keeps_images: bool,
    /// Told when the source seems to wait for each record.
    pub awake: Arc<Awake>,
    /// What takes the replica back to the last coherent state, while it is none and could not be cloned.
    pub undo: Undo,
    /// What its source may do to the disk.
    pub limits: Limits,
    /// Whether anything is kept that is not in force.
    pub kept: Marker,
    /// What it takes of the disk.
    pub quota: Quota,
    boot: Boot,
    // Lock order: `durable` before `book`; never the other way round.
    book: Mutex<Book>,
    durable: Mutex<Durable>,
    /// The disk has reported a lost write: nothing after the last good sync is durable until a repair is through (R14).
    lost_writes: Mutex<Option<String>>,
}

/// The directories of a replica, opened.
pub(crate) struct Directories {
    pub tree: OwnedFd,
    pub meta: OwnedFd,
    pub orphans: OwnedFd,
    pub aside: OwnedFd,
    pub stages: OwnedFd,
}

impl Home {
    /// Reads the books. After another boot without a clean end only the durable position counts, and the replica holds
    /// unknown parts of what came later: that is damage.
    pub fn open(name: Name, replica: ReplicaId, dirs: Directories, empty: bool) -> io::Result<Self> {
        let now = Boot::current()?;
        let (file, here) = SlotFile::open(dirs.meta.as_fd(), "position")?;
        let (durable_file, synced) = SlotFile::open(dirs.meta.as_fd(), "durable")?;
        let mut clean = Clean::read(dirs.meta.as_fd())?;
        let mut book = Book { file, state: here };
        if here.is_none_or(|state| state.boot != now) {
            book.state = standing(now, None, synced, clean.as_ref());
            if let Some(state) = &book.state {
                book.file.store(state)?;
            }
        }
        // A mark that is not of this place in the stream was left by something that this build does not know.
        clean = clean.filter(|c| book.state.is_some_and(|s| c.is_of(s.incarnation, s.applied)));
        let Directories { tree, meta, orphans, aside, stages } = dirs;
        let stages = Stages::new(stages);
        // Of a coherent replica nothing is taken back: its end was in the books before it was removed.
        if book.state.is_none_or(|state| state.coherent) {
            Undo::default().forget(meta.as_fd())?;
        }
        let undo = Undo::open(meta.as_fd())?;
        let kept = Marker::read(meta.as_fd())?;
        let quota = Quota::new(&name, Limits::default());
        let durable = Mutex::new(Durable { file: durable_file, state: synced });
        let (book, lost_writes) = (Mutex::new(book), Mutex::new(None));
        Ok(Self {
            name,
            replica,
            tree,
            meta,
            orphans,
            aside,
            stages,
            clean,
            empty,
            keeps_images: false,
            awake: Arc::default(),
            undo,
            limits: Limits::default(),
            kept,
            quota,
            boot: now,
            book,
            durable,
            lost_writes,
        })
    }

    /// The state as of now; `None` before the first record ever.
    pub fn state(&self) -> Option<State> {
        self.book.lock().state
    }

    /// The position as a source is told it.
    pub fn position(&self) -> Option<Position> {
        let durable = self.durable.lock();
        let state = self.book.lock().state?;
        let durable = durable.seq_of(state.incarnation).min(state.applied);
        Some(Position {
            incarnation: state.incarnation,
            applied: SeqNo::new(state.applied),
            durable: SeqNo::new(durable),
        })
    }

    /// Begins a run of numbers after `applied`: nothing is known of the replica, files without a name are gone. Staging
    /// files stay: an interrupted copy goes on with what it has.
    pub fn start(&self, incarnation: Incarnation, applied: u64) -> io::Result<()> {
        self.quota.unsure();
        self.forget_orphans()?;
        let mut book = self.book.lock();
        let lost = book.state.is_some_and(|state| state.lost);
        book.write(State { lost, ..State::start(self.boot, incarnation, applied) })
    }

    /// Removes files without a name: nobody on the source has them open any more.
    pub fn forget_orphans(&self) -> io::Result<()> {
        for orphan in platform::sys::dir::names(self.orphans.as_fd())? {
            match self.undo.unlink(self.orphans.as_fd(), orphan.as_bytes(), AtFlags::empty()) {
                // No file of ours: it stays.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Notes that record `seq` is being applied, and the inodes of its names as far as they matter; before anything is done.
    pub fn intend(&self, seq: u64, inodes: [u64; 2]) -> io::Result<()> {
        self.book.lock().change(|state| {
            state.applying = seq;
            state.inodes = inodes;
        })
    }

    /// Notes that record `seq` is applied, with what else it changed. Answers whether the replica is coherent.
    pub fn applied(&self, seq: u64, also: impl FnOnce(&mut State)) -> io::Result<bool> {
        let mut book = self.book.lock();
        book.change(|state| {
            state.applied = seq;
            state.applying = 0;
            also(state);
        })?;
        let state = book.state.unwrap_or_else(|| unreachable!("changed above"));
        if state.damage == 0 {
            *self.lost_writes.lock() = None;
        }
        Ok(state.coherent)
    }

    /// What can be kept only at a cost is not kept: repair goes on all the same, once nobody can take the log for one that has everything.
    pub fn give_up_undo(&self, facts: &Facts, text: &str) -> io::Result<()> {
        self.undo.forget(self.meta.as_fd())?;
        self.quota.undo(0);
        self.quota.unsure();
        tracing::warn!(name = %self.name, "the last coherent state is not kept any more: {text}");
        facts.update(|s| s.undo = None);
        facts.error(format!("the last coherent state is not kept any more: {text}"));
        Ok(())
    }

    /// Something failed for want of room, and what the undo log holds is room: `true` where it was given up for that.
    pub fn make_room(&self, facts: &Facts, fault: &Fault) -> bool {
        matches!(fault.errno, Some(Errno::NOSPC | Errno::DQUOT))
            && self.undo.is_active()
            && self.give_up_undo(facts, &fault.text).is_ok()
    }

    /// Notes damage outside of any record, seen while `seq` was the last one: the disk has lost what was written to it.
    pub fn damaged(&self, seq: u64) -> io::Result<()> {
        self.book.lock().change(|state| {
            state.damage = state.damage.max(seq).max(1);
            (state.coherent, state.power_lost, state.lost) = (false, false, true);
        })
    }

    /// The same, seen by the record that is being applied: whether that is damage is found out with it.
    pub fn lost(&self) {
        if let Err(e) = self.book.lock().change(|state| state.lost = true) {
            tracing::error!(name = %self.name, "cannot write the position: {}", crate::error::text(&e));
        }
    }

    /// Before a replica is compared whose disk has lost writes: they may still be in memory and be taken for what the disk has, so that is forgotten,
    /// in this part of a file.
    pub fn forget_cached(&self, file: impl AsFd, range: &Range<u64>) {
        if self.state().is_none_or(|state| !state.lost) {
            return;
        }
        let from = range.start / CACHED_BYTES * CACHED_BYTES;
        let len = NonZeroU64::new(range.end.next_multiple_of(CACHED_BYTES) - from);
        if let Err(error) = rustix::fs::fadvise(file, from, len, Advice::DontNeed) {
            tracing::debug!(%error, "what is in memory is compared");
        }
    }

    /// Before a source is told what is applied: what a process that was killed had not synced yet, though it was asked to, is durable now, or damage is noted.
    pub fn finish_syncs(&self) -> io::Result<()> {
        let Some(state) = self.state().filter(|state| state.syncing != 0) else { return Ok(()) };
        if let Err(error) = self.make_durable() {
            tracing::error!(name = %self.name, "the disk lost writes: {}", error.text);
            self.damaged(state.applied)?;
        }
        self.synced()
    }

    /// Nothing that was asked to be durable is not.
    pub fn synced(&self) -> io::Result<()> {
        if self.state().is_none_or(|state| state.syncing == 0) {
            return Ok(());
        }
        self.book.lock().change(|state| state.syncing = 0)
    }

    /// Makes durable what is applied now. Answers the durable position.
    pub fn make_durable(&self) -> Result<u64, SyncError> {
        let mut durable = self.durable.lock();
        // Captured before the sync and written after it: what is applied meanwhile does not count (R14).
        let Some(state) = self.state() else { return Ok(0) };
        if durable.state.is_some_and(|d| State { boot: d.boot, ..state.at_rest() } == d) {
            return Ok(state.applied);
        }
        if let Some(text) = self.lost_writes.lock().as_ref() {
            return Err(SyncError { text: text.clone(), first: false, applied: state.applied });
        }
        killpoint::pass(KillPoint::TargetCaptured);
        if let Err(e) = machine::disk(Disk::TargetSync).and_then(|()| Ok(rustix::fs::syncfs(&self.tree)?)) {
            let text = crate::error::text(&e);
            *self.lost_writes.lock() = Some(text.clone());
            return Err(SyncError { text, first: true, applied: state.applied });
        }
        killpoint::pass(KillPoint::TargetSynced);
        let resting = state.at_rest();
        durable.file.store_durably(&resting).map_err(|e| SyncError {
            text: format!("cannot write the durable position: {}", crate::error::text(&e)),
            first: false,
            applied: state.applied,
        })?;
        durable.state = Some(resting);
        Ok(state.applied)
    }

    /// Everything applied is durable, damage and coherence included.
    pub fn is_durable(&self) -> bool {
        let durable = self.durable.lock();
        match (durable.state, self.state()) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(d), Some(s)) => State { boot: d.boot, ..s.at_rest() } == d,
        }
    }
}

/// Where a replica stands: `here` is what was written with every record, `synced` what survives a power cut.
pub(crate) fn standing(now: Boot, here: Option<State>, synced: Option<State>, clean: Option<&Clean>) -> Option<State> {
    if let Some(state) = here.filter(|state| state.boot == now) {
        return Some(state);
    }
    let synced = synced?;
    let ended_clean = clean.is_some_and(|c| c.is_of(synced.incarnation, synced.applied));
    let damage = if ended_clean { synced.damage } else { synced.damage.max(synced.applied).max(1) };
    let power_lost = damage != 0 && (synced.damage == 0 || synced.power_lost);
    let coherent = synced.coherent && damage == 0;
    // What was in memory has gone with it.
    Some(State { boot: now, applying: 0, damage, coherent, power_lost, lost: false, ..synced })
}

/// A sync that failed.
#[derive(Debug)]
pub(crate) struct SyncError {
    pub text: String,
    /// The disk lost writes, and this is the first that is heard of it.
    pub first: bool,
    /// The last record that was applied before.
    pub applied: u64,
}

impl Durable {
    fn seq_of(&self, incarnation: Incarnation) -> u64 {
        self.state.filter(|s| s.incarnation == incarnation).map_or(0, |s| s.applied)
    }
}

impl Book {
    fn write(&mut self, state: State) -> io::Result<()> {
        self.file.store(&state)?;
        self.state = Some(state);
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        // Records are numbered within a run, and a run begins with `start`.
        let mut state = self.state.ok_or_else(|| io::Error::other("no run of numbers has begun"))?;
        change(&mut state);
        self.write(state)
    }
}
