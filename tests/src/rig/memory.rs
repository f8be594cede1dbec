//! What daemons of a rig may take of memory, whatever a test does to them: looked at where a rig is finished and where its
//! target is killed.

use super::Rig;
use std::fs;

/// Bound on the most that a daemon has had resident at any time, in bytes (issue 5); its journal in memory counts.
const MOST_BYTES: u64 = 256 << 20;

impl Rig {
    /// Asserts that no daemon that runs has had more resident than it may. One that has ended says nothing.
    #[track_caller]
    pub fn assert_memory(&self) {
        let target = self.target.as_ref().map(super::Target::pid);
        for (name, pid) in [("source", self.source_pid), ("target", target)] {
            if let Some(most) = pid.and_then(most_resident_bytes) {
                assert!(most <= MOST_BYTES, "the {name} daemon has had {} MiB resident", most >> 20);
            }
        }
    }
}

fn most_resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let text = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(text.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
