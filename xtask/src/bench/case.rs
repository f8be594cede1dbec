//! What a case is: something that an application does in a directory, prepared, timed and forgotten. Which cases there are is
//! in `cases/`; nothing here knows about mounts.

use super::fixture::Fixture;
use anyhow::Result;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One thing that is measured.
pub struct Case {
    /// As `--only` and the floors have it; `W` and a number where it is one of the peers' workloads.
    pub name: &'static str,
    /// What is timed, in a few words.
    pub about: &'static str,
    /// What must lie there before the mount.
    pub fixtures: &'static [Fixture],
    /// What the kernel remembers when the time begins.
    pub caches: Caches,
    /// Most bytes of records that one unit makes at scale 1: a backlog that is to keep them needs so much room.
    pub kept_bytes: u64,
    /// Does everything that is not timed, and gives what is.
    pub prepare: fn(&Place) -> Result<Timed>,
}

/// The timed part. What it holds is dropped outside of the time.
pub type Timed = Box<dyn FnMut() -> Result<Done>>;

/// What the timed part did.
#[derive(Clone, Copy, Debug)]
pub enum Done {
    /// So many operations.
    Operations(u64),
    /// So many bytes.
    Bytes(u64),
    /// So many transactions per second, as the program itself counted.
    Rate(f64),
}

/// What the kernel remembers when the time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// What preparing left there.
    AsPrepared,
    /// Nothing.
    Cold,
    /// Nothing of the mount, but all of the directory below it. The bare directory is warm.
    ColdAbove,
}

/// Where one unit runs.
pub struct Place {
    /// A new, empty directory.
    pub dir: PathBuf,
    /// Where the fixtures are.
    pub fixtures: PathBuf,
    /// What all units share beside it: an archive, a database cluster.
    pub scratch: PathBuf,
    /// Times and counts are multiplied by this.
    pub scale: f64,
    /// Units do as many operations as the reference workload has, not as many as a time has room for: what is compared differs by
    /// factors of a hundred, and a replica is waited for after the same work.
    pub counted: bool,
}

/// Time of a unit that is measured by its time, at scale 1.
const UNIT: Duration = Duration::from_millis(200);

/// Operations between two looks at the clock.
const BATCH: usize = 16;

impl Place {
    /// A count of operations at the scale of this run, at least 16.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small counts
    pub fn count(&self, at_scale_one: usize) -> usize {
        ((at_scale_one as f64 * self.scale) as usize).max(16)
    }

    /// Where a fixture lies here.
    pub fn fixture(&self, fixture: Fixture) -> PathBuf {
        self.fixtures.join(fixture.name())
    }

    /// How long a unit lasts that is measured by its time.
    pub fn time(&self) -> Duration {
        UNIT.mul_f64(self.scale)
    }
}

/// Repeats an operation, which is told how often it was done before, for a time; gives how often it was done.
pub fn repeat(time: Duration, mut operation: impl FnMut(usize) -> Result<()>) -> Result<u64> {
    let end = Instant::now() + time;
    let mut done = 0_usize;
    loop {
        for _ in 0..BATCH {
            operation(done)?;
            done += 1;
        }
        if Instant::now() >= end {
            return Ok(done as u64);
        }
    }
}

/// A path as system calls take it, so that the timed part does not have to make it.
pub fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
