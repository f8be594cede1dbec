//! Daemons of a rig that kill themselves at a certain place (`platform::killpoint`, CONTRIBUTING.md): started so, and waited for.

use super::Rig;
use super::watchdog::is_running;
use crate::wait::{PATIENCE, until};
use rustix::process::Signal;

/// The variable that makes a daemon die.
pub(super) const VARIABLE: &str = "REPLFS_KILL_AT";

/// Which daemon of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The target.
    Target,
}

impl Rig {
    /// Starts a daemon that dies at `NAME:COUNT`: mounts, also over the mount of one that is dead, or starts the target. It may have died when this
    /// returns.
    #[track_caller]
    pub fn start_dying(&mut self, side: Side, at: &str) {
        self.dying = Some(at.to_owned());
        match side {
            Side::Source => {
                let outcome = self.try_mount(&[]);
                let early = outcome.stderr.contains("ended before the mount was usable");
                assert!(early || outcome.code == 0, "{}: exit {}\n{}", outcome.line, outcome.code, outcome.stderr);
            }
            Side::Target => self.start_target(),
        }
        self.dying = None;
    }

    /// Whether that daemon is gone. Of the source a dead mount is left.
    pub fn has_died(&mut self, side: Side) -> bool {
        match side {
            Side::Source => match self.source_pid {
                Some(pid) if is_running(pid) => return false,
                Some(pid) => {
                    self.watchdog.remove(pid);
                    self.source_pid = None;
                }
                None => {}
            },
            Side::Target => {
                let Some(target) = &mut self.target else { return true };
                let Some(signal) = target.died_of() else { return false };
                assert_eq!(signal, Signal::KILL.as_raw(), "the target died of something else");
                self.watchdog.remove(target.pid());
                self.target = None;
            }
        }
        true
    }

    /// Waits until that daemon has died by itself.
    #[track_caller]
    pub fn wait_for_death(&mut self, side: Side, at: &str) {
        until(&format!("the daemon to die at {at}"), PATIENCE, || self.has_died(side).then_some(()));
    }

    /// Waits until everything is on the target. `false`: that daemon died before.
    #[track_caller]
    pub fn is_settled_before_death(&mut self, side: Side) -> bool {
        until("everything to be on the target, or a daemon to die", PATIENCE, || {
            if self.has_died(side) {
                return Some(false);
            }
            self.try_status().is_some_and(|status| status.is_settled()).then_some(true)
        })
    }

    /// Waits until both sides are equal and compares them. `false`: that daemon died before.
    #[track_caller]
    pub fn is_equal_before_death(&mut self, side: Side) -> bool {
        let place = self.mnt().to_string_lossy().into_owned();
        if !self.is_settled_before_death(side) {
            return false;
        }
        // Nobody answers for a target that dies meanwhile.
        let durable = until("everything to be durable, or a daemon to die", PATIENCE, || {
            let done = self.replfs("sync", &[&place, "--timeout", "1s"]).code == 0;
            if done { Some(true) } else { self.has_died(side).then_some(false) }
        });
        if !durable {
            return false;
        }
        // Nothing else changes it now.
        self.assert_replica_equals(&self.src());
        true
    }
}
