//! Syncs that an application asked for and that run beside the records behind them (R11): the threads that wait for the disk, what may be acknowledged
//! meanwhile, and which of them failed. What may be applied beside which of them the source says (`Record::beside`); what follows from a failure is the worker's.

use crate::outbox::Outbox;
use parking_lot::{Condvar, Mutex, MutexGuard};
use platform::machine::{self, Disk};
use protocol::{Record, SeqNo};
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Threads that wait for the disk at once, in each session; the disk gathers what comes together.
const MAX_THREADS: usize = 16;
/// Syncs that are under way or wait for a thread. Each holds a descriptor.
const MAX_SYNCS: usize = 64;

/// A file that is to be made durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub file: Arc<OwnedFd>,
    /// Content alone, and what is needed to read it.
    pub data_only: bool,
}

impl Unsynced {
    /// Waits for the disk.
    pub fn sync(&self) -> Result<(), Errno> {
        if let Err(error) = machine::disk(Disk::TargetSync) {
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        if self.data_only { rustix::fs::fdatasync(&self.file) } else { rustix::fs::fsync(&self.file) }
    }
}

/// The record that asked for it, and what it is about.
#[derive(Debug)]
pub(crate) struct Job {
    pub record: Record,
    pub unsynced: Unsynced,
}

/// Makes durable. Another one in tests.
pub(crate) type Sync = Box<dyn Fn(&Unsynced) -> Result<(), Errno> + Send + std::marker::Sync>;

/// What could not be made durable.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub record: Record,
    pub error: Errno,
}

#[derive(Debug)]
enum Stage {
    /// A thread has it, or it waits for one.
    UnderWay(Instant),
    Failed(Box<Failed>),
}

#[derive(Debug, Default)]
struct Inner {
    jobs: VecDeque<Job>,
    /// What is not durable yet, by number.
    open: BTreeMap<u64, Stage>,
    /// Everything up to this is applied.
    applied: u64,
    /// Threads that have nothing to do.
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    over: bool,
}

/// See the module.
pub(crate) struct Syncs {
    outbox: Arc<Outbox>,
    sync: Sync,
    inner: Mutex<Inner>,
    /// There is work, or it is over.
    filled: Condvar,
    /// Something is done, or has failed.
    ended: Condvar,
}

/// What [`Syncs::wait`] comes to.
#[derive(Debug)]
pub(crate) enum Waited {
    /// All that was waited for is durable.
    Done,
    /// This one failed. It counts as under way until [`Syncs::finished`].
    Failed(Box<Failed>),
    /// Not yet.
    NotYet,
}

impl Syncs {
    pub fn new(outbox: Arc<Outbox>) -> Arc<Self> {
        Self::with(outbox, Box::new(Unsynced::sync))
    }

    pub(crate) fn with(outbox: Arc<Outbox>, sync: Sync) -> Arc<Self> {
        let (filled, ended) = (Condvar::new(), Condvar::new());
        let inner = Mutex::new(Inner { applied: outbox.ack().applied.get(), ..Inner::default() });
        Arc::new(Self { outbox, sync, inner, filled, ended })
    }

    /// Whether one more may be under way.
    pub fn has_room(&self) -> bool {
        self.inner.lock().open.len() < MAX_SYNCS
    }

    /// Lets a thread sync this; where there can be none, it is done here. On a simulated machine it is under way until [`Self::carry_out_one`].
    pub fn begin(self: &Arc<Self>, job: Job) {
        let mut inner = self.inner.lock();
        inner.open.insert(job.record.seq.get(), Stage::UnderWay(Instant::now()));
        inner.jobs.push_back(job);
        self.show(&inner);
        if machine::is_simulated() {
            return;
        }
        if inner.jobs.len() > inner.idle && inner.threads.len() < MAX_THREADS {
            let syncs = Arc::clone(self);
            match thread::Builder::new().name("target-fsync".into()).spawn(move || syncs.work()) {
                Ok(handle) => inner.threads.push(handle),
                Err(_) if inner.threads.is_empty() => {
                    let Some(job) = inner.jobs.pop_back() else { return };
                    drop(inner);
                    return self.carry_out(job);
                }
                // Those that are there do it.
                Err(_) => {}
            }
        }
        drop(inner);
        self.filled.notify_one();
    }

