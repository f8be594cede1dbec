//! What a machine that lost power at some moment finds on its disk: everything that was flushed, and of the rest what chance left.

use super::SECTOR;
use super::log::{Entry, Log};
use crate::seed::Random;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Written at once to a file, or left out where it is all zeros.
const PART: usize = 1 << 14;

/// What becomes of what was written since the last flush. Several writes of one sector are in the order in which they were made: of a subset of them the
/// last counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// All is lost.
    Dropped,
    /// All is there.
    Kept,
    /// One sector in so many is there: writes are torn, and whatever order they had is gone.
    OneIn(u64),
    /// One sector in so many is lost.
    AllButOneIn(u64),
    /// Each write is there as a whole or not at all.
    Whole,
    /// The older half is lost, the newer is there.
    Newer,
}

impl Fate {
    /// Any of them.
    pub fn any(random: &mut Random) -> Self {
        *random.pick(&[
            Self::Dropped,
            Self::Kept,
            Self::OneIn(2),
            Self::OneIn(2),
            Self::OneIn(8),
            Self::AllButOneIn(8),
            Self::Whole,
            Self::Newer,
        ])
    }
}

/// A disk as of a moment, that was `image` when its log began.
pub fn rebuilt(mut image: Vec<u8>, log: &Log, position: u64, fate: Fate, random: &mut Random) -> Vec<u8> {
    let entries = log.until(position);
    let flushed = entries.iter().rposition(|entry| entry.flush).map_or(0, |at| at + usize::from(!wrote(&entries[at])));
    for entry in &entries[..flushed] {
        put(&mut image, log, entry, 0..entry.len);
    }
    let pending = &entries[flushed..];
    for (n, entry) in pending.iter().enumerate() {
        let whole = entry.fua || random.once_in(2);
        for from in (0..entry.len).step_by(SECTOR) {
            let there = match fate {
                Fate::Dropped => entry.fua,
                Fate::Kept => true,
                Fate::OneIn(of) => entry.fua | random.once_in(of),
                Fate::AllButOneIn(of) => entry.fua | !random.once_in(of),
                Fate::Whole => whole,
                Fate::Newer => entry.fua | (n >= pending.len() / 2),
            };
            if there {
                put(&mut image, log, entry, from..(from + SECTOR).min(entry.len));
            }
        }
    }
    image
}

fn wrote(entry: &Entry) -> bool {
    !entry.data.is_empty()
}

fn put(image: &mut [u8], log: &Log, entry: &Entry, part: std::ops::Range<usize>) {
    let Some(place) = image.get_mut(entry.at + part.start..entry.at + part.end) else { return };
    if entry.discard { place.fill(0) } else { place.copy_from_slice(&log.data(entry)[part]) }
}

/// Writes it to a file with holes where there is nothing. Errors: the file cannot be written.
pub fn save(image: &[u8], to: &Path) -> Result<()> {
    let cannot = || format!("cannot write {}", to.display());
    let file = File::create(to).with_context(cannot)?;
    file.set_len(image.len() as u64).with_context(cannot)?;
    let zeros = [0; PART];
    for (n, part) in image.chunks(PART).enumerate() {
        // Whole slices: byte by byte takes seconds in a build that is not optimized.
        if part != &zeros[..part.len()] {
            file.write_all_at(part, (n * PART) as u64).with_context(cannot)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::log::Recorder;
    use super::*;

    fn log() -> (Log, u64) {
        let mut recorder = Recorder::new();
        recorder.write(0, &[1; 2 * SECTOR]);
        recorder.flush();
        recorder.write(0, &[2; SECTOR]);
        recorder.write(SECTOR as u64, &[3; 3 * SECTOR]);
        let position = recorder.position();
        recorder.flush();
        (Log::parse(recorder.bytes().to_vec()).unwrap(), position)
    }

    fn firsts(image: &[u8]) -> Vec<u8> {
        image.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_as_fate_has_it() {
        let (log, position) = log();
        let at = |position, fate| firsts(&rebuilt(vec![0; 5 * SECTOR], &log, position, fate, &mut Random::new(1)));
        assert_eq!(at(position, Fate::Dropped), [1, 1, 0, 0, 0]);
        assert_eq!(at(position, Fate::Kept), [2, 3, 3, 3, 0]);
        assert_eq!(at(position, Fate::Newer), [1, 3, 3, 3, 0]);
        assert_eq!(at(position + 512, Fate::Dropped), [2, 3, 3, 3, 0], "flushed");
        assert_eq!(at(0, Fate::Kept), [0; 5]);
    }

    #[test]
    fn any_subset_of_what_was_not_flushed_comes_up() {
        let (log, position) = log();
        let seen: std::collections::BTreeSet<_> = (0..200)
            .map(|seed| firsts(&rebuilt(vec![0; 5 * SECTOR], &log, position, Fate::OneIn(2), &mut Random::new(seed))))
            .collect();
        assert_eq!(seen.len(), 16, "each of four sectors old or new");
        let whole = (0..200)
            .map(|seed| firsts(&rebuilt(vec![0; 5 * SECTOR], &log, position, Fate::Whole, &mut Random::new(seed))));
        assert_eq!(whole.collect::<std::collections::BTreeSet<_>>().len(), 4, "two writes");
    }
}
