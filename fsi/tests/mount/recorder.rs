//! A target that keeps what it is sent and acknowledges it at once.

use bytes::Bytes;
use parking_lot::Mutex;
use platform::tree::Tree;
use protocol::{Ack, Head, HelloAck, Mark, Message, Name, Op, Record, ReplicaId, SeqNo, VERSION};
use srm::status::CommitMode;
use srm::{Config, Srm};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Records in the order of their numbers.
pub struct Recorder {
    srm: Arc<Srm>,
    records: Arc<Mutex<Vec<(Record, Bytes)>>>,
    /// The newest number among them.
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub fn srm(tree: Arc<Tree>, commit: CommitMode) -> Arc<Srm> {
        let config = Config {
            name: Name::new(b"recorded").unwrap(),
            source: String::new(),
            mountpoint: String::new(),
            target: String::new(),
            commit: srm::Commit::new(commit),
            degrade_after: Duration::from_secs(5),
            retry_after: None,
            remote_timeout: Duration::from_secs(5),
            backlog_bytes: 64 << 20,
            journal: None,
            adopt: false,
            replica: None,
            clean_end_secs: None,
            submounts: Vec::new(),
            software: String::new(),
            set: srm::set::Set::everything(),
            sweep: None,
            bypassed: false,
            compare: srm::Compare::default(),
        };
        Srm::start(tree, config).unwrap()
    }

    /// Connects to the SRM as an empty target, and waits until it is coherent.
    pub fn connect(srm: Arc<Srm>) -> Self {
        let (_hello, generation) = srm.hello();
        let ack = HelloAck {
            version: VERSION,
            software: String::new(),
            replica: ReplicaId::from_bytes([1; 16]),
            position: None,
            clean: false,
            empty: true,
            damaged: false,
            power_lost: false,
            features: protocol::Features::default(),
        };
        srm.welcomed(generation, &ack).unwrap();
        let records = Arc::new(Mutex::new(Vec::new()));
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (srm2, records2) = (Arc::clone(&srm), Arc::clone(&records));
        let (stop2, seen2) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while !stop2.load(Ordering::Relaxed) {
                let Some(frame) = srm2.next_frame(generation).expect("the source stays clean") else {
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                };
                let (head, header) = frame.front.split_at(protocol::frame::HEAD_BYTES);
                let message = Head::parse(head.try_into().unwrap()).unwrap().message(header, frame.payload).unwrap();
                let Message::Record(record, payload) = message else { panic!("a source sends records") };
                let seq = record.seq;
                records2.lock().push((record, payload));
                seen2.store(seq.get(), Ordering::Release);
                srm2.acknowledged(Ack { applied: seq, durable: seq });
            }
        });
        let recorder = Self { srm, records, seen, stop, thread: Some(thread) };
        recorder.wait_for(|op| *op == Op::Mark(Mark::Coherent));
        recorder.take();
        recorder
    }

    /// Waits until such an operation has been recorded.
    pub fn wait_for(&self, wanted: impl Fn(&Op) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !self.records.lock().iter().any(|(record, _)| wanted(&record.op)) {
            assert!(Instant::now() < end, "never came; there are {:?}", self.records.lock());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes what was recorded so far. What an application has seen the end of is among it.
    pub fn take(&self) -> Vec<(Record, Bytes)> {
        let newest = self.srm.hello().0.newest;
        let end = Instant::now() + PATIENCE;
        while self.seen() < newest {
            assert!(Instant::now() < end, "numbers were given out that never came");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut *self.records.lock())
    }

    fn seen(&self) -> SeqNo {
        SeqNo::new(self.seen.load(Ordering::Acquire))
    }

    /// As [`Recorder::take`], the operations alone.
    pub fn ops(&self) -> Vec<Op> {
        self.take().into_iter().map(|(record, _)| record.op).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().unwrap().join();
        assert!(result.is_ok() || std::thread::panicking(), "the recorder failed");
    }
}
