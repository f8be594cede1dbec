//! Files that were tampered with: nothing panics, what is read is what was appended, and the damage is named.

use super::rig::{append, disk_area, frame, incarnation, real, tag};
use super::rng::Rng;
use crate::header::{Header, PAGE_BYTES, Parsed};
use crate::{Damage, DamageKind, ReadError, Recovered};
use protocol::SeqNo;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const AREA: u64 = 256 << 10;
const SEGMENT: u64 = AREA / 4;

/// A journal of records 1 to 60 in three segments, and the files of those.
fn journal(dir: &Path) -> Vec<PathBuf> {
    let (mut journal, _) = real(vec![disk_area(dir, AREA)]);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    for seq in 1..=60 {
        append(&mut journal, seq, 2500);
    }
    (0..3).map(|n| dir.join(format!("disk/seg-{n:08}"))).collect()
}

/// What is found there; every record of it is read and compared.
fn found(dir: &Path) -> Recovered {
    let (mut journal, found) = real(vec![disk_area(dir, AREA)]);
    let mut reader = journal.reader(found.oldest);
    for seq in found.oldest.get()..found.next.get() {
        let entry = reader.read().unwrap().unwrap();
        assert_eq!((entry.seq.get(), tag(&entry.frame)), (seq, seq));
    }
    assert!(reader.read().unwrap().is_none());
    // It can be used, whatever was there.
    journal.begin(incarnation(9), SeqNo::new(1)).unwrap();
    append(&mut journal, 1, 10);
    found
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn first_damage(found: &Recovered) -> &Damage {
    found.damage.first().unwrap_or_else(|| panic!("no damage in {found:?}"))
}

#[test]
fn a_flipped_bit_ends_the_run_before_it_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = journal(dir.path());
    flip(&files[1], 30_000);
    let found = found(dir.path());
    assert!(found.oldest.get() == 1 && (22..44).contains(&found.next.get()), "{found:?}");
    let damage = first_damage(&found);
    assert_eq!(damage.path, files[1]);
    assert!(damage.offset < 30_000 && damage.offset > 27_000);
    assert!(matches!(&damage.kind, DamageKind::Corrupt { seq, .. } if *seq == found.next));
}

#[test]
fn a_record_cut_short_at_the_end_is_torn_and_nothing_else_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let files = journal(dir.path());
    let bytes = fs::read(&files[2]).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let file = OpenOptions::new().write(true).open(&files[2]).unwrap();
    file.write_all_at(&[0; 100], last as u64 - 99).unwrap();
    let found = found(dir.path());
    assert_eq!((found.oldest.get(), found.next.get()), (1, 60));
    assert!(matches!(first_damage(&found).kind, DamageKind::Torn { seq } if seq.get() == 60));
}

#[test]
fn a_missing_segment_ends_the_run_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = journal(dir.path());
    fs::remove_file(&files[1]).unwrap();
    let found = found(dir.path());
    assert!(found.oldest.get() == 1 && found.next.get() < 24, "{found:?}");
    assert!(matches!(first_damage(&found).kind, DamageKind::Missing { serial: 2 }));
}

#[test]
fn a_truncated_segment_keeps_what_is_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = journal(dir.path());
    OpenOptions::new().write(true).open(&files[1]).unwrap().set_len(SEGMENT / 2).unwrap();
    let found = found(dir.path());
    assert!(found.oldest.get() == 1 && (24..40).contains(&found.next.get()), "{found:?}");
    let truncated = DamageKind::Truncated { length: SEGMENT / 2, should: SEGMENT };
    assert!(found.damage.iter().any(|damage| damage.kind == truncated), "{found:?}");
}

#[test]
fn another_format_is_said_and_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let files = journal(dir.path());
    for at in [0, 4096] {
        let file = OpenOptions::new().write(true).open(&files[0]).unwrap();
        file.write_all_at(&2_u32.to_le_bytes(), at + 8).unwrap();
    }
    let found = found(dir.path());
    assert_eq!((&first_damage(&found).path, &first_damage(&found).kind), (&files[0], &DamageKind::Version(2)));
    assert!(found.oldest.get() > 20, "the front is missing: {found:?}");
}

#[test]
fn one_bad_copy_of_a_header_does_not_matter_and_two_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = journal(dir.path());
    flip(&files[2], 20);
    flip(&files[1], 4096 + 60);
    let (_, both) = real(vec![disk_area(dir.path(), AREA)]);
    assert_eq!((both.next.get(), both.damage), (61, vec![]));
    flip(&files[2], 4096 + 20);
    let found = found(dir.path());
    assert_eq!((&first_damage(&found).path, &first_damage(&found).kind), (&files[2], &DamageKind::Header));
    assert!(found.next.get() < 60);
}

