//! A bare directory and a mount with a target attached, side by side: the same suite runs on both.

use super::{Verdict, Verdicts};
use crate::rig::{Commit, Rig};
use std::path::{Path, PathBuf};

/// Both sides. The bare directory is on the file system that SRC is on.
pub struct Sides {
    rig: Rig,
    bare: PathBuf,
}

impl Sides {
    /// A rig, mounted, its target attached, and an empty directory beside SRC.
    #[track_caller]
    pub fn start(commit: Commit) -> Self {
        let rig = Rig::start(commit);
        let bare = rig.home().join("bare");
        std::fs::create_dir(&bare).unwrap_or_else(|e| panic!("cannot make {}: {e}", bare.display()));
        rig.settle();
        Self { rig, bare }
    }

    /// For a run by hand: the rig may live longer than in CI.
    pub fn take_your_time(&mut self) {
        self.rig.without_watchdog();
    }

    /// An empty file system in memory below the rig's directory, for both sides alike.
    #[track_caller]
    pub fn tmpfs(&mut self, name: &str) -> PathBuf {
        let at = self.rig.home().join(name);
        std::fs::create_dir(&at).unwrap_or_else(|e| panic!("cannot make {}: {e}", at.display()));
        self.rig.mount_other("tmpfs", "size=64m", &at);
        at
    }

    /// Another place for the bare side.
    pub fn move_bare_to(&mut self, bare: PathBuf) {
        self.bare = bare;
    }

    /// Runs a suite on both sides at once, each with a directory of its own beside them for what the suite needs, and gives
    /// what it said of the bare directory and of the mount.
    #[track_caller]
    fn run(&self, suite: impl Fn(&Path, &Path) -> Verdicts + Sync) -> (Verdicts, Verdicts) {
        let beside = |name: &str| {
            let dir = self.rig.home().join(name);
            std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
            dir
        };
        let (bare_beside, mount_beside) = (beside("beside-bare"), beside("beside-mount"));
        std::thread::scope(|scope| {
            let bare = scope.spawn(|| suite(&self.bare, &bare_beside));
            let mount = suite(&self.rig.mnt(), &mount_beside);
            let bare = bare.join().unwrap_or_else(|_| panic!("the suite could not be run on the bare directory"));
            (bare, mount)
        })
    }

    /// Runs a suite on both sides; panics where the mount fails what the bare directory passes, and gives how many cases the
    /// bare directory passes. `unsupported`: what the mount may skip.
    #[track_caller]
    pub fn compare(&self, unsupported: &[&str], suite: impl Fn(&Path, &Path) -> Verdicts + Sync) -> usize {
        let start = std::time::Instant::now();
        let (bare, mount) = self.run(suite);
        println!("{} s", start.elapsed().as_secs());
        println!(
            "{} cases, {} pass on the bare directory, {} on the mount",
            bare.0.len(),
            bare.passed(),
            mount.passed()
        );
        for (name, verdict) in bare.0.iter().filter(|(_, verdict)| **verdict != Verdict::Passed) {
            println!("on the bare directory: {name}: {verdict:?}");
        }
        let lost = mount.lost_against(&bare, unsupported);
        assert!(lost.is_empty(), "the mount does not pass what the bare directory passes:\n{lost}");
        bare.passed()
    }

    /// The replica equals the source, extents included, by replication alone: nothing was found out and mended on the way.
    #[track_caller]
    pub fn finish(self) {
        self.rig.settle();
        let status = self.rig.status();
        let target = status.target();
        assert_eq!((target.passes, target.reconnects), (1, 0), "the stream was interrupted: {target:#?}");
        self.rig.finish();
    }
}
