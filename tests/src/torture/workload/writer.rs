//! A random writer: one write after the other, in a few files that stay open for a while, with the history of what returned.

use super::Workload;
use crate::seed::Random;
use crate::torture::history::{BLOCK, History, name};
use crate::torture::running::Running;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const FILES: u64 = 4;
/// Blocks of a file.
const REACH: u64 = 200;
const NAME: &str = "writers";

/// One writer.
#[derive(Debug)]
pub struct Writer {
    seed: u64,
    history: Mutex<History>,
}

impl Writer {
    /// Number `n`, with a seed of its own.
    pub fn new(n: u64, seed: u64) -> Self {
        Self { seed, history: Mutex::new(History::of(n)) }
    }

    /// What it was told so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One write, and now and then an fsync. The files that it uses stay open in `open`.
    fn step(&self, at: &Path, random: &mut Random, open: &mut BTreeMap<u32, File>) -> io::Result<()> {
        let small = |number: u64| u32::try_from(number).unwrap_or(0);
        let file = small(random.below(FILES));
        let count = if random.once_in(4) { 1 + small(random.below(12)) } else { 1 };
        let first = small(random.below(REACH));
        let (sync, fsync, close) = (random.once_in(20), random.once_in(15), random.once_in(30));
        if sync {
            open.remove(&file);
        }
        let handle = match open.entry(file) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let flags = if sync { libc::O_DSYNC } else { 0 };
                let mut options = File::options();
                options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
                entry.insert(options.open(at.join(name(file)))?)
            }
        };
        let (version, bytes) = self.history().begin((file, first), count);
        handle.write_all_at(&bytes, u64::from(first) * BLOCK as u64)?;
        self.history().returned((file, first), count, version);
        if fsync {
            handle.sync_data()?;
        }
        if close {
            open.remove(&file);
        }
        Ok(())
    }
}

impl Workload for Writer {
    fn run(&self, at: &Path, running: &Running) {
        let (mut random, mut open) = (Random::new(self.seed), BTreeMap::new());
        loop {
            if running.is_shut() {
                open.clear();
            }
            if !running.goes_on() {
                return;
            }
            match self.step(at, &mut random, &mut open) {
                Ok(()) => running.did(NAME),
                Err(error) => {
                    open.clear();
                    running.failed(NAME, "write", &error);
                }
            }
            running.tried();
        }
    }

    fn lacking(&self, at: &Path, _scratch: &Path) -> Vec<String> {
        self.history().lacking(at)
    }

    fn as_writer(&self) -> Option<&Writer> {
        Some(self)
    }
}
