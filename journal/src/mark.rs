//! Writing headers: a file becomes the next segment of the chain, or the mark moves without one.
//!
//! A header is durable before the first record behind it is written. So a file that is used again never holds new records under an old header,
//! the order of the chain is that of the disk, and whatever was overwritten is known to be trimmed.

use crate::append::AppendError;
use crate::area::{Room, Slot, Use};
use crate::disk::DiskFile;
use crate::header::{Header, Identity, Mark, PAGE_BYTES};
use crate::segment::{Segment, SlotId};
use crate::shared::{Shared, State};
use platform::killpoint::{self, KillPoint};
use protocol::{Incarnation, SeqNo};
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

/// A file that was set aside for the next segment.
struct Chosen {
    id: SlotId,
    path: PathBuf,
    dir: PathBuf,
    bytes: u64,
    volatile: bool,
    create: bool,
    page: usize,
    ours: bool,
}

/// Writes both copies. The one that is not the newest is first, and durable before the other is touched. `ours`: so was what is there.
fn put(file: &dyn DiskFile, page: usize, header: &Header, volatile: bool, ours: bool) -> io::Result<()> {
    let bytes = header.encode();
    if !volatile && !ours {
        file.sync()?;
    }
    file.write((page * PAGE_BYTES) as u64, &[IoSlice::new(&bytes)])?;
    if !volatile {
        killpoint::pass(KillPoint::JournalUnsynced);
        file.sync()?;
        killpoint::pass(KillPoint::JournalSynced);
    }
    // The header counts from here on, whatever becomes of its second copy: an error now would say that it does not, and the next header would be
    // written over the only good one.
    let _ = file.write(((1 - page) * PAGE_BYTES) as u64, &[IoSlice::new(&bytes)]);
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Shared {
    /// The next segment of the chain, beginning with `first`, in the first area that has room for a record of `need` bytes. An area that fails is passed
    /// over, and its status says why.
    pub fn claim(&self, first: SeqNo, stamp: u64, need: u64) -> Result<Arc<Segment>, AppendError> {
        let _order = self.headers.lock();
        match self.claim_in_any(first, stamp, need) {
            Err(AppendError::Full) => {
                // The last file there is room for may just be made ahead of its time.
                drop(self.making.lock());
                self.claim_in_any(first, stamp, need)
            }
            result => result,
        }
    }

    fn claim_in_any(&self, first: SeqNo, stamp: u64, need: u64) -> Result<Arc<Segment>, AppendError> {
        let areas: Vec<u32> = self.state.lock().areas.iter().map(|area| area.id).collect();
        let mut refusal = None;
        let mut fits = false;
        for id in areas {
            let chosen = {
                let mut state = self.state.lock();
                let Some(area) = state.area(id).filter(|area| area.capacity() >= need) else { continue };
                fits = true;
                area.room_set_aside()
            };
            let Some(chosen) = chosen else { continue };
            match self.claim_in(&chosen, first, stamp) {
                Ok(segment) => return Ok(segment),
                Err(e) => {
                    let mut state = self.state.lock();
                    if let Some(area) = state.area(id) {
                        area.trouble = Some(e.to_string());
                    }
                    if !is_full(&e) {
                        refusal = Some(AppendError::Io { path: chosen.path, cause: e });
                    }
                }
            }
        }
        Err(match refusal {
            _ if !fits => AppendError::TooLarge { bytes: need },
            Some(refusal) => refusal,
            None => AppendError::Full,
        })
    }

    fn claim_in(&self, chosen: &Chosen, first: SeqNo, stamp: u64) -> io::Result<Arc<Segment>> {
        let file = if chosen.create { self.make(chosen) } else { self.disk.open(&chosen.path) };
        let file = file.inspect_err(|_| self.give_up(chosen))?;
        let salt = self.disk.random().inspect_err(|_| self.give_up(chosen))?;
        let header = {
            let mut state = self.state.lock();
            let serial = state.next_serial;
            state.next_serial += 1;
            let incarnation = state.incarnation.expect("a number is appended after `begin` only");
            let before = state.last_serial;
            let segment = Identity { incarnation, serial, before, first, salt, bytes: chosen.bytes, stamp };
            let front = state.live.front().map_or((serial, first), |s| (s.identity.serial, s.identity.first));
            Header { segment, mark: state.next_mark(self.boot, incarnation, front) }
        };
        let written = put(&*file, chosen.page, &header, chosen.volatile, chosen.ours);
        let mut state = self.state.lock();
        if let Err(e) = written {
            // It may be on the disk all the same: a mark has to be able to cover it.
            if let Some(slot) = state.area(chosen.id.area).and_then(|area| area.slot_mut(chosen.id.index)) {
                slot.state = Use::Broken;
                slot.header = slot.header.or(Some(header));
            }
            return Err(e);
        }
        let segment =
            Segment::new(header.segment, chosen.id, chosen.path.clone(), chosen.volatile, Arc::clone(&self.disk));
        let segment = Arc::new(segment);
        state.noted(chosen.id, header, chosen.page, Use::Live, chosen.volatile);
        state.last_serial = header.segment.serial;
        state.live.push_back(Arc::clone(&segment));
        Ok(segment)
    }

    /// The next segment of the chain in the file of one that is given up for it, beginning with `first` behind the segment `before`. The caller holds `headers`.
    pub fn claim_over(
        &self,
        old: &Segment,
        before: u64,
        first: SeqNo,
        file: &dyn DiskFile,
    ) -> io::Result<Arc<Segment>> {
        let salt = self.disk.random()?;
        let (header, page, ours) = {
            let mut state = self.state.lock();
            let serial = state.next_serial;
            state.next_serial += 1;
            let Identity { incarnation, bytes, stamp, .. } = old.identity;
            let segment = Identity { incarnation, serial, before, first, salt, bytes, stamp };
            let front = state.live.front().filter(|front| front.identity.serial <= before);
            let front = front.map_or((serial, first), |front| (front.identity.serial, front.identity.first));
            let slot = state.area(old.slot.area).and_then(|area| area.slot_mut(old.slot.index));
            let (page, ours) = slot.map_or((0, false), |slot| (1 - slot.page, slot.ours));
            (Header { segment, mark: state.next_mark(self.boot, incarnation, front) }, page, ours)
        };
        put(file, page, &header, old.volatile, ours)?;
        let segment = Segment::new(header.segment, old.slot, old.path.clone(), old.volatile, Arc::clone(&self.disk));
        self.state.lock().noted(old.slot, header, page, Use::Live, old.volatile);
        Ok(Arc::new(segment))
    }

    /// A new file, whose name is durable. One that is there and was not when the journal was opened is somebody's, and stays.
    fn make(&self, chosen: &Chosen) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(&chosen.path, chosen.bytes, !chosen.volatile)?;
        if chosen.volatile {
            return Ok(file);
        }
        let lasting = file.sync().and_then(|()| self.disk.sync_dir(&chosen.dir));
        // Not to be in the way of the next attempt.
        lasting.map(|()| file).inspect_err(|_| drop(self.disk.remove(&chosen.path)))
    }

    /// Nothing was written to the file that was set aside.
    fn give_up(&self, chosen: &Chosen) {
        let mut state = self.state.lock();
        let Some(area) = state.area(chosen.id.area) else { return };
        if chosen.create {
            area.slots.retain(|slot| slot.index != chosen.id.index);
        } else if let Some(slot) = area.slot_mut(chosen.id.index) {
            slot.state = Use::Broken;
        }
    }

    /// Makes a file for this area ahead of its time, unless there is one or no room for one.
    pub fn prepare(&self, area: u32) -> io::Result<()> {
        let _making = self.making.lock();
        let chosen = {
            let mut state = self.state.lock();
            let Some(area) = state.area(area).filter(|area| matches!(area.room(), Room::Create(_))) else {
                return Ok(());
            };
            area.room_set_aside()
        };
        let Some(chosen) = chosen else { return Ok(()) };
        let made = self.make(&chosen);
        let mut state = self.state.lock();
        if let Some(area) = state.area(chosen.id.area) {
            area.trouble = made.as_ref().err().map(ToString::to_string);
        }
        if made.is_ok() {
            state.set_use(chosen.id, Use::Free);
        } else {
            drop(state);
            self.give_up(&chosen);
        }
        made.map(|_| ())
    }

    /// Moves the mark to what the chain is now, in a header that is there already and not one of `avoid`: on a disk if there is any. `None`: there is
    /// no such header, so no old one either that could be taken for the truth. The caller holds `headers`.
    pub fn remark(&self, base: SeqNo, avoid: &[SlotId]) -> io::Result<Option<SlotId>> {
        let (id, path, header, page, volatile, ours) = {
            let mut state = self.state.lock();
            let Some(incarnation) = state.incarnation else { return Ok(None) };
            let Some((id, path, slot, volatile)) = state.marker(avoid) else { return Ok(None) };
            let Some(old) = slot.header else { return Ok(None) };
            let next_serial = state.next_serial;
            let front = state.live.front().map_or((next_serial, base), |s| (s.identity.serial, s.identity.first));
            let mark = state.next_mark(self.boot, incarnation, front);
            (id, path, Header { segment: old.segment, mark }, 1 - slot.page, volatile, slot.ours)
        };
        let written = self.disk.open(&path).and_then(|file| put(&*file, page, &header, volatile, ours));
        let mut state = self.state.lock();
        match written {
            Ok(()) => {
                let used = state.area(id.area).and_then(|area| area.slot_mut(id.index)).map(|slot| slot.state);
                state.noted(id, header, page, used.unwrap_or(Use::Free), volatile);
                Ok(Some(id))
            }
            Err(e) => Err(e),
        }
    }
}

