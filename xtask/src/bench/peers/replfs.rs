//! replfs itself, its target on the other machine.

use super::far::{FAR, Far};
use super::kind::Kind;
use super::peer::Peer;
use replfs_tests::rig::{Commit, Rig, Setup};
use std::path::PathBuf;

/// A mount and its target.
pub struct Replfs {
    rig: Rig,
    kind: Kind,
    /// The target runs.
    served: bool,
}

impl Replfs {
    /// Starts both. Panics where the rig does, with the reason.
    pub fn start(kind: Kind, far: &Far) -> Self {
        let commit = match kind {
            Kind::Sync => Commit::Sync,
            Kind::Near => Commit::Near,
            _ => Commit::Real,
        };
        let served = kind != Kind::Bypass;
        let target_by = served.then(|| (far.words(), format!("{FAR}:0")));
        let mut rig = Rig::bare(commit, Setup { bypassed: !served, target_by, ..Setup::default() });
        rig.without_watchdog();
        rig.start_target();
        rig.mount();
        Self { rig, kind, served }
    }
}

impl Peer for Replfs {
    fn app(&self) -> PathBuf {
        self.rig.mnt()
    }

    fn below(&self) -> PathBuf {
        self.rig.src()
    }

    fn replica(&self) -> Option<PathBuf> {
        (self.kind != Kind::Bypass).then(|| self.rig.replica())
    }

    fn processes(&self) -> Vec<u32> {
        [self.rig.source_pid()].into_iter().chain(self.target_processes()).collect()
    }

    fn target_processes(&self) -> Vec<u32> {
        self.served.then(|| self.rig.target_pid()).into_iter().collect()
    }

    fn rest(&self) {
        if self.served {
            self.rig.settle();
        }
    }

    fn begin(&mut self) {
        if self.kind == Kind::RealStopped {
            self.rig.kill_target();
            self.served = false;
            self.rig.wait_status("the target to be missed", |status| status.target().state == "accumulating");
        }
    }

    fn ended(&mut self) {
        if self.kind == Kind::RealStopped {
            self.rig.start_target();
            self.served = true;
        }
    }

    fn records(&self) -> Option<u64> {
        (self.kind != Kind::Bypass).then(|| self.rig.status().target().operations.values().sum())
    }

    fn doubt(&self) -> Option<String> {
        let status = (self.kind != Kind::Bypass).then(|| self.rig.status())?;
        let target = status.target();
        let expected = target.state == "connected" && !target.mirror_due && !target.degraded;
        (!expected && self.kind != Kind::RealStopped)
            .then(|| format!("{}, mirror due: {}, degraded: {}", target.state, target.mirror_due, target.degraded))
    }

    fn commands(&self) -> Vec<String> {
        let target = format!("replfs target --root {} --allow KEY --listen {FAR}:0", self.rig.root().display());
        let mount = format!("replfs mount {}", self.rig.mount_words().join(" "));
        if self.kind == Kind::Bypass { vec![mount] } else { vec![target, mount] }
    }
}
