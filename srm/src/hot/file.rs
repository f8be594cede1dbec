//! The hot set on disk: what was changed since the last checkpoint and may be half-written after a power cut (R3).
//!
//! ```text
//! header, 128 bytes
//!   0  8  magic "RFHOT\0" and the version of the format, 1, in two bytes
//!   8 16  checkpoint: the run of numbers
//!  24  8  checkpoint: everything up to this number is durable on the target
//!  32  8  checkpoint: what has not changed since is durable on the source, seconds since 1970
//!  40 16  the replica
//! 124  4  CRC-32C of bytes 0 to 124
//! entries, 32 bytes each, up to the end of the file
//!   0  4  1: the content of an inode; 2: the names in a directory; 3: all below a directory; 4: a run of numbers that began
//!   4  4  zero
//!   8 16  the inode number in 8 bytes and 8 bytes of zero, or the run of numbers
//!  24  4  zero
//!  28  4  CRC-32C of bytes 0 to 28 of the entry, begun with that of the header
//! ```
//! All integers are little endian. A checkpoint writes a new file and renames it over the old one; between two of them entries are appended, and
//! are durable before what they tell of begins. So a torn end tells of nothing that happened; a bad entry before a good one makes
//! the file unreadable, and everything hot.

use platform::killpoint::{self, KillPoint};
use protocol::{Incarnation, ReplicaId, SeqNo};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"RFHOT\0\x01\x00";
const HEADER_BYTES: usize = 128;
const HEADER_CRC_AT: usize = HEADER_BYTES - 4;
const ENTRY_BYTES: usize = 32;
const ENTRY_CRC_AT: usize = ENTRY_BYTES - 4;

/// A longer file is none of ours: twice the entries that a source keeps.
const MOST_BYTES: u64 = 8 << 20;

/// A moment at which everything before was durable on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The run of numbers.
    pub incarnation: Incarnation,
    /// Everything up to this number is durable on the target.
    pub seq: SeqNo,
    /// What has not changed since is durable on the source: seconds since 1970.
    pub secs: i64,
    /// The replica that this is of.
    pub replica: ReplicaId,
}

/// What may be half-written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The content of an inode.
    Content,
    /// Which inodes the names in a directory mean.
    Names,
    /// All below a directory.
    Below,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Something on the source.
    Hot(Kind, u64),
    /// A run of numbers that began after the checkpoint.
    Run(Incarnation),
}

impl Checkpoint {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.incarnation.to_bytes());
        bytes[24..32].copy_from_slice(&self.seq.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.secs.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.replica.to_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: these are not the bytes of one.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (known, crc) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_CRC_AT);
        if known[..8] != MAGIC || crc32c::crc32c(known).to_le_bytes() != crc {
            return None;
        }
        Some(Self {
            incarnation: Incarnation::from_bytes(known[8..24].try_into().ok()?),
            seq: SeqNo::new(u64::from_le_bytes(known[24..32].try_into().ok()?)),
            secs: i64::from_le_bytes(known[32..40].try_into().ok()?),
            replica: ReplicaId::from_bytes(known[40..56].try_into().ok()?),
        })
    }
}

impl Entry {
    fn encode(&self, seed: u32) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let kind: u32 = match self {
            Self::Hot(Kind::Content, _) => 1,
            Self::Hot(Kind::Names, _) => 2,
            Self::Hot(Kind::Below, _) => 3,
            Self::Run(_) => 4,
        };
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        match self {
            Self::Hot(_, ino) => bytes[8..16].copy_from_slice(&ino.to_le_bytes()),
            Self::Run(incarnation) => bytes[8..24].copy_from_slice(&incarnation.to_bytes()),
        }
        let crc = crc32c::crc32c_append(seed, &bytes[..ENTRY_CRC_AT]);
        bytes[ENTRY_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let (known, crc) = bytes.split_at(ENTRY_CRC_AT);
        if crc32c::crc32c_append(seed, known).to_le_bytes() != crc {
            return None;
        }
        let ino = u64::from_le_bytes(known[8..16].try_into().ok()?);
        match u32::from_le_bytes(known[..4].try_into().ok()?) {
            1 => Some(Self::Hot(Kind::Content, ino)),
            2 => Some(Self::Hot(Kind::Names, ino)),
            3 => Some(Self::Hot(Kind::Below, ino)),
            4 => Some(Self::Run(Incarnation::from_bytes(known[8..24].try_into().ok()?))),
            _ => None,
        }
    }
}

fn seed_of(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c(&header[..HEADER_CRC_AT])
}

/// Reads what an earlier daemon left. `None`: there is nothing, or nothing that can be believed.
pub fn read(path: &Path) -> Option<(Checkpoint, Vec<Entry>)> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() > MOST_BYTES {
        return None;
    }
    parse(&std::fs::read(path).ok()?)
}