impl crate::area::Area {
    fn room_set_aside(&mut self) -> Option<Chosen> {
        let (index, create) = match self.room() {
            Room::Slot(index) => (index, false),
            Room::Create(index) => {
                let bytes = self.segment_bytes;
                self.slots.push(Slot { index, bytes, state: Use::Busy, header: None, page: 1, ours: true });
                (index, true)
            }
            Room::None => return None,
        };
        let slot = self.slot_mut(index)?;
        slot.state = Use::Busy;
        let (page, ours) = (1 - slot.page, slot.ours);
        Some(Chosen {
            id: self.slot_id(index),
            path: self.path(index),
            dir: self.config.dir.clone(),
            bytes: self.segment_bytes,
            volatile: self.volatile(),
            create,
            page,
            ours,
        })
    }
}

impl State {
    fn next_mark(&mut self, boot: [u8; 16], incarnation: Incarnation, (oldest, base): (u64, SeqNo)) -> Mark {
        self.generation += 1;
        Mark { generation: self.generation, boot, incarnation, oldest, base }
    }

    /// A header was written, and is durable unless it is in memory.
    fn noted(&mut self, id: SlotId, header: Header, page: usize, state: Use, volatile: bool) {
        if !volatile {
            self.durable_oldest = self.durable_oldest.max(header.mark.oldest);
        }
        let Some(area) = self.area(id.area) else { return };
        area.trouble = None;
        if let Some(slot) = area.slot_mut(id.index) {
            *slot = Slot { header: Some(header), page, state, ours: true, ..*slot };
        }
    }

    /// Where a mark can be written without a new segment: on a disk before in memory, in a segment of the chain before elsewhere, the newest of them.
    fn marker(&self, avoid: &[SlotId]) -> Option<(SlotId, PathBuf, Slot, bool)> {
        let all = self.areas.iter().flat_map(|area| area.slots.iter().map(move |slot| (area, slot)));
        let usable = all.filter(|(area, slot)| {
            slot.header.is_some()
                && matches!(slot.state, Use::Free | Use::Live | Use::Broken)
                && !avoid.contains(&area.slot_id(slot.index))
        });
        let rank = |(area, slot): &(&crate::area::Area, &Slot)| {
            let serial = slot.header.map_or(0, |header| header.segment.serial);
            (!area.volatile(), slot.state == Use::Live, serial)
        };
        let (area, slot) = usable.max_by_key(rank)?;
        Some((area.slot_id(slot.index), area.path(slot.index), slot.clone(), area.volatile()))
    }
}
