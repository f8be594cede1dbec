//! Files ahead of their time, and files that are given back. All of it is slow, and none of it has to be done to be right.

use crate::area::{AreaKind, Use};
use crate::segment::SlotId;
use crate::shared::{Shared, State};
use std::io;
use std::path::PathBuf;

/// An area is made ready when those before it are used to this part.
const CHAIN_IN_PERCENT: u64 = 90;

/// An extension's files are given back when the areas before it are used to less than this part.
const GIVE_BACK_PERCENT: u64 = 75;

/// Areas that need a file for the next segment.
pub fn wanted(state: &State) -> Vec<u32> {
    let mut wanted = Vec::new();
    let (mut used, mut bound) = (0, 0);
    // A journal that is not in use takes nothing.
    if state.live.is_empty() {
        return wanted;
    }
    for area in &state.areas {
        if used * 100 < bound * CHAIN_IN_PERCENT {
            break;
        }
        if !area.has_spare() && area.has_room() {
            wanted.push(area.id);
        }
        used += area.used_bytes();
        bound += area.config.bytes;
    }
    wanted
}

/// Files that can be given back.
pub fn unneeded(state: &State) -> Vec<SlotId> {
    let mut files = Vec::new();
    let (mut used, mut bound) = (0, 0);
    for area in &state.areas {
        let spare = area.config.kind == AreaKind::Extension && used * 100 < bound * GIVE_BACK_PERCENT;
        let unneeded = area.slots.iter().filter(|slot| spare && slot.state == Use::Free || area.is_misfit(slot));
        files.extend(unneeded.map(|slot| area.slot_id(slot.index)));
        used += area.used_bytes();
        bound += area.config.bytes;
    }
    files
}

struct Victim {
    id: SlotId,
    path: PathBuf,
    dir: PathBuf,
    /// Of its newest header.
    generation: u64,
    was: Use,
}

impl Shared {
    /// Removes files that are free. First the mark moves past what was in them, in a header that stays.
    pub fn give_back(&self, files: &[SlotId]) -> io::Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let _order = self.headers.lock();
        let mut victims = self.take_out(files);
        let marked = if victims.is_empty() { Ok(None) } else { self.remark(self.next(), files) };
        if marked.is_err() {
            self.put_back(&victims);
        }
        let stays = marked?.is_some_and(|id| self.state.lock().areas.iter().any(|a| a.id == id.area && !a.volatile()));
        // Where no mark stays on a disk, the newest header goes last: it covers the others until they are gone.
        victims.sort_by_key(|victim| victim.generation);
        let split = if stays { victims.len() } else { victims.len().saturating_sub(1) };
        let (first, last) = victims.split_at(split);
        self.remove_all(first)?;
        self.remove_all(last)
    }

    fn take_out(&self, files: &[SlotId]) -> Vec<Victim> {
        let mut victims = Vec::new();
        let mut state = self.state.lock();
        for id in files {
            let Some(area) = state.area(id.area) else { continue };
            let (path, dir) = (area.path(id.index), area.dir().to_owned());
            let Some(slot) = area.slot_mut(id.index) else { continue };
            if matches!(slot.state, Use::Free | Use::Broken) {
                let generation = slot.header.map_or(0, |header| header.mark.generation);
                victims.push(Victim { id: *id, path, dir, generation, was: slot.state });
                slot.state = Use::Busy;
            }
        }
        victims
    }

    fn put_back(&self, victims: &[Victim]) {
        let mut state = self.state.lock();
        for victim in victims {
            state.set_use(victim.id, victim.was);
        }
    }

    fn remove_all(&self, victims: &[Victim]) -> io::Result<()> {
        let mut result = Ok(());
        let mut dirs: Vec<&PathBuf> = Vec::new();
        for victim in victims {
            match self.disk.remove(&victim.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    result = Err(e);
                    self.state.lock().set_use(victim.id, Use::Broken);
                }
                _ => {
                    let mut state = self.state.lock();
                    if let Some(area) = state.area(victim.id.area) {
                        area.slots.retain(|slot| slot.index != victim.id.index);
                    }
                }
            }
            if !dirs.contains(&&victim.dir) {
                dirs.push(&victim.dir);
            }
        }
        for dir in dirs {
            result = result.and(self.disk.sync_dir(dir));
        }
        result
    }
}
