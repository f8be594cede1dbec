//! Applications whose every call is on record, with content that says what it is.

use super::history::{Act, CELLS, Calls, Event, GROWING, Moment, NAMES, OBJECTS, REPLACED};
use super::moments::Clock;
use crate::seed::Random;
use rustix::fs::{CWD, OFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Bytes of a block that is written in place.
pub const CELL: usize = 4096;
/// Bytes of a record of the file that grows.
pub const RECORD: usize = 128;

/// A writer's directory.
pub fn place(root: &Path, writer: usize) -> PathBuf {
    root.join(format!("writer{writer}"))
}

/// What an object holds.
pub fn content(writer: usize, object: u16, version: u32) -> Vec<u8> {
    let seed = (writer as u64) << 48 | u64::from(object) << 32 | u64::from(version);
    let mut random = Random::new(seed);
    let len = match object {
        GROWING => RECORD,
        REPLACED => 16 + usize::try_from(random.below(30_000)).unwrap_or(0),
        _ => CELL,
    };
    let mut data = version.to_le_bytes().to_vec();
    data.extend(random.bytes(len - 4));
    data
}

/// Everything at version 0, in a tree that nobody has mounted yet.
#[track_caller]
pub fn prepare(root: &Path, writers: usize) {
    for writer in 0..writers {
        let at = place(root, writer);
        let cells: Vec<u8> = (0..CELLS).flat_map(|cell| content(writer, cell, 0)).collect();
        let made = fs::create_dir_all(at.join("names"))
            .and_then(|()| fs::write(at.join("cells"), cells))
            .and_then(|()| fs::write(at.join("growing"), []))
            .and_then(|()| fs::write(at.join("replaced"), content(writer, REPLACED, 0)));
        made.unwrap_or_else(|e| panic!("cannot prepare {}: {e}", at.display()));
    }
}

/// Writers at work until they are stopped or get an error.
pub struct Work {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Calls>>,
}

impl Work {
    /// Starts them below `mnt`.
    pub fn start(mnt: &Path, writers: usize, seed: u64, clock: &Clock) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..writers)
            .map(|number| {
                let (at, stop, done) = (place(mnt, number), Arc::clone(&stop), Arc::clone(&done));
                let random = Random::new(seed.wrapping_mul(31).wrapping_add(number as u64));
                let clock = clock.clone();
                std::thread::spawn(move || {
                    let versions = vec![0; usize::from(OBJECTS)];
                    let mut writer = Writer { number, at, random, clock, versions, calls: Vec::new() };
                    while !stop.load(Ordering::SeqCst) && writer.step().is_ok() {
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    writer.calls
                })
            })
            .collect();
        Self { stop, done, threads }
    }

    /// Waits until so many steps more were taken, or nobody is left to take any.
    pub fn go_on(&self, steps: u64) {
        let goal = self.done.load(Ordering::SeqCst) + steps;
        let mut seen = 0;
        while seen < goal && !self.threads.iter().all(JoinHandle::is_finished) {
            seen = crate::wait::until("the writers to advance", crate::wait::PATIENCE, || {
                let now = self.done.load(Ordering::SeqCst);
                (now > seen || self.threads.iter().all(JoinHandle::is_finished)).then_some(now)
            });
        }
    }

    /// Ends them; what each did.
    #[track_caller]
    pub fn stop(self) -> Vec<Calls> {
        self.stop.store(true, Ordering::SeqCst);
        let end = |thread: JoinHandle<Calls>| thread.join().unwrap_or_else(|_| panic!("a writer panicked"));
        self.threads.into_iter().map(end).collect()
    }
}

struct Writer {
    number: usize,
    at: PathBuf,
    random: Random,
    clock: Clock,
    versions: Vec<u32>,
    calls: Calls,
}

impl Writer {
    fn step(&mut self) -> io::Result<()> {
        let cell = u16::try_from(self.random.below(u64::from(CELLS))).unwrap_or(0);
        match self.random.below(12) {
            0..=2 => self.write_cell(cell, OFlags::empty()),
            3 => {
                let flags = if self.random.once_in(2) { OFlags::DSYNC } else { OFlags::SYNC };
                self.write_cell(cell, flags)?;
                // A write with that flag is durable when it returns.
                let last = self.calls.last().copied();
                self.calls.extend(last.map(|event| Event { act: Act::Sync { from: cell, to: cell + 1 }, ..event }));
                Ok(())
            }
            4 => self.sync("cells", 0, CELLS),
            5 | 6 => {
                let file = OpenOptions::new().append(true).open(self.at.join("growing"))?;
                self.change(GROWING, |data| io::Write::write_all(&mut &file, data))?;
                if self.random.once_in(2) { self.sync("growing", GROWING, GROWING + 1) } else { Ok(()) }
            }
            7 => self.replace(),
            8..=10 => self.come_or_go(),
            _ => self.sync("names", NAMES, OBJECTS),
        }
    }

    fn write_cell(&mut self, cell: u16, flags: OFlags) -> io::Result<()> {
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = OpenOptions::new().write(true).custom_flags(flags).open(self.at.join("cells"))?;
        self.change(cell, |data| file.write_all_at(data, u64::from(cell) * CELL as u64))
    }

    /// New content under a name of its own, durable before it takes the place of the old.
    fn replace(&mut self) -> io::Result<()> {
        let (new, old) = (self.at.join("new"), self.at.join("replaced"));
        let file = File::create(&new)?;
        let version = self.versions[usize::from(REPLACED)] + 1;
        file.write_all_at(&content(self.number, REPLACED, version), 0)?;
        file.sync_all()?;
        self.change(REPLACED, |_| fs::rename(new, old))?;
        if self.random.once_in(2) { self.sync(".", REPLACED, REPLACED + 1) } else { Ok(()) }
    }

    /// A link is made, or removed.
    fn come_or_go(&mut self) -> io::Result<()> {
        let object = NAMES + u16::try_from(self.random.below(u64::from(OBJECTS - NAMES))).unwrap_or(0);
        let name = self.at.join("names").join(object.to_string());
        let version = self.versions[usize::from(object)] + 1;
        self.change(object, |_| match version % 2 {
            1 => symlink(version.to_string(), name),
            _ => fs::remove_file(name),
        })
    }

    fn change(&mut self, object: u16, act: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let version = self.versions[usize::from(object)] + 1;
        let data = content(self.number, object, version);
        self.versions[usize::from(object)] = version;
        self.call(Act::Change { object, version }, || act(&data))
    }

    fn sync(&mut self, name: &str, from: u16, to: u16) -> io::Result<()> {
        let file = File::from(rustix::fs::openat(CWD, self.at.join(name), OFlags::RDONLY, rustix::fs::Mode::empty())?);
        let data = name == "cells" && self.random.once_in(2);
        self.call(Act::Sync { from, to }, || if data { file.sync_data() } else { file.sync_all() })
    }

    fn call(&mut self, act: Act, call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let (began, before): (u64, Moment) = self.clock.now();
        let outcome = call();
        let answered = outcome.is_ok().then(|| self.clock.now());
        self.calls.push(Event { act, began, before, answered });
        outcome
    }
}
