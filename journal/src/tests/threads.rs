//! Several threads at one journal; and a disk whose fsync fails.

use super::rig::{BOOT, append, disk_area, incarnation, real, tag};
use super::sim_disk::{Bug, SimDisk};
use crate::{AppendError, AreaConfig, AreaKind, Config, Disk, DiskFile, Journal, RealDisk};
use protocol::SeqNo;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

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

/// A disk that makes its fourth file when it is told to.
struct Slow {
    made: AtomicU64,
    begun: Sender<()>,
    go: parking_lot::Mutex<Receiver<()>>,
}

impl Disk for Slow {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn create(&self, path: &Path, bytes: u64, written: bool) -> io::Result<Arc<dyn DiskFile>> {
        if self.made.fetch_add(1, Ordering::SeqCst) == 3 {
            self.begun.send(()).unwrap();
            self.go.lock().recv().unwrap();
        }
        RealDisk.create(path, bytes, written)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn random(&self) -> io::Result<u64> {
        RealDisk.random()
    }
}

#[test]
fn a_file_that_is_just_made_ahead_of_its_time_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (begun, has_begun) = channel();
    let (go, goes) = channel();
    let disk = Slow { made: AtomicU64::new(0), begun, go: parking_lot::Mutex::new(goes) };
    let areas = vec![AreaConfig::new(AreaKind::Memory, dir.path(), 256 << 10)];
    let (mut journal, _) = Journal::open(Arc::new(disk), Config { boot: BOOT, areas }).unwrap();
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    // One for each segment.
    let record = |journal: &mut Journal, seq| append(journal, seq, 40 << 10);
    (1..=3).for_each(|seq| record(&mut journal, seq));
    let syncer = journal.syncer();
    thread::scope(|scope| {
        scope.spawn(|| syncer.maintain().unwrap());
        has_begun.recv().unwrap();
        let (done, is_done) = channel();
        let appends = scope.spawn(move || {
            record(&mut journal, 4);
            done.send(()).unwrap();
        });
        // It can not go on before; that it was refused would be known by then.
        let early = is_done.recv_timeout(Duration::from_millis(100));
        go.send(()).unwrap();
        assert!(early.is_err(), "there is no file for it yet");
        appends.join().unwrap();
    });
}
