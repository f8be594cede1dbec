//! replfs on this machine: a mount and its target, left in peace between what is measured, and looked at afterwards.

use super::watch;
use crate::bench::caches;
use anyhow::{Context, Result};
use replfs_tests::rig::{Commit, Rig, Setup};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A mount and its target.
pub struct Mount {
    rig: Rig,
    files: u64,
}

/// A file that is new on both sides.
pub struct New {
    pub file: File,
    path: PathBuf,
    /// Where the target puts it.
    pub replica: PathBuf,
}

impl New {
    /// Forgets it, outside of what is timed.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}

impl Mount {
    /// Starts both. Panics where the rig does, with the reason.
    pub fn start(commit: Commit, options: &[&str]) -> Self {
        Self::with(commit, Setup::default().option(options))
    }

    /// The same with what is special about it.
    pub fn with(commit: Commit, setup: Setup) -> Self {
        Self { rig: Rig::with(commit, setup), files: 0 }
    }

    /// A directory on the file system that source and replica are on, seen by nobody.
    pub fn beside(&self) -> Result<PathBuf> {
        let dir = self.rig.home().join("bare");
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }

    /// Waits until all that came before is durable on both sides.
    pub fn quiet(&self) -> Result<()> {
        self.rig.settle();
        caches::write_back(&self.rig.src())
    }

    /// Makes an empty file.
    pub fn create(&mut self) -> Result<New> {
        self.files += 1;
        let name = format!("file{}", self.files);
        let path = self.rig.mnt().join(&name);
        let file = File::create_new(&path).with_context(|| path.display().to_string())?;
        Ok(New { file, path, replica: self.rig.replica().join(name) })
    }

    /// Source and target.
    pub fn daemons(&self) -> [u32; 2] {
        [self.rig.source_pid(), self.rig.target_pid()]
    }

    /// Does something that is not to end the ordered stream, nor to weaken the mode; the reason where it did.
    pub fn plainly<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<Result<T, String>> {
        let before = self.rig.status().target().passes;
        let done = work(self)?;
        let status = self.rig.status();
        let target = status.target();
        let is_plain = target.state == "connected" && target.coherent && !target.degraded && target.passes == before;
        let (state, degraded, passes) = (&target.state, target.degraded, target.passes - before);
        Ok(if is_plain {
            Ok(done)
        } else {
            Err(format!("{state}, coherent: {}, degraded: {degraded}, mirror passes: {passes}", target.coherent))
        })
    }

    /// Writes so many bytes into a new file, a piece at a time; the time until the target has applied the last. Each piece is at least
    /// [`watch::MARK`] long.
    pub fn write(&mut self, block: &mut [u8], piece: usize, bytes: usize) -> Result<Duration> {
        let start = Instant::now();
        let mut new = self.create()?;
        let mut done = 0;
        while done < bytes {
            let at = done % block.len();
            let next = &mut block[at..at + piece];
            done += piece;
            if done >= bytes {
                watch::mark(next, done as u64);
            }
            std::io::Write::write_all(&mut new.file, next)?;
        }
        watch::wait(&new.replica, &[done as u64])?;
        let took = start.elapsed();
        new.remove()?;
        Ok(took)
    }
}
