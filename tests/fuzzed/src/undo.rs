//! The undo log of a target: a segment, read as a roll-back reads it.

use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use tempfile::TempDir;

const HEAD_BYTES: usize = 28;

thread_local! {
    /// In memory, where there is such a place.
    static DIR: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A segment as it is, and with the checksums of its records made right.
pub fn undo(bytes: &[u8]) {
    DIR.with(|dir| {
        let shared = Path::new("/dev/shm");
        let make = || if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let dir = dir.get_or_init(|| make().unwrap_or_else(|e| panic!("no place for a segment: {e}"))).path();
        read(dir, bytes);
        read(dir, &summed(bytes));
    });
}

fn read(dir: &Path, bytes: &[u8]) {
    let file = dir.join("log-00000001");
    let written = std::fs::write(&file, bytes).and_then(|()| File::open(dir));
    let opened = written.unwrap_or_else(|e| panic!("a segment cannot be written: {e}"));
    match target::edge::undo_log(opened.as_fd()) {
        Ok(records) => assert!(records > 0, "a log begins"),
        Err(why) => assert!(!why.contains("were read and the next is"), "{why}"),
    }
}

/// Every record that the lengths make gets its magic, its number and its checksum.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (mut at, mut number) = (0, 1_u64);
    while bytes.len() - at >= HEAD_BYTES {
        let len = crate::word(&bytes, at + 4).saturating_add(HEAD_BYTES);
        if len > bytes.len() - at {
            break;
        }
        let record = &mut bytes[at..at + len];
        record[..4].copy_from_slice(b"RFU\x01");
        record[8..16].copy_from_slice(&number.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..24]), &record[HEAD_BYTES..]);
        record[24..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        (at, number) = (at + len, number + 1);
    }
    bytes
}
