//! The log of a disk, in the format of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst), which qemu's
//! `blklogwrites` writes as well: it is kept as those bytes, so that a file of it can be looked at with other tools.

use anyhow::{Context, Result, ensure};
use std::ops::Range;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Of the logs that are written here.
const LOG_SECTOR: usize = 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where on the disk, in bytes.
    pub at: usize,
    /// How many bytes.
    pub len: usize,
    /// What was written: where that is in the log. Empty for a flush, and for what was discarded.
    pub data: Range<usize>,
    /// What was there before is durable.
    pub flush: bool,
    /// This itself is durable.
    pub fua: bool,
    /// Reads as zeros from now on.
    pub discard: bool,
    /// How long the log was with it.
    pub end: u64,
}

/// What happened to a disk, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let field = bytes.get(at..at + 8).context("the log ends within an entry")?;
    Ok(u64::from_le_bytes(field.try_into()?))
}

fn size(value: u64, unit: usize) -> Result<usize> {
    usize::try_from(value)?.checked_mul(unit).context("a number in the log is beyond everything")
}

impl Log {
    /// Reads one. Errors: it is none; its end may be cut off.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        ensure!(word(&bytes, 0)? == MAGIC && word(&bytes, 8)? == VERSION, "this is no log of dm-log-writes, version 1");
        // The number of entries is written now and then only; the sector size always.
        let sector = usize::try_from(word(&bytes, 24)? & u64::from(u32::MAX))?;
        ensure!(sector.is_power_of_two() && (512..=1 << 16).contains(&sector), "a log with sectors of {sector} bytes");
        let mut entries = Vec::new();
        let mut at = sector;
        while at + sector <= bytes.len() {
            let (place, len, flags) = (word(&bytes, at)?, word(&bytes, at + 8)?, word(&bytes, at + 16)?);
            let (place, len, more) = (size(place, sector)?, size(len, sector)?, size(word(&bytes, at + 24)?, 1)?);
            let has_data = flags & DISCARD == 0;
            let from = at + sector;
            let data = from..from
                + if flags & MARK != 0 { more.next_multiple_of(sector) } else { len * usize::from(has_data) };
            if data.end > bytes.len() {
                break;
            }
            at = data.end;
            let (flush, fua, discard) = (flags & FLUSH != 0, flags & FUA != 0, !has_data);
            if flags & MARK == 0 {
                entries.push(Entry { at: place, len, data, flush, fua, discard, end: u64::try_from(at)? });
            }
        }
        Ok(Self { bytes, entries })
    }

    /// As they stand in a file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All that happened.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What had happened when the log was so long.
    pub fn until(&self, position: u64) -> &[Entry] {
        &self.entries[..self.entries.partition_point(|entry| entry.end <= position)]
    }

    /// What was said to be durable when the log was longer than this was not: a disk that lies.
    pub fn forget_flushes(&mut self, position: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.end > position) {
            (entry.flush, entry.fua) = (false, false);
        }
    }

    /// What an entry wrote.
    pub fn data(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.data.clone()]
    }
}

/// Writes a log.
#[derive(Debug)]
pub struct Recorder {
    bytes: Vec<u8>,
    entries: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// Of a disk of zeros to which nothing has happened.
    pub fn new() -> Self {
        let mut recorder = Self { bytes: Vec::new(), entries: 0 };
        recorder.sector(&[MAGIC, VERSION, 0, LOG_SECTOR as u64]);
        recorder
    }

    fn sector(&mut self, words: &[u64]) {
        let begin = self.bytes.len();
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.bytes.resize(begin + LOG_SECTOR, 0);
    }

    fn entry(&mut self, at: u64, len: u64, flags: u64) {
        let sector = LOG_SECTOR as u64;
        self.sector(&[at / sector, len / sector, flags, 0]);
        self.entries += 1;
        self.bytes[16..24].copy_from_slice(&self.entries.to_le_bytes());
    }

    /// Whole sectors of 512 bytes were written there, as a loop device does.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        assert!(at.is_multiple_of(512) && data.len().is_multiple_of(512), "{} bytes written at {at}", data.len());
        self.entry(at, data.len() as u64, 0);
        self.bytes.extend_from_slice(data);
    }

    /// What was written is durable.
    pub fn flush(&mut self) {
        self.entry(0, 0, FLUSH);
    }

    /// How long the log is.
    pub fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The log.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read_in_order_up_to_a_position() {
        let mut recorder = Recorder::new();
        recorder.write(8192, &[1; 1024]);
        let first = recorder.position();
        recorder.flush();
        recorder.write(512, &[2; 512]);
        let log = Log::parse(recorder.bytes().to_vec()).unwrap();
        let seen: Vec<_> = log.entries().iter().map(|e| (e.at, e.len, e.flush, log.data(e).first().copied())).collect();
        assert_eq!(seen, [(8192, 1024, false, Some(1)), (0, 0, true, None), (512, 512, false, Some(2))]);
        assert_eq!(log.until(first).len(), 1);
        assert_eq!(log.until(first - 1).len(), 0);
        assert_eq!(log.until(recorder.position()).len(), 3);
        let mut lies = log.clone();
        lies.forget_flushes(first);
        assert!(!lies.entries().iter().any(|entry| entry.flush));
    }

    #[test]
    fn a_log_that_is_cut_off_ends_before_the_entry_and_nonsense_is_none() {
        let mut recorder = Recorder::new();
        recorder.write(0, &[1; 512]);
        recorder.write(0, &[2; 4096]);
        let whole = recorder.bytes().to_vec();
        assert_eq!(Log::parse(whole[..whole.len() - 1].to_vec()).unwrap().entries().len(), 1);
        assert!(Log::parse(vec![0; 4096]).is_err());
        assert!(Log::parse(Vec::new()).is_err());
    }
}
