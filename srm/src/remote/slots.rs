//! Which paths a target may have changed ahead of its source, for the daemon that comes after one that was killed (R13): a small file beside the
//! journal, with a slot for each proposal that is not settled. Pure storage: what is done about them stands in `restart` and `decide`.
//!
//! It is written into the page cache and counts in the boot that wrote it only, as the journal's memory does. Slots are 16 KiB long and begin one behind
//! the other; one that does not begin with the magic is free.
//!
//! ```text
//!  0  8  magic "RFPROP" and the version of the format, 1, in two bytes
//!  8 16  boot id
//! 24  4  number of paths, 1 or 2; 0: they were too long, and it could be any
//! 28  4  length of the first path in bytes
//! 32  4  length of the second path in bytes
//! 36  4  CRC-32C of bytes 0 to 36 and of the paths
//! 40     the first path, then the second
//! ```
//! All integers are little endian.

use parking_lot::Mutex;
use protocol::RelPath;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"RFPROP\x01\x00";
const SLOT_BYTES: usize = 16 << 10;
const HEAD_BYTES: usize = 40;
const CRC_AT: usize = 36;
/// More than operations can be under way.
const MOST: u64 = 4096;

/// The file of one daemon.
#[derive(Debug)]
pub(crate) struct Slots {
    path: PathBuf,
    boot: [u8; 16],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made with the first proposal.
    file: Option<File>,
    free: Vec<u64>,
    /// Those from here on were never used.
    next: u64,
}

/// A slot in use. It is free when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
}

/// What a daemon left.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What was not settled. The slots stay in use.
    pub left: Vec<(Vec<RelPath>, Slot)>,
    /// There is more, and nobody knows what.
    pub unknown: bool,
}

fn encode(boot: [u8; 16], paths: &[RelPath]) -> Vec<u8> {
    let len = |index: usize| paths.get(index).map_or(0, |path| path.as_bytes().len());
    let fits = paths.len() <= 2 && HEAD_BYTES + len(0) + len(1) <= SLOT_BYTES;
    let paths = if fits { paths } else { &[] };
    let len = |index: usize| paths.get(index).map_or(0, |path| u32::try_from(path.as_bytes().len()).unwrap_or(0));
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 256);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&boot);
    bytes.extend_from_slice(&u32::try_from(paths.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&len(0).to_le_bytes());
    bytes.extend_from_slice(&len(1).to_le_bytes());
    let mut crc = crc32c::crc32c(&bytes);
    for path in paths {
        crc = crc32c::crc32c_append(crc, path.as_bytes());
    }
    bytes.extend_from_slice(&crc.to_le_bytes());
    for path in paths {
        bytes.extend_from_slice(path.as_bytes());
    }
    bytes
}

/// What a slot says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Free,
    Paths(Vec<RelPath>),
    Unknown,
}

fn decode(boot: [u8; 16], slot: &[u8]) -> Said {
    if slot.len() < MAGIC.len() || slot[..8] != MAGIC {
        // Crossed out; or cut short, or of another version.
        return if slot.iter().take(HEAD_BYTES).all(|byte| *byte == 0) { Said::Free } else { Said::Unknown };
    }
    let Some((head, rest)) = slot.split_at_checked(HEAD_BYTES) else { return Said::Unknown };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let lens = [word(28) as usize, word(32) as usize];
    let Some(text) = lens[0].checked_add(lens[1]).and_then(|len| rest.get(..len)) else { return Said::Unknown };
    if crc32c::crc32c_append(crc32c::crc32c(&head[..CRC_AT]), text) != word(CRC_AT) {
        return Said::Unknown;
    }
    if head[8..24] != boot {
        return Said::Free;
    }
    let (first, second) = text.split_at(lens[0]);
    let paths: Option<Vec<RelPath>> = match word(24) {
        1 => RelPath::new(first).ok().map(|path| vec![path]),
        2 => RelPath::new(first).ok().zip(RelPath::new(second).ok()).map(|(first, second)| vec![first, second]),
        _ => None,
    };
    paths.map_or(Said::Unknown, Said::Paths)
}

/// The paths of a slot; `None` where it has none that can be believed.
pub(crate) fn left_in(boot: [u8; 16], slot: &[u8]) -> Option<Vec<RelPath>> {
    match decode(boot, slot) {
        Said::Paths(paths) => Some(paths),
        Said::Free | Said::Unknown => None,
    }
}

/// A slot of these paths.
pub(crate) fn slot_of(boot: [u8; 16], paths: &[RelPath]) -> Vec<u8> {
    encode(boot, paths)
}

