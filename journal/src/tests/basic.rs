//! What every user of the journal relies on, on a real file system.

use super::rig::{append, disk_area, frame, incarnation, real, tag};
use crate::{AppendError, AreaConfig, AreaError, AreaKind, ReadError};
use protocol::SeqNo;

const MIB: u64 = 1 << 20;

#[test]
fn what_is_appended_is_read_back_in_order_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, found) = real(vec![disk_area(dir.path(), MIB)]);
    assert_eq!((found.incarnation, found.damage.len()), (None, 0));
    journal.begin(incarnation(1), SeqNo::new(5)).unwrap();
    let mut reader = journal.reader(SeqNo::new(5));
    assert!(reader.read().unwrap().is_none());
    for seq in 5..900 {
        append(&mut journal, seq, 300);
        let entry = reader.read().unwrap().unwrap();
        assert_eq!((entry.seq.get(), entry.stamp, tag(&entry.frame)), (seq, seq, seq));
    }
    assert!(reader.read().unwrap().is_none());
    assert_eq!(journal.syncer().sync().unwrap(), SeqNo::new(899));
    drop(journal);
    let (mut journal, found) = real(vec![disk_area(dir.path(), MIB)]);
    assert_eq!((found.incarnation, found.oldest.get(), found.next.get()), (Some(incarnation(1)), 5, 900));
    assert_eq!((found.last_stamp, found.same_boot, found.damage), (Some(899), true, vec![]));
    append(&mut journal, 900, 300);
    let mut reader = journal.reader(SeqNo::new(450));
    for seq in 450..=900 {
        assert_eq!(tag(&reader.read().unwrap().unwrap().frame), seq);
    }
}

#[test]
fn trimmed_segments_are_used_again_and_their_records_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = real(vec![disk_area(dir.path(), MIB)]);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    let mut old = journal.reader(SeqNo::new(1));
    let mut seq = 1;
    let full = loop {
        match journal.append(&frame(seq, seq, 10_000), SeqNo::new(seq), seq) {
            Ok(()) => seq += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(full, AppendError::Full), "{full}");
    assert!(journal.bytes() <= journal.limit_bytes() && journal.bytes() + 12_000 > journal.limit_bytes());
    assert!(old.read().unwrap().is_some());
    for _ in 0..300 {
        journal.trim(SeqNo::new(seq - 30));
        append(&mut journal, seq, 10_000);
        seq += 1;
    }
    let oldest = journal.oldest();
    assert_eq!(old.read().unwrap_err(), ReadError::Trimmed { seq: SeqNo::new(2), oldest });
    assert_eq!(journal.areas()[0].held_bytes, MIB);
    drop(journal);
    let (journal, found) = real(vec![disk_area(dir.path(), MIB)]);
    assert_eq!((found.next.get(), found.damage.len()), (seq, 0));
    assert!(found.oldest <= oldest && journal.bytes() <= journal.limit_bytes());
}

#[test]
fn an_extension_is_chained_in_when_needed_and_given_back_when_not() {
    let dir = tempfile::tempdir().unwrap();
    let memory = AreaConfig::new(AreaKind::Memory, dir.path().join("memory"), MIB);
    let (mut journal, _) = real(vec![memory, disk_area(dir.path(), MIB)]);
    let syncer = journal.syncer();
    let extension = AreaConfig::new(AreaKind::Extension, dir.path().join("more"), 2 * MIB);
    syncer.add_area(extension.clone()).unwrap();
    assert!(matches!(syncer.add_area(extension.clone()), Err(AreaError::InUse(_))));
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    for seq in 1..=300 {
        append(&mut journal, seq, 10_000);
        syncer.maintain().unwrap();
    }
    let areas = journal.areas();
    assert!(areas[2].used_bytes > 0 && areas[2].trouble.is_none());
    assert!(matches!(syncer.drop_area(&extension.dir), Err(AreaError::NotEmpty(_))));
    assert_eq!(syncer.sync().unwrap(), SeqNo::new(0), "what is in memory comes first");
    journal.trim(SeqNo::new(300));
    append(&mut journal, 301, 10_000);
    syncer.maintain().unwrap();
    let areas = journal.areas();
    assert_eq!((areas[1].used_bytes, areas[2].held_bytes), (0, 0));
    assert!(areas[0].used_bytes > 0, "the first area with room is used");
    syncer.drop_area(&extension.dir).unwrap();
    assert_eq!(journal.areas().len(), 2);
}

#[test]
fn beginning_anew_leaves_nothing_of_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = real(vec![disk_area(dir.path(), MIB)]);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    for seq in 1..=50 {
        append(&mut journal, seq, 500);
    }
    let mut reader = journal.reader(SeqNo::new(1));
    journal.begin(incarnation(2), SeqNo::new(9)).unwrap();
    assert!(matches!(reader.read(), Err(ReadError::Trimmed { .. })));
    drop(journal);
    let (journal, found) = real(vec![disk_area(dir.path(), MIB)]);
    assert_eq!((found.incarnation, found.oldest.get(), found.next.get()), (Some(incarnation(2)), 9, 9));
    assert_eq!((journal.bytes(), found.damage.len()), (0, 0));
}