    fn work(&self) {
        let mut inner = self.inner.lock();
        loop {
            if let Some(job) = inner.jobs.pop_front() {
                drop(inner);
                self.carry_out(job);
                inner = self.inner.lock();
            } else if inner.over {
                return;
            } else {
                inner.idle += 1;
                self.filled.wait(&mut inner);
                inner.idle -= 1;
            }
        }
    }

    fn carry_out(&self, job: Job) {
        let seq = job.record.seq.get();
        let Err(error) = (self.sync)(&job.unsynced) else { return self.finished(seq) };
        let failed = Box::new(Failed { record: job.record, error });
        let mut inner = self.inner.lock();
        inner.open.insert(seq, Stage::Failed(failed));
        self.show(&inner);
        drop(inner);
        self.ended.notify_all();
    }

    /// One of those that no thread has is carried out, whichever this says. `false`: there is none.
    pub fn carry_out_one(&self, which: usize) -> bool {
        let job = {
            let mut inner = self.inner.lock();
            let at = which.checked_rem(inner.jobs.len());
            at.and_then(|at| inner.jobs.remove(at))
        };
        job.map(|job| self.carry_out(job)).is_some()
    }

    /// The numbers of those that no thread has, and up to where all is applied.
    pub fn waiting(&self) -> (Vec<u64>, u64) {
        let inner = self.inner.lock();
        (inner.jobs.iter().map(|job| job.record.seq.get()).collect(), inner.applied)
    }

    /// This one is durable, or is not waited for any more.
    pub fn finished(&self, seq: u64) {
        let mut inner = self.inner.lock();
        inner.open.remove(&seq);
        self.show(&inner);
        drop(inner);
        self.ended.notify_all();
        self.outbox.poke();
    }

    /// Everything up to this is applied; it may be acknowledged as far as no sync is under way.
    pub fn applied(&self, seq: u64) {
        let mut inner = self.inner.lock();
        inner.applied = seq;
        self.show(&inner);
    }

    /// What is acknowledged, and what is said to take long.
    fn show(&self, inner: &Inner) {
        let first = inner.open.iter().next();
        let below = first.map_or(u64::MAX, |(seq, _)| seq.saturating_sub(1));
        self.outbox.applied(inner.applied.min(below));
        self.outbox.syncing(first.and_then(|(seq, stage)| match stage {
            Stage::UnderWay(since) => Some((SeqNo::new(*seq), *since)),
            Stage::Failed(_) => None,
        }));
    }

    /// A new run of numbers begins; nothing is under way.
    pub fn restart(&self) {
        self.inner.lock().applied = 0;
    }

    /// The oldest number that is not durable although it was asked for; zero: there is none.
    pub fn oldest(&self) -> u64 {
        self.inner.lock().open.keys().next().copied().unwrap_or(0)
    }

    /// Waits for all up to `seq`, but no longer than `time`.
    pub fn wait(&self, seq: u64, time: Duration) -> Waited {
        let deadline = machine::now() + time;
        let mut inner = self.inner.lock();
        loop {
            match first_failed(inner.open.range(..=seq).map(|(_, stage)| stage)) {
                Some(failed) => return Waited::Failed(failed),
                None if inner.open.range(..=seq).next().is_none() => return Waited::Done,
                None if machine::is_simulated() => {
                    let left = deadline.saturating_duration_since(machine::now());
                    if left.is_zero() {
                        return Waited::NotYet;
                    }
                    MutexGuard::unlocked(&mut inner, || machine::wait(left, false));
                }
                None if self.ended.wait_until(&mut inner, deadline).timed_out() => return Waited::NotYet,
                None => {}
            }
        }
    }

    /// One that failed.
    pub fn failed(&self) -> Option<Box<Failed>> {
        first_failed(self.inner.lock().open.values())
    }

