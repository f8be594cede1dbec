//! Segments of a journal, opened and read to their end by the journal itself, on a disk in memory.

use journal::{AreaConfig, AreaKind, Config, Disk, DiskFile, Journal, MIN_AREA_BYTES};
use protocol::frame::HEAD_BYTES as FRAME_HEAD_BYTES;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SEGMENT_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4096;
/// What of a header is not zero.
const HEADER_BYTES: usize = 136;
const RECORD_HEAD_BYTES: usize = 24;

/// Bit 0 of the first byte: the rest is a segment's file as it is. Otherwise it is one or two segments in short: the length of the first in two bytes;
/// of each what of its header is not zero, and its records. Checksums are made right then.
pub fn journal(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let mut files = BTreeMap::new();
    if flags & 1 == 1 {
        files.insert(path(0), rest.to_vec());
    } else if let Some((len, rest)) = rest.split_at_checked(2) {
        let len = usize::from(u16::from_le_bytes([len[0], len[1]])).min(rest.len());
        let (first, second) = rest.split_at(len);
        files.insert(path(0), segment(first));
        if !second.is_empty() {
            files.insert(path(1), segment(second));
        }
    }
    read(files);
}

fn path(index: u32) -> PathBuf {
    PathBuf::from(format!("/journal/seg-{index:08}"))
}

/// Opens, reads everything, appends: nothing of that may panic, and what is read is what opening promised.
fn read(files: BTreeMap<PathBuf, Vec<u8>>) {
    let disk = Memory(Arc::new(Mutex::new(files)));
    let areas = vec![AreaConfig::new(AreaKind::Disk, Path::new("/journal"), 4 * MIN_AREA_BYTES)];
    let Ok((journal, found)) = Journal::open(Arc::new(disk), Config { boot: [3; 16], areas }) else { return };
    for damage in &found.damage {
        assert!(!damage.to_string().is_empty());
    }
    assert!(found.oldest <= found.next, "{found:?}");
    let mut reader = journal.reader(found.oldest);
    let mut seq = found.oldest;
    loop {
        match reader.read() {
            Ok(Some(entry)) => {
                assert_eq!(entry.seq, seq, "in order");
                seq = seq.next();
            }
            Ok(None) => break,
            Err(error) => panic!("what was found when opening cannot be read: {error}"),
        }
    }
    assert_eq!(seq, found.next, "as many as were found");
}

/// A file of one segment. The checksums of header and records are right, whatever they hold.
fn segment(short: &[u8]) -> Vec<u8> {
    let (header, records) = short.split_at(short.len().min(HEADER_BYTES));
    let mut file = vec![0; SEGMENT_BYTES];
    file[..header.len()].copy_from_slice(header);
    file[..12].copy_from_slice(b"RFJSEG\0\0\x01\0\0\0");
    crate::sum(&mut file, 0, PAGE_BYTES - 4, PAGE_BYTES - 4);
    let salt = file[64..72].to_vec();
    let room = SEGMENT_BYTES - 2 * PAGE_BYTES;
    let body = &mut file[2 * PAGE_BYTES..];
    let len = records.len().min(room);
    body[..len].copy_from_slice(&records[..len]);
    let mut at = 0;
    while let Some(record) = body.get_mut(at..).filter(|rest| rest.len() >= RECORD_HEAD_BYTES + FRAME_HEAD_BYTES) {
        let frame_len = crate::word(record, 4);
        if at >= len || frame_len < FRAME_HEAD_BYTES || frame_len > record.len() - RECORD_HEAD_BYTES {
            break;
        }
        let frame = &mut record[RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + frame_len];
        let (header, payload) = (crate::word(frame, 8), crate::word(frame, 12));
        if header.saturating_add(payload) == frame_len - FRAME_HEAD_BYTES {
            crate::frame::sum_frame(frame, header, payload);
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&salt), &record[..16]);
        let crc = crc32c::crc32c_append(crc, &record[RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + FRAME_HEAD_BYTES]);
        record[16..20].copy_from_slice(&crc.to_le_bytes());
        at += (RECORD_HEAD_BYTES + frame_len).next_multiple_of(8);
    }
    file
}

type Files = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

/// One directory of files in memory.
struct Memory(Files);

struct MemoryFile(Files, PathBuf);

fn locked(files: &Files) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for Memory {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(locked(&self.0).keys().filter_map(name).collect())
    }

    fn create(&self, path: &Path, bytes: u64, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        let len = usize::try_from(bytes).map_err(io::Error::other)?;
        locked(&self.0).insert(path.to_owned(), vec![0; len]);
        self.open(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if !locked(&self.0).contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(MemoryFile(Arc::clone(&self.0), path.to_owned())))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.0).remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn random(&self) -> io::Result<u64> {
        Ok(7)
    }
}

impl MemoryFile {
    fn with<T>(&self, what: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        locked(&self.0).get_mut(&self.1).map(what).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for MemoryFile {
    fn write(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|bytes| {
            for part in parts {
                bytes.resize(bytes.len().max(at + part.len()), 0);
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        })
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|bytes| {
            let there = bytes.get(at..).unwrap_or_default();
            let len = there.len().min(buffer.len());
            buffer[..len].copy_from_slice(&there[..len]);
            len
        })
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|bytes| bytes.len() as u64)
    }
}
