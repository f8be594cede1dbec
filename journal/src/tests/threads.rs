//! Several threads at one journal; and a disk whose fsync fails.

use super::rig::{BOOT, append, disk_area, incarnation, real, tag};
use super::sim_disk::{Bug, SimDisk};
use crate::{AppendError, AreaConfig, AreaKind, Config, Journal};
use protocol::SeqNo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn appending_syncing_reading_and_trimming_go_on_beside_each_other() {
    const RECORDS: u64 = 6000;
    let dir = tempfile::tempdir().unwrap();
    let memory = AreaConfig::new(AreaKind::Memory, dir.path().join("memory"), 1 << 20);
    let (mut journal, _) = real(vec![memory, disk_area(dir.path(), 1 << 20)]);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    let read = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut reader = journal.reader(SeqNo::new(1));
        let (read, syncer) = (&read, journal.syncer());
        scope.spawn(move || {
            while reader.next_seq().get() <= RECORDS {
                let Some(entry) = reader.read().unwrap() else {
                    thread::yield_now();
                    continue;
                };
                assert_eq!((entry.seq.get(), tag(&entry.frame)), (reader.next_seq().get() - 1, entry.seq.get()));
                read.store(entry.seq.get(), Ordering::Release);
            }
        });
        for _ in 0..2 {
            let syncer = syncer.clone();
            scope.spawn(move || {
                while read.load(Ordering::Acquire) < RECORDS {
                    let durable = syncer.sync().unwrap();
                    assert!(durable <= syncer.durable());
                    syncer.maintain().unwrap();
                }
            });
        }
        for seq in 1..=RECORDS {
            while journal.bytes() + 10_000 > journal.limit_bytes() / 2 && read.load(Ordering::Acquire) < seq - 1 {
                journal.trim(SeqNo::new(read.load(Ordering::Acquire)));
                thread::yield_now();
            }
            append(&mut journal, seq, usize::try_from(seq * 37 % 4000).unwrap());
        }
    });
    journal.trim(SeqNo::new(RECORDS));
    assert_eq!(journal.oldest(), journal.reader(journal.oldest()).next_seq());
}

#[test]
fn after_a_failed_fsync_nothing_is_promised_until_the_journal_begins_anew() {
    let disk = SimDisk::new(1, None::<Bug>);
    let areas = vec![AreaConfig::new(AreaKind::Disk, "/disk/a", 1 << 20)];
    let config = Config { boot: BOOT, areas };
    let (mut journal, _) = Journal::open(Arc::new(disk.clone()), config).unwrap();
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    append(&mut journal, 1, 100);
    disk.stop_after(0);
    let syncer = journal.syncer();
    assert!(syncer.sync().is_err());
    disk.restart();
    assert!(syncer.sync().is_err(), "the kernel may have thrown the data away: it is not tried again");
    assert_eq!(journal.durable(), SeqNo::ZERO);
    let refused = journal.append(&super::rig::frame(2, 2, 10), SeqNo::new(2), 2).unwrap_err();
    assert!(matches!(refused, AppendError::Poisoned));
    journal.begin(incarnation(2), SeqNo::new(1)).unwrap();
    append(&mut journal, 1, 100);
    assert_eq!(syncer.sync().unwrap(), SeqNo::new(1));
}