impl Slots {
    /// The file at `path`. With `go_on` what another daemon left there is read and stays; otherwise it is forgotten.
    pub fn open(path: PathBuf, boot: [u8; 16], go_on: bool) -> io::Result<(Arc<Self>, Found)> {
        let read = match std::fs::read(&path) {
            Ok(bytes) if go_on => bytes,
            Ok(_) => {
                std::fs::remove_file(&path)?;
                Vec::new()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let slots = Arc::new(Self { path, boot, state: Mutex::default() });
        let mut found = Found::default();
        let mut number = 0;
        for slot in read.chunks(SLOT_BYTES) {
            match decode(boot, slot) {
                Said::Free => slots.state.lock().free.push(number),
                Said::Paths(paths) => found.left.push((paths, Slot { slots: Arc::clone(&slots), number })),
                Said::Unknown => {
                    found.unknown = true;
                    found.left.push((Vec::new(), Slot { slots: Arc::clone(&slots), number }));
                }
            }
            number += 1;
        }
        slots.state.lock().next = number;
        Ok((slots, found))
    }

    /// Writes down what a target is about to change. An error: it must not be asked to.
    pub fn note(self: &Arc<Self>, paths: &[RelPath]) -> io::Result<Slot> {
        let mut state = self.state.lock();
        if state.file.is_none() {
            let options = File::options().write(true).create(true).truncate(false).open(&self.path);
            state.file = Some(options?);
        }
        let number = match state.free.pop() {
            Some(number) => number,
            None if state.next < MOST => {
                state.next += 1;
                state.next - 1
            }
            None => return Err(io::Error::other("too many operations wait for the target")),
        };
        let slot = Slot { slots: Arc::clone(self), number };
        let written = write(&state, number, &encode(self.boot, paths));
        // The slot's own end takes this lock.
        drop(state);
        written.map(|()| slot)
    }

    /// Removes the file: the next mount begins anew.
    pub fn remove(path: &Path) {
        // Where nothing was ever proposed there is none.
        let _none = std::fs::remove_file(path);
    }
}

fn write(state: &State, number: u64, bytes: &[u8]) -> io::Result<()> {
    let Some(file) = &state.file else { return Ok(()) };
    file.write_all_at(bytes, number * SLOT_BYTES as u64)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        if state.file.is_none() {
            // One that an earlier daemon used, in a file that this one has not written to yet.
            state.file = File::options().write(true).open(&self.slots.path).ok();
        }
        match write(&state, self.number, &[0; HEAD_BYTES]) {
            Ok(()) => state.free.push(self.number),
            // What stays there is compared by the next daemon in vain.
            Err(error) => tracing::warn!(event = "proposed", %error, "what is settled could not be crossed out"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BOOT: [u8; 16] = [9; 16];

    fn paths(texts: &[&str]) -> Vec<RelPath> {
        texts.iter().map(|text| RelPath::new(text.as_bytes()).unwrap()).collect()
    }

    fn left(found: &Found) -> Vec<Vec<RelPath>> {
        found.left.iter().map(|(paths, _)| paths.clone()).collect()
    }

    #[test]
    fn what_is_not_settled_is_found_by_the_next_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proposed");
        let (slots, found) = Slots::open(path.clone(), BOOT, true).unwrap();
        assert!(found.left.is_empty() && !found.unknown && !path.exists());
        let first = slots.note(&paths(&["a/b"])).unwrap();
        let second = slots.note(&paths(&["c", "d/e"])).unwrap();
        let third = slots.note(&paths(&[""])).unwrap();
        drop(second);
        // As a kill leaves it.
        std::mem::forget((first, third));
        let (slots, found) = Slots::open(path.clone(), BOOT, true).unwrap();
        assert_eq!((left(&found), found.unknown), (vec![paths(&["a/b"]), paths(&[""])], false));
        let more = slots.note(&paths(&["f"])).unwrap();
        assert_eq!(more.number, 1, "free slots are used again");
        drop((more, found));
        let (_, found) = Slots::open(path.clone(), BOOT, true).unwrap();
        assert!(found.left.is_empty() && !found.unknown);
        let (_, found) = Slots::open(path.clone(), BOOT, false).unwrap();
        assert!(found.left.is_empty() && !path.exists());
    }

    #[test]
    fn a_damaged_slot_says_that_it_could_be_anything() {
        let good = encode(BOOT, &paths(&["dir/file", "other"]));
        assert_eq!(decode(BOOT, &good), Said::Paths(paths(&["dir/file", "other"])));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(BOOT, &bad), Said::Unknown, "bit {bit}");
        }
        for len in 1..good.len() {
            assert_eq!(decode(BOOT, &good[..len]), Said::Unknown, "{len} bytes");
        }
        assert_eq!(decode(BOOT, &[0; 200]), Said::Free);
        assert_eq!(decode([1; 16], &good), Said::Free, "of another boot");
        let long = "x/".repeat(20_000) + "x";
        assert_eq!(decode(BOOT, &encode(BOOT, &paths(&[&long]))), Said::Unknown);
    }

    #[test]
    fn version_1_is_read_as_it_was_written() {
        let sample = include_bytes!("../../tests/samples/proposed-1");
        assert_eq!(decode(BOOT, sample), Said::Paths(paths(&["dir/file", "other"])));
        assert_eq!(encode(BOOT, &paths(&["dir/file", "other"])), *sample);
    }
}
