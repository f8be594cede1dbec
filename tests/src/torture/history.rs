//! What a writer was told: an independent record, kept outside of the mount, of each block that was written and whether the call returned. It
//! judges what a tree holds afterwards, and reads nothing but that tree.

use crate::seed::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a block: never across a page, so that none is written by halves.
pub const BLOCK: usize = 1024;
/// Where a block says what it is: magic, writer, file, block, version.
const HEAD: usize = 40;
const MAGIC: u64 = 0x7265_706c_666b_6e6f;
/// Of each block so many writes are remembered beyond the last one that returned; older ones are of no use to anybody.
const KEPT: usize = 64;

/// One write of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    version: u64,
    /// The call returned success.
    sure: bool,
}

/// A block: the number of its file and its place in that.
pub type Place = (u32, u32);

/// All writes of one writer, which makes one after the other.
#[derive(Clone, Debug, Default)]
pub struct History {
    writer: u64,
    version: u64,
    blocks: BTreeMap<Place, Vec<Entry>>,
}

/// What a block of a tree says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// It was never written, or is not there.
    Nothing,
    Version(u64),
    /// Something that no writer has ever written.
    Nonsense,
}

impl History {
    /// Of a writer that has not written yet.
    pub fn of(writer: u64) -> Self {
        Self { writer, ..Self::default() }
    }

    /// A write of these blocks begins; its version and its bytes.
    pub fn begin(&mut self, (file, first): Place, count: u32) -> (u64, Vec<u8>) {
        self.version += 1;
        let mut bytes = Vec::with_capacity(BLOCK * count as usize);
        for block in first..first + count {
            let entries = self.blocks.entry((file, block)).or_default();
            if entries.len() > 2 * KEPT {
                entries.drain(..KEPT);
            }
            entries.push(Entry { version: self.version, sure: false });
            bytes.extend(content(self.writer, (file, block), self.version));
        }
        (self.version, bytes)
    }

    /// That write returned success.
    pub fn returned(&mut self, (file, first): Place, count: u32, version: u64) {
        for block in first..first + count {
            let entries = self.blocks.entry((file, block)).or_default();
            if let Some(entry) = entries.iter_mut().rev().find(|entry| entry.version == version) {
                entry.sure = true;
            }
        }
    }

    /// Blocks that a tree lacks of what had returned, and that it has though nobody wrote it; one line each.
    pub fn lacking(&self, at: &Path) -> Vec<String> {
        let mut reader = Reader::of(at, self.writer);
        let mut found = Vec::new();
        for (place, entries) in &self.blocks {
            let said = reader.say(*place);
            let sure = entries.iter().rev().find(|entry| entry.sure).map_or(0, |entry| entry.version);
            let wrong = match said {
                Said::Nothing => sure != 0,
                Said::Version(version) => version < sure || entries.iter().all(|entry| entry.version != version),
                Said::Nonsense => true,
            };
            if wrong {
                let (file, block) = place;
                found.push(format!("file {file} block {block}: {said:?}, and version {sure} was acknowledged"));
            }
        }
        found
    }

    /// Writes that had returned and that a tree has nothing of, neither them nor what came after.
    pub fn behind(&self, at: &Path) -> usize {
        let mut reader = Reader::of(at, self.writer);
        let mut versions = BTreeSet::new();
        for (place, entries) in &self.blocks {
            let has = match reader.say(*place) {
                Said::Version(version) => version,
                Said::Nothing | Said::Nonsense => 0,
            };
            versions
                .extend(entries.iter().filter(|entry| entry.sure && entry.version > has).map(|entry| entry.version));
        }
        versions.len()
    }

    /// Whether a tree that does not change meanwhile is what this writer had written up to some moment: gives that moment's version. Errors: what
    /// does not fit.
    pub fn is_prefix(&self, at: &Path) -> Result<u64, String> {
        let mut reader = Reader::of(at, self.writer);
        let said: BTreeMap<Place, Said> = self.blocks.keys().map(|place| (*place, reader.say(*place))).collect();
        let version = |said: &Said| match said {
            Said::Version(version) => *version,
            Said::Nothing | Said::Nonsense => 0,
        };
        let newest = said.values().map(version).max().unwrap_or(0);
        for (place, entries) in &self.blocks {
            let here = said[place];
            // The kernel hands a write that begins within a page over in parts, so of the newest some may be missing.
            let due = entries.iter().rev().find(|entry| entry.sure && entry.version < newest);
            let due = due.map_or(0, |entry| entry.version);
            if here == Said::Nonsense || version(&here) < due {
                let (file, block) = place;
                return Err(format!(
                    "writer {}: file {file} block {block} is {here:?}, older than version {due}, while version {newest} is there",
                    self.writer
                ));
            }
        }
        Ok(newest)
    }
}