#[test]
fn what_is_damaged_under_a_reader_is_an_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = real(vec![disk_area(dir.path(), AREA)]);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    for seq in 1..=9 {
        append(&mut journal, seq, 2500);
    }
    let file = dir.path().join("disk/seg-00000000");
    flip(&file, 8192 + 3 * 2600);
    let mut reader = journal.reader(SeqNo::new(1));
    let damage = loop {
        match reader.read() {
            Ok(entry) => assert!(entry.unwrap().seq.get() < 5),
            Err(ReadError::Damaged(damage)) => break damage,
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(damage.path, file);
    assert!(damage.to_string().contains("seg-00000000"), "{damage}");
}

#[test]
fn whatever_is_in_the_files_nothing_is_invented_and_nothing_panics() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(11);
    for _ in 0..60 {
        let _ = fs::remove_dir_all(dir.path().join("disk"));
        let files = journal(dir.path());
        for _ in 0..=rng.below(4) {
            let path = &files[usize::try_from(rng.below(3)).unwrap()];
            // Headers as often as records.
            let at = if rng.one_in(2) { rng.below(8192) } else { rng.below(SEGMENT) };
            match rng.below(5) {
                0 => OpenOptions::new().write(true).open(path).unwrap().set_len(at).unwrap(),
                1 => drop(fs::copy(&files[usize::try_from(rng.below(3)).unwrap()], path)),
                2 => {
                    let noise: Vec<u8> = (0..rng.below(9000)).map(|_| u8::try_from(rng.below(256)).unwrap()).collect();
                    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&noise, at).unwrap();
                }
                _ => {
                    if at < fs::metadata(path).unwrap().len() {
                        flip(path, at);
                    }
                }
            }
        }
        let _ = found(dir.path());
    }
}

/// Numbers at and beside the borders.
fn any(rng: &mut Rng) -> u64 {
    let near = [0, 1, 2, 3, 60, 61, 8192, SEGMENT, 16 << 20, u64::MAX / 2, u64::MAX - 1];
    near[usize::try_from(rng.below(near.len() as u64)).unwrap()] + rng.below(2)
}

#[test]
fn a_header_whose_checksum_is_right_is_not_trusted_with_more_than_it_may_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(12);
    for _ in 0..60 {
        let _ = fs::remove_dir_all(dir.path().join("disk"));
        let files = journal(dir.path());
        for _ in 0..=rng.below(2) {
            let path = &files[usize::try_from(rng.below(3)).unwrap()];
            let mut page = *fs::read(path).unwrap().first_chunk::<PAGE_BYTES>().unwrap();
            let Parsed::Header(mut header) = Header::parse(&page) else { continue };
            let (segment, mark) = (&mut header.segment, &mut header.mark);
            match rng.below(8) {
                0 => segment.serial = any(&mut rng),
                1 => segment.before = any(&mut rng),
                2 => segment.first = SeqNo::new(any(&mut rng)),
                3 => segment.bytes = any(&mut rng),
                4 => mark.oldest = any(&mut rng),
                5 => mark.base = SeqNo::new(any(&mut rng)),
                6 => segment.salt = 5,
                _ => mark.incarnation = incarnation(8),
            }
            mark.generation = if rng.one_in(3) { any(&mut rng) } else { mark.generation };
            page = header.encode();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&page, 0).unwrap();
            file.write_all_at(&page, PAGE_BYTES as u64).unwrap();
        }
        let _ = found(dir.path());
    }
}

#[test]
fn what_is_no_segment_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("disk")).unwrap();
    fs::create_dir(dir.path().join("disk/seg-00000003")).unwrap();
    fs::write(dir.path().join("disk/notes"), "mine").unwrap();
    let (mut journal, found) = real(vec![disk_area(dir.path(), AREA)]);
    assert!(matches!(first_damage(&found).kind, DamageKind::Unreadable(_)));
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    let big = frame(1, 1, 100_000);
    let refused = journal.append(&big, SeqNo::new(1), 1).unwrap_err();
    assert!(matches!(refused, crate::AppendError::TooLarge { .. }), "{refused}");
    append(&mut journal, 1, 100);
    let _ = journal.syncer().maintain();
    assert_eq!(fs::read(dir.path().join("disk/notes")).unwrap(), b"mine");
}
