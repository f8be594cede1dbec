//! Journals that an earlier build wrote must be read by every later one: tests/samples/vN are frozen.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use journal::{AreaConfig, AreaKind, Config, DamageKind, Journal, MIN_AREA_BYTES, RealDisk};
use protocol::{Draft, Frame, Incarnation, Mark, Op, SeqNo};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FIRST: u64 = 100;
const LAST: u64 = 130;
const BOOT: [u8; 16] = [3; 16];

fn frame(seq: u64) -> Frame {
    let len = usize::try_from(seq * 131 % 4001).unwrap();
    let payload = Bytes::from(vec![u8::try_from(seq).unwrap(); len]);
    Draft::new(&Op::Mark(Mark::Barrier), payload).number(SeqNo::new(seq), seq * 1000, seq.is_multiple_of(2))
}

fn open(dir: &Path) -> (Journal, journal::Recovered) {
    let areas = vec![AreaConfig::new(AreaKind::Disk, dir, MIN_AREA_BYTES)];
    Journal::open(Arc::new(RealDisk), Config { boot: BOOT, areas }).unwrap()
}

fn write(dir: &Path) {
    let (mut journal, _) = open(dir);
    journal.begin(Incarnation::from_bytes([5; 16]), SeqNo::new(FIRST)).unwrap();
    for seq in FIRST..=LAST {
        journal.append(&frame(seq), SeqNo::new(seq), seq * 1000).unwrap();
    }
    journal.syncer().sync().unwrap();
}

/// Opening writes nothing, but the samples are copied all the same.
fn sample(to: &Path) {
    // REPLFS_WRITE_SAMPLES=1 writes them where they are missing; those that are there are frozen.
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples/v1");
    if !from.exists() && std::env::var_os("REPLFS_WRITE_SAMPLES").is_some() {
        write(&from);
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_frozen_journal_is_read_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (mut journal, found) = open(dir.path());
    assert_eq!(found.incarnation, Some(Incarnation::from_bytes([5; 16])));
    assert_eq!((found.oldest.get(), found.next.get(), found.last_stamp), (FIRST, LAST + 1, Some(LAST * 1000)));
    assert!(found.same_boot && found.damage.is_empty(), "{found:?}");
    journal.append(&frame(LAST + 1), SeqNo::new(LAST + 1), 0).unwrap();
    let mut reader = journal.reader(SeqNo::new(FIRST));
    for seq in FIRST..=LAST + 1 {
        let read = reader.read().unwrap().unwrap().frame;
        let expected = frame(seq);
        assert_eq!((read.front, read.payload), (expected.front, expected.payload));
    }
}

#[test]
fn the_bytes_lie_where_the_documentation_says() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let bytes = fs::read(dir.path().join("seg-00000000")).unwrap();
    let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let crc = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    assert_eq!((&bytes[..8], bytes[8]), (b"RFJSEG\0\0".as_slice(), 1));
    assert_eq!((number(40), number(48), number(56), number(64) != 0), (1, 0, FIRST, true));
    assert_eq!((number(72), number(80)), (bytes.len() as u64, FIRST * 1000));
    assert_eq!((&bytes[24..40], &bytes[88..104], &bytes[104..120]), (&[5; 16][..], &BOOT[..], &[5; 16][..]));
    assert_eq!(crc(4092), crc32c::crc32c(&bytes[..4092]));
    let expected = frame(FIRST);
    assert_eq!((&bytes[8192..8196], number(8200)), (b"RFJr".as_slice(), FIRST));
    assert_eq!(crc(8196) as usize, expected.len());
    let summed = [&bytes[64..72], &bytes[8192..8208], &bytes[8216..8264]].concat();
    assert_eq!(crc(8208), crc32c::crc32c(&summed));
    assert_eq!(bytes[8216..8216 + expected.front.len()], expected.front);
    let second = 8192 + (24 + expected.len()).next_multiple_of(8);
    assert_eq!(&bytes[second..second + 4], b"RFJr");
}

#[test]
fn a_segment_in_memory_does_not_count_under_another_boot() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let areas = vec![AreaConfig::new(AreaKind::Memory, dir.path(), MIN_AREA_BYTES)];
    let (_, found) = Journal::open(Arc::new(RealDisk), Config { boot: [4; 16], areas }).unwrap();
    assert_eq!(found.incarnation, None);
    let (_, found) = open(dir.path());
    assert_eq!(found.next.get(), LAST + 1);
    assert!(!found.damage.iter().any(|damage| matches!(damage.kind, DamageKind::Version(_))));
}
