//! Where a source stood, for the daemon that comes after one that was killed: a small file beside the journal. It says which run of numbers
//! the journal is of, and since when changes may be on the source that are neither on the target nor in the journal.
//!
//! It is written into the page cache and counts in the boot that wrote it only, as the journal's memory does.
//!
//! ```text
//!  0  8  magic "RFSTND" and the version of the format, 1, in two bytes
//!  8 16  incarnation
//! 24  4  how many daemons went on with a journal before the one that wrote it
//! 28  4  1: the next field counts; 0: nothing is known, everything is to be compared by content
//! 32  8  seconds since 1970 on the source's clock
//! 40 16  boot id
//! 56  4  zero
//! 60  4  CRC-32C of bytes 0 to 60
//! ```
//! All integers are little endian.

use platform::killpoint::{self, KillPoint};
use protocol::Incarnation;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: [u8; 8] = *b"RFSTND\x01\x00";
const BYTES: usize = 64;
const CRC_AT: usize = BYTES - 4;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The run of numbers.
    pub incarnation: Incarnation,
    /// How many daemons went on with a journal before the one that wrote this.
    pub daemon: u32,
    /// What has not changed since is on the target or in the journal: seconds since 1970.
    pub since: Option<i64>,
    /// The boot it was written in.
    pub boot: [u8; 16],
}

impl Stand {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.incarnation.to_bytes());
        bytes[24..28].copy_from_slice(&self.daemon.to_le_bytes());
        bytes[28..32].copy_from_slice(&u32::from(self.since.is_some()).to_le_bytes());
        bytes[32..40].copy_from_slice(&self.since.unwrap_or(0).to_le_bytes());
        bytes[40..56].copy_from_slice(&self.boot);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: these are not the bytes of one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (known, crc) = bytes.split_at(CRC_AT);
        if known[..8] != MAGIC || crc32c::crc32c(known).to_le_bytes() != crc {
            return None;
        }
        let counts = u32::from_le_bytes(known[28..32].try_into().ok()?) == 1;
        let secs = i64::from_le_bytes(known[32..40].try_into().ok()?);
        Some(Self {
            incarnation: Incarnation::from_bytes(known[8..24].try_into().ok()?),
            daemon: u32::from_le_bytes(known[24..28].try_into().ok()?),
            since: counts.then_some(secs),
            boot: known[40..56].try_into().ok()?,
        })
    }

    /// What was written; `None` where there is none, or none that can be believed.
    pub fn read(path: &Path) -> Option<Self> {
        Self::decode(&std::fs::read(path).ok()?)
    }
}

/// The file of one daemon, open.
#[derive(Debug)]
pub struct StandFile {
    file: File,
    boot: [u8; 16],
    daemon: u32,
    written: Option<Stand>,
}

impl StandFile {
    /// Makes it, or takes the one that is there. `daemon`: how many went on with the journal before.
    pub fn open(path: &Path, boot: [u8; 16], daemon: u32) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file, boot, daemon, written: None })
    }

    /// What was written last: see [`Stand::since`].
    pub fn since(&self) -> Option<i64> {
        self.written.and_then(|stand| stand.since)
    }

    /// Writes what has changed.
    pub fn note(&mut self, incarnation: Incarnation, since: Option<i64>) -> io::Result<()> {
        let stand = Stand { incarnation, daemon: self.daemon, since, boot: self.boot };
        if self.written != Some(stand) {
            killpoint::pass(KillPoint::StandBefore);
            self.file.write_all_at(&stand.encode(), 0)?;
            killpoint::pass(KillPoint::StandAfter);
            self.written = Some(stand);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stand(since: Option<i64>) -> Stand {
        Stand { incarnation: Incarnation::from_bytes([3; 16]), daemon: 2, since, boot: [9; 16] }
    }

    #[test]
    fn what_was_written_is_read_and_anything_else_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stand");
        assert_eq!(Stand::read(&path), None);
        let mut file = StandFile::open(&path, [9; 16], 2).unwrap();
        for since in [Some(1_764_000_000), None, Some(-5)] {
            file.note(Incarnation::from_bytes([3; 16]), since).unwrap();
            assert_eq!(Stand::read(&path), Some(stand(since)));
        }
        let good = std::fs::read(&path).unwrap();
        for at in 0..BYTES {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Stand::decode(&bad), None, "byte {at}");
        }
        assert_eq!(Stand::decode(&good[..BYTES - 1]), None);
    }

    #[test]
    fn version_1_is_read_as_it_was_written() {
        let sample = include_bytes!("../tests/samples/stand-1");
        assert_eq!(Stand::decode(sample), Some(stand(Some(1_764_000_000))));
        assert_eq!(stand(Some(1_764_000_000)).encode(), *sample);
    }
}