    /// No more come: the threads end when they have done what is theirs. Whether all of it is durable.
    pub fn end(&self) -> bool {
        let threads = {
            let mut inner = self.inner.lock();
            inner.over = true;
            std::mem::take(&mut inner.threads)
        };
        self.filled.notify_all();
        while machine::is_simulated() && self.carry_out_one(0) {}
        for thread in threads {
            // One that panicked left its sync open.
            let _ended = thread.join();
        }
        self.inner.lock().open.is_empty()
    }
}

fn first_failed<'a>(mut open: impl Iterator<Item = &'a Stage>) -> Option<Box<Failed>> {
    open.find_map(|stage| if let Stage::Failed(failed) = stage { Some(failed.clone()) } else { None })
}

impl std::fmt::Debug for Syncs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syncs").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::{At, NodeId, Op, Phase, Place, RelPath};
    use std::sync::mpsc::{Sender, channel};

    fn job(seq: u64) -> Job {
        let place = Place { node: NodeId::new(seq), at: At::Path(RelPath::root()) };
        let op = Op::Fsync { place, data_only: true };
        let record = Record { seq: SeqNo::new(seq), stamp: 0, tolerant: false, phase: Phase::Plain, beside: 0, op };
        let file = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        Job { record, unsynced: Unsynced { file, data_only: true } }
    }

    /// Syncs that end when they are told to, in any order: each waits for its own word.
    fn told() -> (Arc<Syncs>, Sender<Result<(), Errno>>) {
        let (say, hear) = channel();
        let hear = Mutex::new(hear);
        let outbox = Arc::new(Outbox::new(Some((0, 0)), true));
        let sync = move |_: &Unsynced| hear.lock().recv().unwrap_or(Ok(()));
        (Syncs::with(outbox, Box::new(sync)), say)
    }

    fn acknowledged(syncs: &Syncs) -> u64 {
        syncs.outbox.ack().applied.get()
    }

    #[test]
    fn nothing_is_acknowledged_past_a_sync_that_is_under_way() {
        let (syncs, say) = told();
        syncs.applied(4);
        for seq in [5, 7] {
            syncs.begin(job(seq));
            syncs.applied(seq + 1);
        }
        assert_eq!((acknowledged(&syncs), syncs.oldest()), (4, 5));
        assert!(matches!(syncs.wait(4, Duration::ZERO), Waited::Done), "what is before it is not waited for");
        assert!(matches!(syncs.wait(6, Duration::from_millis(1)), Waited::NotYet));
        say.send(Ok(())).unwrap();
        say.send(Ok(())).unwrap();
        assert!(matches!(syncs.wait(u64::MAX, Duration::from_secs(60)), Waited::Done));
        assert_eq!((acknowledged(&syncs), syncs.oldest()), (8, 0));
        assert!(syncs.end());
    }

    #[test]
    fn what_failed_is_under_way_until_somebody_has_seen_to_it() {
        let (syncs, say) = told();
        syncs.begin(job(1));
        syncs.applied(2);
        say.send(Err(Errno::IO)).unwrap();
        let Waited::Failed(failed) = syncs.wait(1, Duration::from_secs(60)) else { panic!("it failed") };
        assert_eq!(failed.record.seq, SeqNo::new(1));
        assert_eq!((acknowledged(&syncs), syncs.failed().unwrap().record.seq.get()), (0, 1));
        syncs.finished(1);
        assert_eq!(acknowledged(&syncs), 2);
        assert!(syncs.failed().is_none() && syncs.end());
    }

    #[test]
    fn threads_and_syncs_are_bounded_and_end() {
        let (syncs, say) = told();
        for seq in 1..=MAX_SYNCS as u64 {
            assert!(syncs.has_room());
            syncs.begin(job(seq));
        }
        assert!(!syncs.has_room());
        assert_eq!(syncs.inner.lock().threads.len(), MAX_THREADS);
        drop(say);
        assert!(matches!(syncs.wait(u64::MAX, Duration::from_secs(60)), Waited::Done));
        assert!(syncs.end() && syncs.has_room());
    }
}
