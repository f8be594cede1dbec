//! Where sequences are tried: one mount with a target attached, for many cases, each in a directory of its own; and beside SRC,
//! on the same file system, an ordinary directory for the model.
//!
//! After each case the ordinary directory, the mount, SRC and the replica are compared. In `sync` the replica must be
//! equal as soon as the last call has returned; in `real` it is waited for.

use super::agree::{self, Exactness};
use super::lanes::{self, Lane};
use super::op::{Step, fixture};
use super::side::Side;
use crate::rig::{Commit, Rig, Setup};
use crate::wait::PATIENCE;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A rig that is older is replaced before the next case: its watchdog ends it soon after.
const OLD: Duration = Duration::from_secs(150);

/// The mount and what is compared with it.
pub struct Bench {
    commit: Commit,
    rig: Option<(Rig, Instant)>,
    cases: u64,
}

/// The directories of one case.
struct Case {
    model: PathBuf,
    mount: PathBuf,
    source: PathBuf,
    replica: PathBuf,
}

impl Bench {
    /// Nothing is started before the first case.
    pub fn new(commit: Commit) -> Self {
        Self { commit, rig: None, cases: 0 }
    }

    /// One sequence, step by step in both places.
    pub fn one_after_the_other(&mut self, steps: &[Step]) -> Result<(), String> {
        self.case(|case| {
            let steps = [&fixture()[..], steps].concat();
            let exactness = apart(|| {
                let (mut model, mut mount) = (side(&case.model)?, side(&case.mount)?);
                agree::outcomes(&steps, &mut model, &mut mount)?;
                Ok::<_, String>(Exactness::after(&model))
            })?;
            agree::trees("the model and the mount", &case.model, &case.mount, Exactness::ButClockAndHoles)?;
            agree::trees("the model and SRC", &case.model, &case.source, exactness)
        })
    }

    /// Several sequences at a time; each has a part of its own, and one that all share.
    pub fn at_the_same_time(&mut self, all: &[Lane]) -> Result<(), String> {
        self.case(|case| {
            let exactness = apart(|| lanes::run(&case.model, &case.mount, all))?;
            for (number, exactness) in exactness.into_iter().enumerate() {
                let own = lanes::own(number);
                let (model, mount, source) = (case.model.join(&own), case.mount.join(&own), case.source.join(&own));
                agree::trees("the model and the mount", &model, &mount, Exactness::ButClockAndHoles)?;
                agree::trees("the model and SRC", &model, &source, exactness)?;
            }
            let (mount, source) = (case.mount.join(lanes::SHARED), case.source.join(lanes::SHARED));
            agree::trees("the shared part, SRC and the mount", &source, &mount, Exactness::ButClockAndHoles)
        })
    }

    /// Compares everything once more, unmounts, compares again.
    #[track_caller]
    pub fn finish(self) {
        if let Some((rig, _)) = self.rig {
            rig.finish();
        }
    }

    fn case(&mut self, run: impl FnOnce(&Case) -> Result<(), String>) -> Result<(), String> {
        if self.rig.as_ref().is_some_and(|(_, started)| started.elapsed() > OLD)
            && let Some((rig, _)) = self.rig.take()
        {
            rig.finish();
        }
        let (rig, _) = self.rig.get_or_insert_with(|| (start(self.commit), Instant::now()));
        self.cases += 1;
        let name = format!("case-{}", self.cases);
        let case = Case {
            model: rig.home().join("model").join(&name),
            mount: rig.mnt().join(&name),
            source: rig.src().join(&name),
            replica: rig.replica().join(&name),
        };
        let result = open_directory(&case.model)
            .and_then(|()| open_directory(&case.mount))
            .and_then(|()| run(&case))
            .and_then(|()| replica_is_exact(self.commit, &case));
        if result.is_err() {
            // What comes next must not fail because of this: a stopped target or a dead daemon would.
            self.rig = None;
            return result;
        }
        // Some stay, so that `finish` has something to compare.
        let gone = if self.cases.is_multiple_of(20) { &[&case.model][..] } else { &[&case.model, &case.mount] };
        for path in gone {
            fs::remove_dir_all(path).map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

#[track_caller]
fn start(commit: Commit) -> Rig {
    // On a loaded machine `sync` must not become `real` meanwhile: the replica is looked at the moment that calls return.
    let rig = Rig::with(commit, Setup::default().option(&["--degrade-after", "60s"]));
    rig.settle();
    if let Err(error) = fs::create_dir(rig.home().join("model")) {
        panic!("cannot make a directory beside SRC: {error}");
    }
    rig
}

/// Runs `f` on a thread of its own: whoever acts as a user gets another working directory and umask, and what this thread starts
/// afterwards (daemons) would inherit them.
fn apart<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let result = std::thread::scope(|scope| scope.spawn(f).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A place to work in.
pub(super) fn side(root: &Path) -> Result<Side, String> {
    Side::new(root).map_err(|errno| format!("cannot open {}: {errno}", root.display()))
}

/// A new directory in which everybody may make things.
pub(super) fn open_directory(path: &Path) -> Result<(), String> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o777)))
        .map_err(|error| format!("cannot make {}: {error}", path.display()))
}

fn replica_is_exact(commit: Commit, case: &Case) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let result = agree::trees("SRC and the replica", &case.source, &case.replica, Exactness::All);
        if result.is_ok() || commit != Commit::Real || start.elapsed() > PATIENCE / 3 {
            return result;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
