//! What may be applied while a sync is under way, and what becomes of one that fails (R11).
#![allow(clippy::unwrap_used)]

use super::*;
use crate::common::{at, create, incarnation, name, write};
use crate::home::Directories;
use crate::syncs::Unsynced;
use bytes::Bytes;
use protocol::{ReplicaId, TroubleKind};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

/// A worker over a replica of its own whose syncs end when they are told to.
struct Bench {
    dir: tempfile::TempDir,
    worker: Worker,
    seq: u64,
    say: Sender<Result<(), Errno>>,
}

fn open(path: &Path) -> OwnedFd {
    std::fs::create_dir(path).unwrap();
    std::fs::File::open(path).unwrap().into()
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let part = |text: &str| open(&dir.path().join(text));
        let (tree, meta) = (part("tree"), part("meta"));
        let dirs = Directories { tree, meta, orphans: part("orphan"), aside: part("aside"), stages: part("stage") };
        let home = Home::open(name("tree"), ReplicaId::from_bytes([1; 16]), dirs, true).unwrap();
        let mut worker = Worker::new(Job {
            home: Arc::new(home),
            facts: Arc::new(Facts::new("tree")),
            queue: Arc::new(Queue::default()),
            outbox: Arc::new(Outbox::new(None, true)),
            incarnation: incarnation(1),
            newest: 1000,
            retry: None,
            resumed: false,
            ended: None,
        });
        let (say, hear) = channel();
        let hear = parking_lot::Mutex::new(hear);
        let sync = move |_: &Unsynced| hear.lock().recv().unwrap_or(Ok(()));
        worker.syncs = Syncs::with(worker.job.outbox.clone(), Box::new(sync));
        Self { dir, worker, seq: 0, say }
    }

    fn next(&mut self, beside: u16, op: Op) -> Record {
        self.seq += 1;
        Record { seq: SeqNo::new(self.seq), stamp: 0, tolerant: false, phase: Phase::Plain, beside, op }
    }

    fn apply(&mut self, record: &Record, payload: &'static [u8]) -> Flow {
        self.worker.record(record, &Bytes::from_static(payload).into(), record.seq.get() == 1)
    }

    /// Two files, and a sync of the first that is under way: a record is known to wait behind it that may be applied beside it.
    fn with_sync_under_way() -> Self {
        let mut bench = Self::new();
        for (node, text) in [(2, "one"), (3, "other")] {
            let made = bench.next(0, create(node, text));
            bench.apply(&made, b"").unwrap();
        }
        let sync = bench.next(0, Op::Fsync { place: at(2, "one"), data_only: false });
        let behind = Record { seq: sync.seq.next(), beside: 1, ..sync.clone() };
        let item = Item::Record { record: behind, payload: Parts::default(), starts: false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(bench.worker.job.queue.push(item)));
        bench.apply(&sync, b"").unwrap();
        assert_eq!((bench.worker.syncs.oldest(), bench.acknowledged()), (3, 2));
        bench
    }

    fn acknowledged(&self) -> u64 {
        self.worker.job.outbox.ack().applied.get()
    }

    /// The number of the damage, and whether the disk has lost what may still be in memory.
    fn damage(&self) -> (u64, bool) {
        let state = self.worker.job.home.state().unwrap();
        (state.damage, state.lost)
    }

    fn other(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("tree/other")).unwrap()
    }
}

#[test]
fn what_began_before_a_sync_was_answered_is_applied_beside_it_and_what_began_after_it_is_not() {
    let mut bench = Bench::with_sync_under_way();
    let beside = bench.next(1, write(at(3, "other"), 0));
    bench.apply(&beside, b"beside").unwrap();
    assert_eq!((bench.other(), bench.acknowledged()), (b"beside".to_vec(), 2), "applied, and not acknowledged");
    assert_eq!(bench.worker.job.home.state().unwrap().syncing, 3, "the next session knows");
    // Of the last record it may be applied beside, but not of the sync. The session ends before that does.
    let behind = bench.next(1, write(at(3, "other"), 0));
    bench.worker.job.queue.cancel();
    assert_eq!(bench.apply(&behind, b"behind"), None);
    assert_eq!(bench.other(), b"beside", "nothing of it is done");
    bench.say.send(Ok(())).unwrap();
    assert_eq!(bench.apply(&behind, b"behind"), Some(()));
    assert_eq!((bench.other(), bench.acknowledged()), (b"behind".to_vec(), 5));
    bench.worker.end();
    assert_eq!(bench.worker.job.home.state().unwrap().syncing, 0);
}

#[test]
fn a_sync_that_fails_is_damage_and_told_before_it_is_acknowledged() {
    let mut bench = Bench::with_sync_under_way();
    bench.say.send(Err(Errno::IO)).unwrap();
    let behind = bench.next(0, write(at(3, "other"), 0));
    bench.apply(&behind, b"behind").unwrap();
    assert_eq!(bench.damage(), (3, true));
    let (messages, ack, _) = bench.worker.job.outbox.gather();
    let told = messages.iter().find_map(|message| if let Message::Trouble(told) = message { Some(told) } else { None });
    let told = told.unwrap();
    assert_eq!((told.seq.get(), told.kind), (3, TroubleKind::Damaged));
    assert!(told.text.contains("the disk lost what was written"), "{}", told.text);
    assert_eq!(ack.applied.get(), 4);
    bench.worker.end();
}

#[test]
fn what_a_disk_lost_at_the_end_of_a_session_is_known_until_a_repair_is_through() {
    let mut bench = Bench::with_sync_under_way();
    bench.say.send(Err(Errno::IO)).unwrap();
    bench.worker.end();
    assert_eq!(bench.damage(), (3, true));
    // A new run of numbers knows nothing of the replica, but that.
    bench.worker.job.home.start(incarnation(2), 4).unwrap();
    assert_eq!(bench.damage(), (0, true));
    for mark in [Mark::Incoherent, Mark::Coherent] {
        assert!(bench.damage().1, "until {mark:?} is applied");
        let mark = bench.next(0, Op::Mark(mark));
        bench.apply(&mark, b"").unwrap();
    }
    assert_eq!(bench.damage(), (0, false));
}

#[test]
fn what_was_not_synced_when_a_process_ended_is_durable_before_its_position_is_told() {
    let bench = Bench::with_sync_under_way();
    let home = bench.worker.job.home.clone();
    assert!(!home.is_durable() && home.state().unwrap().syncing == 3);
    // As a process that opens the books after one that was killed.
    home.finish_syncs().unwrap();
    assert!(home.is_durable());
    assert_eq!(home.state().unwrap().syncing, 0);
    bench.say.send(Ok(())).unwrap();
    bench.worker.end();
}
