//! Where in a file of the target content-defined chunks are, told by the target over the lanes, within bounds. What is made
//! of it is in `shift`.

use super::shift::Old;
use crate::lanes::{Chunk, LaneError, Lanes};
use platform::sys::content::hash;
use platform::sys::cut::Cutter;
use protocol::StageId;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Of larger files only parts are looked at to find out how much the target has.
const PROBE_ALL_BYTES: u64 = 16 << 20;
const PROBES: u64 = 8;
const PROBE_BYTES: u64 = 2 << 20;
/// Where the target has less than one byte in so many, blocks are compared instead.
const WORTH: u64 = 4;

/// Chunks that are known at once, some 64 bytes of memory each.
const MAX_KNOWN: usize = 1 << 17;
/// Chunks are known up to here beyond the place in the new file, and kept from here before it on.
const AHEAD_BYTES: u64 = 2 << 30;
const BEHIND_BYTES: u64 = 1 << 30;

/// Where in the target's file chunks are: of all of it, or of a part around the place that the new file is at.
pub(super) struct Index<'a> {
    lanes: &'a Lanes,
    number: u64,
    stage: StageId,
    old: &'a Old,
    /// By the first half of the hash; a copy is checked by all of it.
    places: HashMap<u64, u64>,
    /// The same in order.
    order: VecDeque<(u64, u64)>,
    /// Up to where the file's chunks were told.
    end: u64,
    ended: bool,
}

impl<'a> Index<'a> {
    pub fn new(lanes: &'a Lanes, number: u64, stage: StageId, old: &'a Old) -> Self {
        let (places, order) = (HashMap::new(), VecDeque::new());
        Self { lanes, number, stage, old, places, order, end: 0, ended: false }
    }

    /// The new file is at this place: asks for more where there is something to come.
    pub fn come_to(&mut self, place: u64) -> Result<(), LaneError> {
        while !self.ended && self.end < place.saturating_add(AHEAD_BYTES) && self.make_room(place) {
            let chunks = self.lanes.chunks(self.number, self.stage, &self.old.path, self.end)?;
            self.ended = chunks.is_empty();
            for Chunk { len, hash } in chunks {
                let key = key(hash);
                self.places.entry(key).or_insert(self.end);
                self.order.push_back((key, self.end));
                self.end = self.end.saturating_add(len.into());
            }
            self.ended |= self.end >= self.old.size;
        }
        Ok(())
    }

    /// Forgets what lies far behind, if there is no room for more. `false`: there is no room.
    fn make_room(&mut self, place: u64) -> bool {
        let kept_from = place.saturating_sub(BEHIND_BYTES);
        while self.order.len() >= MAX_KNOWN {
            let Some((key, at)) = self.order.front().copied().filter(|(_, at)| *at < kept_from) else { return false };
            self.order.pop_front();
            if self.places.get(&key) == Some(&at) {
                self.places.remove(&key);
            }
        }
        true
    }

    pub fn find(&self, hash: [u8; 16]) -> Option<u64> {
        self.places.get(&key(hash)).copied()
    }

    /// Whether enough of a file is known, by parts of it.
    pub fn has_much_of(&self, fd: &OwnedFd, size: u64) -> io::Result<bool> {
        let span = size.min(AHEAD_BYTES);
        let (probes, len) = if span <= PROBE_ALL_BYTES { (1, span) } else { (PROBES, PROBE_BYTES) };
        let (mut looked_at, mut found) = (0, 0);
        for probe in 0..probes {
            let start = span / probes * probe;
            let mut cutter = Cutter::new(fd.as_fd(), start);
            while let Some(chunk) = cutter.next()?.filter(|chunk| chunk.offset < start + len) {
                // The first one of a part begins where none would.
                if chunk.offset > start || start == 0 {
                    let bytes = chunk.data.len() as u64;
                    looked_at += bytes;
                    found += self.find(hash(chunk.data)).map_or(0, |_| bytes);
                }
            }
        }
        Ok(found > 0 && found >= looked_at / WORTH)
    }
}

fn key(hash: [u8; 16]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}