/// What a writer writes into a block.
fn content(writer: u64, (file, block): Place, version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    for number in [MAGIC, writer, u64::from(file), u64::from(block), version] {
        bytes.extend(number.to_le_bytes());
    }
    let seed = version ^ (writer << 48) ^ (u64::from(file) << 32) ^ (u64::from(block) << 16);
    bytes.extend(Random::new(seed).bytes(BLOCK - HEAD));
    bytes
}

/// The name of a file.
pub fn name(file: u32) -> String {
    format!("f{file}")
}

/// Reads the blocks of a tree.
struct Reader<'a> {
    at: &'a Path,
    writer: u64,
    open: Option<(u32, io::Result<File>)>,
}

impl<'a> Reader<'a> {
    fn of(at: &'a Path, writer: u64) -> Self {
        Self { at, writer, open: None }
    }

    fn say(&mut self, place: Place) -> Said {
        if self.open.as_ref().is_none_or(|(file, _)| *file != place.0) {
            self.open = Some((place.0, File::open(self.at.join(name(place.0)))));
        }
        let Some((_, Ok(file))) = &self.open else { return Said::Nothing };
        let mut bytes = [0; BLOCK];
        if file.read_exact_at(&mut bytes, u64::from(place.1) * BLOCK as u64).is_err() || bytes == [0; BLOCK] {
            return Said::Nothing;
        }
        let version = u64::from_le_bytes(bytes[32..HEAD].try_into().unwrap_or_default());
        let right = bytes[..] == content(self.writer, place, version);
        if right { Said::Version(version) } else { Said::Nonsense }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    fn write(dir: &Path, place: Place, bytes: &[u8]) {
        let file = File::options().create(true).truncate(false).write(true).open(dir.join(name(place.0))).unwrap();
        file.write_all_at(bytes, u64::from(place.1) * BLOCK as u64).unwrap();
    }

    /// Three writes of which the second did not return; all are in the directory.
    fn three() -> (tempfile::TempDir, History) {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::of(7);
        for (place, sure) in [((0, 0), true), ((0, 5), false), ((1, 2), true)] {
            let (version, bytes) = history.begin(place, 2);
            write(dir.path(), place, &bytes);
            if sure {
                history.returned(place, 2, version);
            }
        }
        (dir, history)
    }

    #[test]
    fn what_returned_has_to_be_there_and_what_did_not_may() {
        let (dir, history) = three();
        assert_eq!(history.lacking(dir.path()), Vec::<String>::new());
        assert_eq!(history.is_prefix(dir.path()), Ok(3));
        write(dir.path(), (0, 5), &[0; 2 * BLOCK]);
        assert_eq!(history.lacking(dir.path()), Vec::<String>::new());
        assert_eq!((history.behind(dir.path()), history.is_prefix(dir.path())), (0, Ok(3)));
        fs::remove_file(dir.path().join("f0")).unwrap();
        assert_eq!(history.lacking(dir.path()).len(), 2);
        assert_eq!(history.behind(dir.path()), 1);
        assert!(history.is_prefix(dir.path()).is_err(), "the third without the first");
    }

    #[test]
    fn what_is_old_is_a_prefix_and_lacks_something() {
        let (dir, mut history) = three();
        let (version, _) = history.begin((0, 0), 1);
        history.returned((0, 0), 1, version);
        assert_eq!(history.is_prefix(dir.path()), Ok(3));
        assert_eq!((history.lacking(dir.path()).len(), history.behind(dir.path())), (1, 1));
    }

    #[test]
    fn of_the_newest_write_a_part_may_be_missing_and_of_no_other() {
        let (dir, mut history) = three();
        write(dir.path(), (1, 3), &[0; BLOCK]);
        assert_eq!(history.is_prefix(dir.path()), Ok(3));
        let (_, bytes) = history.begin((2, 0), 1);
        write(dir.path(), (2, 0), &bytes);
        assert!(history.is_prefix(dir.path()).is_err());
    }

    #[test]
    fn what_nobody_wrote_is_noticed() {
        let (dir, history) = three();
        write(dir.path(), (1, 2), b"x");
        assert_eq!(history.lacking(dir.path()).len(), 1);
        assert!(history.is_prefix(dir.path()).is_err());
        // Another block's content.
        write(dir.path(), (1, 2), &content(7, (1, 3), 3));
        assert_eq!(history.lacking(dir.path()).len(), 1);
    }
}
