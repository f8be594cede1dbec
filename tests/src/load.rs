//! Load: threads that change a tree at random, from a seed, on names that they share, so that they meet. Counts what was done,
//! and remembers how long the slowest call took.

use crate::seed::Random;
use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Names that all threads share: two levels of directories with a few files each.
const DIRS: u64 = 4;
const FILES: u64 = 8;

/// Largest position written to.
const REACH: u64 = 300_000;

/// Threads at work.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    slowest_micros: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// What the threads did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Operations that succeeded.
    pub done: u64,
    /// The slowest operation.
    pub slowest: Duration,
    /// The first error that racing neighbours do not explain.
    pub failure: Option<String>,
}

impl Load {
    /// Starts `threads` threads that change what is below `root`, until they are stopped or something fails.
    pub fn start(root: &Path, threads: u64, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..threads)
            .map(|n| {
                let (shared, root) = (Arc::clone(&shared), root.to_owned());
                std::thread::spawn(move || work(&shared, &root, Random::new(seed.wrapping_add(n))))
            })
            .collect();
        Self { shared, threads }
    }

    /// Operations so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Waits until so many operations are done in total, or one has failed.
    pub fn wait_for(&self, operations: u64) {
        crate::wait::until("the writers to advance", crate::wait::PATIENCE, || {
            let failed = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            (failed || self.done() >= operations).then_some(())
        });
    }

    /// Stops all threads and gives what they did, errors included.
    pub fn stop(self) -> Summary {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            if thread.join().is_err() {
                self.shared.fail("a writer panicked".into());
            }
        }
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let slowest = Duration::from_micros(self.shared.slowest_micros.load(Ordering::SeqCst));
        Summary { done: self.shared.done.load(Ordering::SeqCst), slowest, failure }
    }

    /// Stops all threads; panics if one met an error.
    #[track_caller]
    pub fn stop_clean(self) -> Summary {
        let summary = self.stop();
        assert!(summary.failure.is_none(), "a writer failed: {:?}", summary.failure);
        summary
    }
}

impl Shared {
    fn fail(&self, text: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn work(shared: &Shared, root: &Path, mut random: Random) {
    while !shared.stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        let (what, result) = step(root, &mut random);
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        shared.slowest_micros.fetch_max(micros, Ordering::SeqCst);
        match result {
            Ok(()) => {
                shared.done.fetch_add(1, Ordering::SeqCst);
            }
            // A neighbour was faster.
            Err(Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR | Errno::INVAL) => {}
            Err(error) => return shared.fail(format!("{what}: {error}")),
        }
    }
}

/// One operation on some of the shared names.
fn step(root: &Path, random: &mut Random) -> (&'static str, rustix::io::Result<()>) {
    let (one, two) = (file(root, random), file(root, random));
    let dir = directory(root, random);
    match random.below(20) {
        0..=6 => ("write", write(&one, random, OFlags::CREATE)),
        7..=9 => ("append", write(&one, random, OFlags::CREATE | OFlags::APPEND)),
        10 => ("truncate", truncate(&one, random.below(REACH))),
        11 => ("punch", punch(&one, random)),
        12 => ("unlink", rustix::fs::unlink(&one)),
        13 => ("link", rustix::fs::link(&one, &two)),
        14 => ("rename", rustix::fs::rename(&one, &two)),
        15 => ("exchange", rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE)),
        16 => ("mkdir", rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755))),
        17 => ("rename of a directory", rustix::fs::rename(&dir, directory(root, random))),
        18 => (
            "chmod",
            rustix::fs::chmod(&one, Mode::from_raw_mode(0o600 + u32::try_from(random.below(64)).unwrap_or(0))),
        ),
        _ => ("write after unlink", orphan(&one, random)),
    }
}

fn directory(root: &Path, random: &mut Random) -> PathBuf {
    root.join(format!("d{}", random.below(DIRS)))
}

fn file(root: &Path, random: &mut Random) -> PathBuf {
    let dir = if random.once_in(3) { root.to_owned() } else { directory(root, random) };
    dir.join(format!("f{}", random.below(FILES)))
}

fn open(path: &Path, flags: OFlags) -> rustix::io::Result<std::fs::File> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).map(Into::into)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn write(path: &Path, random: &mut Random, flags: OFlags) -> rustix::io::Result<()> {
    let file = open(path, flags)?;
    let longest = if random.once_in(10) { 100_000 } else { 5000 };
    let len = usize::try_from(1 + random.below(longest)).unwrap_or(1);
    file.write_all_at(&random.bytes(len), random.below(REACH)).map_err(|e| errno(&e))?;
    if random.once_in(10) {
        rustix::fs::fdatasync(&file)?;
    }
    Ok(())
}

fn truncate(path: &Path, len: u64) -> rustix::io::Result<()> {
    rustix::fs::ftruncate(open(path, OFlags::empty())?, len)
}

fn punch(path: &Path, random: &mut Random) -> rustix::io::Result<()> {
    let file = open(path, OFlags::empty())?;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, mode, random.below(REACH), 1 + random.below(50_000))
}

/// Unlinks a name and goes on with the file that had it.
fn orphan(path: &Path, random: &mut Random) -> rustix::io::Result<()> {
    let file = open(path, OFlags::empty())?;
    rustix::fs::unlink(path)?;
    file.write_all_at(&random.bytes(3000), random.below(REACH)).map_err(|e| errno(&e))?;
    rustix::fs::ftruncate(&file, random.below(REACH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_race_without_errors_on_an_ordinary_directory() {
        let Ok(home) = tempfile::tempdir() else { panic!("cannot make a directory") };
        let load = Load::start(home.path(), 8, 1);
        load.wait_for(3000);
        assert!(load.stop_clean().done >= 3000);
    }
}
