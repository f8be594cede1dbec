//! What was appended last is given up, on a real file system; `crash` interrupts it.

use super::rig::{append, disk_area, frame, incarnation, real, tag};
use crate::{AppendError, AreaConfig, AreaKind, Journal};
use protocol::SeqNo;

const MIB: u64 = 1 << 20;

/// Appends until nothing more fits; the number that did not.
fn fill(journal: &mut Journal, from: u64) -> u64 {
    let mut seq = from;
    loop {
        match journal.append(&frame(seq, seq, 10_000), SeqNo::new(seq), seq) {
            Ok(()) => seq += 1,
            Err(AppendError::Full) => return seq,
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_full_journal_is_cut_and_goes_on_with_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let areas = || vec![AreaConfig::new(AreaKind::Memory, dir.path().join("memory"), MIB), disk_area(dir.path(), MIB)];
    let (mut journal, _) = real(areas());
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    for seq in 1..=10 {
        append(&mut journal, seq, 10_000);
    }
    let place = journal.place();
    assert_eq!(place.next(), SeqNo::new(11));
    // More than once: nothing of the journal is lost with a cut.
    for round in 1..=5_u64 {
        let end = fill(&mut journal, 11);
        assert!(end > 150, "{end}");
        assert!(journal.cut(&place).unwrap());
        assert_eq!((journal.next(), journal.oldest()), (SeqNo::new(11), SeqNo::new(1)));
        assert!(journal.bytes() < MIB / 2, "{} bytes are left", journal.bytes());
        for seq in 11..=30 {
            journal.append(&frame(seq, 1000 * round + seq, 5_000), SeqNo::new(seq), seq).unwrap();
        }
        let mut reader = journal.reader(SeqNo::new(1));
        for seq in 1..=30 {
            let expected = if seq > 10 { 1000 * round + seq } else { seq };
            assert_eq!(tag(&reader.read().unwrap().unwrap().frame), expected);
        }
        assert!(reader.read().unwrap().is_none());
        fill(&mut journal, 31);
        assert!(journal.cut(&place).unwrap());
    }
    append(&mut journal, 11, 100);
    let place = journal.place();
    append(&mut journal, 12, 100);
    assert!(!journal.cut(&place).unwrap(), "less than a segment");
    drop(journal);
    let (_, found) = real(areas());
    assert_eq!((found.oldest.get(), found.next.get(), found.damage), (1, 13, vec![]));
}

#[test]
fn what_was_trimmed_up_to_the_place_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = real(vec![disk_area(dir.path(), MIB)]);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    let place = journal.place();
    fill(&mut journal, 1);
    assert!(journal.cut(&place).unwrap());
    assert_eq!((journal.next(), journal.bytes()), (SeqNo::new(1), 0));
    for seq in 1..=40 {
        append(&mut journal, seq, 10_000);
    }
    journal.trim(SeqNo::new(40));
    let place = journal.place();
    fill(&mut journal, 41);
    assert!(journal.cut(&place).unwrap());
    append(&mut journal, 41, 10);
    assert_eq!(journal.syncer().sync().unwrap(), SeqNo::new(41));
    drop(journal);
    let (_, found) = real(vec![disk_area(dir.path(), MIB)]);
    assert_eq!((found.next.get(), found.damage), (42, vec![]));
}
