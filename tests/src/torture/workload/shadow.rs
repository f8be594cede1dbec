//! Random operations on one file, as fsx makes them: a shadow in memory says what it holds, each read is compared with it, and after a failure the file is
//! what it was before or after, in the bytes that the failed call was about.

use super::Workload;
use crate::seed::Random;
use crate::torture::running::Running;
use rustix::fs::FallocateFlags;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const NAME: &str = "shadow";
/// No byte is beyond.
const REACH: u64 = 300_000;

/// One file and its shadow.
#[derive(Debug)]
pub struct Shadow {
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which of the two names it has, if that is known.
    name: usize,
    bytes: Vec<u8>,
    /// The last call failed: these bytes, and all from the smaller of the sizes on, may be as before or after.
    doubt: Option<Range<usize>>,
    /// What was read and is not what it should be.
    wrong: Vec<String>,
}

impl Shadow {
    /// With chances of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Mutex::new(State::default()) }
    }
}

fn place(at: &Path, name: usize) -> PathBuf {
    at.join(["one", "two"][name % 2])
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

impl State {
    /// Reads the file again after a failure, and takes over what it holds where that may be either.
    fn resolve(&mut self, at: &Path) -> io::Result<()> {
        let Some(doubt) = self.doubt.clone() else { return Ok(()) };
        // While nothing is mounted nothing is known.
        fs::symlink_metadata(at)?;
        if !place(at, self.name).try_exists()? && place(at, self.name + 1).try_exists()? {
            self.name += 1;
        }
        let there = match fs::read(place(at, self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.bytes.is_empty() => Vec::new(),
            read => read?,
        };
        self.compare(&there, &doubt, "after a failure");
        (self.bytes, self.doubt) = (there, None);
        Ok(())
    }

    fn compare(&mut self, there: &[u8], but: &Range<usize>, when: &str) {
        let common = there.len().min(self.bytes.len());
        let differs = |n: &usize| !but.contains(n) && there[*n] != self.bytes[*n];
        let sizes = there.len() != self.bytes.len() && !but.contains(&common);
        if let Some(first) = (0..common).find(differs).or(sizes.then_some(common)) {
            let (a, b) = (there.len(), self.bytes.len());
            self.wrong.push(format!("{when}: byte {first} is wrong; {a} bytes there, {b} expected"));
        }
    }

    fn step(&mut self, at: &Path, random: &mut Random) -> io::Result<()> {
        self.resolve(at)?;
        let from = random.below(REACH);
        let longest = if random.once_in(8) { 60_000 } else { 6000 };
        let len = 1 + random.below(longest);
        let range = index(from)..index(from + len);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(place(at, self.name))?;
        let size = self.bytes.len();
        match random.below(12) {
            0..=4 => {
                let bytes = random.bytes(range.len());
                self.doubt = Some(range.start.min(size)..range.end);
                file.write_all_at(&bytes, from)?;
                self.grow(range.end);
                self.bytes[range].copy_from_slice(&bytes);
            }
            5..=7 => {
                let mut bytes = vec![0; range.len()];
                let read = file.read_at(&mut bytes, from)?;
                let here: Vec<u8> =
                    self.bytes.get(range.start..).unwrap_or_default().iter().take(read).copied().collect();
                let due = range.end.min(size).saturating_sub(range.start);
                if read != due || here != bytes[..read] {
                    self.wrong
                        .push(format!("read of {len} bytes at {from}: {read} came, {due} expected, or other ones"));
                }
            }
            8 => {
                self.doubt = Some(range.start.min(size)..usize::MAX);
                file.set_len(from)?;
                self.bytes.resize(range.start, 0);
            }
            9 => {
                self.doubt = Some(range.clone());
                rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, len)?;
                let end = range.end.min(size);
                if range.start < end {
                    self.bytes[range.start..end].fill(0);
                }
            }
            10 => {
                self.doubt = Some(0..0);
                fs::rename(place(at, self.name), place(at, self.name + 1))?;
                self.name += 1;
            }
            _ => file.sync_all()?,
        }
        self.doubt = None;
        Ok(())
    }

    fn grow(&mut self, to: usize) {
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
    }
}

impl Workload for Shadow {
    fn run(&self, at: &Path, running: &Running) {
        let mut random = Random::new(self.seed);
        while running.goes_on() {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = state.step(at, &mut random);
            drop(state);
            match result {
                Ok(()) => running.did(NAME),
                Err(error) => running.failed(NAME, "an operation on the file with a shadow", &error),
            }
        }
    }

    fn lacking(&self, at: &Path, _scratch: &Path) -> Vec<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.resolve(at) {
            state.wrong.push(format!("cannot be read: {error}"));
        }
        if !state.bytes.is_empty() {
            match fs::read(place(at, state.name)) {
                Ok(there) => state.compare(&there, &(0..0), "in the end"),
                Err(error) => state.wrong.push(format!("cannot be read: {error}")),
            }
        }
        std::mem::take(&mut state.wrong)
    }
}
