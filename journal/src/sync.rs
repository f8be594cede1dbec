//! The handle that makes durable. Group commit: whoever waits at the same time shares one fsync.

use crate::area::{Area, AreaConfig, AreaError, parse_name};
use crate::keep::{unneeded, wanted};
use crate::segment::Segment;
use crate::shared::{Shared, State};
use platform::killpoint::{self, KillPoint};
use protocol::SeqNo;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// So many full segments may wait for an fsync that nobody asks for. Each has an open descriptor until then, because closing it could lose the news
/// that writing back failed.
const MOST_UNSYNCED: usize = 32;

/// Why something is not durable.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// This fsync or an earlier one failed. It is not tried again (the kernel may have thrown the data away); the journal has to begin anew.
    #[error("fsync of the journal failed ({0}); it has to begin anew")]
    Poisoned(String),
}

/// Makes records durable. Clones share everything.
#[derive(Clone)]
pub struct Syncer {
    shared: Arc<Shared>,
}

impl Syncer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Everything up to here survives a power cut.
    pub fn durable(&self) -> SeqNo {
        self.shared.durable()
    }

    /// Makes everything durable that was appended before. See [`Syncer::sync_to`].
    pub fn sync(&self) -> Result<SeqNo, SyncError> {
        self.sync_to(self.shared.next().prev())
    }

    /// Makes everything up to `seq` durable and returns up to where it is. That is less than `seq` where records in memory are not trimmed yet, where `seq` was
    /// trimmed before it was durable, or where it was not appended. Callers that wait at the same time share one fsync.
    pub fn sync_to(&self, seq: SeqNo) -> Result<SeqNo, SyncError> {
        let shared = &*self.shared;
        loop {
            let mut round = shared.round.lock();
            if shared.is_poisoned() {
                return Err(SyncError::Poisoned("an earlier one".to_owned()));
            }
            if shared.durable() >= seq {
                return Ok(shared.durable());
            }
            if round.running {
                // That round may have begun before our records were appended: look again when it is over.
                shared.round_over.wait(&mut round);
                continue;
            }
            round.running = true;
            drop(round);
            let result = shared.sync_round();
            shared.round.lock().running = false;
            shared.round_over.notify_all();
            return result.map(|()| shared.durable()).map_err(|e| SyncError::Poisoned(e.to_string()));
        }
    }

    /// Slow work that would otherwise be done when it is needed, or not at all: makes the file of the next segment, chains in an extension when the areas before it
    /// are nearly full, gives back what an extension does not need. To be called now and then. An area that fails says so in its status.
    pub fn maintain(&self) -> io::Result<()> {
        let (wanted, unneeded, unsynced) = {
            let state = self.shared.state.lock();
            let waits =
                |segment: &&Arc<Segment>| !segment.volatile && segment.is_sealed() && segment.synced() < segment.next();
            (wanted(&state), unneeded(&state), state.live.iter().filter(waits).count())
        };
        if unsynced > MOST_UNSYNCED {
            self.sync().map_err(io::Error::other)?;
        }
        // An area that fails must not keep another from giving back.
        let mut result = Ok(());
        for area in wanted {
            let prepared = self.shared.prepare(area);
            result = result.and(prepared);
        }
        let given_back = self.shared.give_back(&unneeded);
        result.and(given_back)
    }

    /// One more area, used after all others. Its directory must not hold segments.
    pub fn add_area(&self, config: AreaConfig) -> Result<(), AreaError> {
        let dir = config.dir.clone();
        let area = Area::new(0, config)?;
        let failed = |cause| AreaError::Io { dir: dir.clone(), cause };
        self.shared.disk.make_dir(&dir).map_err(failed)?;
        let names = self.shared.disk.list(&dir).map_err(failed)?;
        let mut state = self.shared.state.lock();
        let known = state.areas.iter().any(|area| area.dir() == dir);
        if known || names.iter().any(|name| parse_name(name).is_some()) {
            return Err(AreaError::InUse(dir));
        }
        let id = state.next_area;
        state.next_area += 1;
        state.areas.push(Area { id, ..area });
        Ok(())
    }

    /// Removes an area that holds nothing that is needed, and its files.
    pub fn drop_area(&self, dir: &Path) -> Result<(), AreaError> {
        let files = {
            let state = self.shared.state.lock();
            let area = state.areas.iter().find(|area| area.dir() == dir);
            let area = area.ok_or_else(|| AreaError::Unknown(dir.to_owned()))?;
            if area.is_live() {
                return Err(AreaError::NotEmpty(dir.to_owned()));
            }
            area.slots.iter().map(|slot| area.slot_id(slot.index)).collect::<Vec<_>>()
        };
        self.shared.give_back(&files).map_err(|cause| AreaError::Io { dir: dir.to_owned(), cause })?;
        let mut state = self.shared.state.lock();
        // It may have been used again meanwhile.
        if state.areas.iter().any(|area| area.dir() == dir && !area.slots.is_empty()) {
            return Err(AreaError::NotEmpty(dir.to_owned()));
        }
        state.areas.retain(|area| area.dir() != dir);
        Ok(())
    }
}

impl Shared {
    fn sync_round(&self) -> io::Result<()> {
        let (chain, cuts): (Vec<(Arc<Segment>, SeqNo)>, u64) = {
            let state = self.state.lock();
            let lasting = state.live.iter().take_while(|segment| !segment.volatile);
            (lasting.map(|segment| (Arc::clone(segment), segment.next())).collect(), state.cuts)
        };
        for (segment, next) in chain.iter().filter(|(segment, next)| segment.synced() < *next) {
            killpoint::pass(KillPoint::JournalUnsynced);
            if let Err(e) = segment.file().and_then(|file| file.sync()) {
                if segment.is_retired() {
                    continue;
                }
                self.set_poisoned(true);
                return Err(e);
            }
            killpoint::pass(KillPoint::JournalSynced);
            segment.set_synced(*next);
        }
        let Some((_, next)) = chain.last() else { return Ok(()) };
        self.mark_vanished()?;
        self.raise_durable_of(&chain, next.prev(), cuts);
        Ok(())
    }

    /// What was before these segments in memory, or never synced, is trimmed. The disk has to know, or the chain would end there.
    fn mark_vanished(&self) -> io::Result<()> {
        let behind = |state: &State| state.vanished >= state.durable_oldest && state.vanished > 0;
        if !behind(&self.state.lock()) {
            return Ok(());
        }
        let _order = self.headers.lock();
        if behind(&self.state.lock()) {
            self.remark(self.next(), &[]).inspect_err(|_| self.set_poisoned(true))?;
        }
        Ok(())
    }

    /// Not when the journal began anew or was cut meanwhile: these numbers mean nothing then, or something else.
    fn raise_durable_of(&self, chain: &[(Arc<Segment>, SeqNo)], durable: SeqNo, cuts: u64) {
        let state = self.state.lock();
        let same = state.cuts == cuts
            && chain.first().is_some_and(|(segment, _)| state.incarnation == Some(segment.identity.incarnation));
        if same {
            self.raise_durable(durable);
        }
    }
}