fn parse(bytes: &[u8]) -> Option<(Checkpoint, Vec<Entry>)> {
    let checkpoint = Checkpoint::decode(bytes)?;
    let seed = seed_of(&checkpoint.encode());
    let mut entries = Vec::new();
    let mut torn = false;
    for bytes in bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES) {
        match Entry::decode(bytes, seed) {
            Some(_) if torn => return None,
            Some(entry) => entries.push(entry),
            None => torn = true,
        }
    }
    Some((checkpoint, entries))
}

/// The same file as it would be written again, without a torn end; `None` for what is none.
pub(crate) fn rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    let (checkpoint, entries) = parse(bytes)?;
    let header = checkpoint.encode();
    let seed = seed_of(&header);
    let mut out = header.to_vec();
    out.extend(entries.iter().flat_map(|entry| entry.encode(seed)));
    Some(out)
}

/// The file of this daemon.
#[derive(Debug)]
pub struct HotFile {
    file: File,
    seed: u32,
}

impl HotFile {
    /// Puts a new file at `path`, durably. Answers it and where the next entry goes.
    pub fn create(path: &Path, checkpoint: &Checkpoint, entries: &[Entry]) -> io::Result<(Self, u64)> {
        let header = checkpoint.encode();
        let seed = seed_of(&header);
        let mut bytes = header.to_vec();
        bytes.extend(entries.iter().flat_map(|entry| entry.encode(seed)));
        let fresh = fresh(path);
        let file = File::options().write(true).create(true).truncate(true).open(&fresh)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        killpoint::pass(KillPoint::HotWritten);
        std::fs::rename(&fresh, path)?;
        sync_dir(path)?;
        killpoint::pass(KillPoint::HotRenamed);
        Ok((Self { file, seed }, bytes.len() as u64))
    }

    /// Writes entries at `at`, durably. Answers where the next one goes.
    pub fn append(&self, at: u64, entries: &[Entry]) -> io::Result<u64> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.encode(self.seed)).collect();
        self.file.write_all_at(&bytes, at)?;
        self.file.sync_data()?;
        Ok(at + bytes.len() as u64)
    }

    /// One on something else.
    #[cfg(test)]
    pub(super) fn of(file: File) -> Self {
        Self { file, seed: 0 }
    }

    /// It tells of nothing any more, durably; for when it cannot be removed.
    pub fn void(&self) -> io::Result<()> {
        self.file.write_all_at(&[0; HEADER_BYTES], 0)?;
        self.file.sync_data()
    }
}

fn fresh(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Removes the file, durably: everything is hot.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_dir(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            incarnation: Incarnation::from_bytes([3; 16]),
            seq: SeqNo::new(77),
            secs: 1_764_000_000,
            replica: ReplicaId::from_bytes([9; 16]),
        }
    }

    fn entries() -> Vec<Entry> {
        vec![
            Entry::Hot(Kind::Content, 12),
            Entry::Hot(Kind::Names, 13),
            Entry::Hot(Kind::Below, u64::MAX),
            Entry::Run(Incarnation::from_bytes([4; 16])),
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hot");
        assert_eq!(read(&path), None);
        let (file, end) = HotFile::create(&path, &checkpoint(), &entries()[..1]).unwrap();
        let end = file.append(end, &entries()[1..3]).unwrap();
        file.append(end, &entries()[3..]).unwrap();
        assert_eq!(read(&path), Some((checkpoint(), entries())));
        file.void().unwrap();
        assert_eq!(read(&path), None);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_torn_end_is_passed_over_and_anything_else_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hot");
        HotFile::create(&path, &checkpoint(), &entries()).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let last = good.len() - ENTRY_BYTES;
            let mut bad = good.clone();
            bad[at] ^= 1;
            let expected = (at >= last).then(|| (checkpoint(), entries()[..3].to_vec()));
            assert_eq!(parse(&bad), expected, "byte {at}");
            let whole = (at >= HEADER_BYTES).then(|| (checkpoint(), entries()[..(at - HEADER_BYTES) / 32].to_vec()));
            assert_eq!(parse(&good[..at]), whole, "cut at {at}");
        }
        let mut longer = good.clone();
        longer.extend([0; 4096]);
        assert_eq!(parse(&longer), Some((checkpoint(), entries())));
    }

    #[test]
    fn an_entry_of_another_file_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hot");
        HotFile::create(&path, &checkpoint(), &entries()).unwrap();
        let before = std::fs::read(&path).unwrap();
        let later = Checkpoint { secs: 1_764_000_030, ..checkpoint() };
        HotFile::create(&path, &later, &[]).unwrap();
        let mut mixed = std::fs::read(&path).unwrap();
        mixed.extend(&before[HEADER_BYTES..]);
        assert_eq!(parse(&mixed), Some((later, Vec::new())));
    }

    #[test]
    fn version_1_is_read_as_it_was_written() {
        let sample = include_bytes!("../../tests/samples/hot-1");
        assert_eq!(parse(sample), Some((checkpoint(), entries())));
    }
}
